//! The four stages as traits, and what they hand to one another.
//!
//! Every trait is object-safe, takes `&self` and is `Send + Sync`: one instance serves all threads of a program.

use std::sync::Arc;

use crate::error::{Error, Result, ensure_finite};
use crate::geometry::templates::Template;
use crate::geometry::{BoundingBox, Landmarks, SimilarityTransform};
use crate::image::{Image, ImageView};

/// Stage 1: finds the faces of an image.
pub trait FaceDetector: Send + Sync {
    /// All faces, the most certain first. No face is an empty list, not an error.
    ///
    /// Boxes and landmarks are in pixels of `image`; see [`geometry`](crate::geometry) for the coordinates.
    ///
    /// # Errors
    /// [`Error::Inference`] when the network fails.
    fn detect(&self, image: &ImageView<'_>) -> Result<Vec<Detection>>;
}

/// Stage 2: finds the landmarks of one detected face.
pub trait Aligner: Send + Sync {
    /// Five landmarks in pixels of `image`.
    ///
    /// # Errors
    /// [`Error::LandmarksMissing`] when the aligner builds on landmarks that the detection does not carry.
    fn align(&self, image: &ImageView<'_>, detection: &Detection) -> Result<Landmarks>;
}

/// Stage 3: brings a face to one shape and size.
pub trait Normalizer: Send + Sync {
    /// Cuts the face out of the image, turned and scaled so that its landmarks lie on the template.
    ///
    /// # Errors
    /// [`Error::DegenerateLandmarks`], [`Error::NonFinite`], [`Error::LandmarkScheme`].
    fn normalize(&self, image: &ImageView<'_>, landmarks: &Landmarks) -> Result<FaceCrop>;
}

/// Stage 4: turns a normalized face into a feature vector.
pub trait Embedder: Send + Sync {
    /// The embedding of one face.
    ///
    /// # Errors
    /// [`Error::CropMismatch`] when the crop was made for another template; [`Error::Inference`].
    fn embed(&self, crop: &FaceCrop) -> Result<Embedding>;

    /// The crops that [`embed`](Self::embed) accepts: what the normalizer before it must make.
    fn crop_spec(&self) -> &CropSpec;

    /// The space in which the embeddings lie.
    fn space(&self) -> &Arc<EmbeddingSpace>;
}

/// One face found in an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Where it is, in pixels of the image.
    pub bounding_box: BoundingBox,
    /// How certain the detector is, from 0 to 1.
    pub score: f32,
    /// Landmarks, where the detector finds them too.
    pub landmarks: Option<Landmarks>,
}

/// What a normalizer makes of a face: one crop on a template, or several that differ in how tightly they are cut.
#[derive(Debug, Clone, PartialEq)]
pub struct CropSpec {
    /// Size of the crops and place of the landmarks.
    pub template: Template,
    /// One crop for each entry: 1.0 puts the landmarks on the template, 0.9 on the template shrunk to 0.9 about the
    /// centre of the crop (more of the surroundings is seen), 1.1 the reverse. Never empty.
    pub zooms: Vec<f32>,
}

impl CropSpec {
    /// One crop, on the template as it is.
    pub fn single(template: Template) -> Self {
        Self { template, zooms: vec![1.0] }
    }

    /// Checks the template and the zooms: one to eight of them, each from 0.25 to 4.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`]; as [`Template::validate`].
    pub fn validate(&self) -> Result<()> {
        self.template.validate()?;
        let valid = (1..=8).contains(&self.zooms.len()) && self.zooms.iter().all(|zoom| (0.25..=4.0).contains(zoom));
        if valid {
            return Ok(());
        }
        Err(Error::InvalidParameter {
            parameter: "zooms",
            value: format!("{:?}", self.zooms),
            expected: "one to eight factors from 0.25 to 4".into(),
        })
    }
}

impl std::fmt::Display for CropSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Template { name, width, height, .. } = &self.template;
        write!(f, "{name} {width}x{height} zooms {:?}", self.zooms)
    }
}

