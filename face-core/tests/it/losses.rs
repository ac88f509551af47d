//! Losses and GroupFace against PyTorch (`tests/golden/make_losses`), and against central differences.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::Param;
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use face_core::train::burn;
use face_core::train::losses::{
    AdaFaceConfig, AdaMSoftmaxConfig, Annealing, ArcFaceConfig, Boundary, CenterLossConfig, CombinedMarginConfig,
    ContrastiveConfig, CosFaceConfig, Distance, Mining, SoftmaxConfig, SphereFaceConfig, TripletConfig,
};
use serde::Deserialize;
use serde_json::Value;

/// Share of the greatest value of a tensor by which ours may differ, in double precision.
const TOLERANCE: f64 = 1e-5;
/// The same for single precision: cancellation in s (cos θ_y - cos θ_j) at s = 64 costs some digits.
const SINGLE_TOLERANCE: f64 = 2e-3;
/// What is added to both, for values next to nothing: a loss is ln(1 + x), and keeps no more than the digits of the 1.
const NOTHING: f64 = 1e-12;
const SINGLE_NOTHING: f64 = 5e-6;

/// A tensor of the golden file: rows, or one row.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Numbers {
    Rows(Vec<Vec<f64>>),
    Row(Vec<f64>),
}

impl Numbers {
    pub(crate) fn flat(&self) -> Vec<f64> {
        match self {
            Self::Rows(rows) => rows.concat(),
            Self::Row(row) => row.clone(),
        }
    }

    fn add(&mut self, index: usize, step: f64) {
        match self {
            Self::Rows(rows) => {
                let columns = rows[0].len();
                rows[index / columns][index % columns] += step;
            }
            Self::Row(row) => row[index] += step,
        }
    }

    /// `[rows, columns]`; a single row has one.
    pub(crate) fn matrix(&self, dtype: DType) -> Tensor<2> {
        let (rows, columns) = match self {
            Self::Rows(rows) => (rows.len(), rows[0].len()),
            Self::Row(row) => (1, row.len()),
        };
        Tensor::from_data(TensorData::new(self.flat(), [rows, columns]), (&device(), dtype))
    }

    pub(crate) fn vector(&self, dtype: DType) -> Tensor<1> {
        let values = self.flat();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), (&device(), dtype))
    }
}

#[derive(Debug, Clone, Deserialize)]
struct Case {
    loss: String,
    kind: String,
    config: Value,
    labels: Vec<usize>,
    inputs: BTreeMap<String, Numbers>,
    value: f64,
    gradients: BTreeMap<String, Numbers>,
}

/// Held by a test that draws random numbers and depends on the seed: all tests share one generator.
pub(crate) fn random_numbers() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

pub(crate) fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/");
    serde_json::from_str(&std::fs::read_to_string(format!("{path}{name}")).unwrap()).unwrap()
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// A loss's value and the gradients of its inputs.
struct Answer {
    value: f64,
    gradients: BTreeMap<&'static str, Vec<f64>>,
}

