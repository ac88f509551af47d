//! Pixels: a caller's own, and decoded photos.

use std::ffi::c_char;

use face_core::{Image, ImageLimits, ImageView, PixelFormat};

use crate::guard;
use crate::pointers::{
    array, growing_settings, numbered, or_default, out, reference, release, reserved, settings, text,
};
use crate::status::{Outcome, face_status_t};

/// Channels of a pixel and their order in memory: one byte each, from 0 to 255, sRGB.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_pixel_format_t {
    /// Red, green, blue.
    FACE_PIXEL_RGB8 = 1,
    /// Blue, green, red: the order of OpenCV.
    FACE_PIXEL_BGR8 = 2,
    /// Red, green, blue, alpha. Alpha is ignored.
    FACE_PIXEL_RGBA8 = 3,
    /// Blue, green, red, alpha. Alpha is ignored.
    FACE_PIXEL_BGRA8 = 4,
    /// One channel of grey.
    FACE_PIXEL_GRAY8 = 5,
}

/// Pixels that somebody else owns, row by row from the top, each row from the left. Nothing is copied.
///
/// They must stay as they are while a call works on them. Coordinates that calls take and give are pixels, x to the right and y
/// down, with the centre of the top-left pixel at (0, 0).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_image_view_t {
    /// The first byte of the top row: at least stride x (height - 1) + width x bytes of a pixel are readable from there.
    pub data: *const u8,
    /// Bytes from the start of a row to the start of the next; 0 for rows without gaps.
    pub stride: usize,
    /// Width in pixels, from 1 to 1048576.
    pub width: u32,
    /// Height in pixels, from 1 to 1048576.
    pub height: u32,
    /// A face_pixel_format_t.
    pub format: u32,
}

/// How large a picture may claim to be before it is refused; checked before pixels are allocated. Members that are 0 have their
/// default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_image_limits_t {
    /// sizeof(face_image_limits_t).
    pub struct_size: usize,
    /// Width times height; 134217728 by default.
    pub max_pixels: u64,
    /// Bytes of an encoded file; 536870912 by default.
    pub max_file_bytes: u64,
    /// Longest side in pixels; 32768 by default, at most 1048576.
    pub max_side: u32,
    /// Must be 0.
    pub reserved: u32,
}

growing_settings!(face_image_limits_t, reserved: u32, reserved: u32);

/// A photo in memory, 8-bit RGB.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_image_free().
pub struct face_image_t(pub(crate) Image);

impl face_image_view_t {
    pub(crate) fn of(image: &Image) -> Self {
        let (width, height) = (image.width(), image.height());
        let stride = width as usize * PixelFormat::Rgb8.bytes_per_pixel();
        let format = face_pixel_format_t::FACE_PIXEL_RGB8 as u32;
        Self { data: image.as_raw().as_ptr(), stride, width, height, format }
    }

    /// The pixels, borrowed.
    ///
    /// # Safety
    /// `data` is as the header wants it, for as long as the view is used.
    pub(crate) unsafe fn pixels<'a>(&self) -> Outcome<ImageView<'a>> {
        let format = pixel_format(self.format)?;
        let row = self.width as usize * format.bytes_per_pixel();
        let stride = if self.stride == 0 { row } else { self.stride };
        // Checked before anything is read.
        let bytes = format.bytes_needed(self.width, self.height, stride)?;
        let data = unsafe { array(self.data, bytes, "the image's data") }?;
        Ok(ImageView::with_stride(data, self.width, self.height, stride, format)?)
    }
}

numbered!(face_pixel_format_t:
    FACE_PIXEL_RGB8 | FACE_PIXEL_BGR8 | FACE_PIXEL_RGBA8 | FACE_PIXEL_BGRA8 | FACE_PIXEL_GRAY8);

fn pixel_format(format: u32) -> Outcome<PixelFormat> {
    Ok(match face_pixel_format_t::numbered(format, "the image's format")? {
        face_pixel_format_t::FACE_PIXEL_RGB8 => PixelFormat::Rgb8,
        face_pixel_format_t::FACE_PIXEL_BGR8 => PixelFormat::Bgr8,
        face_pixel_format_t::FACE_PIXEL_RGBA8 => PixelFormat::Rgba8,
        face_pixel_format_t::FACE_PIXEL_BGRA8 => PixelFormat::Bgra8,
        face_pixel_format_t::FACE_PIXEL_GRAY8 => PixelFormat::Gray8,
    })
}

