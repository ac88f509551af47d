//! Softmax cross-entropy, with the weights as they are or normalised.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use super::angle::{ClassWeights, cross_entropy, index_tensor, unit};
use crate::error::Result;
use crate::train::batch::{check_features, check_positive};

/// Settings of [`Softmax`].
#[derive(Config, Debug)]
pub struct SoftmaxConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Whether each class has a bias. Without effect where both sides are normalised.
    #[config(default = "true")]
    pub bias: bool,
    /// Scale the class weights to unit length: the decision depends on angles alone ("modified softmax" in SphereFace).
    #[config(default = "false")]
    pub normalize_weights: bool,
    /// Scale the features to this length; `None` leaves them as they are. NormFace: the weights are normalised too.
    pub scale: Option<f64>,
}

/// Softmax cross-entropy, the loss of every classifier:
///
/// ```text
/// L = -1/N Σ_i log( e^(z_i,y_i) / Σ_j e^(z_i,j) ),   z_i,j = w_j · x_i + b_j
/// ```
///
/// With `normalize_weights` the logits are ‖x‖ cos θ_j + b_j; with a `scale` s too, s cos θ_j (NormFace: F. Wang et al.,
/// "NormFace: L2 Hypersphere Embedding for Face Verification", 2017). DeepFace and DeepID learnt with the plain form.
#[derive(Module, Debug)]
pub struct Softmax {
    /// The class weights.
    pub classes: ClassWeights,
    /// `[classes]`.
    pub bias: Option<Param<Tensor<1>>>,
    normalize_weights: bool,
    scale: Option<f64>,
}

impl SoftmaxConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for no class, no value, or a scale that is not positive.
    pub fn init(&self, device: &Device) -> Result<Softmax> {
        if let Some(scale) = self.scale {
            check_positive("scale", scale)?;
        }
        Ok(Softmax {
            classes: ClassWeights::new(self.classes, self.dimension, device)?,
            bias: self.bias.then(|| Initializer::Zeros.init([self.classes], device)),
            normalize_weights: self.normalize_weights,
            scale: self.scale,
        })
    }
}

impl Softmax {
    /// Logits `[batch, classes]` of features `[batch, dimension]`.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn logits(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        check_features(&features, self.classes.dimension())?;
        let features = match self.scale {
            Some(scale) => unit(features).mul_scalar(scale),
            None => features,
        };
        let weights = self.classes.weight.val();
        let weights = if self.normalize_weights { unit(weights) } else { weights };
        let logits = features.matmul(weights.transpose());
        match &self.bias {
            Some(bias) => Ok(logits + bias.val().unsqueeze()),
            None => Ok(logits),
        }
    }

    /// Mean loss of features `[batch, dimension]` with a label each.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange),
    /// [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        self.classes.check(&features, labels)?;
        let targets = index_tensor(labels, &features.device());
        Ok(cross_entropy(self.logits(features)?, targets))
    }
}
