//! The head: from the shared feature of a backbone to the representation with groups.

use std::sync::Arc;

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::decision::{GroupDecision, GroupDecisionNetwork};
use crate::error::Result;
use crate::stage::{Embedding, EmbeddingSpace, Metric};
use crate::train::batch::{check_features, check_size};
use crate::train::losses::angle::is_index;

/// How the group features of a face come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assignment {
    /// v^G = Σ_k p(G_k | x) v^(G_k): the paper's choice.
    #[default]
    Soft,
    /// v^G = v^(G_j) of the most probable group j, the first of equals. The decision network learns by the grouping loss
    /// alone then; in pretraining it needs a `pretraining_lambda` over 0.
    Hard,
}

/// How the instance feature and the group feature come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combination {
    /// v̄ = v_x + v^G: the paper's choice.
    #[default]
    Aggregate,
    /// v̄ = (v_x, v^G), with twice as many values.
    Concatenate,
}

/// Settings of [`GroupFaceHead`].
#[derive(Config, Debug)]
pub struct GroupFaceHeadConfig {
    /// Number of values of the shared feature, which the backbone gives; 4096 in the paper.
    #[config(default = "4096")]
    pub shared: usize,
    /// Number of values of the instance feature, and of each group feature.
    #[config(default = "512")]
    pub dimension: usize,
    /// Number of groups K.
    #[config(default = "32")]
    pub groups: usize,
    /// Number of values of the decision network's inner layers.
    #[config(default = "256")]
    pub hidden: usize,
    /// How the group features come together.
    #[config(default = "Assignment::Soft")]
    pub assignment: Assignment,
    /// How instance and group come together.
    #[config(default = "Combination::Aggregate")]
    pub combination: Combination,
}

/// GroupFace on top of any backbone.
///
/// ```text
/// shared feature ─┬─ FC ────────── instance feature v_x ─┬──────────────────────── + ── v̄
///                 │                                      └─ decision network ─ p   │
///                 └─ K x FC ────── group features v^(G_k) ───────────────────── Σ ─┘
/// ```
///
/// Source: GroupFace, the figure of its architecture.
#[derive(Module, Debug)]
pub struct GroupFaceHead {
    /// `[shared, dimension]`.
    pub instance: Linear,
    /// `[shared, groups x dimension]`, all groups side by side: columns k·dimension to (k + 1)·dimension are group k's.
    pub group: Linear,
    /// To which groups does a face belong?
    pub decision: GroupDecisionNetwork,
    shared: usize,
    dimension: usize,
    groups: usize,
    #[module(skip)]
    assignment: Assignment,
    #[module(skip)]
    combination: Combination,
}

/// What the head gives for a batch.
#[derive(Debug, Clone)]
pub struct GroupFaceOutput {
    /// The final representation v̄ `[batch, dimension]`, or `[batch, 2 x dimension]` where it is concatenated.
    pub embedding: Tensor<2>,
    /// Instance feature v_x `[batch, dimension]`.
    pub instance: Tensor<2>,
    /// Group feature v^G `[batch, dimension]`, assigned already.
    pub group: Tensor<2>,
    /// What the decision network says.
    pub decision: GroupDecision,
}

impl GroupFaceHeadConfig {
    /// A head with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for no group or no value.
    pub fn init(&self, device: &Device) -> Result<GroupFaceHead> {
        let Self { shared, dimension, groups, hidden, assignment, combination } = *self;
        let sizes = [("shared", shared), ("dimension", dimension), ("groups", groups), ("hidden", hidden)];
        sizes.into_iter().try_for_each(|(parameter, value)| check_size(parameter, value))?;
        Ok(GroupFaceHead {
            instance: LinearConfig::new(shared, dimension).init(device),
            group: LinearConfig::new(shared, groups * dimension).init(device),
            decision: GroupDecisionNetwork::new(dimension, hidden, groups, device),
            shared,
            dimension,
            groups,
            assignment,
            combination,
        })
    }

    /// Number of values of the representation.
    pub fn embedding_dimension(&self) -> usize {
        self.combination.dimension(self.dimension)
    }
}

impl Combination {
    fn dimension(self, of_part: usize) -> usize {
        match self {
            Self::Aggregate => of_part,
            Self::Concatenate => 2 * of_part,
        }
    }
}

impl GroupFaceHead {
    /// Number of groups K.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Number of values of the shared feature.
    pub fn shared(&self) -> usize {
        self.shared
    }

    /// Number of values of the instance feature, and of each group feature.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of values of the representation.
    pub fn embedding_dimension(&self) -> usize {
        self.combination.dimension(self.dimension)
    }

    /// How the group features come together.
    pub fn assignment(&self) -> Assignment {
        self.assignment
    }

    /// How instance and group come together.
    pub fn combination(&self) -> Combination {
        self.combination
    }

    /// The representation of shared features `[batch, shared]`.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn forward(&self, shared: Tensor<2>) -> Result<GroupFaceOutput> {
        check_features(&shared, self.shared)?;
        let [batch, _] = shared.dims();
        let instance = self.instance.forward(shared.clone());
        let groups = self.group.forward(shared).reshape([batch, self.groups, self.dimension]);
        let decision = self.decision.forward(instance.clone());
        let shares = match self.assignment {
            Assignment::Soft => decision.probabilities(),
            Assignment::Hard => one_hot_of_greatest(decision.probabilities()),
        };
        let group = assign(shares, groups);
        let embedding = match self.combination {
            Combination::Aggregate => instance.clone() + group.clone(),
            Combination::Concatenate => Tensor::cat(vec![instance.clone(), group.clone()], 1),
        };
        Ok(GroupFaceOutput { embedding, instance, group, decision })
    }
}

