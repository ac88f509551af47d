//! Points, boxes, landmarks and the similarity transform between them.
//!
//! **Coordinates.** All coordinates are pixels of the image in question, x to the right and y down. The *centre* of
//! the top-left pixel is (0, 0), as in OpenCV's `warpAffine` and in dlib; the image of width w covers x from -0.5 to
//! w - 0.5. Coordinates may lie outside of the image: a face may be cut by its border.

use crate::error::{Error, Result, ensure_finite};

pub mod templates;

/// A point in pixels. See the [coordinates](self) of this module.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

impl Point {
    /// A point from its two coordinates.
    pub const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    /// Distance to another point, in pixels.
    pub fn distance(self, other: Self) -> f32 {
        (self.x - other.x).hypot(self.y - other.y)
    }

    /// The point halfway to another.
    pub fn midpoint(self, other: Self) -> Self {
        Self::new((self.x + other.x) / 2.0, (self.y + other.y) / 2.0)
    }
}

/// An upright box around a face, in pixels. It may reach over the border of the image.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BoundingBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, not negative.
    pub width: f32,
    /// Height, not negative.
    pub height: f32,
}

impl BoundingBox {
    /// A box from its left and top edges, width and height.
    pub const fn new(x: f32, y: f32, width: f32, height: f32) -> Self {
        Self { x, y, width, height }
    }

    /// Right edge.
    pub fn right(&self) -> f32 {
        self.x + self.width
    }

    /// Bottom edge.
    pub fn bottom(&self) -> f32 {
        self.y + self.height
    }

    /// Area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// Centre of the box.
    pub fn center(&self) -> Point {
        Point::new(self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Intersection over union with another box: 0 for disjoint boxes, 1 for equal ones.
    pub fn iou(&self, other: &Self) -> f32 {
        let width = (self.right().min(other.right()) - self.x.max(other.x)).max(0.0);
        let height = (self.bottom().min(other.bottom()) - self.y.max(other.y)).max(0.0);
        let intersection = width * height;
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }
}

/// Which five places of a face a set of [`Landmarks`] names, and in which order.
///
/// "Image-left" is what a viewer of the photo sees on the left; in an unmirrored photo that is the person's right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LandmarkScheme {
    /// Image-left eye centre, image-right eye centre, nose tip, image-left mouth corner, image-right mouth corner:
    /// the order of CenterFace, YuNet, RetinaFace, SCRFD and of the ArcFace template.
    #[default]
    EyesNoseMouth,
    /// Image-right eye, outer corner and inner corner; image-left eye, outer corner and inner corner; the point where
    /// nose and upper lip meet: the order of dlib's 5-point shape predictor.
    EyeCornersNose,
}

impl LandmarkScheme {
    /// Its name, as in TOML files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EyesNoseMouth => "eyes-nose-mouth",
            Self::EyeCornersNose => "eye-corners-nose",
        }
    }
}

