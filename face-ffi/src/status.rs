//! What a call came to: status numbers and messages.

use std::ffi::c_char;

use face_core::Error;

use crate::guard;

/// What a call came to. Numbers are never used again for something else; newer versions may add some.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_status_t {
    /// It worked.
    FACE_STATUS_OK = 0,
    /// A defect of this library, caught before it reached you. Objects that took part may be used on, or freed.
    FACE_STATUS_PANIC = 1,
    /// An argument that must not be NULL is.
    FACE_STATUS_NULL_POINTER = 2,
    /// An argument is outside of its range.
    FACE_STATUS_INVALID_ARGUMENT = 3,
    /// Text is not UTF-8.
    FACE_STATUS_INVALID_UTF8 = 4,
    /// This build of the library was made without the feature; see face_has_feature().
    FACE_STATUS_UNSUPPORTED = 5,
    /// An error of face-core that this version of the C interface has no number for.
    FACE_STATUS_OTHER = 6,

    /// A file could not be read or written.
    FACE_STATUS_IO = 10,
    /// There is no such file or folder.
    FACE_STATUS_NOT_FOUND = 11,
    /// The file is there already, and is not written over.
    FACE_STATUS_ALREADY_EXISTS = 12,
    /// A file is larger than what is read.
    FACE_STATUS_FILE_TOO_LARGE = 13,
    /// Text (an export, settings of an embedder, JSON) does not follow its format.
    FACE_STATUS_FORMAT = 14,

    /// Bytes are no photo that can be decoded.
    FACE_STATUS_IMAGE_DECODE = 20,
    /// A photo claims more pixels than the limits allow.
    FACE_STATUS_IMAGE_TOO_LARGE = 21,
    /// Size, stride and format of a pixel buffer contradict one another.
    FACE_STATUS_IMAGE_BUFFER = 22,
    /// There is no face in the photo.
    FACE_STATUS_NO_FACE = 23,
    /// Landmarks coincide or lie on one line.
    FACE_STATUS_DEGENERATE_LANDMARKS = 24,
    /// Landmarks of one scheme were given where another is needed.
    FACE_STATUS_LANDMARK_SCHEME = 25,
    /// The stage needs landmarks, and was given a detection without.
    FACE_STATUS_LANDMARKS_MISSING = 26,
    /// The embedder needs crops of another size or template.
    FACE_STATUS_CROP_MISMATCH = 27,
    /// A number is NaN or infinite.
    FACE_STATUS_NON_FINITE = 28,

    /// Embeddings of different models or preprocessing cannot be compared.
    FACE_STATUS_SPACE_MISMATCH = 30,
    /// Not a vector of the space: wrong length, or no direction.
    FACE_STATUS_INVALID_EMBEDDING = 31,
    /// No threshold was measured at that false-accept rate.
    FACE_STATUS_THRESHOLD_UNKNOWN = 32,

    /// The model is not in the folder of models; the message tells how to bring it there.
    FACE_STATUS_MODEL_MISSING = 40,
    /// The file is not what the catalogue says: half-pulled or altered.
    FACE_STATUS_MODEL_CORRUPT = 41,
    /// The file is no model for this stage.
    FACE_STATUS_MODEL_INVALID = 42,
    /// The network failed while it ran.
    FACE_STATUS_INFERENCE = 43,
    /// Nothing of that name is known; the message lists the names there are.
    FACE_STATUS_UNKNOWN_NAME = 44,
    /// A model could not be brought from its source.
    FACE_STATUS_PULL = 45,

    /// The gallery holds embeddings of another space.
    FACE_STATUS_GALLERY_SPACE = 50,
    /// The gallery has no such subject or template.
    FACE_STATUS_NOT_ENROLLED = 51,
    /// A subject of that name is enrolled already.
    FACE_STATUS_NAME_TAKEN = 52,
    /// Another process, or another handle of this one, has the gallery open.
    FACE_STATUS_GALLERY_IN_USE = 53,
    /// The gallery is open for reading alone.
    FACE_STATUS_GALLERY_READ_ONLY = 54,
    /// The gallery's file is damaged, or is no gallery.
    FACE_STATUS_GALLERY_CORRUPT = 55,
    /// The gallery was written in a format that this version does not read.
    FACE_STATUS_GALLERY_VERSION = 56,
    /// The store refused: no space left, a server that is away.
    FACE_STATUS_GALLERY_STORE = 57,

    /// A batch that nothing can be learnt from.
    FACE_STATUS_INVALID_BATCH = 60,
    /// A label that names no class.
    FACE_STATUS_LABEL_OUT_OF_RANGE = 61,
}

