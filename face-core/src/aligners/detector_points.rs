//! The detector's own landmarks.

use crate::error::{Error, Result};
use crate::geometry::Landmarks;
use crate::image::ImageView;
use crate::stage::{Aligner, Detection};

/// Takes the landmarks that the detector found: costs nothing, and suits every detector that finds them.
#[derive(Debug, Clone, Copy, Default)]
pub struct DetectorLandmarks;

impl Aligner for DetectorLandmarks {
    fn align(&self, _image: &ImageView<'_>, detection: &Detection) -> Result<Landmarks> {
        let landmarks =
            detection.landmarks.ok_or(Error::LandmarksMissing { stage: "the aligner DetectorLandmarks" })?;
        landmarks.validate()?;
        Ok(landmarks)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::geometry::{BoundingBox, Point};
    use crate::image::PixelFormat;
    use crate::templates;

    #[test]
    fn landmarks_pass_through_and_missing_or_flat_ones_are_errors() {
        let image = ImageView::new(&[0], 1, 1, PixelFormat::Gray8).unwrap();
        let face = Detection {
            bounding_box: BoundingBox::new(0.0, 0.0, 100.0, 100.0),
            score: 1.0,
            landmarks: Some(templates::ARCFACE_112.landmarks),
        };
        assert_eq!(DetectorLandmarks.align(&image, &face).unwrap(), templates::ARCFACE_112.landmarks);
        let bare = Detection { landmarks: None, ..face };
        assert!(matches!(DetectorLandmarks.align(&image, &bare), Err(Error::LandmarksMissing { .. })));
        let heap = Landmarks::eyes_nose_mouth([Point::new(3.0, 3.0); 5]);
        let flat = Detection { landmarks: Some(heap), ..face };
        assert!(matches!(DetectorLandmarks.align(&image, &flat), Err(Error::DegenerateLandmarks { .. })));
    }
}
