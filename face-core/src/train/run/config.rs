//! The settings of a training, as they are written in its TOML file.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::sampling::Sampling;
use super::schedule::Schedule;
use crate::error::{Error, Result};
use crate::files::parse_toml;
use crate::pipeline::is_path;
use crate::train::backbones::{
    AlexNetConfig, Backbone, DeepFaceConfig, DeepIdConfig, IResNetConfig, IResNetDepth, MobileFaceNetConfig,
    ResNetConfig, ResNetDepth, Vgg16Config,
};
use crate::train::batch::{check_size, check_within};
use crate::train::network::HeadConfig;

use super::loss::LossConfig;

/// Everything that a training depends on. The same settings on the same machine, with the same number of threads, give the same
/// network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Name of the network that comes out, for its users.
    pub name: String,
    /// Folder for checkpoints, metrics, plots and the network; made where it is missing.
    pub output: PathBuf,
    /// From it all randomness comes.
    #[serde(default = "first")]
    pub seed: u64,
    /// Into how many parts each batch is cut, which are worked on at the same time: data-parallel training. On the processor, that is;
    /// other devices are a matter of [`TrainParams`](super::TrainParams).
    #[serde(default = "one")]
    pub devices: usize,
    /// The photos.
    pub data: DataConfig,
    /// A network that is learnt from nothing; or [`base`](Self::base).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<BackboneConfig>,
    /// An embedder that stays as it is, whose features a head learns to use; or [`backbone`](Self::backbone).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<BaseConfig>,
    /// What comes behind the backbone or base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadConfig>,
    /// What is learnt by.
    pub loss: LossConfig,
    /// How photos come together in batches.
    #[serde(default)]
    pub sampling: Sampling,
    /// How weights follow their gradients.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// For how long, and how fast.
    #[serde(default)]
    pub schedule: Schedule,
    /// How good is it on people that were not in the training?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationConfig>,
    /// When checkpoints are written.
    #[serde(default)]
    pub checkpoints: CheckpointConfig,
    /// The file that comes out.
    #[serde(default)]
    pub export: ExportConfig,
}

/// The photos that are learnt from: a folder for each person, or a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder with a folder of photos for each person; or [`list`](Self::list).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// CSV file with the columns `photo` (a path, from the file's own folder) and `person`; or [`folder`](Self::folder).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<PathBuf>,
    /// Name of the template that the photos are aligned to already. Without it the face nearest to the centre of each photo is
    /// looked for, once, and its crop is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aligned: Option<String>,
    /// People with fewer readable photos are left out.
    #[serde(default = "one")]
    pub least_photos: usize,
    /// Share of the photos that may be unreadable, or without a face, before the training is refused.
    #[serde(default = "few")]
    pub most_unusable: f64,
    /// Random changes to the photos.
    #[serde(default)]
    pub augmentation: Augmentation,
}

/// Random changes to a photo. Each is drawn anew whenever the photo comes up; shares are between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Share of mirrored photos.
    pub mirror: f64,
    /// Most that a photo is moved in each direction, as a share of its side.
    pub shift: f64,
    /// Most that it is zoomed in or out: 0.1 for sizes between 1/1.1 and 1.1.
    pub zoom: f64,
    /// Most that it is turned, in degrees.
    pub turn: f64,
    /// Most that the light is changed: 0.2 for factors between 0.8 and 1.2.
    pub brightness: f64,
    /// Most that the contrast is changed, likewise.
    pub contrast: f64,
    /// Share of photos without colours.
    pub grey: f64,
    /// Share of photos with a black rectangle, of up to a quarter of the area.
    pub erase: f64,
}

impl Default for Augmentation {
    /// Mirror images alone, as in the training of ArcFace.
    fn default() -> Self {
        Self { mirror: 0.5, shift: 0.0, zoom: 0.0, turn: 0.0, brightness: 0.0, contrast: 0.0, grey: 0.0, erase: 0.0 }
    }
}

/// A backbone that is learnt from nothing. What is left out has the backbone's own default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackboneConfig {
    /// Which one.
    pub kind: BackboneKind,
    /// Rows and columns of its pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<[usize; 2]>,
    /// Channels of its first layer, from which those of the others follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Number of values of its features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<usize>,
}

