//! Galleries.

use std::io::BufReader;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
#[cfg(feature = "postgres")]
use std::time::Duration;

use face_core::gallery::{
    ApproximateParams, Decision, Existing, Gallery, IdentifyParams, LocalGallery, LocalGalleryParams, Metadata,
    NewSubject, NewTemplate, Page, Precision, SearchMode, SearchParams, SubjectFilter, SubjectId, TemplateId,
};
#[cfg(feature = "postgres")]
use face_core::gallery::{HnswParams, PostgresGallery, PostgresIndex, PostgresParams, PostgresTls};
use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

#[cfg(feature = "postgres")]
use crate::errors::Raised;
use crate::errors::{Outcome, invalid, raise_named};
use crate::pool::{self, counting, on_all_cores};
use crate::space::{EmbeddingSpace, Threshold, embedding, embeddings};

/// A template that is to be enrolled: values and space, quality, source, seconds since 1970.
type GivenTemplate<'py> =
    (PyReadonlyArray1<'py, f32>, Bound<'py, EmbeddingSpace>, Option<f32>, Option<String>, Option<u64>);
/// A candidate: subject, name, template, similarity.
type Candidate = (u64, String, u64, f32);

/// A gallery behind a handle that can be closed.
#[pyclass(frozen, module = "facecore._native")]
pub(crate) struct NativeGallery {
    /// `None` when it was closed. Held only while the pointer is copied.
    gallery: RwLock<Option<Arc<dyn Gallery>>>,
    name: String,
    space: EmbeddingSpace,
    /// The process that has opened it. A forked child shares the file and its lock, and must not write.
    process: u32,
}

impl Drop for NativeGallery {
    fn drop(&mut self) {
        if self.is_of_another_process() {
            // Closing would write what this process has never been the one to write.
            std::mem::forget(self.gallery.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl NativeGallery {
    fn new(gallery: impl Gallery + 'static) -> Self {
        let (name, space) = (gallery.name(), EmbeddingSpace { space: Arc::clone(gallery.space()) });
        Self { gallery: RwLock::new(Some(Arc::new(gallery))), name, space, process: std::process::id() }
    }

    fn is_of_another_process(&self) -> bool {
        self.process != std::process::id()
    }

    fn opened(&self) -> Outcome<Arc<dyn Gallery>> {
        if self.is_of_another_process() {
            let reason = "it was opened before this process was forked: open it again here, for reading";
            return Err(
                raise_named("GalleryInUseError", format!("the gallery {} is in use: {reason}", self.name)).into()
            );
        }
        let gallery = self.gallery.read().unwrap_or_else(PoisonError::into_inner);
        gallery.clone().ok_or_else(|| invalid(format!("the gallery {} is closed", self.name)).into())
    }

    /// Works on the gallery while other Python threads run.
    fn work<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn Gallery) -> face_core::Result<T> + Send,
    ) -> Outcome<T> {
        let gallery = self.opened()?;
        Ok(py.detach(|| work(&*gallery))?)
    }

    /// As [`work`](Self::work), for searches: those in memory go over all cores.
    fn search_in<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&dyn Gallery) -> face_core::Result<T> + Send,
    ) -> Outcome<T> {
        let gallery = self.opened()?;
        if gallery.as_local().is_some() {
            Ok(on_all_cores(py, || work(&*gallery))??)
        } else {
            Ok(py.detach(|| work(&*gallery))?)
        }
    }
}

/// Settings of a gallery on this machine.
fn local_params(precision: &str, approximate: Option<(usize, usize, usize, u64)>) -> PyResult<LocalGalleryParams> {
    let precision = match precision {
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        other => return Err(invalid(format!("precision is {other:?}, and must be \"f32\" or \"int8\""))),
    };
    let approximate = approximate.map(|(connectivity, expansion_add, expansion_search, min_templates)| {
        ApproximateParams { connectivity, expansion_add, expansion_search, min_templates }
    });
    Ok(LocalGalleryParams { precision, approximate })
}

fn search_mode(mode: &str) -> PyResult<SearchMode> {
    match mode {
        "auto" => Ok(SearchMode::Auto),
        "exact" => Ok(SearchMode::Exact),
        "approximate" => Ok(SearchMode::Approximate),
        other => Err(invalid(format!("mode is {other:?}, and must be \"auto\", \"exact\" or \"approximate\""))),
    }
}

