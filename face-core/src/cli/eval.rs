//! `face eval`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::SUCCESS;
use super::options::{CropOptions, PipelineOptions};
use super::output::{check_folder, check_picture_path, items_bar, print_json, say};
use crate::embedders::EmbedderSpec;
use crate::error::Result;
use crate::eval::{LfwProtocol, LfwReport, LfwSettings, evaluate_lfw, plot_roc};
use crate::files::write_atomically;
use crate::models::ModelStore;
use crate::pipeline::FacePipeline;
use crate::stage::Threshold;

#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    /// Verification on Labeled Faces in the Wild
    Lfw(LfwArguments),
}

#[derive(Debug, Args)]
pub(super) struct LfwArguments {
    /// Folder with NAME/NAME_0001.jpg and so on
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The protocol's list of pairs, pairs.txt
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// Name of the set, as it is to be quoted with the thresholds
    #[arg(long, value_name = "NAME", default_value = "LFW deep-funneled")]
    set: String,
    /// Write the ROC curve as a picture
    #[arg(long, value_name = "OUT.png")]
    roc: Option<PathBuf>,
    /// Write the settings with the measured thresholds, for --spec
    #[arg(long, value_name = "OUT.toml")]
    spec_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    crops: CropOptions,
    #[command(flatten)]
    pipeline: PipelineOptions,
}

/// What `face eval lfw --json` prints.
#[derive(Debug, Serialize)]
struct LfwJson {
    pairs: usize,
    accuracy: f64,
    accuracy_std: f64,
    /// `null` for a rate that so few pairs cannot show.
    tar: BTreeMap<String, Option<f64>>,
    images: usize,
    failed_images: usize,
    images_per_second: f64,
    space: String,
    thresholds: Vec<ThresholdJson>,
}

/// A threshold, and what it costs in misses.
#[derive(Debug, Serialize)]
struct ThresholdJson {
    similarity: f32,
    far: f64,
    /// Share of the protocol's pairs of the same person that reach it.
    tar: f64,
    measured_on: String,
}

pub(super) fn run(command: EvalCommand) -> Result<u8> {
    let EvalCommand::Lfw(arguments) = command;
    let store = ModelStore::open_default()?;
    arguments.roc.as_deref().map_or(Ok(()), check_picture_path)?;
    arguments.spec_out.as_deref().map_or(Ok(()), check_folder)?;
    let mut params = arguments.pipeline.params()?;
    arguments.crops.apply(&mut params, &store)?;
    let pipeline = FacePipeline::open(&store, &params)?;
    let protocol = LfwProtocol::open(&arguments.pairs)?;
    let bar = items_bar(protocol.images().len(), "Embedding");
    let report = evaluate_lfw(&pipeline, &arguments.images, &protocol, &LfwSettings::default(), &|| bar.inc(1));
    bar.finish_and_clear();
    let report = report?;
    let detector = arguments.pipeline.detector_name(&store)?;
    let thresholds = report.thresholds(&format!("{} with {detector}", arguments.set));
    if arguments.json {
        let tar = report.points.iter().map(|(far, point)| (format!("{far:e}"), point.map(|p| p.tar))).collect();
        print_json(&LfwJson {
            pairs: report.pairs,
            accuracy: report.accuracy.mean,
            accuracy_std: report.accuracy.std,
            tar,
            images: report.images,
            failed_images: report.failed.len(),
            images_per_second: report.images_per_second,
            space: report.space.id(),
            thresholds: thresholds
                .iter()
                .map(|Threshold { similarity, far, measured_on }| ThresholdJson {
                    similarity: *similarity,
                    far: *far,
                    tar: report.scores.at_threshold(*similarity).tar,
                    measured_on: measured_on.clone(),
                })
                .collect(),
        })?;
    } else {
        print_report(&arguments, &report, &thresholds)?;
    }
    // The numbers are out: whatever happens to the files, they are not lost.
    if let Some(path) = &arguments.roc {
        plot_roc(&format!("{}, listed pairs of {}", report.space.model, arguments.set), &report.scores)?.save(path)?;
    }
    if let Some(path) = &arguments.spec_out {
        let spec = EmbedderSpec { thresholds, ..params.resolved_spec(&store)? };
        write_atomically(path, spec.to_toml().as_bytes())?;
    }
    Ok(SUCCESS)
}

fn print_report(arguments: &LfwArguments, report: &LfwReport, thresholds: &[Threshold]) -> Result<()> {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    say!("{}, {} pairs in {} folds", arguments.set, report.pairs, report.accuracy.folds.len());
    say!("space: {}", report.space);
    say!("accuracy: {} ± {}", percent(report.accuracy.mean), percent(report.accuracy.std));
    for (far, point) in &report.points {
        match point {
            Some(point) => say!("TAR at FAR {far:e}: {} (threshold {:.4})", percent(point.tar), point.threshold),
            None => say!("TAR at FAR {far:e}: not measurable with so few pairs"),
        }
    }
    say!("over all {} pairs of photos of different people:", report.cross_pairs);
    for (far, point) in &report.cross_points {
        say!("  TAR at FAR {far:e}: {} (threshold {:.4})", percent(point.tar), point.threshold);
    }
    say!("{} images, {:.1} images per second", report.images, report.images_per_second);
    say!(
        "{} images failed{}",
        report.failed.len(),
        match report.failed.len() {
            0 => "",
            _ => "; they match nothing, and count as such in all rates above",
        }
    );
    for (image, reason) in &report.failed {
        say!("  {}: {reason}", image.display());
    }
    if let Some(path) = &arguments.roc {
        say!("ROC curve: {}", path.display());
    }
    say!("\nfor the catalogue or a --spec file:");
    for Threshold { similarity, far, measured_on } in thresholds {
        say!("[[thresholds]]\nsimilarity = {similarity}\nfar = {far:e}\nmeasured_on = {measured_on:?}\n");
    }
    Ok(())
}
