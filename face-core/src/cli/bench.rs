//! `face bench`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::options::PipelineOptions;
use super::output::{items_bar, print_json, say};
use super::{SUCCESS, photos};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::models::ModelStore;
use crate::pipeline::{FacePipeline, StreamParams};

#[derive(Debug, Args)]
pub(super) struct BenchArguments {
    /// Folder of photos, with those below it [default: the sample photos]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// The photos are gone through again until so much time has passed.
const MIN_TIME: Duration = Duration::from_secs(5);
/// Each stage is timed so often on each photo; the median counts.
const ROUNDS: usize = 5;
/// Photos on which stages are timed alone; throughput is measured on all.
const TIMED_PHOTOS: usize = 20;

#[derive(Debug, Serialize)]
struct BenchJson {
    /// From files to embeddings, on all threads.
    images_per_second: f64,
    faces_per_second: f64,
    stages: StagesJson,
    /// `null` where the system does not tell.
    peak_rss_mb: Option<f64>,
    /// From nothing to the first embedding: the models are read and prepared.
    first_result_ms: f64,
    threads: usize,
    images: usize,
    faces: usize,
    /// Photos that could not be read.
    failed_images: usize,
    space: String,
}

/// Milliseconds on one thread: decoding and detection for a photo, the others for a face.
#[derive(Debug, Default, Serialize)]
struct StagesJson {
    decode: f64,
    detect: f64,
    align: f64,
    normalize: f64,
    embed: f64,
}

pub(super) fn run(arguments: &BenchArguments) -> Result<u8> {
    let paths = paths(arguments)?;
    let start = Instant::now();
    let pipeline = Arc::new(arguments.pipeline.open()?);
    let first = paths.iter().find_map(|path| {
        let photo = Image::open(path).ok()?;
        pipeline.analyze_largest(&photo.view(), "a photo").ok()
    });
    let first_result_ms = milliseconds(start.elapsed());
    if first.is_none() {
        return Err(Error::NoFace { image: format!("any of the {} photos", paths.len()) });
    }
    let stages = time_stages(&pipeline, &paths[..paths.len().min(TIMED_PHOTOS)])?;
    let (rounds, faces, failed_images, elapsed) = throughput(&pipeline, &paths)?;
    let seconds = elapsed.as_secs_f64();
    let report = BenchJson {
        images_per_second: (rounds * (paths.len() - failed_images)) as f64 / seconds,
        faces_per_second: (rounds * faces) as f64 / seconds,
        stages,
        peak_rss_mb: peak_rss_mb(),
        first_result_ms,
        threads: rayon::current_num_threads(),
        images: paths.len(),
        faces,
        failed_images,
        space: pipeline.embedder.space().id(),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(SUCCESS)
}

/// The photos of the folder, or the samples.
fn paths(arguments: &BenchArguments) -> Result<Vec<PathBuf>> {
    let Some(folder) = &arguments.images else {
        let store = ModelStore::open_default()?;
        let samples = store.catalogue().samples();
        return samples.map(|sample| store.check(&sample.name).map(|()| store.path(sample))).collect();
    };
    let (paths, errors) = photos::below(folder, &[])?;
    errors.iter().for_each(|error| eprintln!("error: {error}"));
    if paths.is_empty() {
        return Err(Error::InvalidParameter {
            parameter: "--images",
            value: folder.display().to_string(),
            expected: "a folder with photos in it".into(),
        });
    }
    Ok(paths)
}

/// Each stage alone, on one thread.
fn time_stages(pipeline: &FacePipeline, paths: &[PathBuf]) -> Result<StagesJson> {
    let bar = items_bar(paths.len(), "Timing the stages");
    let mut times: [Vec<f64>; 5] = Default::default();
    for path in paths {
        bar.inc(1);
        let Ok(photo) = Image::open(path) else { continue };
        let view = photo.view();
        times[0].push(median(|| Image::open(path).map(drop))?);
        times[1].push(median(|| pipeline.detector.detect(&view).map(drop))?);
        for detection in pipeline.detector.detect(&view)? {
            let Ok(landmarks) = pipeline.aligner.align(&view, &detection) else { continue };
            let Ok(crop) = pipeline.normalizer.normalize(&view, &landmarks) else { continue };
            times[2].push(median(|| pipeline.aligner.align(&view, &detection).map(drop))?);
            times[3].push(median(|| pipeline.normalizer.normalize(&view, &landmarks).map(drop))?);
            times[4].push(median(|| pipeline.embedder.embed(&crop).map(drop))?);
        }
    }
    bar.finish_and_clear();
    let mean = |times: &Vec<f64>| times.iter().sum::<f64>() / times.len().max(1) as f64;
    let [decode, detect, align, normalize, embed] = times.each_ref().map(mean);
    Ok(StagesJson { decode, detect, align, normalize, embed })
}

/// The median time of several runs in milliseconds. The first run, in which plans are built, does not count.
fn median(work: impl Fn() -> Result<()>) -> Result<f64> {
    work()?;
    let mut times = [0.0; ROUNDS];
    for time in &mut times {
        let start = Instant::now();
        work()?;
        *time = milliseconds(start.elapsed());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}

/// All photos over and over, on all threads. Returns the number of rounds, and of one round the faces and the failures.
fn throughput(pipeline: &Arc<FacePipeline>, paths: &[PathBuf]) -> Result<(usize, usize, usize, Duration)> {
    let round = || {
        let (mut faces, mut failed) = (0, 0);
        for analysis in pipeline.stream(paths.to_vec(), &StreamParams::default())? {
            match analysis {
                Ok(analysis) => faces += analysis.faces.len(),
                Err(error @ Error::Inference { .. }) => return Err(error),
                Err(_) => failed += 1,
            }
        }
        Ok((faces, failed))
    };
    // Plans for the sizes of the photos are built here.
    round()?;
    let start = Instant::now();
    for rounds in 1.. {
        let (faces, failed) = round()?;
        if start.elapsed() >= MIN_TIME {
            return Ok((rounds, faces, failed, start.elapsed()));
        }
    }
    unreachable!("the loop ends when the time is over")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The most memory that this process has had.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0 / 1e6)
}

fn print(report: &BenchJson) -> Result<()> {
    let BenchJson { images, faces, threads, failed_images, stages, .. } = report;
    say!("{images} photos, {faces} faces, {threads} threads");
    if *failed_images > 0 {
        say!("{failed_images} photos could not be read");
    }
    say!("  {:>8.1} photos per second, from file to embedding", report.images_per_second);
    say!("  {:>8.1} faces per second", report.faces_per_second);
    say!("  {:>8.0} ms to the first embedding, from nothing", report.first_result_ms);
    if let Some(peak) = report.peak_rss_mb {
        say!("  {peak:>8.0} MB of memory at most");
    }
    let StagesJson { decode, detect, align, normalize, embed } = stages;
    say!("on one thread, in milliseconds");
    for (name, time, what) in [
        ("decode", decode, "photo"),
        ("detect", detect, "photo"),
        ("align", align, "face"),
        ("normalize", normalize, "face"),
        ("embed", embed, "face"),
    ] {
        say!("  {time:>8.2} {name}, a {what}");
    }
    Ok(())
}
