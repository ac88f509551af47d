//! Options that several commands share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::detectors::DetectionParams;
use crate::embedders::EmbedderSpec;
use crate::error::{Error, Result};
use crate::gallery::{ApproximateParams, Gallery, LocalGallery, LocalGalleryParams};
#[cfg(feature = "postgres")]
use crate::gallery::{HnswParams, PostgresGallery, PostgresIndex, PostgresParams, PostgresTls};
use crate::inference::Engine;
use crate::models::{ModelStore, Role};
use crate::pipeline::{FacePipeline, ModelSource, PipelineParams, is_path, open_detector};
use crate::stage::{EmbeddingSpace, FaceDetector, Metric, Threshold};
use crate::templates::Template;

/// Which detector, and how it looks.
#[derive(Debug, Args)]
pub(super) struct DetectorOptions {
    /// Detector: a name of `face models list`, or an ONNX file of CenterFace or YuNet
    #[arg(long, value_name = "NAME|FILE")]
    detector: Option<String>,
    /// Smallest score of a face, from 0 to 1 [default: the detector's own]
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    score: Option<f32>,
    /// Largest overlap (intersection over union) of two faces, from 0 to 1
    #[arg(long, value_name = "IOU", allow_negative_numbers = true, default_value_t = DetectionParams::default().nms_threshold)]
    nms: f32,
    /// Shorter side of the smallest face, in pixels of the photo
    #[arg(long, value_name = "PIXELS", default_value_t = DetectionParams::default().min_size)]
    min_size: f32,
    /// Most faces in a photo
    #[arg(long, value_name = "N", default_value_t = DetectionParams::default().max_faces)]
    max_faces: usize,
    /// Photos are shrunk to this long side; larger finds smaller faces and takes longer
    #[arg(long, value_name = "PIXELS", default_value_t = DetectionParams::default().max_side)]
    max_side: u32,
    /// Long side of the second look, for faces that fill the photo; 0 for one look only
    #[arg(long, value_name = "PIXELS", default_value_t = DetectionParams::default().small_side.unwrap_or(0))]
    small_side: u32,
}

/// Which models a pipeline is made of.
#[derive(Debug, Args)]
pub(super) struct PipelineOptions {
    #[command(flatten)]
    detector: DetectorOptions,
    /// Recogniser: a name of `face models list`, or an ONNX file (then with --spec)
    #[arg(long, value_name = "NAME|FILE")]
    embedder: Option<String>,
    /// Variant of a catalogue recogniser [default: its own]
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// TOML file with crops, colours, mean, scale and metric of the recogniser
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
}

/// Another way of cutting and comparing, to be measured.
#[derive(Debug, Args)]
pub(super) struct CropOptions {
    /// Try another template: arcface112, dlib150 or dlib150-corners
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Try other zooms; several are averaged
    #[arg(long, value_name = "ZOOM", value_delimiter = ',')]
    zooms: Option<Vec<f32>>,
    /// Try with the mirror image averaged in, or without
    #[arg(long, value_name = "true|false")]
    mirror: Option<bool>,
    /// Try another metric
    #[arg(long)]
    metric: Option<MetricName>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MetricName {
    Cosine,
    Euclidean,
}

impl DetectorOptions {
    fn params(&self) -> DetectionParams {
        DetectionParams {
            score_threshold: self.score,
            nms_threshold: self.nms,
            min_size: self.min_size,
            max_faces: self.max_faces,
            max_side: self.max_side,
            small_side: (self.small_side > 0).then_some(self.small_side),
        }
    }

    pub(super) fn open(&self) -> Result<Box<dyn FaceDetector>> {
        open_detector(
            &ModelStore::open_default()?,
            &source(self.detector.as_deref()),
            &self.params(),
            &Engine::default(),
        )
    }
}

impl PipelineOptions {
    pub(super) fn params(&self) -> Result<PipelineParams> {
        let is_own = matches!(source(self.embedder.as_deref()), ModelSource::File(_));
        if is_own && self.spec.is_none() {
            return Err(Error::InvalidParameter {
                parameter: "--spec",
                value: "not given".into(),
                expected: "a TOML file that states the preprocessing of your recogniser (see face-core/docs/models.md)"
                    .into(),
            });
        }
        if let Some(variant) = &self.variant
            && (is_own || self.spec.is_some())
        {
            return Err(Error::InvalidParameter {
                parameter: "--variant",
                value: variant.clone(),
                expected: "left out: variants are those of the catalogue, and --spec replaces them".into(),
            });
        }
        Ok(PipelineParams {
            detector: source(self.detector.detector.as_deref()),
            detection: self.detector.params(),
            embedder: source(self.embedder.as_deref()),
            variant: self.variant.clone(),
            embedder_spec: self.spec.as_ref().map(EmbedderSpec::open).transpose()?,
            engine: Engine::default(),
        })
    }

