//! The chapters of the manual.

#[doc = include_str!("../docs/models.md")]
pub mod models {}

#[doc = include_str!("../docs/detection.md")]
pub mod detection {}

#[doc = include_str!("../docs/alignment.md")]
pub mod alignment {}

#[doc = include_str!("../docs/thresholds.md")]
pub mod thresholds {}

#[doc = include_str!("../docs/accuracy.md")]
pub mod accuracy {}
