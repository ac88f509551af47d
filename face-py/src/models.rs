//! The catalogue and the cache of models.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use face_core::ModelStore;
use face_core::models::PullEvent;
use pyo3::prelude::*;

use crate::errors::Outcome;
use crate::pool::interruptible;

/// The folder of models: the one that is named, or the default one.
pub(crate) fn store(folder: Option<PathBuf>, python: Option<PathBuf>) -> Outcome<ModelStore> {
    let store = match folder {
        Some(folder) => ModelStore::new(folder),
        None => ModelStore::open_default()?,
    };
    Ok(match python {
        Some(python) => store.with_python(python),
        None => store,
    })
}

/// The folder in which models are kept by default: FACE_MODELS, or one in the platform's cache folder.
#[pyfunction]
#[pyo3(signature = () -> "str")]
pub(crate) fn models_folder() -> Outcome<OsString> {
    Ok(store(None, None)?.folder().as_os_str().to_owned())
}

/// Every entry of the catalogue: name, role, whether it is its role's default, summary, licence, credit, bytes, and the names
/// of its variants.
#[pyfunction]
#[pyo3(signature = () -> "list[tuple[str, str, bool, str, str, str, int, list[str]]]")]
pub(crate) fn catalogue() -> Vec<(String, String, bool, String, String, String, u64, Vec<String>)> {
    let entries = face_core::models::Catalogue::builtin().entries().iter();
    let entries = entries.map(|entry| {
        let variants = entry.variants.iter().map(|variant| variant.name.clone()).collect();
        let role = entry.kind.role().to_string();
        let (summary, licence, credit) = (entry.summary.clone(), entry.licence.clone(), entry.credit.clone());
        (entry.name.clone(), role, entry.default, summary, licence, credit, entry.file.bytes, variants)
    });
    entries.collect()
}

/// Where the file of an entry lies, or would lie.
#[pyfunction]
#[pyo3(signature = (name, folder: "str | None") -> "str")]
pub(crate) fn model_path(name: &str, folder: Option<PathBuf>) -> Outcome<OsString> {
    let store = store(folder, None)?;
    Ok(store.path(store.catalogue().entry(name)?).into_os_string())
}

/// Raises when the file of an entry is missing, damaged or altered.
#[pyfunction]
#[pyo3(signature = (name, folder: "str | None"))]
pub(crate) fn check_model(py: Python<'_>, name: &str, folder: Option<PathBuf>) -> Outcome<()> {
    let store = store(folder, None)?;
    Ok(py.detach(|| store.check(name))?)
}

/// Brings models into the folder. `python` is the interpreter whose pip is used; `progress` is called with what happens, the
/// file or name it happens to, and two numbers or None: ("downloading", file, received, total), ("present", name, None, None),
/// ("installed", name, None, None), ("waiting", folder, None, None), ("retrying", file and reason, None, None).
#[pyfunction]
#[pyo3(signature = (names: "list[str]", folder: "str | None", python: "str | None", progress: "collections.abc.Callable[[str, str, int | None, int | None], object]"))]
pub(crate) fn pull_models(
    py: Python<'_>,
    names: Vec<String>,
    folder: Option<PathBuf>,
    python: Option<PathBuf>,
    progress: Py<PyAny>,
) -> Outcome<()> {
    let store = store(folder, python)?;
    // The thread that pulls notes what happens, and the one that Python is waiting in tells it.
    let events: Mutex<Vec<(&str, String, Option<(u64, u64)>)>> = Mutex::default();
    let tell_python = |py: Python<'_>| -> PyResult<()> {
        let noted = std::mem::take(&mut *events.lock().unwrap_or_else(PoisonError::into_inner));
        for (what, name, numbers) in noted {
            let (received, total) = numbers.unzip();
            progress.call1(py, (what, name, received, total))?;
        }
        Ok(())
    };
    let pulled = interruptible(py, &tell_python, |interruption| {
        let note = |what, name: String, numbers: Option<(u64, u64)>| {
            let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
            // Of a download only the last number counts.
            if let Some(last) = events.last_mut().filter(|last| numbers.is_some() && last.0 == what && last.1 == name) {
                last.2 = numbers;
            } else {
                events.push((what, name, numbers));
            }
            drop(events);
            interruption.check();
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        store.pull(&names, &|event| match event {
            PullEvent::Downloading { file, received, total } => {
                note("downloading", file.to_owned(), Some((received, total)));
            }
            PullEvent::Present { name } => note("present", name.to_owned(), None),
            PullEvent::Installed { name, .. } => note("installed", name.to_owned(), None),
            PullEvent::Waiting { folder } => note("waiting", folder.display().to_string(), None),
            PullEvent::Retrying { file, reason } => note("retrying", format!("{file}: {reason}"), None),
            _ => {}
        })
    })?;
    tell_python(py)?;
    Ok(pulled?)
}
