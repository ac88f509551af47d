//! DeepFace: the first network that came near to people.

use burn::config::Config;
use burn::tensor::Device;

use super::network::{Backbone, Builder};
use crate::error::Result;

/// DeepFace: two convolutions, three locally connected layers, and a matrix product. Its 4,096 features go into a
/// [`Softmax`](crate::train::losses::Softmax) of as many classes as there are people, 4,030 in the paper.
///
/// The locally connected layers have weights of their own at each place: a frontal face has its eyes and its mouth always in
/// the same places, where other things are to be seen. They hold 72 of 102 million weights.
///
/// Source: Y. Taigman et al., "DeepFace: Closing the Gap to Human-Level Performance in Face Verification", 2014, section 3:
/// 152x152 pixels, C1 32x11x11, M2 3x3 with stride 2, C3 16x9x9, L4 16x9x9, L5 16x7x7 with stride 2, L6 16x5x5, F7 4096.
#[derive(Config, Debug)]
pub struct DeepFaceConfig {
    /// Number of values of a feature.
    #[config(default = "4096")]
    pub dimension: usize,
    /// Rows and columns of the input.
    #[config(default = "[152, 152]")]
    pub input: [usize; 2],
    /// Channels of the layers after the first, which has twice as many.
    #[config(default = "16")]
    pub width: usize,
    /// Share of the features that is dropped in training.
    #[config(default = "0.5")]
    pub dropout: f64,
}

impl DeepFaceConfig {
    /// A network with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for sizes that are zero or too small for the layers.
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        let mut network = Builder::of_colour(self.input, device);
        network.conv_with_bias(2 * self.width, 11, 1, 0).relu().max_pool(3, 2, 0, true);
        network.conv_with_bias(self.width, 9, 1, 0).relu();
        network.local(self.width, 9, 1).relu();
        network.local(self.width, 7, 2).relu();
        network.local(self.width, 5, 1).relu();
        network.flatten().linear(self.dimension, true).relu().dropout(self.dropout).finish()
    }
}
