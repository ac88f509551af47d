//! The child and the checker of `tests/crash/gallery`: changes a gallery until it is killed, and says whether a gallery
//! holds what was acknowledged.
//!
//! Every operation has a number, and everything that it enrols follows from that number, vectors too. What was tried and
//! what was acknowledged goes to the standard output, a line of JSON each: the journal. The checker works out from the
//! journal alone what the gallery must hold, bit for bit.
//!
//! ```text
//! gallery_crash_child write KIND PATH JOURNAL [first=N] [operations=N] [compacting] [opening]
//! gallery_crash_child check KIND PATH JOURNAL [read-only] [enroll]
//! gallery_crash_child fill  KIND PATH JOURNAL [first=N]
//! gallery_crash_child hold  KIND PATH [read-only]
//! gallery_crash_child set-format PATH NUMBER
//! ```
//!
//! KIND is the metric and the precision, `cosine-f32` or `euclidean-int8` say, with `-hnsw` for an approximate index. The
//! status is 0 for success, 1 for a gallery that holds something else, 3 when opening it gave an error of the crate.
#![allow(clippy::print_stdout)] // It is a program.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use face_core::gallery::{
    ApproximateParams, Candidate, Gallery, LocalGallery, LocalGalleryParams, Metadata, NewSubject, NewTemplate, Page,
    Precision, SearchMode, SearchParams, Subject, SubjectFilter, SubjectId, TemplateId,
};
use face_core::{Embedding, EmbeddingSpace, Error, Metric};
use serde::{Deserialize, Serialize};
use serde_json::json;

const DIMENSION: usize = 32;
const TOP_K: usize = 5;
/// A gallery of the test grows no further.
const MAX_PEOPLE: usize = 500;
const MAX_TEMPLATES: usize = 2500;
/// A child that nobody kills ends by itself.
const LIFETIME: Duration = Duration::from_secs(120);

/// What a template follows from: the operation that enrolled it, the person within that, the template of that person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key(u64, u32, u32);

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Enroll { people: u32 },
    AddTemplates { subject: SubjectId, templates: u32 },
    Rename { subject: SubjectId },
    SetMetadata { subject: SubjectId },
    RemoveSubject { subject: SubjectId },
    RemoveTemplate { template: TemplateId, key: Key },
    Compact,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Report {
    Opened,
    Trying(u64, Operation),
    /// Acknowledged, with the subjects that were enrolled.
    Done(u64, Vec<SubjectId>),
    /// The call gave an error: nothing of it may be kept.
    Refused(u64, String),
    /// The checker found that the operation that was under way was kept, with the subjects of it, or that it was not.
    Settled(u64, Option<Vec<SubjectId>>),
    /// Ids of templates that were read from the gallery for the first time.
    Seen(Vec<(TemplateId, Key)>),
    /// `fill` waits for a line on the standard input.
    Full,
}

/// What the gallery must hold.
#[derive(Default)]
struct Model {
    people: BTreeMap<SubjectId, Person>,
    removed: Vec<(SubjectId, String)>,
    given: HashMap<TemplateId, Key>,
    last_subject: Option<SubjectId>,
    last_template: Option<TemplateId>,
    /// Neither acknowledged nor refused when the child died.
    pending: Option<(u64, Operation)>,
    next: u64,
    acknowledged: u64,
    was_opened: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Person {
    name: String,
    metadata: Metadata,
    templates: Vec<Key>,
}

type Checked<T = ()> = Result<T, String>;

impl Model {
    fn read(journal: &Path, first: u64) -> Checked<Self> {
        let text = std::fs::read_to_string(journal).map_err(text_of)?;
        let mut model = Self::default();
        for line in text.lines() {
            let report = serde_json::from_str(line).map_err(|error| format!("the journal: {error}: {line}"))?;
            model.take(report)?;
        }
        model.next = model.next.max(first);
        Ok(model)
    }

