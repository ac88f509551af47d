//! The combined margin, of which SphereFace, ArcFace and CosFace are corners.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::angle::ClassWeights;
use crate::error::Result;
use crate::train::batch::{check_positive, check_within};

/// Settings of [`CombinedMargin`].
#[derive(Config, Debug)]
pub struct CombinedMarginConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Scale s, the length of the features.
    #[config(default = "64.0")]
    pub scale: f64,
    /// Factor m1 of the angle, from 1 to 4.
    #[config(default = "1.0")]
    pub multiplicative: f64,
    /// Angle m2 that is added, in radians, from 0 to π/2.
    #[config(default = "0.3")]
    pub angular: f64,
    /// What is taken off the cosine, m3, from 0 to 2.
    #[config(default = "0.2")]
    pub cosine: f64,
}

/// The combined margin of InsightFace:
///
/// ```text
/// L = -1/N Σ_i log( e^(s (cos(m1 θ_y + m2) - m3)) / ( e^(s (cos(m1 θ_y + m2) - m3)) + Σ_(j ≠ y) e^(s cos θ_j) ) )
/// ```
///
/// (1, m, 0) is ArcFace without a rule for large angles, (1, 0, m) is CosFace. Where m1 θ + m2 passes π the target rises
/// again, as it does in the reference.
///
/// Source: J. Deng et al., "ArcFace", 2019, equation 4. The defaults (1, 0.3, 0.2) with s = 64 are InsightFace's.
#[derive(Module, Debug)]
pub struct CombinedMargin {
    /// The class weights.
    pub classes: ClassWeights,
    scale: f64,
    multiplicative: f64,
    angular: f64,
    cosine: f64,
}

impl CombinedMarginConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<CombinedMargin> {
        check_positive("scale", self.scale)?;
        check_within("multiplicative", self.multiplicative, 1.0, 4.0)?;
        check_within("angular", self.angular, 0.0, std::f64::consts::FRAC_PI_2)?;
        check_within("cosine", self.cosine, 0.0, 2.0)?;
        let classes = ClassWeights::new(self.classes, self.dimension, device)?;
        let Self { scale, multiplicative, angular, cosine, .. } = *self;
        Ok(CombinedMargin { classes, scale, multiplicative, angular, cosine })
    }
}

impl CombinedMargin {
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
        let with_margin = angles.angle().mul_scalar(self.multiplicative).add_scalar(self.angular).cos();
        Ok(angles.cross_entropy(with_margin.sub_scalar(self.cosine), self.scale))
    }
}
