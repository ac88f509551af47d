//! The catalogue of models and sample photos.

use std::path::Path;
use std::sync::LazyLock;

use super::embedder_spec::{CropsFile, EmbedderSpec, InputFile};
use crate::error::{Error, Result};
use crate::files::parse_toml;
use crate::stage::Metric;
use crate::stage::Threshold;

/// What this project knows about models: names, licences, sources, digests, preprocessing and thresholds.
///
/// The catalogue of this crate is compiled in; one of your own has the same TOML form (see `catalogue.toml`).
#[derive(Debug, Clone)]
pub struct Catalogue {
    packages: Vec<Package>,
    entries: Vec<CatalogueEntry>,
}

/// A file that can be pulled: a model or a sample photo.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// Its name, in lower-case letters, digits and hyphens.
    pub name: String,
    /// What it is, and so which code reads it.
    pub kind: EntryKind,
    /// Whether it is the one to take for its role when none is asked for.
    #[serde(default)]
    pub default: bool,
    /// What it is good for, in a few words.
    pub summary: String,
    /// SPDX identifier of the licence of the weights or the photo, or `public domain`.
    pub licence: String,
    /// Authors and origin, and what they ask for.
    pub credit: String,
    /// The copyright line that the licence wants kept, where the source brings no licence text.
    pub copyright: Option<String>,
    /// The file as it lies in the cache.
    pub file: FileRecord,
    /// Where it comes from.
    pub source: Source,
    /// How a crop becomes the network's input (embedders).
    input: Option<InputFile>,
    /// Ways of cutting and comparing, each an embedding space of its own (embedders).
    #[serde(default)]
    pub variants: Vec<Variant>,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EntryKind {
    /// A [`CenterFace`](crate::detectors::CenterFace) network.
    Centerface,
    /// A [`YuNet`](crate::detectors::YuNet) network.
    Yunet,
    /// A [`DlibFivePoint`](crate::aligners::DlibFivePoint) predictor.
    DlibFivePoint,
    /// A recogniser for [`OnnxEmbedder`](crate::embedders::OnnxEmbedder).
    OnnxEmbedder,
    /// A sample photo.
    Photo,
}

/// What an entry is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Finds faces.
    Detector,
    /// Finds landmarks.
    Aligner,
    /// Turns faces into vectors.
    Embedder,
    /// A photo for demonstrations and tests.
    Sample,
}

/// A file with what identifies it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Its name, without a folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Where a file comes from.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Source {
    /// A member of a pinned package of the Python Package Index.
    Package {
        /// Name of the package in the catalogue.
        package: String,
        /// Path inside of the package.
        member: String,
        /// Path of the licence's text inside of the package.
        licence_member: Option<String>,
        /// The member is not used as it is but turned into another format.
        convert: Option<Conversion>,
    },
    /// An address.
    Https {
        /// The same file at several places, in the order in which they are tried.
        urls: Vec<String>,
    },
}

/// A change of format after pulling.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conversion {
    /// Which converter.
    pub converter: Converter,
    /// Size of the member before conversion.
    pub bytes: u64,
    /// SHA-256 of the member before conversion.
    pub sha256: String,
}

/// The converters there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Converter {
    /// [`dlib_resnet_to_onnx`](super::formats::dlib_resnet_to_onnx).
    DlibResnet,
}

/// A pinned artefact of the Python Package Index. Nothing of it is installed or imported.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "pull"), allow(dead_code))] // Only pulling looks into packages.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) file: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// For a wheel of one platform: which.
    pub(super) platform: Option<WheelPlatform>,
}

/// The tags of a wheel, as `pip download` wants them.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "pull"), allow(dead_code))]
pub(super) struct WheelPlatform {
    pub(super) platform: String,
    pub(super) python_version: String,
    pub(super) implementation: String,
    pub(super) abi: String,
}

/// A way of cutting faces for an embedder and of comparing its vectors, with the thresholds measured for it.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Whether it is the one to take when none is asked for.
    #[serde(default)]
    pub default: bool,
    /// How two embeddings are compared.
    pub metric: Metric,
    crops: CropsFile,
    /// Measured thresholds, the loosest first.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueToml {
    #[serde(default)]
    package: Vec<Package>,
    entry: Vec<CatalogueEntry>,
}

static BUILTIN: LazyLock<Catalogue> =
    LazyLock::new(|| match Catalogue::parse(include_str!("catalogue.toml"), Path::new("catalogue.toml")) {
        Ok(catalogue) => catalogue,
        Err(error) => unreachable!("a test reads the compiled-in catalogue: {error}"),
    });

