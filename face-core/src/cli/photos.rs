//! Many photos: found, read, worked on in parallel, reported in order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::output::{PhotoJson, items_bar};
use crate::error::{Error, Result};
use crate::eval::{entries_of, is_picture};
use crate::image::Image;
use crate::pipeline::{Face, FacePipeline, largest};

/// Works on every photo, spread over the threads; what goes wrong with one is in its own result.
pub(super) fn map<P: AsRef<Path> + Sync, T: Send>(
    paths: &[P],
    what: &str,
    work: impl Fn(usize, &Path, &Image) -> Result<T> + Sync,
) -> Vec<Result<T>> {
    let bar = items_bar(paths.len(), what);
    let results = paths
        .par_iter()
        .enumerate()
        .map(|(index, path)| {
            let path = path.as_ref();
            let result = Image::open(path).and_then(|photo| work(index, path, &photo));
            bar.inc(1);
            result
        })
        .collect();
    bar.finish_and_clear();
    results
}

/// As [`map`], for the JSON contract: what goes wrong with a photo is in its own entry.
pub(super) fn for_each(
    paths: &[PathBuf],
    what: &str,
    work: impl Fn(usize, &Path, &Image) -> Result<PhotoJson> + Sync,
) -> Vec<PhotoJson> {
    let entry = |(path, result): (&PathBuf, Result<PhotoJson>)| {
        let image = path.display().to_string();
        match result {
            Ok(entry) => PhotoJson { image, ..entry },
            Err(error) => PhotoJson { image, error: Some(error.to_string()), ..Default::default() },
        }
    };
    paths.iter().zip(map(paths, what, work)).map(entry).collect()
}

/// The exit status: failure when not a single photo could be worked on.
pub(super) fn status(entries: &[PhotoJson]) -> u8 {
    if entries.iter().all(|entry| entry.error.is_some()) { super::FAILURE } else { super::SUCCESS }
}

/// Says on the standard error what went wrong with single photos.
pub(super) fn print_errors(entries: &[PhotoJson]) {
    for entry in entries {
        if let Some(error) = &entry.error {
            print_error(&entry.image, error);
        }
    }
}

/// Says on the standard error what went wrong with a photo.
pub(super) fn print_error(image: &str, error: &str) {
    // Most messages begin with the path already.
    if error.contains(image) {
        eprintln!("error: {error}");
    } else {
        eprintln!("error: {image}: {error}");
    }
}

/// The largest face of a photo, and a note where it has several.
pub(super) fn largest_face(pipeline: &FacePipeline, path: &Path, photo: &Image) -> Result<(Face, Option<String>)> {
    let image = path.display().to_string();
    let in_photo = |error| Error::InPhoto { image: image.clone(), source: Box::new(error) };
    let found = pipeline.detector.detect(&photo.view()).map_err(in_photo)?;
    let face = largest(&found).ok_or_else(|| Error::NoFace { image: image.clone() })?;
    let area = face.bounding_box;
    let note = (found.len() > 1)
        .then(|| format!("{image} has {} faces; the largest, at ({:.0}, {:.0}), counts", found.len(), area.x, area.y));
    Ok((pipeline.embed_detection(&photo.view(), &face).map_err(in_photo)?, note))
}

/// The path itself for a single photo; else with a number before its ending.
pub(super) fn numbered(path: &Path, index: usize, count: usize) -> PathBuf {
    if count == 1 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", index + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// All pictures below a folder, by the endings of their names, in alphabetical order. What is hidden is passed over, and
/// so is what lies below one of the `excluded` paths. A folder that cannot be read is an entry of the second list.
///
/// Links are followed, but no folder is entered twice: links that lead in a circle end there.
///
/// # Errors
/// [`Error::Io`] when the folder itself cannot be read.
pub(super) fn below(folder: &Path, excluded: &[PathBuf]) -> Result<(Vec<PathBuf>, Vec<Error>)> {
    let excluded: Vec<PathBuf> = excluded.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let (mut photos, mut errors, mut entered) = (vec![], vec![], HashSet::new());
    let mut waiting = vec![folder.to_owned()];
    while let Some(current) = waiting.pop() {
        let real = current.canonicalize().map_err(Error::io("read the folder", &current));
        let entries = real.and_then(|real| {
            let is_new = !excluded.contains(&real) && entered.insert(real);
            if is_new { entries_of(&current) } else { Ok(vec![]) }
        });
        match entries {
            Ok(entries) => {
                for path in entries {
                    // The kind of what a link leads to; a link to nothing is neither.
                    if path.is_dir() {
                        waiting.push(path);
                    } else if path.is_file() && is_picture(&path) && !is_one_of(&excluded, &path) {
                        photos.push(path);
                    }
                }
            }
            Err(error) if current == folder => return Err(error),
            Err(error) => errors.push(error),
        }
    }
    photos.sort();
    Ok((photos, errors))
}

fn is_one_of(real_paths: &[PathBuf], path: &Path) -> bool {
    !real_paths.is_empty() && path.canonicalize().is_ok_and(|real| real_paths.contains(&real))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_below_a_folder_and_circles_end() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("photos");
        for path in ["a.JPG", "b/c.png", "b/d/e.webp", "b/notes.txt", ".thumbnails/a.jpg", "out/a.jpg", "sheet.png"] {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(&folder, folder.join("b/circle")).unwrap();
            symlink(folder.join("none.jpg"), folder.join("broken.jpg")).unwrap();
        }
        let names = |excluded: &[PathBuf]| -> Vec<String> {
            let (photos, errors) = below(&folder, excluded).unwrap();
            assert!(errors.is_empty());
            photos.iter().map(|path| path.strip_prefix(&folder).unwrap().display().to_string()).collect()
        };
        assert_eq!(names(&[]), ["a.JPG", "b/c.png", "b/d/e.webp", "out/a.jpg", "sheet.png"]);
        assert_eq!(
            names(&[folder.join("out"), folder.join("b/../sheet.png"), folder.join("none")]),
            ["a.JPG", "b/c.png", "b/d/e.webp"]
        );
        assert!(matches!(below(&folder.join("none"), &[]), Err(Error::Io { .. })));
        assert!(matches!(below(&folder.join("a.JPG"), &[]), Err(Error::Io { .. })));
    }
}
