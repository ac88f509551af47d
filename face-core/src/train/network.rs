//! Whole networks: a backbone, or a base that stays as it is, with a head behind it.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PRelu, PReluConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stage::Metric;
use crate::train::backbones::Backbone;
use crate::train::batch::{check_features, check_size};
use crate::train::groupface::{Assignment, Combination, GroupFaceHead, GroupFaceHeadConfig, GroupFaceOutput};
use crate::train::losses::angle::unit;

/// What comes behind the backbone or base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HeadConfig {
    /// One matrix product.
    Linear {
        /// Number of values of an embedding.
        dimension: usize,
    },
    /// Two matrix products, with a normalization by the batch and PReLU between them.
    Mlp {
        /// Number of values between them.
        hidden: usize,
        /// Number of values of an embedding.
        dimension: usize,
    },
    /// GroupFace.
    GroupFace {
        /// Number of values of an embedding.
        dimension: usize,
        /// Number of groups K.
        groups: usize,
        /// Number of values of the decision network's inner layers.
        #[serde(default = "hidden")]
        hidden: usize,
        /// How the group features come together.
        #[serde(default)]
        assignment: Assignment,
        /// How instance and group come together.
        #[serde(default)]
        combination: Combination,
    },
}

fn hidden() -> usize {
    GroupFaceHeadConfig::new().hidden
}

impl HeadConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let sizes: &[(&'static str, usize)] = match self {
            Self::Linear { dimension } => &[("dimension", *dimension)],
            Self::Mlp { hidden, dimension } => &[("hidden", *hidden), ("dimension", *dimension)],
            Self::GroupFace { dimension, groups, hidden, .. } => {
                &[("dimension", *dimension), ("groups", *groups), ("hidden", *hidden)]
            }
        };
        sizes.iter().try_for_each(|(parameter, value)| check_size(parameter, *value))
    }

    /// Number of groups K; 0 for a head without them.
    pub fn groups(&self) -> usize {
        match self {
            Self::GroupFace { groups, .. } => *groups,
            _ => 0,
        }
    }

    /// The head with new weights, for features of so many values.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn init(&self, features: usize, device: &Device) -> Result<Head> {
        self.validate()?;
        Ok(match *self {
            Self::Linear { dimension } => Head::Linear(LinearConfig::new(features, dimension).init(device)),
            Self::Mlp { hidden, dimension } => Head::Mlp(Mlp {
                first: LinearConfig::new(features, hidden).with_bias(false).init(device),
                norm: BatchNormConfig::new(hidden).init(device),
                activation: PReluConfig::new().with_num_parameters(hidden).init(device),
                second: LinearConfig::new(hidden, dimension).init(device),
            }),
            Self::GroupFace { dimension, groups, hidden, assignment, combination } => Head::GroupFace(
                GroupFaceHeadConfig::new()
                    .with_shared(features)
                    .with_dimension(dimension)
                    .with_groups(groups)
                    .with_hidden(hidden)
                    .with_assignment(assignment)
                    .with_combination(combination)
                    .init(device)?,
            ),
        })
    }
}

/// A head.
#[derive(Module, Debug)]
pub enum Head {
    /// One matrix product.
    Linear(Linear),
    /// Two of them.
    Mlp(Mlp),
    /// GroupFace.
    GroupFace(GroupFaceHead),
}

/// Two matrix products, with a normalization by the batch and PReLU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[features, hidden]`, without a bias.
    pub first: Linear,
    /// Of the hidden values.
    pub norm: BatchNorm,
    /// Of the hidden values.
    pub activation: PRelu,
    /// `[hidden, dimension]`.
    pub second: Linear,
}

/// A network in training, or after it.
#[derive(Module, Debug)]
pub struct FaceNetwork {
    /// From pictures to features; `None` where the features are those of a base.
    pub backbone: Option<Backbone>,
    /// From features to embeddings; `None` where the features are the embeddings.
    pub head: Option<Head>,
    features: usize,
    dimension: usize,
}

/// What goes in.
#[derive(Debug, Clone)]
pub enum NetworkInput {
    /// `[batch, channels, height, width]`.
    Pictures(Tensor<4>),
    /// Features of the base, `[batch, features]`.
    Features(Tensor<2>),
}

/// What comes out.
#[derive(Debug, Clone)]
pub struct NetworkOutput {
    /// `[batch, dimension]`, of whatever length.
    pub embedding: Tensor<2>,
    /// More of it, from GroupFace.
    pub groups: Option<GroupFaceOutput>,
}

impl FaceNetwork {
    /// A backbone, with or without a head.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn with_backbone(backbone: Backbone, head: Option<&HeadConfig>, device: &Device) -> Result<Self> {
        let features = backbone.dimension();
        Self::new(Some(backbone), head, features, device)
    }

    /// A head for a base with features of so many values.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn on_base(features: usize, head: &HeadConfig, device: &Device) -> Result<Self> {
        check_size("features", features)?;
        Self::new(None, Some(head), features, device)
    }

    fn new(backbone: Option<Backbone>, head: Option<&HeadConfig>, features: usize, device: &Device) -> Result<Self> {
        let head = head.map(|head| head.init(features, device)).transpose()?;
        let dimension = match &head {
            None => features,
            Some(Head::Linear(linear) | Head::Mlp(Mlp { second: linear, .. })) => linear.weight.lazy_shape()[1],
            Some(Head::GroupFace(head)) => head.embedding_dimension(),
        };
        Ok(Self { backbone, head, features, dimension })
    }

    /// Number of values of an embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Number of values that go into the head.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The embeddings of a batch.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`] for pictures without a backbone, for features with one, and for other shapes; [`Error::NonFinite`].
    pub fn forward(&self, input: NetworkInput) -> Result<NetworkOutput> {
        let features = match (&self.backbone, input) {
            (Some(backbone), NetworkInput::Pictures(pictures)) => backbone.forward(pictures)?,
            (None, NetworkInput::Features(features)) => {
                check_features(&features, self.features)?;
                features
            }
            (backbone, _) => {
                let (given, expected) =
                    if backbone.is_some() { ("features", "pictures") } else { ("pictures", "features") };
                return Err(Error::InvalidBatch { reason: format!("{given} were given; expected {expected}") });
            }
        };
        Ok(match &self.head {
            None => NetworkOutput { embedding: features, groups: None },
            Some(Head::Linear(head)) => NetworkOutput { embedding: head.forward(features), groups: None },
            Some(Head::Mlp(head)) => NetworkOutput { embedding: head.forward(features), groups: None },
            Some(Head::GroupFace(head)) => {
                let output = head.forward(features)?;
                NetworkOutput { embedding: output.embedding.clone(), groups: Some(output) }
            }
        })
    }
}

impl NetworkOutput {
    /// The embeddings as the network's file gives them for a metric: of unit length, with the intermediate vector behind them where
    /// they are compared by groups, too.
    pub(crate) fn rows(self, metric: Metric) -> Tensor<2> {
        let embeddings = unit(self.embedding);
        match (metric, self.groups) {
            (Metric::GroupAware(_), Some(groups)) => Tensor::cat(vec![embeddings, groups.decision.intermediate], 1),
            _ => embeddings,
        }
    }
}

impl Mlp {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        let hidden = self.first.forward(features);
        let [batch, size] = hidden.dims();
        let hidden = self.norm.forward(hidden.reshape([batch, size, 1])).reshape([batch, size]);
        self.second.forward(self.activation.forward(hidden))
    }
}
