//! What damage and sudden death do to a gallery's file: a short run of what `tests/crash/gallery` does at length.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use face_core::gallery::{Gallery, LocalGallery, NewSubject, NewTemplate, Page, SearchParams, Subject};
use face_core::{Embedding, EmbeddingSpace, Error, Metric, Result};
use tempfile::TempDir;

use crate::common;

const DIMENSION: usize = 16;

fn space() -> Arc<EmbeddingSpace> {
    Arc::new(EmbeddingSpace {
        model: "toy".into(),
        digest: "00".into(),
        dimension: DIMENSION,
        preprocessing: "none".into(),
        averaging: "none".into(),
        metric: Metric::Euclidean,
        thresholds: vec![],
    })
}

/// Numbers that look random and are the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn embedding(chance: &mut Chance) -> Embedding {
    let vector = (0..DIMENSION).map(|_| chance.below(1 << 20) as f32 / 1e5).collect();
    Embedding::new(vector, space()).unwrap()
}

/// Everything that a gallery holds, with the vectors, and what it finds for one probe.
#[derive(Debug, PartialEq)]
struct Holding {
    subjects: Vec<Subject>,
    vectors: Vec<Vec<f32>>,
    found: Vec<(u64, f32)>,
}

fn holding(gallery: &LocalGallery) -> Holding {
    let subjects = gallery.list(&Page::default()).unwrap();
    let templates = subjects.iter().flat_map(|subject| &subject.templates);
    let vectors = templates.map(|template| gallery.embedding(template.id).unwrap().into_vector()).collect();
    let answers = gallery.search(&[embedding(&mut Chance(99))], &SearchParams::default()).unwrap();
    let found = answers[0].iter().map(|candidate| (candidate.subject.0, candidate.similarity)).collect();
    Holding { subjects, vectors, found }
}

/// A gallery that has seen every kind of change, closed.
fn gallery(folder: &TempDir) -> (PathBuf, Holding) {
    let (path, mut chance) = (folder.path().join("g.face"), Chance(1));
    let gallery = LocalGallery::create(&path, space()).unwrap();
    let mut template = || NewTemplate { source: Some("a photo".into()), ..embedding(&mut chance).into() };
    let people = (0..60).map(|n| NewSubject::new(format!("person {n}"), vec![template(), template()]));
    let ids = gallery.enroll_batch(people.collect()).unwrap();
    for id in &ids[..10] {
        gallery.remove_subject(*id).unwrap();
        gallery.add_templates(ids[20], vec![template()]).unwrap();
    }
    gallery.rename(ids[30], "somebody else").unwrap();
    let expected = holding(&gallery);
    assert_eq!((expected.subjects.len(), expected.vectors.len(), expected.found.len()), (50, 110, 5));
    (path, expected)
}

/// A process that a test beside this one starts has our files open, and their locks, from its birth until it becomes another
/// program: for a moment.
fn patiently(open: impl Fn() -> Result<LocalGallery>) -> Result<LocalGallery> {
    for _ in 0..100 {
        match open() {
            Err(Error::GalleryInUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(20)),
            result => return result,
        }
    }
    open()
}