impl std::fmt::Display for LandmarkScheme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Five landmarks of one face, in pixels, ordered by their [`LandmarkScheme`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Landmarks {
    /// What the points are.
    pub scheme: LandmarkScheme,
    /// Where they are.
    pub points: [Point; 5],
}

impl Landmarks {
    /// Eye centres, nose tip and mouth corners. See [`LandmarkScheme::EyesNoseMouth`] for the order.
    pub const fn eyes_nose_mouth(points: [Point; 5]) -> Self {
        Self { scheme: LandmarkScheme::EyesNoseMouth, points }
    }

    /// Eye corners and base of the nose. See [`LandmarkScheme::EyeCornersNose`] for the order.
    pub const fn eye_corners_nose(points: [Point; 5]) -> Self {
        Self { scheme: LandmarkScheme::EyeCornersNose, points }
    }

    /// Checks that the points are finite and spread over two dimensions, so that they can carry a transform.
    ///
    /// # Errors
    /// [`Error::NonFinite`]; [`Error::DegenerateLandmarks`] when the points lie within half a pixel of one another, or
    /// so close to a straight line that the spread across it is below 1 % of the spread along it. (Real faces keep far
    /// more: see [the manual](crate::guide::alignment).)
    pub fn validate(&self) -> Result<()> {
        let flat = self.points.map(|p| [p.x, p.y]);
        ensure_finite("landmarks", flat.as_flattened())?;
        let (along, across) = principal_spreads(&self.points);
        if along < MIN_LANDMARK_SPREAD {
            return Err(Error::DegenerateLandmarks {
                reason: format!("all five points lie within {along:.3} pixels of one another"),
            });
        }
        if across < MIN_LANDMARK_FLATNESS * along {
            return Err(Error::DegenerateLandmarks {
                reason: format!("the points lie on one line (spread {along:.2} pixels along it, {across:.4} across)"),
            });
        }
        Ok(())
    }
}

/// Smallest root-mean-square distance of five landmarks from their centre, in pixels.
const MIN_LANDMARK_SPREAD: f64 = 0.5;
/// Smallest ratio of the spread across the main axis to the spread along it.
const MIN_LANDMARK_FLATNESS: f64 = 0.01;

/// Root-mean-square spreads of the points along their main axis and across it, in pixels.
fn principal_spreads(points: &[Point; 5]) -> (f64, f64) {
    let n = points.len() as f64;
    let mean_x = points.iter().map(|p| f64::from(p.x)).sum::<f64>() / n;
    let mean_y = points.iter().map(|p| f64::from(p.y)).sum::<f64>() / n;
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for p in points {
        let (x, y) = (f64::from(p.x) - mean_x, f64::from(p.y) - mean_y);
        xx += x * x / n;
        xy += x * y / n;
        yy += y * y / n;
    }
    // Eigenvalues of the 2x2 covariance matrix.
    let middle = (xx + yy) / 2.0;
    let radius = ((xx - yy) / 2.0).hypot(xy);
    ((middle + radius).sqrt(), (middle - radius).max(0.0).sqrt())
}

/// A transform that turns, scales uniformly and shifts, and never mirrors:
/// `x' = a·x - b·y + tx`, `y' = b·x + a·y + ty`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarityTransform {
    /// Scale times cosine of the angle.
    pub a: f64,
    /// Scale times sine of the angle.
    pub b: f64,
    /// Shift to the right, in pixels of the target.
    pub tx: f64,
    /// Shift down, in pixels of the target.
    pub ty: f64,
}

impl SimilarityTransform {
    /// The transform that brings `from` nearest to `to` in the least-squares sense.
    ///
    /// This is the closed solution of S. Umeyama, "Least-squares estimation of transformation parameters between two
    /// point patterns", IEEE TPAMI 13(4), 1991, eq. 40-42, for two dimensions, where the proper rotation that the
    /// paper's sign matrix S enforces is simply the direction of (Σ x·u + y·v, Σ x·v - y·u).
    ///
    /// # Errors
    /// As [`Landmarks::validate`] for `from`, and [`Error::LandmarkScheme`] when the two name different places.
    ///
    /// # Example
    /// ```
    /// use face_core::{Landmarks, Point, SimilarityTransform, templates};
    ///
    /// let template = templates::ARCFACE_112.landmarks;
    /// let face = Landmarks::eyes_nose_mouth(template.points.map(|p| Point::new(2.0 * p.x + 10.0, 2.0 * p.y)));
    /// let transform = SimilarityTransform::estimate(&face, &template)?;
    /// assert!((transform.scale() - 0.5).abs() < 1e-6);
    /// # Ok::<(), face_core::Error>(())
    /// ```
    pub fn estimate(from: &Landmarks, to: &Landmarks) -> Result<Self> {
        if from.scheme != to.scheme {
            return Err(Error::LandmarkScheme { expected: to.scheme.name(), actual: from.scheme.name() });
        }
        from.validate()?;
        let n = from.points.len() as f64;
        let mean = |points: &[Point; 5]| {
            let x = points.iter().map(|p| f64::from(p.x)).sum::<f64>() / n;
            let y = points.iter().map(|p| f64::from(p.y)).sum::<f64>() / n;
            (x, y)
        };
        let (from_x, from_y) = mean(&from.points);
        let (to_x, to_y) = mean(&to.points);
        let (mut cosine, mut sine, mut variance) = (0.0, 0.0, 0.0);
        for (p, q) in from.points.iter().zip(&to.points) {
            let (x, y) = (f64::from(p.x) - from_x, f64::from(p.y) - from_y);
            let (u, v) = (f64::from(q.x) - to_x, f64::from(q.y) - to_y);
            cosine += x * u + y * v;
            sine += x * v - y * u;
            variance += x * x + y * y;
        }
        let (a, b) = (cosine / variance, sine / variance);
        let transform = Self { a, b, tx: to_x - (a * from_x - b * from_y), ty: to_y - (b * from_x + a * from_y) };
        // Points that are a mirrored or shuffled face can cancel out to a scale of nothing.
        let scale = transform.scale();
        if !(scale.is_finite() && (MIN_SCALE..=MAX_SCALE).contains(&scale)) {
            return Err(Error::DegenerateLandmarks {
                reason: format!("the points fit the template only at a scale of {scale:e}"),
            });
        }
        Ok(transform)
    }

