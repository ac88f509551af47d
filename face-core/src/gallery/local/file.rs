//! The file of a gallery: who may have it open, and how it is read without being changed.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

use crate::error::{Error, Result};

/// A locked file as redb's storage. The lock is the system's advisory one: exclusive for a writer, shared among readers,
/// and gone with the process.
#[derive(Debug)]
pub(super) struct GalleryFile {
    inner: FileBackend,
    /// Holds the lock.
    file: File,
    /// Pages that a reader's repair or check would write; `None` for a writer.
    overlay: Option<Mutex<Overlay>>,
}

/// A file that was replaced while it was being opened is opened again so many times.
const OPENINGS: usize = 10;

/// What a reader has in place of the file.
#[derive(Debug, Default)]
struct Overlay {
    length: u64,
    /// Written ranges by their start; they do not overlap.
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl GalleryFile {
    /// Opens an existing file.
    pub(super) fn open(path: &Path, writable: bool) -> Result<Self> {
        for _ in 0..OPENINGS {
            let metadata = std::fs::metadata(path).map_err(Error::io("open", path))?;
            if !metadata.is_file() {
                return Err(corrupt(path, "it is no file"));
            }
            let file = File::options().read(true).write(writable).open(path);
            let file = file.map_err(Error::io(if writable { "open for writing" } else { "open" }, path))?;
            let locked = Self::lock(file, path, writable)?;
            if locked.is_at(path)? {
                return Ok(locked);
            }
        }
        let reason = "it is being replaced again and again; try once more".into();
        Err(Error::GalleryInUse { path: path.to_owned(), reason })
    }

    /// Whether the file still has this name: a compaction may have put another one in its place before the lock was taken.
    #[cfg(unix)]
    fn is_at(&self, path: &Path) -> Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let own = self.file.metadata().map_err(Error::io("open", path))?;
        match std::fs::metadata(path) {
            Ok(named) => Ok((own.dev(), own.ino()) == (named.dev(), named.ino())),
            Err(error) => Err(Error::io("open", path)(error)),
        }
    }

    /// Elsewhere an open file cannot be replaced.
    #[cfg(not(unix))]
    fn is_at(&self, _path: &Path) -> Result<bool> {
        Ok(true)
    }

    /// Takes a file that nobody else has, which was just made.
    pub(super) fn lock(file: File, path: &Path, writable: bool) -> Result<Self> {
        match if writable { file.try_lock() } else { file.try_lock_shared() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = if writable {
                    "another process, or another part of this one, has it open; close it there first"
                } else {
                    "another process, or another part of this one, is writing to it; close it there first"
                };
                return Err(Error::GalleryInUse { path: path.to_owned(), reason: reason.into() });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
        }
        let length = file.metadata().map_err(Error::io("open", path))?.len();
        let own = file.try_clone().map_err(Error::io("open", path))?;
        let inner = FileBackend::new(own).map_err(|error| corrupt(path, &error.to_string()))?;
        let overlay = (!writable).then(|| Mutex::new(Overlay { length, ..Overlay::default() }));
        Ok(Self { inner, file, overlay })
    }

    /// The same file, locked as before, to be read alone: what is written to the trial stays in memory.
    pub(super) fn trial(&self, path: &Path) -> Result<Self> {
        let file = self.file.try_clone().map_err(Error::io("open", path))?;
        let own = file.try_clone().map_err(Error::io("open", path))?;
        let length = self.len().map_err(Error::io("read", path))?;
        let inner = FileBackend::new(own).map_err(|error| corrupt(path, &error.to_string()))?;
        Ok(Self { inner, file, overlay: Some(Mutex::new(Overlay { length, ..Overlay::default() })) })
    }
}

impl StorageBackend for GalleryFile {
    fn len(&self) -> io::Result<u64> {
        match &self.overlay {
            None => self.inner.len(),
            Some(overlay) => Ok(overlay.lock().unwrap_or_else(PoisonError::into_inner).length),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(overlay) = &self.overlay else { return self.inner.read(offset, out) };
        let overlay = overlay.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.checked_add(out.len() as u64).filter(|end| *end <= overlay.length);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        // What lies beyond the file was grown in the overlay alone, and is zero until it is written.
        let file_end = self.inner.len()?.clamp(offset, end);
        let from_file = (file_end - offset) as usize;
        self.inner.read(offset, &mut out[..from_file])?;
        out[from_file..].fill(0);
        for (start, piece) in overlay.pieces.range(..end) {
            let (from, to) = ((*start).max(offset), (start + piece.len() as u64).min(end));
            if from < to {
                let source = &piece[(from - start) as usize..(to - start) as usize];
                out[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let Some(overlay) = &self.overlay else { return self.inner.set_len(length) };
        overlay.lock().unwrap_or_else(PoisonError::into_inner).length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.overlay.is_some() { Ok(()) } else { self.inner.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(overlay) = &self.overlay else { return self.inner.write(offset, data) };
        overlay.lock().unwrap_or_else(PoisonError::into_inner).write(offset, data);
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}

impl Overlay {
    fn write(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        let touched: Vec<u64> = self
            .pieces
            .range(..end)
            .filter(|(start, piece)| *start + piece.len() as u64 > offset)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            let Some(mut piece) = self.pieces.remove(&start) else { continue };
            let piece_end = start + piece.len() as u64;
            if piece_end > end {
                self.pieces.insert(end, piece.split_off((end - start) as usize));
            }
            if start < offset {
                piece.truncate((offset - start) as usize);
                self.pieces.insert(start, piece);
            }
        }
        self.pieces.insert(offset, data.to_vec());
    }
}

/// A damaged gallery.
pub(super) fn corrupt(path: impl Into<PathBuf>, reason: &str) -> Error {
    Error::GalleryCorrupt { path: path.into(), reason: reason.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_its_own_writes_and_leaves_the_file_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 100]).unwrap();
        let reader = GalleryFile::open(file.path(), false).unwrap();
        let mut expected = vec![7_u8; 100];
        reader.set_len(160).unwrap();
        expected.resize(160, 0);
        for (offset, length, value) in [(10, 30, 1_u8), (20, 5, 2), (0, 12, 3), (38, 10, 4), (90, 40, 5), (15, 100, 6)]
        {
            reader.write(offset, &vec![value; length]).unwrap();
            expected[offset as usize..offset as usize + length].fill(value);
            let mut all = vec![0; 160];
            reader.read(0, &mut all).unwrap();
            assert_eq!(all, expected);
            let mut part = [0; 17];
            reader.read(9, &mut part).unwrap();
            assert_eq!(part, expected[9..26]);
        }
        assert!(reader.read(150, &mut [0; 11]).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 100]);
    }

    #[test]
    fn one_writer_or_many_readers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let first = GalleryFile::open(file.path(), false).unwrap();
        let second = GalleryFile::open(file.path(), false).unwrap();
        assert!(matches!(GalleryFile::open(file.path(), true), Err(Error::GalleryInUse { .. })));
        drop((first, second));
        let writer = GalleryFile::open(file.path(), true).unwrap();
        for writable in [true, false] {
            assert!(matches!(GalleryFile::open(file.path(), writable), Err(Error::GalleryInUse { .. })));
        }
        drop(writer);
        assert!(GalleryFile::open(file.path(), false).is_ok());
    }
}
