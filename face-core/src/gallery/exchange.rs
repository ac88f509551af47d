//! Export and import: a gallery as lines of JSON, which every language reads.
//!
//! The first line says what follows:
//! `{"format": "face-gallery", "version": 1, "space": {"model", "digest", "dimension", "preprocessing", "averaging",
//! "metric", "thresholds"}}`. Every other line is a subject with all its templates:
//! `{"name", "metadata", "templates": [{"embedding": [...], "quality", "source", "enrolled_at"}]}`. The fields `metadata`,
//! `quality`, `source` and `enrolled_at` may be left out. Values of an embedding are written with as many digits as give back the
//! same single precision number.

use std::io::{BufRead, BufWriter, Read as _, Write};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::records::{GalleryCount, Metadata, NewSubject, NewTemplate, Page};
use super::{Gallery, check_subjects};
use crate::error::{Error, Result};
use crate::files::{TEMPORARY_PREFIX, folder_of};
use crate::stage::{Embedding, EmbeddingSpace};

const FORMAT: &str = "face-gallery";
const VERSION: u32 = 1;
/// Longest line that is read: a subject with some thousand templates.
const MAX_LINE: u64 = 256 << 20;
/// Subjects that are enrolled in one transaction.
const BATCH: usize = 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    space: EmbeddingSpace,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SubjectLine {
    name: String,
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
    templates: Vec<TemplateLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateLine {
    embedding: Vec<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quality: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enrolled_at: Option<u64>,
}

/// What becomes of subjects of an export whose names are enrolled already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The import ends with [`Error::NameTaken`].
    #[default]
    Refuse,
    /// They are left out, and those in the gallery stay as they are: an import that an error has ended goes on where it was.
    Skip,
}

/// What an import brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportReport {
    /// Number of subjects.
    pub subjects: u64,
    /// Number of templates.
    pub templates: u64,
    /// Number of subjects that were left out, because they have no template.
    pub skipped: u64,
    /// Number of subjects that were left out, because their names are enrolled already ([`Existing::Skip`]).
    pub existing: u64,
}

/// Writes a whole gallery; `progress` is called with the number of subjects written so far.
///
/// # Errors
/// [`Error::GalleryStore`]; [`Error::Io`] when the writer fails.
pub fn export(gallery: &dyn Gallery, writer: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<GalleryCount> {
    let mut count = GalleryCount::default();
    let mut write = |line: std::result::Result<Vec<u8>, serde_json::Error>| -> Result<()> {
        let line = line.map_err(std::io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            writer.write_all(&line)
        });
        written.map_err(Error::io("write", "the export"))
    };
    let space = (**gallery.space()).clone();
    write(serde_json::to_vec(&Header { format: FORMAT.into(), version: VERSION, space }))?;
    let mut page = Page::default();
    loop {
        let subjects = gallery.list(&page)?;
        let Some(last) = subjects.last() else { break };
        page.after = Some(last.id);
        for subject in subjects {
            let mut templates = vec![];
            for template in subject.templates {
                let embedding = match gallery.embedding(template.id) {
                    // Removed since the page was listed.
                    Err(Error::NotEnrolled { .. }) => continue,
                    embedding => embedding?.into_vector(),
                };
                templates.push(TemplateLine {
                    embedding,
                    quality: template.quality,
                    source: template.source,
                    enrolled_at: Some(template.enrolled_at),
                });
            }
            count.subjects += 1;
            count.templates += templates.len() as u64;
            write(serde_json::to_vec(&SubjectLine { name: subject.name, metadata: subject.metadata, templates }))?;
            progress(count.subjects);
        }
    }
    writer.flush().map_err(Error::io("write", "the export"))?;
    Ok(count)
}

/// [`export`] into a file, which appears whole or not at all. It is readable by its owner alone, as a gallery is. An export that is
/// there is replaced, and a gallery is not.
///
/// # Errors
/// [`Error::InvalidParameter`] when the file is a gallery; [`Error::Io`]; as [`export`].
pub fn export_file(gallery: &dyn Gallery, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<GalleryCount> {
    if super::local::is_gallery(path) {
        return Err(Error::InvalidParameter {
            parameter: "the file of the export",
            value: path.display().to_string(),
            expected: "another one: this is a gallery, and an export is text".into(),
        });
    }
    let folder = folder_of(path);
    // Readable by its owner alone, as temporary files are: faces are personal data.
    let file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder);
    let mut file = file.map_err(Error::io("create a file in", folder))?;
    let count = export(gallery, &mut BufWriter::new(file.as_file_mut()), progress)?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("rename to", path)(error.error))?;
    Ok(count)
}