impl Case {
    fn number(&self, name: &str) -> f64 {
        self.config[name].as_f64().unwrap_or_else(|| panic!("{name} in {}", self.config))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.config[name].clone()).unwrap()
    }

    fn answer(&self, dtype: DType) -> Answer {
        let device = device();
        let labels = self.labels.as_slice();
        let features = self.inputs["features"].matrix(dtype).require_grad();
        let dimension = features.dims()[1];
        let weights = self.inputs.get("weights").map(|weights| Param::from_tensor(weights.matrix(dtype)));
        let classes = weights.as_ref().map_or(4, |weights| weights.shape().dims::<2>()[0]);
        let taken = features.clone();
        // The loss by its config, with the weights of the case.
        macro_rules! over_classes {
            ($config:expr, |$loss:ident| $forward:expr) => {{
                let mut $loss = $config.init(&device).unwrap();
                $loss.classes.weight = weights.clone().unwrap();
                let value: Tensor<1> = $forward.unwrap();
                let weight = $loss.classes.weight.val();
                self.collect(&value, &features, |gradients| vec![("weights", weight.grad(gradients).map(values))])
            }};
        }
        match self.loss.as_str() {
            "softmax" => {
                let mut config = SoftmaxConfig::new(classes, dimension).with_bias(false);
                config.normalize_weights = self.config["normalize_weights"].as_bool().unwrap_or(false);
                config.scale = self.config["scale"].as_f64();
                let mut loss = config.init(&device).unwrap();
                loss.classes.weight = weights.unwrap();
                loss.bias = self.inputs.get("bias").map(|bias| Param::from_tensor(bias.vector(dtype)));
                let value = loss.forward(taken, labels).unwrap();
                let (weight, bias) = (loss.classes.weight.val(), loss.bias.as_ref().map(Param::val));
                self.collect(&value, &features, |gradients| {
                    let bias = bias.as_ref().and_then(|bias| bias.grad(gradients));
                    vec![("weights", weight.grad(gradients).map(values)), ("bias", bias.map(values))]
                })
            }
            "cosface" => {
                let config = CosFaceConfig::new(classes, dimension).with_scale(self.number("scale"));
                over_classes!(config.with_margin(self.number("margin")), |loss| loss.forward(taken, labels))
            }
            "arcface" => {
                let config = ArcFaceConfig::new(classes, dimension).with_scale(self.number("scale"));
                let config = config.with_boundary(self.read::<Boundary>("boundary"));
                over_classes!(config.with_margin(self.number("margin")), |loss| loss.forward(taken, labels))
            }
            "combined" => {
                let config = CombinedMarginConfig::new(classes, dimension)
                    .with_scale(self.number("scale"))
                    .with_multiplicative(self.number("multiplicative"))
                    .with_angular(self.number("angular"))
                    .with_cosine(self.number("cosine"));
                over_classes!(config, |loss| loss.forward(taken, labels))
            }
            "sphereface" => {
                let config = SphereFaceConfig::new(classes, dimension)
                    .with_margin(self.read("margin"))
                    .with_annealing(self.read::<Annealing>("annealing"));
                over_classes!(config, |loss| loss.forward(taken, labels, self.read("iteration")))
            }
            "adam_softmax" => {
                let config = AdaMSoftmaxConfig::new(classes, dimension).with_scale(self.number("scale"));
                let mut loss = config.with_lambda(self.number("lambda")).init(&device).unwrap();
                loss.classes.weight = weights.unwrap();
                loss.margins = Param::from_tensor(self.inputs["margins"].vector(dtype));
                let value = loss.forward(taken, labels).unwrap();
                let (weight, margins) = (loss.classes.weight.val(), loss.margins.val());
                self.collect(&value, &features, |gradients| {
                    let margins = margins.grad(gradients).map(values);
                    vec![("weights", weight.grad(gradients).map(values)), ("margins", margins)]
                })
            }
            "adaface" => {
                let config = AdaFaceConfig::new(classes, dimension)
                    .with_scale(self.number("scale"))
                    .with_margin(self.number("margin"))
                    .with_concentration(self.number("concentration"))
                    .with_momentum(self.number("momentum"));
                over_classes!(config, |loss| loss.forward(taken, labels))
            }
            "contrastive" => {
                let config = ContrastiveConfig::new().with_margin(self.number("margin"));
                let loss = config.with_distance(self.read::<Distance>("distance")).init().unwrap();
                self.collect(&loss.forward(taken, labels).unwrap(), &features, |_| vec![])
            }
            "triplet" => {
                let config = TripletConfig::new().with_margin(self.number("margin"));
                let config = config.with_distance(self.read::<Distance>("distance"));
                let loss = config.with_mining(self.read::<Mining>("mining")).init().unwrap();
                self.collect(&loss.forward(taken, labels).unwrap(), &features, |_| vec![])
            }
            "center" => {
                let loss = CenterLossConfig::new(self.inputs["centers"].matrix(dtype).dims()[0], dimension);
                let loss = loss.init(&device).unwrap();
                loss.centers.update(self.inputs["centers"].matrix(dtype));
                self.collect(&loss.forward(taken, labels).unwrap(), &features, |_| vec![])
            }
            other => panic!("unknown loss {other}"),
        }
    }

    fn collect(
        &self,
        value: &Tensor<1>,
        features: &Tensor<2>,
        others: impl FnOnce(&Gradients) -> Vec<(&'static str, Option<Vec<f64>>)>,
    ) -> Answer {
        let gradients = value.backward();
        let mut all = others(&gradients);
        all.push(("features", features.grad(&gradients).map(values)));
        let gradients = all.into_iter().filter_map(|(name, gradient)| Some((name, gradient?)));
        Answer { value: values(value.clone())[0], gradients: gradients.collect() }
    }
}

