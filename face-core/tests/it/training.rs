//! `face train` on real crops: networks from nothing and heads on the default embedder, stopped and resumed, with bad input.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use face_core::embedders::{EmbedderSpec, OnnxEmbedder};
use face_core::models::Catalogue;
use face_core::train::burn::tensor::Device;
use face_core::train::run::{TrainConfig, TrainEvent, TrainParams, train};
use face_core::{Embedder, FaceCrop, FacePipeline, Image, ModelSource, ModelStore, PipelineParams, open_embedder};
use tempfile::TempDir;

use crate::common::{self, errors, face, json};

const PEOPLE: usize = 6;
const PHOTOS: usize = 8;

/// A folder with a few people of the real set, and pairs in the format of LFW from others.
struct Data {
    folder: TempDir,
    pairs: String,
}

impl Data {
    fn new(test: &str) -> Option<Self> {
        let crops = common::face_data(test, "celeba_crops112")?;
        let folder = TempDir::new().unwrap();
        let mut people: Vec<(PathBuf, Vec<PathBuf>)> = folders(&crops)
            .into_iter()
            .map(|person| (person.clone(), folders(&person)))
            .filter(|(_, photos)| photos.len() >= PHOTOS)
            .collect();
        people.truncate(PEOPLE + 8);
        for (index, (_, photos)) in people.iter().take(PEOPLE).enumerate() {
            let person = folder.path().join(format!("photos/person {index}"));
            std::fs::create_dir_all(&person).unwrap();
            for photo in photos.iter().take(PHOTOS) {
                std::fs::copy(photo, person.join(photo.file_name().unwrap())).unwrap();
            }
        }
        // Two folds of two pairs of each kind.
        let mut pairs = "2\t2\n".to_owned();
        for (index, (_, photos)) in people.iter().skip(PEOPLE).enumerate() {
            let name = format!("Other_{index}");
            let person = folder.path().join("pairs").join(&name);
            std::fs::create_dir_all(&person).unwrap();
            for (number, photo) in photos.iter().take(2).enumerate() {
                std::fs::copy(photo, person.join(format!("{name}_{:04}.jpg", number + 1))).unwrap();
            }
        }
        for fold in 0..2 {
            for pair in 0..2 {
                pairs += &format!("Other_{}\t1\t2\n", 4 * fold + pair);
            }
            for pair in 0..2 {
                pairs += &format!("Other_{}\t1\tOther_{}\t1\n", 4 * fold + pair, 4 * fold + pair + 2);
            }
        }
        std::fs::write(folder.path().join("pairs.txt"), &pairs).unwrap();
        Some(Self { folder, pairs })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Settings for a small network from nothing, with other lines after them.
    fn config(&self, name: &str, output: &str, more: &str) -> PathBuf {
        let text = format!(
            "name = \"small\"\noutput = {output:?}\nseed = 5\n\n[data]\nfolder = \"photos\"\naligned = \"arcface112\"\n\
             augmentation = {{ shift = 0.05, zoom = 0.1, turn = 5, brightness = 0.2, contrast = 0.2, grey = 0.1, erase = 0.2 }}\n\n\
             [backbone]\nkind = \"mobilefacenet\"\ninput = [48, 48]\nwidth = 8\ndimension = 16\n\n\
             [sampling]\nkind = \"shuffled\"\nbatch = 12\n\n{more}"
        );
        self.write(name, &text)
    }

    /// Settings for a head on the default embedder.
    fn adaptation(&self, name: &str, output: &str, more: &str) -> PathBuf {
        let text = format!(
            "name = \"adapted\"\noutput = {output:?}\n\n[data]\nfolder = \"photos\"\naligned = \"arcface112\"\n\n[base]\n\n\
             [sampling]\nkind = \"pk\"\npeople = 4\nphotos = 4\n\n[validation]\nimages = \"pairs\"\npairs = \"pairs.txt\"\n\
             aligned = \"arcface112\"\n\n[schedule]\nepochs = 3\nrate = 0.05\n\n{more}"
        );
        self.write(name, &text)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const SCHEDULE: &str =
    "[loss]\nkind = \"adaface\"\n\n[schedule]\nepochs = 8\nrate = 0.05\n\n[checkpoints]\nevery = 3\n";

#[test]
fn a_training_that_is_killed_again_and_again_gives_the_same_bits() {
    let Some(data) = Data::new("a_training_that_is_killed_again_and_again_gives_the_same_bits") else { return };
    let whole = data.config("whole.toml", "whole", SCHEDULE);
    let output = face(&["train", text(&whole), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = json(&output);
    assert_eq!((report["step"].as_u64(), report["steps"].as_u64()), (Some(32), Some(32)));
    assert!(report["difference"].as_f64().unwrap() < 1e-4);
    // Killed after the first checkpoint that is new, three times.
    let killed = data.config("killed.toml", "killed", SCHEDULE);
    let checkpoints = data.path("killed/checkpoints");
    for round in 0..3 {
        let before = last_checkpoint(&checkpoints);
        let mut command = Command::new(env!("CARGO_BIN_EXE_face"));
        command.args(["train", text(&killed)]).stderr(Stdio::null()).stdout(Stdio::null());
        if round > 0 {
            command.arg("--resume");
        }
        let mut child = command.spawn().unwrap();
        let start = Instant::now();
        while last_checkpoint(&checkpoints) == before {
            assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(300));
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!data.path("killed/network.onnx").exists());
    }
    let output = face(&["train", text(&killed), "--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(errors(&output).contains("of them done"), "{}", errors(&output));
    let bytes = |folder: &str| std::fs::read(data.path(folder).join("network.onnx")).unwrap();
    assert!(bytes("whole") == bytes("killed"), "the networks differ");
    let losses = |folder: &str| -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(data.path(folder).join("metrics.csv")).unwrap();
        // The mean since the last line is another one where the training began anew in between.
        let line = |line: &str| line.split(',').take(3).map(str::to_owned).collect();
        text.lines().map(line).collect()
    };
    assert_eq!(losses("whole"), losses("killed"));
    for picture in ["loss.png", "accuracy.png"] {
        assert!(Image::open(data.path("whole").join(picture)).is_ok(), "{picture}");
    }
    // Another seed gives another network.
    let output = face(&["train", text(&whole), "--seed", "6", "--output", text(&data.path("other"))]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(bytes("whole") != bytes("other"));
}

fn last_checkpoint(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("step-")).max()
}

#[test]
fn a_watcher_stops_a_training_at_a_checkpoint() {
    let Some(data) = Data::new("a_watcher_stops_a_training_at_a_checkpoint") else { return };
    let config = TrainConfig::open(data.config("c.toml", "stopped", SCHEDULE)).unwrap();
    let params = |resume| TrainParams { resume, store: ModelStore::open_default().unwrap(), devices: vec![] };
    let stop_at = |wanted: usize| {
        move |event: &TrainEvent<'_>| match event {
            TrainEvent::Step(step) if step.step == wanted => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        }
    };
    let outcome = train(&config, &params(false), &stop_at(5)).unwrap();
    assert!(outcome.network.is_none());
    assert_eq!((outcome.step, outcome.steps), (5, 32));
    let again = train(&config, &params(false), &stop_at(5)).unwrap_err();
    assert!(again.to_string().contains("resume it"), "{again}");
    let outcome = train(&config, &params(true), &stop_at(100)).unwrap();
    let network = outcome.network.unwrap();
    // Two parts of each batch, on two devices of the processor: the same sums in another order, and normalizations of their own.
    let halves = TrainConfig { output: data.path("halves"), ..config.clone() };
    let devices = vec![Device::flex(), Device::flex()];
    let two = TrainParams { devices, ..params(false) };
    let outcome = train(&halves, &two, &stop_at(100)).unwrap();
    assert!(outcome.metrics.unwrap().loss.is_finite());
    let open = |path: &Path| OnnxEmbedder::open(path, EmbedderSpec::open(&network.spec).unwrap()).unwrap();
    let crop = Image::open(folders(&folders(&data.path("photos"))[0])[0].clone()).unwrap();
    let embedder = open(&network.onnx);
    let template = embedder.crop_spec().template.clone();
    let small = Image::from_raw(48, 48, crop.as_raw()[..48 * 48 * 3].to_vec()).unwrap();
    let embedding = embedder.embed(&FaceCrop::from_aligned(small.clone(), template.clone()).unwrap()).unwrap();
    assert_eq!(embedding.vector().len(), 16);
    let other = open(&outcome.network.unwrap().onnx).embed(&FaceCrop::from_aligned(small, template).unwrap()).unwrap();
    assert!(embedding.similarity(&other).is_err(), "two networks are two spaces");
}

#[test]
fn heads_on_the_default_embedder_are_trained_exported_and_used() {
    let test = "heads_on_the_default_embedder_are_trained_exported_and_used";
    let (Some(data), Some(store)) = (Data::new(test), common::store(test)) else { return };
    let heads = [
        ("linear", "[head]\nkind = \"linear\"\ndimension = 24\n[loss]\nkind = \"triplet\"\n"),
        ("mlp", "[head]\nkind = \"mlp\"\nhidden = 48\ndimension = 24\n[loss]\nkind = \"softmax\"\n"),
        (
            "groupface",
            "[head]\nkind = \"groupface\"\ndimension = 24\ngroups = 4\nhidden = 12\n[loss]\nkind = \"groupface\"\nscale = 16\n\
             window = 4\npretraining = 1\n[export]\ngroup_aware = true\n",
        ),
    ];
    for (name, settings) in heads {
        let config = data.adaptation(&format!("{name}.toml"), name, settings);
        let output = face(&["train", text(&config), "--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", errors(&output));
        let report = json(&output);
        assert!(report["difference"].as_f64().unwrap() < 1e-4, "{report}");
        let accuracy = report["validation"]["accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{report}");
        // Features were computed once: a second training takes them as they are.
        let features = folders(&data.path(name).join("features"));
        assert_eq!(features.len(), 2, "{features:?}");
        let spec = EmbedderSpec::open(report["spec"].as_str().unwrap()).unwrap();
        assert_eq!(spec.name, "adapted");
        if name == "linear" {
            is_taken_by_a_catalogue(report["network"].as_str().unwrap(), &spec);
        }
        let params = PipelineParams {
            embedder: ModelSource::File(report["network"].as_str().unwrap().into()),
            embedder_spec: Some(spec),
            ..PipelineParams::default()
        };
        let pipeline = FacePipeline::open(&store, &params).unwrap();
        let face_of = |name: &str| {
            let photo = common::photo(&store, name);
            pipeline.analyze_largest(&photo.view(), name).unwrap().embedding
        };
        let (obama, again, biden) = (face_of("obama"), face_of("obama2"), face_of("biden"));
        let dimension = if name == "groupface" { 24 + 12 } else { 24 };
        assert_eq!(obama.vector().len(), dimension);
        assert!(obama.similarity(&again).unwrap() > obama.similarity(&biden).unwrap(), "{name}");
    }
}

/// An entry of a catalogue of one's own, for a network that people bring from a server.
fn is_taken_by_a_catalogue(network: &str, spec: &EmbedderSpec) {
    use sha2::Digest as _;

    let content = std::fs::read(network).unwrap();
    let digest: String = sha2::Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = format!(
        "[[entry]]\nname = \"adapted\"\nkind = \"onnx-embedder\"\nsummary = \"ours\"\nlicence = \"MIT\"\ncredit = \"us\"\n\
         copyright = \"Copyright (c) us\"\nfile = {{ name = \"network.onnx\", bytes = {}, sha256 = \"{digest}\" }}\n\
         source = {{ kind = \"https\", urls = [\"https://localhost/network.onnx\"] }}\n\
         [entry.input]\ncolor = \"rgb\"\nmean = {:?}\nstd = {:?}\n\
         [[entry.variants]]\nname = \"one-crop\"\ndefault = true\nmetric = \"cosine\"\ncrops = {{ template = \"{}\" }}\n",
        content.len(),
        spec.mean,
        spec.std,
        spec.crops.template.name
    );
    let folder = TempDir::new().unwrap();
    let store = ModelStore::new(folder.path()).with_catalogue(Catalogue::from_toml(&entry).unwrap());
    let path = store.path(store.catalogue().entry("adapted").unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::copy(network, path).unwrap();
    let params = PipelineParams { embedder: ModelSource::Catalogue("adapted".into()), ..PipelineParams::default() };
    assert_eq!(open_embedder(&store, &params).unwrap().space().dimension, 24);
}

#[test]
fn bad_input_is_named_and_nothing_is_lost() {
    let Some(data) = Data::new("bad_input_is_named_and_nothing_is_lost") else { return };
    let fails = |config: &Path, more: &[&str]| {
        let mut arguments = vec!["train", text(config)];
        arguments.extend(more);
        let output = face(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        errors(&output)
    };
    // A key that nobody knows.
    let error = fails(&data.config("key.toml", "key", "[loss]\nkind = \"arcface\"\nmargn = 0.5\n"), &[]);
    assert!(error.contains("line 22") && error.contains("no key `margn` here; did you mean `margin`"), "{error}");
    // A setting that the loss does not have, and heads that do not fit.
    let error = fails(&data.config("a.toml", "a", "[loss]\nkind = \"softmax\"\nmargin = 0.5\n"), &[]);
    assert!(error.contains("margin") && error.contains("Softmax"), "{error}");
    let error = fails(&data.config("b.toml", "b", "[loss]\nkind = \"groupface\"\n"), &[]);
    assert!(error.contains("head"), "{error}");
    // Unreadable photos are listed, skipped and counted.
    let broken = data.path("photos/person 1/broken.jpg");
    std::fs::write(&broken, b"no picture").unwrap();
    std::fs::create_dir(data.path("photos/nobody")).unwrap();
    let short = "[loss]\nkind = \"arcface\"\n[schedule]\nepochs = 1\n";
    let output = face(&["train", text(&data.config("c.toml", "c", short)), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = json(&output);
    let left_out: Vec<&str> =
        report["left_out"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert_eq!(left_out.len(), 2, "{report}");
    assert!(left_out.contains(&"nobody") && left_out.iter().any(|what| what.ends_with("broken.jpg")), "{report}");
    assert!(std::fs::read_to_string(data.path("c/left_out.csv")).unwrap().contains("broken.jpg"));
    for more in 0..3 {
        std::fs::copy(&broken, data.path(&format!("photos/person 1/broken {more}.jpg"))).unwrap();
    }
    let error = fails(&data.config("d.toml", "d", short), &[]);
    assert!(error.contains("4 of 52 photos cannot be used") && error.contains("left_out.csv"), "{error}");
    for photo in folders(&data.path("photos/person 1")) {
        if photo.file_name().unwrap().to_str().unwrap().starts_with("broken") {
            std::fs::remove_file(photo).unwrap();
        }
    }
    // A checkpoint of other settings.
    let other = data.config("c.toml", "c", &short.replace("arcface", "cosface"));
    let error = fails(&other, &["--resume"]);
    assert!(error.contains("loss.kind") && error.contains("cosface"), "{error}");
    assert!(fails(&other, &[]).contains("resume it"));
    // One person alone.
    for person in folders(&data.path("photos")).into_iter().filter(|person| !person.ends_with("person 0")) {
        std::fs::remove_dir_all(person).unwrap();
    }
    let error = fails(&data.config("e.toml", "e", short), &[]);
    assert!(error.contains("one person"), "{error}");
    assert!(data.pairs.starts_with("2\t2"));
}

/// Whole photos: the face nearest to the centre is cut out, and what has none is left out.
#[test]
fn photos_are_cut_where_a_face_is_found() {
    let test = "photos_are_cut_where_a_face_is_found";
    let Some(store) = common::store(test) else { return };
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (person, names) in [("Obama", &["obama", "obama2"][..]), ("others", &["biden", "astronaut"])] {
        std::fs::create_dir_all(path(&format!("photos/{person}"))).unwrap();
        for name in names {
            let from = store.path(store.catalogue().entry(name).unwrap());
            std::fs::copy(&from, path(&format!("photos/{person}/{}", from.file_name().unwrap().display()))).unwrap();
        }
    }
    let nobody = Image::from_raw(64, 64, vec![90; 64 * 64 * 3]).unwrap();
    nobody.save(path("photos/Obama/nobody.png")).unwrap();
    let text = "name = \"few\"\noutput = \"run\"\n[data]\nfolder = \"photos\"\nmost_unusable = 0.2\n\
                [backbone]\nkind = \"resnet-18\"\ninput = [40, 32]\nwidth = 4\ndimension = 16\n\
                [loss]\nkind = \"softmax\"\n[sampling]\nkind = \"shuffled\"\nbatch = 4\n[schedule]\nepochs = 2\n";
    std::fs::write(path("c.toml"), text).unwrap();
    let output = face(&["train", path("c.toml").to_str().unwrap(), "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let report = json(&output);
    assert!(report["left_out"][0]["what"].as_str().unwrap().ends_with("nobody.png"), "{report}");
    assert!(report["left_out"][0]["reason"].as_str().unwrap().contains("no face"), "{report}");
    let template = folders(&path("run/crops"));
    assert!(template[0].ends_with("arcface112-32x40"), "{template:?}");
    let crops: Vec<PathBuf> = folders(&template[0]).iter().flat_map(|folder| folders(folder)).collect();
    assert_eq!(crops.len(), 4);
    for crop in &crops {
        let crop = Image::open(crop).unwrap();
        assert_eq!((crop.width(), crop.height()), (32, 40));
    }
    // The finished training has nothing to do any more, and writes the same network again.
    let before = std::fs::read(path("run/network.onnx")).unwrap();
    let output = face(&["train", path("c.toml").to_str().unwrap(), "--resume"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(std::fs::read(path("run/network.onnx")).unwrap() == before);
}

/// Files may grow no further than is enough for the small files, but not for the weights.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_good_checkpoint() {
    let Some(data) = Data::new("a_full_disk_leaves_the_last_good_checkpoint") else { return };
    let config = data.config("full.toml", "full", SCHEDULE);
    let run = |limit: &str, more: &str| {
        let program = env!("CARGO_BIN_EXE_face");
        let script = format!("trap '' XFSZ; {limit} exec '{program}' train '{}' {more}", config.display());
        Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    let output = run("ulimit -f 16;", "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(errors(&output).contains("cannot write"), "{}", errors(&output));
    assert_eq!(folders(&data.path("full/checkpoints")), Vec::<PathBuf>::new());
    let store = ModelStore::open_default().unwrap();
    let settings = TrainConfig::open(&config).unwrap();
    let stop = |event: &TrainEvent<'_>| match event {
        TrainEvent::Checkpoint(_) => std::ops::ControlFlow::Break(()),
        _ => std::ops::ControlFlow::Continue(()),
    };
    train(&settings, &TrainParams { resume: false, store, devices: vec![] }, &stop).unwrap();
    let good = folders(&data.path("full/checkpoints"));
    let output = run("ulimit -f 16;", "--resume");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(folders(&data.path("full/checkpoints")), good);
    let output = run("", "--resume");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
