//! The losses as a setting, behind one `forward`.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::train::batch::check_within;
use crate::train::groupface::{GroupFaceLoss, GroupFaceLossConfig, Labelling, SelfDistributedGroupingConfig, Stage};
use crate::train::losses::angle::unit;
use crate::train::losses::{
    AdaFace, AdaFaceConfig, AdaMSoftmax, AdaMSoftmaxConfig, ArcFace, ArcFaceConfig, CenterLoss, CenterLossConfig,
    CombinedMargin, CombinedMarginConfig, Contrastive, ContrastiveConfig, CosFace, CosFaceConfig, Mining, Softmax,
    SoftmaxConfig, SphereFace, SphereFaceConfig, Triplet, TripletConfig,
};
use crate::train::network::NetworkOutput;

/// Which loss, and those of its settings that differ from the loss's own defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Which one.
    pub kind: LossKind,
    /// Scale s: softmax (where it scales its features), CosFace, ArcFace, combined, AdaM, AdaFace, GroupFace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Margin: CosFace, ArcFace, SphereFace (a whole number), AdaFace, GroupFace, contrastive, triplet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The three margins of the combined loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margins: Option<[f64; 3]>,
    /// Weight λ: AdaM's of its mean margin, GroupFace's of the grouping loss, center's of the center loss (0.003).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Which triplets are learnt from: triplet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mining: Option<Mining>,
    /// How faces get their group labels: GroupFace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelling: Option<Labelling>,
    /// Over how many batches the expectation of the groups runs: GroupFace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// For how many epochs softmax comes first, until the groups are stable: GroupFace. 0 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretraining: Option<usize>,
    /// Weight of the grouping loss in those: GroupFace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretraining_lambda: Option<f64>,
}

/// The losses by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // Each is the loss of that name.
pub enum LossKind {
    Softmax,
    /// Softmax and the center loss.
    Center,
    Contrastive,
    Triplet,
    SphereFace,
    CosFace,
    ArcFace,
    Combined,
    Adam,
    AdaFace,
    GroupFace,
}

/// Weight of the center loss.
///
/// Source: Y. Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, section 4.1.
const CENTER_WEIGHT: f64 = 0.003;

impl LossConfig {
    /// A loss with its own defaults.
    pub fn new(kind: LossKind) -> Self {
        Self {
            kind,
            scale: None,
            margin: None,
            margins: None,
            lambda: None,
            mining: None,
            labelling: None,
            window: None,
            pretraining: None,
            pretraining_lambda: None,
        }
    }

    /// Whether it needs the head of GroupFace.
    pub fn is_of_groups(&self) -> bool {
        self.kind == LossKind::GroupFace
    }

    /// Whether it compares the photos of a batch with one another.
    pub fn is_of_pairs(&self) -> bool {
        matches!(self.kind, LossKind::Contrastive | LossKind::Triplet)
    }

