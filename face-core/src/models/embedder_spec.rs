//! What a recogniser must be told about itself.

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Error, Result, ensure_finite, ensure_name};
use crate::files::parse_toml;
use crate::geometry::templates::Template;
use crate::geometry::{LandmarkScheme, Landmarks, Point};
use crate::stage::Threshold;
use crate::stage::{CropSpec, Metric, check_thresholds};

/// Order of the axes of a network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorLayout {
    /// Batch, channel, row, column: PyTorch's and most.
    #[default]
    Nchw,
    /// Batch, row, column, channel: TensorFlow's.
    Nhwc,
}

/// Order of the channels of a network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColorOrder {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first.
    Bgr,
}

/// How a photo becomes the input of a recogniser, and what its output means.
///
/// The same network with other preprocessing gives other embeddings, so all of this is part of the
/// [`EmbeddingSpace`](crate::EmbeddingSpace).
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedderSpec {
    /// Name of the model, for people.
    pub name: String,
    /// The crops that it was trained on, and which of them are averaged.
    pub crops: CropSpec,
    /// Whether the embedding of each crop is averaged with that of its mirror image; doubles the time.
    pub mirror: bool,
    /// Order of the channels.
    pub color: ColorOrder,
    /// Subtracted from each channel (in the order of `color`), whose values run from 0 to 255.
    pub mean: [f32; 3],
    /// Divides each channel after that. Not 0.
    pub std: [f32; 3],
    /// Order of the axes.
    pub layout: TensorLayout,
    /// How two embeddings are compared.
    pub metric: Metric,
    /// Thresholds measured for exactly these settings.
    pub thresholds: Vec<Threshold>,
}

impl EmbedderSpec {
    /// What most recognisers since ArcFace expect: RGB, (x - 127.5) / 127.5, the 112x112 template, cosine.
    pub fn arcface(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            crops: CropSpec::single(crate::templates::ARCFACE_112.clone()),
            mirror: false,
            color: ColorOrder::Rgb,
            mean: [127.5; 3],
            std: [127.5; 3],
            layout: TensorLayout::Nchw,
            metric: Metric::Cosine,
            thresholds: vec![],
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::NonFinite`], [`Error::InvalidParameter`], and as [`CropSpec::validate`].
    pub fn validate(&self) -> Result<()> {
        ensure_name("model name", &self.name)?;
        self.crops.validate()?;
        check_thresholds(&self.thresholds)?;
        ensure_finite("mean", &self.mean)?;
        ensure_finite("std", &self.std)?;
        if self.std.contains(&0.0) {
            return Err(Error::InvalidParameter {
                parameter: "std",
                value: format!("{:?}", self.std),
                expected: "other than 0: the channels are divided by it".into(),
            });
        }
        Ok(())
    }

    /// What the network sees, in words: part of the identity of the embedding space.
    pub(crate) fn preprocessing(&self) -> String {
        let lower = |value: String| value.to_lowercase();
        let [mean, std] = [self.mean, self.std].map(|v| v.map(|x| x.to_string()).join(","));
        format!(
            "{} {} mean {mean} std {std} {}",
            lower(format!("{:?}", self.color)),
            lower(format!("{:?}", self.layout)),
            template_identity(&self.crops.template)
        )
    }

    /// What is averaged, in words: part of the identity of the embedding space.
    pub(crate) fn averaging(&self) -> String {
        let zooms = self.crops.zooms.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        format!("zoom {zooms}{}", if self.mirror { " and mirror" } else { "" })
    }
}

/// A named template is known by its name; another one by its points too.
fn template_identity(template: &Template) -> String {
    let size = format!("{} {}x{}", template.name, template.width, template.height);
    if Template::by_name(&template.name).is_ok_and(|known| known == template) {
        return size;
    }
    let points = template.landmarks.points.map(|p| format!("{},{}", p.x, p.y)).join(" ");
    format!("{size} {} {points}", template.landmarks.scheme)
}

/// The written form of an [`EmbedderSpec`].
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    name: String,
    metric: Metric,
    crops: CropsFile,
    input: InputFile,
    #[serde(default)]
    thresholds: Vec<Threshold>,
}

/// Which crops of a face are made and averaged.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CropsFile {
    template: TemplateFile,
    #[serde(default = "one_crop")]
    zooms: Vec<f32>,
    #[serde(default)]
    mirror: bool,
}

/// How a crop becomes the network's input.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InputFile {
    color: ColorOrder,
    mean: [f32; 3],
    std: [f32; 3],
    #[serde(default)]
    layout: TensorLayout,
}

fn one_crop() -> Vec<f32> {
    vec![1.0]
}

/// A template by name, or one's own.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(
    untagged,
    expecting = "a template is a name, or { name, width, height, points = [[x, y], ...] } with five points"
)]
enum TemplateFile {
    Named(String),
    Own(OwnTemplate),
}

#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnTemplate {
    name: String,
    width: u32,
    height: u32,
    #[serde(default)]
    scheme: LandmarkScheme,
    points: [[f32; 2]; 5],
}

impl EmbedderSpec {
    /// Reads the settings from TOML.
    ///
    /// ```
    /// let spec = face_core::embedders::EmbedderSpec::from_toml(r#"
    ///     name = "my-recogniser"
    ///     metric = "cosine"          # or euclidean
    ///
    ///     [crops]
    ///     template = "arcface112"    # or dlib150, dlib150-corners, or { name, width, height, points = [[x, y] x 5] }
    ///     zooms = [1.0]              # the default: one crop
    ///     mirror = true              # the default is false
    ///
    ///     [input]
    ///     color = "rgb"              # or bgr
    ///     mean = [127.5, 127.5, 127.5]
    ///     std = [127.5, 127.5, 127.5]
    ///     layout = "nchw"            # the default; or nhwc
    ///
    ///     [[thresholds]]             # as `face eval lfw` prints them
    ///     similarity = 0.4
    ///     far = 1e-3
    ///     measured_on = "LFW deep-funneled"
    /// "#)?;
    /// assert!(spec.mirror);
    /// # Ok::<(), face_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Format`] for text that is not of this form; as [`validate`](Self::validate).
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::parse(text, Path::new("the preprocessing"))
    }

