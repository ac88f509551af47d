//! The side of face-core in `tests/bench/compare`: does what each line of its input asks for, and answers with a line of JSON.
//!
//! `{"work": "network", "model": FILE, "shape": [1, 3, 112, 112], "times": 5}`, `{"work": "photo", "photo": FILE}`,
//! `{"work": "folder", "photos": [FILE, ...]}`, `{"work": "stages", "photos": [FILE, ...]}`, `{"work": "detect", "detector": NAME, "photo": FILE, "times": 5}`,
//! `{"work": "memory"}`. The number of threads is the argument.
#![allow(clippy::print_stdout)] // It is a program.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use face_core::detectors::DetectionParams;
use face_core::inference::{Engine, Model, TractModel, set_threads};
use face_core::{FaceDetector, FacePipeline, Image, ModelSource, ModelStore, StreamParams, open_detector};
use ndarray::Array4;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
enum Work {
    /// A network alone, on values of a fixed pattern.
    Network { model: PathBuf, shape: [usize; 4], times: usize },
    /// One photo, from file to embeddings.
    Photo { photo: PathBuf },
    /// Many photos, from files to embeddings.
    Folder { photos: Vec<PathBuf> },
    /// Many photos, stage by stage and one after the other.
    Stages { photos: Vec<PathBuf> },
    /// A detector alone, on a decoded photo.
    Detect { detector: PathBuf, photo: PathBuf, times: usize },
    /// The most memory that this process has had.
    Memory,
}

fn main() -> Result<(), Box<dyn Error>> {
    let threads = std::env::args().nth(1).ok_or("usage: bench_worker THREADS")?.parse()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    set_threads(threads)?;
    let mut worker = Worker::default();
    for line in std::io::stdin().lock().lines() {
        println!("{}", worker.answer(serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

#[derive(Default)]
struct Worker {
    networks: HashMap<PathBuf, TractModel>,
    detectors: HashMap<PathBuf, Box<dyn FaceDetector>>,
    pipeline: Option<Arc<FacePipeline>>,
}

impl Worker {
    fn answer(&mut self, work: Work) -> Result<Value, Box<dyn Error>> {
        Ok(match work {
            Work::Network { model, shape, times } => {
                if !self.networks.contains_key(&model) {
                    self.networks.insert(model.clone(), TractModel::open(&model)?);
                }
                let network = &self.networks[&model];
                let mut count = 0.0_f32;
                let input = Array4::from_shape_simple_fn(shape, || {
                    count += 1.0;
                    (count * 0.37).sin()
                });
                // Made before: a copy is no part of the network.
                let mut inputs = vec![input; times.max(1) + 1];
                let mut run = || network.run(inputs.pop().unwrap_or_default());
                let outputs = run()?;
                let milliseconds = timed(times, run)?;
                let outputs: Vec<Vec<f32>> =
                    outputs.iter().map(|output| output.iter().take(1000).copied().collect()).collect();
                json!({ "milliseconds": milliseconds, "outputs": outputs })
            }
            Work::Photo { photo } => {
                let start = Instant::now();
                let photo = Image::open(&photo)?;
                let analysis = self.pipeline()?.analyze(&photo.view())?;
                let milliseconds = start.elapsed().as_secs_f64() * 1e3;
                let faces: Vec<Value> = analysis
                    .faces
                    .iter()
                    .map(|face| {
                        let bounds = face.detection.bounding_box;
                        json!({
                            "box": [bounds.x, bounds.y, bounds.width, bounds.height],
                            "embedding": face.embedding.vector(),
                        })
                    })
                    .collect();
                json!({ "milliseconds": milliseconds, "faces": faces })
            }
            Work::Folder { photos } => {
                let pipeline = self.pipeline()?;
                let start = Instant::now();
                let mut faces = 0;
                for analysis in pipeline.stream(photos, &StreamParams::default())? {
                    faces += analysis?.faces.len();
                }
                json!({ "seconds": start.elapsed().as_secs_f64(), "faces": faces })
            }
            Work::Stages { photos } => json!({ "stages": stages(&*self.pipeline()?, &photos)? }),
            Work::Detect { detector, photo, times } => {
                if !self.detectors.contains_key(&detector) {
                    let params = DetectionParams { max_side: 640, small_side: None, ..Default::default() };
                    let source = ModelSource::File(detector.clone());
                    let opened = open_detector(&ModelStore::open_default()?, &source, &params, &Engine::default())?;
                    self.detectors.insert(detector.clone(), opened);
                }
                let photo = Image::open(&photo)?;
                let run = || self.detectors[&detector].detect(&photo.view());
                let faces = run()?.len();
                json!({ "milliseconds": timed(times, run)?, "faces": faces })
            }
            Work::Memory => json!({ "peak_rss_mb": peak_rss_mb() }),
        })
    }

    fn pipeline(&mut self) -> face_core::Result<Arc<FacePipeline>> {
        let pipeline = self.pipeline.take().map_or_else(|| FacePipeline::open_default().map(Arc::new), Ok)?;
        Ok(Arc::clone(self.pipeline.insert(pipeline)))
    }
}

/// Milliseconds of each stage, means over the photos or the faces.
fn stages(pipeline: &FacePipeline, photos: &[PathBuf]) -> face_core::Result<Value> {
    let mut taken = [(); 5].map(|()| Vec::new());
    for path in photos {
        let photo = noted(&mut taken[0], || Image::open(path))?;
        let view = photo.view();
        for detection in noted(&mut taken[1], || pipeline.detector.detect(&view))? {
            let landmarks = noted(&mut taken[2], || pipeline.aligner.align(&view, &detection))?;
            let crop = noted(&mut taken[3], || pipeline.normalizer.normalize(&view, &landmarks))?;
            noted(&mut taken[4], || pipeline.embedder.embed(&crop))?;
        }
    }
    let [decode, detect, align, normalize, embed] =
        taken.map(|times: Vec<f64>| times.iter().sum::<f64>() / times.len().max(1) as f64);
    Ok(json!({ "decode": decode, "detect": detect, "align": align, "normalize": normalize, "embed": embed }))
}

fn noted<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed().as_secs_f64() * 1e3);
    result
}

/// The median over so many runs.
fn timed<T, E>(times: usize, mut work: impl FnMut() -> Result<T, E>) -> Result<f64, E> {
    let mut milliseconds = Vec::with_capacity(times);
    for _ in 0..times.max(1) {
        let start = Instant::now();
        work()?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    Ok(milliseconds[milliseconds.len() / 2])
}

fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}