    /// Pixels of the target for one pixel of the source.
    pub fn scale(&self) -> f64 {
        self.a.hypot(self.b)
    }

    /// Clockwise angle in radians, as seen in an image (y down).
    pub fn angle(&self) -> f64 {
        self.b.atan2(self.a)
    }

    /// Where a point of the source lands in the target.
    pub fn apply(&self, p: Point) -> Point {
        let (x, y) = (f64::from(p.x), f64::from(p.y));
        Point::new((self.a * x - self.b * y + self.tx) as f32, (self.b * x + self.a * y + self.ty) as f32)
    }

    /// The transform from the target back to the source.
    pub fn inverse(&self) -> Self {
        let norm = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / norm, -self.b / norm);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

/// Scales of a face crop beyond these are no face: a 112-pixel crop from a 1-pixel or from a 1,000,000-pixel face.
const MIN_SCALE: f64 = 1e-4;
const MAX_SCALE: f64 = 1e3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::templates;

    fn face() -> Landmarks {
        templates::ARCFACE_112.landmarks
    }

    fn moved(landmarks: &Landmarks, t: &SimilarityTransform) -> Landmarks {
        Landmarks { scheme: landmarks.scheme, points: landmarks.points.map(|p| t.apply(p)) }
    }

    #[test]
    fn estimate_finds_an_exact_similarity_again() {
        for (scale, angle, tx, ty) in [(1.0, 0.0, 0.0, 0.0), (0.3, 2.5, 40.0, -7.0), (7.0, -3.1, -900.0, 1e4)] {
            let truth = SimilarityTransform { a: scale * f64::cos(angle), b: scale * f64::sin(angle), tx, ty };
            let found = SimilarityTransform::estimate(&face(), &moved(&face(), &truth)).unwrap();
            assert!((found.scale() - truth.scale()).abs() < 1e-5 * scale);
            assert!((found.angle() - truth.angle()).abs() < 1e-5);
            let p = Point::new(31.0, 64.0);
            assert!(found.apply(p).distance(truth.apply(p)) < 1e-2);
            assert!(found.inverse().apply(found.apply(p)).distance(p) < 1e-3);
        }
    }

    #[test]
    fn degenerate_landmarks_are_refused() {
        let line = Landmarks::eyes_nose_mouth([0.0, 1.0, 2.0, 3.0, 4.0].map(|t| Point::new(10.0 + 3.0 * t, 5.0 * t)));
        let heap = Landmarks::eyes_nose_mouth([Point::new(50.0, 50.0); 5]);
        let mut nan = face();
        nan.points[3].y = f32::NAN;
        let estimate = |l| SimilarityTransform::estimate(&l, &face());
        assert!(matches!(estimate(line), Err(Error::DegenerateLandmarks { .. })));
        assert!(matches!(estimate(heap), Err(Error::DegenerateLandmarks { .. })));
        assert!(matches!(estimate(nan), Err(Error::NonFinite { index: 7, .. })));
        let mut huge = face();
        huge.points[0].x = 1e30;
        assert!(matches!(estimate(huge), Err(Error::DegenerateLandmarks { .. })));
    }

    #[test]
    fn schemes_do_not_mix() {
        let corners = Landmarks::eye_corners_nose(face().points);
        assert!(matches!(SimilarityTransform::estimate(&corners, &face()), Err(Error::LandmarkScheme { .. })));
    }

    #[test]
    fn iou_of_simple_boxes() {
        let a = BoundingBox::new(0.0, 0.0, 10.0, 10.0);
        assert_eq!(a.iou(&a), 1.0);
        assert_eq!(a.iou(&BoundingBox::new(5.0, 0.0, 10.0, 10.0)), 50.0 / 150.0);
        assert_eq!(a.iou(&BoundingBox::new(20.0, 0.0, 10.0, 10.0)), 0.0);
        assert_eq!(BoundingBox::default().iou(&BoundingBox::default()), 0.0);
    }
}
