"""Documentation is there, reads well, and its examples run."""

import doctest
import importlib
import inspect
import pydoc
from pathlib import Path

import facecore as fc
import numpy as np
import pytest
from conftest import imported

MODULES = ["facecore"] + [
    f"facecore.{name}"
    for name in (
        "models",
        "evaluation",
        "_embeddings",
        "_errors",
        "_gallery",
        "_images",
        "_notebook",
        "_pipeline",
        "_stages",
    )
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, photos):
    if name == "facecore._notebook":
        imported("PIL")
    module = importlib.import_module(name)
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    names = {"fc": fc, "np": np, "photo": str(photos["obama"])}
    ran = 0
    for test in finder.find(module, name, globs=names):
        runner.run(test)
        ran += len(test.examples)
    assert runner.failures == 0
    assert ran > 0 or name == "facecore._errors"


def public():
    for name in fc.__all__:
        value = getattr(fc, name)
        yield name, value
        if inspect.isclass(value):
            for member, thing in vars(value).items():
                if not member.startswith("_") and (
                    callable(thing) or isinstance(thing, (property, staticmethod, classmethod))
                ):
                    yield f"{name}.{member}", thing


def test_everything_is_documented():
    undocumented = [name for name, value in public() if not (getattr(value, "__doc__", None) or "").strip()]
    assert undocumented == []


def test_help_is_good_reading():
    text = pydoc.render_doc(fc, renderer=pydoc.plaintext)
    for part in ("fc.Pipeline()", "false-accept rate", "class Gallery", "FaceError"):
        assert part in text
    assert "Raises" in pydoc.render_doc(fc.verify, renderer=pydoc.plaintext)


def test_what_is_exported_is_all_there():
    assert sorted(fc.__all__) == fc.__all__ and all(hasattr(fc, name) for name in fc.__all__)
    package = Path(fc.__file__).parent
    assert (package / "py.typed").is_file() and (package / "_native.pyi").is_file()
    errors = {name for name in fc._errors.__all__ if name not in fc.__all__}
    assert errors == set()
