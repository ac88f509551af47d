//! Connections to the server: a pool of them, and what their failures mean.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::time::Duration;

use deadpool_postgres::{
    ClientWrapper, GenericClient, Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod,
    Runtime as PoolRuntime, TimeoutType, Transaction,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Config, IsolationLevel, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::params::{HnswParams, PostgresParams, PostgresTls, invalid};
use crate::error::{Error, Result};

/// What the server is given to answer, over the time that it may take itself.
const GRACE: Duration = Duration::from_secs(5);
const NOT_IN_TIME: &str = "no connection was made in time (connect_timeout)";

/// Runs asynchronous work on threads of its own, so that a call may come from anywhere: a plain thread, a pool's, or one that
/// belongs to another asynchronous runtime.
pub(super) struct Worker(Option<Runtime>);

impl Worker {
    pub(super) fn new(call: &Call) -> Result<Self> {
        let built = Builder::new_multi_thread().worker_threads(2).thread_name("face-postgres").enable_all().build();
        built.map(|runtime| Self(Some(runtime))).map_err(|error| call.refused(format!("no threads for it: {error}")))
    }

    /// Waits for the work.
    pub(super) fn run<T: Send + 'static>(
        &self,
        call: &Call,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let lost = || call.refused("the work ended without an answer".into());
        let runtime = self.0.as_ref().ok_or_else(lost)?;
        let (sender, receiver) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Nobody waits any more when the receiver is gone.
            let _ = sender.send(work.await);
        });
        receiver.recv().unwrap_or_else(|_| Err(lost()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed inside of another runtime.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A pool of connections. Each is tried before it is handed out, and replaced when it has gone stale: nothing that reached
/// the server is ever sent twice.
pub(super) fn pool(
    params: &PostgresParams,
    config: Config,
    hnsw: &Arc<RwLock<Option<HnswParams>>>,
    call: &Call,
) -> Result<Pool> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Verified };
    let manager = match config.get_ssl_mode() {
        SslMode::Disable => Manager::from_config(config, NoTls, recycling),
        _ => Manager::from_config(config, tls(&params.tls)?, recycling),
    };
    let PostgresParams { connect_timeout, statement_timeout, .. } = *params;
    let hnsw = Arc::clone(hnsw);
    let hook = Hook::async_fn(move |client: &mut ClientWrapper, _| {
        let setup = setup(statement_timeout, *hnsw.read().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move {
            // The pool's own limits do not hold for this.
            match tokio::time::timeout(connect_timeout, client.batch_execute(&setup)).await {
                Ok(answer) => answer.map_err(HookError::Backend),
                Err(_) => Err(HookError::message(NOT_IN_TIME)),
            }
        })
    });
    let timeout = Some(connect_timeout);
    Pool::builder(manager)
        .max_size(params.pool_size)
        .runtime(PoolRuntime::Tokio1)
        .wait_timeout(Some(connect_timeout + statement_timeout))
        .create_timeout(timeout)
        .recycle_timeout(timeout)
        .post_create(hook)
        .build()
        .map_err(|error| call.refused(error.to_string()))
}

/// Names are looked up in pgvector's schema alone, whatever the role's own settings are.
pub(super) const SEARCH_PATH: &str = "SELECT set_config('search_path', quote_ident(nspname) || ', pg_temp', false) \
     FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'";

fn setup(statement_timeout: Duration, hnsw: Option<HnswParams>) -> String {
    // A transaction whose client has vanished must not hold the gallery.
    let mut setup = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; {SEARCH_PATH};",
        statement_timeout.as_millis(),
        (statement_timeout + GRACE).as_millis()
    );
    if let Some(HnswParams { ef_search, .. }) = hnsw {
        // Filters leave out what the graph gives: then it is asked for more, in the order of the distances.
        setup += &format!("SET hnsw.ef_search = {ef_search}; SET hnsw.iterative_scan = strict_order;");
    }
    setup
}

fn tls(tls: &PostgresTls) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid("tls", error.to_string(), "a version that the library knows"))?
        .with_root_certificates(root_certificates(tls)?)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// The authorities to be trusted.
fn root_certificates(tls: &PostgresTls) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let PostgresTls::RootCertificate(path) = tls else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            let value = "Require, and this machine trusts no authority".into();
            return Err(invalid("tls", value, "RootCertificate, with a file of authorities"));
        }
        return Ok(roots);
    };
    let unreadable = |error: String| {
        invalid("the root certificate", format!("{} ({error})", path.display()), "a PEM file of certificates")
    };
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unreadable("without a certificate".into()));
    }
    Ok(roots)
}

/// What is being done to which gallery: the words of its errors, and the time that it may take.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) action: &'static str,
    pub(super) gallery: Arc<str>,
    /// Of one statement, with the grace; `None` for no limit.
    limit: Option<Duration>,
    statement_timeout: Duration,
}

/// Why a statement gave no answer.
pub(super) enum Failure {
    Silence(Duration),
    Server(tokio_postgres::Error),
}

