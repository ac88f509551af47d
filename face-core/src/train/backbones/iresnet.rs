//! IResNet: InsightFace's residual networks.

use burn::config::Config;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::network::{Backbone, Builder};
use crate::error::Result;

/// How deep an [IResNet](IResNetConfig) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IResNetDepth {
    /// 18 layers: blocks 2, 2, 2, 2.
    R18,
    /// 34 layers: blocks 3, 4, 6, 3.
    R34,
    /// 50 layers: blocks 3, 4, 14, 3.
    R50,
    /// 100 layers: blocks 3, 13, 30, 3.
    R100,
}

impl IResNetDepth {
    fn blocks(self) -> [usize; 4] {
        match self {
            Self::R18 => [2, 2, 2, 2],
            Self::R34 => [3, 4, 6, 3],
            Self::R50 => [3, 4, 14, 3],
            Self::R100 => [3, 13, 30, 3],
        }
    }
}

/// IResNet, the residual network of ArcFace: 112x112 pixels in, no pooling before the first block, blocks of
/// BN-conv-BN-PReLU-conv-BN, and BN-dropout-FC-BN at the end.
///
/// Source: J. Deng et al., "ArcFace", 2019, section 3.1; the layers are those of InsightFace's `arcface_torch`
/// (`iresnet.py`).
#[derive(Config, Debug)]
pub struct IResNetConfig {
    /// How deep.
    pub depth: IResNetDepth,
    /// Number of values of a feature.
    #[config(default = "512")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[112, 112]")]
    pub input: [usize; 2],
    /// Channels of the first stage; the others have two, four and eight times as many.
    #[config(default = "64")]
    pub width: usize,
    /// Share of the last map that is dropped in training.
    #[config(default = "0.0")]
    pub dropout: f64,
}

impl IResNetConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let mut network = Builder::of_colour(self.input, device);
        network.conv(self.width, 3, 1, 1).batch_norm().prelu();
        for (stage, blocks) in self.depth.blocks().into_iter().enumerate() {
            let channels = self.width << stage;
            for block in 0..blocks {
                let stride = if block == 0 { 2 } else { 1 };
                network.residual(
                    |main| {
                        main.batch_norm().conv(channels, 3, 1, 1).batch_norm().prelu();
                        main.conv(channels, 3, stride, 1).batch_norm();
                    },
                    |shortcut| {
                        if block == 0 {
                            shortcut.conv(channels, 1, stride, 0).batch_norm();
                        }
                    },
                );
            }
        }
        network.batch_norm().dropout(self.dropout);
        network.flatten().linear(self.dimension, true).batch_norm().finish()
    }
}
