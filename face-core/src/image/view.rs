//! Borrowed pixels.

use std::borrow::Cow;

use crate::error::{Error, Result};

use super::Image;

/// Channels of a pixel and their order in memory; each channel is one byte from 0 to 255, sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red: OpenCV's order.
    Bgr8,
    /// Red, green, blue, alpha. Alpha is ignored.
    Rgba8,
    /// Blue, green, red, alpha. Alpha is ignored.
    Bgra8,
    /// One channel of grey.
    Gray8,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub const fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
            Self::Gray8 => 1,
        }
    }

    /// Bytes from the start of an image to the end of its last row; rows are `stride` bytes apart.
    ///
    /// # Errors
    /// [`Error::ImageBuffer`] when a side is 0 or over 1,048,576 pixels, when the stride is shorter than a row, or when the
    /// image would fill more than the address space.
    pub fn bytes_needed(self, width: u32, height: u32, stride: usize) -> Result<usize> {
        let refuse = |reason: String| Err(Error::ImageBuffer { reason });
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return refuse(format!("{width} x {height} pixels; each side must be from 1 to {MAX_SIDE}"));
        }
        let row = width as usize * self.bytes_per_pixel();
        if stride < row {
            return refuse(format!("a stride of {stride} bytes is shorter than a row of {row} bytes"));
        }
        let bytes = stride.checked_mul(height as usize - 1).and_then(|bytes| bytes.checked_add(row));
        match bytes.filter(|bytes| isize::try_from(*bytes).is_ok()) {
            Some(bytes) => Ok(bytes),
            None => refuse(format!("{width} x {height} {self:?} with a stride of {stride} needs more bytes than all")),
        }
    }

    fn to_rgb(self, pixel: &[u8]) -> [u8; 3] {
        match self {
            Self::Rgb8 | Self::Rgba8 => [pixel[0], pixel[1], pixel[2]],
            Self::Bgr8 | Self::Bgra8 => [pixel[2], pixel[1], pixel[0]],
            Self::Gray8 => [pixel[0]; 3],
        }
    }
}

/// Pixels that somebody else owns: row by row from the top, each row from the left, rows `stride` bytes apart.
#[derive(Debug, Clone, Copy)]
pub struct ImageView<'a> {
    data: &'a [u8],
    width: u32,
    height: u32,
    stride: usize,
    format: PixelFormat,
}

/// Longest side of any image, in pixels: coordinates stay exact in `f32`, and a row's bytes in `u32`.
pub(crate) const MAX_SIDE: u32 = 1 << 20;

impl<'a> ImageView<'a> {
    /// A view of rows that follow one another without gaps.
    ///
    /// # Errors
    /// As [`with_stride`](Self::with_stride); also when `data` is longer than the image, because then a size is wrong.
    ///
    /// # Example
    /// ```
    /// use face_core::{ImageView, PixelFormat};
    ///
    /// let pixels = [0_u8; 4 * 2 * 3];
    /// let view = ImageView::new(&pixels, 4, 2, PixelFormat::Rgb8)?;
    /// assert_eq!((view.width(), view.height()), (4, 2));
    /// # Ok::<(), face_core::Error>(())
    /// ```
    pub fn new(data: &'a [u8], width: u32, height: u32, format: PixelFormat) -> Result<Self> {
        let stride = width as usize * format.bytes_per_pixel();
        let view = Self::with_stride(data, width, height, stride, format)?;
        if data.len() != stride * height as usize {
            return Err(Error::ImageBuffer {
                reason: format!(
                    "{width} x {height} {format:?} needs {} bytes, and there are {}",
                    stride * height as usize,
                    data.len()
                ),
            });
        }
        Ok(view)
    }

