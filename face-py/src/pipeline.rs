//! The four stages in a row.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use face_core::{
    Aligner, Analysis, Detection, Embedder, Face, FaceDetector, FacePipeline, Normalizer, StreamParams, WorkQueue,
};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors::{Outcome, invalid, raise};
use crate::image::Image;
use crate::stages::{
    DetectionParts, GivenDetection, GivenLandmarks, NativeAligner, NativeDetector, NativeEmbedder, NativeNormalizer,
    give_detection, give_landmarks,
};

/// A face as Python is given it: detection, landmarks, values of the embedding.
type GivenFace<'py> = (GivenDetection<'py>, GivenLandmarks<'py>, Bound<'py, PyArray1<f32>>);

/// All faces as Python is given them, and the detections that could not be embedded, each with the exception.
type GivenAnalysis<'py> = (Vec<GivenFace<'py>>, Vec<(GivenDetection<'py>, PyErr)>);
type SharedPipeline = FacePipeline<Arc<dyn FaceDetector>, Arc<dyn Aligner>, Arc<dyn Normalizer>, Arc<dyn Embedder>>;

/// Detector, aligner, normalizer and embedder.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativePipeline {
    pipeline: Arc<SharedPipeline>,
}

#[pymethods]
impl NativePipeline {
    #[new]
    fn new(
        detector: &NativeDetector,
        aligner: &NativeAligner,
        normalizer: &NativeNormalizer,
        embedder: &NativeEmbedder,
    ) -> Self {
        let pipeline = FacePipeline::new(
            Arc::clone(&detector.stage),
            Arc::clone(&aligner.stage),
            Arc::clone(&normalizer.stage),
            Arc::clone(&embedder.stage),
        );
        Self { pipeline: Arc::new(pipeline) }
    }

    /// Photos on their way, on so many threads, with so many ahead.
    fn stream(&self, threads: usize, ahead: usize) -> Outcome<NativeStream> {
        let queue = WorkQueue::new(&StreamParams { threads, ahead })?;
        Ok(NativeStream { pipeline: Arc::clone(&self.pipeline), queue: Mutex::new(Some(Arc::new(queue))) })
    }

    /// All faces, and the detections that could not be embedded, each with the exception.
    #[pyo3(signature = (image) -> "tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]")]
    fn analyze<'py>(&self, py: Python<'py>, image: &Bound<'py, Image>) -> Outcome<GivenAnalysis<'py>> {
        let picture = &image.get().picture;
        Ok(give_analysis(py, py.detach(|| self.pipeline.analyze(&picture.view()))?))
    }

    /// The face with the largest box; `name` is used in the error.
    #[pyo3(signature = (image, name) -> "tuple[Any, ...]")]
    fn analyze_largest<'py>(&self, py: Python<'py>, image: &Bound<'py, Image>, name: &str) -> Outcome<GivenFace<'py>> {
        let picture = &image.get().picture;
        let face = py.detach(|| self.pipeline.analyze_largest(&picture.view(), name))?;
        Ok(give_face(py, face))
    }

    /// The face nearest to the centre; `name` is used in the error.
    #[pyo3(signature = (image, name) -> "tuple[Any, ...]")]
    fn analyze_central<'py>(&self, py: Python<'py>, image: &Bound<'py, Image>, name: &str) -> Outcome<GivenFace<'py>> {
        let picture = &image.get().picture;
        let face = py.detach(|| self.pipeline.analyze_central(&picture.view(), name))?;
        Ok(give_face(py, face))
    }

    /// Stages 2 to 4 for one detection.
    #[pyo3(signature = (image, detection: "tuple[Any, ...]") -> "tuple[Any, ...]")]
    fn embed_detection<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, Image>,
        detection: DetectionParts,
    ) -> Outcome<GivenFace<'py>> {
        let (picture, detection) = (&image.get().picture, Detection::try_from(detection)?);
        let face = py.detach(|| self.pipeline.embed_detection(&picture.view(), &detection))?;
        Ok(give_face(py, face))
    }
}

