//! Contrastive loss: pairs.

use burn::config::Config;
use burn::tensor::{Bool, Tensor, TensorData};

use super::distance::{Distance, check_pairs, distances, pair_distances};
use crate::error::{Error, Result};
use crate::train::batch::{check_features, check_labels, check_positive};

/// Settings of [`Contrastive`].
#[derive(Config, Debug)]
pub struct ContrastiveConfig {
    /// Distance from which on two different people cost nothing.
    #[config(default = "1.0")]
    pub margin: f64,
    /// How far two features are from each other.
    #[config(default = "Distance::Euclidean")]
    pub distance: Distance,
}

/// Contrastive loss, which draws photos of one person together and pushes those of two apart until the margin is
/// between them. For a pair at the distance d, with y = 1 for one person and 0 for two:
///
/// ```text
/// L = 1/2 y d² + 1/2 (1 - y) max(0, margin - d)²
/// ```
///
/// The mean over the pairs. Two photos of different people in the very same place have a gradient of zero, since no
/// direction leads away from there.
///
/// Source: R. Hadsell, S. Chopra, Y. LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", 2006, equation 4;
/// DeepID2 uses it beside softmax.
#[derive(Debug, Clone)]
pub struct Contrastive {
    config: ContrastiveConfig,
}

impl ContrastiveConfig {
    /// The loss; it has no weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a margin that is not positive.
    pub fn init(&self) -> Result<Contrastive> {
        check_positive("margin", self.margin)?;
        Ok(Contrastive { config: self.clone() })
    }
}

impl Contrastive {
    /// Mean loss of pairs: row i of `first` `[pairs, dimension]` with row i of `second`, which show the same person or not.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], [`Error::NonFinite`].
    pub fn forward_pairs(&self, first: Tensor<2>, second: Tensor<2>, is_same: &[bool]) -> Result<Tensor<1>> {
        let [pairs, dimension] = first.dims();
        if second.dims() != [pairs, dimension] || is_same.len() != pairs {
            let reason = format!(
                "pairs of the shapes {:?} and {:?} with {} answers; expected the same shape twice, and an answer each",
                first.dims(),
                second.dims(),
                is_same.len()
            );
            return Err(Error::InvalidBatch { reason });
        }
        check_features(&first, dimension)?;
        check_features(&second, dimension)?;
        let device = first.device();
        let squared = pair_distances(first, second, self.config.distance);
        let is_same = Tensor::<1, Bool>::from_data(TensorData::new(is_same.to_vec(), [pairs]), &device);
        Ok(self.costs(squared, is_same).mean())
    }

    /// Mean loss over all pairs of a batch of features `[batch, dimension]`.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], also for a single feature; [`Error::NonFinite`].
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        check_labels(&features, labels)?;
        check_features(&features, features.dims()[1])?;
        check_pairs(&features)?;
        let count = labels.len();
        if count < 2 {
            return Err(Error::InvalidBatch { reason: "one feature; expected two at least, which make a pair".into() });
        }
        let device = features.device();
        let pairs = || (0..count).flat_map(|i| (i + 1..count).map(move |j| (i, j)));
        let flat: Vec<i64> = pairs().map(|(i, j)| (i * count + j) as i64).collect();
        let is_same: Vec<bool> = pairs().map(|(i, j)| labels[i] == labels[j]).collect();
        let amount = flat.len();
        let squared = distances(features, self.config.distance).reshape([count * count]);
        let squared = squared.select(0, Tensor::from_data(TensorData::new(flat, [amount]), &device));
        let is_same = Tensor::<1, Bool>::from_data(TensorData::new(is_same, [amount]), &device);
        Ok(self.costs(squared, is_same).mean())
    }

    fn costs(&self, distance: Tensor<1>, is_same: Tensor<1, Bool>) -> Tensor<1> {
        let short_of_margin = distance.clone().neg().add_scalar(self.config.margin).clamp_min(0.0);
        let apart = short_of_margin.powi_scalar(2).mul_scalar(0.5);
        apart.mask_where(is_same, distance.powi_scalar(2).mul_scalar(0.5))
    }
}
