//! From files and bytes to upright RGB pixels.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageError, ImageReader};

use crate::error::{Error, Result};

use super::Image;
use super::view::MAX_SIDE;

/// How the names of files that can be decoded end, in lower case, without the dot.
pub const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// How large a picture may claim to be before it is refused. Checked before pixels are allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Longest side in pixels. At most 1,048,576.
    pub max_side: u32,
    /// Width times height.
    pub max_pixels: u64,
    /// Bytes of an encoded file.
    pub max_file_bytes: u64,
}

impl Default for ImageLimits {
    /// Sides of 32,768 pixels, 134 megapixels (more than any current camera body takes in one shot), files of 512 MiB.
    fn default() -> Self {
        Self { max_side: 1 << 15, max_pixels: 1 << 27, max_file_bytes: 1 << 29 }
    }
}

/// Room that a decoder may use beside the pixels themselves, in bytes.
const DECODER_OVERHEAD: u64 = 64 << 20;
/// Widest pixel that a decoder hands out: four channels of 32-bit floats.
const MAX_BYTES_PER_PIXEL: u64 = 16;

/// Reads a photo from a file with limits of one's own. See [`Image::open`].
///
/// # Errors
/// [`Error::Io`], [`Error::FileTooLarge`], [`Error::ImageDecode`], [`Error::ImageTooLarge`].
pub fn open(path: &Path, limits: &ImageLimits) -> Result<Image> {
    let bytes = crate::files::read_at_most(path, limits.max_file_bytes)?;
    decode_named(&bytes, limits, path.display().to_string())
}

/// Reads a photo from bytes with limits of one's own. See [`Image::decode`].
///
/// # Errors
/// [`Error::ImageDecode`], [`Error::ImageTooLarge`].
pub fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<Image> {
    decode_named(bytes, limits, "bytes in memory".to_owned())
}

fn decode_named(bytes: &[u8], limits: &ImageLimits, origin: String) -> Result<Image> {
    let unreadable = |reason: String| Error::ImageDecode { origin: origin.clone(), reason };
    if bytes.is_empty() {
        return Err(unreadable("it is empty".to_owned()));
    }
    if is_truncated_jpeg(bytes) {
        return Err(unreadable("the JPEG has no end (truncated?)".to_owned()));
    }
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| unreadable(error.to_string()))?;
    if reader.format().is_none() {
        return Err(unreadable("its content is none of JPEG, PNG, WebP, BMP, GIF, TIFF".to_owned()));
    }
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc =
        Some(limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL).saturating_add(DECODER_OVERHEAD));
    reader.limits(decoder_limits);

    let mut decoder = reader.into_decoder().map_err(|error| unreadable(explain(error)))?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, limits, &origin)?;
    let orientation = decoder.orientation().map_err(|error| unreadable(explain(error)))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| unreadable(explain(error)))?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Image::from_raw(width, height, rgb.into_raw())
}

fn check_size(width: u32, height: u32, limits: &ImageLimits, origin: &str) -> Result<()> {
    let max_side = limits.max_side.min(MAX_SIDE);
    let limit = if width > max_side || height > max_side {
        format!("{max_side} pixels a side")
    } else if u64::from(width) * u64::from(height) > limits.max_pixels {
        format!("{} pixels in all", limits.max_pixels)
    } else {
        return Ok(());
    };
    Err(Error::ImageTooLarge { origin: origin.to_owned(), width, height, limit })
}

/// Whether a JPEG lacks its end marker. Decoders fill what is missing with grey, and a face cut in two is no face.
///
/// The segments before the scan are skipped by their stated length, because a thumbnail in them has an end of its own.
fn is_truncated_jpeg(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    if !bytes.starts_with(&[0xFF, 0xD8]) {
        return false;
    }
    let mut at = 2;
    while let Some([0xFF, marker, rest @ ..]) = bytes.get(at..) {
        match (*marker, rest) {
            // Any number of fill bytes may stand before a marker.
            (0xFF, _) => at += 1,
            (START_OF_SCAN, scan) => return !scan.windows(2).any(|pair| pair == END_OF_IMAGE),
            (_, [high, low, ..]) => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return true,
        }
    }
    // Either the file ends before its scan, or it is damaged in a way that the decoder will name.
    at >= bytes.len()
}