/// What went wrong, for the guard.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: face_status_t,
    pub(crate) message: String,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status_of(&error);
        let mut message = error.to_string();
        if status == face_status_t::FACE_STATUS_MODEL_MISSING {
            // The command that the message names may not be there.
            message.push_str("; or call face_models_pull()");
        }
        Self { status, message }
    }
}

/// What needs a feature that this build does not have.
#[allow(dead_code)] // Nothing needs it where all features are there.
pub(crate) fn unsupported(feature: &str) -> Failure {
    let message = format!("this build of the library does not have the feature \"{feature}\"");
    Failure { status: face_status_t::FACE_STATUS_UNSUPPORTED, message }
}

/// The number of an error. A test checks that every kind of error has one.
fn status_of(error: &Error) -> face_status_t {
    use std::io::ErrorKind;
    match error {
        Error::Io { source, .. } => match source.kind() {
            ErrorKind::NotFound => face_status_t::FACE_STATUS_NOT_FOUND,
            ErrorKind::AlreadyExists => face_status_t::FACE_STATUS_ALREADY_EXISTS,
            _ => face_status_t::FACE_STATUS_IO,
        },
        Error::InPhoto { source, .. } => status_of(source),
        Error::FileTooLarge { .. } => face_status_t::FACE_STATUS_FILE_TOO_LARGE,
        Error::Format { .. } => face_status_t::FACE_STATUS_FORMAT,
        Error::ImageDecode { .. } => face_status_t::FACE_STATUS_IMAGE_DECODE,
        Error::ImageTooLarge { .. } => face_status_t::FACE_STATUS_IMAGE_TOO_LARGE,
        Error::ImageBuffer { .. } => face_status_t::FACE_STATUS_IMAGE_BUFFER,
        Error::NoFace { .. } => face_status_t::FACE_STATUS_NO_FACE,
        Error::DegenerateLandmarks { .. } => face_status_t::FACE_STATUS_DEGENERATE_LANDMARKS,
        Error::LandmarkScheme { .. } => face_status_t::FACE_STATUS_LANDMARK_SCHEME,
        Error::LandmarksMissing { .. } => face_status_t::FACE_STATUS_LANDMARKS_MISSING,
        Error::CropMismatch { .. } => face_status_t::FACE_STATUS_CROP_MISMATCH,
        Error::NonFinite { .. } => face_status_t::FACE_STATUS_NON_FINITE,
        Error::SpaceMismatch { .. } => face_status_t::FACE_STATUS_SPACE_MISMATCH,
        Error::InvalidEmbedding { .. } => face_status_t::FACE_STATUS_INVALID_EMBEDDING,
        Error::ThresholdUnknown { .. } => face_status_t::FACE_STATUS_THRESHOLD_UNKNOWN,
        Error::EngineUnavailable { .. } => face_status_t::FACE_STATUS_INFERENCE,
        Error::ModelMissing { .. } => face_status_t::FACE_STATUS_MODEL_MISSING,
        Error::ModelCorrupt { .. } => face_status_t::FACE_STATUS_MODEL_CORRUPT,
        Error::ModelInvalid { .. } => face_status_t::FACE_STATUS_MODEL_INVALID,
        Error::Inference { .. } => face_status_t::FACE_STATUS_INFERENCE,
        Error::UnknownName { .. } => face_status_t::FACE_STATUS_UNKNOWN_NAME,
        Error::Pull { .. } => face_status_t::FACE_STATUS_PULL,
        Error::InvalidParameter { .. } => face_status_t::FACE_STATUS_INVALID_ARGUMENT,
        Error::GallerySpace { .. } => face_status_t::FACE_STATUS_GALLERY_SPACE,
        Error::NotEnrolled { .. } => face_status_t::FACE_STATUS_NOT_ENROLLED,
        Error::NameTaken { .. } => face_status_t::FACE_STATUS_NAME_TAKEN,
        Error::GalleryInUse { .. } => face_status_t::FACE_STATUS_GALLERY_IN_USE,
        Error::GalleryReadOnly { .. } => face_status_t::FACE_STATUS_GALLERY_READ_ONLY,
        Error::GalleryCorrupt { .. } => face_status_t::FACE_STATUS_GALLERY_CORRUPT,
        Error::GalleryVersion { .. } => face_status_t::FACE_STATUS_GALLERY_VERSION,
        Error::GalleryStore { .. } => face_status_t::FACE_STATUS_GALLERY_STORE,
        // C does not train.
        Error::InvalidBatch { .. } | Error::TrainingData { .. } => face_status_t::FACE_STATUS_INVALID_BATCH,
        Error::TrainingDiverged { .. } => face_status_t::FACE_STATUS_NON_FINITE,
        Error::Checkpoint { .. } => face_status_t::FACE_STATUS_FORMAT,
        Error::LabelOutOfRange { .. } => face_status_t::FACE_STATUS_LABEL_OUT_OF_RANGE,
        _ => face_status_t::FACE_STATUS_OTHER,
    }
}

