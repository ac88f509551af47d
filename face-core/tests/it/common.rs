//! Where models, photos and data are.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

use face_core::detectors::DetectionParams;
use face_core::{FacePipeline, Image, ModelStore, PipelineParams};

/// Says why a test cannot run here. In CI everything is there, so that a skip is a mistake.
pub(crate) fn skip(test: &str, reason: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{test} was skipped in CI: {reason}");
    // Not `eprintln!`: the harness would hide it. The line's start is not ours when there is one thread alone.
    let _ = writeln!(std::io::stderr(), "\nskipped: {test}: {reason}");
}

/// The cache with the default models and the samples, or `None` after a skip.
pub(crate) fn store(test: &str) -> Option<ModelStore> {
    let store = ModelStore::open_default().unwrap();
    let entries = store.catalogue().entries();
    let needed = entries.iter().filter(|e| e.default || e.name == "dlib-5-point").map(|e| &e.name);
    for name in needed.chain(store.catalogue().samples().map(|e| &e.name)) {
        if let Err(error) = store.check(name) {
            skip(test, &error.to_string());
            return None;
        }
    }
    Some(store)
}

/// The default pipeline, shared by all tests: one of the things to be tested.
pub(crate) fn pipeline(test: &str) -> Option<&'static Arc<FacePipeline>> {
    static PIPELINE: OnceLock<Arc<FacePipeline>> = OnceLock::new();
    let store = store(test)?;
    Some(PIPELINE.get_or_init(|| Arc::new(FacePipeline::open(&store, &PipelineParams::default()).unwrap())))
}

/// A sample photo.
pub(crate) fn photo(store: &ModelStore, name: &str) -> Image {
    Image::decode(&store.read(name).unwrap()).unwrap()
}

/// A folder or file below `FACE_DATA`, or `None` after a skip.
pub(crate) fn face_data(test: &str, path: &str) -> Option<PathBuf> {
    let data = std::env::var_os("FACE_DATA").map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let found = data.join(path);
    if !found.exists() {
        skip(test, "FACE_DATA not found");
        return None;
    }
    Some(found)
}

/// The bytes of YuNet, from the cache or from `FACE_DATA`.
pub(crate) fn yunet(test: &str) -> Option<Vec<u8>> {
    let store = ModelStore::open_default().unwrap();
    if let Ok(bytes) = store.read("yunet") {
        return Some(bytes);
    }
    Some(std::fs::read(face_data(test, "models/face_detection_yunet_2023mar.onnx")?).unwrap())
}

/// One look at the photo at its own size.
pub(crate) fn own_size() -> DetectionParams {
    DetectionParams { max_side: 8192, small_side: None, ..DetectionParams::default() }
}

pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The command `face`, on the cache of this process.
pub(crate) fn face(arguments: &[&str]) -> Output {
    face_with(arguments, &[])
}

/// The command `face` with other environment variables.
pub(crate) fn face_with(arguments: &[&str], variables: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_face"));
    command.args(arguments).envs(variables.iter().copied()).output().unwrap()
}

/// The standard output as JSON.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The standard error as text.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
