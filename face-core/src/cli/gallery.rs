//! `face gallery`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::SUCCESS;
use super::identify::{find, percent};
use super::options::{
    Access, GalleryOptions, GalleryPlace, PipelineOptions, ThresholdOptions, check_space, index_path, open_local,
};
use super::output::{check_folder, counted, counting_bar, items_bar, json_errors, megabytes, print_json, say};
use crate::error::{Error, Result};
use crate::gallery::{
    self, DEFAULT_FPIR, Decision, Existing, Gallery, GalleryCount, ImportReport, LocalGallery, MemoryUse, Page,
    Subject, SubjectId, TemplateId,
};
use crate::stage::{EmbeddingSpace, Metric, Threshold};

#[derive(Debug, Subcommand)]
pub(super) enum GalleryCommand {
    /// Who is enrolled
    List(ListArguments),
    /// Remove people, or single templates. The bytes are gone from the file after `face gallery compact`
    Remove(RemoveArguments),
    /// Give a person another name
    Rename(RenameArguments),
    /// Write all records as lines of JSON, with the vectors
    Export(ExportArguments),
    /// Enrol all records of an export; the gallery is made when it is not there
    Import(ImportArguments),
    /// How large it is, what its embeddings are, and which threshold suits its size
    Stats(OneGallery),
    /// Keep the thresholds that are known for the recogniser now, for a gallery that is older than they are
    Thresholds(ThresholdsArguments),
    /// Pairs of people who may be the same
    Duplicates(DuplicatesArguments),
    /// Rewrite the file without what was removed
    Compact(OneGallery),
    /// Read the whole gallery and verify every checksum
    Check(OneGallery),
    /// Build the approximate index beside the file; from then on `face enroll` and `face gallery` keep it in step
    Index(OneGallery),
}

#[derive(Debug, Args)]
pub(super) struct OneGallery {
    #[command(flatten)]
    gallery: GalleryOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    one: OneGallery,
    /// Most people that are listed [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Begin behind this subject
    #[arg(long, value_name = "ID")]
    after: Option<u64>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    one: OneGallery,
    /// The person of this name; several may be given
    #[arg(long = "name", value_name = "NAME", group = "what")]
    names: Vec<String>,
    /// The subject of this number; several may be given
    #[arg(long = "subject", value_name = "ID", group = "what")]
    subjects: Vec<u64>,
    /// The template of this number alone; several may be given
    #[arg(long = "template", value_name = "ID", group = "what")]
    templates: Vec<u64>,
}

#[derive(Debug, Args)]
pub(super) struct RenameArguments {
    #[command(flatten)]
    one: OneGallery,
    /// The name
    name: String,
    /// The new name
    new_name: String,
}

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    #[command(flatten)]
    gallery: GalleryOptions,
    /// Where to; `-` for the standard output
    #[arg(value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    #[command(flatten)]
    one: OneGallery,
    /// An export; `-` for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Leave out people whose names are enrolled already, so that an import that was broken off can be run again
    #[arg(long)]
    skip_existing: bool,
}

