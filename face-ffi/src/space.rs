//! Embedding spaces and their thresholds.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use face_core::{EmbeddingSpace, Metric, Threshold};

use crate::guard;
use crate::pointers::{item, optional_text, out, reference, release};
use crate::status::{Outcome, face_status_t};
use crate::text::c_string;

/// A similarity from which two faces count as the same person's, and what that costs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_threshold_t {
    /// False-accept rate: the share of pairs of different people that reach the similarity, on the set named below.
    pub far: f64,
    /// The data set and protocol on which the rate was measured. Where the library gives it, it lives as long as the object that
    /// was asked. Where you give it, NULL is an empty text.
    pub measured_on: *const c_char,
    /// Smallest similarity of a match.
    pub similarity: f32,
}

/// How embeddings of a space are compared.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_metric_t {
    /// The space could not be asked, or has a metric that this version of the C interface does not know.
    FACE_METRIC_UNKNOWN = 0,
    /// Cosine of the angle, from -1 to 1; embeddings have unit length.
    FACE_METRIC_COSINE = 1,
    /// Euclidean distance with a minus sign, at most 0.
    FACE_METRIC_EUCLIDEAN = 2,
    /// The group-aware similarity of GroupFace, at most 1.
    FACE_METRIC_GROUP_AWARE = 3,
}

/// What embeddings mean: model, preprocessing and metric. Only embeddings of one space can be compared.
///
/// Immutable: any number of threads may use it at the same time. It keeps nothing else alive and needs nothing else alive. Free it
/// with face_space_free(), unless it is lent to you (a pointer to const).
pub struct face_space_t {
    pub(crate) space: Arc<EmbeddingSpace>,
    id: CString,
    model: CString,
    thresholds: Vec<ThresholdText>,
}

/// A threshold whose text C can read.
pub(crate) struct ThresholdText {
    threshold: Threshold,
    measured_on: CString,
}

impl ThresholdText {
    pub(crate) fn new(threshold: Threshold) -> Self {
        Self { measured_on: c_string(&threshold.measured_on), threshold }
    }

    pub(crate) fn lend(&self) -> face_threshold_t {
        let Threshold { similarity, far, .. } = self.threshold;
        face_threshold_t { far, measured_on: self.measured_on.as_ptr(), similarity }
    }
}

impl face_threshold_t {
    /// # Safety
    /// `measured_on` is NULL or text.
    pub(crate) unsafe fn read(&self) -> Outcome<Threshold> {
        let measured_on = unsafe { optional_text(self.measured_on, "measured_on") }?.unwrap_or_default().to_owned();
        Ok(Threshold { similarity: self.similarity, far: self.far, measured_on })
    }
}

impl face_space_t {
    pub(crate) fn new(space: &Arc<EmbeddingSpace>) -> Self {
        Self {
            id: c_string(&space.id()),
            model: c_string(&space.model),
            thresholds: space.thresholds.iter().cloned().map(ThresholdText::new).collect(),
            space: Arc::clone(space),
        }
    }
}

/// The identity of a space as one line of text: model, SHA-256 of its weights, number of values, preprocessing, averaging, metric.
/// Two spaces are the same when their ids are. The text lives as long as the space; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_id(space: *const face_space_t) -> *const c_char {
    guard::value("face_space_id", std::ptr::null(), || Ok(unsafe { reference(space, "space") }?.id.as_ptr()))
}

/// The name of the model. The text lives as long as the space; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_model(space: *const face_space_t) -> *const c_char {
    guard::value("face_space_model", std::ptr::null(), || Ok(unsafe { reference(space, "space") }?.model.as_ptr()))
}

/// Number of values of an embedding; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_dimension(space: *const face_space_t) -> usize {
    guard::value("face_space_dimension", 0, || Ok(unsafe { reference(space, "space") }?.space.dimension))
}

/// How embeddings are compared.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_metric(space: *const face_space_t) -> face_metric_t {
    guard::value("face_space_metric", face_metric_t::FACE_METRIC_UNKNOWN, || {
        Ok(match unsafe { reference(space, "space") }?.space.metric {
            Metric::Cosine => face_metric_t::FACE_METRIC_COSINE,
            Metric::Euclidean => face_metric_t::FACE_METRIC_EUCLIDEAN,
            Metric::GroupAware(_) => face_metric_t::FACE_METRIC_GROUP_AWARE,
            _ => face_metric_t::FACE_METRIC_UNKNOWN,
        })
    })
}

/// Number of thresholds that are known for a space; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_threshold_count(space: *const face_space_t) -> usize {
    guard::value("face_space_threshold_count", 0, || Ok(unsafe { reference(space, "space") }?.thresholds.len()))
}

/// One of the thresholds that are known for a space.
///
/// @param space     The space; the threshold's text lives as long.
/// @param index     Counted from 0.
/// @param threshold Receives the threshold.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_threshold(
    space: *const face_space_t,
    index: usize,
    threshold: *mut face_threshold_t,
) -> face_status_t {
    guard::status("face_space_threshold", || {
        let space = unsafe { reference(space, "space") }?;
        let threshold = unsafe { out(threshold, "threshold") }?;
        threshold.set(item(&space.thresholds, index, "threshold")?.lend());
        Ok(())
    })
}

/// The threshold that was measured at a false-accept rate.
///
/// @param space     The space; the threshold's text lives as long.
/// @param far       Such as 1e-3: one in a thousand pairs of different people is taken for the same person.
/// @param threshold Receives the threshold.
/// @return FACE_STATUS_THRESHOLD_UNKNOWN where none was measured at that rate; the message lists the rates there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_threshold_at(
    space: *const face_space_t,
    far: f64,
    threshold: *mut face_threshold_t,
) -> face_status_t {
    guard::status("face_space_threshold_at", || {
        let space = unsafe { reference(space, "space") }?;
        let threshold = unsafe { out(threshold, "threshold") }?;
        let known = space.space.threshold_at(far)?;
        let index = space.space.thresholds.iter().position(|candidate| std::ptr::eq(candidate, known));
        threshold.set(item(&space.thresholds, index.unwrap_or(usize::MAX), "threshold")?.lend());
        Ok(())
    })
}

/// Frees a space that is yours. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_space_free(space: *mut face_space_t) {
    guard::free("face_space_free", || unsafe { release(space) })
}
