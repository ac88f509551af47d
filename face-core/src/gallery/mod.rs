//! Galleries: enrolled people, and who of them is on a photo.
//!
//! A [`Gallery`] holds *subjects*, each with one or more *templates* (embeddings). A probe is compared with all of them, and
//! the answer is a ranked list of candidates and a decision: the best one, or nobody.
//!
//! | gallery | keeps its records | for |
//! |---|---|---|
//! | [`LocalGallery::in_memory`] | nowhere | short lives, tests |
//! | [`LocalGallery::create`], [`LocalGallery::open`] | in one file | ten to some millions of templates on one machine |
//! | `PostgresGallery` (feature `postgres`) | on a PostgreSQL server with pgvector | many machines |
//!
//! A gallery is pinned to one [`EmbeddingSpace`]: what comes from another model or preprocessing is refused.
//!
//! ```
//! use std::sync::Arc;
//! use face_core::gallery::{Gallery, IdentifyParams, LocalGallery, NewSubject};
//! # use face_core::{Embedding, EmbeddingSpace, Metric, Threshold};
//! # let space = Arc::new(EmbeddingSpace { model: "toy".into(), digest: "00".into(), dimension: 2,
//! #     preprocessing: "none".into(), averaging: "none".into(), metric: Metric::Cosine,
//! #     thresholds: vec![Threshold { similarity: 0.9, far: 1e-3, measured_on: "an example".into() }] });
//! # let embedding = |x, y| Embedding::new(vec![x, y], Arc::clone(&space));
//! let gallery = LocalGallery::in_memory(Arc::clone(&space))?;
//! gallery.enroll(NewSubject::new("Ada", vec![embedding(1.0, 0.1)?.into()]))?;
//! gallery.enroll(NewSubject::new("Ben", vec![embedding(0.1, 1.0)?.into()]))?;
//!
//! let answer = gallery.identify(&embedding(1.0, 0.0)?, &IdentifyParams::default())?;
//! assert_eq!(answer.best_match().map(|candidate| candidate.name.as_str()), Some("Ada"));
//! let stranger = gallery.identify(&embedding(-1.0, -1.0)?, &IdentifyParams::default())?;
//! assert!(stranger.best_match().is_none());
//! # Ok::<(), face_core::Error>(())
//! ```

mod exchange;
mod grouping;
mod identification;
mod local;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
pub mod search;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::image::ImageView;
use crate::pipeline::FacePipeline;
use crate::stage::{Aligner, Embedder, Embedding, EmbeddingSpace, FaceDetector, Normalizer, Threshold};

pub use exchange::{Existing, ImportReport, export, export_file, import, read_space};
pub use grouping::{Duplicate, cluster, find_duplicates};
pub use identification::{Candidate, DEFAULT_FPIR, Decision, Identification, IdentifyParams, SearchMode, SearchParams};
pub use local::{ApproximateParams, LocalGallery, LocalGalleryParams, MemoryUse, Precision};
#[cfg(feature = "postgres")]
pub use postgres::{HnswParams, PostgresGallery, PostgresIndex, PostgresParams, PostgresTls};
pub use records::{
    GalleryCount, MAX_METADATA_BYTES, MAX_METADATA_DEPTH, MAX_NAME_CHARS, MAX_SOURCE_CHARS, Metadata, NewSubject,
    NewTemplate, Page, Subject, SubjectFilter, SubjectId, Template, TemplateId,
};

/// Enrolled people: enrol, identify, list, remove.
///
/// Everything takes `&self`, and one gallery serves all threads: searches run side by side, changes one after another.
/// A change is kept as a whole or not at all, and when the call returns it is durable as far as the gallery is.
pub trait Gallery: Send + Sync {
    /// What the gallery is called in errors: its path or address.
    fn name(&self) -> String;

    /// The space of all its embeddings.
    fn space(&self) -> &Arc<EmbeddingSpace>;

    /// The gallery as one of this machine, for what such a gallery alone can do: its index and its memory. `None` for others.
    fn as_local(&self) -> Option<&LocalGallery> {
        None
    }

    /// Enrols subjects, all of them or, when one is refused, none. The ids are in the order of the subjects.
    ///
    /// # Errors
    /// [`Error::NameTaken`], for two of the same name in the batch too; [`Error::GallerySpace`];
    /// [`Error::InvalidParameter`] for impossible names, metadata, qualities or a subject without a template;
    /// [`Error::InvalidEmbedding`]; [`Error::GalleryReadOnly`]; [`Error::GalleryStore`].
    fn enroll_batch(&self, subjects: Vec<NewSubject>) -> Result<Vec<SubjectId>>;

    /// Adds templates to a subject, all of them or none.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`]; as [`enroll_batch`](Self::enroll_batch).
    fn add_templates(&self, subject: SubjectId, templates: Vec<NewTemplate>) -> Result<Vec<TemplateId>>;

    /// Gives a subject another name.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`], [`Error::NameTaken`], [`Error::InvalidParameter`], [`Error::GalleryReadOnly`],
    /// [`Error::GalleryStore`].
    fn rename(&self, subject: SubjectId, name: &str) -> Result<()>;

    /// Replaces the metadata of a subject.
    ///
    /// # Errors
    /// As [`rename`](Self::rename).
    fn set_metadata(&self, subject: SubjectId, metadata: Metadata) -> Result<()>;

    /// Replaces the thresholds that the gallery keeps for its space, where they were measured after it was made. They take
    /// effect when the gallery is opened again.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for similarities that are not finite, or rates that are none;
    /// [`Error::GalleryReadOnly`], [`Error::GalleryStore`].
    fn set_thresholds(&self, thresholds: Vec<Threshold>) -> Result<()>;

