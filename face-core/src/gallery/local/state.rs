//! The records of a local gallery in memory, with the indexes that find them.

use std::collections::{BTreeMap, HashMap};
#[cfg(feature = "hnsw")]
use std::sync::Arc;

use super::store::{About, Change, Content, SubjectRecord, TemplateRecord};
use super::{LocalGalleryParams, MemoryUse};
use crate::error::Result;
use crate::gallery::records::{
    GalleryCount, Metadata, NewSubject, NewTemplate, Page, Subject, SubjectFilter, SubjectId, Template, TemplateId, now,
};
#[cfg(feature = "hnsw")]
use crate::gallery::search::ApproximateIndex;
use crate::gallery::search::ExactIndex;

/// Everything that searches and lists look at.
pub(super) struct State {
    pub(super) about: About,
    subjects: BTreeMap<SubjectId, Entry>,
    names: HashMap<String, SubjectId>,
    pub(super) exact: ExactIndex,
    #[cfg(feature = "hnsw")]
    pub(super) approximate: Option<Arc<ApproximateIndex>>,
}

/// A subject, as it is kept.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) metadata: Metadata,
    templates: Vec<Template>,
}

/// Changes of one transaction that were checked, and the ids that they give.
pub(super) struct Plan {
    pub(super) changes: Vec<Change>,
    pub(super) subjects: Vec<SubjectId>,
    pub(super) templates: Vec<TemplateId>,
}

impl State {
    /// An empty gallery.
    pub(super) fn new(about: About, params: &LocalGalleryParams) -> Result<Self> {
        let exact = ExactIndex::new(about.space.dimension, about.space.metric, params.precision)?;
        #[cfg(feature = "hnsw")]
        let approximate = params
            .approximate_for(about.space.metric)
            .map(|params| ApproximateIndex::new(about.space.dimension, about.space.metric, params))
            .transpose()?
            .map(Arc::new);
        Ok(Self {
            about,
            subjects: BTreeMap::new(),
            names: HashMap::new(),
            exact,
            #[cfg(feature = "hnsw")]
            approximate,
        })
    }

    /// The records of a file, without the approximate index. The reason of an error says what contradicts what.
    pub(super) fn load(content: Content, params: &LocalGalleryParams) -> Result<Result<Self, String>> {
        let Content { about, subjects, templates } = content;
        let mut state = Self::new(about, params)?;
        for (id, SubjectRecord { name, metadata }) in subjects {
            if id.0 >= state.about.next_subject {
                return Ok(Err(format!("subject {id} has an id that was not given yet")));
            }
            if state.names.insert(name.clone(), id).is_some() {
                return Ok(Err(format!("two subjects are named \"{name}\"")));
            }
            state.subjects.insert(id, Entry { name, metadata, templates: vec![] });
        }
        for (TemplateRecord { subject, template }, vector) in templates {
            let id = template.id;
            if id.0 >= state.about.next_template {
                return Ok(Err(format!("template {id} has an id that was not given yet")));
            }
            let Some(entry) = state.subjects.get_mut(&subject) else {
                return Ok(Err(format!("template {id} belongs to subject {subject}, which is not there")));
            };
            entry.templates.push(template);
            if let Err(error) = state.exact.insert(id.0, subject.0, &vector) {
                return Ok(Err(format!("template {id}: {error}")));
            }
        }
        Ok(Ok(state))
    }

    pub(super) fn entry(&self, id: SubjectId) -> Option<&Entry> {
        self.subjects.get(&id)
    }

    pub(super) fn subject(&self, id: SubjectId) -> Option<Subject> {
        let Entry { name, metadata, templates } = self.subjects.get(&id)?;
        Some(Subject { id, name: name.clone(), metadata: metadata.clone(), templates: templates.clone() })
    }

    pub(super) fn id_of(&self, name: &str) -> Option<SubjectId> {
        self.names.get(name).copied()
    }

    pub(super) fn owner(&self, template: TemplateId) -> Option<SubjectId> {
        self.exact.group(template.0).map(SubjectId)
    }

    pub(super) fn page(&self, page: &Page) -> Vec<Subject> {
        let start = page.after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let ids = self.subjects.range((start, std::ops::Bound::Unbounded)).take(page.limit);
        ids.filter_map(|(id, _)| self.subject(*id)).collect()
    }

    pub(super) fn count(&self, filter: &SubjectFilter) -> GalleryCount {
        if filter.is_all() {
            return GalleryCount { subjects: self.subjects.len() as u64, templates: self.exact.len() as u64 };
        }
        let matching = self.subjects.iter().filter(|(id, entry)| filter.accepts(**id, &entry.metadata));
        matching.fold(GalleryCount::default(), |count, (_, entry)| GalleryCount {
            subjects: count.subjects + 1,
            templates: count.templates + entry.templates.len() as u64,
        })
    }

