//! One suite for every kind of gallery: in memory, on disk, and on a PostgreSQL server, whole and in partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use face_core::gallery::{
    Decision, Existing, Gallery, GalleryCount, IdentifyParams, LocalGallery, LocalGalleryParams, Metadata, NewSubject,
    NewTemplate, Page, PostgresGallery, PostgresParams, Precision, SearchMode, SearchParams, SubjectFilter, SubjectId,
    TemplateId, export, find_duplicates, import, read_space,
};
use face_core::{Embedding, EmbeddingSpace, Error, GroupAware, Metric, Threshold};

use super::server::{Server, Sql, shared};

/// A gallery to be tested, and how it is opened again.
struct Made {
    gallery: Box<dyn Gallery>,
    reopen: Option<Box<dyn Fn() -> Box<dyn Gallery>>>,
}

/// S* from its formula.
fn group_aware_similarity(group_aware: GroupAware, a: &[f32], b: &[f32]) -> f64 {
    let (mut cosine, mut squares) = (0.0, 0.0);
    for (index, (a, b)) in a.iter().zip(b).enumerate() {
        let (a, b) = (f64::from(*a), f64::from(*b));
        if index < group_aware.representation() {
            cosine += a * b;
        } else {
            squares += (a - b) * (a - b);
        }
    }
    cosine.clamp(-1.0, 1.0) - group_aware.beta() * squares.sqrt().powf(group_aware.gamma())
}

type Make<'a> = &'a dyn Fn(&Arc<EmbeddingSpace>) -> Made;

fn in_memory(space: &Arc<EmbeddingSpace>) -> Made {
    Made { gallery: Box::new(LocalGallery::in_memory(Arc::clone(space)).unwrap()), reopen: None }
}

fn on_disk(space: &Arc<EmbeddingSpace>) -> Made {
    on_disk_with(space, LocalGalleryParams::default())
}

fn on_disk_in_bytes(space: &Arc<EmbeddingSpace>) -> Made {
    on_disk_with(space, LocalGalleryParams { precision: Precision::Int8, ..LocalGalleryParams::default() })
}

fn on_disk_with(space: &Arc<EmbeddingSpace>, params: LocalGalleryParams) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.gallery");
    let gallery = Box::new(LocalGallery::create_with(&path, Arc::clone(space), &params).unwrap());
    let reopen = move || {
        let _kept_until_here = &folder;
        Box::new(LocalGallery::open_with(&path, &params).unwrap()) as Box<dyn Gallery>
    };
    Made { gallery, reopen: Some(Box::new(reopen)) }
}

fn postgres(server: &Server, space: &Arc<EmbeddingSpace>) -> Made {
    postgres_with(server.params("suite"), space)
}

/// A database whose templates lie in partitions, as the manual has it.
fn postgres_partitioned(server: &Server, space: &Arc<EmbeddingSpace>) -> Made {
    static DATABASE: OnceLock<PostgresParams> = OnceLock::new();
    let params = DATABASE.get_or_init(|| {
        let params = server.params("suite_partitioned");
        drop(PostgresGallery::create(&params, Arc::clone(space)).unwrap());
        Sql::connect(&params.url).execute(partitions_sql());
        params
    });
    postgres_with(params.clone(), space)
}

/// The statements of the manual that spread the templates over partitions.
pub(crate) fn partitions_sql() -> &'static str {
    let manual = include_str!("../../docs/postgres.md");
    manual.split("```sql").find(|block| block.contains("PARTITION BY")).unwrap().split("```").next().unwrap()
}

fn postgres_with(params: PostgresParams, space: &Arc<EmbeddingSpace>) -> Made {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let gallery = format!("suite {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let params = PostgresParams { gallery, pool_size: 4, ..params };
    Made {
        gallery: Box::new(PostgresGallery::create(&params, Arc::clone(space)).unwrap()),
        reopen: Some(Box::new(move || Box::new(PostgresGallery::open(&params).unwrap()))),
    }
}

macro_rules! suite {
    ($($case:ident)*) => {
        suite!(local in_memory: $($case)*);
        suite!(local on_disk: $($case)*);
        suite!(local on_disk_in_bytes: $($case)*);
        suite!(server postgres: $($case)*);
        suite!(server postgres_partitioned: $($case)*);
    };
    (local $kind:ident: $($case:ident)*) => {
        mod $kind {
            $(#[test]
            fn $case() {
                super::$case(&super::$kind);
            })*
        }
    };
    (server $kind:ident: $($case:ident)*) => {
        mod $kind {
            $(#[test]
            fn $case() {
                let test = concat!("gallery_suite::", stringify!($kind), "::", stringify!($case));
                if let Some(server) = super::shared(test) {
                    super::$case(&|space| super::$kind(server, space));
                }
            })*
        }
    };
}

suite! {
    records_are_kept_and_changed
    vectors_come_back_bit_for_bit
    search_is_brute_force_with_cosine
    search_is_brute_force_with_distance
    search_is_brute_force_with_groups
    strangers_are_nobody
    spaces_do_not_mix
    a_taken_name_enrols_nobody
    ids_are_never_given_again
    what_is_not_there_is_said
    bad_input_is_refused
    metadata_is_filtered_by_containment
    an_export_gives_the_same_answers
    duplicates_are_found
    readers_see_whole_subjects_while_one_writes
    compacting_keeps_what_is_there
}

/// Random numbers, the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From -1 to 1.
    fn value(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.value()).collect()
    }

    /// As another one, with some noise: another photo of the same person.
    pub(crate) fn near(&mut self, vector: &[f32], spread: f32) -> Vec<f32> {
        vector.iter().map(|value| value + spread * self.value()).collect()
    }
}