#[derive(Debug, Args)]
pub(super) struct ThresholdsArguments {
    #[command(flatten)]
    one: OneGallery,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

#[derive(Debug, Args)]
pub(super) struct DuplicatesArguments {
    #[command(flatten)]
    one: OneGallery,
    #[command(flatten)]
    threshold: ThresholdOptions,
}

pub(super) fn run(command: &GalleryCommand) -> Result<u8> {
    let (json, outcome) = match command {
        GalleryCommand::List(arguments) => (arguments.one.json, list(arguments)),
        GalleryCommand::Remove(arguments) => (arguments.one.json, remove(arguments)),
        GalleryCommand::Rename(arguments) => (arguments.one.json, rename(arguments)),
        GalleryCommand::Export(arguments) => (false, export(arguments)),
        GalleryCommand::Import(arguments) => (arguments.one.json, import(arguments)),
        GalleryCommand::Stats(arguments) => (arguments.json, stats(arguments)),
        GalleryCommand::Thresholds(arguments) => (arguments.one.json, thresholds(arguments)),
        GalleryCommand::Duplicates(arguments) => (arguments.one.json, duplicates(arguments)),
        GalleryCommand::Compact(arguments) => (arguments.json, compact(arguments)),
        GalleryCommand::Check(arguments) => (arguments.json, check(arguments)),
        GalleryCommand::Index(arguments) => (arguments.json, index(arguments)),
    };
    json_errors(json, outcome.map(|()| SUCCESS))
}

fn list(arguments: &ListArguments) -> Result<()> {
    let gallery = arguments.one.gallery.open(Access::Read)?;
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    let mut page = Page { after: arguments.after.map(SubjectId), ..Page::default() };
    let json = arguments.one.json;
    let mut shown = 0_u64;
    if !json {
        say!("{:>8}  {:>9}  NAME", "ID", "TEMPLATES");
    }
    // A line each, as they come: a large gallery need not fit into the memory twice.
    while left > 0 {
        page.limit = left.min(Page::default().limit);
        let subjects = gallery.list(&page)?;
        let Some(last) = subjects.last() else { break };
        page.after = Some(last.id);
        left -= subjects.len();
        for subject in subjects {
            if json {
                say!("{}{}", if shown == 0 { "[" } else { "," }, json_text(&subject)?);
            } else {
                let Subject { id, name, metadata, templates } = &subject;
                let metadata = if metadata.is_empty() { String::new() } else { format!("  {}", json_text(metadata)?) };
                say!("{id:>8}  {:>9}  {name}{metadata}", templates.len());
            }
            shown += 1;
        }
    }
    if json {
        say!("{}]", if shown == 0 { "[" } else { "" });
        return Ok(());
    }
    let GalleryCount { subjects, templates } = gallery.count()?;
    match page.after {
        Some(last) if left == 0 => say!("{shown} of {subjects} subjects; go on with --after {last}"),
        _ => say!("{}, {}", counted(subjects, "subject", "subjects"), counted(templates, "template", "templates")),
    }
    Ok(())
}

fn json_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(std::io::Error::from).map_err(Error::io("write", "the standard output"))
}

/// What `face gallery remove --json` prints.
#[derive(Debug, Serialize)]
struct RemovedJson {
    subjects: Vec<SubjectJson>,
    templates: Vec<TemplateId>,
}

#[derive(Debug, Serialize)]
struct SubjectJson {
    subject: SubjectId,
    name: String,
}

fn remove(arguments: &RemoveArguments) -> Result<()> {
    let gallery = arguments.one.gallery.open(Access::Write)?;
    // All must be there before the first is removed.
    let mut subjects: BTreeMap<SubjectId, String> = BTreeMap::new();
    for name in &arguments.names {
        subjects.insert(find(gallery.as_ref(), name)?.id, name.clone());
    }
    for id in &arguments.subjects {
        let subject = gallery.subject(SubjectId(*id))?;
        subjects.insert(subject.id, subject.name);
    }
    let mut templates: Vec<TemplateId> = arguments.templates.iter().copied().map(TemplateId).collect();
    templates.sort_unstable();
    templates.dedup();
    for template in &templates {
        gallery.embedding(*template)?;
    }
    // The templates first: one of a subject that goes too would be gone already.
    for template in &templates {
        gallery.remove_template(*template)?;
    }
    for id in subjects.keys() {
        gallery.remove_subject(*id)?;
    }
    let removed = RemovedJson {
        subjects: subjects.into_iter().map(|(subject, name)| SubjectJson { subject, name }).collect(),
        templates,
    };
    if arguments.one.json {
        return print_json(&removed);
    }
    for SubjectJson { subject, name } in &removed.subjects {
        say!("removed {name} (subject {subject})");
    }
    for template in &removed.templates {
        say!("removed template {template}");
    }
    if let GalleryPlace::File(path) = arguments.one.gallery.place() {
        say!("the bytes stay in the file until `face gallery compact {}`", path.display());
    }
    Ok(())
}

