//! Photos: bytes become pixels or an error.
#![no_main]

use face::image::{face_image_decode, face_image_free, face_image_limits_t, face_image_view, face_image_view_t};
use face::status::face_status_t::{FACE_STATUS_FILE_TOO_LARGE, FACE_STATUS_IMAGE_DECODE, FACE_STATUS_IMAGE_TOO_LARGE, FACE_STATUS_OK};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Pixels of a small file, so that time goes into decoders and not into clearing memory.
    let limits = face_image_limits_t { struct_size: size_of::<face_image_limits_t>(), max_pixels: 1 << 20, max_file_bytes: 0, max_side: 0, reserved: 0 };
    let mut image = std::ptr::null_mut();
    // SAFETY: bytes of this length, and places for results.
    let status = unsafe { face_image_decode(bytes.as_ptr(), bytes.len(), &limits, &mut image) };
    if status == FACE_STATUS_OK {
        let mut view = std::mem::MaybeUninit::<face_image_view_t>::uninit();
        // SAFETY: an image that was just made.
        unsafe {
            assert_eq!(face_image_view(image, view.as_mut_ptr()), FACE_STATUS_OK);
            let view = view.assume_init();
            let pixels = std::slice::from_raw_parts(view.data, view.stride * view.height as usize);
            // Every byte is there.
            std::hint::black_box(pixels.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
            face_image_free(image);
        }
    } else {
        assert!(image.is_null());
        assert!([FACE_STATUS_IMAGE_DECODE, FACE_STATUS_IMAGE_TOO_LARGE, FACE_STATUS_FILE_TOO_LARGE].contains(&status), "{status:?}");
    }
});
