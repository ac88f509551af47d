//! The four stages, each alone.

use std::path::PathBuf;
use std::sync::Arc;

use face_core::detectors::DetectionParams;
use face_core::inference::Engine;
use face_core::models::EmbedderSpec;
use face_core::normalizers::SimilarityNormalizer;
use face_core::{
    Aligner, BoundingBox, CropSpec, Detection, Embedder, FaceCrop, FaceDetector, LandmarkScheme, Landmarks,
    ModelSource, ModelStore, Normalizer, PipelineParams, Point, open_aligner, open_detector, open_embedder,
};
use numpy::{PyArray1, PyArray2, PyArray3};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyTuple};

use crate::errors::{Outcome, invalid};
use crate::image::{Image, pixels};
use crate::models::store;
use crate::space::EmbeddingSpace;

/// Landmarks as Python gives them: five points (x, y), and the scheme's name.
pub(crate) type LandmarkParts = ([[f32; 2]; 5], String);
/// A detection as Python gives it: (x, y, width, height), the score, landmarks.
#[derive(FromPyObject)]
pub(crate) struct DetectionParts(pub(crate) [f32; 4], pub(crate) f32, pub(crate) Option<LandmarkParts>);
/// Landmarks as Python is given them: an array of shape (5, 2), and the scheme's name.
pub(crate) type GivenLandmarks<'py> = (Bound<'py, PyArray2<f32>>, &'static str);
/// A detection as Python is given it: an array (x, y, width, height), the score, landmarks.
pub(crate) type GivenDetection<'py> = (Bound<'py, PyArray1<f32>>, f32, Option<GivenLandmarks<'py>>);

impl TryFrom<DetectionParts> for Detection {
    type Error = PyErr;

    fn try_from(DetectionParts([x, y, width, height], score, points): DetectionParts) -> PyResult<Self> {
        let landmarks = points.map(landmarks).transpose()?;
        Ok(Self { bounding_box: BoundingBox::new(x, y, width, height), score, landmarks })
    }
}

pub(crate) fn landmarks((points, scheme): LandmarkParts) -> PyResult<Landmarks> {
    let points = points.map(|[x, y]| Point::new(x, y));
    for known in [LandmarkScheme::EyesNoseMouth, LandmarkScheme::EyeCornersNose] {
        if known.name() == scheme {
            return Ok(Landmarks { scheme: known, points });
        }
    }
    Err(invalid(format!(
        "the scheme of the landmarks is {scheme:?}, and must be {:?} or {:?}",
        LandmarkScheme::EyesNoseMouth.name(),
        LandmarkScheme::EyeCornersNose.name()
    )))
}

pub(crate) fn give_landmarks<'py>(py: Python<'py>, landmarks: &Landmarks) -> GivenLandmarks<'py> {
    let points = landmarks.points.map(|point| [point.x, point.y]);
    (PyArray2::from_owned_array(py, ndarray::arr2(&points)), landmarks.scheme.name())
}

pub(crate) fn give_detection<'py>(py: Python<'py>, detection: &Detection) -> GivenDetection<'py> {
    let BoundingBox { x, y, width, height } = detection.bounding_box;
    let landmarks = detection.landmarks.as_ref().map(|landmarks| give_landmarks(py, landmarks));
    (PyArray1::from_slice(py, &[x, y, width, height]), detection.score, landmarks)
}

/// Where a model comes from: the folder of models, and a name in the catalogue, a file, or bytes with a name for messages; with none
/// of the three it is the default one.
#[derive(FromPyObject)]
struct ModelParts(Option<PathBuf>, Option<String>, Option<PathBuf>, Option<(String, PyBackedBytes)>);

impl ModelParts {
    fn open(self) -> Outcome<(ModelStore, ModelSource)> {
        let Self(folder, name, path, content) = self;
        let source = match (name, path, content) {
            (Some(name), ..) => ModelSource::Catalogue(name),
            (_, Some(path), _) => ModelSource::File(path),
            (.., Some((name, content))) => ModelSource::Bytes { name, content: content.to_vec() },
            (None, None, None) => ModelSource::Default,
        };
        Ok((store(folder, None)?, source))
    }
}

/// Stage 1.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeDetector {
    pub(crate) stage: Arc<dyn FaceDetector>,
}

