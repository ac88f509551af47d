//! Trainings.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use face_core::models::ModelStore;
use face_core::train::run::{StepProgress, TrainConfig, TrainEvent, TrainParams, train as train_network};
use pyo3::prelude::*;
use serde_json::{Value, json};

use crate::errors::Outcome;
use crate::pool::{current, interruptible};

/// How far a training is.
#[derive(Default)]
struct Latest {
    phase: Option<(&'static str, usize)>,
    items: usize,
    step: Option<StepProgress>,
    /// Lines that were not told yet.
    news: Vec<Value>,
}

impl Latest {
    fn note(&mut self, event: &TrainEvent<'_>) {
        match event {
            TrainEvent::Phase { what, total } => {
                (self.phase, self.items) = (Some((*what, *total)), 0);
            }
            TrainEvent::Item => self.items += 1,
            TrainEvent::Begin { people, photos, parameters, step, steps, .. } => {
                self.phase = None;
                self.news.push(json!({
                    "event": "begin", "people": people, "photos": photos, "parameters": parameters, "step": step, "steps": steps,
                }));
            }
            TrainEvent::Step(step) => self.step = Some(*step),
            TrainEvent::Validation(row) => self.news.push(json!({ "event": "validation", "metrics": row })),
            _ => {}
        }
    }

    /// What is new, as a list of records.
    fn take(&mut self) -> Vec<Value> {
        let mut news = std::mem::take(&mut self.news);
        if let Some((what, total)) = self.phase {
            news.insert(0, json!({ "event": "phase", "what": what, "total": total, "done": self.items }));
        }
        if let Some(step) = self.step.take() {
            news.push(json!({
                "event": "step", "step": step.step, "steps": step.steps, "epoch": step.epoch, "loss": step.loss,
                "accuracy": step.accuracy, "faces_per_second": step.faces_per_second,
            }));
        }
        news
    }
}

/// Trains a network as the settings say: a TOML file, or their JSON. `tell` is called with JSON records of what happens; what it
/// raises, and Ctrl-C, stops the training at a checkpoint. Returns what came out, as JSON.
#[pyfunction]
#[pyo3(signature = (path: "str | None", settings: "str | None", output: "str | None", seed: "int | None", resume: "bool", tell: "collections.abc.Callable[[str], object]") -> "str")]
pub(crate) fn train(
    py: Python<'_>,
    path: Option<PathBuf>,
    settings: Option<String>,
    output: Option<PathBuf>,
    seed: Option<u64>,
    resume: bool,
    tell: Py<PyAny>,
) -> Outcome<String> {
    let mut config = match (path, settings) {
        (Some(path), _) => TrainConfig::open(path)?,
        (None, settings) => TrainConfig::from_json(&settings.unwrap_or_default())?,
    };
    config.output = output.unwrap_or(config.output);
    config.seed = seed.unwrap_or(config.seed);
    let params = TrainParams { resume, store: ModelStore::open_default()?, devices: vec![] };
    let latest = Mutex::new(Latest::default());
    let noted = || latest.lock().unwrap_or_else(PoisonError::into_inner);
    let pool = current()?;
    let report = |py: Python<'_>| {
        let news = noted().take();
        news.into_iter().try_for_each(|record| tell.call1(py, (record.to_string(),)).map(drop))
    };
    let outcome = interruptible(py, &report, |interruption| {
        pool.install(|| {
            train_network(&config, &params, &|event| {
                noted().note(event);
                if interruption.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })
    })??;
    let network = outcome.network.as_ref();
    Ok(json!({
        "network": network.map(|network| &network.onnx),
        "spec": network.map(|network| &network.spec),
        "difference": network.map(|network| network.difference),
        "output": config.output,
        "step": outcome.step,
        "steps": outcome.steps,
        "metrics": outcome.metrics,
        "validation": outcome.validation,
        "left_out": outcome.left_out,
    })
    .to_string())
}
