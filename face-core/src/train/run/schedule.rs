//! The learning rate over time.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::batch::{check_positive, check_size, check_within};

/// For how long, and how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// How often each photo comes up.
    pub epochs: usize,
    /// The learning rate after the warm-up.
    pub rate: f64,
    /// For how many epochs the rate rises from nothing in a straight line; also parts of one.
    pub warm_up: f64,
    /// How the rate falls after that.
    pub decay: Decay,
    /// With [`Decay::Step`]: after how many epochs the rate falls.
    pub at: Vec<f64>,
    /// With [`Decay::Step`]: by what factor.
    pub factor: f64,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// It does not.
    Constant,
    /// By a factor, after given epochs.
    Step,
    /// Along half a period of the cosine, to nothing.
    #[default]
    Cosine,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { epochs: 20, rate: 0.1, warm_up: 1.0, decay: Decay::Cosine, at: vec![], factor: 0.1 }
    }
}

impl Schedule {
    pub(super) fn validate(&self) -> Result<()> {
        check_size("epochs", self.epochs)?;
        check_positive("rate", self.rate)?;
        check_within("warm_up", self.warm_up, 0.0, self.epochs as f64)?;
        check_within("factor", self.factor, 0.0, 1.0)?;
        let rises = self.at.windows(2).all(|pair| pair[0] < pair[1]);
        if !(rises && self.at.iter().all(|epoch| epoch.is_finite() && *epoch > 0.0)) {
            return Err(Error::InvalidParameter {
                parameter: "at",
                value: format!("{:?}", self.at),
                expected: "epochs over 0, each after the one before".into(),
            });
        }
        if self.at.is_empty() == (self.decay == Decay::Step) {
            return Err(Error::InvalidParameter {
                parameter: "at",
                value: format!("{:?} with the decay {:?}", self.at, self.decay),
                expected: "given with the decay step, and with no other".into(),
            });
        }
        Ok(())
    }

    /// The rate of a step, counted from 0, where an epoch has so many.
    pub fn rate_at(&self, step: usize, steps_per_epoch: usize) -> f64 {
        let epochs = |steps: usize| steps as f64 / steps_per_epoch.max(1) as f64;
        let warm_up = self.warm_up * steps_per_epoch as f64;
        if ((step + 1) as f64) < warm_up {
            return self.rate * (step + 1) as f64 / warm_up;
        }
        match self.decay {
            Decay::Constant => self.rate,
            Decay::Step => {
                let falls = self.at.iter().filter(|at| epochs(step) >= **at).count();
                self.rate * self.factor.powi(falls as i32)
            }
            Decay::Cosine => {
                let end = self.epochs as f64 - self.warm_up;
                let gone = ((epochs(step) - self.warm_up) / end.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                self.rate * 0.5 * (1.0 + (std::f64::consts::PI * gone).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn rates_rise_in_a_line_and_fall_as_the_decay_says() {
        let cosine = Schedule { epochs: 5, rate: 0.4, warm_up: 1.0, ..Schedule::default() };
        near(cosine.rate_at(0, 10), 0.04);
        near(cosine.rate_at(8, 10), 0.36);
        near(cosine.rate_at(10, 10), 0.4);
        near(cosine.rate_at(30, 10), 0.2);
        near(cosine.rate_at(20, 10), 0.4 * (0.5 + 0.5 * std::f64::consts::FRAC_1_SQRT_2));
        near(cosine.rate_at(50, 10), 0.0);
        let step = Schedule { warm_up: 0.0, decay: Decay::Step, at: vec![1.0, 2.5], ..cosine.clone() };
        near(step.rate_at(9, 10), 0.4);
        near(step.rate_at(10, 10), 0.04);
        near(step.rate_at(25, 10), 0.004);
        let constant = Schedule { decay: Decay::Constant, ..cosine };
        near(constant.rate_at(49, 10), 0.4);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        let good = Schedule::default();
        for wrong in [
            Schedule { epochs: 0, ..good.clone() },
            Schedule { rate: 0.0, ..good.clone() },
            Schedule { rate: f64::NAN, ..good.clone() },
            Schedule { warm_up: -1.0, ..good.clone() },
            Schedule { warm_up: 21.0, ..good.clone() },
            Schedule { decay: Decay::Step, ..good.clone() },
            Schedule { at: vec![1.0], ..good.clone() },
            Schedule { decay: Decay::Step, at: vec![2.0, 1.0], ..good.clone() },
        ] {
            assert!(matches!(wrong.validate(), Err(Error::InvalidParameter { .. })), "{wrong:?}");
        }
    }
}
