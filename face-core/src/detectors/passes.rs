//! What detectors share: pictures of any size, several scales, and the merging of what was found.

use ndarray::{Array4, ArrayD};

use crate::error::{Error, Result};
use crate::geometry::{BoundingBox, Landmarks, Point};
use crate::image::{Image, ImageView, shrink};
use crate::inference::Model;
use crate::stage::Detection;

/// Settings of a detector.
///
/// # Small and large faces
/// A network sees a range of face sizes. A photo is therefore looked at twice: once at its own size or shrunk to
/// [`max_side`](Self::max_side), where small faces are found, and once shrunk to [`small_side`](Self::small_side), where
/// faces that fill the picture come down to a size the network knows. What both find is merged by non-maximum
/// suppression, and fragments that the first look has found of a close-up are dropped. The second pass costs as much as its share of pixels: at 320 beside 1024 about 10 % more time. It is
/// left out where the photo is hardly larger than it, and `small_side: None` turns it off.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionParams {
    /// Smallest score of a face that is reported, from 0 to 1; `None` for the detector's own: each network scores
    /// differently.
    pub score_threshold: Option<f32>,
    /// Of two boxes that overlap by more than this intersection over union, only the better is kept; from 0 to 1.
    pub nms_threshold: f32,
    /// Shorter side of the smallest box that is reported, in pixels of the photo.
    pub min_size: f32,
    /// Most faces that are reported, the best first.
    pub max_faces: usize,
    /// Photos whose long side exceeds this are shrunk to it, in pixels. Time grows with its square; faces smaller than
    /// about 10 pixels after shrinking are missed.
    pub max_side: u32,
    /// Long side of the pass for large faces, in pixels; `None` for one pass only.
    pub small_side: Option<u32>,
}

impl Default for DetectionParams {
    /// The detector's own score, overlap 0.3, no smallest size, 1000 faces, long sides of 1024 and 320.
    fn default() -> Self {
        Self {
            score_threshold: None,
            nms_threshold: 0.3,
            min_size: 0.0,
            max_faces: 1000,
            max_side: 1024,
            small_side: Some(320),
        }
    }
}

