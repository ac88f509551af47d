//! Networks that turn pictures into features: the ones that recognition uses today, and those that it came from.
//!
//! Each has a config with the sizes as parameters and `init`, which gives a [`Backbone`]: a list of [`Layer`]s. Pictures are
//! `[batch, channels, height, width]`, in what range is the training's affair (InsightFace: RGB, (value - 127.5) / 127.5).

mod classic;
mod deepface;
mod deepid;
mod iresnet;
mod mobilefacenet;
mod network;
mod resnet;

pub use classic::{AlexNetConfig, Vgg16Config};
pub use deepface::DeepFaceConfig;
pub use deepid::DeepIdConfig;
pub use iresnet::{IResNetConfig, IResNetDepth};
pub use mobilefacenet::MobileFaceNetConfig;
pub use network::{Backbone, Concatenation, Flatten, Layer, LocallyConnected, MeanPool, Relu, Residual};
pub use resnet::{ResNetConfig, ResNetDepth};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, Tensor};

    use super::*;
    use crate::error::{Error, Result};
    use crate::train::testing::{device, random, small_backbones, values};

    fn assert_size(name: &str, backbone: &Backbone, parameters: f64, multiply_adds: f64) {
        let near = |actual: f64, stated: f64| (actual / stated - 1.0).abs() < 0.02;
        let (found, work) = (backbone.num_params() as f64, backbone.multiply_adds() as f64);
        assert!(near(found, parameters), "{name}: {found} parameters, and {parameters} are stated");
        assert!(near(work, multiply_adds), "{name}: {work} multiply-adds, and {multiply_adds} are stated");
    }

    /// What is learnt: burn counts the running means and deviations of normalizations, too.
    fn learnt(layers: &[Layer]) -> usize {
        let of_layer = |layer: &Layer| match layer {
            Layer::BatchNorm(norm) => norm.num_params() / 2,
            Layer::Residual(Residual { main, shortcut }) => learnt(main) + learnt(shortcut),
            other => other.num_params(),
        };
        layers.iter().map(of_layer).sum()
    }

    /// Weights are drawn when they are first looked at: these networks never hold any.
    #[test]
    fn sizes_are_those_that_were_published() {
        let device = Device::flex();
        let iresnet = |depth| IResNetConfig::new(depth).init(&device).unwrap();
        // Open Model Zoo, `face-recognition-resnet34-arcface`, `-resnet50-` and `-resnet100-arcface-onnx`; it counts a
        // multiplication and an addition as two.
        assert_size("IResNet-34", &iresnet(IResNetDepth::R34), 34.129e6, 8.934e9 / 2.0);
        assert_size("IResNet-50", &iresnet(IResNetDepth::R50), 43.576e6, 12.637e9 / 2.0);
        assert_size("IResNet-100", &iresnet(IResNetDepth::R100), 65.132e6, 24.2115e9 / 2.0);
        // Nobody was found who states them for 18 layers: IResNet-34 without 8 blocks. A block of c channels has 2 x 9c² weights
        // in its convolutions and 7c for its normalizations and PReLU; all blocks at the same width do the same work.
        let without = |blocks: [usize; 4]| {
            let weights = |c: usize| 18 * c * c + 7 * c;
            let of_stage = |(stage, blocks): (usize, usize)| blocks * weights(64 << stage);
            blocks.into_iter().enumerate().map(of_stage).sum::<usize>() as f64
        };
        let work_of_block = (18 * 64 * 64 * 56 * 56) as f64;
        let parameters = iresnet(IResNetDepth::R34).num_params() as f64 - without([1, 2, 4, 1]);
        let work = iresnet(IResNetDepth::R34).multiply_adds() as f64 - 8.0 * work_of_block;
        assert_size("IResNet-18", &iresnet(IResNetDepth::R18), parameters, work);
        // The paper, table 2, states 0.99 million; Open Model Zoo, `face-recognition-mobilefacenet-arcface`, 0.993 and 0.449.
        let mobile = MobileFaceNetConfig::new().init(&device).unwrap();
        let weights = learnt(&mobile.layers) as f64;
        assert!((weights / 0.993e6 - 1.0).abs() < 0.02, "MobileFaceNet: {weights}");
        let work = mobile.multiply_adds() as f64;
        assert!((work / (0.449e9 / 2.0) - 1.0).abs() < 0.02, "MobileFaceNet: {work}");

        // torchvision's table of weights, for the 1,000 classes of ImageNet.
        let resnet = |depth| ResNetConfig::new(depth).with_dimension(1000).init(&device).unwrap();
        assert_size("ResNet-18", &resnet(ResNetDepth::R18), 11_689_512.0, 1.81e9);
        assert_size("ResNet-50", &resnet(ResNetDepth::R50), 25_557_032.0, 4.09e9);
        let alexnet = AlexNetConfig::new().with_dimension(1000).init(&device).unwrap();
        assert_size("AlexNet", &alexnet, 61_100_840.0, 0.71e9);
        let vgg = Vgg16Config::new().with_dimension(1000).init(&device).unwrap();
        assert_size("VGG-16", &vgg, 138_357_544.0, 15.47e9);

        // The paper: "more than 120 million parameters", the 4,030 classes of its softmax included. It states no work; this
        // is its layers' own arithmetic.
        let deepface = DeepFaceConfig::new().init(&device).unwrap();
        let work = [
            142 * 142 * 32 * 363,
            63 * 63 * 16 * 32 * 81,
            55 * 55 * 16 * 16 * 81,
            25 * 25 * 16 * 16 * 49,
            21 * 21 * 16 * 16 * 25,
            7056 * 4096,
        ];
        let softmax = 4097 * 4030;
        let total = deepface.num_params() + softmax;
        assert!((total as f64 / 120e6 - 1.0).abs() < 0.02, "DeepFace: {total}");
        assert_eq!(deepface.multiply_adds(), work.iter().sum::<u64>());
        // The paper of DeepID states neither; its layers' own arithmetic, with a third convolution that shares its weights.
        let deepid = DeepIdConfig::new().init(&device).unwrap();
        let weights = [20 * 48 + 20, 40 * 180 + 40, 60 * 360 + 60, 2 * (80 * 240 + 80), (360 + 160) * 160 + 160];
        assert_eq!(deepid.num_params(), weights.iter().sum::<usize>());
        assert_eq!(deepid.dimension(), 160);
    }

    /// Each network at a small size: what comes out has the stated shape, and gradients reach the first layer.
    #[test]
    fn pictures_become_features() {
        for (name, backbone) in small_backbones(6) {
            let [channels, height, width] = backbone.input();
            let pictures = random([2, channels, height, width], 3).cast(burn::tensor::DType::F32).require_grad();
            assert_eq!(backbone.dimension(), 6, "{name}");
            // Dropout may leave nothing of so narrow a network, but not again and again.
            let reaches_the_picture = (0..20).any(|_| {
                let features = backbone.forward(pictures.clone()).unwrap();
                assert_eq!(features.dims(), [2, 6], "{name}");
                let gradients = features.powi_scalar(2).sum().backward();
                let gradient = values(pictures.grad(&gradients).unwrap());
                assert!(gradient.iter().all(|value| value.is_finite()), "{name}");
                gradient.iter().any(|value| *value != 0.0)
            });
            assert!(reaches_the_picture, "{name}");
        }
    }

    /// Against the definition: at each place a sum of its own over the window.
    #[test]
    fn locally_connected_layers_have_weights_for_each_place() {
        let device = device();
        let mut network = network::Builder::new([2, 5, 4], &device);
        let mut backbone = network.local(3, 2, 1).finish().unwrap();
        let Layer::Local(layer) = &mut backbone.layers[0] else { panic!("{backbone:?}") };
        let (weight, bias) = (random([12, 3, 8], 1), random([12, 3], 2));
        layer.weight = burn::module::Param::from_tensor(weight.clone());
        layer.bias = burn::module::Param::from_tensor(bias.clone());
        let input = random([2, 2, 5, 4], 3);
        let output = values(backbone.forward(input.clone()).unwrap());
        let (weight, bias, input) = (values(weight), values(bias), values(input));
        let mut expected = vec![];
        for picture in 0..2 {
            for channel in 0..3 {
                for row in 0..4 {
                    for column in 0..3 {
                        let place = row * 3 + column;
                        let mut sum = bias[place * 3 + channel];
                        for tap in 0..8 {
                            let (c, dy, dx) = (tap / 4, tap / 2 % 2, tap % 2);
                            let pixel = ((picture * 2 + c) * 5 + row + dy) * 4 + column + dx;
                            sum += weight[(place * 3 + channel) * 8 + tap] * input[pixel];
                        }
                        expected.push(sum);
                    }
                }
            }
        }
        crate::train::testing::assert_near(&output, &expected, 1e-12);
    }

    #[test]
    fn impossible_sizes_and_pictures_are_refused() {
        let device = Device::flex();
        let refused = |backbone: Result<Backbone>| assert!(matches!(backbone, Err(Error::InvalidParameter { .. })));
        refused(IResNetConfig::new(IResNetDepth::R18).with_width(0).init(&device));
        refused(IResNetConfig::new(IResNetDepth::R18).with_dimension(0).init(&device));
        refused(IResNetConfig::new(IResNetDepth::R18).with_input([0, 112]).init(&device));
        refused(IResNetConfig::new(IResNetDepth::R18).with_dropout(1.0).init(&device));
        refused(MobileFaceNetConfig::new().with_width(0).init(&device));
        refused(Vgg16Config::new().with_input([16, 16]).init(&device));
        refused(DeepFaceConfig::new().with_input([20, 152]).init(&device));
        let deepid = DeepIdConfig::new().with_width(2).init(&device).unwrap();
        let picture = |height| Tensor::<4>::zeros([1, 3, height, 31], &device);
        assert!(deepid.forward(picture(39)).is_ok());
        assert!(matches!(deepid.forward(picture(40)), Err(Error::InvalidBatch { .. })));
        assert!(matches!(deepid.forward(picture(39).div_scalar(0.0)), Err(Error::NonFinite { .. })));
        // One value has no deviation: what it is normalized to would be nothing, whatever the picture.
        let mobile = |device| MobileFaceNetConfig::new().with_width(8).with_input([32, 32]).init(&device).unwrap();
        let picture = |device| Tensor::<4>::zeros([1, 3, 32, 32], &device);
        let learning = device.clone().autodiff();
        assert!(matches!(mobile(learning.clone()).forward(picture(learning)), Err(Error::InvalidBatch { .. })));
        assert!(mobile(device.clone()).forward(picture(device)).is_ok());
    }
}
