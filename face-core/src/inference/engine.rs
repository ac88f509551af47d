//! Which engine runs the networks.

use std::sync::Arc;

use super::{Model, TractModel};
use crate::error::Result;

/// What runs the networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// tract, and kernels of our own: pure Rust, nothing to install.
    #[default]
    Tract,
    /// Microsoft's onnxruntime, from a library that the program brings: for a graphics card, or for a vendor's own kernels.
    #[cfg(feature = "ort")]
    OnnxRuntime(super::OnnxRuntime),
}

impl Engine {
    /// A network from the bytes of an ONNX file. `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`](crate::Error::ModelInvalid) when the bytes are no ONNX model, need an operator that the engine does not
    /// have, or declare other than one input.
    pub fn model(&self, name: impl Into<String>, onnx: &[u8]) -> Result<Arc<dyn Model>> {
        Ok(match self {
            Self::Tract => Arc::new(TractModel::from_onnx(name, onnx)?),
            #[cfg(feature = "ort")]
            Self::OnnxRuntime(runtime) => Arc::new(super::OrtModel::from_onnx(runtime, name, onnx)?),
        })
    }
}
