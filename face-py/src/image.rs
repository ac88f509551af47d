//! Pictures.

use std::path::PathBuf;

use face_core::draw::NamedBox;
use face_core::{Detection, ImageView, PixelFormat};
use numpy::{PyArray3, PyArrayMethods as _, PyReadonlyArrayDyn, PyUntypedArrayMethods as _};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::errors::{Outcome, invalid};
use crate::stages::DetectionParts;

/// A decoded picture: RGB, 8 bits a channel, turned as its EXIF orientation says.
///
/// Made by `facecore.load()`. Decode a photo once, and give the Image to every function that takes a photo. It never changes, and
/// may be used by any number of threads. `numpy.asarray(image)` is an array of shape (height, width, 3), dtype uint8; a notebook
/// shows the picture.
#[pyclass(frozen, module = "facecore")]
pub(crate) struct Image {
    pub(crate) picture: face_core::Image,
}

#[pymethods]
impl Image {
    /// Decodes a file: JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> Outcome<Self> {
        Ok(Self { picture: py.detach(|| face_core::Image::open(path))? })
    }

    /// Decodes the content of such a file.
    #[staticmethod]
    #[pyo3(signature = (content: "bytes"))]
    fn decode(py: Python<'_>, content: PyBackedBytes) -> Outcome<Self> {
        Ok(Self { picture: py.detach(|| face_core::Image::decode(&content))? })
    }

    /// Copies an array of uint8: (height, width) grey, (height, width, 3) or (height, width, 4) colour.
    #[staticmethod]
    #[pyo3(signature = (pixels: "numpy.ndarray", bgr))]
    fn from_array(pixels: PyReadonlyArrayDyn<'_, u8>, bgr: bool) -> Outcome<Self> {
        let (height, width, format) = match (pixels.shape(), bgr) {
            ([height, width] | [height, width, 1], _) => (*height, *width, PixelFormat::Gray8),
            ([height, width, 3], false) => (*height, *width, PixelFormat::Rgb8),
            ([height, width, 3], true) => (*height, *width, PixelFormat::Bgr8),
            ([height, width, 4], false) => (*height, *width, PixelFormat::Rgba8),
            ([height, width, 4], true) => (*height, *width, PixelFormat::Bgra8),
            (shape, _) => {
                let message = format!(
                    "an array of shape {shape:?} is no picture: expected (height, width), (height, width, 3) or (height, width, 4)"
                );
                return Err(invalid(message).into());
            }
        };
        let [Ok(width), Ok(height)] = [width, height].map(u32::try_from) else {
            return Err(invalid(format!("{width} x {height} pixels are more than any picture has")).into());
        };
        let Ok(data) = pixels.as_slice() else {
            return Err(invalid("the array is not contiguous: give numpy.ascontiguousarray(it)").into());
        };
        // Copied while the interpreter is held: another thread may write to the array afterwards.
        Ok(Self { picture: ImageView::new(data, width, height, format)?.to_image() })
    }

    /// Width in pixels.
    #[getter]
    fn width(&self) -> u32 {
        self.picture.width()
    }

    /// Height in pixels.
    #[getter]
    fn height(&self) -> u32 {
        self.picture.height()
    }

    /// A copy of the pixels: shape (height, width, 3), dtype uint8, RGB.
    #[pyo3(signature = () -> "numpy.ndarray")]
    fn to_array<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray3<u8>>> {
        pixels(py, &self.picture)
    }

    /// What `numpy.asarray` asks for.
    #[pyo3(signature = (dtype=None, copy=None) -> "numpy.ndarray")]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            return Err(pyo3::exceptions::PyValueError::new_err("the pixels of an Image cannot be had without a copy"));
        }
        let array = pixels(py, &self.picture)?.into_any();
        match dtype {
            Some(dtype) => array.call_method1("astype", (dtype,)),
            None => Ok(array),
        }
    }

    /// Writes the picture as PNG, or as JPEG where the path ends so. The file appears whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> Outcome<()> {
        Ok(py.detach(|| self.picture.save(path))?)
    }

    /// The picture as the content of a PNG file.
    #[pyo3(signature = () -> "bytes")]
    fn to_png<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyBytes>> {
        let content = py.detach(|| self.picture.to_png())?;
        Ok(PyBytes::new(py, &content))
    }

    /// What a notebook shows.
    #[pyo3(signature = () -> "bytes")]
    fn _repr_png_<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyBytes>> {
        self.to_png(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyArray3<u8>>, bool))> {
        let make = py.get_type::<Self>().getattr("from_array")?;
        Ok((make, (pixels(py, &self.picture)?, false)))
    }

    fn __repr__(&self) -> String {
        format!("<Image {} x {}>", self.picture.width(), self.picture.height())
    }
}

/// The longest side in pixels and the most pixels that an array or a file may have.
#[pyfunction]
#[pyo3(signature = () -> "tuple[int, int]")]
pub(crate) fn image_limits() -> (u32, u64) {
    let limits = face_core::ImageLimits::default();
    (limits.max_side, limits.max_pixels)
}

/// How the names of files that can be decoded end, in lower case, with the dot.
#[pyfunction]
#[pyo3(signature = () -> "list[str]")]
pub(crate) fn picture_endings() -> Vec<String> {
    face_core::image::ENDINGS.iter().map(|ending| format!(".{ending}")).collect()
}

/// The pixels of a picture as an array.
pub(crate) fn pixels<'py>(py: Python<'py>, picture: &face_core::Image) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let shape = [picture.height() as usize, picture.width() as usize, 3];
    numpy::PyArray1::from_slice(py, picture.as_raw()).reshape(shape)
}

/// A copy of the picture with the box, the score and the landmarks of every detection.
#[pyfunction]
#[pyo3(signature = (image, detections: "list[tuple[Any, ...]]"))]
pub(crate) fn draw_detections(
    py: Python<'_>,
    image: &Bound<'_, Image>,
    detections: Vec<DetectionParts>,
) -> Outcome<Image> {
    let picture = &image.get().picture;
    let detections = detections.into_iter().map(Detection::try_from).collect::<PyResult<Vec<_>>>()?;
    Ok(Image { picture: py.detach(|| face_core::draw_detections(&picture.view(), &detections))? })
}

/// A copy of the picture with a box and a name for every face: (box, name, whether that is somebody).
#[pyfunction]
#[pyo3(signature = (image, faces: "list[tuple[list[float], str, bool]]"))]
pub(crate) fn draw_names(
    py: Python<'_>,
    image: &Bound<'_, Image>,
    faces: Vec<([f32; 4], String, bool)>,
) -> Outcome<Image> {
    let picture = &image.get().picture;
    let faces = faces.into_iter().map(|([x, y, width, height], label, is_known)| NamedBox {
        bounding_box: face_core::BoundingBox::new(x, y, width, height),
        label,
        is_known,
    });
    let faces: Vec<_> = faces.collect();
    Ok(Image { picture: py.detach(|| face_core::draw::draw_names(&picture.view(), &faces))? })
}