#[pymethods]
impl NativeDetector {
    #[new]
    #[pyo3(signature = (model: "tuple[str | None, str | None, str | None, tuple[str, bytes] | None]", *, score_threshold, nms_threshold, min_size, max_faces, max_side, small_side))]
    fn new(
        py: Python<'_>,
        model: ModelParts,
        score_threshold: Option<f32>,
        nms_threshold: f32,
        min_size: f32,
        max_faces: usize,
        max_side: u32,
        small_side: Option<u32>,
    ) -> Outcome<Self> {
        let params = DetectionParams { score_threshold, nms_threshold, min_size, max_faces, max_side, small_side };
        let (store, source) = model.open()?;
        Ok(Self { stage: Arc::from(py.detach(|| open_detector(&store, &source, &params, &Engine::default()))?) })
    }

    /// All faces, the most certain first.
    #[pyo3(signature = (image) -> "list[tuple[Any, ...]]")]
    fn detect<'py>(&self, py: Python<'py>, image: &Bound<'py, Image>) -> Outcome<Vec<GivenDetection<'py>>> {
        let picture = &image.get().picture;
        let detections = py.detach(|| self.stage.detect(&picture.view()))?;
        Ok(detections.iter().map(|detection| give_detection(py, detection)).collect())
    }
}

/// Stage 2.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeAligner {
    pub(crate) stage: Arc<dyn Aligner>,
}

#[pymethods]
impl NativeAligner {
    /// The aligner that finds the landmarks of this scheme.
    #[new]
    #[pyo3(signature = (scheme, folder: "str | None"))]
    fn new(py: Python<'_>, scheme: String, folder: Option<PathBuf>) -> Outcome<Self> {
        let scheme = landmarks(([[0.0; 2]; 5], scheme))?.scheme;
        let store = store(folder, None)?;
        Ok(Self { stage: Arc::from(py.detach(|| open_aligner(&store, scheme))?) })
    }

    /// Five landmarks.
    #[pyo3(signature = (image, detection: "tuple[Any, ...]") -> "tuple[numpy.ndarray, str]")]
    fn align<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, Image>,
        detection: DetectionParts,
    ) -> Outcome<GivenLandmarks<'py>> {
        let (picture, detection) = (&image.get().picture, Detection::try_from(detection)?);
        let landmarks = py.detach(|| self.stage.align(&picture.view(), &detection))?;
        Ok(give_landmarks(py, &landmarks))
    }
}

/// Stage 3.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeNormalizer {
    pub(crate) stage: Arc<dyn Normalizer>,
}

#[pymethods]
impl NativeNormalizer {
    /// The normalizer that makes the crops of an embedder.
    #[staticmethod]
    fn of_embedder(embedder: &NativeEmbedder) -> Outcome<Self> {
        Ok(Self { stage: Arc::new(SimilarityNormalizer::new(embedder.stage.crop_spec().clone())?) })
    }

    /// The normalizer for a template of the catalogue, with these zooms.
    #[staticmethod]
    fn of_template(template: &str, zooms: Vec<f32>) -> Outcome<Self> {
        let template = face_core::templates::Template::by_name(template)?.clone();
        Ok(Self { stage: Arc::new(SimilarityNormalizer::new(CropSpec { template, zooms })?) })
    }

    /// The face, on its template.
    #[pyo3(signature = (image, points: "tuple[list[list[float]], str]"))]
    fn normalize(&self, py: Python<'_>, image: &Bound<'_, Image>, points: LandmarkParts) -> Outcome<Crop> {
        let (picture, landmarks) = (&image.get().picture, landmarks(points)?);
        Ok(Crop { crop: py.detach(|| self.stage.normalize(&picture.view(), &landmarks))? })
    }
}

/// A normalized face: one picture for each zoom of the embedder it was cut for. A notebook shows the first.
#[pyclass(frozen, module = "facecore")]
pub(crate) struct Crop {
    pub(crate) crop: FaceCrop,
}

#[pymethods]
impl Crop {
    /// The pictures, each of shape (height, width, 3), dtype uint8, RGB; what lay outside of the photo is black.
    #[getter]
    fn views<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyArray3<u8>>>> {
        self.crop.views.iter().map(|view| pixels(py, view)).collect()
    }

    /// The similarity transform from pixels of the photo to pixels of the crop at zoom 1: shape (2, 3), dtype float64.
    #[getter]
    fn transform<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray2<f64>> {
        let face_core::SimilarityTransform { a, b, tx, ty } = self.crop.transform;
        PyArray2::from_owned_array(py, ndarray::arr2(&[[a, -b, tx], [b, a, ty]]))
    }

