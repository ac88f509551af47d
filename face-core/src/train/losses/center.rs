//! Center loss: features are drawn to the centre of their class.

use burn::config::Config;
use burn::module::{Module, RunningState};
use burn::tensor::{Device, Distribution, Tensor, TensorData};

use super::angle::index_tensor;
use crate::error::Result;
use crate::train::batch::{check_batch, check_size, check_within};

/// Settings of [`CenterLoss`].
#[derive(Config, Debug)]
pub struct CenterLossConfig {
    /// Number of classes.
    pub classes: usize,
    /// Number of values of a feature.
    pub dimension: usize,
    /// How far centres move towards the features of a batch, α, from 0 to 1.
    #[config(default = "0.5")]
    pub rate: f64,
}

/// Center loss, to be added to softmax with a small weight (the paper takes 0.003):
///
/// ```text
/// L = 1/2N Σ_i ‖x_i - c_(y_i)‖²
/// ```
///
/// The paper sums over the batch; the mean makes the weight independent of the batch's size. The centres are no parameters:
/// with each batch they move by `c_j -= α Σ_(i: y_i = j) (c_j - x_i) / (1 + n_j)`.
///
/// Source: Y. Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition", 2016, equations 2 to 4.
#[derive(Module, Debug)]
pub struct CenterLoss {
    /// `[classes, dimension]`.
    pub centers: RunningState<Tensor<2>>,
    classes: usize,
    dimension: usize,
    rate: f64,
}

impl CenterLossConfig {
    /// A loss with new centres, normally distributed about zero.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn init(&self, device: &Device) -> Result<CenterLoss> {
        let Self { classes, dimension, rate } = *self;
        check_size("classes", classes)?;
        check_size("dimension", dimension)?;
        check_within("rate", rate, 0.0, 1.0)?;
        let centers = Tensor::random([classes, dimension], Distribution::Normal(0.0, 1.0), device);
        Ok(CenterLoss { centers: RunningState::new(centers), classes, dimension, rate })
    }
}

impl CenterLoss {
    /// Mean loss of features `[batch, dimension]` with a label each; moves the centres afterwards.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::LabelOutOfRange`](crate::Error::LabelOutOfRange),
    /// [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        check_batch(&features, self.dimension, labels, self.classes)?;
        let targets = index_tensor(labels, &features.device());
        let centers = self.centers.value_sync().detach().to_device(&features.device());
        let differences = features - centers.clone().select(0, targets.clone());
        self.move_centers(centers, differences.clone().detach(), labels);
        Ok(differences.powi_scalar(2).sum_dim(1).mean().mul_scalar(0.5))
    }

    fn move_centers(&self, centers: Tensor<2>, differences: Tensor<2>, labels: &[usize]) {
        let mut counts = vec![0_usize; self.classes];
        labels.iter().for_each(|label| counts[*label] += 1);
        let shares: Vec<f64> = labels.iter().map(|label| self.rate / (1.0 + counts[*label] as f64)).collect();
        let device = differences.device();
        let shares = TensorData::new(shares, [labels.len(), 1]);
        let shares = Tensor::<2>::from_data(shares, (&device, differences.dtype()));
        let moves = differences * shares;
        let targets = index_tensor(labels, &device);
        let moved = centers.select_assign(0, targets, moves, burn::tensor::IndexingUpdateOp::Add);
        self.centers.update(moved);
    }
}
