//! The group decision network: to which groups does a face belong?

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::{Device, Tensor};

/// Three matrix products and a softmax over the groups.
///
/// Source: GroupFace ("three fully-connected layers and a softmax"; in its figure the middle layer has 256 values). The paper names no activation between them; here it is ReLU.
#[derive(Module, Debug)]
pub struct GroupDecisionNetwork {
    /// `[dimension, hidden]`.
    pub first: Linear,
    /// `[hidden, hidden]`.
    pub second: Linear,
    /// `[hidden, groups]`.
    pub third: Linear,
}

/// What the group decision network says of a batch.
#[derive(Debug, Clone)]
pub struct GroupDecision {
    /// Values of the middle layer v̂ `[batch, hidden]`, by which the group-aware similarity compares faces.
    pub intermediate: Tensor<2>,
    /// `[batch, groups]`, before the softmax.
    pub logits: Tensor<2>,
}

impl GroupDecisionNetwork {
    pub(super) fn new(dimension: usize, hidden: usize, groups: usize, device: &Device) -> Self {
        let layer = |from, to| LinearConfig::new(from, to).init(device);
        Self { first: layer(dimension, hidden), second: layer(hidden, hidden), third: layer(hidden, groups) }
    }

    /// Number of values of the inner layers.
    pub fn hidden(&self) -> usize {
        self.second.weight.lazy_shape()[1]
    }

    /// The decision on instance features `[batch, dimension]`.
    pub(super) fn forward(&self, instance: Tensor<2>) -> GroupDecision {
        let intermediate = relu(self.second.forward(relu(self.first.forward(instance))));
        GroupDecision { logits: self.third.forward(intermediate.clone()), intermediate }
    }
}

impl GroupDecision {
    /// p(G_k | x) `[batch, groups]`.
    pub fn probabilities(&self) -> Tensor<2> {
        softmax(self.logits.clone(), 1)
    }

    /// Logarithms of the probabilities.
    pub(super) fn log_probabilities(&self) -> Tensor<2> {
        log_softmax(self.logits.clone(), 1)
    }
}
