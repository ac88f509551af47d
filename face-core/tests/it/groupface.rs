//! GroupFace against PyTorch (`tests/golden/make_losses`).

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Gradients, Tensor};
use face_core::train::burn;
use face_core::train::groupface::{
    Assignment, Combination, GroupFaceHeadConfig, GroupFaceLossConfig, GroupFaceOutput, Labelling,
    SelfDistributedGroupingConfig, Stage,
};
use face_core::{Embedding, EmbeddingSpace, Error, GroupAware, Metric};
use serde::Deserialize;

use super::losses::{Numbers, device, distance, golden, random_numbers, values};

const TOLERANCE: f64 = 1e-5;

#[derive(Debug, Deserialize)]
struct Config {
    shared: usize,
    dimension: usize,
    groups: usize,
    hidden: usize,
    window: usize,
    assignment: Assignment,
    combination: Combination,
    stage: Stage,
    labelling: Labelling,
    classes: usize,
    scale: f64,
    margin: f64,
    lambda: f64,
}

#[derive(Debug, Deserialize)]
struct Case {
    config: Config,
    weights: BTreeMap<String, Numbers>,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    labels: Vec<usize>,
    group_labels: Vec<i64>,
    shared: Numbers,
    total: f64,
    identity: f64,
    grouping: f64,
    outputs: BTreeMap<String, Numbers>,
    gradients: BTreeMap<String, Numbers>,
}

fn assert_close(what: &str, actual: &[f64], expected: &[f64]) {
    let off = distance(actual, expected);
    assert!(off <= TOLERANCE, "{what} is off by {off:e}: {actual:?} and {expected:?}");
}

/// Layers take the weights of the reference, and both give up their gradients by the reference's names.
fn set(layer: &mut Linear, name: &str, weights: &BTreeMap<String, Numbers>) {
    layer.weight = Param::from_tensor(weights[&format!("{name}.weight")].matrix(DType::F64));
    layer.bias = Some(Param::from_tensor(weights[&format!("{name}.bias")].vector(DType::F64)));
}

fn check_gradients(layer: &Linear, name: &str, gradients: &Gradients, step: &Step) {
    let none = |count: usize| vec![0.0; count];
    let expected = step.gradients[&format!("{name}.weight")].flat();
    let actual = layer.weight.val().grad(gradients).map_or_else(|| none(expected.len()), values);
    assert_close(&format!("the gradient of {name}.weight"), &actual, &expected);
    let expected = step.gradients[&format!("{name}.bias")].flat();
    let actual = layer.bias.as_ref().unwrap().val().grad(gradients).map_or_else(|| none(expected.len()), values);
    assert_close(&format!("the gradient of {name}.bias"), &actual, &expected);
}

/// S* of every face with the first one, through the embeddings that galleries hold.
fn similarities(output: &GroupFaceOutput) -> Vec<f64> {
    let embeddings = output.embeddings(&Arc::new(space(output))).unwrap();
    embeddings.iter().map(|other| f64::from(embeddings[0].similarity(other).unwrap())).collect()
}

fn space(output: &GroupFaceOutput) -> EmbeddingSpace {
    let representation = output.embedding.dims()[1];
    EmbeddingSpace {
        model: "toy".into(),
        digest: "00".into(),
        dimension: representation + output.decision.intermediate.dims()[1],
        preprocessing: "none".into(),
        averaging: "none".into(),
        metric: Metric::GroupAware(GroupAware::new(representation).unwrap()),
        thresholds: vec![],
    }
}

#[test]
fn embeddings_without_groups_are_the_representations() {
    let _numbers = random_numbers();
    let config = GroupFaceHeadConfig::new().with_shared(3).with_dimension(4).with_groups(2).with_hidden(5);
    let head = config.init(&device()).unwrap();
    let output = head.forward(Tensor::from_data([[0.5_f32, -1.0, 2.0], [1.0, 0.3, -0.2]], &device())).unwrap();
    let cosine = EmbeddingSpace { dimension: 4, metric: Metric::Cosine, ..space(&output) };
    let embeddings = output.embeddings(&Arc::new(cosine.clone())).unwrap();
    let expected =
        Embedding::new(values(output.embedding.clone())[..4].iter().map(|v| *v as f32).collect(), Arc::new(cosine));
    assert_eq!(embeddings[0], expected.unwrap());
    let wrong = EmbeddingSpace { dimension: 5, metric: Metric::Cosine, ..space(&output) };
    assert!(matches!(output.embeddings(&Arc::new(wrong)), Err(Error::InvalidEmbedding { .. })));
}

