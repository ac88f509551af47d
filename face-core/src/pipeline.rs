//! The four stages in a row.

mod open;
mod queue;
mod stream;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::geometry::{Landmarks, Point};
use crate::image::ImageView;
use crate::stage::{Aligner, Detection, Embedder, Embedding, FaceDetector, Normalizer};

#[cfg(any(feature = "cli", feature = "train"))]
pub(crate) use open::is_path;
#[cfg(feature = "train")]
pub(crate) use open::open_onnx_embedder;
pub use open::{ModelSource, PipelineParams, open_aligner, open_detector, open_embedder};
pub use queue::{StreamParams, WorkQueue};
pub use stream::{AnalysisStream, PhotoSource};

/// Chains a detector, an aligner, a normalizer and an embedder. One pipeline serves all threads.
///
/// Each stage is a public field and can be called alone. The parts can be chosen at compile time or, as boxed traits,
/// at run time (the default type parameters).
pub struct FacePipeline<D = Box<dyn FaceDetector>, A = Box<dyn Aligner>, N = Box<dyn Normalizer>, E = Box<dyn Embedder>>
{
    /// Stage 1.
    pub detector: D,
    /// Stage 2.
    pub aligner: A,
    /// Stage 3.
    pub normalizer: N,
    /// Stage 4.
    pub embedder: E,
}

/// One face of a photo, with all that the pipeline found out about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    /// Box, score and the detector's own landmarks, in pixels of the photo.
    pub detection: Detection,
    /// The aligner's landmarks, in pixels of the photo.
    pub landmarks: Landmarks,
    /// The feature vector.
    pub embedding: Embedding,
}

/// The faces of a photo.
#[derive(Debug, Default)]
pub struct Analysis {
    /// Faces with embeddings, the most certain detection first.
    pub faces: Vec<Face>,
    /// Detections that could not be embedded (their landmarks are degenerate, say), with the reason.
    pub rejected: Vec<(Detection, Error)>,
}

impl Analysis {
    /// The face with the largest box.
    pub fn largest(&self) -> Option<&Face> {
        self.faces.iter().max_by(|a, b| by_area(&a.detection, &b.detection))
    }
}

impl<D: FaceDetector, A: Aligner, N: Normalizer, E: Embedder> FacePipeline<D, A, N, E> {
    /// A pipeline of these four stages.
    pub fn new(detector: D, aligner: A, normalizer: N, embedder: E) -> Self {
        Self { detector, aligner, normalizer, embedder }
    }

    /// Finds and embeds every face of a photo. No face is an empty analysis, not an error.
    ///
    /// # Errors
    /// As [`FaceDetector::detect`]; [`Error::CropMismatch`], [`Error::LandmarkScheme`] and [`Error::LandmarksMissing`]
    /// when the stages do not fit together; [`Error::Inference`]. What goes wrong with a single face alone is in
    /// [`Analysis::rejected`].
    pub fn analyze(&self, image: &ImageView<'_>) -> Result<Analysis> {
        let mut analysis = Analysis::default();
        for detection in self.detector.detect(image)? {
            match self.embed_detection(image, &detection) {
                Ok(face) => analysis.faces.push(face),
                // The stages do not fit together, or the network fails: no face would ever come out.
                Err(
                    error @ (Error::CropMismatch { .. }
                    | Error::Inference { .. }
                    | Error::LandmarkScheme { .. }
                    | Error::LandmarksMissing { .. }),
                ) => return Err(error),
                Err(error) => analysis.rejected.push((detection, error)),
            }
        }
        Ok(analysis)
    }

    /// The face with the largest box; `name` is used in the error.
    ///
    /// Only that face is embedded.
    ///
    /// # Errors
    /// [`Error::NoFace`]; as the four stages.
    pub fn analyze_largest(&self, image: &ImageView<'_>, name: &str) -> Result<Face> {
        let largest = largest(&self.detector.detect(image)?).ok_or_else(|| Error::NoFace { image: name.to_owned() })?;
        self.embed_detection(image, &largest)
    }

    /// The face nearest to the centre of the photo, as photos of labelled sets are cut; `name` is used in the error.
    ///
    /// Only that face is embedded.
    ///
    /// # Errors
    /// [`Error::NoFace`]; as the four stages.
    pub fn analyze_central(&self, image: &ImageView<'_>, name: &str) -> Result<Face> {
        let central = central(&self.detector.detect(image)?, image);
        self.embed_detection(image, &central.ok_or_else(|| Error::NoFace { image: name.to_owned() })?)
    }

    /// Stages 2 to 4 for one detection.
    ///
    /// # Errors
    /// As the stages.
    pub fn embed_detection(&self, image: &ImageView<'_>, detection: &Detection) -> Result<Face> {
        let landmarks = self.aligner.align(image, detection)?;
        let crop = self.normalizer.normalize(image, &landmarks)?;
        let embedding = self.embedder.embed(&crop)?;
        Ok(Face { detection: *detection, landmarks, embedding })
    }

    /// Many photos at once, spread over the threads of the current rayon pool; results in the order of the photos.
    ///
    /// The numbers are the same as from [`analyze`](Self::analyze) one by one, whatever the number of threads.
    pub fn analyze_batch(&self, images: &[ImageView<'_>]) -> Vec<Result<Analysis>> {
        images.par_iter().map(|image| self.analyze(image)).collect()
    }
}

/// The detection with the largest box.
pub(crate) fn largest(detections: &[Detection]) -> Option<Detection> {
    detections.iter().max_by(|a, b| by_area(a, b)).copied()
}

/// The detection nearest to the centre of the photo.
pub(crate) fn central(detections: &[Detection], image: &ImageView<'_>) -> Option<Detection> {
    let center = Point::new((image.width() as f32 - 1.0) / 2.0, (image.height() as f32 - 1.0) / 2.0);
    let off_center = |d: &&Detection| d.bounding_box.center().distance(center);
    detections.iter().min_by(|a, b| off_center(a).total_cmp(&off_center(b))).copied()
}

fn by_area(a: &Detection, b: &Detection) -> std::cmp::Ordering {
    a.bounding_box.area().total_cmp(&b.bounding_box.area())
}
