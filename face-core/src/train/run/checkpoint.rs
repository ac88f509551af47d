//! Checkpoints: everything that a training needs to go on as if it had never been interrupted.
//!
//! A checkpoint is a folder with the weights and running states of network and loss, the optimizer's momenta (both in burn's own
//! format) and a JSON file with the settings and the place in the training. It is written beside the others under a temporary
//! name, brought to the disk, and then renamed: there is no half of one.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::{ModuleRecord, RecordError};
use burn::tensor::Bytes;
use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::learner::Learner;
use crate::error::{Error, Result};
use crate::files::{TEMPORARY_PREFIX, write_atomically};

/// Version of the format.
const FORMAT: u32 = 1;
const STATE: &str = "state.json";
const NETWORK: &str = "network.bpk";
const OPTIMIZER: &str = "optimizer.bpk";

/// The place in the training, and what it depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    /// Steps that are done.
    pub(super) step: usize,
    /// The settings.
    pub(super) config: TrainConfig,
    /// SHA-256 of the photos' names and labels.
    pub(super) photos: String,
}

impl State {
    pub(super) fn new(step: usize, config: &TrainConfig, photos: &str) -> Self {
        Self { format: FORMAT, step, config: config.clone(), photos: photos.to_owned() }
    }

    /// Whether a training with these settings and photos can go on from here.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], which names the first thing that differs.
    pub(super) fn check(&self, path: &Path, config: &TrainConfig, photos: &str) -> Result<()> {
        let refuse = |reason: String| Err(Error::Checkpoint { path: path.to_owned(), reason });
        // What decides where things are written and how they are judged may change.
        let comparable = |config: &TrainConfig| {
            let mut value = serde_json::to_value(config).unwrap_or_default();
            if let Some(settings) = value.as_object_mut() {
                ["output", "validation", "checkpoints"].iter().for_each(|key| drop(settings.remove(*key)));
            }
            value
        };
        if let Some((key, then, now)) = first_difference("", &comparable(&self.config), &comparable(config)) {
            return refuse(format!("it was made with {key} = {then}, and the settings say {now}"));
        }
        if self.photos != photos {
            return refuse("it was made with other photos, or other people".into());
        }
        Ok(())
    }
}

/// The first setting that differs, with both values.
fn first_difference(
    path: &str,
    left: &serde_json::Value,
    right: &serde_json::Value,
) -> Option<(String, String, String)> {
    use serde_json::Value;
    if left == right {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (left, right) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        return keys.into_iter().find_map(|key| {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
            first_difference(&inner, &of(a), &of(b))
        });
    }
    Some((path.to_owned(), left.to_string(), right.to_string()))
}

fn folder_of_step(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("step-{step:09}"))
}

/// The checkpoints of a folder, the last one last.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(vec![]);
    }
    let is_checkpoint =
        |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("step-"));
    Ok(crate::eval::entries_of(folder)?.into_iter().filter(is_checkpoint).collect())
}

/// Writes a checkpoint, and removes those before the last `keep`.
///
/// # Errors
/// [`Error::Io`], when no space is left, say: the checkpoints before stay as they are.
pub(super) fn save(
    folder: &Path,
    keep: usize,
    state: &State,
    learner: &Learner,
    optimizer: &ModuleOptimizer,
) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
    let target = folder_of_step(folder, state.step);
    let temporary = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempdir_in(folder)
        .map_err(Error::io("create a folder in", folder))?;
    let of_record = |error: RecordError| Error::Checkpoint { path: target.clone(), reason: error.to_string() };
    // The running states of normalizations are brought up to date by `valid`.
    let network = learner.clone().valid().into_record().into_bytes().map_err(of_record)?;
    write_atomically(&temporary.path().join(NETWORK), &network)?;
    drop(network);
    let momenta = optimizer.to_record().into_bytes().map_err(of_record)?;
    write_atomically(&temporary.path().join(OPTIMIZER), &momenta)?;
    let text = serde_json::to_vec_pretty(state).map_err(std::io::Error::from).map_err(Error::io("write", &target))?;
    write_atomically(&temporary.path().join(STATE), &text)?;
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(Error::io("replace", &target))?;
    }
    std::fs::rename(temporary.keep(), &target).map_err(Error::io("rename to", &target))?;
    let all = list(folder)?;
    for old in &all[..all.len().saturating_sub(keep)] {
        std::fs::remove_dir_all(old).map_err(Error::io("remove", old))?;
    }
    Ok(target)
}

/// Reads where a checkpoint was made.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] for one that is damaged, or of another format.
pub(super) fn read_state(path: &Path) -> Result<State> {
    let text = crate::files::read_text(&path.join(STATE))?;
    let damaged = |error: serde_json::Error| Error::Checkpoint {
        path: path.to_owned(),
        reason: format!("{STATE} is damaged, or was written by another version: {error}"),
    };
    let state: State = serde_json::from_str(&text).map_err(damaged)?;
    if state.format != FORMAT {
        let reason = format!("it has the format {}, and this version reads {FORMAT}", state.format);
        return Err(Error::Checkpoint { path: path.to_owned(), reason });
    }
    Ok(state)
}

/// The learner and the optimizer as they were.
///
/// # Errors
/// [`Error::Io`]; [`Error::Checkpoint`] for one that is damaged, or of another network.
pub(super) fn load(path: &Path, learner: Learner, optimizer: ModuleOptimizer) -> Result<(Learner, ModuleOptimizer)> {
    let of_record = |error: RecordError| Error::Checkpoint { path: path.to_owned(), reason: error.to_string() };
    let read = |name: &str| crate::files::read_checkpoint(&path.join(name)).map(Bytes::from_bytes_vec);
    let record = ModuleRecord::from_bytes(read(NETWORK)?).map_err(of_record)?;
    let learner = learner.try_load_record(record).map_err(of_record)?;
    let optimizer = optimizer.from_bytes(read(OPTIMIZER)?).map_err(of_record)?;
    Ok((learner, optimizer))
}
