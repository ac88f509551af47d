//! Angles between features and class weights, in a form whose gradients stay finite everywhere.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use crate::error::Result;
use crate::train::batch::{check_batch, check_features, check_size};

/// Squared lengths below this count as this: a vector of zeros keeps a finite gradient.
const MIN_SQUARED_LENGTH: f64 = 1e-12;
/// Squared chords below this (angles below a millionth) are rounding noise of single precision, whose direction means
/// nothing: their gradient is zero.
const MIN_SQUARED_CHORD: f64 = 1e-12;
/// Standard deviation of new weights, as in InsightFace's `arcface_torch`.
const INITIAL_DEVIATION: f64 = 0.01;

/// One weight vector for each class: the last layer of a classifier, whose direction is the centre of the class.
#[derive(Module, Debug)]
pub struct ClassWeights {
    /// `[classes, dimension]`.
    pub weight: Param<Tensor<2>>,
}

impl ClassWeights {
    /// New weights, normally distributed about zero.
    pub(crate) fn new(classes: usize, dimension: usize, device: &Device) -> Result<Self> {
        check_size("classes", classes)?;
        check_size("dimension", dimension)?;
        let initializer = Initializer::Normal { mean: 0.0, std: INITIAL_DEVIATION };
        Ok(Self { weight: initializer.init([classes, dimension], device) })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.weight.shape().dims::<2>()[0]
    }

    /// Number of values of a feature.
    pub fn dimension(&self) -> usize {
        self.weight.shape().dims::<2>()[1]
    }

    /// Checks a batch of features `[batch, dimension]` and its labels, before any work.
    pub(crate) fn check(&self, features: &Tensor<2>, labels: &[usize]) -> Result<()> {
        check_batch(features, self.dimension(), labels, self.classes())
    }

    /// Cosines `[batch, classes]` of the angles between each feature and each class.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`](crate::Error::InvalidBatch), [`Error::NonFinite`](crate::Error::NonFinite).
    pub fn cosines(&self, features: Tensor<2>) -> Result<Tensor<2>> {
        check_features(&features, self.dimension())?;
        Ok(unit(features).matmul(unit(self.weight.val()).transpose()))
    }

    /// Cosines with all classes, and the angle to each feature's own class.
    pub(crate) fn angles(&self, features: Tensor<2>, labels: &[usize]) -> Angles {
        let (features, weights) = (unit(features), unit(self.weight.val()));
        let targets = index_tensor(labels, &features.device());
        let own = weights.clone().select(0, targets.clone());
        let squared = |difference: Tensor<2>| difference.powi_scalar(2).sum_dim(1);
        Angles {
            chord: squared(features.clone() - own.clone()),
            opposite_chord: squared(features.clone() + own),
            cosines: features.matmul(weights.transpose()),
            targets,
        }
    }
}

/// Rows scaled to unit length.
pub(crate) fn unit(rows: Tensor<2>) -> Tensor<2> {
    let lengths = lengths(rows.clone());
    rows / lengths
}

/// Lengths `[rows, 1]` of the rows.
pub(crate) fn lengths(rows: Tensor<2>) -> Tensor<2> {
    rows.powi_scalar(2).sum_dim(1).clamp_min(MIN_SQUARED_LENGTH).sqrt()
}

/// Labels as a tensor.
pub(crate) fn index_tensor(labels: &[usize], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.iter().map(|label| i64::try_from(*label).unwrap_or(i64::MAX)).collect();
    let count = labels.len();
    Tensor::from_data(TensorData::new(labels, [count]), device)
}

/// Angles of a batch.
///
/// The angle to a feature's own class is known by its chords: for unit vectors, |u − w|² = 2 − 2 cos θ and |u + w|² =
/// 2 + 2 cos θ. Unlike `acos`, and unlike √(1 − cos²θ), they are exact for small angles too, and their gradients are finite.
pub(crate) struct Angles {
    /// `[batch, classes]`.
    pub(crate) cosines: Tensor<2>,
    /// |u − w|² of each feature and its own class, `[batch, 1]`.
    chord: Tensor<2>,
    /// |u + w|², `[batch, 1]`.
    opposite_chord: Tensor<2>,
    targets: Tensor<1, Int>,
}

impl Angles {
    /// cos θ of each feature's own class, `[batch, 1]`.
    pub(crate) fn cosine(&self) -> Tensor<2> {
        (self.opposite_chord.clone() - self.chord.clone()).mul_scalar(0.25)
    }

    /// sin θ of each feature's own class, `[batch, 1]`. Its gradient at 0 and π, where it has none, is zero.
    ///
    /// The sum of the chords is 4 for unit vectors. A feature of nothing has the chords 1 and 1, and stands at a right angle to
    /// all classes, as its cosine of 0 says.
    pub(crate) fn sine(&self) -> Tensor<2> {
        let sum = self.chord.clone() + self.opposite_chord.clone();
        root(self.chord.clone() * self.opposite_chord.clone()).mul_scalar(2.0) / sum
    }

    /// θ of each feature's own class, `[batch, 1]`, from 0 to π. Its gradient at the ends, where it has none, is zero.
    pub(crate) fn angle(&self) -> Tensor<2> {
        root(self.chord.clone()).atan2(root(self.opposite_chord.clone())).mul_scalar(2.0)
    }

    /// Mean cross-entropy of logits that are the cosines, but for each feature's own class, all times a scale.
    pub(crate) fn cross_entropy(self, own: Tensor<2>, scale: f64) -> Tensor<1> {
        let logits = with_targets(self.cosines, &self.targets, own).mul_scalar(scale);
        cross_entropy(logits, self.targets)
    }

    /// The targets.
    pub(crate) fn targets(&self) -> Tensor<1, Int> {
        self.targets.clone()
    }
}

/// The square root; 0, without a gradient, of what is too small to have a direction.
fn root(squared: Tensor<2>) -> Tensor<2> {
    let is_noise = squared.clone().detach().lower_elem(MIN_SQUARED_CHORD);
    squared.clamp_min(MIN_SQUARED_CHORD).sqrt().mask_fill(is_noise, 0.0)
}

/// The matrix with one value of each row replaced, that of the target's column.
pub(crate) fn with_targets(logits: Tensor<2>, targets: &Tensor<1, Int>, own: Tensor<2>) -> Tensor<2> {
    let [batch, classes] = logits.dims();
    let is_target = is_index(targets.clone(), classes);
    logits.mask_where(is_target, own.expand([batch, classes]))
}

/// `[batch, count]`: whether a column is the row's index. (burn's `one_hot` takes two columns at least.)
pub(crate) fn is_index(indices: Tensor<1, Int>, count: usize) -> Tensor<2, Bool> {
    let [batch] = indices.dims();
    let columns = Tensor::<1, Int>::arange(0..i64::try_from(count).unwrap_or(i64::MAX), &indices.device());
    let columns = columns.unsqueeze::<2>().expand([batch, count]);
    columns.equal(indices.unsqueeze_dim::<2>(1).expand([batch, count]))
}

/// Mean over the batch of -log softmax(logits)[target].
pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).mean().neg()
}
