//! A gallery's records in a redb database: one file, transactions, checksums.
//!
//! | table | key | value |
//! |---|---|---|
//! | `about` | name | see [`About`]: JSON |
//! | `subjects` | id | name and metadata: JSON |
//! | `templates` | id | length of the JSON as `u32`, JSON with subject, quality, source and time, then the vector as `f32` |
//!
//! Numbers are little-endian. Every value begins with the CRC-32 of its key and its other bytes: redb checks its pages when
//! a file is opened, and this one holds from our hand to our hand.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::file::{GalleryFile, corrupt};
use crate::error::{Error, Result};
use crate::gallery::records::{Metadata, SubjectId, Template, TemplateId};
use crate::stage::EmbeddingSpace;

const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("about");
const SUBJECTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("subjects");
const TEMPLATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("templates");

/// The key of the only entry of `about`.
const ABOUT_KEY: &str = "gallery";
/// The format that is written. Older ones are brought up to it when a gallery is opened for writing; there is none yet.
pub(super) const FORMAT: u32 = 1;
/// Memory for pages; the records are kept in memory anyway.
const CACHE_BYTES: usize = 32 << 20;

/// What a gallery is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct About {
    /// Version of the layout of the tables.
    pub(super) format: u32,
    /// By this its index file is known.
    pub(super) id: uuid::Uuid,
    /// The space of all embeddings, with the thresholds known for it.
    pub(super) space: EmbeddingSpace,
    /// Ids that will be given next.
    pub(super) next_subject: u64,
    pub(super) next_template: u64,
}

/// A subject without its templates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SubjectRecord {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub(super) metadata: Metadata,
}

/// A template without its vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct TemplateRecord {
    pub(super) subject: SubjectId,
    #[serde(flatten)]
    pub(super) template: Template,
}

/// One step of a transaction.
#[derive(Debug)]
pub(super) enum Change {
    About(Box<About>),
    PutSubject(SubjectId, SubjectRecord),
    PutTemplate(TemplateRecord, Vec<f32>),
    RemoveSubject(SubjectId),
    RemoveTemplate(TemplateId),
}

/// Everything that is in the file.
pub(super) struct Content {
    pub(super) about: About,
    pub(super) subjects: Vec<(SubjectId, SubjectRecord)>,
    pub(super) templates: Vec<(TemplateRecord, Vec<f32>)>,
}

/// The open database.
pub(super) struct Store {
    path: PathBuf,
    /// `None` after a failed change, until it is opened again.
    database: Option<Database>,
}

impl Store {
    /// Makes the file with an empty gallery: it appears whole or not at all.
    pub(super) fn create(path: &Path, about: &About) -> Result<Self> {
        if path.exists() {
            let exists = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
            return Err(Error::io("create", path)(exists));
        }
        let database = new_database(
            path,
            |file| file.persist_noclobber(path).map(drop).map_err(|error| Error::io("create", path)(error.error)),
            |database| {
                let store = [Change::About(Box::new(about.clone()))];
                write(database, path, &store)
            },
        )?;
        Ok(Self { path: path.to_owned(), database: Some(database) })
    }

    /// Opens a gallery and reads it whole.
    pub(super) fn open(path: &Path, writable: bool) -> Result<(Self, Content)> {
        let database = open_database(path, writable)?;
        let content = read(&database, path)?;
        if writable {
            // Left behind by a compaction that was cut short; nobody else can be compacting.
            let _ = std::fs::remove_file(compacting(path));
        }
        Ok((Self { path: path.to_owned(), database: Some(database) }, content))
    }

    /// Whether the store has to be opened again before it can be used.
    pub(super) fn is_broken(&self) -> bool {
        self.database.is_none()
    }

    /// Keeps all the changes or none; durable when it returns.
    pub(super) fn commit(&mut self, changes: &[Change]) -> Result<()> {
        let database = self.database.as_ref().ok_or_else(|| self.closed())?;
        let result = write(database, &self.path, changes);
        if result.is_err() {
            // After a failed write redb trusts its memory no more; what is on disk is whole.
            self.database = None;
        }
        result
    }

