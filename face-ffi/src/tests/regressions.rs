//! What fuzzing has found, and what it begins with: `fuzz/regressions` through the functions that `fuzz/run` feeds.

use std::ffi::CString;
use std::path::PathBuf;

use super::folder;
use crate::gallery::*;
use crate::image::*;
use crate::pipeline::*;
use crate::status::face_status_t::{FACE_STATUS_OK, FACE_STATUS_PANIC};

/// The files kept for a target.
fn kept(target: &str) -> Vec<PathBuf> {
    let folder = folder().parent().unwrap().join("fuzz/regressions").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn images() {
    for path in kept("image") {
        let bytes = std::fs::read(&path).unwrap();
        let mut image = std::ptr::null_mut();
        // SAFETY: bytes of this length, and a place for the result, which is freed once.
        unsafe {
            let status = face_image_decode(bytes.as_ptr(), bytes.len(), std::ptr::null(), &raw mut image);
            assert_ne!(status, FACE_STATUS_PANIC, "{}", path.display());
            assert_eq!(status == FACE_STATUS_OK, !image.is_null(), "{}", path.display());
            face_image_free(image);
        }
    }
}

#[test]
fn models() {
    for path in kept("model") {
        let bytes = std::fs::read(&path).unwrap();
        // SAFETY: settings may be all zeros.
        let mut params: face_pipeline_params_t = unsafe { std::mem::zeroed() };
        params.struct_size = size_of::<face_pipeline_params_t>();
        (params.detector_bytes, params.detector_bytes_length) = (bytes.as_ptr(), bytes.len());
        let mut pipeline = std::ptr::null_mut();
        // SAFETY: settings as the header wants them, and a place for the result, which is freed once.
        unsafe {
            assert_ne!(
                face_pipeline_open(&raw const params, &raw mut pipeline),
                FACE_STATUS_PANIC,
                "{}",
                path.display()
            );
            face_pipeline_free(pipeline);
        }
    }
}

#[test]
fn galleries() {
    let scratch = tempfile::tempdir().unwrap();
    for path in kept("gallery") {
        for open in [face_gallery_open, face_gallery_open_read_only] {
            let copy = scratch.path().join("gallery.face");
            std::fs::copy(&path, &copy).unwrap();
            let name = CString::new(copy.to_str().unwrap()).unwrap();
            let mut gallery = std::ptr::null_mut();
            // SAFETY: text, and a place for the result, which is freed once.
            unsafe {
                let status = open(name.as_ptr(), std::ptr::null(), &raw mut gallery);
                assert_ne!(status, FACE_STATUS_PANIC, "{}", path.display());
                face_gallery_free(gallery);
            }
        }
    }
}
