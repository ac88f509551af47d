//! Verification: are two faces the same person's?

use ndarray::Array2;
use rayon::prelude::*;

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

/// The similarity of every face of one list to every face of another: a row for each of `first`, a column for each of `second`.
/// The rows are spread over the current rayon pool.
///
/// Each number is the one that [`Embedding::similarity`] gives, bit for bit.
///
/// # Errors
/// [`SpaceMismatch`](crate::Error::SpaceMismatch) when not all embeddings lie in one space.
///
/// # Example
/// ```
/// # use std::sync::Arc;
/// # use face_core::{Embedding, EmbeddingSpace, Metric, similarities};
/// # let space = Arc::new(EmbeddingSpace { model: "toy".into(), digest: "00".into(), dimension: 2,
/// #     preprocessing: "none".into(), averaging: "none".into(), metric: Metric::Cosine, thresholds: vec![] });
/// # let embedding = |x, y| Embedding::new(vec![x, y], space.clone());
/// let faces = [embedding(1.0, 0.0)?, embedding(0.0, 1.0)?, embedding(0.6, 0.8)?];
/// let similarities = similarities(&faces[..2], &faces)?;
/// assert_eq!(similarities.dim(), (2, 3));
/// assert_eq!(similarities[[0, 2]], faces[0].similarity(&faces[2])?);
/// # Ok::<(), face_core::Error>(())
/// ```
pub fn similarities(first: &[Embedding], second: &[Embedding]) -> Result<Array2<f32>> {
    let row = |a: &Embedding| second.iter().map(|b| a.similarity(b)).collect::<Result<Vec<f32>>>();
    let rows = first.par_iter().map(row).collect::<Result<Vec<_>>>()?;
    let mut table = Array2::zeros((first.len(), second.len()));
    for (mut to, from) in table.rows_mut().into_iter().zip(rows) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from);
    }
    Ok(table)
}
