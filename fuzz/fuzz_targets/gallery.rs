//! Galleries: a file becomes a gallery that can be listed, searched and changed, or an error.
#![no_main]

use std::ffi::CString;
use std::io::Write as _;

use face::gallery::*;
use face::status::face_status_t::{FACE_STATUS_OK, FACE_STATUS_PANIC};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else { return };
    file.write_all(bytes).unwrap_or_default();
    let path = CString::new(file.path().to_str().unwrap_or_default()).unwrap_or_default();
    let open = if kind % 2 == 0 { face_gallery_open } else { face_gallery_open_read_only };
    let mut gallery = std::ptr::null_mut();
    // SAFETY: text, and places for results; everything is freed once.
    unsafe {
        let status = open(path.as_ptr(), std::ptr::null(), &mut gallery);
        assert_ne!(status, FACE_STATUS_PANIC);
        if status != FACE_STATUS_OK {
            assert!(gallery.is_null());
            return;
        }
        let mut subjects = std::ptr::null_mut();
        assert_eq!(face_gallery_list(gallery, 0, 0, &mut subjects), FACE_STATUS_OK);
        for index in 0..face_subjects_count(subjects) {
            assert!(!face_subjects_name(subjects, index).is_null());
        }
        if kind % 2 == 0 && face_subjects_count(subjects) > 0 {
            assert_ne!(face_gallery_remove_subject(gallery, face_subjects_id(subjects, 0)), FACE_STATUS_PANIC);
            assert_ne!(face_gallery_compact(gallery), FACE_STATUS_PANIC);
        }
        face_subjects_free(subjects);
        face_gallery_free(gallery);
    }
});