/// A normalized face.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceCrop {
    /// What it was normalized to.
    pub spec: CropSpec,
    /// The crops, one for each of the spec's zooms, RGB, all of the template's size. What lay outside of the photo is
    /// black.
    pub views: Vec<Image>,
    /// From pixels of the photo to pixels of the crop at zoom 1.
    pub transform: SimilarityTransform,
}

impl FaceCrop {
    /// A crop that was aligned by other means, ready for the embedder.
    ///
    /// # Errors
    /// [`Error::CropMismatch`] when the picture does not have the template's size.
    pub fn from_aligned(image: Image, template: Template) -> Result<Self> {
        Self::from_aligned_views(vec![image], CropSpec::single(template))
    }

    /// As [`from_aligned`](Self::from_aligned), for an embedder with zooms of its own: one picture for each of them, each cut that
    /// tightly.
    ///
    /// # Errors
    /// [`Error::CropMismatch`] when there are more or fewer pictures than zooms, or one does not have the template's size; as
    /// [`CropSpec::validate`].
    pub fn from_aligned_views(views: Vec<Image>, spec: CropSpec) -> Result<Self> {
        spec.validate()?;
        let mismatch = |actual| Err(Error::CropMismatch { expected: spec.to_string(), actual });
        if views.len() != spec.zooms.len() {
            return mismatch(format!("{} pictures", views.len()));
        }
        let size = (spec.template.width, spec.template.height);
        if let Some(other) = views.iter().find(|view| (view.width(), view.height()) != size) {
            return mismatch(format!("a picture of {}x{}", other.width(), other.height()));
        }
        let transform = SimilarityTransform { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        Ok(Self { spec, views, transform })
    }
}

/// How two embeddings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Metric {
    /// Cosine of the angle between the vectors; embeddings are kept at unit length.
    Cosine,
    /// Euclidean distance of the vectors as the network gives them.
    Euclidean,
    /// The group-aware similarity of GroupFace.
    #[serde(rename = "group-aware")]
    GroupAware(GroupAware),
}

/// The group-aware similarity of GroupFace: the cosine of the representations, less what the group decisions are apart.
///
/// ```text
/// S*(a, b) = cos(v̄_a, v̄_b) - β D(v̂_a, v̂_b)^γ
/// ```
///
/// An embedding carries both vectors, one behind the other: first the representation v̄, kept at unit length, then the middle
/// layer v̂ of the decision network, as it comes. D is the Euclidean distance (the paper says "distance" and no more).
///
/// Source: Y. Kim et al., "GroupFace", CVPR 2020, the group-aware similarity, with β = 0.1 and γ = 1/3.
#[derive(Debug, Clone, Copy, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "GroupAwareFields", into = "GroupAwareFields")]
pub struct GroupAware {
    representation: usize,
    beta: f64,
    gamma: f64,
}

/// As it is written down.
#[derive(serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
struct GroupAwareFields {
    representation: usize,
    beta: f64,
    gamma: f64,
}

impl GroupAware {
    /// With β = 0.1 and γ = 1/3, for representations of so many values.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for no values.
    pub fn new(representation: usize) -> Result<Self> {
        Self::with(representation, 0.1, 1.0 / 3.0)
    }

    /// With a weight β and a power γ of one's own.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for no values, a β that is negative or not finite, or a γ that is not positive.
    pub fn with(representation: usize, beta: f64, gamma: f64) -> Result<Self> {
        let refused = |parameter, value: String, expected: &str| {
            Err(Error::InvalidParameter { parameter, value, expected: expected.into() })
        };
        if representation == 0 {
            return refused("representation", "0".into(), "1 or more values");
        }
        if !(beta >= 0.0 && beta.is_finite()) {
            return refused("beta", beta.to_string(), "finite, 0 or more");
        }
        if !(gamma > 0.0 && gamma.is_finite()) {
            return refused("gamma", gamma.to_string(), "finite, over 0");
        }
        Ok(Self { representation, beta, gamma })
    }

    /// Number of values of v̄; the others are those of v̂.
    pub fn representation(&self) -> usize {
        self.representation
    }

    /// Weight β of the distance.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// Power γ of the distance.
    pub fn gamma(&self) -> f64 {
        self.gamma
    }