    /// Rewrites the file without what was removed.
    pub(super) fn compact(&mut self) -> Result<()> {
        let database = self.database.as_ref().ok_or_else(|| self.closed())?;
        let path = &self.path;
        let beside = compacting(path);
        let _ = std::fs::remove_file(&beside);
        let result = new_database_at(&beside, path, |fresh| copy(database, fresh, path)).and_then(|fresh| {
            std::fs::rename(&beside, path).map_err(Error::io("replace", path))?;
            Ok(fresh)
        });
        match result {
            Ok(fresh) => {
                // From here on the old file has no name any more: nothing may be written to it.
                self.database = Some(fresh);
                sync_folder(path)
            }
            Err(error) => {
                let _ = std::fs::remove_file(&beside);
                Err(error)
            }
        }
    }

    /// Closes the database, so that the next change reads the file again.
    pub(super) fn close(&mut self) {
        self.database = None;
    }

    fn closed(&self) -> Error {
        Error::GalleryStore {
            action: "change",
            gallery: self.path.display().to_string(),
            reason: "it could not be opened again after a failed change".into(),
        }
    }
}

/// Whether there is a database of redb at the path, whole or not.
pub(in crate::gallery) fn is_gallery(path: &Path) -> bool {
    const MAGIC: &[u8] = b"redb";
    let mut start = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && start == MAGIC
}

fn compacting(path: &Path) -> PathBuf {
    super::with_suffix(path, ".compacting")
}

/// A new database in a temporary file of the folder, which `persist` gives its name.
fn new_database(
    path: &Path,
    persist: impl FnOnce(tempfile::NamedTempFile) -> Result<()>,
    fill: impl FnOnce(&Database) -> Result<()>,
) -> Result<Database> {
    let folder = crate::files::folder_of(path);
    // Readable by its owner alone, as temporary files are: faces are personal data.
    let temporary = tempfile::Builder::new().prefix(crate::files::TEMPORARY_PREFIX).tempfile_in(folder);
    let temporary = temporary.map_err(Error::io("create a file in", folder))?;
    let file = temporary.reopen().map_err(Error::io("create", path))?;
    let database = database_on(GalleryFile::lock(file, path, true)?, path)?;
    fill(&database)?;
    persist(temporary)?;
    sync_folder(path)?;
    Ok(database)
}

/// A new database in a file of this name.
fn new_database_at(at: &Path, path: &Path, fill: impl FnOnce(&Database) -> Result<()>) -> Result<Database> {
    let file = crate::files::create_like(at, path)?;
    let database = database_on(GalleryFile::lock(file, at, true)?, path)?;
    fill(&database)?;
    Ok(database)
}

fn database_on(file: GalleryFile, path: &Path) -> Result<Database> {
    // redb answers some kinds of damage with a panic.
    guarded(path, || {
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            // A file that was altered from outside is refused, and not trusted.
            .set_check_integrity_on_open(true)
            .create_with_backend(file)
            .map_err(|error| database_error(path, error))
    })
}

fn open_database(path: &Path, writable: bool) -> Result<Database> {
    let file = GalleryFile::open(path, writable)?;
    if redb::StorageBackend::len(&file).map_err(Error::io("read", path))? == 0 {
        return Err(corrupt(path, "the file is empty"));
    }
    if let Some(correction) = last_commit_is_not_marked(&file, path)? {
        // For a writer this goes into the file, for a reader into its memory.
        redb::StorageBackend::write(&file, LAST_COMMIT_MARK, &[correction]).map_err(Error::io("mend", path))?;
        redb::StorageBackend::sync_data(&file).map_err(Error::io("mend", path))?;
    }
    database_on(file, path)
}

// Of redb's file format, version 3: a byte of flags, and the ids of the transactions in its two commit slots.
const LAST_COMMIT_MARK: u64 = 9;
const SECOND_SLOT_IS_LAST: u8 = 1;
const RECOVERY_REQUIRED: u8 = 2;
const TRANSACTION_IDS: [u64; 2] = [64 + 104, 64 + 128 + 104];