    /// Removes a subject with all its templates. The bytes are gone from the store after [`compact`](Self::compact).
    ///
    /// # Errors
    /// [`Error::NotEnrolled`], [`Error::GalleryReadOnly`], [`Error::GalleryStore`].
    fn remove_subject(&self, subject: SubjectId) -> Result<()>;

    /// Removes one template. A subject without templates stays enrolled, and is never found.
    ///
    /// # Errors
    /// As [`remove_subject`](Self::remove_subject).
    fn remove_template(&self, template: TemplateId) -> Result<()>;

    /// One subject.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`], [`Error::GalleryStore`].
    fn subject(&self, subject: SubjectId) -> Result<Subject>;

    /// The subject of this name.
    ///
    /// # Errors
    /// [`Error::GalleryStore`].
    fn find(&self, name: &str) -> Result<Option<Subject>>;

    /// A page of the subjects, in the order of their ids.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for an impossible limit; [`Error::GalleryStore`].
    fn list(&self, page: &Page) -> Result<Vec<Subject>>;

    /// Number of subjects and templates.
    ///
    /// # Errors
    /// [`Error::GalleryStore`].
    fn count(&self) -> Result<GalleryCount>;

    /// Number of subjects that the filter lets pass, and of their templates.
    ///
    /// # Errors
    /// [`Error::GalleryStore`].
    fn count_matching(&self, filter: &SubjectFilter) -> Result<GalleryCount>;

    /// The vector of a template, bit for bit as it was enrolled.
    ///
    /// # Errors
    /// [`Error::NotEnrolled`], [`Error::GalleryStore`].
    fn embedding(&self, template: TemplateId) -> Result<Embedding>;

    /// For each probe the subjects that are most like it, the best first, each with its best template; ties in the order of
    /// the ids.
    ///
    /// # Errors
    /// [`Error::GallerySpace`], [`Error::InvalidParameter`], [`Error::GalleryStore`].
    fn search(&self, probes: &[Embedding], params: &SearchParams) -> Result<Vec<Vec<Candidate>>>;

    /// Rewrites the store without what was removed: removed vectors, names and metadata are gone from it, and its space is
    /// given back.
    ///
    /// # Errors
    /// [`Error::GalleryReadOnly`], [`Error::GalleryStore`].
    fn compact(&self) -> Result<()>;

    /// Enrols one subject.
    ///
    /// # Errors
    /// As [`enroll_batch`](Self::enroll_batch).
    fn enroll(&self, subject: NewSubject) -> Result<SubjectId> {
        let ids = self.enroll_batch(vec![subject])?;
        ids.first().copied().ok_or_else(|| Error::GalleryStore {
            action: "enrol in",
            gallery: self.name(),
            reason: "no id was given".into(),
        })
    }

    /// Who is it? One answer for each probe.
    ///
    /// # Errors
    /// As [`search`](Self::search) and [`Decision::threshold`].
    fn identify_batch(&self, probes: &[Embedding], params: &IdentifyParams) -> Result<Vec<Identification>> {
        let templates = self.count_matching(&params.filter)?.templates;
        let threshold = params.decision.threshold(self.space(), templates)?;
        let IdentifyParams { top_k, filter, mode, .. } = params;
        let search = SearchParams { top_k: *top_k, min_similarity: None, filter: filter.clone(), mode: *mode };
        let found = self.search(probes, &search)?;
        let answer = |candidates| Identification { candidates, threshold: threshold.clone(), templates };
        Ok(found.into_iter().map(answer).collect())
    }

    /// Who is it?
    ///
    /// # Errors
    /// As [`identify_batch`](Self::identify_batch).
    fn identify(&self, probe: &Embedding, params: &IdentifyParams) -> Result<Identification> {
        let answers = self.identify_batch(std::slice::from_ref(probe), params)?;
        answers.into_iter().next().ok_or_else(|| Error::GalleryStore {
            action: "search",
            gallery: self.name(),
            reason: "no answer was given".into(),
        })
    }
}

/// The template of the largest face of a photo, ready to be enrolled; `source` says where the photo comes from.
///
/// # Errors
/// [`Error::NoFace`]; as [`FacePipeline::analyze_largest`].
pub fn template_from_image<D: FaceDetector, A: Aligner, N: Normalizer, E: Embedder>(
    pipeline: &FacePipeline<D, A, N, E>,
    image: &ImageView<'_>,
    source: &str,
) -> Result<NewTemplate> {
    Ok(NewTemplate::from_face(&pipeline.analyze_largest(image, source)?, source))
}

/// Checks that an embedding lies in the gallery's space.
fn check_space(gallery: &dyn Gallery, embedding: &Embedding) -> Result<()> {
    let (own, other) = (gallery.space(), embedding.space());
    if Arc::ptr_eq(own, other) || own == other {
        return Ok(());
    }
    Err(Error::GallerySpace { gallery: gallery.name(), expected: own.id(), actual: other.id() })
}

/// Checks subjects that are to be enrolled, apart from whether their names are free.
fn check_subjects(gallery: &dyn Gallery, subjects: &[NewSubject]) -> Result<()> {
    for subject in subjects {
        records::check_name(&subject.name)?;
        records::check_metadata(&subject.metadata)?;
        check_templates(gallery, &subject.templates)?;
    }
    Ok(())
}

/// Checks templates that are to be enrolled.
fn check_templates(gallery: &dyn Gallery, templates: &[NewTemplate]) -> Result<()> {
    if templates.is_empty() {
        return Err(Error::InvalidParameter {
            parameter: "templates",
            value: "none".into(),
            expected: "at least one".into(),
        });
    }
    for template in templates {
        check_space(gallery, &template.embedding)?;
        records::check_template(template)?;
        search::check_length(template.embedding.vector())?;
    }
    Ok(())
}