    fn similarity(&self, a: &[f32], b: &[f32]) -> f64 {
        let split = |vector| <[f32]>::split_at_checked(vector, self.representation).unwrap_or((vector, &[]));
        let ((a, decision_a), (b, decision_b)) = (split(a), split(b));
        let apart = -Metric::Euclidean.similarity(decision_a, decision_b);
        Metric::Cosine.similarity(a, b) - self.beta * apart.powf(self.gamma)
    }
}

impl TryFrom<GroupAwareFields> for GroupAware {
    type Error = Error;

    fn try_from(fields: GroupAwareFields) -> Result<Self> {
        Self::with(fields.representation, fields.beta, fields.gamma)
    }
}

impl From<GroupAware> for GroupAwareFields {
    fn from(GroupAware { representation, beta, gamma }: GroupAware) -> Self {
        Self { representation, beta, gamma }
    }
}

// Neither of the numbers is ever NaN.
impl Eq for GroupAware {}

impl std::hash::Hash for GroupAware {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // 0 and -0 are equal.
        (self.representation, (self.beta + 0.0).to_bits(), self.gamma.to_bits()).hash(state);
    }
}

impl Metric {
    /// The one formula behind every similarity, in double precision: greater is more alike.
    pub(crate) fn similarity(self, a: &[f32], b: &[f32]) -> f64 {
        let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match self {
            Self::Cosine => pairs.map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0),
            Self::Euclidean => -pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
            Self::GroupAware(group_aware) => group_aware.similarity(a, b),
        }
    }

    /// The values of an embedding that are kept at unit length.
    fn unit_values(self, dimension: usize) -> usize {
        match self {
            Self::Cosine => dimension,
            Self::Euclidean => 0,
            Self::GroupAware(group_aware) => group_aware.representation,
        }
    }
}

/// A similarity from which two faces count as the same person's, and what that costs.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Smallest [similarity](Embedding::similarity) of a match.
    pub similarity: f32,
    /// False-accept rate: the share of pairs of *different* people that reach the similarity, on the set below.
    pub far: f64,
    /// The data set and protocol on which the rate was measured.
    pub measured_on: String,
}

/// Rates are rates, and a smaller one has no smaller similarity. What JSON cannot hold is refused too.
pub(crate) fn check_thresholds(thresholds: &[Threshold]) -> Result<()> {
    let mut sorted: Vec<&Threshold> = thresholds.iter().collect();
    sorted.sort_by(|a, b| b.far.total_cmp(&a.far));
    let is_rate = |t: &&Threshold| t.far > 0.0 && t.far < 1.0 && t.similarity.is_finite();
    let is_stricter = |pair: &[&Threshold]| pair[0].far > pair[1].far && pair[0].similarity <= pair[1].similarity;
    if sorted.iter().all(is_rate) && sorted.windows(2).all(is_stricter) {
        return Ok(());
    }
    Err(Error::InvalidParameter {
        parameter: "thresholds",
        value: sorted.iter().map(|t| format!("{} at {:e}", t.similarity, t.far)).collect::<Vec<_>>().join(", "),
        expected:
            "finite similarities at false-accept rates between 0 and 1, each rate once, and no smaller similarity for \
                   a smaller rate"
                .into(),
    })
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cosine => f.write_str("cosine"),
            Self::Euclidean => f.write_str("euclidean"),
            Self::GroupAware(GroupAware { representation, beta, gamma }) => {
                write!(f, "group-aware({representation}, {beta}, {gamma})")
            }
        }
    }
}

/// What an embedding means: two vectors may be compared only when all of this agrees.
///
/// Thresholds belong to a space but are not part of its identity: measuring another one does not change the vectors.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub struct EmbeddingSpace {
    /// Name of the model, for people.
    pub model: String,
    /// SHA-256 of the weights, in hexadecimal digits.
    pub digest: String,
    /// Number of values of an embedding.
    pub dimension: usize,
    /// How a photo becomes the network's input: crop, colour order, mean and scale, in words.
    pub preprocessing: String,
    /// Which crops are averaged into one embedding, in words.
    pub averaging: String,
    /// How two embeddings are compared.
    pub metric: Metric,
    /// Thresholds that were measured in this space.
    pub thresholds: Vec<Threshold>,
}