/// The space of an export, from its first line. [`import`] is to be given the same reader, which then stands behind it.
///
/// # Errors
/// [`Error::Format`] for what is no export, [`Error::GalleryVersion`] for one of another version, [`Error::Io`].
pub fn read_space(reader: &mut dyn BufRead, origin: &str) -> Result<EmbeddingSpace> {
    let line = next_line(reader, origin, 1)?.ok_or_else(|| wrong(origin, 1, "the file is empty"))?;
    let header: Header = serde_json::from_slice(&line).map_err(|error| {
        wrong(origin, 1, &format!("expected the header of an export, {{\"format\": \"{FORMAT}\", ...}}: {error}"))
    })?;
    if header.format != FORMAT {
        return Err(wrong(origin, 1, &format!("the format is {:?}, and not \"{FORMAT}\"", header.format)));
    }
    if header.version != VERSION {
        return Err(Error::GalleryVersion {
            gallery: origin.to_owned(),
            found: header.version.to_string(),
            supported: VERSION.to_string(),
            cure: "import it with the version of this library that wrote it, or a newer one".into(),
        });
    }
    Ok(header.space)
}

/// Enrols every subject that follows the header (see [`read_space`]) into a gallery of the same space.
///
/// Subjects are enrolled a thousand at a time, each thousand as a whole or not at all: when an error ends the import, what
/// was enrolled before stays, and the error tells the line, or the name that is taken. `origin` is the file's name, for errors;
/// `progress` is called with the number of subjects so far. Subjects without templates, which an export may hold, are left
/// out and counted.
///
/// # Errors
/// [`Error::Format`], with the line; [`Error::GallerySpace`]; as [`Gallery::enroll_batch`].
pub fn import(
    gallery: &dyn Gallery,
    space: &EmbeddingSpace,
    existing: Existing,
    reader: &mut dyn BufRead,
    origin: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<ImportReport> {
    if **gallery.space() != *space {
        return Err(Error::GallerySpace {
            gallery: gallery.name(),
            expected: gallery.space().id(),
            actual: space.id(),
        });
    }
    let mut report = ImportReport::default();
    let mut batch: Vec<NewSubject> = vec![];
    let mut number = 1;
    while let Some(line) = next_line(reader, origin, number + 1)? {
        number += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let subject: SubjectLine = serde_json::from_slice(&line)
            .map_err(|error| wrong(origin, number, &format!("expected a subject: {error}")))?;
        if subject.templates.is_empty() {
            report.skipped += 1;
            continue;
        }
        let templates = subject.templates.into_iter().map(|template| {
            let embedding = Embedding::new(template.embedding, Arc::clone(gallery.space()))
                .map_err(|error| wrong(origin, number, &error.to_string()))?;
            Ok(NewTemplate {
                embedding,
                quality: template.quality,
                source: template.source,
                enrolled_at: template.enrolled_at,
            })
        });
        let templates = templates.collect::<Result<Vec<_>>>()?;
        let subject = NewSubject { name: subject.name, metadata: subject.metadata, templates };
        // What is wrong with the subject itself is said here, where the line is known.
        check_subjects(gallery, std::slice::from_ref(&subject))
            .map_err(|error| wrong(origin, number, &error.to_string()))?;
        if existing == Existing::Skip && gallery.find(&subject.name)?.is_some() {
            report.existing += 1;
            continue;
        }
        batch.push(subject);
        if batch.len() == BATCH {
            enroll(gallery, &mut batch, &mut report)?;
            progress(report.subjects);
        }
    }
    if !batch.is_empty() {
        enroll(gallery, &mut batch, &mut report)?;
        progress(report.subjects);
    }
    Ok(report)
}

fn enroll(gallery: &dyn Gallery, batch: &mut Vec<NewSubject>, report: &mut ImportReport) -> Result<()> {
    let templates: usize = batch.iter().map(|subject| subject.templates.len()).sum();
    report.subjects += gallery.enroll_batch(std::mem::take(batch))?.len() as u64;
    report.templates += templates as u64;
    Ok(())
}

fn next_line(reader: &mut dyn BufRead, origin: &str, number: usize) -> Result<Option<Vec<u8>>> {
    let mut line = vec![];
    reader.take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(Error::io("read", origin))?;
    if line.len() as u64 > MAX_LINE {
        return Err(wrong(origin, number, &format!("the line is longer than {MAX_LINE} bytes")));
    }
    Ok((!line.is_empty()).then_some(line))
}

fn wrong(origin: &str, line: usize, reason: &str) -> Error {
    Error::Format { path: Path::new(origin).to_owned(), line, reason: reason.to_owned() }
}
