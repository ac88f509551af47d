//! Verification measures on lists of similarities.

use crate::error::{Error, Result, ensure_finite};

/// Similarities of pairs of the same person and of different people.
///
/// A pair whose photo had no usable face never matches: its similarity is minus infinity.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairScores {
    /// Pairs of the same person.
    pub same: Vec<f32>,
    /// Pairs of different people.
    pub different: Vec<f32>,
}

/// What a threshold achieves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// Smallest similarity of a match.
    pub threshold: f32,
    /// False-accept rate: share of the pairs of different people that match.
    pub far: f64,
    /// True-accept rate: share of the pairs of the same person that match.
    pub tar: f64,
}

/// A point of the receiver operating characteristic.
pub type RocPoint = OperatingPoint;

/// Mean and spread of the accuracy over folds.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldAccuracy {
    /// Mean over the folds, from 0 to 1.
    pub mean: f64,
    /// Standard deviation over the folds (divided by their number).
    pub std: f64,
    /// Accuracy of each fold.
    pub folds: Vec<f64>,
}

impl PairScores {
    /// The operating point with the highest true-accept rate whose false-accept rate is at most `far`.
    ///
    /// Its threshold is the next number above the first similarity of a pair of different people that must not match.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when there are too few pairs of different people to measure such a rate: one false
    /// accept among them would already exceed it.
    pub fn at_far(&self, far: f64) -> Result<OperatingPoint> {
        let count = self.different.len();
        // The product of a rate like 1e-3 and a count may fall short of a whole number by rounding.
        let allowed = ((far * count as f64 + 1e-9).floor() as usize).min(count.saturating_sub(1));
        if !(far > 0.0 && far < 1.0) || allowed == 0 || self.same.is_empty() {
            return Err(Error::InvalidParameter {
                parameter: "false-accept rate",
                value: format!("{far:e}"),
                expected: format!("between 1/{count} (one of the pairs of different people) and 1"),
            });
        }
        let mut different = self.different.clone();
        different.sort_by(|a, b| b.total_cmp(a));
        Ok(self.at_threshold(different[allowed].next_up()))
    }

    /// What a threshold achieves.
    pub fn at_threshold(&self, threshold: f32) -> OperatingPoint {
        let share = |scores: &[f32]| {
            scores.iter().filter(|score| **score >= threshold).count() as f64 / scores.len().max(1) as f64
        };
        OperatingPoint { threshold, far: share(&self.different), tar: share(&self.same) }
    }

    /// The receiver operating characteristic: one point for each false-accept rate that some threshold has, with the
    /// highest true-accept rate at it, from the strictest threshold to the loosest.
    pub fn roc(&self) -> Vec<RocPoint> {
        let descending = |scores: &[f32]| {
            let mut sorted = scores.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            sorted
        };
        let (same, different) = (descending(&self.same), descending(&self.different));
        let Some(loosest) = different.last() else { return vec![] };
        let above = |sorted: &[f32], score: f32| sorted.partition_point(|other| *other > score);
        let share = |count: usize, all: usize| count as f64 / all.max(1) as f64;
        let mut points: Vec<RocPoint> = vec![];
        let mut next = 0;
        while let Some(refused) = different.get(next) {
            points.push(OperatingPoint {
                threshold: refused.next_up(),
                far: share(next, different.len()),
                tar: share(above(&same, *refused), same.len()),
            });
            next += different[next..].partition_point(|other| other == refused).max(1);
        }
        points.push(self.at_threshold(*loosest));
        points
    }

    /// Number of pairs.
    fn len(&self) -> usize {
        self.same.len() + self.different.len()
    }

    /// Number of pairs that a threshold judges rightly.
    fn right(&self, threshold: f32) -> usize {
        self.same.iter().filter(|score| **score >= threshold).count()
            + self.different.iter().filter(|score| **score < threshold).count()
    }

    /// The threshold with the highest accuracy; in the middle of the widest run of equally good ones.
    fn best_threshold(&self) -> f32 {
        let mut marked: Vec<(f32, i64)> = self.same.iter().map(|score| (*score, 1)).collect();
        marked.extend(self.different.iter().map(|score| (*score, -1)));
        marked.retain(|(score, _)| score.is_finite());
        marked.sort_by(|a, b| b.0.total_cmp(&a.0));
        // Going down through the similarities, each same pair that comes to match is a gain, each different one a loss.
        let (mut gain, mut best_gain, mut best, mut best_gap) = (0, 0, f32::INFINITY, f32::INFINITY);
        for (index, (score, value)) in marked.iter().enumerate() {
            gain += value;
            let below = marked.get(index + 1).map_or(*score - 1.0, |next| next.0);
            let gap = score - below;
            if gap > 0.0 && (gain > best_gain || (gain == best_gain && gap > best_gap)) {
                (best_gain, best, best_gap) = (gain, (score + below) / 2.0, gap);
            }
        }
        best
    }

