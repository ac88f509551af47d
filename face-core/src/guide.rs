//! The chapters of the manual.
//!
//! The same texts are in the folder `face-core/docs`, where they can be read without building anything.

#[doc = include_str!("../docs/models.md")]
///
/// Items of this chapter: [`EmbedderSpec`](crate::embedders::EmbedderSpec), [`FaceDetector`](crate::FaceDetector),
/// [`ModelStore`](crate::ModelStore), [`TractModel`](crate::inference::TractModel),
/// [`dlib_resnet_to_onnx`](crate::models::formats::dlib_resnet_to_onnx).
pub mod models {}

#[doc = include_str!("../docs/detection.md")]
///
/// Items of this chapter: [`CenterFace`](crate::detectors::CenterFace), [`YuNet`](crate::detectors::YuNet),
/// [`DetectionParams`](crate::detectors::DetectionParams).
pub mod detection {}

#[doc = include_str!("../docs/alignment.md")]
///
/// Items of this chapter: [`templates`](crate::templates), [`SimilarityTransform`](crate::SimilarityTransform),
/// [`DlibFivePointParams`](crate::aligners::DlibFivePointParams), [`Error::LandmarkScheme`](crate::Error::LandmarkScheme).
pub mod alignment {}

#[doc = include_str!("../docs/thresholds.md")]
///
/// Items of this chapter: [`Threshold`](crate::Threshold), [`verify`](crate::verify()). Next: [accuracy].
pub mod thresholds {}

#[doc = include_str!("../docs/accuracy.md")]
///
/// Items of this chapter: [`evaluate_lfw`](crate::eval::evaluate_lfw), [`PairScores`](crate::eval::PairScores). Before:
/// [alignment], [thresholds].
pub mod accuracy {}

#[doc = include_str!("../docs/speed.md")]
///
/// Items of this chapter: [`FacePipeline::stream`](crate::FacePipeline::stream), [`StreamParams`](crate::StreamParams),
/// [`WorkQueue`](crate::WorkQueue), [`set_threads`](crate::inference::set_threads),
/// [`DetectionParams`](crate::detectors::DetectionParams), [`Model`](crate::inference::Model).
pub mod speed {}

#[doc = include_str!("../docs/gallery.md")]
///
/// Items of this chapter: [`Gallery`](crate::gallery::Gallery), [`LocalGallery`](crate::gallery::LocalGallery),
/// [`Decision`](crate::gallery::Decision), [`search`](crate::gallery::search). Next: [postgres].
pub mod gallery {}

#[doc = include_str!("../docs/postgres.md")]
///
/// Items of this chapter: `PostgresGallery` of [`gallery`](crate::gallery), with the feature `postgres`. Before: [gallery].
pub mod postgres {}

#[cfg(feature = "train")]
#[doc = include_str!("../docs/losses.md")]
///
/// Items of this chapter: [`train`](crate::train), [`losses`](crate::train::losses),
/// [`groupface`](crate::train::groupface), [`GroupAware`](crate::GroupAware).
pub mod losses {}

#[cfg(feature = "train")]
#[doc = include_str!("../docs/training.md")]
///
/// Items of this chapter: [`train`](crate::train::run::train), [`TrainConfig`](crate::train::run::TrainConfig),
/// [`export`](crate::train::export). Before: [losses].
pub mod training {}
