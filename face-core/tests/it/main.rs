//! Tests of the whole crate on real models and real photos.
//!
//! The models and samples are pulled by `tests/run` before. What is missing is said on the standard error, as
//! `skipped: TEST: REASON`; with `CI` set it is a failure.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod bad_input;
mod command;
mod common;
mod crash;
mod gallery_command;
mod gallery_suite;
mod golden;
mod groupface;
mod learning;
mod lfw;
mod losses;
#[cfg(feature = "ort")]
mod onnxruntime;
mod pipeline;
mod postgres;
mod pull;
mod recogniser;
mod server;
mod training;
