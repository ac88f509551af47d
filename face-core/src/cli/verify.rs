//! `face verify`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::options::PipelineOptions;
use super::output::{print_json, say};
use super::photos::largest_face;
use super::{DIFFERENT, FAILURE, SUCCESS};
use crate::error::Result;
use crate::image::Image;
use crate::matching::{Verification, verify};
use crate::models::ModelStore;
use crate::pipeline::{Face, FacePipeline};

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// First photo; its largest face counts
    a: PathBuf,
    /// Second photo; its largest face counts
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// False-accept rate: the share of pairs of different people that may match
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, default_value_t = DEFAULT_FAR)]
    far: f64,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// One false match in a thousand pairs of different people.
pub(super) const DEFAULT_FAR: f64 = 1e-3;

/// What `face verify --json` prints.
#[derive(Debug, Serialize)]
struct VerificationJson<'a> {
    similarity: f32,
    threshold: f32,
    far: f64,
    #[serde(rename = "match")]
    is_match: bool,
    model: &'a str,
    /// The set on which the false-accept rate was measured.
    measured_on: &'a str,
}

pub(super) fn run(arguments: &VerifyArguments) -> Result<u8> {
    match compare(arguments) {
        Ok(is_match) => Ok(if is_match { SUCCESS } else { DIFFERENT }),
        Err(error) if arguments.json => {
            print_json(&serde_json::json!({ "error": error.to_string() }))?;
            eprintln!("error: {error}");
            Ok(FAILURE)
        }
        Err(error) => Err(error),
    }
}

fn compare(arguments: &VerifyArguments) -> Result<bool> {
    let pipeline = arguments.pipeline.open()?;
    let threshold = pipeline.embedder.space().threshold_at(arguments.far)?.clone();
    // Both photos at once.
    let (first, second) = rayon::join(|| one_face(&pipeline, &arguments.a), || one_face(&pipeline, &arguments.b));
    let (first, second) = (first?, second?);
    let answer = verify(&first.embedding, &second.embedding, &threshold)?;
    let detector = arguments.pipeline.detector_name(&ModelStore::open_default()?)?;
    if !threshold.measured_on.contains(&detector) {
        eprintln!("note: the rate was not measured with the detector {detector}");
    }
    let space = pipeline.embedder.space();
    if arguments.json {
        print_json(&VerificationJson {
            similarity: answer.similarity,
            threshold: threshold.similarity,
            far: threshold.far,
            is_match: answer.is_match,
            model: &space.model,
            measured_on: &threshold.measured_on,
        })?;
    } else {
        say!("{}", sentence(&answer));
        say!("model: {} ({}); rate measured on {}", space.model, space.metric, threshold.measured_on);
    }
    Ok(answer.is_match)
}

fn one_face(pipeline: &FacePipeline, path: &Path) -> Result<Face> {
    let (face, note) = largest_face(pipeline, path, &Image::open(path)?)?;
    if let Some(note) = note {
        eprintln!("note: {note}");
    }
    Ok(face)
}

/// The verdict with all that it rests on.
pub(super) fn sentence(answer: &Verification) -> String {
    let Verification { similarity, threshold, is_match } = answer;
    let (sign, verdict) = if *is_match { (">=", "same person") } else { ("<", "different people") };
    format!(
        "{verdict}: similarity {similarity:.4} {sign} threshold {:.4} at false-accept rate {:e}",
        threshold.similarity, threshold.far
    )
}