impl GroupFaceOutput {
    /// The embeddings of the batch's faces: v̄, and behind it v̂ where the space compares them by
    /// [groups too](crate::Metric::GroupAware).
    ///
    /// # Errors
    /// [`Error::InvalidEmbedding`](crate::Error::InvalidEmbedding) where the space has another dimension;
    /// [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn embeddings(&self, space: &Arc<EmbeddingSpace>) -> Result<Vec<Embedding>> {
        let rows = match space.metric {
            Metric::GroupAware(_) => Tensor::cat(vec![self.embedding.clone(), self.decision.intermediate.clone()], 1),
            _ => self.embedding.clone(),
        };
        let [_, dimension] = rows.dims();
        let values: Vec<f32> = rows.into_data().iter::<f32>().collect();
        values.chunks_exact(dimension.max(1)).map(|row| Embedding::new(row.to_vec(), Arc::clone(space))).collect()
    }
}

/// Σ_k share_k v^(G_k) from shares `[batch, groups]` and group features `[batch, groups, dimension]`.
fn assign(shares: Tensor<2>, groups: Tensor<3>) -> Tensor<2> {
    let [batch, _, dimension] = groups.dims();
    shares.unsqueeze_dim::<3>(1).matmul(groups).reshape([batch, dimension])
}

/// 1 for the greatest value of each row, the first of equals, and 0 for the others.
fn one_hot_of_greatest(probabilities: Tensor<2>) -> Tensor<2> {
    let [batch, groups] = probabilities.dims();
    let greatest = probabilities.clone().detach().argmax(1).reshape([batch]);
    is_index(greatest, groups).float().cast(probabilities.dtype())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::train::testing::{assert_near, device, random, values};

    #[test]
    fn soft_assignment_by_a_one_hot_probability_is_the_hard_one() {
        let (batch, groups, dimension) = (3, 4, 5);
        let features = random([batch * groups, dimension], 1).reshape([batch, groups, dimension]);
        let logits = random([batch, groups], 2);
        let hard = one_hot_of_greatest(logits.clone());
        let chosen = assign(hard.clone(), features.clone());
        // So far apart that the softmax is one-hot to the last digit.
        let decision = GroupDecision { logits: hard.mul_scalar(2000.0), intermediate: logits.clone() };
        assert_near(&values(assign(decision.probabilities(), features.clone())), &values(chosen.clone()), 0.0);
        // And it is the feature of the greatest logit.
        let (logits, all, chosen) = (values(logits), values(features), values(chosen));
        for row in 0..batch {
            let of_row = &logits[row * groups..(row + 1) * groups];
            let best = (0..groups).max_by(|a, b| of_row[*a].total_cmp(&of_row[*b])).unwrap();
            let start = (row * groups + best) * dimension;
            assert_near(&chosen[row * dimension..(row + 1) * dimension], &all[start..start + dimension], 0.0);
        }
    }

    #[test]
    fn one_group_is_instance_and_that_group() {
        let config = GroupFaceHeadConfig::new().with_shared(6).with_dimension(4).with_groups(1).with_hidden(3);
        let head = config.init(&device()).unwrap();
        let shared = Tensor::<2>::from_data([[0.5_f32, -1.0, 2.0, 0.0, 0.3, -0.7]], &device());
        let output = head.forward(shared.clone()).unwrap();
        let expected = head.instance.forward(shared.clone()) + head.group.forward(shared);
        assert_near(&values(output.embedding), &values(expected), 1e-6);
        assert_near(&values(output.decision.probabilities()), &[1.0], 0.0);
    }

    #[test]
    fn concatenation_keeps_both() {
        let config = GroupFaceHeadConfig::new().with_shared(6).with_dimension(4).with_groups(3).with_hidden(3);
        let config = config.with_combination(Combination::Concatenate).with_assignment(Assignment::Hard);
        assert_eq!(config.embedding_dimension(), 8);
        let shared = Tensor::<2>::from_data([[0.5_f32, -1.0, 2.0, 0.0, 0.3, -0.7]], &device());
        let output = config.init(&device()).unwrap().forward(shared).unwrap();
        let embedding = values(output.embedding);
        assert_near(&embedding[..4], &values(output.instance), 0.0);
        assert_near(&embedding[4..], &values(output.group), 0.0);
    }

    #[test]
    fn impossible_settings_and_batches_are_refused() {
        let small = GroupFaceHeadConfig::new().with_shared(2).with_dimension(2).with_groups(2).with_hidden(2);
        for config in [small.clone().with_groups(0), small.clone().with_dimension(0), small.clone().with_shared(0)] {
            assert!(matches!(config.init(&device()), Err(Error::InvalidParameter { .. })));
        }
        let head = small.init(&device()).unwrap();
        let wrong = Tensor::<2>::from_data([[1.0_f32, 2.0, 3.0]], &device());
        assert!(matches!(head.forward(wrong), Err(Error::InvalidBatch { .. })));
        let wrong = Tensor::<2>::from_data([[1.0_f32, f32::NAN]], &device());
        assert!(matches!(head.forward(wrong), Err(Error::NonFinite { index: 1, .. })));
    }
}
