"""The four stages, each alone."""

from __future__ import annotations

import os
import pickle
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Union

import numpy as np

from . import _native, models
from ._embeddings import Embedding, FloatArray, _embedding
from ._errors import ModelMissingError, ParameterError
from ._images import ColorOrder, ImageLike, load
from ._native import Crop, EmbeddingSpace

__all__ = ["Aligner", "Detection", "Detector", "Embedder", "ModelLike", "Normalizer"]

#: A name of the catalogue, the path of an ONNX file, the content of one, or None for the default.
ModelLike = Union[str, "os.PathLike[str]", bytes, None]
#: The folder of models; and a name of the catalogue, a file, or bytes with a name for messages.
_Source = tuple[str | None, str | None, str | None, tuple[str, bytes] | None]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Detection:
    """A face in a photo.

    Coordinates are in pixels of the photo; (0, 0) is the centre of the pixel in the upper left corner, x goes to the right and
    y down.
    """

    #: (x, y, width, height), dtype float32.
    box: FloatArray
    #: How certain the detector is, from 0 to 1.
    score: float
    #: The detector's own landmarks, shape (5, 2), or None.
    landmarks: FloatArray | None = None
    #: Which places they are: "eyes-nose-mouth" (the eye on the image's left, the one on its right, nose, mouth left and right) or
    #: "eye-corners-nose" (dlib's order).
    landmark_scheme: str | None = None

    @classmethod
    def _given(cls, parts: Any) -> Detection:
        box, score, landmarks = parts
        for array in (box, *landmarks[:1]) if landmarks else (box,):
            array.flags.writeable = False
        return cls(box, score, *(landmarks or (None, None)))

    def _parts(self) -> Any:
        landmarks = None
        if self.landmarks is not None:
            landmarks = (_points(self.landmarks), self.landmark_scheme or "eyes-nose-mouth")
        return ([float(value) for value in self.box], self.score, landmarks)

    def __repr__(self) -> str:
        x, y, width, height = (float(value) for value in self.box)
        return f"Detection({width:.0f} x {height:.0f} at ({x:.0f}, {y:.0f}), score {self.score:.2f})"


def _points(landmarks: Any) -> list[list[float]]:
    points = np.asarray(landmarks, dtype=np.float32)
    if points.shape != (5, 2):
        raise ParameterError(f"landmarks have the shape {points.shape}, and must have (5, 2): five points (x, y)")
    return [[float(x), float(y)] for x, y in points]


