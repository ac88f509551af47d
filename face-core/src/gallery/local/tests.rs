//! What only a gallery in a file does. What all galleries have in common is tested in `face-core/tests/it`.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::gallery::IdentifyParams;
use crate::stage::Metric;

fn space() -> Arc<EmbeddingSpace> {
    Arc::new(EmbeddingSpace {
        model: "toy".into(),
        digest: "00".into(),
        dimension: 32,
        preprocessing: "none".into(),
        averaging: "none".into(),
        metric: Metric::Cosine,
        thresholds: vec![Threshold { similarity: 0.75, far: 1e-3, measured_on: "a test".into() }],
    })
}

fn embedding(number: u64) -> Embedding {
    let mut state = number + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Embedding::new((0..32).map(|_| next()).collect(), space()).unwrap()
}

fn person(number: u64) -> NewSubject {
    NewSubject::new(format!("person {number}"), vec![embedding(number).into(), embedding(number + 1_000_000).into()])
}

fn bytes_of(embedding: &Embedding) -> Vec<u8> {
    embedding.vector().iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn holds(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn records_come_back_bit_for_bit_with_their_thresholds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leute für Ada.face");
    let gallery = LocalGallery::create(&path, space()).unwrap();
    let ids = gallery.enroll_batch((0..50).map(person).collect()).unwrap();
    gallery.remove_subject(ids[7]).unwrap();
    let before = gallery.list(&Page::default()).unwrap();
    drop(gallery);
    for open in [LocalGallery::open, LocalGallery::open_read_only] {
        let gallery = open(&path).unwrap();
        assert_eq!(gallery.list(&Page::default()).unwrap(), before);
        assert_eq!(gallery.space().thresholds, space().thresholds);
        for subject in &before {
            assert_eq!(gallery.embedding(subject.templates[0].id).unwrap(), embedding(subject.id.0 - 1));
        }
        let answer = gallery.identify(&embedding(12), &IdentifyParams::default()).unwrap();
        assert_eq!(answer.best_match().unwrap().name, "person 12");
        assert!(gallery.identify(&embedding(7), &IdentifyParams::default()).unwrap().best_match().is_none());
    }
}

#[test]
fn removed_vectors_and_names_are_gone_from_the_file_after_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let gallery = LocalGallery::create(&path, space()).unwrap();
    gallery.enroll_batch((0..300).map(person).collect()).unwrap();
    let subject = gallery.find("person 33").unwrap().unwrap();
    assert!(holds(&path, &bytes_of(&embedding(33))) && holds(&path, b"person 33\""));
    gallery.remove_subject(subject.id).unwrap();
    let other = gallery.find("person 44").unwrap().unwrap();
    gallery.remove_template(other.templates[0].id).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    gallery.compact().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() <= size);
    for gone in
        [bytes_of(&embedding(33)), bytes_of(&embedding(1_000_033)), bytes_of(&embedding(44)), b"person 33\"".to_vec()]
    {
        assert!(!holds(&path, &gone));
    }
    assert!(holds(&path, &bytes_of(&embedding(1_000_044))));
    // The gallery goes on, in the new file.
    gallery.enroll(person(1000)).unwrap();
    drop(gallery);
    let gallery = LocalGallery::open(&path).unwrap();
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 300, templates: 599 });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_json_cannot_hold_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let gallery = LocalGallery::create(&path, space()).unwrap();
    let threshold = |similarity, far| vec![Threshold { similarity, far, measured_on: "a test".into() }];
    for refused in [threshold(f32::INFINITY, 1e-3), threshold(f32::NAN, 1e-3), threshold(0.5, f64::NAN)] {
        assert!(matches!(gallery.set_thresholds(refused.clone()), Err(Error::InvalidParameter { .. })));
        let space = Arc::new(EmbeddingSpace { thresholds: refused, ..(*space()).clone() });
        let other = folder.path().join("other.face");
        assert!(matches!(LocalGallery::create(&other, Arc::clone(&space)), Err(Error::InvalidParameter { .. })));
        assert!(!other.exists());
        assert!(matches!(LocalGallery::in_memory(space), Err(Error::InvalidParameter { .. })));
    }
    let mut deep = serde_json::Value::Null;
    for _ in 0..100 {
        deep = serde_json::json!([deep]);
    }
    let mut person = person(1);
    person.metadata.insert("deep".into(), deep);
    assert!(matches!(gallery.enroll(person), Err(Error::InvalidParameter { .. })));
    drop(gallery);
    assert_eq!(LocalGallery::open(&path).unwrap().count().unwrap().subjects, 0);
}