fn rename(arguments: &RenameArguments) -> Result<()> {
    let gallery = arguments.one.gallery.open(Access::Write)?;
    let subject = find(gallery.as_ref(), &arguments.name)?.id;
    gallery.rename(subject, &arguments.new_name)?;
    if arguments.one.json {
        return print_json(&SubjectJson { subject, name: arguments.new_name.clone() });
    }
    say!("subject {subject} is now named {}", arguments.new_name);
    Ok(())
}

/// A path that stands for a standard stream.
fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn export(arguments: &ExportArguments) -> Result<()> {
    let gallery = arguments.gallery.open(Access::Read)?;
    let bar = items_bar(usize::try_from(gallery.count()?.subjects).unwrap_or(usize::MAX), "Exporting");
    let mut progress = |count| bar.set_position(count);
    let path = &arguments.out;
    if is_stream(path) {
        let mut out = BufWriter::new(std::io::stdout().lock());
        let outcome = gallery::export(gallery.as_ref(), &mut out, &mut progress);
        bar.finish_and_clear();
        return match outcome {
            // A reader that has seen enough.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.map(drop),
        };
    }
    let count = gallery::export_file(gallery.as_ref(), path, &mut progress);
    bar.finish_and_clear();
    let count = count?;
    say!(
        "exported {}, {} to {}",
        counted(count.subjects, "subject", "subjects"),
        counted(count.templates, "template", "templates"),
        path.display()
    );
    Ok(())
}

/// What `face gallery import --json` prints.
#[derive(Debug, Serialize)]
struct ImportJson {
    gallery: String,
    /// Whether the gallery was made by this command.
    created: bool,
    #[serde(flatten)]
    imported: ImportReport,
}

fn import(arguments: &ImportArguments) -> Result<()> {
    let path = &arguments.file;
    let origin = if is_stream(path) { "the standard input".to_owned() } else { path.display().to_string() };
    let mut reader: Box<dyn std::io::BufRead> = if is_stream(path) {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(Error::io("read", path))?))
    };
    let space = gallery::read_space(&mut reader, &origin)?;
    let place = arguments.one.gallery.place();
    let existing = arguments.one.gallery.open_existing()?;
    if let (None, GalleryPlace::File(path)) = (&existing, &place) {
        check_folder(path)?;
    }
    let created = existing.is_none();
    let gallery = match existing {
        Some(gallery) => gallery,
        None => arguments.one.gallery.create(Arc::new(space.clone()))?,
    };
    let name = gallery.name();
    let bar = counting_bar("Importing");
    let existing = if arguments.skip_existing { Existing::Skip } else { Existing::Refuse };
    let mut progress = |count| bar.set_position(count);
    let outcome = gallery::import(gallery.as_ref(), &space, existing, &mut reader, &origin, &mut progress);
    bar.finish_and_clear();
    let imported = match outcome {
        Ok(imported) => imported,
        Err(error) => {
            let count = gallery.count().map_or_else(|_| "an unknown number of".to_owned(), |c| c.subjects.to_string());
            eprintln!(
                "note: the gallery {name} has {count} subjects now; those before the error were enrolled, and \
                 --skip-existing goes on behind them"
            );
            return Err(error);
        }
    };
    if imported.skipped > 0 {
        eprintln!("note: {} without a template left out", counted(imported.skipped, "subject was", "subjects were"));
    }
    if imported.existing > 0 {
        eprintln!("note: {} left out", counted(imported.existing, "enrolled person was", "enrolled people were"));
    }
    if arguments.one.json {
        return print_json(&ImportJson { gallery: name, created, imported });
    }
    if created {
        say!("made the gallery {name}, for embeddings of {}", space.model);
    }
    say!(
        "imported {}, {}",
        counted(imported.subjects, "subject", "subjects"),
        counted(imported.templates, "template", "templates")
    );
    Ok(())
}

