//! Who is it? And who is most like this?

use std::ffi::{CString, c_char};

use face_core::gallery::{
    Candidate, Decision, Identification, IdentifyParams, SearchMode, SearchParams, SubjectFilter, SubjectId,
};

use super::handle::{face_gallery_t, gallery};
use super::records::metadata;
use crate::embedding::{embeddings, face_embedding_t};
use crate::guard;
use crate::pointers::{
    array, growing_settings, invalid, item, numbered, optional_out, optional_text, or_default, out, reference, release,
    reserved, set_if_wanted, settings,
};
use crate::space::{ThresholdText, face_threshold_t};
use crate::status::{Outcome, face_status_t};
use crate::text::c_string;

/// From which similarity on a candidate counts as the person.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_decision_t {
    /// Follows the number of templates: the loosest measured threshold at which at most `rate` of the people who are not enrolled are
    /// taken for somebody, or the strictest there is. `rate` is 1e-2 by default.
    FACE_DECISION_GALLERY_SIZE = 0,
    /// The same, but a failure (FACE_STATUS_THRESHOLD_UNKNOWN) where no measured threshold is strict enough.
    FACE_DECISION_FPIR = 1,
    /// The threshold measured at the false-accept rate `rate` of one comparison.
    FACE_DECISION_FAR = 2,
    /// The threshold of the params.
    FACE_DECISION_THRESHOLD = 3,
}

/// How a gallery is searched.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_search_mode_t {
    /// Approximately where the gallery has such an index and is large, else exactly.
    FACE_SEARCH_AUTO = 0,
    /// Every template is compared.
    FACE_SEARCH_EXACT = 1,
    /// Through the approximate index; a failure where there is none.
    FACE_SEARCH_APPROXIMATE = 2,
}

/// What is asked of an identification. Members that are 0 or NULL have their default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_identify_params_t {
    /// sizeof(face_identify_params_t).
    pub struct_size: usize,
    /// Most candidates, from 1 to 10000; 5 by default.
    pub top_k: usize,
    /// For the decision.
    pub rate: f64,
    /// For FACE_DECISION_THRESHOLD.
    pub threshold: *const face_threshold_t,
    /// Only these people are looked at; NULL for all.
    pub subjects: *const u64,
    /// Number of subjects.
    pub subject_count: usize,
    /// Only people whose metadata contains this JSON object are looked at; NULL for all.
    pub metadata: *const c_char,
    /// A face_decision_t.
    pub decision: u32,
    /// A face_search_mode_t.
    pub mode: u32,
}

growing_settings!(face_identify_params_t, mode: u32, mode: u32);

/// What is asked of a search. Members that are 0 or NULL have their default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_search_params_t {
    /// sizeof(face_search_params_t).
    pub struct_size: usize,
    /// Most candidates for each probe, from 1 to 10000; 5 by default.
    pub top_k: usize,
    /// Candidates less alike than this are left out; NULL keeps all.
    pub min_similarity: *const f32,
    /// Only these people are looked at; NULL for all.
    pub subjects: *const u64,
    /// Number of subjects.
    pub subject_count: usize,
    /// Only people whose metadata contains this JSON object are looked at; NULL for all.
    pub metadata: *const c_char,
    /// A face_search_mode_t.
    pub mode: u32,
    /// Must be 0.
    pub reserved: u32,
}

growing_settings!(face_search_params_t, reserved: u32, reserved: u32);

/// An enrolled person who may be the one of the probe. Its name lives as long as the answer that it comes from.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_candidate_t {
    /// Number of the person.
    pub subject: u64,
    /// Number of the person's template that is most like the probe.
    pub template_id: u64,
    /// Name of the person.
    pub name: *const c_char,
    /// How alike that template and the probe are.
    pub similarity: f32,
}

/// Candidates for each of some probes.
///
/// Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
/// face_candidates_free().
pub struct face_candidates_t(Vec<Vec<CandidateText>>);

/// The answers to "who is it?" for some probes.
///
/// Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
/// face_identifications_free().
pub struct face_identifications_t(Vec<Answer>);

struct CandidateText {
    candidate: Candidate,
    name: CString,
}

struct Answer {
    candidates: Vec<CandidateText>,
    is_match: bool,
    threshold: ThresholdText,
    templates: u64,
    fpir_bound: f64,
}

impl CandidateText {
    fn all(candidates: Vec<Candidate>) -> Vec<Self> {
        candidates.into_iter().map(|candidate| Self { name: c_string(&candidate.name), candidate }).collect()
    }

    fn lend(&self) -> face_candidate_t {
        let Candidate { subject, template, similarity, .. } = self.candidate;
        face_candidate_t { subject: subject.0, template_id: template.0, name: self.name.as_ptr(), similarity }
    }
}

