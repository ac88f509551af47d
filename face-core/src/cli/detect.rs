//! `face detect`.

use std::path::PathBuf;

use clap::Args;

use super::options::DetectorOptions;
use super::output::{FaceJson, PhotoJson, check_picture_path, print_json, say};
use super::photos;
use crate::draw::draw_detections;
use crate::error::Result;

#[derive(Debug, Args)]
pub(super) struct DetectArguments {
    /// Photos: JPEG, PNG, WebP, BMP, GIF, TIFF
    #[arg(required = true, value_name = "IMG")]
    images: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the photo with boxes, landmarks and scores; of several photos, OUT-1.png, OUT-2.png and so on
    #[arg(long, value_name = "OUT.png")]
    draw: Option<PathBuf>,
    #[command(flatten)]
    detector: DetectorOptions,
}

pub(super) fn run(arguments: &DetectArguments) -> Result<u8> {
    arguments.draw.as_deref().map_or(Ok(()), check_picture_path)?;
    let detector = arguments.detector.open()?;
    let count = arguments.images.len();
    let entries = photos::for_each(&arguments.images, "Detecting", |index, _, photo| {
        let detections = detector.detect(&photo.view())?;
        if let Some(path) = &arguments.draw {
            draw_detections(&photo.view(), &detections)?.save(photos::numbered(path, index, count))?;
        }
        Ok(PhotoJson {
            width: Some(photo.width()),
            height: Some(photo.height()),
            faces: detections.iter().map(FaceJson::from).collect(),
            ..Default::default()
        })
    });
    if arguments.json {
        print_json(&entries)?;
    } else {
        photos::print_errors(&entries);
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.error.is_none()) {
            let (width, height) = (entry.width.unwrap_or(0), entry.height.unwrap_or(0));
            say!("{} ({width} x {height}): {}", entry.image, faces(entry.faces.len()));
            for face in &entry.faces {
                let [x, y, w, h] = face.bounding_box.map(|v| v.round() as i64);
                say!("  {w} x {h} at ({x}, {y}), score {:.3}", face.score);
            }
            if let Some(path) = &arguments.draw {
                say!("  drawn into {}", photos::numbered(path, index, count).display());
            }
        }
    }
    Ok(photos::status(&entries))
}

/// A number of faces, in words.
pub(super) fn faces(count: usize) -> String {
    match count {
        0 => "no face".to_owned(),
        1 => "1 face".to_owned(),
        count => format!("{count} faces"),
    }
}