pub(crate) fn space(metric: Metric, dimension: usize) -> Arc<EmbeddingSpace> {
    let threshold = |similarity, far| Threshold { similarity, far, measured_on: "made-up vectors".into() };
    let thresholds = match metric {
        Metric::Cosine => vec![threshold(0.5, 1e-2), threshold(0.8, 1e-3), threshold(0.9, 1e-5)],
        _ => vec![threshold(-2.0, 1e-2), threshold(-1.0, 1e-5)],
    };
    Arc::new(EmbeddingSpace {
        model: "made up".into(),
        digest: "00".into(),
        dimension,
        preprocessing: "none".into(),
        averaging: "none".into(),
        metric,
        thresholds,
    })
}

pub(crate) fn embedding(space: &Arc<EmbeddingSpace>, vector: Vec<f32>) -> Embedding {
    Embedding::new(vector, Arc::clone(space)).unwrap()
}

fn object(text: &str) -> Metadata {
    serde_json::from_str(text).unwrap()
}

/// A small cosine space, and one of its vectors for each number.
fn small() -> (Arc<EmbeddingSpace>, impl Fn(u64) -> Embedding) {
    let space = space(Metric::Cosine, 8);
    let own = Arc::clone(&space);
    (space, move |number| embedding(&own, Random(number).vector(8)))
}

fn subject(name: &str, embeddings: Vec<Embedding>) -> NewSubject {
    NewSubject::new(name, embeddings.into_iter().map(NewTemplate::new).collect())
}

fn names(gallery: &dyn Gallery) -> Vec<String> {
    gallery.list(&Page::default()).unwrap().into_iter().map(|subject| subject.name).collect()
}

