//! Embedders.

mod onnx;

pub use onnx::{ColorOrder, EmbedderSpec, OnnxEmbedder, TensorLayout};
