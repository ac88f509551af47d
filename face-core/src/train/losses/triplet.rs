//! Triplet loss, and the choice of triplets.

use burn::config::Config;
use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::distance::{Distance, check_pairs, distances};
use crate::error::{Error, Result};
use crate::train::batch::{check_features, check_labels, check_within};

/// Most triplets of a batch.
const MAX_TRIPLETS: usize = 1 << 24;

/// Which triplets of a batch are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mining {
    /// All.
    All,
    /// For each anchor the farthest photo of the same person, and the nearest of another.
    ///
    /// Source: A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017.
    BatchHard,
    /// For each pair of photos of one person, the nearest photo of another that is farther from the anchor than the
    /// positive; where there is none, the farthest of all others.
    ///
    /// Source: F. Schroff, D. Kalenichenko, J. Philbin, "FaceNet", 2015, section 3.2; the rule for none is
    /// TensorFlow's `triplet_semihard_loss`.
    #[default]
    SemiHard,
}

/// An anchor, a positive (another photo of the same person) and a negative (a photo of another person), as positions in
/// the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TripletIndices {
    /// The anchor.
    pub anchor: usize,
    /// Another photo of the same person.
    pub positive: usize,
    /// A photo of another person.
    pub negative: usize,
}

/// Settings of [`Triplet`].
#[derive(Config, Debug)]
pub struct TripletConfig {
    /// How much farther the negative is to be than the positive. FaceNet takes 0.2 for the squared distance of unit
    /// vectors, InsightFace 0.3.
    #[config(default = "0.2")]
    pub margin: f64,
    /// How far two features are from each other.
    #[config(default = "Distance::Euclidean")]
    pub distance: Distance,
    /// Which triplets are learnt from.
    #[config(default = "Mining::SemiHard")]
    pub mining: Mining,
}

/// Triplet loss: the anchor is to be nearer to the positive than to the negative, by a margin.
///
/// ```text
/// L = mean of max(0, d(a, p) - d(a, n) + margin)   over the chosen triplets
/// ```
///
/// Features are compared as they are: scale them to unit length before, as FaceNet does, or take
/// [`Distance::Cosine`]. Triplets without cost count in the mean too.
///
/// Source: FaceNet, equation 1 to 3.
#[derive(Debug, Clone)]
pub struct Triplet {
    config: TripletConfig,
}

impl TripletConfig {
    /// The loss; it has no weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a margin that is negative or not finite.
    pub fn init(&self) -> Result<Triplet> {
        check_within("margin", self.margin, 0.0, f64::MAX)?;
        Ok(Triplet { config: self.clone() })
    }
}

impl Triplet {
    /// Mean loss of a batch of features `[batch, dimension]` with a label each.
    ///
    /// # Errors
    /// [`Error::InvalidBatch`], also when no triplet can be made: that takes two photos of one person and one of another;
    /// [`Error::NonFinite`].
    pub fn forward(&self, features: Tensor<2>, labels: &[usize]) -> Result<Tensor<1>> {
        check_labels(&features, labels)?;
        check_features(&features, features.dims()[1])?;
        check_pairs(&features)?;
        let count = labels.len();
        let device = features.device();
        let distances = distances(features, self.config.distance);
        let known: Vec<f64> = distances.clone().detach().into_data().iter::<f64>().collect();
        let triplets = mine(&known, labels, self.config.mining)?;
        let flat = distances.reshape([count * count]);
        let pick = |other: fn(&TripletIndices) -> usize| {
            let places: Vec<i64> =
                triplets.iter().map(|triplet| (triplet.anchor * count + other(triplet)) as i64).collect();
            let amount = places.len();
            let places = Tensor::<1, Int>::from_data(TensorData::new(places, [amount]), &device);
            flat.clone().select(0, places)
        };
        let positive = pick(|triplet| triplet.positive);
        let negative = pick(|triplet| triplet.negative);
        Ok((positive - negative).add_scalar(self.config.margin).clamp_min(0.0).mean())
    }
}