    fn take(&mut self, report: Report) -> Checked {
        match report {
            Report::Opened => self.was_opened = true,
            Report::Full => {}
            Report::Trying(number, operation) => {
                if let Some((before, _)) = &self.pending {
                    return Err(format!("operation {number} began before {before} was settled"));
                }
                self.next = number + 1;
                self.pending = Some((number, operation));
            }
            Report::Done(number, subjects) => {
                self.acknowledged += 1;
                let operation = self.settle(number)?;
                self.apply(number, &operation, &subjects)?;
            }
            Report::Refused(number, _) | Report::Settled(number, None) => {
                self.settle(number)?;
            }
            Report::Settled(number, Some(subjects)) => {
                let operation = self.settle(number)?;
                self.apply(number, &operation, &subjects)?;
            }
            Report::Seen(templates) => {
                for (id, key) in templates {
                    if self.last_template >= Some(id) {
                        return Err(format!("template {id} was given again, to {key:?}: {:?}", self.given.get(&id)));
                    }
                    self.last_template = Some(id);
                    self.given.insert(id, key);
                }
            }
        }
        Ok(())
    }

    fn settle(&mut self, number: u64) -> Checked<Operation> {
        match self.pending.take() {
            Some((pending, operation)) if pending == number => Ok(operation),
            other => Err(format!("operation {number} ended, and {other:?} was under way")),
        }
    }

    fn apply(&mut self, number: u64, operation: &Operation, subjects: &[SubjectId]) -> Checked {
        match operation {
            Operation::Enroll { people } => {
                if subjects.len() != *people as usize {
                    return Err(format!(
                        "{people} people were enrolled by operation {number}, with the ids {subjects:?}"
                    ));
                }
                for (id, index) in subjects.iter().zip(0..) {
                    if self.last_subject >= Some(*id) {
                        return Err(format!("subject {id} was given again, by operation {number}"));
                    }
                    self.last_subject = Some(*id);
                    self.people.insert(*id, Person::new(number, index));
                }
            }
            Operation::AddTemplates { subject, templates } => {
                self.person(*subject)?.templates.extend((0..*templates).map(|index| Key(number, 0, index)));
            }
            Operation::Rename { subject } => self.person(*subject)?.name = new_name(number),
            Operation::SetMetadata { subject } => self.person(*subject)?.metadata = new_metadata(number),
            Operation::RemoveSubject { subject } => {
                let person = self.people.remove(subject).ok_or_else(|| format!("subject {subject} is not there"))?;
                self.removed.push((*subject, person.name));
            }
            Operation::RemoveTemplate { key, .. } => {
                for person in self.people.values_mut() {
                    person.templates.retain(|template| template != key);
                }
            }
            Operation::Compact => {}
        }
        Ok(())
    }

    fn person(&mut self, id: SubjectId) -> Checked<&mut Person> {
        self.people.get_mut(&id).ok_or_else(|| format!("subject {id} is not there"))
    }