    /// The detector's name, as it is quoted with measured rates.
    pub(super) fn detector_name(&self, store: &ModelStore) -> Result<String> {
        Ok(match source(self.detector.detector.as_deref()) {
            ModelSource::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            ModelSource::Catalogue(name) => name,
            _ => store.catalogue().default_for(Role::Detector)?.name.clone(),
        })
    }

    pub(super) fn open(&self) -> Result<FacePipeline> {
        FacePipeline::open(&ModelStore::open_default()?, &self.params()?)
    }
}

/// Which gallery.
#[derive(Debug, Args)]
pub(super) struct GalleryOptions {
    /// The gallery: a file, or postgres://USER@HOST/DATABASE where the program is built with the feature `postgres`
    #[arg(value_name = "GALLERY")]
    gallery: PathBuf,
    #[cfg(feature = "postgres")]
    #[command(flatten)]
    server: ServerOptions,
}

/// What only galleries on a server need.
#[cfg(feature = "postgres")]
#[derive(Debug, Args)]
struct ServerOptions {
    /// On a server: name of the gallery in the database [default: default]
    #[arg(long, value_name = "NAME")]
    gallery_name: Option<String>,
    /// On a server: certificates of the authorities that are trusted [default: the system's]. The connection is encrypted,
    /// unless the address ends in ?sslmode=disable
    #[arg(long, value_name = "FILE.pem")]
    root_certificate: Option<PathBuf>,
}

/// Where a gallery is kept.
pub(super) enum GalleryPlace<'a> {
    File(&'a Path),
    Server(&'a str),
}

/// What a gallery is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// To read, with the approximate index.
    Search,
    Write,
    /// To write, with the approximate index.
    BuildIndex,
}

impl GalleryOptions {
    pub(super) fn place(&self) -> GalleryPlace<'_> {
        let is_server = |text: &&str| text.starts_with("postgres://") || text.starts_with("postgresql://");
        match self.gallery.to_str().filter(is_server) {
            Some(url) => GalleryPlace::Server(url),
            None => GalleryPlace::File(&self.gallery),
        }
    }

    /// Opens a gallery that is there.
    pub(super) fn open(&self, access: Access) -> Result<Box<dyn Gallery>> {
        match self.place() {
            GalleryPlace::File(path) => {
                self.check_options_of_a_file()?;
                Ok(Box::new(open_local(path, access)?))
            }
            GalleryPlace::Server(url) => self.open_server(url, access),
        }
    }

    /// Opens a gallery for writing; `None` where there is none yet.
    pub(super) fn open_existing(&self) -> Result<Option<Box<dyn Gallery>>> {
        match self.place() {
            // A link to nothing is there too, and its error says more than that a file cannot be made.
            GalleryPlace::File(path) if path.symlink_metadata().is_err() => {
                self.check_options_of_a_file().map(|()| None)
            }
            GalleryPlace::File(_) => self.open(Access::Write).map(Some),
            GalleryPlace::Server(url) => self.find_on_server(url),
        }
    }

    /// A new gallery.
    pub(super) fn create(&self, space: Arc<EmbeddingSpace>) -> Result<Box<dyn Gallery>> {
        match self.place() {
            GalleryPlace::File(path) => Ok(Box::new(LocalGallery::create(path, space)?)),
            GalleryPlace::Server(url) => self.create_on_server(url, space),
        }
    }
}

pub(super) fn open_local(path: &Path, access: Access) -> Result<LocalGallery> {
    let with_index =
        LocalGalleryParams { approximate: Some(ApproximateParams::default()), ..LocalGalleryParams::default() };
    match access {
        Access::Read => LocalGallery::open_read_only(path),
        Access::Search => LocalGallery::open_read_only_with(path, &with_index),
        // An index that is there is kept in step.
        Access::Write if cfg!(feature = "hnsw") && index_path(path).exists() => {
            LocalGallery::open_with(path, &with_index)
        }
        Access::Write => LocalGallery::open(path),
        Access::BuildIndex => LocalGallery::open_with(path, &with_index),
    }
}

