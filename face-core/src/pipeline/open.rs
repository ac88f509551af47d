//! Pipelines from the catalogue and from models of one's own.

use std::path::PathBuf;
use std::sync::Arc;

use super::FacePipeline;
use crate::aligners::{DetectorLandmarks, DlibFivePoint, DlibFivePointParams};
use crate::detectors::{CenterFace, DetectionParams, YuNet};
use crate::embedders::OnnxEmbedder;
use crate::error::{Error, Result};
use crate::files::sha256_hex;
use crate::geometry::LandmarkScheme;
use crate::inference::{Engine, Model};
use crate::models::{CatalogueEntry, EmbedderSpec, EntryKind, ModelStore, Role};
use crate::normalizers::SimilarityNormalizer;
use crate::stage::{Aligner, Embedder, FaceDetector};

/// Where a model comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ModelSource {
    /// The catalogue's default for the role.
    #[default]
    Default,
    /// The catalogue's entry of that name.
    Catalogue(String),
    /// An ONNX file of one's own.
    File(PathBuf),
    /// The bytes of an ONNX file of one's own.
    Bytes {
        /// Name for messages.
        name: String,
        /// The content of the file.
        content: Vec<u8>,
    },
}

/// Whether a text that stands for a model is a path, and no name of the catalogue.
#[cfg(any(feature = "cli", feature = "train"))]
pub(crate) fn is_path(text: &str) -> bool {
    text.contains(['/', '\\', '.'])
}

/// What a pipeline is made of. The default is the catalogue's default models with their measured settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelineParams {
    /// Stage 1. A file of one's own is recognised as CenterFace or YuNet by its outputs.
    pub detector: ModelSource,
    /// Settings of stage 1.
    pub detection: DetectionParams,
    /// Stage 4.
    pub embedder: ModelSource,
    /// Which variant of a catalogue embedder; `None` for its default one.
    pub variant: Option<String>,
    /// What the embedder must be told about itself: needed for a file of one's own, and instead of a variant for a
    /// catalogue model. Stages 2 and 3 follow from it.
    pub embedder_spec: Option<EmbedderSpec>,
    /// What runs the networks.
    pub engine: Engine,
}

impl PipelineParams {
    /// The settings with which the embedder runs: those given, or the catalogue's for the variant.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a file of one's own without settings; [`Error::UnknownName`];
    /// [`Error::ModelInvalid`] for an entry that is no embedder.
    pub fn resolved_spec(&self, store: &ModelStore) -> Result<EmbedderSpec> {
        if let Some(spec) = &self.embedder_spec {
            return Ok(spec.clone());
        }
        let name = match &self.embedder {
            ModelSource::File(path) => path.display().to_string(),
            ModelSource::Bytes { name, .. } => name.clone(),
            catalogued => return entry_of(store, catalogued, Role::Embedder)?.embedder_spec(self.variant.as_deref()),
        };
        Err(Error::InvalidParameter {
            parameter: "embedder_spec",
            value: "not given".into(),
            expected: format!("the preprocessing of {name}: its crops, colours, mean, scale and metric"),
        })
    }
}

impl FacePipeline {
    /// The default pipeline, from the [default folder](ModelStore::open_default) of models.
    ///
    /// # Errors
    /// [`Error::ModelMissing`] before `face models pull` was run; as [`open`](Self::open).
    pub fn open_default() -> Result<Self> {
        Self::open(&ModelStore::open_default()?, &PipelineParams::default())
    }

    /// A pipeline of models from a folder, or of one's own.
    ///
    /// The aligner follows from the landmarks that the embedder's template names: the detector's own points, or dlib's
    /// 5-point predictor. The normalizer makes the crops that the embedder asks for.
    ///
    /// # Errors
    /// [`Error::ModelMissing`], [`Error::ModelCorrupt`], [`Error::ModelInvalid`], [`Error::UnknownName`],
    /// [`Error::InvalidParameter`], [`Error::Io`].
    ///
    /// # Example
    /// ```no_run
    /// use face_core::{FacePipeline, ModelSource, ModelStore, PipelineParams};
    ///
    /// let params = PipelineParams { detector: ModelSource::Catalogue("yunet".into()), ..Default::default() };
    /// let pipeline = FacePipeline::open(&ModelStore::open_default()?, &params)?;
    /// # Ok::<(), face_core::Error>(())
    /// ```
    pub fn open(store: &ModelStore, params: &PipelineParams) -> Result<Self> {
        let detector = open_detector(store, &params.detector, &params.detection, &params.engine)?;
        let embedder = open_embedder(store, params)?;
        let aligner = open_aligner(store, embedder.crop_spec().template.landmarks.scheme)?;
        let normalizer = SimilarityNormalizer::new(embedder.crop_spec().clone())?;
        Ok(Self::new(detector, aligner, Box::new(normalizer), embedder))
    }
}

