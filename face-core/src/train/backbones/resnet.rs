//! ResNet, as ImageNet knows it.

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::network::{Backbone, Builder};
use crate::error::Result;

/// How deep a [ResNet](ResNetConfig) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResNetDepth {
    /// 18 layers: two convolutions of 3x3 in a block.
    R18,
    /// 50 layers: convolutions of 1x1, 3x3 and 1x1 in a block, the last with four times the channels.
    R50,
}

/// ResNet: the last layer is a matrix product on the mean of the last map.
///
/// Source: K. He et al., "Deep Residual Learning for Image Recognition", 2016, table 1; the stride of a bottleneck lies on its
/// 3x3 convolution, as in torchvision.
#[derive(Config, Debug)]
pub struct ResNetConfig {
    /// How deep.
    pub depth: ResNetDepth,
    /// Number of values of a feature.
    #[config(default = "512")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[224, 224]")]
    pub input: [usize; 2],
    /// Channels of the first stage; the others have two, four and eight times as many.
    #[config(default = "64")]
    pub width: usize,
}

impl ResNetConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let (blocks, expansion) = match self.depth {
            ResNetDepth::R18 => ([2, 2, 2, 2], 1),
            ResNetDepth::R50 => ([3, 4, 6, 3], 4),
        };
        let mut network = Builder::of_colour(self.input, device);
        network.conv(self.width, 7, 2, 3).batch_norm().relu().max_pool(3, 2, 1, false);
        for (stage, blocks) in blocks.into_iter().enumerate() {
            let channels = self.width << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let is_same = stride == 1 && network.channels() == expansion * channels;
                network.residual(
                    |main| {
                        if expansion == 1 {
                            main.conv(channels, 3, stride, 1).batch_norm().relu();
                            main.conv(channels, 3, 1, 1).batch_norm();
                        } else {
                            main.conv(channels, 1, 1, 0).batch_norm().relu();
                            main.conv(channels, 3, stride, 1).batch_norm().relu();
                            main.conv(expansion * channels, 1, 1, 0).batch_norm();
                        }
                    },
                    |shortcut| {
                        if !is_same {
                            shortcut.conv(expansion * channels, 1, stride, 0).batch_norm();
                        }
                    },
                );
                network.relu();
            }
        }
        network.mean_pool().linear(self.dimension, true).finish()
    }
}
