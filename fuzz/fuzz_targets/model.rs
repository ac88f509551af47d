//! Models: bytes become a detector or an embedder, or an error.
#![no_main]

use face::pipeline::{face_pipeline_free, face_pipeline_open, face_pipeline_params_t};
use face::status::face_status_t::{FACE_STATUS_OK, FACE_STATUS_PANIC};

const SPEC: &std::ffi::CStr = c"name = \"fuzz\"\ntemplate = \"arcface112\"\nmean = [127.5, 127.5, 127.5]\nstd = [127.5, 127.5, 127.5]\nmetric = \"cosine\"\n";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    // SAFETY: settings may be all zeros.
    let mut params: face_pipeline_params_t = unsafe { std::mem::zeroed() };
    params.struct_size = size_of::<face_pipeline_params_t>();
    if kind % 2 == 0 {
        (params.detector_bytes, params.detector_bytes_length) = (bytes.as_ptr(), bytes.len());
    } else {
        (params.embedder_bytes, params.embedder_bytes_length) = (bytes.as_ptr(), bytes.len());
        params.embedder_spec = SPEC.as_ptr();
        params.detector = c"centerface".as_ptr();
    }
    let mut pipeline = std::ptr::null_mut();
    // SAFETY: settings as the header wants them, and a place for the result.
    let status = unsafe { face_pipeline_open(&params, &mut pipeline) };
    assert_ne!(status, FACE_STATUS_PANIC);
    assert_eq!(status == FACE_STATUS_OK, !pipeline.is_null());
    // SAFETY: NULL, or what was just made.
    unsafe { face_pipeline_free(pipeline) };
});
