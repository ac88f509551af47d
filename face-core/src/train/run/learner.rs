//! One step of learning.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsAccumulator, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::{Device, Tensor};

use super::config::OptimizerConfig;
use super::loss::TrainedLoss;
use crate::error::{Error, Result};
use crate::train::groupface::Stage;
use crate::train::network::{FaceNetwork, NetworkInput};

/// The network with what it learns by.
#[derive(Module, Debug)]
pub(super) struct Learner {
    pub(super) network: FaceNetwork,
    pub(super) loss: TrainedLoss,
}

/// A part of a batch, for one device.
pub(super) struct Part {
    pub(super) input: NetworkInput,
    pub(super) labels: Vec<usize>,
}

/// What a step found.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepValues {
    /// Mean over the batch.
    pub(super) loss: f64,
    /// That of the groups, without its weight.
    pub(super) grouping: Option<f64>,
    /// Share of the photos whose person was the most likely one; where it was asked for and there is one.
    pub(super) accuracy: Option<f64>,
}

/// Where in the training a step is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) step: usize,
    pub(super) stage: Stage,
    pub(super) rate: f64,
    /// Whether the accuracy is looked at.
    pub(super) is_logged: bool,
}

pub(super) fn optimizer(config: &OptimizerConfig) -> ModuleOptimizer {
    let mut sgd = SgdConfig::new();
    if config.momentum > 0.0 {
        // burn dampens by 0.1 unless it is told not to; nobody else does.
        let momentum = MomentumConfig::new().with_momentum(config.momentum).with_dampening(0.0);
        sgd = sgd.with_momentum(Some(momentum));
    }
    if config.weight_decay > 0.0 {
        sgd = sgd.with_weight_decay(Some(WeightDecayConfig::new(config.weight_decay as f32)));
    }
    sgd.init()
}

impl Learner {
    /// Learns from a batch, whose parts are worked on by a device each, at the same time.
    ///
    /// # Errors
    /// [`Error::TrainingDiverged`] when the loss is not finite; as network and loss.
    pub(super) fn step(
        self,
        optimizer: &mut ModuleOptimizer,
        clip: f64,
        parts: Vec<(Part, Device)>,
        place: Place,
    ) -> Result<(Self, StepValues)> {
        let photos: usize = parts.iter().map(|(part, _)| part.labels.len()).sum();
        let share = |part: &Part| part.labels.len() as f64 / photos.max(1) as f64;
        let results: Vec<Result<(GradientsParams, StepValues)>> = if let [(part, _)] = parts.as_slice() {
            vec![self.gradients(part, 1.0, place)]
        } else {
            std::thread::scope(|scope| {
                let work: Vec<_> = parts
                    .iter()
                    .map(|(part, device)| {
                        let copy = self.clone().fork(device);
                        let share = share(part);
                        scope.spawn(move || copy.gradients(part, share, place))
                    })
                    .collect();
                let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                };
                work.into_iter().map(ended).collect()
            })
        };
        let main = parts[0].1.clone();
        let mut sum = GradientsAccumulator::new();
        let mut total = StepValues { loss: 0.0, grouping: None, accuracy: None };
        for (result, (part, _)) in results.into_iter().zip(&parts) {
            let (gradients, values) = result?;
            sum.accumulate(&self, gradients.to_device(&main, &self));
            let add = |sum: Option<f64>, value: Option<f64>| value.map(|v| sum.unwrap_or(0.0) + share(part) * v);
            total.loss += share(part) * values.loss;
            total.grouping = add(total.grouping, values.grouping);
            total.accuracy = add(total.accuracy, values.accuracy);
        }
        let gradients = clipped(&self, sum.grads(), clip);
        let Self { network, loss } = optimizer.step(place.rate, self, gradients);
        Ok((Self { network, loss: loss.after_step() }, total))
    }

    /// The gradients of a part, weighted by its share of the batch.
    fn gradients(&self, part: &Part, share: f64, place: Place) -> Result<(GradientsParams, StepValues)> {
        let diverged = |error: Error| match error {
            Error::NonFinite { what, .. } => {
                Error::TrainingDiverged { step: place.step, reason: format!("{what} are not finite") }
            }
            other => other,
        };
        let output = self.network.forward(part.input.clone()).map_err(diverged)?;
        let (loss, grouping) = self.loss.forward(&output, &part.labels, place.step, place.stage).map_err(diverged)?;
        let value = loss.clone().into_scalar::<f64>();
        if !value.is_finite() {
            let reason = format!("the loss is {value}");
            return Err(Error::TrainingDiverged { step: place.step, reason });
        }
        let accuracy = if place.is_logged {
            self.loss.accuracy(output.embedding.clone().detach(), &part.labels, place.stage)?
        } else {
            None
        };
        let grouping = grouping.map(|loss| loss.into_scalar::<f64>());
        let gradients = GradientsParams::from_grads(loss.mul_scalar(share).backward(), self);
        Ok((gradients, StepValues { loss: value, grouping, accuracy }))
    }
}

