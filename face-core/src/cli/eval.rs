//! `face eval`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::SUCCESS;
use super::options::{CropOptions, PipelineOptions};
use super::output::{items_bar, print_json};
use crate::error::Result;
use crate::eval::{LfwProtocol, LfwReport, LfwSettings, evaluate_lfw, plot_roc};
use crate::matching::Threshold;
use crate::models::ModelStore;
use crate::pipeline::FacePipeline;

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
    thresholds: Vec<Threshold>,
}

pub(super) fn run(command: EvalCommand) -> Result<u8> {
    let EvalCommand::Lfw(arguments) = command;
    let store = ModelStore::open_default()?;
    let mut params = arguments.pipeline.params()?;
    arguments.crops.apply(&mut params, &store)?;
    let pipeline = FacePipeline::open(&store, &params)?;
    let protocol = LfwProtocol::open(&arguments.pairs)?;
    let bar = items_bar(protocol.images().len(), "Embedding");
    let report = evaluate_lfw(&pipeline, &arguments.images, &protocol, &LfwSettings::default(), &|| bar.inc(1));
    bar.finish_and_clear();
    let report = report?;
    if let Some(path) = &arguments.roc {
        plot_roc(&format!("{}, {}", report.space.model, arguments.set), &report.scores)?.save(path)?;
    }
    let thresholds = report.thresholds(&arguments.set);
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
            thresholds,
        })?;
    } else {
        print_report(&arguments, &report, &thresholds);
    }
    Ok(SUCCESS)
}

fn print_report(arguments: &LfwArguments, report: &LfwReport, thresholds: &[Threshold]) {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    println!("{}, {} pairs in {} folds", arguments.set, report.pairs, report.accuracy.folds.len());
    println!("space: {}", report.space);
    println!("accuracy: {} ± {}", percent(report.accuracy.mean), percent(report.accuracy.std));
    for (far, point) in &report.points {
        match point {
            Some(point) => println!("TAR at FAR {far:e}: {} (threshold {:.4})", percent(point.tar), point.threshold),
            None => println!("TAR at FAR {far:e}: not measurable with so few pairs"),
        }
    }
    println!("over all {} pairs of photos of different people:", report.cross_pairs);
    for (far, point) in &report.cross_points {
        println!("  TAR at FAR {far:e}: {} (threshold {:.4})", percent(point.tar), point.threshold);
    }
    println!("{} images, {:.1} images per second", report.images, report.images_per_second);
    println!("{} images without a usable face", report.failed.len());
    for (image, reason) in &report.failed {
        println!("  {}: {reason}", image.display());
    }
    if let Some(path) = &arguments.roc {
        println!("ROC curve: {}", path.display());
    }
    println!("\nfor the catalogue or a --spec file:");
    for Threshold { similarity, far, measured_on } in thresholds {
        println!("[[thresholds]]\nsimilarity = {similarity}\nfar = {far:e}\nmeasured_on = {measured_on:?}\n");
    }
}
