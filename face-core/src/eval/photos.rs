//! Photos of labelled sets, embedded once for all protocols.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::image::Image;
use crate::pipeline::FacePipeline;
use crate::stage::{Aligner, Embedder, Embedding, EmbeddingSpace, FaceDetector, Normalizer};

/// One embedding for each photo of a set. Several protocols can be scored on it: the networks run once.
#[derive(Debug, Clone)]
pub struct EmbeddedPhotos {
    /// By path below the folder: the embedding, or why there is none.
    pub photos: BTreeMap<PathBuf, std::result::Result<Embedding, String>>,
    /// Photos per second, from file to embedding, on all threads of the pool.
    pub images_per_second: f64,
    /// The space of the embeddings.
    pub space: Arc<EmbeddingSpace>,
}

impl EmbeddedPhotos {
    /// Embeds photos below a folder, spread over the current rayon pool.
    ///
    /// The person of a photo is the one nearest to its centre, because such sets are cut so. `progress` is called once for
    /// each finished photo, from any thread.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder holds none of the photos. What goes wrong with single photos is in
    /// [`photos`](Self::photos).
    pub fn compute<D: FaceDetector, A: Aligner, N: Normalizer, E: Embedder>(
        pipeline: &FacePipeline<D, A, N, E>,
        folder: &Path,
        images: &[PathBuf],
        progress: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        if !images.iter().any(|image| folder.join(image).is_file()) {
            return Err(unfit(folder, "it holds none of the photos that are listed"));
        }
        let start = Instant::now();
        let photos = images
            .par_iter()
            .map(|image| {
                let path = folder.join(image);
                let face = Image::open(&path)
                    .and_then(|photo| pipeline.analyze_central(&photo.view(), &path.display().to_string()));
                let embedding = face.map(|face| face.embedding).map_err(|error| error.to_string());
                progress();
                (image.clone(), embedding)
            })
            .collect();
        Ok(Self {
            photos,
            images_per_second: images.len() as f64 / start.elapsed().as_secs_f64(),
            space: Arc::clone(pipeline.embedder.space()),
        })
    }

    /// The embedding of a photo that has one.
    pub fn embedding(&self, image: &Path) -> Option<&Embedding> {
        self.photos.get(image)?.as_ref().ok()
    }

    /// Those of the photos that have no embedding, with the reason.
    pub(super) fn failed_of(&self, images: &[PathBuf]) -> Vec<(PathBuf, String)> {
        let reason = |image: &PathBuf| match self.photos.get(image) {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some((image.clone(), reason.clone())),
            None => Some((image.clone(), "was not embedded".to_owned())),
        };
        images.iter().filter_map(reason).collect()
    }
}

/// Whether a file is a picture that can be decoded, by the ending of its name.
pub(crate) fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    crate::image::ENDINGS.contains(&ending.as_str())
}

/// Whether a name is hidden, as those of thumbnails and of files that are not whole yet.
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// What lies in a folder, in alphabetical order, without what is hidden.
pub(crate) fn entries_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read the folder", folder))?;
    let paths = entries.map(|entry| Ok(entry.map_err(Error::io("read the folder", folder))?.path()));
    let mut paths =
        paths.filter(|path| !path.as_ref().is_ok_and(|path| is_hidden(path))).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The folders below a folder with one for each person, and the photos in each, in alphabetical order.
pub(crate) fn photos_by_person(folder: &Path) -> Result<Vec<(PathBuf, Vec<PathBuf>)>> {
    let people = entries_of(folder)?.into_iter().filter(|entry| entry.is_dir());
    let with_photos = |person: PathBuf| {
        let photos = entries_of(&person)?.into_iter().filter(|photo| is_picture(photo) && photo.is_file());
        Ok((person, photos.collect()))
    };
    people.map(with_photos).collect()
}

/// A folder that cannot serve as the folder of photos.
pub(super) fn unfit(folder: &Path, reason: &'static str) -> Error {
    Error::io("use as the folder of photos", folder)(std::io::Error::new(std::io::ErrorKind::NotFound, reason))
}
