//! A gallery on a PostgreSQL server with pgvector.

mod connection;
mod params;
mod records;
mod schema;
mod search;

use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};

use deadpool_postgres::Pool;

use self::connection::{Call, Worker, pool};
pub use self::params::{HnswParams, PostgresIndex, PostgresParams, PostgresTls};
use self::schema::GalleryRow;
use self::search::PIPELINE;
use super::identification::{Candidate, SearchParams};
use super::records::{
    GalleryCount, Metadata, NewSubject, NewTemplate, Page, Subject, SubjectFilter, SubjectId, TemplateId,
    check_metadata, check_name,
};
use super::{Gallery, check_space, check_subjects, check_templates};
use crate::error::Result;
use crate::stage::{Embedding, EmbeddingSpace, Threshold, check_thresholds};

/// A [`Gallery`] on a PostgreSQL server with pgvector, for any number of machines that read and write.
///
/// Each call takes a connection of a pool and blocks until the server has answered; it may come from any thread, also from
/// one of an asynchronous runtime (which it then holds up). A change is one transaction. When the server is away, or goes in
/// the middle, the call is an error and nothing of the change is kept; the same gallery works again as soon as the server is
/// back.
///
/// Numbers in metadata are kept as PostgreSQL's `numeric`: a whole number that was written with an exponent comes back
/// without one.
///
/// See the chapter [PostgreSQL](crate::guide::postgres) of the manual for setting up, roles, scaling, and what stays of
/// records that were removed.
pub struct PostgresGallery {
    worker: Worker,
    shared: Arc<Shared>,
}

/// What the work on the worker's threads needs.
struct Shared {
    name: Arc<str>,
    /// Number in the database.
    id: i64,
    space: Arc<EmbeddingSpace>,
    pool: Pool,
    params: PostgresParams,
    hnsw: Arc<RwLock<Option<HnswParams>>>,
}

impl PostgresGallery {
    /// A new gallery in a database. Sets up pgvector and the schema `face` where they are missing.
    ///
    /// # Errors
    /// [`Error::GalleryStore`](crate::Error::GalleryStore) when the gallery is there already, the server cannot be reached,
    /// has no pgvector, or refuses the role that; [`Error::GalleryVersion`](crate::Error::GalleryVersion) when the schema is
    /// newer than this library; [`Error::InvalidParameter`](crate::Error::InvalidParameter).
    pub fn create(params: &PostgresParams, space: Arc<EmbeddingSpace>) -> Result<Self> {
        check_thresholds(&space.thresholds)?;
        Self::connect("create", params, move |call, pool, params| async move {
            let mut client = call.connect(&pool).await?;
            schema::update(&call, &mut client, true).await?;
            schema::create(&call.unlimited(), &mut client, &params.gallery, &space, &params.index).await
        })
    }

    /// Opens a gallery. A schema of an older version is brought up to date. A server or a role that may only read is enough
    /// for reading.
    ///
    /// # Errors
    /// [`Error::GalleryStore`](crate::Error::GalleryStore) when there is no such gallery, naming those there are, or the
    /// server cannot be reached; [`Error::GalleryVersion`](crate::Error::GalleryVersion) when the schema is newer than this
    /// library; [`Error::InvalidParameter`](crate::Error::InvalidParameter), also when an HNSW index is asked for and not
    /// there.
    pub fn open(params: &PostgresParams) -> Result<Self> {
        Self::connect("open", params, |call, pool, params| async move {
            let mut client = call.connect(&pool).await?;
            schema::update(&call, &mut client, false).await?;
            let row = schema::open(&call, &client, &params.gallery).await?;
            if matches!(params.index, PostgresIndex::Hnsw(_)) && !row.is_indexed {
                let expected = "exact: the gallery has no such index (build one with set_index)";
                return Err(params::invalid("index", "HNSW".into(), expected));
            }
            Ok(row)
        })
    }