    pub(super) fn accepts(&self, filter: &SubjectFilter, id: SubjectId) -> bool {
        self.subjects.get(&id).is_some_and(|entry| filter.accepts(id, &entry.metadata))
    }

    /// Gives ids to new subjects and their templates.
    pub(super) fn plan_subjects(&self, subjects: Vec<NewSubject>) -> Plan {
        let mut about = self.about.clone();
        let mut plan = Plan { changes: vec![], subjects: vec![], templates: vec![] };
        for NewSubject { name, metadata, templates } in subjects {
            let id = SubjectId(about.next_subject);
            about.next_subject += 1;
            plan.subjects.push(id);
            plan.changes.push(Change::PutSubject(id, SubjectRecord { name, metadata }));
            plan.add_templates(id, templates, &mut about);
        }
        plan.changes.push(Change::About(Box::new(about)));
        plan
    }

    /// Gives ids to new templates of a subject.
    pub(super) fn plan_templates(&self, subject: SubjectId, templates: Vec<NewTemplate>) -> Plan {
        let mut about = self.about.clone();
        let mut plan = Plan { changes: vec![], subjects: vec![], templates: vec![] };
        plan.add_templates(subject, templates, &mut about);
        plan.changes.push(Change::About(Box::new(about)));
        plan
    }

    /// A subject goes with all its templates.
    pub(super) fn plan_removal(&self, subject: SubjectId) -> Vec<Change> {
        let templates = self.subjects.get(&subject).map(|entry| entry.templates.as_slice()).unwrap_or_default();
        let removals = templates.iter().map(|template| Change::RemoveTemplate(template.id));
        removals.chain([Change::RemoveSubject(subject)]).collect()
    }

    /// Takes over changes that the store has kept; ids first, so that none is given twice whatever happens.
    ///
    /// New vectors are in the approximate index already.
    pub(super) fn apply(&mut self, changes: Vec<Change>) -> Result<()> {
        for change in &changes {
            if let Change::About(about) = change {
                self.about = (**about).clone();
            }
        }
        for change in changes {
            match change {
                Change::About(_) => {}
                Change::PutSubject(id, SubjectRecord { name, metadata }) => {
                    let templates = match self.subjects.remove(&id) {
                        Some(entry) => {
                            self.names.remove(&entry.name);
                            entry.templates
                        }
                        None => vec![],
                    };
                    self.names.insert(name.clone(), id);
                    self.subjects.insert(id, Entry { name, metadata, templates });
                }
                Change::PutTemplate(TemplateRecord { subject, template }, vector) => {
                    let id = template.id;
                    self.exact.insert(id.0, subject.0, &vector)?;
                    if let Some(entry) = self.subjects.get_mut(&subject) {
                        entry.templates.push(template);
                    }
                }
                Change::RemoveSubject(id) => {
                    if let Some(entry) = self.subjects.remove(&id) {
                        self.names.remove(&entry.name);
                    }
                }
                Change::RemoveTemplate(id) => {
                    if let Some(subject) = self.owner(id)
                        && let Some(entry) = self.subjects.get_mut(&subject)
                    {
                        entry.templates.retain(|template| template.id != id);
                    }
                    self.exact.remove(id.0);
                    #[cfg(feature = "hnsw")]
                    if let Some(index) = &self.approximate {
                        // One that stays is passed over when its similarity is to be computed.
                        let _ = index.remove(id.0);
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn memory_use(&self) -> MemoryUse {
        let text = |value: &Option<String>| value.as_ref().map_or(0, String::capacity);
        let entry = |entry: &Entry| {
            let templates: usize = entry.templates.iter().map(|template| text(&template.source)).sum();
            let metadata = serde_json::to_string(&entry.metadata).map_or(0, |text| text.len());
            // The name is the key of the map of names too.
            2 * entry.name.capacity() + templates + metadata + entry.templates.capacity() * size_of::<Template>()
        };
        let maps = self.subjects.len() * (size_of::<(SubjectId, Entry)>() + size_of::<(String, SubjectId)>());
        MemoryUse {
            records: maps + self.subjects.values().map(entry).sum::<usize>(),
            vectors: self.exact.memory_bytes(),
            #[cfg(feature = "hnsw")]
            approximate: self.approximate.as_ref().map_or(0, |index| index.memory_bytes()),
            #[cfg(not(feature = "hnsw"))]
            approximate: 0,
        }
    }
}

impl Plan {
    fn add_templates(&mut self, subject: SubjectId, templates: Vec<NewTemplate>, about: &mut About) {
        for NewTemplate { embedding, quality, source, enrolled_at } in templates {
            let id = TemplateId(about.next_template);
            about.next_template += 1;
            self.templates.push(id);
            let template = Template { id, quality, source, enrolled_at: enrolled_at.unwrap_or_else(now) };
            self.changes.push(Change::PutTemplate(TemplateRecord { subject, template }, embedding.into_vector()));
        }
    }
}
