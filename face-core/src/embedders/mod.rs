//! Embedders: from a normalized face to a feature vector.

mod onnx;

pub use crate::models::{ColorOrder, EmbedderSpec, TensorLayout};
pub use onnx::OnnxEmbedder;
