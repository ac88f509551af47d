//! Face recognition in pure Rust.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod aligners;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod detectors;
#[cfg(feature = "draw")]
mod draw;
pub mod embedders;
mod error;
pub mod eval;
mod files;
pub mod geometry;
pub mod image;
pub mod inference;
mod matching;
pub mod models;
pub mod normalizers;
mod pipeline;
mod stage;

#[cfg(feature = "draw")]
pub use draw::{draw_detections, side_by_side};
pub use error::{Error, Result};
pub use geometry::templates;
pub use geometry::{BoundingBox, LandmarkScheme, Landmarks, Point, SimilarityTransform};
pub use image::{Image, ImageLimits, ImageView, PixelFormat};
pub use matching::{Threshold, Verification, verify};
pub use models::ModelStore;
pub use pipeline::{Analysis, Face, FacePipeline, ModelSource, PipelineParams, open_detector, open_embedder};
pub use stage::{
    Aligner, CropSpec, Detection, Embedder, Embedding, EmbeddingSpace, FaceCrop, FaceDetector, Metric, Normalizer,
};
