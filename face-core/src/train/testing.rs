//! What the tests of this room share.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::train::backbones::{
    AlexNetConfig, Backbone, DeepFaceConfig, DeepIdConfig, IResNetConfig, IResNetDepth, MobileFaceNetConfig,
    ResNetConfig, ResNetDepth, Vgg16Config,
};

/// The device of the tests, with gradients.
pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// Values in double precision, the same ones for the same seed: roughly normal, with a deviation of 1.
pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f64>() - 6.0).collect();
    Tensor::from_data(TensorData::new(values, shape), (&device(), DType::F64))
}

/// A module whose parameters are the same ones for the same seed: narrow networks that draw their own may happen to give zeros
/// only. Weights keep the size of what goes through them; biases, factors and deviations are above zero.
pub(crate) fn seeded<M: Module>(module: M, seed: u64) -> M {
    module.map(&mut Seeded { seed })
}

struct Seeded {
    seed: u64,
}

impl ModuleMapper for Seeded {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        let is_learnt = param.is_require_grad();
        param.map(|old| {
            let shape = old.dims();
            let values = random(shape, self.seed).cast(old.dtype()).to_device(&old.device());
            let values = match D {
                1 => values.abs().mul_scalar(0.2).add_scalar(0.5),
                _ => values.mul_scalar((shape[0] as f64 / old.shape().num_elements() as f64).sqrt()),
            };
            if is_learnt { values.detach().require_grad() } else { values }
        })
    }
}

/// Each backbone, small, with features of so many values.
pub(crate) fn small_backbones(dimension: usize) -> Vec<(&'static str, Backbone)> {
    let device = device();
    let small = [
        (
            "IResNet",
            IResNetConfig::new(IResNetDepth::R18)
                .with_width(4)
                .with_input([32, 32])
                .with_dimension(dimension)
                .init(&device),
        ),
        (
            "MobileFaceNet",
            MobileFaceNetConfig::new().with_width(8).with_input([48, 32]).with_dimension(dimension).init(&device),
        ),
        (
            "ResNet-18",
            ResNetConfig::new(ResNetDepth::R18)
                .with_width(4)
                .with_input([32, 32])
                .with_dimension(dimension)
                .init(&device),
        ),
        (
            "ResNet-50",
            ResNetConfig::new(ResNetDepth::R50)
                .with_width(4)
                .with_input([32, 32])
                .with_dimension(dimension)
                .init(&device),
        ),
        (
            "AlexNet",
            AlexNetConfig::new()
                .with_width(4)
                .with_input([80, 80])
                .with_hidden(8)
                .with_dimension(dimension)
                .init(&device),
        ),
        (
            "VGG-16",
            Vgg16Config::new()
                .with_width(4)
                .with_input([32, 32])
                .with_hidden(8)
                .with_dimension(dimension)
                .init(&device),
        ),
        ("DeepFace", DeepFaceConfig::new().with_width(2).with_input([96, 96]).with_dimension(dimension).init(&device)),
        ("DeepID", DeepIdConfig::new().with_width(4).with_dimension(dimension).init(&device)),
    ];
    small.into_iter().map(|(name, backbone)| (name, seeded(backbone.unwrap(), 7))).collect()
}

/// The values of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Checks that values agree within a share of the greatest of them.
pub(crate) fn assert_near(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    let greatest = expected.iter().fold(0.0_f64, |greatest, value| greatest.max(value.abs()));
    for (index, (a, b)) in actual.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * greatest, "{a} is not {b} at {index}: {actual:?} and {expected:?}");
    }
}