fn metadata(json: &str) -> PyResult<Metadata> {
    serde_json::from_str(json).map_err(|error| invalid(format!("metadata is no JSON object: {error}")))
}

fn json(value: &impl serde::Serialize) -> Outcome<String> {
    Ok(serde_json::to_string(value).map_err(|error| invalid(error.to_string()))?)
}

fn filter(subjects: Option<Vec<u64>>, metadata_json: Option<&str>) -> PyResult<SubjectFilter> {
    Ok(SubjectFilter {
        subjects: subjects.map(|subjects| subjects.into_iter().map(SubjectId).collect()),
        metadata: metadata_json.map(metadata).transpose()?.unwrap_or_default(),
    })
}

fn template((values, space, quality, source, enrolled_at): GivenTemplate<'_>) -> Outcome<NewTemplate> {
    Ok(NewTemplate { embedding: embedding(&values, space.get())?, quality, source, enrolled_at })
}

fn candidates(found: Vec<face_core::gallery::Candidate>) -> Vec<Candidate> {
    found.into_iter().map(|found| (found.subject.0, found.name, found.template.0, found.similarity)).collect()
}

/// A decision by name: "gallery-size", "fpir" and "far" with a rate, or a threshold.
fn decision(rule: &str, rate: f64, threshold: Option<&Threshold>) -> PyResult<Decision> {
    match (rule, threshold) {
        (_, Some(threshold)) => Ok(Decision::Threshold(threshold.into())),
        ("gallery-size", None) => Ok(Decision::GallerySize { fpir: rate }),
        ("fpir", None) => Ok(Decision::Fpir(rate)),
        ("far", None) => Ok(Decision::Far(rate)),
        (other, None) => Err(invalid(format!("{other:?} is no rule of decision"))),
    }
}

#[pymethods]
impl NativeGallery {
    #[staticmethod]
    #[pyo3(signature = (space, precision, approximate: "tuple[int, int, int, int] | None"))]
    fn in_memory(
        space: &EmbeddingSpace,
        precision: &str,
        approximate: Option<(usize, usize, usize, u64)>,
    ) -> Outcome<Self> {
        let params = local_params(precision, approximate)?;
        let gallery = LocalGallery::in_memory_with(Arc::clone(&space.space), &params)?;
        Ok(Self::new(gallery))
    }

    #[staticmethod]
    #[pyo3(signature = (path: "str", space, precision, approximate: "tuple[int, int, int, int] | None"))]
    fn create(
        py: Python<'_>,
        path: PathBuf,
        space: &EmbeddingSpace,
        precision: &str,
        approximate: Option<(usize, usize, usize, u64)>,
    ) -> Outcome<Self> {
        let (params, space) = (local_params(precision, approximate)?, Arc::clone(&space.space));
        let gallery = on_all_cores(py, || LocalGallery::create_with(path, space, &params))??;
        Ok(Self::new(gallery))
    }

    #[staticmethod]
    #[pyo3(signature = (path: "str", read_only, precision, approximate: "tuple[int, int, int, int] | None"))]
    fn open(
        py: Python<'_>,
        path: PathBuf,
        read_only: bool,
        precision: &str,
        approximate: Option<(usize, usize, usize, u64)>,
    ) -> Outcome<Self> {
        let params = local_params(precision, approximate)?;
        let gallery = on_all_cores(py, || {
            if read_only {
                LocalGallery::open_read_only_with(path, &params)
            } else {
                LocalGallery::open_with(path, &params)
            }
        })??;
        Ok(Self::new(gallery))
    }

    /// A gallery on a server. With a space it is made; without, it must be there.
    #[staticmethod]
    #[pyo3(signature = (server: "tuple[str, str, str | None, bool, int, float, float, tuple[int, int, int, int] | None]", space))]
    fn on_server(py: Python<'_>, server: ServerParts, space: Option<&EmbeddingSpace>) -> Outcome<Self> {
        #[cfg(feature = "postgres")]
        {
            let params = server.params()?;
            let space = space.map(|space| Arc::clone(&space.space));
            let gallery = py.detach(|| match space {
                Some(space) => PostgresGallery::create(&params, space),
                None => PostgresGallery::open(&params),
            })?;
            Ok(Self::new(gallery))
        }
        #[cfg(not(feature = "postgres"))]
        {
            let _ = (py, server, space);
            Err(invalid("this build has no galleries on servers (feature `postgres`)").into())
        }
    }

