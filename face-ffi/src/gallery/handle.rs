//! Opening a gallery, and what is in it.

use std::ffi::{CString, c_char};
use std::path::Path;

use face_core::gallery::{Gallery, LocalGallery, Page, SubjectId, TemplateId};

use super::identification::filter;
use super::params::face_gallery_params_t;
use super::records::{face_new_subject_t, face_new_template_t, face_subjects_t, metadata, new_subject, new_templates};
use crate::embedding::face_embedding_t;
use crate::guard;
use crate::pointers::{
    array, optional_out, optional_text, or_default, out, reference, release, set_all_if_wanted, set_if_wanted,
    settings, text,
};
use crate::space::{face_space_t, face_threshold_t};
use crate::status::{Outcome, face_status_t};
use crate::text::c_string;

/// A gallery of enrolled people, pinned to one embedding space.
///
/// May be used by any number of threads at the same time: searches run side by side, changes one after another. Every change is
/// kept as a whole or not at all, and when a call returns FACE_STATUS_OK it is durable. The file of a gallery is open in one process
/// for writing, or in any number for reading. Needs no pipeline to live. Free it with face_gallery_free() when no thread uses it:
/// that closes the file.
pub struct face_gallery_t {
    gallery: Box<dyn Gallery>,
    space: face_space_t,
    name: CString,
}

impl face_gallery_t {
    pub(super) fn new(gallery: impl Gallery + 'static) -> Self {
        Self { space: face_space_t::new(gallery.space()), name: c_string(&gallery.name()), gallery: Box::new(gallery) }
    }
}

/// The gallery behind a handle.
pub(super) unsafe fn gallery<'a>(gallery: *const face_gallery_t) -> Outcome<&'a dyn Gallery> {
    Ok(unsafe { reference(gallery, "gallery") }?.gallery.as_ref())
}

/// An empty gallery that is gone when it is freed.
///
/// @param space   Of the embeddings, such as face_pipeline_space().
/// @param params  NULL for the default settings.
/// @param gallery Receives the gallery.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_in_memory(
    space: *const face_space_t,
    params: *const face_gallery_params_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_in_memory", || {
        let space = unsafe { reference(space, "space") }?;
        let params = unsafe { settings(params, "params") }?.read()?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        let made = LocalGallery::in_memory_with(space.space.clone(), &params)?;
        gallery.give(face_gallery_t::new(made));
        Ok(())
    })
}

/// An empty gallery in a new file, open for writing.
///
/// @param path    UTF-8.
/// @param space   Of the embeddings, such as face_pipeline_space().
/// @param params  NULL for the default settings.
/// @param gallery Receives the gallery.
/// @return FACE_STATUS_ALREADY_EXISTS where the file is there; FACE_STATUS_IO; FACE_STATUS_GALLERY_STORE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_create(
    path: *const c_char,
    space: *const face_space_t,
    params: *const face_gallery_params_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_create", || {
        let path = unsafe { text(path, "path") }?;
        let space = unsafe { reference(space, "space") }?;
        let params = unsafe { settings(params, "params") }?.read()?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        let made = LocalGallery::create_with(Path::new(path), space.space.clone(), &params)?;
        gallery.give(face_gallery_t::new(made));
        Ok(())
    })
}

/// Opens the file of a gallery for reading and writing. All of its checksums are verified.
///
/// @param path    UTF-8.
/// @param params  NULL for the default settings.
/// @param gallery Receives the gallery.
/// @return FACE_STATUS_NOT_FOUND, FACE_STATUS_GALLERY_IN_USE, FACE_STATUS_GALLERY_CORRUPT, FACE_STATUS_GALLERY_VERSION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_open(
    path: *const c_char,
    params: *const face_gallery_params_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_open", || {
        let path = unsafe { text(path, "path") }?;
        let params = unsafe { settings(params, "params") }?.read()?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        gallery.give(face_gallery_t::new(LocalGallery::open_with(path, &params)?));
        Ok(())
    })
}

