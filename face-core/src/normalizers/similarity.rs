//! The similarity normalizer.

use super::warp::warp;
use crate::error::Result;
use crate::geometry::{Landmarks, Point, SimilarityTransform};
use crate::image::ImageView;
use crate::stage::{CropSpec, FaceCrop, Normalizer};

/// Turns, scales and shifts a face so that its landmarks lie as near as can be to those of a template.
///
/// The crop is bilinear where the face is enlarged and an area average where it is shrunk, so that a large face does
/// not alias. What lies outside of the photo is black.
///
/// # Example
/// ```
/// use face_core::{CropSpec, Image, Landmarks, Normalizer, Point, templates};
/// use face_core::normalizers::SimilarityNormalizer;
///
/// let photo = Image::from_raw(200, 200, vec![128; 200 * 200 * 3])?;
/// let face = Landmarks::eyes_nose_mouth(
///     [(70.0, 80.0), (130.0, 80.0), (100.0, 110.0), (75.0, 140.0), (125.0, 140.0)].map(|(x, y)| Point::new(x, y)),
/// );
/// let normalizer = SimilarityNormalizer::new(CropSpec::single(templates::ARCFACE_112.clone()))?;
/// let crop = normalizer.normalize(&photo.view(), &face)?;
/// assert_eq!((crop.views[0].width(), crop.views[0].height()), (112, 112));
/// # Ok::<(), face_core::Error>(())
/// ```
pub struct SimilarityNormalizer {
    spec: CropSpec,
    /// The template's landmarks at each zoom.
    targets: Vec<Landmarks>,
}

impl SimilarityNormalizer {
    /// A normalizer for these crops: give it the embedder's [`crop_spec`](crate::Embedder::crop_spec).
    ///
    /// # Errors
    /// [`InvalidParameter`](crate::Error::InvalidParameter) for zooms out of range.
    pub fn new(spec: CropSpec) -> Result<Self> {
        spec.validate()?;
        let template = &spec.template;
        let center = Point::new((template.width as f32 - 1.0) / 2.0, (template.height as f32 - 1.0) / 2.0);
        let zoomed = |zoom: f32| {
            let about_center =
                |p: Point| Point::new(center.x + (p.x - center.x) * zoom, center.y + (p.y - center.y) * zoom);
            Landmarks { scheme: template.landmarks.scheme, points: template.landmarks.points.map(about_center) }
        };
        let targets = spec.zooms.iter().map(|zoom| zoomed(*zoom)).collect();
        Ok(Self { spec, targets })
    }

    /// The crops that it makes.
    pub fn spec(&self) -> &CropSpec {
        &self.spec
    }
}

impl Normalizer for SimilarityNormalizer {
    fn normalize(&self, image: &ImageView<'_>, landmarks: &Landmarks) -> Result<FaceCrop> {
        let transform = SimilarityTransform::estimate(landmarks, &self.spec.template.landmarks)?;
        let (width, height) = (self.spec.template.width, self.spec.template.height);
        let view = |target: &Landmarks| {
            let transform = SimilarityTransform::estimate(landmarks, target)?;
            Ok(warp(image, &transform, width, height))
        };
        let views = self.targets.iter().map(view).collect::<Result<_>>()?;
        Ok(FaceCrop { spec: self.spec.clone(), views, transform })
    }
}
