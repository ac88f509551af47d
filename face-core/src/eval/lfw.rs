//! The verification protocol of Labeled Faces in the Wild.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::MIN_ERRORS;
use super::photos::EmbeddedPhotos;
use super::verification::{FoldAccuracy, OperatingPoint, PairScores};
use crate::error::{Error, Result};
use crate::pipeline::FacePipeline;
use crate::stage::{Aligner, Embedder, Embedding, EmbeddingSpace, FaceDetector, Normalizer, Threshold};

/// Pairs of photos in folds, as `pairs.txt` lists them.
///
/// Source: G. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled Faces in the Wild", 2007, View 2. The first line
/// holds the number of folds and of pairs of each kind in a fold. Then follow, for each fold, lines `NAME I J` (two
/// photos of one person) and lines `NAME I OTHER J` (photos of two people), with tabs or spaces between the fields.
/// Photo I of NAME is the file `NAME/NAME_000I.jpg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LfwProtocol {
    /// The folds.
    pub folds: Vec<Vec<LfwPair>>,
}

/// Two photos, as paths below the folder of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LfwPair {
    /// The first photo.
    pub first: PathBuf,
    /// The second photo.
    pub second: PathBuf,
    /// Whether both show the same person.
    pub same: bool,
}

impl LfwProtocol {
    /// Reads `pairs.txt`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`], which names the line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = crate::files::read_text(path)?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let wrong = |line: usize, reason: String| Error::Format { path: path.to_owned(), line, reason };
        let mut lines =
            text.lines().enumerate().map(|(index, line)| (index + 1, line)).filter(|(_, l)| !l.trim().is_empty());
        let (_, header) = lines.next().ok_or_else(|| wrong(1, "the file is empty".into()))?;
        let counts: Vec<usize> = header.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let [fold_count, pairs_of_a_kind] = counts[..] else {
            return Err(wrong(1, "expected the number of folds and of pairs of each kind, as in `10 300`".into()));
        };
        let pairs: Vec<LfwPair> = lines
            .map(|(number, line)| LfwPair::parse(line).map_err(|reason| wrong(number, reason)))
            .collect::<Result<_>>()?;
        let size = pairs_of_a_kind.saturating_mul(2);
        if size == 0 || fold_count < 2 || fold_count.checked_mul(size) != Some(pairs.len()) {
            let reason = format!(
                "{fold_count} folds of 2 x {pairs_of_a_kind} pairs were announced, and {} pairs follow",
                pairs.len()
            );
            return Err(wrong(1, reason));
        }
        let folds: Vec<Vec<LfwPair>> = pairs.chunks(size).map(<[LfwPair]>::to_vec).collect();
        for (index, fold) in folds.iter().enumerate() {
            let same = fold.iter().filter(|pair| pair.same).count();
            if same != pairs_of_a_kind {
                let reason = format!(
                    "fold {} has {same} pairs of one person, where {pairs_of_a_kind} were announced",
                    index + 1
                );
                return Err(wrong(0, reason));
            }
        }
        Ok(Self { folds })
    }

    /// Every photo that the pairs name, once, in alphabetical order.
    pub fn images(&self) -> Vec<PathBuf> {
        let mut images: Vec<PathBuf> =
            self.folds.iter().flatten().flat_map(|pair| [pair.first.clone(), pair.second.clone()]).collect();
        images.sort();
        images.dedup();
        images
    }
}

impl LfwPair {
    fn parse(line: &str) -> Result<Self, String> {
        let photo = |name: &str, number: &str| {
            let number: u32 = number.parse().map_err(|_| format!("`{number}` is not the number of a photo"))?;
            // A name comes from a file: it must not lead out of the folder of images.
            if name.contains(['/', '\\']) || name.starts_with('.') {
                return Err(format!("`{name}` is not a person's name"));
            }
            Ok(Path::new(name).join(format!("{name}_{number:04}.jpg")))
        };
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [name, i, j] => Ok(Self { first: photo(name, i)?, second: photo(name, j)?, same: true }),
            [name, i, other, j] => Ok(Self { first: photo(name, i)?, second: photo(other, j)?, same: false }),
            _ => Err("expected `NAME I J` or `NAME I OTHER J`".to_owned()),
        }
    }
}

/// Settings of the evaluation.
#[derive(Debug, Clone)]
pub struct LfwSettings {
    /// False-accept rates at which true-accept rates and thresholds are reported.
    pub fars: Vec<f64>,
}