    fn templates(&self) -> usize {
        self.people.values().map(|person| person.templates.len()).sum()
    }
}

impl Person {
    fn new(number: u64, index: u32) -> Self {
        let random = hash(&[number, u64::from(index), 1]);
        let templates = (0..1 + random as u32 % 3).map(|template| Key(number, index, template)).collect();
        let metadata = object(json!({ "team": random / 3 % 3, "born": format!("{number}/{index}") }));
        Self { name: format!("person {number}/{index}"), metadata, templates }
    }
}

fn new_name(number: u64) -> String {
    format!("renamed by {number}")
}

fn new_metadata(number: u64) -> Metadata {
    object(json!({ "team": number % 3, "changed": { "by": [number] } }))
}

fn object(value: serde_json::Value) -> Metadata {
    value.as_object().cloned().unwrap_or_default()
}

/// Sixty-four bits that follow from the parts (the finaliser of SplitMix64).
fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9E37_79B9_7F4A_7C15, |state, part| {
        let mut z = (state ^ part).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// From -1 to 1.
fn uniform(parts: &[u64]) -> f32 {
    ((hash(parts) >> 40) as f32 / (1_u32 << 23) as f32) - 1.0
}

/// The templates of one person lie about one centre.
fn embedding(Key(number, person, template): Key, space: &Arc<EmbeddingSpace>) -> Checked<Embedding> {
    let value = |axis| {
        let centre = uniform(&[number, u64::from(person), 2, axis]);
        centre + 0.4 * uniform(&[number, u64::from(person), 3, u64::from(template), axis])
    };
    Embedding::new((0..DIMENSION as u64).map(value).collect(), Arc::clone(space)).map_err(text_of)
}

fn source(Key(number, person, template): Key) -> String {
    format!("{number}/{person}/{template}")
}

fn quality(Key(number, person, template): Key) -> f32 {
    (hash(&[number, u64::from(person), u64::from(template), 4]) % 1001) as f32 / 1000.0
}

fn enrolled_at(Key(number, ..): Key) -> u64 {
    1_700_000_000 + number
}

fn new_templates(keys: &[Key], space: &Arc<EmbeddingSpace>) -> Checked<Vec<NewTemplate>> {
    let new = |key: &Key| {
        let (source, quality, at) = (Some(source(*key)), Some(quality(*key)), Some(enrolled_at(*key)));
        Ok(NewTemplate { embedding: embedding(*key, space)?, quality, source, enrolled_at: at })
    };
    keys.iter().map(new).collect()
}

fn text_of(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The name of an error's variant, and its message.
fn describe(error: &Error) -> String {
    let variant: String = format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect();
    format!("{variant}: {error}")
}

// ---- What the arguments say.

struct Kind {
    metric: Metric,
    params: LocalGalleryParams,
}

impl Kind {
    fn parse(text: &str) -> Checked<Self> {
        let mut parts = text.split('-');
        let metric = match parts.next() {
            Some("cosine") => Metric::Cosine,
            Some("euclidean") => Metric::Euclidean,
            _ => return Err(format!("no metric: {text}")),
        };
        let precision = match parts.next() {
            Some("f32") => Precision::F32,
            Some("int8") => Precision::Int8,
            _ => return Err(format!("no precision: {text}")),
        };
        // Wide enough that at this size hardly a neighbour is missed: what is missed would be lost, not approximate.
        let wide = ApproximateParams { connectivity: 32, expansion_add: 256, expansion_search: 512, min_templates: 0 };
        let approximate = (parts.next() == Some("hnsw")).then_some(wide);
        Ok(Self { metric, params: LocalGalleryParams { precision, approximate } })
    }

    fn space(&self) -> Arc<EmbeddingSpace> {
        Arc::new(EmbeddingSpace {
            model: "crash test".into(),
            digest: "00".into(),
            dimension: DIMENSION,
            preprocessing: "none".into(),
            averaging: "none".into(),
            metric: self.metric,
            thresholds: vec![],
        })
    }

    fn open(&self, path: &Path, read_only: bool) -> face_core::Result<LocalGallery> {
        if read_only {
            LocalGallery::open_read_only_with(path, &self.params)
        } else {
            LocalGallery::open_with(path, &self.params)
        }
    }

    fn open_or_create(&self, path: &Path) -> Checked<LocalGallery> {
        let gallery = if path.exists() {
            self.open(path, false)
        } else {
            LocalGallery::create_with(path, self.space(), &self.params)
        };
        gallery.map_err(|error| describe(&error))
    }
}

struct Arguments(Vec<String>);

impl Arguments {
    fn at(&self, index: usize, what: &str) -> Checked<&str> {
        self.0.get(index).map(String::as_str).ok_or_else(|| format!("{what} is missing"))
    }

    fn path(&self, index: usize) -> Checked<PathBuf> {
        self.at(index, "a path").map(PathBuf::from)
    }

    fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|argument| argument == flag)
    }

    fn number(&self, name: &str) -> Checked<Option<u64>> {
        let value = self.0.iter().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.parse().map_err(|error| format!("{name}={value}: {error}"))).transpose()
    }
}

// ---- The child.

/// One write for a line: it is in the journal whole or not at all.
fn say(report: &Report) -> Checked {
    let line = serde_json::to_string(report).map_err(text_of)? + "\n";
    let mut output = std::io::stdout().lock();
    output.write_all(line.as_bytes()).and_then(|()| output.flush()).map_err(text_of)
}

struct Child {
    gallery: LocalGallery,
    model: Model,
}

impl Child {
    fn say(&mut self, report: Report) -> Checked {
        say(&report)?;
        self.model.take(report)
    }

