//! Any ONNX recogniser.

use std::path::Path;
use std::sync::Arc;

use ndarray::Array4;

use crate::error::{Error, Result, ensure_finite};
use crate::geometry::templates::Template;
use crate::image::Image;
use crate::inference::{Model, TractModel};
use crate::models::{ColorOrder, EmbedderSpec, TensorLayout};
use crate::stage::{CropSpec, Embedder, Embedding, EmbeddingSpace, FaceCrop};

/// A recogniser in an ONNX file, run by tract: the default one, SFace, or one of your own.
///
/// # Example
/// ```no_run
/// use face_core::embedders::{EmbedderSpec, OnnxEmbedder};
///
/// let embedder = OnnxEmbedder::open("my-recogniser.onnx", EmbedderSpec::arcface("mine"))?;
/// # Ok::<(), face_core::Error>(())
/// ```
pub struct OnnxEmbedder {
    model: Arc<dyn Model>,
    spec: EmbedderSpec,
    space: Arc<EmbeddingSpace>,
}

impl OnnxEmbedder {
    /// A recogniser from the bytes of an ONNX file.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when it does not turn one crop into one vector; as [`EmbedderSpec::validate`].
    pub fn from_bytes(bytes: &[u8], spec: EmbedderSpec) -> Result<Self> {
        let digest = crate::files::sha256_hex(bytes);
        let model = TractModel::from_onnx(spec.name.clone(), bytes)?;
        Self::new(Arc::new(model), digest, spec)
    }

    /// A recogniser from a file.
    ///
    /// # Errors
    /// Also [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, spec: EmbedderSpec) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(&crate::files::read_model(path)?, spec)
    }

    /// A recogniser on a network that is loaded already, by whatever engine. `digest` is the SHA-256 of its weights, in
    /// hexadecimal digits: it tells the embeddings of two networks apart.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes).
    pub fn new(model: Arc<dyn Model>, digest: impl Into<String>, spec: EmbedderSpec) -> Result<Self> {
        spec.validate()?;
        let dimension = output_dimension(model.as_ref(), &spec)?;
        let space = EmbeddingSpace {
            model: spec.name.clone(),
            digest: digest.into(),
            dimension,
            preprocessing: spec.preprocessing(),
            averaging: spec.averaging(),
            metric: spec.metric,
            thresholds: spec.thresholds.clone(),
        };
        Ok(Self { model, spec, space: Arc::new(space) })
    }

    /// How photos become its input.
    pub fn spec(&self) -> &EmbedderSpec {
        &self.spec
    }

    /// What the network gives for one view, as it is.
    pub(crate) fn features(&self, view: &Image, mirrored: bool) -> Result<Vec<f32>> {
        let outputs = self.model.run(input_tensor(view, mirrored, &self.spec))?;
        let vector: Vec<f32> = outputs.first().map(|output| output.iter().copied().collect()).unwrap_or_default();
        ensure_finite(&format!("the output of {}", self.spec.name), &vector)?;
        if vector.len() != self.space.dimension {
            return Err(Error::Inference {
                model: self.spec.name.clone(),
                reason: format!("{} values came out, where {} did at first", vector.len(), self.space.dimension),
            });
        }
        Ok(vector)
    }
}

impl Embedder for OnnxEmbedder {
    fn embed(&self, crop: &FaceCrop) -> Result<Embedding> {
        if crop.spec != self.spec.crops {
            return Err(Error::CropMismatch { expected: self.spec.crops.to_string(), actual: crop.spec.to_string() });
        }
        let Template { width, height, .. } = self.spec.crops.template;
        let fits = |view: &Image| (view.width(), view.height()) == (width, height);
        if crop.views.len() != self.spec.crops.zooms.len() || !crop.views.iter().all(fits) {
            let sizes: Vec<_> = crop.views.iter().map(|view| (view.width(), view.height())).collect();
            return Err(Error::CropMismatch {
                expected: format!("{} views of {width}x{height}", self.spec.crops.zooms.len()),
                actual: format!("views of {sizes:?}"),
            });
        }
        let mut sum = vec![0.0_f64; self.space.dimension];
        let mut count = 0_u32;
        for view in &crop.views {
            for mirrored in if self.spec.mirror { &[false, true][..] } else { &[false] } {
                for (total, value) in sum.iter_mut().zip(self.features(view, *mirrored)?) {
                    *total += f64::from(value);
                }
                count += 1;
            }
        }
        let mean = sum.into_iter().map(|total| (total / f64::from(count.max(1))) as f32).collect();
        Embedding::new(mean, Arc::clone(&self.space))
    }