    /// Closes the file or the connections, when the last call that is under way has ended.
    fn close(&self, py: Python<'_>) {
        let gallery = self.gallery.write().unwrap_or_else(PoisonError::into_inner).take();
        if self.is_of_another_process() {
            std::mem::forget(gallery);
        } else {
            py.detach(|| drop(gallery));
        }
    }

    #[getter]
    fn is_closed(&self) -> bool {
        self.gallery.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    #[getter]
    fn space(&self) -> EmbeddingSpace {
        self.space.clone()
    }

    /// Enrols subjects: (name, metadata as JSON, templates).
    #[pyo3(signature = (subjects: "list[tuple[Any, ...]]") -> "list[int]")]
    fn enroll(&self, py: Python<'_>, subjects: Vec<(String, String, Vec<GivenTemplate<'_>>)>) -> Outcome<Vec<u64>> {
        let subjects = subjects.into_iter().map(|(name, metadata_json, templates)| {
            let templates = templates.into_iter().map(template).collect::<Outcome<_>>()?;
            Ok(NewSubject { name, metadata: metadata(&metadata_json)?, templates })
        });
        let subjects = subjects.collect::<Outcome<Vec<_>>>()?;
        let ids = self.work(py, |gallery| gallery.enroll_batch(subjects))?;
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    #[pyo3(signature = (subject, templates: "list[tuple[Any, ...]]") -> "list[int]")]
    fn add_templates(&self, py: Python<'_>, subject: u64, templates: Vec<GivenTemplate<'_>>) -> Outcome<Vec<u64>> {
        let templates = templates.into_iter().map(template).collect::<Outcome<_>>()?;
        let ids = self.work(py, |gallery| gallery.add_templates(SubjectId(subject), templates))?;
        Ok(ids.into_iter().map(|id| id.0).collect())
    }

    fn rename(&self, py: Python<'_>, subject: u64, name: &str) -> Outcome<()> {
        self.work(py, |gallery| gallery.rename(SubjectId(subject), name))
    }

    fn set_metadata(&self, py: Python<'_>, subject: u64, metadata_json: &str) -> Outcome<()> {
        let metadata = metadata(metadata_json)?;
        self.work(py, |gallery| gallery.set_metadata(SubjectId(subject), metadata))
    }

    fn set_thresholds(&self, py: Python<'_>, thresholds: Vec<PyRef<'_, Threshold>>) -> Outcome<()> {
        let thresholds = thresholds.iter().map(|threshold| (&**threshold).into()).collect();
        self.work(py, |gallery| gallery.set_thresholds(thresholds))
    }

    fn remove_subject(&self, py: Python<'_>, subject: u64) -> Outcome<()> {
        self.work(py, |gallery| gallery.remove_subject(SubjectId(subject)))
    }

    fn remove_template(&self, py: Python<'_>, template: u64) -> Outcome<()> {
        self.work(py, |gallery| gallery.remove_template(TemplateId(template)))
    }

    /// A subject as JSON.
    fn subject(&self, py: Python<'_>, subject: u64) -> Outcome<String> {
        json(&self.work(py, |gallery| gallery.subject(SubjectId(subject)))?)
    }

    /// The subject of this name as JSON.
    fn find(&self, py: Python<'_>, name: &str) -> Outcome<Option<String>> {
        self.work(py, |gallery| gallery.find(name))?.as_ref().map(json).transpose()
    }

    /// A page of subjects as JSON, in the order of their ids.
    fn page(&self, py: Python<'_>, after: Option<u64>, limit: usize) -> Outcome<String> {
        json(&self.work(py, |gallery| gallery.list(&Page { after: after.map(SubjectId), limit }))?)
    }

    /// Numbers of subjects and templates.
    #[pyo3(signature = (subjects: "list[int] | None", metadata_json) -> "tuple[int, int]")]
    fn count(&self, py: Python<'_>, subjects: Option<Vec<u64>>, metadata_json: Option<&str>) -> Outcome<(u64, u64)> {
        let filter = filter(subjects, metadata_json)?;
        let count = self.work(py, |gallery| gallery.count_matching(&filter))?;
        Ok((count.subjects, count.templates))
    }

    /// The values of a template's embedding.
    #[pyo3(signature = (template) -> "numpy.ndarray")]
    fn embedding<'py>(&self, py: Python<'py>, template: u64) -> Outcome<Bound<'py, PyArray1<f32>>> {
        let embedding = self.work(py, |gallery| gallery.embedding(TemplateId(template)))?;
        Ok(PyArray1::from_vec(py, embedding.into_vector()))
    }

    /// For each probe (a row) the most similar subjects: (id, name, template, similarity).
    #[pyo3(signature = (probes: "numpy.ndarray", space, top_k, min_similarity, subjects: "list[int] | None", metadata_json, mode) -> "list[list[tuple[int, str, int, float]]]")]
    fn search(
        &self,
        py: Python<'_>,
        probes: PyReadonlyArray2<'_, f32>,
        space: &EmbeddingSpace,
        top_k: usize,
        min_similarity: Option<f32>,
        subjects: Option<Vec<u64>>,
        metadata_json: Option<&str>,
        mode: &str,
    ) -> Outcome<Vec<Vec<Candidate>>> {
        let probes = embeddings(&probes, space)?;
        let (filter, mode) = (filter(subjects, metadata_json)?, search_mode(mode)?);
        let params = SearchParams { top_k, min_similarity, filter, mode };
        let found = self.search_in(py, |gallery| gallery.search(&probes, &params))?;
        Ok(found.into_iter().map(candidates).collect())
    }

    /// For each probe (a row) the candidates, the threshold that was applied, and the number of templates that were compared.
    #[pyo3(signature = (probes: "numpy.ndarray", space, top_k, rule, rate, threshold, subjects: "list[int] | None", metadata_json, mode) -> "list[tuple[list[tuple[int, str, int, float]], Threshold, int]]")]
    fn identify(
        &self,
        py: Python<'_>,
        probes: PyReadonlyArray2<'_, f32>,
        space: &EmbeddingSpace,
        top_k: usize,
        rule: &str,
        rate: f64,
        threshold: Option<&Threshold>,
        subjects: Option<Vec<u64>>,
        metadata_json: Option<&str>,
        mode: &str,
    ) -> Outcome<Vec<(Vec<Candidate>, Threshold, u64)>> {
        let probes = embeddings(&probes, space)?;
        let params = IdentifyParams {
            top_k,
            decision: decision(rule, rate, threshold)?,
            filter: filter(subjects, metadata_json)?,
            mode: search_mode(mode)?,
        };
        let answers = self.search_in(py, |gallery| gallery.identify_batch(&probes, &params))?;
        let answers = answers.into_iter();
        Ok(answers.map(|answer| (candidates(answer.candidates), answer.threshold.into(), answer.templates)).collect())
    }

    fn compact(&self, py: Python<'_>) -> Outcome<()> {
        self.work(py, |gallery| gallery.compact())
    }

    /// Writes the approximate index beside the file; nothing for other galleries.
    fn save_index(&self, py: Python<'_>) -> Outcome<()> {
        let gallery = self.opened()?;
        match gallery.as_local() {
            Some(gallery) => Ok(py.detach(|| gallery.save_index())?),
            None => Ok(()),
        }
    }

    /// Bytes in memory: records, vectors, approximate index; None for a gallery on a server.
    #[pyo3(signature = () -> "tuple[int, int, int] | None")]
    fn memory_use(&self) -> Outcome<Option<(usize, usize, usize)>> {
        let gallery = self.opened()?;
        Ok(gallery.as_local().map(|gallery| {
            let used = gallery.memory_use();
            (used.records, used.vectors, used.approximate)
        }))
    }

    /// Pairs of subjects that are alike: (id, id, similarity).
    #[pyo3(signature = (min_similarity, progress: "collections.abc.Callable[[int], object] | None") -> "list[tuple[int, int, float]]")]
    fn find_duplicates(
        &self,
        py: Python<'_>,
        min_similarity: f32,
        progress: Option<Py<PyAny>>,
    ) -> Outcome<Vec<(u64, u64, f32)>> {
        let (gallery, pool) = (self.opened()?, pool::current()?);
        let found = counting(py, progress.as_ref(), |tell| {
            pool.install(|| face_core::gallery::find_duplicates(&*gallery, min_similarity, tell))
        })??;
        Ok(found.into_iter().map(|pair| (pair.first.0, pair.second.0, pair.similarity)).collect())
    }

    /// Writes the gallery as lines of JSON. Returns the numbers of subjects and templates.
    #[pyo3(signature = (path: "str", progress: "collections.abc.Callable[[int], object] | None") -> "tuple[int, int]")]
    fn export(&self, py: Python<'_>, path: PathBuf, progress: Option<Py<PyAny>>) -> Outcome<(u64, u64)> {
        let gallery = self.opened()?;
        let count = counting(py, progress.as_ref(), |tell| face_core::gallery::export_file(&*gallery, &path, tell))??;
        Ok((count.subjects, count.templates))
    }

    /// Enrols what `export` has written. Returns the numbers of subjects and templates, and of subjects that were left out
    /// because they have no template, and because their names are enrolled.
    #[pyo3(signature = (path: "str", skip_existing, progress: "collections.abc.Callable[[int], object] | None") -> "tuple[int, int, int, int]")]
    fn import_file(
        &self,
        py: Python<'_>,
        path: PathBuf,
        skip_existing: bool,
        progress: Option<Py<PyAny>>,
    ) -> Outcome<(u64, u64, u64, u64)> {
        let gallery = self.opened()?;
        let existing = if skip_existing { Existing::Skip } else { Existing::Refuse };
        let report = counting(py, progress.as_ref(), |tell| {
            let origin = path.display().to_string();
            let file = std::fs::File::open(&path).map_err(|source| face_core::Error::Io {
                action: "read",
                path: path.clone(),
                source,
            })?;
            let mut reader = BufReader::new(file);
            let space = face_core::gallery::read_space(&mut reader, &origin)?;
            face_core::gallery::import(&*gallery, &space, existing, &mut reader, &origin, tell)
        })??;
        Ok((report.subjects, report.templates, report.skipped, report.existing))
    }
}

