//! AlexNet and VGG-16: the networks that came before.

use burn::config::Config;
use burn::tensor::Device;

use super::network::{Backbone, Builder};
use crate::error::Result;

/// AlexNet in one tower. The last of its three matrix products gives the features.
///
/// Source: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014; the layers are those of
/// torchvision. The mean pooling before the matrix products, which torchvision puts in for other input sizes, does nothing at
/// 224x224 and is left out.
#[derive(Config, Debug)]
pub struct AlexNetConfig {
    /// Number of values of a feature.
    #[config(default = "512")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[224, 224]")]
    pub input: [usize; 2],
    /// Channels of the first layer; the others keep their proportion to it.
    #[config(default = "64")]
    pub width: usize,
    /// Values of the two hidden layers.
    #[config(default = "4096")]
    pub hidden: usize,
    /// Share of the hidden values that is dropped in training.
    #[config(default = "0.5")]
    pub dropout: f64,
}

impl AlexNetConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let mut network = Builder::of_colour(self.input, device);
        network.conv_with_bias(self.width, 11, 4, 2).relu().max_pool(3, 2, 0, false);
        network.conv_with_bias(3 * self.width, 5, 1, 2).relu().max_pool(3, 2, 0, false);
        network.conv_with_bias(6 * self.width, 3, 1, 1).relu();
        network.conv_with_bias(4 * self.width, 3, 1, 1).relu();
        network.conv_with_bias(4 * self.width, 3, 1, 1).relu().max_pool(3, 2, 0, false);
        network.flatten().dropout(self.dropout).linear(self.hidden, true).relu();
        network.dropout(self.dropout).linear(self.hidden, true).relu();
        network.linear(self.dimension, true).finish()
    }
}

/// VGG-16. The last of its three matrix products gives the features.
///
/// Source: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015, table 1,
/// configuration D; O. Parkhi et al. learnt faces with it ("Deep Face Recognition", 2015).
#[derive(Config, Debug)]
pub struct Vgg16Config {
    /// Number of values of a feature.
    #[config(default = "512")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[224, 224]")]
    pub input: [usize; 2],
    /// Channels of the first stage; the others keep their proportion to it.
    #[config(default = "64")]
    pub width: usize,
    /// Values of the two hidden layers.
    #[config(default = "4096")]
    pub hidden: usize,
    /// Share of the hidden values that is dropped in training.
    #[config(default = "0.5")]
    pub dropout: f64,
}

impl Vgg16Config {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let mut network = Builder::of_colour(self.input, device);
        for (factor, convolutions) in [(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)] {
            for _ in 0..convolutions {
                network.conv_with_bias(factor * self.width, 3, 1, 1).relu();
            }
            network.max_pool(2, 2, 0, false);
        }
        network.flatten().linear(self.hidden, true).relu().dropout(self.dropout);
        network.linear(self.hidden, true).relu().dropout(self.dropout);
        network.linear(self.dimension, true).finish()
    }
}