/// One bit, without a checksum, tells which of redb's two commit slots counts. Where the other one is the newer and whole, a
/// flip of that bit has hidden the last change, or a process ended between writing that change and marking it: either way it
/// is to be kept. Returns the right byte of flags, `None` where the slot that is marked is the one that counts.
fn last_commit_is_not_marked(file: &GalleryFile, path: &Path) -> Result<Option<u8>> {
    let read_at = |at: u64, out: &mut [u8]| {
        redb::StorageBackend::read(file, at, out).map_err(|_| corrupt(path, "the file ends within its first page"))
    };
    let mut flags = [0];
    read_at(LAST_COMMIT_MARK, &mut flags)?;
    let mut ids = [0_u64; 2];
    for (id, at) in ids.iter_mut().zip(TRANSACTION_IDS) {
        let mut bytes = [0; 8];
        read_at(at, &mut bytes)?;
        *id = u64::from_le_bytes(bytes);
    }
    let marked = usize::from(flags[0] & SECOND_SLOT_IS_LAST != 0);
    if ids[1 - marked] <= ids[marked] {
        return Ok(None);
    }
    // The id itself may be what is damaged, which redb's checksum of a slot tells. Damage of the marked one must not bring back
    // the other.
    drop(database_on(file.trial(path)?, path)?);
    let correction = (flags[0] ^ SECOND_SLOT_IS_LAST) | RECOVERY_REQUIRED;
    let other = file.trial(path)?;
    redb::StorageBackend::write(&other, LAST_COMMIT_MARK, &[correction]).map_err(Error::io("read", path))?;
    let is_whole = database_on(other, path).and_then(|database| read(&database, path)).is_ok();
    Ok(is_whole.then_some(correction))
}

/// A new name in a folder survives a crash of the machine only when the folder is written too.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = crate::files::folder_of(path);
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(Error::io("write", folder))?;
    }
    Ok(())
}

/// Damage must end in an error, whatever redb makes of it.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(corrupt(path, "its pages contradict one another")))
}