    /// Accuracy by cross-validation: the threshold for each fold is the best one on all the others.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for fewer than two folds or an empty one; [`Error::NonFinite`] for a NaN.
    pub fn cross_validate(folds: &[Self]) -> Result<FoldAccuracy> {
        if folds.len() < 2 || folds.iter().any(|fold| fold.same.is_empty() && fold.different.is_empty()) {
            return Err(Error::InvalidParameter {
                parameter: "folds",
                value: folds.len().to_string(),
                expected: "at least two, none of them empty".into(),
            });
        }
        for fold in folds {
            for scores in [&fold.same, &fold.different] {
                let numbers: Vec<f32> = scores.iter().copied().filter(|score| score.is_nan()).collect();
                ensure_finite("similarities", &numbers)?;
            }
        }
        let right: Vec<usize> = (0..folds.len())
            .map(|tested| {
                let others = folds.iter().enumerate().filter(|(index, _)| *index != tested).map(|(_, fold)| fold);
                folds[tested].right(Self::joined(others).best_threshold())
            })
            .collect();
        let accuracies: Vec<f64> = right.iter().zip(folds).map(|(n, fold)| *n as f64 / fold.len() as f64).collect();
        let count = folds.len() as f64;
        let mean = if folds.iter().all(|fold| fold.len() == folds[0].len()) {
            // The same number, without the rounding of a sum of fractions.
            right.iter().sum::<usize>() as f64 / (folds.len() * folds[0].len()) as f64
        } else {
            accuracies.iter().sum::<f64>() / count
        };
        let variance = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum::<f64>() / count;
        Ok(FoldAccuracy { mean, std: variance.sqrt(), folds: accuracies })
    }

    /// All pairs of several folds.
    pub fn joined<'a>(folds: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for fold in folds {
            all.same.extend(&fold.same);
            all.different.extend(&fold.different);
        }
        all
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Scores that overlap, made by a fixed recurrence.
    fn scores(seed: u32, count: usize) -> PairScores {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        PairScores {
            same: (0..count).map(|_| 0.4 + 0.6 * next()).collect(),
            different: (0..count).map(|_| 0.6 * next()).collect(),
        }
    }

    #[test]
    fn operating_points_equal_a_count_by_hand() {
        let scores = scores(7, 3000);
        for far in [1e-1, 1e-2, 1e-3] {
            let point = scores.at_far(far).unwrap();
            let accepted = scores.different.iter().filter(|s| **s >= point.threshold).count();
            assert!(accepted as f64 <= far * 3000.0 + 1e-9, "{accepted} at {far}");
            assert_eq!(point.far, accepted as f64 / 3000.0);
            // Any looser threshold accepts too many.
            let looser = scores.at_threshold(point.threshold.next_down());
            assert!(looser.far > far);
            assert_eq!(point.tar, scores.same.iter().filter(|s| **s >= point.threshold).count() as f64 / 3000.0);
        }
        assert!(matches!(scores.at_far(1e-4), Err(Error::InvalidParameter { .. })));
        for bad in [0.0, 1.0, -1.0, f64::NAN] {
            assert!(scores.at_far(bad).is_err());
        }
    }

    #[test]
    fn best_threshold_equals_exhaustive_search() {
        for seed in 1..20 {
            let scores = scores(seed, 60);
            let all = scores.same.iter().chain(&scores.different);
            let best = all.map(|s| scores.right(*s)).max().unwrap();
            assert_eq!(scores.right(scores.best_threshold()), best, "seed {seed}");
        }
    }

    #[test]
    fn separable_folds_are_perfect_and_failures_count_as_no_match() {
        let fold = PairScores { same: vec![0.9, 0.8], different: vec![0.1, 0.2] };
        let perfect = PairScores::cross_validate(&[fold.clone(), fold.clone(), fold.clone()]).unwrap();
        assert_eq!((perfect.mean, perfect.std), (1.0, 0.0));
        let failed = PairScores { same: vec![0.9, f32::NEG_INFINITY], different: vec![0.1, f32::NEG_INFINITY] };
        let mixed = PairScores::cross_validate(&[failed, fold]).unwrap();
        assert_eq!(mixed.folds, [0.75, 1.0]);
    }

    #[test]
    fn roc_ends_at_one_and_agrees_with_operating_points() {
        let scores = scores(3, 500);
        let roc = scores.roc();
        assert!(roc.windows(2).all(|pair| pair[0].far < pair[1].far && pair[0].tar <= pair[1].tar));
        assert_eq!((roc[0].far, roc.last().unwrap().far), (0.0, 1.0));
        for far in [1e-2, 1e-1] {
            let best = roc.iter().rev().find(|point| point.far <= far).unwrap();
            assert_eq!(*best, scores.at_far(far).unwrap());
        }
        for point in roc {
            assert_eq!(point, scores.at_threshold(point.threshold));
        }
    }
}
