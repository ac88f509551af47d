//! Whatever comes in, an error says what is wrong and where; nothing panics.

use std::path::Path;

use face_core::aligners::{DetectorLandmarks, DlibFivePoint, DlibFivePointParams};
use face_core::detectors::{CenterFace, DetectionParams, YuNet};
use face_core::embedders::{EmbedderSpec, OnnxEmbedder};
use face_core::inference::{Engine, Model, TractModel};
use face_core::models::formats::dlib_resnet_to_onnx;
use face_core::normalizers::SimilarityNormalizer;
use face_core::templates::Template;
use face_core::{
    CropSpec, Error, FaceCrop, FaceDetector, FacePipeline, Image, ImageView, Landmarks, ModelSource, Normalizer,
    PipelineParams, PixelFormat, Point, templates,
};

use crate::common::{self, errors, face, face_with, json};

/// Files that are no photos, by name.
fn bad_files(folder: &Path, good_jpeg: &[u8]) -> Vec<(String, &'static str)> {
    let mut claims = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0".to_vec();
    claims.extend(crc32(&claims[12..29]).to_be_bytes());
    claims.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e\0\0\0\0IEND\xaeB`\x82");
    let cases: [(&str, &[u8], &'static str); 5] = [
        ("empty.jpg", b"", "empty"),
        ("truncated photo.jpg", &good_jpeg[..good_jpeg.len() / 2], "truncated"),
        ("text.jpg", b"this is a text file that somebody renamed", "none of JPEG"),
        ("hüge claim.png", &claims, "100000 x 100000"),
        ("header only.jpg", &good_jpeg[..4], "not a readable picture"),
    ];
    cases
        .into_iter()
        .map(|(name, content, reason)| {
            let path = folder.join(name);
            std::fs::write(&path, content).unwrap();
            (path.to_str().unwrap().to_owned(), reason)
        })
        .collect()
}

/// CRC-32 as in PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { (c >> 1) ^ 0xEDB8_8320 } else { c >> 1 })
    })
}

#[test]
fn unreadable_photos_are_entries_with_a_reason_and_the_run_goes_on() {
    let test = "unreadable_photos_are_entries_with_a_reason_and_the_run_goes_on";
    let Some(store) = common::store(test) else { return };
    let folder = tempfile::Builder::new().prefix("bäd input ").tempdir().unwrap();
    let good = store.path(store.catalogue().entry("obama2").unwrap());
    let bad = bad_files(folder.path(), &std::fs::read(&good).unwrap());
    for (path, reason) in &bad {
        let error = Image::open(path).unwrap_err();
        assert!(matches!(error, Error::ImageDecode { .. } | Error::ImageTooLarge { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(reason) && text.contains(path.as_str()), "{text}");
    }
    let missing = folder.path().join("not there.jpg").to_str().unwrap().to_owned();
    assert!(matches!(Image::open(&missing), Err(Error::Io { .. })));
    assert!(matches!(Image::open(folder.path()), Err(Error::Io { .. })), "a folder");

    let mut arguments: Vec<&str> = bad.iter().map(|(path, _)| path.as_str()).collect();
    arguments.extend([missing.as_str(), good.to_str().unwrap()]);
    for command in ["detect", "embed"] {
        let output = face(&[&[command, "--json"], arguments.as_slice()].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let entries = json(&output);
        let entries = entries.as_array().unwrap();
        assert_eq!(entries.len(), arguments.len());
        for (entry, path) in entries.iter().zip(&arguments) {
            assert_eq!(entry["image"], *path);
            let is_good = *path == good.to_str().unwrap();
            assert_eq!(entry["faces"].as_array().unwrap().len(), usize::from(is_good), "{entry}");
            assert_eq!(entry.get("error").is_none(), is_good, "{entry}");
        }
        // When nothing at all could be done, the status says so.
        assert_eq!(face(&[command, "--json", &bad[0].0]).status.code(), Some(2));
        assert!(errors(&face(&[command, &bad[2].0])).contains("none of JPEG"));
    }
}

#[test]
fn photos_without_a_face_are_no_error_to_detect_and_one_to_embed_and_verify() {
    let test = "photos_without_a_face_are_no_error_to_detect_and_one_to_embed_and_verify";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, width, height) in [("one pixel.png", 1, 1), ("gréy.png", 300, 200), ("line.png", 2000, 1)] {
        let blank = Image::from_raw(width, height, vec![120; (width * height * 3) as usize]).unwrap();
        assert!(pipeline.analyze(&blank.view()).unwrap().faces.is_empty());
        let error = pipeline.analyze_largest(&blank.view(), name).unwrap_err();
        assert!(matches!(&error, Error::NoFace { image } if image == name), "{error}");
        let path = folder.path().join(name);
        blank.save(&path).unwrap();
        let path = path.to_str().unwrap();
        let detected = face(&["detect", "--json", path]);
        assert_eq!(detected.status.code(), Some(0));
        let entry = &json(&detected)[0];
        assert_eq!((entry["width"].as_u64(), entry["height"].as_u64()), (Some(width.into()), Some(height.into())));
        assert!(entry["faces"].as_array().unwrap().is_empty() && entry.get("error").is_none(), "{entry}");
        assert!(json(&face(&["embed", "--json", path]))[0]["error"].as_str().unwrap().contains("no face"));
        let good = store.path(store.catalogue().entry("obama2").unwrap());
        for arguments in [["verify", good.to_str().unwrap(), path], ["verify", path, good.to_str().unwrap()]] {
            let output = face(&arguments);
            assert_eq!(output.status.code(), Some(2));
            assert!(errors(&output).contains("no face") && errors(&output).contains(path), "{output:?}");
        }
    }
}

#[test]
fn degenerate_landmarks_are_errors_and_never_a_black_crop() {
    let photo = Image::from_raw(100, 100, vec![200; 30_000]).unwrap();
    let normalizer = SimilarityNormalizer::new(CropSpec::single(templates::ARCFACE_112.clone())).unwrap();
    let normalize = |points: [(f32, f32); 5]| {
        normalizer.normalize(&photo.view(), &Landmarks::eyes_nose_mouth(points.map(|(x, y)| Point::new(x, y))))
    };
    let on_a_line = [(10.0, 10.0), (20.0, 20.0), (30.0, 30.0), (40.0, 40.0), (50.0, 50.0)];
    let vertical = [(50.0, 10.0), (50.0, 20.0), (50.0, 30.0), (50.0, 40.0), (50.0, 50.0)];
    for points in [on_a_line, vertical, [(50.0, 50.0); 5]] {
        assert!(matches!(normalize(points), Err(Error::DegenerateLandmarks { .. })), "{points:?}");
    }
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut points = [(30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (35.0, 80.0), (65.0, 80.0)];
        points[4].1 = bad;
        assert!(matches!(normalize(points), Err(Error::NonFinite { index: 9, .. })));
    }
    let far = [(3e8, 4e8), (7e8, 4e8), (5e8, 6e8), (3e8, 8e8), (7e8, 8e8)];
    assert!(matches!(normalize(far), Err(Error::DegenerateLandmarks { .. })));
}

#[test]
fn wrong_models_are_refused_when_they_are_loaded() {
    let test = "wrong_models_are_refused_when_they_are_loaded";
    let Some(store) = common::store(test) else { return };
    let detector = store.read("centerface").unwrap();
    let recogniser = store.read("dlib-resnet-v1").unwrap();
    let predictor = store.read("dlib-5-point").unwrap();
    let is_invalid = |error: Option<Error>| {
        let error = error.unwrap();
        assert!(matches!(error, Error::ModelInvalid { .. }), "{error}");
        error.to_string()
    };
    // A detector where an embedder belongs, and the reverse.
    let spec = || Some(EmbedderSpec::arcface("wrong"));
    for content in [&detector[..], &predictor, b"", b"no model", &recogniser[..recogniser.len() / 2]] {
        let text = is_invalid(OnnxEmbedder::from_bytes(content, EmbedderSpec::arcface("wrong")).err());
        assert!(text.contains("wrong"), "the error names the model: {text}");
    }
    let params = PipelineParams {
        embedder: ModelSource::Bytes { name: "a detector".into(), content: detector.clone() },
        embedder_spec: spec(),
        ..PipelineParams::default()
    };
    is_invalid(face_core::open_embedder(&store, &params).err());
    for content in [&recogniser[..], &predictor, b""] {
        is_invalid(CenterFace::from_bytes(content, DetectionParams::default()).err());
        is_invalid(YuNet::from_bytes(content, DetectionParams::default()).err());
        let source = ModelSource::Bytes { name: "wrong".into(), content: content.to_vec() };
        is_invalid(face_core::open_detector(&store, &source, &DetectionParams::default(), &Engine::default()).err());
    }
    for content in [&recogniser[..], &detector, b"", &predictor[..1000], b"\x01"] {
        is_invalid(DlibFivePoint::from_bytes(content, DlibFivePointParams::default()).err());
        is_invalid(dlib_resnet_to_onnx(content).err());
    }
    // The recogniser for crops of 150 pixels, told that they have 112.
    is_invalid(OnnxEmbedder::from_bytes(&recogniser, EmbedderSpec::arcface("wrong size")).err());
    if let Some(ultraface) = common::face_data(test, "models/ultraface_rfb_320.onnx") {
        let ultraface = std::fs::read(ultraface).unwrap();
        is_invalid(CenterFace::from_bytes(&ultraface, DetectionParams::default()).err());
        is_invalid(YuNet::from_bytes(&ultraface, DetectionParams::default()).err());
        is_invalid(OnnxEmbedder::from_bytes(&ultraface, EmbedderSpec::arcface("wrong")).err());
    }
}

#[test]
fn a_nan_in_a_user_s_tensor_is_named() {
    let test = "a_nan_in_a_user_s_tensor_is_named";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    // As a vector that comes from elsewhere.
    let space = pipeline.embedder.space();
    let mut vector = vec![0.1; space.dimension];
    vector[17] = f32::NAN;
    let error = face_core::Embedding::new(vector, space.clone()).unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 17, .. }), "{error}");
    // As the input of a network.
    let network = TractModel::from_onnx("recogniser", &store.read("dlib-resnet-v1").unwrap()).unwrap();
    let mut input = ndarray::Array4::<f32>::zeros((1, 3, 150, 150));
    input[(0, 1, 70, 70)] = f32::NAN;
    let error = network.run(input).unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 33_070, .. }), "{error}");
    // Of a shape that the network does not take.
    let error = network.run(ndarray::Array4::zeros((1, 4, 150, 150))).unwrap_err();
    assert!(matches!(error, Error::Inference { .. }), "{error}");
    // Threshold and settings.
    let embedding = face_core::Embedding::new(vec![0.1; space.dimension], space.clone()).unwrap();
    let mut threshold = space.threshold_at(1e-3).unwrap().clone();
    threshold.similarity = f32::NAN;
    assert!(matches!(face_core::verify(&embedding, &embedding, &threshold), Err(Error::InvalidParameter { .. })));
}

#[test]
fn crops_for_another_recogniser_are_refused() {
    let test = "crops_for_another_recogniser_are_refused";
    let Some(pipeline) = common::pipeline(test) else { return };
    let crop = Image::from_raw(112, 112, vec![0; 112 * 112 * 3]).unwrap();
    let aligned = FaceCrop::from_aligned(crop.clone(), templates::ARCFACE_112.clone()).unwrap();
    let error = pipeline.embedder.embed(&aligned).unwrap_err();
    assert!(matches!(error, Error::CropMismatch { .. }), "{error}");
    assert!(error.to_string().contains("dlib150") && error.to_string().contains("arcface112"), "{error}");
    let error = FaceCrop::from_aligned(crop, templates::DLIB_150.clone()).unwrap_err();
    assert!(matches!(error, Error::CropMismatch { .. }), "{error}");
    // Its fields are public: a crop that is not what it says.
    let spec = pipeline.embedder.crop_spec().clone();
    for views in [vec![], vec![Image::from_raw(1, 1, vec![0; 3]).unwrap()]] {
        let crop = FaceCrop { spec: spec.clone(), views, transform: aligned.transform };
        assert!(matches!(pipeline.embedder.embed(&crop), Err(Error::CropMismatch { .. })));
    }
    let impossible = Template { width: 0, ..templates::DLIB_150.clone() };
    assert!(matches!(
        SimilarityNormalizer::new(CropSpec::single(impossible)),
        Err(Error::InvalidParameter { parameter: "template width", .. })
    ));
}

#[test]
fn stages_that_do_not_fit_together_are_an_error_and_not_an_empty_answer() {
    let test = "stages_that_do_not_fit_together_are_an_error_and_not_an_empty_answer";
    let Some(store) = common::store(test) else { return };
    let open = || {
        let detector =
            face_core::open_detector(&store, &ModelSource::Default, &DetectionParams::default(), &Engine::default())
                .unwrap();
        (detector, face_core::open_embedder(&store, &PipelineParams::default()).unwrap())
    };
    let photo = common::photo(&store, "astronaut");
    let (detector, embedder) = open();
    let other = SimilarityNormalizer::new(CropSpec::single(templates::ARCFACE_112.clone())).unwrap();
    let pipeline = FacePipeline::new(detector, DetectorLandmarks, other, embedder);
    assert!(matches!(pipeline.analyze(&photo.view()), Err(Error::CropMismatch { .. })));
    let (detector, embedder) = open();
    let corners = SimilarityNormalizer::new(CropSpec::single(templates::DLIB_150_CORNERS.clone())).unwrap();
    let pipeline = FacePipeline::new(detector, DetectorLandmarks, corners, embedder);
    assert!(matches!(pipeline.analyze(&photo.view()), Err(Error::LandmarkScheme { .. })));
}

#[test]
fn odd_pictures_are_looked_at_without_harm() {
    let test = "odd_pictures_are_looked_at_without_harm";
    let Some(store) = common::store(test) else { return };
    let centerface = CenterFace::from_bytes(&store.read("centerface").unwrap(), DetectionParams::default()).unwrap();
    let mut detectors: Vec<Box<dyn FaceDetector>> = vec![Box::new(centerface)];
    if let Some(yunet) = common::yunet(test) {
        detectors.push(Box::new(YuNet::from_bytes(&yunet, DetectionParams::default()).unwrap()));
    }
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (31, 33), (320, 320), (427, 321)] {
        let noise: Vec<u8> = (0..width * height).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let view = ImageView::new(&noise, width, height, PixelFormat::Gray8).unwrap();
        for detector in &detectors {
            for face in detector.detect(&view).unwrap() {
                assert!(face.bounding_box.width.is_finite() && (0.0..=1.0).contains(&face.score));
            }
        }
    }
}

#[test]
fn a_cache_that_is_no_cache_or_cannot_be_written_is_an_error_with_a_cure() {
    let test = "a_cache_that_is_no_cache_or_cannot_be_written_is_an_error_with_a_cure";
    let Some(store) = common::store(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let photo = store.path(store.catalogue().entry("obama2").unwrap());
    let photo = photo.to_str().unwrap();
    // Nothing pulled yet.
    let output = face_with(&["detect", photo], &[("FACE_MODELS", folder.path())]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("face models pull centerface"), "{output:?}");
    // A file where the folder should be: no user can write there, not even root.
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "x").unwrap();
    let output = face_with(&["models", "pull"], &[("FACE_MODELS", &blocked.join("models"))]);
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("cannot create") && errors(&output).contains("FACE_MODELS"), "{output:?}");
    // A cache that holds everything is never written to.
    let full = folder.path().join("full cache");
    for name in ["centerface", "dlib-resnet-v1"] {
        let from = store.path(store.catalogue().entry(name).unwrap());
        let to = full.join(name);
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        set_writable(&to, false);
    }
    set_writable(&full, false);
    let before = listing(&full);
    for arguments in [&["models", "pull"][..], &["models", "check"], &["detect", photo]] {
        let output = face_with(arguments, &[("FACE_MODELS", &full)]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert_eq!(listing(&full), before);
    // Half a file, and a file with one other byte.
    let path = full.join("centerface/centerface.onnx");
    set_writable(&full.join("centerface"), true);
    let content = std::fs::read(&path).unwrap();
    let mut altered = content.clone();
    altered[5000] ^= 1;
    for bad in [&content[..content.len() / 2], &altered, b""] {
        std::fs::write(&path, bad).unwrap();
        for arguments in [&["detect", photo][..], &["models", "check"]] {
            let output = face_with(arguments, &[("FACE_MODELS", &full)]);
            assert_eq!(output.status.code(), Some(2));
            let said = errors(&output) + &String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("damaged or altered") && said.contains("face models pull centerface"), "{said}");
        }
    }
    for folder in [&full, &full.join("dlib-resnet-v1")] {
        set_writable(folder, true);
    }
}

fn set_writable(path: &Path, writable: bool) {
    let mut permissions = std::fs::metadata(path).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, if writable { 0o755 } else { 0o555 });
    #[cfg(not(unix))]
    permissions.set_readonly(!writable);
    std::fs::set_permissions(path, permissions).unwrap();
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .flatten()
        .flat_map(|item| {
            let path = item.path();
            if path.is_dir() { listing(&path) } else { vec![path.display().to_string()] }
        })
        .collect();
    names.sort();
    names
}