fn write(database: &Database, path: &Path, changes: &[Change]) -> Result<()> {
    let work = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        // With one phase, redb takes damage of the last transaction for an unfinished write, and falls back to the one before.
        transaction.set_two_phase_commit(true);
        {
            let mut about = transaction.open_table(ABOUT)?;
            let mut subjects = transaction.open_table(SUBJECTS)?;
            let mut templates = transaction.open_table(TEMPLATES)?;
            for change in changes {
                match change {
                    Change::About(value) => {
                        about.insert(ABOUT_KEY, sealed(ABOUT_KEY.as_bytes(), json(value)).as_slice())?;
                    }
                    Change::PutSubject(id, record) => {
                        subjects.insert(id.0, sealed(&id.0.to_le_bytes(), json(record)).as_slice())?;
                    }
                    Change::PutTemplate(record, vector) => {
                        let id = record.template.id.0;
                        let details = json(record);
                        let mut value = (details.len() as u32).to_le_bytes().to_vec();
                        value.extend(details);
                        value.extend(vector.iter().flat_map(|v| v.to_le_bytes()));
                        templates.insert(id, sealed(&id.to_le_bytes(), value).as_slice())?;
                    }
                    Change::RemoveSubject(id) => {
                        subjects.remove(id.0)?;
                    }
                    Change::RemoveTemplate(id) => {
                        templates.remove(id.0)?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    };
    guarded(path, || work().map_err(|error| storage_error("change", path, error)))
}

/// Copies every live record, byte for byte.
fn copy(from: &Database, to: &Database, path: &Path) -> Result<()> {
    let work = || -> Result<(), redb::Error> {
        let source = from.begin_read()?;
        let mut target = to.begin_write()?;
        target.set_two_phase_commit(true);
        {
            let mut about = target.open_table(ABOUT)?;
            for entry in source.open_table(ABOUT)?.iter()? {
                let (key, value) = entry?;
                about.insert(key.value(), value.value())?;
            }
            for definition in [SUBJECTS, TEMPLATES] {
                let mut table = target.open_table(definition)?;
                for entry in source.open_table(definition)?.iter()? {
                    let (key, value) = entry?;
                    table.insert(key.value(), value.value())?;
                }
            }
        }
        target.commit()?;
        Ok(())
    };
    guarded(path, || work().map_err(|error| storage_error("compact", path, error)))
}

fn read(database: &Database, path: &Path) -> Result<Content> {
    guarded(path, || {
        let store = |error: redb::Error| storage_error("read", path, error);
        let transaction = database.begin_read().map_err(|error| store(error.into()))?;
        let table = match transaction.open_table(ABOUT) {
            Ok(table) => table,
            Err(redb::TableError::Storage(error)) => return Err(store(error.into())),
            Err(_) => return Err(corrupt(path, "it is a database of another program, and no gallery")),
        };
        let value = table.get(ABOUT_KEY).map_err(|error| store(error.into()))?;
        let value = value.ok_or_else(|| corrupt(path, "it does not say what it holds"))?;
        let about = read_about(unsealed(path, "its description", ABOUT_KEY.as_bytes(), value.value())?, path)?;

        let mut subjects = vec![];
        let table = transaction.open_table(SUBJECTS).map_err(|error| store(error.into()))?;
        for entry in table.iter().map_err(|error| store(error.into()))? {
            let (key, value) = entry.map_err(|error| store(error.into()))?;
            let what = format!("subject {}", key.value());
            let record = parse(path, &what, unsealed(path, &what, &key.value().to_le_bytes(), value.value())?)?;
            subjects.push((SubjectId(key.value()), record));
        }
        let mut templates = vec![];
        let table = transaction.open_table(TEMPLATES).map_err(|error| store(error.into()))?;
        for entry in table.iter().map_err(|error| store(error.into()))? {
            let (key, value) = entry.map_err(|error| store(error.into()))?;
            let what = format!("template {}", key.value());
            let value = unsealed(path, &what, &key.value().to_le_bytes(), value.value())?;
            templates.push(read_template(path, &what, value, about.space.dimension)?);
        }
        Ok(Content { about, subjects, templates })
    })
}

fn read_about(value: &[u8], path: &Path) -> Result<About> {
    /// The one field that every version has.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = parse(path, "its description", value)?;
    if format != FORMAT {
        return Err(Error::GalleryVersion {
            gallery: path.display().to_string(),
            found: format.to_string(),
            supported: FORMAT.to_string(),
            cure: "open it with the version of this library that wrote it, or a newer one".into(),
        });
    }
    parse(path, "its description", value)
}

fn read_template(path: &Path, what: &str, value: &[u8], dimension: usize) -> Result<(TemplateRecord, Vec<f32>)> {
    let split = value.split_first_chunk::<4>().and_then(|(length, rest)| {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        rest.split_at_checked(length)
    });
    let (details, vector) = split.ok_or_else(|| corrupt(path, &format!("{what} is cut short")))?;
    let (values, rest) = vector.as_chunks::<4>();
    if values.len() != dimension || !rest.is_empty() {
        return Err(corrupt(path, &format!("{what} has a vector of {} bytes", vector.len())));
    }
    Ok((parse(path, what, details)?, values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

/// The value with its checksum before it.
fn sealed(key: &[u8], value: Vec<u8>) -> Vec<u8> {
    let mut bytes = checksum(key, &value).to_le_bytes().to_vec();
    bytes.extend(value);
    bytes
}

fn unsealed<'a>(path: &Path, what: &str, key: &[u8], value: &'a [u8]) -> Result<&'a [u8]> {
    match value.split_first_chunk::<4>() {
        Some((sum, value)) if u32::from_le_bytes(*sum) == checksum(key, value) => Ok(value),
        _ => Err(corrupt(path, &format!("the checksum of {what} is wrong"))),
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Text, numbers and maps with text as keys: nothing that could fail.
    serde_json::to_vec(value).unwrap_or_default()
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, what: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| corrupt(path, &format!("{what} cannot be read: {error}")))
}

fn database_error(path: &Path, error: redb::DatabaseError) -> Error {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            Error::GalleryInUse { path: path.to_owned(), reason: "another process has it open".into() }
        }
        redb::DatabaseError::UpgradeRequired(version) => Error::GalleryVersion {
            gallery: path.display().to_string(),
            found: format!("database {version}"),
            supported: "database 3 and later".into(),
            cure: "open it with the version of this library that wrote it, or a newer one".into(),
        },
        other => storage_error("open", path, other.into()),
    }
}

fn storage_error(action: &'static str, path: &Path, error: redb::Error) -> Error {
    use std::io::ErrorKind;
    match error {
        redb::Error::Corrupted(reason) => corrupt(path, &reason),
        // What redb says of a file that is none of its own, or ends too soon.
        redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            corrupt(path, &error.to_string())
        }
        other => Error::GalleryStore { action, gallery: path.display().to_string(), reason: other.to_string() },
    }
}
