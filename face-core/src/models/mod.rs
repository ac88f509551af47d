//! Models: the catalogue, the cache, and the formats in which they come.

pub mod formats;
pub mod onnx_writer;
