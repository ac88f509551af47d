//! The gallery on one machine: in memory, or in one file.

mod file;
#[cfg(feature = "hnsw")]
mod sidecar;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use self::file::corrupt;
use self::state::{Plan, State};
use self::store::{About, Change, Store, SubjectRecord};
use super::identification::{Candidate, SearchMode, SearchParams};
use super::records::{
    GalleryCount, Metadata, NewSubject, NewTemplate, Page, Subject, SubjectFilter, SubjectId, TemplateId,
    check_metadata, check_name,
};
use super::search::{Hit, Query};
use super::{Gallery, check_space, check_subjects, check_templates};
use crate::error::{Error, Result};
#[cfg(feature = "hnsw")]
use crate::stage::Metric;
use crate::stage::{Embedding, EmbeddingSpace, Threshold, check_thresholds};

pub(super) use store::is_gallery;

pub use super::search::{ApproximateParams, Precision};

/// Settings of a local gallery. They are no part of its file: the same gallery can be opened in several ways.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalGalleryParams {
    /// How vectors are compared at first.
    pub precision: Precision,
    /// Keep an approximate index too, beside the file under the name `FILE.hnsw` (feature `hnsw`). A gallery whose metric is
    /// [group-aware](crate::Metric::GroupAware) has none.
    pub approximate: Option<ApproximateParams>,
}

impl LocalGalleryParams {
    fn validate(&self) -> Result<()> {
        match &self.approximate {
            Some(_) if cfg!(not(feature = "hnsw")) => Err(Error::InvalidParameter {
                parameter: "approximate",
                value: "given".into(),
                expected: "left out: this build has no approximate search (feature `hnsw`)".into(),
            }),
            Some(params) => params.validate(),
            None => Ok(()),
        }
    }

    /// The settings of the approximate index, where there can be one.
    #[cfg(feature = "hnsw")]
    fn approximate_for(&self, metric: Metric) -> Option<&ApproximateParams> {
        self.approximate.as_ref().filter(|_| !matches!(metric, Metric::GroupAware(_)))
    }
}

/// Memory of a local gallery in bytes, by what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct MemoryUse {
    /// Names, metadata and what is known of templates, estimated.
    pub records: usize,
    /// Vectors and their keys.
    pub vectors: usize,
    /// The approximate index.
    pub approximate: usize,
}

/// A [`Gallery`] in memory, or in one file of this machine.
///
/// A file is read whole when it is opened, and vectors are searched in memory; changes are written to the file in one
/// transaction each, and are durable when the call returns: they survive the end of the process at any moment, and a full
/// disk. While a change is being written, searches go on.
///
/// One process writes: another one that opens the file meanwhile gets [`Error::GalleryInUse`]. Without a writer, any
/// number of processes may read.
pub struct LocalGallery {
    space: Arc<EmbeddingSpace>,
    params: LocalGalleryParams,
    path: Option<PathBuf>,
    /// One writer at a time holds it while it works; never held by a search.
    writer: Mutex<Writer>,
    /// Held for writing only while memory is changed.
    state: RwLock<State>,
}

/// Where changes are kept.
enum Writer {
    Memory,
    File(Store),
    /// The database stays open, because it holds the lock.
    ReadOnly {
        _store: Store,
    },
}

impl LocalGallery {
    /// An empty gallery that is gone with the process.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a space without dimensions, or settings that this build does not know.
    pub fn in_memory_with(space: Arc<EmbeddingSpace>, params: &LocalGalleryParams) -> Result<Self> {
        params.validate()?;
        check_thresholds(&space.thresholds)?;
        let state = State::new(About::new(&space), params)?;
        Ok(Self::assemble(state, params, None, Writer::Memory))
    }

    /// An empty gallery that is gone with the process.
    ///
    /// # Errors
    /// As [`in_memory_with`](Self::in_memory_with).
    pub fn in_memory(space: Arc<EmbeddingSpace>) -> Result<Self> {
        Self::in_memory_with(space, &LocalGalleryParams::default())
    }

