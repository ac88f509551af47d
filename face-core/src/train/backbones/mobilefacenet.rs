//! MobileFaceNet.

use burn::config::Config;
use burn::tensor::Device;

use super::network::{Backbone, Builder};
use crate::error::Result;

/// Expansion, channels, repetitions and first stride of the bottlenecks (the paper's table 1).
const BOTTLENECKS: [(usize, usize, usize, usize); 5] =
    [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)];

/// MobileFaceNet: inverted residuals with PReLU, and a depthwise convolution over the whole last map in place of a mean.
///
/// Source: S. Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile Devices", 2018,
/// table 1.
#[derive(Config, Debug)]
pub struct MobileFaceNetConfig {
    /// Number of values of a feature.
    #[config(default = "128")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[112, 112]")]
    pub input: [usize; 2],
    /// Channels of the first layer; the others keep their proportion to it. The paper has 64.
    #[config(default = "64")]
    pub width: usize,
}

impl MobileFaceNetConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let scaled = |channels: usize| channels * self.width / 64;
        let mut network = Builder::of_colour(self.input, device);
        network.conv(self.width, 3, 2, 1).batch_norm().prelu();
        network.depthwise(3, 1, 1).batch_norm().prelu();
        for (expansion, channels, repetitions, first_stride) in BOTTLENECKS {
            let channels = scaled(channels);
            for repetition in 0..repetitions {
                let stride = if repetition == 0 { first_stride } else { 1 };
                let is_residual = stride == 1 && network.channels() == channels;
                let bottleneck = |network: &mut Builder<'_>| {
                    let inner = expansion * network.channels();
                    network.conv(inner, 1, 1, 0).batch_norm().prelu();
                    network.depthwise(3, stride, 1).batch_norm().prelu();
                    network.conv(channels, 1, 1, 0).batch_norm();
                };
                if is_residual {
                    network.residual(bottleneck, |_| {});
                } else {
                    bottleneck(&mut network);
                }
            }
        }
        network.conv(scaled(512), 1, 1, 0).batch_norm().prelu();
        network.global_depthwise().batch_norm();
        network.conv(self.dimension, 1, 1, 0).batch_norm();
        network.finish()
    }
}
