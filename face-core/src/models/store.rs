//! The cache of pulled models.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use etcetera::BaseStrategy as _;

use super::catalogue::{Catalogue, CatalogueEntry, FileRecord, Role};
use crate::error::{Error, Result};
use crate::files::sha256_hex;

/// Environment variable that names the folder of models.
pub const MODELS_VARIABLE: &str = "FACE_MODELS";

/// A folder of model files, with the catalogue that says what they must be.
///
/// A file lies at `FOLDER/NAME/FILE`, beside the licence of its content. Every file is checked against the catalogue's
/// size and SHA-256 when it is read, so that a half-pulled or altered model is refused and never run. The folder can be
/// copied to a machine without a network.
#[derive(Debug, Clone)]
pub struct ModelStore {
    folder: PathBuf,
    catalogue: Arc<Catalogue>,
    #[cfg(feature = "pull")]
    root_certificates: Option<Arc<[u8]>>,
    #[cfg(feature = "pull")]
    python: Option<PathBuf>,
}

impl ModelStore {
    /// The folder that `FACE_MODELS` names, or `face-core` in the platform's cache folder.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] when the variable is not set and the platform names no home folder.
    pub fn open_default() -> Result<Self> {
        if let Some(folder) = std::env::var_os(MODELS_VARIABLE).filter(|folder| !folder.is_empty()) {
            return Ok(Self::new(folder));
        }
        let platform = etcetera::choose_base_strategy().map_err(|error| Error::InvalidParameter {
            parameter: MODELS_VARIABLE,
            value: format!("not set, and there is no cache folder either ({error})"),
            expected: "the folder in which models are kept".into(),
        })?;
        Ok(Self::new(platform.cache_dir().join("face-core")))
    }

    /// A folder of one's own. It need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            catalogue: Arc::new(Catalogue::builtin().clone()),
            #[cfg(feature = "pull")]
            root_certificates: None,
            #[cfg(feature = "pull")]
            python: None,
        }
    }

    /// The same folder with another catalogue.
    #[must_use]
    pub fn with_catalogue(self, catalogue: Catalogue) -> Self {
        Self { catalogue: Arc::new(catalogue), ..self }
    }

    /// Trusts these certificates (PEM) alone when it pulls from HTTPS addresses, instead of Mozilla's.
    #[cfg(feature = "pull")]
    #[must_use]
    pub fn with_root_certificates(self, pem: &[u8]) -> Self {
        Self { root_certificates: Some(pem.into()), ..self }
    }

    /// Pulls packages with the pip of this Python interpreter, instead of the one that `FACE_PYTHON` names or that is on the path.
    #[cfg(feature = "pull")]
    #[must_use]
    pub fn with_python(self, interpreter: impl Into<PathBuf>) -> Self {
        Self { python: Some(interpreter.into()), ..self }
    }

    #[cfg(feature = "pull")]
    pub(super) fn python(&self) -> Option<&Path> {
        self.python.as_deref()
    }

    #[cfg(feature = "pull")]
    pub(super) fn root_certificates(&self) -> Option<&[u8]> {
        self.root_certificates.as_deref()
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Where the file of an entry lies, or would lie.
    pub fn path(&self, entry: &CatalogueEntry) -> PathBuf {
        self.folder.join(&entry.name).join(&entry.file.name)
    }

    /// Whether the file of an entry is there and whole.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::ModelMissing`], [`Error::ModelCorrupt`], [`Error::Io`].
    pub fn check(&self, name: &str) -> Result<()> {
        self.read(name).map(drop)
    }

    /// The bytes of a model or sample, after its digest was checked.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; [`Error::ModelMissing`] and [`Error::ModelCorrupt`], which name the cure; [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.catalogue.entry(name)?;
        let path = self.path(entry);
        let cure = cure_for(entry);
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::ModelMissing { model: name.to_owned(), path, cure });
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let FileRecord { bytes, sha256, .. } = &entry.file;
        if length != *bytes {
            let (expected, actual) = (format!("{bytes} bytes"), format!("{length}"));
            return Err(Error::ModelCorrupt { path, expected, actual, cure });
        }
        let content = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let actual = sha256_hex(&content);
        if actual != *sha256 {
            let expected = format!("SHA-256 {sha256}");
            return Err(Error::ModelCorrupt { path, expected, actual, cure });
        }
        Ok(content)
    }
}

fn cure_for(entry: &CatalogueEntry) -> String {
    let what = if entry.kind.role() == Role::Sample { "photo" } else { "model" };
    format!("pull the {what} with `face models pull {}`, or copy the folder from a machine that has it", entry.name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, ModelStore) {
        let folder = tempfile::Builder::new().prefix("a földer with späce ").tempdir().unwrap();
        let digest = sha256_hex(b"12345");
        let catalogue = format!(
            r#"
[[entry]]
name = "a"
kind = "yunet"
summary = "s"
licence = "MIT"
credit = "c"
file = {{ name = "a.onnx", bytes = 5, sha256 = "{digest}" }}
source = {{ kind = "https", urls = ["https://localhost/a.onnx"] }}
"#
        );
        let store = ModelStore::new(folder.path()).with_catalogue(Catalogue::from_toml(&catalogue).unwrap());
        (folder, store)
    }

    #[test]
    fn missing_truncated_and_altered_files_are_refused_with_a_cure() {
        let (_folder, store) = store();
        let missing = store.read("a").unwrap_err();
        assert!(matches!(missing, Error::ModelMissing { .. }));
        assert!(missing.to_string().contains("face models pull a"), "{missing}");
        let path = store.path(store.catalogue().entry("a").unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for bad in ["", "1234", "12346", "123456"] {
            std::fs::write(&path, bad).unwrap();
            let error = store.read("a").unwrap_err();
            assert!(matches!(error, Error::ModelCorrupt { .. }), "{bad}: {error}");
            assert!(error.to_string().contains("face models pull a"), "{error}");
        }
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(store.read("a").unwrap(), b"12345");
        store.check("a").unwrap();
        assert!(matches!(store.read("b"), Err(Error::UnknownName { .. })));
    }
}
