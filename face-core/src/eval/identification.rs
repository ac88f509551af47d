//! Identification (1:N): one photo of each person is enrolled, the others are probes, and strangers come too.
//!
//! The measures are those of ISO/IEC 19795-1 and of NIST's FRVT 1:N reports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MIN_ERRORS;
use super::photos::{EmbeddedPhotos, photos_by_person, unfit};
use crate::error::{Error, Result};
use crate::gallery::{Candidate, DEFAULT_FPIR, Decision, Gallery, LocalGallery, NewSubject, SearchMode, SearchParams};
use crate::pipeline::FacePipeline;
use crate::stage::{Aligner, Embedder, EmbeddingSpace, FaceDetector, Normalizer, Threshold};

/// Who is enrolled, and who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentificationProtocol {
    /// One photo of each person who has several.
    pub enrolled: Vec<LabelledPhoto>,
    /// The other photos of those people.
    pub known: Vec<LabelledPhoto>,
    /// The photos of people who have one alone: they are not enrolled.
    pub unknown: Vec<LabelledPhoto>,
}

/// A photo and whom it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPhoto {
    /// Name of the person's folder.
    pub person: String,
    /// Path below the folder of images.
    pub photo: PathBuf,
}

impl IdentificationProtocol {
    /// The protocol of a folder that holds a folder for each person, as Labeled Faces in the Wild does: the first photo
    /// (in alphabetical order) of each person with two or more is enrolled, their other photos are known probes, and
    /// people with a single photo are unknown probes.
    ///
    /// With `listed`, all photos that are not in it (as paths below the folder) are passed over.
    ///
    /// # Errors
    /// [`Error::Io`], also when no person has two photos.
    pub fn from_folder(folder: impl AsRef<Path>, listed: Option<&BTreeSet<PathBuf>>) -> Result<Self> {
        let folder = folder.as_ref();
        let mut protocol = Self { enrolled: vec![], known: vec![], unknown: vec![] };
        for (person, photos) in photos_by_person(folder)? {
            let name = person.file_name().unwrap_or_default();
            let labelled = |photo: PathBuf| LabelledPhoto { person: name.to_string_lossy().into_owned(), photo };
            let below = |photo: PathBuf| Some(Path::new(name).join(photo.file_name()?));
            let is_listed = |photo: &PathBuf| listed.is_none_or(|listed| listed.contains(photo));
            let mut photos = photos.into_iter().filter_map(below).filter(is_listed).map(labelled).peekable();
            let Some(first) = photos.next() else { continue };
            if photos.peek().is_none() {
                protocol.unknown.push(first);
            } else {
                protocol.enrolled.push(first);
                protocol.known.extend(photos);
            }
        }
        if protocol.enrolled.is_empty() {
            return Err(unfit(folder, "no person in it has two photos: it must hold a folder for each person"));
        }
        Ok(protocol)
    }

    /// Every photo of the protocol, in alphabetical order.
    pub fn images(&self) -> Vec<PathBuf> {
        let all = self.enrolled.iter().chain(&self.known).chain(&self.unknown);
        let mut images: Vec<PathBuf> = all.map(|labelled| labelled.photo.clone()).collect();
        images.sort();
        images.dedup();
        images
    }
}

/// Settings of the evaluation.
#[derive(Debug, Clone)]
pub struct IdentificationSettings {
    /// False-positive identification rates at which true-positive ones are reported.
    pub fpirs: Vec<f64>,
    /// The rate for which [`Decision::GallerySize`] is to choose the threshold that is put to the test.
    pub rule_fpir: f64,
}

impl Default for IdentificationSettings {
    fn default() -> Self {
        Self { fpirs: vec![1e-1, 1e-2, 1e-3], rule_fpir: DEFAULT_FPIR }
    }
}

/// How the search answered to a probe of somebody who is enrolled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownProbe {
    /// Place of the right person in the list of candidates, from 1; `None` where they are not among the first
    /// [`IdentificationScores::MAX_RANK`], or where the photo could not be used.
    pub rank: Option<usize>,
    /// Similarity of the best candidate, whoever that is; minus infinity where there is none.
    pub best: f32,
}

