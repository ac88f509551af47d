//! Shrinking whole pictures for the detectors.

use fast_image_resize::images::{Image as ResizeTarget, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};

use super::{Image, ImageView};

/// Resizes to exactly that size with a triangle filter that covers every source pixel, so that nothing aliases.
///
/// The borders of the two pictures coincide: x of the source and x' of the result are related by
/// `(x' + 0.5) / width' = (x + 0.5) / width`.
pub(crate) fn shrink(image: &ImageView<'_>, width: u32, height: u32) -> Result<Image> {
    let failed = |reason: String| Error::ImageBuffer { reason };
    let pixels = image.packed_rgb();
    let source = ImageRef::new(image.width(), image.height(), &pixels, PixelType::U8x3)
        .map_err(|error| failed(error.to_string()))?;
    let mut target = ResizeTarget::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&source, &mut target, &options).map_err(|error| failed(error.to_string()))?;
    Ok(Image::from_parts(width, height, target.into_vec()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fine_stripes_average_to_grey() {
        let data: Vec<u8> = (0..64 * 64).flat_map(|i| [if i % 2 == 0 { 0 } else { 255 }; 3]).collect();
        let image = Image::from_raw(64, 64, data).unwrap();
        let small = shrink(&image.view(), 8, 8).unwrap();
        assert!(small.as_raw().iter().all(|v| v.abs_diff(127) < 12), "{:?}", small.as_raw());
    }
}