fn records_are_kept_and_changed(make: Make<'_>) {
    let (space, vector) = small();
    let mut made = make(&space);
    let gallery = &*made.gallery;
    assert_eq!(gallery.space(), &space);
    assert_eq!(gallery.count().unwrap(), GalleryCount::default());
    assert_eq!(gallery.list(&Page::default()).unwrap(), []);
    assert_eq!(gallery.enroll_batch(vec![]).unwrap(), []);

    let photo = NewTemplate {
        embedding: vector(1),
        quality: Some(0.875),
        source: Some("photos/Ada 1.jpg".into()),
        enrolled_at: Some(1_700_000_000),
    };
    let new = NewSubject {
        name: "Ada Łovelace \"1\" \\ 🙂".into(),
        metadata: object(r#"{"team": "A", "tags": ["x", "y"], "year": 1815, "nested": {"a": null}}"#),
        templates: vec![photo.clone(), vector(2).into()],
    };
    let ada = gallery.enroll(new.clone()).unwrap();
    let others =
        gallery.enroll_batch((0..5).map(|n| subject(&format!("P{n}"), vec![vector(10 + n)])).collect()).unwrap();
    assert_eq!(ada, SubjectId(1));
    assert_eq!(others, (2..=6).map(SubjectId).collect::<Vec<_>>());
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 6, templates: 7 });

    let found = gallery.subject(ada).unwrap();
    assert_eq!((&found.name, &found.metadata), (&new.name, &new.metadata));
    assert_eq!(found.templates.iter().map(|t| t.id).collect::<Vec<_>>(), [TemplateId(1), TemplateId(2)]);
    let first = &found.templates[0];
    assert_eq!((first.quality, first.enrolled_at), (photo.quality, 1_700_000_000));
    assert_eq!(first.source, photo.source);
    assert_eq!((found.templates[1].quality, &found.templates[1].source), (None, &None));
    assert!(found.templates[1].enrolled_at > 1_700_000_000);
    assert_eq!(gallery.find(&new.name).unwrap().as_ref(), Some(&found));
    assert_eq!(gallery.find("ada łovelace").unwrap(), None);
    assert_eq!(gallery.find("a\0b").unwrap(), None);

    let pages = |limit| {
        let (mut pages, mut page) = (vec![], Page { after: None, limit });
        loop {
            let subjects = gallery.list(&page).unwrap();
            let Some(last) = subjects.last() else { break pages };
            page.after = Some(last.id);
            pages.push(subjects.iter().map(|subject| subject.id.0).collect::<Vec<_>>());
        }
    };
    assert_eq!(pages(4), [vec![1, 2, 3, 4], vec![5, 6]]);
    assert_eq!(pages(Page::MAX_LIMIT), [vec![1, 2, 3, 4, 5, 6]]);
    assert_eq!(gallery.list(&Page { after: Some(SubjectId(u64::MAX)), limit: 1 }).unwrap(), []);

    assert_eq!(gallery.add_templates(others[0], vec![vector(30).into(), photo]).unwrap(), [8, 9].map(TemplateId));
    gallery.rename(others[1], "Ben").unwrap();
    gallery.rename(others[1], "Ben").unwrap();
    gallery.set_metadata(others[2], object(r#"{"b": [1, 2.5, true]}"#)).unwrap();
    gallery.remove_template(TemplateId(2)).unwrap();
    gallery.remove_template(TemplateId(3)).unwrap();
    gallery.remove_subject(others[4]).unwrap();
    let check = |gallery: &dyn Gallery| {
        assert_eq!(names(gallery), [new.name.as_str(), "P0", "Ben", "P2", "P3"]);
        assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 5, templates: 6 });
        let templates = |id| gallery.subject(id).unwrap().templates.iter().map(|t| t.id.0).collect::<Vec<_>>();
        assert_eq!((templates(ada), templates(others[0])), (vec![1], vec![8, 9]));
        assert_eq!(gallery.find("P1").unwrap(), None);
        assert_eq!(gallery.find("Ben").unwrap().unwrap().id, others[1]);
        assert_eq!(gallery.subject(others[2]).unwrap().metadata, object(r#"{"b": [1, 2.5, true]}"#));
        assert_eq!(gallery.subject(ada).unwrap().metadata, new.metadata);
        assert_eq!(gallery.embedding(TemplateId(8)).unwrap(), vector(30));
    };
    check(gallery);

    // A subject without templates stays, and is never found.
    gallery.remove_template(TemplateId(4)).unwrap();
    let all = SearchParams { top_k: 10, ..SearchParams::default() };
    let found = gallery.search(&[vector(11)], &all).unwrap().remove(0);
    assert_eq!(found.len(), 4);
    assert!(found.iter().all(|candidate| candidate.subject != others[1]));
    assert_eq!(gallery.add_templates(others[1], vec![vector(11).into()]).unwrap(), [TemplateId(10)]);
    check(gallery);

    if let Some(reopen) = made.reopen.take() {
        drop(made);
        let gallery = reopen();
        check(&*gallery);
        assert_eq!(gallery.space(), &space);
        assert_eq!(gallery.space().thresholds, space.thresholds);
        assert_eq!(gallery.enroll(subject("New", vec![vector(40)])).unwrap(), SubjectId(7));
    }
}

fn vectors_come_back_bit_for_bit(make: Make<'_>) {
    let space = space(Metric::Euclidean, 6);
    let mut made = make(&space);
    let odd = vec![-0.0, f32::MIN_POSITIVE, 1e-45, -1e14, 0.1, 1.0 / 3.0];
    let mut vectors = vec![odd, vec![0.0; 6]];
    vectors.extend((0..50).map(|n| Random(n).vector(6)));
    let new = vectors.iter().map(|vector| embedding(&space, vector.clone())).collect();
    let id = made.gallery.enroll(subject("Ada", new)).unwrap();
    let check = |gallery: &dyn Gallery| {
        let bits = |vector: &[f32]| vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        let templates = gallery.subject(id).unwrap().templates;
        assert_eq!(templates.len(), vectors.len());
        for (template, vector) in templates.iter().zip(&vectors) {
            assert_eq!(bits(gallery.embedding(template.id).unwrap().vector()), bits(vector));
        }
    };
    check(&*made.gallery);
    if let Some(reopen) = made.reopen.take() {
        drop(made);
        check(&*reopen());
    }
}

/// What is enrolled, kept beside the gallery.
#[derive(Default)]
pub(crate) struct Model {
    subjects: BTreeMap<SubjectId, (Metadata, BTreeMap<TemplateId, Vec<f32>>)>,
}

impl Model {
    pub(crate) fn enroll(&mut self, gallery: &dyn Gallery, subjects: Vec<NewSubject>) {
        let ids = gallery.enroll_batch(subjects.clone()).unwrap();
        let page = Page { after: ids.first().map(|first| SubjectId(first.0 - 1)), limit: ids.len() };
        let enrolled = gallery.list(&page).unwrap();
        assert!(enrolled.iter().map(|subject| subject.id).eq(ids));
        for (own, new) in enrolled.into_iter().zip(subjects) {
            let templates = own.templates.into_iter().map(|template| template.id);
            let vectors = new.templates.into_iter().map(|template| template.embedding.into_vector());
            self.subjects.insert(own.id, (new.metadata, templates.zip(vectors).collect()));
        }
    }

    fn remove(&mut self, gallery: &dyn Gallery, id: SubjectId) {
        gallery.remove_subject(id).unwrap();
        self.subjects.remove(&id);
    }

    /// Every comparison in double precision, sorted: subject, template and similarity.
    pub(crate) fn brute_force(
        &self,
        probe: &Embedding,
        params: &SearchParams,
        accept: &dyn Fn(SubjectId, &Metadata) -> bool,
    ) -> Vec<(SubjectId, TemplateId, f32)> {
        let similarity = |vector: &[f32]| {
            if let Metric::GroupAware(group_aware) = probe.space().metric {
                return group_aware_similarity(group_aware, probe.vector(), vector);
            }
            let pairs = probe.vector().iter().zip(vector).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            match probe.space().metric {
                Metric::Cosine => pairs.map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0),
                _ => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            }
        };
        let mut found = vec![];
        for (id, (metadata, templates)) in &self.subjects {
            let scored = templates.iter().map(|(template, vector)| (similarity(vector), *template));
            let best = scored.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            if let (Some((similarity, template)), true) = (best, accept(*id, metadata)) {
                found.push((similarity, *id, template));
            }
        }
        found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let least = params.min_similarity.unwrap_or(f32::NEG_INFINITY);
        let found = found.into_iter().map(|(similarity, id, template)| (id, template, similarity as f32));
        found.filter(|hit| hit.2 >= least).take(params.top_k).collect()
    }

    pub(crate) fn check(
        &self,
        gallery: &dyn Gallery,
        probes: &[Embedding],
        params: &SearchParams,
        accept: &dyn Fn(SubjectId, &Metadata) -> bool,
    ) {
        let answers = gallery.search(probes, params).unwrap();
        assert_eq!(answers.len(), probes.len());
        for (number, (probe, answer)) in probes.iter().zip(answers).enumerate() {
            let expected = self.brute_force(probe, params, accept);
            let found: Vec<_> = answer.iter().map(|c| (c.subject, c.template, c.similarity)).collect();
            assert_eq!(found, expected, "probe {number}, {params:?}");
            for candidate in answer {
                assert_eq!(candidate.name, format!("subject {}", candidate.subject));
            }
        }
    }
}

