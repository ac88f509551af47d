//! GroupFace against PyTorch (`tests/golden/make_losses`).

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Gradients, Tensor};
use face_core::train::burn;
use face_core::train::groupface::{
    Assignment, Combination, GroupFaceHeadConfig, GroupFaceLossConfig, SelfDistributedGroupingConfig, Stage,
};
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

#[test]
fn groupface_is_that_of_the_reference() {
    let _numbers = random_numbers();
    let cases: Vec<Case> = golden("groupface.json");
    assert_eq!(cases.len(), 4);
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
            .with_scale(config.scale)
            .with_margin(config.margin)
            .with_grouping(SelfDistributedGroupingConfig::new().with_window(config.window));
        let (mut head, mut loss) = (head.init(&device()).unwrap(), loss.init(&device()).unwrap());
        set(&mut head.instance, "instance", weights);
        set(&mut head.group, "group", weights);
        set(&mut head.decision.first, "first", weights);
        set(&mut head.decision.second, "second", weights);
        set(&mut head.decision.third, "third", weights);
        loss.arcface.classes.weight = Param::from_tensor(weights["classes"].matrix(DType::F64));

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
            for (name, part) in parts {
                assert_close(name, &values(part), &step.outputs[name].flat());
            }
            let losses = loss.forward(&output, &step.labels, Stage::Training).unwrap();
            assert_close("the loss", &values(losses.total.clone()), &[step.total]);
            assert_close("the identity loss", &values(losses.identity), &[step.identity]);
            assert_close("the grouping loss", &values(losses.grouping), &[step.grouping]);
            assert_eq!(losses.group_labels.into_data().iter::<i64>().collect::<Vec<_>>(), step.group_labels);
            let gradients = losses.total.backward();
            let actual = shared.grad(&gradients).map(values).unwrap();
            assert_close("the gradient of the features", &actual, &step.gradients["shared"].flat());
            let actual = loss.arcface.classes.weight.val().grad(&gradients).map(values).unwrap();
            assert_close("the gradient of the classes", &actual, &step.gradients["classes"].flat());
            check_gradients(&head.instance, "instance", &gradients, step);
            check_gradients(&head.group, "group", &gradients, step);
            check_gradients(&head.decision.first, "first", &gradients, step);
            check_gradients(&head.decision.second, "second", &gradients, step);
            check_gradients(&head.decision.third, "third", &gradients, step);
        }
    }
}
