//! Options that several commands share.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::detectors::DetectionParams;
use crate::embedders::EmbedderSpec;
use crate::error::{Error, Result};
use crate::models::{ModelStore, Role};
use crate::pipeline::{FacePipeline, ModelSource, PipelineParams, open_detector};
use crate::stage::{FaceDetector, Metric};
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
        open_detector(&ModelStore::open_default()?, &source(self.detector.as_deref()), &self.params())
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
        Some(text) if text.contains(['/', '\\', '.']) || Path::new(text).is_file() => ModelSource::File(text.into()),
        Some(text) => ModelSource::Catalogue(text.to_owned()),
    }
}