    /// Whether the operation was acknowledged.
    fn perform(&mut self, operation: Operation) -> Checked<bool> {
        let number = self.model.next;
        self.say(Report::Trying(number, operation.clone()))?;
        let subjects = match self.change(number, &operation)? {
            Ok(subjects) => subjects,
            Err(error) => {
                self.say(Report::Refused(number, describe(&error)))?;
                return Ok(false);
            }
        };
        self.say(Report::Done(number, subjects.clone()))?;
        let touched = match operation {
            Operation::Enroll { .. } => subjects,
            Operation::AddTemplates { subject, .. } => vec![subject],
            _ => return Ok(true),
        };
        let subjects = touched.iter().map(|id| self.gallery.subject(*id));
        let subjects = subjects.collect::<face_core::Result<Vec<_>>>().map_err(text_of)?;
        self.see(&subjects)?;
        Ok(true)
    }

    fn change(&self, number: u64, operation: &Operation) -> Checked<face_core::Result<Vec<SubjectId>>> {
        let (gallery, space) = (&self.gallery, self.gallery.space());
        let none = |()| vec![];
        Ok(match operation {
            Operation::Enroll { people } => {
                let new = |index| {
                    let Person { name, metadata, templates } = Person::new(number, index);
                    Ok(NewSubject { name, metadata, templates: new_templates(&templates, space)? })
                };
                gallery.enroll_batch((0..*people).map(new).collect::<Checked<_>>()?)
            }
            Operation::AddTemplates { subject, templates } => {
                let keys: Vec<Key> = (0..*templates).map(|index| Key(number, 0, index)).collect();
                gallery.add_templates(*subject, new_templates(&keys, space)?).map(|_| vec![])
            }
            Operation::Rename { subject } => gallery.rename(*subject, &new_name(number)).map(none),
            Operation::SetMetadata { subject } => gallery.set_metadata(*subject, new_metadata(number)).map(none),
            Operation::RemoveSubject { subject } => gallery.remove_subject(*subject).map(none),
            Operation::RemoveTemplate { template, .. } => gallery.remove_template(*template).map(none),
            Operation::Compact => gallery.compact().map(none),
        })
    }

    /// Reports ids of templates that nobody has reported before.
    fn see(&mut self, subjects: &[Subject]) -> Checked {
        let mut fresh = vec![];
        for (subject, template) in subjects.iter().flat_map(|s| s.templates.iter().map(move |t| (s, t))) {
            if !self.model.given.contains_key(&template.id) {
                fresh.push((template.id, key_of(template.source.as_deref(), subject)?));
            }
        }
        fresh.sort_unstable_by_key(|(id, _)| *id);
        if fresh.is_empty() { Ok(()) } else { self.say(Report::Seen(fresh)) }
    }

    fn choose(&self, compacting: bool) -> Checked<Operation> {
        let model = &self.model;
        let random = |what: u64, below: usize| (hash(&[model.next, 5, what]) % below.max(1) as u64) as usize;
        let someone = model.people.iter().nth(random(1, model.people.len()));
        let Some((&subject, person)) = someone else { return Ok(Operation::Enroll { people: 3 }) };
        if compacting && random(2, 3) == 0 {
            return Ok(Operation::Compact);
        }
        let is_full = model.people.len() >= MAX_PEOPLE || model.templates() >= MAX_TEMPLATES;
        Ok(match random(3, 100) {
            0..55 if is_full => Operation::RemoveSubject { subject },
            0..30 => Operation::Enroll { people: 1 },
            30..40 => Operation::Enroll { people: 2 + random(4, 9) as u32 },
            40..42 => Operation::Enroll { people: 100 },
            42..55 => Operation::AddTemplates { subject, templates: 1 + random(5, 3) as u32 },
            55..70 => Operation::RemoveSubject { subject },
            70..82 if !person.templates.is_empty() => {
                let index = random(6, person.templates.len());
                let there = self.gallery.subject(subject).map_err(text_of)?;
                let template = there.templates.get(index).ok_or("a template is missing")?.id;
                Operation::RemoveTemplate { template, key: person.templates[index] }
            }
            70..92 => Operation::Rename { subject },
            92..99 => Operation::SetMetadata { subject },
            _ => Operation::Compact,
        })
    }
}

