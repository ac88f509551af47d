//! Verification: are two faces the same person's?

use std::sync::Arc;

use ndarray::Array2;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::stage::{Embedding, Metric, Threshold};

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
    let mut table = Array2::zeros((first.len(), second.len()));
    let (Some(one), Some(other)) = (first.first(), second.first()) else { return Ok(table) };
    for embedding in first.iter().chain(second) {
        let (space, reference) = (embedding.space(), if std::ptr::eq(embedding, one) { other } else { one }.space());
        if !Arc::ptr_eq(space, reference) && space != reference {
            return Err(Error::SpaceMismatch { left: reference.id(), right: space.id() });
        }
    }
    let metric = one.space().metric;
    let blocks: Vec<Vec<f64>> = second.chunks(BLOCK).map(by_value).collect();
    let rows: Vec<_> = table.rows_mut().into_iter().zip(first).collect();
    rows.into_par_iter().for_each(|(mut row, a)| {
        for (block, (columns, values)) in second.chunks(BLOCK).zip(&blocks).enumerate() {
            let sums = match metric {
                Metric::Cosine => sums(a.vector(), values, |a, b| a * b).map(|sum| sum.clamp(-1.0, 1.0)),
                Metric::Euclidean => sums(a.vector(), values, |a, b| (a - b).powi(2)).map(|sum| -sum.sqrt()),
                Metric::GroupAware(_) => {
                    std::array::from_fn(|i| columns.get(i).map_or(0.0, |b| metric.similarity(a.vector(), b.vector())))
                }
            };
            for (i, sum) in sums.iter().enumerate().take(columns.len()) {
                row[block * BLOCK + i] = *sum as f32;
            }
        }
    });
    Ok(table)
}

/// Faces that are compared side by side: each sum goes through the values in their order, as that of a single pair does.
const BLOCK: usize = 8;

/// The vectors of up to so many faces in double precision, value by value: of all faces the first, then the second, and so on.
fn by_value(faces: &[Embedding]) -> Vec<f64> {
    let dimension = faces.first().map_or(0, |face| face.vector().len());
    let value = |index| move |face: usize| faces.get(face).map_or(0.0, |face| f64::from(face.vector()[index]));
    (0..dimension).flat_map(|index| (0..BLOCK).map(value(index))).collect()
}

fn sums(a: &[f32], values: &[f64], term: impl Fn(f64, f64) -> f64) -> [f64; BLOCK] {
    // What a sum of the standard library begins with.
    let mut sums = [-0.0; BLOCK];
    for (a, values) in a.iter().zip(values.chunks_exact(BLOCK)) {
        let a = f64::from(*a);
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += term(a, *value);
        }
    }
    sums
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stage::{EmbeddingSpace, GroupAware};

    #[test]
    fn a_table_has_the_bits_of_single_pairs() {
        for metric in [Metric::Cosine, Metric::Euclidean, Metric::GroupAware(GroupAware::new(20).unwrap())] {
            let space = |model: &str| {
                Arc::new(EmbeddingSpace {
                    model: model.into(),
                    digest: "00".into(),
                    dimension: 33,
                    preprocessing: "none".into(),
                    averaging: "none".into(),
                    metric,
                    thresholds: vec![],
                })
            };
            let face = |number: usize| {
                let value = |i: usize| ((number * 31 + i * 17) % 101) as f32 / 7.0 - 5.0;
                Embedding::new((0..33).map(value).collect(), space("toy")).unwrap()
            };
            let faces: Vec<Embedding> = (0..21).map(face).collect();
            let table = similarities(&faces[..5], &faces).unwrap();
            for ((row, column), similarity) in table.indexed_iter() {
                let single = faces[row].similarity(&faces[column]).unwrap();
                assert_eq!(similarity.to_bits(), single.to_bits(), "{metric} {row} {column}");
            }
            assert_eq!(similarities(&[], &faces).unwrap().dim(), (0, 21));
            let stranger = Embedding::new(vec![1.0; 33], space("another")).unwrap();
            for (first, second) in [(vec![stranger.clone()], &faces), (vec![faces[0].clone(), stranger], &faces)] {
                assert!(matches!(similarities(&first, second), Err(Error::SpaceMismatch { .. })));
                assert!(matches!(similarities(second, &first), Err(Error::SpaceMismatch { .. })));
            }
        }
    }
}
