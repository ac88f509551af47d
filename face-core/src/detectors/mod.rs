//! Face detectors.

mod centerface;
mod passes;
mod yunet;

pub use centerface::CenterFace;
pub use passes::DetectionParams;
pub use yunet::YuNet;