    /// A view of rows that are `stride` bytes apart, measured from the start of one row to the start of the next.
    ///
    /// # Errors
    /// [`Error::ImageBuffer`] when a side is 0 or over 1,048,576 pixels, when the stride is shorter than a row, or when
    /// `data` ends before the last row does.
    pub fn with_stride(data: &'a [u8], width: u32, height: u32, stride: usize, format: PixelFormat) -> Result<Self> {
        let needed = format.bytes_needed(width, height, stride)?;
        if needed <= data.len() {
            return Ok(Self { data, width, height, stride, format });
        }
        Err(Error::ImageBuffer {
            reason: format!(
                "{width} x {height} {format:?} with a stride of {stride} needs {needed} bytes, and there are {}",
                data.len()
            ),
        })
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Order of the channels.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// The bytes of one row, counted from 0 at the top, without the gap behind it.
    pub fn row(&self, y: u32) -> &'a [u8] {
        let start = y as usize * self.stride;
        &self.data[start..start + self.width as usize * self.format.bytes_per_pixel()]
    }

    /// A pixel as red, green, blue.
    pub fn rgb(&self, x: u32, y: u32) -> [u8; 3] {
        let size = self.format.bytes_per_pixel();
        let start = y as usize * self.stride + x as usize * size;
        self.format.to_rgb(&self.data[start..start + size])
    }

    /// A copy as an owned RGB image.
    pub fn to_image(&self) -> Image {
        let mut data = Vec::with_capacity(self.width as usize * self.height as usize * 3);
        for y in 0..self.height {
            let row = self.row(y);
            match self.format {
                PixelFormat::Rgb8 => data.extend_from_slice(row),
                format => data.extend(row.chunks_exact(format.bytes_per_pixel()).flat_map(|p| format.to_rgb(p))),
            }
        }
        Image::from_parts(self.width, self.height, data)
    }

    /// The pixels as RGB without gaps: borrowed where they are so already, else copied.
    pub(crate) fn packed_rgb(&self) -> Cow<'a, [u8]> {
        let row = self.width as usize * 3;
        if self.format == PixelFormat::Rgb8 && (self.stride == row || self.height == 1) {
            return Cow::Borrowed(&self.data[..row * self.height as usize]);
        }
        Cow::Owned(self.to_image().into_raw())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_format_gives_the_same_rgb() {
        let cases: [(PixelFormat, &[u8]); 4] = [
            (PixelFormat::Rgb8, &[1, 2, 3, 4, 5, 6]),
            (PixelFormat::Bgr8, &[3, 2, 1, 6, 5, 4]),
            (PixelFormat::Rgba8, &[1, 2, 3, 99, 4, 5, 6, 99]),
            (PixelFormat::Bgra8, &[3, 2, 1, 99, 6, 5, 4, 99]),
        ];
        for (format, bytes) in cases {
            let view = ImageView::new(bytes, 2, 1, format).unwrap();
            assert_eq!(view.to_image().as_raw(), [1, 2, 3, 4, 5, 6], "{format:?}");
            assert_eq!(view.rgb(1, 0), [4, 5, 6]);
        }
        let grey = ImageView::new(&[7, 9], 2, 1, PixelFormat::Gray8).unwrap();
        assert_eq!(grey.to_image().as_raw(), [7, 7, 7, 9, 9, 9]);
    }

    #[test]
    fn stride_skips_the_gap_and_the_last_row_needs_none() {
        let bytes = [1, 2, 3, 0, 0, 4, 5, 6];
        let view = ImageView::with_stride(&bytes, 1, 2, 5, PixelFormat::Rgb8).unwrap();
        assert_eq!(view.packed_rgb().as_ref(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(view.rgb(0, 1), [4, 5, 6]);
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let bytes = [0_u8; 24];
        let strided = |w, h, s| ImageView::with_stride(&bytes, w, h, s, PixelFormat::Rgb8);
        for bad in [
            strided(0, 1, 0),
            strided(1, 0, 3),
            strided(4, 2, 11),
            strided(4, 3, 12),
            strided(1, u32::MAX, usize::MAX),
            strided(1, 1 << 20, usize::MAX),
            strided(u32::MAX, 1, usize::MAX),
            ImageView::new(&bytes, 4, 1, PixelFormat::Rgb8),
        ] {
            assert!(matches!(bad, Err(Error::ImageBuffer { .. })), "{bad:?}");
        }
    }
}
