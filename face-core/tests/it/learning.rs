//! Every loss learns: a tiny network fits 32 real crops.

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::Tensor;
use face_core::train::backbones::{Backbone, DeepIdConfig};
use face_core::train::burn;
use face_core::train::groupface::{
    GroupFaceHead, GroupFaceHeadConfig, GroupFaceLoss, GroupFaceLossConfig, Labelling, Stage,
};
use face_core::train::losses::{
    AdaFace, AdaFaceConfig, AdaMSoftmax, AdaMSoftmaxConfig, Annealing, ArcFace, ArcFaceConfig, CenterLoss,
    CenterLossConfig, CombinedMargin, CombinedMarginConfig, ContrastiveConfig, CosFace, CosFaceConfig, Distance,
    Mining, Softmax, SoftmaxConfig, SphereFace, SphereFaceConfig, TripletConfig,
};

use super::common;
use super::losses::{device, random_numbers, values};

/// What the example draws is tested here.
#[path = "../../../examples/rust/groupface_groups/experiment.rs"]
mod experiment;

use experiment::{Crops, PASSES, entropies};

const PEOPLE: usize = 8;
const PHOTOS: usize = 4;
const DIMENSION: usize = 32;
/// Within so many steps every photo must be recognised.
const STEPS: usize = 150;
const LEARNING_RATE: f64 = 3e-3;
const SEED: u64 = 17;

/// A network and its loss, which learn together.
trait Learner: Module {
    fn loss(&self, pictures: Tensor<4>, labels: &[usize], step: usize) -> Tensor<1>;

    /// The class that each picture is taken for; where a loss knows no classes, that of the nearest other picture.
    fn classes(&self, pictures: Tensor<4>, labels: &[usize]) -> Vec<usize>;

    fn after_step(self) -> Self {
        self
    }
}

fn greatest(logits: Tensor<2>) -> Vec<usize> {
    let indices = logits.argmax(1).into_data();
    indices.iter::<i64>().map(|index| index as usize).collect()
}

fn nearest(features: Tensor<2>, labels: &[usize]) -> Vec<usize> {
    let [count, columns] = features.dims();
    let features = values(features);
    let row = |index: usize| &features[index * columns..(index + 1) * columns];
    let cosine = |a: &[f64], b: &[f64]| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let best = |index: usize| {
        let others = (0..count).filter(|other| *other != index);
        others.max_by(|a, b| cosine(row(index), row(*a)).total_cmp(&cosine(row(index), row(*b)))).unwrap()
    };
    (0..count).map(|index| labels[best(index)]).collect()
}

macro_rules! learner_over_classes {
    ($name:ident, $loss:ty, |$self_loss:ident, $features:ident, $labels:ident, $step:ident| $forward:expr) => {
        #[derive(Module, Debug)]
        struct $name {
            backbone: Backbone,
            loss: $loss,
        }

        impl Learner for $name {
            fn loss(&self, pictures: Tensor<4>, $labels: &[usize], $step: usize) -> Tensor<1> {
                let $self_loss = &self.loss;
                let $features = self.backbone.forward(pictures).unwrap();
                $forward.unwrap()
            }

            fn classes(&self, pictures: Tensor<4>, _: &[usize]) -> Vec<usize> {
                greatest(self.loss.logits(self.backbone.forward(pictures).unwrap()).unwrap())
            }
        }
    };
}

learner_over_classes!(SoftmaxLearner, Softmax, |loss, features, labels, _step| loss.forward(features, labels));
learner_over_classes!(CosFaceLearner, CosFace, |loss, features, labels, _step| loss.forward(features, labels));
learner_over_classes!(ArcFaceLearner, ArcFace, |loss, features, labels, _step| loss.forward(features, labels));
learner_over_classes!(CombinedLearner, CombinedMargin, |loss, features, labels, _step| loss.forward(features, labels));
learner_over_classes!(AdaFaceLearner, AdaFace, |loss, features, labels, _step| loss.forward(features, labels));
learner_over_classes!(SphereFaceLearner, SphereFace, |loss, features, labels, step| loss
    .forward(features, labels, step));

#[derive(Module, Debug)]
struct AdaMLearner {
    backbone: Backbone,
    loss: AdaMSoftmax,
}

impl Learner for AdaMLearner {
    fn loss(&self, pictures: Tensor<4>, labels: &[usize], _: usize) -> Tensor<1> {
        self.loss.forward(self.backbone.forward(pictures).unwrap(), labels).unwrap()
    }

