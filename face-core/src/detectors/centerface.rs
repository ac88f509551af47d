//! CenterFace: the default detector.

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayView4, Ix4};

use super::passes::{self, Candidate, Channels, Decoder, DetectionParams};
use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, Point};
use crate::image::ImageView;
use crate::inference::{Model, TractModel};
use crate::stage::{Detection, FaceDetector};

/// Finds faces with five landmarks.
///
/// Source: Y. Xu, W. Yan, H. Sun, G. Yang, J. Luo, "CenterFace: Joint Face Detection and Alignment Using Face as Point",
/// arXiv 1911.03599; the decoding follows the equations there as the authors' `centerface.py` applies them. Input: RGB
/// from 0 to 255, sides multiples of 32. Outputs, one cell for 4 x 4 pixels: heat map, logarithm of height and width,
/// offset (y, x) of the centre, landmarks (y, x) as shares of the box.
pub struct CenterFace {
    model: Arc<dyn Model>,
    params: DetectionParams,
}

/// Pixels of the input for one cell of the outputs.
const STRIDE: f32 = 4.0;
/// Channels of the four outputs: heat map, scale, offset, landmarks.
const OUTPUT_CHANNELS: [usize; 4] = [1, 2, 2, 10];

impl CenterFace {
    /// Smallest score of a face when the settings name none. See [the manual](crate::guide::detection) for what it finds and misses.
    pub const DEFAULT_SCORE_THRESHOLD: f32 = 0.5;

    /// A detector from the bytes of `centerface.onnx`.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when the file is no CenterFace network; [`Error::InvalidParameter`].
    pub fn from_bytes(bytes: &[u8], params: DetectionParams) -> Result<Self> {
        Self::new(Arc::new(TractModel::from_onnx("CenterFace", bytes)?), params)
    }

    /// A detector from a file.
    ///
    /// # Errors
    /// Also [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, params: DetectionParams) -> Result<Self> {
        Self::new(Arc::new(TractModel::open(path)?), params)
    }

    /// A detector on a network that is loaded already, by whatever engine.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when inputs or outputs are not CenterFace's; [`Error::InvalidParameter`].
    pub fn new(model: Arc<dyn Model>, params: DetectionParams) -> Result<Self> {
        params.validate()?;
        let signature = model.signature();
        let channels: Vec<_> = signature.outputs.iter().map(|output| output.shape.get(1).copied().flatten()).collect();
        if channels != OUTPUT_CHANNELS.map(Some) {
            return Err(signature.unfit("CenterFace", "outputs of 1, 2, 2 and 10 channels"));
        }
        passes::check(model.as_ref(), &Maps, "CenterFace")?;
        Ok(Self { model, params })
    }

    /// The settings.
    pub fn params(&self) -> &DetectionParams {
        &self.params
    }
}

impl FaceDetector for CenterFace {
    fn detect(&self, image: &ImageView<'_>) -> Result<Vec<Detection>> {
        passes::detect(image, &self.params, self.model.as_ref(), &Maps)
    }
}

struct Maps;

impl Decoder for Maps {
    const CHANNELS: Channels = Channels::Rgb;
    const SCORE_THRESHOLD: f32 = CenterFace::DEFAULT_SCORE_THRESHOLD;

    fn decode(&self, outputs: &[ArrayD<f32>], _input_width: usize, min_score: f32) -> Result<Vec<Candidate>> {
        let mismatch = || Error::Inference {
            model: "CenterFace".to_owned(),
            reason: format!("outputs of {:?}", outputs.iter().map(|o| o.shape().to_vec()).collect::<Vec<_>>()),
        };
        let [heat, scale, offset, landmarks] = outputs else { return Err(mismatch()) };
        let cells = heat.shape().get(2..).unwrap_or_default();
        let (Some(heat), Some(scale), Some(offset), Some(landmarks)) = (
            map(heat, OUTPUT_CHANNELS[0], cells),
            map(scale, OUTPUT_CHANNELS[1], cells),
            map(offset, OUTPUT_CHANNELS[2], cells),
            map(landmarks, OUTPUT_CHANNELS[3], cells),
        ) else {
            return Err(mismatch());
        };
        let mut found = Vec::new();
        for ((_, _, row, column), &score) in heat.indexed_iter() {
            if score.is_nan() || score < min_score {
                continue;
            }
            let at = |map: &ArrayView4<'_, f32>, channel: usize| map[(0, channel, row, column)];
            let height = at(&scale, 0).exp() * STRIDE;
            let width = at(&scale, 1).exp() * STRIDE;
            let y = (row as f32 + at(&offset, 0) + 0.5) * STRIDE - height / 2.0;
            let x = (column as f32 + at(&offset, 1) + 0.5) * STRIDE - width / 2.0;
            let point = |k| Point::new(at(&landmarks, 2 * k + 1) * width + x, at(&landmarks, 2 * k) * height + y);
            found.push(Candidate {
                bounding_box: BoundingBox::new(x, y, width, height),
                score,
                points: std::array::from_fn(point),
            });
        }
        Ok(found)
    }
}

/// One output as batch, channel, row, column, if it has these channels and cells.
fn map<'a>(output: &'a ArrayD<f32>, channels: usize, cells: &[usize]) -> Option<ArrayView4<'a, f32>> {
    let fits = output.shape().get(..2)? == [1, channels] && output.shape()[2..] == *cells;
    fits.then(|| output.view().into_dimensionality::<Ix4>().ok())?
}