fn search_is_brute_force_with_cosine(make: Make<'_>) {
    search_is_brute_force(make, Metric::Cosine, &[-1.0, 0.0, 0.9, 1.0]);
}

fn search_is_brute_force_with_distance(make: Make<'_>) {
    search_is_brute_force(make, Metric::Euclidean, &[f32::NEG_INFINITY, -4.0, -0.5, 0.0]);
}

fn search_is_brute_force_with_groups(make: Make<'_>) {
    search_is_brute_force(make, Metric::GroupAware(GroupAware::new(16).unwrap()), &[-2.0, 0.0, 0.9, 1.0]);
    search_is_brute_force(make, Metric::GroupAware(GroupAware::with(20, 0.7, 1.5).unwrap()), &[-1.0]);
}

fn search_is_brute_force(make: Make<'_>, metric: Metric, least: &[f32]) {
    const DIMENSION: usize = 24;
    let space = space(metric, DIMENSION);
    let made = make(&space);
    let gallery = &*made.gallery;
    let mut random = Random(7);
    let mut model = Model::default();
    let nobody = gallery.search(&[embedding(&space, random.vector(DIMENSION))], &SearchParams::default()).unwrap();
    assert_eq!(nobody, [vec![]]);

    // People with one to five photos each. Every tenth is the first one's double, with the very same vectors: ties.
    let first = random.vector(DIMENSION);
    let mut centres = vec![];
    let mut batch = vec![];
    for number in 1..=300_usize {
        let centre = if number % 10 == 1 { first.clone() } else { random.vector(DIMENSION) };
        let photos = (0..=number % 5).map(|photo| {
            let spread = if number % 10 == 1 { photo as f32 * 1e-7 } else { 0.1 };
            NewTemplate::new(embedding(&space, random.near(&centre, spread)))
        });
        let mut new = NewSubject::new(format!("subject {number}"), photos.collect());
        new.metadata = object(&format!(r#"{{"team": {}, "tags": ["t{}"]}}"#, number % 3, number % 7));
        centres.push(centre);
        batch.push(new);
    }
    // One by one, and many at once.
    let many = batch.split_off(20);
    for new in batch {
        model.enroll(gallery, vec![new]);
    }
    model.enroll(gallery, many);
    for number in [1, 5, 11, 100, 300] {
        model.remove(gallery, SubjectId(number));
    }

    let mut probes: Vec<_> = [0, 10, 20, 1, 2, 150, 299]
        .map(|number| embedding(&space, random.near(&centres[number], if number % 10 == 0 { 0.0 } else { 0.1 })))
        .into();
    probes.extend((0..13).map(|_| embedding(&space, random.vector(DIMENSION))));
    assert_eq!(gallery.search(&[], &SearchParams::default()).unwrap(), Vec::<Vec<_>>::new());
    for top_k in [1, 2, 5, 40, 295, 296, SearchParams::MAX_TOP_K] {
        for mode in [SearchMode::Auto, SearchMode::Exact] {
            let params = SearchParams { top_k, mode, ..SearchParams::default() };
            model.check(gallery, &probes, &params, &|_, _| true);
            model.check(gallery, &probes[..1], &params, &|_, _| true);
        }
    }
    for least in least {
        for top_k in [3, 1000] {
            let params = SearchParams { top_k, min_similarity: Some(*least), ..SearchParams::default() };
            model.check(gallery, &probes, &params, &|_, _| true);
        }
    }
    let team = |metadata: &Metadata| metadata["team"] == 1;
    let some: BTreeSet<_> = [2, 3, 5, 17, 31, 200, 9999, u64::MAX].into_iter().map(SubjectId).collect();
    for (subjects, metadata, accept) in [
        (None, r#"{"team": 1}"#, &(|_, m: &Metadata| team(m)) as &dyn Fn(SubjectId, &Metadata) -> bool),
        (None, r#"{"team": 7}"#, &|_, _| false),
        (Some(some.clone()), "{}", &|id, _| some.contains(&id)),
        (Some(some.clone()), r#"{"team": 1}"#, &|id, m| some.contains(&id) && team(m)),
        (Some(BTreeSet::new()), "{}", &|_, _| false),
    ] {
        let filter = SubjectFilter { subjects, metadata: object(metadata) };
        let passing = model.subjects.iter().filter(|(id, (metadata, _))| accept(**id, metadata));
        let count = passing.fold(GalleryCount::default(), |count, (_, (_, templates))| GalleryCount {
            subjects: count.subjects + 1,
            templates: count.templates + templates.len() as u64,
        });
        assert_eq!(gallery.count_matching(&filter).unwrap(), count, "{filter:?}");
        for top_k in [1, 4, 500] {
            let params = SearchParams { top_k, filter: filter.clone(), ..SearchParams::default() };
            model.check(gallery, &probes, &params, accept);
        }
    }
    let approximate = SearchParams { mode: SearchMode::Approximate, ..SearchParams::default() };
    let refused = gallery.search(&probes, &approximate).unwrap_err();
    assert!(matches!(refused, Error::InvalidParameter { .. }), "{refused}");
}

fn strangers_are_nobody(make: Make<'_>) {
    let space = space(Metric::Cosine, 32);
    let made = make(&space);
    let gallery = &*made.gallery;
    let mut random = Random(3);
    let faces: Vec<_> = (0..20).map(|_| random.vector(32)).collect();
    let new =
        |(number, face): (usize, &Vec<f32>)| subject(&format!("P{number}"), vec![embedding(&space, face.clone())]);
    gallery.enroll_batch(faces.iter().enumerate().map(new).collect()).unwrap();
    let params = IdentifyParams::default();
    for (number, face) in faces.iter().enumerate() {
        let answer = gallery.identify(&embedding(&space, random.near(face, 0.1)), &params).unwrap();
        assert_eq!(answer.best_match().unwrap().name, format!("P{number}"));
        // 20 comparisons at 1e-5 each; 1e-3 would be too many.
        assert_eq!((answer.threshold.far, answer.templates), (1e-5, 20));
        assert!((answer.fpir_bound() - 2e-4).abs() < 1e-12);
        assert_eq!(answer.candidates.len(), 5);
    }
    let strangers: Vec<_> = (0..20).map(|_| embedding(&space, random.vector(32))).collect();
    for answer in gallery.identify_batch(&strangers, &params).unwrap() {
        assert_eq!(answer.best_match(), None);
        assert_eq!(answer.candidates.len(), 5);
    }
    let filter = SubjectFilter { subjects: Some([SubjectId(3)].into()), ..SubjectFilter::default() };
    let answer = gallery.identify(&strangers[0], &IdentifyParams { filter, ..params.clone() }).unwrap();
    assert_eq!((answer.candidates.len(), answer.templates, answer.threshold.far), (1, 1, 1e-2));
    let unknown = IdentifyParams { decision: Decision::Far(1e-7), ..params };
    assert!(matches!(gallery.identify(&strangers[0], &unknown), Err(Error::ThresholdUnknown { .. })));
}

fn spaces_do_not_mix(make: Make<'_>) {
    let (own, vector) = small();
    let made = make(&own);
    let gallery = &*made.gallery;
    let id = gallery.enroll(subject("Ada", vec![vector(1)])).unwrap();
    let other = Arc::new(EmbeddingSpace { model: "another".into(), ..(*own).clone() });
    let foreign = embedding(&other, Random(1).vector(8));
    let errors = [
        gallery.enroll(subject("Ben", vec![vector(2), foreign.clone()])).unwrap_err(),
        gallery.add_templates(id, vec![foreign.clone().into()]).unwrap_err(),
        gallery.search(&[vector(1), foreign.clone()], &SearchParams::default()).unwrap_err(),
        gallery.identify(&foreign, &IdentifyParams::default()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::GallerySpace { .. }), "{error}");
        let text = error.to_string();
        for part in [gallery.name(), own.id(), other.id()] {
            assert!(text.contains(&part), "{text}");
        }
    }
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 1, templates: 1 });
    // Thresholds are no part of the identity.
    let measured = Arc::new(EmbeddingSpace { thresholds: vec![], ..(*own).clone() });
    let probe = embedding(&measured, Random(1).vector(8));
    assert_eq!(gallery.search(&[probe], &SearchParams::default()).unwrap()[0][0].subject, id);
}

fn a_taken_name_enrols_nobody(make: Make<'_>) {
    let (space, vector) = small();
    let made = make(&space);
    let gallery = &*made.gallery;
    let ada = gallery.enroll(subject("Ada", vec![vector(1)])).unwrap();
    let ben = gallery.enroll(subject("Ben", vec![vector(2)])).unwrap();
    let taken = |result: face_core::Result<Vec<SubjectId>>, expected: &str| {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::NameTaken { name, .. } if name == expected), "{error}");
        assert!(error.to_string().contains(&gallery.name()), "{error}");
    };
    let batch = |names: &[&str]| names.iter().map(|name| subject(name, vec![vector(3)])).collect();
    taken(gallery.enroll_batch(batch(&["Cem", "Ada", "Dan"])), "Ada");
    taken(gallery.enroll_batch(batch(&["Cem", "Dan", "Cem", "Ada"])), "Cem");
    taken(gallery.enroll_batch(batch(&["Dan", "Ben", "Dan", "Ada"])), "Ben");
    taken(gallery.rename(ada, "Ben").map(|()| vec![]), "Ben");
    assert_eq!(names(gallery), ["Ada", "Ben"]);
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 2, templates: 2 });
    // Case and composition count.
    gallery.enroll_batch(batch(&["ada", "Zo\u{e9}", "Zoe\u{301}"])).unwrap();
    // A name that was given up is free.
    gallery.rename(ada, "Eva").unwrap();
    gallery.remove_subject(ben).unwrap();
    gallery.enroll_batch(batch(&["Ada", "Ben"])).unwrap();
    assert_eq!(names(gallery), ["Eva", "ada", "Zo\u{e9}", "Zoe\u{301}", "Ada", "Ben"]);
}

