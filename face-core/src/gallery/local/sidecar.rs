//! The approximate index beside the file of a gallery, `FILE.hnsw`.
//!
//! It holds what usearch writes, then a [`Footer`] as JSON, its length as `u32`, the CRC-32 of all that, and [`MAGIC`]. It
//! never decides what is in the gallery: templates that it lacks are added when it is loaded, what it has too much is
//! removed, and one that is damaged, missing or another gallery's is built anew.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::store::About;
use super::{index_path, unfinished_index};
use crate::error::{Error, Result};
use crate::files::create_like;
use crate::gallery::search::{ApproximateIndex, ApproximateParams, Snapshot, on_threads};
use crate::stage::EmbeddingSpace;

const MAGIC: [u8; 8] = *b"FACEHNS1";
/// Longest footer.
const MAX_FOOTER: u64 = 64 << 10;

/// Which index it is.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Footer {
    gallery: uuid::Uuid,
    space: String,
    connectivity: usize,
    /// Ids below this may be in it.
    next_template: u64,
}

/// Writes the file; it appears whole or not at all.
pub(super) fn save(gallery: &Path, about: &About, index: &ApproximateIndex, templates: usize) -> Result<()> {
    if index.len() != templates {
        let reason = "it is not in step with the records".to_owned();
        return Err(Error::GalleryStore {
            action: "save the index of",
            gallery: gallery.display().to_string(),
            reason,
        });
    }
    let (path, temporary) = (index_path(gallery), unfinished_index(gallery));
    let _ = std::fs::remove_file(&temporary);
    // It holds the same vectors: whoever may not read the gallery may not read it either.
    create_like(&temporary, gallery)?;
    let saved =
        index.save(&temporary).and_then(|()| finish(&temporary, about, index).map_err(Error::io("write", &path)));
    let renamed = saved.and_then(|()| std::fs::rename(&temporary, &path).map_err(Error::io("write", &path)));
    renamed.inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

/// Writes the footer behind what usearch has written.
fn finish(temporary: &Path, about: &About, index: &ApproximateIndex) -> std::io::Result<()> {
    let footer = Footer {
        gallery: about.id,
        space: about.space.id(),
        connectivity: index.params().connectivity,
        next_template: about.next_template,
    };
    let mut footer = serde_json::to_vec(&footer)?;
    footer.extend((footer.len() as u32).to_le_bytes());
    let mut file = File::options().read(true).write(true).open(temporary)?;
    let length = file.metadata()?.len();
    let mut hasher = crc32fast::Hasher::new();
    hash(&mut file, length, &mut hasher)?;
    hasher.update(&footer);
    file.write_all(&footer)?;
    file.write_all(&hasher.finalize().to_le_bytes())?;
    file.write_all(&MAGIC)?;
    file.sync_all()
}

/// The index of the file, brought into step with the records, or a new one.
pub(super) fn load_or_build(
    gallery: &Path,
    about: &About,
    params: &ApproximateParams,
    exact: &Snapshot,
) -> Result<ApproximateIndex> {
    match load(gallery, about, params) {
        Some((index, known)) => {
            let enrolled: HashSet<u64> = exact.iter().map(|(key, _)| key).collect();
            for id in (1..known).filter(|id| !enrolled.contains(id)) {
                if index.contains(id) {
                    index.remove(id)?;
                }
            }
            // A backup that was put back may have given the same ids to others.
            let records: Vec<(u64, &[f32])> = exact.iter().collect();
            let differs = |(key, vector): &(u64, &[f32])| Ok(index.contains(*key) && !index.holds(*key, vector));
            let others = on_threads(&records, differs)?;
            for ((key, _), _) in records.iter().zip(others).filter(|(_, differs)| *differs) {
                index.remove(*key)?;
            }
            fill(&index, exact)?;
            // More than the records are: not what it says it is.
            if index.len() == exact.len() { Ok(index) } else { build(&about.space, params, exact) }
        }
        None => build(&about.space, params, exact),
    }
}

/// A new index of all records.
pub(super) fn build(space: &EmbeddingSpace, params: &ApproximateParams, exact: &Snapshot) -> Result<ApproximateIndex> {
    let index = ApproximateIndex::new(space.dimension, space.metric, params)?;
    fill(&index, exact)?;
    Ok(index)
}

fn fill(index: &ApproximateIndex, exact: &Snapshot) -> Result<()> {
    let missing: Vec<(u64, &[f32])> = exact.iter().filter(|(key, _)| !index.contains(*key)).collect();
    index.insert_batch(&missing)
}

/// The index of the file with the ids that it may hold, if the file is whole and this gallery's.
fn load(gallery: &Path, about: &About, params: &ApproximateParams) -> Option<(ApproximateIndex, u64)> {
    let path = index_path(gallery);
    let footer = read_footer(&path)?;
    let fits = footer.gallery == about.id
        && footer.space == about.space.id()
        && footer.connectivity == params.connectivity
        && footer.next_template <= about.next_template;
    let index = ApproximateIndex::new(about.space.dimension, about.space.metric, params).ok()?;
    (fits && index.load(&path).is_ok()).then_some((index, footer.next_template))
}

/// The footer of a file whose checksum is right.
fn read_footer(path: &Path) -> Option<Footer> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let mut end = [0; 16];
    file.seek(SeekFrom::Start(length.checked_sub(16)?)).ok()?;
    file.read_exact(&mut end).ok()?;
    let (&[l0, l1, l2, l3, c0, c1, c2, c3], magic) = end.split_first_chunk::<8>()?;
    let footer_length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if magic != MAGIC || footer_length > MAX_FOOTER {
        return None;
    }
    let start = length.checked_sub(16 + footer_length)?;
    let mut hasher = crc32fast::Hasher::new();
    hash(&mut file, length - 12, &mut hasher).ok()?;
    if hasher.finalize() != u32::from_le_bytes([c0, c1, c2, c3]) {
        return None;
    }
    let mut footer = vec![0; footer_length as usize];
    file.seek(SeekFrom::Start(start)).ok()?;
    file.read_exact(&mut footer).ok()?;
    serde_json::from_slice(&footer).ok()
}

/// Hashes the first bytes of a file, and leaves it standing behind them.
fn hash(file: &mut File, length: u64, hasher: &mut crc32fast::Hasher) -> std::io::Result<()> {
    file.rewind()?;
    let mut buffer = vec![0; 1 << 20];
    let mut left = length;
    while left > 0 {
        let size = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.read_exact(&mut buffer[..size])?;
        hasher.update(&buffer[..size]);
        left -= size as u64;
    }
    Ok(())
}
