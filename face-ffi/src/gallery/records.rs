//! People and their templates, on the way in and on the way out.

use std::ffi::{CString, c_char};

use face_core::gallery::{Metadata, NewSubject, NewTemplate, Subject};

use crate::embedding::face_embedding_t;
use crate::guard;
use crate::pointers::{array, flag, item, optional_text, out, reference, release, text};
use crate::status::{Failure, Outcome, face_status_t};
use crate::text::c_string;

/// A template that is to be enrolled. Nothing of it is needed any more when the call returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_new_template_t {
    /// The feature vector.
    pub embedding: *const face_embedding_t,
    /// Where it comes from, such as the path of a photo; NULL where it is not known.
    pub source: *const c_char,
    /// When it was enrolled, in seconds since 1970-01-01 00:00 UTC; 0 for now.
    pub enrolled_at: u64,
    /// How good the picture is, from 0 to 1, such as the detector's score.
    pub quality: f32,
    /// 1: the quality is known. 0: it is not.
    pub has_quality: u32,
}

/// A person who is to be enrolled. Nothing of it is needed any more when the call returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_new_subject_t {
    /// Up to 500 characters of UTF-8; no two people of a gallery have the same.
    pub name: *const c_char,
    /// A JSON object; NULL for an empty one.
    pub metadata: *const c_char,
    /// The templates.
    pub templates: *const face_new_template_t,
    /// Number of templates, at least 1.
    pub template_count: usize,
}

/// What is known of an enrolled template. Its text lives as long as the list that it comes from.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_template_t {
    /// Given by the gallery: counted from 1, and never used again.
    pub id: u64,
    /// When it was enrolled, in seconds since 1970-01-01 00:00 UTC.
    pub enrolled_at: u64,
    /// Where it comes from; NULL where it is not known.
    pub source: *const c_char,
    /// From 0 to 1; negative where it is not known.
    pub quality: f32,
}

/// Enrolled people, as they were when they were asked for.
///
/// Immutable: any number of threads may use it at the same time. It does not need its gallery any more. Free it with
/// face_subjects_free().
pub struct face_subjects_t(Vec<SubjectText>);

struct SubjectText {
    id: u64,
    name: CString,
    metadata: CString,
    templates: Vec<TemplateText>,
}

struct TemplateText {
    id: u64,
    enrolled_at: u64,
    quality: f32,
    source: Option<CString>,
}

impl face_subjects_t {
    pub(super) fn new(subjects: Vec<Subject>) -> Self {
        let subject = |subject: Subject| SubjectText {
            id: subject.id.0,
            name: c_string(&subject.name),
            metadata: c_string(&serde_json::Value::Object(subject.metadata).to_string()),
            templates: subject
                .templates
                .into_iter()
                .map(|template| TemplateText {
                    id: template.id.0,
                    enrolled_at: template.enrolled_at,
                    quality: template.quality.unwrap_or(-1.0),
                    source: template.source.as_deref().map(c_string),
                })
                .collect(),
        };
        Self(subjects.into_iter().map(subject).collect())
    }
}

/// # Safety
/// What the subject points to is as the header wants it.
pub(super) unsafe fn new_subject(subject: &face_new_subject_t, what: &str) -> Outcome<NewSubject> {
    Ok(NewSubject {
        name: unsafe { text(subject.name, &format!("{what}.name")) }?.to_owned(),
        metadata: metadata(
            unsafe { optional_text(subject.metadata, &format!("{what}.metadata")) }?,
            &format!("{what}.metadata"),
        )?,
        templates: unsafe { new_templates(subject.templates, subject.template_count, &format!("{what}.templates")) }?,
    })
}

/// # Safety
/// `templates` is NULL or points to `count` templates that are as the header wants them.
pub(super) unsafe fn new_templates(
    templates: *const face_new_template_t,
    count: usize,
    what: &str,
) -> Outcome<Vec<NewTemplate>> {
    let templates = unsafe { array(templates, count, what) }?.iter().enumerate();
    let read = |(index, template): (usize, &face_new_template_t)| -> Outcome<NewTemplate> {
        let embedding = unsafe { reference(template.embedding, &format!("{what}[{index}].embedding")) }?;
        let source = unsafe { optional_text(template.source, &format!("{what}[{index}].source")) }?;
        Ok(NewTemplate {
            embedding: embedding.0.clone(),
            quality: flag(template.has_quality, &format!("{what}[{index}].has_quality"))?.then_some(template.quality),
            source: source.map(str::to_owned),
            enrolled_at: (template.enrolled_at != 0).then_some(template.enrolled_at),
        })
    };
    templates.map(read).collect()
}

/// Metadata from JSON text; an empty object where there is none.
pub(super) fn metadata(json: Option<&str>, what: &str) -> Outcome<Metadata> {
    let Some(json) = json else { return Ok(Metadata::new()) };
    serde_json::from_str(json).map_err(|error| Failure {
        status: face_status_t::FACE_STATUS_FORMAT,
        message: format!("{what} is no JSON object: {error}"),
    })
}

/// Number of people; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_count(subjects: *const face_subjects_t) -> usize {
    guard::value("face_subjects_count", 0, || Ok(unsafe { reference(subjects, "subjects") }?.0.len()))
}

/// The number that the gallery gave to a person: counted from 1, and never used again. 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_id(subjects: *const face_subjects_t, index: usize) -> u64 {
    guard::value("face_subjects_id", 0, || {
        Ok(item(&unsafe { reference(subjects, "subjects") }?.0, index, "subject")?.id)
    })
}

/// The name of a person. Lives as long as the list; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_name(subjects: *const face_subjects_t, index: usize) -> *const c_char {
    guard::value("face_subjects_name", std::ptr::null(), || {
        Ok(item(&unsafe { reference(subjects, "subjects") }?.0, index, "subject")?.name.as_ptr())
    })
}

/// What else is known of a person, as a JSON object. Lives as long as the list; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_metadata(subjects: *const face_subjects_t, index: usize) -> *const c_char {
    guard::value("face_subjects_metadata", std::ptr::null(), || {
        Ok(item(&unsafe { reference(subjects, "subjects") }?.0, index, "subject")?.metadata.as_ptr())
    })
}

/// Number of templates of a person; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_template_count(subjects: *const face_subjects_t, index: usize) -> usize {
    guard::value("face_subjects_template_count", 0, || {
        Ok(item(&unsafe { reference(subjects, "subjects") }?.0, index, "subject")?.templates.len())
    })
}

/// A template of a person.
///
/// @param subjects       The list, which the template's text needs.
/// @param index          Of the person, counted from 0.
/// @param template_index Counted from 0, in the order in which they were enrolled.
/// @param template_info  Receives what is known of it.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_template(
    subjects: *const face_subjects_t,
    index: usize,
    template_index: usize,
    template_info: *mut face_template_t,
) -> face_status_t {
    guard::status("face_subjects_template", || {
        let subjects = unsafe { reference(subjects, "subjects") }?;
        let template_info = unsafe { out(template_info, "template_info") }?;
        let subject = item(&subjects.0, index, "subject")?;
        let TemplateText { id, enrolled_at, quality, source } = item(&subject.templates, template_index, "template")?;
        let source = source.as_ref().map_or(std::ptr::null(), |source| source.as_ptr());
        template_info.set(face_template_t { id: *id, enrolled_at: *enrolled_at, source, quality: *quality });
        Ok(())
    })
}

/// Frees a list of people. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_subjects_free(subjects: *mut face_subjects_t) {
    guard::free("face_subjects_free", || unsafe { release(subjects) })
}