/// The approximate index beside a gallery's file; for a symbolic link, beside what it leads to.
pub(super) fn index_path(gallery: &Path) -> PathBuf {
    let gallery = gallery.canonicalize().unwrap_or_else(|_| gallery.to_owned());
    let mut name = gallery.file_name().unwrap_or_default().to_owned();
    name.push(".hnsw");
    gallery.with_file_name(name)
}

#[cfg(feature = "postgres")]
impl GalleryOptions {
    /// What is said of a server means nothing for a file.
    fn check_options_of_a_file(&self) -> Result<()> {
        let ServerOptions { gallery_name, root_certificate } = &self.server;
        let refused = |parameter| {
            let expected = "left out: it is for galleries on a server, and this one is a file".into();
            Err(Error::InvalidParameter { parameter, value: "given".into(), expected })
        };
        match (gallery_name, root_certificate) {
            (Some(_), _) => refused("--gallery-name"),
            (None, Some(_)) => refused("--root-certificate"),
            (None, None) => Ok(()),
        }
    }

    fn server_params(&self, url: &str, access: Access) -> Result<PostgresParams> {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let is_plain = query.split('&').any(|option| option == "sslmode=disable");
        let tls = match &self.server.root_certificate {
            Some(_) if is_plain => {
                return Err(Error::InvalidParameter {
                    parameter: "--root-certificate",
                    value: "given".into(),
                    expected: "left out: the address ends in sslmode=disable, and there is no certificate".into(),
                });
            }
            None if is_plain => PostgresTls::Disable,
            Some(path) => PostgresTls::RootCertificate(path.clone()),
            None => PostgresTls::Require,
        };
        let index = match access {
            Access::Search | Access::BuildIndex => PostgresIndex::Hnsw(HnswParams::default()),
            Access::Read | Access::Write => PostgresIndex::default(),
        };
        let params = PostgresParams::new(url);
        let gallery = self.server.gallery_name.clone().unwrap_or(params.gallery.clone());
        Ok(PostgresParams { gallery, tls, index, ..params })
    }

    fn open_server(&self, url: &str, access: Access) -> Result<Box<dyn Gallery>> {
        Ok(Box::new(PostgresGallery::open(&self.server_params(url, access)?)?))
    }

    fn find_on_server(&self, url: &str) -> Result<Option<Box<dyn Gallery>>> {
        let params = self.server_params(url, Access::Write)?;
        let names = PostgresGallery::names(&params)?;
        names.contains(&params.gallery).then(|| self.open_server(url, Access::Write)).transpose()
    }

    fn create_on_server(&self, url: &str, space: Arc<EmbeddingSpace>) -> Result<Box<dyn Gallery>> {
        Ok(Box::new(PostgresGallery::create(&self.server_params(url, Access::Write)?, space)?))
    }

    /// Builds the index of a gallery on a server.
    pub(super) fn index_on_server(&self, url: &str) -> Result<Box<dyn Gallery>> {
        let gallery = PostgresGallery::open(&self.server_params(url, Access::Write)?)?;
        gallery.set_index(&self.server_params(url, Access::BuildIndex)?.index)?;
        Ok(Box::new(gallery))
    }
}

#[cfg(not(feature = "postgres"))]
#[allow(clippy::unused_self)] // As with the feature.
impl GalleryOptions {
    fn check_options_of_a_file(&self) -> Result<()> {
        Ok(())
    }

    fn open_server(&self, _: &str, _: Access) -> Result<Box<dyn Gallery>> {
        Err(Error::InvalidParameter {
            parameter: "GALLERY",
            value: "the address of a server".into(),
            expected: "a file: this program was built without galleries on a server (feature `postgres`)".into(),
        })
    }

    fn find_on_server(&self, url: &str) -> Result<Option<Box<dyn Gallery>>> {
        self.open_server(url, Access::Write).map(Some)
    }

    fn create_on_server(&self, url: &str, _: Arc<EmbeddingSpace>) -> Result<Box<dyn Gallery>> {
        self.open_server(url, Access::Write)
    }

    pub(super) fn index_on_server(&self, url: &str) -> Result<Box<dyn Gallery>> {
        self.open_server(url, Access::BuildIndex)
    }
}

