//! `face identify`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::detect::faces;
use super::enroll::parse_metadata;
use super::options::{Access, GalleryOptions, GalleryPlace, PipelineOptions, check_space, index_path, own_threshold};
use super::output::{RejectedJson, check_picture_path, corners, counted, json_errors, print_json, say};
use super::{DIFFERENT, FAILURE, SUCCESS, photos};
use crate::draw::{NamedBox, draw_names};
use crate::error::{Error, Result};
use crate::gallery::{
    Candidate, Decision, Gallery, Identification, IdentifyParams, SearchMode, SubjectFilter, SubjectId, TemplateId,
};
use crate::image::Image;
use crate::models::ModelStore;
use crate::pipeline::FacePipeline;
use crate::stage::Embedding;

#[derive(Debug, Args)]
pub(super) struct IdentifyArguments {
    #[command(flatten)]
    gallery: GalleryOptions,
    /// Photos; every face of them is looked up
    #[arg(required = true, value_name = "IMG")]
    images: Vec<PathBuf>,
    /// Most candidates for each face [default: 5, of which the best one is printed]
    #[arg(long, value_name = "K")]
    top: Option<usize>,
    /// False-positive identification rate: the share of people who are not enrolled that may be taken for somebody. The
    /// threshold follows from it and from the number of templates; an error where none so strict was measured
    /// [default: 1e-2, or as near as the measured thresholds come, with a warning]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    fpir: Option<f64>,
    /// False-accept rate of one comparison, whatever the number of templates
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, conflicts_with = "fpir")]
    far: Option<f64>,
    /// A similarity of your own
    #[arg(long, value_name = "SIMILARITY", allow_negative_numbers = true, conflicts_with_all = ["fpir", "far"])]
    threshold: Option<f32>,
    /// Look among this person alone; several may be given
    #[arg(long = "subject", value_name = "NAME")]
    subjects: Vec<String>,
    /// Look only among people whose metadata contains this JSON object
    #[arg(long = "where", value_name = "JSON")]
    metadata: Option<String>,
    /// Compare with every template, also where there is an approximate index
    #[arg(long)]
    exact: bool,
    /// Search through the approximate index (`face gallery index`)
    #[arg(long, conflicts_with = "exact")]
    approximate: bool,
    /// Write the photo with boxes and names; of several photos, OUT-1.png, OUT-2.png and so on
    #[arg(long, value_name = "OUT.png")]
    draw: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// One photo of `face identify --json`.
