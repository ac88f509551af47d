//! What a gallery holds: subjects and their templates.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::pipeline::Face;
use crate::stage::Embedding;

/// Facts about a subject, as a JSON object. May be empty.
pub type Metadata = Map<String, Value>;

/// Number of an enrolled subject, given by the gallery: counted from 1 and never used again after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SubjectId(pub u64);

/// Number of a template, given by the gallery: counted from 1 and never used again after a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TemplateId(pub u64);

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TemplateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An enrolled person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Given by the gallery.
    pub id: SubjectId,
    /// A name or the key of another system; no two subjects of a gallery have the same.
    pub name: String,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Metadata,
    /// The templates, in the order in which they were enrolled.
    pub templates: Vec<Template>,
}

/// What is known of one template, without its vector (see [`Gallery::embedding`](super::Gallery::embedding)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Given by the gallery.
    pub id: TemplateId,
    /// How good the picture of the face is, from 0 to 1; for faces of a pipeline the detector's score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<f32>,
    /// Where it comes from: the path of a photo, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was enrolled, in whole seconds since 1970-01-01 00:00 UTC.
    pub enrolled_at: u64,
}

/// A template to be enrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTemplate {
    /// The feature vector.
    pub embedding: Embedding,
    /// See [`Template::quality`].
    pub quality: Option<f32>,
    /// See [`Template::source`].
    pub source: Option<String>,
    /// See [`Template::enrolled_at`]; `None` for now. Given when records move from one gallery to another.
    pub enrolled_at: Option<u64>,
}

impl NewTemplate {
    /// A template of which nothing but the vector is known.
    pub fn new(embedding: Embedding) -> Self {
        Self { embedding, quality: None, source: None, enrolled_at: None }
    }

    /// A face that a pipeline found, with the detector's score as its quality.
    pub fn from_face(face: &Face, source: impl Into<String>) -> Self {
        let quality = Some(face.detection.score.clamp(0.0, 1.0));
        Self { embedding: face.embedding.clone(), quality, source: Some(source.into()), enrolled_at: None }
    }
}

impl From<Embedding> for NewTemplate {
    fn from(embedding: Embedding) -> Self {
        Self::new(embedding)
    }
}

/// A subject to be enrolled.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSubject {
    /// See [`Subject::name`].
    pub name: String,
    /// See [`Subject::metadata`].
    pub metadata: Metadata,
    /// At least one.
    pub templates: Vec<NewTemplate>,
}

impl NewSubject {
    /// A subject with these templates and no metadata.
    pub fn new(name: impl Into<String>, templates: Vec<NewTemplate>) -> Self {
        Self { name: name.into(), metadata: Metadata::new(), templates }
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The last subject of the page before; `None` for the first page.
    pub after: Option<SubjectId>,
    /// Most subjects of a page, from 1 to [`Page::MAX_LIMIT`].
    pub limit: usize,
}

impl Page {
    /// The longest page.
    pub const MAX_LIMIT: usize = 10_000;

    pub(super) fn validate(&self) -> Result<()> {
        in_range("the page's limit", self.limit, Self::MAX_LIMIT)
    }
}

impl Default for Page {
    fn default() -> Self {
        Self { after: None, limit: 1000 }
    }
}

/// How much a gallery holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct GalleryCount {
    /// Number of subjects.
    pub subjects: u64,
    /// Number of templates.
    pub templates: u64,
}

/// Which subjects a search looks at. The default looks at all.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SubjectFilter {
    /// Only these; ids of subjects that are not there are passed over.
    pub subjects: Option<BTreeSet<SubjectId>>,
    /// Only subjects whose metadata contains this: every key with an equal value, objects and arrays by containment, as
    /// PostgreSQL's `jsonb @>` has it (<https://www.postgresql.org/docs/current/datatype-json.html#JSON-CONTAINMENT>).
    pub metadata: Metadata,
}

impl SubjectFilter {
    /// Whether the filter lets every subject pass.
    pub fn is_all(&self) -> bool {
        self.subjects.is_none() && self.metadata.is_empty()
    }

    pub(super) fn accepts(&self, id: SubjectId, metadata: &Metadata) -> bool {
        self.subjects.as_ref().is_none_or(|subjects| subjects.contains(&id))
            && (self.metadata.is_empty() || object_contains(metadata, &self.metadata))
    }
}

fn object_contains(whole: &Metadata, part: &Metadata) -> bool {
    part.iter().all(|(key, value)| whole.get(key).is_some_and(|own| contains(own, value)))
}

/// Containment as in `jsonb @>`, below the top level.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => object_contains(whole, part),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|item| whole.iter().any(|own| contains(own, item)))
        }
        // 1 and 1.0 are one number.
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => whole == part,
    }
}

/// Longest name, in characters.
pub const MAX_NAME_CHARS: usize = 500;
/// Longest source of a template, in characters.
pub const MAX_SOURCE_CHARS: usize = 4000;
/// Longest metadata, in bytes of JSON text.
pub const MAX_METADATA_BYTES: usize = 64 << 10;
/// Most objects and arrays within one another in metadata, the outermost object among them: half of what readers of JSON take.
pub const MAX_METADATA_DEPTH: usize = 64;

