//! Before the first step: photos are looked through, faces are found, features are computed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::config::{TrainConfig, ValidationConfig};
use super::dataset::PhotoSet;
use super::features::Features;
use super::pictures::{Cutter, Finder, kept_path, template_for};
use super::trainer::{TrainEvent, Watcher, goes_on};
use super::validation::Validation;
use crate::detectors::DetectionParams;
use crate::embedders::{EmbedderSpec, OnnxEmbedder};
use crate::error::{Error, Result};
use crate::eval::LfwProtocol;
use crate::files::write_atomically;
use crate::geometry::LandmarkScheme;
use crate::geometry::templates::{ARCFACE_112, Template};
use crate::image::Image;
use crate::inference::Engine;
use crate::models::ModelStore;
use crate::pipeline::{ModelSource, PipelineParams, is_path, open_aligner, open_detector, open_onnx_embedder};
use crate::stage::CropSpec;

/// An embedder that stays as it is.
pub(super) struct Base {
    pub(super) embedder: OnnxEmbedder,
    /// The ONNX file.
    pub(super) content: Vec<u8>,
}

impl Base {
    pub(super) fn open(config: &super::config::BaseConfig, store: &ModelStore) -> Result<Self> {
        let embedder = match &config.model {
            None => ModelSource::Default,
            Some(path) if is_path(path) => ModelSource::File(path.into()),
            Some(name) => ModelSource::Catalogue(name.clone()),
        };
        let mut params = PipelineParams { embedder, ..PipelineParams::default() };
        if let Some(spec) = &config.spec {
            params.embedder_spec = Some(EmbedderSpec::open(spec)?);
        }
        let mut spec = params.resolved_spec(store)?;
        // One crop: the head is behind each, and what comes out of it must not be averaged before.
        spec.crops = CropSpec::single(spec.crops.template);
        spec.mirror = false;
        spec.thresholds.clear();
        params.embedder_spec = Some(spec);
        let (embedder, content) = open_onnx_embedder(store, &params)?;
        Ok(Self { embedder, content })
    }
}

/// Where the faces of photos are: as said, or as found by the default detector.
pub(super) fn finder(aligned: Option<&str>, scheme: LandmarkScheme, store: &ModelStore) -> Result<Finder> {
    let Some(name) = aligned else {
        let detection = DetectionParams::default();
        let detector = open_detector(store, &ModelSource::Default, &detection, &Engine::default())?;
        return Ok(Finder::Searched(detector, open_aligner(store, scheme)?));
    };
    let template = Template::by_name(name)?.clone();
    if template.landmarks.scheme != scheme {
        return Err(Error::LandmarkScheme { expected: scheme.name(), actual: template.landmarks.scheme.name() });
    }
    Ok(Finder::Aligned(template))
}

/// The template of the network's crops.
pub(super) fn template(config: &TrainConfig, base: Option<&Base>, input: [usize; 2]) -> Result<Template> {
    match base {
        Some(base) => Ok(base.embedder.spec().crops.template.clone()),
        None => template_for(&ARCFACE_112, input).map_err(|error| match error {
            Error::InvalidParameter { value, expected, .. } => Error::InvalidParameter {
                parameter: "backbone.input",
                value: format!("{value} ({:?})", config.backbone.as_ref().and_then(|backbone| backbone.input)),
                expected,
            },
            other => other,
        }),
    }
}

/// The photos that can be learnt from, and what to cut their crops with.
pub(super) struct Photos {
    pub(super) set: PhotoSet,
    /// For each photo of the set the file that is read: its own, or the crop that was kept.
    pub(super) files: Vec<PathBuf>,
    pub(super) cutter: Cutter,
}

/// Reads every photo once, and finds its face where that is asked for; `None` where the watcher has had enough.
pub(super) fn photos(
    config: &TrainConfig,
    template: &Template,
    store: &ModelStore,
    watcher: &Watcher<'_>,
) -> Result<Option<Photos>> {
    let set = PhotoSet::open(&config.data)?;
    let origin = config.data.folder.as_ref().or(config.data.list.as_ref()).cloned().unwrap_or_default();
    let cutter =
        Cutter::new(finder(config.data.aligned.as_deref(), template.landmarks.scheme, store)?, template.clone());
    let paths: Vec<PathBuf> = set.photos.iter().map(|photo| photo.path.clone()).collect();
    let Some(found) = look_through(&paths, &cutter, &config.output.join("crops"), watcher)? else { return Ok(None) };
    let total = paths.len();
    let unusable: BTreeMap<usize, String> =
        found.iter().enumerate().filter_map(|(index, file)| Some((index, file.as_ref().err()?.clone()))).collect();
    let files: BTreeMap<PathBuf, PathBuf> =
        paths.into_iter().zip(found).filter_map(|(path, file)| Some((path, file.ok()?))).collect();
    let count = unusable.len();
    let example = unusable.first_key_value().map(|(_, reason)| reason.clone()).unwrap_or_default();
    let set = set.without(unusable, config.data.least_photos);
    write_left_out(&config.output, &set)?;
    if count as f64 > config.data.most_unusable * total as f64 {
        let reason = format!(
            "{count} of {total} photos cannot be used, and `most_unusable` allows {:.0} %; they are listed in {}, for one: {example}",
            100.0 * config.data.most_unusable,
            config.output.join(LEFT_OUT).display()
        );
        return Err(Error::TrainingData { path: origin, reason });
    }
    set.check(&origin)?;
    config.sampling.check_photos(&set.labels())?;
    let files = set.photos.iter().map(|photo| files.get(&photo.path).cloned().unwrap_or_default()).collect();
    let cutter = if cutter.is_slow() { cutter_of_kept(template) } else { cutter };
    Ok(Some(Photos { set, files, cutter }))
}

