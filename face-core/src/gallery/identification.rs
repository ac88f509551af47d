//! Who is it? The decision, and the threshold that it rests on.

use super::records::{SubjectFilter, SubjectId, TemplateId, in_range};
use crate::error::{Error, Result};
use crate::stage::{EmbeddingSpace, Threshold};

/// One enrolled subject that may be the person of the probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The subject.
    pub subject: SubjectId,
    /// Its name.
    pub name: String,
    /// The subject's template that is most like the probe.
    pub template: TemplateId,
    /// How alike that template and the probe are. See [`Embedding::similarity`](crate::Embedding::similarity).
    pub similarity: f32,
}

/// What a search gives back.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchParams {
    /// Most candidates for each probe, from 1 to [`SearchParams::MAX_TOP_K`].
    pub top_k: usize,
    /// Candidates less alike than this are left out; `None` keeps all.
    pub min_similarity: Option<f32>,
    /// Which subjects are looked at.
    pub filter: SubjectFilter,
    /// Exact or approximate.
    pub mode: SearchMode,
}

impl SearchParams {
    /// The longest list of candidates.
    pub const MAX_TOP_K: usize = 10_000;

    pub(super) fn validate(&self) -> Result<()> {
        in_range("top_k", self.top_k, Self::MAX_TOP_K)?;
        match self.min_similarity {
            Some(similarity) if similarity.is_nan() => Err(Error::InvalidParameter {
                parameter: "min_similarity",
                value: similarity.to_string(),
                expected: "a number".into(),
            }),
            _ => Ok(()),
        }
    }
}

impl Default for SearchParams {
    fn default() -> Self {
        Self { top_k: 5, min_similarity: None, filter: SubjectFilter::default(), mode: SearchMode::Auto }
    }
}

/// How a gallery is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// Approximate where the gallery has such an index and has grown over its size, else exact.
    #[default]
    Auto,
    /// Every template is compared: the answer is that of a brute-force search.
    Exact,
    /// Through the approximate index; an error where the gallery has none.
    Approximate,
}

/// From which similarity on a candidate counts as the person.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Follows the number of templates N that the probe is compared with: the loosest measured threshold with
    /// N x FAR of at most this false-positive identification rate, or the strictest measured one where none is strict
    /// enough. What it comes to is in [`Identification::fpir_bound`].
    GallerySize {
        /// Share of people who are not enrolled that may be taken for somebody.
        fpir: f64,
    },
    /// As [`GallerySize`](Self::GallerySize), but an error where no measured threshold is strict enough.
    Fpir(f64),
    /// The threshold measured at this false-accept rate of one comparison.
    Far(f64),
    /// A threshold of one's own.
    Threshold(Threshold),
}

/// One stranger in a hundred taken for somebody.
pub const DEFAULT_FPIR: f64 = 1e-2;

impl Default for Decision {
    fn default() -> Self {
        Self::GallerySize { fpir: DEFAULT_FPIR }
    }
}

impl Decision {
    /// The threshold for a gallery of so many templates.
    ///
    /// The rule: a probe of somebody who is not enrolled is compared with N templates, and each comparison is a false
    /// accept with the probability FAR. The probability of at least one is at most N x FAR (Boole's inequality; the
    /// exact 1 - (1 - FAR)^N would need independent comparisons).
    ///
    /// # Errors
    /// [`Error::ThresholdUnknown`] when the space has no threshold at that rate, or for [`Fpir`](Self::Fpir) none that
    /// is strict enough; [`Error::InvalidParameter`] for what is no rate.
    pub fn threshold(&self, space: &EmbeddingSpace, templates: u64) -> Result<Threshold> {
        let (fpir, must_hold) = match self {
            Self::Threshold(threshold) if threshold.similarity.is_finite() => return Ok(threshold.clone()),
            Self::Threshold(threshold) => {
                return Err(Error::InvalidParameter {
                    parameter: "threshold",
                    value: threshold.similarity.to_string(),
                    expected: "a finite similarity".into(),
                });
            }
            Self::Far(far) => return space.threshold_at(*far).cloned(),
            Self::GallerySize { fpir } => (*fpir, false),
            Self::Fpir(fpir) => (*fpir, true),
        };
        if !(fpir > 0.0 && fpir < 1.0) {
            return Err(Error::InvalidParameter {
                parameter: "the false-positive identification rate",
                value: fpir.to_string(),
                expected: "between 0 and 1".into(),
            });
        }
        let far = fpir / templates.max(1) as f64;
        // Rates are decimal fractions that binary ones only come near to.
        let strict_enough = |threshold: &&Threshold| threshold.far <= far * (1.0 + 1e-9);
        let loosest = space.thresholds.iter().filter(strict_enough).max_by(|a, b| a.far.total_cmp(&b.far));
        let strictest = space.thresholds.iter().min_by(|a, b| a.far.total_cmp(&b.far));
        loosest.or(if must_hold { None } else { strictest }).cloned().ok_or_else(|| space.threshold_unknown(far))
    }
}