fn explain(error: ImageError) -> String {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file ends too early (truncated?)".to_owned()
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, ImageFormat};

    /// A 3 x 2 picture whose pixels are all different.
    fn picture() -> Vec<u8> {
        (0..18).map(|i| i * 13).collect()
    }

    fn encode(format: ImageFormat, data: &[u8], color: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image::write_buffer_with_format(&mut bytes, data, 3, 2, color, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn lossless_formats_come_back_bit_for_bit() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
            let image = Image::decode(&encode(format, &picture(), ExtendedColorType::Rgb8)).unwrap();
            assert_eq!((image.width(), image.height(), image.as_raw()), (3, 2, picture().as_slice()), "{format:?}");
        }
    }

    #[test]
    fn jpeg_and_gif_decode() {
        let flat = [90_u8; 18];
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let image = Image::decode(&encode(format, &flat, ExtendedColorType::Rgb8)).unwrap();
            assert_eq!((image.width(), image.height()), (3, 2), "{format:?}");
            assert!(image.as_raw().iter().all(|v| v.abs_diff(90) <= 4), "{format:?}");
        }
    }

    #[test]
    fn grey_alpha_and_sixteen_bits_become_rgb() {
        let grey = encode(ImageFormat::Png, &[0, 50, 100, 150, 200, 250], ExtendedColorType::L8);
        assert_eq!(Image::decode(&grey).unwrap().as_raw()[..6], [0, 0, 0, 50, 50, 50]);
        let alpha: Vec<u8> = (0..6).flat_map(|i| [i, i + 1, i + 2, 128]).collect();
        let alpha = encode(ImageFormat::Png, &alpha, ExtendedColorType::Rgba8);
        assert_eq!(Image::decode(&alpha).unwrap().as_raw()[..6], [0, 1, 2, 1, 2, 3]);
        let deep: Vec<u8> = (0..18_u16).flat_map(|i| (i * 257 * 13).to_ne_bytes()).collect();
        let deep = encode(ImageFormat::Png, &deep, ExtendedColorType::Rgb16);
        assert_eq!(Image::decode(&deep).unwrap().as_raw(), picture());
    }

    /// A minimal EXIF block with the orientation tag alone.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut block = b"II*\0\x08\0\0\0".to_vec();
        block.extend([1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0]);
        block
    }

    #[test]
    fn exif_orientation_is_applied_to_every_format_that_has_it() {
        // Where each of the eight orientations leaves the six pixels, row by row, and the size.
        let cases: [(u8, [usize; 6], (u32, u32)); 8] = [
            (1, [0, 1, 2, 3, 4, 5], (3, 2)),
            (2, [2, 1, 0, 5, 4, 3], (3, 2)),
            (3, [5, 4, 3, 2, 1, 0], (3, 2)),
            (4, [3, 4, 5, 0, 1, 2], (3, 2)),
            (5, [0, 3, 1, 4, 2, 5], (2, 3)),
            (6, [3, 0, 4, 1, 5, 2], (2, 3)),
            (7, [5, 2, 4, 1, 3, 0], (2, 3)),
            (8, [2, 5, 1, 4, 0, 3], (2, 3)),
        ];
        // Each pixel of the picture as a square of 16, so that JPEG keeps it apart from its neighbours.
        let large = |scale: u32| -> Vec<u8> {
            let places =
                (0..2 * scale).flat_map(|y| (0..3 * scale).map(move |x| (x / scale + 3 * (y / scale)) as usize));
            places.flat_map(|place| [40 * place as u8; 3]).collect()
        };
        for (orientation, places, (width, height)) in cases {
            for scale in [1, 16] {
                let mut bytes = Vec::new();
                if scale == 1 {
                    let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
                    encoder.set_exif_metadata(exif(orientation)).unwrap();
                    encoder.write_image(&large(1), 3, 2, ExtendedColorType::Rgb8).unwrap();
                } else {
                    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95);
                    encoder.set_exif_metadata(exif(orientation)).unwrap();
                    encoder.write_image(&large(scale), 3 * scale, 2 * scale, ExtendedColorType::Rgb8).unwrap();
                }
                let image = Image::decode(&bytes).unwrap();
                assert_eq!((image.width(), image.height()), (width * scale, height * scale), "{orientation}");
                for (index, place) in places.into_iter().enumerate() {
                    let (x, y) = (index as u32 % width, index as u32 / width);
                    let [value, ..] = image.view().rgb(x * scale + scale / 2, y * scale + scale / 2);
                    assert!(value.abs_diff(40 * place as u8) <= 6, "orientation {orientation}, pixel {index}: {value}");
                }
            }
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let jpeg = {
            let noise: Vec<u8> = (0..64 * 64 * 3_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let mut bytes = Cursor::new(Vec::new());
            image::write_buffer_with_format(&mut bytes, &noise, 64, 64, ExtendedColorType::Rgb8, ImageFormat::Jpeg)
                .unwrap();
            bytes.into_inner()
        };
        let png = encode(ImageFormat::Png, &picture(), ExtendedColorType::Rgb8);
        let cases: [(&str, &[u8]); 5] = [
            ("empty", &[]),
            ("text", b"I am no picture at all, whatever my name says"),
            ("half a JPEG", &jpeg[..jpeg.len() / 2]),
            ("half a PNG", &png[..png.len() / 2]),
            ("the head of a JPEG", &jpeg[..20]),
        ];
        for (name, bytes) in cases {
            let result = Image::decode(bytes);
            assert!(matches!(result, Err(Error::ImageDecode { .. })), "{name}: {result:?}");
        }
    }

    #[test]
    fn a_vast_claim_is_refused_before_it_is_believed() {
        let mut png = encode(ImageFormat::Png, &picture(), ExtendedColorType::Rgb8);
        png[16..20].copy_from_slice(&100_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&100_000_u32.to_be_bytes());
        let checksum = {
            // CRC-32 of the IHDR chunk, so that the claim itself is well-formed.
            let mut crc = u32::MAX;
            for byte in &png[12..29] {
                crc ^= u32::from(*byte);
                for _ in 0..8 {
                    crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
                }
            }
            !crc
        };
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = Image::decode(&png).unwrap_err();
        assert!(matches!(error, Error::ImageTooLarge { width: 100_000, height: 100_000, .. }), "{error}");
        let small = ImageLimits { max_pixels: 5, ..ImageLimits::default() };
        let bytes = encode(ImageFormat::Png, &picture(), ExtendedColorType::Rgb8);
        assert!(matches!(decode(&bytes, &small), Err(Error::ImageTooLarge { .. })));
    }
}