impl Failure {
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Silence(_) => None,
            Self::Server(error) => error.code(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::Silence(limit) => format!("the server gave no answer within {limit:?}"),
            Self::Server(error) => reason(error),
        }
    }
}

impl Call {
    pub(super) fn new(action: &'static str, gallery: Arc<str>, statement_timeout: Duration) -> Self {
        Self { action, gallery, limit: Some(statement_timeout + GRACE), statement_timeout }
    }

    /// For statements that are sent so many at once.
    pub(super) fn pipelined(mut self, statements: u32) -> Self {
        self.limit = Some(self.statement_timeout * statements + GRACE);
        self
    }

    /// For work that takes as long as it takes.
    pub(super) fn unlimited(mut self) -> Self {
        self.limit = None;
        self
    }

    pub(super) fn refused(&self, reason: String) -> Error {
        Error::GalleryStore { action: self.action, gallery: self.gallery.to_string(), reason }
    }

    pub(super) fn not_enrolled(&self, what: String) -> Error {
        Error::NotEnrolled { gallery: self.gallery.to_string(), what }
    }

    pub(super) fn error(&self, failure: &Failure) -> Error {
        match failure.code() {
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                return Error::GalleryReadOnly { gallery: self.gallery.to_string() };
            }
            Some(&SqlState::QUERY_CANCELED) => {
                let limit = self.statement_timeout;
                return self.refused(format!("{} (statement_timeout is {limit:?})", failure.reason()));
            }
            _ => {}
        }
        self.refused(failure.reason())
    }

    /// A connection of the pool.
    pub(super) async fn connect(&self, pool: &Pool) -> Result<Object> {
        pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                self.refused(format!("all {} connections are in use (pool_size)", pool.status().max_size))
            }
            PoolError::Timeout(_) => self.refused(NOT_IN_TIME.into()),
            PoolError::PostCreateHook(HookError::Message(reason)) => self.refused(reason.into()),
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                self.error(&Failure::Server(error))
            }
            other => self.refused(other.to_string()),
        })
    }

    /// Waits for a statement, but not for ever.
    pub(super) async fn within<T>(
        &self,
        statement: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> std::result::Result<T, Failure> {
        let Some(limit) = self.limit else { return statement.await.map_err(Failure::Server) };
        match tokio::time::timeout(limit, statement).await {
            Ok(answer) => answer.map_err(Failure::Server),
            Err(_) => Err(Failure::Silence(limit)),
        }
    }

    pub(super) async fn begin<'a>(&self, client: &'a mut Object) -> Result<Transaction<'a>> {
        let builder = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        self.within(builder.start()).await.map_err(|failure| self.error(&failure))
    }

    pub(super) async fn commit(&self, transaction: Transaction<'_>) -> Result<()> {
        self.within(transaction.commit()).await.map_err(|failure| match failure.code() {
            // Refused by the server: rolled back.
            Some(code) if code.code().starts_with("23") || code.code().starts_with("40") => self.error(&failure),
            _ => self.refused(format!(
                "the connection broke while the change was being confirmed, and it was kept as a whole or not at all: {}",
                failure.reason()
            )),
        })
    }

    pub(super) async fn try_execute(
        &self,
        client: &impl GenericClient,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<u64, Failure> {
        self.within(async {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, params).await
        })
        .await
    }

    pub(super) async fn execute(
        &self,
        client: &impl GenericClient,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64> {
        self.try_execute(client, sql, params).await.map_err(|failure| self.error(&failure))
    }

    pub(super) async fn rows(
        &self,
        client: &impl GenericClient,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let rows = self.within(async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, params).await
        });
        rows.await.map_err(|failure| self.error(&failure))
    }

    /// Statements without parameters and without an answer.
    pub(super) async fn batch(&self, client: &impl GenericClient, sql: &str) -> Result<()> {
        self.within(client.batch_execute(sql)).await.map_err(|failure| self.error(&failure))
    }

    /// Rows through COPY, in PostgreSQL's binary format.
    pub(super) async fn copy(
        &self,
        transaction: &Transaction<'_>,
        sql: &str,
        types: &[Type],
        rows: &[Values],
    ) -> std::result::Result<u64, Failure> {
        self.within(async {
            let statement = transaction.prepare_cached(sql).await?;
            let sink = transaction.copy_in(&statement).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, types));
            for row in rows {
                writer.as_mut().write(&borrowed(row)).await?;
            }
            writer.finish().await
        })
        .await
    }

    /// A column of a row.
    pub(super) fn get<'a, T: FromSql<'a>>(&self, row: &'a Row, column: usize) -> Result<T> {
        row.try_get(column).map_err(|error| self.error(&Failure::Server(error)))
    }
}

/// Values of a row or a statement.
pub(super) type Values = Vec<Box<dyn ToSql + Sync + Send>>;

pub(super) fn borrowed(values: &Values) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
}

/// An error with its causes, and for one of the server's with what it adds.
pub(super) fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(answer) = error.as_db_error() {
        let mut text = answer.message().to_owned();
        for more in [answer.detail(), answer.hint()].into_iter().flatten() {
            text += &format!("; {more}");
        }
        return text;
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
