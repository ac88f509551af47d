//! Owned RGB pixels.

use std::path::Path;

use crate::error::{Error, Result};

use super::{ImageLimits, ImageView, PixelFormat, decode};

/// An RGB image: 8 bits per channel, red first, rows from the top without gaps, sRGB.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Image {
    /// Reads a photo from a file and turns it upright.
    ///
    /// JPEG, PNG, WebP, BMP, GIF (its first picture) and TIFF, told apart by their content and not by their name. The
    /// EXIF orientation is applied, grey and 16-bit pictures become 8-bit RGB, alpha is dropped (a transparent pixel
    /// keeps its colour). Sizes are checked
    /// against the default [`ImageLimits`] before anything is allocated.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::FileTooLarge`], [`Error::ImageDecode`], [`Error::ImageTooLarge`].
    ///
    /// # Example
    /// ```no_run
    /// let photo = face_core::Image::open("photo.jpg")?;
    /// println!("{} x {}", photo.width(), photo.height());
    /// # Ok::<(), face_core::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        decode::open(path.as_ref(), &ImageLimits::default())
    }

    /// As [`open`](Self::open), from the bytes of a file in memory.
    ///
    /// # Errors
    /// [`Error::ImageDecode`], [`Error::ImageTooLarge`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        decode::decode(bytes, &ImageLimits::default())
    }

    /// An image from its RGB bytes, row by row.
    ///
    /// # Errors
    /// [`Error::ImageBuffer`] when the length is not width x height x 3, or a side is 0.
    pub fn from_raw(width: u32, height: u32, data: Vec<u8>) -> Result<Self> {
        ImageView::new(&data, width, height, PixelFormat::Rgb8)?;
        Ok(Self { width, height, data })
    }

    /// An image from parts that are known to fit.
    pub(crate) fn from_parts(width: u32, height: u32, data: Vec<u8>) -> Self {
        debug_assert_eq!(data.len(), width as usize * height as usize * 3);
        Self { width, height, data }
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The RGB bytes, row by row.
    pub fn as_raw(&self) -> &[u8] {
        &self.data
    }

    /// The RGB bytes, without a copy.
    pub fn into_raw(self) -> Vec<u8> {
        self.data
    }

    /// A view of the pixels.
    pub fn view(&self) -> ImageView<'_> {
        // The constructors have checked that the parts fit, so this repeats no check that could fail.
        match ImageView::new(&self.data, self.width, self.height, PixelFormat::Rgb8) {
            Ok(view) => view,
            Err(error) => unreachable!("an image always fits its own size: {error}"),
        }
    }

    /// Whether [`save`](Self::save) knows what to write there, by the path's ending.
    #[cfg(feature = "cli")]
    pub(crate) fn check_path(path: &Path) -> Result<()> {
        format_of(path).map(drop)
    }

    /// Writes the image as PNG, or as JPEG where the path ends so. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InvalidParameter`] for another ending.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        crate::files::write_atomically(path, &self.encode(format_of(path)?, path)?)
    }

    /// The image as the content of a PNG file.
    ///
    /// # Errors
    /// [`Error::Io`] when the encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        self.encode(image::ImageFormat::Png, Path::new("a picture in memory"))
    }

    fn encode(&self, format: image::ImageFormat, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let color = image::ExtendedColorType::Rgb8;
        image::write_buffer_with_format(&mut bytes, &self.data, self.width, self.height, color, format)
            .map_err(|e| Error::io("encode", path)(std::io::Error::other(e)))?;
        Ok(bytes.into_inner())
    }
}

fn format_of(path: &Path) -> Result<image::ImageFormat> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "png" => Ok(image::ImageFormat::Png),
        "jpg" | "jpeg" => Ok(image::ImageFormat::Jpeg),
        _ => Err(Error::InvalidParameter {
            parameter: "picture path",
            value: path.display().to_string(),
            expected: "a path that ends in .png, .jpg or .jpeg".into(),
        }),
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} x {})", self.width, self.height)
    }
}