    /// As [`from_toml`](Self::from_toml), from a file.
    ///
    /// # Errors
    /// Also [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(&crate::files::read_text(path)?, path)
    }

    /// The settings as TOML, for a file of one's own: [`from_toml`](Self::from_toml) reads them back.
    pub fn to_toml(&self) -> String {
        let list = |values: &[f32]| values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ");
        let Template { name, width, height, landmarks } = &self.crops.template;
        let template = if Template::by_name(name).is_ok_and(|known| *known == self.crops.template) {
            format!("{name:?}")
        } else {
            let points = landmarks.points.map(|p| format!("[{}]", list(&[p.x, p.y]))).join(", ");
            let scheme = landmarks.scheme.name();
            format!(
                "{{ name = {name:?}, width = {width}, height = {height}, scheme = {scheme:?}, points = [{points}] }}"
            )
        };
        let [color, layout] =
            [format!("{:?}", self.color), format!("{:?}", self.layout)].map(|word| word.to_lowercase());
        let metric = match &self.metric {
            Metric::Cosine => "\"cosine\"".to_owned(),
            Metric::Euclidean => "\"euclidean\"".to_owned(),
            Metric::GroupAware(groups) => format!(
                "{{ group-aware = {{ representation = {}, beta = {:?}, gamma = {:?} }} }}",
                groups.representation(),
                groups.beta(),
                groups.gamma()
            ),
        };
        let mut text = format!(
            "name = {:?}\nmetric = {metric}\n\n[crops]\ntemplate = {template}\nzooms = [{}]\nmirror = {}\n\n\
             [input]\ncolor = {color:?}\nmean = [{}]\nstd = [{}]\nlayout = {layout:?}\n",
            self.name,
            list(&self.crops.zooms),
            self.mirror,
            list(&self.mean),
            list(&self.std),
        );
        for Threshold { similarity, far, measured_on } in &self.thresholds {
            text += &format!(
                "\n[[thresholds]]\nsimilarity = {similarity:?}\nfar = {far:e}\nmeasured_on = {measured_on:?}\n"
            );
        }
        text
    }

    fn parse(text: &str, path: &Path) -> Result<Self> {
        let SpecFile { name, metric, crops, input, thresholds } = parse_toml(text, path)?;
        Self::assemble(name, &input, &crops, metric, &thresholds)
    }

    pub(super) fn assemble(
        name: String,
        input: &InputFile,
        crops: &CropsFile,
        metric: Metric,
        thresholds: &[Threshold],
    ) -> Result<Self> {
        let spec = Self {
            name,
            crops: CropSpec { template: crops.template.resolve()?, zooms: crops.zooms.clone() },
            mirror: crops.mirror,
            color: input.color,
            mean: input.mean,
            std: input.std,
            layout: input.layout,
            metric,
            thresholds: thresholds.to_vec(),
        };
        spec.validate()?;
        Ok(spec)
    }
}