impl Default for LfwSettings {
    /// 1e-2 and 1e-3: with 3,000 pairs of different people the smallest rates that rest on more than one pair.
    fn default() -> Self {
        Self { fars: vec![1e-2, 1e-3] }
    }
}

/// What came out.
#[derive(Debug, Clone)]
pub struct LfwReport {
    /// Number of pairs.
    pub pairs: usize,
    /// Accuracy over the folds, each at the threshold that is best on the others.
    pub accuracy: FoldAccuracy,
    /// Operating points over all pairs, in the order of the settings; `None` for a rate that so few pairs cannot show.
    pub points: Vec<(f64, Option<OperatingPoint>)>,
    /// Operating points over *all* pairs of photos of different people, not only the listed ones: millions of pairs,
    /// so that rates down to 1e-6 can be measured. The true-accept rate is that of the listed pairs.
    pub cross_points: Vec<(f64, OperatingPoint)>,
    /// Number of pairs of photos of different people.
    pub cross_pairs: u64,
    /// Number of photos.
    pub images: usize,
    /// Photos that could not be read or had no usable face, with the reason. They match nothing.
    pub failed: Vec<(PathBuf, String)>,
    /// Photos per second, from file to embedding, on all threads of the pool.
    pub images_per_second: f64,
    /// All similarities, for plots.
    pub scores: PairScores,
    /// The space that was measured.
    pub space: Arc<EmbeddingSpace>,
}

impl LfwReport {
    /// The thresholds that follow, the loosest first, for an [`EmbedderSpec`](crate::embedders::EmbedderSpec): measured
    /// over all pairs of photos of different people, or over the listed ones where there are too few photos.
    ///
    /// `set` names the data, and what else the rates hang on, such as the detector.
    pub fn thresholds(&self, set: &str) -> Vec<Threshold> {
        let listed: Vec<_> = self.points.iter().filter_map(|(far, point)| Some((*far, (*point)?))).collect();
        let (points, pairs) = if self.cross_points.is_empty() {
            (&listed, self.scores.different.len() as u64)
        } else {
            (&self.cross_points, self.cross_pairs)
        };
        let measured_on = format!("{set}, {pairs} pairs of photos of different people");
        let threshold = |(far, point): &(f64, OperatingPoint)| Threshold {
            similarity: point.threshold,
            far: *far,
            measured_on: measured_on.clone(),
        };
        points.iter().map(threshold).collect()
    }
}

/// Rates that are reported over all pairs of photos of different people.
const CROSS_FARS: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];

/// Embeds every photo of the protocol and compares the pairs: [`EmbeddedPhotos::compute`], then [`score_lfw`].
///
/// # Errors
/// As those two.
pub fn evaluate_lfw<D: FaceDetector, A: Aligner, N: Normalizer, E: Embedder>(
    pipeline: &FacePipeline<D, A, N, E>,
    folder: &Path,
    protocol: &LfwProtocol,
    settings: &LfwSettings,
    progress: &(dyn Fn() + Sync),
) -> Result<LfwReport> {
    let photos = EmbeddedPhotos::compute(pipeline, folder, &protocol.images(), progress)?;
    score_lfw(protocol, &photos, settings)
}

/// Compares the pairs of photos that are embedded already. A photo without an embedding matches nothing.
///
/// # Errors
/// [`Error::InvalidParameter`] for a protocol of fewer than two folds, or an empty one.
pub fn score_lfw(protocol: &LfwProtocol, photos: &EmbeddedPhotos, settings: &LfwSettings) -> Result<LfwReport> {
    let images = protocol.images();
    let by_path: BTreeMap<&Path, &Embedding> =
        images.iter().filter_map(|path| Some((path.as_path(), photos.embedding(path)?))).collect();
    let similarity = |pair: &LfwPair| match (by_path.get(pair.first.as_path()), by_path.get(pair.second.as_path())) {
        (Some(first), Some(second)) => first.similarity(second),
        _ => Ok(f32::NEG_INFINITY),
    };
    let mut folds = Vec::with_capacity(protocol.folds.len());
    for fold in &protocol.folds {
        let mut scores = PairScores::default();
        for pair in fold {
            let list = if pair.same { &mut scores.same } else { &mut scores.different };
            list.push(similarity(pair)?);
        }
        folds.push(scores);
    }
    let accuracy = PairScores::cross_validate(&folds)?;
    let scores = PairScores::joined(&folds);
    let points = settings.fars.iter().map(|far| (*far, scores.at_far(*far).ok())).collect();
    let (cross_points, cross_pairs) = cross_operating_points(&by_path, &scores)?;
    Ok(LfwReport {
        pairs: protocol.folds.iter().map(Vec::len).sum(),
        accuracy,
        points,
        cross_points,
        cross_pairs,
        images: images.len(),
        failed: photos.failed_of(&images),
        images_per_second: photos.images_per_second,
        scores,
        space: Arc::clone(&photos.space),
    })
}