impl EmbeddingSpace {
    /// The identity of the space as one line of text. Equal spaces have equal ids, and different ones different ids as
    /// far as names hold no `/` and no `@` (the embedders of this crate see to that).
    pub fn id(&self) -> String {
        let Self { model, digest, dimension, preprocessing, averaging, metric, .. } = self;
        format!("{model}@{digest}/{dimension}/{preprocessing}/{averaging}/{metric}")
    }

    /// The threshold that was measured at this false-accept rate.
    ///
    /// # Errors
    /// [`Error::ThresholdUnknown`], which lists the rates there are; [`Error::InvalidParameter`] for what is no rate.
    pub fn threshold_at(&self, far: f64) -> Result<&Threshold> {
        if !(far > 0.0 && far < 1.0) {
            return Err(Error::InvalidParameter {
                parameter: "the false-accept rate",
                value: far.to_string(),
                expected: "between 0 and 1".into(),
            });
        }
        let found = self.thresholds.iter().find(|t| (t.far / far - 1.0).abs() < 1e-9);
        found.ok_or_else(|| self.threshold_unknown(far))
    }

    pub(crate) fn threshold_unknown(&self, far: f64) -> Error {
        Error::ThresholdUnknown {
            space: self.model.clone(),
            far,
            known: match self.thresholds.as_slice() {
                [] => "none; measure them with `face eval lfw`".to_owned(),
                known => known.iter().map(|t| format!("{:e}", t.far)).collect::<Vec<_>>().join(", "),
            },
        }
    }
}

impl PartialEq for EmbeddingSpace {
    fn eq(&self, other: &Self) -> bool {
        let Self { model, digest, dimension, preprocessing, averaging, metric, thresholds: _ } = self;
        *model == other.model
            && *digest == other.digest
            && *dimension == other.dimension
            && *preprocessing == other.preprocessing
            && *averaging == other.averaging
            && *metric == other.metric
    }
}

impl Eq for EmbeddingSpace {}

impl std::fmt::Display for EmbeddingSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id())
    }
}

/// The feature vector of a face, with the space that gives it its meaning.
///
/// In a [cosine](Metric::Cosine) space the vector has unit length; in a [Euclidean](Metric::Euclidean) one it is as the
/// network gave it; in a [group-aware](Metric::GroupAware) one the representation has unit length.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    vector: Vec<f32>,
    space: Arc<EmbeddingSpace>,
}

impl Embedding {
    /// An embedding from its values; in a cosine space they are scaled to unit length, in a group-aware one those of the
    /// representation. Values that have unit length already, to a millionth, are taken as they are: an embedding that was written
    /// down and is read again keeps its bits.
    ///
    /// # Errors
    /// [`Error::InvalidEmbedding`] for the wrong number of values or a vector without length;
    /// [`Error::NonFinite`].
    pub fn new(mut vector: Vec<f32>, space: Arc<EmbeddingSpace>) -> Result<Self> {
        if vector.len() != space.dimension {
            return Err(Error::InvalidEmbedding {
                reason: format!("{} values, where {} has {}", vector.len(), space.model, space.dimension),
            });
        }
        ensure_finite("embedding", &vector)?;
        let unit = space.metric.unit_values(space.dimension);
        if unit > 0 {
            let is_whole = space.metric == Metric::Cosine || unit < space.dimension;
            let Some(vector) = vector.get_mut(..unit).filter(|_| is_whole) else {
                return Err(Error::InvalidEmbedding {
                    reason: format!("{} values, where {} wants more than {unit}", space.dimension, space.metric),
                });
            };
            let length = vector.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            if length < MIN_LENGTH {
                return Err(Error::InvalidEmbedding {
                    reason: format!("its length is {length:e}: it has no direction"),
                });
            }
            if (length - 1.0).abs() > UNIT_TOLERANCE {
                for value in vector {
                    *value = (f64::from(*value) / length) as f32;
                }
            }
        }
        Ok(Self { vector, space })
    }