/// Opens the file of a gallery for reading alone: any number of processes may, as long as none writes. Nothing is written.
///
/// @param path    UTF-8.
/// @param params  NULL for the default settings.
/// @param gallery Receives the gallery.
/// @return As face_gallery_open(). Changes fail with FACE_STATUS_GALLERY_READ_ONLY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_open_read_only(
    path: *const c_char,
    params: *const face_gallery_params_t,
    gallery: *mut *mut face_gallery_t,
) -> face_status_t {
    guard::status("face_gallery_open_read_only", || {
        let path = unsafe { text(path, "path") }?;
        let params = unsafe { settings(params, "params") }?.read()?;
        let gallery = unsafe { out(gallery, "gallery") }?;
        gallery.give(face_gallery_t::new(LocalGallery::open_read_only_with(path, &params)?));
        Ok(())
    })
}

/// Path or address of a gallery, as errors name it. Lives as long as the gallery; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_name(gallery: *const face_gallery_t) -> *const c_char {
    guard::value("face_gallery_name", std::ptr::null(), || Ok(unsafe { reference(gallery, "gallery") }?.name.as_ptr()))
}

/// The space of the gallery's embeddings, with the thresholds that the gallery keeps, lent as long as the gallery lives; NULL after a
/// failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_space(gallery: *const face_gallery_t) -> *const face_space_t {
    guard::value("face_gallery_space", std::ptr::null(), || {
        Ok(&raw const unsafe { reference(gallery, "gallery") }?.space)
    })
}

/// How much a gallery holds.
///
/// @param gallery   The gallery.
/// @param subjects  Receives the number of people; may be NULL.
/// @param templates Receives the number of their templates; may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_count(
    gallery: *const face_gallery_t,
    subjects: *mut u64,
    templates: *mut u64,
) -> face_status_t {
    guard::status("face_gallery_count", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let subjects = unsafe { optional_out(subjects, "subjects") }?;
        let templates = unsafe { optional_out(templates, "templates") }?;
        let count = gallery.count()?;
        set_if_wanted(subjects, count.subjects);
        set_if_wanted(templates, count.templates);
        Ok(())
    })
}

/// How much of a gallery a filter lets pass: what a search with the same filter would look at.
///
/// @param gallery        The gallery.
/// @param only           Numbers of people; NULL for all.
/// @param only_count     How many numbers.
/// @param metadata       Only people whose metadata contains this JSON object; NULL for all.
/// @param subjects       Receives the number of people; may be NULL.
/// @param templates      Receives the number of their templates; may be NULL.
/// @return FACE_STATUS_FORMAT for metadata that is no JSON object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_count_matching(
    gallery: *const face_gallery_t,
    only: *const u64,
    only_count: usize,
    metadata: *const c_char,
    subjects: *mut u64,
    templates: *mut u64,
) -> face_status_t {
    guard::status("face_gallery_count_matching", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let filter = unsafe { filter(["only", "metadata"], only, only_count, metadata) }?;
        let subjects = unsafe { optional_out(subjects, "subjects") }?;
        let templates = unsafe { optional_out(templates, "templates") }?;
        let count = gallery.count_matching(&filter)?;
        set_if_wanted(subjects, count.subjects);
        set_if_wanted(templates, count.templates);
        Ok(())
    })
}

/// Memory that a gallery takes on this machine.
///
/// @param gallery     The gallery.
/// @param records     Receives the bytes of names, metadata and what is known of templates, estimated; may be NULL.
/// @param vectors     Receives the bytes of vectors and their keys; may be NULL.
/// @param approximate Receives the bytes of the approximate index; may be NULL. All three are 0 for a gallery on a server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_memory_use(
    gallery: *const face_gallery_t,
    records: *mut usize,
    vectors: *mut usize,
    approximate: *mut usize,
) -> face_status_t {
    guard::status("face_gallery_memory_use", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let places = unsafe {
            [
                optional_out(records, "records")?,
                optional_out(vectors, "vectors")?,
                optional_out(approximate, "approximate")?,
            ]
        };
        let used = gallery.as_local().map_or([0; 3], |gallery| {
            let used = gallery.memory_use();
            [used.records, used.vectors, used.approximate]
        });
        for (place, bytes) in places.into_iter().zip(used) {
            set_if_wanted(place, bytes);
        }
        Ok(())
    })
}

