//! Embedding spaces, and comparing what lies in them.

use std::sync::Arc;

use face_core::Embedding;
use numpy::{PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2, ToPyArray as _};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::errors::{Outcome, invalid};
use crate::pool::on_all_cores;

/// A similarity from which two faces count as the same person's, and what that costs.
#[pyclass(frozen, eq, module = "facecore", get_all)]
#[derive(Clone, PartialEq)]
pub(crate) struct Threshold {
    /// Smallest similarity of a match.
    similarity: f32,
    /// False-accept rate: the share of pairs of *different* people that reach the similarity, on the set below.
    far: f64,
    /// The data set and protocol on which the rate was measured.
    measured_on: String,
}

#[pymethods]
impl Threshold {
    #[new]
    fn new(similarity: f32, far: f64, measured_on: String) -> Self {
        Self { similarity, far, measured_on }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> (Bound<'py, PyType>, (f32, f64, String)) {
        (py.get_type::<Self>(), (self.similarity, self.far, self.measured_on.clone()))
    }

    fn __repr__(&self) -> String {
        let Self { similarity, far, measured_on } = self;
        format!("Threshold(similarity={similarity:?}, far={far:?}, measured_on={measured_on:?})")
    }
}

impl From<face_core::Threshold> for Threshold {
    fn from(face_core::Threshold { similarity, far, measured_on }: face_core::Threshold) -> Self {
        Self { similarity, far, measured_on }
    }
}

impl From<&Threshold> for face_core::Threshold {
    fn from(Threshold { similarity, far, measured_on }: &Threshold) -> Self {
        Self { similarity: *similarity, far: *far, measured_on: measured_on.clone() }
    }
}

/// What an embedding means: weights, preprocessing, averaging and metric. Only embeddings of equal spaces can be compared.
///
/// Every embedder, pipeline, gallery and Embedding has one as `.space`. Thresholds belong to a space and are no part of its
/// identity.
#[pyclass(frozen, eq, hash, module = "facecore")]
#[derive(Clone)]
pub(crate) struct EmbeddingSpace {
    pub(crate) space: Arc<face_core::EmbeddingSpace>,
}

impl PartialEq for EmbeddingSpace {
    fn eq(&self, other: &Self) -> bool {
        self.space == other.space
    }
}

impl std::hash::Hash for EmbeddingSpace {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.space.id().hash(state);
    }
}

#[pymethods]
impl EmbeddingSpace {
    /// The space that `to_json()` has written.
    #[staticmethod]
    fn from_json(text: &str) -> Outcome<Self> {
        let space = serde_json::from_str(text).map_err(|error| invalid(format!("no embedding space: {error}")))?;
        Ok(Self { space: Arc::new(space) })
    }

    /// The space as JSON text, with its thresholds.
    fn to_json(&self) -> Outcome<String> {
        Ok(serde_json::to_string(&*self.space).map_err(|error| invalid(error.to_string()))?)
    }

    /// Name of the model, for people.
    #[getter]
    fn model(&self) -> &str {
        &self.space.model
    }

    /// SHA-256 of the weights, in hexadecimal digits.
    #[getter]
    fn digest(&self) -> &str {
        &self.space.digest
    }

    /// Number of values of an embedding.
    #[getter]
    fn dimension(&self) -> usize {
        self.space.dimension
    }

    /// How a photo becomes the network's input, in words.
    #[getter]
    fn preprocessing(&self) -> &str {
        &self.space.preprocessing
    }

    /// Which crops are averaged into one embedding, in words.
    #[getter]
    fn averaging(&self) -> &str {
        &self.space.averaging
    }

    /// How two embeddings are compared: "cosine", "euclidean" or "group-aware(...)".
    #[getter]
    fn metric(&self) -> String {
        self.space.metric.to_string()
    }

    /// The identity of the space as one line of text.
    #[getter]
    fn id(&self) -> String {
        self.space.id()
    }

    /// The thresholds that were measured in this space.
    #[getter]
    fn thresholds(&self) -> Vec<Threshold> {
        self.space.thresholds.iter().cloned().map(Threshold::from).collect()
    }

