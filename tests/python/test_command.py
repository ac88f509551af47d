"""The console script, which is the command `face`; and numbers that are the same in every language."""

import json
import os
import subprocess
import sys
from pathlib import Path

import facecore as fc
import numpy as np
import pytest
from conftest import ROOT

FACE = Path(sys.executable).parent / "face"


def face(*arguments, check=True, **options):
    command = [str(argument) for argument in (FACE, *arguments)]
    return subprocess.run(command, check=check, capture_output=True, text=True, **options)


def test_it_is_the_command(photos):
    assert face("--version").stdout.strip() == f"face {fc.__version__}"
    assert "verify" in face("--help").stdout
    wrong = face("verify", "--no-such-option", check=False)
    assert wrong.returncode == 2 and "no-such-option" in wrong.stderr
    assert face(check=False).returncode == 2
    assert face("verify", photos["obama"], photos["obama2"]).returncode == 0
    assert face("verify", photos["obama"], photos["biden"], check=False).returncode == 1
    missing = face("detect", "missing.jpg", check=False)
    assert missing.returncode == 2 and "missing.jpg" in missing.stderr
    listed = json.loads(face("models", "list", "--json").stdout)
    assert [entry["name"] for entry in listed] == [model.name for model in fc.models.list_models()]
    for entry, model in zip(listed, fc.models.list_models()):
        assert (entry["state"], entry["licence"], entry["role"]) == (model.state, model.licence, model.role)
        assert Path(entry["path"]) == model.path
    again = subprocess.run(
        [sys.executable, "-m", "facecore._command", "--version"], capture_output=True, text=True, check=True
    )
    assert again.stdout == face("--version").stdout


def test_its_galleries_are_the_same(pipeline, photos, tmp_path):
    face("enroll", tmp_path / "people.face", "Ada", photos["obama"], "--metadata", '{"a": 1}')
    with fc.Gallery(tmp_path / "people.face", pipeline=pipeline) as gallery:
        assert gallery.subject("Ada").metadata == {"a": 1} and gallery.identify(photos["obama2"]).names == ["Ada"]
        gallery.enroll("Ben", photos["biden"])
    listed = face("gallery", "list", tmp_path / "people.face").stdout
    assert "Ada" in listed and "Ben" in listed


def bits(values):
    return np.asarray(values, np.float32).view(np.uint32).ravel().tolist()


def test_numbers_are_those_of_rust_bit_for_bit(pipeline, photos):
    """The command prints every digit that a number needs; C is compared with the same in tests/c/run."""
    # The program that cargo has built, where it is there: the console script is this very module.
    built = os.environ.get("FACE_BUILT_COMMAND", str(FACE))
    command = [built, "embed", "--json", *(str(path) for path in photos.values())]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    compared = 0
    for photo, path in zip(printed, photos.values()):
        analysis = pipeline.analyze(path)
        assert analysis.size == (photo["width"], photo["height"]) and len(analysis) == len(photo["faces"]) > 0
        for ours, theirs in zip(analysis, photo["faces"]):
            assert bits(ours.box) == bits(theirs["box"]) and bits(ours.score) == bits(theirs["score"])
            assert bits(ours.landmarks) == bits(theirs["landmarks"])
            assert bits(ours.embedding) == bits(theirs["embedding"])
            compared += 1
    assert compared >= 4


def test_golden_detections(photos):
    golden = json.loads((ROOT / "tests" / "golden" / "detection.json").read_text())
    tolerance, compared = golden["tolerance"], 0
    for case in golden["cases"]:
        if case["detector"] != "centerface":
            continue
        # The references look at the photo once, at its own size.
        settings = {
            "score_threshold": case["score"],
            "nms_threshold": case["nms"],
            "max_side": 8192,
            "small_side": None,
        }
        found = fc.Detector(case["detector"], pull=False, **settings).detect(photos[case["photo"]])
        assert len(found) == len(case["faces"])
        for ours, theirs in zip(found, case["faces"]):
            assert np.abs(ours.box - theirs["box"]).max() <= tolerance["box_pixels"]
            assert np.linalg.norm(ours.landmarks - theirs["landmarks"], axis=1).max() <= tolerance["landmark_pixels"]
            assert abs(ours.score - theirs["score"]) <= tolerance["score"]
            compared += 1
    assert compared >= 10


def test_golden_embeddings(photos):
    """Against dlib's own descriptors of windows of a photo."""
    golden = json.loads((ROOT / "tests" / "golden" / "embedding.json").read_text())
    spec = 'name = "raw"\nmetric = "euclidean"\n[crops]\ntemplate = "dlib150"\n[input]\ncolor = "rgb"\n'
    spec += "mean = [122.782, 117.001, 104.298]\nstd = [256, 256, 256]\n"
    embedder = fc.Embedder(fc.models.path("dlib-resnet-v1"), spec=spec)
    pixels = fc.load(photos[golden["photo"]]).to_array()
    for case in golden["windows"]:
        x, y, step = case["x"], case["y"], case["step"]
        window = pixels[y : y + 150 * step : step, x : x + 150 * step : step]
        embedding = embedder.embed(window[:, ::-1] if case["mirror"] else window)
        assert np.linalg.norm(embedding - np.array(case["vector"])) <= golden["tolerance"]["euclidean"]
    assert len(golden["windows"]) >= 5


def test_golden_transforms():
    golden = json.loads((ROOT / "tests" / "golden" / "warp.json").read_text())
    compared = 0
    for case in golden["synthetic"] + golden["real"]:
        crop = fc.Normalizer(case["template"]).normalize(np.zeros((64, 64), np.uint8), case["landmarks"])
        expected = np.array(case["matrix"])
        assert (
            np.abs(crop.transform - expected) <= golden["tolerance"]["transform"] * np.maximum(np.abs(expected), 1)
        ).all()
        compared += 1
    assert compared >= 5


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_the_command(photos, tmp_path):
    script = "import signal, subprocess, sys, time\n"
    script += "p = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    script += "time.sleep(1); p.send_signal(signal.SIGINT); sys.exit(0 if p.wait(10) == -signal.SIGINT else 1)\n"
    command = [sys.executable, "-c", script, str(FACE), "embed", *[str(photos["obama"])] * 3000]
    subprocess.run(command, check=True, timeout=60)
