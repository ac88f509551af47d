//! The schema `face`: its version, and the rows that stand for whole galleries.

use deadpool_postgres::{GenericClient, Object};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Json;

use super::connection::{Call, SEARCH_PATH};
use super::params::{HnswParams, MAX_DIMENSION, MAX_HNSW_DIMENSION, PostgresIndex, invalid};
use crate::error::{Error, Result};
use crate::stage::{EmbeddingSpace, Metric};

/// Number N of the list brings version N - 1 to version N.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_galleries.sql"), include_str!("migrations/0002_metadata.sql")];
/// Any number that other programs do not lock.
const MIGRATION_LOCK: i64 = 0x6661_6365_0001;
/// Oldest pgvector: the first that goes on searching when a filter leaves too little.
const MIN_PGVECTOR: (u32, u32) = (0, 8);

/// A gallery, as the database has it.
pub(super) struct GalleryRow {
    pub(super) id: i64,
    pub(super) space: EmbeddingSpace,
    /// Whether there is an HNSW index.
    pub(super) is_indexed: bool,
}

/// Brings the schema to the newest version. Without `create`, a database without any is left as it is.
pub(super) async fn update(call: &Call, client: &mut Object, create: bool) -> Result<()> {
    let newest = MIGRATIONS.len();
    let found = version(call, &*client).await?;
    if found > newest {
        return Err(unknown_version(call, found, "open it with a newer version of this library".into()));
    }
    if found == 0 && !create {
        return Err(call.refused("the database holds no galleries: create one".into()));
    }
    if found < newest {
        migrate(call, client).await.map_err(|error| match error {
            Error::GalleryReadOnly { .. } => unknown_version(
                call,
                found,
                "the server takes no changes: open it once on the primary server, as the owner of the schema".into(),
            ),
            other => other,
        })?;
    }
    check_pgvector(call, &*client).await
}

/// Version of the schema; 0 where there is none.
pub(super) async fn version(call: &Call, client: &impl GenericClient) -> Result<usize> {
    let exists = "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = 'face' AND c.relname = 'schema_version'";
    if call.rows(client, exists, &[]).await?.is_empty() {
        return Ok(0);
    }
    let rows = call.rows(client, "SELECT coalesce(max(version), 0) FROM face.schema_version", &[]).await?;
    let version: i32 = rows.first().map_or(Ok(0), |row| call.get(row, 0))?;
    Ok(usize::try_from(version).unwrap_or(0))
}

fn unknown_version(call: &Call, found: usize, cure: String) -> Error {
    Error::GalleryVersion {
        gallery: call.gallery.to_string(),
        found: format!("schema version {found}"),
        supported: MIGRATIONS.len().to_string(),
        cure,
    }
}

