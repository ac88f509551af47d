//! A whole training: from a folder of photos to a network that everything else here can use.
//!
//! [`TrainConfig`] is what `face train` reads, [`train`] does it. Two ways lead to a network:
//!
//! - a **backbone** is learnt from nothing, which takes many people and a long time;
//! - a **head** is learnt on top of an embedder that stays as it is, whose features are computed once: minutes on a laptop.
//!
//! What comes out is an ONNX file with its preprocessing, `network.onnx` and `network.toml`, for
//! [`PipelineParams`](crate::PipelineParams), the command, C and Python.
//!
//! A training that was interrupted goes on from its last checkpoint, and gives the same bits as one that was not: all randomness
//! follows from the seed and the step, and everything else is in the checkpoint.

mod checkpoint;
mod config;
mod dataset;
mod features;
mod learner;
mod loader;
mod loss;
mod metrics;
mod pictures;
mod prepare;
mod sampling;
mod schedule;
mod seeds;
mod trainer;
mod validation;

pub use config::{
    Augmentation, BackboneConfig, BackboneKind, BaseConfig, CheckpointConfig, DataConfig, ExportConfig,
    OptimizerConfig, TrainConfig, ValidationConfig,
};
pub use dataset::{LabelledPath, LeftOut, PhotoSet};
pub use loss::{LossConfig, LossKind};
pub use metrics::{StepMetrics, ValidationMetrics};
pub use sampling::Sampling;
pub use schedule::{Decay, Schedule};
pub use trainer::{ExportedNetwork, StepProgress, TrainEvent, TrainOutcome, TrainParams, Watcher, train};