    fn classes(&self, pictures: Tensor<4>, _: &[usize]) -> Vec<usize> {
        greatest(self.loss.logits(self.backbone.forward(pictures).unwrap()).unwrap())
    }

    fn after_step(mut self) -> Self {
        self.loss = self.loss.clamp_margins();
        let margins = values(self.loss.margins.val());
        assert!(margins.iter().all(|margin| (0.0..=1.0).contains(margin)), "{margins:?}");
        self
    }
}

/// Softmax with center loss beside it.
#[derive(Module, Debug)]
struct CenterLearner {
    backbone: Backbone,
    softmax: Softmax,
    center: CenterLoss,
}

impl Learner for CenterLearner {
    fn loss(&self, pictures: Tensor<4>, labels: &[usize], _: usize) -> Tensor<1> {
        let features = self.backbone.forward(pictures).unwrap();
        let center = self.center.forward(features.clone(), labels).unwrap();
        self.softmax.forward(features, labels).unwrap() + center.mul_scalar(0.01)
    }

    fn classes(&self, pictures: Tensor<4>, _: &[usize]) -> Vec<usize> {
        greatest(self.softmax.logits(self.backbone.forward(pictures).unwrap()).unwrap())
    }
}

#[derive(Debug, Clone)]
enum OverPairs {
    Contrastive(face_core::train::losses::Contrastive),
    Triplet(face_core::train::losses::Triplet),
}

#[derive(Module, Debug)]
struct PairLearner {
    backbone: Backbone,
    #[module(skip)]
    loss: OverPairs,
}

impl Learner for PairLearner {
    fn loss(&self, pictures: Tensor<4>, labels: &[usize], _: usize) -> Tensor<1> {
        let features = self.backbone.forward(pictures).unwrap();
        match &self.loss {
            OverPairs::Contrastive(loss) => loss.forward(features, labels).unwrap(),
            OverPairs::Triplet(loss) => loss.forward(features, labels).unwrap(),
        }
    }

    fn classes(&self, pictures: Tensor<4>, labels: &[usize]) -> Vec<usize> {
        nearest(self.backbone.forward(pictures).unwrap(), labels)
    }
}

#[derive(Module, Debug)]
struct GroupFaceLearner {
    backbone: Backbone,
    head: GroupFaceHead,
    loss: GroupFaceLoss,
}

impl Learner for GroupFaceLearner {
    fn loss(&self, pictures: Tensor<4>, labels: &[usize], step: usize) -> Tensor<1> {
        let output = self.head.forward(self.backbone.forward(pictures).unwrap()).unwrap();
        let stage = if step < STEPS / 3 { Stage::Pretraining } else { Stage::Training };
        self.loss.forward(&output, labels, stage).unwrap().total
    }

    fn classes(&self, pictures: Tensor<4>, _: &[usize]) -> Vec<usize> {
        let output = self.head.forward(self.backbone.forward(pictures).unwrap()).unwrap();
        greatest(self.loss.arcface.logits(output.embedding).unwrap())
    }
}

/// Steps until every picture is recognised.
fn steps_to_fit<L: Learner>(name: &str, mut learner: L, crops: &Crops) -> usize {
    let all: Vec<usize> = (0..crops.labels.len()).collect();
    let pictures = crops.tensor(&all, &device());
    let mut optimizer = AdamConfig::new().init();
    let right = |learner: &L| {
        let found = learner.classes(pictures.clone(), &crops.labels);
        found.iter().zip(&crops.labels).filter(|(found, label)| found == label).count()
    };
    for step in 0..STEPS {
        let loss = learner.loss(pictures.clone(), &crops.labels, step);
        let gradients = GradientsParams::from_grads(loss.backward(), &learner);
        learner = optimizer.step(LEARNING_RATE, learner, gradients).after_step();
        if step % 5 == 4 && right(&learner) == crops.labels.len() {
            return step + 1;
        }
    }
    panic!("{name}: {} of {} are recognised after {STEPS} steps", right(&learner), crops.labels.len());
}