    /// An embedding that was one before: its values are taken as they are, bit for bit.
    pub(crate) fn restored(vector: Vec<f32>, space: Arc<EmbeddingSpace>) -> Self {
        Self { vector, space }
    }

    /// The values.
    pub fn vector(&self) -> &[f32] {
        &self.vector
    }

    /// The values, without a copy.
    pub fn into_vector(self) -> Vec<f32> {
        self.vector
    }

    /// The space in which the embedding lies.
    pub fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.space
    }

    /// How alike two faces are: greater is more alike, whatever the metric.
    ///
    /// Cosine: from -1 to 1. Euclidean: the distance with a minus sign, from minus infinity to 0. Group-aware: at most 1.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`], which names both spaces.
    pub fn similarity(&self, other: &Self) -> Result<f32> {
        if !Arc::ptr_eq(&self.space, &other.space) && self.space != other.space {
            return Err(Error::SpaceMismatch { left: self.space.id(), right: other.space.id() });
        }
        Ok(self.space.metric.similarity(&self.vector, &other.vector) as f32)
    }
}

/// A vector shorter than this has no direction that single precision could hold.
const MIN_LENGTH: f64 = 1e-12;
/// How far the length of an embedding may be from 1: rounding to single precision leaves it nearer.
const UNIT_TOLERANCE: f64 = 1e-6;

// Boxed and shared stages are stages, so that a pipeline can hold parts that are chosen at run time, or serve others too.
macro_rules! pointers_to_stages {
    ($($pointer:ident),*) => {$(
        impl<T: FaceDetector + ?Sized> FaceDetector for $pointer<T> {
            fn detect(&self, image: &ImageView<'_>) -> Result<Vec<Detection>> {
                (**self).detect(image)
            }
        }

        impl<T: Aligner + ?Sized> Aligner for $pointer<T> {
            fn align(&self, image: &ImageView<'_>, detection: &Detection) -> Result<Landmarks> {
                (**self).align(image, detection)
            }
        }

        impl<T: Normalizer + ?Sized> Normalizer for $pointer<T> {
            fn normalize(&self, image: &ImageView<'_>, landmarks: &Landmarks) -> Result<FaceCrop> {
                (**self).normalize(image, landmarks)
            }
        }

        impl<T: Embedder + ?Sized> Embedder for $pointer<T> {
            fn embed(&self, crop: &FaceCrop) -> Result<Embedding> {
                (**self).embed(crop)
            }

            fn crop_spec(&self) -> &CropSpec {
                (**self).crop_spec()
            }

            fn space(&self) -> &Arc<EmbeddingSpace> {
                (**self).space()
            }
        }
    )*};
}

