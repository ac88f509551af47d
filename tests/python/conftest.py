"""What the tests share: the pipeline, the sample photos, the data, and how something is skipped."""

import os
import sys
from pathlib import Path

import facecore as fc
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# The server that tests of C use too.
sys.path.append(str(ROOT / "tests"))
SAMPLES = ("astronaut", "obama", "obama2", "biden")


def skip(reason):
    """A skip; with CI set, a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"skipped, and nothing may be skipped in CI: {reason}")
    pytest.skip(reason)


def takes_long():
    """A test that takes long, and would find nothing else in the environment of the oldest Python."""
    if os.environ.get("FACE_PYTHON_TESTS") == "core":
        pytest.skip("it takes long, and is for the other environment")


def imported(name):
    """A library that is there in the environment with everything, and not in that of the oldest Python."""
    if os.environ.get("FACE_PYTHON_TESTS") == "core":
        pytest.skip(f"{name} is for the other environment")
    __import__(name)
    return sys.modules[name]


@pytest.fixture(scope="session")
def pipeline():
    return fc.Pipeline(pull=False)


@pytest.fixture(scope="session")
def photos():
    """Paths of the sample photos by name."""
    return {name: fc.models.path(name) for name in SAMPLES}


@pytest.fixture(scope="session")
def data():
    """The folder of research data."""
    folder = Path(os.environ.get("FACE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        skip("no FACE_DATA")
    return folder