/// Chooses triplets of a batch by its distances, a row for each photo, `labels.len()` squared in all. Among equal distances
/// the first in the batch is taken.
///
/// # Errors
/// [`Error::InvalidBatch`] for another number of distances, one that is NaN, or when there is no triplet, or too many.
pub fn mine(distances: &[f64], labels: &[usize], mining: Mining) -> Result<Vec<TripletIndices>> {
    let count = labels.len();
    if count.checked_mul(count) != Some(distances.len()) || distances.iter().any(|distance| distance.is_nan()) {
        let reason =
            format!("{} distances for {count} labels; expected {count} rows of {count}, none NaN", distances.len());
        return Err(Error::InvalidBatch { reason });
    }
    let same = |anchor: usize| (0..count).filter(move |other| *other != anchor && labels[*other] == labels[anchor]);
    let others = |anchor: usize| (0..count).filter(move |other| labels[*other] != labels[anchor]);
    let distance = |a: usize, b: usize| distances[a * count + b];
    // The first of the least, and the first of the greatest.
    let nearest = |anchor: usize, among: &mut dyn Iterator<Item = usize>| {
        among.min_by(|a, b| distance(anchor, *a).total_cmp(&distance(anchor, *b)))
    };
    let farthest = |anchor: usize, among: &mut dyn Iterator<Item = usize>| {
        among.min_by(|a, b| distance(anchor, *b).total_cmp(&distance(anchor, *a)))
    };
    let mut triplets = vec![];
    for anchor in 0..count {
        match mining {
            Mining::All => {
                for positive in same(anchor) {
                    if triplets.len() + count > MAX_TRIPLETS {
                        let reason = format!("more than {MAX_TRIPLETS} triplets; take a smaller batch, or mine them");
                        return Err(Error::InvalidBatch { reason });
                    }
                    triplets.extend(others(anchor).map(|negative| TripletIndices { anchor, positive, negative }));
                }
            }
            Mining::BatchHard => {
                let (positive, negative) = (farthest(anchor, &mut same(anchor)), nearest(anchor, &mut others(anchor)));
                if let (Some(positive), Some(negative)) = (positive, negative) {
                    triplets.push(TripletIndices { anchor, positive, negative });
                }
            }
            Mining::SemiHard => {
                for positive in same(anchor) {
                    let reach = distance(anchor, positive);
                    let negative =
                        nearest(anchor, &mut others(anchor).filter(|other| distance(anchor, *other) > reach))
                            .or_else(|| farthest(anchor, &mut others(anchor)));
                    triplets.extend(negative.map(|negative| TripletIndices { anchor, positive, negative }));
                }
            }
        }
    }
    if triplets.is_empty() {
        let reason = "no triplet; expected two photos of one person and a photo of another at least".into();
        return Err(Error::InvalidBatch { reason });
    }
    Ok(triplets)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// All triplets there are, from the definition.
    fn every(labels: &[usize]) -> Vec<TripletIndices> {
        let mut all = vec![];
        for anchor in 0..labels.len() {
            for positive in 0..labels.len() {
                for negative in 0..labels.len() {
                    if positive != anchor && labels[positive] == labels[anchor] && labels[negative] != labels[anchor] {
                        all.push(TripletIndices { anchor, positive, negative });
                    }
                }
            }
        }
        all
    }

    /// Distances that repeat, so that ties are met.
    fn batch(seed: u64, count: usize, classes: usize) -> (Vec<f64>, Vec<usize>) {
        let mut state = seed;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let labels: Vec<usize> = (0..count).map(|_| next(classes as u64) as usize).collect();
        let mut distances = vec![0.0; count * count];
        for i in 0..count {
            for j in 0..i {
                let value = next(12) as f64 / 4.0;
                (distances[i * count + j], distances[j * count + i]) = (value, value);
            }
        }
        (distances, labels)
    }

    #[test]
    fn choices_are_those_of_a_search_through_all_triplets() {
        for seed in 0..50 {
            let (distances, labels) = batch(seed, 14, 4);
            let d = |a: usize, b: usize| distances[a * labels.len() + b];
            let all = every(&labels);
            assert_eq!(mine(&distances, &labels, Mining::All).unwrap(), all);

            let hard = mine(&distances, &labels, Mining::BatchHard).unwrap();
            let anchors: std::collections::BTreeSet<usize> = all.iter().map(|t| t.anchor).collect();
            assert_eq!(hard.iter().map(|t| t.anchor).collect::<Vec<_>>(), anchors.into_iter().collect::<Vec<_>>());
            for t in &hard {
                for other in all.iter().filter(|other| other.anchor == t.anchor) {
                    assert!(d(t.anchor, t.positive) >= d(t.anchor, other.positive));
                    assert!(d(t.anchor, t.negative) <= d(t.anchor, other.negative));
                }
            }

            let semi = mine(&distances, &labels, Mining::SemiHard).unwrap();
            let pairs: std::collections::BTreeSet<_> = all.iter().map(|t| (t.anchor, t.positive)).collect();
            assert_eq!(semi.len(), pairs.len());
            for t in &semi {
                let reach = d(t.anchor, t.positive);
                let mut rivals: Vec<f64> = all
                    .iter()
                    .filter(|other| (other.anchor, other.positive) == (t.anchor, t.positive))
                    .map(|other| d(t.anchor, other.negative))
                    .collect();
                rivals.sort_by(f64::total_cmp);
                let expected = rivals.iter().find(|rival| **rival > reach).or(rivals.last()).unwrap();
                assert!((d(t.anchor, t.negative) - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn batches_without_triplets_are_refused() {
        let refused = |distances: &[f64], labels: &[usize]| {
            assert!(matches!(mine(distances, labels, Mining::SemiHard), Err(Error::InvalidBatch { .. })));
        };
        refused(&[], &[]);
        refused(&[0.0], &[3]);
        refused(&[0.0, 1.0, 1.0, 0.0], &[1, 1]);
        refused(&[0.0, 1.0, 1.0, 0.0], &[1, 2]);
        refused(&[0.0, 1.0], &[1, 2]);
        refused(&[0.0, f64::NAN, f64::NAN, 0.0], &[1, 2]);
    }
}