/// What is asked of an identification.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentifyParams {
    /// Most candidates, from 1 to [`SearchParams::MAX_TOP_K`].
    pub top_k: usize,
    /// Who counts as a match.
    pub decision: Decision,
    /// Which subjects are looked at.
    pub filter: SubjectFilter,
    /// Exact or approximate.
    pub mode: SearchMode,
}

impl Default for IdentifyParams {
    fn default() -> Self {
        let SearchParams { top_k, filter, mode, .. } = SearchParams::default();
        Self { top_k, decision: Decision::default(), filter, mode }
    }
}

/// The answer to "who is it?".
#[derive(Debug, Clone, PartialEq)]
pub struct Identification {
    /// The subjects that are most like the probe, the best first, each with its best template. Those below the
    /// threshold are listed too: they are nobody's identity, but show what the decision rests on.
    pub candidates: Vec<Candidate>,
    /// The threshold that was applied, with the false-accept rate of *one* comparison.
    pub threshold: Threshold,
    /// Number of templates that the probe was compared with.
    pub templates: u64,
}

impl Identification {
    /// The enrolled person, or `None` for nobody.
    pub fn best_match(&self) -> Option<&Candidate> {
        self.candidates.first().filter(|candidate| candidate.similarity >= self.threshold.similarity)
    }

    /// The most that the false-positive identification rate comes to: templates x FAR, at most 1. Of so many people who
    /// are not enrolled, one is taken for somebody.
    pub fn fpir_bound(&self) -> f64 {
        (self.templates as f64 * self.threshold.far).min(1.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stage::Metric;

    fn space(fars: &[f64]) -> EmbeddingSpace {
        let threshold =
            |far: &f64| Threshold { similarity: 1.0 - *far as f32, far: *far, measured_on: "a test".into() };
        EmbeddingSpace {
            model: "toy".into(),
            digest: "00".into(),
            dimension: 2,
            preprocessing: "none".into(),
            averaging: "none".into(),
            metric: Metric::Cosine,
            thresholds: fars.iter().map(threshold).collect(),
        }
    }

    #[test]
    fn larger_galleries_need_stricter_thresholds() {
        let space = space(&[1e-2, 1e-3, 1e-4, 1e-5]);
        for (templates, far) in
            [(0, 1e-2), (1, 1e-2), (2, 1e-3), (10, 1e-3), (11, 1e-4), (1000, 1e-5), (1_000_000, 1e-5)]
        {
            assert_eq!(Decision::default().threshold(&space, templates).unwrap().far, far, "{templates} templates");
        }
        assert!(Decision::Fpir(1e-2).threshold(&space, 1000).is_ok());
        let error = Decision::Fpir(1e-2).threshold(&space, 1001).unwrap_err();
        assert!(matches!(error, Error::ThresholdUnknown { .. }), "{error}");
        assert!(Decision::Fpir(1.0).threshold(&space, 1).is_err());
    }

    #[test]
    fn a_space_without_thresholds_has_no_default() {
        assert!(matches!(Decision::default().threshold(&space(&[]), 1), Err(Error::ThresholdUnknown { .. })));
    }
}
