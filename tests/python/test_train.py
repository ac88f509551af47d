"""Trainings from Python: a network that the pipeline, onnx's checker and onnxruntime take, and Ctrl-C that stops at a checkpoint."""

import os
import shutil
import signal
import threading
import time

import facecore as fc
import numpy as np
import pytest
from conftest import imported


@pytest.fixture(scope="module")
def crops(data, tmp_path_factory):
    """Six people with eight crops each."""
    folder = tmp_path_factory.mktemp("people")
    people = [person for person in sorted((data / "celeba_crops112").iterdir()) if len(list(person.iterdir())) >= 8]
    for person in people[:6]:
        (folder / person.name).mkdir()
        for photo in sorted(person.iterdir())[:8]:
            shutil.copy(photo, folder / person.name)
    return folder


def settings(crops, output, **more):
    return {
        "name": "small",
        "output": output,
        "data": {"folder": crops, "aligned": "arcface112"},
        "backbone": {"kind": "mobilefacenet", "input": [48, 48], "width": 8, "dimension": 16},
        "sampling": {"kind": "shuffled", "batch": 12},
        "loss": {"kind": "arcface", "scale": 16},
        "schedule": {"epochs": 2, "rate": 0.05},
        **more,
    }


def test_a_network_is_trained_and_used(crops, tmp_path, photos):
    onnx, runtime = imported("onnx"), imported("onnxruntime")
    result = fc.train(settings(crops, tmp_path / "run", schedule={"epochs": 5, "rate": 0.05}), progress=False)
    assert (result.step, result.steps) == (20, 20)
    assert result.metrics["loss"] > 0 and result.validation is None and result.left_out == []
    assert {path.name for path in result.output.iterdir()} >= {
        "network.onnx",
        "network.toml",
        "metrics.csv",
        "loss.png",
    }
    assert result._repr_html_().count("<img") == 2
    pipeline = result.pipeline()
    assert pipeline.space.model == "small"
    face = pipeline.analyze(photos["obama"])[0]
    assert face.embedding.shape == (16,)
    # The file in the reference engine, for three crops at once.
    onnx.checker.check_model(str(result.network), full_check=True)
    session = runtime.InferenceSession(str(result.network))
    crop = pipeline.normalizer.normalize(photos["obama"], face.landmarks)
    pictures = ((np.asarray(crop.views[0], np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None].repeat(3, axis=0)
    (embeddings,) = session.run(None, {session.get_inputs()[0].name: pictures})
    assert embeddings.shape == (3, 16)
    assert np.abs(embeddings - np.asarray(face.embedding)).max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "side", "width"),
    [
        ("iresnet-18", 32, 4),
        ("mobilefacenet", 48, 8),
        ("resnet-50", 32, 4),
        ("alexnet", 80, 4),
        ("vgg-16", 32, 4),
        ("deepface", 96, 2),
        ("deepid", None, 4),
    ],
)
def test_every_backbone_passes_the_checker(crops, tmp_path, kind, side, width):
    onnx, runtime = imported("onnx"), imported("onnxruntime")
    backbone = {"kind": kind, "width": width, "dimension": 16} | ({"input": [side, side]} if side else {})
    config = settings(crops, tmp_path, backbone=backbone, schedule={"epochs": 1, "rate": 0.001, "warm_up": 0})
    result = fc.train(config, progress=False)
    onnx.checker.check_model(str(result.network), full_check=True)
    session = runtime.InferenceSession(str(result.network))
    (given,) = session.get_inputs()
    pictures = np.random.default_rng(1).standard_normal([3, *given.shape[1:]], np.float32)
    (embeddings,) = session.run(None, {given.name: pictures})
    assert embeddings.shape == (3, 16)
    assert np.abs(np.linalg.norm(embeddings, axis=1) - 1).max() < 1e-5


def test_heads_on_the_default_embedder_pass_the_checker(crops, tmp_path, photos):
    onnx = imported("onnx")
    head = {"kind": "groupface", "dimension": 16, "groups": 4, "hidden": 8}
    config = settings(crops, tmp_path / "run", base={}, head=head, loss={"kind": "groupface", "scale": 16, "window": 4})
    del config["backbone"]
    result = fc.train(config, progress=False)
    onnx.checker.check_model(str(result.network), full_check=True)
    assert result.pipeline().analyze(photos["biden"])[0].embedding.shape == (16,)


def test_ctrl_c_stops_at_a_checkpoint_and_the_training_goes_on(crops, tmp_path):
    config = settings(crops, tmp_path / "stopped", schedule={"epochs": 30, "rate": 0.05})
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt():
        while not (tmp_path / "stopped/checkpoints").is_dir():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fc.train(config, progress=False)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert list((tmp_path / "stopped/checkpoints").glob("step-*"))
    assert not (tmp_path / "stopped/network.onnx").exists()
    with pytest.raises(fc.FaceError, match="resume it"):
        fc.train(config, progress=False)
    result = fc.train(config, resume=True, progress=False)
    whole = fc.train(config, output=tmp_path / "whole", progress=False)
    assert result.network.read_bytes() == whole.network.read_bytes()


def test_bad_settings_are_named(crops, tmp_path):
    with pytest.raises(fc.FormatError, match="did you mean `margin`"):
        fc.train(settings(crops, tmp_path, loss={"kind": "arcface", "margn": 0.5}))
    with pytest.raises(fc.ParameterError, match="epochs"):
        fc.train(settings(crops, tmp_path, schedule={"epochs": 0}))
    with pytest.raises(FileNotFoundError):
        fc.train(tmp_path / "nothing.toml")
    with pytest.raises(fc.FaceError, match="two people"):
        (tmp_path / "empty").mkdir()
        fc.train(settings(tmp_path / "empty", tmp_path / "out"))
