//! Readers for the files in which models come.

mod dlib;
mod dlib_resnet;
mod dlib_shape_predictor;

pub use dlib_resnet::dlib_resnet_to_onnx;
#[cfg(test)]
pub(crate) use dlib_shape_predictor::tiny_shape_predictor;
pub use dlib_shape_predictor::{RegressionTree, ShapePredictorData, SplitFeature};
