//! AdaM-softmax: a margin for each class, which is learnt.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

use super::angle::ClassWeights;
use crate::error::Result;
use crate::train::batch::{check_positive, check_within};

/// Settings of [`AdaMSoftmax`]. The defaults are those of FaceX-Zoo's `AdaM_Softmax`.
#[derive(Config, Debug)]
pub struct AdaMSoftmaxConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Scale s, the length of the features.
    #[config(default = "30.0")]
    pub scale: f64,
    /// Weight λ of the mean margin in the loss.
    #[config(default = "70.0")]
    pub lambda: f64,
    /// Least margin that a class begins with.
    #[config(default = "0.3")]
    pub initial_min: f64,
    /// Greatest margin that a class begins with.
    #[config(default = "0.4")]
    pub initial_max: f64,
    /// Least margin.
    #[config(default = "0.0")]
    pub min: f64,
    /// Greatest margin.
    #[config(default = "1.0")]
    pub max: f64,
}

/// AdaM-softmax, the loss of AdaptiveFace: CosFace with a margin m_j for each class, large for those with many varied
/// photos and small for poor ones.
///
/// ```text
/// L = -1/N Σ_i log( e^(s (cos θ_y - m_y)) / ( e^(s (cos θ_y - m_y)) + Σ_(j ≠ y) e^(s cos θ_j) ) ) + λ (1 - 1/C Σ_j m_j)
/// ```
///
/// The paper's second term is -λ times the mean; the 1, which keeps the loss positive, is FaceX-Zoo's. The mean is over the
/// classes, and not over the batch. Margins count as clamped to their bounds, and yet their gradient passes as if they were
/// not, so that one that has run into a bound can come back; [`clamp_margins`](Self::clamp_margins) after each step keeps
/// them from running on.
///
/// Source: H. Liu et al., "AdaptiveFace: Adaptive Margin and Sampling for Face Recognition", 2019, equations 5 to 7.
#[derive(Module, Debug)]
pub struct AdaMSoftmax {
    /// The class weights.
    pub classes: ClassWeights,
    /// Margins `[classes]`.
    pub margins: Param<Tensor<1>>,
    scale: f64,
    lambda: f64,
    min: f64,
    max: f64,
}

impl AdaMSoftmaxConfig {
    /// A loss with new weights and margins.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<AdaMSoftmax> {
        let Self { scale, lambda, initial_min, initial_max, min, max, .. } = *self;
        check_positive("scale", scale)?;
        check_within("lambda", lambda, 0.0, f64::MAX)?;
        check_within("max", max, 0.0, 2.0)?;
        check_within("min", min, 0.0, max)?;
        check_within("initial_max", initial_max, min, max)?;
        check_within("initial_min", initial_min, min, initial_max)?;
        let margins = Initializer::Uniform { min: initial_min, max: initial_max };
        Ok(AdaMSoftmax {
            classes: ClassWeights::new(self.classes, self.dimension, device)?,
            margins: margins.init([self.classes], device),
            scale,
            lambda,
            min,
            max,
        })
    }
}

impl AdaMSoftmax {
    /// Logits s cos θ `[batch, classes]` of features `[batch, dimension]`, without the margins.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn logits(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.classes.cosines(features)?.mul_scalar(self.scale))
    }

    /// Mean loss of features `[batch, dimension]` with a label each.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange),
    /// [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        self.classes.check(&features, labels)?;
        let angles = self.classes.angles(features, labels);
        let margins = self.clamped();
        let own = angles.cosine() - margins.clone().select(0, angles.targets()).unsqueeze_dim(1);
        let mean = margins.mean().neg().add_scalar(1.0);
        Ok(angles.cross_entropy(own, self.scale) + mean.mul_scalar(self.lambda))
    }

    /// The margins within their bounds, with the gradient of the margins themselves.
    fn clamped(&self) -> Tensor<1> {
        let margins = self.margins.val();
        let bounded = margins.clone().detach().clamp(self.min, self.max);
        margins.clone() + (bounded - margins.detach())
    }

    /// The loss with its margins brought back into their bounds: for after a step of the optimizer.
    #[must_use]
    pub fn clamp_margins(mut self) -> Self {
        let (min, max) = (self.min, self.max);
        self.margins = self.margins.map(|margins| {
            if margins.is_autodiff() {
                // A new leaf of the graph.
                Tensor::from_inner(margins.inner().clamp(min, max)).require_grad()
            } else {
                margins.clamp(min, max)
            }
        });
        self
    }
}
