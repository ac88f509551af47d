//! The JSON contract, progress bars and tables.

use std::io::Write as _;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::pipeline::Face;
use crate::stage::Detection;

/// One photo of `face detect --json` and `face embed --json`.
#[derive(Debug, Default, Serialize)]
pub(super) struct PhotoJson {
    pub(super) image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) space: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) height: Option<u32>,
    pub(super) faces: Vec<FaceJson>,
    /// Faces that could not be embedded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rejected: Vec<RejectedJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// One face.
#[derive(Debug, Serialize)]
pub(super) struct FaceJson {
    /// Left, top, width, height in pixels of the upright photo.
    #[serde(rename = "box")]
    pub(super) bounding_box: [f32; 4],
    pub(super) score: f32,
    /// x and y of the eye on the image's left, the one on its right, nose tip, mouth corners left and right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) landmarks: Option<[[f32; 2]; 5]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) embedding: Option<Vec<f32>>,
}

/// A face that was found and could not be embedded.
#[derive(Debug, Serialize)]
pub(super) struct RejectedJson {
    #[serde(rename = "box")]
    bounding_box: [f32; 4],
    score: f32,
    pub(super) error: String,
}

impl From<&Detection> for FaceJson {
    fn from(detection: &Detection) -> Self {
        Self {
            bounding_box: corners(detection),
            score: detection.score,
            landmarks: detection.landmarks.map(|landmarks| landmarks.points.map(|p| [p.x, p.y])),
            embedding: None,
        }
    }
}

impl From<&Face> for FaceJson {
    fn from(face: &Face) -> Self {
        Self { embedding: Some(face.embedding.vector().to_vec()), ..Self::from(&face.detection) }
    }
}

impl RejectedJson {
    pub(super) fn new(detection: &Detection, error: &Error) -> Self {
        Self { bounding_box: corners(detection), score: detection.score, error: error.to_string() }
    }
}

/// Left, top, width, height.
pub(super) fn corners(detection: &Detection) -> [f32; 4] {
    let area = detection.bounding_box;
    [area.x, area.y, area.width, area.height]
}

/// A photo that could not be worked on.
#[derive(Debug, Serialize)]
pub(super) struct FailedJson {
    pub(super) image: String,
    pub(super) error: String,
}

/// Prints a line to the standard output, with the arguments of `format!`; for functions that return a result.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::cli::output::print_line(format_args!($($argument)*))?
    };
}
pub(super) use say;

/// Prints a line. A reader that has seen enough (`head`, `grep -q`) ends the output, and not the command: its exit status
/// still tells the outcome.
pub(super) fn print_line(line: std::fmt::Arguments<'_>) -> Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "the standard output")(error))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON with a line end.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from);
    let text = text.map_err(Error::io("write", "the standard output"))?;
    print_line(format_args!("{text}"))
}

/// With `--json` an error is JSON too, beside the message on the standard error.
pub(super) fn json_errors(json: bool, outcome: Result<u8>) -> Result<u8> {
    match outcome {
        Err(error) if json => {
            print_json(&serde_json::json!({ "error": error.to_string() }))?;
            Err(error)
        }
        outcome => outcome,
    }
}

/// Finds out before long work, and not after it, that a picture cannot be written there.
pub(super) fn check_picture_path(path: &Path) -> Result<()> {
    crate::image::Image::check_path(path)?;
    check_folder(path)
}

/// Finds out before long work that there is no folder for a file.
pub(super) fn check_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    std::fs::read_dir(folder).map(drop).map_err(Error::io("write into the folder", folder))
}

/// A bar for many items; hidden where the standard error is no terminal.
pub(super) fn items_bar(count: usize, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(count as u64);
    bar.set_style(style("{msg} {wide_bar} {pos}/{len}, {per_sec}, {eta} left"));
    bar.set_message(what.to_owned());
    bar
}

/// A count of items whose number is not known before; hidden where the standard error is no terminal.
pub(super) fn counting_bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{msg} {spinner} {human_pos}, {per_sec}"));
    bar.set_message(what.to_owned());
    bar
}

/// A bar for bytes.
pub(super) fn bytes_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_style(style("{msg} {wide_bar} {bytes}/{total_bytes}, {binary_bytes_per_sec}"));
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A number with its noun.
pub(super) fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Bytes for people.
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
