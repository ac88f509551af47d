//! Distances between features, for the losses that compare them with one another.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::angle::unit;
use crate::error::{Error, Result};

/// Squared distances below this count as this, with a gradient of zero: two features in the same place.
const MIN_SQUARED_DISTANCE: f64 = 1e-12;

/// How far two features are from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// |a - b|.
    #[default]
    Euclidean,
    /// |a - b|², as in FaceNet.
    SquaredEuclidean,
    /// 1 - cos(a, b).
    Cosine,
}

/// Most values of a batch's differences, a gigabyte of single precision.
const MAX_DIFFERENCES: usize = 1 << 28;

/// Checks that the differences of all pairs of a batch fit into memory.
pub(crate) fn check_pairs(features: &Tensor<2>) -> Result<()> {
    let [batch, dimension] = features.dims();
    let size = batch.checked_mul(batch).and_then(|pairs| pairs.checked_mul(dimension));
    if size.is_some_and(|size| size <= MAX_DIFFERENCES) {
        return Ok(());
    }
    let reason = format!(
        "{batch} features of {dimension} values: their differences are more than {MAX_DIFFERENCES} numbers; take a \
         smaller batch"
    );
    Err(Error::InvalidBatch { reason })
}

/// Distances `[batch, batch]` of all features to one another.
pub(crate) fn distances(features: Tensor<2>, distance: Distance) -> Tensor<2> {
    let [batch, dimension] = features.dims();
    let features = match distance {
        Distance::Cosine => unit(features),
        _ => features,
    };
    // Differences, and not |a|² + |b|² - 2 a·b: that loses the small distances, which matter here.
    let rows = features.clone().reshape([batch, 1, dimension]).expand([batch, batch, dimension]);
    let columns = features.reshape([1, batch, dimension]).expand([batch, batch, dimension]);
    let squared = (rows - columns).powi_scalar(2).sum_dim(2).reshape([batch, batch]);
    from_squared(squared, distance)
}

/// Distances `[pairs]` of features, row by row.
pub(crate) fn pair_distances(first: Tensor<2>, second: Tensor<2>, distance: Distance) -> Tensor<1> {
    let [pairs, _] = first.dims();
    let (first, second) = match distance {
        Distance::Cosine => (unit(first), unit(second)),
        _ => (first, second),
    };
    from_squared((first - second).powi_scalar(2).sum_dim(1).reshape([pairs]), distance)
}

fn from_squared<const D: usize>(squared: Tensor<D>, distance: Distance) -> Tensor<D> {
    match distance {
        Distance::Euclidean => squared.clamp_min(MIN_SQUARED_DISTANCE).sqrt(),
        Distance::SquaredEuclidean => squared,
        // |u - v|² = 2 - 2 cos θ for unit vectors.
        Distance::Cosine => squared.mul_scalar(0.5),
    }
}