/// The backbones by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // Each is the network of that name.
pub enum BackboneKind {
    #[serde(rename = "mobilefacenet")]
    MobileFaceNet,
    #[serde(rename = "iresnet-18")]
    IResNet18,
    #[serde(rename = "iresnet-34")]
    IResNet34,
    #[serde(rename = "iresnet-50")]
    IResNet50,
    #[serde(rename = "iresnet-100")]
    IResNet100,
    #[serde(rename = "resnet-18")]
    ResNet18,
    #[serde(rename = "resnet-50")]
    ResNet50,
    #[serde(rename = "alexnet")]
    AlexNet,
    #[serde(rename = "vgg-16")]
    Vgg16,
    #[serde(rename = "deepface")]
    DeepFace,
    #[serde(rename = "deepid")]
    DeepId,
}

impl BackboneConfig {
    /// The backbone with new weights.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn init(&self, device: &Device) -> Result<Backbone> {
        use BackboneKind as Kind;
        macro_rules! configured {
            ($config:expr) => {
                configured!($config, |input| input)
            };
            ($config:expr, |$input:ident| $shape:expr) => {{
                let mut config = $config;
                if let Some($input) = self.input {
                    config = config.with_input($shape);
                }
                if let Some(width) = self.width {
                    config = config.with_width(width);
                }
                if let Some(dimension) = self.dimension {
                    config = config.with_dimension(dimension);
                }
                config.init(device)
            }};
        }
        match self.kind {
            Kind::MobileFaceNet => configured!(MobileFaceNetConfig::new()),
            Kind::IResNet18 => configured!(IResNetConfig::new(IResNetDepth::R18)),
            Kind::IResNet34 => configured!(IResNetConfig::new(IResNetDepth::R34)),
            Kind::IResNet50 => configured!(IResNetConfig::new(IResNetDepth::R50)),
            Kind::IResNet100 => configured!(IResNetConfig::new(IResNetDepth::R100)),
            Kind::ResNet18 => configured!(ResNetConfig::new(ResNetDepth::R18)),
            Kind::ResNet50 => configured!(ResNetConfig::new(ResNetDepth::R50)),
            Kind::AlexNet => configured!(AlexNetConfig::new()),
            Kind::Vgg16 => configured!(Vgg16Config::new()),
            Kind::DeepFace => configured!(DeepFaceConfig::new()),
            Kind::DeepId => configured!(DeepIdConfig::new(), |input| [3, input[0], input[1]]),
        }
    }
}

/// An embedder that stays as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// Name in the catalogue, or an ONNX file. The default embedder, where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Settings of an ONNX file, as `face embed --spec` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<PathBuf>,
}

/// Stochastic gradient descent with momentum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Share of the last step that is taken again.
    pub momentum: f64,
    /// Share of a weight that its gradient grows by.
    pub weight_decay: f64,
    /// Greatest length of all gradients of the network together; longer ones are shortened. 0 for no such bound.
    pub clip: f64,
}

impl Default for OptimizerConfig {
    /// Source: `arcface_torch` of InsightFace: momentum 0.9, weight decay 5e-4, gradients of at most 5.
    fn default() -> Self {
        Self { momentum: 0.9, weight_decay: 5e-4, clip: 5.0 }
    }
}

/// Pairs of photos in the format of LFW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Folder with NAME/NAME_0001.jpg and so on.
    pub images: PathBuf,
    /// The list of pairs, pairs.txt.
    pub pairs: PathBuf,
    /// Name of the template that the photos are aligned to already; without it their faces are looked for, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aligned: Option<String>,
    /// Name of the set, as it is to be quoted with the thresholds.
    #[serde(default = "the_pairs")]
    pub set: String,
    /// After how many epochs each time; the last one is always followed by one.
    #[serde(default = "one")]
    pub every: usize,
}

/// When checkpoints are written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// After how many steps each time; 0 for the end of each epoch.
    pub every: usize,
    /// How many of them are kept, the last ones.
    pub keep: usize,
}

/// The file that comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// Whether normalizations by the batch become part of what is before them.
    pub folds_batch_norm: bool,
    /// Whether embeddings carry the intermediate vector of GroupFace's decision network too, and are compared by the
    /// [group-aware similarity](crate::Metric::GroupAware).
    pub group_aware: bool,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { folds_batch_norm: true, group_aware: false }
    }
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 0, keep: 2 }
    }
}

fn first() -> u64 {
    1
}

fn one() -> usize {
    1
}

fn the_pairs() -> String {
    "the pairs of the validation".into()
}