#[test]
fn a_tiny_network_fits_real_crops_with_each_loss() {
    let test = "a_tiny_network_fits_real_crops_with_each_loss";
    let Some(pipeline) = common::pipeline(test) else { return };
    let Some(images) = common::face_data(test, "lfw/images") else { return };
    let crops = Crops::from_folder(&images, pipeline, PEOPLE, PHOTOS).unwrap();
    let device = device();
    let _numbers = random_numbers();
    let backbone = || {
        device.seed(SEED);
        DeepIdConfig::new().with_width(8).with_dimension(DIMENSION).init(&device).unwrap()
    };
    let mut taken = vec![];
    macro_rules! fit {
        ($name:literal, $learner:ident { $($field:ident: $loss:expr),* }) => {
            let learner = $learner { backbone: backbone(), $($field: $loss.unwrap()),* };
            taken.push(($name, steps_to_fit($name, learner, &crops)));
        };
    }
    fit!("softmax", SoftmaxLearner { loss: SoftmaxConfig::new(PEOPLE, DIMENSION).init(&device) });
    let normalized = SoftmaxConfig::new(PEOPLE, DIMENSION).with_normalize_weights(true).with_scale(Some(16.0));
    fit!("normalized softmax", SoftmaxLearner { loss: normalized.with_bias(false).init(&device) });
    fit!("CosFace", CosFaceLearner { loss: CosFaceConfig::new(PEOPLE, DIMENSION).init(&device) });
    fit!("ArcFace", ArcFaceLearner { loss: ArcFaceConfig::new(PEOPLE, DIMENSION).init(&device) });
    fit!("combined", CombinedLearner { loss: CombinedMarginConfig::new(PEOPLE, DIMENSION).init(&device) });
    fit!("AdaFace", AdaFaceLearner { loss: AdaFaceConfig::new(PEOPLE, DIMENSION).init(&device) });
    // The margin comes in over these few steps, and not over the thousands of a training.
    let annealing = Annealing { base: 100.0, gamma: 1.0, ..Annealing::new() };
    let sphereface = SphereFaceConfig::new(PEOPLE, DIMENSION).with_annealing(annealing);
    fit!("SphereFace", SphereFaceLearner { loss: sphereface.init(&device) });
    fit!("AdaM-softmax", AdaMLearner { loss: AdaMSoftmaxConfig::new(PEOPLE, DIMENSION).init(&device) });
    fit!(
        "center",
        CenterLearner {
            softmax: SoftmaxConfig::new(PEOPLE, DIMENSION).init(&device),
            center: CenterLossConfig::new(PEOPLE, DIMENSION).init(&device)
        }
    );
    let contrastive = ContrastiveConfig::new().with_margin(1.0);
    fit!("contrastive", PairLearner { loss: contrastive.init().map(OverPairs::Contrastive) });
    for (name, mining) in
        [("all triplets", Mining::All), ("batch-hard", Mining::BatchHard), ("semi-hard", Mining::SemiHard)]
    {
        let triplet = TripletConfig::new().with_mining(mining).with_distance(Distance::Cosine);
        let learner = PairLearner { backbone: backbone(), loss: OverPairs::Triplet(triplet.init().unwrap()) };
        taken.push((name, steps_to_fit(name, learner, &crops)));
    }
    let head =
        GroupFaceHeadConfig::new().with_shared(DIMENSION).with_dimension(DIMENSION).with_groups(4).with_hidden(16);
    let loss = GroupFaceLossConfig::new(PEOPLE).with_dimension(DIMENSION).with_groups(4);
    fit!("GroupFace", GroupFaceLearner { head: head.init(&device), loss: loss.init(&device) });
    assert_eq!(taken.len(), 14, "{taken:?}");
}

/// Self-distributed labels keep all groups in use, where naive ones end in few of them.
#[test]
fn groups_stay_in_use_while_naive_labels_collapse() {
    let test = "groups_stay_in_use_while_naive_labels_collapse";
    let Some(pipeline) = common::pipeline(test) else { return };
    let Some(images) = common::face_data(test, "lfw/images") else { return };
    let crops = Crops::from_folder(&images, pipeline, experiment::PEOPLE, experiment::PHOTOS).unwrap();
    let _numbers = random_numbers();
    let at_the_end = |labelling| {
        let entropies = entropies(&crops, labelling, &mut || {}).unwrap();
        entropies[PASSES / 2..].iter().sum::<f64>() / (PASSES - PASSES / 2) as f64
    };
    let (distributed, naive) = (at_the_end(Labelling::SelfDistributed), at_the_end(Labelling::Naive));
    assert!(distributed > 0.8, "{distributed}");
    assert!(naive < 0.4, "{naive}");
}
