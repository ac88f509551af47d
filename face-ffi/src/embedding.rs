//! Feature vectors, and whether two of them are the same person's.

use std::sync::Arc;

use face_core::Embedding;

use crate::guard;
use crate::pointers::{array, out, reference, release, set_all_if_wanted};
use crate::space::{face_space_t, face_threshold_t};
use crate::status::{Outcome, face_status_t};

/// The feature vector of a face, with the space that gives it its meaning.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_embedding_free(), unless it is lent to you (a
/// pointer to const).
pub struct face_embedding_t(pub(crate) Embedding);

/// The answer to "same person?".
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_verification_t {
    /// How alike the two faces are: greater is more alike.
    pub similarity: f32,
    /// Whether the similarity reaches the threshold.
    pub is_match: bool,
}

/// An embedding from its values, such as those you have kept in a database of your own.
///
/// @param space     The space that they come from.
/// @param values    In a cosine space they are scaled to unit length.
/// @param length    Number of values, which must be the space's dimension.
/// @param embedding Receives the embedding.
/// @return FACE_STATUS_INVALID_EMBEDDING for the wrong number of values or a vector without length; FACE_STATUS_NON_FINITE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_new(
    space: *const face_space_t,
    values: *const f32,
    length: usize,
    embedding: *mut *mut face_embedding_t,
) -> face_status_t {
    guard::status("face_embedding_new", || {
        let space = unsafe { reference(space, "space") }?;
        let values = unsafe { array(values, length, "values") }?;
        let embedding = unsafe { out(embedding, "embedding") }?;
        embedding.give(face_embedding_t(Embedding::new(values.to_vec(), Arc::clone(&space.space))?));
        Ok(())
    })
}

/// A copy that is yours, of an embedding that may be lent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_clone(
    embedding: *const face_embedding_t,
    copy: *mut *mut face_embedding_t,
) -> face_status_t {
    guard::status("face_embedding_clone", || {
        let embedding = unsafe { reference(embedding, "embedding") }?;
        let copy = unsafe { out(copy, "copy") }?;
        copy.give(face_embedding_t(embedding.0.clone()));
        Ok(())
    })
}

/// The values, as many as face_embedding_dimension() says. They live as long as the embedding; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_values(embedding: *const face_embedding_t) -> *const f32 {
    guard::value("face_embedding_values", std::ptr::null(), || {
        Ok(unsafe { reference(embedding, "embedding") }?.0.vector().as_ptr())
    })
}

/// Number of values; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_dimension(embedding: *const face_embedding_t) -> usize {
    guard::value("face_embedding_dimension", 0, || Ok(unsafe { reference(embedding, "embedding") }?.0.vector().len()))
}

/// The space of an embedding, as an object of your own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_space(
    embedding: *const face_embedding_t,
    space: *mut *mut face_space_t,
) -> face_status_t {
    guard::status("face_embedding_space", || {
        let embedding = unsafe { reference(embedding, "embedding") }?;
        let space = unsafe { out(space, "space") }?;
        space.give(face_space_t::new(embedding.0.space()));
        Ok(())
    })
}

/// How alike two faces are: greater is more alike, whatever the metric (see face_metric_t).
///
/// @return FACE_STATUS_SPACE_MISMATCH for embeddings of two spaces; the message names both.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_similarity(
    first: *const face_embedding_t,
    second: *const face_embedding_t,
    similarity: *mut f32,
) -> face_status_t {
    guard::status("face_embedding_similarity", || {
        let [first, second] = unsafe { both(first, second) }?;
        let similarity = unsafe { out(similarity, "similarity") }?;
        similarity.set(first.0.similarity(&second.0)?);
        Ok(())
    })
}

/// Are two faces the same person's?
///
/// @param first, second The embeddings.
/// @param threshold     Of the embeddings' space: see face_space_threshold_at().
/// @param verification  Receives the answer.
/// @return FACE_STATUS_SPACE_MISMATCH for embeddings of two spaces; FACE_STATUS_INVALID_ARGUMENT for a threshold that is not
///         finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_verify(
    first: *const face_embedding_t,
    second: *const face_embedding_t,
    threshold: *const face_threshold_t,
    verification: *mut face_verification_t,
) -> face_status_t {
    guard::status("face_verify", || {
        let [first, second] = unsafe { both(first, second) }?;
        let threshold = unsafe { reference(threshold, "threshold")?.read() }?;
        let verification = unsafe { out(verification, "verification") }?;
        let answer = face_core::verify(&first.0, &second.0, &threshold)?;
        verification.set(face_verification_t { similarity: answer.similarity, is_match: answer.is_match });
        Ok(())
    })
}

unsafe fn both<'a>(
    first: *const face_embedding_t,
    second: *const face_embedding_t,
) -> Outcome<[&'a face_embedding_t; 2]> {
    Ok([unsafe { reference(first, "first") }?, unsafe { reference(second, "second") }?])
}

/// Embeddings that C holds pointers to.
///
/// # Safety
/// `pointers` is NULL or points to `count` pointers, each NULL or to an embedding.
pub(crate) unsafe fn embeddings(
    pointers: *const *const face_embedding_t,
    count: usize,
    what: &str,
) -> Outcome<Vec<Embedding>> {
    let pointers = unsafe { array(pointers, count, what) }?;
    let read = |(index, pointer): (usize, &*const face_embedding_t)| -> Outcome<Embedding> {
        Ok(unsafe { reference(*pointer, &format!("{what}[{index}]")) }?.0.clone())
    };
    pointers.iter().enumerate().map(read).collect()
}

/// Groups faces of unknown people: Chinese whispers on the graph of faces that are at least so alike.
///
/// @param embeddings     All of one space.
/// @param count          Number of embeddings.
/// @param min_similarity Faces at least so alike are neighbours: a strict threshold of the space is a good start.
/// @param groups         Receives `count` group numbers, 0 for the largest group.
/// @return FACE_STATUS_SPACE_MISMATCH, FACE_STATUS_INVALID_ARGUMENT, FACE_STATUS_INVALID_EMBEDDING.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_cluster(
    embeddings: *const *const face_embedding_t,
    count: usize,
    min_similarity: f32,
    groups: *mut usize,
) -> face_status_t {
    guard::status("face_cluster", || {
        let embeddings = unsafe { self::embeddings(embeddings, count, "embeddings") }?;
        let groups = if embeddings.is_empty() { None } else { Some(unsafe { out(groups, "groups") }?) };
        let found = face_core::gallery::cluster(&embeddings, min_similarity)?;
        // SAFETY: as many as embeddings, by what the header asks.
        unsafe { set_all_if_wanted(groups, found) };
        Ok(())
    })
}

/// Frees an embedding that is yours. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_embedding_free(embedding: *mut face_embedding_t) {
    guard::free("face_embedding_free", || unsafe { release(embedding) })
}
