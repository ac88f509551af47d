"""The stages, alone and in a row."""

import facecore as fc
import numpy as np
import pytest
from conftest import takes_long


def test_the_stages_alone_give_what_the_pipeline_gives(pipeline, photos):
    detector, embedder = fc.Detector(pull=False), fc.Embedder(pull=False)
    aligner, normalizer = fc.Aligner(embedder.landmark_scheme), fc.Normalizer(embedder)
    photo = fc.load(photos["astronaut"])
    face = pipeline.analyze(photo)[0]
    detection = detector.detect(photo)[0]
    assert (detection.box == face.box).all() and detection.score == face.score
    landmarks = aligner.align(photo, detection)
    assert (landmarks == face.landmarks).all() and landmarks.shape == (5, 2) and landmarks.dtype == np.float32
    crop = normalizer.normalize(photo, landmarks)
    assert crop.views[0].shape == (*embedder.crop_size[::-1], 3) and crop.transform.shape == (2, 3)
    # The transform brings the landmarks near those of the template.
    moved = landmarks.astype(np.float64) @ crop.transform[:, :2].T + crop.transform[:, 2]
    assert (moved > 0).all() and (moved < 150).all()
    embedding = embedder.embed(crop)
    assert (embedding == face.embedding).all() and embedding.space == pipeline.space
    assert (embedder.embed(crop.views) == embedding).all() and (embedder.embed(crop.views[0]) == embedding).all()
    again = pipeline.embed_detection(photo, detection)
    assert (again.embedding == embedding).all()
    assert crop._repr_png_().startswith(b"\x89PNG") and "dlib150" in repr(crop)


def test_dlib_s_landmarks(photos, pipeline):
    detection = pipeline.detector.detect(photos["obama"])[0]
    points = fc.Aligner("eye-corners-nose", pull=False).align(photos["obama"], detection)
    x, y, width, height = detection.box
    assert ((points > [x, y]) & (points < [x + width, y + height])).all()
    with pytest.raises(fc.LandmarkError, match="eye-corners-nose"):
        pipeline.normalizer.normalize(photos["obama"], points, scheme="eye-corners-nose")
    corners = (
        fc.Pipeline(variant="corners-mirror-cosine", pull=False) if _has_variant("corners-mirror-cosine") else None
    )
    assert corners is None or corners.aligner.scheme == "eye-corners-nose"


def _has_variant(name):
    return any(name in model.variants for model in fc.models.list_models())


def test_no_face_is_an_empty_analysis(pipeline):
    empty = pipeline.analyze(np.zeros((200, 300, 3), np.uint8))
    assert len(empty) == 0 and list(empty) == [] and empty.largest is None and empty.size == (300, 200)
    for method in (pipeline.analyze_largest, pipeline.analyze_central):
        with pytest.raises(fc.NoFaceError, match="no face"):
            method(np.zeros((200, 300, 3), np.uint8))


def test_the_largest_and_the_central_face(pipeline, photos):
    side = [fc.load(photos[name]).to_array()[:600, :900] for name in ("obama", "biden")]
    height, width = min(picture.shape[0] for picture in side), min(picture.shape[1] for picture in side)
    crowd = np.hstack([side[0][:height, :width], side[1][:height, :width]])
    faces = pipeline.analyze(crowd)
    assert len(faces) == 2
    largest = max(faces, key=lambda face: face.box[2] * face.box[3])
    assert faces.largest is largest and (pipeline.analyze_largest(crowd).box == largest.box).all()
    middle = np.array([(crowd.shape[1] - 1) / 2, (crowd.shape[0] - 1) / 2])
    central = min(faces, key=lambda face: np.hypot(*(face.box[:2] + face.box[2:] / 2 - middle)))
    assert (pipeline.analyze_central(crowd).box == central.box).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"score_threshold": 2.0},
        {"nms_threshold": float("nan")},
        {"max_side": 5},
        {"max_faces": 0},
        {"small_side": 1},
        {"min_size": -1.0},
        {"threads": -1},
        {"threads": 10**6},
        {"detector": "no such model"},
        {"embedder": "no such model"},
        {"variant": "no such variant"},
        {"embedder": "centerface"},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises((fc.ParameterError, fc.ModelError)) as caught:
        fc.Pipeline(pull=False, **settings)
    assert len(str(caught.value)) > 10


@pytest.mark.parametrize(
    "settings",
    [{"threads": True}, {"max_side": "wide"}, {"max_faces": -1}, {"unknown": 1}, {"detector": 3}, {"spec": 3}],
)
def test_settings_of_a_wrong_type_are_refused(settings):
    with pytest.raises((TypeError, OverflowError)):
        fc.Pipeline(pull=False, **settings)


