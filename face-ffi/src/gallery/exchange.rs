//! Galleries as lines of JSON, and pairs of subjects who may be one person.

use std::ffi::c_char;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use face_core::gallery::{Duplicate, Existing, export_file, find_duplicates, import, read_space};

use super::handle::{face_gallery_t, gallery};
use crate::guard;
use crate::pointers::{flag, item, optional_out, out, reference, release, set_if_wanted, text};
use crate::space::face_space_t;
use crate::status::{Outcome, face_status_t};

/// What an import brought.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_import_report_t {
    /// People who were enrolled.
    pub subjects: u64,
    /// Their templates.
    pub templates: u64,
    /// People who were left out, because they have no template.
    pub skipped: u64,
    /// People who were left out, because their names are enrolled already.
    pub existing: u64,
}

/// Two people of a gallery who may be one.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_duplicate_t {
    /// The smaller number.
    pub first: u64,
    /// The other one.
    pub second: u64,
    /// Similarity of their templates that are most alike.
    pub similarity: f32,
}

/// Pairs of people who may be one, the most alike first.
///
/// Immutable: any number of threads may use it at the same time. Free it with face_duplicates_free().
pub struct face_duplicates_t(Vec<Duplicate>);

/// Writes a whole gallery as lines of JSON, which every language reads.
///
/// @param gallery The gallery.
/// @param path    UTF-8. The file appears whole or not at all; one that is there is replaced.
/// @return FACE_STATUS_IO, FACE_STATUS_GALLERY_STORE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_export(gallery: *const face_gallery_t, path: *const c_char) -> face_status_t {
    guard::status("face_gallery_export", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let path = Path::new(unsafe { text(path, "path") }?);
        export_file(gallery, path, &mut |_| {})?;
        Ok(())
    })
}

/// The space of an export, so that a gallery can be made for it.
///
/// @param path  UTF-8.
/// @param space Receives the space; free it with face_space_free().
/// @return FACE_STATUS_FORMAT for what is no export.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_export_space(path: *const c_char, space: *mut *mut face_space_t) -> face_status_t {
    guard::status("face_export_space", || {
        let path = unsafe { text(path, "path") }?;
        let space = unsafe { out(space, "space") }?;
        let read = read_space(&mut open(path)?, path)?;
        space.give(face_space_t::new(&Arc::new(read)));
        Ok(())
    })
}

/// Enrols everybody of an export, a thousand at a time; what was enrolled before a failure stays.
///
/// @param gallery       The gallery, of the export's space.
/// @param path          UTF-8.
/// @param skip_existing 0: a name that is enrolled already ends the import with FACE_STATUS_NAME_TAKEN. 1: it is left out, and an
///                      import that was cut short goes on.
/// @param report        Receives what it brought; may be NULL.
/// @return FACE_STATUS_FORMAT with the line; FACE_STATUS_GALLERY_SPACE; as face_gallery_enroll().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_import(
    gallery: *const face_gallery_t,
    path: *const c_char,
    skip_existing: u32,
    report: *mut face_import_report_t,
) -> face_status_t {
    guard::status("face_gallery_import", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let path = unsafe { text(path, "path") }?;
        let existing = if flag(skip_existing, "skip_existing")? { Existing::Skip } else { Existing::Refuse };
        let report = unsafe { optional_out(report, "report") }?;
        let mut reader = open(path)?;
        let space = read_space(&mut reader, path)?;
        let brought = import(gallery, &space, existing, &mut reader, path, &mut |_| {})?;
        set_if_wanted(
            report,
            face_import_report_t {
                subjects: brought.subjects,
                templates: brought.templates,
                skipped: brought.skipped,
                existing: brought.existing,
            },
        );
        Ok(())
    })
}

/// Looks for people who were enrolled twice.
///
/// @param gallery        The gallery.
/// @param min_similarity Pairs less alike are left out: a strict threshold of the space is a good start.
/// @param duplicates     Receives the pairs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_gallery_duplicates(
    gallery: *const face_gallery_t,
    min_similarity: f32,
    duplicates: *mut *mut face_duplicates_t,
) -> face_status_t {
    guard::status("face_gallery_duplicates", || {
        let gallery = unsafe { self::gallery(gallery) }?;
        let duplicates = unsafe { out(duplicates, "duplicates") }?;
        duplicates.give(face_duplicates_t(find_duplicates(gallery, min_similarity, &mut |_| {})?));
        Ok(())
    })
}

/// Number of pairs; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_duplicates_count(duplicates: *const face_duplicates_t) -> usize {
    guard::value("face_duplicates_count", 0, || Ok(unsafe { reference(duplicates, "duplicates") }?.0.len()))
}

/// One pair.
///
/// @param duplicates The pairs.
/// @param index      Counted from 0.
/// @param duplicate  Receives the pair.
/// @return FACE_STATUS_INVALID_ARGUMENT for an index beyond the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_duplicates_get(
    duplicates: *const face_duplicates_t,
    index: usize,
    duplicate: *mut face_duplicate_t,
) -> face_status_t {
    guard::status("face_duplicates_get", || {
        let duplicates = unsafe { reference(duplicates, "duplicates") }?;
        let duplicate = unsafe { out(duplicate, "duplicate") }?;
        let Duplicate { first, second, similarity } = item(&duplicates.0, index, "pair")?;
        duplicate.set(face_duplicate_t { first: first.0, second: second.0, similarity: *similarity });
        Ok(())
    })
}

/// Frees pairs. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_duplicates_free(duplicates: *mut face_duplicates_t) {
    guard::free("face_duplicates_free", || unsafe { release(duplicates) })
}

fn open(path: &str) -> Outcome<BufReader<File>> {
    Ok(BufReader::new(File::open(path).map_err(io("open", Path::new(path)))?))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> face_core::Error {
    let path = path.to_owned();
    move |source| face_core::Error::Io { action, path, source }
}
