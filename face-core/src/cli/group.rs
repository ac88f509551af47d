//! `face group`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::options::{PipelineOptions, ThresholdOptions};
use super::output::{FailedJson, check_picture_path, corners, counted, json_errors, print_json, say};
use super::{FAILURE, SUCCESS, photos};
use crate::draw::{SheetGroup, contact_sheet, face_tile};
use crate::error::{Error, Result};
use crate::gallery::cluster;
use crate::geometry::BoundingBox;
use crate::image::Image;
use crate::stage::{Detection, Embedding, Threshold};

#[derive(Debug, Args)]
pub(super) struct GroupArguments {
    /// Folder of photos; those in its folders count too
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The contact sheet: a picture with the faces of each person; one of that name is replaced
    #[arg(long, value_name = "OUT.png", default_value = DEFAULT_SHEET)]
    sheet: PathBuf,
    /// Copy the photos of each person into a folder of their own, FOLDER/person-001 and so on, and put the sheet there too;
    /// FOLDER must be new or empty
    #[arg(long, value_name = "FOLDER", conflicts_with = "sheet")]
    out: Option<PathBuf>,
    /// Groups of fewer faces are not shown
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    min_faces: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    threshold: ThresholdOptions,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

const DEFAULT_SHEET: &str = "face-group.png";
/// False-accept rate of one comparison [default of --far]: see the chapter on accuracy for how it was chosen.
const DEFAULT_FAR: f64 = 1e-4;
/// Most groups on the sheet.
const MAX_SHEET_GROUPS: usize = 100;
/// Most faces of one group on the sheet: three rows.
const MAX_SHEET_FACES: usize = 30;

/// What `face group --json` prints.
#[derive(Debug, Serialize)]
struct GroupJson {
    groups: Vec<PersonJson>,
    /// Faces of people with fewer faces than `--min-faces`.
    ungrouped: Vec<FaceJson>,
    /// Number of photos, of those without a face, and of faces.
    images: usize,
    images_without_face: usize,
    faces: usize,
    failed: Vec<FailedJson>,
    threshold: f32,
    far: f64,
    measured_on: String,
    /// The contact sheet; `null` when there is no group to be shown.
    sheet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

#[derive(Debug, Serialize)]
struct PersonJson {
    /// From 1, the largest group first.
    person: usize,
    faces: Vec<FaceJson>,
}

#[derive(Debug, Serialize)]
struct FaceJson {
    image: String,
    #[serde(rename = "box")]
    bounding_box: [f32; 4],
    score: f32,
}

/// A face that was found.
#[derive(Debug)]
struct Found<'a> {
    photo: &'a Path,
    detection: Detection,
    embedding: Embedding,
}

pub(super) fn run(arguments: &GroupArguments) -> Result<u8> {
    json_errors(arguments.json, group(arguments))
}

fn group(arguments: &GroupArguments) -> Result<u8> {
    let sheet_path = match &arguments.out {
        Some(out) => {
            check_new_folder(out)?;
            out.join(DEFAULT_SHEET)
        }
        None => {
            check_picture_path(&arguments.sheet)?;
            arguments.sheet.clone()
        }
    };
    let mut own = vec![sheet_path.clone()];
    own.extend(arguments.out.clone());
    let (paths, unread) = photos::below(&arguments.folder, &own)?;
    let mut failed: Vec<FailedJson> = unread.iter().map(unread_folder).collect();
    if paths.is_empty() && failed.is_empty() {
        let reason = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no photo in it");
        return Err(Error::io("use as the folder of photos", &arguments.folder)(reason));
    }
    let pipeline = arguments.pipeline.open()?;
    let space = pipeline.embedder.space();
    let threshold = match arguments.threshold.chosen(space)? {
        Some(threshold) => threshold,
        None => space.threshold_at(DEFAULT_FAR)?.clone(),
    };

    let results = photos::map(&paths, "Embedding", |_, path, photo| {
        let analysis = pipeline.analyze(&photo.view())?;
        if let (true, Some((_, error))) = (analysis.faces.is_empty(), analysis.rejected.first()) {
            let reason = format!("none of its faces could be embedded: {error}");
            return Ok(Err(FailedJson { image: path.display().to_string(), error: reason }));
        }
        Ok(Ok(analysis.faces))
    });
    let (mut found, mut images_without_face) = (vec![], 0);
    for (photo, result) in paths.iter().zip(results) {
        match result {
            Ok(Ok(faces)) => {
                images_without_face += usize::from(faces.is_empty());
                found.extend(faces.into_iter().map(|face| Found {
                    photo,
                    detection: face.detection,
                    embedding: face.embedding,
                }));
            }
            Ok(Err(unusable)) => failed.push(unusable),
            Err(error) => failed.push(FailedJson { image: photo.display().to_string(), error: error.to_string() }),
        }
    }
    for FailedJson { image, error } in &failed {
        photos::print_error(image, error);
    }
    let images = paths.len();
    if found.is_empty() && images_without_face == 0 {
        return Err(Error::InvalidParameter {
            parameter: "DIR",
            value: arguments.folder.display().to_string(),
            expected: "a folder with photos that can be read; none of these could".into(),
        });
    }

    let (groups, ungrouped) = grouped(&found, threshold.similarity, arguments.min_faces as usize)?;
    let has_sheet = !groups.is_empty();
    if has_sheet {
        if let Some(out) = &arguments.out {
            copy_photos(&groups, out)?;
        }
        make_sheet(&groups, found.len(), images)?.save(&sheet_path)?;
    }
    let sheet = has_sheet.then(|| sheet_path.display().to_string());
    let Threshold { similarity, far, measured_on } = threshold;
    let json = GroupJson {
        groups: numbered(&groups)
            .map(|(person, faces)| PersonJson { person, faces: faces.iter().map(|f| f.json()).collect() })
            .collect(),
        ungrouped: ungrouped.iter().map(|face| face.json()).collect(),
        images,
        images_without_face,
        faces: found.len(),
        failed,
        threshold: similarity,
        far,
        measured_on,
        sheet,
        out: arguments.out.as_ref().filter(|_| has_sheet).map(|out| out.display().to_string()),
    };
    if arguments.json {
        print_json(&json)?
    } else {
        print(&json)?
    }
    Ok(if json.images_without_face + json.faces == 0 { FAILURE } else { SUCCESS })
}

fn unread_folder(error: &Error) -> FailedJson {
    let image = match error {
        Error::Io { path, .. } => path.display().to_string(),
        _ => String::new(),
    };
    FailedJson { image, error: error.to_string() }
}

impl Found<'_> {
    fn json(&self) -> FaceJson {
        FaceJson {
            image: self.photo.display().to_string(),
            bounding_box: corners(&self.detection),
            score: self.detection.score,
        }
    }
}