/// The greatest difference of two lists, as a share of the greatest value; what `nothing` makes up for does not count.
fn distance_beyond(actual: &[f64], expected: &[f64], nothing: f64) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let greatest = expected.iter().fold(0.0_f64, |greatest, value| greatest.max(value.abs()));
    let apart = actual.iter().zip(expected).map(|(a, b)| (a - b).abs());
    // NaN must not be lost in a maximum.
    let worst = apart.fold(0.0, |worst: f64, value| if value <= worst { worst } else { value });
    if worst <= nothing { 0.0 } else { (worst - nothing) / greatest }
}

/// The greatest difference of two lists, as a share of the greatest value.
pub(crate) fn distance(actual: &[f64], expected: &[f64]) -> f64 {
    distance_beyond(actual, expected, NOTHING)
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let _numbers = random_numbers();
    let cases: Vec<Case> = golden("losses.json");
    assert!(cases.len() > 100, "{} cases", cases.len());
    let mut wrong = vec![];
    for (number, case) in cases.iter().enumerate() {
        let precisions = [(DType::F64, TOLERANCE, NOTHING), (DType::F32, SINGLE_TOLERANCE, SINGLE_NOTHING)];
        for (dtype, tolerance, nothing) in precisions {
            let answer = case.answer(dtype);
            let mut check = |what: &str, actual: &[f64], expected: &[f64]| {
                let distance = distance_beyond(actual, expected, nothing);
                if distance.is_nan() || distance > tolerance {
                    let Case { loss, kind, config, .. } = case;
                    wrong.push(format!("{number} {loss} {kind} {config} {dtype:?}: {what} is off by {distance:e}"));
                }
            };
            check("the value", &[answer.value], &[case.value]);
            for (name, expected) in case.gradients.iter().filter(|(name, _)| name.as_str() != "centers") {
                match answer.gradients.get(name.as_str()) {
                    Some(actual) => check(name, actual, &expected.flat()),
                    None => check(name, &[f64::NAN], &[0.0]),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// Losses whose margin is nothing are plain softmax over scaled cosines.
#[test]
fn a_margin_of_nothing_is_softmax() {
    let _numbers = random_numbers();
    let cases: Vec<Case> = golden("losses.json");
    let case = cases.iter().find(|case| case.loss == "cosface" && case.kind == "random").unwrap();
    let features = case.inputs["features"].matrix(DType::F64);
    let weight = || Param::from_tensor(case.inputs["weights"].matrix(DType::F64));
    let labels = case.labels.as_slice();
    let [classes, dimension] = weight().shape().dims();
    let mut softmax = SoftmaxConfig::new(classes, dimension)
        .with_bias(false)
        .with_normalize_weights(true)
        .with_scale(Some(64.0))
        .init(&device())
        .unwrap();
    softmax.classes.weight = weight();
    let expected = values(softmax.forward(features.clone(), labels).unwrap());
    let mut cosface = CosFaceConfig::new(classes, dimension).with_margin(0.0).init(&device()).unwrap();
    cosface.classes.weight = weight();
    let mut arcface = ArcFaceConfig::new(classes, dimension).with_margin(0.0).init(&device()).unwrap();
    arcface.classes.weight = weight();
    let combined = CombinedMarginConfig::new(classes, dimension).with_angular(0.0).with_cosine(0.0);
    let mut combined = combined.init(&device()).unwrap();
    combined.classes.weight = weight();
    let mut adam =
        AdaMSoftmaxConfig::new(classes, dimension).with_lambda(0.0).with_scale(64.0).init(&device()).unwrap();
    adam.classes.weight = weight();
    adam.margins = Param::from_tensor(Tensor::zeros([classes], (&device(), DType::F64)));
    let mut adaface = AdaFaceConfig::new(classes, dimension).with_margin(0.0).with_scale(64.0).init(&device()).unwrap();
    adaface.classes.weight = weight();
    for actual in [
        adam.forward(features.clone(), labels).unwrap(),
        adaface.forward(features.clone(), labels).unwrap(),
        cosface.forward(features.clone(), labels).unwrap(),
        arcface.forward(features.clone(), labels).unwrap(),
        combined.forward(features.clone(), labels).unwrap(),
    ] {
        assert!(distance(&values(actual), &expected) < 1e-9);
    }
}

/// μ and σ of the lengths, as the exponential means that they are.
#[test]
fn the_lengths_of_adaface_run_from_batch_to_batch() {
    let _numbers = random_numbers();
    let momentum = 0.2;
    let loss = AdaFaceConfig::new(3, 2).with_momentum(momentum).init(&device()).unwrap();
    let (mut mean, mut deviation) = (20.0, 100.0);
    for step in 0..5 {
        let lengths = [1.0 + f64::from(step), 8.0, 0.5 * f64::from(step) + 2.0, 300.0];
        let features: Vec<f64> = lengths.iter().flat_map(|length| [0.6 * length, -0.8 * length]).collect();
        let features = Tensor::from_data(TensorData::new(features, [4, 2]), (&device(), DType::F32));
        loss.forward(features, &[0, 1, 2, 0]).unwrap();
        // Lengths count from 0.001 to 100.
        let lengths = lengths.map(|length| length.min(100.0));
        let now = lengths.iter().sum::<f64>() / 4.0;
        let spread = (lengths.iter().map(|length| (length - now).powi(2)).sum::<f64>() / 3.0).sqrt();
        mean = momentum * now + (1.0 - momentum) * mean;
        deviation = momentum * spread + (1.0 - momentum) * deviation;
        let actual = [values(loss.mean.value_sync())[0], values(loss.deviation.value_sync())[0]];
        assert!(distance(&actual, &[mean, deviation]) < 1e-6, "{actual:?}, {mean}, {deviation}");
    }
}

/// SphereFace has no scale: its softmax is that of the lengths as they are.
#[test]
fn sphereface_with_a_margin_of_one_is_softmax() {
    let cases: Vec<Case> = golden("losses.json");
    let is_plain = |case: &&Case| case.loss == "sphereface" && case.kind == "random" && case.config["margin"] == 1;
    let case = cases.iter().find(is_plain).unwrap();
    let features = case.inputs["features"].matrix(DType::F64);
    let weight = case.inputs["weights"].matrix(DType::F64);
    let [classes, dimension] = weight.dims();
    let softmax = SoftmaxConfig::new(classes, dimension).with_bias(false).with_normalize_weights(true);
    let mut softmax = softmax.init(&device()).unwrap();
    softmax.classes.weight = Param::from_tensor(weight);
    let expected = values(softmax.forward(features, &case.labels).unwrap());
    assert!(distance(&[case.answer(DType::F64).value], &expected) < 1e-9);
}

/// (f(x + h) - f(x - h)) / 2h for every value of every input, against the gradient.
#[test]
fn gradients_are_those_of_central_differences() {
    const STEP: f64 = 1e-5;
    let _numbers = random_numbers();
    let cases: Vec<Case> = golden("losses.json");
    let mut checked = 0;
    // At random places, where the losses are smooth.
    for case in cases.iter().filter(|case| case.kind == "random") {
        let answer = case.answer(DType::F64);
        for (name, gradient) in &answer.gradients {
            // The margin of AdaFace follows the features' lengths without a gradient.
            if (case.loss.as_str(), *name) == ("adaface", "features") {
                continue;
            }
            let at = |index: usize, step: f64| {
                let mut moved = case.clone();
                moved.inputs.get_mut(*name).unwrap().add(index, step);
                moved.answer(DType::F64).value
            };
            let slope = |index| (at(index, STEP) - at(index, -STEP)) / (2.0 * STEP);
            let slopes: Vec<f64> = (0..gradient.len()).map(slope).collect();
            let off = distance(gradient, &slopes);
            assert!(off < TOLERANCE, "{} {}: {name} is off by {off:e}", case.loss, case.config);
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
}