    /// An empty gallery in a new file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file is there already or cannot be made; [`Error::GalleryStore`]; as
    /// [`in_memory_with`](Self::in_memory_with).
    pub fn create_with(
        path: impl AsRef<Path>,
        space: Arc<EmbeddingSpace>,
        params: &LocalGalleryParams,
    ) -> Result<Self> {
        params.validate()?;
        check_thresholds(&space.thresholds)?;
        // A process may change its working folder while it has the gallery open.
        let path = &std::path::absolute(path.as_ref()).map_err(Error::io("create", path.as_ref()))?;
        let about = About::new(&space);
        let state = State::new(about.clone(), params)?;
        let store = Store::create(path, &about)?;
        Ok(Self::assemble(state, params, Some(path.to_owned()), Writer::File(store)))
    }

    /// As [`create_with`](Self::create_with), with the default settings.
    ///
    /// # Errors
    /// As [`create_with`](Self::create_with).
    pub fn create(path: impl AsRef<Path>, space: Arc<EmbeddingSpace>) -> Result<Self> {
        Self::create_with(path, space, &LocalGalleryParams::default())
    }

    /// Opens a gallery for reading and writing. All checksums are verified.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such file or it may not be written; [`Error::GalleryInUse`];
    /// [`Error::GalleryCorrupt`] for a damaged file, or one that is no gallery; [`Error::GalleryVersion`].
    pub fn open_with(path: impl AsRef<Path>, params: &LocalGalleryParams) -> Result<Self> {
        Self::open_file(path.as_ref(), params, true)
    }

