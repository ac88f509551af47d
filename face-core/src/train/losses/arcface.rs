//! ArcFace: a margin added to the angle.

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::angle::{Angles, ClassWeights};
use crate::error::Result;
use crate::train::batch::{check_positive, check_within};

/// What becomes of angles so large that θ + m passes π, where cos(θ + m) would rise again and reward a larger angle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boundary {
    /// Above θ = π - m the target is cos θ - m sin m, which falls on (InsightFace's default, `easy_margin` off).
    #[default]
    Linear,
    /// The margin is for features on the class's side alone: above θ = π/2 the target is cos θ (`easy_margin`).
    Easy,
}

/// Settings of [`ArcFace`].
#[derive(Config, Debug)]
pub struct ArcFaceConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Scale s, the length of the features.
    #[config(default = "64.0")]
    pub scale: f64,
    /// Margin m in radians, from 0 to π/2. The paper takes 0.5.
    #[config(default = "0.5")]
    pub margin: f64,
    /// What becomes of angles beyond π - m.
    #[config(default = "Boundary::Linear")]
    pub boundary: Boundary,
}

/// ArcFace:
///
/// ```text
/// L = -1/N Σ_i log( e^(s cos(θ_y + m)) / ( e^(s cos(θ_y + m)) + Σ_(j ≠ y) e^(s cos θ_j) ) )
/// ```
///
/// A feature counts as its class's only when the angle to it is smaller than that to any other by m: on the sphere, a margin
/// of the same width everywhere.
///
/// Source: J. Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", 2019, equation 3; the rules
/// for large angles are InsightFace's.
#[derive(Module, Debug)]
pub struct ArcFace {
    /// The class weights.
    pub classes: ClassWeights,
    scale: f64,
    margin: f64,
    #[module(skip)]
    boundary: Boundary,
}

impl ArcFaceConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<ArcFace> {
        check_positive("scale", self.scale)?;
        check_within("margin", self.margin, 0.0, std::f64::consts::FRAC_PI_2)?;
        let classes = ClassWeights::new(self.classes, self.dimension, device)?;
        Ok(ArcFace { classes, scale: self.scale, margin: self.margin, boundary: self.boundary })
    }
}

impl ArcFace {
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
        let own = self.target(&angles);
        Ok(angles.cross_entropy(own, self.scale))
    }

    /// cos(θ + m), or what stands for it at large angles.
    fn target(&self, angles: &Angles) -> Tensor<2> {
        let (sin, cos) = self.margin.sin_cos();
        let cosine = angles.cosine();
        let with_margin = cosine.clone().mul_scalar(cos) - angles.sine().mul_scalar(sin);
        let (is_beyond, beyond) = match self.boundary {
            // cos(π - m) = -cos m.
            Boundary::Linear => (cosine.clone().lower_equal_elem(-cos), cosine.sub_scalar(self.margin * sin)),
            Boundary::Easy => (cosine.clone().lower_equal_elem(0.0), cosine),
        };
        with_margin.mask_where(is_beyond, beyond)
    }
}
