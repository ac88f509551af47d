//! Files that appear whole or not at all.

use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

/// Beginning of the names of files that are not whole yet.
pub(crate) const TEMPORARY_PREFIX: &str = ".face-";

/// Writes through a temporary file in the same folder that is then renamed.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = temporary_file_in(folder_of(path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("rename to", path)(error.error))?;
    Ok(())
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A new file with the owner, the group and the permissions of another one, and until it has them open to nobody else.
pub(crate) fn create_like(path: &Path, model: &Path) -> Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(Error::io("create", path))?;
    let take_after = || -> std::io::Result<()> {
        let metadata = std::fs::metadata(model)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (metadata.uid(), metadata.gid()) {
                std::os::unix::fs::fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
            }
        }
        file.set_permissions(metadata.permissions())
    };
    if let Err(error) = take_after() {
        let _ = std::fs::remove_file(path);
        return Err(Error::io("give the owner and permissions of the gallery to", path)(error));
    }
    Ok(file)
}

/// A file that is removed again unless it is given its name.
pub(crate) fn temporary_file_in(folder: &Path) -> Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .permissions_of_a_new_file()
        .tempfile_in(folder)
        .map_err(Error::io("create a file in", folder))
}

/// Temporary files are private by default; what is renamed to its final name must be readable as any new file.
trait PermissionsOfANewFile {
    fn permissions_of_a_new_file(&mut self) -> &mut Self;
}

impl PermissionsOfANewFile for tempfile::Builder<'_, '_> {
    fn permissions_of_a_new_file(&mut self) -> &mut Self {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // The system takes the process's umask off this.
            self.permissions(std::fs::Permissions::from_mode(0o666));
        }
        self
    }
}

/// Reads a whole file of at most `limit` bytes. What has no length of its own (a pipe, a device) is read no further.
pub(crate) fn read_at_most(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = vec![];
    let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
    // One byte more shows that there is more.
    file.take(limit.saturating_add(1)).read_to_end(&mut content).map_err(Error::io("read", path))?;
    if content.len() as u64 > limit {
        return Err(Error::FileTooLarge { path: path.to_owned(), limit });
    }
    Ok(content)
}

/// Largest model file that is read.
pub(crate) const MAX_MODEL_BYTES: u64 = 2 << 30;
/// Largest text file that is read.
pub(crate) const MAX_TEXT_BYTES: u64 = 64 << 20;

/// As [`read_at_most`], for a model.
pub(crate) fn read_model(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, MAX_MODEL_BYTES)
}

/// As [`read_at_most`], for a part of a checkpoint: weights with as many momenta.
#[cfg(feature = "train")]
pub(crate) fn read_checkpoint(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, 16 * MAX_MODEL_BYTES)
}

/// As [`read_at_most`], for a text in UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_at_most(path, MAX_TEXT_BYTES)?).map_err(|error| Error::Format {
        path: path.to_owned(),
        line: 0,
        reason: format!("it is no text in UTF-8: {error}"),
    })
}

/// Reads TOML; the error names the line.
pub(crate) fn parse_toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T> {
    toml::from_str(text).map_err(|error| Error::Format {
        path: path.to_owned(),
        line: error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        reason: error.message().to_owned(),
    })
}

/// SHA-256 in lower-case hexadecimal digits.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