impl face_image_limits_t {
    fn limits(&self) -> Outcome<ImageLimits> {
        reserved(self.reserved, "limits->reserved")?;
        let default = ImageLimits::default();
        Ok(ImageLimits {
            max_side: or_default(self.max_side, default.max_side),
            max_pixels: or_default(self.max_pixels, default.max_pixels),
            max_file_bytes: or_default(self.max_file_bytes, default.max_file_bytes),
        })
    }
}

/// Reads a photo from a file: JPEG, PNG, WebP, BMP, GIF or TIFF. EXIF orientation is applied.
///
/// @param path   UTF-8.
/// @param limits NULL for the default ones.
/// @param image  Receives the photo.
/// @return FACE_STATUS_NOT_FOUND, FACE_STATUS_IO, FACE_STATUS_FILE_TOO_LARGE, FACE_STATUS_IMAGE_DECODE or
///         FACE_STATUS_IMAGE_TOO_LARGE where the file is not such a photo.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_open(
    path: *const c_char,
    limits: *const face_image_limits_t,
    image: *mut *mut face_image_t,
) -> face_status_t {
    guard::status("face_image_open", || {
        let path = unsafe { text(path, "path") }?;
        let limits = unsafe { settings(limits, "limits") }?.limits()?;
        let image = unsafe { out(image, "image") }?;
        image.give(face_image_t(face_core::image::open(path.as_ref(), &limits)?));
        Ok(())
    })
}

/// Reads a photo from the bytes of a file. See face_image_open().
///
/// @param bytes  The content of a file; not needed any more when the call returns.
/// @param length Number of bytes.
/// @param limits NULL for the default ones.
/// @param image  Receives the photo.
/// @return FACE_STATUS_IMAGE_DECODE or FACE_STATUS_IMAGE_TOO_LARGE where they are not such a photo.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_decode(
    bytes: *const u8,
    length: usize,
    limits: *const face_image_limits_t,
    image: *mut *mut face_image_t,
) -> face_status_t {
    guard::status("face_image_decode", || {
        let bytes = unsafe { array(bytes, length, "bytes") }?;
        let limits = unsafe { settings(limits, "limits") }?.limits()?;
        let image = unsafe { out(image, "image") }?;
        image.give(face_image_t(face_core::image::decode(bytes, &limits)?));
        Ok(())
    })
}

/// Copies pixels into a photo that owns them.
///
/// @param view  The pixels.
/// @param image Receives the photo.
/// @return FACE_STATUS_IMAGE_BUFFER or FACE_STATUS_INVALID_ARGUMENT where size, stride and format do not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_copy(
    view: *const face_image_view_t,
    image: *mut *mut face_image_t,
) -> face_status_t {
    guard::status("face_image_copy", || {
        let view = unsafe { reference(view, "view")?.pixels() }?;
        let image = unsafe { out(image, "image") }?;
        image.give(face_image_t(view.to_image()));
        Ok(())
    })
}

/// The pixels of a photo, without copying them.
///
/// @param image The photo, which must outlive the view.
/// @param view  Receives pointer, size, stride and FACE_PIXEL_RGB8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_view(image: *const face_image_t, view: *mut face_image_view_t) -> face_status_t {
    guard::status("face_image_view", || {
        let image = unsafe { reference(image, "image") }?;
        let view = unsafe { out(view, "view") }?;
        view.set(face_image_view_t::of(&image.0));
        Ok(())
    })
}

/// Writes a photo to a file: PNG, or JPEG where its name ends in .jpg or .jpeg.
///
/// @param image The photo.
/// @param path  UTF-8. A file that is there is replaced.
/// @return FACE_STATUS_IO, or FACE_STATUS_INVALID_ARGUMENT for another ending.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_save(image: *const face_image_t, path: *const c_char) -> face_status_t {
    guard::status("face_image_save", || {
        let image = unsafe { reference(image, "image") }?;
        let path = unsafe { text(path, "path") }?;
        Ok(image.0.save(path)?)
    })
}

/// Frees a photo. Views of it must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_image_free(image: *mut face_image_t) {
    guard::free("face_image_free", || unsafe { release(image) })
}
