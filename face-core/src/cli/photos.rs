//! Many photos: read, worked on in parallel, reported in order.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::output::{PhotoJson, items_bar};
use crate::error::Result;
use crate::image::Image;

/// Works on every photo, spread over the threads; what goes wrong with one is in its own entry.
pub(super) fn for_each(
    paths: &[PathBuf],
    what: &str,
    work: impl Fn(usize, &Path, &Image) -> Result<PhotoJson> + Sync,
) -> Vec<PhotoJson> {
    let bar = items_bar(paths.len(), what);
    let entries = paths
        .par_iter()
        .enumerate()
        .map(|(index, path)| {
            let image = path.display().to_string();
            let entry = Image::open(path).and_then(|photo| work(index, path, &photo));
            bar.inc(1);
            match entry {
                Ok(entry) => PhotoJson { image, ..entry },
                Err(error) => PhotoJson { image, error: Some(error.to_string()), ..Default::default() },
            }
        })
        .collect();
    bar.finish_and_clear();
    entries
}

/// The exit status: failure when not a single photo could be worked on.
pub(super) fn status(entries: &[PhotoJson]) -> u8 {
    if entries.iter().all(|entry| entry.error.is_some()) { super::FAILURE } else { super::SUCCESS }
}

/// Says on the standard error what went wrong with single photos.
pub(super) fn print_errors(entries: &[PhotoJson]) {
    for entry in entries {
        if let Some(error) = &entry.error {
            // Most messages begin with the path already.
            if error.contains(&entry.image) {
                eprintln!("error: {error}");
            } else {
                eprintln!("error: {}: {error}", entry.image);
            }
        }
    }
}
