"""The wheel with the models inside, on a machine without a network and without a cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

if os.environ.get("FACE_PYTHON_TESTS") != "bundle":
    pytest.skip("the wheel with models is for the other environment", allow_module_level=True)

SCRIPT = """
import sys
import facecore as fc
photo = open(sys.argv[1], "rb").read()
face = fc.Pipeline(pull=False).analyze_largest(photo)
fc.Aligner("eye-corners-nose", pull=False).align(photo, face.detection)
fc.models.check()
fc.models.pull()
assert "Permission is hereby granted" in fc.models.read_licence("centerface")
print(fc.models.path("centerface"), face.embedding.shape)
"""


def test_the_models_are_in_the_wheel(tmp_path):
    import facecore as fc

    sample = fc.models.path("obama")
    # No cache, and a proxy that is not there in place of a network.
    variables = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:1"}
    environment = {key: value for key, value in os.environ.items() if key != "FACE_MODELS"} | variables
    command = [sys.executable, "-c", SCRIPT, str(sample)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(fc.__file__).parent in Path(done.stdout.split()[0]).parents and "(128,)" in done.stdout
    face = Path(sys.executable).parent / "face"
    checked = subprocess.run([face, "models", "check"], env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert list(tmp_path.iterdir()) == []