/// Checks, before any photo is worked on, that the pipeline's embeddings belong into the gallery. The error says which
/// options would make them.
pub(super) fn check_space(gallery: &dyn Gallery, space: &EmbeddingSpace) -> Result<()> {
    let own = gallery.space();
    if **own == *space {
        return Ok(());
    }
    let cure = match catalogue_options(own)? {
        Some(options) => format!("the gallery's is that of {options}"),
        None => "give the recogniser of the gallery by --embedder, and its --variant or --spec".to_owned(),
    };
    let actual = format!("{}\n{cure}", space.id());
    Err(Error::GallerySpace { gallery: gallery.name(), expected: own.id(), actual })
}

/// The options with which a recogniser of the catalogue works in that space.
fn catalogue_options(space: &EmbeddingSpace) -> Result<Option<String>> {
    let store = ModelStore::open_default()?;
    let catalogue = store.catalogue();
    for entry in catalogue.models().filter(|entry| entry.kind.role() == Role::Embedder) {
        for variant in &entry.variants {
            let spec = entry.embedder_spec(Some(&variant.name))?;
            let is_it = spec.name == space.model
                && entry.weights_digest() == space.digest
                && spec.preprocessing() == space.preprocessing
                && spec.averaging() == space.averaging
                && spec.metric == space.metric;
            if is_it {
                return Ok(Some(format!("--embedder {} --variant {}", entry.name, variant.name)));
            }
        }
    }
    Ok(None)
}

/// From which similarity on two faces count as the same person's.
#[derive(Debug, Args)]
pub(super) struct ThresholdOptions {
    /// False-accept rate of one comparison: the share of pairs of different people that may match
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub(super) far: Option<f64>,
    /// A similarity of your own
    #[arg(long, value_name = "SIMILARITY", allow_negative_numbers = true, conflicts_with = "far")]
    pub(super) threshold: Option<f32>,
}

impl ThresholdOptions {
    /// The threshold that was asked for, if one was.
    pub(super) fn chosen(&self, space: &EmbeddingSpace) -> Result<Option<Threshold>> {
        match (self.far, self.threshold) {
            (Some(far), _) => space.threshold_at(far).cloned().map(Some),
            (None, Some(similarity)) => own_threshold(similarity, space).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// A threshold of the user's own. It is at least as strict as every measured one below it, whose rate bounds its own.
pub(super) fn own_threshold(similarity: f32, space: &EmbeddingSpace) -> Result<Threshold> {
    if !similarity.is_finite() {
        return Err(Error::InvalidParameter {
            parameter: "--threshold",
            value: similarity.to_string(),
            expected: "a finite similarity".into(),
        });
    }
    let looser = space.thresholds.iter().filter(|threshold| threshold.similarity <= similarity);
    Ok(match looser.min_by(|a, b| a.far.total_cmp(&b.far)) {
        Some(known) => Threshold {
            similarity,
            far: known.far,
            measured_on: format!("at most; {} has this rate on {}", known.similarity, known.measured_on),
        },
        None => Threshold { similarity, far: 1.0, measured_on: "nothing: no threshold so loose is known".into() },
    })
}

impl CropOptions {
    /// Changes the settings of a pipeline. The thresholds of the original say nothing about what comes out.
    pub(super) fn apply(&self, params: &mut PipelineParams, store: &ModelStore) -> Result<()> {
        let Self { template, zooms, mirror, metric } = self;
        if template.is_none() && zooms.is_none() && mirror.is_none() && metric.is_none() {
            return Ok(());
        }
        let mut spec = params.resolved_spec(store)?;
        if let Some(name) = template {
            spec.crops.template = Template::by_name(name)?.clone();
        }
        if let Some(zooms) = zooms {
            spec.crops.zooms.clone_from(zooms);
        }
        if let Some(mirror) = mirror {
            spec.mirror = *mirror;
        }
        if let Some(metric) = metric {
            spec.metric = match metric {
                MetricName::Cosine => Metric::Cosine,
                MetricName::Euclidean => Metric::Euclidean,
            };
        }
        spec.thresholds.clear();
        params.embedder_spec = Some(spec);
        Ok(())
    }
}

/// A name of the catalogue, or the path of a file.
fn source(argument: Option<&str>) -> ModelSource {
    match argument {
        None => ModelSource::Default,
        Some(text) if is_path(text) || Path::new(text).is_file() => ModelSource::File(text.into()),
        Some(text) => ModelSource::Catalogue(text.to_owned()),
    }
}