/// The groups of faces of one person, as a label for each row.
#[pyfunction]
#[pyo3(signature = (rows: "numpy.ndarray", space, min_similarity) -> "list[int]")]
pub(crate) fn cluster(
    py: Python<'_>,
    rows: PyReadonlyArray2<'_, f32>,
    space: &EmbeddingSpace,
    min_similarity: f32,
) -> Outcome<Vec<usize>> {
    let embeddings = embeddings(&rows, space)?;
    Ok(on_all_cores(py, || face_core::gallery::cluster(&embeddings, min_similarity))??)
}

/// The names of the galleries in a database.
#[pyfunction]
#[pyo3(signature = (server: "tuple[str, str, str | None, bool, int, float, float, tuple[int, int, int, int] | None]"))]
pub(crate) fn postgres_names(py: Python<'_>, server: ServerParts) -> Outcome<Vec<String>> {
    #[cfg(feature = "postgres")]
    {
        let params = server.params()?;
        Ok(py.detach(|| PostgresGallery::names(&params))?)
    }
    #[cfg(not(feature = "postgres"))]
    {
        let _ = (py, server);
        Err(invalid("this build has no galleries on servers (feature `postgres`)").into())
    }
}

/// Where a gallery on a server is, and how it is talked to.
#[derive(FromPyObject)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) struct ServerParts(
    /// Address.
    String,
    /// Name of the gallery.
    String,
    /// PEM file of authorities.
    Option<PathBuf>,
    /// Whether connections are encrypted.
    bool,
    /// Most connections.
    usize,
    /// Seconds until a connection must stand.
    f64,
    /// Seconds that a statement may take.
    f64,
    /// m, ef_construction, ef_search, min_templates.
    Option<(u32, u32, u32, u64)>,
);

#[cfg(feature = "postgres")]
impl ServerParts {
    fn params(self) -> Outcome<PostgresParams> {
        let Self(url, gallery, root_certificate, tls, pool_size, connect_timeout, statement_timeout, hnsw) = self;
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| Raised::from(invalid(format!("{name} is {seconds}: {error}"))))
        };
        let mut params = PostgresParams::new(url);
        params.gallery = gallery;
        params.pool_size = pool_size;
        params.connect_timeout = seconds("connect_timeout", connect_timeout)?;
        params.statement_timeout = seconds("statement_timeout", statement_timeout)?;
        params.tls = match (tls, root_certificate) {
            (true, None) => PostgresTls::Require,
            (true, Some(path)) => PostgresTls::RootCertificate(path),
            (false, None) => PostgresTls::Disable,
            (false, Some(_)) => return Err(invalid("root_certificate is given, and tls is False").into()),
        };
        if let Some((m, ef_construction, ef_search, min_templates)) = hnsw {
            params.index = PostgresIndex::Hnsw(HnswParams { m, ef_construction, ef_search, min_templates });
        }
        Ok(params)
    }
}