fn ids_are_never_given_again(make: Make<'_>) {
    let (space, vector) = small();
    let mut made = make(&space);
    let gallery = &*made.gallery;
    let ids = gallery.enroll_batch((0..3).map(|n| subject(&format!("P{n}"), vec![vector(n)])).collect()).unwrap();
    for id in ids {
        gallery.remove_subject(id).unwrap();
    }
    let ada = gallery.enroll(subject("Ada", vec![vector(9)])).unwrap();
    assert_eq!(ada, SubjectId(4));
    gallery.remove_template(TemplateId(4)).unwrap();
    assert_eq!(gallery.add_templates(ada, vec![vector(9).into()]).unwrap(), [TemplateId(5)]);
    gallery.remove_subject(ada).unwrap();
    gallery.compact().unwrap();
    if let Some(reopen) = made.reopen.take() {
        drop(made);
        made = Made { gallery: reopen(), reopen: Some(reopen) };
    }
    let ben = made.gallery.enroll(subject("Ben", vec![vector(9)])).unwrap();
    assert_eq!(ben, SubjectId(5));
    assert_eq!(made.gallery.subject(ben).unwrap().templates[0].id, TemplateId(6));
}

fn what_is_not_there_is_said(make: Make<'_>) {
    let (space, vector) = small();
    let made = make(&space);
    let gallery = &*made.gallery;
    gallery.enroll_batch(vec![subject("Ada", vec![vector(1)]), subject("Ben", vec![vector(2)])]).unwrap();
    gallery.remove_subject(SubjectId(1)).unwrap();
    for id in [0, 1, 3, u64::MAX] {
        let (subject, template) = (SubjectId(id), TemplateId(id));
        for (error, what) in [
            (gallery.subject(subject).unwrap_err(), "subject"),
            // That nobody is there counts more than that the name is taken.
            (gallery.rename(subject, "Ben").unwrap_err(), "subject"),
            (gallery.set_metadata(subject, Metadata::new()).unwrap_err(), "subject"),
            (gallery.add_templates(subject, vec![vector(1).into()]).unwrap_err(), "subject"),
            (gallery.remove_subject(subject).unwrap_err(), "subject"),
            (gallery.remove_template(template).unwrap_err(), "template"),
            (gallery.embedding(template).unwrap_err(), "template"),
        ] {
            assert!(matches!(error, Error::NotEnrolled { .. }), "{error}");
            let expected = format!("the gallery {} has no {what} {id}", gallery.name());
            assert_eq!(error.to_string(), expected);
        }
    }
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 1, templates: 1 });
    // A change that failed gave no ids away.
    assert_eq!(gallery.add_templates(SubjectId(2), vec![vector(1).into()]).unwrap(), [TemplateId(3)]);
}

