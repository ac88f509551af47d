//! SphereFace: the angle is multiplied.

use std::f64::consts::PI;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::angle::{ClassWeights, cross_entropy, lengths, with_targets};
use crate::error::{Error, Result};
use crate::train::batch::check_within;

/// How fast the margin comes in: λ = max(`min`, `base` (1 + `gamma` · iteration)^-`power`), and the target is
/// (λ cos θ + ψ(θ)) / (1 + λ).
///
/// The defaults are those of the authors' Caffe training; `sphereface_pytorch` takes 1500, 0.1, 1, 5.
#[derive(Config, Debug, Copy)]
pub struct Annealing {
    /// λ at the beginning.
    #[config(default = "1000.0")]
    pub base: f64,
    /// How much of an iteration counts.
    #[config(default = "0.12")]
    pub gamma: f64,
    /// How fast λ falls.
    #[config(default = "1.0")]
    pub power: f64,
    /// λ at the end.
    #[config(default = "5.0")]
    pub min: f64,
}

impl Annealing {
    /// No annealing: the whole margin from the beginning.
    pub fn none() -> Self {
        Self { base: 0.0, gamma: 0.0, power: 1.0, min: 0.0 }
    }

    /// λ after so many iterations.
    pub fn lambda(&self, iteration: usize) -> f64 {
        (self.base * (1.0 + self.gamma * iteration as f64).powf(-self.power)).max(self.min)
    }
}

/// Settings of [`SphereFace`].
#[derive(Config, Debug)]
pub struct SphereFaceConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// Margin m, a whole number from 1 to 4; the paper takes 4.
    #[config(default = "4")]
    pub margin: u32,
    /// How fast the margin comes in.
    #[config(default = "Annealing::new()")]
    pub annealing: Annealing,
}

/// SphereFace, also known as A-softmax:
///
/// ```text
/// L = -1/N Σ_i log( e^(‖x‖ ψ(θ_y)) / ( e^(‖x‖ ψ(θ_y)) + Σ_(j ≠ y) e^(‖x‖ cos θ_j) ) )
/// ψ(θ) = (-1)^k cos(m θ) - 2k   for θ from kπ/m to (k+1)π/m
/// ```
///
/// Class weights have unit length, features keep theirs. cos(m θ) is a polynomial of cos θ (Chebyshev's), so that no angle
/// is computed.
///
/// Source: W. Liu et al., "SphereFace: Deep Hypersphere Embedding for Face Recognition", 2017, equation 7.
#[derive(Module, Debug)]
pub struct SphereFace {
    /// The class weights.
    pub classes: ClassWeights,
    margin: u32,
    #[module(skip)]
    annealing: Annealing,
}

impl SphereFaceConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn init(&self, device: &Device) -> Result<SphereFace> {
        if !(1..=4).contains(&self.margin) {
            let (value, expected) = (self.margin.to_string(), "from 1 to 4".to_owned());
            return Err(Error::InvalidParameter { parameter: "margin", value, expected });
        }
        let Annealing { base, gamma, power, min } = self.annealing;
        for (parameter, value) in [("base", base), ("gamma", gamma), ("power", power), ("min", min)] {
            check_within(parameter, value, 0.0, f64::MAX)?;
        }
        let classes = ClassWeights::new(self.classes, self.dimension, device)?;
        Ok(SphereFace { classes, margin: self.margin, annealing: self.annealing })
    }
}

impl SphereFace {
    /// Logits ‖x‖ cos θ `[batch, classes]` of features `[batch, dimension]`, without the margin.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn logits(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        Ok(self.classes.cosines(features.clone())? * lengths(features))
    }

    /// Mean loss of features `[batch, dimension]` with a label each. The iteration, counted from 0, tells how much of the
    /// margin is in force.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], [`Error::LabelOutOfRange`], [`Error::NonFinite`].
    pub fn forward(&self, features: Tensor<2>, labels: &[usize], iteration: usize) -> Result<Tensor<1>> {
        self.classes.check(&features, labels)?;
        let lengths = lengths(features.clone());
        let angles = self.classes.angles(features, labels);
        let cosine = angles.cosine();
        let lambda = self.annealing.lambda(iteration);
        let own = (cosine.clone().mul_scalar(lambda) + self.psi(cosine)).div_scalar(1.0 + lambda);
        let targets = angles.targets();
        let logits = with_targets(angles.cosines, &targets, own) * lengths;
        Ok(cross_entropy(logits, targets))
    }

    /// ψ of cos θ: cos(m θ), made to fall from 0 to π.
    fn psi(&self, cosine: Tensor<2>) -> Tensor<2> {
        // θ > jπ/m for each j that is passed; the number of them is k.
        let passed = (1..self.margin).map(|j| {
            let border = (f64::from(j) * PI / f64::from(self.margin)).cos();
            cosine.clone().detach().lower_elem(border).float().cast(cosine.dtype())
        });
        let k = passed.fold(cosine.clone().detach().zeros_like(), |k, passed| k + passed);
        // (-1)^k = 1 - 2 (k mod 2).
        let sign = k.clone().remainder_scalar(2.0).mul_scalar(-2.0).add_scalar(1.0);
        sign * chebyshev(cosine, self.margin) - k.mul_scalar(2.0)
    }
}

/// cos(m θ) from cos θ: T_(n+1) = 2 c T_n - T_(n-1).
fn chebyshev(cosine: Tensor<2>, order: u32) -> Tensor<2> {
    let (mut before, mut now) = (cosine.ones_like(), cosine.clone());
    for _ in 1..order {
        let next = cosine.clone().mul_scalar(2.0) * now.clone() - before;
        before = now;
        now = next;
    }
    now
}