#[derive(Debug, Serialize)]
struct IdentifyJson {
    image: String,
    faces: Vec<IdentifiedJson>,
    /// Faces that could not be embedded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<RejectedJson>,
    /// Smallest similarity of a match.
    threshold: f32,
    /// False-accept rate of one comparison at the threshold.
    far: f64,
    /// Number of templates that each face was compared with.
    templates: u64,
    /// Templates x FAR: the most that the false-positive identification rate comes to.
    fpir_bound: f64,
    /// The set on which the false-accept rate was measured.
    measured_on: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A photo, whether it could be worked on or not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum EntryJson<'a> {
    Usable(&'a IdentifyJson),
    Unusable { image: String, faces: [(); 0], error: String },
}

#[derive(Debug, Serialize)]
struct IdentifiedJson {
    #[serde(rename = "box")]
    bounding_box: [f32; 4],
    score: f32,
    /// The best first, those below the threshold too.
    candidates: Vec<CandidateJson>,
    /// Whether the first candidate reaches the threshold.
    #[serde(rename = "match")]
    is_match: bool,
}

#[derive(Debug, Serialize)]
struct CandidateJson {
    subject: SubjectId,
    name: String,
    template: TemplateId,
    similarity: f32,
}

pub(super) fn run(arguments: &IdentifyArguments) -> Result<u8> {
    json_errors(arguments.json, identify(arguments))
}

fn identify(arguments: &IdentifyArguments) -> Result<u8> {
    arguments.draw.as_deref().map_or(Ok(()), check_picture_path)?;
    let gallery = arguments.gallery.open(arguments.access()?)?;
    let gallery = gallery.as_ref();
    let mut params = arguments.params(gallery)?;
    let templates = gallery.count_matching(&params.filter)?.templates;
    let pipeline = arguments.pipeline.open()?;
    check_space(gallery, pipeline.embedder.space())?;
    // Unknown rates are errors before any photo is worked on. A gallery that was made before any threshold was measured goes
    // by those of the recogniser.
    let decision = params.decision.clone();
    let threshold = if gallery.space().thresholds.is_empty() {
        let threshold = decision.threshold(pipeline.embedder.space(), templates)?;
        params.decision = Decision::Threshold(threshold.clone());
        threshold
    } else {
        decision.threshold(gallery.space(), templates)?
    };
    let detector = arguments.pipeline.detector_name(&ModelStore::open_default()?)?;
    if arguments.threshold.is_none() && !threshold.measured_on.contains(&detector) {
        eprintln!("note: the rate was not measured with the detector {detector}");
    }

    let decided = Identification { candidates: vec![], threshold, templates };
    let entries = photos::map(&arguments.images, "Identifying", |index, path, photo| {
        let mut entry = look_up(&pipeline, gallery, &params, &decided, path, photo)?;
        if let Some(out) = &arguments.draw {
            entry.draw(photo, &photos::numbered(out, index, arguments.images.len()))?;
        }
        entry.image = path.display().to_string();
        Ok(entry)
    });
    if arguments.json {
        let all: Vec<EntryJson<'_>> = arguments
            .images
            .iter()
            .zip(&entries)
            .map(|(path, entry)| match entry {
                Ok(entry) => EntryJson::Usable(entry),
                Err(error) => {
                    EntryJson::Unusable { image: path.display().to_string(), faces: [], error: error.to_string() }
                }
            })
            .collect();
        match all.as_slice() {
            [single] => print_json(single)?,
            several => print_json(&several)?,
        }
    }
    for (path, entry) in arguments.images.iter().zip(&entries) {
        let error = match entry {
            Ok(entry) => entry.error.clone(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = error {
            photos::print_error(&path.display().to_string(), &error);
        }
    }
    let usable: Vec<&IdentifyJson> = entries.iter().flatten().filter(|entry| entry.error.is_none()).collect();
    if !arguments.json {
        print(arguments, &entries, &decided)?;
    }
    if !usable.is_empty() {
        warn(&decision, &decided);
    }
    let is_somebody = usable.iter().any(|entry| entry.faces.iter().any(|face| face.is_match));
    Ok(match (usable.is_empty(), is_somebody) {
        (true, _) => FAILURE,
        (false, true) => SUCCESS,
        (false, false) => DIFFERENT,
    })
}

impl IdentifyArguments {
    /// With the approximate index where it is asked for, or where there is one that may be used.
    fn access(&self) -> Result<Access> {
        let GalleryPlace::File(path) = self.gallery.place() else {
            return Ok(if self.approximate { Access::Search } else { Access::Read });
        };
        match (self.exact, self.approximate, index_path(path).exists()) {
            (false, false, true) if cfg!(feature = "hnsw") => Ok(Access::Search),
            (_, true, false) if path.exists() => Err(Error::InvalidParameter {
                parameter: "--approximate",
                value: "given".into(),
                expected: "left out, or the index built first: face gallery index GALLERY".into(),
            }),
            (_, true, _) => Ok(Access::Search),
            _ => Ok(Access::Read),
        }
    }

    fn params(&self, gallery: &dyn Gallery) -> Result<IdentifyParams> {
        let decision = match (self.fpir, self.far, self.threshold) {
            (Some(fpir), _, _) => Decision::Fpir(fpir),
            (None, Some(far), _) => Decision::Far(far),
            (None, None, Some(similarity)) => Decision::Threshold(own_threshold(similarity, gallery.space())?),
            (None, None, None) => Decision::default(),
        };
        let mut filter = SubjectFilter::default();
        if let Some(text) = &self.metadata {
            filter.metadata = parse_metadata("--where", text)?;
        }
        if !self.subjects.is_empty() {
            let ids = self.subjects.iter().map(|name| Ok(find(gallery, name)?.id)).collect::<Result<BTreeSet<_>>>()?;
            filter.subjects = Some(ids);
        }
        let mode = match (self.exact, self.approximate) {
            (true, _) => SearchMode::Exact,
            (_, true) => SearchMode::Approximate,
            _ => SearchMode::Auto,
        };
        let top_k = self.top.unwrap_or(IdentifyParams::default().top_k);
        Ok(IdentifyParams { top_k, decision, filter, mode })
    }
}

/// The subject of this name, which must be there.
pub(super) fn find(gallery: &dyn Gallery, name: &str) -> Result<crate::gallery::Subject> {
    gallery
        .find(name)?
        .ok_or_else(|| Error::NotEnrolled { gallery: gallery.name(), what: format!("subject named \"{name}\"") })
}

/// Looks up every face of a photo.
fn look_up(
    pipeline: &FacePipeline,
    gallery: &dyn Gallery,
    params: &IdentifyParams,
    decided: &Identification,
    path: &Path,
    photo: &Image,
) -> Result<IdentifyJson> {
    let analysis = pipeline.analyze(&photo.view())?;
    let error = match (analysis.faces.is_empty(), analysis.rejected.is_empty()) {
        (false, _) => None,
        (true, true) => return Err(Error::NoFace { image: path.display().to_string() }),
        (true, false) => Some(format!("none of the faces in {} could be embedded", path.display())),
    };
    let probes: Vec<Embedding> = analysis.faces.iter().map(|face| face.embedding.clone()).collect();
    let answers = gallery.identify_batch(&probes, params)?;
    // What was decided on before holds; the answers tell it more exactly where the gallery has changed since.
    let shown = answers.first().unwrap_or(decided);
    let (threshold, templates, fpir_bound) = (shown.threshold.clone(), shown.templates, shown.fpir_bound());
    let identified = analysis.faces.iter().zip(answers).map(|(face, answer)| IdentifiedJson {
        bounding_box: corners(&face.detection),
        score: face.detection.score,
        is_match: answer.best_match().is_some(),
        candidates: answer.candidates.into_iter().map(CandidateJson::from).collect(),
    });
    Ok(IdentifyJson {
        image: String::new(),
        faces: identified.collect(),
        rejected: analysis.rejected.iter().map(|(detection, error)| RejectedJson::new(detection, error)).collect(),
        threshold: threshold.similarity,
        far: threshold.far,
        templates,
        fpir_bound,
        measured_on: threshold.measured_on,
        error,
    })
}

impl From<Candidate> for CandidateJson {
    fn from(Candidate { subject, name, template, similarity }: Candidate) -> Self {
        Self { subject, name, template, similarity }
    }
}

impl IdentifiedJson {
    /// The person, if it is somebody.
    fn person(&self) -> Option<&CandidateJson> {
        self.candidates.first().filter(|_| self.is_match)
    }
}

impl IdentifyJson {
    fn draw(&self, photo: &Image, out: &Path) -> Result<()> {
        let named = |face: &IdentifiedJson| {
            let [x, y, width, height] = face.bounding_box;
            NamedBox {
                bounding_box: crate::geometry::BoundingBox::new(x, y, width, height),
                label: face.person().map_or_else(|| NOBODY.to_owned(), |person| person.name.clone()),
                is_known: face.is_match,
            }
        };
        let faces: Vec<NamedBox> = self.faces.iter().map(named).collect();
        draw_names(&photo.view(), &faces)?.save(out)
    }
}

const NOBODY: &str = "nobody";

fn print(arguments: &IdentifyArguments, entries: &[Result<IdentifyJson>], decided: &Identification) -> Result<()> {
    for (index, entry) in entries.iter().enumerate() {
        let Ok(entry) = entry else { continue };
        say!("{}: {}", entry.image, faces(entry.faces.len()));
        for rejected in &entry.rejected {
            eprintln!("warning: {}: a face was left out: {}", entry.image, rejected.error);
        }
        let threshold = entry.threshold;
        for face in &entry.faces {
            let [x, y, ..] = face.bounding_box.map(|value| value.round() as i64);
            match face.candidates.first() {
                Some(CandidateJson { name, similarity, .. }) if face.is_match => {
                    say!("  ({x}, {y}): {name}, similarity {similarity:.4} >= threshold {threshold:.4}");
                }
                Some(CandidateJson { name, similarity, .. }) => {
                    say!("  ({x}, {y}): {NOBODY}, similarity {similarity:.4} < threshold {threshold:.4} (with {name})");
                }
                None => say!("  ({x}, {y}): {NOBODY}, there is no one to compare with"),
            }
            for CandidateJson { name, similarity, .. } in face.candidates.iter().skip(1) {
                if arguments.top.is_some() {
                    say!("    then {name}, similarity {similarity:.4}");
                }
            }
        }
        if let Some(out) = &arguments.draw {
            say!("  drawn into {}", photos::numbered(out, index, entries.len()).display());
        }
    }
    let Identification { threshold, templates, .. } = decided;
    say!("false-accept rate of one comparison: {:e}, measured on {}", threshold.far, threshold.measured_on);
    say!(
        "with {}: at most {} of the people who are not enrolled are taken for somebody",
        counted(*templates, "template", "templates"),
        percent(decided.fpir_bound())
    );
    Ok(())
}

/// Says that the default could not be kept.
fn warn(decision: &Decision, decided: &Identification) {
    let (Decision::GallerySize { fpir }, bound) = (decision, decided.fpir_bound()) else { return };
    if bound > fpir * (1.0 + 1e-9) {
        eprintln!(
            "warning: with {} up to {} of the people who are not enrolled may be taken for somebody, and not the {} \
             that is aimed at: no stricter threshold was measured",
            counted(decided.templates, "template", "templates"),
            percent(bound),
            percent(*fpir)
        );
    }
}

/// A share for people, with two digits that count.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent > 0.0 { (1.0 - percent.log10().floor()).clamp(0.0, 12.0) } else { 0.0 };
    format!("{percent:.*} %", digits as usize)
}