    /// A setting that this loss does not have would do nothing, and is refused; so is a margin that it cannot have.
    pub(super) fn validate(&self) -> Result<()> {
        use LossKind as Kind;
        let scaled = [Kind::CosFace, Kind::ArcFace, Kind::Combined, Kind::Adam, Kind::AdaFace, Kind::GroupFace];
        let with_margin = [
            Kind::CosFace,
            Kind::ArcFace,
            Kind::SphereFace,
            Kind::AdaFace,
            Kind::GroupFace,
            Kind::Contrastive,
            Kind::Triplet,
        ];
        let of_groups = [Kind::GroupFace];
        let given: [(&'static str, bool, &[Kind]); 9] = [
            ("scale", self.scale.is_some(), &scaled),
            ("margin", self.margin.is_some(), &with_margin),
            ("margins", self.margins.is_some(), &[Kind::Combined]),
            ("lambda", self.lambda.is_some(), &[Kind::Adam, Kind::GroupFace, Kind::Center]),
            ("mining", self.mining.is_some(), &[Kind::Triplet]),
            ("labelling", self.labelling.is_some(), &of_groups),
            ("window", self.window.is_some(), &of_groups),
            ("pretraining", self.pretraining.is_some(), &of_groups),
            ("pretraining_lambda", self.pretraining_lambda.is_some(), &of_groups),
        ];
        if let Some((parameter, ..)) = given.into_iter().find(|(_, is_given, of)| *is_given && !of.contains(&self.kind))
        {
            return Err(Error::InvalidParameter {
                parameter,
                value: format!("given for the loss {:?}", self.kind),
                expected: "left out: it has no such setting".into(),
            });
        }
        if let (Kind::SphereFace, Some(margin)) = (self.kind, self.margin)
            && ![1.0, 2.0, 3.0, 4.0].contains(&margin)
        {
            let (value, expected) = (margin.to_string(), "1, 2, 3 or 4 for SphereFace".into());
            return Err(Error::InvalidParameter { parameter: "margin", value, expected });
        }
        self.lambda.map_or(Ok(()), |lambda| check_within("lambda", lambda, 0.0, f64::MAX))
    }

    /// The loss with new weights, for so many people and values. `groups` are the head's.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub(super) fn init(&self, people: usize, dimension: usize, groups: usize, device: &Device) -> Result<TrainedLoss> {
        macro_rules! configured {
            ($config:expr, $($setting:ident $with:ident),*) => {{
                let mut config = $config;
                $(if let Some(value) = self.$setting {
                    config = config.$with(value);
                })*
                config
            }};
        }
        Ok(match self.kind {
            LossKind::Softmax => TrainedLoss::Softmax(SoftmaxConfig::new(people, dimension).init(device)?),
            LossKind::Center => TrainedLoss::Center(SoftmaxAndCenter {
                softmax: SoftmaxConfig::new(people, dimension).init(device)?,
                center: CenterLossConfig::new(people, dimension).init(device)?,
                weight: self.lambda.unwrap_or(CENTER_WEIGHT),
            }),
            LossKind::Contrastive | LossKind::Triplet => TrainedLoss::Pairs(PairLoss {
                loss: if self.kind == LossKind::Contrastive {
                    OfPairs::Contrastive(configured!(ContrastiveConfig::new(), margin with_margin).init()?)
                } else {
                    OfPairs::Triplet(configured!(TripletConfig::new(), margin with_margin, mining with_mining).init()?)
                },
            }),
            LossKind::SphereFace => {
                let config = SphereFaceConfig::new(people, dimension);
                let config = self.margin.map_or(config.clone(), |margin| config.with_margin(margin as u32));
                TrainedLoss::SphereFace(config.init(device)?)
            }
            LossKind::CosFace => TrainedLoss::CosFace(
                configured!(CosFaceConfig::new(people, dimension), scale with_scale, margin with_margin)
                    .init(device)?,
            ),
            LossKind::ArcFace => TrainedLoss::ArcFace(
                configured!(ArcFaceConfig::new(people, dimension), scale with_scale, margin with_margin)
                    .init(device)?,
            ),
            LossKind::Combined => {
                let mut config = configured!(CombinedMarginConfig::new(people, dimension), scale with_scale);
                if let Some([m1, m2, m3]) = self.margins {
                    (config.multiplicative, config.angular, config.cosine) = (m1, m2, m3);
                }
                TrainedLoss::Combined(config.init(device)?)
            }
            LossKind::Adam => TrainedLoss::Adam(
                configured!(AdaMSoftmaxConfig::new(people, dimension), scale with_scale, lambda with_lambda)
                    .init(device)?,
            ),
            LossKind::AdaFace => TrainedLoss::AdaFace(
                configured!(AdaFaceConfig::new(people, dimension), scale with_scale, margin with_margin)
                    .init(device)?,
            ),
            LossKind::GroupFace => {
                let grouping = configured!(
                    SelfDistributedGroupingConfig::new(),
                    window with_window, labelling with_labelling
                );
                let config = GroupFaceLossConfig::new(people).with_dimension(dimension).with_groups(groups);
                let config = configured!(
                    config.with_grouping(grouping),
                    scale with_scale, margin with_margin, lambda with_lambda, pretraining_lambda with_pretraining_lambda
                );
                TrainedLoss::GroupFace(config.init(device)?)
            }
        })
    }
}

/// A loss in training.
#[derive(Module, Debug)]
pub(super) enum TrainedLoss {
    Softmax(Softmax),
    Center(SoftmaxAndCenter),
    Pairs(PairLoss),
    SphereFace(SphereFace),
    CosFace(CosFace),
    ArcFace(ArcFace),
    Combined(CombinedMargin),
    Adam(AdaMSoftmax),
    AdaFace(AdaFace),
    GroupFace(GroupFaceLoss),
}

