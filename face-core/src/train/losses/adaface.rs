//! AdaFace: the margin follows the quality of the photo, for which the feature's length stands.

use std::f64::consts::PI;

use burn::config::Config;
use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor};

use super::angle::{ClassWeights, lengths};
use crate::error::{Error, Result};
use crate::train::batch::{check_positive, check_within};

/// Angles are kept this far from 0 and π.
const ANGLE_BORDER: f64 = 1e-3;
/// Lengths of features are clipped to these.
const LENGTHS: (f64, f64) = (1e-3, 100.0);
/// Added to the standard deviation of the lengths.
const DEVIATION_OFFSET: f64 = 1e-3;
/// Mean and standard deviation of the lengths, before any batch was seen.
const INITIAL: (f64, f64) = (20.0, 100.0);

/// Settings of [`AdaFace`]. The defaults are those of the authors' code.
#[derive(Config, Debug)]
pub struct AdaFaceConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Scale s.
    #[config(default = "64.0")]
    pub scale: f64,
    /// Margin m, from 0 to 1.
    #[config(default = "0.4")]
    pub margin: f64,
    /// How many deviations from the mean length the margin spans, h.
    #[config(default = "0.333")]
    pub concentration: f64,
    /// Weight of the batch in the running mean and deviation of the lengths, from 0 to 1; 1 forgets all before.
    #[config(default = "1.0")]
    pub momentum: f64,
}

/// AdaFace: hard photos count more when they are good ones, and less when there is nothing to be seen on them.
///
/// ```text
/// q = clip((‖x‖ - μ) / (σ / h), -1, 1)        without a gradient
/// L = -1/N Σ_i log( e^(s f) / ( e^(s f) + Σ_(j ≠ y) e^(s cos θ_j) ) ),   f = cos(θ_y - m q) - (m q + m)
/// ```
///
/// Lengths are those before they are scaled; a batch of one has no deviation and is refused.
///
/// Source: M. Kim, A. Jain, X. Liu, "AdaFace: Quality Adaptive Margin for Face Recognition", 2022, equations 10 to 13; the
/// constants are those of the authors' `head.py`.
#[derive(Module, Debug)]
pub struct AdaFace {
    /// The class weights.
    pub classes: ClassWeights,
    /// Running mean of the lengths, `[1]`.
    pub mean: RunningState<Tensor<1>>,
    /// Running standard deviation of the lengths, `[1]`.
    pub deviation: RunningState<Tensor<1>>,
    scale: f64,
    margin: f64,
    concentration: f64,
    momentum: f64,
}

impl AdaFaceConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn init(&self, device: &Device) -> Result<AdaFace> {
        let Self { scale, margin, concentration, momentum, .. } = *self;
        check_positive("scale", scale)?;
        check_within("margin", margin, 0.0, 1.0)?;
        check_within("concentration", concentration, 0.0, f64::MAX)?;
        check_within("momentum", momentum, 0.0, 1.0)?;
        let running = |value: f64| RunningState::new(Tensor::full([1], value, device));
        Ok(AdaFace {
            classes: ClassWeights::new(self.classes, self.dimension, device)?,
            mean: running(INITIAL.0),
            deviation: running(INITIAL.1),
            scale,
            margin,
            concentration,
            momentum,
        })
    }
}

impl AdaFace {
    /// Logits s cos θ `[batch, classes]` of features `[batch, dimension]`, without the margin.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn logits(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.classes.cosines(features)?.mul_scalar(self.scale))
    }

    /// Mean loss of features `[batch, dimension]` with a label each; takes note of their lengths.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], [`Error::LabelOutOfRange`], [`Error::NonFinite`].
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        self.classes.check(&features, labels)?;
        if labels.len() < 2 {
            let reason = "one feature; expected two at least: a margin by quality needs a deviation".into();
            return Err(Error::InvalidBatch { reason });
        }
        let quality = self.quality(lengths(features.clone()).detach());
        let angles = self.classes.angles(features, labels);
        let angle = angles.angle() - quality.clone().mul_scalar(self.margin);
        let with_margin = angle.clamp(ANGLE_BORDER, PI - ANGLE_BORDER).cos();
        let own = with_margin - quality.mul_scalar(self.margin).add_scalar(self.margin);
        Ok(angles.cross_entropy(own, self.scale))
    }

    /// Quality from -1 to 1 `[batch, 1]` by the lengths `[batch, 1]`.
    fn quality(&self, lengths: Tensor<2>) -> Tensor<2> {
        let lengths = lengths.clamp(LENGTHS.0, LENGTHS.1);
        let (deviation, mean) = (lengths.clone().var(0).sqrt(), lengths.clone().mean_dim(0));
        let follow = |state: &RunningState<Tensor<1>>, now: Tensor<2>| {
            let before = state.value_sync().detach().to_device(&now.device()).cast(now.dtype());
            let value = now.reshape([1]).mul_scalar(self.momentum) + before.mul_scalar(1.0 - self.momentum);
            state.update(value.clone());
            value.unsqueeze::<2>()
        };
        let (mean, deviation) = (follow(&self.mean, mean), follow(&self.deviation, deviation));
        let offset = (lengths - mean) / deviation.add_scalar(DEVIATION_OFFSET);
        offset.mul_scalar(self.concentration).clamp(-1.0, 1.0)
    }
}
