//! The seam to the engine that runs the networks.
//!
//! The rest of the crate knows [`Model`] alone, so that other engines, and fakes in tests, fit behind it. [`Engine`] says which one
//! opens a file.

mod engine;
mod fusion;
mod kernels;
#[cfg(feature = "ort")]
mod onnxruntime;
mod prelu;
mod threads;
mod tract;

use ndarray::{Array4, ArrayD};
#[cfg(feature = "ort")]
pub use ort;

use crate::error::{Error, Result, ensure_finite};

pub use self::engine::Engine;
#[cfg(feature = "ort")]
pub use self::onnxruntime::{OnnxRuntime, OrtModel};
pub use self::threads::set_threads;
pub use self::tract::TractModel;

/// A network with one image-like input.
pub trait Model: Send + Sync {
    /// What the file declares about itself.
    fn signature(&self) -> &ModelSignature;

    /// Runs the network. Many threads may call at once; none waits for another, but for the one that prepares the network
    /// for an input of the same new size.
    ///
    /// The input's axes are those of the network, as `NCHW` or `NHWC`; the outputs come in the file's order.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for an input that holds one; [`Error::Inference`] when the network cannot take this input.
    fn run(&self, input: Array4<f32>) -> Result<Vec<ArrayD<f32>>>;
}

/// Name, inputs and outputs of a network, as its file declares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSignature {
    /// Name or path of the model, for messages.
    pub name: String,
    /// The inputs that a caller must give.
    pub inputs: Vec<TensorInfo>,
    /// The outputs.
    pub outputs: Vec<TensorInfo>,
}

/// Declared name and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the graph.
    pub name: String,
    /// Its sides; `None` where the file leaves one open.
    pub shape: Vec<Option<usize>>,
}

impl std::fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sides: Vec<String> =
            self.shape.iter().map(|side| side.map_or_else(|| "?".to_owned(), |n| n.to_string())).collect();
        write!(f, "{}[{}]", self.name, sides.join("x"))
    }
}

impl ModelSignature {
    /// One line for error messages.
    pub(crate) fn describe(&self) -> String {
        let list = |tensors: &[TensorInfo]| tensors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("inputs {}; outputs {}", list(&self.inputs), list(&self.outputs))
    }

    /// The error for a model that cannot play a role.
    pub(crate) fn unfit(&self, role: &'static str, expected: impl Into<String>) -> Error {
        Error::ModelInvalid { model: self.name.clone(), role, expected: expected.into(), actual: self.describe() }
    }
}

/// The error for bytes that are no network with one image input.
fn no_network(name: &str, actual: String) -> Error {
    Error::ModelInvalid {
        model: name.to_owned(),
        role: "a network",
        expected: "an ONNX model with one image input".to_owned(),
        actual,
    }
}

/// An input in the order of its axes, with finite values alone.
fn checked(name: &str, input: Array4<f32>) -> Result<Array4<f32>> {
    let input = if input.is_standard_layout() { input } else { input.as_standard_layout().into_owned() };
    ensure_finite(&format!("the input of {name}"), input.as_slice().unwrap_or_default())?;
    Ok(input)
}
