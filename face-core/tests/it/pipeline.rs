//! The four stages together.

use face_core::aligners::DetectorLandmarks;
use face_core::detectors::{CenterFace, DetectionParams};
use face_core::inference::set_threads;
use face_core::normalizers::SimilarityNormalizer;
use face_core::{
    Aligner, Analysis, Embedder, Error, Face, FaceDetector, FacePipeline, Image, ImageView, ModelSource, Normalizer,
    PipelineParams, PixelFormat, StreamParams, side_by_side, verify,
};

use crate::common;

fn bits(analysis: &Analysis) -> Vec<u32> {
    let face_bits = |face: &Face| {
        let b = face.detection.bounding_box;
        let points = face.landmarks.points.map(|p| [p.x, p.y]);
        let mut values = vec![face.detection.score, b.x, b.y, b.width, b.height];
        values.extend(points.as_flattened());
        values.extend(face.embedding.vector());
        values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    analysis.faces.iter().flat_map(face_bits).collect()
}

#[test]
fn eight_threads_get_the_same_bits_as_one() {
    let test = "eight_threads_get_the_same_bits_as_one";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let photos: Vec<Image> = ["astronaut", "obama2"].map(|name| common::photo(&store, name)).into();
    let alone: Vec<Vec<u32>> = photos.iter().map(|p| bits(&pipeline.analyze(&p.view()).unwrap())).collect();
    assert!(alone.iter().all(|bits| bits.len() > 128));
    // A network that is spread over threads, too.
    for threads in [1, 3, 8, 0] {
        set_threads(threads).unwrap();
        let analysis = pipeline.analyze(&photos[0].view()).unwrap();
        assert_eq!(bits(&analysis), alone[0], "{threads} threads for one network");
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (photos, alone) = (&photos, &alone);
                scope.spawn(move || {
                    for round in 0..2 {
                        let which = (worker + round) % photos.len();
                        let analysis = pipeline.analyze(&photos[which].view()).unwrap();
                        assert_eq!(bits(&analysis), alone[which], "thread {worker}, round {round}");
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    let views: Vec<ImageView<'_>> = photos.iter().map(Image::view).collect();
    let batch: Vec<Vec<u32>> = pipeline.analyze_batch(&views).iter().map(|a| bits(a.as_ref().unwrap())).collect();
    assert_eq!(batch, alone);
}

#[test]
fn a_stream_gives_what_single_photos_give_and_goes_on_after_an_error() {
    let test = "a_stream_gives_what_single_photos_give_and_goes_on_after_an_error";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let path = |name: &str| store.path(store.catalogue().entry(name).unwrap());
    let paths = [path("astronaut"), "no such photo.jpg".into(), path("obama2"), path("centerface"), path("obama2")];
    let alone = paths.iter().map(|path| Image::open(path).and_then(|photo| pipeline.analyze(&photo.view())));
    let alone: Vec<Result<Vec<u32>, String>> =
        alone.map(|result| result.map(|analysis| bits(&analysis)).map_err(|error| error.to_string())).collect();
    assert_eq!(alone.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, false, true]);
    for (threads, ahead) in [(0, 0), (1, 1), (2, 3), (4, 100)] {
        let stream = pipeline.stream(paths.clone(), &StreamParams { threads, ahead }).unwrap();
        assert_eq!(stream.size_hint(), (5, Some(5)));
        let results: Vec<_> =
            stream.map(|result| result.map(|analysis| bits(&analysis)).map_err(|error| error.to_string())).collect();
        assert_eq!(results, alone, "{threads} threads, {ahead} ahead");
    }
    // Photos that are decoded, contents of files, and errors of whoever brings them.
    let photo = || common::photo(&store, "obama2");
    let mut stream = pipeline.stream([photo()], &StreamParams::default()).unwrap();
    assert_eq!(bits(&stream.next().unwrap().unwrap()), *alone[2].as_ref().unwrap());
    assert!(stream.next().is_none() && stream.next().is_none());
    let contents = [Ok(store.read("obama2").unwrap()), Err(Error::NoFace { image: "a camera that is off".into() })];
    let results: Vec<_> = pipeline.stream(contents, &StreamParams::default()).unwrap().collect();
    assert_eq!(bits(results[0].as_ref().unwrap()), *alone[2].as_ref().unwrap());
    assert!(matches!(&results[1], Err(Error::NoFace { image }) if image == "a camera that is off"));
}

#[test]
fn each_stage_alone_gives_what_the_chain_gives() {
    let test = "each_stage_alone_gives_what_the_chain_gives";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let photo = common::photo(&store, "astronaut");
    let view = photo.view();
    let whole = pipeline.analyze(&view).unwrap();
    let detection = pipeline.detector.detect(&view).unwrap()[0];
    let landmarks = pipeline.aligner.align(&view, &detection).unwrap();
    let crop = pipeline.normalizer.normalize(&view, &landmarks).unwrap();
    let embedding = pipeline.embedder.embed(&crop).unwrap();
    assert_eq!(whole.faces[0], Face { detection, landmarks, embedding });
    // And with parts that are chosen at compile time.
    let detector = CenterFace::from_bytes(&store.read("centerface").unwrap(), DetectionParams::default()).unwrap();
    let embedder = face_core::open_embedder(&store, &PipelineParams::default()).unwrap();
    let normalizer = SimilarityNormalizer::new(embedder.crop_spec().clone()).unwrap();
    let fixed = FacePipeline::new(detector, DetectorLandmarks, normalizer, embedder);
    assert_eq!(bits(&fixed.analyze(&view).unwrap()), bits(&whole));
}

#[test]
fn pixel_formats_and_strides_do_not_change_the_numbers() {
    let test = "pixel_formats_and_strides_do_not_change_the_numbers";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let photo = common::photo(&store, "astronaut");
    let expected = bits(&pipeline.analyze(&photo.view()).unwrap());
    let (width, height) = (photo.width(), photo.height());
    let stride = width as usize * 4 + 12;
    let mut bgra = vec![77; stride * height as usize];
    for y in 0..height {
        for x in 0..width {
            let [r, g, b] = photo.view().rgb(x, y);
            bgra[y as usize * stride + x as usize * 4..][..4].copy_from_slice(&[b, g, r, 0]);
        }
    }
    let view = ImageView::with_stride(&bgra, width, height, stride, PixelFormat::Bgra8).unwrap();
    assert_eq!(bits(&pipeline.analyze(&view).unwrap()), expected);
}

/// The same person on two photos, other people, and every verdict as in truth.
#[test]
fn verdicts_on_the_samples_are_right() {
    let test = "verdicts_on_the_samples_are_right";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let names = ["obama", "obama2", "biden", "astronaut"];
    let person = |name: &str| name.trim_end_matches(char::is_numeric).to_owned();
    let faces = names.map(|name| pipeline.analyze_largest(&common::photo(&store, name).view(), name).unwrap());
    let threshold = pipeline.embedder.space().threshold_at(1e-3).unwrap();
    for (i, a) in faces.iter().enumerate() {
        for (j, b) in faces.iter().enumerate() {
            let answer = verify(&a.embedding, &b.embedding, threshold).unwrap();
            let same = person(names[i]) == person(names[j]);
            assert_eq!(answer.is_match, same, "{} and {}: {answer:?}", names[i], names[j]);
        }
    }
}

#[test]
fn close_ups_and_small_faces_are_both_found_by_default() {
    let test = "close_ups_and_small_faces_are_both_found_by_default";
    let Some(store) = common::store(test) else { return };
    let photo = common::photo(&store, "obama");
    let network = store.read("centerface").unwrap();
    let detector = |params| CenterFace::from_bytes(&network, params).unwrap();
    let one_look = DetectionParams { small_side: None, ..DetectionParams::default() };
    // A face that fills the whole picture.
    let face = detector(DetectionParams::default()).detect(&photo.view()).unwrap()[0].bounding_box;
    let (left, top) = (face.x.max(0.0) as u32, face.y.max(0.0) as u32);
    let (width, height) = (face.width as u32, face.height as u32);
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (left + x, top + y)));
    let close_up: Vec<u8> = pixels.flat_map(|(x, y)| photo.view().rgb(x, y)).collect();
    let close_up = Image::from_raw(width, height, close_up).unwrap();
    let close_up = side_by_side(&[close_up], 3000).unwrap();
    let found = detector(DetectionParams::default()).detect(&close_up.view()).unwrap();
    assert!(found.iter().any(|d| d.bounding_box.height > 0.6 * 3000.0), "{found:?}");
    let missed = detector(one_look).detect(&close_up.view()).unwrap();
    assert!(missed.iter().all(|d| d.bounding_box.height < 0.6 * 3000.0), "the second look is not needed: {missed:?}");
    // A face of 20 pixels in a wide picture.
    let tiny = side_by_side(&[photo], 60).unwrap();
    let mut wide = vec![90_u8; 1000 * 600 * 3];
    for y in 0..tiny.height() {
        let start = (300 + y as usize) * 1000 * 3 + 700 * 3;
        wide[start..start + tiny.width() as usize * 3].copy_from_slice(tiny.view().row(y));
    }
    let wide = Image::from_raw(1000, 600, wide).unwrap();
    let found = detector(DetectionParams::default()).detect(&wide.view()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let b = found[0].bounding_box;
    assert!(b.x > 700.0 && b.right() < 750.0 && b.y > 300.0 && b.bottom() < 360.0 && b.width < 30.0, "{b:?}");
}

/// The samples cut to their own faces and enlarged: one face each, and the same vector as from the whole photo.
#[test]
fn close_ups_come_out_whole_and_not_in_fragments() {
    let test = "close_ups_come_out_whole_and_not_in_fragments";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    for name in ["obama", "obama2", "biden", "astronaut"] {
        let photo = common::photo(&store, name);
        let whole = pipeline.analyze_largest(&photo.view(), name).unwrap();
        let face = whole.detection.bounding_box;
        for margin in [0.0, 0.1] {
            let (left, top) = (face.x - margin * face.width, face.y - margin * face.height);
            let (width, height) = (face.width * (1.0 + 2.0 * margin), face.height * (1.0 + 2.0 * margin));
            let (left, top) = (left.max(0.0) as u32, top.max(0.0) as u32);
            let (right, bottom) = ((left + width as u32).min(photo.width()), (top + height as u32).min(photo.height()));
            let places = (top..bottom).flat_map(|y| (left..right).map(move |x| (x, y)));
            let pixels = places.flat_map(|(x, y)| photo.view().rgb(x, y)).collect();
            let cut = Image::from_raw(right - left, bottom - top, pixels).unwrap();
            for side in [1000, 2000] {
                let close_up = side_by_side(std::slice::from_ref(&cut), side).unwrap();
                let analysis = pipeline.analyze(&close_up.view()).unwrap();
                let what = format!("{name}, margin {margin}, {side} pixels");
                assert_eq!(analysis.faces.len(), 1, "{what}: {:?}", analysis.faces.len());
                let similarity = analysis.faces[0].embedding.similarity(&whole.embedding).unwrap();
                assert!(similarity > 0.97, "{what}: {similarity}");
            }
        }
    }
}

#[test]
fn limits_of_the_detector_hold() {
    let test = "limits_of_the_detector_hold";
    let Some(store) = common::store(test) else { return };
    let photos = ["astronaut", "obama", "biden"].map(|name| common::photo(&store, name));
    let row = side_by_side(&photos, 400).unwrap();
    let network = store.read("centerface").unwrap();
    let detect = |params| CenterFace::from_bytes(&network, params).unwrap().detect(&row.view()).unwrap();
    let all = detect(DetectionParams::default());
    assert_eq!(all.len(), 3);
    let best = detect(DetectionParams { max_faces: 1, ..DetectionParams::default() });
    assert_eq!(best, all[..1]);
    let sides: Vec<f32> = all.iter().map(|d| d.bounding_box.width.min(d.bounding_box.height)).collect();
    let middle = sides.iter().copied().fold(0.0, f32::max) - 1.0;
    let large = detect(DetectionParams { min_size: middle, ..DetectionParams::default() });
    assert_eq!(large.len(), sides.iter().filter(|side| **side >= middle).count());
    assert!(detect(DetectionParams { score_threshold: Some(1.0), ..DetectionParams::default() }).is_empty());
}

#[test]
fn dlib_landmarks_make_a_pipeline_too() {
    let test = "dlib_landmarks_make_a_pipeline_too";
    let Some(store) = common::store(test) else { return };
    let variant = "corners-mirror-cosine";
    let params = PipelineParams { variant: Some(variant.into()), ..PipelineParams::default() };
    let pipeline = FacePipeline::open(&store, &params).unwrap();
    let face = |name: &str| pipeline.analyze_largest(&common::photo(&store, name).view(), name).unwrap().embedding;
    let (a, b, c) = (face("obama"), face("obama2"), face("biden"));
    assert!(a.similarity(&b).unwrap() > a.similarity(&c).unwrap());
    let unknown = PipelineParams { variant: Some("no-such".into()), ..PipelineParams::default() };
    assert!(matches!(FacePipeline::open(&store, &unknown), Err(Error::UnknownName { kind: "variant", .. })));
    let wrong_role =
        PipelineParams { detector: ModelSource::Catalogue("dlib-resnet-v1".into()), ..PipelineParams::default() };
    assert!(matches!(FacePipeline::open(&store, &wrong_role), Err(Error::ModelInvalid { .. })));
}

#[test]
fn embeddings_of_two_pipelines_do_not_mix() {
    let test = "embeddings_of_two_pipelines_do_not_mix";
    let (Some(store), Some(pipeline)) = (common::store(test), common::pipeline(test)) else { return };
    let params = PipelineParams { variant: Some("single-euclidean".into()), ..PipelineParams::default() };
    let other = FacePipeline::open(&store, &params).unwrap();
    let photo = common::photo(&store, "astronaut");
    let a = pipeline.analyze_largest(&photo.view(), "astronaut").unwrap().embedding;
    let b = other.analyze_largest(&photo.view(), "astronaut").unwrap().embedding;
    let error = a.similarity(&b).unwrap_err();
    assert!(matches!(error, Error::SpaceMismatch { .. }));
    let text = error.to_string();
    assert!(text.contains(&a.space().id()) && text.contains(&b.space().id()), "{text}");
}
