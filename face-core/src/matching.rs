//! Verification: are two faces the same person's?

use crate::error::Result;
use crate::stage::{Embedding, Threshold};

/// The answer to "same person?", with everything that is needed to judge it.
#[derive(Debug, Clone, PartialEq)]
pub struct Verification {
    /// How alike the two faces are. See [`Embedding::similarity`].
    pub similarity: f32,
    /// The threshold that was applied.
    pub threshold: Threshold,
    /// Whether the similarity reaches the threshold.
    pub is_match: bool,
}

/// Compares two faces at a threshold.
///
/// # Errors
/// [`SpaceMismatch`](crate::Error::SpaceMismatch) when the embeddings come from different models or preprocessing;
/// [`InvalidParameter`](crate::Error::InvalidParameter) when the threshold is not a finite number.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use face_core::{Embedding, EmbeddingSpace, Metric, Threshold, verify};
/// # let space = Arc::new(EmbeddingSpace { model: "toy".into(), digest: "00".into(), dimension: 2,
/// #     preprocessing: "none".into(), averaging: "none".into(), metric: Metric::Cosine,
/// #     thresholds: vec![Threshold { similarity: 0.5, far: 1e-3, measured_on: "an example".into() }] });
/// # let (first, second) = (Embedding::new(vec![1.0, 0.0], space.clone())?, Embedding::new(vec![0.9, 0.1], space)?);
/// let threshold = first.space().threshold_at(1e-3)?;
/// let answer = verify(&first, &second, threshold)?;
/// assert!(answer.is_match && answer.similarity > 0.9);
/// # Ok::<(), face_core::Error>(())
/// ```
pub fn verify(first: &Embedding, second: &Embedding, threshold: &Threshold) -> Result<Verification> {
    if !threshold.similarity.is_finite() {
        return Err(crate::Error::InvalidParameter {
            parameter: "threshold",
            value: threshold.similarity.to_string(),
            expected: "a finite similarity".into(),
        });
    }
    let similarity = first.similarity(second)?;
    Ok(Verification { similarity, threshold: threshold.clone(), is_match: similarity >= threshold.similarity })
}