#[test]
fn an_export_does_not_replace_a_gallery_and_is_as_private() {
    let folder = tempfile::tempdir().unwrap();
    let (path, export) = (folder.path().join("people.face"), folder.path().join("people.jsonl"));
    let gallery = LocalGallery::create(&path, space()).unwrap();
    gallery.enroll(person(1)).unwrap();
    let refused = super::super::export_file(&gallery, &path, &mut |_| {});
    assert!(matches!(refused, Err(Error::InvalidParameter { .. })));
    for _ in 0..2 {
        assert_eq!(super::super::export_file(&gallery, &export, &mut |_| {}).unwrap().subjects, 1);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
    }
    drop(gallery);
    assert_eq!(LocalGallery::open(&path).unwrap().count().unwrap().subjects, 1);
}

#[test]
fn one_writer_or_many_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let gallery = LocalGallery::create(&path, space()).unwrap();
    gallery.enroll(person(1)).unwrap();
    assert!(matches!(LocalGallery::open(&path), Err(Error::GalleryInUse { .. })));
    assert!(matches!(LocalGallery::open_read_only(&path), Err(Error::GalleryInUse { .. })));
    // The new file that a compaction makes is locked as the old one was.
    gallery.compact().unwrap();
    assert!(matches!(LocalGallery::open(&path), Err(Error::GalleryInUse { .. })));
    drop(gallery);
    let readers = [LocalGallery::open_read_only(&path).unwrap(), LocalGallery::open_read_only(&path).unwrap()];
    assert!(matches!(LocalGallery::open(&path), Err(Error::GalleryInUse { .. })));
    for reader in &readers {
        assert_eq!(reader.count().unwrap().subjects, 1);
        assert!(matches!(reader.enroll(person(2)), Err(Error::GalleryReadOnly { .. })));
        assert!(matches!(reader.compact(), Err(Error::GalleryReadOnly { .. })));
    }
    drop(readers);
    assert!(LocalGallery::open(&path).is_ok());
}

