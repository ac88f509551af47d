//! Are the largest faces of two photos the same person's? With the default models, and no feature of the crate.
//!
//! `cargo run --release --example verify_two_photos -- FIRST SECOND`, after `cargo face models pull`.
#![allow(clippy::print_stdout)] // It is a program.

use std::error::Error;

use face_core::{FacePipeline, Image, verify};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, second] = arguments.as_slice() else {
        return Err("usage: verify_two_photos FIRST SECOND".into());
    };
    let pipeline = FacePipeline::open_default()?;
    let embed = |path: &String| {
        let photo = Image::open(path)?;
        Ok::<_, face_core::Error>(pipeline.analyze_largest(&photo.view(), path)?.embedding)
    };
    // The similarity that one in a thousand pairs of different people reaches.
    let threshold = pipeline.embedder.space().threshold_at(1e-3)?;
    let answer = verify(&embed(first)?, &embed(second)?, threshold)?;
    let verdict = if answer.is_match { "the same person" } else { "different people" };
    println!("{verdict}: similarity {:.4}, threshold {:.4}", answer.similarity, threshold.similarity);
    println!("false-accept rate {:e}, measured on {}", threshold.far, threshold.measured_on);
    Ok(())
}