/// What `face gallery stats --json` prints.
#[derive(Debug, Serialize)]
struct StatsJson {
    gallery: String,
    #[serde(flatten)]
    count: GalleryCount,
    space: String,
    model: String,
    dimension: usize,
    metric: Metric,
    thresholds: Vec<Threshold>,
    rule: Option<RuleJson>,
    /// What only galleries in a file have.
    #[serde(flatten)]
    file: Option<FileJson>,
}

/// The threshold by which `face identify` decides, unless told otherwise.
#[derive(Debug, Serialize)]
struct RuleJson {
    /// The false-positive identification rate that is aimed at.
    fpir: f64,
    threshold: f32,
    far: f64,
    fpir_bound: f64,
}

#[derive(Debug, Serialize)]
struct FileJson {
    format_version: u32,
    file_bytes: u64,
    /// `null` without an approximate index.
    index_bytes: Option<u64>,
    memory_bytes: MemoryUse,
    memory_bytes_per_template: Option<f64>,
}

fn stats(arguments: &OneGallery) -> Result<()> {
    let (gallery, file): (Box<dyn Gallery>, _) = match arguments.gallery.place() {
        GalleryPlace::File(path) => {
            let gallery = open_local(path, Access::Read)?;
            let size = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.len());
            let file_bytes = size(path).map_err(Error::io("read", path))?;
            let memory = gallery.memory_use();
            let all = memory.records + memory.vectors + memory.approximate;
            let templates = gallery.count()?.templates;
            let file = FileJson {
                format_version: LocalGallery::FORMAT_VERSION,
                file_bytes,
                index_bytes: size(&index_path(path)).ok(),
                memory_bytes: memory,
                memory_bytes_per_template: (templates > 0).then(|| all as f64 / templates as f64),
            };
            (Box::new(gallery), Some(file))
        }
        GalleryPlace::Server(_) => (arguments.gallery.open(Access::Read)?, None),
    };
    let space = Arc::clone(gallery.space());
    let count = gallery.count()?;
    let rule = rule(&space, count.templates)?;
    let EmbeddingSpace { model, dimension, metric, thresholds, .. } = &*space;
    let stats = StatsJson {
        gallery: gallery.name(),
        count,
        space: space.id(),
        model: model.clone(),
        dimension: *dimension,
        metric: *metric,
        thresholds: thresholds.clone(),
        rule,
        file,
    };
    if arguments.json { print_json(&stats) } else { print_stats(&stats) }
}

