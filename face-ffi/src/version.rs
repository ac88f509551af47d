//! Which library this is.

use std::ffi::{CStr, c_char};

use crate::guard;
use crate::pointers::text;

/// Version of this header, which is the library's when both come from one release: compare with face_version_number().
pub const FACE_VERSION_MAJOR: u32 = 0;
/// See FACE_VERSION_MAJOR.
pub const FACE_VERSION_MINOR: u32 = 1;
/// See FACE_VERSION_MAJOR.
pub const FACE_VERSION_PATCH: u32 = 0;

/// What this build can do.
const FEATURES: &[(&str, bool)] = &[
    ("draw", cfg!(feature = "draw")),
    ("hnsw", cfg!(feature = "hnsw")),
    ("postgres", cfg!(feature = "postgres")),
    ("pull", cfg!(feature = "pull")),
];

/// The version of the library as text, such as "0.1.0". The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn face_version() -> *const c_char {
    guard::value("face_version", c"".as_ptr(), || {
        const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
        Ok(VERSION.as_ptr())
    })
}

/// The version of the library as a number: 65536 x major + 256 x minor + patch.
#[unsafe(no_mangle)]
pub extern "C" fn face_version_number() -> u32 {
    guard::value("face_version_number", 0, || {
        Ok((FACE_VERSION_MAJOR << 16) | (FACE_VERSION_MINOR << 8) | FACE_VERSION_PATCH)
    })
}

/// Whether this build has a feature: "draw" (pictures of detections), "hnsw" (approximate search of large galleries),
/// "postgres" (galleries on a server), "pull" (bringing models from their sources). Without it, what needs it fails with
/// FACE_STATUS_UNSUPPORTED. A name that is none of these is false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_has_feature(feature: *const c_char) -> bool {
    guard::value("face_has_feature", false, || {
        let feature = unsafe { text(feature, "feature") }?;
        Ok(FEATURES.iter().any(|(name, is_built_in)| *name == feature && *is_built_in))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_version_of_the_manifest() {
        let header = format!("{FACE_VERSION_MAJOR}.{FACE_VERSION_MINOR}.{FACE_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
    }
}
