//! `face embed`.

use std::path::PathBuf;

use clap::Args;

use super::detect::faces;
use super::options::PipelineOptions;
use super::output::{FaceJson, PhotoJson, RejectedJson, print_json, say};
use super::photos;
use crate::error::{Error, Result};
use crate::pipeline::Analysis;

#[derive(Debug, Args)]
pub(super) struct EmbedArguments {
    /// Photos: JPEG, PNG, WebP, BMP, GIF, TIFF
    #[arg(required = true, value_name = "IMG")]
    images: Vec<PathBuf>,
    /// Print JSON, with the vectors
    #[arg(long)]
    json: bool,
    /// Only the largest face of each photo
    #[arg(long)]
    largest: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

pub(super) fn run(arguments: &EmbedArguments) -> Result<u8> {
    let pipeline = arguments.pipeline.open()?;
    let space = pipeline.embedder.space().id();
    let entries = photos::for_each(&arguments.images, "Embedding", |_, path, photo| {
        let name = path.display().to_string();
        let view = photo.view();
        let Analysis { faces, rejected } = if arguments.largest {
            match pipeline.analyze_largest(&view, &name) {
                Ok(face) => Analysis { faces: vec![face], rejected: vec![] },
                // The entry says so, and what is known of the photo.
                Err(Error::NoFace { .. }) => Analysis::default(),
                Err(error) => return Err(error),
            }
        } else {
            pipeline.analyze(&view)?
        };
        let error = match (faces.is_empty(), rejected.is_empty()) {
            (false, _) => None,
            (true, true) => Some(Error::NoFace { image: name }.to_string()),
            (true, false) => {
                let reasons: Vec<String> = rejected.iter().map(|(_, error)| error.to_string()).collect();
                Some(format!("none of the faces in {name} could be embedded: {}", reasons.join("; ")))
            }
        };
        Ok(PhotoJson {
            space: Some(space.clone()),
            width: Some(photo.width()),
            height: Some(photo.height()),
            faces: faces.iter().map(FaceJson::from).collect(),
            rejected: rejected.iter().map(|(detection, error)| RejectedJson::new(detection, error)).collect(),
            error,
            ..Default::default()
        })
    });
    if arguments.json {
        print_json(&entries)?;
        return Ok(photos::status(&entries));
    }
    say!("space: {space}");
    photos::print_errors(&entries);
    for entry in entries.iter().filter(|entry| entry.error.is_none()) {
        say!("{}: {}", entry.image, faces(entry.faces.len()));
        for rejected in &entry.rejected {
            eprintln!("warning: {}: a face was left out: {}", entry.image, rejected.error);
        }
        for face in &entry.faces {
            let vector = face.embedding.as_deref().unwrap_or_default();
            let start: Vec<String> = vector.iter().take(4).map(|value| format!("{value:+.4}")).collect();
            say!("  score {:.3}, {} values: {} ...", face.score, vector.len(), start.join(" "));
        }
    }
    say!("(--json prints the whole vectors)");
    Ok(photos::status(&entries))
}