def _source(model: ModelLike, role: str) -> _Source:
    """Where a model comes from, in the words of the engine."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        return (None, None, None, ("the bytes that were given", bytes(model)))
    if model is None or (isinstance(model, str) and not _is_path(model)):
        name = models._default_of(role) if model is None else model
        return (models._folder_of(name), name, None, None)
    if isinstance(model, (str, os.PathLike)):
        return (None, None, os.fspath(model), None)
    raise TypeError(f"{type(model).__name__} is no model: expected a name, a path, bytes or None")


def _is_path(model: str) -> bool:
    """Names of the catalogue come first: a folder may have one, too."""
    return model.endswith(".onnx") or os.sep in model or (os.altsep is not None and os.altsep in model)


def _portable(model: ModelLike) -> ModelLike:
    """As it is pickled: a path that leads to the same file from another folder."""
    if isinstance(model, os.PathLike) or (isinstance(model, str) and _is_path(model)):
        return os.path.abspath(model)
    return model


def parts_of(detection: Any) -> Any:
    """A detection, or the face that was made of one, in the words of the engine."""
    detection = getattr(detection, "detection", detection)
    if not isinstance(detection, Detection):
        raise TypeError(f"{type(detection).__name__} is no Detection, and no Face")
    return detection._parts()


def _open(open_it: Callable[[], T], pull: bool) -> T:
    """Opens what needs a model of the catalogue; pulls the model first where it is missing."""
    try:
        return open_it()
    except ModelMissingError as error:
        if not pull:
            raise
        models.pull(error.model)
    return open_it()


class _Configured:
    """A stage that is pickled as what it was made from."""

    _configuration: dict[str, Any]

    def __reduce__(self) -> Any:
        return (_again, (type(self), self._configuration))


#: Stages that this process has unpickled: opening a model takes a moment, and `multiprocessing` sends pipelines again and again.
_unpickled: weakref.WeakValueDictionary[bytes, Any] = weakref.WeakValueDictionary()


def _again(kind: Any, configuration: dict[str, Any]) -> Any:
    key = pickle.dumps((kind.__qualname__, configuration))
    stage = _unpickled.get(key)
    if stage is None:
        stage = _unpickled[key] = kind(**configuration)
        # The last few stay although nobody holds them between two tasks.
        _recent.append(stage)
    return stage


_recent: deque[Any] = deque(maxlen=8)


class Detector(_Configured):
    """Stage 1: finds the faces of a photo.

    One detector serves all threads. It pickles as its configuration.

    Parameters
    ----------
    model
        A name of the catalogue (``"centerface"``, the default, or ``"yunet"``), or an ONNX file of CenterFace or YuNet as a path or
        as bytes.
    score_threshold
        Smallest score of a face, from 0 to 1; the detector's own by default.
    nms_threshold
        Of two boxes that overlap by more than this intersection over union, only the better is kept; from 0 to 1.
    min_size
        Shorter side of the smallest face, in pixels of the photo.
    max_faces
        Most faces of a photo, the best first.
    max_side
        Photos are shrunk to this long side, 32 to 8192 pixels; larger finds smaller faces and takes longer.
    small_side
        Long side of the second look, for faces that fill the photo; None for one look only.
    pull
        Whether to pull the model where it is missing.

    Raises
    ------
    ModelMissingError, ModelError, PullError, ParameterError, FileNotFoundError

    Examples
    --------
    >>> for detection in fc.Detector().detect(photo):
    ...     print(detection.box.shape, detection.score > 0.9)
    (4,) True
    """

    def __init__(
        self,
        model: ModelLike = None,
        *,
        score_threshold: float | None = None,
        nms_threshold: float = 0.3,
        min_size: float = 0.0,
        max_faces: int = 1000,
        max_side: int = 1024,
        small_side: int | None = 320,
        pull: bool = True,
    ) -> None:
        settings: dict[str, Any] = {
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "min_size": min_size,
            "max_faces": max_faces,
            "max_side": max_side,
            "small_side": small_side,
        }
        self._configuration = {"model": _portable(model), "pull": pull, **settings}
        source = _source(model, "detector")
        self._native = _open(lambda: _native.NativeDetector(source, **settings), pull)

    def detect(self, image: ImageLike, color: ColorOrder = "rgb") -> list[Detection]:
        """All faces, the most certain first. No face is an empty list, not an error.

        For the kinds of photos, and what they raise, see ``facecore.load``.
        """
        return [Detection._given(parts) for parts in self._native.detect(load(image, color))]

    def __repr__(self) -> str:
        return f"<Detector {_shown(self._configuration['model'], 'detector')}>"


class Aligner(_Configured):
    """Stage 2: finds five landmarks of a detected face.

    Parameters
    ----------
    scheme
        ``"eyes-nose-mouth"`` takes the detector's own points; ``"eye-corners-nose"`` is dlib's 5-point predictor.
    pull
        Whether to pull the model where it is missing.

    Examples
    --------
    >>> detection = fc.Detector().detect(photo)[0]
    >>> fc.Aligner("eye-corners-nose").align(photo, detection).shape
    (5, 2)
    """

    def __init__(self, scheme: str = "eyes-nose-mouth", *, pull: bool = True) -> None:
        self._configuration = {"scheme": scheme, "pull": pull}
        self.scheme = scheme
        aligner = models._names("aligner")[0] if scheme == "eye-corners-nose" else None
        self._native = _open(lambda: _native.NativeAligner(scheme, models._folder_of(aligner)), pull)

    def align(self, image: ImageLike, detection: Detection, color: ColorOrder = "rgb") -> FloatArray:
        """Five landmarks in pixels of the photo: shape (5, 2), dtype float32, in the order of the scheme.

        Raises LandmarkError when it builds on landmarks that the detection does not carry.
        """
        points: FloatArray = self._native.align(load(image, color), parts_of(detection))[0]
        return points

    def __repr__(self) -> str:
        return f"<Aligner {self.scheme}>"


class Normalizer(_Configured):
    """Stage 3: brings a face to one shape and size.

    Parameters
    ----------
    target
        The ``Embedder`` whose crops it makes, or the name of a template: ``"arcface112"``, ``"dlib150"`` or ``"dlib150-corners"``.
    zooms
        With a template: one crop for each; 0.9 shows more of the surroundings.

    Examples
    --------
    >>> face = fc.Detector().detect(photo)[0]
    >>> fc.Normalizer("arcface112").normalize(photo, face.landmarks).views[0].shape
    (112, 112, 3)
    """

    def __init__(self, target: Embedder | str, *, zooms: Sequence[float] = (1.0,)) -> None:
        self._configuration = {"target": target, "zooms": tuple(zooms)}
        if isinstance(target, Embedder):
            if tuple(zooms) != (1.0,):
                raise ParameterError("zooms are for templates: an embedder has its own")
            self._native = _native.NativeNormalizer.of_embedder(target._native)
            self._scheme = target.landmark_scheme
        else:
            self._native = _native.NativeNormalizer.of_template(target, [float(zoom) for zoom in zooms])
            self._scheme = "eye-corners-nose" if target.endswith("corners") else "eyes-nose-mouth"

    def normalize(
        self,
        image: ImageLike,
        landmarks: Any,
        *,
        scheme: str | None = None,
        color: ColorOrder = "rgb",
    ) -> Crop:
        """Cuts the face out, turned and scaled so that its landmarks lie on the template.

        Parameters
        ----------
        landmarks
            Shape (5, 2), in pixels of the photo.
        scheme
            Which places they are; by default those that the template names.

        Raises
        ------
        LandmarkError, EmbeddingError (for points that are not finite)
        """
        return self._native.normalize(load(image, color), (_points(landmarks), scheme or self._scheme))

    def __repr__(self) -> str:
        return f"<Normalizer {self._configuration['target']!r}>"


class Embedder(_Configured):
    """Stage 4: turns a normalized face into a feature vector.

    Parameters
    ----------
    model
        A name of the catalogue (``"dlib-resnet-v1"``, the default, or ``"sface"``), or an ONNX file of your own as a path or as bytes.
    variant
        Which variant of a model of the catalogue; see ``facecore.models.list_models()``.
    spec
        For a model of your own: its crops, colours, mean, scale and metric, as the path of a TOML file or as its text. For
        ``my.onnx`` the file ``my.toml`` beside it is read by default. The manual's chapter on models describes it.
    pull
        Whether to pull the model where it is missing.

    Examples
    --------
    >>> embedder = fc.Embedder()
    >>> embedder.crop_size, embedder.space.metric
    ((150, 150), 'cosine')
    >>> embedder.embed(np.zeros((150, 150, 3), np.uint8)).shape
    (128,)
    """

    def __init__(
        self,
        model: ModelLike = None,
        *,
        variant: str | None = None,
        spec: str | os.PathLike[str] | None = None,
        pull: bool = True,
    ) -> None:
        source = _source(model, "embedder")
        _, name, path, _ = source
        text = _read_spec(spec, path)
        if text is None and name is None:
            beside = f" ({Path(path).with_suffix('.toml')} is not there)" if path is not None else ""
            raise ParameterError(
                "a model of your own needs its preprocessing: give spec, a TOML file with crops, colours, mean, scale and "
                f"metric{beside}"
            )
        # Pickled with the text: the file may not be there where it is read.
        self._configuration = {"model": _portable(model), "variant": variant, "spec": text, "pull": pull}
        self._native = _open(lambda: _native.NativeEmbedder(source, variant=variant, spec=text), pull)

    @property
    def space(self) -> EmbeddingSpace:
        """What the embeddings mean, with the thresholds that were measured."""
        return self._native.space

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of a crop, in pixels."""
        return self._native.crop_size

    @property
    def landmark_scheme(self) -> str:
        """The scheme of the landmarks that its crops are cut by."""
        return self._native.landmark_scheme

    def embed(self, crop: Crop | ImageLike | Sequence[ImageLike], color: ColorOrder = "rgb") -> Embedding:
        """The embedding of a normalized face.

        Parameters
        ----------
        crop
            What the normalizer made; or, cut by other means, a picture of ``crop_size``, or one for each zoom.

        Raises
        ------
        CropError
            When it was made for another template, or has another size.
        """
        if not isinstance(crop, Crop):
            views: Any = crop if isinstance(crop, (list, tuple)) else [crop]
            crop = self._native.crop_of([load(view, color) for view in views])
        return _embedding(self._native.embed(crop), self.space)

    def __repr__(self) -> str:
        return f"<Embedder {self.space.model}, {self.space.dimension} values, {self.space.metric}>"


def _read_spec(spec: str | os.PathLike[str] | None, path: str | None) -> str | None:
    if spec is None:
        beside = Path(path).with_suffix(".toml") if path is not None else None
        return beside.read_text(encoding="utf-8") if beside is not None and beside.is_file() else None
    if isinstance(spec, str) and "\n" in spec:
        return spec
    if isinstance(spec, (str, os.PathLike)):
        return Path(spec).read_text(encoding="utf-8")
    raise TypeError(f"spec is a {type(spec).__name__}, and must be a path or TOML text")


def _shown(model: ModelLike, role: str) -> str:
    if isinstance(model, (bytes, bytearray, memoryview)):
        return "of bytes"
    return os.fspath(model) if model is not None else models._default_of(role)