/// The pairs of the validation, with their faces found.
pub(super) fn validation(
    config: &ValidationConfig,
    output: &Path,
    template: &Template,
    base: Option<&Base>,
    store: &ModelStore,
    watcher: &Watcher<'_>,
) -> Result<Option<Validation>> {
    let protocol = LfwProtocol::open(&config.pairs)?;
    let names = protocol.images();
    if !names.iter().any(|name| config.images.join(name).is_file()) {
        let reason = "it holds none of the photos that the pairs name".to_owned();
        return Err(Error::TrainingData { path: config.images.clone(), reason });
    }
    let cutter = Cutter::new(finder(config.aligned.as_deref(), template.landmarks.scheme, store)?, template.clone());
    let paths: Vec<PathBuf> = names.iter().map(|name| config.images.join(name)).collect();
    let Some(found) = look_through(&paths, &cutter, &output.join("crops"), watcher)? else { return Ok(None) };
    let cutter = if cutter.is_slow() { cutter_of_kept(template) } else { cutter };
    let mut photos = vec![];
    let mut failed = BTreeMap::new();
    for (name, file) in names.into_iter().zip(found) {
        match file {
            Ok(file) => photos.push((name, file)),
            Err(reason) => drop(failed.insert(name, reason)),
        }
    }
    let features = match base {
        None => None,
        Some(base) => {
            let files: Vec<PathBuf> = photos.iter().map(|(_, file)| file.clone()).collect();
            let Some(features) = features(base, &cutter, &files, false, output, watcher)? else { return Ok(None) };
            Some(features)
        }
    };
    Ok(Some(Validation { protocol, photos, failed, cutter, features }))
}

/// The base's features of photos.
pub(super) fn features(
    base: &Base,
    cutter: &Cutter,
    files: &[PathBuf],
    with_mirror: bool,
    output: &Path,
    watcher: &Watcher<'_>,
) -> Result<Option<Features>> {
    if !goes_on(watcher, &TrainEvent::Phase { what: "computing features", total: files.len() }) {
        return Ok(None);
    }
    let each = || goes_on(watcher, &TrainEvent::Item);
    Features::compute(&base.embedder, cutter, files, with_mirror, &output.join("features"), &each)
}

fn cutter_of_kept(template: &Template) -> Cutter {
    Cutter::new(Finder::Aligned(template.clone()), template.clone())
}

/// For each photo the file to read from now on, or why there is none.
type Found = Vec<std::result::Result<PathBuf, String>>;

/// Reads each photo; where faces are searched for, their crops are kept in a folder.
fn look_through(paths: &[PathBuf], cutter: &Cutter, folder: &Path, watcher: &Watcher<'_>) -> Result<Option<Found>> {
    let what = if cutter.is_slow() { "finding faces" } else { "reading photos" };
    if !goes_on(watcher, &TrainEvent::Phase { what, total: paths.len() }) {
        return Ok(None);
    }
    let folder = folder.join(cutter.template().name.as_ref());
    let look = |path: &PathBuf| -> Result<Option<std::result::Result<PathBuf, String>>> {
        if !goes_on(watcher, &TrainEvent::Item) {
            return Ok(None);
        }
        if !cutter.is_slow() {
            return Ok(Some(Image::open(path).map(|_| path.clone()).map_err(|error| error.to_string())));
        }
        let kept = kept_path(&folder, path);
        if kept.is_file() {
            return Ok(Some(Ok(kept)));
        }
        Ok(Some(match cutter.crop(path, None) {
            Ok(crop) => {
                let parent = crate::files::folder_of(&kept);
                std::fs::create_dir_all(parent).map_err(Error::io("create the folder", parent))?;
                write_atomically(&kept, &crop.to_png()?)?;
                Ok(kept)
            }
            Err(error) => Err(error.to_string()),
        }))
    };
    let found: Vec<_> = paths.par_iter().map(look).collect::<Result<_>>()?;
    Ok(found.into_iter().collect())
}

const LEFT_OUT: &str = "left_out.csv";

/// What is not learnt from, for people to look at.
fn write_left_out(output: &Path, set: &PhotoSet) -> Result<()> {
    let path = output.join(LEFT_OUT);
    let failed = |error: csv::Error| Error::io("write", &path)(error.into());
    let mut writer = csv::Writer::from_writer(vec![]);
    writer.write_record(["what", "reason"]).map_err(failed)?;
    for left_out in &set.left_out {
        writer.write_record([&left_out.what, &left_out.reason]).map_err(failed)?;
    }
    let text = writer.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
    write_atomically(&path, &text)
}

/// The photos' own identity: a training goes on with the same ones only.
pub(super) fn digest(set: &PhotoSet) -> String {
    let mut text = String::new();
    for photo in &set.photos {
        text += &format!("{}\t{}\n", set.people[photo.label], photo.path.display());
    }
    crate::files::sha256_hex(text.as_bytes())
}