/// Enrols a person.
///
/// @param gallery The gallery.
/// @param subject Name, metadata and at least one template.
/// @param id      Receives the number that the gallery gives; may be NULL.
/// @return FACE_STATUS_NAME_TAKEN; FACE_STATUS_GALLERY_SPACE for an embedding of another space; FACE_STATUS_INVALID_ARGUMENT for an
///         impossible name, quality or metadata; FACE_STATUS_FORMAT for metadata that is no JSON object;
///         FACE_STATUS_GALLERY_READ_ONLY; FACE_STATUS_GALLERY_STORE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_enroll(
    gallery: *const face_gallery_t,
    subject: *const face_new_subject_t,
    id: *mut u64,
) -> face_status_t {
    guard::status("face_gallery_enroll", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let subject = unsafe { new_subject(reference(subject, "subject")?, "subject") }?;
        let id = unsafe { optional_out(id, "id") }?;
        let given = gallery.enroll(subject)?;
        set_if_wanted(id, given.0);
        Ok(())
    })
}

/// Enrols many people, all of them or, when one is refused, none: far faster than one by one.
///
/// @param gallery  The gallery.
/// @param subjects The people.
/// @param count    Number of people.
/// @param ids      Receives `count` numbers; may be NULL.
/// @return As face_gallery_enroll().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_enroll_batch(
    gallery: *const face_gallery_t,
    subjects: *const face_new_subject_t,
    count: usize,
    ids: *mut u64,
) -> face_status_t {
    guard::status("face_gallery_enroll_batch", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let subjects = unsafe { array(subjects, count, "subjects") }?.iter().enumerate();
        let read = |(index, subject)| unsafe { new_subject(subject, &format!("subjects[{index}]")) };
        let subjects = subjects.map(read).collect::<Outcome<Vec<_>>>()?;
        let ids = unsafe { optional_out(ids, "ids") }?;
        let given = gallery.enroll_batch(subjects)?;
        // SAFETY: one for each subject.
        unsafe { set_all_if_wanted(ids, given.into_iter().map(|id| id.0)) };
        Ok(())
    })
}

/// Adds templates to a person, all of them or none.
///
/// @param gallery   The gallery.
/// @param subject   Number of the person.
/// @param templates The templates.
/// @param count     Number of templates, at least 1.
/// @param ids       Receives `count` numbers; may be NULL.
/// @return FACE_STATUS_NOT_ENROLLED; as face_gallery_enroll().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_add_templates(
    gallery: *const face_gallery_t,
    subject: u64,
    templates: *const face_new_template_t,
    count: usize,
    ids: *mut u64,
) -> face_status_t {
    guard::status("face_gallery_add_templates", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let templates = unsafe { new_templates(templates, count, "templates") }?;
        let ids = unsafe { optional_out(ids, "ids") }?;
        let given = gallery.add_templates(SubjectId(subject), templates)?;
        // SAFETY: one for each template.
        unsafe { set_all_if_wanted(ids, given.into_iter().map(|id| id.0)) };
        Ok(())
    })
}

/// Gives a person another name.
///
/// @return FACE_STATUS_NOT_ENROLLED, FACE_STATUS_NAME_TAKEN, FACE_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_rename(
    gallery: *const face_gallery_t,
    subject: u64,
    name: *const c_char,
) -> face_status_t {
    guard::status("face_gallery_rename", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        Ok(gallery.rename(SubjectId(subject), unsafe { text(name, "name") }?)?)
    })
}

/// Replaces what is known of a person.
///
/// @param gallery  The gallery.
/// @param subject  Number of the person.
/// @param metadata A JSON object; NULL for an empty one.
/// @return FACE_STATUS_NOT_ENROLLED; FACE_STATUS_FORMAT for what is no JSON object.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_set_metadata(
    gallery: *const face_gallery_t,
    subject: u64,
    metadata: *const c_char,
) -> face_status_t {
    guard::status("face_gallery_set_metadata", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let metadata = self::metadata(unsafe { optional_text(metadata, "metadata") }?, "metadata")?;
        Ok(gallery.set_metadata(SubjectId(subject), metadata)?)
    })
}

/// Replaces the thresholds that the gallery keeps for its space, where they were measured after it was made. They take effect when
/// the gallery is opened again.
///
/// @param gallery    The gallery.
/// @param thresholds The thresholds.
/// @param count      Number of thresholds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_set_thresholds(
    gallery: *const face_gallery_t,
    thresholds: *const face_threshold_t,
    count: usize,
) -> face_status_t {
    guard::status("face_gallery_set_thresholds", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let thresholds = unsafe { array(thresholds, count, "thresholds") }?;
        let thresholds = thresholds.iter().map(|threshold| unsafe { threshold.read() }).collect::<Outcome<_>>()?;
        Ok(gallery.set_thresholds(thresholds)?)
    })
}