/// All missing versions in one transaction; whoever else migrates waits until it is through.
async fn migrate(call: &Call, client: &mut Object) -> Result<()> {
    let call = &call.clone().unlimited();
    let transaction = call.begin(client).await?;
    call.rows(&transaction, "SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    create_extension(call, &transaction).await?;
    call.batch(
        &transaction,
        "CREATE SCHEMA IF NOT EXISTS face; CREATE TABLE IF NOT EXISTS face.schema_version \
         (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    )
    .await?;
    let found = version(call, &transaction).await?;
    for (number, migration) in MIGRATIONS.iter().enumerate().skip(found) {
        call.batch(&transaction, "SET LOCAL statement_timeout = 0").await?;
        call.batch(&transaction, migration).await?;
        let version = i32::try_from(number + 1).unwrap_or(i32::MAX);
        call.execute(&transaction, "INSERT INTO face.schema_version (version) VALUES ($1)", &[&version]).await?;
    }
    call.commit(transaction).await
}

async fn create_extension(call: &Call, client: &impl GenericClient) -> Result<()> {
    let known = call.rows(client, "SELECT 1 FROM pg_extension WHERE extname = 'vector'", &[]).await?;
    if known.is_empty() {
        let created = call.within(client.batch_execute("CREATE EXTENSION vector")).await;
        created.map_err(|failure| match (failure.code(), call.error(&failure)) {
            (Some(&SqlState::READ_ONLY_SQL_TRANSACTION) | None, error) => error,
            (_, Error::GalleryStore { reason, .. }) => call.refused(format!(
                "pgvector cannot be set up: {reason}. Install pgvector {}.{} or newer on the server, and let a role that \
                 may do so run CREATE EXTENSION vector in the database",
                MIN_PGVECTOR.0, MIN_PGVECTOR.1
            )),
            (_, error) => error,
        })?;
    }
    call.batch(client, SEARCH_PATH).await
}

async fn check_pgvector(call: &Call, client: &impl GenericClient) -> Result<()> {
    let rows = call.rows(client, "SELECT extversion FROM pg_extension WHERE extname = 'vector'", &[]).await?;
    let version: String = rows.first().map_or_else(|| Ok("none".to_owned()), |row| call.get(row, 0))?;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if number >= MIN_PGVECTOR {
        return Ok(());
    }
    Err(Error::GalleryVersion {
        gallery: call.gallery.to_string(),
        found: format!("pgvector {version}"),
        supported: format!("{}.{} and newer", MIN_PGVECTOR.0, MIN_PGVECTOR.1),
        cure: "update it on the server, and run ALTER EXTENSION vector UPDATE in the database".into(),
    })
}

/// A new gallery with its index, both or neither.
pub(super) async fn create(
    call: &Call,
    client: &mut Object,
    name: &str,
    space: &EmbeddingSpace,
    index: &PostgresIndex,
) -> Result<GalleryRow> {
    if !(1..=MAX_DIMENSION).contains(&space.dimension) {
        let expected = format!("from 1 to {MAX_DIMENSION}");
        return Err(invalid("the space's dimension", space.dimension.to_string(), &expected));
    }
    check_index(space, index)?;
    let transaction = call.begin(client).await?;
    let dimension = i32::try_from(space.dimension).unwrap_or(i32::MAX);
    let insert = "INSERT INTO face.gallery (name, space, dimension) VALUES ($1, $2, $3) \
                  ON CONFLICT (name) DO NOTHING RETURNING id";
    let rows = call.rows(&transaction, insert, &[&name, &Json(space), &dimension]).await?;
    let row = rows.first().ok_or_else(|| call.refused("it is there already: open it".into()))?;
    let id = call.get(row, 0)?;
    if let PostgresIndex::Hnsw(params) = index {
        call.batch(&transaction, &create_index(&index_name(id), id, space, params)).await?;
    }
    call.commit(transaction).await?;
    Ok(GalleryRow { id, space: space.clone(), is_indexed: matches!(index, PostgresIndex::Hnsw(_)) })
}

pub(super) async fn open(call: &Call, client: &impl GenericClient, name: &str) -> Result<GalleryRow> {
    let select = "SELECT id, space FROM face.gallery WHERE name = $1";
    let rows = call.rows(client, select, &[&name]).await?;
    let Some(row) = rows.first() else {
        let known = match names(call, client).await?.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        return Err(call.refused(format!("there is no such gallery in the database; it has: {known}")));
    };
    let id = call.get(row, 0)?;
    let Json(space) = call.get(row, 1)?;
    let valid = "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = \
                 c.relnamespace WHERE n.nspname = 'face' AND c.relname = $1 AND i.indisvalid";
    let is_indexed = !call.rows(client, valid, &[&index_name(id)]).await?.is_empty();
    Ok(GalleryRow { id, space, is_indexed })
}

/// The galleries of the database, in alphabetical order.
pub(super) async fn names(call: &Call, client: &impl GenericClient) -> Result<Vec<String>> {
    let rows = call.rows(client, "SELECT name FROM face.gallery ORDER BY name", &[]).await?;
    rows.iter().map(|row| call.get(row, 0)).collect()
}

/// Builds a gallery's index, in place of the one that may be there, or removes it.
pub(super) async fn set_index(
    call: &Call,
    client: &mut Object,
    id: i64,
    space: &EmbeddingSpace,
    index: &PostgresIndex,
) -> Result<()> {
    check_index(space, index)?;
    let name = index_name(id);
    let transaction = call.begin(client).await?;
    call.batch(&transaction, "SET LOCAL statement_timeout = 0").await?;
    match index {
        PostgresIndex::Exact => call.batch(&transaction, &format!("DROP INDEX IF EXISTS face.{name}")).await?,
        PostgresIndex::Hnsw(params) => {
            // Searches use the old one until the new one is ready.
            let fresh = format!("{name}_new");
            call.batch(&transaction, &create_index(&fresh, id, space, params)).await?;
            let swap = format!("DROP INDEX IF EXISTS face.{name}; ALTER INDEX face.{fresh} RENAME TO {name}");
            call.batch(&transaction, &swap).await?;
        }
    }
    call.commit(transaction).await
}

fn check_index(space: &EmbeddingSpace, index: &PostgresIndex) -> Result<()> {
    if let (PostgresIndex::Hnsw(_), Metric::GroupAware(_)) = (index, space.metric) {
        return Err(invalid("index", "HNSW".into(), "exact: the group-aware similarity has no index"));
    }
    if matches!(index, PostgresIndex::Hnsw(_)) && space.dimension > MAX_HNSW_DIMENSION {
        let value = format!("HNSW for vectors of {} values", space.dimension);
        return Err(invalid("index", value, &format!("exact: pgvector's HNSW goes to {MAX_HNSW_DIMENSION} values")));
    }
    Ok(())
}

fn index_name(gallery: i64) -> String {
    format!("template_hnsw_{gallery}")
}

fn create_index(name: &str, gallery: i64, space: &EmbeddingSpace, params: &HnswParams) -> String {
    let operators = match space.metric {
        Metric::Cosine => "vector_ip_ops",
        Metric::Euclidean => "vector_l2_ops",
        // Refused before, by `check_index`.
        Metric::GroupAware(_) => "",
    };
    let HnswParams { m, ef_construction, .. } = params;
    let dimension = space.dimension;
    format!(
        "CREATE INDEX {name} ON face.template USING hnsw ((embedding::vector({dimension})) {operators}) \
         WITH (m = {m}, ef_construction = {ef_construction}) WHERE gallery_id = {gallery}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gallery/postgres/migrations");
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names.len(), MIGRATIONS.len(), "{names:?}");
        for (number, (name, sql)) in names.iter().zip(MIGRATIONS).enumerate() {
            assert!(name.starts_with(&format!("{:04}_", number + 1)), "{name}");
            assert!(std::fs::read_to_string(format!("{folder}/{name}")).is_ok_and(|text| text == *sql), "{name}");
        }
    }
}