/// Operating points over every pair of photos of different people.
fn cross_operating_points(
    by_path: &BTreeMap<&Path, &Embedding>,
    listed: &PairScores,
) -> Result<(Vec<(f64, OperatingPoint)>, u64)> {
    let photos: Vec<(&Path, &Embedding)> =
        by_path.iter().map(|(path, embedding)| (path.parent().unwrap_or(path), *embedding)).collect();
    let photos = photos.as_slice();
    let partners = |index: usize| photos[index + 1..].iter().filter(move |other| other.0 != photos[index].0);
    let count: u64 = (0..photos.len()).into_par_iter().map(|index| partners(index).count() as u64).sum();
    let largest = CROSS_FARS.iter().copied().fold(0.0, f64::max);
    // Only the best of the different pairs decide about thresholds: keep those, not tens of millions.
    let keep = (largest * count as f64) as usize + 2;
    let keep_best = |mut scores: Vec<f32>| {
        if scores.len() > keep {
            scores.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a));
            scores.truncate(keep);
        }
        scores
    };
    let best = (0..photos.len())
        .into_par_iter()
        .try_fold(Vec::new, |mut scores: Vec<f32>, index| {
            for other in partners(index) {
                scores.push(photos[index].1.similarity(other.1)?);
            }
            Ok::<_, Error>(if scores.len() > 2 * keep { keep_best(scores) } else { scores })
        })
        .try_reduce(Vec::new, |mut a, b| {
            a.extend(b);
            Ok(keep_best(a))
        })?;
    let mut best = keep_best(best);
    best.sort_by(|a, b| b.total_cmp(a));
    let mut points = vec![];
    for far in CROSS_FARS {
        let allowed = (far * count as f64 + 1e-9).floor() as usize;
        if allowed < MIN_ERRORS || allowed >= best.len() {
            continue;
        }
        let threshold = best[allowed].next_up();
        let accepted = best.partition_point(|score| *score >= threshold);
        let tar = listed.at_threshold(threshold).tar;
        points.push((far, OperatingPoint { threshold, far: accepted as f64 / count as f64, tar }));
    }
    Ok((points, count))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<LfwProtocol> {
        LfwProtocol::parse(text, Path::new("pairs.txt"))
    }

    #[test]
    fn pairs_are_read_as_the_set_lists_them() {
        let protocol = parse("2\t1\nAnn_A\t1\t3\nAnn_A\t2\tBob_B\t11\nBob_B 1 2\nAnn_A 1 Bob_B 1\n").unwrap();
        assert_eq!(protocol.folds.len(), 2);
        let pair = &protocol.folds[0][1];
        assert_eq!((pair.first.to_str(), pair.same), (Some("Ann_A/Ann_A_0002.jpg"), false));
        assert_eq!(pair.second.to_str(), Some("Bob_B/Bob_B_0011.jpg"));
        assert_eq!(protocol.images().len(), 6);
    }

    #[test]
    fn malformed_lists_are_refused_with_the_line() {
        for (text, expected) in [
            ("", 1),
            ("ten folds\n", 1),
            ("2 1\nAnn 1 2\n", 1),
            ("2 1\nAnn 1 2\nAnn one Bob 2\nA 1 2\nA 1 B 1\n", 3),
            ("2 1\nAnn 1 2\n../../etc 1 Bob 2\nA 1 2\nA 1 B 1\n", 3),
            ("99999999999 99999999999\nAnn 1 2\n", 1),
            ("2 1\nAnn 1 2\nAnn 1 3\nA 1 2\nA 1 B 1\n", 0),
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, Error::Format { line, .. } if line == expected), "{text:?}: {error}");
        }
    }
}