    /// The threshold that was measured at this false-accept rate.
    ///
    /// Raises ThresholdUnknownError, which lists the rates there are, and ParameterError for what is no rate.
    fn threshold_at(&self, far: f64) -> Outcome<Threshold> {
        Ok(self.space.threshold_at(far)?.clone().into())
    }

    /// The same space with other thresholds.
    fn with_thresholds(&self, thresholds: Vec<PyRef<'_, Threshold>>) -> Self {
        let thresholds = thresholds.iter().map(|threshold| (&**threshold).into()).collect();
        Self { space: Arc::new(face_core::EmbeddingSpace { thresholds, ..(*self.space).clone() }) }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> Outcome<(Bound<'py, PyAny>, (String,))> {
        Ok((py.get_type::<Self>().getattr("from_json")?, (self.to_json()?,)))
    }

    fn __repr__(&self) -> String {
        let face_core::EmbeddingSpace { model, dimension, metric, averaging, .. } = &*self.space;
        format!("<EmbeddingSpace {model}, {dimension} values, {metric}, {averaging}>")
    }
}

/// The values of an embedding, brought to unit length where the space asks for it.
#[pyfunction]
#[pyo3(signature = (values: "numpy.ndarray", space) -> "numpy.ndarray")]
pub(crate) fn new_embedding<'py>(
    py: Python<'py>,
    values: PyReadonlyArray1<'py, f32>,
    space: &EmbeddingSpace,
) -> Outcome<Bound<'py, PyArray1<f32>>> {
    Ok(PyArray1::from_vec(py, embedding(&values, space)?.into_vector()))
}

/// How alike two faces are.
#[pyfunction]
#[pyo3(signature = (first: "numpy.ndarray", first_space, second: "numpy.ndarray", second_space) -> "float")]
pub(crate) fn similarity(
    first: PyReadonlyArray1<'_, f32>,
    first_space: &EmbeddingSpace,
    second: PyReadonlyArray1<'_, f32>,
    second_space: &EmbeddingSpace,
) -> Outcome<f32> {
    Ok(embedding(&first, first_space)?.similarity(&embedding(&second, second_space)?)?)
}

/// How alike two faces are, and whether that reaches the threshold.
#[pyfunction]
#[pyo3(signature = (first: "numpy.ndarray", first_space, second: "numpy.ndarray", second_space, threshold) -> "tuple[float, bool]")]
pub(crate) fn verify(
    first: PyReadonlyArray1<'_, f32>,
    first_space: &EmbeddingSpace,
    second: PyReadonlyArray1<'_, f32>,
    second_space: &EmbeddingSpace,
    threshold: &Threshold,
) -> Outcome<(f32, bool)> {
    let (first, second) = (embedding(&first, first_space)?, embedding(&second, second_space)?);
    let answer = face_core::verify(&first, &second, &threshold.into())?;
    Ok((answer.similarity, answer.is_match))
}

/// How alike every row of one matrix is to every row of another.
#[pyfunction]
#[pyo3(signature = (first: "numpy.ndarray", first_space, second: "numpy.ndarray", second_space) -> "numpy.ndarray")]
pub(crate) fn similarities<'py>(
    py: Python<'py>,
    first: PyReadonlyArray2<'py, f32>,
    first_space: &EmbeddingSpace,
    second: PyReadonlyArray2<'py, f32>,
    second_space: &EmbeddingSpace,
) -> Outcome<Bound<'py, PyArray2<f32>>> {
    let (first, second) = (embeddings(&first, first_space)?, embeddings(&second, second_space)?);
    let table = on_all_cores(py, || face_core::similarities(&first, &second))??;
    Ok(table.to_pyarray(py))
}

/// One embedding.
pub(crate) fn embedding(values: &PyReadonlyArray1<'_, f32>, space: &EmbeddingSpace) -> Outcome<Embedding> {
    Ok(Embedding::new(values.as_array().to_vec(), Arc::clone(&space.space))?)
}

/// One embedding for each row.
pub(crate) fn embeddings(rows: &PyReadonlyArray2<'_, f32>, space: &EmbeddingSpace) -> Outcome<Vec<Embedding>> {
    let rows = rows.as_array();
    let embeddings = rows.rows().into_iter().map(|row| Embedding::new(row.to_vec(), Arc::clone(&space.space)));
    Ok(embeddings.collect::<face_core::Result<Vec<_>>>()?)
}
