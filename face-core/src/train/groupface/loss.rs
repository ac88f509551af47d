//! What GroupFace learns by.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use super::grouping::{SelfDistributedGrouping, SelfDistributedGroupingConfig, grouping_loss};
use super::head::GroupFaceOutput;
use crate::error::Result;
use crate::train::batch::check_within;
use crate::train::losses::{ArcFace, ArcFaceConfig, Softmax, SoftmaxConfig};

/// Which of the two stages of the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// By softmax, until the group probabilities are stable.
    Pretraining,
    /// By ArcFace and the grouping loss.
    Training,
}

/// Settings of [`GroupFaceLoss`].
#[derive(Config, Debug)]
pub struct GroupFaceLossConfig {
    /// Number of people.
    pub classes: usize,
    /// Number of values of the representation:
    /// [`embedding_dimension`](super::GroupFaceHeadConfig::embedding_dimension).
    #[config(default = "512")]
    pub dimension: usize,
    /// Number of groups K, of the head.
    #[config(default = "32")]
    pub groups: usize,
    /// Weight λ of the grouping loss.
    #[config(default = "0.1")]
    pub lambda: f64,
    /// Weight of the grouping loss in pretraining. The paper does not say; by default the decision network learns by the
    /// soft assignment alone there.
    #[config(default = "0.0")]
    pub pretraining_lambda: f64,
    /// Scale of ArcFace.
    #[config(default = "64.0")]
    pub scale: f64,
    /// Margin of ArcFace in radians.
    #[config(default = "0.5")]
    pub margin: f64,
    /// How faces get their group labels; its number of groups is overwritten by `groups`.
    #[config(default = "SelfDistributedGroupingConfig::new()")]
    pub grouping: SelfDistributedGroupingConfig,
}

/// L = L1 + λ L2: the people are learnt by ArcFace on v̄, the groups by the cross-entropy of the decision with its own labels.
///
/// The two stages have class weights of their own. Those of the pretraining are a better beginning for the second stage than random
/// ones: [`start_training`](Self::start_training) hands them over.
///
/// Source: GroupFace, the section on learning; scale and margin are ArcFace's own, since the paper's text was not at hand to
/// check them.
#[derive(Module, Debug)]
pub struct GroupFaceLoss {
    /// L1 in training.
    pub arcface: ArcFace,
    /// L1 in pretraining.
    pub softmax: Softmax,
    /// The labels of the groups.
    pub grouping: SelfDistributedGrouping,
    lambda: f64,
    pretraining_lambda: f64,
}

/// The parts of the loss, each `[1]`, and the labels of the groups.
#[derive(Debug, Clone)]
pub struct GroupFaceLosses {
    /// What is to be minimised.
    pub total: Tensor<1>,
    /// L1, of the people.
    pub identity: Tensor<1>,
    /// L2, of the groups, without its weight.
    pub grouping: Tensor<1>,
    /// The groups that the faces were labelled with, `[batch]`.
    pub group_labels: Tensor<1, Int>,
}

impl GroupFaceLossConfig {
    /// A loss with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<GroupFaceLoss> {
        let Self { classes, dimension, groups, lambda, pretraining_lambda, scale, margin, .. } = *self;
        check_within("lambda", lambda, 0.0, f64::MAX)?;
        check_within("pretraining_lambda", pretraining_lambda, 0.0, f64::MAX)?;
        Ok(GroupFaceLoss {
            arcface: ArcFaceConfig::new(classes, dimension).with_scale(scale).with_margin(margin).init(device)?,
            softmax: SoftmaxConfig::new(classes, dimension).init(device)?,
            grouping: self.grouping.clone().with_groups(groups).init(device)?,
            lambda,
            pretraining_lambda,
        })
    }
}

impl GroupFaceLoss {
    /// Begins the second stage with the class weights of the first.
    #[must_use]
    pub fn start_training(mut self) -> Self {
        self.arcface.classes.weight = Param::from_tensor(self.softmax.classes.weight.val().detach());
        self
    }

    /// Mean losses of a batch, with a label for each person.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange),
    /// [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn forward(&self, output: &GroupFaceOutput, labels: &[usize], stage: Stage) -> Result<GroupFaceLosses> {
        let embedding = output.embedding.clone();
        let (identity, lambda) = match stage {
            Stage::Pretraining => (self.softmax.forward(embedding, labels)?, self.pretraining_lambda),
            Stage::Training => (self.arcface.forward(embedding, labels)?, self.lambda),
        };
        let group_labels = self.grouping.label(&output.decision.probabilities())?;
        let grouping = grouping_loss(&output.decision, group_labels.clone());
        let total = identity.clone() + grouping.clone().mul_scalar(lambda);
        Ok(GroupFaceLosses { total, identity, grouping, group_labels })
    }
}