pointers_to_stages!(Box, Arc);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn space(metric: Metric) -> Arc<EmbeddingSpace> {
        Arc::new(EmbeddingSpace {
            model: "toy".into(),
            digest: "00".into(),
            dimension: 2,
            preprocessing: "none".into(),
            averaging: "none".into(),
            metric,
            thresholds: vec![],
        })
    }

    #[test]
    fn group_aware_embeddings_compare_faces_and_their_groups() {
        let metric = Metric::GroupAware(GroupAware::with(2, 0.5, 0.5).unwrap());
        let text = serde_json::to_string(&metric).unwrap();
        assert_eq!(text, r#"{"group-aware":{"representation":2,"beta":0.5,"gamma":0.5}}"#);
        assert_eq!(serde_json::from_str::<Metric>(&text).unwrap(), metric);
        assert!(serde_json::from_str::<Metric>(&text.replace("0.5", "-1")).is_err());
        assert!(GroupAware::new(0).is_err() && GroupAware::with(2, f64::NAN, 1.0).is_err());
        let mut space = EmbeddingSpace { dimension: 4, ..(*space(metric)).clone() };
        let embedding =
            |vector: [f32; 4], space: &EmbeddingSpace| Embedding::new(vector.into(), Arc::new(space.clone()));
        // Only the representation is scaled to unit length.
        let first = embedding([3.0, 4.0, 7.0, 1.0], &space).unwrap();
        assert_eq!(first.vector(), [0.6, 0.8, 7.0, 1.0]);
        let second = embedding([2.0, 0.0, 7.0, 5.0], &space).unwrap();
        assert!((first.similarity(&second).unwrap() - (0.6 - 0.5 * 2.0)).abs() < 1e-6);
        assert!((first.similarity(&first).unwrap() - 1.0).abs() < 1e-6);
        assert!(matches!(embedding([0.0, 0.0, 1.0, 1.0], &space), Err(Error::InvalidEmbedding { .. })));
        space.metric = Metric::GroupAware(GroupAware::new(4).unwrap());
        assert!(matches!(embedding([1.0; 4], &space), Err(Error::InvalidEmbedding { .. })));
    }

    #[test]
    fn similarity_grows_with_likeness_in_every_metric() {
        for metric in [Metric::Cosine, Metric::Euclidean] {
            let embedding = |x, y| Embedding::new(vec![x, y], space(metric)).unwrap();
            let (a, near, far) = (embedding(1.0, 0.0), embedding(0.9, 0.1), embedding(-1.0, 0.2));
            assert!(a.similarity(&near).unwrap() > a.similarity(&far).unwrap());
            assert!(a.similarity(&a).unwrap() >= a.similarity(&near).unwrap());
        }
    }

    #[test]
    fn cosine_embeddings_have_unit_length_and_euclidean_ones_keep_theirs() {
        let cosine = Embedding::new(vec![3.0, 4.0], space(Metric::Cosine)).unwrap();
        assert_eq!(cosine.vector(), [0.6, 0.8]);
        let euclidean = Embedding::new(vec![3.0, 4.0], space(Metric::Euclidean)).unwrap();
        assert_eq!(euclidean.vector(), [3.0, 4.0]);
    }

    #[test]
    fn an_embedding_that_is_made_again_keeps_its_bits() {
        let first = Embedding::new(vec![0.1, 0.7], space(Metric::Cosine)).unwrap();
        for off in [1.0, 1.0 + 4e-7, 1.0 - 4e-7] {
            let vector: Vec<f32> = first.vector().iter().map(|value| value * off).collect();
            assert_eq!(Embedding::new(vector.clone(), space(Metric::Cosine)).unwrap().vector(), vector);
        }
        let longer: Vec<f32> = first.vector().iter().map(|value| value * 1.00001).collect();
        assert_ne!(Embedding::new(longer.clone(), space(Metric::Cosine)).unwrap().vector(), longer);
    }

    #[test]
    fn spaces_do_not_mix() {
        let a = Embedding::new(vec![1.0, 0.0], space(Metric::Cosine)).unwrap();
        let b = Embedding::new(vec![1.0, 0.0], space(Metric::Euclidean)).unwrap();
        let error = a.similarity(&b).unwrap_err();
        assert!(matches!(error, Error::SpaceMismatch { .. }));
        let text = error.to_string();
        assert!(text.contains("cosine") && text.contains("euclidean"), "{text}");
    }

    #[test]
    fn impossible_vectors_are_refused() {
        let new = |v: Vec<f32>| Embedding::new(v, space(Metric::Cosine));
        assert!(matches!(new(vec![1.0]), Err(Error::InvalidEmbedding { .. })));
        assert!(matches!(new(vec![0.0, 0.0]), Err(Error::InvalidEmbedding { .. })));
        assert!(matches!(new(vec![0.0, f32::NAN]), Err(Error::NonFinite { index: 1, .. })));
    }

    #[test]
    fn thresholds_are_no_part_of_the_identity() {
        let mut with = (*space(Metric::Cosine)).clone();
        with.thresholds.push(Threshold { similarity: 0.5, far: 1e-3, measured_on: "a test".into() });
        assert_eq!(with, *space(Metric::Cosine));
        assert_eq!(with.threshold_at(1e-3).unwrap().similarity, 0.5);
        assert!(matches!(with.threshold_at(1e-4), Err(Error::ThresholdUnknown { .. })));
    }
}