/// # Safety
/// `subjects` is NULL or points to `count` numbers, and `json` is NULL or text.
pub(super) unsafe fn filter(
    [what, json_what]: [&str; 2],
    subjects: *const u64,
    count: usize,
    json: *const c_char,
) -> Outcome<SubjectFilter> {
    if subjects.is_null() && count != 0 {
        return Err(invalid(format!("{what} is NULL, and its count is {count}")));
    }
    let listed = unsafe { array(subjects, count, what) }?;
    Ok(SubjectFilter {
        subjects: (!subjects.is_null()).then(|| listed.iter().copied().map(SubjectId).collect()),
        metadata: metadata(unsafe { optional_text(json, json_what) }?, json_what)?,
    })
}

/// How the params call what a filter is made of.
const FILTER: [&str; 2] = ["params->subjects", "params->metadata"];

numbered!(face_decision_t:
    FACE_DECISION_GALLERY_SIZE | FACE_DECISION_FPIR | FACE_DECISION_FAR | FACE_DECISION_THRESHOLD);
numbered!(face_search_mode_t: FACE_SEARCH_AUTO | FACE_SEARCH_EXACT | FACE_SEARCH_APPROXIMATE);

fn search_mode(mode: u32) -> Outcome<SearchMode> {
    Ok(match face_search_mode_t::numbered(mode, "params->mode")? {
        face_search_mode_t::FACE_SEARCH_AUTO => SearchMode::Auto,
        face_search_mode_t::FACE_SEARCH_EXACT => SearchMode::Exact,
        face_search_mode_t::FACE_SEARCH_APPROXIMATE => SearchMode::Approximate,
    })
}

impl face_identify_params_t {
    unsafe fn read(&self) -> Outcome<IdentifyParams> {
        let default = IdentifyParams::default();
        if self.decision != face_decision_t::FACE_DECISION_THRESHOLD as u32 && !self.threshold.is_null() {
            return Err(invalid("params->threshold is given, and the decision is not FACE_DECISION_THRESHOLD"));
        }
        let decision = match face_decision_t::numbered(self.decision, "params->decision")? {
            face_decision_t::FACE_DECISION_GALLERY_SIZE if self.rate == 0.0 => Decision::default(),
            face_decision_t::FACE_DECISION_GALLERY_SIZE => Decision::GallerySize { fpir: self.rate },
            face_decision_t::FACE_DECISION_FPIR => Decision::Fpir(self.rate),
            face_decision_t::FACE_DECISION_FAR => Decision::Far(self.rate),
            face_decision_t::FACE_DECISION_THRESHOLD => {
                Decision::Threshold(unsafe { reference(self.threshold, "params->threshold")?.read() }?)
            }
        };
        Ok(IdentifyParams {
            top_k: or_default(self.top_k, default.top_k),
            decision,
            filter: unsafe { filter(FILTER, self.subjects, self.subject_count, self.metadata) }?,
            mode: search_mode(self.mode)?,
        })
    }
}

impl face_search_params_t {
    unsafe fn read(&self) -> Outcome<SearchParams> {
        reserved(self.reserved, "params->reserved")?;
        let default = SearchParams::default();
        let min_similarity = if self.min_similarity.is_null() {
            None
        } else {
            Some(*unsafe { reference(self.min_similarity, "params->min_similarity") }?)
        };
        Ok(SearchParams {
            top_k: or_default(self.top_k, default.top_k),
            min_similarity,
            filter: unsafe { filter(FILTER, self.subjects, self.subject_count, self.metadata) }?,
            mode: search_mode(self.mode)?,
        })
    }
}

/// Who is it? One answer for each probe: ranked candidates, and whether the first of them is the person, or nobody is.
///
/// @param gallery         The gallery.
/// @param probes          The embeddings of unknown faces.
/// @param count           Number of probes.
/// @param params          NULL for the default ones.
/// @param identifications Receives the answers.
/// @return FACE_STATUS_GALLERY_SPACE for a probe of another space; FACE_STATUS_THRESHOLD_UNKNOWN; FACE_STATUS_INVALID_ARGUMENT;
///         FACE_STATUS_FORMAT for a filter that is no JSON object; FACE_STATUS_GALLERY_STORE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_identify(
    gallery: *const face_gallery_t,
    probes: *const *const face_embedding_t,
    count: usize,
    params: *const face_identify_params_t,
    identifications: *mut *mut face_identifications_t,
) -> face_status_t {
    guard::status("face_gallery_identify", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let probes = unsafe { embeddings(probes, count, "probes") }?;
        let params = unsafe { settings(params, "params")?.read() }?;
        let identifications = unsafe { out(identifications, "identifications") }?;
        let answer = |found: Identification| Answer {
            is_match: found.best_match().is_some(),
            fpir_bound: found.fpir_bound(),
            templates: found.templates,
            threshold: ThresholdText::new(found.threshold),
            candidates: CandidateText::all(found.candidates),
        };
        let found = gallery.identify_batch(&probes, &params)?;
        identifications.give(face_identifications_t(found.into_iter().map(answer).collect()));
        Ok(())
    })
}

/// Number of answers; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_count(identifications: *const face_identifications_t) -> usize {
    guard::value("face_identifications_count", 0, || {
        Ok(unsafe { reference(identifications, "identifications") }?.0.len())
    })
}