/// Gradients whose common length is `most` at most; 0 for no bound. (burn's own clipping looks at each tensor alone.)
fn clipped(learner: &Learner, mut gradients: GradientsParams, most: f64) -> GradientsParams {
    if most == 0.0 {
        return gradients;
    }
    let mut sum = SumOfSquares { gradients: &gradients, sum: None };
    learner.visit(&mut sum);
    let length = sum.sum.map_or(0.0, |sum| sum.into_scalar::<f64>()).sqrt();
    if length > most {
        learner.visit(&mut Scale { gradients: &mut gradients, factor: most / length });
    }
    gradients
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let square = gradient.square().sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + square,
                None => square,
            });
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::train::network::HeadConfig;
    use crate::train::run::{LossConfig, LossKind};
    use crate::train::testing::{assert_near, device, random, seeded, values};

    fn learner(loss: LossKind) -> Learner {
        let network = FaceNetwork::on_base(6, &HeadConfig::Linear { dimension: 4 }, &device()).unwrap();
        let loss = LossConfig::new(loss).init(3, 4, 0, &device()).unwrap();
        seeded(Learner { network, loss }, 3)
    }

    fn features() -> Tensor<2> {
        random([5, 6], 2).cast(burn::tensor::DType::F32)
    }

    fn part(rows: std::ops::Range<usize>) -> (Part, Device) {
        let labels = [0, 1, 2, 1, 0][rows.clone()].to_vec();
        (Part { input: NetworkInput::Features(features().slice([rows])), labels }, device())
    }

    const CONFIG: OptimizerConfig = OptimizerConfig { momentum: 0.9, weight_decay: 0.01, clip: 0.0 };
    const PLACE: Place = Place { step: 0, stage: Stage::Training, rate: 0.1, is_logged: true };

    fn weights(learner: &Learner) -> Vec<f64> {
        let Some(crate::train::network::Head::Linear(linear)) = &learner.network.head else { return vec![] };
        values(linear.weight.val())
    }

    /// Parts of different sizes on two devices are one batch on one.
    #[test]
    fn two_devices_learn_what_one_learns() {
        for loss in [LossKind::Softmax, LossKind::CosFace, LossKind::Adam] {
            let start = learner(loss);
            let step = |parts| start.clone().step(&mut optimizer(&CONFIG), 0.0, parts, PLACE).unwrap();
            let (one, whole) = step(vec![part(0..5)]);
            let (two, parts) = step(vec![part(0..3), part(3..5)]);
            assert_near(&weights(&two), &weights(&one), 1e-6);
            assert_near(&[parts.loss, parts.accuracy.unwrap()], &[whole.loss, whole.accuracy.unwrap()], 1e-6);
            assert!(weights(&one) != weights(&start));
        }
    }

    #[test]
    fn clipped_gradients_are_as_long_as_they_may_be_and_keep_their_direction() {
        let plain = OptimizerConfig { momentum: 0.0, weight_decay: 0.0, clip: 0.0 };
        let start = learner(LossKind::CosFace);
        let moved = |clip| {
            let (end, _) = start.clone().step(&mut optimizer(&plain), clip, vec![part(0..5)], PLACE).unwrap();
            let all = |learner: &Learner| {
                let mut collected = Collected::default();
                learner.visit(&mut collected);
                collected.values
            };
            let moves: Vec<f64> = all(&end).iter().zip(all(&start)).map(|(a, b)| (a - b) / PLACE.rate).collect();
            moves
        };
        let length = |moves: &[f64]| moves.iter().map(|value| value * value).sum::<f64>().sqrt();
        let (free, clipped) = (moved(0.0), moved(0.25));
        assert!(length(&free) > 1.0, "{}", length(&free));
        assert!((length(&clipped) - 0.25).abs() < 1e-4, "{}", length(&clipped));
        let scaled: Vec<f64> = free.iter().map(|value| value * 0.25 / length(&free)).collect();
        assert_near(&clipped, &scaled, 1e-4);
        assert_near(&moved(100.0), &free, 0.0);
    }

    #[derive(Default)]
    struct Collected {
        values: Vec<f64>,
    }

    impl ModuleVisitor for Collected {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.values.extend(values(param.val()));
        }
    }

    #[test]
    fn what_is_not_finite_ends_the_training_with_its_step() {
        let mut broken = learner(LossKind::Softmax);
        if let Some(crate::train::network::Head::Linear(linear)) = &mut broken.network.head {
            linear.weight = linear.weight.clone().map(|weight| weight.mul_scalar(1e38));
        }
        let place = Place { step: 7, ..PLACE };
        let error = broken.step(&mut optimizer(&CONFIG), 0.0, vec![part(0..5)], place).unwrap_err();
        assert!(matches!(error, Error::TrainingDiverged { step: 7, .. }), "{error:?}");
    }
}