/// An analysis, and width and height of its photo.
type Analyzed = face_core::Result<(Analysis, (u32, u32))>;

/// Photos on their way through a pipeline.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeStream {
    pipeline: Arc<SharedPipeline>,
    /// `None` when it was closed.
    queue: Mutex<Option<Arc<WorkQueue<Analyzed>>>>,
}

#[pymethods]
impl NativeStream {
    /// A file, which is read on a thread of the stream.
    fn push_file(&self, path: PathBuf) -> Outcome<()> {
        self.push_work(move |analyze| analyze(&face_core::Image::open(&path)?))
    }

    /// The content of a file.
    #[pyo3(signature = (content: "bytes"))]
    fn push_bytes(&self, content: PyBackedBytes) -> Outcome<()> {
        self.push_work(move |analyze| analyze(&face_core::Image::decode(&content)?))
    }

    /// A picture.
    fn push(&self, image: Py<Image>) -> Outcome<()> {
        self.push_work(move |analyze| analyze(&image.get().picture))
    }

    /// The result that is next in the order: faces, rejected detections, width and height. Raises what went wrong with the photo.
    #[pyo3(signature = () -> "tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], tuple[int, int]]")]
    fn take<'py>(
        &self,
        py: Python<'py>,
    ) -> Outcome<(Vec<GivenFace<'py>>, Vec<(GivenDetection<'py>, PyErr)>, (u32, u32))> {
        let queue = self.queue()?;
        let taken = py.detach(|| queue.take()).ok_or_else(|| invalid("no photo is on its way"))?;
        let (analysis, size) = taken?;
        let (faces, rejected) = give_analysis(py, analysis);
        Ok((faces, rejected, size))
    }

    /// Photos that were begun are finished in the background, and no others begin.
    fn close(&self, py: Python<'_>) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(queue));
    }
}

impl NativeStream {
    fn queue(&self) -> PyResult<Arc<WorkQueue<Analyzed>>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone().ok_or_else(|| invalid("the stream is closed"))
    }

    fn push_work(
        &self,
        work: impl FnOnce(&dyn Fn(&face_core::Image) -> Analyzed) -> Analyzed + Send + 'static,
    ) -> Outcome<()> {
        let pipeline = Arc::clone(&self.pipeline);
        let analyze =
            move |photo: &face_core::Image| Ok((pipeline.analyze(&photo.view())?, (photo.width(), photo.height())));
        let is_pushed = self.queue()?.push(move || work(&analyze));
        if is_pushed { Ok(()) } else { Err(invalid("the stream has no room").into()) }
    }
}

/// Sets over how many threads a network is spread that a call runs by itself, in the whole process: 1 for none but the caller's, 0 for
/// one on each core, as it is from the beginning.
///
/// Several calls at once share them; within a stream, batch or folder, where there is a photo for each core, a network has one thread.
/// The numbers are the same for every setting. Raises ParameterError for more than 1024.
#[pyfunction]
pub(crate) fn set_threads(threads: usize) -> Outcome<()> {
    Ok(face_core::inference::set_threads(threads)?)
}

fn give_analysis(py: Python<'_>, analysis: Analysis) -> GivenAnalysis<'_> {
    let faces = analysis.faces.into_iter().map(|face| give_face(py, face)).collect();
    let rejected = analysis.rejected.iter();
    let rejected = rejected.map(|(detection, error)| (give_detection(py, detection), raise(py, error)));
    (faces, rejected.collect())
}

fn give_face<'py>(py: Python<'py>, face: Face) -> GivenFace<'py> {
    let Face { detection, landmarks, embedding } = face;
    let values = PyArray1::from_vec(py, embedding.into_vector());
    (give_detection(py, &detection), give_landmarks(py, &landmarks), values)
}