def test_models_of_one_s_own(tmp_path, pipeline, photos):
    detector = fc.models.path("centerface")
    for model in (detector, str(detector), detector.read_bytes()):
        own = fc.Pipeline(detector=model, pull=False)
        assert (own.analyze(photos["obama"])[0].box == pipeline.analyze(photos["obama"])[0].box).all()
    recogniser = tmp_path / "mine.onnx"
    recogniser.write_bytes(fc.models.path("dlib-resnet-v1").read_bytes())
    spec = 'name = "mine"\nmetric = "euclidean"\n[crops]\ntemplate = "dlib150"\n[input]\ncolor = "rgb"\nmean = [122.782, 117.001, 104.298]\nstd = [256, 256, 256]\n'
    with pytest.raises(fc.ParameterError, match="preprocessing"):
        fc.Embedder(recogniser)
    by_text = fc.Embedder(recogniser, spec=spec)
    (tmp_path / "mine.toml").write_text(spec)
    for own in (fc.Embedder(recogniser), fc.Embedder(recogniser, spec=tmp_path / "mine.toml"), by_text):
        assert own.space.metric == "euclidean" and own.space == by_text.space
    with pytest.raises(fc.FormatError, match="template"):
        fc.Embedder(recogniser, spec='name = "mine"\n[crops]\n')
    with pytest.raises(FileNotFoundError):
        fc.Embedder(tmp_path / "missing.onnx", spec=spec)
    with pytest.raises(fc.ModelError):
        fc.Embedder(b"no model", spec=spec)
    with pytest.raises(fc.ModelError):
        fc.Detector(recogniser)
    assert fc.Pipeline(embedder=by_text, detector=fc.Detector(pull=False)).space == by_text.space


def test_missing_models_say_how_they_are_pulled(monkeypatch, tmp_path):
    monkeypatch.setenv("FACE_MODELS", str(tmp_path))
    with pytest.raises(fc.ModelMissingError, match="face models pull centerface") as caught:
        fc.Pipeline(pull=False)
    assert caught.value.model == "centerface"
    assert {model.state for model in fc.models.list_models()} == {"missing"}
    with pytest.raises(fc.ModelMissingError):
        fc.models.check()
    damaged = fc.models.path("centerface")
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"half a mod")
    with pytest.raises(fc.ModelError, match="damaged"):
        fc.models.check("centerface")
    with pytest.raises(fc.ParameterError, match="catalogue"):
        fc.models.check("nothing")


def test_models_that_are_missing_are_pulled(monkeypatch, tmp_path):
    """As on a machine without models; the packages come from the index."""
    takes_long()
    monkeypatch.setenv("FACE_MODELS", str(tmp_path))
    events = []
    monkeypatch.setattr(fc.models._Reporter, "__call__", lambda self, *event: events.append(event))
    detector = fc.Detector()
    assert len(detector.detect(np.zeros((64, 64), np.uint8))) == 0
    assert ("installed", "centerface", None, None) in events and any(event[0] == "downloading" for event in events)
    assert "Permission is hereby granted" in fc.models.read_licence("centerface")
    events.clear()
    fc.Detector()
    fc.models.pull("centerface")
    assert [event[0] for event in events] == ["present"]


def test_verification(pipeline, photos):
    first, second = photos["obama"], photos["obama2"]
    answer = fc.verify(first, second, pipeline=pipeline)
    assert answer and answer.match and answer.far == 1e-3 and answer.similarity >= answer.threshold
    assert not fc.verify(first, photos["biden"], pipeline=pipeline)
    face, embedding = pipeline.analyze_largest(first), pipeline.analyze_largest(second).embedding
    assert fc.verify(face, embedding).similarity == answer.similarity
    assert fc.verify(face, embedding, far=1e-4).threshold > answer.threshold
    assert not fc.verify(face, embedding, threshold=0.999).match
    assert fc.verify(face, embedding, threshold=fc.Threshold(0.5, 0.1, "a test")).measured_on == "a test"
    with pytest.raises(fc.ParameterError, match="at most one"):
        fc.verify(face, embedding, far=1e-3, threshold=0.9)
    for whole in (pipeline.analyze(first), fc.Failure(None, ValueError())):
        with pytest.raises(TypeError, match="one of its faces"):
            fc.verify(whole, second, pipeline=pipeline)
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(fc.ParameterError):
            fc.verify(face, embedding, threshold=wrong)
    with pytest.raises(fc.ThresholdUnknownError):
        fc.verify(face, embedding, far=0.123)
    with pytest.raises(FileNotFoundError):
        fc.verify("missing.jpg", first, pipeline=pipeline)


def test_records_for_tables(pipeline, photos):
    (record,) = pipeline.analyze(photos["obama"]).to_records()
    assert list(record) == ["source", "face", "x", "y", "width", "height", "score", "landmarks", "embedding"]
    assert record["source"] == str(photos["obama"]) and len(record["landmarks"]) == 10
    assert type(record["embedding"]) is np.ndarray
    assert "embedding" not in pipeline.analyze(photos["obama"]).to_records(embeddings=False)[0]