/// Stage 1 alone. See [`FacePipeline::open`].
///
/// # Errors
/// As [`FacePipeline::open`].
pub fn open_detector(
    store: &ModelStore,
    source: &ModelSource,
    params: &DetectionParams,
    engine: &Engine,
) -> Result<Box<dyn FaceDetector>> {
    let (entry, name, content) = load(store, source, Role::Detector)?;
    let model = engine.model(name, &content)?;
    let centerface =
        |model: Arc<dyn Model>| Ok(Box::new(CenterFace::new(model, params.clone())?) as Box<dyn FaceDetector>);
    let yunet = |model: Arc<dyn Model>| Ok(Box::new(YuNet::new(model, params.clone())?) as Box<dyn FaceDetector>);
    match entry.map(|entry| entry.kind) {
        Some(EntryKind::Centerface) => centerface(model),
        Some(EntryKind::Yunet) => yunet(model),
        Some(other) => unreachable!("{other:?} is no detector, and `load` has checked the role"),
        None => {
            params.validate()?;
            let signature = model.signature().clone();
            centerface(Arc::clone(&model))
                .or_else(|_: Error| yunet(model))
                .map_err(|_| signature.unfit("a detector", "the outputs of CenterFace or of YuNet"))
        }
    }
}

/// Stage 2 alone: what finds the landmarks of a scheme. The detector's own points, or dlib's 5-point predictor.
///
/// # Errors
/// As [`FacePipeline::open`].
pub fn open_aligner(store: &ModelStore, scheme: LandmarkScheme) -> Result<Box<dyn Aligner>> {
    Ok(match scheme {
        LandmarkScheme::EyesNoseMouth => Box::new(DetectorLandmarks),
        LandmarkScheme::EyeCornersNose => Box::new(open_dlib_aligner(store)?),
    })
}

/// Stage 4 alone. See [`FacePipeline::open`].
///
/// # Errors
/// As [`FacePipeline::open`].
pub fn open_embedder(store: &ModelStore, params: &PipelineParams) -> Result<Box<dyn Embedder>> {
    Ok(Box::new(open_onnx_embedder(store, params)?.0))
}

/// As [`open_embedder`], with the ONNX file that it runs.
pub(crate) fn open_onnx_embedder(store: &ModelStore, params: &PipelineParams) -> Result<(OnnxEmbedder, Vec<u8>)> {
    let (entry, name, content) = load(store, &params.embedder, Role::Embedder)?;
    let spec = params.resolved_spec(store)?;
    let digest = entry.map_or_else(|| sha256_hex(&content), |entry| entry.weights_digest().to_owned());
    let model = params.engine.model(name, &content)?;
    Ok((OnnxEmbedder::new(model, digest, spec)?, content))
}

/// dlib's 5-point predictor from the catalogue.
fn open_dlib_aligner(store: &ModelStore) -> Result<DlibFivePoint> {
    let known = |entry: &&CatalogueEntry| entry.kind == EntryKind::DlibFivePoint;
    let entry = store.catalogue().models().find(known).ok_or_else(|| Error::UnknownName {
        kind: "aligner",
        name: "dlib-five-point".into(),
        known: "none".into(),
    })?;
    DlibFivePoint::from_bytes(&store.read(&entry.name)?, DlibFivePointParams::default())
}

/// A model's entry if it has one, its name for messages, and its bytes.
fn load<'a>(
    store: &'a ModelStore,
    source: &ModelSource,
    role: Role,
) -> Result<(Option<&'a CatalogueEntry>, String, Vec<u8>)> {
    match source {
        ModelSource::File(path) => Ok((None, path.display().to_string(), crate::files::read_model(path)?)),
        ModelSource::Bytes { name, content } => Ok((None, name.clone(), content.clone())),
        catalogued => {
            let entry = entry_of(store, catalogued, role)?;
            Ok((Some(entry), entry.name.clone(), store.read(&entry.name)?))
        }
    }
}

/// The catalogue's entry for a role: the one of that name, else the default.
fn entry_of<'a>(store: &'a ModelStore, source: &ModelSource, role: Role) -> Result<&'a CatalogueEntry> {
    let ModelSource::Catalogue(name) = source else { return store.catalogue().default_for(role) };
    let entry = store.catalogue().entry(name)?;
    if entry.kind.role() != role {
        return Err(Error::ModelInvalid {
            model: entry.name.clone(),
            role: if role == Role::Detector { "a detector" } else { "an embedder" },
            expected: format!("an entry of the catalogue that is one: {}", names_of(store, role)),
            actual: format!("one for the role {}", entry.kind.role()),
        });
    }
    Ok(entry)
}

fn names_of(store: &ModelStore, role: Role) -> String {
    let entries = store.catalogue().models().filter(|entry| entry.kind.role() == role);
    entries.map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
}
