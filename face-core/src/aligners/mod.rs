//! Aligners: from a detected face to its five landmarks.

mod detector_points;
mod dlib_five_point;

pub use detector_points::DetectorLandmarks;
pub use dlib_five_point::{DlibFivePoint, DlibFivePointParams, FaceRectangle};