impl Catalogue {
    /// The catalogue of this crate.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// A catalogue of one's own, in the form of `catalogue.toml`.
    ///
    /// # Errors
    /// [`Error::Format`] for text of another form, names that could lead out of the cache, digests that are none,
    /// sources that are not there, and a role with two defaults.
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::parse(text, Path::new("the catalogue"))
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let CatalogueToml { package: packages, entry: entries } = parse_toml(text, path)?;
        let catalogue = Self { packages, entries };
        catalogue.validate().map_err(|reason| Error::Format { path: path.to_owned(), line: 0, reason })?;
        Ok(catalogue)
    }

    /// All entries.
    pub fn entries(&self) -> &[CatalogueEntry] {
        &self.entries
    }

    /// The entries that are models.
    pub fn models(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter().filter(|entry| entry.kind.role() != Role::Sample)
    }

    /// The entries that are sample photos.
    pub fn samples(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter().filter(|entry| entry.kind.role() == Role::Sample)
    }

    /// The entry of that name.
    ///
    /// # Errors
    /// [`Error::UnknownName`], which lists the names there are.
    pub fn entry(&self, name: &str) -> Result<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| Error::UnknownName {
            kind: "entry",
            name: name.to_owned(),
            known: names(self.entries.iter().map(|entry| entry.name.as_str())),
        })
    }

    /// The model to take for a role when none is asked for.
    ///
    /// # Errors
    /// [`Error::UnknownName`] when the catalogue has none.
    pub fn default_for(&self, role: Role) -> Result<&CatalogueEntry> {
        self.entries.iter().find(|entry| entry.default && entry.kind.role() == role).ok_or_else(|| Error::UnknownName {
            kind: "default entry",
            name: role.to_string(),
            known: names(self.entries.iter().filter(|entry| entry.default).map(|entry| entry.name.as_str())),
        })
    }

    #[cfg(feature = "pull")]
    pub(super) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    fn validate(&self) -> Result<(), String> {
        for package in &self.packages {
            let Package { name, file, sha256, bytes, .. } = package;
            check_file(name, file, sha256, *bytes)?;
        }
        for (index, entry) in self.entries.iter().enumerate() {
            entry.validate().map_err(|reason| format!("{}: {reason}", entry.name))?;
            if self.entries[..index].iter().any(|other| other.name == entry.name) {
                return Err(format!("{} stands in it twice", entry.name));
            }
            let role = entry.kind.role();
            if entry.default && self.entries[..index].iter().any(|e| e.default && e.kind.role() == role) {
                return Err(format!("{} is the second default {role}", entry.name));
            }
            if let Source::Package { package, .. } = &entry.source
                && !self.packages.iter().any(|known| known.name == *package)
            {
                return Err(format!("{} comes from the package {package}, which is not in it", entry.name));
            }
        }
        Ok(())
    }
}

impl CatalogueEntry {
    /// SHA-256 of the weights as their authors publish them: it names the embedding space, so that another conversion of
    /// the same weights is the same space.
    pub fn weights_digest(&self) -> &str {
        match &self.source {
            Source::Package { convert: Some(conversion), .. } => &conversion.sha256,
            _ => &self.file.sha256,
        }
    }

    /// The variant of that name, or the default one.
    ///
    /// # Errors
    /// [`Error::UnknownName`], which lists the variants there are.
    pub fn variant(&self, name: Option<&str>) -> Result<&Variant> {
        let wanted = |variant: &&Variant| name.map_or(variant.default, |name| variant.name == name);
        self.variants.iter().find(wanted).ok_or_else(|| Error::UnknownName {
            kind: "variant",
            name: name.unwrap_or("the default").to_owned(),
            known: names(self.variants.iter().map(|variant| variant.name.as_str())),
        })
    }

    /// What the embedder must be told about itself in a variant, or in the default one.
    ///
    /// # Errors
    /// As [`variant`](Self::variant): entries that are no embedders have none.
    pub fn embedder_spec(&self, variant: Option<&str>) -> Result<EmbedderSpec> {
        let Variant { metric, crops, thresholds, .. } = self.variant(variant)?;
        let Some(input) = &self.input else {
            return Err(Error::UnknownName { kind: "embedder", name: self.name.clone(), known: "none".into() });
        };
        EmbedderSpec::assemble(self.name.clone(), input, crops, *metric, thresholds)
    }