/// What a threshold achieves in open-set identification.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenSetPoint {
    /// Smallest similarity of a match.
    pub threshold: f32,
    /// False-positive identification rate: share of the unknown probes whose best candidate reaches the threshold.
    pub fpir: f64,
    /// True-positive identification rate: share of the known probes whose best candidate is the right person and reaches
    /// the threshold.
    pub tpir: f64,
}

/// All answers, from which every rate follows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IdentificationScores {
    /// Probes of people who are enrolled.
    pub known: Vec<KnownProbe>,
    /// For each probe of somebody who is not, the similarity of the best candidate; minus infinity where the photo could
    /// not be used.
    pub unknown: Vec<f32>,
}

impl IdentificationScores {
    /// Longest list of candidates that is looked at.
    pub const MAX_RANK: usize = 100;

    /// Rank-k identification rate: the share of the known probes with the right person among the first `k` candidates,
    /// whatever the similarity (closed set). `k` counts from 1 to [`MAX_RANK`](Self::MAX_RANK).
    pub fn rank_rate(&self, k: usize) -> f64 {
        share(self.known.iter().filter(|probe| probe.rank.is_some_and(|rank| rank <= k)).count(), self.known.len())
    }

    /// The cumulative match characteristic: the rank-k identification rates from 1 to `ranks`.
    pub fn cmc(&self, ranks: usize) -> Vec<f64> {
        (1..=ranks.min(Self::MAX_RANK)).map(|k| self.rank_rate(k)).collect()
    }

    /// What a threshold achieves.
    pub fn at_threshold(&self, threshold: f32) -> OpenSetPoint {
        let hits = self.known.iter().filter(|probe| probe.rank == Some(1) && probe.best >= threshold).count();
        let false_positives = self.unknown.iter().filter(|best| **best >= threshold).count();
        OpenSetPoint {
            threshold,
            fpir: share(false_positives, self.unknown.len()),
            tpir: share(hits, self.known.len()),
        }
    }

    /// The operating point with the highest true-positive identification rate whose false-positive one is at most `fpir`.
    /// Its threshold is the next number above the first similarity of an unknown probe that must not match.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for what is no rate, and where there are too few unknown probes to measure it: fewer
    /// than ten false positives say little.
    pub fn at_fpir(&self, fpir: f64) -> Result<OpenSetPoint> {
        let count = self.unknown.len();
        // The product of a rate like 1e-2 and a count may fall short of a whole number by rounding.
        let allowed = (fpir * count as f64 + 1e-9).floor() as usize;
        if !(fpir > 0.0 && fpir < 1.0) || allowed < MIN_ERRORS || allowed >= count || self.known.is_empty() {
            return Err(Error::InvalidParameter {
                parameter: "the false-positive identification rate",
                value: format!("{fpir:e}"),
                expected: format!("between {MIN_ERRORS}/{count} ({MIN_ERRORS} of the unknown probes) and 1"),
            });
        }
        let mut unknown = self.unknown.clone();
        unknown.sort_by(|a, b| b.total_cmp(a));
        Ok(self.at_threshold(unknown[allowed].next_up()))
    }
}

fn share(count: usize, all: usize) -> f64 {
    count as f64 / all.max(1) as f64
}

/// The threshold that the rule for galleries of this size picks, and what it achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct RulePoint {
    /// The rate for which the threshold was chosen.
    pub wanted: f64,
    /// The threshold.
    pub threshold: Threshold,
    /// What the rule says that the rate is at most: templates x FAR.
    pub bound: f64,
    /// What was measured.
    pub measured: OpenSetPoint,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct IdentificationReport {
    /// Number of people who were enrolled, with one template each.
    pub enrolled: usize,
    /// All answers.
    pub scores: IdentificationScores,
    /// Open-set operating points, in the order of the settings; `None` for a rate that so few probes cannot show.
    pub points: Vec<(f64, Option<OpenSetPoint>)>,
    /// The rule put to the test; `None` for a space without thresholds.
    pub rule: Option<RulePoint>,
    /// Number of photos.
    pub images: usize,
    /// Photos that could not be read or had no usable face, with the reason. A person whose photo for the enrolment is
    /// among them is not enrolled, and their probes count as misses; a failed probe finds nobody. All stay in the rates.
    pub failed: Vec<(PathBuf, String)>,
    /// Photos per second, from file to embedding, on all threads of the pool.
    pub images_per_second: f64,
    /// The space that was measured.
    pub space: Arc<EmbeddingSpace>,
}

