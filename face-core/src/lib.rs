//! Face recognition in pure Rust: find the faces in a photo, say whether two of them are the same person's, and who of the
//! enrolled people they are.
//!
//! A photo walks through four stages, each a trait with implementations that can be called alone:
//!
//! 1. **Detection.** A [`FaceDetector`] finds boxes ([`detectors`]).
//! 2. **Alignment.** An [`Aligner`] finds five landmarks: eyes, nose, mouth ([`aligners`]).
//! 3. **Normalization.** A [`Normalizer`] brings the face to one shape and size ([`normalizers`]).
//! 4. **Embedding.** An [`Embedder`] turns it into a feature vector ([`embedders`]).
//!
//! [`FacePipeline`] chains them, and [`verify`] compares two [`Embedding`]s at a [`Threshold`] that states its
//! false-accept rate. A [`gallery`] holds enrolled people and answers "who is it?", or nobody.
//!
//! ```
//! use face_core::{FacePipeline, Image, ModelStore, verify};
//!
//! # if let Err(error) = ModelStore::open_default()?.check("obama").and(ModelStore::open_default()?.check("centerface")) {
//! #     assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "skipped in CI: {error}");
//! #     use std::io::Write as _;
//! #     let _ = writeln!(std::io::stderr(), "skipped: the example of the crate: {error}");
//! #     return Ok(());
//! # }
//! // The default models, as `face models pull` has put them into the cache.
//! let pipeline = FacePipeline::open_default()?;
//!
//! // Any photo will do: `Image::open("photo.jpg")`. These are samples that `face models pull --samples` brings.
//! let samples = ModelStore::open_default()?;
//! let first = Image::decode(&samples.read("obama")?)?;
//! let second = Image::decode(&samples.read("obama2")?)?;
//!
//! for face in pipeline.analyze(&first.view())?.faces {
//!     println!("{:?}, score {:.2}", face.detection.bounding_box, face.detection.score);
//! }
//!
//! let a = pipeline.analyze_largest(&first.view(), "the first photo")?;
//! let b = pipeline.analyze_largest(&second.view(), "the second photo")?;
//! // The similarity that one in a thousand pairs of different people reaches.
//! let threshold = pipeline.embedder.space().threshold_at(1e-3)?;
//! let answer = verify(&a.embedding, &b.embedding, threshold)?;
//! assert!(answer.is_match);
//! # Ok::<(), face_core::Error>(())
//! ```
//!
//! # One pipeline for all threads
//! Everything is `Send + Sync` and takes `&self`; no lock is held while a network runs. Share a pipeline by reference or in
//! an `Arc`; [`FacePipeline::analyze_batch`] spreads photos over the cores, and [`FacePipeline::stream`] takes them as they come, with a
//! bound on the memory.
//!
//! # Types that cannot be mixed up
//! An [`Embedding`] knows its [`EmbeddingSpace`] (weights, preprocessing, averaging, metric), and comparing across spaces is
//! an error that names both. [`Landmarks`] know which five places they are, a [`FaceCrop`] knows its template.
//!
//! # Errors
//! Everything that can go wrong is an [`Error`] with what was expected, what was found and where. No photo, file or model can
//! cause a panic, and sizes are checked before anything is allocated.
//!
//! # Features
//! The default build links no library of the system; a C compiler assembles the matrix kernels of tract. `pull` brings models from their sources, `draw` draws detections
//! and curves, `hnsw` searches large galleries approximately, `postgres` keeps galleries on a server, `train` has losses, GroupFace,
//! backbones and whole trainings, `ort` runs networks on a library of onnxruntime that the program brings, `cli` is the command `face`.
//!
//! # The manual
//! [Models](guide::models), [detection](guide::detection), [alignment](guide::alignment),
//! [thresholds](guide::thresholds), [accuracy](guide::accuracy), [galleries](guide::gallery),
//! [galleries on PostgreSQL](guide::postgres), and with the feature `train` losses and training.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod aligners;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod detectors;
#[cfg(feature = "draw")]
pub mod draw;
pub mod embedders;
mod error;
pub mod eval;
mod files;
pub mod gallery;
pub mod geometry;
pub mod guide;
pub mod image;
pub mod inference;
mod matching;
pub mod models;
pub mod normalizers;
mod pipeline;
mod stage;
#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "draw")]
pub use draw::{draw_detections, side_by_side};
pub use error::{Error, Result};
pub use geometry::templates;
pub use geometry::{BoundingBox, LandmarkScheme, Landmarks, Point, SimilarityTransform};
pub use image::{Image, ImageLimits, ImageView, PixelFormat};
pub use matching::{Verification, similarities, verify};
pub use models::ModelStore;
pub use pipeline::{
    Analysis, AnalysisStream, Face, FacePipeline, ModelSource, PhotoSource, PipelineParams, StreamParams, WorkQueue,
    open_aligner, open_detector, open_embedder,
};
pub use stage::{
    Aligner, CropSpec, Detection, Embedder, Embedding, EmbeddingSpace, FaceCrop, FaceDetector, GroupAware, Metric,
    Normalizer, Threshold,
};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
