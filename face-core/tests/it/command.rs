//! The command `face` as a program sees it.

use crate::common::{self, errors, face, face_with, json};

fn sample(name: &str, test: &str) -> Option<String> {
    let store = common::store(test)?;
    Some(store.path(store.catalogue().entry(name).unwrap()).to_str().unwrap().to_owned())
}

fn keys(value: &serde_json::Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn detect_prints_the_contract_and_draws() {
    let test = "detect_prints_the_contract_and_draws";
    let (Some(first), Some(second)) = (sample("astronaut", test), sample("obama2", test)) else { return };
    let folder = tempfile::Builder::new().prefix("zeichnungen für ").tempdir().unwrap();
    let drawn = folder.path().join("out.png");
    let output = face(&["detect", &first, &second, "--json", "--draw", drawn.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let entries = json(&output);
    for (entry, (path, size)) in entries.as_array().unwrap().iter().zip([(&first, [512, 512]), (&second, [626, 1200])])
    {
        assert_eq!(keys(entry), ["faces", "height", "image", "width"]);
        assert_eq!(entry["image"], path.as_str());
        assert_eq!([&entry["width"], &entry["height"]], size.map(serde_json::Value::from).each_ref());
        let face = &entry["faces"][0];
        assert_eq!(keys(face), ["box", "landmarks", "score"]);
        assert_eq!(face["box"].as_array().unwrap().len(), 4);
        assert!((0.5..=1.0).contains(&face["score"].as_f64().unwrap()));
        let landmarks = face["landmarks"].as_array().unwrap();
        assert!(landmarks.len() == 5 && landmarks.iter().all(|p| p.as_array().unwrap().len() == 2));
        // The eye on the image's left first.
        assert!(landmarks[0][0].as_f64() < landmarks[1][0].as_f64());
    }
    assert_eq!(entries.as_array().unwrap().len(), 2);
    for name in ["out-1.png", "out-2.png"] {
        assert!(face_core::Image::open(folder.path().join(name)).is_ok(), "{name}");
    }
    face(&["detect", &first, "--draw", drawn.to_str().unwrap()]);
    let (plain, drawn) = (face_core::Image::open(&first).unwrap(), face_core::Image::open(&drawn).unwrap());
    assert_eq!((plain.width(), plain.height()), (drawn.width(), drawn.height()));
    assert_ne!(plain, drawn);
    let readable = String::from_utf8(face(&["detect", &first]).stdout).unwrap();
    assert!(readable.contains("1 face") && readable.contains("score"), "{readable}");
}

#[test]
fn embed_prints_the_contract() {
    let test = "embed_prints_the_contract";
    let (Some(photo), Some(store), Some(pipeline)) =
        (sample("astronaut", test), common::store(test), common::pipeline(test))
    else {
        return;
    };
    let output = face(&["embed", &photo, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let entry = &json(&output)[0];
    assert_eq!(keys(entry), ["faces", "height", "image", "space", "width"]);
    assert_eq!(entry["space"], pipeline.embedder.space().id());
    assert_eq!(keys(&entry["faces"][0]), ["box", "embedding", "landmarks", "score"]);
    // The very numbers that the library gives.
    let ours = pipeline.analyze_largest(&common::photo(&store, "astronaut").view(), "astronaut").unwrap();
    let printed: Vec<f32> =
        entry["faces"][0]["embedding"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    assert_eq!(printed, ours.embedding.vector());
    assert!(String::from_utf8(face(&["embed", &photo]).stdout).unwrap().contains("128 values"));
}

#[test]
fn largest_keeps_one_face_for_each_photo() {
    let test = "largest_keeps_one_face_for_each_photo";
    let Some(store) = common::store(test) else { return };
    let photos = ["astronaut", "obama", "biden"].map(|name| common::photo(&store, name));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("three people.png");
    face_core::side_by_side(&photos, 500).unwrap().save(&path).unwrap();
    let path = path.to_str().unwrap();
    let all = json(&face(&["embed", path, "--json"]));
    assert_eq!(all[0]["faces"].as_array().unwrap().len(), 3);
    let largest = json(&face(&["embed", path, "--json", "--largest"]));
    assert_eq!(largest[0]["faces"].as_array().unwrap().len(), 1);
    let area = |face: &serde_json::Value| face["box"][2].as_f64().unwrap() * face["box"][3].as_f64().unwrap();
    let areas = all[0]["faces"].as_array().unwrap().iter().map(area);
    assert_eq!(area(&largest[0]["faces"][0]), areas.fold(0.0, f64::max));
}

#[test]
fn verify_prints_the_contract_and_its_status_is_the_verdict() {
    let test = "verify_prints_the_contract_and_its_status_is_the_verdict";
    let (Some(a), Some(b), Some(c)) = (sample("obama", test), sample("obama2", test), sample("biden", test)) else {
        return;
    };
    for (other, status) in [(&b, 0), (&c, 1)] {
        let output = face(&["verify", &a, other, "--json"]);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let answer = json(&output);
        assert_eq!(keys(&answer), ["far", "match", "measured_on", "model", "similarity", "threshold"]);
        assert_eq!(answer["match"], status == 0);
        assert_eq!(answer["far"], 1e-3);
        assert_eq!(answer["model"], "dlib-resnet-v1");
        let reaches = answer["similarity"].as_f64().unwrap() >= answer["threshold"].as_f64().unwrap();
        assert_eq!(reaches, status == 0);
    }
    let readable = String::from_utf8(face(&["verify", &a, &b]).stdout).unwrap();
    for part in ["same person", "similarity", "threshold", "false-accept rate 1e-3", "LFW"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }
    let stricter = json(&face(&["verify", &a, &b, "--far", "1e-4", "--json"]));
    let looser = json(&face(&["verify", &a, &b, "--far", "1e-2", "--json"]));
    assert!(stricter["threshold"].as_f64() > looser["threshold"].as_f64());
    let unknown = face(&["verify", &a, &b, "--far", "0.3"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(errors(&unknown).contains("known rates: 1e-2, 1e-3"), "{unknown:?}");
    // With --json an error is JSON too.
    let missing = face(&["verify", &a, "not there.jpg", "--json"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(json(&missing)["error"].as_str().unwrap().contains("not there.jpg"));
}

#[test]
fn models_are_listed_and_checked() {
    let test = "models_are_listed_and_checked";
    if common::store(test).is_none() {
        return;
    }
    let list = json(&face(&["models", "list", "--json"]));
    let entry = list.as_array().unwrap().iter().find(|entry| entry["name"] == "centerface").unwrap();
    assert_eq!((entry["licence"].as_str(), entry["state"].as_str()), (Some("MIT"), Some("ready")));
    assert_eq!(entry["file"]["sha256"], "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc");
    let readable = String::from_utf8(face(&["models", "list"]).stdout).unwrap();
    for part in ["centerface", "sface", "Apache-2.0", "CC0-1.0", "ready"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }
    assert_eq!(face(&["models", "check"]).status.code(), Some(0));
    let unknown = face(&["models", "pull", "arcface"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(errors(&unknown).contains("it has: centerface"), "{unknown:?}");
    let nothing = tempfile::tempdir().unwrap();
    let output = face_with(&["models", "check", "--json"], &[("FACE_MODELS", nothing.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(json(&output).as_array().unwrap().iter().all(|entry| entry["state"] == "missing"));
}

#[test]
fn demo_shows_the_main_job_and_draws_a_picture() {
    let test = "demo_shows_the_main_job_and_draws_a_picture";
    if common::store(test).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("demo.png");
    let output = face(&["demo", "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["same person", "different people", "threshold", "false-accept rate", out.to_str().unwrap()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(face_core::Image::open(&out).unwrap().width() > 1000);
}

#[test]
fn options_out_of_range_are_named() {
    let test = "options_out_of_range_are_named";
    let Some(photo) = sample("astronaut", test) else { return };
    for (option, value) in
        [("--score", "1.5"), ("--nms", "-1"), ("--max-side", "7"), ("--max-faces", "0"), ("--min-size", "-3")]
    {
        let option_value = format!("{option}={value}");
        let output = face(&["detect", &photo, &option_value]);
        assert_eq!(output.status.code(), Some(2), "{option_value}");
        assert!(errors(&output).contains("must be"), "{option_value}: {output:?}");
    }
    let output = face(&["embed", &photo, "--embedder", "mine.onnx"]);
    assert!(errors(&output).contains("--spec"), "{output:?}");
    let output = face(&["detect", &photo, "--detector", "yolo"]);
    assert!(errors(&output).contains("it has: centerface"), "{output:?}");
    // What only a file of one's own needs, or must not have.
    for (arguments, named) in [
        (
            &["embed", &photo, "--embedder", "./mine.onnx", "--variant", "single-euclidean", "--spec", "s.toml"][..],
            "--variant",
        ),
        (
            &["eval", "lfw", "--images", ".", "--pairs", &photo, "--embedder", "./mine.onnx", "--mirror", "true"],
            "--spec",
        ),
        (&["eval", "lfw", "--images", ".", "--pairs", &photo, "--roc", "curve.pdf"], ".png"),
        (&["detect", &photo, "--draw", "no such folder/out.png"], "no such folder"),
    ] {
        let output = face(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(errors(&output).contains(named), "{named}: {output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_does_not_change_the_status() {
    let test = "a_reader_that_has_seen_enough_does_not_change_the_status";
    let (Some(a), Some(b)) = (sample("obama", test), sample("biden", test)) else { return };
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_face"))
        .args(["verify", &a, &b])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn bench_prints_the_contract() {
    let test = "bench_prints_the_contract";
    let Some(photo) = sample("astronaut", test) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(photo, folder.path().join("a.png")).unwrap();
    std::fs::write(folder.path().join("b.jpg"), "no picture").unwrap();
    let images = folder.path().to_str().unwrap();
    let output = face(&["bench", "--images", images, "--json", "--threads", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    let names = [
        "faces",
        "faces_per_second",
        "failed_images",
        "first_result_ms",
        "images",
        "images_per_second",
        "peak_rss_mb",
        "space",
        "stages",
        "threads",
    ];
    assert_eq!(keys(&report), names);
    assert_eq!(keys(&report["stages"]), ["align", "decode", "detect", "embed", "normalize"]);
    assert_eq!([&report["images"], &report["faces"], &report["failed_images"], &report["threads"]], [2, 1, 1, 1]);
    for name in ["images_per_second", "faces_per_second", "first_result_ms"] {
        assert!(report[name].as_f64().unwrap() > 0.0, "{report}");
    }
    assert!(report["stages"].as_object().unwrap().values().all(|time| time.as_f64().unwrap() >= 0.0));

    std::fs::remove_file(folder.path().join("a.png")).unwrap();
    for wrong in [images, "no such folder"] {
        let output = face(&["bench", "--images", wrong]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!errors(&output).is_empty());
    }
}