    /// As [`open_with`](Self::open_with), with the default settings.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &LocalGalleryParams::default())
    }

    /// Opens a gallery for reading alone: any number of processes may, as long as none writes. Nothing is written, so that
    /// the file may lie on a read-only medium.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_read_only_with(path: impl AsRef<Path>, params: &LocalGalleryParams) -> Result<Self> {
        Self::open_file(path.as_ref(), params, false)
    }

    /// As [`open_read_only_with`](Self::open_read_only_with), with the default settings.
    ///
    /// # Errors
    /// As [`open_read_only_with`](Self::open_read_only_with).
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_read_only_with(path, &LocalGalleryParams::default())
    }

    fn open_file(path: &Path, params: &LocalGalleryParams, writable: bool) -> Result<Self> {
        params.validate()?;
        // What a symbolic link leads to is what is read, locked and replaced.
        let path = &path.canonicalize().map_err(Error::io("open", path))?;
        let (store, state) = load(path, params, writable)?;
        if writable {
            // Left behind by a process that was killed; nobody else can be writing it.
            remove_if_there(&unfinished_index(path))?;
        }
        let writer = if writable { Writer::File(store) } else { Writer::ReadOnly { _store: store } };
        Ok(Self::assemble(state, params, Some(path.to_owned()), writer))
    }

    fn assemble(state: State, params: &LocalGalleryParams, path: Option<PathBuf>, writer: Writer) -> Self {
        let space = Arc::new(state.about.space.clone());
        Self { space, params: params.clone(), path, writer: Mutex::new(writer), state: RwLock::new(state) }
    }

    /// The file, for a gallery that has one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Memory that the gallery takes.
    pub fn memory_use(&self) -> MemoryUse {
        self.state().memory_use()
    }

    /// Version of the format that this library writes.
    pub const FORMAT_VERSION: u32 = store::FORMAT;

    /// Writes the approximate index beside the file, so that the next opening need not build it. Done when the gallery is
    /// dropped, too. Nothing to do without one.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::GalleryStore`].
    pub fn save_index(&self) -> Result<()> {
        #[cfg(feature = "hnsw")]
        if let Some(path) = &self.path
            && let Writer::File(_) = &*self.writer.lock().unwrap_or_else(PoisonError::into_inner)
        {
            let state = self.state();
            if let Some(index) = &state.approximate {
                sidecar::save(path, &state.about, index, state.exact.len())?;
            }
        }
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_enrolled(&self, what: String) -> Error {
        Error::NotEnrolled { gallery: self.name(), what }
    }

    /// Plans a change on what there is, keeps it in the store, and then takes it over.
    fn change<T>(&self, plan: impl FnOnce(&State) -> Result<(Vec<Change>, T)>) -> Result<T> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *writer {
            Writer::Memory => {}
            Writer::ReadOnly { .. } => return Err(Error::GalleryReadOnly { gallery: self.name() }),
            Writer::File(store) => self.revive(store)?,
        }
        let (changes, outcome) = plan(&self.state())?;
        if let Writer::File(store) = &mut *writer {
            store.commit(&changes)?;
        }
        #[cfg(feature = "hnsw")]
        self.index(&changes);
        let applied = self.state.write().unwrap_or_else(PoisonError::into_inner).apply(changes);
        if let (Err(_), Writer::File(store)) = (&applied, &mut *writer) {
            // The file is right, and memory is not: the next change reads the file again.
            store.close();
        }
        applied.map(|()| outcome)
    }

    /// Adds new vectors to the approximate index, before they are found at all and while searches go on.
    ///
    /// An index that cannot grow is given up: searches are exact from then on, until the gallery is opened again.
    #[cfg(feature = "hnsw")]
    fn index(&self, changes: &[Change]) {
        let Some(index) = self.state().approximate.clone() else { return };
        let added = changes.iter().filter_map(|change| match change {
            Change::PutTemplate(record, vector) => Some((record.template.id.0, vector.as_slice())),
            _ => None,
        });
        if index.insert_batch(&added.collect::<Vec<_>>()).is_err() {
            self.state.write().unwrap_or_else(PoisonError::into_inner).approximate = None;
        }
    }

    /// After a failed change: reads again what the file holds.
    fn revive(&self, store: &mut Store) -> Result<()> {
        if let (true, Some(path)) = (store.is_broken(), &self.path) {
            let (fresh, state) = load(path, &self.params, true)?;
            *store = fresh;
            *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        }
        Ok(())
    }

    /// No lock is held while vectors are compared: a search works on a snapshot.
    fn find_in(&self, probes: &[&[f32]], params: &SearchParams) -> Result<Vec<Vec<Hit>>> {
        let SearchParams { top_k, min_similarity, filter, mode } = params;
        let accepts = |group| self.state().accepts(filter, SubjectId(group));
        let accept = (!filter.is_all()).then_some(&accepts as &(dyn Fn(u64) -> bool + Sync));
        let query = Query { top_k: *top_k, min_similarity: *min_similarity, accept };
        #[cfg(feature = "hnsw")]
        {
            let index = self.state().approximate.clone();
            if let Some(index) = index {
                let is_large = self.state().exact.len() as u64 > index.params().min_templates;
                if *mode == SearchMode::Approximate || (*mode == SearchMode::Auto && is_large) {
                    return self.approximate_search(&index, probes, &query);
                }
            }
        }
        if *mode == SearchMode::Approximate {
            return Err(Error::InvalidParameter {
                parameter: "the search mode",
                value: "approximate".into(),
                expected: "exact: the gallery was opened without an approximate index".into(),
            });
        }
        let snapshot = self.state().exact.snapshot();
        Ok(snapshot.search(probes, &query))
    }

    /// Candidates from the graph, compared again exactly. A filter, or several templates of one subject, leave too few of
    /// them: then more are asked for.
    #[cfg(feature = "hnsw")]
    fn approximate_search(
        &self,
        index: &super::search::ApproximateIndex,
        probes: &[&[f32]],
        query: &Query<'_>,
    ) -> Result<Vec<Vec<Hit>>> {
        use rayon::prelude::*;
        let group_of = |key| self.state().exact.group(key);
        let one = |probe: &&[f32]| {
            let mut wanted = query.top_k.saturating_mul(2).max(10);
            loop {
                let mut keys = index.search(probe, wanted)?;
                let found = keys.len();
                // Behind the farthest that was found there is nobody who is more alike.
                let is_past = query.min_similarity.is_some()
                    && keys.last().is_some_and(|farthest| {
                        let alone = Query { accept: None, top_k: 1, ..*query };
                        self.state().exact.rank(std::slice::from_ref(farthest), probe, &alone).is_empty()
                    });
                if let Some(accept) = query.accept {
                    keys.retain(|key| group_of(*key).is_some_and(accept));
                }
                // Accepted already; the filter looks at the state itself, and must not while it is being looked at.
                let hits = self.state().exact.rank(&keys, probe, &Query { accept: None, ..*query });
                if hits.len() >= query.top_k || found < wanted || is_past {
                    return Ok(hits);
                }
                wanted = wanted.saturating_mul(4);
                if wanted > MAX_WANTED {
                    // The filter lets hardly anybody pass, or more is wanted than a graph is good for.
                    let snapshot = self.state().exact.snapshot();
                    return Ok(snapshot.search(&[probe], query).into_iter().next().unwrap_or_default());
                }
            }
        };
        probes.par_iter().map(one).collect()
    }
}