#[derive(Module, Debug)]
pub(super) struct SoftmaxAndCenter {
    softmax: Softmax,
    center: CenterLoss,
    weight: f64,
}

/// A loss over pairs or triplets, which has no weights.
#[derive(Module, Debug)]
pub(super) struct PairLoss {
    #[module(skip)]
    loss: OfPairs,
}

#[derive(Debug, Clone)]
enum OfPairs {
    Contrastive(Contrastive),
    Triplet(Triplet),
}

impl TrainedLoss {
    /// The mean loss of a batch, `[1]`, and the one of the groups without its weight.
    ///
    /// # Errors
    /// As those of the loss.
    pub(super) fn forward(
        &self,
        output: &NetworkOutput,
        labels: &[usize],
        step: usize,
        stage: Stage,
    ) -> Result<(Tensor<1>, Option<Tensor<1>>)> {
        let features = || output.embedding.clone();
        let alone = |loss: Tensor<1>| (loss, None);
        Ok(match self {
            Self::Softmax(loss) => alone(loss.forward(features(), labels)?),
            Self::Center(SoftmaxAndCenter { softmax, center, weight }) => {
                let drawn = center.forward(features(), labels)?.mul_scalar(*weight);
                alone(softmax.forward(features(), labels)? + drawn)
            }
            // Of unit length, as the network will give them to its users.
            Self::Pairs(PairLoss { loss: OfPairs::Contrastive(loss) }) => {
                alone(loss.forward(unit(features()), labels)?)
            }
            Self::Pairs(PairLoss { loss: OfPairs::Triplet(loss) }) => alone(loss.forward(unit(features()), labels)?),
            Self::SphereFace(loss) => alone(loss.forward(features(), labels, step)?),
            Self::CosFace(loss) => alone(loss.forward(features(), labels)?),
            Self::ArcFace(loss) => alone(loss.forward(features(), labels)?),
            Self::Combined(loss) => alone(loss.forward(features(), labels)?),
            Self::Adam(loss) => alone(loss.forward(features(), labels)?),
            Self::AdaFace(loss) => alone(loss.forward(features(), labels)?),
            Self::GroupFace(loss) => {
                let group = output.groups.as_ref().ok_or_else(|| Error::InvalidParameter {
                    parameter: "head",
                    value: "one without groups".into(),
                    expected: "groupface for the loss groupface".into(),
                })?;
                let losses = loss.forward(group, labels, stage)?;
                (losses.total, Some(losses.grouping))
            }
        })
    }

    /// Share of the batch whose own person is the most likely one; `None` for a loss that knows no people.
    ///
    /// # Errors
    /// As those of the loss.
    pub(super) fn accuracy(&self, features: Tensor<2>, labels: &[usize], stage: Stage) -> Result<Option<f64>> {
        let logits = match self {
            Self::Softmax(loss) => loss.logits(features)?,
            Self::Center(loss) => loss.softmax.logits(features)?,
            Self::Pairs(_) => return Ok(None),
            Self::SphereFace(loss) => loss.logits(features)?,
            Self::CosFace(loss) => loss.logits(features)?,
            Self::ArcFace(loss) => loss.logits(features)?,
            Self::Combined(loss) => loss.logits(features)?,
            Self::Adam(loss) => loss.logits(features)?,
            Self::AdaFace(loss) => loss.logits(features)?,
            Self::GroupFace(loss) => match stage {
                Stage::Pretraining => loss.softmax.logits(features)?,
                Stage::Training => loss.arcface.logits(features)?,
            },
        };
        let best: Vec<i64> = logits.detach().argmax(1).into_data().iter::<i64>().collect();
        let right = best.iter().zip(labels).filter(|(best, label)| **best == **label as i64).count();
        Ok(Some(right as f64 / labels.len().max(1) as f64))
    }

    /// What is to be done after each step.
    pub(super) fn after_step(self) -> Self {
        match self {
            Self::Adam(loss) => Self::Adam(loss.clamp_margins()),
            other => other,
        }
    }

    /// What is to be done when the pretraining is over.
    pub(super) fn start_training(self) -> Self {
        match self {
            Self::GroupFace(loss) => Self::GroupFace(loss.start_training()),
            other => other,
        }
    }
}
