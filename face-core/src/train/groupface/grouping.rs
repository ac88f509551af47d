//! Self-distributed grouping: labels for groups that nobody has named.

use burn::config::Config;
use burn::module::{Module, RunningState};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::decision::GroupDecision;
use crate::error::{Error, Result};
use crate::train::batch::{check_finite, check_size};

/// How a face gets its group label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labelling {
    /// G*(x) = argmax_k p(G_k | x): what is a little ahead wins everything in the end. For comparison alone.
    Naive,
    /// G*(x) = argmax_k (p(G_k | x) - E[p(G_k)]): the group that suits this face better than the others.
    #[default]
    SelfDistributed,
}

/// Probabilities that differ by less are equal: so far may a mean of equal numbers be rounded.
fn tie(dtype: DType) -> f64 {
    16.0 * if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// Settings of [`SelfDistributedGrouping`].
#[derive(Config, Debug)]
pub struct SelfDistributedGroupingConfig {
    /// Number of groups K.
    #[config(default = "32")]
    pub groups: usize,
    /// Number of batches over which the expectation runs; in the paper, with millions of faces, 32 to 128 behaved alike. It must
    /// be short beside the time in which the network changes: in a small set, where 32 batches were sixteen passes, the groups
    /// collapsed (entropy 0.2), and 4 kept them even.
    #[config(default = "32")]
    pub window: usize,
    /// How a face gets its label.
    #[config(default = "Labelling::SelfDistributed")]
    pub labelling: Labelling,
}

/// Labels that spread the faces over the groups.
///
/// ```text
/// p̃(G_k | x) = 1/K (p(G_k | x) - E[p(G_k)]) + 1/K,   G*(x) = argmax_k p̃(G_k | x)
/// ```
///
/// The expectation is the mean over the last batches, the present one among them. p̃ sums to one like p, and its expectation is
/// the same for all groups.
///
/// Faces that suit several groups equally go to them in turn, so that a network that thinks the same of all faces still has its
/// groups used evenly.
///
/// Source: GroupFace, the section on self-distributed grouping.
#[derive(Module, Debug)]
pub struct SelfDistributedGrouping {
    /// Mean probabilities of each batch, the last one first `[window, groups + 1]`; the last column is 1 in the rows that
    /// are filled.
    history: RunningState<Tensor<2>>,
    groups: usize,
    window: usize,
    #[module(skip)]
    labelling: Labelling,
}

impl SelfDistributedGroupingConfig {
    /// A grouping that has seen nothing yet.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for no group or a window of nothing.
    pub fn init(&self, device: &Device) -> Result<SelfDistributedGrouping> {
        let Self { groups, window, labelling } = *self;
        check_size("groups", groups)?;
        check_size("window", window)?;
        let history = RunningState::new(Tensor::zeros([window, groups + 1], device));
        Ok(SelfDistributedGrouping { history, groups, window, labelling })
    }
}

impl SelfDistributedGrouping {
    /// Takes note of a batch's probabilities `[batch, groups]`, and labels it with groups `[batch]`.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], [`Error::NonFinite`].
    pub fn label(&self, probabilities: &Tensor<2>) -> Result<Tensor<1, Int>> {
        let [batch, groups] = probabilities.dims();
        if batch == 0 || groups != self.groups {
            let reason =
                format!("probabilities of the shape [{batch}, {groups}]; expected [1 or more, {}]", self.groups);
            return Err(Error::InvalidBatch { reason });
        }
        check_finite("group probabilities", probabilities)?;
        let probabilities = probabilities.clone().detach();
        // Half precision could not tell the groups apart.
        let dtype = if probabilities.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let probabilities = probabilities.cast(dtype);
        self.note(probabilities.clone().mean_dim(0));
        let scores = match self.labelling {
            Labelling::Naive => probabilities,
            Labelling::SelfDistributed => {
                let turns = self.turns(batch, &probabilities.device(), dtype);
                self.distributed(probabilities) + turns
            }
        };
        Ok(scores.argmax(1).reshape([batch]))
    }

    /// E[p(G_k)] `[groups]` over the window; `None` before the first batch.
    pub fn expectation(&self) -> Option<Vec<f64>> {
        let rows: Vec<f64> = self.history.value_sync().into_data().iter::<f64>().collect();
        let filled: Vec<&[f64]> = rows.chunks_exact(self.groups + 1).filter(|row| row[self.groups] > 0.5).collect();
        let mean = |group: usize| filled.iter().map(|row| row[group]).sum::<f64>() / filled.len() as f64;
        (!filled.is_empty()).then(|| (0..self.groups).map(mean).collect())
    }

    /// p - E[p] `[batch, groups]`, which has its greatest value where p̃ has it, and keeps more digits.
    fn distributed(&self, probabilities: Tensor<2>) -> Tensor<2> {
        let sums = self.history.value_sync().to_device(&probabilities.device()).sum_dim(0);
        let count = sums.clone().slice([0..1, self.groups..self.groups + 1]);
        probabilities - sums.slice([0..1, 0..self.groups]) / count
    }

    /// `[batch, groups]`: less than any difference of probabilities that means something, and greatest in another column from row
    /// to row.
    fn turns(&self, batch: usize, device: &Device, dtype: DType) -> Tensor<2> {
        let step = tie(dtype) / self.groups as f64;
        let turn = |place: usize| (place % self.groups + self.groups - place / self.groups % self.groups) % self.groups;
        let values: Vec<f64> = (0..batch * self.groups).map(|place| step * turn(place) as f64).collect();
        Tensor::from_data(TensorData::new(values, [batch, self.groups]), (device, dtype))
    }

    fn note(&self, mean: Tensor<2>) {
        let before = self.history.value_sync().detach().to_device(&mean.device()).cast(mean.dtype());
        let filled = mean.clone().slice([0..1, 0..1]).ones_like();
        let row = Tensor::cat(vec![mean, filled], 1);
        let history = Tensor::cat(vec![row, before], 0).slice([0..self.window, 0..self.groups + 1]);
        self.history.update(history);
    }
}

/// Mean cross-entropy of the decision with the labels.
pub(super) fn grouping_loss(decision: &GroupDecision, labels: Tensor<1, Int>) -> Tensor<1> {
    decision.log_probabilities().gather(1, labels.unsqueeze_dim(1)).mean().neg()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::train::testing::{assert_near, device, random, values};
    use burn::tensor::activation::softmax;

    fn labels(labels: Tensor<1, Int>) -> Vec<i64> {
        labels.into_data().iter::<i64>().collect()
    }

    #[test]
    fn the_expectation_is_the_mean_over_the_last_batches() {
        let config = SelfDistributedGroupingConfig::new().with_groups(3).with_window(2);
        let grouping = config.init(&device()).unwrap();
        assert_eq!(grouping.expectation(), None);
        let batches: Vec<Tensor<2>> = (0..4).map(|seed| softmax(random([5, 3], seed), 1)).collect();
        for (number, batch) in batches.iter().enumerate() {
            grouping.label(batch).unwrap();
            let seen = &batches[number.saturating_sub(1)..=number];
            let means: Vec<Vec<f64>> = seen.iter().map(|batch| values(batch.clone().mean_dim(0))).collect();
            let expected: Vec<f64> =
                (0..3).map(|group| means.iter().map(|mean| mean[group]).sum::<f64>() / means.len() as f64).collect();
            assert_near(&grouping.expectation().unwrap(), &expected, 1e-12);
        }
    }

    #[test]
    fn labels_are_those_of_the_formula() {
        let config = SelfDistributedGroupingConfig::new().with_groups(4);
        let grouping = config.init(&device()).unwrap();
        let probabilities = softmax(random([20, 4], 7), 1);
        let found = labels(grouping.label(&probabilities).unwrap());
        let (rows, mean) = (values(probabilities.clone()), values(probabilities.mean_dim(0)));
        for (row, label) in rows.chunks_exact(4).zip(found) {
            let score = |group: usize| row[group] - mean[group];
            assert!((0..4).all(|group| score(group) <= score(label as usize)));
        }
    }

    /// A network that thinks the same of all faces, but for noise: naive labels all go where it leans to.
    #[test]
    fn labels_of_a_network_that_leans_to_one_group_are_spread_evenly() {
        let lean = Tensor::<2>::from_data([[2.0_f64, 0.0, -1.0, 0.5]], (&device(), DType::F64));
        let count = |labelling| {
            let config = SelfDistributedGroupingConfig::new().with_groups(4).with_labelling(labelling);
            let grouping = config.init(&device()).unwrap();
            let mut counts = [0; 4];
            for seed in 0..20 {
                let noise = random([100, 4], 100 + seed).mul_scalar(1e-3);
                // In probabilities: a softmax would make the noise of the groups unequal.
                let probabilities = softmax(lean.clone(), 1).expand([100, 4]) + noise;
                for label in labels(grouping.label(&probabilities).unwrap()) {
                    counts[label as usize] += 1;
                }
            }
            counts
        };
        assert_eq!(count(Labelling::Naive), [2000, 0, 0, 0]);
        let spread = count(Labelling::SelfDistributed);
        assert!(spread.iter().all(|count| (400..=600).contains(count)), "{spread:?}");
    }

    #[test]
    fn labels_of_a_network_that_thinks_the_same_of_all_faces_are_spread_evenly() {
        for dtype in [DType::F32, DType::F64] {
            for logits in [[0.0, 0.0, 0.0], [2.0, -1.0, 0.3]] {
                let grouping = SelfDistributedGroupingConfig::new().with_groups(3).init(&device()).unwrap();
                let probabilities = softmax(Tensor::<2>::from_data([logits], (&device(), dtype)), 1).expand([30, 3]);
                let mut counts = [0; 3];
                for _ in 0..5 {
                    for label in labels(grouping.label(&probabilities).unwrap()) {
                        counts[label as usize] += 1;
                    }
                }
                assert_eq!(counts, [50; 3], "{dtype:?} {logits:?}");
            }
        }
    }

    #[test]
    fn impossible_settings_and_batches_are_refused() {
        for config in
            [SelfDistributedGroupingConfig::new().with_groups(0), SelfDistributedGroupingConfig::new().with_window(0)]
        {
            assert!(matches!(config.init(&device()), Err(Error::InvalidParameter { .. })));
        }
        let grouping = SelfDistributedGroupingConfig::new().with_groups(3).init(&device()).unwrap();
        assert!(matches!(grouping.label(&random([2, 4], 0)), Err(Error::InvalidBatch { .. })));
    }
}
