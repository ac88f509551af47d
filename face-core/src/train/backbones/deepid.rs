//! DeepID: hidden features that look at two scales.

use burn::config::Config;
use burn::tensor::Device;

use super::network::{Backbone, Builder};
use crate::error::Result;

/// DeepID: four convolutions, and a last hidden layer, the features, which is connected with both the third and the fourth: what
/// the fourth has pooled away, it still sees.
///
/// The paper trains sixty of these on patches of the face. It shares the weights of its third convolution within regions of
/// 2x2 places, and those of its fourth not at all; here the third is shared everywhere (a convolution), the fourth not at all.
///
/// Source: Y. Sun, X. Wang, X. Tang, "Deep Learning Face Representation from Predicting 10,000 Classes", 2014, figure 2: 39x31
/// pixels, 20x4x4, 40x3x3, 60x3x3, each pooled by 2x2, 80x2x2, and 160 features.
#[derive(Config, Debug)]
pub struct DeepIdConfig {
    /// Number of values of a feature.
    #[config(default = "160")]
    pub dimension: usize,
    /// Channels, rows and columns of the input.
    #[config(default = "[3, 39, 31]")]
    pub input: [usize; 3],
    /// Channels of the first layer; the others have two, three and four times as many.
    #[config(default = "20")]
    pub width: usize,
}

impl DeepIdConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let mut network = Builder::new(self.input, device);
        network.conv_with_bias(self.width, 4, 1, 0).relu().max_pool(2, 2, 0, false);
        network.conv_with_bias(2 * self.width, 3, 1, 0).relu().max_pool(2, 2, 0, false);
        network.conv_with_bias(3 * self.width, 3, 1, 0).relu().max_pool(2, 2, 0, false);
        let fourth = |network: &mut Builder<'_>| {
            network.local(4 * self.width, 2, 1).relu();
        };
        network.concatenation(|_| {}, fourth).linear(self.dimension, true).relu().finish()
    }
}