/// More candidates than this are not asked of the graph.
#[cfg(feature = "hnsw")]
const MAX_WANTED: usize = 4096;

/// Opens the file, reads it whole, and brings the approximate index up to it.
fn load(path: &Path, params: &LocalGalleryParams, writable: bool) -> Result<(Store, State)> {
    let (store, content) = Store::open(path, writable)?;
    #[allow(unused_mut)]
    let mut state = State::load(content, params)?.map_err(|reason| corrupt(path, &reason))?;
    #[cfg(feature = "hnsw")]
    if let Some(params) = params.approximate_for(state.about.space.metric) {
        state.approximate =
            Some(Arc::new(sidecar::load_or_build(path, &state.about, params, &state.exact.snapshot())?));
    }
    Ok((store, state))
}

impl Gallery for LocalGallery {
    fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "in memory".to_owned(), |path| path.display().to_string())
    }

    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }

    fn as_local(&self) -> Option<&LocalGallery> {
        Some(self)
    }

    fn enroll_batch(&self, subjects: Vec<NewSubject>) -> Result<Vec<SubjectId>> {
        check_subjects(self, &subjects)?;
        self.change(|state| {
            let mut names = HashSet::new();
            for subject in &subjects {
                if state.id_of(&subject.name).is_some() || !names.insert(subject.name.as_str()) {
                    return Err(Error::NameTaken { gallery: self.name(), name: subject.name.clone() });
                }
            }
            let Plan { changes, subjects, .. } = state.plan_subjects(subjects);
            Ok((changes, subjects))
        })
    }

    fn add_templates(&self, subject: SubjectId, templates: Vec<NewTemplate>) -> Result<Vec<TemplateId>> {
        check_templates(self, &templates)?;
        self.change(|state| {
            state.entry(subject).ok_or_else(|| self.not_enrolled(format!("subject {subject}")))?;
            let Plan { changes, templates, .. } = state.plan_templates(subject, templates);
            Ok((changes, templates))
        })
    }

    fn rename(&self, subject: SubjectId, name: &str) -> Result<()> {
        check_name(name)?;
        self.change(|state| {
            let entry = state.entry(subject).ok_or_else(|| self.not_enrolled(format!("subject {subject}")))?;
            if state.id_of(name).is_some_and(|other| other != subject) {
                return Err(Error::NameTaken { gallery: self.name(), name: name.to_owned() });
            }
            let record = SubjectRecord { name: name.to_owned(), metadata: entry.metadata.clone() };
            Ok((vec![Change::PutSubject(subject, record)], ()))
        })
    }

    fn set_metadata(&self, subject: SubjectId, metadata: Metadata) -> Result<()> {
        check_metadata(&metadata)?;
        self.change(|state| {
            let entry = state.entry(subject).ok_or_else(|| self.not_enrolled(format!("subject {subject}")))?;
            Ok((vec![Change::PutSubject(subject, SubjectRecord { name: entry.name.clone(), metadata })], ()))
        })
    }

    fn set_thresholds(&self, thresholds: Vec<Threshold>) -> Result<()> {
        check_thresholds(&thresholds)?;
        self.change(|state| {
            let mut about = state.about.clone();
            about.space.thresholds = thresholds;
            Ok((vec![Change::About(Box::new(about))], ()))
        })
    }

    fn remove_subject(&self, subject: SubjectId) -> Result<()> {
        self.change(|state| {
            state.entry(subject).ok_or_else(|| self.not_enrolled(format!("subject {subject}")))?;
            Ok((state.plan_removal(subject), ()))
        })
    }

    fn remove_template(&self, template: TemplateId) -> Result<()> {
        self.change(|state| {
            state.owner(template).ok_or_else(|| self.not_enrolled(format!("template {template}")))?;
            Ok((vec![Change::RemoveTemplate(template)], ()))
        })
    }

    fn subject(&self, subject: SubjectId) -> Result<Subject> {
        self.state().subject(subject).ok_or_else(|| self.not_enrolled(format!("subject {subject}")))
    }

    fn find(&self, name: &str) -> Result<Option<Subject>> {
        let state = self.state();
        Ok(state.id_of(name).and_then(|id| state.subject(id)))
    }

    fn list(&self, page: &Page) -> Result<Vec<Subject>> {
        page.validate()?;
        Ok(self.state().page(page))
    }

    fn count(&self) -> Result<GalleryCount> {
        self.count_matching(&SubjectFilter::default())
    }

    fn count_matching(&self, filter: &SubjectFilter) -> Result<GalleryCount> {
        Ok(self.state().count(filter))
    }

    fn embedding(&self, template: TemplateId) -> Result<Embedding> {
        let state = self.state();
        let vector = state.exact.vector(template.0);
        let vector = vector.ok_or_else(|| self.not_enrolled(format!("template {template}")))?;
        Ok(Embedding::restored(vector.to_vec(), Arc::clone(&self.space)))
    }

    fn search(&self, probes: &[Embedding], params: &SearchParams) -> Result<Vec<Vec<Candidate>>> {
        params.validate()?;
        for probe in probes {
            check_space(self, probe)?;
            super::search::check_length(probe.vector())?;
        }
        let vectors: Vec<&[f32]> = probes.iter().map(Embedding::vector).collect();
        let found = self.find_in(&vectors, params)?;
        let state = self.state();
        // A subject that was removed meanwhile is nobody any more.
        let candidate = |hit: Hit| {
            let subject = SubjectId(hit.group);
            let name = state.entry(subject)?.name.clone();
            Some(Candidate { subject, name, template: TemplateId(hit.key), similarity: hit.similarity as f32 })
        };
        Ok(found.into_iter().map(|hits| hits.into_iter().filter_map(candidate).collect()).collect())
    }

    fn compact(&self) -> Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *writer {
            // Records in memory give their space back at once.
            Writer::Memory => self.rebuild_index(),
            Writer::ReadOnly { .. } => Err(Error::GalleryReadOnly { gallery: self.name() }),
            Writer::File(store) => {
                self.revive(store)?;
                // An index on disk holds removed vectors too, whoever has written it.
                if let Some(path) = &self.path {
                    remove_if_there(&index_path(path))?;
                }
                store.compact()?;
                self.rebuild_index()
            }
        }
    }
}

