//! Where five landmarks lie in a normalized crop.
//!
//! A template is the contract between a normalizer and an embedder: a network only knows faces that lie where the faces
//! of its training set lay.

use std::borrow::Cow;

use super::{Landmarks, Point};
use crate::error::{Error, Result};

/// A crop size and the place of five landmarks in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Name for messages and for the identity of an embedding space.
    pub name: Cow<'static, str>,
    /// Width of the crop in pixels.
    pub width: u32,
    /// Height of the crop in pixels.
    pub height: u32,
    /// Where the landmarks of the face go, in pixels of the crop.
    pub landmarks: Landmarks,
}

/// Largest side of a crop in pixels: far above any network's input, far below what would exhaust memory.
const MAX_CROP_SIDE: u32 = 4096;

impl Template {
    /// A template of one's own.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for a side of 0 or over 4096 pixels; as [`Landmarks::validate`] for the points.
    pub fn new(name: impl Into<Cow<'static, str>>, width: u32, height: u32, landmarks: Landmarks) -> Result<Self> {
        let template = Self { name: name.into(), width, height, landmarks };
        template.validate()?;
        Ok(template)
    }

    /// Checks name, sides and landmarks.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`Error::InvalidParameter`] too for a name that is empty, longer than 100 characters, or
    /// holds other characters than letters, digits, spaces and `-_.`: it becomes part of the identity of a space.
    pub fn validate(&self) -> Result<()> {
        crate::error::ensure_name("template name", &self.name)?;
        for (parameter, side) in [("template width", self.width), ("template height", self.height)] {
            if !(1..=MAX_CROP_SIDE).contains(&side) {
                return Err(Error::InvalidParameter {
                    parameter,
                    value: side.to_string(),
                    expected: format!("from 1 to {MAX_CROP_SIDE} pixels"),
                });
            }
        }
        self.landmarks.validate()
    }

    /// The template of that name: `arcface112`, `dlib150` or `dlib150-corners`.
    ///
    /// # Errors
    /// [`Error::UnknownName`], which lists the names there are.
    pub fn by_name(name: &str) -> Result<&'static Self> {
        ALL.iter().copied().find(|template| template.name == name).ok_or_else(|| Error::UnknownName {
            kind: "template",
            name: name.to_owned(),
            known: ALL.iter().map(|t| t.name.as_ref()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// All named templates.
pub static ALL: &[&Template] = &[&ARCFACE_112, &DLIB_150, &DLIB_150_CORNERS];

/// The 112x112 template of ArcFace, SFace, AdaFace, MobileFaceNet and most networks since 2018.
///
/// Source: `arcface_dst` in InsightFace's `face_align.py`.
pub static ARCFACE_112: Template = Template {
    name: Cow::Borrowed("arcface112"),
    width: 112,
    height: 112,
    landmarks: Landmarks::eyes_nose_mouth([
        Point::new(38.2946, 51.6963),
        Point::new(73.5318, 51.5014),
        Point::new(56.0252, 71.7366),
        Point::new(41.5493, 92.3655),
        Point::new(70.7299, 92.2041),
    ]),
};

/// Where eyes, nose and mouth corners lie in dlib's 150x150 face chips (padding 0.25).
///
/// Source: the median places at which CenterFace finds them in chips that dlib cut from Labeled Faces in the Wild.
pub static DLIB_150: Template = Template {
    name: Cow::Borrowed("dlib150"),
    width: 150,
    height: 150,
    landmarks: Landmarks::eyes_nose_mouth([
        Point::new(47.6, 47.3),
        Point::new(102.4, 46.2),
        Point::new(74.5, 78.8),
        Point::new(51.0, 104.1),
        Point::new(97.3, 103.0),
    ]),
};

/// dlib's own 150x150 face chip (padding 0.25), for the landmarks of its 5-point predictor.
///
/// Source: the mean shape in dlib's `get_face_chip_details`, as (0.25 + shape) · 100.
pub static DLIB_150_CORNERS: Template = Template {
    name: Cow::Borrowed("dlib150-corners"),
    width: 150,
    height: 150,
    landmarks: Landmarks::eye_corners_nose([
        Point::new(110.956_75, 46.349_815),
        Point::new(89.606_05, 47.896_744),
        Point::new(37.057_506, 46.372_745),
        Point::new(58.408_506, 47.906_424),
        Point::new(74.011_23, 87.779_75),
    ]),
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn named_templates_are_valid_and_found_by_name() {
        for template in ALL {
            template.landmarks.validate().unwrap();
            assert_eq!(Template::by_name(&template.name).unwrap(), *template);
            for p in template.landmarks.points {
                assert!(p.x > 0.0 && p.x < template.width as f32 && p.y > 0.0 && p.y < template.height as f32);
            }
        }
        assert!(matches!(Template::by_name("arcface"), Err(Error::UnknownName { .. })));
    }

    #[test]
    fn impossible_templates_are_refused() {
        let points = ARCFACE_112.landmarks;
        assert!(matches!(Template::new("none", 0, 112, points), Err(Error::InvalidParameter { .. })));
        assert!(matches!(Template::new("vast", 112, 1 << 20, points), Err(Error::InvalidParameter { .. })));
        let heap = Landmarks::eyes_nose_mouth([Point::new(5.0, 5.0); 5]);
        assert!(matches!(Template::new("heap", 112, 112, heap), Err(Error::DegenerateLandmarks { .. })));
        for name in ["", "a/b", "a@b", "line\nbreak"] {
            assert!(matches!(Template::new(name, 112, 112, points), Err(Error::InvalidParameter { .. })), "{name}");
        }
    }
}