/// Removes a person with all templates. The bytes are gone from the store after face_gallery_compact().
///
/// @return FACE_STATUS_NOT_ENROLLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_remove_subject(gallery: *const face_gallery_t, subject: u64) -> face_status_t {
    guard::status("face_gallery_remove_subject", || {
        Ok(unsafe { self::gallery(gallery) }?.remove_subject(SubjectId(subject))?)
    })
}

/// Removes one template. A person without templates stays enrolled, and is never found.
///
/// @return FACE_STATUS_NOT_ENROLLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_remove_template(gallery: *const face_gallery_t, template: u64) -> face_status_t {
    guard::status("face_gallery_remove_template", || {
        Ok(unsafe { self::gallery(gallery) }?.remove_template(TemplateId(template))?)
    })
}

/// People in the order of their numbers, page by page.
///
/// @param gallery  The gallery.
/// @param after    Number of the last person of the page before; 0 for the first page.
/// @param limit    Most people of a page, from 1 to 10000; 0 for 1000.
/// @param subjects Receives the people; an empty list is the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_list(
    gallery: *const face_gallery_t,
    after: u64,
    limit: usize,
    subjects: *mut *mut face_subjects_t,
) -> face_status_t {
    guard::status("face_gallery_list", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let subjects = unsafe { out(subjects, "subjects") }?;
        let after = (after != 0).then_some(SubjectId(after));
        let page = Page { after, limit: or_default(limit, Page::default().limit) };
        subjects.give(face_subjects_t::new(gallery.list(&page)?));
        Ok(())
    })
}

/// One person, by number.
///
/// @param gallery  The gallery.
/// @param subject  Number of the person.
/// @param subjects Receives a list of one.
/// @return FACE_STATUS_NOT_ENROLLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_subject(
    gallery: *const face_gallery_t,
    subject: u64,
    subjects: *mut *mut face_subjects_t,
) -> face_status_t {
    guard::status("face_gallery_subject", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let subjects = unsafe { out(subjects, "subjects") }?;
        subjects.give(face_subjects_t::new(vec![gallery.subject(SubjectId(subject))?]));
        Ok(())
    })
}

/// One person, by name.
///
/// @param gallery  The gallery.
/// @param name     UTF-8.
/// @param subjects Receives a list of one, or of none where nobody has that name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_find(
    gallery: *const face_gallery_t,
    name: *const c_char,
    subjects: *mut *mut face_subjects_t,
) -> face_status_t {
    guard::status("face_gallery_find", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let name = unsafe { text(name, "name") }?;
        let subjects = unsafe { out(subjects, "subjects") }?;
        subjects.give(face_subjects_t::new(gallery.find(name)?.into_iter().collect()));
        Ok(())
    })
}

/// The embedding of a template, bit for bit as it was enrolled.
///
/// @param gallery   The gallery.
/// @param template  Number of the template.
/// @param embedding Receives the embedding.
/// @return FACE_STATUS_NOT_ENROLLED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_embedding(
    gallery: *const face_gallery_t,
    template: u64,
    embedding: *mut *mut face_embedding_t,
) -> face_status_t {
    guard::status("face_gallery_embedding", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let embedding = unsafe { out(embedding, "embedding") }?;
        embedding.give(face_embedding_t(gallery.embedding(TemplateId(template))?));
        Ok(())
    })
}

/// Rewrites the store without what was removed.
///
/// @return FACE_STATUS_GALLERY_READ_ONLY, FACE_STATUS_GALLERY_STORE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_compact(gallery: *const face_gallery_t) -> face_status_t {
    guard::status("face_gallery_compact", || Ok(unsafe { self::gallery(gallery) }?.compact()?))
}

/// Writes the approximate index beside the gallery's file, so that the next opening need not build it. Freeing the gallery does so
/// too, but cannot tell of an error. Nothing to do for other galleries.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_save_index(gallery: *const face_gallery_t) -> face_status_t {
    guard::status("face_gallery_save_index", || match unsafe { self::gallery(gallery) }?.as_local() {
        Some(gallery) => Ok(gallery.save_index()?),
        None => Ok(()),
    })
}

/// Closes a gallery, which no thread may be using any more. What it lent must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_free(gallery: *mut face_gallery_t) {
    guard::free("face_gallery_free", || unsafe { release(gallery) })
}
