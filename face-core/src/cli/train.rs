//! `face train`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::output::{counted, items_bar, json_errors, print_json, say};
use super::{DIFFERENT, SUCCESS};
use crate::error::{Error, Result};
use crate::models::ModelStore;
use crate::train::run::{
    LeftOut, StepMetrics, TrainConfig, TrainEvent, TrainOutcome, TrainParams, ValidationMetrics, train,
};

#[derive(Debug, Args)]
pub(super) struct TrainArguments {
    /// The settings: photos, network, loss, schedule, output
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Go on from the last checkpoint in the output folder; with the same bits as if there had been no interruption
    #[arg(long)]
    resume: bool,
    /// Another folder for the output than the settings say
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Another seed than the settings say
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `face train --json` prints.
#[derive(Debug, Serialize)]
struct TrainJson<'a> {
    /// `null` for a training that was stopped.
    network: Option<String>,
    spec: Option<String>,
    /// Between the network in training and the file on the library's engine.
    difference: Option<f32>,
    step: usize,
    steps: usize,
    metrics: Option<StepMetrics>,
    validation: Option<ValidationMetrics>,
    left_out: &'a [LeftOut],
}

/// Whether the process was asked to stop.
static STOP: AtomicBool = AtomicBool::new(false);

pub(super) fn run(arguments: &TrainArguments) -> Result<u8> {
    json_errors(arguments.json, work(arguments))
}

fn work(arguments: &TrainArguments) -> Result<u8> {
    let mut config = TrainConfig::open(&arguments.config)?;
    if let Some(output) = &arguments.output {
        config.output.clone_from(output);
    }
    config.seed = arguments.seed.unwrap_or(config.seed);
    let params = TrainParams { resume: arguments.resume, store: ModelStore::open_default()?, devices: vec![] };
    stop_at_a_checkpoint()?;
    let display = Display::default();
    let outcome = train(&config, &params, &|event| display.show(event));
    display.clear();
    let outcome = outcome?;
    if arguments.json {
        print_json(&TrainJson {
            network: outcome.network.as_ref().map(|network| network.onnx.display().to_string()),
            spec: outcome.network.as_ref().map(|network| network.spec.display().to_string()),
            difference: outcome.network.as_ref().map(|network| network.difference),
            step: outcome.step,
            steps: outcome.steps,
            metrics: outcome.metrics,
            validation: outcome.validation,
            left_out: &outcome.left_out,
        })?;
    } else {
        report(arguments, &config, &outcome)?;
    }
    Ok(if outcome.network.is_some() { SUCCESS } else { DIFFERENT })
}

fn report(arguments: &TrainArguments, config: &TrainConfig, outcome: &TrainOutcome) -> Result<()> {
    if let Some(row) = &outcome.validation {
        say!("pairs told right: {:.2} % ± {:.2} %", 100.0 * row.accuracy, 100.0 * row.accuracy_std);
        for (far, tar) in [("1e-2", row.tar_at_far_1e_2), ("1e-3", row.tar_at_far_1e_3)] {
            match tar {
                Some(tar) => say!("TAR at FAR {far}: {:.2} %", 100.0 * tar),
                None => say!("TAR at FAR {far}: not measurable with so few pairs"),
            }
        }
    }
    if !outcome.left_out.is_empty() {
        let count = counted(outcome.left_out.len() as u64, "photo or person was", "photos and people were");
        say!("{count} left out: {}", config.output.join("left_out.csv").display());
    }
    match &outcome.network {
        Some(network) => {
            let (onnx, spec) = (network.onnx.display(), network.spec.display());
            say!("network: {onnx}\nsettings: {spec}");
            say!("use it: face verify A.jpg B.jpg --embedder {onnx} --spec {spec}");
            if outcome.validation.is_none() {
                say!(
                    "it has no thresholds yet: face eval lfw --images DIR --pairs FILE --embedder {onnx} --spec {spec} --spec-out {spec}"
                );
            }
        }
        None => say!(
            "stopped after {} of {} steps; go on with: face train {} --resume",
            outcome.step,
            outcome.steps,
            arguments.config.display()
        ),
    }
    Ok(())
}

/// Ctrl-C stops at a checkpoint; a second one at once.
fn stop_at_a_checkpoint() -> Result<()> {
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping at a checkpoint; press Ctrl-C again to stop at once");
    };
    match ctrlc::set_handler(handler) {
        // The command runs for a second time in one process, in Python say: the handler is there.
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(()),
        Err(error) => Err(Error::io("listen to Ctrl-C in", "this process")(std::io::Error::other(error))),
    }
}

/// A bar for the phase that is going on, and lines for what was found.
#[derive(Default)]
struct Display {
    bar: Mutex<Option<ProgressBar>>,
}

impl Display {
    fn show(&self, event: &TrainEvent<'_>) -> ControlFlow<()> {
        let with_bar = |work: &dyn Fn(&ProgressBar)| {
            if let Ok(bar) = self.bar.lock()
                && let Some(bar) = bar.as_ref()
            {
                work(bar);
            }
        };
        match event {
            TrainEvent::Phase { what, total } => {
                let mut words = (*what).to_owned();
                words[..1].make_ascii_uppercase();
                self.replace(items_bar(*total, &words));
            }
            TrainEvent::Item => with_bar(&|bar| bar.inc(1)),
            TrainEvent::Begin { people, photos, left_out, parameters, step, steps } => {
                let bar = ProgressBar::new(*steps as u64);
                bar.set_style(
                    ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {prefix}")
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
                bar.set_position(*step as u64);
                self.replace(bar);
                self.line(&format!(
                    "{people} people, {photos} photos ({} left out); a network of {parameters} parameters; {steps} steps{}",
                    left_out.len(),
                    if *step > 0 { format!(", {step} of them done") } else { String::new() }
                ));
            }
            TrainEvent::Step(step) => with_bar(&|bar| {
                let accuracy = step.accuracy.map_or(String::new(), |share| format!(", {:.1} % right", 100.0 * share));
                bar.set_message(format!("epoch {:.2}, loss {:.3}{accuracy}", step.epoch, step.loss));
                bar.set_prefix(format!(
                    "{:.0} faces/s, {} left",
                    step.faces_per_second,
                    indicatif::HumanDuration(std::time::Duration::from_secs_f64(step.seconds_left.clamp(0.0, 1e9)))
                ));
                bar.set_position(step.step as u64);
            }),
            TrainEvent::Validation(row) => self.line(&format!(
                "epoch {:.0}: {:.2} % of the pairs right, TAR at FAR 1e-2 {}",
                row.epoch,
                100.0 * row.accuracy,
                row.tar_at_far_1e_2.map_or("unknown".into(), |tar| format!("{:.2} %", 100.0 * tar))
            )),
            TrainEvent::Metrics(_) | TrainEvent::Checkpoint(_) => {}
        }
        if STOP.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn replace(&self, new: ProgressBar) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(old) = bar.replace(new)
        {
            old.finish_and_clear();
        }
    }

    /// Above the bar; to the standard error, where there is a terminal or not.
    fn line(&self, text: &str) {
        if let Ok(bar) = self.bar.lock() {
            match bar.as_ref() {
                Some(bar) => bar.suspend(|| eprintln!("{text}")),
                None => eprintln!("{text}"),
            }
        }
    }

    fn clear(&self) {
        if let Ok(mut bar) = self.bar.lock()
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
        }
    }
}
