//! The one error type of the crate.

use std::path::PathBuf;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, with what was expected, what was found, and where.
///
/// Each message is a full sentence for a person; the fields are for programs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`, `rename`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// The file is larger than anything that is read.
    #[error("{} has more than {limit} bytes, the most that is read", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },

    /// The bytes are no picture that can be decoded: empty, truncated, damaged or of an unknown format.
    #[error("{origin} is not a readable picture: {reason}")]
    ImageDecode {
        /// The path, or `bytes in memory`.
        origin: String,
        /// What the decoder said.
        reason: String,
    },

    /// The picture claims a size over the limits. Nothing was allocated for it.
    #[error("{origin} claims {width} x {height} pixels, over the limit of {limit}: shrink it, or raise ImageLimits")]
    ImageTooLarge {
        /// The path, or `bytes in memory`.
        origin: String,
        /// Claimed width in pixels.
        width: u32,
        /// Claimed height in pixels.
        height: u32,
        /// The limit that was passed, with its unit.
        limit: String,
    },

    /// A pixel buffer does not fit the size, stride and format stated for it.
    #[error("pixel buffer does not fit: {reason}")]
    ImageBuffer {
        /// Which of width, height, stride and length disagree, with their values.
        reason: String,
    },

    /// A number that must be finite is NaN or infinite.
    #[error("{what} holds a value that is not finite ({value}) at index {index}")]
    NonFinite {
        /// The vector, tensor or list.
        what: String,
        /// Position of the first such value, counted from 0 in memory order.
        index: usize,
        /// The value.
        value: f32,
    },

    /// Landmarks from which no similarity transform can be estimated: they coincide, or lie on one line.
    #[error("degenerate landmarks: {reason}")]
    DegenerateLandmarks {
        /// Which property is missing, with the measured value.
        reason: String,
    },

    /// Landmarks of one scheme were given where another is needed.
    #[error("landmarks of the scheme {actual} were given where {expected} is needed")]
    LandmarkScheme {
        /// What the stage needs.
        expected: &'static str,
        /// What it was given.
        actual: &'static str,
    },

    /// The stage needs landmarks that its input does not carry.
    #[error("{stage} needs landmarks, and the detection carries none: add an aligner that finds them")]
    LandmarksMissing {
        /// The stage that needs them.
        stage: &'static str,
    },

    /// An embedder was given a crop that was normalized for another one.
    #[error("the embedder needs crops normalized to {expected}, and was given one normalized to {actual}")]
    CropMismatch {
        /// What the embedder was made for.
        expected: String,
        /// What it was given.
        actual: String,
    },

    /// What went wrong with the faces of one photo of several.
    #[error("{image}: {source}")]
    InPhoto {
        /// The path, or a name for the picture.
        image: String,
        /// What went wrong.
        source: Box<Error>,
    },

    /// A photo in which no face was found.
    #[error("no face was found in {image}")]
    NoFace {
        /// The path, or a name for the picture.
        image: String,
    },

    /// Embeddings of two spaces were compared: the number would mean nothing.
    #[error("embeddings of different spaces cannot be compared:\n  {left}\n  {right}")]
    SpaceMismatch {
        /// The first space.
        left: String,
        /// The second space.
        right: String,
    },

    /// A vector without direction or of the wrong length where an embedding is needed.
    #[error("not an embedding of this space: {reason}")]
    InvalidEmbedding {
        /// What is wrong with it.
        reason: String,
    },

    /// A probe or template of another space than the gallery's.
    #[error(
        "the gallery {gallery} holds embeddings of one space, and was given one of another:\n  {expected}\n  {actual}"
    )]
    GallerySpace {
        /// The gallery.
        gallery: String,
        /// The gallery's space.
        expected: String,
        /// The space of what it was given.
        actual: String,
    },

    /// The gallery has no such subject or template.
    #[error("the gallery {gallery} has no {what}")]
    NotEnrolled {
        /// The gallery.
        gallery: String,
        /// The subject or template that was asked for.
        what: String,
    },

    /// A subject of that name is enrolled already.
    #[error(
        "the gallery {gallery} has a subject named \"{name}\" already: add templates to it, or choose another name"
    )]
    NameTaken {
        /// The gallery.
        gallery: String,
        /// The name.
        name: String,
    },

    /// Another process, or another part of this one, has the gallery open.
    #[error("the gallery {} is in use: {reason}", path.display())]
    GalleryInUse {
        /// The file.
        path: PathBuf,
        /// Who holds it, and what to do.
        reason: String,
    },

    /// The gallery was opened for reading alone.
    #[error("the gallery {gallery} is open for reading only: open it for writing to change it")]
    GalleryReadOnly {
        /// The gallery.
        gallery: String,
    },

    /// The file is damaged, or is no gallery at all.
    #[error("the gallery {} is damaged: {reason}", path.display())]
    GalleryCorrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },

    /// The gallery was written in a format that this version does not read.
    #[error("the gallery {gallery} has the format {found}, and this version reads {supported}: {cure}")]
    GalleryVersion {
        /// The gallery.
        gallery: String,
        /// Its format.
        found: String,
        /// What is read.
        supported: String,
        /// What to do.
        cure: String,
    },

    /// The store refused a change or a query: no space left, a server that is away. Nothing of the change was kept, or,
    /// where the connection broke while it was being confirmed, all of it.
    #[error("cannot {action} the gallery {gallery}: {reason}")]
    GalleryStore {
        /// What was tried, as a verb.
        action: &'static str,
        /// The gallery.
        gallery: String,
        /// What the store said.
        reason: String,
    },

    /// The embedding space has no threshold measured at that false-accept rate.
    #[error("no threshold at a false-accept rate of {far:e} is known for {space}; known rates: {known}")]
    ThresholdUnknown {
        /// Name of the model.
        space: String,
        /// The rate that was asked for.
        far: f64,
        /// The rates for which there is one.
        known: String,
    },

    /// A batch that no loss or network can work on: empty, of the wrong shape, or without what the loss compares.
    #[error("cannot learn from this batch: {reason}")]
    InvalidBatch {
        /// What was given, and what is expected.
        reason: String,
    },

    /// A label that names no class.
    #[error("label {label} at position {index}: there are {classes} classes, counted from 0")]
    LabelOutOfRange {
        /// The label.
        label: usize,
        /// Its position in the batch.
        index: usize,
        /// Number of classes.
        classes: usize,
    },

    /// Photos that nothing can be learnt from: too few people, or too many photos that cannot be used.
    #[error("cannot learn from {}: {reason}", path.display())]
    TrainingData {
        /// The folder or list of photos.
        path: PathBuf,
        /// What was found, and what is needed.
        reason: String,
    },

    /// The training left the numbers that can be computed with: its learning rate is too high, as a rule.
    #[error("the training diverged at step {step}: {reason}; try a lower rate, a longer warm-up or a lower clip")]
    TrainingDiverged {
        /// The step, counted from 0.
        step: usize,
        /// What is not finite.
        reason: String,
    },

    /// A checkpoint that cannot be gone on from: damaged, or made with other settings.
    #[error("cannot use the checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The model file is not in the cache.
    #[error("the model {model} is not in {}: {cure}", path.display())]
    ModelMissing {
        /// Name in the catalogue.
        model: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        cure: String,
    },

    /// The file is there, but is not the file that the catalogue names: half-pulled, truncated or altered.
    #[error("{} is damaged or altered: expected {expected}, found {actual}; {cure}", path.display())]
    ModelCorrupt {
        /// The file.
        path: PathBuf,
        /// Expected size or SHA-256.
        expected: String,
        /// Actual size or SHA-256.
        actual: String,
        /// What to do.
        cure: String,
    },

    /// The file is whole, but no model that this stage can run: wrong inputs, outputs, sizes or format.
    #[error("{model} cannot be used as {role}: expected {expected}, found {actual}")]
    ModelInvalid {
        /// Name or path of the model.
        model: String,
        /// What it was to be used as.
        role: &'static str,
        /// What the role needs.
        expected: String,
        /// What the file holds.
        actual: String,
    },

    /// The network failed while it ran.
    #[error("{model} failed while running: {reason}")]
    Inference {
        /// Name or path of the model.
        model: String,
        /// What the engine said.
        reason: String,
    },

    /// The library of an engine cannot be loaded.
    #[error("the engine {engine} cannot be loaded from {}: {reason}", library.display())]
    EngineUnavailable {
        /// Its name.
        engine: &'static str,
        /// What was looked for: a path, or a name that the system looks for where libraries are.
        library: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No entry of the catalogue has this name.
    #[error("the catalogue has no {kind} named \"{name}\"; it has: {known}")]
    UnknownName {
        /// `model`, `sample`, `template` ...
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },

    /// A model or sample could not be brought from its source.
    #[error("cannot pull {name} from {source_name}: {reason}\n  {cure}")]
    Pull {
        /// Name in the catalogue.
        name: String,
        /// The package or address.
        source_name: String,
        /// What went wrong.
        reason: String,
        /// What to do.
        cure: String,
    },

    /// A parameter outside its range.
    #[error("{parameter} is {value}, and must be {expected}")]
    InvalidParameter {
        /// Its name.
        parameter: &'static str,
        /// The value that was given.
        value: String,
        /// The values it may take.
        expected: String,
    },

    /// A text file (pairs, catalogue, preprocessing) that does not follow its format.
    #[error("{}{}: {reason}", path.display(), at_line(*line))]
    Format {
        /// The file.
        path: PathBuf,
        /// Counted from 1; 0 when the line is not known.
        line: usize,
        /// What was expected there.
        reason: String,
    },
}

fn at_line(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line}") }
}

impl Error {
    /// Makes an [`Error::Io`] in a `map_err`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Checks that every value is finite; the error says where the first other one is.
pub(crate) fn ensure_finite(what: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NonFinite { what: what.to_owned(), index, value: values[index] }),
    }
}

/// Checks a name that becomes part of the identity of an embedding space: what separates the parts there must not be in it.
pub(crate) fn ensure_name(parameter: &'static str, name: &str) -> Result<()> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    if (1..=100).contains(&name.chars().count()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::InvalidParameter {
        parameter,
        value: format!("{name:?}"),
        expected: "1 to 100 letters, digits, spaces, hyphens, underscores and dots".into(),
    })
}
