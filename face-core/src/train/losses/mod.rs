//! The losses of face recognition, from softmax to margins that are learnt.
//!
//! Each is a module of burn with a config: `Config::new(...)`, `with_...` for what has a default, and `init`. Losses over classes
//! (softmax and all its margins) own one weight vector for each person in the training set; those over pairs and triplets have no weights.
//! `forward` takes features `[batch, dimension]`, as the backbone gives them, with a label for each, and gives the mean loss `[1]`;
//! it checks them before any work.
//!
//! The chapter [*Losses*](crate::guide::losses) explains them in the order in which the field learnt them.

mod adaface;
mod adam_softmax;
pub(crate) mod angle;
mod arcface;
mod center;
mod combined;
mod contrastive;
mod cosface;
mod distance;
mod softmax;
mod sphereface;
mod triplet;

pub use adaface::{AdaFace, AdaFaceConfig};
pub use adam_softmax::{AdaMSoftmax, AdaMSoftmaxConfig};
pub use angle::ClassWeights;
pub use arcface::{ArcFace, ArcFaceConfig, Boundary};
pub use center::{CenterLoss, CenterLossConfig};
pub use combined::{CombinedMargin, CombinedMarginConfig};
pub use contrastive::{Contrastive, ContrastiveConfig};
pub use cosface::{CosFace, CosFaceConfig};
pub use distance::Distance;
pub use softmax::{Softmax, SoftmaxConfig};
pub use sphereface::{Annealing, SphereFace, SphereFaceConfig};
pub use triplet::{Mining, Triplet, TripletConfig, TripletIndices, mine};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::error::{Error, Result};
    use crate::train::testing::{device, random, values};

    type OnBatch = Box<dyn Fn(Tensor<2>, &[usize]) -> Result<Tensor<1>>>;

    /// Each loss over 3 classes and features of 4 values.
    fn over_classes() -> Vec<(&'static str, OnBatch)> {
        let device = device();
        macro_rules! listed {
            ($($name:literal: $config:expr, |$loss:ident, $features:ident, $labels:ident| $forward:expr;)*) => {
                vec![$(($name, {
                    let $loss = $config.init(&device).unwrap();
                    Box::new(move |$features: Tensor<2>, $labels: &[usize]| $forward) as OnBatch
                }),)*]
            };
        }
        listed! {
            "softmax": SoftmaxConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "CosFace": CosFaceConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "ArcFace": ArcFaceConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "combined": CombinedMarginConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "SphereFace": SphereFaceConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels, 0);
            "AdaM": AdaMSoftmaxConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "AdaFace": AdaFaceConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
            "center": CenterLossConfig::new(3, 4), |loss, features, labels| loss.forward(features, labels);
        }
    }

    fn over_pairs() -> Vec<(&'static str, OnBatch)> {
        let contrastive = ContrastiveConfig::new().init().unwrap();
        let triplet = TripletConfig::new().init().unwrap();
        vec![
            ("contrastive", Box::new(move |features, labels| contrastive.forward(features, labels))),
            ("triplet", Box::new(move |features, labels| triplet.forward(features, labels))),
        ]
    }

    fn features(rows: usize, columns: usize) -> Tensor<2> {
        random([rows, columns], 1).cast(burn::tensor::DType::F32)
    }

    #[test]
    fn impossible_batches_are_refused() {
        for (name, loss) in over_classes().into_iter().chain(over_pairs()) {
            let batch = |error: Result<Tensor<1>>| {
                assert!(matches!(error, Err(Error::InvalidBatch { .. })), "{name}: {error:?}");
            };
            batch(loss(features(0, 4), &[]));
            batch(loss(features(2, 4), &[0]));
            batch(loss(features(2, 4), &[0, 1, 2]));
            let hole = features(3, 4).mask_fill(features(3, 4).greater_elem(1e9), 0.0);
            let hole = Tensor::cat(vec![hole, Tensor::full([1, 4], f32::NAN, &device())], 0);
            let error = loss(hole, &[0, 1, 2, 0]);
            assert!(matches!(error, Err(Error::NonFinite { index: 12, .. })), "{name}: {error:?}");
        }
        for (name, loss) in over_classes() {
            let error = loss(features(3, 4), &[0, 3, 1]);
            let expected = matches!(error, Err(Error::LabelOutOfRange { label: 3, index: 1, classes: 3 }));
            assert!(expected, "{name}: {error:?}");
            assert!(matches!(loss(features(3, 5), &[0, 1, 2]), Err(Error::InvalidBatch { .. })), "{name}");
        }
        for (name, loss) in over_pairs() {
            assert!(matches!(loss(features(1, 4), &[0]), Err(Error::InvalidBatch { .. })), "{name}");
            // Refused before anything is allocated.
            let many = Tensor::<2>::zeros([20_000, 1], &device()).expand([20_000, 4]);
            assert!(matches!(loss(many, &vec![0; 20_000]), Err(Error::InvalidBatch { .. })), "{name}");
        }
        // One length has no deviation.
        let adaface = AdaFaceConfig::new(3, 4).init(&device()).unwrap();
        assert!(matches!(adaface.forward(features(1, 4), &[0]), Err(Error::InvalidBatch { .. })));
    }

    #[test]
    fn impossible_settings_are_refused() {
        let device = device();
        macro_rules! refused {
            ($($config:expr),* $(,)?) => {
                $(assert!(matches!($config.init(&device), Err(Error::InvalidParameter { .. })), "{}", stringify!($config));)*
            };
        }
        refused!(
            SoftmaxConfig::new(0, 4),
            SoftmaxConfig::new(3, 0),
            SoftmaxConfig::new(3, 4).with_scale(Some(0.0)),
            CosFaceConfig::new(3, 4).with_scale(f64::NAN),
            CosFaceConfig::new(3, 4).with_margin(-0.1),
            ArcFaceConfig::new(3, 4).with_margin(2.0),
            ArcFaceConfig::new(3, 4).with_scale(f64::INFINITY),
            CombinedMarginConfig::new(3, 4).with_multiplicative(0.5),
            SphereFaceConfig::new(3, 4).with_margin(0),
            SphereFaceConfig::new(3, 4).with_annealing(Annealing { gamma: -1.0, ..Annealing::new() }),
            AdaMSoftmaxConfig::new(3, 4).with_min(0.35),
            AdaMSoftmaxConfig::new(3, 4).with_lambda(-1.0),
            AdaFaceConfig::new(3, 4).with_momentum(1.5),
            CenterLossConfig::new(3, 4).with_rate(f64::NAN),
        );
        assert!(ContrastiveConfig::new().with_margin(0.0).init().is_err());
        assert!(TripletConfig::new().with_margin(f64::NAN).init().is_err());
    }

    /// Angles of 0 and π, and a feature without a direction: no gradient is lost in a division by zero.
    #[test]
    fn gradients_are_finite_everywhere() {
        let device = device();
        macro_rules! finite {
            ($name:literal: $config:expr, |$loss:ident, $features:ident| $forward:expr) => {
                let $loss = $config.init(&device).unwrap();
                let weights = values($loss.classes.weight.val());
                let row =
                    |class: usize, factor: f64| weights[class * 4..(class + 1) * 4].iter().map(move |w| w * factor);
                let rows =
                    row(0, 1.0).chain(row(1, -3.0)).chain(row(2, 1e4)).chain([0.0; 4]).chain(row(0, 1.000_000_1));
                let rows: Vec<f32> = rows.map(|value| value as f32).collect();
                let data = burn::tensor::TensorData::new(rows, [5, 4]);
                let $features = Tensor::<2>::from_data(data, &device).require_grad();
                let value = $forward.unwrap();
                let gradients = value.backward();
                for gradient in [$features.grad(&gradients), $loss.classes.weight.val().grad(&gradients)] {
                    let gradient = values(gradient.unwrap());
                    assert!(gradient.iter().all(|value| value.is_finite()), "{}: {gradient:?}", $name);
                }
                assert!(values(value)[0].is_finite(), "{}", $name);
            };
        }
        let labels = [0, 1, 2, 1, 0];
        finite!("CosFace": CosFaceConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels));
        finite!("ArcFace": ArcFaceConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels));
        finite!("combined": CombinedMarginConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels));
        let multiplied = CombinedMarginConfig::new(3, 4).with_multiplicative(1.35);
        finite!("multiplied": multiplied, |loss, features| loss.forward(features.clone(), &labels));
        finite!("SphereFace": SphereFaceConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels, 0));
        finite!("AdaM": AdaMSoftmaxConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels));
        finite!("AdaFace": AdaFaceConfig::new(3, 4), |loss, features| loss.forward(features.clone(), &labels));
    }

    /// The update rule of the paper, by hand.
    #[test]
    fn centers_move_by_the_rule() {
        let device = device();
        let loss = CenterLossConfig::new(3, 2).with_rate(0.5).init(&device).unwrap();
        loss.centers.update(Tensor::from_data([[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]], &device));
        let features = Tensor::<2>::from_data([[2.0, 0.0], [4.0, 2.0], [3.0, 1.0]], &device);
        let value = values(loss.forward(features, &[0, 0, 1]).unwrap())[0];
        assert!((value - (4.0 + 20.0 + 4.0) / 6.0).abs() < 1e-6, "{value}");
        // c0 -= 0.5 ((0 - 2) + (0 - 4)) / 3, and so on.
        let expected = [1.0, 1.0 / 3.0, 1.5, 1.0, 5.0, 5.0];
        crate::train::testing::assert_near(&values(loss.centers.value_sync()), &expected, 1e-6);
    }

    #[test]
    fn margins_come_back_into_their_bounds() {
        let device = device();
        let mut loss = AdaMSoftmaxConfig::new(3, 4).init(&device).unwrap();
        loss.margins = burn::module::Param::from_tensor(Tensor::from_data([-0.5, 0.4, 1.5], &device));
        let clamped = loss.clamp_margins();
        crate::train::testing::assert_near(&values(clamped.margins.val()), &[0.0, 0.4, 1.0], 1e-6);
        assert!(clamped.margins.val().is_require_grad());
    }

    #[test]
    fn annealing_falls_from_its_base_to_its_least() {
        let annealing = Annealing::new();
        assert!((annealing.lambda(0) - 1000.0).abs() < 1e-9);
        assert!((annealing.lambda(100) - 1000.0 / 13.0).abs() < 1e-9);
        assert!((annealing.lambda(1_000_000) - 5.0).abs() < 1e-9);
    }
}