    fn validate(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err("a name has lower-case letters, digits and hyphens alone".into());
        }
        let FileRecord { name, bytes, sha256 } = &self.file;
        check_file(&self.name, name, sha256, *bytes)?;
        match &self.source {
            Source::Package { convert: Some(Conversion { sha256, bytes, .. }), .. } => {
                check_file(&self.name, "before conversion", sha256, *bytes)?;
            }
            Source::Package { .. } => {}
            Source::Https { urls } => {
                if urls.is_empty() || urls.iter().any(|url| !url.starts_with("https://")) {
                    return Err("an address begins with https://".into());
                }
            }
        }
        let is_embedder = self.kind.role() == Role::Embedder;
        if is_embedder != self.input.is_some() || is_embedder == self.variants.is_empty() {
            return Err("embedders, and they alone, have an input and variants".into());
        }
        if is_embedder && self.variants.iter().filter(|variant| variant.default).count() != 1 {
            return Err("an embedder has one default variant".into());
        }
        for variant in &self.variants {
            self.embedder_spec(Some(&variant.name)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl EntryKind {
    /// What an entry of this kind is for.
    pub const fn role(self) -> Role {
        match self {
            Self::Centerface | Self::Yunet => Role::Detector,
            Self::DlibFivePoint => Role::Aligner,
            Self::OnnxEmbedder => Role::Embedder,
            Self::Photo => Role::Sample,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Detector => "detector",
            Self::Aligner => "aligner",
            Self::Embedder => "embedder",
            Self::Sample => "sample",
        })
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Largest file that is pulled: what is claimed beyond it is a mistake.
const MAX_FILE_BYTES: u64 = 4 << 30;

fn check_file(owner: &str, file: &str, sha256: &str, bytes: u64) -> Result<(), String> {
    if file.is_empty() || file.starts_with('.') || file.contains(['/', '\\', ':']) {
        return Err(format!("{owner}: `{file}` is not the name of a file"));
    }
    if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(format!("{owner}: `{sha256}` is not a SHA-256 in lower-case digits"));
    }
    if !(1..=MAX_FILE_BYTES).contains(&bytes) {
        return Err(format!("{owner}: a size of {bytes} bytes is not from 1 to {MAX_FILE_BYTES}"));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_catalogue_is_whole() {
        let catalogue = Catalogue::builtin();
        for role in [Role::Detector, Role::Embedder] {
            assert_eq!(catalogue.default_for(role).unwrap().kind.role(), role);
        }
        assert!(matches!(catalogue.default_for(Role::Aligner), Err(Error::UnknownName { .. })));
        // Every catalogue model may be used commercially.
        let permissive = ["MIT", "CC0-1.0", "Apache-2.0"];
        assert!(catalogue.models().all(|model| permissive.contains(&model.licence.as_str())));
        assert!(catalogue.samples().count() >= 4);
        assert!(matches!(catalogue.entry("arcface"), Err(Error::UnknownName { .. })));
    }

    #[test]
    fn thresholds_state_rate_and_set_and_grow_stricter() {
        for model in Catalogue::builtin().models() {
            for variant in &model.variants {
                for pair in variant.thresholds.windows(2) {
                    assert!(pair[0].far > pair[1].far && pair[0].similarity < pair[1].similarity, "{}", model.name);
                }
                assert!(variant.thresholds.iter().all(|t| !t.measured_on.is_empty()));
            }
        }
        let default = Catalogue::builtin().default_for(Role::Embedder).unwrap().embedder_spec(None).unwrap();
        for far in [1e-2, 1e-3] {
            assert!(default.thresholds.iter().any(|t| t.far == far), "no threshold at {far}");
        }
    }

    const GOOD: &str = r#"
[[entry]]
name = "a"
kind = "yunet"
default = true
summary = "s"
licence = "MIT"
credit = "c"
file = { name = "a.onnx", bytes = 5, sha256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4" }
source = { kind = "https", urls = ["https://localhost/a.onnx"] }
"#;

    #[test]
    fn catalogues_that_could_do_harm_are_refused() {
        Catalogue::from_toml(GOOD).unwrap();
        for (from, to) in [
            ("name = \"a\"", "name = \"../a\""),
            ("name = \"a.onnx\"", "name = \"../../a.onnx\""),
            ("name = \"a.onnx\"", "name = \"/a.onnx\""),
            ("bytes = 5", "bytes = 0"),
            ("bytes = 5", "bytes = 99999999999999"),
            ("8f2383e4", "8F2383E4"),
            ("8f2383e4", "8f2383e"),
            ("https://localhost", "http://localhost"),
            ("kind = \"yunet\"", "kind = \"onnx-embedder\""),
            (
                "kind = \"https\", urls = [\"https://localhost/a.onnx\"]",
                "kind = \"package\", package = \"p\", member = \"m\"",
            ),
            ("credit", "kredit"),
        ] {
            assert!(GOOD.contains(from));
            let error = Catalogue::from_toml(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{to}: {error}");
        }
        assert!(Catalogue::from_toml(&GOOD.repeat(2)).is_err(), "the same name twice");
        let second = GOOD.replace("name = \"a\"", "name = \"b\"");
        assert!(Catalogue::from_toml(&format!("{GOOD}{second}")).is_err(), "two defaults for a role");
    }
}