    /// Name of the template.
    #[getter]
    fn template(&self) -> &str {
        &self.crop.spec.template.name
    }

    /// What a notebook shows.
    #[pyo3(signature = () -> "bytes")]
    fn _repr_png_<'py>(&self, py: Python<'py>) -> Outcome<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.crop.views[0].to_png()?))
    }

    /// A crop that was pickled.
    #[staticmethod]
    #[pyo3(signature = (views: "list[Image]", template: "tuple[str, int, int]", points: "tuple[list[list[float]], str]", zooms, transform: "list[float]"))]
    fn _restore(
        views: Vec<Bound<'_, Image>>,
        template: (String, u32, u32),
        points: LandmarkParts,
        zooms: Vec<f32>,
        transform: [f64; 4],
    ) -> Outcome<Self> {
        let (name, width, height) = template;
        let template = face_core::templates::Template::new(name, width, height, landmarks(points)?)?;
        let views = views.iter().map(|view| view.get().picture.clone()).collect();
        let mut crop = FaceCrop::from_aligned_views(views, CropSpec { template, zooms })?;
        let [a, b, tx, ty] = transform;
        crop.transform = face_core::SimilarityTransform { a, b, tx, ty };
        Ok(Self { crop })
    }

    #[pyo3(signature = () -> "tuple[Any, ...]")]
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let FaceCrop { spec, views, transform } = &self.crop;
        let views = views.iter().map(|view| Bound::new(py, Image { picture: view.clone() }));
        let views = views.collect::<PyResult<Vec<_>>>()?;
        let template = (&*spec.template.name, spec.template.width, spec.template.height);
        let points = spec.template.landmarks.points.map(|point| [point.x, point.y]);
        let points = (points, spec.template.landmarks.scheme.name());
        let transform = [transform.a, transform.b, transform.tx, transform.ty];
        let arguments = (views, template, points, spec.zooms.clone(), transform).into_pyobject(py)?;
        Ok((py.get_type::<Self>().getattr("_restore")?, arguments))
    }

    fn __repr__(&self) -> String {
        format!("<Crop {}>", self.crop.spec)
    }
}

/// Stage 4.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeEmbedder {
    pub(crate) stage: Arc<dyn Embedder>,
}

#[pymethods]
impl NativeEmbedder {
    #[new]
    #[pyo3(signature = (model: "tuple[str | None, str | None, str | None, tuple[str, bytes] | None]", *, variant, spec))]
    fn new(py: Python<'_>, model: ModelParts, variant: Option<String>, spec: Option<String>) -> Outcome<Self> {
        let embedder_spec = spec.as_deref().map(EmbedderSpec::from_toml).transpose()?;
        let (store, embedder) = model.open()?;
        let params = PipelineParams { embedder, variant, embedder_spec, ..PipelineParams::default() };
        Ok(Self { stage: Arc::from(py.detach(|| open_embedder(&store, &params))?) })
    }

    /// The values of the embedding of a normalized face.
    #[pyo3(signature = (crop) -> "numpy.ndarray")]
    fn embed<'py>(&self, py: Python<'py>, crop: &Bound<'py, Crop>) -> Outcome<Bound<'py, PyArray1<f32>>> {
        let crop = &crop.get().crop;
        let embedding = py.detach(|| self.stage.embed(crop))?;
        Ok(PyArray1::from_vec(py, embedding.into_vector()))
    }

    /// A crop that was cut by other means: one picture for each zoom.
    fn crop_of(&self, views: Vec<Bound<'_, Image>>) -> Outcome<Crop> {
        let views = views.iter().map(|view| view.get().picture.clone()).collect();
        Ok(Crop { crop: FaceCrop::from_aligned_views(views, self.stage.crop_spec().clone())? })
    }

    /// The space of the embeddings.
    #[getter]
    fn space(&self) -> EmbeddingSpace {
        EmbeddingSpace { space: Arc::clone(self.stage.space()) }
    }

    /// Width and height of the crops, in pixels.
    #[getter]
    fn crop_size(&self) -> (u32, u32) {
        let template = &self.stage.crop_spec().template;
        (template.width, template.height)
    }

    /// The scheme of the landmarks that the crops are cut by.
    #[getter]
    fn landmark_scheme(&self) -> &'static str {
        self.stage.crop_spec().template.landmarks.scheme.name()
    }
}