/// What the last failed call on this thread had to say: the name of the function, what was wrong, where, and often what to do.
///
/// Every function sets it when it fails and empties it when it succeeds, apart from the functions whose names end in `_free`,
/// which leave it alone, and this one and face_status_name(). The text is UTF-8, never NULL, empty after a success, and stays until
/// the next call of a function of this library on the same thread: copy it to keep it.
#[unsafe(no_mangle)]
pub extern "C" fn face_last_error() -> *const c_char {
    guard::message()
}

/// The name of a status, such as "FACE_STATUS_NO_FACE"; "unknown status" for a number that is none. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn face_status_name(status: i32) -> *const c_char {
    let name = NAMES.iter().find(|(known, _)| *known as i32 == status).map_or(c"unknown status", |(_, name)| name);
    name.as_ptr()
}

macro_rules! names {
    ($($name:ident)*) => {
        &[$((face_status_t::$name, {
            // A C string literal cannot be made from an identifier.
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            }
        })),*]
    };
}

const NAMES: &[(face_status_t, &std::ffi::CStr)] = names![
    FACE_STATUS_OK FACE_STATUS_PANIC FACE_STATUS_NULL_POINTER FACE_STATUS_INVALID_ARGUMENT FACE_STATUS_INVALID_UTF8
    FACE_STATUS_UNSUPPORTED FACE_STATUS_OTHER FACE_STATUS_IO FACE_STATUS_NOT_FOUND FACE_STATUS_ALREADY_EXISTS
    FACE_STATUS_FILE_TOO_LARGE FACE_STATUS_FORMAT FACE_STATUS_IMAGE_DECODE FACE_STATUS_IMAGE_TOO_LARGE
    FACE_STATUS_IMAGE_BUFFER FACE_STATUS_NO_FACE FACE_STATUS_DEGENERATE_LANDMARKS FACE_STATUS_LANDMARK_SCHEME
    FACE_STATUS_LANDMARKS_MISSING FACE_STATUS_CROP_MISMATCH FACE_STATUS_NON_FINITE FACE_STATUS_SPACE_MISMATCH
    FACE_STATUS_INVALID_EMBEDDING FACE_STATUS_THRESHOLD_UNKNOWN FACE_STATUS_MODEL_MISSING FACE_STATUS_MODEL_CORRUPT
    FACE_STATUS_MODEL_INVALID FACE_STATUS_INFERENCE FACE_STATUS_UNKNOWN_NAME FACE_STATUS_PULL FACE_STATUS_GALLERY_SPACE
    FACE_STATUS_NOT_ENROLLED FACE_STATUS_NAME_TAKEN FACE_STATUS_GALLERY_IN_USE FACE_STATUS_GALLERY_READ_ONLY
    FACE_STATUS_GALLERY_CORRUPT FACE_STATUS_GALLERY_VERSION FACE_STATUS_GALLERY_STORE FACE_STATUS_INVALID_BATCH
    FACE_STATUS_LABEL_OUT_OF_RANGE
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SOURCE: &str = include_str!("status.rs");

    #[test]
    fn every_error_of_face_core_has_a_status() {
        let errors = include_str!("../../face-core/src/error.rs");
        let kinds: Vec<&str> =
            errors.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(" {")).collect();
        let kinds: Vec<&str> = kinds.into_iter().filter(|kind| kind.chars().all(char::is_alphanumeric)).collect();
        assert!(kinds.len() > 30, "{kinds:?}");
        for kind in kinds {
            assert!(SOURCE.contains(&format!("Error::{kind} {{ ")), "{kind}");
        }
    }

    #[test]
    fn every_status_has_a_name() {
        let declared =
            SOURCE.lines().filter(|line| line.starts_with("    FACE_STATUS_") && line.contains(" = ")).count();
        assert_eq!(NAMES.len(), declared);
        for (status, name) in NAMES {
            assert_eq!(name.to_str().unwrap(), format!("{status:?}"));
        }
    }
}