pub(super) fn in_range(parameter: &'static str, value: usize, max: usize) -> Result<()> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::InvalidParameter { parameter, value: value.to_string(), expected: format!("from 1 to {max}") })
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let count = name.chars().count();
    if (1..=MAX_NAME_CHARS).contains(&count) && !name.chars().any(char::is_control) && !name.trim().is_empty() {
        return Ok(());
    }
    Err(Error::InvalidParameter {
        parameter: "the subject's name",
        value: if count > 60 { format!("{count} characters long") } else { format!("{name:?}") },
        expected: format!("1 to {MAX_NAME_CHARS} characters that can be seen"),
    })
}

pub(super) fn check_metadata(metadata: &Metadata) -> Result<()> {
    let wrong = |value: String, expected: String| {
        Err(Error::InvalidParameter { parameter: "the subject's metadata", value, expected })
    };
    // Checked first: writing and dropping go as deep as the value does.
    if metadata.values().any(|value| is_deeper_than(value, MAX_METADATA_DEPTH - 1)) {
        return wrong(
            "nested deeply".into(),
            format!("at most {MAX_METADATA_DEPTH} objects and arrays within one another"),
        );
    }
    let text = serde_json::to_string(metadata).unwrap_or_default();
    if text.len() > MAX_METADATA_BYTES {
        return wrong(format!("{} bytes long", text.len()), format!("at most {MAX_METADATA_BYTES} bytes of JSON"));
    }
    // What one kind of gallery could not keep, none accepts.
    if text.contains("\\u0000") {
        return wrong("text with a NUL character".into(), "without NUL characters".into());
    }
    Ok(())
}

fn is_deeper_than(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| levels == 0 || is_deeper_than(value, levels - 1);
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(below),
        Value::Object(values) => levels == 0 || values.values().any(below),
        _ => false,
    }
}

pub(super) fn check_template(template: &NewTemplate) -> Result<()> {
    if let Some(quality) = template.quality
        && !(0.0..=1.0).contains(&quality)
    {
        return Err(Error::InvalidParameter {
            parameter: "the template's quality",
            value: quality.to_string(),
            expected: "from 0 to 1".into(),
        });
    }
    if let Some(source) = &template.source
        && (source.chars().count() > MAX_SOURCE_CHARS || source.contains('\0'))
    {
        return Err(Error::InvalidParameter {
            parameter: "the template's source",
            value: format!("{} characters long", source.chars().count()),
            expected: format!("at most {MAX_SOURCE_CHARS} characters, none of them NUL"),
        });
    }
    if template.enrolled_at.is_some_and(|seconds| i64::try_from(seconds).is_err()) {
        return Err(Error::InvalidParameter {
            parameter: "enrolled_at",
            value: "too large".into(),
            expected: "seconds since 1970".into(),
        });
    }
    Ok(())
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |duration| duration.as_secs())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn object(text: &str) -> Metadata {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn metadata_is_filtered_by_containment() {
        let whole =
            object(r#"{"team": "A", "year": 2024, "tags": ["x", {"k": 1}], "home": {"city": "B", "zip": null}}"#);
        for (part, expected) in [
            ("{}", true),
            (r#"{"team": "A"}"#, true),
            (r#"{"team": "B"}"#, false),
            (r#"{"year": 2024.0}"#, true),
            (r#"{"year": "2024"}"#, false),
            (r#"{"tags": []}"#, true),
            (r#"{"tags": [{"k": 1}]}"#, true),
            (r#"{"tags": ["x", "x"]}"#, true),
            (r#"{"tags": ["y"]}"#, false),
            (r#"{"tags": "x"}"#, false),
            (r#"{"home": {"city": "B"}}"#, true),
            (r#"{"home": {"zip": null}}"#, true),
            (r#"{"home": {"street": null}}"#, false),
        ] {
            let filter = SubjectFilter { metadata: object(part), ..Default::default() };
            assert_eq!(filter.accepts(SubjectId(1), &whole), expected, "{part}");
        }
    }

    #[test]
    fn impossible_records_are_refused() {
        for name in ["", "  ", "a\nb", &"x".repeat(501)] {
            assert!(matches!(check_name(name), Err(Error::InvalidParameter { .. })), "{name:?}");
        }
        assert!(check_name("Ada Łovelace").is_ok());
        assert!(check_metadata(&object(&format!(r#"{{"a": "{}"}}"#, "x".repeat(MAX_METADATA_BYTES)))).is_err());
        assert!(check_metadata(&object(r#"{"a": "\u0000"}"#)).is_err());
        let nested = |levels: usize| object(&format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels)));
        assert!(check_metadata(&nested(MAX_METADATA_DEPTH)).is_ok());
        assert!(check_metadata(&nested(MAX_METADATA_DEPTH + 1)).is_err());
        let list = object(&format!(r#"{{"a": {}{}}}"#, "[".repeat(MAX_METADATA_DEPTH), "]".repeat(MAX_METADATA_DEPTH)));
        assert!(check_metadata(&list).is_err());
        for limit in [0, Page::MAX_LIMIT + 1] {
            assert!(Page { limit, ..Page::default() }.validate().is_err());
        }
    }
}