/// Embeds every photo of the protocol, enrols and probes: [`EmbeddedPhotos::compute`], then [`score_identification`].
///
/// # Errors
/// As those two.
pub fn evaluate_identification<D: FaceDetector, A: Aligner, N: Normalizer, E: Embedder>(
    pipeline: &FacePipeline<D, A, N, E>,
    folder: &Path,
    protocol: &IdentificationProtocol,
    settings: &IdentificationSettings,
    progress: &(dyn Fn() + Sync),
) -> Result<IdentificationReport> {
    let photos = EmbeddedPhotos::compute(pipeline, folder, &protocol.images(), progress)?;
    score_identification(protocol, &photos, settings)
}

/// Probes that are searched at once.
const BATCH: usize = 256;

/// Enrols into a gallery in memory, and probes it by exact search, with photos that are embedded already.
///
/// # Errors
/// [`Error::InvalidParameter`] when not a single photo could be enrolled; as [`Gallery::enroll_batch`] and
/// [`Gallery::search`].
pub fn score_identification(
    protocol: &IdentificationProtocol,
    photos: &EmbeddedPhotos,
    settings: &IdentificationSettings,
) -> Result<IdentificationReport> {
    let gallery = LocalGallery::in_memory(Arc::clone(&photos.space))?;
    let subject = |labelled: &LabelledPhoto| {
        let embedding = photos.embedding(&labelled.photo)?.clone();
        Some(NewSubject::new(labelled.person.clone(), vec![embedding.into()]))
    };
    let subjects: Vec<NewSubject> = protocol.enrolled.iter().filter_map(subject).collect();
    let enrolled = subjects.len();
    if enrolled == 0 {
        return Err(Error::InvalidParameter {
            parameter: "photos to be enrolled",
            value: format!("{} without a usable face", protocol.enrolled.len()),
            expected: "at least one with a face".into(),
        });
    }
    gallery.enroll_batch(subjects)?;

    let known = best_candidates(&gallery, photos, &protocol.known)?.into_iter().zip(&protocol.known);
    let known = known.map(|(candidates, probe)| KnownProbe {
        rank: candidates.iter().position(|candidate| candidate.name == probe.person).map(|index| index + 1),
        best: best(&candidates),
    });
    let known = known.collect();
    let unknown = best_candidates(&gallery, photos, &protocol.unknown)?;
    let scores = IdentificationScores { known, unknown: unknown.iter().map(|candidates| best(candidates)).collect() };

    let points = settings.fpirs.iter().map(|fpir| (*fpir, scores.at_fpir(*fpir).ok())).collect();
    let templates = gallery.count()?.templates;
    let rule = match (Decision::GallerySize { fpir: settings.rule_fpir }).threshold(&photos.space, templates) {
        Ok(threshold) => Some(RulePoint {
            wanted: settings.rule_fpir,
            bound: (templates as f64 * threshold.far).min(1.0),
            measured: scores.at_threshold(threshold.similarity),
            threshold,
        }),
        Err(Error::ThresholdUnknown { .. }) => None,
        Err(error) => return Err(error),
    };
    let images = protocol.images();
    Ok(IdentificationReport {
        enrolled,
        points,
        rule,
        scores,
        images: images.len(),
        failed: photos.failed_of(&images),
        images_per_second: photos.images_per_second,
        space: Arc::clone(&photos.space),
    })
}

/// The candidates for each probe; none for a photo that could not be used.
fn best_candidates(
    gallery: &dyn Gallery,
    photos: &EmbeddedPhotos,
    probes: &[LabelledPhoto],
) -> Result<Vec<Vec<Candidate>>> {
    let params =
        SearchParams { top_k: IdentificationScores::MAX_RANK, mode: SearchMode::Exact, ..SearchParams::default() };
    let mut all = Vec::with_capacity(probes.len());
    for batch in probes.chunks(BATCH) {
        let embeddings: Vec<_> = batch.iter().map(|probe| photos.embedding(&probe.photo)).collect();
        let usable: Vec<_> = embeddings.iter().copied().flatten().cloned().collect();
        let mut found = gallery.search(&usable, &params)?.into_iter();
        all.extend(embeddings.iter().map(|embedding| embedding.and_then(|_| found.next()).unwrap_or_default()));
    }
    Ok(all)
}

