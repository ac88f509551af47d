//! `face enroll`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::options::{GalleryOptions, GalleryPlace, PipelineOptions, check_space};
use super::output::{FailedJson, check_folder, corners, counted, json_errors, print_json, say};
use super::{FAILURE, SUCCESS, photos};
use crate::error::{Error, Result};
use crate::gallery::{Gallery, Metadata, NewSubject, NewTemplate, SubjectId, TemplateId};

#[derive(Debug, Args)]
pub(super) struct EnrollArguments {
    #[command(flatten)]
    gallery: GalleryOptions,
    /// Name of the person, or the key of another system; templates are added to a subject of that name
    name: String,
    /// Photos; the largest face of each counts. Those without a usable face are reported, the others enrolled
    #[arg(required = true, value_name = "IMG")]
    images: Vec<PathBuf>,
    /// What else is known of the person, as a JSON object; replaces what was known before
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// What `face enroll --json` prints.
#[derive(Debug, Serialize)]
struct EnrollJson {
    gallery: String,
    /// Whether the gallery was made by this command.
    created: bool,
    /// `null` when no photo could be used.
    subject: Option<SubjectId>,
    name: String,
    /// Whether the subject was enrolled by this command.
    new: bool,
    templates: Vec<TemplateJson>,
    failed: Vec<FailedJson>,
}

#[derive(Debug, Serialize)]
struct TemplateJson {
    template: TemplateId,
    image: String,
    #[serde(rename = "box")]
    bounding_box: [f32; 4],
    quality: Option<f32>,
}

/// A face that is to be enrolled.
struct Enrollable {
    image: String,
    bounding_box: [f32; 4],
    template: NewTemplate,
    note: Option<String>,
}

pub(super) fn run(arguments: &EnrollArguments) -> Result<u8> {
    json_errors(arguments.json, enroll(arguments))
}

fn enroll(arguments: &EnrollArguments) -> Result<u8> {
    let metadata = arguments.metadata.as_deref().map(|text| parse_metadata("--metadata", text)).transpose()?;
    // What is wrong with the gallery is found out before the photos are worked on; meanwhile it is not held.
    let existing = arguments.gallery.open_existing()?;
    if let (None, GalleryPlace::File(path)) = (&existing, arguments.gallery.place()) {
        check_folder(path)?;
    }
    let pipeline = arguments.pipeline.open()?;
    let space = Arc::clone(pipeline.embedder.space());
    if let Some(gallery) = &existing {
        check_space(gallery.as_ref(), &space)?;
    }
    let name_of_gallery = existing.as_ref().map_or_else(String::new, |gallery| gallery.name());
    drop(existing);
    let results = photos::map(&arguments.images, "Embedding", |_, path, photo| {
        let (face, note) = photos::largest_face(&pipeline, path, photo)?;
        let image = path.display().to_string();
        let template = NewTemplate::from_face(&face, image.clone());
        Ok(Enrollable { image, bounding_box: corners(&face.detection), template, note })
    });
    let (mut faces, mut failed) = (vec![], vec![]);
    for (path, result) in arguments.images.iter().zip(results) {
        match result {
            Ok(face) => faces.push(face),
            Err(error) => failed.push(FailedJson { image: path.display().to_string(), error: error.to_string() }),
        }
    }
    for FailedJson { image, error } in &failed {
        photos::print_error(image, error);
    }
    for note in faces.iter().filter_map(|face| face.note.as_ref()) {
        eprintln!("note: {note}");
    }
    let name = arguments.name.clone();
    if faces.is_empty() {
        // Neither a gallery nor a subject without a template is left behind.
        if arguments.json {
            print_json(&EnrollJson {
                gallery: name_of_gallery,
                created: false,
                subject: None,
                name,
                new: false,
                templates: vec![],
                failed,
            })?;
        }
        eprintln!("error: nobody was enrolled: none of the photos could be used");
        return Ok(FAILURE);
    }
    let existing = arguments.gallery.open_existing()?;
    if let Some(gallery) = &existing {
        check_space(gallery.as_ref(), &space)?;
    }
    let created = existing.is_none();
    let gallery = existing.map_or_else(|| arguments.gallery.create(space), Ok)?;
    let count = faces.len() as u64;
    let (described, templates): (Vec<_>, Vec<_>) =
        faces.into_iter().map(|face| ((face.image, face.bounding_box), face.template)).unzip();
    let (subject, ids, is_new) = enrol_or_add(gallery.as_ref(), &name, templates, metadata)?;
    if arguments.json {
        let quality =
            |id: TemplateId, all: &crate::gallery::Subject| all.templates.iter().find(|t| t.id == id)?.quality;
        let record = gallery.subject(subject)?;
        let templates = ids.into_iter().zip(described).map(|(template, (image, bounding_box))| TemplateJson {
            template,
            image,
            bounding_box,
            quality: quality(template, &record),
        });
        let templates = templates.collect();
        print_json(&EnrollJson {
            gallery: gallery.name(),
            created,
            subject: Some(subject),
            name,
            new: is_new,
            templates,
            failed,
        })?;
        return Ok(SUCCESS);
    }
    if created {
        say!("made the gallery {}, for embeddings of {}", gallery.name(), gallery.space().model);
    }
    let verb = if is_new { "enrolled" } else { "added to" };
    say!("{verb} {name} (subject {subject}): {}", counted(count, "template", "templates"));
    Ok(SUCCESS)
}

/// The subject, its new templates, and whether the subject is new.
fn enrol_or_add(
    gallery: &dyn Gallery,
    name: &str,
    templates: Vec<NewTemplate>,
    metadata: Option<Metadata>,
) -> Result<(SubjectId, Vec<TemplateId>, bool)> {
    if let Some(subject) = gallery.find(name)? {
        // First what can be refused.
        if let Some(metadata) = metadata {
            gallery.set_metadata(subject.id, metadata)?;
        }
        let ids = gallery.add_templates(subject.id, templates)?;
        return Ok((subject.id, ids, false));
    }
    let subject = NewSubject { name: name.to_owned(), metadata: metadata.unwrap_or_default(), templates };
    let id = gallery.enroll(subject)?;
    let ids = gallery.subject(id)?.templates.iter().map(|template| template.id).collect();
    Ok((id, ids, true))
}

/// A JSON object given on the command line.
pub(super) fn parse_metadata(option: &'static str, text: &str) -> Result<Metadata> {
    serde_json::from_str(text).map_err(|error| Error::InvalidParameter {
        parameter: option,
        value: text.to_owned(),
        expected: format!("a JSON object such as {{\"team\": \"A\"}}: {error}"),
    })
}
