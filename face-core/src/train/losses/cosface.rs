//! CosFace: a margin taken off the cosine.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::angle::ClassWeights;
use crate::error::Result;
use crate::train::batch::{check_positive, check_within};

/// Settings of [`CosFace`].
#[derive(Config, Debug)]
pub struct CosFaceConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Scale s, the length of the features.
    #[config(default = "64.0")]
    pub scale: f64,
    /// Margin m, from 0 to 2: InsightFace takes 0.35 (and 0.4 in `arcface_torch`), AM-Softmax 0.35 with s = 30.
    #[config(default = "0.35")]
    pub margin: f64,
}

/// CosFace, also known as additive margin softmax:
///
/// ```text
/// L = -1/N Σ_i log( e^(s (cos θ_y - m)) / ( e^(s (cos θ_y - m)) + Σ_(j ≠ y) e^(s cos θ_j) ) )
/// ```
///
/// A feature counts as its class's only when it is nearer to it than to any other by m in the cosine.
///
/// Source: H. Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", 2018, equation 4; F. Wang et al.,
/// "Additive Margin Softmax for Face Verification", 2018.
#[derive(Module, Debug)]
pub struct CosFace {
    /// The class weights.
    pub classes: ClassWeights,
    scale: f64,
    margin: f64,
}

impl CosFaceConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<CosFace> {
        check_positive("scale", self.scale)?;
        check_within("margin", self.margin, 0.0, 2.0)?;
        let classes = ClassWeights::new(self.classes, self.dimension, device)?;
        Ok(CosFace { classes, scale: self.scale, margin: self.margin })
    }
}

impl CosFace {
    /// Logits s cos θ `[batch, classes]` of features `[batch, dimension]`, without the margin.
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
        let own = angles.cosine().sub_scalar(self.margin);
        Ok(angles.cross_entropy(own, self.scale))
    }
}