fn best(candidates: &[Candidate]) -> f32 {
    candidates.first().map_or(f32::NEG_INFINITY, |candidate| candidate.similarity)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::stage::{Embedding, Metric};

    fn scores(known: &[(Option<usize>, f32)], unknown: &[f32]) -> IdentificationScores {
        let known = known.iter().map(|(rank, best)| KnownProbe { rank: *rank, best: *best }).collect();
        IdentificationScores { known, unknown: unknown.to_vec() }
    }

    #[test]
    fn rates_of_a_case_that_can_be_counted_by_hand() {
        let scores = scores(
            &[(Some(1), 0.9), (Some(1), 0.6), (Some(3), 0.95), (None, f32::NEG_INFINITY)],
            &[0.5, 0.7, f32::NEG_INFINITY, 0.2],
        );
        assert_eq!(scores.cmc(4), [0.5, 0.5, 0.75, 0.75]);
        // The third probe's best candidate is somebody else, however alike.
        assert_eq!(scores.at_threshold(0.6), OpenSetPoint { threshold: 0.6, fpir: 0.25, tpir: 0.5 });
        assert_eq!(scores.at_threshold(0.61), OpenSetPoint { threshold: 0.61, fpir: 0.25, tpir: 0.25 });
        assert_eq!(scores.at_threshold(0.5).fpir, 0.5);
        assert!(scores.at_fpir(0.5).is_err(), "two false positives are too few");
    }

    #[test]
    fn a_rate_is_reported_where_ten_probes_carry_it() {
        let unknown: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
        let scores = scores(&[(Some(1), 0.895), (Some(1), 0.885), (Some(2), 1.0)], &unknown);
        let point = scores.at_fpir(0.1).unwrap();
        // The ten highest are 0.90 to 0.99: 0.89 must not match.
        assert_eq!((point.fpir, point.tpir), (0.1, 1.0 / 3.0));
        assert!(point.threshold > 0.89 && point.threshold < 0.8901);
        for fpir in [0.09, 0.0, 1.0, f64::NAN, -1.0] {
            assert!(scores.at_fpir(fpir).is_err(), "{fpir}");
        }
        // Where many are equal, all of them match or none.
        let equal = IdentificationScores { unknown: vec![0.5; 100], ..scores };
        assert_eq!(equal.at_fpir(0.2).unwrap().fpir, 0.0);
    }

    /// Numbers from 0 to 1 that are the same in every run.
    fn noise(seed: &mut u64) -> f32 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// Something that is true of a probe: of its similarities to all who are enrolled, and whether it is the right person.
    type Holds<'a> = &'a dyn Fn(&[(f32, bool)]) -> bool;

    /// The whole evaluation beside the definitions, on embeddings that are made up.
    #[test]
    fn the_evaluation_agrees_with_the_definitions() {
        let thresholds =
            [(0.6, 1e-3), (0.9, 1e-4)].map(|(similarity, far)| Threshold { similarity, far, measured_on: "x".into() });
        let space = Arc::new(EmbeddingSpace {
            model: "toy".into(),
            digest: "00".into(),
            dimension: 8,
            preprocessing: "none".into(),
            averaging: "none".into(),
            metric: Metric::Cosine,
            thresholds: thresholds.to_vec(),
        });
        let mut seed = 7;
        let mut protocol = IdentificationProtocol { enrolled: vec![], known: vec![], unknown: vec![] };
        let mut photos = BTreeMap::new();
        for person in 0..160 {
            let center: Vec<f32> = (0..8).map(|_| noise(&mut seed) - 0.5).collect();
            for photo in 0..if person < 40 { 4 } else { 1 } {
                let name = format!("P{person:03}");
                let labelled = LabelledPhoto { photo: format!("{name}/{photo}.jpg").into(), person: name };
                let vector = center.iter().map(|value| value + 0.6 * (noise(&mut seed) - 0.5)).collect();
                let embedding = Embedding::new(vector, Arc::clone(&space)).map_err(|error| error.to_string());
                // One photo of each kind fails.
                let fails = matches!((person, photo), (0, 0) | (1, 2) | (50, 0));
                let entry = if fails { Err("no face".to_owned()) } else { embedding };
                photos.insert(labelled.photo.clone(), entry);
                match (person < 40, photo) {
                    (true, 0) => protocol.enrolled.push(labelled),
                    (true, _) => protocol.known.push(labelled),
                    (false, _) => protocol.unknown.push(labelled),
                }
            }
        }
        let photos = EmbeddedPhotos { photos, images_per_second: 1.0, space: Arc::clone(&space) };
        let report = score_identification(&protocol, &photos, &IdentificationSettings::default()).unwrap();
        assert_eq!((report.enrolled, report.scores.known.len(), report.scores.unknown.len()), (39, 120, 120));
        assert_eq!((report.images, report.failed.len()), (280, 3));

        let similarity = |a: &LabelledPhoto, b: &LabelledPhoto| {
            Some(photos.embedding(&a.photo)?.similarity(photos.embedding(&b.photo)?).unwrap())
        };
        let all = |probe: &LabelledPhoto| {
            let scored = |e: &LabelledPhoto| Some((similarity(probe, e)?, e.person == probe.person));
            protocol.enrolled.iter().filter_map(scored).collect::<Vec<_>>()
        };
        let count =
            |probes: &[LabelledPhoto], holds: Holds<'_>| probes.iter().filter(|probe| holds(&all(probe))).count();
        let own = |scored: &[(f32, bool)]| scored.iter().find(|(_, own)| *own).map(|(similarity, _)| *similarity);
        let better = |scored: &[(f32, bool)]| own(scored).map(|own| scored.iter().filter(|(s, _)| *s > own).count());
        for k in [1, 5, 10] {
            let hits = count(&protocol.known, &|scored| better(scored).is_some_and(|better| better < k));
            assert_eq!(report.scores.rank_rate(k), hits as f64 / 120.0, "rank {k}");
        }
        for (fpir, point) in &report.points {
            let Some(point) = point else {
                assert!(*fpir * 120.0 < 10.0, "{fpir}");
                continue;
            };
            let reaches = |scored: &[(f32, bool)]| scored.iter().any(|(s, _)| *s >= point.threshold);
            let hit = |scored: &[(f32, bool)]| {
                better(scored) == Some(0) && own(scored).is_some_and(|own| own >= point.threshold)
            };
            let false_positives = count(&protocol.unknown, &reaches);
            assert!((10..=12).contains(&false_positives), "{false_positives}");
            assert_eq!(point.fpir, false_positives as f64 / 120.0);
            assert_eq!(point.tpir, count(&protocol.known, &hit) as f64 / 120.0);
        }
        assert!(report.points[0].1.is_some() && report.points[1].1.is_none());
        // 39 templates: 39 x 1e-3 is over one percent, 39 x 1e-4 is not.
        let rule = report.rule.unwrap();
        assert_eq!((rule.threshold.far, rule.bound), (1e-4, 39.0 * 1e-4));
        assert_eq!(rule.measured, report.scores.at_threshold(0.9));
    }

    #[test]
    fn folders_become_protocols() {
        let folder = tempfile::tempdir().unwrap();
        let touch = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        assert!(matches!(IdentificationProtocol::from_folder(folder.path(), None), Err(Error::Io { .. })));
        for path in ["B/2.jpg", "B/1.JPG", "B/notes.txt", "B/.3.jpg", "A/1.png", "C/deep/1.png", "stray.jpg"] {
            touch(path);
        }
        let protocol = IdentificationProtocol::from_folder(folder.path(), None).unwrap();
        let paths = |photos: &[LabelledPhoto]| -> Vec<String> {
            photos.iter().map(|l| format!("{} {}", l.person, l.photo.display())).collect()
        };
        assert_eq!(paths(&protocol.enrolled), ["B B/1.JPG"]);
        assert_eq!(paths(&protocol.known), ["B B/2.jpg"]);
        assert_eq!(paths(&protocol.unknown), ["A A/1.png"]);
        let listed = BTreeSet::from(["B/2.jpg".into(), "A/1.png".into()]);
        assert!(IdentificationProtocol::from_folder(folder.path(), Some(&listed)).is_err());
        assert!(IdentificationProtocol::from_folder(folder.path().join("none"), None).is_err());
    }
}