fn few() -> f64 {
    0.05
}

impl TrainConfig {
    /// Reads a file. Paths in it are those from its own folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for what is no such file, with the line, and for a key that is unknown with the nearest one that
    /// is not; as [`validate`](Self::validate).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = crate::files::read_text(path)?;
        let mut config: Self = parse_toml(&text, path).map_err(with_nearest_key)?;
        config.resolve(crate::files::folder_of(path));
        config.validate()?;
        Ok(config)
    }

    /// From the text of such a file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = parse_toml(text, Path::new("the settings")).map_err(with_nearest_key)?;
        config.validate()?;
        Ok(config)
    }

    /// From the same settings as JSON.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_json(text: &str) -> Result<Self> {
        let config: Self = serde_json::from_str(text).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.rsplit_once(" at line").map_or(reason.as_str(), |(reason, _)| reason);
            with_nearest_key(Error::Format { path: "the settings".into(), line: 0, reason: reason.to_owned() })
        })?;
        config.validate()?;
        Ok(config)
    }

    /// Makes relative paths absolute.
    pub fn resolve(&mut self, folder: &Path) {
        let validation = self.validation.iter_mut().flat_map(|v| [&mut v.images, &mut v.pairs]);
        let data = self.data.folder.iter_mut().chain(&mut self.data.list);
        let spec = self.base.iter_mut().filter_map(|base| base.spec.as_mut());
        for path in data.chain(validation).chain(spec).chain([&mut self.output]) {
            *path = folder.join(&path);
        }
        if let Some(model) = self.base.as_mut().and_then(|base| base.model.as_mut())
            && is_path(model)
        {
            *model = folder.join(&model).to_string_lossy().into_owned();
        }
    }

    /// Checks every setting that can be checked without the photos.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`].
    pub fn validate(&self) -> Result<()> {
        crate::error::ensure_name("name", &self.name)?;
        let exactly_one = |parameter: &'static str, first: bool, second: bool, expected: &str| match (first, second) {
            (true, false) | (false, true) => Ok(()),
            (both, _) => Err(Error::InvalidParameter {
                parameter,
                value: if both { "both".into() } else { "neither".into() },
                expected: expected.to_owned(),
            }),
        };
        let of_data = "one of `folder` and `list`";
        exactly_one("data", self.data.folder.is_some(), self.data.list.is_some(), of_data)?;
        let of_network = "one of [backbone], to learn a network from nothing, and [base], to adapt one";
        exactly_one("the network", self.backbone.is_some(), self.base.is_some(), of_network)?;
        check_size("least_photos", self.data.least_photos)?;
        check_within("most_unusable", self.data.most_unusable, 0.0, 1.0)?;
        check_size("devices", self.devices)?;
        check_size("checkpoints.keep", self.checkpoints.keep)?;
        self.data.augmentation.validate()?;
        let OptimizerConfig { momentum, weight_decay, clip } = self.optimizer;
        check_within("momentum", momentum, 0.0, 1.0)?;
        check_within("weight_decay", weight_decay, 0.0, 1.0)?;
        check_within("clip", clip, 0.0, f64::MAX)?;
        self.sampling.validate()?;
        self.schedule.validate()?;
        self.loss.validate()?;
        if let Some(head) = &self.head {
            head.validate()?;
        }
        if let Some(validation) = &self.validation {
            check_size("validation.every", validation.every)?;
        }
        if self.export.group_aware && !self.loss.is_of_groups() {
            return Err(Error::InvalidParameter {
                parameter: "export.group_aware",
                value: "true".into(),
                expected: "false: the network has no groups".into(),
            });
        }
        let has_groups = matches!(self.head, Some(HeadConfig::GroupFace { .. }));
        if has_groups != self.loss.is_of_groups() {
            return Err(Error::InvalidParameter {
                parameter: "loss",
                value: format!("{:?}", self.loss.kind),
                expected: "groupface with the head groupface, and another one with other heads".into(),
            });
        }
        Ok(())
    }
}

impl Augmentation {
    fn validate(&self) -> Result<()> {
        let Self { mirror, shift, zoom, turn, brightness, contrast, grey, erase } = *self;
        for (parameter, share) in [("mirror", mirror), ("grey", grey), ("erase", erase), ("shift", shift)] {
            check_within(parameter, share, 0.0, 1.0)?;
        }
        for (parameter, most) in [("zoom", zoom), ("brightness", brightness), ("contrast", contrast)] {
            check_within(parameter, most, 0.0, 0.9)?;
        }
        check_within("turn", turn, 0.0, 180.0)
    }
}

