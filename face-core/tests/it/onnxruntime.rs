//! The same pipeline on another engine: onnxruntime, whose library `ORT_DYLIB_PATH` names.

use std::path::PathBuf;
use std::sync::OnceLock;

use face_core::inference::{Engine, OnnxRuntime, ort, set_threads};
use face_core::{Error, FacePipeline, PipelineParams};
use ndarray::Array4;

use crate::{common, golden};

/// The engine, or `None` after a skip. A process can load one library: what does not load is tried before it.
fn engine(test: &str) -> Option<Engine> {
    static ENGINE: OnceLock<Option<Engine>> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| {
        let library = PathBuf::from(std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty())?);
        libraries_that_do_not_load_say_why();
        let runtime = OnnxRuntime::load(&library).unwrap();
        assert_eq!(runtime.library(), library);
        assert_eq!(OnnxRuntime::find().unwrap(), runtime);
        assert!(message(OnnxRuntime::load("/another/libonnxruntime.so")).contains("has loaded"));
        Some(Engine::OnnxRuntime(runtime))
    });
    if engine.is_none() {
        common::skip(test, "ORT_DYLIB_PATH does not name a library of onnxruntime");
    }
    engine.clone()
}

fn libraries_that_do_not_load_say_why() {
    let missing = message(OnnxRuntime::load("/no/such/libonnxruntime.so"));
    assert!(missing.contains("/no/such/libonnxruntime.so") && missing.contains("ORT_DYLIB_PATH"), "{missing}");
    let by_name = message(OnnxRuntime::load("libno-such-runtime.so"));
    assert!(by_name.contains("libno-such-runtime.so") && by_name.contains("ORT_DYLIB_PATH"), "{by_name}");
    let text = common::workspace().join("README.md");
    let text = message(OnnxRuntime::load(text));
    assert!(text.contains("README.md"), "{text}");
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        let other = message(OnnxRuntime::load("libm.so.6"));
        assert!(other.contains("libm.so.6") && other.contains("OrtGetApiBase"), "{other}");
    }
}

fn message(outcome: face_core::Result<OnnxRuntime>) -> String {
    let error = outcome.unwrap_err();
    assert!(matches!(error, Error::EngineUnavailable { engine: "onnxruntime", .. }), "{error:?}");
    error.to_string()
}

#[test]
fn onnxruntime_gives_the_golden_answers() {
    let test = "onnxruntime_gives_the_golden_answers";
    let (Some(store), Some(yunet), Some(engine)) = (common::store(test), common::yunet(test), engine(test)) else {
        return;
    };
    golden::compare_detections(&store, &engine, "centerface", &store.read("centerface").unwrap(), 13);
    golden::compare_detections(&store, &engine, "yunet", &yunet, 5);
    golden::compare_embeddings(&store, &engine);
}

#[test]
fn a_pipeline_on_onnxruntime_is_shared_by_threads_and_agrees_with_ours() {
    let test = "a_pipeline_on_onnxruntime_is_shared_by_threads_and_agrees_with_ours";
    let (Some(store), Some(ours), Some(engine)) = (common::store(test), common::pipeline(test), engine(test)) else {
        return;
    };
    let params = PipelineParams { engine, ..Default::default() };
    let theirs = FacePipeline::open(&store, &params).unwrap();
    let photo = common::photo(&store, "obama2");
    let expected = ours.analyze(&photo.view()).unwrap();
    set_threads(2).unwrap();
    let compare = || {
        let found = theirs.analyze(&photo.view()).unwrap();
        assert_eq!(found.faces.len(), expected.faces.len());
        for (a, b) in found.faces.iter().zip(&expected.faces) {
            let (a_box, b_box) = (a.detection.bounding_box, b.detection.bounding_box);
            assert!(
                (a_box.x - b_box.x).abs() < 0.01 && (a_box.width - b_box.width).abs() < 0.01,
                "{a_box:?} {b_box:?}"
            );
            for (one, other) in a.embedding.vector().iter().zip(b.embedding.vector()) {
                assert!((one - other).abs() < 1e-4, "{one} {other}");
            }
        }
    };
    compare();
    set_threads(0).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(compare);
        }
    });
    let views = [photo.view(); 3];
    assert!(theirs.analyze_batch(&views).iter().all(|analysis| analysis.as_ref().unwrap().faces.len() == 1));
}

#[test]
fn bad_input_of_onnxruntime_is_an_error() {
    let test = "bad_input_of_onnxruntime_is_an_error";
    let (Some(store), Some(engine)) = (common::store(test), engine(test)) else { return };
    for bytes in [&b""[..], b"no model", &store.read("dlib-resnet-v1").unwrap()[..100_000]] {
        let refused = engine.model("broken", bytes).err();
        assert!(matches!(refused, Some(Error::ModelInvalid { .. })), "{refused:?}");
    }
    let network = engine.model("recogniser", &store.read("dlib-resnet-v1").unwrap()).unwrap();
    let failed = network.run(Array4::zeros((1, 1, 150, 150)));
    assert!(matches!(failed, Err(Error::Inference { .. })), "{failed:?}");
    let nan = network.run(Array4::from_elem((1, 3, 150, 150), f32::NAN));
    assert!(matches!(nan, Err(Error::NonFinite { .. })), "{nan:?}");
    // And goes on.
    assert_eq!(network.run(Array4::zeros((1, 3, 150, 150))).unwrap()[0].len(), 128);
    // The library of the tests has no such provider: no silent way back to the processor.
    let Engine::OnnxRuntime(runtime) = engine else { unreachable!("it is the other engine") };
    let elsewhere = Engine::OnnxRuntime(runtime.with_execution_providers([ort::ep::CUDA::default().build()]));
    let refused = elsewhere.model("recogniser", &store.read("dlib-resnet-v1").unwrap()).err();
    assert!(matches!(refused, Some(Error::ModelInvalid { .. })), "{refused:?}");
}