fn rule(space: &EmbeddingSpace, templates: u64) -> Result<Option<RuleJson>> {
    let fpir = DEFAULT_FPIR;
    match (Decision::GallerySize { fpir }).threshold(space, templates) {
        Ok(Threshold { similarity, far, .. }) => {
            Ok(Some(RuleJson { fpir, threshold: similarity, far, fpir_bound: (templates as f64 * far).min(1.0) }))
        }
        Err(Error::ThresholdUnknown { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn print_stats(stats: &StatsJson) -> Result<()> {
    say!("gallery     {}", stats.gallery);
    say!("subjects    {}", stats.count.subjects);
    say!("templates   {}", stats.count.templates);
    if let Some(FileJson { format_version, file_bytes, index_bytes, memory_bytes, memory_bytes_per_template }) =
        &stats.file
    {
        say!("file        {} (format version {format_version})", megabytes(*file_bytes));
        if let Some(bytes) = index_bytes {
            say!("index       {} (approximate search)", megabytes(*bytes));
        }
        let MemoryUse { records, vectors, approximate } = memory_bytes;
        let all = (records + vectors + approximate) as u64;
        let each =
            memory_bytes_per_template.map_or_else(String::new, |bytes| format!(", {bytes:.0} bytes per template"));
        say!("memory      {}{each}", megabytes(all));
    }
    say!("embeddings  {}, {} values, {} similarity", stats.model, stats.dimension, stats.metric);
    say!("space       {}", stats.space);
    stats.thresholds.iter().try_for_each(print_threshold)?;
    match &stats.rule {
        Some(RuleJson { fpir, threshold, far, fpir_bound }) => {
            say!(
                "rule        for {} of strangers taken for somebody: threshold {threshold:.4}, false-accept rate {far:e}; \
                 with {} at most {}",
                percent(*fpir),
                counted(stats.count.templates, "template", "templates"),
                percent(*fpir_bound)
            );
            if *fpir_bound > fpir * (1.0 + 1e-9) {
                say!("            (no stricter threshold was measured)");
            }
        }
        None => say!("rule        none: no threshold is known for this recogniser"),
    }
    Ok(())
}

/// What `face gallery thresholds --json` prints.
#[derive(Debug, Serialize)]
struct ThresholdsJson {
    gallery: String,
    thresholds: Vec<Threshold>,
}

fn thresholds(arguments: &ThresholdsArguments) -> Result<()> {
    let gallery = arguments.one.gallery.open(Access::Write)?;
    let pipeline = arguments.pipeline.open()?;
    let space = pipeline.embedder.space();
    check_space(gallery.as_ref(), space)?;
    // Those that the gallery has are never lost to a recogniser without any.
    let Some(strictest) = space.thresholds.iter().map(|threshold| threshold.far).reduce(f64::min) else {
        return Err(space.threshold_unknown(DEFAULT_FPIR));
    };
    gallery.set_thresholds(space.thresholds.clone())?;
    if arguments.one.json {
        return print_json(&ThresholdsJson { gallery: gallery.name(), thresholds: space.thresholds.clone() });
    }
    space.thresholds.iter().try_for_each(print_threshold)?;
    say!(
        "{} keeps {}, the strictest at false-accept rate {strictest:e}",
        gallery.name(),
        counted(space.thresholds.len() as u64, "threshold", "thresholds")
    );
    Ok(())
}

fn print_threshold(Threshold { similarity, far, measured_on }: &Threshold) -> Result<()> {
    say!("threshold   {similarity:.4} at false-accept rate {far:e} (measured on {measured_on})");
    Ok(())
}

/// What `face gallery duplicates --json` prints.
#[derive(Debug, Serialize)]
struct DuplicatesJson {
    threshold: f32,
    far: f64,
    measured_on: String,
    pairs: Vec<PairJson>,
}

#[derive(Debug, Serialize)]
struct PairJson {
    first: SubjectJson,
    second: SubjectJson,
    similarity: f32,
}

fn duplicates(arguments: &DuplicatesArguments) -> Result<()> {
    let gallery = arguments.one.gallery.open(Access::Read)?;
    let templates = gallery.count()?.templates;
    let space = gallery.space();
    // Those whom `face identify` would take for one another.
    let threshold = match arguments.threshold.chosen(space)? {
        Some(threshold) => threshold,
        None => Decision::default().threshold(space, templates)?,
    };
    let bar = items_bar(usize::try_from(templates).unwrap_or(usize::MAX), "Comparing");
    let found = gallery::find_duplicates(gallery.as_ref(), threshold.similarity, &mut |count| bar.set_position(count));
    bar.finish_and_clear();
    let named = |subject| Ok(SubjectJson { subject, name: gallery.subject(subject)?.name });
    let pair = |pair: gallery::Duplicate| {
        Ok(PairJson { first: named(pair.first)?, second: named(pair.second)?, similarity: pair.similarity })
    };
    let pairs = found?.into_iter().map(pair).collect::<Result<Vec<_>>>()?;
    let Threshold { similarity, far, measured_on } = threshold;
    if arguments.one.json {
        return print_json(&DuplicatesJson { threshold: similarity, far, measured_on, pairs });
    }
    for PairJson { first, second, similarity } in &pairs {
        say!("{similarity:.4}  {} ({}) and {} ({})", first.name, first.subject, second.name, second.subject);
    }
    say!(
        "{} of similarity {similarity:.4} or more; false-accept rate of one comparison: {far:e} (measured on {measured_on})",
        counted(pairs.len() as u64, "pair", "pairs")
    );
    Ok(())
}

/// What `face gallery compact --json` prints; without sizes for a gallery on a server.
#[derive(Debug, Serialize)]
struct CompactJson {
    gallery: String,
    bytes_before: Option<u64>,
    bytes_after: Option<u64>,
}

fn compact(arguments: &OneGallery) -> Result<()> {
    let gallery = arguments.gallery.open(Access::Write)?;
    let size = || match arguments.gallery.place() {
        GalleryPlace::File(path) => std::fs::metadata(path).ok().map(|metadata| metadata.len()),
        GalleryPlace::Server(_) => None,
    };
    let before = size();
    gallery.compact()?;
    let after = size();
    if arguments.json {
        return print_json(&CompactJson { gallery: gallery.name(), bytes_before: before, bytes_after: after });
    }
    match (before, after) {
        (Some(before), Some(after)) => {
            say!("compacted {}: {} before, {} now", gallery.name(), megabytes(before), megabytes(after));
        }
        _ => say!("compacted {}", gallery.name()),
    }
    Ok(())
}

/// What `face gallery check --json` prints of a gallery that is whole.
#[derive(Debug, Serialize)]
struct CheckJson {
    gallery: String,
    whole: bool,
    #[serde(flatten)]
    count: GalleryCount,
}

fn check(arguments: &OneGallery) -> Result<()> {
    // Opening verifies the checksum of every record of a file. Reading them all finds what a server lacks.
    let gallery = arguments.gallery.open(Access::Read)?;
    let count = gallery.count()?;
    let bar = items_bar(usize::try_from(count.subjects).unwrap_or(usize::MAX), "Checking");
    let read = gallery::export(gallery.as_ref(), &mut std::io::sink(), &mut |count| bar.set_position(count));
    bar.finish_and_clear();
    let read = read?;
    if read != count {
        return Err(Error::GalleryStore {
            action: "check",
            gallery: gallery.name(),
            reason: format!(
                "{} subjects with {} templates were read, where {} with {} are counted",
                read.subjects, read.templates, count.subjects, count.templates
            ),
        });
    }
    if arguments.json {
        return print_json(&CheckJson { gallery: gallery.name(), whole: true, count });
    }
    say!(
        "{} is whole: {}, {}",
        gallery.name(),
        counted(count.subjects, "subject", "subjects"),
        counted(count.templates, "template", "templates")
    );
    Ok(())
}

/// What `face gallery index --json` prints.
#[derive(Debug, Serialize)]
struct IndexJson {
    gallery: String,
    templates: u64,
    /// The file beside the gallery's and its size; `null` for a gallery on a server, which keeps its own.
    index: Option<String>,
    bytes: Option<u64>,
}

fn index(arguments: &OneGallery) -> Result<()> {
    let (gallery, file): (Box<dyn Gallery>, _) = match arguments.gallery.place() {
        GalleryPlace::File(path) => {
            let gallery = open_local(path, Access::BuildIndex)?;
            gallery.save_index()?;
            let index = index_path(path);
            let bytes = std::fs::metadata(&index).map_err(Error::io("read", &index))?.len();
            (Box::new(gallery), Some((index, bytes)))
        }
        GalleryPlace::Server(url) => (arguments.gallery.index_on_server(url)?, None),
    };
    let templates = gallery.count()?.templates;
    if arguments.json {
        let (index, bytes) = file.map(|(index, bytes)| (index.display().to_string(), bytes)).unzip();
        return print_json(&IndexJson { gallery: gallery.name(), templates, index, bytes });
    }
    let count = counted(templates, "template", "templates");
    match file {
        Some((index, bytes)) => say!("{}: {count}, {}", index.display(), megabytes(bytes)),
        None => say!("built the index of {}: {count}", gallery.name()),
    }
    Ok(())
}