/// Says which known key is nearest where one is unknown.
fn with_nearest_key(error: Error) -> Error {
    match error {
        Error::Format { path, line, reason } => {
            Error::Format { path, line, reason: nearest_key(&reason).unwrap_or(reason) }
        }
        other => other,
    }
}

/// From serde's "unknown field `x`, expected one of `a`, `b`", or "expected `a` or `b`".
fn nearest_key(message: &str) -> Option<String> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    let distance = |key: &&&str| strsim::damerau_levenshtein(unknown, key);
    let nearest = known.iter().min_by_key(distance)?;
    Some(format!("there is no key `{unknown}` here; did you mean `{nearest}`? Known are: {}", known.join(", ")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The settings in the chapter of the manual.
    fn examples() -> Vec<&'static str> {
        let chapter = include_str!("../../../docs/training.md");
        chapter.split("```toml\n").skip(1).filter_map(|part| part.split("```").next()).collect()
    }

    #[test]
    fn settings_of_the_manual_are_read() {
        let examples = examples();
        let [adaptation, from_nothing, groups] = examples[..] else { unreachable!("{} examples", examples.len()) };
        let adaptation = TrainConfig::from_toml(adaptation).unwrap();
        assert_eq!(adaptation.head, Some(HeadConfig::Linear { dimension: 128 }));
        assert_eq!(adaptation.schedule, Schedule::default());
        let config = TrainConfig::from_toml(from_nothing).unwrap();
        assert_eq!(config.backbone.as_ref().unwrap().kind, BackboneKind::MobileFaceNet);
        assert_eq!((config.data.augmentation.shift, config.optimizer), (0.04, OptimizerConfig::default()));
        let (_, head) = from_nothing.split_once("[loss]\nkind = \"cosface\"\n").unwrap();
        let (before, _) = from_nothing.split_once("[loss]").unwrap();
        let grouped = TrainConfig::from_toml(&format!("{before}{groups}{head}")).unwrap();
        assert_eq!(grouped.loss.window, Some(4));
        // The same as JSON, and as TOML that was written.
        assert_eq!(TrainConfig::from_json(&serde_json::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_one() {
        let refused = |change: &dyn Fn(&str) -> String| match TrainConfig::from_toml(&change(examples()[1])) {
            Err(Error::Format { line, reason, .. }) => (line, reason),
            other => unreachable!("{other:?}"),
        };
        let (line, reason) = refused(&|text| text.replace("weight_decay", "wieght_decay"));
        let expected = 1 + examples()[1].lines().position(|line| line.starts_with("weight_decay")).unwrap();
        assert_eq!(line, expected);
        assert!(reason.contains("`wieght_decay`") && reason.contains("did you mean `weight_decay`"), "{reason}");
        let (_, reason) = refused(&|text| text.replace("[optimizer]", "[optimiser]"));
        assert!(reason.contains("did you mean `optimizer`"), "{reason}");
        let error = TrainConfig::from_json("{\"name\": \"a\", \"otput\": \"b\"}").unwrap_err().to_string();
        assert!(error.contains("did you mean `output`"), "{error}");
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = examples()[1];
        for (from, to) in [
            ("momentum = 0.9", "momentum = 1.5"),
            ("mirror = 0.5", "mirror = 2"),
            ("batch = 64", "batch = 0"),
            ("epochs = 20", "epochs = 0"),
            ("clip = 5 ", "clip = -1 "),
            ("folder = \"crops\"", "folder = \"crops\"\nlist = \"list.csv\""),
            ("[loss]", "[base]\n\n[loss]"),
            ("every = 5", "every = 0"),
            ("kind = \"cosface\"", "kind = \"cosface\"\nmining = \"hard\""),
            ("kind = \"cosface\"", "kind = \"sphereface\"\nmargin = 2.5"),
            ("kind = \"cosface\"", "kind = \"groupface\""),
            ("name = \"mine\"", "name = \"a/b\""),
        ] {
            assert!(good.contains(from), "{from}");
            let error = TrainConfig::from_toml(&good.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, Error::InvalidParameter { .. } | Error::Format { .. }), "{to}: {error:?}");
        }
    }
}
