//! Features of an embedder that stays as it is: computed once, and kept.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::pictures::Cutter;
use crate::embedders::OnnxEmbedder;
use crate::error::{Error, Result};
use crate::files::{sha256_hex, write_atomically};
use crate::stage::Embedder as _;

/// Features of photos, as the base's network gives them.
#[derive(Debug, Clone)]
pub(super) struct Features {
    /// Row by row; of a photo first its own and then, where there are any, its mirror image's.
    values: Vec<f32>,
    dimension: usize,
    views: usize,
}

impl Features {
    /// From the cache, or from the photos. `progress` is called for each photo that is computed; where it says no, nothing comes of
    /// it (`None`).
    ///
    /// # Errors
    /// As the base; [`Error::Io`].
    pub(super) fn compute(
        base: &OnnxEmbedder,
        cutter: &Cutter,
        photos: &[PathBuf],
        with_mirror: bool,
        cache: &Path,
        progress: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Self>> {
        let views = 1 + usize::from(with_mirror);
        let dimension = base.space().dimension;
        let file = cache.join(format!("{}.f32", key(base, photos, views)));
        let count = photos.len() * views * dimension;
        if let Some(values) = read(&file, count)? {
            return Ok(Some(Self { values, dimension, views }));
        }
        let rows: Vec<Option<Vec<f32>>> = photos
            .par_iter()
            .map(|photo| {
                if !progress() {
                    return Ok(None);
                }
                let crop = cutter.crop(photo, None)?;
                let mut row = base.features(&crop, false)?;
                if with_mirror {
                    row.extend(base.features(&crop, true)?);
                }
                Ok(Some(row))
            })
            .collect::<Result<_>>()?;
        let Some(rows) = rows.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let values = rows.concat();
        std::fs::create_dir_all(cache).map_err(Error::io("create the folder", cache))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        write_atomically(&file, &bytes)?;
        Ok(Some(Self { values, dimension, views }))
    }

    /// Number of values of one.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Of a photo, or of its mirror image where there is one.
    pub(super) fn of(&self, photo: usize, is_mirrored: bool) -> &[f32] {
        let row = photo * self.views + usize::from(is_mirrored && self.views > 1);
        &self.values[row * self.dimension..(row + 1) * self.dimension]
    }
}

/// By what the features depend on: the network with its preprocessing, and the files.
fn key(base: &OnnxEmbedder, photos: &[PathBuf], views: usize) -> String {
    let mut text = format!("{}\n{views}\n", base.space().id());
    for photo in photos {
        // The same file by another way, through a link say, has the same features.
        let photo = std::fs::canonicalize(photo).unwrap_or_else(|_| photo.clone());
        let changed = std::fs::metadata(&photo).and_then(|metadata| metadata.modified()).ok();
        text += &format!("{}\t{changed:?}\n", photo.display());
    }
    sha256_hex(text.as_bytes())
}

/// The values of a file, where it is there and has as many.
fn read(file: &Path, count: usize) -> Result<Option<Vec<f32>>> {
    let expected = count as u64 * 4;
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() == expected) {
        let bytes = crate::files::read_at_most(file, expected)?;
        let (values, _) = bytes.as_chunks::<4>();
        return Ok(Some(values.iter().map(|value| f32::from_le_bytes(*value)).collect()));
    }
    Ok(None)
}