impl DetectionParams {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`], which names the setting and its range.
    pub fn validate(&self) -> Result<()> {
        let check = |valid: bool, parameter: &'static str, value: String, expected: &str| {
            if valid {
                Ok(())
            } else {
                Err(Error::InvalidParameter { parameter, value, expected: expected.to_owned() })
            }
        };
        let sides = SIDE_RANGE.start()..=SIDE_RANGE.end();
        let nms = self.nms_threshold;
        if let Some(score) = self.score_threshold {
            check((0.0..=1.0).contains(&score), "score_threshold", score.to_string(), "from 0 to 1")?;
        }
        check((0.0..=1.0).contains(&nms), "nms_threshold", nms.to_string(), "from 0 to 1")?;
        check(self.min_size >= 0.0, "min_size", self.min_size.to_string(), "0 or more pixels")?;
        check(self.max_faces > 0, "max_faces", self.max_faces.to_string(), "at least 1")?;
        let range = "from 32 to 8192 pixels";
        check(sides.contains(&&self.max_side), "max_side", self.max_side.to_string(), range)?;
        if let Some(side) = self.small_side {
            check(sides.contains(&&side), "small_side", side.to_string(), range)?;
        }
        Ok(())
    }
}

/// Networks see at least one cell of their coarsest grid, and at most what fits into some gigabytes.
const SIDE_RANGE: std::ops::RangeInclusive<u32> = 32..=8192;
/// Sides of a network's input are multiples of its coarsest stride.
const INPUT_MULTIPLE: u32 = 32;
/// The pass for large faces is left out where it would shrink by less than this.
const MIN_SHRINK: f32 = 0.75;
/// A face of the second look whose long side takes up this share of the picture is judged by that look alone: the first one
/// sees so large a face in fragments.
const CLOSE_UP_SHARE: f32 = 0.4;
/// A fragment: so much of its area lies in the close-up,
const FRAGMENT_INSIDE: f32 = 0.6;
/// its long side is at least this share of the close-up's (smaller faces, on a picture in the background, are kept),
const FRAGMENT_SIDE: f32 = 0.25;
/// and its score at most this many times the close-up's (a doubtful close-up does not remove certain faces).
const FRAGMENT_SCORE: f32 = 1.35;
/// Candidates that non-maximum suppression looks at, the best first. More than a crowd has; bounds its time.
const MAX_CANDIDATES: usize = 5000;

/// Order of the channels in a network's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channels {
    Rgb,
    Bgr,
}

/// A network with its way of turning outputs into faces, in pixels of its input.
pub(super) trait Decoder {
    const CHANNELS: Channels;
    /// Smallest score of a face when the settings name none.
    const SCORE_THRESHOLD: f32;

    /// The faces in the outputs for an input of that width, from a score upwards.
    fn decode(&self, outputs: &[ArrayD<f32>], input_width: usize, min_score: f32) -> Result<Vec<Candidate>>;
}

/// Refuses a network that does not take a picture, or whose outputs for one are not the decoder's.
pub(super) fn check<D: Decoder>(model: &dyn Model, decoder: &D, role: &'static str) -> Result<()> {
    let signature = model.signature();
    let input = signature.inputs.first().map(|input| input.shape.as_slice()).unwrap_or_default();
    let takes_pictures = matches!(input, [] | [_, None | Some(3), _, _]);
    let side = 2 * INPUT_MULTIPLE as usize;
    let expected = format!("a network for pictures of 3 channels and any size, with the outputs of {role}");
    let try_out = || decoder.decode(&model.run(Array4::zeros((1, 3, side, side)))?, side, f32::INFINITY);
    if takes_pictures && signature.inputs.len() == 1 {
        try_out().map(drop).map_err(|error| Error::ModelInvalid {
            model: signature.name.clone(),
            role,
            expected,
            actual: error.to_string(),
        })
    } else {
        Err(signature.unfit(role, expected))
    }
}

/// A face in pixels of the network's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) bounding_box: BoundingBox,
    pub(super) score: f32,
    pub(super) points: [Point; 5],
}

/// Runs all passes over a photo and merges what they find.
pub(super) fn detect<D: Decoder>(
    image: &ImageView<'_>,
    params: &DetectionParams,
    model: &dyn Model,
    decoder: &D,
) -> Result<Vec<Detection>> {
    let min_score = params.score_threshold.unwrap_or(D::SCORE_THRESHOLD);
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut shrunk: Option<Image> = None;
    for (width, height) in pass_sizes(image, params) {
        // Later passes are smaller: they start from the picture that the pass before has shrunk.
        if (width, height) != (image.width(), image.height()) {
            let source = shrunk.as_ref().map_or(*image, Image::view);
            shrunk = Some(shrink(&source, width, height)?);
        }
        let pass = shrunk.as_ref().map_or(*image, Image::view);
        let input = network_input(&pass, D::CHANNELS);
        let input_width = input.dim().3;
        let found = decoder.decode(&model.run(input)?, input_width, min_score)?;
        let scale_x = image.width() as f32 / width as f32;
        let scale_y = image.height() as f32 / height as f32;
        let found: Vec<Candidate> = found.into_iter().map(|candidate| candidate.scaled(scale_x, scale_y)).collect();
        // From the second look on: candidates is what the looks before have found.
        let picture = image.width().max(image.height()) as f32;
        let close_ups = found.iter().filter(|face| face.long_side() >= CLOSE_UP_SHARE * picture);
        for close_up in close_ups {
            candidates.retain(|candidate| !candidate.is_fragment_of(close_up, params.nms_threshold));
        }
        candidates.extend(found);
    }
    let is_face = |c: &Candidate| {
        c.is_finite() && c.bounding_box.width.min(c.bounding_box.height) >= params.min_size.max(f32::MIN_POSITIVE)
    };
    candidates.retain(is_face);
    Ok(suppress(candidates, params).into_iter().map(Candidate::into_detection).collect())
}

/// Sizes to which the photo is brought, the largest first.
fn pass_sizes(image: &ImageView<'_>, params: &DetectionParams) -> Vec<(u32, u32)> {
    let (width, height) = (image.width(), image.height());
    let fitted = |side: u32| {
        let long = width.max(height);
        if long <= side {
            return (width, height);
        }
        let scaled = |length: u32| {
            let exact = f64::from(length) * f64::from(side) / f64::from(long);
            (exact.round() as u32).max(1)
        };
        (scaled(width), scaled(height))
    };
    let main = fitted(params.max_side);
    let mut sizes = vec![main];
    if let Some(side) = params.small_side
        && (side as f32) < MIN_SHRINK * main.0.max(main.1) as f32
    {
        sizes.push(fitted(side));
    }
    sizes
}

/// The picture as `1 x 3 x H x W` values from 0 to 255, black to the right and below up to multiples of 32.
fn network_input(image: &ImageView<'_>, channels: Channels) -> Array4<f32> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let padded = |side: u32| side.next_multiple_of(INPUT_MULTIPLE) as usize;
    let (padded_width, padded_height) = (padded(image.width()), padded(image.height()));
    let plane = padded_width * padded_height;
    let mut data = vec![0.0_f32; 3 * plane];
    let order = match channels {
        Channels::Rgb => [0, 1, 2],
        Channels::Bgr => [2, 1, 0],
    };
    let pixels = image.packed_rgb();
    for (y, row) in pixels.chunks_exact(3 * width).enumerate().take(height) {
        for (target, channel) in order.into_iter().enumerate() {
            let start = target * plane + y * padded_width;
            for (value, pixel) in data[start..start + width].iter_mut().zip(row.chunks_exact(3)) {
                *value = f32::from(pixel[channel]);
            }
        }
    }
    let shape = (1, 3, padded_height, padded_width);
    match Array4::from_shape_vec(shape, data) {
        Ok(input) => input,
        Err(error) => unreachable!("the buffer was made for this shape: {error}"),
    }
}

impl Candidate {
    /// From pixels of a shrunk picture to pixels of the photo; the borders of both coincide.
    fn scaled(self, scale_x: f32, scale_y: f32) -> Self {
        let map = |p: Point| Point::new((p.x + 0.5) * scale_x - 0.5, (p.y + 0.5) * scale_y - 0.5);
        let corner = map(Point::new(self.bounding_box.x, self.bounding_box.y));
        let (width, height) = (self.bounding_box.width * scale_x, self.bounding_box.height * scale_y);
        Self {
            bounding_box: BoundingBox::new(corner.x, corner.y, width, height),
            score: self.score,
            points: self.points.map(map),
        }
    }

    fn long_side(&self) -> f32 {
        self.bounding_box.width.max(self.bounding_box.height)
    }

    /// Whether an earlier look has found only a part of this face, or the same face less well.
    fn is_fragment_of(&self, close_up: &Self, nms_threshold: f32) -> bool {
        let (ours, whole) = (&self.bounding_box, &close_up.bounding_box);
        let width = (ours.right().min(whole.right()) - ours.x.max(whole.x)).max(0.0);
        let height = (ours.bottom().min(whole.bottom()) - ours.y.max(whole.y)).max(0.0);
        let inside = width * height > FRAGMENT_INSIDE * ours.area();
        (inside || ours.iou(whole) > nms_threshold)
            && self.long_side() >= FRAGMENT_SIDE * close_up.long_side()
            && self.score <= FRAGMENT_SCORE * close_up.score
    }

    fn is_finite(&self) -> bool {
        let BoundingBox { x, y, width, height } = self.bounding_box;
        [x, y, width, height, self.score].iter().all(|v| v.is_finite())
            && self.points.iter().all(|p| p.x.is_finite() && p.y.is_finite())
    }

    fn into_detection(self) -> Detection {
        Detection {
            bounding_box: self.bounding_box,
            score: self.score.clamp(0.0, 1.0),
            landmarks: Some(Landmarks::eyes_nose_mouth(self.points)),
        }
    }
}

/// Greedy non-maximum suppression: the best first, and whatever overlaps a better one is dropped.
fn suppress(mut candidates: Vec<Candidate>, params: &DetectionParams) -> Vec<Candidate> {
    // Ties fall to the order in which the passes found them: the sort is stable.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MAX_CANDIDATES);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == params.max_faces {
            break;
        }
        let overlaps = |better: &Candidate| better.bounding_box.iou(&candidate.bounding_box) > params.nms_threshold;
        if !kept.iter().any(overlaps) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::image::PixelFormat;

    fn candidate(x: f32, size: f32, score: f32) -> Candidate {
        Candidate { bounding_box: BoundingBox::new(x, 0.0, size, size), score, points: [Point::new(x, 1.0); 5] }
    }

    #[test]
    fn suppression_keeps_the_best_of_each_heap() {
        let params = DetectionParams { max_faces: 2, ..DetectionParams::default() };
        let kept = suppress(
            vec![
                candidate(2.0, 10.0, 0.7),
                candidate(0.0, 10.0, 0.9),
                candidate(50.0, 10.0, 0.6),
                candidate(90.0, 9.0, 0.55),
            ],
            &params,
        );
        assert_eq!(kept.iter().map(|c| c.score).collect::<Vec<_>>(), [0.9, 0.6]);
    }

    #[test]
    fn fragments_of_a_close_up_go_and_small_or_certain_faces_stay() {
        let close_up = candidate(0.0, 100.0, 0.6);
        for (other, is_fragment) in [
            (candidate(10.0, 60.0, 0.8), true),
            (candidate(10.0, 60.0, 0.9), false),
            (candidate(10.0, 20.0, 0.8), false),
            (candidate(80.0, 60.0, 0.8), false),
            (candidate(5.0, 110.0, 0.7), true),
        ] {
            assert_eq!(other.is_fragment_of(&close_up, 0.3), is_fragment, "{other:?}");
        }
    }

    #[test]
    fn passes_bound_the_long_side_and_skip_what_is_not_worth_it() {
        let params = DetectionParams { max_side: 1024, small_side: Some(320), ..DetectionParams::default() };
        let bytes = vec![0; 4000 * 3000];
        let sizes = |w: usize, h: usize| {
            pass_sizes(&ImageView::new(&bytes[..w * h], w as u32, h as u32, PixelFormat::Gray8).unwrap(), &params)
        };
        assert_eq!(sizes(4000, 3000), [(1024, 768), (320, 240)]);
        assert_eq!(sizes(640, 480), [(640, 480), (320, 240)]);
        assert_eq!(sizes(400, 300), [(400, 300)]);
        assert_eq!(sizes(1, 1), [(1, 1)]);
        assert_eq!(sizes(4000, 1), [(1024, 1), (320, 1)]);
    }

    #[test]
    fn input_is_planar_and_padded_with_black() {
        let view_bytes = [1, 2, 3, 4, 5, 6];
        let view = ImageView::new(&view_bytes, 2, 1, PixelFormat::Rgb8).unwrap();
        let input = network_input(&view, Channels::Bgr);
        assert_eq!(input.dim(), (1, 3, 32, 32));
        assert_eq!((input[(0, 0, 0, 0)], input[(0, 2, 0, 1)]), (3.0, 4.0));
        assert_eq!(input.sum(), 21.0);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let good = DetectionParams::default();
        for bad in [
            DetectionParams { score_threshold: Some(f32::NAN), ..good.clone() },
            DetectionParams { nms_threshold: 1.5, ..good.clone() },
            DetectionParams { min_size: -1.0, ..good.clone() },
            DetectionParams { max_faces: 0, ..good.clone() },
            DetectionParams { max_side: 0, ..good.clone() },
            DetectionParams { small_side: Some(1 << 30), ..good.clone() },
        ] {
            assert!(matches!(bad.validate(), Err(Error::InvalidParameter { .. })), "{bad:?}");
        }
    }
}