type Group<'a> = Vec<&'a Found<'a>>;

/// The groups, the largest first, and the faces of those that are too small.
fn grouped<'a>(found: &'a [Found<'a>], min_similarity: f32, min_faces: usize) -> Result<(Vec<Group<'a>>, Group<'a>)> {
    let embeddings: Vec<Embedding> = found.iter().map(|face| face.embedding.clone()).collect();
    let numbers = cluster(&embeddings, min_similarity)?;
    let mut groups: Vec<Group<'a>> = vec![vec![]; numbers.iter().max().map_or(0, |last| last + 1)];
    for (face, number) in found.iter().zip(numbers) {
        groups[number].push(face);
    }
    let (large, small): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.len() >= min_faces);
    Ok((large, small.into_iter().flatten().collect()))
}

fn numbered<'a, 'b>(groups: &'b [Group<'a>]) -> impl Iterator<Item = (usize, &'b Group<'a>)> {
    groups.iter().enumerate().map(|(index, group)| (index + 1, group))
}

/// The faces of every group, cut out of their photos.
fn make_sheet(groups: &[Group<'_>], faces: usize, images: usize) -> Result<Image> {
    let shown: Vec<&[&Found<'_>]> =
        groups.iter().take(MAX_SHEET_GROUPS).map(|group| &group[..group.len().min(MAX_SHEET_FACES)]).collect();
    // Each photo is opened once, for all its faces: with many photos not all pixels fit into the memory.
    let mut wanted: std::collections::BTreeMap<&Path, Vec<(usize, usize, BoundingBox)>> = Default::default();
    for (row, group) in shown.iter().enumerate() {
        for (column, face) in group.iter().enumerate() {
            wanted.entry(face.photo).or_default().push((row, column, face.detection.bounding_box));
        }
    }
    let (paths, places): (Vec<&Path>, Vec<_>) = wanted.into_iter().unzip();
    let tiles = photos::map(&paths, "Drawing", |index, _, photo| {
        places[index].iter().map(|(row, column, area)| Ok((*row, *column, face_tile(&photo.view(), *area)?))).collect()
    });
    let mut tiles: Vec<(usize, usize, Image)> = tiles.into_iter().collect::<Result<Vec<Vec<_>>>>()?.concat();
    tiles.sort_by_key(|(row, column, _)| (*row, *column));
    let mut rows: Vec<SheetGroup> = numbered(groups)
        .zip(&shown)
        .map(|((person, group), shown)| {
            let rest = if shown.len() < group.len() { format!(" (the first {})", shown.len()) } else { String::new() };
            let heading = format!("person {person}: {}{rest}", counted(group.len() as u64, "face", "faces"));
            SheetGroup { heading, faces: vec![] }
        })
        .collect();
    for (row, _, tile) in tiles {
        rows[row].faces.push(tile);
    }
    let title = format!(
        "{}, {} in {}{}",
        counted(groups.len() as u64, "person", "people"),
        counted(faces as u64, "face", "faces"),
        counted(images as u64, "photo", "photos"),
        if shown.len() < groups.len() { format!(" (the first {} people)", shown.len()) } else { String::new() }
    );
    contact_sheet(&title, &rows)
}

/// Finds out before long work that photos cannot be copied there.
fn check_new_folder(folder: &Path) -> Result<()> {
    match std::fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(Error::InvalidParameter {
                parameter: "--out",
                value: folder.display().to_string(),
                expected: "a new or an empty folder: nothing in it is to be mixed with other things".into(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => super::output::check_folder(folder),
        Err(error) => Err(Error::io("read the folder", folder)(error)),
    }
}

/// Copies the photos of each group into a folder of its own; those with two of its faces once.
fn copy_photos(groups: &[Group<'_>], out: &Path) -> Result<()> {
    let make = |folder: &Path| std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder));
    make(out)?;
    for (person, group) in numbered(groups) {
        let folder = out.join(format!("person-{person:03}"));
        make(&folder)?;
        let mut photos: Vec<&Path> = group.iter().map(|face| face.photo).collect();
        photos.dedup();
        for photo in photos {
            let name = folder.join(photo.file_name().unwrap_or_default());
            // Another folder may have a photo of that name.
            let names =
                std::iter::once(name.clone()).chain((1..).map(|index| photos::numbered(&name, index, usize::MAX)));
            let Some(target) = names.into_iter().find(|name| !name.exists()) else { continue };
            std::fs::copy(photo, &target).map_err(Error::io("copy a photo to", &target))?;
        }
    }
    Ok(())
}

fn print(json: &GroupJson) -> Result<()> {
    for PersonJson { person, faces } in &json.groups {
        say!("person {person}: {}", counted(faces.len() as u64, "face", "faces"));
        for FaceJson { image, bounding_box, .. } in faces {
            let [x, y, ..] = bounding_box.map(|value| value.round() as i64);
            say!("  {image} ({x}, {y})");
        }
    }
    say!(
        "{}, {}: {}, and {} in no group",
        counted(json.images as u64, "photo", "photos"),
        counted(json.faces as u64, "face", "faces"),
        counted(json.groups.len() as u64, "person", "people"),
        counted(json.ungrouped.len() as u64, "face", "faces")
    );
    say!(
        "threshold {:.4}: false-accept rate of one comparison {:e}, measured on {}",
        json.threshold,
        json.far,
        json.measured_on
    );
    if let Some(sheet) = &json.sheet {
        say!("contact sheet: {sheet}");
    }
    if let Some(out) = &json.out {
        say!("photos by person: {out}");
    }
    Ok(())
}