/// Either everything is right, or the error says that the file is damaged. Whether it opened.
fn right_or_refused(path: &Path, what: &str, expected: &Holding) -> bool {
    let mut opened = false;
    let ways: [fn(&Path) -> Result<LocalGallery>; 2] =
        [|path| LocalGallery::open_read_only(path), |path| LocalGallery::open(path)];
    for open in ways {
        match patiently(|| open(path)) {
            Ok(gallery) => {
                assert_eq!(holding(&gallery), *expected, "{what}");
                opened = true;
            }
            Err(Error::GalleryCorrupt { .. } | Error::GalleryVersion { .. }) => {}
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    opened
}

#[test]
fn a_truncated_gallery_is_refused() {
    let folder = TempDir::new().unwrap();
    let (path, expected) = gallery(&folder);
    let (content, mut chance) = (std::fs::read(&path).unwrap(), Chance(2));
    let some = (0..30).map(|_| chance.below(content.len())).collect::<Vec<_>>();
    for length in [0, 1, 9, 64, 512, 4096, content.len() - 1].into_iter().chain(some) {
        std::fs::write(&path, &content[..length]).unwrap();
        right_or_refused(&path, &format!("{length} of {} bytes", content.len()), &expected);
    }
    std::fs::write(&path, &content[..content.len() / 2]).unwrap();
    assert!(matches!(LocalGallery::open(&path), Err(Error::GalleryCorrupt { .. })));
    std::fs::write(&path, &content).unwrap();
    assert!(right_or_refused(&path, "as it was", &expected));
}

#[test]
fn flipped_bits_are_harmless_or_refused() {
    let folder = TempDir::new().unwrap();
    let (path, expected) = gallery(&folder);
    let (content, mut chance) = (std::fs::read(&path).unwrap(), Chance(3));
    // What says how the rest is read is at the beginning.
    let mut places: Vec<usize> = (0..320).step_by(3).collect();
    places.extend((0..200).map(|_| chance.below(content.len())));
    let mut refused = 0;
    for at in places {
        let mut flipped = content.clone();
        flipped[at] ^= 1 << chance.below(8);
        std::fs::write(&path, flipped).unwrap();
        refused += usize::from(!right_or_refused(&path, &format!("byte {at}"), &expected));
    }
    // The vectors alone are a good part of the file.
    assert!(refused > 20, "{refused} were noticed");
}

#[test]
fn what_is_no_gallery_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("g.face");
    for content in [vec![], b"not a gallery\n".repeat(1000), vec![0; 1 << 16]] {
        std::fs::write(&path, &content).unwrap();
        for result in [LocalGallery::open(&path), LocalGallery::open_read_only(&path)] {
            assert!(matches!(result.err(), Some(Error::GalleryCorrupt { .. })));
        }
        assert!(matches!(LocalGallery::create(&path, space()).err(), Some(Error::Io { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    assert!(matches!(LocalGallery::open(folder.path()).err(), Some(Error::GalleryCorrupt { .. })));
    let nowhere = LocalGallery::open(folder.path().join("nowhere.face"));
    assert!(matches!(nowhere.err(), Some(Error::Io { .. })));
}

#[test]
fn one_writer_or_many_readers() {
    let folder = TempDir::new().unwrap();
    let (path, expected) = gallery(&folder);
    let in_use = |result: Result<LocalGallery>| matches!(result.err(), Some(Error::GalleryInUse { .. }));
    let writer = LocalGallery::open(&path).unwrap();
    assert!(in_use(LocalGallery::open(&path)) && in_use(LocalGallery::open_read_only(&path)));
    drop(writer);
    let readers = [LocalGallery::open_read_only(&path).unwrap(), LocalGallery::open_read_only(&path).unwrap()];
    assert!(in_use(LocalGallery::open(&path)));
    for reader in &readers {
        assert_eq!(holding(reader), expected);
        let refused = reader.enroll(NewSubject::new("late", vec![embedding(&mut Chance(5)).into()]));
        assert!(matches!(refused, Err(Error::GalleryReadOnly { .. })));
    }
    drop(readers);
    assert_eq!(holding(&LocalGallery::open(&path).unwrap()), expected);
}

/// The program of `tests/crash/gallery`, which is built with the tests.
fn program(test: &str) -> Option<PathBuf> {
    // The test is in `deps`, the program in `examples` beside that.
    let tests = std::env::current_exe().unwrap();
    let name = format!("gallery_crash_child{}", std::env::consts::EXE_SUFFIX);
    let program = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    if program.exists() {
        return Some(program);
    }
    common::skip(test, &format!("{} is not built", program.display()));
    None
}

#[test]
fn another_version_of_the_format_is_named() {
    let Some(program) = program("crash::another_version_of_the_format_is_named") else { return };
    let folder = TempDir::new().unwrap();
    let (path, _) = gallery(&folder);
    assert!(Command::new(program).arg("set-format").arg(&path).arg("77").status().unwrap().success());
    for result in [LocalGallery::open(&path), LocalGallery::open_read_only(&path)] {
        let error = result.err().unwrap();
        assert!(matches!(&error, Error::GalleryVersion { found, .. } if found == "77"), "{error}");
    }
}

#[test]
fn killed_writers_lose_nothing_that_was_acknowledged() {
    let Some(program) = program("crash::killed_writers_lose_nothing_that_was_acknowledged") else { return };
    let folder = TempDir::new().unwrap();
    let mut chance = Chance(u64::from(std::process::id()));
    for kind in ["cosine-f32", "euclidean-int8-hnsw"] {
        let (path, journal) = (folder.path().join(kind), folder.path().join(format!("{kind}.journal")));
        File::create(&journal).unwrap();
        let command = |action: &str| {
            let output = OpenOptions::new().append(true).open(&journal).unwrap();
            let mut command = Command::new(&program);
            command.arg(action).arg(kind).arg(&path).arg(&journal).stdin(Stdio::null()).stdout(output);
            command.stderr(Stdio::piped());
            command
        };
        for round in 0..8 {
            let mut writer = command("write");
            if round % 2 == 1 {
                writer.arg("compacting");
            }
            let mut writer = writer.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(chance.below(250) as u64));
            writer.kill().unwrap();
            let died = writer.wait_with_output().unwrap();
            assert!(died.status.code().is_none(), "{kind}: {died:?}");
            let checked = command("check").output().unwrap();
            assert!(checked.status.success(), "{kind}, kill {round}: {}", common::errors(&checked));
        }
        let acknowledged = std::fs::read_to_string(&journal).unwrap().matches("\"done\"").count();
        assert!(acknowledged > 0, "{kind}: the writers were killed before they wrote anything");
    }
}
