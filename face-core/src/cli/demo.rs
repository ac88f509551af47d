//! `face demo`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::detect::faces;
use super::output::{check_picture_path, say};
use super::verify::{DEFAULT_FAR, sentence};
use super::{FAILURE, SUCCESS, models};
use crate::draw::{draw_detections, side_by_side};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::matching::verify;
use crate::models::ModelStore;
use crate::pipeline::{Analysis, FacePipeline, PipelineParams};
use crate::stage::Detection;

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Where the annotated picture goes [default: demo.png in the folder of models]
    #[arg(long, value_name = "OUT.png")]
    out: Option<PathBuf>,
}

/// Photos that are compared, and whether they show the same person.
const PAIRS: [(&str, &str, bool); 4] =
    [("obama", "obama2", true), ("obama", "biden", false), ("obama2", "biden", false), ("obama", "astronaut", false)];
/// Name of the picture.
const PICTURE_NAME: &str = "demo.png";
/// Height of the photos in the picture, in pixels.
const PICTURE_HEIGHT: u32 = 480;

pub(super) fn run(arguments: &DemoArguments) -> Result<u8> {
    arguments.out.as_deref().map_or(Ok(()), check_picture_path)?;
    let store = ModelStore::open_default()?;
    let samples: Vec<String> = store.catalogue().samples().map(|sample| sample.name.clone()).collect();
    let wanted: Vec<&str> = models::defaults(&store).chain(samples.iter().map(String::as_str)).collect();
    models::pull(&store, &wanted)?;
    let pipeline = FacePipeline::open(&store, &PipelineParams::default())?;
    let space = Arc::clone(pipeline.embedder.space());
    let threshold = space.threshold_at(DEFAULT_FAR)?.clone();

    say!("\nDetection");
    let mut found: Vec<(&str, Analysis)> = vec![];
    let mut pictures = vec![];
    for name in &samples {
        let photo = Image::decode(&store.read(name)?)?;
        let analysis = pipeline.analyze(&photo.view())?;
        say!("  {name:<10} {} x {}, {}", photo.width(), photo.height(), faces(analysis.faces.len()));
        let detections: Vec<Detection> = analysis.faces.iter().map(|face| face.detection).collect();
        for Detection { bounding_box: b, score, .. } in &detections {
            say!("             {:.0} x {:.0} at ({:.0}, {:.0}), score {score:.3}", b.width, b.height, b.x, b.y);
        }
        pictures.push(draw_detections(&photo.view(), &detections)?);
        found.push((name, analysis));
    }

    say!("\nVerification with {} ({} similarity)", space.model, space.metric);
    say!(
        "  a pair matches from {:.4} on; {:e} of the pairs of different people do",
        threshold.similarity,
        threshold.far
    );
    say!("  (false-accept rate measured on {})\n", threshold.measured_on);
    let largest = |name: &str| {
        let analysis = found.iter().find(|(known, _)| *known == name).map(|(_, analysis)| analysis);
        let face = analysis.and_then(Analysis::largest);
        face.ok_or_else(|| Error::NoFace { image: name.to_owned() })
    };
    let mut all_right = true;
    for (first, second, same) in PAIRS {
        let answer = verify(&largest(first)?.embedding, &largest(second)?.embedding, &threshold)?;
        let truth = if same { "the same person" } else { "two people" };
        say!("  {first} and {second}, in truth {truth}:\n    {}", sentence(&answer));
        all_right &= answer.is_match == same;
    }

    let picture = side_by_side(&pictures, PICTURE_HEIGHT)?;
    let out = match &arguments.out {
        Some(out) => {
            picture.save(out)?;
            out.clone()
        }
        None => {
            let out = store.folder().join(PICTURE_NAME);
            // The folder of models may be for reading only.
            let elsewhere = std::env::temp_dir().join(PICTURE_NAME);
            picture.save(&out).map(|()| out).or_else(|_| picture.save(&elsewhere).map(|()| elsewhere))?
        }
    };
    let out = std::path::absolute(&out).unwrap_or(out);
    say!("\nThe photos with boxes, landmarks and scores: {}", out.display());
    if !all_right {
        eprintln!("error: a verdict is not the truth; run `face models check`, and please report it");
        return Ok(FAILURE);
    }
    Ok(SUCCESS)
}
