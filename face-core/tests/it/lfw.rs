//! The whole chain on Labeled Faces in the Wild, deep-funneled: all 6,000 pairs, no image left out; or, where FACE_LFW_FOLDS is set,
//! so many of the ten folds.

use std::collections::BTreeSet;
use std::path::Path;

use face_core::eval::{
    EmbeddedPhotos, IdentificationProtocol, IdentificationSettings, LfwProtocol, LfwSettings, plot_cmc, plot_roc,
    score_identification, score_lfw,
};

use crate::common::{self, face, json};

/// Environment variable that says how many of the ten folds are evaluated.
const FOLDS_VARIABLE: &str = "FACE_LFW_FOLDS";

/// Verification and identification: the networks run once over the photos (7,701 in all) for both.
#[test]
fn lfw_accuracy_rates_and_thresholds_are_what_the_catalogue_states() {
    let test = "lfw_accuracy_rates_and_thresholds_are_what_the_catalogue_states";
    let Some(pipeline) = common::pipeline(test) else { return };
    let (Some(images), Some(pairs)) = (common::face_data(test, "lfw/images"), common::face_data(test, "lfw/pairs.txt"))
    else {
        return;
    };
    let mut protocol = LfwProtocol::open(pairs).unwrap();
    assert_eq!((protocol.folds.len(), protocol.images().len()), (10, 7701));
    let folds = std::env::var(FOLDS_VARIABLE).ok().map(|folds| folds.parse::<usize>().unwrap());
    protocol.folds.truncate(folds.unwrap_or(10));
    let photos = EmbeddedPhotos::compute(pipeline, &images, &protocol.images(), &|| {}).unwrap();
    assert!(photos.images_per_second > 0.0);
    if protocol.folds.len() == 10 {
        verification(&protocol, &photos);
        identification(&images, &protocol, &photos);
    } else {
        a_part(&images, &protocol, &photos);
    }
}

/// Some of the folds: fewer pairs, and so wider bounds, and fewer rates.
fn a_part(images: &Path, protocol: &LfwProtocol, photos: &EmbeddedPhotos) {
    let report = score_lfw(protocol, photos, &LfwSettings::default()).unwrap();
    assert_eq!((report.pairs, report.failed.len()), (600 * protocol.folds.len(), 0));
    assert!(protocol.folds.len() >= 2 && report.accuracy.mean >= 0.985, "{:?}", report.accuracy);
    assert!(report.points[0].1.unwrap().tar >= 0.98, "{:?}", report.points);
    for measured in report.thresholds("LFW").iter().filter(|threshold| threshold.far > 1e-4) {
        let stated = report.space.threshold_at(measured.far).unwrap();
        assert!((measured.similarity - stated.similarity).abs() < 5e-3, "{measured:?}, stated {stated:?}");
    }
    let listed: BTreeSet<_> = protocol.images().into_iter().collect();
    let identification = IdentificationProtocol::from_folder(images, Some(&listed)).unwrap();
    let report = score_identification(&identification, photos, &IdentificationSettings::default()).unwrap();
    assert_eq!((report.images, report.failed.len()), (protocol.images().len(), 0));
    assert!(report.scores.rank_rate(1) >= 0.90, "{}", report.scores.rank_rate(1));
    let rule = report.rule.as_ref().unwrap();
    assert!(rule.measured.fpir <= rule.bound.min(rule.wanted) + 1e-3, "{rule:?}");
}

fn verification(protocol: &LfwProtocol, photos: &EmbeddedPhotos) {
    let report = score_lfw(protocol, photos, &LfwSettings::default()).unwrap();
    assert_eq!((report.pairs, report.images), (6000, 7701));
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert!(report.accuracy.mean >= 0.992, "{:?}", report.accuracy);
    let tar = |index: usize| report.points[index].1.unwrap().tar;
    assert!(tar(0) >= 0.99 && tar(1) >= 0.97, "{:?}", report.points);
    plot_roc("a test", &report.scores).unwrap();
    let measured = report.thresholds("LFW deep-funneled with centerface");
    let stated = &report.space.thresholds;
    assert_eq!(measured.len(), stated.len());
    for (measured, stated) in measured.iter().zip(stated) {
        assert_eq!((measured.far, &measured.measured_on), (stated.far, &stated.measured_on));
        // Another processor rounds the last digits otherwise.
        assert!((measured.similarity - stated.similarity).abs() < 5e-4, "{measured:?}");
    }
}

