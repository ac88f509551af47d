//! The whole chain on Labeled Faces in the Wild, deep-funneled: all 6,000 pairs, no image left out.

use face_core::models::{Catalogue, Role};

use crate::common::{self, face, json};

#[test]
fn lfw_accuracy_rates_and_thresholds_are_what_the_catalogue_states() {
    let test = "lfw_accuracy_rates_and_thresholds_are_what_the_catalogue_states";
    if common::store(test).is_none() {
        return;
    }
    let (Some(images), Some(pairs)) = (common::face_data(test, "lfw/images"), common::face_data(test, "lfw/pairs.txt"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let roc = folder.path().join("roc.png");
    let [images, pairs, roc] = [&images, &pairs, &roc].map(|path| path.to_str().unwrap());
    let output = face(&["eval", "lfw", "--images", images, "--pairs", pairs, "--roc", roc, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    assert_eq!((&report["pairs"], &report["images"]), (&6000.into(), &7701.into()));
    assert_eq!(report["failed_images"], 0);
    assert!(number(&report["accuracy"]) >= 0.992, "{report}");
    assert!(number(&report["tar"]["1e-2"]) >= 0.99, "{report}");
    assert!(number(&report["tar"]["1e-3"]) >= 0.97, "{report}");
    assert!(number(&report["images_per_second"]) > 0.0);
    assert!(face_core::Image::open(roc).is_ok());
    let spec = Catalogue::builtin().default_for(Role::Embedder).unwrap().embedder_spec(None).unwrap();
    let measured = report["thresholds"].as_array().unwrap();
    assert_eq!(measured.len(), spec.thresholds.len());
    for (measured, stated) in measured.iter().zip(&spec.thresholds) {
        assert_eq!(number(&measured["far"]), stated.far);
        assert_eq!(measured["measured_on"], stated.measured_on.as_str());
        // Another processor rounds the last digits otherwise.
        assert!((number(&measured["similarity"]) - f64::from(stated.similarity)).abs() < 5e-4, "{measured}");
    }
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