#[test]
fn what_is_no_gallery_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    assert!(matches!(LocalGallery::open(&path), Err(Error::Io { .. })));
    assert!(matches!(LocalGallery::open(folder.path()), Err(Error::GalleryCorrupt { .. })));
    for content in [&b""[..], b"hello", &[0; 100_000]] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(LocalGallery::open(&path), Err(Error::GalleryCorrupt { .. })), "{} bytes", content.len());
        assert!(matches!(LocalGallery::open_read_only(&path), Err(Error::GalleryCorrupt { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert!(matches!(LocalGallery::create(&path, space()), Err(Error::Io { .. })));
    }
    std::fs::remove_file(&path).unwrap();
    // A database of somebody else.
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<'_, u64, u64>::new("numbers")).unwrap().insert(1, 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = LocalGallery::open(&path).map(drop).unwrap_err();
    assert!(matches!(&error, Error::GalleryCorrupt { reason, .. } if reason.contains("no gallery")), "{error}");
    let nowhere = folder.path().join("no folder").join("people.face");
    assert!(matches!(LocalGallery::create(nowhere, space()), Err(Error::Io { .. })));
}

#[test]
fn another_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let about = About { format: 99, ..About::new(&space()) };
    drop(Store::create(&path, &about).unwrap());
    let error = LocalGallery::open(&path).map(drop).unwrap_err();
    assert!(matches!(&error, Error::GalleryVersion { found, .. } if found == "99"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_leads_to_one_gallery_through_a_compaction_too() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real.face"), folder.path().join("link.face"));
    drop(LocalGallery::create(&real, space()).unwrap());
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let gallery = LocalGallery::open(&link).unwrap();
    gallery.enroll(person(1)).unwrap();
    gallery.compact().unwrap();
    gallery.enroll(person(2)).unwrap();
    drop(gallery);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(LocalGallery::open(&real).unwrap().count().unwrap().subjects, 2);
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[cfg(unix)]
#[test]
fn a_file_that_was_replaced_before_it_was_locked_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let gallery = LocalGallery::create(&path, space()).unwrap();
    gallery.enroll(person(0)).unwrap();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut gallery = gallery;
            for number in 1..60 {
                gallery.compact().unwrap();
                drop(gallery);
                // The other thread has it for a moment.
                gallery = loop {
                    match LocalGallery::open(&path) {
                        Err(Error::GalleryInUse { .. }) => std::thread::yield_now(),
                        opened => break opened.unwrap(),
                    }
                };
                gallery.enroll(person(number)).unwrap();
            }
            drop(gallery);
            is_done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut number = 1000;
        while !is_done.load(std::sync::atomic::Ordering::Acquire) {
            match LocalGallery::open(&path) {
                Err(Error::GalleryInUse { .. }) => {}
                opened => {
                    opened.unwrap().enroll(person(number)).unwrap();
                    number += 1;
                }
            }
        }
        let expected = 60 + number - 1000;
        assert_eq!(LocalGallery::open(&path).unwrap().count().unwrap().subjects, expected);
    });
}

/// The flags of redb's file, and the bit of them that tells which of the last two commits counts.
const FLAGS: usize = 9;
const LAST_COMMIT: u8 = 1;

/// What a killed writer leaves after each of some changes: the file before and after it.
fn files_of_a_killed_writer() -> Vec<[Vec<u8>; 2]> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    let file = || std::fs::read(&path).unwrap();
    let gallery = LocalGallery::create(&path, space()).unwrap();
    let mut files = vec![file()];
    for number in 0..4 {
        gallery.enroll(person(number)).unwrap();
        files.push(file());
    }
    gallery.remove_subject(SubjectId(2)).unwrap();
    files.push(file());
    // A compacted file is a new one: the commit before its last is empty.
    gallery.compact().unwrap();
    let compacted = file();
    gallery.rename(SubjectId(1), "Ada").unwrap();
    let mut pairs: Vec<_> = files.windows(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
    pairs.push([files.last().unwrap().clone(), compacted.clone()]);
    pairs.push([compacted, file()]);
    pairs
}

fn opened(content: &[u8], writable: bool) -> Result<Vec<Subject>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.face");
    std::fs::write(&path, content).unwrap();
    let open = if writable { LocalGallery::open } else { LocalGallery::open_read_only };
    let gallery = open(&path)?;
    let subjects = gallery.list(&Page::default())?;
    if writable {
        // It goes on from there.
        gallery.enroll(person(99))?;
        drop(gallery);
        assert_eq!(LocalGallery::open(&path)?.count()?.subjects, subjects.len() as u64 + 1);
    } else {
        drop(gallery);
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
    Ok(subjects)
}

#[test]
fn the_last_change_counts_whichever_commit_is_marked() {
    for [before, after] in files_of_a_killed_writer() {
        let (older, newer) = (opened(&before, true).unwrap(), opened(&after, true).unwrap());
        for writable in [true, false] {
            // A flipped bit, which is also what a process leaves that is killed before it marks its commit.
            let mut unmarked = after.clone();
            unmarked[FLAGS] ^= LAST_COMMIT;
            assert_eq!(opened(&unmarked, writable).unwrap(), newer);
            // A commit that was not written whole is none.
            let pages = before.chunks(4096).zip(after.chunks(4096)).enumerate().skip(1);
            // In a file that was just compacted, the commit before is that of an empty database: no gallery, and so an error.
            let mut went_back = 0;
            for (page, _) in pages.filter(|(_, (before, after))| before != after) {
                let mut torn = unmarked.clone();
                torn[4096 * page..4096 * (page + 1)].fill(0);
                match opened(&torn, writable) {
                    Ok(subjects) if subjects == newer => {}
                    Ok(subjects) => {
                        assert_eq!(subjects, older);
                        went_back += 1;
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::GalleryCorrupt { .. }) && older == newer, "{error}");
                        went_back += 1;
                    }
                }
            }
            assert!(went_back > 0);
        }
    }
}

