//! What stages 1 to 3 give: boxes, landmarks, crops; and pictures of them.

use std::ffi::c_char;

use face_core::{BoundingBox, Detection, FaceCrop, LandmarkScheme, Landmarks, Point};

use crate::guard;
use crate::image::{face_image_t, face_image_view_t};
use crate::pointers::{array, invalid, item, numbered, out, reference, release};
use crate::status::{Outcome, face_status_t};

/// A point in pixels of the image: x to the right, y down, the centre of the top-left pixel at (0, 0).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct face_point_t {
    /// To the right.
    pub x: f32,
    /// Down.
    pub y: f32,
}

/// An upright box in pixels of the image. It may reach over the image's border.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct face_box_t {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Not negative.
    pub width: f32,
    /// Not negative.
    pub height: f32,
}

/// Which five places of a face landmarks name. "Left" is what a viewer of the photo sees on the left.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum face_landmark_scheme_t {
    /// There are none; the points mean nothing.
    FACE_LANDMARKS_NONE = 0,
    /// Left eye, right eye, nose tip, left mouth corner, right mouth corner.
    FACE_LANDMARKS_EYES_NOSE_MOUTH = 1,
    /// Right eye's outer and inner corner, left eye's outer and inner corner, base of the nose: dlib's five.
    FACE_LANDMARKS_EYE_CORNERS_NOSE = 2,
}

numbered!(face_landmark_scheme_t:
    FACE_LANDMARKS_NONE | FACE_LANDMARKS_EYES_NOSE_MOUTH | FACE_LANDMARKS_EYE_CORNERS_NOSE);

/// Five landmarks of one face.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct face_landmarks_t {
    /// A face_landmark_scheme_t.
    pub scheme: u32,
    /// In the order of the scheme.
    pub points: [face_point_t; 5],
}

/// One face found in an image.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct face_detection_t {
    /// Where it is.
    pub bounding_box: face_box_t,
    /// How certain the detector is, from 0 to 1.
    pub score: f32,
    /// The detector's landmarks; their scheme is FACE_LANDMARKS_NONE where it finds none.
    pub landmarks: face_landmarks_t,
}

/// The faces found in an image, the most certain first.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_detections_free().
pub struct face_detections_t(pub(crate) Vec<Detection>);

/// A face brought to the shape and size that an embedder asks for.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_crop_free().
pub struct face_crop_t(pub(crate) FaceCrop);

impl From<&Landmarks> for face_landmarks_t {
    fn from(landmarks: &Landmarks) -> Self {
        let scheme = match landmarks.scheme {
            LandmarkScheme::EyesNoseMouth => face_landmark_scheme_t::FACE_LANDMARKS_EYES_NOSE_MOUTH,
            LandmarkScheme::EyeCornersNose => face_landmark_scheme_t::FACE_LANDMARKS_EYE_CORNERS_NOSE,
            // A scheme of a newer face-core.
            _ => face_landmark_scheme_t::FACE_LANDMARKS_NONE,
        };
        Self { scheme: scheme as u32, points: landmarks.points.map(|Point { x, y }| face_point_t { x, y }) }
    }
}

impl face_landmarks_t {
    const NONE: Self = Self { scheme: 0, points: [face_point_t { x: 0.0, y: 0.0 }; 5] };

    fn read(&self) -> Outcome<Option<Landmarks>> {
        let points = self.points.map(|point| Point::new(point.x, point.y));
        Ok(match face_landmark_scheme_t::numbered(self.scheme, "the landmarks' scheme")? {
            face_landmark_scheme_t::FACE_LANDMARKS_NONE => None,
            face_landmark_scheme_t::FACE_LANDMARKS_EYES_NOSE_MOUTH => Some(Landmarks::eyes_nose_mouth(points)),
            face_landmark_scheme_t::FACE_LANDMARKS_EYE_CORNERS_NOSE => Some(Landmarks::eye_corners_nose(points)),
        })
    }

    pub(crate) fn needed(&self) -> Outcome<Landmarks> {
        self.read()?.ok_or_else(|| invalid("the landmarks' scheme is FACE_LANDMARKS_NONE"))
    }
}

impl From<&Detection> for face_detection_t {
    fn from(detection: &Detection) -> Self {
        let BoundingBox { x, y, width, height } = detection.bounding_box;
        let landmarks = detection.landmarks.as_ref().map_or(face_landmarks_t::NONE, Into::into);
        Self { bounding_box: face_box_t { x, y, width, height }, score: detection.score, landmarks }
    }
}

impl face_detection_t {
    pub(crate) fn read(&self) -> Outcome<Detection> {
        let face_box_t { x, y, width, height } = self.bounding_box;
        Ok(Detection {
            bounding_box: BoundingBox::new(x, y, width, height),
            score: self.score,
            landmarks: self.landmarks.read()?,
        })
    }
}

