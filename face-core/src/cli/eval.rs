//! `face eval`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::SUCCESS;
use super::identify::percent as small_percent;
use super::options::{CropOptions, PipelineOptions};
use super::output::{check_folder, check_picture_path, counted, items_bar, print_json, say};
use crate::embedders::EmbedderSpec;
use crate::error::Result;
use crate::eval::{
    IdentificationProtocol, IdentificationReport, IdentificationScores, IdentificationSettings, LfwProtocol, LfwReport,
    LfwSettings, RulePoint, evaluate_identification, evaluate_lfw, plot_cmc, plot_roc,
};
use crate::files::write_atomically;
use crate::models::ModelStore;
use crate::pipeline::FacePipeline;
use crate::stage::Threshold;

#[derive(Debug, Subcommand)]
pub(super) enum EvalCommand {
    /// Verification on Labeled Faces in the Wild
    Lfw(LfwArguments),
    /// Identification among people of whom one photo each is enrolled, with strangers, on a folder like LFW
    Identification(IdentificationArguments),
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

#[derive(Debug, Args)]
pub(super) struct IdentificationArguments {
    /// Folder with a folder of photos for each person. The first photo of each person with several is enrolled, their
    /// others are probes, and so are the photos of people with a single one, who are not enrolled
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Pass over photos that this list of pairs, pairs.txt, does not name
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Write the cumulative match characteristic as a picture
    #[arg(long, value_name = "OUT.png")]
    cmc: Option<PathBuf>,
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

/// What `face eval identification --json` prints.
#[derive(Debug, Serialize)]
struct IdentificationJson {
    /// People who are enrolled, with one template each.
    enrolled: usize,
    known_probes: usize,
    unknown_probes: usize,
    /// Share of the known probes with the right person as the best candidate, and among the first 5 and 10.
    rank_1: f64,
    rank_5: f64,
    rank_10: f64,
    /// By false-positive identification rate; `null` for a rate that so few unknown probes cannot show.
    tpir: BTreeMap<String, Option<f64>>,
    thresholds: Vec<OpenSetJson>,
    /// `null` for a recogniser without thresholds.
    rule: Option<RuleJson>,
    images: usize,
    failed_images: usize,
    images_per_second: f64,
    space: String,
}

#[derive(Debug, Serialize)]
struct OpenSetJson {
    similarity: f32,
    fpir: f64,
    tpir: f64,
}

/// The threshold that `face identify` would choose, put to the test.
#[derive(Debug, Serialize)]
struct RuleJson {
    fpir_wanted: f64,
    fpir_bound: f64,
    far: f64,
    similarity: f32,
    /// Measured here.
    fpir: f64,
    tpir: f64,
}

pub(super) fn run(command: EvalCommand) -> Result<u8> {
    match command {
        EvalCommand::Lfw(arguments) => lfw(&arguments),
        EvalCommand::Identification(arguments) => identification(&arguments),
    }
}

fn lfw(arguments: &LfwArguments) -> Result<u8> {
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
        print_report(arguments, &report, &thresholds)?;
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

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn identification(arguments: &IdentificationArguments) -> Result<u8> {
    let store = ModelStore::open_default()?;
    arguments.cmc.as_deref().map_or(Ok(()), check_picture_path)?;
    let mut params = arguments.pipeline.params()?;
    arguments.crops.apply(&mut params, &store)?;
    let listed = match &arguments.pairs {
        Some(path) => Some(LfwProtocol::open(path)?.images().into_iter().collect::<BTreeSet<_>>()),
        None => None,
    };
    let protocol = IdentificationProtocol::from_folder(&arguments.images, listed.as_ref())?;
    let pipeline = FacePipeline::open(&store, &params)?;
    let bar = items_bar(protocol.images().len(), "Embedding");
    let settings = IdentificationSettings::default();
    let report = evaluate_identification(&pipeline, &arguments.images, &protocol, &settings, &|| bar.inc(1));
    bar.finish_and_clear();
    let report = report?;
    if arguments.json {
        print_json(&identification_json(&report))?;
    } else {
        print_identification(arguments, &report)?;
    }
    if let Some(path) = &arguments.cmc {
        let title = format!("{}, {} people enrolled by one photo", report.space.model, report.enrolled);
        let ranks = report.enrolled.min(IdentificationScores::MAX_RANK);
        plot_cmc(&title, &report.scores.cmc(ranks))?.save(path)?;
    }
    Ok(SUCCESS)
}

fn identification_json(report: &IdentificationReport) -> IdentificationJson {
    let points = report.points.iter();
    IdentificationJson {
        enrolled: report.enrolled,
        known_probes: report.scores.known.len(),
        unknown_probes: report.scores.unknown.len(),
        rank_1: report.scores.rank_rate(1),
        rank_5: report.scores.rank_rate(5),
        rank_10: report.scores.rank_rate(10),
        tpir: points.clone().map(|(fpir, point)| (format!("{fpir:e}"), point.map(|p| p.tpir))).collect(),
        thresholds: points
            .filter_map(|(_, point)| *point)
            .map(|point| OpenSetJson { similarity: point.threshold, fpir: point.fpir, tpir: point.tpir })
            .collect(),
        rule: report.rule.as_ref().map(|RulePoint { wanted, threshold, bound, measured }| RuleJson {
            fpir_wanted: *wanted,
            fpir_bound: *bound,
            far: threshold.far,
            similarity: threshold.similarity,
            fpir: measured.fpir,
            tpir: measured.tpir,
        }),
        images: report.images,
        failed_images: report.failed.len(),
        images_per_second: report.images_per_second,
        space: report.space.id(),
    }
}

fn print_identification(arguments: &IdentificationArguments, report: &IdentificationReport) -> Result<()> {
    let scores = &report.scores;
    say!(
        "{} enrolled by one photo; {} probes of them, {} of strangers",
        counted(report.enrolled as u64, "person", "people"),
        scores.known.len(),
        scores.unknown.len()
    );
    say!("space: {}", report.space);
    for k in [1, 5, 10] {
        say!("rank-{k} identification rate: {}", percent(scores.rank_rate(k)));
    }
    for (fpir, point) in &report.points {
        match point {
            Some(point) => say!("TPIR at FPIR {fpir:e}: {} (threshold {:.4})", percent(point.tpir), point.threshold),
            None => say!("TPIR at FPIR {fpir:e}: not measurable with so few probes of strangers"),
        }
    }
    if let Some(RulePoint { wanted, threshold, bound, measured }) = &report.rule {
        say!(
            "the rule of `face identify` for an FPIR of {wanted:e}: threshold {:.4} at a FAR of {:e}, so that it is at \
             most {}; measured: FPIR {}, TPIR {}",
            threshold.similarity,
            threshold.far,
            small_percent(*bound),
            small_percent(measured.fpir),
            percent(measured.tpir)
        );
    }
    say!("{} images, {:.1} images per second", report.images, report.images_per_second);
    say!(
        "{} images failed{}",
        report.failed.len(),
        if report.failed.is_empty() { "" } else { "; they find nobody, and count as such in all rates above" }
    );
    for (image, reason) in &report.failed {
        say!("  {}: {reason}", image.display());
    }
    if let Some(path) = &arguments.cmc {
        say!("CMC curve: {}", path.display());
    }
    Ok(())
}