#[test]
fn groupface_is_that_of_the_reference() {
    let _numbers = random_numbers();
    let cases: Vec<Case> = golden("groupface.json");
    assert_eq!(cases.len(), 8);
    for Case { config, weights, steps } in &cases {
        let head = GroupFaceHeadConfig::new()
            .with_shared(config.shared)
            .with_dimension(config.dimension)
            .with_groups(config.groups)
            .with_hidden(config.hidden)
            .with_assignment(config.assignment)
            .with_combination(config.combination);
        let loss = GroupFaceLossConfig::new(config.classes)
            .with_dimension(head.embedding_dimension())
            .with_groups(config.groups)
            .with_lambda(config.lambda)
            .with_pretraining_lambda(config.lambda)
            .with_scale(config.scale)
            .with_margin(config.margin)
            .with_grouping(
                SelfDistributedGroupingConfig::new().with_window(config.window).with_labelling(config.labelling),
            );
        let (mut head, mut loss) = (head.init(&device()).unwrap(), loss.init(&device()).unwrap());
        set(&mut head.instance, "instance", weights);
        set(&mut head.group, "group", weights);
        set(&mut head.decision.first, "first", weights);
        set(&mut head.decision.second, "second", weights);
        set(&mut head.decision.third, "third", weights);
        loss.softmax.classes.weight = Param::from_tensor(weights["classes"].matrix(DType::F64));
        loss.softmax.bias = Some(Param::from_tensor(Tensor::zeros([config.classes], (&device(), DType::F64))));
        // What was learnt in pretraining is where the training begins.
        loss = loss.start_training();

        // The expectation runs from step to step.
        for step in steps {
            let shared: Tensor<2> = step.shared.matrix(DType::F64).require_grad();
            let output = head.forward(shared.clone()).unwrap();
            let parts = [
                ("instance", output.instance.clone()),
                ("group", output.group.clone()),
                ("embedding", output.embedding.clone()),
                ("intermediate", output.decision.intermediate.clone()),
                ("probabilities", output.decision.probabilities()),
            ];
            assert_close("S*", &similarities(&output), &step.outputs["similarities"].flat());
            for (name, part) in parts {
                assert_close(name, &values(part), &step.outputs[name].flat());
            }
            let losses = loss.forward(&output, &step.labels, config.stage).unwrap();
            assert_close("the loss", &values(losses.total.clone()), &[step.total]);
            assert_close("the identity loss", &values(losses.identity), &[step.identity]);
            assert_close("the grouping loss", &values(losses.grouping), &[step.grouping]);
            assert_eq!(losses.group_labels.into_data().iter::<i64>().collect::<Vec<_>>(), step.group_labels);
            let gradients = losses.total.backward();
            let actual = shared.grad(&gradients).map(values).unwrap();
            assert_close("the gradient of the features", &actual, &step.gradients["shared"].flat());
            let classes = match config.stage {
                Stage::Pretraining => &loss.softmax.classes,
                Stage::Training => &loss.arcface.classes,
            };
            let actual = classes.weight.val().grad(&gradients).map(values).unwrap();
            assert_close("the gradient of the classes", &actual, &step.gradients["classes"].flat());
            check_gradients(&head.instance, "instance", &gradients, step);
            check_gradients(&head.group, "group", &gradients, step);
            check_gradients(&head.decision.first, "first", &gradients, step);
            check_gradients(&head.decision.second, "second", &gradients, step);
            check_gradients(&head.decision.third, "third", &gradients, step);
        }
    }
}