#[test]
fn damage_of_a_commit_slot_brings_no_older_commit_back() {
    let mut refused = 0;
    for [_, after] in files_of_a_killed_writer() {
        let newer = opened(&after, true).unwrap();
        for at in 64..64 + 2 * 128 {
            for bit in [0, 7] {
                let mut damaged = after.clone();
                damaged[at] ^= 1 << bit;
                match opened(&damaged, false) {
                    Ok(subjects) => assert_eq!(subjects, newer, "byte {at}"),
                    Err(error) => {
                        assert!(
                            matches!(error, Error::GalleryCorrupt { .. } | Error::GalleryVersion { .. }),
                            "{error}"
                        );
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 0);
}

#[cfg(feature = "hnsw")]
mod approximate {
    use super::*;

    fn params() -> LocalGalleryParams {
        let approximate = ApproximateParams { min_templates: 0, ..ApproximateParams::default() };
        LocalGalleryParams { approximate: Some(approximate), ..LocalGalleryParams::default() }
    }

    /// Every vector finds itself through the graph, and nobody who was removed is found.
    fn check(gallery: &LocalGallery, present: impl Fn(u64) -> bool) {
        let probes: Vec<Embedding> = (0..400).map(embedding).collect();
        let search = SearchParams { top_k: 1, mode: SearchMode::Approximate, ..SearchParams::default() };
        let found = gallery.search(&probes, &search).unwrap();
        let mut missed = 0;
        for (number, candidates) in found.iter().enumerate() {
            let name = format!("person {number}");
            let is_found = candidates.first().is_some_and(|candidate| candidate.name == name);
            assert!(present(number as u64) || !is_found, "{name} was removed");
            missed += usize::from(present(number as u64) && !is_found);
        }
        assert!(missed <= 4, "{missed} missed");
    }

    #[test]
    fn the_index_is_kept_in_step_saved_and_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("people.face"), folder.path().join("people.face.hnsw"));
        let gallery = LocalGallery::create_with(&path, space(), &params()).unwrap();
        gallery.enroll_batch((0..300).map(person).collect()).unwrap();
        gallery.remove_subject(SubjectId(11)).unwrap();
        check(&gallery, |n| n < 300 && n != 10);
        drop(gallery);
        let saved = std::fs::read(&beside).unwrap();

        // Changed without the index: it is stale now.
        let gallery = LocalGallery::open(&path).unwrap();
        gallery.enroll_batch((300..350).map(person).collect()).unwrap();
        gallery.remove_subject(SubjectId(21)).unwrap();
        drop(gallery);
        let present = |n| n < 350 && n != 10 && n != 20;
        assert_eq!(std::fs::read(&beside).unwrap(), saved);
        check(&LocalGallery::open_read_only_with(&path, &params()).unwrap(), present);
        assert_eq!(std::fs::read(&beside).unwrap(), saved, "a reader writes nothing");
        check(&LocalGallery::open_with(&path, &params()).unwrap(), present);
        assert_ne!(std::fs::read(&beside).unwrap(), saved);

        // Missing, damaged, cut short, another gallery's.
        let other = folder.path().join("other.face");
        drop(LocalGallery::create_with(&other, space(), &params()).unwrap());
        let mut flipped = saved.clone();
        flipped[saved.len() / 2] ^= 1;
        let foreign = std::fs::read(folder.path().join("other.face.hnsw")).unwrap();
        for content in [None, Some(flipped), Some(saved[..saved.len() - 9].to_vec()), Some(foreign), Some(vec![])] {
            match content {
                None => std::fs::remove_file(&beside).unwrap(),
                Some(content) => std::fs::write(&beside, content).unwrap(),
            }
            check(&LocalGallery::open_with(&path, &params()).unwrap(), present);
        }
        // Compaction leaves no removed vector in the index either.
        let gallery = LocalGallery::open_with(&path, &params()).unwrap();
        gallery.compact().unwrap();
        check(&gallery, present);
    }

    #[test]
    fn ids_that_a_backup_gave_to_others_are_seen_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, backup) = (folder.path().join("people.face"), folder.path().join("backup"));
        let gallery = LocalGallery::create(&path, space()).unwrap();
        gallery.enroll_batch((0..50).map(person).collect()).unwrap();
        drop(gallery);
        std::fs::copy(&path, &backup).unwrap();
        let gallery = LocalGallery::open_with(&path, &params()).unwrap();
        gallery.enroll_batch((1000..1050).map(person).collect()).unwrap();
        drop(gallery);
        // Back to the past, and another future without the index that uses up more ids.
        std::fs::copy(&backup, &path).unwrap();
        let gallery = LocalGallery::open(&path).unwrap();
        gallery.enroll_batch((50..250).map(person).collect()).unwrap();
        drop(gallery);
        check(&LocalGallery::open_with(&path, &params()).unwrap(), |n| n < 250);
    }

    #[test]
    fn an_index_is_no_more_readable_than_its_gallery_and_goes_with_a_compaction() {
        let folder = tempfile::tempdir().unwrap();
        let (path, beside) = (folder.path().join("people.face"), folder.path().join("people.face.hnsw"));
        let gallery = LocalGallery::create_with(&path, space(), &params()).unwrap();
        gallery.enroll_batch((0..20).map(person).collect()).unwrap();
        gallery.remove_subject(SubjectId(3)).unwrap();
        drop(gallery);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&beside).unwrap().permissions().mode() & 0o777, 0o600);
        }
        LocalGallery::open(&path).unwrap().compact().unwrap();
        assert!(!beside.exists());
    }

    #[test]
    fn filters_and_several_templates_do_not_leave_too_few() {
        let gallery = LocalGallery::in_memory_with(space(), &params()).unwrap();
        for number in 0..200 {
            let mut subject = person(number);
            subject.templates.extend((0..20).map(|more| embedding(2_000_000 + 100 * number + more).into()));
            if number % 50 == 0 {
                subject.metadata.insert("team".into(), "A".into());
            }
            gallery.enroll(subject).unwrap();
        }
        let mut filter = SubjectFilter::default();
        let mut search = SearchParams { top_k: 30, mode: SearchMode::Approximate, ..SearchParams::default() };
        assert_eq!(gallery.search(&[embedding(3)], &search).unwrap()[0].len(), 30);
        filter.metadata.insert("team".into(), "A".into());
        search.filter = filter;
        let found = gallery.search(&[embedding(3)], &search).unwrap();
        assert_eq!(found[0].len(), 4);
        let exact = |search: &SearchParams| {
            gallery.search(&[embedding(3)], &SearchParams { mode: SearchMode::Exact, ..search.clone() }).unwrap()
        };
        assert_eq!(found, exact(&search));
        // Of one subject there are more templates near the probe than are looked at first.
        let mut crowd = NewSubject::new("crowd", vec![]);
        crowd.templates.extend((0..100).map(|_| embedding(3).into()));
        gallery.enroll(crowd).unwrap();
        search.filter = SubjectFilter::default();
        for min_similarity in [0.0, 0.2, 0.4, 0.999] {
            search.min_similarity = Some(min_similarity);
            let found = gallery.search(&[embedding(3)], &search).unwrap();
            let similar = exact(&search);
            assert_eq!(found[0].len(), similar[0].len(), "{min_similarity}");
            assert!(found[0].len() >= 2);
        }
    }

    #[test]
    fn a_gallery_without_an_index_says_so() {
        let gallery = LocalGallery::in_memory(space()).unwrap();
        let search = SearchParams { mode: SearchMode::Approximate, ..SearchParams::default() };
        assert!(matches!(gallery.search(&[embedding(1)], &search), Err(Error::InvalidParameter { .. })));
    }
}

/// Threads of one pool change one gallery: none may be given another's change while it holds the writer.
#[cfg(feature = "hnsw")]
#[test]
fn threads_of_a_pool_enrol_side_by_side() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let params = LocalGalleryParams {
            approximate: Some(ApproximateParams { min_templates: 10, ..ApproximateParams::default() }),
            ..LocalGalleryParams::default()
        };
        let gallery = LocalGallery::in_memory_with(space(), &params).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.scope(|scope| {
            for batch in 0..6_u64 {
                let gallery = &gallery;
                scope.spawn(move |_| {
                    gallery.enroll_batch((200 * batch..200 * (batch + 1)).map(person).collect()).unwrap();
                    gallery.compact().unwrap();
                });
            }
        });
        done.send(gallery.count().unwrap().templates).unwrap();
    });
    assert_eq!(wait.recv_timeout(std::time::Duration::from_secs(120)), Ok(2400), "they wait for one another");
}