/// Whether the first candidate of an answer is the person. False for nobody, and after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_is_match(
    identifications: *const face_identifications_t,
    index: usize,
) -> bool {
    guard::value("face_identifications_is_match", false, || {
        Ok(item(&unsafe { reference(identifications, "identifications") }?.0, index, "answer")?.is_match)
    })
}

/// Number of candidates of an answer; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_candidate_count(
    identifications: *const face_identifications_t,
    index: usize,
) -> usize {
    guard::value("face_identifications_candidate_count", 0, || {
        Ok(item(&unsafe { reference(identifications, "identifications") }?.0, index, "answer")?.candidates.len())
    })
}

/// A candidate of an answer.
///
/// @param identifications The answers, which the candidate's name needs.
/// @param index           Of the answer, counted from 0.
/// @param candidate_index Counted from 0, the most alike first.
/// @param candidate       Receives the candidate. Those below the threshold are listed too: they are nobody's identity.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_candidate(
    identifications: *const face_identifications_t,
    index: usize,
    candidate_index: usize,
    candidate: *mut face_candidate_t,
) -> face_status_t {
    guard::status("face_identifications_candidate", || {
        let identifications = unsafe { reference(identifications, "identifications") }?;
        let candidate = unsafe { out(candidate, "candidate") }?;
        let answer = item(&identifications.0, index, "answer")?;
        candidate.set(item(&answer.candidates, candidate_index, "candidate")?.lend());
        Ok(())
    })
}

/// The threshold that was applied, and what it promises.
///
/// @param identifications The answers, which the threshold's text needs.
/// @param index           Of the answer, counted from 0.
/// @param threshold       Receives the threshold, with the false-accept rate of one comparison.
/// @param templates       Receives the number of templates that the probe was compared with; may be NULL.
/// @param fpir_bound      Receives templates x false-accept rate, at most 1: of so many people who are not enrolled, one is taken for
///                        somebody. May be NULL.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_threshold(
    identifications: *const face_identifications_t,
    index: usize,
    threshold: *mut face_threshold_t,
    templates: *mut u64,
    fpir_bound: *mut f64,
) -> face_status_t {
    guard::status("face_identifications_threshold", || {
        let identifications = unsafe { reference(identifications, "identifications") }?;
        let answer = item(&identifications.0, index, "answer")?;
        let threshold = unsafe { out(threshold, "threshold") }?;
        let templates = unsafe { optional_out(templates, "templates") }?;
        let fpir_bound = unsafe { optional_out(fpir_bound, "fpir_bound") }?;
        threshold.set(answer.threshold.lend());
        set_if_wanted(templates, answer.templates);
        set_if_wanted(fpir_bound, answer.fpir_bound);
        Ok(())
    })
}

/// Frees answers. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_identifications_free(identifications: *mut face_identifications_t) {
    guard::free("face_identifications_free", || unsafe { release(identifications) })
}

/// For each probe the people who are most like it, each with their best template, without a decision.
///
/// @param gallery    The gallery.
/// @param probes     The embeddings.
/// @param count      Number of probes.
/// @param params     NULL for the default ones.
/// @param candidates Receives a list of candidates for each probe.
/// @return As face_gallery_identify().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_search(
    gallery: *const face_gallery_t,
    probes: *const *const face_embedding_t,
    count: usize,
    params: *const face_search_params_t,
    candidates: *mut *mut face_candidates_t,
) -> face_status_t {
    guard::status("face_gallery_search", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let probes = unsafe { embeddings(probes, count, "probes") }?;
        let params = unsafe { settings(params, "params")?.read() }?;
        let candidates = unsafe { out(candidates, "candidates") }?;
        let found = gallery.search(&probes, &params)?;
        candidates.give(face_candidates_t(found.into_iter().map(CandidateText::all).collect()));
        Ok(())
    })
}

/// Number of candidates for a probe; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_candidates_count(candidates: *const face_candidates_t, probe: usize) -> usize {
    guard::value("face_candidates_count", 0, || {
        Ok(item(&unsafe { reference(candidates, "candidates") }?.0, probe, "probe")?.len())
    })
}

/// A candidate for a probe.
///
/// @param candidates The candidates, which the name needs.
/// @param probe      Counted from 0.
/// @param index      Counted from 0, the most alike first.
/// @param candidate  Receives the candidate.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_candidates_get(
    candidates: *const face_candidates_t,
    probe: usize,
    index: usize,
    candidate: *mut face_candidate_t,
) -> face_status_t {
    guard::status("face_candidates_get", || {
        let candidates = unsafe { reference(candidates, "candidates") }?;
        let candidate = unsafe { out(candidate, "candidate") }?;
        candidate.set(item(item(&candidates.0, probe, "probe")?, index, "candidate")?.lend());
        Ok(())
    })
}

/// Frees candidates. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_candidates_free(candidates: *mut face_candidates_t) {
    guard::free("face_candidates_free", || unsafe { release(candidates) })
}
