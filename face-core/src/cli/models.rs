//! `face models`.

use std::cell::RefCell;

use clap::Subcommand;
use indicatif::ProgressBar;
use serde::Serialize;

use super::output::{bytes_bar, megabytes, print_json, say};
use super::{FAILURE, SUCCESS};
use crate::error::{Error, Result};
use crate::models::{CatalogueEntry, FileRecord, ModelStore, PullEvent, Role};
use crate::stage::Metric;
use crate::stage::Threshold;

#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// What the catalogue knows, and what of it is in the cache
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring models and samples into the cache
    Pull {
        /// Names of `face models list` [default: the default models]
        names: Vec<String>,
        /// Every model
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// The sample photos
        #[arg(long)]
        samples: bool,
    },
    /// Check size and SHA-256 of what is in the cache
    Check {
        /// Names of `face models list` [default: the default models, and all that is in the cache]
        names: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Serialize)]
struct EntryJson<'a> {
    name: &'a str,
    role: Role,
    default: bool,
    summary: &'a str,
    licence: &'a str,
    credit: &'a str,
    file: &'a FileRecord,
    /// Names the embedding space: the digest of the weights as published, before any conversion.
    weights_sha256: &'a str,
    path: String,
    state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variants: Vec<VariantJson<'a>>,
}

#[derive(Debug, Serialize)]
struct VariantJson<'a> {
    name: &'a str,
    default: bool,
    metric: Metric,
    thresholds: &'a [Threshold],
}

#[derive(Debug, Serialize)]
struct CheckJson {
    name: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How an entry stands in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ready,
    Missing,
    Damaged,
    /// The system does not let it be read.
    Unreadable,
}

pub(super) fn run(command: ModelsCommand) -> Result<u8> {
    let store = ModelStore::open_default()?;
    match command {
        ModelsCommand::List { json } => list(&store, json),
        ModelsCommand::Pull { names, all, samples } => {
            let catalogue = store.catalogue();
            let mut wanted: Vec<&str> = names.iter().map(String::as_str).collect();
            if all {
                wanted.extend(catalogue.models().map(|entry| entry.name.as_str()));
            } else if names.is_empty() && !samples {
                wanted.extend(defaults(&store));
            }
            if samples {
                wanted.extend(catalogue.samples().map(|entry| entry.name.as_str()));
            }
            pull(&store, &wanted)?;
            Ok(SUCCESS)
        }
        ModelsCommand::Check { names, json } => check(&store, names, json),
    }
}

/// Names of the default models.
pub(super) fn defaults(store: &ModelStore) -> impl Iterator<Item = &str> {
    store.catalogue().models().filter(|entry| entry.default).map(|entry| entry.name.as_str())
}

/// Pulls with a progress bar.
pub(super) fn pull(store: &ModelStore, names: &[&str]) -> Result<()> {
    let bar: RefCell<Option<ProgressBar>> = RefCell::new(None);
    let end_bar = || {
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
    };
    let outcome = store.pull(names, &|event| match event {
        PullEvent::Downloading { file, received, total } => {
            let mut bar = bar.borrow_mut();
            let bar = bar.get_or_insert_with(|| {
                eprintln!("pulling {file} ({})", megabytes(total));
                bytes_bar()
            });
            bar.set_message(file.to_owned());
            bar.set_length(total);
            bar.set_position(received);
        }
        PullEvent::Waiting { folder } => {
            eprintln!("another process is pulling into {}; waiting for it", folder.display());
        }
        PullEvent::Retrying { file, reason } => {
            end_bar();
            eprintln!("{file}: {reason}; trying again");
        }
        PullEvent::Installed { name, path } => {
            end_bar();
            eprintln!("pulled  {name:<16} {}", path.display());
        }
        PullEvent::Present { name } => eprintln!("present {name}"),
    });
    end_bar();
    outcome
}

fn state_of(result: &Result<()>) -> State {
    match result {
        Ok(()) => State::Ready,
        Err(Error::ModelMissing { .. }) => State::Missing,
        Err(Error::Io { .. }) => State::Unreadable,
        Err(_) => State::Damaged,
    }
}

fn list(store: &ModelStore, json: bool) -> Result<u8> {
    let entries = store.catalogue().entries();
    if json {
        let described: Vec<EntryJson<'_>> = entries.iter().map(|entry| describe(store, entry)).collect();
        print_json(&described)?;
        return Ok(SUCCESS);
    }
    say!("{:<16} {:<9} {:<14} {:>9}  {:<8} SUMMARY", "NAME", "ROLE", "LICENCE", "SIZE", "CACHE");
    for entry in entries {
        let CatalogueEntry { name, kind, licence, file, default, summary, .. } = entry;
        let state = format!("{:?}", state_of(&store.check(name))).to_lowercase();
        let default = if *default { " (default)" } else { "" };
        say!("{name:<16} {:<9} {licence:<14} {:>9}  {state:<8} {summary}{default}", kind.role(), megabytes(file.bytes));
    }
    say!("\ncache: {}", store.folder().display());
    Ok(SUCCESS)
}

fn describe<'a>(store: &ModelStore, entry: &'a CatalogueEntry) -> EntryJson<'a> {
    let CatalogueEntry { name, kind, default, summary, licence, credit, file, variants, .. } = entry;
    let variants = variants.iter().map(|v| VariantJson {
        name: &v.name,
        default: v.default,
        metric: v.metric,
        thresholds: &v.thresholds,
    });
    EntryJson {
        name,
        role: kind.role(),
        default: *default,
        summary,
        licence,
        credit,
        file,
        weights_sha256: entry.weights_digest(),
        path: store.path(entry).display().to_string(),
        state: state_of(&store.check(name)),
        variants: variants.collect(),
    }
}

fn check(store: &ModelStore, mut names: Vec<String>, json: bool) -> Result<u8> {
    if names.is_empty() {
        let interesting = |entry: &&CatalogueEntry| {
            (entry.default && entry.kind.role() != Role::Sample) || store.path(entry).exists()
        };
        names.extend(store.catalogue().entries().iter().filter(interesting).map(|entry| entry.name.clone()));
    }
    let mut checks = vec![];
    for name in names {
        let result = store.check(&name);
        if let Err(error @ Error::UnknownName { .. }) = result {
            return Err(error);
        }
        let (state, error) = (state_of(&result), result.err().map(|error| error.to_string()));
        checks.push(CheckJson { name, state, error });
    }
    if json {
        print_json(&checks)?;
    } else {
        for CheckJson { name, state, error } in &checks {
            let state = format!("{state:?}").to_lowercase();
            say!("{name:<16} {state:<8} {}", error.as_deref().unwrap_or_default());
        }
    }
    Ok(if checks.iter().all(|check| check.state == State::Ready) { SUCCESS } else { FAILURE })
}
