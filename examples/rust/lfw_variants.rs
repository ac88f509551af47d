//! Measures ways of cutting and averaging faces for the default recogniser on Labeled Faces in the Wild, and prints the
//! table of `face-core/docs/accuracy.md`. Every photo is detected once; every way of cutting is embedded once; averages are formed
//! from the raw vectors.
//!
//! `cargo run --release --features cli --example lfw_variants -- IMAGES PAIRS`
#![allow(clippy::print_stdout)] // It is a program.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use face_core::aligners::{DetectorLandmarks, DlibFivePoint, DlibFivePointParams};
use face_core::embedders::{EmbedderSpec, OnnxEmbedder};
use face_core::eval::{LfwProtocol, PairScores};
use face_core::models::{Catalogue, Role};
use face_core::normalizers::SimilarityNormalizer;
use face_core::templates::Template;
use face_core::{
    Aligner, CropSpec, Detection, Embedder, Error, FaceCrop, FaceDetector, Image, Metric, ModelSource, ModelStore,
    Normalizer, Result, open_detector, templates,
};
use rayon::prelude::*;

/// A template, a zoom, and whether the crop is mirrored.
type Crop = (&'static str, f32, bool);

const POINTS: &str = "dlib150";
const CORNERS: &str = "dlib150-corners";

/// What is measured: a name, and the crops that are averaged.
fn variants() -> Vec<(String, Vec<Crop>)> {
    let sets: [(&'static str, &[f32]); 15] = [
        (POINTS, &[0.87]),
        (POINTS, &[0.93]),
        (POINTS, &[0.96]),
        (POINTS, &[0.98]),
        (POINTS, &[1.0]),
        (POINTS, &[1.02]),
        (POINTS, &[1.04]),
        (POINTS, &[1.07]),
        (POINTS, &[1.0, 0.93]),
        (POINTS, &[1.0, 1.07]),
        (POINTS, &[0.93, 1.0, 1.07]),
        (POINTS, &[0.87, 0.93, 1.0, 1.07]),
        (CORNERS, &[0.93]),
        (CORNERS, &[1.0]),
        (CORNERS, &[1.0, 0.93]),
    ];
    let mut variants = vec![];
    for (template, zooms) in sets {
        for mirror in [false, true] {
            let crops = zooms.iter().flat_map(|zoom| {
                [false, true].into_iter().filter(move |m| mirror || !m).map(move |m| (template, *zoom, m))
            });
            let zooms = zooms.iter().map(|zoom| format!("{zoom:.2}")).collect::<Vec<_>>().join(", ");
            let name = format!("{template} | {zooms} | {}", if mirror { "yes" } else { "no" });
            variants.push((name, crops.collect()));
        }
    }
    variants
}

/// The raw vectors of one photo.
type Vectors = HashMap<(&'static str, u32, bool), Vec<f32>>;

struct Stages {
    detector: Box<dyn FaceDetector>,
    corners: DlibFivePoint,
    embedders: HashMap<&'static str, OnnxEmbedder>,
}

impl Stages {
    fn open() -> Result<Self> {
        let store = ModelStore::open_default()?;
        let entry = Catalogue::builtin().default_for(Role::Embedder)?;
        let content = store.read(&entry.name)?;
        let embedder = |template: &Template| {
            // Euclidean: the vectors stay as the network gives them.
            let crops = CropSpec::single(template.clone());
            let spec = EmbedderSpec { crops, mirror: false, metric: Metric::Euclidean, ..entry.embedder_spec(None)? };
            OnnxEmbedder::from_bytes(&content, spec)
        };
        Ok(Self {
            detector: open_detector(&store, &ModelSource::Default, &Default::default(), &Default::default())?,
            corners: DlibFivePoint::from_bytes(&store.read("dlib-5-point")?, DlibFivePointParams::default())?,
            embedders: HashMap::from([
                (POINTS, embedder(&templates::DLIB_150)?),
                (CORNERS, embedder(&templates::DLIB_150_CORNERS)?),
            ]),
        })
    }

    fn vectors(&self, path: &Path, crops: &[Crop]) -> Result<Vectors> {
        let photo = Image::open(path)?;
        let view = photo.view();
        let (x, y) = ((photo.width() as f32 - 1.0) / 2.0, (photo.height() as f32 - 1.0) / 2.0);
        let off_center = |d: &Detection| (d.bounding_box.center().x - x).hypot(d.bounding_box.center().y - y);
        let found = self.detector.detect(&view)?;
        let central = found.iter().min_by(|a, b| off_center(a).total_cmp(&off_center(b)));
        let face = central.ok_or_else(|| Error::NoFace { image: path.display().to_string() })?;
        let mut vectors = Vectors::new();
        for (name, zoom, mirrored) in crops {
            let aligner: &dyn Aligner = if *name == CORNERS { &self.corners } else { &DetectorLandmarks };
            let template = Template::by_name(name)?;
            let spec = CropSpec { template: template.clone(), zooms: vec![*zoom] };
            let crop = SimilarityNormalizer::new(spec)?.normalize(&view, &aligner.align(&view, face)?)?;
            let view = if *mirrored { mirror(&crop.views[0])? } else { crop.views[0].clone() };
            let embedding = self.embedders[name].embed(&FaceCrop::from_aligned(view, template.clone())?)?;
            vectors.insert((*name, zoom.to_bits(), *mirrored), embedding.into_vector());
        }
        Ok(vectors)
    }
}

fn mirror(image: &Image) -> Result<Image> {
    let row = image.width() as usize * 3;
    let mirrored = image.as_raw().chunks_exact(row).flat_map(|row| row.rchunks_exact(3)).flatten().copied();
    Image::from_raw(image.width(), image.height(), mirrored.collect())
}

fn mean(vectors: &Vectors, crops: &[Crop]) -> Vec<f64> {
    let mut sum = vec![0.0; 128];
    for (name, zoom, mirrored) in crops {
        for (total, value) in sum.iter_mut().zip(&vectors[&(*name, zoom.to_bits(), *mirrored)]) {
            *total += f64::from(*value) / crops.len() as f64;
        }
    }
    sum
}

fn similarity(a: &[f64], b: &[f64], metric: Metric) -> f32 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    match metric {
        Metric::Cosine => (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32,
        _ => -(dot(a, a) + dot(b, b) - 2.0 * dot(a, b)).max(0.0).sqrt() as f32,
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), Some(pairs)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: lfw_variants IMAGES PAIRS");
        std::process::exit(2);
    };
    let protocol = LfwProtocol::open(&pairs)?;
    let stages = Stages::open()?;
    let variants = variants();
    let mut crops: Vec<Crop> = variants.iter().flat_map(|(_, crops)| crops.clone()).collect();
    crops.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    crops.dedup();

    let images = protocol.images();
    let done = AtomicUsize::new(0);
    let vectors: Vec<Vectors> = images
        .par_iter()
        .map(|image| {
            let vectors = stages.vectors(&folder.join(image), &crops)?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(500) {
                eprintln!("{done} of {}", images.len());
            }
            Ok(vectors)
        })
        .collect::<Result<_>>()?;

    // In each cell: accuracy over the folds, and the true-accept rates at FAR 1e-2 / 1e-3, in percent.
    println!("| template | zooms | mirror | Euclidean | cosine |");
    println!("|---|---|---|---|---|");
    for (name, crops) in &variants {
        let means: HashMap<&Path, Vec<f64>> =
            images.iter().zip(&vectors).map(|(image, vectors)| (image.as_path(), mean(vectors, crops))).collect();
        let cell = |metric| {
            let mut folds = vec![];
            for fold in &protocol.folds {
                let mut scores = PairScores::default();
                for pair in fold {
                    let score = similarity(&means[pair.first.as_path()], &means[pair.second.as_path()], metric);
                    if pair.same { scores.same.push(score) } else { scores.different.push(score) }
                }
                folds.push(scores);
            }
            let accuracy = PairScores::cross_validate(&folds)?;
            let all = PairScores::joined(&folds);
            let [mean, std, loose, strict] =
                [accuracy.mean, accuracy.std, all.at_far(1e-2)?.tar, all.at_far(1e-3)?.tar].map(|share| 100.0 * share);
            Ok::<_, Error>(format!("{mean:.2} ± {std:.2}; {loose:.1} / {strict:.1}"))
        };
        println!("| {name} | {} | {} |", cell(Metric::Euclidean)?, cell(Metric::Cosine)?);
    }
    Ok(())
}