    /// Names of the galleries in a database, in alphabetical order; none where nobody has made one yet. The name in the parameters
    /// plays no part.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn names(params: &PostgresParams) -> Result<Vec<String>> {
        let config = params.parse()?;
        let call = Call::new("list", params.name(&config).into(), params.statement_timeout);
        let pool = pool(params, config, &Arc::default(), &call)?;
        Worker::new(&call)?.run(&call.clone(), async move {
            let mut client = call.connect(&pool).await?;
            if schema::version(&call, &client).await? == 0 {
                return Ok(vec![]);
            }
            schema::update(&call, &mut client, false).await?;
            schema::names(&call, &client).await
        })
    }

    fn connect<F, W>(action: &'static str, params: &PostgresParams, work: F) -> Result<Self>
    where
        F: FnOnce(Call, Pool, PostgresParams) -> W,
        W: Future<Output = Result<GalleryRow>> + Send + 'static,
    {
        let config = params.parse()?;
        let name: Arc<str> = params.name(&config).into();
        let call = Call::new(action, Arc::clone(&name), params.statement_timeout);
        let hnsw = Arc::new(RwLock::new(hnsw(&params.index)));
        let pool = pool(params, config, &hnsw, &call)?;
        let worker = Worker::new(&call)?;
        let row = worker.run(&call, work(call.clone(), pool.clone(), params.clone()))?;
        let (space, params) = (Arc::new(row.space), params.clone());
        Ok(Self { worker, shared: Arc::new(Shared { name, id: row.id, space, pool, params, hnsw }) })
    }

    /// Builds the gallery's HNSW index, in place of the one that may be there, or removes it. Searches go on until it is
    /// ready; changes wait.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for impossible settings, or more values than HNSW takes;
    /// [`Error::GalleryStore`](crate::Error::GalleryStore), also when the role does not own the tables.
    pub fn set_index(&self, index: &PostgresIndex) -> Result<()> {
        index.validate()?;
        let index = *index;
        self.run("index", Call::unlimited, move |shared, call| async move {
            let mut client = call.connect(&shared.pool).await?;
            schema::set_index(&call, &mut client, shared.id, &shared.space, &index).await
        })?;
        *self.shared.hnsw.write().unwrap_or_else(PoisonError::into_inner) = hnsw(&index);
        // Connections have its settings from their beginning.
        self.shared.pool.retain(|_, _| false);
        Ok(())
    }

    /// Runs work on the worker's threads.
    fn run<T, F, W>(&self, action: &'static str, adjust: fn(Call) -> Call, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Shared>, Call) -> W,
        W: Future<Output = Result<T>> + Send + 'static,
    {
        let call = adjust(self.shared.call(action));
        self.worker.run(&call, work(Arc::clone(&self.shared), call.clone()))
    }
}

impl Shared {
    fn call(&self, action: &'static str) -> Call {
        Call::new(action, Arc::clone(&self.name), self.params.statement_timeout)
    }

    fn hnsw(&self) -> Option<HnswParams> {
        *self.hnsw.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hnsw(index: &PostgresIndex) -> Option<HnswParams> {
    match index {
        PostgresIndex::Exact => None,
        PostgresIndex::Hnsw(params) => Some(*params),
    }
}

impl Gallery for PostgresGallery {
    fn name(&self) -> String {
        self.shared.name.to_string()
    }

    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.shared.space
    }

    fn enroll_batch(&self, subjects: Vec<NewSubject>) -> Result<Vec<SubjectId>> {
        check_subjects(self, &subjects)?;
        if subjects.is_empty() {
            return Ok(vec![]);
        }
        self.run("enrol in", |call| call, |shared, call| async move { shared.enroll(call, subjects).await })
    }

    fn add_templates(&self, subject: SubjectId, templates: Vec<NewTemplate>) -> Result<Vec<TemplateId>> {
        check_templates(self, &templates)?;
        let work = |shared: Arc<Shared>, call| async move { shared.add_templates(call, subject, templates).await };
        self.run("enrol in", |call| call, work)
    }

    fn rename(&self, subject: SubjectId, name: &str) -> Result<()> {
        check_name(name)?;
        let name = name.to_owned();
        self.run("change", |call| call, move |shared, call| async move { shared.rename(call, subject, name).await })
    }

    fn set_metadata(&self, subject: SubjectId, metadata: Metadata) -> Result<()> {
        check_metadata(&metadata)?;
        let work = |shared: Arc<Shared>, call| async move { shared.set_metadata(call, subject, metadata).await };
        self.run("change", |call| call, work)
    }

    fn set_thresholds(&self, thresholds: Vec<Threshold>) -> Result<()> {
        check_thresholds(&thresholds)?;
        self.run("change", |call| call, |shared, call| async move { shared.set_thresholds(call, thresholds).await })
    }

    fn remove_subject(&self, subject: SubjectId) -> Result<()> {
        self.run(
            "remove from",
            |call| call,
            move |shared, call| async move { shared.remove_subject(call, subject).await },
        )
    }

    fn remove_template(&self, template: TemplateId) -> Result<()> {
        let work = move |shared: Arc<Shared>, call| async move { shared.remove_template(call, template).await };
        self.run("remove from", |call| call, work)
    }

    fn subject(&self, subject: SubjectId) -> Result<Subject> {
        self.run("read", |call| call, move |shared, call| async move { shared.subject(call, subject).await })
    }

    fn find(&self, name: &str) -> Result<Option<Subject>> {
        let name = name.to_owned();
        self.run("read", |call| call, move |shared, call| async move { shared.find(call, name).await })
    }

    fn list(&self, page: &Page) -> Result<Vec<Subject>> {
        page.validate()?;
        let page = *page;
        self.run("read", |call| call, move |shared, call| async move { shared.list(call, page).await })
    }

    fn count(&self) -> Result<GalleryCount> {
        self.count_matching(&SubjectFilter::default())
    }

    fn count_matching(&self, filter: &SubjectFilter) -> Result<GalleryCount> {
        let filter = filter.clone();
        self.run("read", |call| call, move |shared, call| async move { shared.count(call, filter).await })
    }

    fn embedding(&self, template: TemplateId) -> Result<Embedding> {
        self.run("read", |call| call, move |shared, call| async move { shared.embedding(call, template).await })
    }

    fn search(&self, probes: &[Embedding], params: &SearchParams) -> Result<Vec<Vec<Candidate>>> {
        params.validate()?;
        for probe in probes {
            check_space(self, probe)?;
            super::search::check_length(probe.vector())?;
        }
        let (probes, params) = (probes.to_vec(), params.clone());
        let pipelined = |call: Call| call.pipelined(PIPELINE as u32);
        self.run("search", pipelined, move |shared, call| async move { shared.search(call, probes, params).await })
    }

    /// `VACUUM FULL` of the tables, for all galleries of the database: nobody reads or writes them meanwhile. What it leaves
    /// (the write-ahead log, replicas, backups) is in the [manual](crate::guide::postgres).
    fn compact(&self) -> Result<()> {
        self.run("compact", Call::unlimited, |shared, call| async move { shared.compact(call).await })
    }
}
