//! Errors of `face-core` as exceptions of `facecore`, or of Python itself where it has one for the purpose.

use std::io::ErrorKind;

use face_core::Error;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyModule, PyType};

/// What a function for Python returns.
pub(crate) type Outcome<T> = Result<T, Raised>;

/// An error on its way to Python.
#[derive(Debug)]
pub(crate) struct Raised(PyErr);

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Self(Python::attach(|py| raise(py, &error)))
    }
}

impl From<PyErr> for Raised {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<Raised> for PyErr {
    fn from(raised: Raised) -> Self {
        raised.0
    }
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    if let Error::Io { path, source, .. } = error
        && let Some(number) = source.raw_os_error().or_else(|| number_of(source.kind()))
    {
        // Python's own classes, with its own text: `OSError` becomes `FileNotFoundError`, `PermissionError` and so on by the number.
        let text = py.import("os").and_then(|os| os.call_method1("strerror", (number,))?.extract::<String>());
        return PyOSError::new_err((number, text.unwrap_or_else(|_| error.to_string()), path.as_os_str().to_owned()));
    }
    let raised = match class(py, class_of(error)) {
        Ok(class) => PyErr::from_type(class, error.to_string()),
        Err(failure) => return failure,
    };
    if let Error::ModelMissing { model, .. } = error
        && let Err(failure) = raised.value(py).setattr("model", model)
    {
        return failure;
    }
    raised
}

/// The system's number for what was found without asking the system.
fn number_of(kind: ErrorKind) -> Option<i32> {
    match kind {
        ErrorKind::NotFound => Some(2),
        ErrorKind::PermissionDenied => Some(13),
        ErrorKind::AlreadyExists => Some(17),
        _ => None,
    }
}

/// An exception for a value that Python must not give.
pub(crate) fn invalid(message: impl Into<String>) -> PyErr {
    raise_named("ParameterError", message.into())
}

/// An exception of one of our classes.
pub(crate) fn raise_named(name: &str, message: String) -> PyErr {
    Python::attach(|py| match class(py, name) {
        Ok(class) => PyErr::from_type(class, message),
        Err(failure) => failure,
    })
}

/// The name of the exception's class in `facecore._errors`.
fn class_of(error: &Error) -> &'static str {
    match error {
        Error::InPhoto { source, .. } => class_of(source),
        Error::FileTooLarge { .. }
        | Error::ImageDecode { .. }
        | Error::ImageTooLarge { .. }
        | Error::ImageBuffer { .. } => "ImageError",
        Error::DegenerateLandmarks { .. } | Error::LandmarkScheme { .. } | Error::LandmarksMissing { .. } => {
            "LandmarkError"
        }
        Error::CropMismatch { .. } => "CropError",
        Error::NoFace { .. } => "NoFaceError",
        Error::SpaceMismatch { .. } | Error::GallerySpace { .. } => "SpaceMismatchError",
        Error::InvalidEmbedding { .. } | Error::NonFinite { .. } => "EmbeddingError",
        Error::NotEnrolled { .. } => "NotEnrolledError",
        Error::NameTaken { .. } => "NameTakenError",
        Error::GalleryInUse { .. } => "GalleryInUseError",
        Error::GalleryReadOnly { .. } => "GalleryReadOnlyError",
        Error::GalleryCorrupt { .. } => "GalleryCorruptError",
        Error::GalleryVersion { .. } | Error::GalleryStore { .. } => "GalleryError",
        Error::ThresholdUnknown { .. } => "ThresholdUnknownError",
        Error::ModelMissing { .. } => "ModelMissingError",
        Error::EngineUnavailable { .. }
        | Error::ModelCorrupt { .. }
        | Error::ModelInvalid { .. }
        | Error::Inference { .. } => "ModelError",
        Error::Pull { .. } => "PullError",
        // A path that no system has, with a NUL in it.
        Error::Io { source, .. } if source.kind() == ErrorKind::InvalidInput => "ParameterError",
        Error::InvalidParameter { .. } | Error::UnknownName { .. } => "ParameterError",
        Error::Format { .. } => "FormatError",
        _ => "FaceError",
    }
}

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let module = MODULE.get_or_try_init(py, || py.import("facecore._errors").map(Bound::unbind))?;
    Ok(module.bind(py).getattr(name)?.cast_into::<PyType>()?)
}
