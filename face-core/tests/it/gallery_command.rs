//! The commands for galleries as a program sees them: enroll, identify, gallery, group and eval identification.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::common::{self, errors, face, json};

fn sample(name: &str, test: &str) -> Option<String> {
    let store = common::store(test)?;
    Some(store.path(store.catalogue().entry(name).unwrap()).to_str().unwrap().to_owned())
}

fn samples<const N: usize>(names: [&str; N], test: &str) -> Option<[String; N]> {
    common::store(test)?;
    Some(names.map(|name| sample(name, test).unwrap()))
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs the command and expects this exit status.
#[track_caller]
fn face_ends(status: i32, arguments: &[&str]) -> Output {
    let output = face(arguments);
    assert_eq!(output.status.code(), Some(status), "face {arguments:?}: {output:?}");
    output
}

/// A folder with the path of a gallery in it, which has Obama (with metadata) and the astronaut.
fn two_people(test: &str) -> Option<(tempfile::TempDir, String)> {
    let [obama, astronaut] = samples(["obama", "astronaut"], test)?;
    let folder = tempfile::Builder::new().prefix("Galerie für ").tempdir().unwrap();
    let gallery = folder.path().join("people.face").to_str().unwrap().to_owned();
    face_ends(0, &["enroll", &gallery, "Obama", &obama, "--metadata", r#"{"team": "A", "born": 1961}"#]);
    face_ends(0, &["enroll", &gallery, "Astronaut", &astronaut]);
    Some((folder, gallery))
}

/// A picture with nobody on it.
fn nobody(folder: &Path) -> String {
    let path = folder.join("sky.png");
    face_core::Image::from_raw(200, 150, vec![120; 200 * 150 * 3]).unwrap().save(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Three people beside one another.
fn crowd(folder: &Path, test: &str) -> Option<String> {
    let store = common::store(test)?;
    let photos = ["obama2", "astronaut", "biden"].map(|name| common::photo(&store, name));
    let path = folder.join("three people.png");
    face_core::side_by_side(&photos, 500).unwrap().save(&path).unwrap();
    Some(path.to_str().unwrap().to_owned())
}

#[test]
fn enroll_makes_a_gallery_and_adds_to_it() {
    let test = "enroll_makes_a_gallery_and_adds_to_it";
    let Some([obama, obama2, astronaut]) = samples(["obama", "obama2", "astronaut"], test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let gallery = folder.path().join("people.face");
    let gallery = gallery.to_str().unwrap();
    let sky = nobody(folder.path());

    // Without a usable photo there is neither a subject nor a gallery.
    let output = face_ends(2, &["enroll", gallery, "Nobody", &sky, "missing.jpg", "--json"]);
    assert_eq!(list(&json(&output)["failed"]).len(), 2);
    assert_eq!(json(&output)["subject"], Value::Null);
    assert!(errors(&output).contains("no face was found") && errors(&output).contains("missing.jpg"), "{output:?}");
    assert!(!Path::new(gallery).exists());

    // What can be used is enrolled, and the rest is reported.
    let output = face_ends(0, &["enroll", gallery, "Obama", &obama, &sky, "--metadata", r#"{"team": "A"}"#, "--json"]);
    let answer = json(&output);
    assert_eq!(keys(&answer), ["created", "failed", "gallery", "name", "new", "subject", "templates"]);
    assert_eq!((&answer["created"], &answer["new"], &answer["subject"]), (&true.into(), &true.into(), &1.into()));
    assert_eq!(keys(&answer["templates"][0]), ["box", "image", "quality", "template"]);
    assert_eq!(answer["templates"][0]["image"], obama.as_str());
    assert_eq!(answer["failed"][0]["image"], sky.as_str());
    assert!(errors(&output).contains(&sky), "{output:?}");

    // The same name: another template, and the metadata as before.
    let answer = json(&face_ends(0, &["enroll", gallery, "Obama", &obama2, "--json"]));
    assert_eq!((&answer["created"], &answer["new"], &answer["subject"]), (&false.into(), &false.into(), &1.into()));
    assert_eq!(answer["templates"][0]["template"], 2);
    let output = face_ends(0, &["enroll", gallery, "Astronaut", &astronaut]);
    assert!(text(&output).contains("enrolled Astronaut (subject 2): 1 template"), "{output:?}");

    let listed = json(&face_ends(0, &["gallery", "list", gallery, "--json"]));
    assert_eq!(listed[0]["name"], "Obama");
    assert_eq!(listed[0]["metadata"], serde_json::json!({"team": "A"}));
    let sources: Vec<&Value> = list(&listed[0]["templates"]).iter().map(|template| &template["source"]).collect();
    assert_eq!(sources, [&obama, &obama2]);

    // Of several faces the largest counts, and the command says so.
    let Some(crowd) = crowd(folder.path(), test) else { return };
    let output = face_ends(0, &["enroll", gallery, "Somebody", &crowd]);
    assert!(errors(&output).contains("has 3 faces; the largest"), "{output:?}");
}

#[test]
fn identify_prints_the_contract_and_its_status_is_the_answer() {
    let test = "identify_prints_the_contract_and_its_status_is_the_answer";
    let Some((folder, gallery)) = two_people(test) else { return };
    let Some([obama2, biden]) = samples(["obama2", "biden"], test) else { return };

    let answer = json(&face_ends(0, &["identify", &gallery, &obama2, "--json"]));
    let expected = ["faces", "far", "fpir_bound", "image", "measured_on", "templates", "threshold"];
    assert_eq!(keys(&answer), expected);
    let found = &answer["faces"][0];
    assert_eq!(keys(found), ["box", "candidates", "match", "score"]);
    assert_eq!(list(&found["box"]).len(), 4);
    assert_eq!(keys(&found["candidates"][0]), ["name", "similarity", "subject", "template"]);
    assert_eq!((&found["candidates"][0]["name"], &found["candidates"][0]["subject"]), (&"Obama".into(), &1.into()));
    assert_eq!(found["match"], true);
    let similarity = |index: usize| found["candidates"][index]["similarity"].as_f64().unwrap();
    assert!(similarity(0) >= answer["threshold"].as_f64().unwrap() && similarity(1) < similarity(0));
    // The very number that `verify` gives, and two templates at a rate of 1e-3.
    let obama = sample("obama", test).unwrap();
    let verified = json(&face(&["verify", &obama, &obama2, "--json"]));
    assert_eq!(found["candidates"][0]["similarity"], verified["similarity"]);
    assert_eq!((&answer["far"], &answer["fpir_bound"], &answer["templates"]), (&1e-3.into(), &2e-3.into(), &2.into()));

    // A stranger is nobody, but one can see who comes nearest.
    let answer = json(&face_ends(1, &["identify", &gallery, &biden, "--json"]));
    assert_eq!(answer["faces"][0]["match"], false);
    assert_eq!(list(&answer["faces"][0]["candidates"]).len(), 2);
    let output = face_ends(1, &["identify", &gallery, &biden]);
    assert!(text(&output).contains("nobody, similarity") && text(&output).contains("< threshold"), "{output:?}");

    // Every face of a photo, drawn with names.
    let Some(crowd) = crowd(folder.path(), test) else { return };
    let drawn = folder.path().join("drawn.png");
    let output =
        face_ends(0, &["identify", &gallery, &crowd, "--top", "1", "--draw", drawn.to_str().unwrap(), "--json"]);
    let answer = json(&output);
    let mut names: Vec<(f64, Option<String>)> = list(&answer["faces"])
        .iter()
        .map(|face| {
            assert_eq!(list(&face["candidates"]).len(), 1);
            let name = face["candidates"][0]["name"].as_str().unwrap().to_owned();
            (face["box"][0].as_f64().unwrap(), face["match"].as_bool().unwrap().then_some(name))
        })
        .collect();
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let names: Vec<Option<&str>> = names.iter().map(|(_, name)| name.as_deref()).collect();
    assert_eq!(names, [Some("Obama"), Some("Astronaut"), None]);
    let (plain, drawn) = (face_core::Image::open(&crowd).unwrap(), face_core::Image::open(&drawn).unwrap());
    assert_eq!((plain.width(), plain.height()), (drawn.width(), drawn.height()));
    assert_ne!(plain, drawn);

    // Several photos: an array, and one somebody is enough.
    let output = face_ends(0, &["identify", &gallery, &biden, "missing.jpg", &obama2, "--json"]);
    let answers = json(&output);
    let images: Vec<&Value> = list(&answers).iter().map(|answer| &answer["image"]).collect();
    assert_eq!(images, [&biden, "missing.jpg", &obama2]);
    assert!(answers[1]["error"].as_str().unwrap().contains("missing.jpg") && list(&answers[1]["faces"]).is_empty());
    face_ends(1, &["identify", &gallery, &biden, "missing.jpg"]);
    let readable = text(&face_ends(0, &["identify", &gallery, &obama2]));
    for part in ["Obama, similarity", ">= threshold", "false-accept rate", "LFW", "2 templates: at most 0.20 %"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }
}

#[test]
fn the_threshold_follows_the_size_of_the_gallery_or_the_options() {
    let test = "the_threshold_follows_the_size_of_the_gallery_or_the_options";
    let Some((_folder, gallery)) = two_people(test) else { return };
    let [obama, obama2] = samples(["obama", "obama2"], test).unwrap();
    let with = |options: &[&str]| json(&face(&[&["identify", &gallery, &obama2, "--json"], options].concat()));
    for (options, far) in [
        (&[][..], 1e-3),
        (&["--fpir", "1e-3"], 1e-4),
        (&["--fpir", "0.05"], 1e-2),
        (&["--far", "1e-4"], 1e-4),
        // Stricter than the threshold at 1e-3, and looser than that at 1e-4.
        (&["--threshold", "0.94"], 1e-3),
        (&["--threshold", "0.1"], 1.0),
    ] {
        let answer = with(options);
        assert_eq!(answer["far"], far, "{options:?}: {answer}");
        assert_eq!(answer["fpir_bound"], f64::min(2.0 * far, 1.0), "{options:?}");
    }
    assert_eq!(with(&["--threshold", "0.94"])["threshold"].as_f64().unwrap() as f32, 0.94);
    face_ends(1, &["identify", &gallery, &obama2, "--threshold", "0.999"]);
    let output = face_ends(2, &["identify", &gallery, &obama2, "--fpir", "1e-9", "--json"]);
    assert!(json(&output)["error"].as_str().unwrap().contains("known rates"), "{output:?}");
    for options in [&["--far", "0.3"][..], &["--fpir", "2"], &["--threshold", "nan"], &["--top", "0"]] {
        face_ends(2, &[&["identify", &gallery, &obama2], options].concat());
    }
    face_ends(2, &["identify", &gallery, &obama2, "--far", "1e-3", "--fpir", "1e-2"]);

    // As many templates as make the default unattainable: the answer stands, with a warning.
    assert!(!errors(&face(&["identify", &gallery, &obama2])).contains("warning"));
    let path = PathBuf::from(&gallery);
    let pipeline = common::pipeline(test).unwrap();
    let store = common::store(test).unwrap();
    let template = face_core::gallery::template_from_image(pipeline, &common::photo(&store, "obama").view(), &obama);
    let opened = face_core::gallery::LocalGallery::open(&path).unwrap();
    use face_core::gallery::Gallery as _;
    let strictest = pipeline.embedder.space().thresholds.iter().map(|threshold| threshold.far).fold(1.0, f64::min);
    let enough = (1e-2 / strictest) as usize;
    opened.add_templates(face_core::gallery::SubjectId(1), vec![template.unwrap(); enough]).unwrap();
    drop(opened);
    let output = face_ends(0, &["identify", &gallery, &obama2]);
    assert!(errors(&output).contains("no stricter threshold was measured"), "{output:?}");
    face_ends(2, &["identify", &gallery, &obama2, "--fpir", "1e-2"]);
}

#[test]
fn identify_looks_among_some_of_the_people() {
    let test = "identify_looks_among_some_of_the_people";
    let Some((_folder, gallery)) = two_people(test) else { return };
    let obama2 = sample("obama2", test).unwrap();
    let among = |options: &[&str]| {
        let output = face(&[&["identify", &gallery, &obama2, "--json"], options].concat());
        let answer = json(&output);
        let names: Vec<String> =
            list(&answer["faces"][0]["candidates"]).iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
        (output.status.code(), names.join(" "), answer["templates"].as_u64())
    };
    assert_eq!(among(&["--where", r#"{"team": "A"}"#]), (Some(0), "Obama".into(), Some(1)));
    assert_eq!(among(&["--where", r#"{"team": "B"}"#]), (Some(1), String::new(), Some(0)));
    assert_eq!(among(&["--subject", "Astronaut"]), (Some(1), "Astronaut".into(), Some(1)));
    assert_eq!(among(&["--subject", "Astronaut", "--subject", "Obama"]).0, Some(0));
    assert_eq!(among(&["--exact"]), (Some(0), "Obama Astronaut".into(), Some(2)));
    let output = face_ends(2, &["identify", &gallery, &obama2, "--subject", "Biden"]);
    assert!(errors(&output).contains("no subject named \"Biden\""), "{output:?}");
    let output = face_ends(2, &["identify", &gallery, &obama2, "--where", "team=A"]);
    assert!(errors(&output).contains("--where"), "{output:?}");
    face_ends(2, &["enroll", &gallery, "Obama", &obama2, "--metadata", "[1]"]);

    #[cfg(feature = "hnsw")]
    {
        let built = json(&face_ends(0, &["gallery", "index", &gallery, "--json"]));
        assert_eq!((&built["templates"], built["bytes"].as_u64().unwrap() > 0), (&2.into(), true));
        let index = format!("{gallery}.hnsw");
        assert_eq!(built["index"], index);
        assert_eq!(among(&["--approximate"]), (Some(0), "Obama Astronaut".into(), Some(2)));
        // Kept in step by whoever writes.
        face_ends(0, &["gallery", "remove", &gallery, "--name", "Obama"]);
        assert!(Path::new(&index).exists());
        assert_eq!(among(&["--approximate"]), (Some(1), "Astronaut".into(), Some(1)));
    }
}

#[test]
fn galleries_are_listed_changed_and_compacted() {
    let test = "galleries_are_listed_changed_and_compacted";
    let Some((_folder, gallery)) = two_people(test) else { return };
    let [obama2, biden] = samples(["obama2", "biden"], test).unwrap();
    face_ends(0, &["enroll", &gallery, "Obama", &obama2]);
    face_ends(0, &["enroll", &gallery, "Biden", &biden]);

    let names = |options: &[&str]| -> Vec<String> {
        let listed = json(&face_ends(0, &[&["gallery", "list", &gallery, "--json"], options].concat()));
        list(&listed).iter().map(|subject| subject["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["Obama", "Astronaut", "Biden"]);
    assert_eq!(names(&["--limit", "2"]), ["Obama", "Astronaut"]);
    assert_eq!(names(&["--after", "2"]), ["Biden"]);
    assert_eq!(names(&["--after", "3"]), [""; 0]);
    let listed = json(&face(&["gallery", "list", &gallery, "--json"]));
    assert_eq!(keys(&listed[0]), ["id", "metadata", "name", "templates"]);
    assert_eq!(keys(&listed[0]["templates"][0]), ["enrolled_at", "id", "quality", "source"]);
    let readable = text(&face_ends(0, &["gallery", "list", &gallery, "--limit", "2"]));
    for part in ["Obama", r#"{"born":1961,"team":"A"}"#, "2 of 3 subjects; go on with --after 2"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }

    let stats = json(&face_ends(0, &["gallery", "stats", &gallery, "--json"]));
    assert_eq!((&stats["subjects"], &stats["templates"]), (&3.into(), &4.into()));
    assert_eq!((&stats["model"], &stats["dimension"]), (&"dlib-resnet-v1".into(), &128.into()));
    assert_eq!(stats["space"], common::pipeline(test).unwrap().embedder.space().id());
    assert_eq!(stats["file_bytes"], std::fs::metadata(&gallery).unwrap().len());
    assert_eq!(stats["format_version"], face_core::gallery::LocalGallery::FORMAT_VERSION);
    // A vector alone takes 512 bytes.
    assert!(stats["memory_bytes_per_template"].as_f64().unwrap() >= 512.0, "{stats}");
    assert_eq!(keys(&stats["rule"]), ["far", "fpir", "fpir_bound", "threshold"]);
    assert_eq!((&stats["rule"]["far"], &stats["rule"]["fpir_bound"]), (&1e-3.into(), &4e-3.into()));
    assert_eq!(stats["thresholds"][0]["far"], 1e-2);
    let readable = text(&face_ends(0, &["gallery", "stats", &gallery]));
    for part in ["format version 1", "bytes per template", "4 templates at most 0.40 %"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }

    let checked = json(&face_ends(0, &["gallery", "check", &gallery, "--json"]));
    assert_eq!((&checked["whole"], &checked["templates"]), (&true.into(), &4.into()));

    face_ends(0, &["gallery", "rename", &gallery, "Biden", "Joe"]);
    assert_eq!(names(&[]), ["Obama", "Astronaut", "Joe"]);
    let taken = face_ends(2, &["gallery", "rename", &gallery, "Joe", "Obama"]);
    assert!(errors(&taken).contains("already"), "{taken:?}");
    face_ends(2, &["gallery", "rename", &gallery, "Biden", "Jill"]);

    // Who is not there is an error before anybody is removed.
    for arguments in [&["--name", "Joe", "--name", "Jill"][..], &["--name", "Joe", "--template", "77"], &[]] {
        face_ends(2, &[&["gallery", "remove", &gallery], arguments].concat());
    }
    assert_eq!(names(&[]).len(), 3);
    let removed = json(&face_ends(
        0,
        &[
            "gallery",
            "remove",
            &gallery,
            "--name",
            "Joe",
            "--subject",
            "3",
            "--subject",
            "2",
            "--template",
            "1",
            "--json",
        ],
    ));
    let of = |subject: u64, name: &str| serde_json::json!({"subject": subject, "name": name});
    assert_eq!(removed, serde_json::json!({"subjects": [of(2, "Astronaut"), of(3, "Joe")], "templates": [1]}));
    assert_eq!(names(&[]), ["Obama"]);
    // Obama's other template is still found.
    face_ends(0, &["identify", &gallery, &obama2]);

    let bytes = || std::fs::read(&gallery).unwrap();
    let holds = |bytes: &[u8]| bytes.windows(9).any(|window| window == b"Astronaut");
    let compacted = json(&face_ends(0, &["gallery", "compact", &gallery, "--json"]));
    assert_eq!(compacted["bytes_after"], bytes().len());
    assert!(!holds(&bytes()), "what was removed is still in the file");
    face_ends(0, &["gallery", "check", &gallery]);
}

#[test]
fn a_gallery_is_given_thresholds_that_were_measured_later() {
    let Some((folder, gallery)) = two_people("a_gallery_is_given_thresholds_that_were_measured_later") else { return };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let text = text(&face_ends(0, &["gallery", "export", &gallery, "-"]));
    let (header, subjects) = text.split_once('\n').unwrap();
    let mut header: serde_json::Value = serde_json::from_str(header).unwrap();
    header["space"]["thresholds"] = serde_json::json!([]);
    let (export, old) = (path("old.jsonl"), path("old.face"));
    std::fs::write(&export, format!("{header}\n{subjects}")).unwrap();
    face_ends(0, &["gallery", "import", &old, &export]);
    let stats = |gallery: &str| json(&face_ends(0, &["gallery", "stats", gallery, "--json"]));
    assert!(stats(&old)["rule"].is_null());
    let other = face_ends(2, &["gallery", "thresholds", &old, "--variant", "single-euclidean"]);
    assert!(errors(&other).contains("--variant"), "{other:?}");
    let set = json(&face_ends(0, &["gallery", "thresholds", &old, "--json"]));
    assert_eq!(set["thresholds"], stats(&gallery)["thresholds"]);
    assert_eq!(stats(&old)["thresholds"], stats(&gallery)["thresholds"]);
    assert_eq!(stats(&old)["rule"], stats(&gallery)["rule"]);
}

#[test]
fn what_is_exported_comes_back() {
    let test = "what_is_exported_comes_back";
    let Some((folder, gallery)) = two_people(test) else { return };
    let obama2 = sample("obama2", test).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (export, copy) = (path("people.jsonl"), path("copy.face"));
    let output = face_ends(0, &["gallery", "export", &gallery, &export]);
    assert!(text(&output).contains("exported 2 subjects, 2 templates"), "{output:?}");
    let lines = std::fs::read_to_string(&export).unwrap();
    assert_eq!(lines.lines().count(), 3);
    assert_eq!(text(&face_ends(0, &["gallery", "export", &gallery, "-"])), lines);

    let imported = json(&face_ends(0, &["gallery", "import", &copy, &export, "--json"]));
    assert_eq!(keys(&imported), ["created", "existing", "gallery", "skipped", "subjects", "templates"]);
    assert_eq!((&imported["created"], &imported["subjects"]), (&true.into(), &2.into()));
    assert_eq!(imported["skipped"], 0);
    assert_eq!(text(&face(&["gallery", "export", &copy, "-"])), lines, "bit for bit");
    face_ends(0, &["identify", &copy, &obama2]);

    // The names are taken now, and nothing is enrolled twice.
    let output = face_ends(2, &["gallery", "import", &copy, &export]);
    assert!(errors(&output).contains("already") && errors(&output).contains("2 subjects now"), "{output:?}");
    face_ends(0, &["gallery", "remove", &copy, "--subject", "1"]);
    let again = json(&face_ends(0, &["gallery", "import", &copy, &export, "--skip-existing", "--json"]));
    assert_eq!((&again["subjects"], &again["existing"]), (&1.into(), &1.into()));

    // Through a pipe, and into a gallery of another space.
    let mut child = Command::new(env!("CARGO_BIN_EXE_face"))
        .args(["gallery", "import", &path("piped.face"), "-"])
        .stdin(Stdio::from(std::fs::File::open(&export).unwrap()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(text(&face(&["gallery", "export", &path("piped.face"), "-"])), lines);
    let other = path("other.face");
    face_ends(0, &["enroll", &other, "Obama", &obama2, "--variant", "single-euclidean"]);
    let output = face_ends(2, &["gallery", "import", &other, &export]);
    assert!(errors(&output).contains("euclidean") && errors(&output).contains("cosine"), "{output:?}");

    let broken = path("broken.jsonl");
    for (content, expected) in
        [("", "empty"), ("{}\n", "header"), (&lines.replacen("\"name\"", "\"nom\"", 1), "line 2")]
    {
        std::fs::write(&broken, content).unwrap();
        let output = face_ends(2, &["gallery", "import", &path(&format!("{expected}.face")), &broken]);
        assert!(errors(&output).contains(expected), "{expected}: {output:?}");
    }
}

#[test]
fn duplicates_are_named() {
    let test = "duplicates_are_named";
    let Some((_folder, gallery)) = two_people(test) else { return };
    let obama2 = sample("obama2", test).unwrap();
    let found = json(&face_ends(0, &["gallery", "duplicates", &gallery, "--json"]));
    assert_eq!(keys(&found), ["far", "measured_on", "pairs", "threshold"]);
    assert_eq!(list(&found["pairs"]).len(), 0);
    face_ends(0, &["enroll", &gallery, "Barack", &obama2]);
    let found = json(&face_ends(0, &["gallery", "duplicates", &gallery, "--json"]));
    assert_eq!(list(&found["pairs"]).len(), 1);
    let pair = &found["pairs"][0];
    assert_eq!((&pair["first"]["name"], &pair["second"]["name"]), (&"Obama".into(), &"Barack".into()));
    assert!(pair["similarity"].as_f64() >= found["threshold"].as_f64());
    let all = json(&face(&["gallery", "duplicates", &gallery, "--threshold", "-1", "--json"]));
    assert_eq!(list(&all["pairs"]).len(), 3);
    let readable = text(&face_ends(0, &["gallery", "duplicates", &gallery, "--far", "1e-3"]));
    assert!(readable.contains("Obama (1) and Barack (3)") && readable.contains("1 pair"), "{readable}");
}

#[test]
fn what_is_no_gallery_or_another_one_is_refused() {
    let test = "what_is_no_gallery_or_another_one_is_refused";
    let Some((folder, gallery)) = two_people(test) else { return };
    let obama2 = sample("obama2", test).unwrap();
    let text_file = folder.path().join("notes.txt");
    std::fs::write(&text_file, "not a gallery\n".repeat(1000)).unwrap();
    let missing = folder.path().join("missing.face");
    let [text_file, missing, directory] =
        [text_file.as_path(), &missing, folder.path()].map(|path| path.to_str().unwrap());
    for (path, expected) in [(missing, "missing.face"), (text_file, "notes.txt"), (directory, directory)] {
        for command in [
            &["identify", path, &obama2, "--json"][..],
            &["gallery", "list", path, "--json"],
            &["gallery", "stats", path, "--json"],
            &["gallery", "check", path, "--json"],
            &["gallery", "duplicates", path, "--json"],
            &["gallery", "compact", path, "--json"],
            &["gallery", "remove", path, "--name", "Obama", "--json"],
            &["gallery", "rename", path, "Obama", "Barack", "--json"],
        ] {
            let output = face_ends(2, command);
            assert_eq!(keys(&json(&output)), ["error"], "{command:?}");
            assert!(errors(&output).contains(expected), "{command:?}: {output:?}");
        }
        face_ends(2, &["gallery", "export", path, "-"]);
    }
    assert!(!Path::new(missing).exists(), "reading made a gallery");
    for path in [text_file, directory, "no such folder/people.face"] {
        face_ends(2, &["enroll", path, "Obama", &obama2]);
    }
    assert_eq!(std::fs::read(text_file).unwrap(), "not a gallery\n".repeat(1000).as_bytes());

    // Another recogniser's embeddings: the error names both spaces and the options that help.
    for command in [&["identify", &gallery, &obama2][..], &["enroll", &gallery, "Obama", &obama2]] {
        let output = face_ends(2, &[command, &["--variant", "single-euclidean"]].concat());
        let error = errors(&output);
        for part in ["/cosine", "/euclidean", "--embedder dlib-resnet-v1 --variant mirror-cosine"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    // Nobody on the photo.
    let sky = nobody(folder.path());
    let output = face_ends(2, &["identify", &gallery, &sky, "--json"]);
    assert!(json(&output)["error"].as_str().unwrap().contains("no face was found"), "{output:?}");
    // A damaged file is told from a whole one.
    let mut bytes = std::fs::read(&gallery).unwrap();
    // Everywhere: a page that is no longer in use may hold it too.
    let places: Vec<usize> = (0..bytes.len() - 9).filter(|place| bytes[*place..].starts_with(b"Astronaut")).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 1;
    }
    std::fs::write(&gallery, bytes).unwrap();
    let output = face_ends(2, &["gallery", "check", &gallery, "--json"]);
    assert!(json(&output)["error"].as_str().unwrap().contains("damaged"), "{output:?}");
}

#[test]
fn photos_are_grouped_by_person() {
    let test = "photos_are_grouped_by_person";
    let Some([obama, obama2, biden]) = samples(["obama", "obama2", "biden"], test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("trip/day 1")).unwrap();
    let copy = |from: &str, to: &str| std::fs::copy(from, photos.join(to)).map(drop).unwrap();
    copy(&obama, "a.jpg");
    copy(&obama2, "trip/b.jpg");
    copy(&biden, "trip/day 1/a.jpg");
    nobody(&photos);
    std::fs::write(photos.join("broken.jpg"), "no picture").unwrap();
    std::fs::write(photos.join("notes.txt"), "no picture").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&photos, photos.join("trip/circle")).unwrap();
    let sheet = photos.join("sheet.png");
    let [photos, sheet] = [&photos, &sheet].map(|path| path.to_str().unwrap());

    let command = ["group", photos, "--sheet", sheet, "--far", "1e-3"];
    // Twice: the sheet, which lies among the photos, is not one of them.
    for _ in 0..2 {
        let output = face_ends(0, &[&command[..], &["--json"]].concat());
        let answer = json(&output);
        assert_eq!(
            keys(&answer),
            [
                "faces",
                "failed",
                "far",
                "groups",
                "images",
                "images_without_face",
                "measured_on",
                "sheet",
                "threshold",
                "ungrouped"
            ]
        );
        assert_eq!(
            (&answer["images"], &answer["faces"], &answer["images_without_face"]),
            (&5.into(), &3.into(), &1.into())
        );
        let groups = list(&answer["groups"]);
        assert_eq!((groups.len(), &groups[0]["person"]), (1, &1.into()));
        assert_eq!(keys(&groups[0]["faces"][0]), ["box", "image", "score"]);
        let images = |faces: &Value| -> Vec<String> {
            let below =
                |face: &Value| Path::new(face["image"].as_str().unwrap()).strip_prefix(photos).unwrap().to_owned();
            list(faces).iter().map(|face| below(face).to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(images(&groups[0]["faces"]), ["a.jpg", "trip/b.jpg"]);
        assert_eq!(images(&answer["ungrouped"]), ["trip/day 1/a.jpg"]);
        assert!(answer["failed"][0]["image"].as_str().unwrap().ends_with("broken.jpg"), "{answer}");
        assert!(errors(&output).contains("broken.jpg"));
        assert_eq!(answer["sheet"], sheet);
    }
    let small = face_core::Image::open(sheet).unwrap();
    let readable = text(&face_ends(0, &[&command[..], &["--min-faces", "1"]].concat()));
    for part in ["person 1: 2 faces", "person 2: 1 face", "day 1", sheet] {
        assert!(readable.contains(part), "{part}: {readable}");
    }
    let large = face_core::Image::open(sheet).unwrap();
    assert_ne!(large, small);

    // Copies by person.
    let out = folder.path().join("by person");
    let out_text = out.to_str().unwrap();
    face_ends(0, &["group", photos, "--out", out_text, "--far", "1e-3", "--min-faces", "1"]);
    for (path, original) in [("person-001/a.jpg", &obama), ("person-001/b.jpg", &obama2), ("person-002/a.jpg", &biden)]
    {
        assert_eq!(std::fs::read(out.join(path)).unwrap(), std::fs::read(original).unwrap(), "{path}");
    }
    assert!(face_core::Image::open(out.join("face-group.png")).is_ok());
    let output = face_ends(2, &["group", photos, "--out", out_text]);
    assert!(errors(&output).contains("empty folder"), "{output:?}");

    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for wrong in [empty.to_str().unwrap(), "no such folder", &obama] {
        let output = face_ends(2, &["group", wrong, "--sheet", sheet, "--json"]);
        assert!(json(&output)["error"].as_str().unwrap().contains(wrong), "{output:?}");
    }
    face_ends(2, &["group", photos, "--sheet", "sheet.pdf"]);
}

#[test]
fn identification_is_evaluated_on_a_folder_of_people() {
    let test = "identification_is_evaluated_on_a_folder_of_people";
    let Some([obama, obama2, biden, astronaut]) = samples(["obama", "obama2", "biden", "astronaut"], test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let people = folder.path().join("people");
    for (photo, to) in
        [(&obama, "Obama/1.jpg"), (&obama2, "Obama/2.jpg"), (&biden, "Biden/1.jpg"), (&astronaut, "Astronaut/1.png")]
    {
        let to = people.join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(photo, to).unwrap();
    }
    let cmc = folder.path().join("cmc.png");
    let [people, cmc] = [&people, &cmc].map(|path| path.to_str().unwrap());
    let report = json(&face_ends(0, &["eval", "identification", "--images", people, "--cmc", cmc, "--json"]));
    assert_eq!(
        keys(&report),
        [
            "enrolled",
            "failed_images",
            "images",
            "images_per_second",
            "known_probes",
            "rank_1",
            "rank_10",
            "rank_5",
            "rule",
            "space",
            "thresholds",
            "tpir",
            "unknown_probes"
        ]
    );
    for (key, value) in
        [("enrolled", 1), ("known_probes", 1), ("unknown_probes", 2), ("images", 4), ("failed_images", 0)]
    {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!((&report["rank_1"], &report["rank_5"]), (&1.0.into(), &1.0.into()));
    // Two strangers show no rate.
    assert_eq!(report["tpir"], serde_json::json!({"1e-1": null, "1e-2": null, "1e-3": null}));
    assert_eq!(keys(&report["rule"]), ["far", "fpir", "fpir_bound", "fpir_wanted", "similarity", "tpir"]);
    assert_eq!((&report["rule"]["fpir"], &report["rule"]["tpir"]), (&0.0.into(), &1.0.into()));
    assert!(face_core::Image::open(cmc).is_ok());
    let readable = text(&face_ends(0, &["eval", "identification", "--images", people]));
    for part in ["rank-1 identification rate: 100.00 %", "not measurable", "1 person enrolled"] {
        assert!(readable.contains(part), "{part}: {readable}");
    }
    let output = face_ends(2, &["eval", "identification", "--images", folder.path().to_str().unwrap()]);
    assert!(errors(&output).contains("no person in it has two photos"), "{output:?}");
}

#[cfg(feature = "postgres")]
#[test]
fn the_commands_work_on_a_server() {
    let test = "the_commands_work_on_a_server";
    let (Some(server), Some([obama, obama2, biden])) =
        (crate::server::shared(test), samples(["obama", "obama2", "biden"], test))
    else {
        return;
    };
    let url = format!("{}?sslmode=disable", server.database("commands"));
    let folder = tempfile::tempdir().unwrap();
    let [export, local] = ["people.jsonl", "people.face"].map(|name| folder.path().join(name));
    let [export, local] = [&export, &local].map(|path| path.to_str().unwrap());

    let output = face_ends(2, &["identify", &url, &obama2, "--json"]);
    assert!(json(&output)["error"].as_str().unwrap().contains("holds no galleries"), "{output:?}");
    let enrolled = json(&face_ends(0, &["enroll", &url, "Obama", &obama, "--json"]));
    assert_eq!((&enrolled["created"], &enrolled["new"]), (&true.into(), &true.into()));
    // The name of the gallery does not give the password away.
    assert_eq!(enrolled["gallery"], format!("postgresql://127.0.0.1:{}/commands/default", server.port));
    let enrolled = json(&face_ends(0, &["enroll", &url, "Obama", &obama2, "--json"]));
    assert_eq!((&enrolled["created"], &enrolled["new"]), (&false.into(), &false.into()));
    face_ends(0, &["enroll", &url, "Biden", &biden, "--gallery-name", "Guests"]);

    let answer = json(&face_ends(0, &["identify", &url, &obama2, "--json"]));
    assert_eq!(answer["faces"][0]["candidates"][0]["name"], "Obama");
    face_ends(1, &["identify", &url, &biden]);
    face_ends(0, &["identify", &url, &biden, "--gallery-name", "Guests"]);
    let output = face_ends(2, &["identify", &url, &biden, "--approximate"]);
    assert!(errors(&output).contains("no such index"), "{output:?}");
    assert_eq!(json(&face_ends(0, &["gallery", "index", &url, "--json"]))["templates"], 2);
    face_ends(0, &["identify", &url, &obama2, "--approximate"]);

    let stats = json(&face_ends(0, &["gallery", "stats", &url, "--json"]));
    assert_eq!((&stats["subjects"], &stats["templates"]), (&1.into(), &2.into()));
    for command in ["check", "compact", "duplicates"] {
        face_ends(0, &["gallery", command, &url]);
    }
    // From the server into a file, and the other way round.
    face_ends(0, &["gallery", "export", &url, export]);
    face_ends(0, &["gallery", "import", local, export]);
    face_ends(0, &["identify", local, &obama2]);
    let imported = json(&face_ends(0, &["gallery", "import", &url, export, "--gallery-name", "Copy", "--json"]));
    assert_eq!((&imported["created"], &imported["templates"]), (&true.into(), &2.into()));
    face_ends(0, &["gallery", "rename", &url, "Obama", "Barack"]);
    face_ends(0, &["gallery", "remove", &url, "--name", "Barack"]);
    assert_eq!(json(&face_ends(0, &["gallery", "list", &url, "--json"])), serde_json::json!([]));
}