fn bad_input_is_refused(make: Make<'_>) {
    let (space, vector) = small();
    let made = make(&space);
    let gallery = &*made.gallery;
    let ada = gallery.enroll(subject("Ada", vec![vector(1)])).unwrap();
    let template = || NewTemplate::new(vector(2));
    let with = |template: NewTemplate| NewSubject::new("Ben", vec![template]);
    let large = |length: usize| object(&format!(r#"{{"a": "{}"}}"#, "x".repeat(length)));
    let bad_subjects = [
        subject("", vec![vector(2)]),
        subject(" \t", vec![vector(2)]),
        subject("a\0b", vec![vector(2)]),
        subject("a\nb", vec![vector(2)]),
        subject(&"é".repeat(501), vec![vector(2)]),
        subject("Ben", vec![]),
        NewSubject { metadata: large(70_000), ..with(template()) },
        NewSubject { metadata: object(r#"{"a": ["\u0000"]}"#), ..with(template()) },
        NewSubject { metadata: object(r#"{"\u0000": 1}"#), ..with(template()) },
        with(NewTemplate { quality: Some(1.5), ..template() }),
        with(NewTemplate { quality: Some(-0.1), ..template() }),
        with(NewTemplate { quality: Some(f32::NAN), ..template() }),
        with(NewTemplate { source: Some("a\0b".into()), ..template() }),
        with(NewTemplate { source: Some("x".repeat(4001)), ..template() }),
        with(NewTemplate { enrolled_at: Some(u64::MAX), ..template() }),
    ];
    for bad in bad_subjects {
        let case = format!("{:?}", bad).chars().take(200).collect::<String>();
        let good = subject("Cem", vec![vector(3)]);
        let errors = [
            gallery.enroll_batch(vec![good, bad.clone()]).unwrap_err(),
            if !bad.name.starts_with("Ben") {
                gallery.rename(ada, &bad.name).unwrap_err()
            } else if bad.metadata.is_empty() {
                gallery.add_templates(ada, bad.templates).unwrap_err()
            } else {
                gallery.set_metadata(ada, bad.metadata).unwrap_err()
            },
        ];
        for error in errors {
            assert!(matches!(error, Error::InvalidParameter { .. }), "{case}: {error}");
        }
    }
    let probe = [vector(1)];
    for top_k in [0, SearchParams::MAX_TOP_K + 1] {
        let result = gallery.search(&probe, &SearchParams { top_k, ..SearchParams::default() });
        assert!(matches!(result, Err(Error::InvalidParameter { .. })), "{top_k}");
    }
    let no_number = SearchParams { min_similarity: Some(f32::NAN), ..SearchParams::default() };
    assert!(matches!(gallery.search(&probe, &no_number), Err(Error::InvalidParameter { .. })));
    for limit in [0, Page::MAX_LIMIT + 1] {
        assert!(matches!(gallery.list(&Page { limit, ..Page::default() }), Err(Error::InvalidParameter { .. })));
    }
    assert_eq!(names(gallery), ["Ada"]);
    // What is just within the limits.
    let longest = NewSubject { metadata: large(60_000), ..subject(&"🙂".repeat(500), vec![vector(2)]) };
    let id = gallery.enroll(longest.clone()).unwrap();
    let source =
        NewTemplate { source: Some("é".repeat(4000)), quality: Some(0.0), enrolled_at: Some(0), ..template() };
    gallery.add_templates(id, vec![source.clone()]).unwrap();
    let found = gallery.find(&longest.name).unwrap().unwrap();
    assert_eq!(found.metadata, longest.metadata);
    assert_eq!((&found.templates[1].source, found.templates[1].enrolled_at), (&source.source, 0));

    let euclidean = self::space(Metric::Euclidean, 8);
    let made = make(&euclidean);
    let long = embedding(&euclidean, vec![1e20; 8]);
    let refused = made.gallery.enroll(subject("Ada", vec![long.clone()])).unwrap_err();
    assert!(matches!(refused, Error::InvalidEmbedding { .. }), "{refused}");
    assert!(matches!(made.gallery.search(&[long], &SearchParams::default()), Err(Error::InvalidEmbedding { .. })));
}

fn metadata_is_filtered_by_containment(make: Make<'_>) {
    let (space, vector) = small();
    let made = make(&space);
    let gallery = &*made.gallery;
    let whole =
        r#"{"team": "A", "year": 2024, "tags": ["x", {"k": 1}], "home": {"city": "B", "zip": null}, "on": true}"#;
    gallery.enroll(NewSubject { metadata: object(whole), ..subject("Ada", vec![vector(1), vector(2)]) }).unwrap();
    gallery.enroll(subject("Ben", vec![vector(3)])).unwrap();
    for (part, expected) in [
        (r#"{"team": "A"}"#, true),
        (r#"{"team": "a"}"#, false),
        (r#"{"team": ["A"]}"#, false),
        (r#"{"year": 2024.0}"#, true),
        (r#"{"year": "2024"}"#, false),
        (r#"{"on": true, "team": "A"}"#, true),
        (r#"{"on": 1}"#, false),
        (r#"{"tags": []}"#, true),
        (r#"{"tags": ["x", "x"]}"#, true),
        (r#"{"tags": [{"k": 1}]}"#, true),
        (r#"{"tags": [{}]}"#, true),
        (r#"{"tags": [{"k": 2}]}"#, false),
        (r#"{"tags": "x"}"#, false),
        (r#"{"tags": {}}"#, false),
        (r#"{"home": {}}"#, true),
        (r#"{"home": {"city": "B"}}"#, true),
        (r#"{"home": {"zip": null}}"#, true),
        (r#"{"home": {"street": null}}"#, false),
        (r#"{"absent": null}"#, false),
    ] {
        let filter = SubjectFilter { metadata: object(part), ..SubjectFilter::default() };
        let count = if expected { GalleryCount { subjects: 1, templates: 2 } } else { GalleryCount::default() };
        assert_eq!(gallery.count_matching(&filter).unwrap(), count, "{part}");
        let params = SearchParams { filter, ..SearchParams::default() };
        let found = gallery.search(&[vector(3)], &params).unwrap().remove(0);
        assert_eq!(
            found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
            vec!["Ada"; usize::from(expected)],
            "{part}"
        );
    }
    let everybody = gallery.count_matching(&SubjectFilter::default()).unwrap();
    assert_eq!(everybody, GalleryCount { subjects: 2, templates: 3 });
}

fn an_export_gives_the_same_answers(make: Make<'_>) {
    for metric in [Metric::Cosine, Metric::Euclidean] {
        let space = space(metric, 16);
        let (from, to) = (make(&space), make(&space));
        let mut random = Random(11);
        let mut new = vec![];
        for number in 0..60 {
            let centre = random.vector(16);
            let photos = (0..3).map(|photo| NewTemplate {
                embedding: embedding(&space, random.near(&centre, 0.2)),
                quality: Some(photo as f32 / 7.0),
                source: (photo > 0).then(|| format!("photo {photo} of {number}.jpg")),
                enrolled_at: Some(1_600_000_000 + number),
            });
            let mut subject = NewSubject::new(format!("subject \"{number}\""), photos.collect());
            subject.metadata = object(&format!(r#"{{"number": {number}, "half": {}}}"#, number as f64 / 2.0));
            new.push(subject);
        }
        from.gallery.enroll_batch(new).unwrap();
        let mut text = vec![];
        let count = export(&*from.gallery, &mut text, &mut |_| {}).unwrap();
        assert_eq!(count, GalleryCount { subjects: 60, templates: 180 });
        let mut reader = text.as_slice();
        let read = read_space(&mut reader, "the export").unwrap();
        let report = import(&*to.gallery, &read, Existing::Refuse, &mut reader, "the export", &mut |_| {}).unwrap();
        assert_eq!((report.subjects, report.templates), (60, 180));

        assert_eq!(to.gallery.list(&Page::default()).unwrap(), from.gallery.list(&Page::default()).unwrap());
        for id in (1..=180).map(TemplateId) {
            assert_eq!(to.gallery.embedding(id).unwrap(), from.gallery.embedding(id).unwrap());
        }
        let probes: Vec<_> = (0..20).map(|_| embedding(&space, random.vector(16))).collect();
        let params = SearchParams { top_k: 60, ..SearchParams::default() };
        assert_eq!(to.gallery.search(&probes, &params).unwrap(), from.gallery.search(&probes, &params).unwrap());
        // A second time, all names are taken, and nothing is enrolled.
        let mut reader = text.as_slice();
        let read = read_space(&mut reader, "the export").unwrap();
        let again = import(&*to.gallery, &read, Existing::Refuse, &mut reader, "the export", &mut |_| {});
        assert!(matches!(again, Err(Error::NameTaken { .. })), "{again:?}");
        assert_eq!(to.gallery.count().unwrap(), count);
        // Those who are there can be passed over.
        let missing = to.gallery.list(&Page { limit: 20, ..Page::default() }).unwrap();
        missing.iter().for_each(|subject| to.gallery.remove_subject(subject.id).unwrap());
        let mut reader = text.as_slice();
        let read = read_space(&mut reader, "the export").unwrap();
        let report = import(&*to.gallery, &read, Existing::Skip, &mut reader, "the export", &mut |_| {}).unwrap();
        assert_eq!((report.subjects, report.templates, report.existing), (20, 60, 40));
        assert_eq!(to.gallery.count().unwrap(), count);
    }
}

fn duplicates_are_found(make: Make<'_>) {
    let space = space(Metric::Cosine, 32);
    let made = make(&space);
    let mut random = Random(5);
    let mut new = vec![];
    for number in 0..40 {
        let face = random.vector(32);
        new.push(subject(&format!("P{number}"), vec![embedding(&space, face.clone())]));
        if number % 10 == 0 {
            let photos = [0.1, 0.02].map(|spread| embedding(&space, random.near(&face, spread)));
            new.push(subject(&format!("P{number} again"), photos.into()));
        }
    }
    made.gallery.enroll_batch(new).unwrap();
    let mut looked_at = 0;
    let found = find_duplicates(&*made.gallery, 0.9, &mut |count| looked_at = count).unwrap();
    assert_eq!(looked_at, 48);
    assert!(found.is_sorted_by(|a, b| a.similarity >= b.similarity));
    let pairs: BTreeSet<_> = found.iter().map(|pair| (pair.first.0, pair.second.0)).collect();
    assert_eq!(pairs, [(1, 2), (12, 13), (23, 24), (34, 35)].into());
}

fn readers_see_whole_subjects_while_one_writes(make: Make<'_>) {
    const SUBJECTS: u64 = 120;
    let space = space(Metric::Cosine, 16);
    let made = make(&space);
    let gallery = &*made.gallery;
    let face = |number: u64| Random(number).vector(16);
    let photos = |number: u64| {
        let mut random = Random(1000 + number);
        vec![embedding(&space, face(number)), embedding(&space, random.near(&face(number), 0.05))]
    };
    let is_done = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3_u64)
            .map(|reader| {
                let (is_done, rounds, photos) = (&is_done, &rounds, &photos);
                scope.spawn(move || {
                    let mut number = reader;
                    while !is_done.load(Ordering::SeqCst) {
                        number = (number * 7 + 1) % SUBJECTS;
                        let answer = gallery.search(&photos(number), &SearchParams::default()).unwrap();
                        for candidate in answer.iter().flatten() {
                            assert_eq!(candidate.name, format!("P{}", candidate.subject));
                        }
                        for subject in gallery.list(&Page::default()).unwrap() {
                            assert_eq!(subject.templates.len(), 2, "half of {}", subject.name);
                        }
                        let count = gallery.count().unwrap();
                        assert_eq!(count.templates, 2 * count.subjects);
                        rounds.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let writer = scope.spawn(|| {
            for number in 1..=SUBJECTS {
                let id = gallery.enroll(subject(&format!("P{number}"), photos(number))).unwrap();
                assert_eq!(id, SubjectId(number));
                if number % 4 == 0 {
                    gallery.remove_subject(SubjectId(number - 1)).unwrap();
                }
            }
            while rounds.load(Ordering::SeqCst) < 10 {
                std::thread::yield_now();
            }
        });
        let written = writer.join();
        is_done.store(true, Ordering::SeqCst);
        let read: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        assert!(written.is_ok() && read.iter().all(Result::is_ok), "{written:?} {read:?}");
    });
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 90, templates: 180 });
    for number in (1..=SUBJECTS).filter(|number| number % 4 != 3) {
        let found = gallery.search(&photos(number)[..1], &SearchParams::default()).unwrap().remove(0);
        assert_eq!(found[0].subject, SubjectId(number));
    }
}

fn compacting_keeps_what_is_there(make: Make<'_>) {
    let space = space(Metric::Cosine, 24);
    let made = make(&space);
    let gallery = &*made.gallery;
    let mut model = Model::default();
    let mut random = Random(13);
    let new = (1..=100).map(|number| {
        let photos = (0..2).map(|_| embedding(&space, random.vector(24)));
        subject(&format!("subject {number}"), photos.collect())
    });
    model.enroll(gallery, new.collect());
    for number in (1..=100).step_by(3) {
        model.remove(gallery, SubjectId(number));
    }
    gallery.compact().unwrap();
    let probes: Vec<_> = (0..10).map(|_| embedding(&space, random.vector(24))).collect();
    model.check(gallery, &probes, &SearchParams { top_k: 100, ..SearchParams::default() }, &|_, _| true);
    assert_eq!(gallery.count().unwrap(), GalleryCount { subjects: 66, templates: 132 });
}
