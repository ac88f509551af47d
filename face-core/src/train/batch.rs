//! Checks of what a loss is given, before any work is done.

use burn::tensor::Tensor;

use crate::error::{Error, Result, ensure_finite};

/// Most classes, values or groups: products of two of them fit into 64 bits with room to spare.
const MAX_SIZE: usize = 1 << 28;

/// A number of classes, values or groups, of which there must be one at least.
pub(crate) fn check_size(parameter: &'static str, value: usize) -> Result<()> {
    if (1..=MAX_SIZE).contains(&value) {
        return Ok(());
    }
    Err(Error::InvalidParameter { parameter, value: value.to_string(), expected: format!("from 1 to {MAX_SIZE}") })
}

/// A setting that must be finite and lie within bounds.
pub(crate) fn check_within(parameter: &'static str, value: f64, min: f64, max: f64) -> Result<()> {
    if value.is_finite() && (min..=max).contains(&value) {
        return Ok(());
    }
    let expected = if max == f64::MAX { format!("{min} or more") } else { format!("from {min} to {max}") };
    Err(Error::InvalidParameter { parameter, value: value.to_string(), expected })
}

/// A setting that must be finite and over 0.
pub(crate) fn check_positive(parameter: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::InvalidParameter { parameter, value: value.to_string(), expected: "finite, over 0".into() })
}

/// Features `[batch, dimension]` with a label below `classes` for each.
pub(crate) fn check_batch(features: &Tensor<2>, dimension: usize, labels: &[usize], classes: usize) -> Result<()> {
    check_labels(features, labels)?;
    if let Some((index, label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
        return Err(Error::LabelOutOfRange { label: *label, index, classes });
    }
    check_features(features, dimension)
}

/// One label for each feature, and at least one of both.
pub(crate) fn check_labels(features: &Tensor<2>, labels: &[usize]) -> Result<()> {
    let [batch, _] = features.dims();
    if batch == 0 || batch != labels.len() {
        let reason =
            format!("{batch} features with {} labels; expected one label for each, and one at least", labels.len());
        return Err(Error::InvalidBatch { reason });
    }
    Ok(())
}

/// Finite features of so many values.
pub(crate) fn check_features(features: &Tensor<2>, dimension: usize) -> Result<()> {
    let [batch, actual] = features.dims();
    if batch == 0 || actual == 0 || actual != dimension {
        let reason = format!("features of the shape [{batch}, {actual}]; expected [1 or more, {}]", dimension.max(1));
        return Err(Error::InvalidBatch { reason });
    }
    check_finite("features", features)
}

/// Reads one truth value from the device; the tensor itself only to say where it is not finite.
pub(crate) fn check_finite<const D: usize>(what: &str, tensor: &Tensor<D>) -> Result<()> {
    if tensor.clone().detach().is_finite().all().into_scalar::<bool>() {
        return Ok(());
    }
    let values: Vec<f32> = tensor.clone().detach().into_data().iter::<f32>().collect();
    ensure_finite(what, &values)
}