impl TemplateFile {
    fn resolve(&self) -> Result<Template> {
        match self {
            Self::Named(name) => Template::by_name(name).cloned(),
            Self::Own(OwnTemplate { name, width, height, scheme, points }) => {
                let points = points.map(|[x, y]| Point::new(x, y));
                Template::new(Cow::Owned(name.clone()), *width, *height, Landmarks { scheme: *scheme, points })
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "mine"
metric = "euclidean"
[crops]
template = { name = "square", width = 64, height = 64, points = [[20, 20], [44, 20], [32, 32], [22, 44], [42, 44]] }
[input]
color = "bgr"
mean = [0, 0, 0]
std = [1, 1, 1]
layout = "nhwc"
"#;

    #[test]
    fn every_field_is_read() {
        let spec = EmbedderSpec::from_toml(GOOD).unwrap();
        assert_eq!((spec.color, spec.layout, spec.metric), (ColorOrder::Bgr, TensorLayout::Nhwc, Metric::Euclidean));
        assert_eq!((spec.crops.template.width, spec.crops.zooms.as_slice(), spec.mirror), (64, &[1.0][..], false));
        assert!(spec.preprocessing().contains("square 64x64 eyes-nose-mouth 20,20"), "{}", spec.preprocessing());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut own = EmbedderSpec::from_toml(GOOD).unwrap();
        own.thresholds.push(Threshold { similarity: -0.5432, far: 1e-3, measured_on: "a \"set\"".into() });
        for spec in [own, EmbedderSpec::arcface("mine")] {
            assert_eq!(EmbedderSpec::from_toml(&spec.to_toml()).unwrap(), spec, "{}", spec.to_toml());
        }
    }

    #[test]
    fn what_is_wrong_or_unknown_is_named_with_its_line() {
        for (from, to, line) in [
            ("metric = \"euclidean\"", "metric = \"manhattan\"", 3),
            ("layout = \"nhwc\"", "lay_out = \"nhwc\"", 10),
            ("mean = [0, 0, 0]", "mean = [0, 0]", 8),
            ("name = \"mine\"", "name = ", 2),
        ] {
            let error = EmbedderSpec::from_toml(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, Error::Format { line: found, .. } if found.abs_diff(line) <= 3), "{to}: {error}");
        }
        let threshold = |similarity: f32, far: f64| {
            format!("\n[[thresholds]]\nsimilarity = {similarity:?}\nfar = {far:?}\nmeasured_on = \"x\"\n")
        };
        EmbedderSpec::from_toml(&(GOOD.to_owned() + &threshold(-0.6, 1e-2) + &threshold(-0.5, 1e-3))).unwrap();
        for (first, second) in [((0.5, 1e-3), (0.6, 1e-2)), ((0.5, -3.0), (0.6, 1e-3)), ((0.5, 1e-3), (0.6, 1e-3))] {
            let text = GOOD.to_owned() + &threshold(first.0, first.1) + &threshold(second.0, second.1);
            assert!(matches!(EmbedderSpec::from_toml(&text), Err(Error::InvalidParameter { .. })), "{text}");
        }
        for (from, to) in [("std = [1, 1, 1]", "std = [1, 0, 1]"), ("width = 64", "width = 0")] {
            let error = EmbedderSpec::from_toml(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(matches!(error, Error::InvalidParameter { .. }), "{to}: {error}");
        }
        let error = EmbedderSpec::from_toml(&GOOD.replacen("mean = [0, 0, 0]", "mean = [nan, 0, 0]", 1)).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    }
}
