//! A recogniser of one's own, and the adapter of SFace, on a network of the same shape.

use face_core::embedders::{ColorOrder, EmbedderSpec, OnnxEmbedder, TensorLayout};
use face_core::models::Catalogue;
use face_core::models::onnx_writer::GraphWriter;
use face_core::normalizers::SimilarityNormalizer;
use face_core::{
    Embedder, Error, FaceCrop, FacePipeline, Image, ModelSource, ModelStore, Normalizer, PipelineParams, templates,
};

use crate::common;

/// 112x112 in, 128 out, as SFace: value k is the mean of channel k mod 3 over the left (k even) or right half.
///
/// A 7x7 convolution with stride 7 and weights of 1/49 makes cell means, so that every output can be calculated by hand.
fn sface_like() -> Vec<u8> {
    let mut graph = GraphWriter::new("sface-like");
    let input = graph.input("data", &[1, 3, 112, 112]);
    let mut weights = vec![0.0; 3 * 3 * 49];
    for channel in 0..3 {
        weights[(channel * 3 + channel) * 49..][..49].fill(1.0 / 49.0);
    }
    let cells = graph.convolution("cells", &input, &[3, 3, 7, 7], &weights, &[0.0; 3], 7, 0, 1).unwrap();
    let flat = graph.flatten("flat", &cells);
    let mut matrix = vec![0.0; 3 * 256 * 128];
    for k in 0..128 {
        for cell in (0..256).filter(|cell| (cell % 16 < 8) == (k % 2 == 0)) {
            matrix[((k % 3) * 256 + cell) * 128 + k] = 1.0 / 128.0;
        }
    }
    let embedding = graph.matrix_product("fc", &flat, &[3 * 256, 128], &matrix).unwrap();
    graph.output("fc1", &embedding, &[1, 128]);
    graph.into_bytes()
}

/// What the network must give for a crop, calculated from its pixels.
fn by_hand(crop: &Image) -> Vec<f32> {
    let mean = |channel: usize, left: bool| {
        let half = (0..112 * 112_u32).map(|i| (i % 112, i / 112)).filter(|(x, _)| (*x < 56) == left);
        half.map(|(x, y)| f64::from(crop.view().rgb(x, y)[channel])).sum::<f64>() / (56.0 * 112.0)
    };
    let raw: Vec<f64> = (0..128).map(|k| mean(k % 3, k % 2 == 0)).collect();
    let length = raw.iter().map(|v| v * v).sum::<f64>().sqrt();
    raw.iter().map(|v| (v / length) as f32).collect()
}

#[test]
fn the_adapter_of_sface_feeds_rgb_from_0_to_255_on_the_arcface_template() {
    let test = "the_adapter_of_sface_feeds_rgb_from_0_to_255_on_the_arcface_template";
    let Some(store) = common::store(test) else { return };
    let spec = Catalogue::builtin().entry("sface").unwrap().embedder_spec(None).unwrap();
    assert_eq!(spec.crops.template, templates::ARCFACE_112);
    let embedder = OnnxEmbedder::from_bytes(&sface_like(), spec.clone()).unwrap();
    let photo = common::photo(&store, "astronaut");
    let pipeline = common::pipeline(test).unwrap();
    let face = pipeline.analyze_largest(&photo.view(), "astronaut").unwrap();
    let normalizer = SimilarityNormalizer::new(embedder.crop_spec().clone()).unwrap();
    let crop = normalizer.normalize(&photo.view(), &face.landmarks).unwrap();
    let embedding = embedder.embed(&crop).unwrap();
    for (ours, expected) in embedding.vector().iter().zip(by_hand(&crop.views[0])) {
        assert!((ours - expected).abs() < 1e-5, "{ours} {expected}");
    }
    // The whole pipeline on a file and on bytes of one's own.
    let folder = tempfile::Builder::new().prefix("mödel ").tempdir().unwrap();
    let path = folder.path().join("sfäce like.onnx");
    std::fs::write(&path, sface_like()).unwrap();
    let bytes = ModelSource::Bytes { name: "mine".into(), content: sface_like() };
    for embedder in [ModelSource::File(path), bytes] {
        let params = PipelineParams { embedder, embedder_spec: Some(spec.clone()), ..PipelineParams::default() };
        let own = FacePipeline::open(&store, &params).unwrap().analyze_largest(&photo.view(), "astronaut").unwrap();
        assert_eq!(own.embedding.vector(), embedding.vector());
        assert_eq!(own.embedding.space(), embedding.space());
        let error = own.embedding.similarity(&face.embedding).unwrap_err();
        assert!(matches!(error, Error::SpaceMismatch { .. }), "{error}");
    }
}

#[test]
fn layout_colour_and_scale_are_applied_as_stated() {
    // Every channel, and every half of it, has another mean.
    let pixels = (0..112 * 112_u32).flat_map(|i| if i % 112 < 56 { [10, 100, 200] } else { [30, 60, 250] });
    let crop = Image::from_raw(112, 112, pixels.collect()).unwrap();
    let aligned = || FaceCrop::from_aligned(crop.clone(), templates::ARCFACE_112.clone()).unwrap();
    let spec = Catalogue::builtin().entry("sface").unwrap().embedder_spec(None).unwrap();
    let embed = |spec: EmbedderSpec| OnnxEmbedder::from_bytes(&sface_like(), spec).unwrap().embed(&aligned()).unwrap();
    let rgb = embed(spec.clone());
    let unit = |raw: [f32; 6]| {
        let all: Vec<f32> = (0..128).map(|k| raw[k % 6]).collect();
        let length = all.iter().map(|v| v * v).sum::<f32>().sqrt();
        all.into_iter().map(|v| v / length).collect::<Vec<_>>()
    };
    let assert_near = |found: &[f32], expected: &[f32]| {
        let far = found.iter().zip(expected).find(|(a, b)| (**a - **b).abs() > 1e-4);
        assert_eq!((found.len(), far), (expected.len(), None));
    };
    // Value k is the mean of channel k mod 3 over the left half for even k and the right half for odd k.
    assert_near(rgb.vector(), &unit([10.0, 60.0, 200.0, 30.0, 100.0, 250.0]));
    let bgr = embed(EmbedderSpec { color: ColorOrder::Bgr, ..spec.clone() });
    assert_near(bgr.vector(), &unit([200.0, 60.0, 10.0, 250.0, 100.0, 30.0]));
    assert!(rgb.similarity(&bgr).is_err(), "another colour order is another space");
    // Mean and scale go with the channels as the network sees them.
    let scaled = embed(EmbedderSpec { mean: [5.0, 50.0, 100.0], std: [1.0, 2.0, 4.0], ..spec.clone() });
    assert_near(scaled.vector(), &unit([5.0, 5.0, 25.0, 25.0, 25.0, 37.5]));
    // A network for channels first refuses pictures with channels last, when it is loaded.
    let last = EmbedderSpec { layout: TensorLayout::Nhwc, ..spec };
    let error = OnnxEmbedder::from_bytes(&sface_like(), last).err().unwrap();
    assert!(matches!(error, Error::ModelInvalid { .. }), "{error}");
}

#[test]
fn a_recogniser_of_one_s_own_needs_its_preprocessing_stated() {
    let store = ModelStore::new("nowhere");
    let params = PipelineParams {
        embedder: ModelSource::Bytes { name: "mine".into(), content: sface_like() },
        ..PipelineParams::default()
    };
    let error = face_core::open_embedder(&store, &params).err().unwrap();
    assert!(matches!(error, Error::InvalidParameter { parameter: "embedder_spec", .. }), "{error}");
    assert!(error.to_string().contains("mine"), "{error}");
}