/// Number of faces; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_detections_count(detections: *const face_detections_t) -> usize {
    guard::value("face_detections_count", 0, || Ok(unsafe { reference(detections, "detections") }?.0.len()))
}

/// One face.
///
/// @param detections The faces.
/// @param index      Counted from 0, the most certain first.
/// @param detection  Receives the face.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_detections_get(
    detections: *const face_detections_t,
    index: usize,
    detection: *mut face_detection_t,
) -> face_status_t {
    guard::status("face_detections_get", || {
        let detections = unsafe { reference(detections, "detections") }?;
        let detection = unsafe { out(detection, "detection") }?;
        detection.set(item(&detections.0, index, "detection")?.into());
        Ok(())
    })
}

/// Frees faces. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_detections_free(detections: *mut face_detections_t) {
    guard::free("face_detections_free", || unsafe { release(detections) })
}

/// Number of pictures in a crop: one for each of the zooms that the embedder asks for; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_crop_count(crop: *const face_crop_t) -> usize {
    guard::value("face_crop_count", 0, || Ok(unsafe { reference(crop, "crop") }?.0.views.len()))
}

/// One picture of a crop, without copying it.
///
/// @param crop  The crop, which must outlive the view.
/// @param index Counted from 0.
/// @param view  Receives the pixels, FACE_PIXEL_RGB8. What lay outside of the photo is black.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_crop_view(
    crop: *const face_crop_t,
    index: usize,
    view: *mut face_image_view_t,
) -> face_status_t {
    guard::status("face_crop_view", || {
        let crop = unsafe { reference(crop, "crop") }?;
        let view = unsafe { out(view, "view") }?;
        view.set(face_image_view_t::of(item(&crop.0.views, index, "picture")?));
        Ok(())
    })
}

/// How the crop was cut.
///
/// @param crop      The crop.
/// @param transform Receives six numbers: a pixel (x, y) of the photo lies at (t[0] x + t[1] y + t[2], t[3] x + t[4] y + t[5]) of
///                  the crop at zoom 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_crop_transform(crop: *const face_crop_t, transform: *mut f64) -> face_status_t {
    guard::status("face_crop_transform", || {
        let crop = unsafe { reference(crop, "crop") }?;
        let transform = unsafe { out(transform, "transform") }?;
        let face_core::SimilarityTransform { a, b, tx, ty } = crop.0.transform;
        // SAFETY: six numbers, by what the header asks.
        unsafe { transform.set_all([a, -b, tx, b, a, ty]) };
        Ok(())
    })
}

/// Frees a crop. Views of it must not be used any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_crop_free(crop: *mut face_crop_t) {
    guard::free("face_crop_free", || unsafe { release(crop) })
}

/// Draws boxes, landmarks and scores into a copy of an image.
///
/// @param view       The image.
/// @param detections May be NULL where there are none.
/// @param count      Number of detections.
/// @param image      Receives the picture.
/// @return FACE_STATUS_UNSUPPORTED without the feature "draw"; FACE_STATUS_NON_FINITE for boxes that are not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_draw_detections(
    view: *const face_image_view_t,
    detections: *const face_detection_t,
    count: usize,
    image: *mut *mut face_image_t,
) -> face_status_t {
    guard::status("face_draw_detections", || {
        let view = unsafe { reference(view, "view")?.pixels() }?;
        let detections = unsafe { array(detections, count, "detections") }?;
        let detections = detections.iter().map(face_detection_t::read).collect::<Outcome<Vec<_>>>()?;
        let image = unsafe { out(image, "image") }?;
        image.give(face_image_t(draw(&view, &detections)?));
        Ok(())
    })
}

#[cfg(feature = "draw")]
fn draw(view: &face_core::ImageView<'_>, detections: &[Detection]) -> Outcome<face_core::Image> {
    Ok(face_core::draw_detections(view, detections)?)
}

#[cfg(not(feature = "draw"))]
fn draw(_: &face_core::ImageView<'_>, _: &[Detection]) -> Outcome<face_core::Image> {
    Err(crate::status::unsupported("draw"))
}

/// The name of a landmark scheme: "eyes-nose-mouth", "eye-corners-nose", or "none"; empty for what is no face_landmark_scheme_t. The
/// text is static.
#[unsafe(no_mangle)]
pub extern "C" fn face_landmark_scheme_name(scheme: u32) -> *const c_char {
    guard::value("face_landmark_scheme_name", c"".as_ptr(), || {
        Ok(match face_landmark_scheme_t::numbered(scheme, "scheme")? {
            face_landmark_scheme_t::FACE_LANDMARKS_NONE => c"none",
            face_landmark_scheme_t::FACE_LANDMARKS_EYES_NOSE_MOUTH => c"eyes-nose-mouth",
            face_landmark_scheme_t::FACE_LANDMARKS_EYE_CORNERS_NOSE => c"eye-corners-nose",
        }
        .as_ptr())
    })
}