fn key_of(source: Option<&str>, subject: &Subject) -> Checked<Key> {
    let text = source.ok_or_else(|| format!("a template of subject {} lost its source", subject.id))?;
    let parse = || {
        let mut parts = text.split('/');
        Some(Key(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    parse().ok_or_else(|| format!("a template of subject {} has the source {text:?}", subject.id))
}

fn write(arguments: &Arguments) -> Checked {
    let kind = Kind::parse(arguments.at(1, "the kind")?)?;
    let (path, journal) = (arguments.path(2)?, arguments.path(3)?);
    let model = Model::read(&journal, arguments.number("first")?.unwrap_or(0))?;
    let started = Instant::now();
    let mut child = Child { gallery: kind.open_or_create(&path)?, model };
    child.say(Report::Opened)?;
    if arguments.has("opening") {
        // Alive and idle until it is killed.
        std::thread::sleep(LIFETIME);
        return Ok(());
    }
    let mut left = arguments.number("operations")?.unwrap_or(u64::MAX);
    while left > 0 && started.elapsed() < LIFETIME {
        let operation = child.choose(arguments.has("compacting"))?;
        if !child.perform(operation)? {
            return Err("an operation was refused".into());
        }
        left -= 1;
    }
    Ok(())
}

/// Enrols until there is no space left, and goes on when there is.
fn fill(arguments: &Arguments) -> Checked {
    let kind = Kind::parse(arguments.at(1, "the kind")?)?;
    let (path, journal) = (arguments.path(2)?, arguments.path(3)?);
    let model = Model::read(&journal, arguments.number("first")?.unwrap_or(0))?;
    let mut child = Child { gallery: kind.open_or_create(&path)?, model };
    child.say(Report::Opened)?;
    let mut people = (1..=40).cycle().step_by(13);
    while child.perform(Operation::Enroll { people: people.next().unwrap_or(1) })? {}
    verify(&child.gallery, &child.model, &kind)?;
    // It is still full: refused again, and still nothing is lost. A small one may find a place.
    let small = Operation::Enroll { people: 1 };
    for operation in [Operation::Enroll { people: 200 }, Operation::Compact, small, Operation::Enroll { people: 200 }] {
        child.perform(operation)?;
        verify(&child.gallery, &child.model, &kind)?;
    }
    child.say(Report::Full)?;
    std::io::stdin().read_line(&mut String::new()).map_err(text_of)?;
    for people in [1, 40, 2] {
        if !child.perform(Operation::Enroll { people })? {
            return Err("there is space again, and enrolling is refused".into());
        }
    }
    verify(&child.gallery, &child.model, &kind)
}

// ---- The checker.

enum Verdict {
    Right,
    /// An error of the crate at opening.
    Refused(String),
    Wrong(String),
}

fn check(arguments: &Arguments) -> Checked<Verdict> {
    let kind = Kind::parse(arguments.at(1, "the kind")?)?;
    let (path, journal) = (arguments.path(2)?, arguments.path(3)?);
    let model = Model::read(&journal, arguments.number("first")?.unwrap_or(0))?;
    if !path.exists() && !model.was_opened {
        return Ok(Verdict::Right);
    }
    let gallery = match kind.open(&path, arguments.has("read-only")) {
        Ok(gallery) => gallery,
        Err(error) => return Ok(Verdict::Refused(describe(&error))),
    };
    let mut child = Child { gallery, model };
    let mut right = || {
        settle(&mut child)?;
        verify(&child.gallery, &child.model, &kind)?;
        if arguments.has("enroll") {
            if !child.perform(Operation::Enroll { people: 2 })? {
                return Err("the opened gallery refused to enrol".into());
            }
            verify(&child.gallery, &child.model, &kind)?;
        }
        Ok(())
    };
    let right: Checked = right();
    let Child { gallery, model } = child;
    drop(gallery);
    if right.is_ok() && arguments.has("enroll") {
        let again = kind.open(&path, false).map_err(|error| describe(&error))?;
        verify(&again, &model, &kind)?;
    }
    Ok(right.map_or_else(Verdict::Wrong, |()| Verdict::Right))
}

/// Finds out whether the operation that was under way was kept. It must be there as a whole or not at all.
fn settle(child: &mut Child) -> Checked {
    let Some((number, operation)) = child.model.pending.clone() else { return child.see(&everyone(&child.gallery)?) };
    let subjects = everyone(&child.gallery)?;
    let find = |id: SubjectId| subjects.iter().find(|subject| subject.id == id);
    let has = |key: Key| {
        let text = source(key);
        subjects.iter().flat_map(|s| &s.templates).any(|template| template.source.as_deref() == Some(&text))
    };
    let mut ids = vec![];
    let (kept, wanted) = match &operation {
        Operation::Enroll { people } => {
            let names: Vec<String> = (0..*people).map(|index| Person::new(number, index).name).collect();
            ids = subjects.iter().filter(|s| names.contains(&s.name)).map(|s| s.id).collect();
            (ids.len(), names.len())
        }
        Operation::AddTemplates { templates, .. } => {
            ((0..*templates).filter(|index| has(Key(number, 0, *index))).count(), *templates as usize)
        }
        Operation::Rename { subject } => (usize::from(find(*subject).is_some_and(|s| s.name == new_name(number))), 1),
        Operation::SetMetadata { subject } => {
            (usize::from(find(*subject).is_some_and(|s| s.metadata == new_metadata(number))), 1)
        }
        Operation::RemoveSubject { subject } => (usize::from(find(*subject).is_none()), 1),
        Operation::RemoveTemplate { key, .. } => (usize::from(!has(*key)), 1),
        Operation::Compact => (1, 1),
    };
    if kept != 0 && kept != wanted {
        return Err(format!("half an operation: {kept} of {wanted} parts of {operation:?} ({number})"));
    }
    child.say(Report::Settled(number, (kept == wanted).then_some(ids)))?;
    child.see(&subjects)
}

fn everyone(gallery: &LocalGallery) -> Checked<Vec<Subject>> {
    let mut all: Vec<Subject> = vec![];
    loop {
        let page = Page { after: all.last().map(|subject| subject.id), limit: 97 };
        let subjects = gallery.list(&page).map_err(text_of)?;
        if subjects.is_empty() {
            return Ok(all);
        }
        all.extend(subjects);
    }
}

/// Compares everything that the gallery holds and finds with the model.
fn verify(gallery: &LocalGallery, model: &Model, kind: &Kind) -> Checked {
    let space = kind.space();
    if gallery.space().id() != space.id() {
        return Err(format!("the space is {}", gallery.space()));
    }
    let subjects = everyone(gallery)?;
    let ids: Vec<SubjectId> = subjects.iter().map(|subject| subject.id).collect();
    let expected: Vec<SubjectId> = model.people.keys().copied().collect();
    if ids != expected {
        let missing: Vec<_> = expected.iter().filter(|id| !ids.contains(id)).collect();
        let extra: Vec<_> = ids.iter().filter(|id| !expected.contains(id)).collect();
        return Err(format!("subjects are missing: {missing:?}; were not acknowledged: {extra:?}; or out of order"));
    }
    let mut known = Known { templates: vec![], ids: HashMap::new(), metric: kind.metric };
    for (subject, (id, person)) in subjects.iter().zip(&model.people) {
        verify_subject(gallery, subject, person, &space, &mut known)?;
        if gallery.find(&person.name).map_err(text_of)?.as_ref() != Some(subject) {
            return Err(format!("subject {id} is not found by its name"));
        }
    }
    let count = gallery.count().map_err(text_of)?;
    if (count.subjects, count.templates) != (ids.len() as u64, known.templates.len() as u64) {
        return Err(format!("{count:?}, and there are {} and {}", ids.len(), known.templates.len()));
    }
    for (id, template) in &model.given {
        let is_there = known.ids.contains_key(id);
        let answer = gallery.embedding(*id);
        if !is_there && !matches!(answer, Err(Error::NotEnrolled { .. })) {
            return Err(format!("template {id} ({template:?}) was removed, and gives {answer:?}"));
        }
    }
    for (id, name) in &model.removed {
        let answer = gallery.subject(*id);
        let is_taken = model.people.values().any(|person| person.name == *name);
        if !matches!(answer, Err(Error::NotEnrolled { .. }))
            || gallery.find(name).map_err(text_of)?.is_some() != is_taken
        {
            return Err(format!("subject {id} ({name}) was removed, and gives {answer:?}"));
        }
    }
    verify_search(gallery, model, kind, &known)
}

fn verify_subject(
    gallery: &LocalGallery,
    subject: &Subject,
    person: &Person,
    space: &Arc<EmbeddingSpace>,
    known: &mut Known,
) -> Checked {
    let keys: Vec<Key> =
        subject.templates.iter().map(|t| key_of(t.source.as_deref(), subject)).collect::<Checked<_>>()?;
    let there = Person { name: subject.name.clone(), metadata: subject.metadata.clone(), templates: keys };
    if there != *person {
        return Err(format!("subject {} is {there:?}, and was enrolled as {person:?}", subject.id));
    }
    for (template, key) in subject.templates.iter().zip(&person.templates) {
        if template.quality != Some(quality(*key)) || template.enrolled_at != enrolled_at(*key) {
            return Err(format!("{template:?} is not what was enrolled for {key:?}"));
        }
        let expected = embedding(*key, space)?;
        let vector = gallery.embedding(template.id).map_err(text_of)?;
        let same = vector.vector().iter().map(|v| v.to_bits()).eq(expected.vector().iter().map(|v| v.to_bits()));
        if !same {
            return Err(format!("the vector of template {} ({key:?}) is not the one that was enrolled", template.id));
        }
        known.ids.insert(template.id, known.templates.len());
        known.templates.push((subject.id, expected));
    }
    Ok(())
}

/// The vectors as they were derived, and a search of our own over them.
struct Known {
    templates: Vec<(SubjectId, Embedding)>,
    ids: HashMap<TemplateId, usize>,
    metric: Metric,
}

impl Known {
    fn similarity(&self, index: usize, probe: &Embedding) -> f64 {
        let pairs = self.templates[index].1.vector().iter().zip(probe.vector());
        let pairs = pairs.map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match self.metric {
            Metric::Cosine => pairs.map(|(a, b)| a * b).sum(),
            _ => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
        }
    }

    /// Every accepted subject with its best similarity, the best first.
    fn ranking(&self, probe: &Embedding, accept: impl Fn(SubjectId) -> bool) -> Vec<(SubjectId, f64)> {
        let mut best = BTreeMap::new();
        for (index, (subject, _)) in self.templates.iter().enumerate().filter(|(_, (subject, _))| accept(*subject)) {
            let similarity = self.similarity(index, probe);
            let entry = best.entry(*subject).or_insert(similarity);
            *entry = similarity.max(*entry);
        }
        let mut ranking: Vec<_> = best.into_iter().collect();
        ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranking
    }

    /// Whether a candidate is what it says: its template is its subject's, and just as much like the probe.
    fn is_honest(&self, candidate: &Candidate, probe: &Embedding) -> bool {
        self.ids.get(&candidate.template).is_some_and(|index| {
            let similarity = self.similarity(*index, probe);
            self.templates[*index].0 == candidate.subject && (similarity - f64::from(candidate.similarity)).abs() < 1e-6
        })
    }
}

fn verify_search(gallery: &LocalGallery, model: &Model, kind: &Kind, known: &Known) -> Checked {
    let mut probes = vec![];
    for probe in 0..12_u32 {
        // Strangers, other samples of people who are enrolled, and templates as they are.
        let pick = hash(&[model.next, 6, u64::from(probe)]) as usize % known.templates.len().max(1);
        let person = model.people.values().flat_map(|person| &person.templates).nth(pick);
        let key = match (person, probe % 3) {
            (Some(Key(number, person, _)), 1) => Key(*number, *person, 1000 + probe),
            (Some(key), 2) => *key,
            _ => Key(u64::MAX - model.next, probe, 0),
        };
        probes.push(embedding(key, gallery.space())?);
    }
    let team = SubjectFilter { metadata: object(json!({ "team": 1 })), ..SubjectFilter::default() };
    for (filter, accepts) in [(SubjectFilter::default(), None), (team, Some(json!(1)))] {
        let params = SearchParams { top_k: TOP_K, filter, mode: SearchMode::Exact, ..SearchParams::default() };
        let answers = gallery.search(&probes, &params).map_err(text_of)?;
        for (probe, answer) in probes.iter().zip(&answers) {
            let accept = |id| accepts.is_none() || model.people[&id].metadata.get("team") == accepts.as_ref();
            let expected = known.ranking(probe, accept);
            let expected = &expected[..expected.len().min(TOP_K)];
            // Equal but for the order of what differs by less than double precision resolves.
            let same = |(candidate, (subject, similarity)): (&Candidate, &(SubjectId, f64))| {
                let tied = expected.iter().any(|(id, s)| *id == candidate.subject && (s - similarity).abs() < 1e-12);
                (candidate.subject == *subject || tied)
                    && known.is_honest(candidate, probe)
                    && (similarity - f64::from(candidate.similarity)).abs() < 1e-6
            };
            if answer.len() != expected.len() || !answer.iter().zip(expected).all(same) {
                return Err(format!("search found {answer:?}, and brute force {expected:?}"));
            }
        }
    }
    if kind.params.approximate.is_some() {
        let params = SearchParams { top_k: TOP_K, mode: SearchMode::Approximate, ..SearchParams::default() };
        let answers = gallery.search(&probes, &params).map_err(text_of)?;
        let mut missed = 0;
        for (probe, answer) in probes.iter().zip(&answers) {
            let expected = known.ranking(probe, |_| true);
            if let Some(candidate) = answer.iter().find(|candidate| !known.is_honest(candidate, probe)) {
                return Err(format!("the approximate search found {candidate:?}, which is not so"));
            }
            missed += usize::from(answer.first().map(|c| c.subject) != expected.first().map(|e| e.0));
        }
        // At this size and width the graph finds the best one but for a rare exception.
        if missed > 1 {
            return Err(format!("the approximate search missed the best of {missed} of {} probes", probes.len()));
        }
    }
    Ok(())
}

// ---- Smaller services.

/// Opens a gallery and holds it until the standard input ends.
fn hold(arguments: &Arguments) -> Checked<Verdict> {
    let kind = Kind::parse(arguments.at(1, "the kind")?)?;
    match kind.open(&arguments.path(2)?, arguments.has("read-only")) {
        Ok(_gallery) => {
            println!("opened");
            std::io::stdin().read_line(&mut String::new()).map_err(text_of)?;
            Ok(Verdict::Right)
        }
        Err(error) => Ok(Verdict::Refused(describe(&error))),
    }
}

/// Makes a gallery of another version of the format, whole in every other way.
fn set_format(arguments: &Arguments) -> Checked {
    use redb::ReadableTable as _;
    const ABOUT: redb::TableDefinition<'_, &str, &[u8]> = redb::TableDefinition::new("about");
    const KEY: &str = "gallery";
    let format: u64 = arguments.at(2, "the number")?.parse().map_err(text_of)?;
    let change = || -> Result<(), Box<dyn std::error::Error>> {
        let transaction = redb::Database::open(arguments.path(1)?)?.begin_write()?;
        {
            let mut table = transaction.open_table(ABOUT)?;
            let sealed = table.get(KEY)?.ok_or("no description")?.value().to_vec();
            let mut about: serde_json::Value = serde_json::from_slice(sealed.get(4..).unwrap_or_default())?;
            about["format"] = format.into();
            let value = serde_json::to_vec(&about)?;
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(KEY.as_bytes());
            hasher.update(&value);
            let sealed = [hasher.finalize().to_le_bytes().as_slice(), &value].concat();
            table.insert(KEY, sealed.as_slice())?;
        }
        Ok(transaction.commit()?)
    };
    change().map_err(text_of)
}

fn main() -> ExitCode {
    let arguments = Arguments(std::env::args().skip(1).collect());
    let right = |()| Verdict::Right;
    let verdict = match arguments.0.first().map(String::as_str) {
        Some("write") => write(&arguments).map(right),
        Some("fill") => fill(&arguments).map(right),
        Some("check") => check(&arguments),
        Some("hold") => hold(&arguments),
        Some("set-format") => set_format(&arguments).map(right),
        _ => Err("usage: gallery_crash_child write|fill|check|hold|set-format ...; see the source".into()),
    };
    match verdict.unwrap_or_else(Verdict::Wrong) {
        Verdict::Right => ExitCode::SUCCESS,
        Verdict::Refused(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
        Verdict::Wrong(reason) => {
            eprintln!("wrong: {reason}");
            ExitCode::FAILURE
        }
    }
}