impl LocalGallery {
    /// A graph keeps removed vectors as stepping stones; a new one does not.
    fn rebuild_index(&self) -> Result<()> {
        #[cfg(feature = "hnsw")]
        if let Some(params) = self.params.approximate_for(self.space.metric) {
            let snapshot = self.state().exact.snapshot();
            let fresh = sidecar::build(&self.space, params, &snapshot)?;
            self.state.write().unwrap_or_else(PoisonError::into_inner).approximate = Some(Arc::new(fresh));
        }
        Ok(())
    }
}

/// The index file beside a gallery.
fn index_path(gallery: &Path) -> PathBuf {
    with_suffix(gallery, ".hnsw")
}

/// The index file while it is being written.
fn unfinished_index(gallery: &Path) -> PathBuf {
    with_suffix(gallery, ".hnsw.saving")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn remove_if_there(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

impl Drop for LocalGallery {
    fn drop(&mut self) {
        // The index can be built again from the records: that it could not be saved costs time, and nothing else.
        let _ = self.save_index();
    }
}

impl About {
    fn new(space: &EmbeddingSpace) -> Self {
        Self {
            format: store::FORMAT,
            id: uuid::Uuid::new_v4(),
            space: space.clone(),
            next_subject: 1,
            next_template: 1,
        }
    }
}
