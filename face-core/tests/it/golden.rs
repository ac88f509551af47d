//! Our numbers against those of the references, in `tests/golden` (see the script `make` there).

use face_core::aligners::{DlibFivePoint, DlibFivePointParams, FaceRectangle};
use face_core::detectors::{CenterFace, DetectionParams, YuNet};
use face_core::embedders::{EmbedderSpec, OnnxEmbedder};
use face_core::inference::Engine;
use face_core::models::Catalogue;
use face_core::normalizers::SimilarityNormalizer;
use face_core::templates::Template;
use face_core::{
    CropSpec, Detection, Embedder, FaceCrop, FaceDetector, Image, Landmarks, Metric, ModelStore, Normalizer, Point,
};
use serde_json::Value;

use crate::common;

fn golden(file: &str) -> Value {
    let path = common::workspace().join("tests/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn points(value: &Value) -> [Point; 5] {
    let points: Vec<Point> =
        list(value).iter().map(|p| Point::new(number(&p[0]) as f32, number(&p[1]) as f32)).collect();
    points.try_into().unwrap()
}

/// The answers hold for these very files.
fn assert_same_sources(golden: &Value, store: &ModelStore) {
    for (name, digest) in golden["models"].as_object().unwrap() {
        assert_eq!(store.catalogue().entry(name).unwrap().weights_digest(), digest.as_str().unwrap(), "{name}");
    }
    for (name, digest) in golden["photos"].as_object().unwrap() {
        assert_eq!(store.catalogue().entry(name).unwrap().file.sha256, digest.as_str().unwrap(), "{name}");
    }
}

#[test]
fn detections_of_centerface_agree_with_onnxruntime() {
    let test = "detections_of_centerface_agree_with_onnxruntime";
    let Some(store) = common::store(test) else { return };
    compare_detections(&store, &Engine::default(), "centerface", &store.read("centerface").unwrap(), 13);
}

#[test]
fn detections_of_yunet_agree_with_opencv() {
    let test = "detections_of_yunet_agree_with_opencv";
    let (Some(store), Some(yunet)) = (common::store(test), common::yunet(test)) else { return };
    compare_detections(&store, &Engine::default(), "yunet", &yunet, 5);
}

pub(crate) fn compare_detections(store: &ModelStore, engine: &Engine, detector: &str, network: &[u8], at_least: usize) {
    let golden = golden("detection.json");
    assert_same_sources(&golden, store);
    let tolerance = |what: &str| number(&golden["tolerance"][what]);
    let mut compared = 0;
    for case in list(&golden["cases"]).iter().filter(|case| case["detector"] == detector) {
        let params = DetectionParams {
            score_threshold: Some(number(&case["score"]) as f32),
            nms_threshold: number(&case["nms"]) as f32,
            ..common::own_size()
        };
        let photo = case["photo"].as_str().unwrap();
        let detector: Box<dyn FaceDetector> = match detector {
            "centerface" => Box::new(CenterFace::new(engine.model("CenterFace", network).unwrap(), params).unwrap()),
            _ => Box::new(YuNet::new(engine.model("YuNet", network).unwrap(), params).unwrap()),
        };
        let found = detector.detect(&common::photo(store, photo).view()).unwrap();
        let expected = list(&case["faces"]);
        assert_eq!(found.len(), expected.len(), "{case}");
        for (face, expected) in found.iter().zip(expected) {
            let Detection { bounding_box: b, score, landmarks } = face;
            let edges = [b.x, b.y, b.width, b.height].map(f64::from);
            for (ours, theirs) in edges.into_iter().zip(numbers(&expected["box"])) {
                assert!((ours - theirs).abs() <= tolerance("box_pixels"), "{photo}: {b:?}, expected {expected}");
            }
            for (ours, theirs) in landmarks.unwrap().points.into_iter().zip(points(&expected["landmarks"])) {
                let distance = f64::from(ours.distance(theirs));
                assert!(distance <= tolerance("landmark_pixels"), "{photo}: {ours:?} is {distance} from {theirs:?}");
            }
            assert!((f64::from(*score) - number(&expected["score"])).abs() <= tolerance("score"), "{photo}: {score}");
            compared += 1;
        }
    }
    assert!(compared >= at_least, "{compared}");
}

/// The test picture of the script.
fn pattern(width: u32, height: u32) -> Image {
    let wave = |t: i64| (t.rem_euclid(512) - 256).abs().min(255);
    let value =
        |x: i64, y: i64, c: i64| ((wave(3 * x + 2 * y + 85 * c) + wave(5 * y - 2 * x + 40 * c + 4096)) / 2) as u8;
    let pixel = |x: u32, y: u32| [0, 1, 2].map(|c| value(i64::from(x), i64::from(y), c));
    let data = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Image::from_raw(width, height, data).unwrap()
}

fn normalized(image: &Image, case: &Value, tolerance: f64) -> Image {
    let template = Template::by_name(case["template"].as_str().unwrap()).unwrap();
    let normalizer = SimilarityNormalizer::new(CropSpec::single(template.clone())).unwrap();
    let landmarks = Landmarks::eyes_nose_mouth(points(&case["landmarks"]));
    let crop = normalizer.normalize(&image.view(), &landmarks).unwrap();
    let t = crop.transform;
    let expected: Vec<f64> = list(&case["matrix"]).iter().flat_map(numbers).collect();
    for (ours, theirs) in [t.a, -t.b, t.tx, t.b, t.a, t.ty].into_iter().zip(expected) {
        assert!((ours - theirs).abs() <= tolerance * theirs.abs().max(1.0), "{t:?} for {case}");
    }
    crop.views.into_iter().next().unwrap()
}

#[test]
fn warps_agree_with_opencv() {
    let Some(store) = common::store("warps_agree_with_opencv") else { return };
    let golden = golden("warp.json");
    assert_same_sources(&golden, &store);
    let (levels, transform) = (&golden["tolerance"]["mean_grey_levels"], number(&golden["tolerance"]["transform"]));
    let [width, height] = numbers(&golden["pattern"])[..] else { panic!("a width and a height") };
    let picture = pattern(width as u32, height as u32);
    for case in list(&golden["synthetic"]) {
        let crop = normalized(&picture, case, transform);
        let file = common::workspace().join("tests/golden").join(case["crop"].as_str().unwrap());
        let expected = Image::open(file).unwrap();
        let differences = crop.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = differences.sum::<f64>() / crop.as_raw().len() as f64;
        assert!(mean <= number(levels), "{mean} grey levels on average: {case}");
    }
    for case in list(&golden["real"]) {
        let crop = normalized(&common::photo(&store, case["photo"].as_str().unwrap()), case, transform);
        let cell = number(&case["cell_pixels"]) as u32;
        let mut differences = vec![];
        for (row, expected) in list(&case["cell_means"]).iter().enumerate() {
            for (column, expected) in list(expected).iter().enumerate() {
                for (channel, expected) in numbers(expected).into_iter().enumerate() {
                    let places = (0..cell * cell).map(|i| (i % cell, i / cell));
                    let values = places
                        .map(|(dx, dy)| crop.view().rgb(column as u32 * cell + dx, row as u32 * cell + dy)[channel]);
                    let mean = values.map(f64::from).sum::<f64>() / f64::from(cell * cell);
                    differences.push((mean - expected).abs());
                }
            }
        }
        let mean = differences.iter().sum::<f64>() / differences.len() as f64;
        assert!(mean <= number(levels), "{mean} grey levels on average: {} {}", case["photo"], case["template"]);
    }
}

#[test]
fn landmarks_agree_with_dlib() {
    let Some(store) = common::store("landmarks_agree_with_dlib") else { return };
    let golden = golden("landmarks.json");
    assert_same_sources(&golden, &store);
    let photo = common::photo(&store, golden["photo"].as_str().unwrap());
    let aligner = DlibFivePoint::from_bytes(&store.read("dlib-5-point").unwrap(), DlibFivePointParams::default());
    let aligner = aligner.unwrap();
    for case in list(&golden["cases"]) {
        let [left, top, right, bottom] = numbers(&case["rectangle"])[..] else { panic!("four edges") };
        let rectangle =
            FaceRectangle { left: left as i32, top: top as i32, right: right as i32, bottom: bottom as i32 };
        let found = aligner.predict(&photo.view(), &rectangle).unwrap();
        for (ours, theirs) in found.points.into_iter().zip(points(&case["landmarks"])) {
            // dlib rounds its landmarks to whole pixels. That all 320 points of 64 rectangles round to the same pixels
            // leaves no room for a difference of a tenth: one point in ten would cross a border.
            let rounded = Point::new((ours.x + 0.5).floor(), (ours.y + 0.5).floor());
            let distance = f64::from(rounded.distance(theirs));
            assert!(distance <= number(&golden["tolerance"]["pixels"]), "{ours:?}, dlib has {theirs:?}: {case}");
        }
    }
}

/// The recogniser without any averaging, its vectors as the network gives them.
fn raw_recogniser(store: &ModelStore, engine: &Engine, template: &str) -> OnnxEmbedder {
    let entry = Catalogue::builtin().entry("dlib-resnet-v1").unwrap();
    let crops = CropSpec::single(Template::by_name(template).unwrap().clone());
    let spec = EmbedderSpec { crops, mirror: false, metric: Metric::Euclidean, ..entry.embedder_spec(None).unwrap() };
    let content = store.read("dlib-resnet-v1").unwrap();
    let model = engine.model("dlib-resnet-v1", &content).unwrap();
    OnnxEmbedder::new(model, entry.weights_digest().to_owned(), spec).unwrap()
}

fn distance(ours: &[f32], theirs: &Value) -> f64 {
    let theirs = numbers(theirs);
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn embeddings_agree_with_dlib() {
    let Some(store) = common::store("embeddings_agree_with_dlib") else { return };
    compare_embeddings(&store, &Engine::default());
}

pub(crate) fn compare_embeddings(store: &ModelStore, engine: &Engine) {
    let golden = golden("embedding.json");
    assert_same_sources(&golden, store);
    let photo = common::photo(store, golden["photo"].as_str().unwrap());
    let recogniser = raw_recogniser(store, engine, "dlib150");
    for case in list(&golden["windows"]) {
        let at = |what: &str| number(&case[what]) as u32;
        let mirror = case["mirror"].as_bool().unwrap();
        let places = (0..150 * 150_u32).map(|i| (if mirror { 149 - i % 150 } else { i % 150 }, i / 150));
        let pixel = |(x, y)| photo.view().rgb(at("x") + at("step") * x, at("y") + at("step") * y);
        let window = Image::from_raw(150, 150, places.flat_map(pixel).collect()).unwrap();
        let template = Template::by_name("dlib150").unwrap().clone();
        let embedding = recogniser.embed(&FaceCrop::from_aligned(window, template).unwrap()).unwrap();
        let distance = distance(embedding.vector(), &case["vector"]);
        assert!(distance <= number(&golden["tolerance"]["euclidean"]), "{distance} from dlib's: {}", case["x"]);
    }
}

#[test]
fn crops_on_dlib_s_template_are_dlib_s_chips() {
    let Some(store) = common::store("crops_on_dlib_s_template_are_dlib_s_chips") else { return };
    let golden = golden("embedding.json");
    let photo = common::photo(&store, golden["photo"].as_str().unwrap());
    let template = Template::by_name("dlib150-corners").unwrap().clone();
    let normalizer = SimilarityNormalizer::new(CropSpec::single(template)).unwrap();
    let landmarks = Landmarks::eye_corners_nose(points(&golden["chip"]["landmarks"]));
    let crop = normalizer.normalize(&photo.view(), &landmarks).unwrap();
    let embedding = raw_recogniser(&store, &Engine::default(), "dlib150-corners").embed(&crop).unwrap();
    let distance = distance(embedding.vector(), &golden["chip"]["vector"]);
    // Both resample in their own way; two photos of one person are about 0.4 apart.
    assert!(distance <= number(&golden["tolerance"]["chip_euclidean"]), "{distance}");
}
