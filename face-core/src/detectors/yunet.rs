//! YuNet: a small and fast detector from the OpenCV Zoo.

use std::path::Path;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayView2, Axis, Ix3};

use super::passes::{self, Candidate, Channels, Decoder, DetectionParams};
use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, Point};
use crate::image::ImageView;
use crate::inference::{Model, TractModel};
use crate::stage::{Detection, FaceDetector};

/// Finds faces with five landmarks, at about a tenth of CenterFace's cost.
///
/// Source: W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023;
/// the decoding is that of OpenCV's `FaceDetectorYN`. Input: BGR from 0 to 255, sides multiples of 32. Outputs for each
/// of the strides 8, 16 and 32, one row for each cell: class and object scores, box, key points.
pub struct YuNet {
    model: Arc<dyn Model>,
    heads: Heads,
    params: DetectionParams,
}

impl YuNet {
    /// Smallest score of a face when the settings name none. OpenCV's own default is 0.9, which misses many faces that
    /// are turned or small; see [the manual](crate::guide::detection).
    pub const DEFAULT_SCORE_THRESHOLD: f32 = 0.7;

    /// A detector from the bytes of `face_detection_yunet_2023mar.onnx`.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when the file is no YuNet of 2023; [`Error::InvalidParameter`].
    pub fn from_bytes(bytes: &[u8], params: DetectionParams) -> Result<Self> {
        Self::new(Arc::new(TractModel::from_onnx("YuNet", bytes)?), params)
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
    /// [`Error::ModelInvalid`] when inputs or outputs are not YuNet's; [`Error::InvalidParameter`].
    pub fn new(model: Arc<dyn Model>, params: DetectionParams) -> Result<Self> {
        params.validate()?;
        let heads = Heads::of(model.as_ref())?;
        passes::check(model.as_ref(), &heads, "YuNet")?;
        Ok(Self { model, heads, params })
    }

    /// The settings.
    pub fn params(&self) -> &DetectionParams {
        &self.params
    }
}

impl FaceDetector for YuNet {
    fn detect(&self, image: &ImageView<'_>) -> Result<Vec<Detection>> {
        passes::detect(image, &self.params, self.model.as_ref(), &self.heads)
    }
}

const STRIDES: [usize; 3] = [8, 16, 32];
/// The outputs of one stride, with their number of values for a cell.
const PARTS: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)];

/// Where in the list of outputs each stride's parts are.
struct Heads {
    indices: [[usize; PARTS.len()]; STRIDES.len()],
}

impl Heads {
    fn of(model: &dyn Model) -> Result<Self> {
        let signature = model.signature();
        let mut indices = [[0; PARTS.len()]; STRIDES.len()];
        for (row, stride) in indices.iter_mut().zip(STRIDES) {
            for (index, (part, values)) in row.iter_mut().zip(PARTS) {
                let name = format!("{part}_{stride}");
                let fits = |output: &crate::inference::TensorInfo| {
                    output.name == name && output.shape.last().copied().flatten() == Some(values)
                };
                *index = signature.outputs.iter().position(fits).ok_or_else(|| {
                    signature.unfit("YuNet", format!("an output {name} with {values} values for each cell"))
                })?;
            }
        }
        Ok(Self { indices })
    }
}

impl Decoder for Heads {
    const CHANNELS: Channels = Channels::Bgr;
    const SCORE_THRESHOLD: f32 = YuNet::DEFAULT_SCORE_THRESHOLD;

    fn decode(&self, outputs: &[ArrayD<f32>], input_width: usize, min_score: f32) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for (parts, stride) in self.indices.iter().zip(STRIDES) {
            let columns = input_width / stride;
            let rows = |part: usize| -> Result<ArrayView2<'_, f32>> {
                let output = outputs.get(parts[part]).ok_or_else(|| mismatch(outputs))?;
                let rows = output.view().into_dimensionality::<Ix3>().map_err(|_| mismatch(outputs))?;
                let (batch, cells, values) = rows.dim();
                let fits = batch == 1 && values == PARTS[part].1 && cells.is_multiple_of(columns);
                if fits { Ok(rows.index_axis_move(Axis(0), 0)) } else { Err(mismatch(outputs)) }
            };
            let (classes, objects, boxes, points) = (rows(0)?, rows(1)?, rows(2)?, rows(3)?);
            let cells = classes.nrows();
            if [&objects, &boxes, &points].iter().any(|part| part.nrows() != cells) {
                return Err(mismatch(outputs));
            }
            let stride = stride as f32;
            for cell in 0..cells {
                let score = (classes[(cell, 0)].clamp(0.0, 1.0) * objects[(cell, 0)].clamp(0.0, 1.0)).sqrt();
                if score.is_nan() || score < min_score {
                    continue;
                }
                let (column, row) = ((cell % columns) as f32, (cell / columns) as f32);
                let (width, height) = (boxes[(cell, 2)].exp() * stride, boxes[(cell, 3)].exp() * stride);
                let center = Point::new((column + boxes[(cell, 0)]) * stride, (row + boxes[(cell, 1)]) * stride);
                let point = |k| {
                    Point::new((points[(cell, 2 * k)] + column) * stride, (points[(cell, 2 * k + 1)] + row) * stride)
                };
                found.push(Candidate {
                    bounding_box: BoundingBox::new(center.x - width / 2.0, center.y - height / 2.0, width, height),
                    score,
                    points: std::array::from_fn(point),
                });
            }
        }
        Ok(found)
    }
}

fn mismatch(outputs: &[ArrayD<f32>]) -> Error {
    Error::Inference {
        model: "YuNet".to_owned(),
        reason: format!("outputs of {:?}", outputs.iter().map(|output| output.shape().to_vec()).collect::<Vec<_>>()),
    }
}