fn identification(images: &Path, pairs: &LfwProtocol, photos: &EmbeddedPhotos) {
    let listed: BTreeSet<_> = pairs.images().into_iter().collect();
    let protocol = IdentificationProtocol::from_folder(images, Some(&listed)).unwrap();
    let report = score_identification(&protocol, photos, &IdentificationSettings::default()).unwrap();
    let scores = &report.scores;
    assert_eq!((report.enrolled, scores.known.len(), scores.unknown.len()), (1559, 3420, 2722));
    assert_eq!((report.images, report.failed.len()), (7701, 0));
    assert!(scores.rank_rate(1) >= 0.905 && scores.rank_rate(5) >= 0.965 && scores.rank_rate(10) >= 0.975);
    let tpir = |index: usize| report.points[index].1.unwrap().tpir;
    assert!(tpir(0) >= 0.80 && tpir(1) >= 0.58, "{:?}", report.points);
    // Ten of 2,722 strangers is more than one in a thousand.
    assert!(report.points[2].1.is_none());
    // The rule keeps what it promises.
    let rule = report.rule.as_ref().unwrap();
    assert!(rule.measured.fpir <= rule.bound.min(rule.wanted), "{rule:?}");
    assert!(rule.measured.tpir >= 0.3, "{rule:?}");
    plot_cmc("a test", &scores.cmc(100)).unwrap();
}

/// The command on a small part of the set, cut out as the set is: it reports what the library does.
#[test]
fn the_command_reports_the_contract() {
    let test = "the_command_reports_the_contract";
    let (Some(images), Some(pairs)) = (common::face_data(test, "lfw/images"), common::face_data(test, "lfw/pairs.txt"))
    else {
        return;
    };
    if common::store(test).is_none() {
        return;
    }
    // The first eight pairs of each kind of the first two folds.
    let text = std::fs::read_to_string(pairs).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    let few = [0, 300, 600, 900].map(|start| lines[start..start + 8].join("\n")).join("\n");
    let folder = tempfile::tempdir().unwrap();
    let [pairs, roc, spec] = ["pairs.txt", "roc.png", "spec.toml"].map(|name| folder.path().join(name));
    std::fs::write(&pairs, format!("2\t8\n{few}\n")).unwrap();
    let [images, pairs, roc, spec] = [&images, &pairs, &roc, &spec].map(|path| path.to_str().unwrap());
    let output = face(&[
        "eval",
        "lfw",
        "--images",
        images,
        "--pairs",
        pairs,
        "--roc",
        roc,
        "--spec-out",
        spec,
        "--set",
        "a few",
        "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    let protocol = LfwProtocol::open(pairs).unwrap();
    assert_eq!((&report["pairs"], &report["images"]), (&32.into(), &protocol.images().len().into()));
    assert_eq!(report["failed_images"], 0);
    assert!(report["accuracy"].as_f64().unwrap() >= 0.9, "{report}");
    assert!(report["images_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["tar"], serde_json::json!({"1e-2": null, "1e-3": null}));
    assert!(face_core::Image::open(roc).is_ok());
    // Some thousand pairs of photos of different people show one percent, and no smaller rate.
    let thresholds = report["thresholds"].as_array().unwrap();
    assert_eq!((thresholds.len(), &thresholds[0]["far"]), (1, &0.01.into()), "{report}");
    assert!(thresholds[0]["measured_on"].as_str().unwrap().starts_with("a few with centerface, "));
    let written = face_core::embedders::EmbedderSpec::open(spec).unwrap();
    assert_eq!(written.thresholds[0].similarity, thresholds[0]["similarity"].as_f64().unwrap() as f32);
}

#[test]
fn a_list_of_pairs_that_does_not_fit_is_refused() {
    let test = "a_list_of_pairs_that_does_not_fit_is_refused";
    if common::store(test).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let pairs = folder.path().join("pairs.txt");
    let evaluate = |text: &str| {
        std::fs::write(&pairs, text).unwrap();
        let [images, pairs] = [folder.path(), &pairs].map(|path| path.to_str().unwrap().to_owned());
        let output = face(&["eval", "lfw", "--images", &images, "--pairs", &pairs]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        common::errors(&output)
    };
    assert!(evaluate("").contains("empty"));
    assert!(evaluate("2 1\nA 1 2\nA 1 B\nA 1 2\nA 1 B 1\n").contains("line 3"));
    assert!(evaluate("2 1\nA 1 2\nA 1 B 1\nB 1 2\nB 1 A 1\n").contains("none of the photos"));
}
