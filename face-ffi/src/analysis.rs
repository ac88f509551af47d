//! What a pipeline finds out about one photo, or about many.

use std::ffi::{CString, c_char};

use face_core::{Analysis, Detection, Face};

use crate::detection::{face_detection_t, face_landmarks_t};
use crate::embedding::face_embedding_t;
use crate::guard;
use crate::pointers::{item, optional_out, out, reference, release, set_if_wanted};
use crate::status::{Failure, Outcome, face_status_t};
use crate::text::c_string;

/// The faces of a photo with their embeddings, the most certain detection first.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_analysis_free(), unless it is lent to you (a
/// pointer to const).
pub struct face_analysis_t {
    faces: Vec<(face_detection_t, face_landmarks_t, face_embedding_t)>,
    largest: usize,
    rejected: Vec<Rejected>,
}

struct Rejected {
    detection: face_detection_t,
    status: face_status_t,
    message: CString,
}

/// Analyses of many images, each with a status of its own.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_batch_free().
pub struct face_batch_t(Vec<Entry>);

struct Entry {
    analysis: Option<face_analysis_t>,
    status: face_status_t,
    message: CString,
}

impl face_analysis_t {
    pub(crate) fn new(analysis: Analysis) -> Self {
        let largest =
            analysis.largest().and_then(|largest| analysis.faces.iter().position(|f| std::ptr::eq(f, largest)));
        let face = |face: Face| ((&face.detection).into(), (&face.landmarks).into(), face_embedding_t(face.embedding));
        let rejected = |(detection, error): (Detection, face_core::Error)| {
            let Failure { status, message } = error.into();
            Rejected { detection: (&detection).into(), status, message: c_string(&message) }
        };
        Self {
            largest: largest.unwrap_or(0),
            faces: analysis.faces.into_iter().map(face).collect(),
            rejected: analysis.rejected.into_iter().map(rejected).collect(),
        }
    }
}

impl face_batch_t {
    pub(crate) fn new(analyses: impl Iterator<Item = Outcome<face_analysis_t>>) -> Self {
        let entry = |analysis: Outcome<face_analysis_t>| match analysis {
            Ok(analysis) => {
                let status = face_status_t::FACE_STATUS_OK;
                Entry { analysis: Some(analysis), status, message: CString::default() }
            }
            Err(Failure { status, message }) => Entry { analysis: None, status, message: c_string(&message) },
        };
        Self(analyses.map(entry).collect())
    }
}

impl Entry {
    fn failure(&self) -> Failure {
        Failure { status: self.status, message: self.message.to_string_lossy().into_owned() }
    }
}

/// Number of faces with an embedding; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_count(analysis: *const face_analysis_t) -> usize {
    guard::value("face_analysis_count", 0, || Ok(unsafe { reference(analysis, "analysis") }?.faces.len()))
}

/// The position of the face with the largest box; 0 where there is none, and after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_largest(analysis: *const face_analysis_t) -> usize {
    guard::value("face_analysis_largest", 0, || Ok(unsafe { reference(analysis, "analysis") }?.largest))
}

/// Box, score and the detector's landmarks of a face.
///
/// @param analysis  The analysis.
/// @param index     Counted from 0.
/// @param detection Receives them.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_detection(
    analysis: *const face_analysis_t,
    index: usize,
    detection: *mut face_detection_t,
) -> face_status_t {
    guard::status("face_analysis_detection", || {
        let analysis = unsafe { reference(analysis, "analysis") }?;
        let detection = unsafe { out(detection, "detection") }?;
        detection.set(item(&analysis.faces, index, "face")?.0);
        Ok(())
    })
}

