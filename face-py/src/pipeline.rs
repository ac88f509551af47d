//! The four stages in a row.

use std::sync::Arc;

use face_core::{Aligner, Detection, Embedder, Face, FaceDetector, FacePipeline, Normalizer};
use numpy::PyArray1;
use pyo3::prelude::*;

use crate::errors::{Outcome, raise};
use crate::image::Image;
use crate::stages::{
    DetectionParts, GivenDetection, GivenLandmarks, NativeAligner, NativeDetector, NativeEmbedder, NativeNormalizer,
    give_detection, give_landmarks,
};

/// A face as Python is given it: detection, landmarks, values of the embedding.
type GivenFace<'py> = (GivenDetection<'py>, GivenLandmarks<'py>, Bound<'py, PyArray1<f32>>);

/// Detector, aligner, normalizer and embedder.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativePipeline {
    pipeline: FacePipeline<Arc<dyn FaceDetector>, Arc<dyn Aligner>, Arc<dyn Normalizer>, Arc<dyn Embedder>>,
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
        Self { pipeline }
    }

    /// All faces, and the detections that could not be embedded, each with the exception.
    #[pyo3(signature = (image) -> "tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]")]
    fn analyze<'py>(
        &self,
        py: Python<'py>,
        image: &Bound<'py, Image>,
    ) -> Outcome<(Vec<GivenFace<'py>>, Vec<(GivenDetection<'py>, PyErr)>)> {
        let picture = &image.get().picture;
        let analysis = py.detach(|| self.pipeline.analyze(&picture.view()))?;
        let faces = analysis.faces.into_iter().map(|face| give_face(py, face)).collect();
        let rejected = analysis.rejected.iter();
        let rejected = rejected.map(|(detection, error)| (give_detection(py, detection), raise(py, error)));
        Ok((faces, rejected.collect()))
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

fn give_face<'py>(py: Python<'py>, face: Face) -> GivenFace<'py> {
    let Face { detection, landmarks, embedding } = face;
    let values = PyArray1::from_vec(py, embedding.into_vector());
    (give_detection(py, &detection), give_landmarks(py, &landmarks), values)
}