    fn crop_spec(&self) -> &CropSpec {
        &self.spec.crops
    }

    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }
}

/// Runs a grey crop through the network: a wrong model is found out when it is loaded, not at the first face.
fn output_dimension(model: &dyn Model, spec: &EmbedderSpec) -> Result<usize> {
    let signature = model.signature();
    let template = &spec.crops.template;
    let role = "an embedder";
    let fits = |side: Option<usize>, wanted: u32| side.is_none_or(|side| side == wanted as usize);
    let declared = &signature.inputs.first().map(|input| input.shape.clone()).unwrap_or_default();
    let (height, width, channels) = match (spec.layout, declared.as_slice()) {
        (TensorLayout::Nchw, [_, c, h, w]) | (TensorLayout::Nhwc, [_, h, w, c]) => (*h, *w, *c),
        (_, []) => (None, None, None),
        _ => return Err(signature.unfit(role, "an input of four axes")),
    };
    let input = format!(
        "a {} input of 3 channels and {}x{} pixels",
        format!("{:?}", spec.layout).to_lowercase(),
        template.width,
        template.height
    );
    if !(fits(height, template.height) && fits(width, template.width) && fits(channels, 3)) {
        return Err(signature.unfit(role, input));
    }
    let grey = vec![128; template.width as usize * template.height as usize * 3];
    let grey = Image::from_raw(template.width, template.height, grey)?;
    let outputs = model.run(input_tensor(&grey, false, spec)).map_err(|error| Error::ModelInvalid {
        model: signature.name.clone(),
        role,
        expected: input,
        actual: error.to_string(),
    })?;
    match outputs.as_slice() {
        [vector] if (MIN_DIMENSION..=MAX_DIMENSION).contains(&vector.len()) && is_one_vector(vector.shape()) => {
            ensure_finite(
                &format!("the output of {} for a grey picture", spec.name),
                &vector.iter().copied().collect::<Vec<_>>(),
            )?;
            Ok(vector.len())
        }
        outputs => Err(Error::ModelInvalid {
            model: signature.name.clone(),
            role,
            expected: format!("one output with one vector of {MIN_DIMENSION} to {MAX_DIMENSION} values"),
            actual: format!("outputs of {:?}", outputs.iter().map(|o| o.shape().to_vec()).collect::<Vec<_>>()),
        }),
    }
}

/// One row for the one picture, and all its values along one axis: a map of scores has two.
fn is_one_vector(shape: &[usize]) -> bool {
    shape.first() == Some(&1) && shape.iter().filter(|side| **side > 1).count() == 1
}

/// Shortest and longest vectors that are taken for embeddings. A map of scores or boxes is longer.
const MIN_DIMENSION: usize = 8;
const MAX_DIMENSION: usize = 8192;

fn input_tensor(view: &Image, mirrored: bool, spec: &EmbedderSpec) -> Array4<f32> {
    let (width, height) = (view.width() as usize, view.height() as usize);
    let shape = match spec.layout {
        TensorLayout::Nchw => (1, 3, height, width),
        TensorLayout::Nhwc => (1, height, width, 3),
    };
    let pixels = view.as_raw();
    let value = |x: usize, y: usize, channel: usize| {
        let x = if mirrored { width - 1 - x } else { x };
        let source = match spec.color {
            ColorOrder::Rgb => channel,
            ColorOrder::Bgr => 2 - channel,
        };
        (f32::from(pixels[(y * width + x) * 3 + source]) - spec.mean[channel]) / spec.std[channel]
    };
    match spec.layout {
        TensorLayout::Nchw => Array4::from_shape_fn(shape, |(_, channel, y, x)| value(x, y, channel)),
        TensorLayout::Nhwc => Array4::from_shape_fn(shape, |(_, y, x, channel)| value(x, y, channel)),
    }
}