/// The aligner's landmarks of a face.
///
/// @param analysis  The analysis.
/// @param index     Counted from 0.
/// @param landmarks Receives them.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_landmarks(
    analysis: *const face_analysis_t,
    index: usize,
    landmarks: *mut face_landmarks_t,
) -> face_status_t {
    guard::status("face_analysis_landmarks", || {
        let analysis = unsafe { reference(analysis, "analysis") }?;
        let landmarks = unsafe { out(landmarks, "landmarks") }?;
        landmarks.set(item(&analysis.faces, index, "face")?.1);
        Ok(())
    })
}

/// The embedding of a face, lent as long as the analysis lives (face_embedding_clone() makes one of your own); NULL after a failure,
/// such as an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_embedding(
    analysis: *const face_analysis_t,
    index: usize,
) -> *const face_embedding_t {
    guard::value("face_analysis_embedding", std::ptr::null(), || {
        let analysis = unsafe { reference(analysis, "analysis") }?;
        Ok(&raw const item(&analysis.faces, index, "face")?.2)
    })
}

/// Number of faces that were found but could not be embedded; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_rejected_count(analysis: *const face_analysis_t) -> usize {
    guard::value("face_analysis_rejected_count", 0, || Ok(unsafe { reference(analysis, "analysis") }?.rejected.len()))
}

/// A face that could not be embedded.
///
/// @param analysis  The analysis.
/// @param index     Counted from 0.
/// @param detection Receives the face; may be NULL.
/// @param reason    Receives the status; may be NULL.
/// @param message   Receives the reason in words, which live as long as the analysis; may be NULL.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_rejected(
    analysis: *const face_analysis_t,
    index: usize,
    detection: *mut face_detection_t,
    reason: *mut face_status_t,
    message: *mut *const c_char,
) -> face_status_t {
    guard::status("face_analysis_rejected", || {
        let analysis = unsafe { reference(analysis, "analysis") }?;
        let rejected = item(&analysis.rejected, index, "rejected face")?;
        let detection = unsafe { optional_out(detection, "detection") }?;
        let reason = unsafe { optional_out(reason, "reason") }?;
        let message = unsafe { optional_out(message, "message") }?;
        set_if_wanted(detection, rejected.detection);
        set_if_wanted(reason, rejected.status);
        set_if_wanted(message, rejected.message.as_ptr());
        Ok(())
    })
}

/// Frees an analysis that is yours. Embeddings that it lent must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_analysis_free(analysis: *mut face_analysis_t) {
    guard::free("face_analysis_free", || unsafe { release(analysis) })
}

/// Number of images; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_batch_count(batch: *const face_batch_t) -> usize {
    guard::value("face_batch_count", 0, || Ok(unsafe { reference(batch, "batch") }?.0.len()))
}

/// What became of an image: FACE_STATUS_OK, or what went wrong with it, which face_last_error() then says too. FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_batch_status(batch: *const face_batch_t, index: usize) -> face_status_t {
    guard::status("face_batch_status", || {
        let entry = item(&unsafe { reference(batch, "batch") }?.0, index, "image")?;
        entry.analysis.as_ref().map(drop).ok_or_else(|| entry.failure())
    })
}

/// What went wrong with an image, in words; empty where nothing did. Lives as long as the batch; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_batch_message(batch: *const face_batch_t, index: usize) -> *const c_char {
    guard::value("face_batch_message", std::ptr::null(), || {
        Ok(item(&unsafe { reference(batch, "batch") }?.0, index, "image")?.message.as_ptr())
    })
}

/// The analysis of an image, lent as long as the batch lives; NULL where the image failed, and for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_batch_analysis(batch: *const face_batch_t, index: usize) -> *const face_analysis_t {
    guard::value("face_batch_analysis", std::ptr::null(), || {
        let entry = item(&unsafe { reference(batch, "batch") }?.0, index, "image")?;
        Ok(&raw const *entry.analysis.as_ref().ok_or_else(|| entry.failure())?)
    })
}

/// Frees a batch. What it lent must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_batch_free(batch: *mut face_batch_t) {
    guard::free("face_batch_free", || unsafe { release(batch) })
}
