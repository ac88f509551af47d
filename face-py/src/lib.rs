//! What the Python package `facecore` is built on: the module `facecore._native`.
//!
//! Thin: arrays, records and errors are translated, and all work is done by `face-core` while other Python threads run. The
//! public classes, and what a notebook shows of them, are in `python/facecore`.

// Functions take what Python gives them by value, and return what PyO3 turns into Python's own types.
#![allow(clippy::needless_pass_by_value, clippy::too_many_arguments, clippy::type_complexity)]

mod command;
mod errors;
mod evaluation;
mod gallery;
mod image;
mod models;
mod pipeline;
mod pool;
mod space;
mod stages;
mod train;

use pyo3::prelude::*;

/// The engine of facecore. Use the package `facecore`: this module may change in any release.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::command::{features, run_command, version};
    #[pymodule_export]
    use super::evaluation::{
        cross_validate, identification_at_fpir, identification_at_threshold, identification_photos, lfw_photos, roc,
        score_identification, score_lfw, verification_at_far, verification_at_threshold,
    };
    #[pymodule_export]
    use super::gallery::{NativeGallery, cluster, postgres_names};
    #[pymodule_export]
    use super::image::{Image, draw_detections, draw_names, image_limits, picture_endings};
    #[pymodule_export]
    use super::models::{catalogue, check_model, model_path, models_folder, pull_models};
    #[pymodule_export]
    use super::pipeline::{NativePipeline, NativeStream, set_threads};
    #[pymodule_export]
    use super::space::{EmbeddingSpace, Threshold, new_embedding, similarities, similarity, verify};
    #[pymodule_export]
    use super::stages::{Crop, NativeAligner, NativeDetector, NativeEmbedder, NativeNormalizer};
    #[pymodule_export]
    use super::train::train;
}
