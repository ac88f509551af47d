"""The four stages in a row: photos in, faces with embeddings out."""

from __future__ import annotations

import inspect
import operator
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from . import _native, _notebook
from ._embeddings import Embedding, FloatArray, _embedding, _plain, _space_of
from ._errors import ParameterError
from ._images import ColorOrder, ImageLike, check_color, load
from ._items import Items
from ._native import EmbeddingSpace, Image, Threshold
from ._progress import bar
from ._stages import Aligner, Detection, Detector, Embedder, ModelLike, Normalizer, parts_of

__all__ = ["Analysis", "Face", "Failure", "Pipeline", "Verification", "default_pipeline", "verify"]

#: Endings of the files that `analyze_folder` looks at.
_ENDINGS = frozenset(_native.picture_endings())


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a photo, with all that the pipeline found out about it. A notebook shows the piece of the photo."""

    detection: Detection
    #: The aligner's landmarks in pixels of the photo: shape (5, 2), dtype float32.
    landmarks: FloatArray
    #: Which places they are; see ``Detection.landmark_scheme``.
    landmark_scheme: str
    embedding: Embedding
    _photo: Any = field(default=None, repr=False)

    @property
    def box(self) -> FloatArray:
        """(x, y, width, height) in pixels of the photo, dtype float32."""
        return self.detection.box

    @property
    def score(self) -> float:
        """How certain the detector is, from 0 to 1."""
        return self.detection.score

    def picture(self) -> Image:
        """The face with some of its surroundings, cut out of the photo.

        Raises ParameterError when the photo is not at hand: see ``Analysis.image``.
        """
        return _notebook.cut_out(_photo(self._photo), self.box)

    def _repr_png_(self) -> bytes | None:
        return _notebook.png_of(self.picture)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_photo": _pickled_photo(self._photo)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        x, y, width, height = (float(value) for value in self.box)
        return f"Face({width:.0f} x {height:.0f} at ({x:.0f}, {y:.0f}), score {self.score:.2f}, {self.embedding!r})"


class Analysis(Items[Face]):
    """The faces of a photo, the most certain detection first: a sequence. A notebook shows them drawn into the photo.

    The photo itself is not kept, only what was given: the path (which is read again to show it), or the caller's own array or
    bytes. Results of ``stream``, ``analyze_batch`` and ``analyze_folder`` keep paths alone, so that memory stays bounded.
    """

    #: False for a ``Failure``.
    ok: ClassVar[Literal[True]] = True
    #: None; the exception of a ``Failure``.
    error: ClassVar[None] = None

    def __init__(
        self,
        faces: list[Face],
        rejected: list[tuple[Detection, Exception]],
        source: str | None,
        size: tuple[int, int],
        photo: Any,
    ) -> None:
        super().__init__(faces)
        #: Detections that could not be embedded, each with the exception.
        self.rejected = rejected
        #: The path or name of the photo, where it has one.
        self.source = source
        #: Width and height of the photo in pixels.
        self.size = size
        self._photo = photo

    @property
    def faces(self) -> list[Face]:
        """The faces, as a list."""
        return self._items

    @property
    def largest(self) -> Face | None:
        """The face with the largest box, or None."""
        return max(self.faces, key=lambda face: float(face.box[2]) * float(face.box[3]), default=None)

    @property
    def image(self) -> Image:
        """The photo, decoded again. Raises ParameterError when it is not at hand."""
        return _photo(self._photo)

    def draw(self) -> Image:
        """A copy of the photo with boxes, scores and landmarks."""
        return _native.draw_detections(self.image, [face.detection._parts() for face in self.faces])

    def to_records(self, embeddings: bool = True) -> list[dict[str, Any]]:
        """A dictionary for each face, for tables: ``pandas.DataFrame(faces.to_records())``.

        Keys: source, face (its number), x, y, width, height, score, landmarks (ten numbers) and, unless left out, embedding.
        """
        records = []
        for number, face in enumerate(self.faces):
            x, y, width, height = (float(value) for value in face.box)
            record: dict[str, Any] = {"source": self.source, "face": number}
            record |= {"x": x, "y": y, "width": width, "height": height}
            record |= {"score": face.score, "landmarks": [float(value) for value in face.landmarks.ravel()]}
            if embeddings:
                record["embedding"] = np.array(face.embedding)
            records.append(record)
        return records

    def _repr_png_(self) -> bytes | None:
        return _notebook.png_of(self.draw)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_photo": _pickled_photo(self._photo)}

    def __repr__(self) -> str:
        of = f" of {self.source}" if self.source else ""
        count = f"{len(self)} face{'' if len(self) == 1 else 's'}"
        rejected = f", {len(self.rejected)} rejected" if self.rejected else ""
        return f"<Analysis{of}: {count}{rejected}, photo of {self.size[0]} x {self.size[1]}>"


@dataclass(frozen=True)
class Failure:
    """A photo of several that could not be analysed."""

    #: The path or name of the photo, where it has one.
    source: str | None
    error: Exception
    ok: ClassVar[Literal[False]] = False

    def __repr__(self) -> str:
        return f"<Failure{f' of {self.source}' if self.source else ''}: {self.error}>"


def _photo(photo: Any) -> Image:
    if photo is None:
        raise ParameterError("the photo is not at hand: results of many photos, and pickled ones, keep paths alone")
    image, color = photo
    return load(image, color)


def _pickled_photo(photo: Any) -> Any:
    return photo if photo is not None and isinstance(photo[0], str) else None


def _name_of(image: Any) -> str | None:
    """The path of a photo; the name that PIL knows."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    name = getattr(image, "filename", None)
    return name if isinstance(name, str) and name else None


class Pipeline:
    """Detector, aligner, normalizer and embedder in a row.

    One pipeline serves all threads, without a lock: open it once. Other Python threads run while it works. It pickles as its
    configuration, so that ``multiprocessing``, Ray and Dask can send it.

    Parameters
    ----------
    detector
        A ``Detector``, or what one is made of: a name of the catalogue, an ONNX file, bytes. By default ``"centerface"``.
    embedder
        An ``Embedder``, or what one is made of: a name of the catalogue, an ONNX file (with its ``.toml`` beside it, or with
        ``spec``), bytes. By default ``"dlib-resnet-v1"``. The aligner and the normalizer follow from it.
    variant, spec
        As for ``Embedder``.
    threads
        How many photos of a batch, folder or stream are worked on at a time; 0 for one on each core.
    pull
        Whether to pull models that are missing (once, 107 MB for the default ones). Without, ModelMissingError says how.
    score_threshold, nms_threshold, min_size, max_faces, max_side, small_side
        As for ``Detector``.

    Raises
    ------
    ModelMissingError, ModelError, PullError, ParameterError, FileNotFoundError

    Examples
    --------
    >>> pipeline = fc.Pipeline()
    >>> faces = pipeline.analyze(photo)
    >>> len(faces), faces[0].box.dtype, faces[0].landmarks.shape, faces[0].embedding.shape
    (1, dtype('float32'), (5, 2), (128,))
    """

    def __init__(
        self,
        detector: Detector | ModelLike = None,
        embedder: Embedder | ModelLike = None,
        *,
        variant: str | None = None,
        spec: str | os.PathLike[str] | None = None,
        threads: int = 0,
        pull: bool = True,
        score_threshold: float | None = None,
        nms_threshold: float = 0.3,
        min_size: float = 0.0,
        max_faces: int = 1000,
        max_side: int = 1024,
        small_side: int | None = 320,
    ) -> None:
        if isinstance(threads, bool):
            raise TypeError("threads is a bool, and must be a number from 0 to 512")
        threads = operator.index(threads)
        if not 0 <= threads <= 512:
            raise ParameterError(f"threads is {threads}, and must be from 0 to 512")
        detection: dict[str, Any] = {
            "score_threshold": score_threshold,
            "nms_threshold": nms_threshold,
            "min_size": min_size,
            "max_faces": max_faces,
            "max_side": max_side,
            "small_side": small_side,
        }
        if isinstance(detector, Detector):
            defaults = inspect.signature(Detector).parameters
            changed = [name for name, value in detection.items() if value != defaults[name].default]
            if changed:
                raise ParameterError(f"{', '.join(changed)}: give them to the Detector")
        else:
            detector = Detector(detector, pull=pull, **detection)
        if isinstance(embedder, Embedder):
            if variant is not None or spec is not None:
                raise ParameterError("variant and spec: give them to the Embedder")
        else:
            embedder = Embedder(embedder, variant=variant, spec=spec, pull=pull)
        self._assemble(detector, embedder, threads, pull)

    def _assemble(self, detector: Detector, embedder: Embedder, threads: int, pull: bool) -> None:
        #: Stage 1.
        self.detector = detector
        #: Stage 2.
        self.aligner = Aligner(embedder.landmark_scheme, pull=pull)
        #: Stage 3.
        self.normalizer = Normalizer(embedder)
        #: Stage 4.
        self.embedder = embedder
        self.threads = threads
        stages = (detector._native, self.aligner._native, self.normalizer._native, embedder._native)
        self._pull = pull
        self._native = _native.NativePipeline(*stages)

    def __getstate__(self) -> Any:
        return (self.detector, self.embedder, self.threads, self._pull)

    def __setstate__(self, state: Any) -> None:
        self._assemble(*state)

    @property
    def space(self) -> EmbeddingSpace:
        """What the embeddings mean, with the thresholds that were measured."""
        return self.embedder.space

    def analyze(self, image: ImageLike, color: ColorOrder = "rgb") -> Analysis:
        """Finds and embeds every face of a photo. No face is an empty analysis, not an error.

        For the kinds of photos, ``color``, and what they raise, see ``facecore.load``.
        """
        picture = load(image, color)
        faces, rejected = self._native.analyze(picture)
        return self._given(faces, rejected, (picture.width, picture.height), _name_of(image), self._kept(image, color))

    def _given(self, faces: Any, rejected: Any, size: tuple[int, int], name: str | None, photo: Any) -> Analysis:
        return Analysis(
            [self._face(parts, photo) for parts in faces],
            [(Detection._given(parts), error) for parts, error in rejected],
            name,
            size,
            photo,
        )

    def _face(self, parts: Any, photo: Any) -> Face:
        detection, (landmarks, scheme), values = parts
        return Face(Detection._given(detection), landmarks, scheme, _embedding(values, self.space), photo)

    def analyze_largest(self, image: ImageLike, color: ColorOrder = "rgb") -> Face:
        """The face with the largest box; only that one is embedded. Raises NoFaceError."""
        name = _name_of(image) or "the photo"
        return self._face(self._native.analyze_largest(load(image, color), name), self._kept(image, color))

    def analyze_central(self, image: ImageLike, color: ColorOrder = "rgb") -> Face:
        """The face nearest to the centre, as photos of labelled sets are cut. Raises NoFaceError."""
        name = _name_of(image) or "the photo"
        return self._face(self._native.analyze_central(load(image, color), name), self._kept(image, color))

    def embed_detection(self, image: ImageLike, detection: Detection, color: ColorOrder = "rgb") -> Face:
        """Stages 2 to 4 for one detection."""
        parts = self._native.embed_detection(load(image, color), parts_of(detection))
        return self._face(parts, self._kept(image, color))

    @staticmethod
    def _kept(image: Any, color: ColorOrder) -> Any:
        return (os.fspath(image) if isinstance(image, os.PathLike) else image, color)

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        color: ColorOrder = "rgb",
        ahead: int = 0,
        progress: bool | None = False,
        total: int | None = None,
    ) -> Iterator[Analysis | Failure]:
        """Analyses photos as they come, on several cores; results in the order of the photos, memory bounded.

        Parameters
        ----------
        images
            Anything that can be iterated over: paths, frames of a camera, a generator. It is read from the thread that iterates
            over the results.
        ahead
            How many photos are taken before the first result of them is asked for; twice the number of threads by default.
        progress
            Whether to show a bar (tqdm); ``total`` is its length.

        Arrays and PIL images are copied when they are taken: a program may read the next frame into the same array.

        Yields
        ------
        Analysis or Failure
            A photo that cannot be read is a ``Failure`` with the exception, and does not end the stream: look at ``.ok`` (or, for
            type checkers, at ``isinstance(result, Failure)``).

        Examples
        --------
        >>> for result in fc.Pipeline().stream([photo, "missing.jpg"]):
        ...     print(len(result) if result.ok else type(result.error).__name__)
        1
        FileNotFoundError
        """
        refuse_one_photo(images)
        check_color(color)
        threads = self.threads or _cores()
        ahead = operator.index(ahead) or 2 * threads
        if not 1 <= ahead <= 100_000:
            raise ParameterError(f"ahead is {ahead}, and must be from 1 to 100000")
        return self._stream(iter(images), color, threads, ahead, progress, total)

    def _stream(
        self,
        images: Iterator[ImageLike],
        color: ColorOrder,
        threads: int,
        ahead: int,
        progress: bool | None,
        total: int | None,
    ) -> Iterator[Analysis | Failure]:
        def push(image: Any) -> Any:
            """Pixels are copied now, because a camera writes the next frame to the same array."""
            name: str | None = None
            try:
                name = _name_of(image)
                if isinstance(image, (str, os.PathLike)):
                    path = os.fspath(image)
                    stream.push_file(path)
                    return (name, (path, color))
                if isinstance(image, (bytes, bytearray, memoryview)):
                    stream.push_bytes(bytes(image))
                else:
                    stream.push(load(image, color))
                return (name, None)
            except Exception as error:  # noqa: BLE001 (whatever it is, it is that photo's)
                return Failure(name, error)

        def take() -> Analysis | Failure:
            given = waiting.popleft()
            shown.update()
            if isinstance(given, Failure):
                return given
            name, photo = given
            try:
                return self._given(*stream.take(), name, photo)
            except Exception as error:  # noqa: BLE001
                return Failure(name, error)

        shown = bar("analysing", total, "photo", progress)
        stream = self._native.stream(threads, ahead)
        waiting: deque[Any] = deque()
        try:
            for image in images:
                waiting.append(push(image))
                if len(waiting) >= ahead:
                    yield take()
            while waiting:
                yield take()
        finally:
            # Also when the iteration is given up, or interrupted.
            stream.close()
            shown.close()

    def analyze_batch(
        self, images: Sequence[ImageLike], *, color: ColorOrder = "rgb", progress: bool | None = None
    ) -> list[Analysis | Failure]:
        """Analyses many photos on several cores. As ``stream``, with all results at once."""
        refuse_one_photo(images)
        images = list(images)
        return list(self.stream(images, color=color, progress=progress, total=len(images)))

    def analyze_folder(
        self, folder: str | os.PathLike[str], *, recursive: bool = True, progress: bool | None = None
    ) -> list[Analysis | Failure]:
        """Analyses the photos of a folder, in the order of their paths. What is hidden is left out.

        Raises FileNotFoundError or NotADirectoryError for what is no folder.
        """
        return self.analyze_batch(_photos_in(Path(folder), recursive), progress=progress)

    def __repr__(self) -> str:
        return f"<Pipeline {self.detector!r}, {self.aligner!r}, {self.embedder!r}>"


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _photos_in(folder: Path, recursive: bool) -> list[Path]:
    photos: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        # A link to a folder may lead back to where it lies.
        if path.is_dir() and not path.is_symlink():
            photos += _photos_in(path, recursive) if recursive else []
        elif path.suffix.lower() in _ENDINGS:
            photos.append(path)
    return photos


def refuse_one_photo(images: Any) -> None:
    if isinstance(images, (str, bytes, bytearray, os.PathLike, Image)):
        raise TypeError(
            f"{type(images).__name__} is one photo: give a list of photos, or see analyze and analyze_folder"
        )


def refuse_analysis(value: Any) -> None:
    if isinstance(value, (Analysis, Failure)):
        raise TypeError(f"{type(value).__name__} is all of a photo: give one of its faces, such as its .largest")


_default: Pipeline | None = None
_default_lock = threading.Lock()


def default_pipeline() -> Pipeline:
    """The pipeline of the default models, which is opened at its first use and kept."""
    global _default
    with _default_lock:
        if _default is None:
            _default = Pipeline()
        return _default


@dataclass(frozen=True, eq=False)
class Verification:
    """The answer to "same person?", with everything that is needed to judge it. It is true where it is a match.

    A notebook shows both faces and the verdict.
    """

    match: bool
    #: How alike the two faces are; see ``Embedding.similarity``.
    similarity: float
    #: The smallest similarity of a match.
    threshold: float
    #: The share of pairs of different people that reach the threshold; NaN for a threshold of your own.
    far: float
    #: The data on which the rate was measured.
    measured_on: str
    _faces: tuple[Any, Any] = field(default=(None, None), repr=False)

    def __bool__(self) -> bool:
        return self.match

    def _repr_html_(self) -> str:
        return _notebook.verification_html(self, self._faces)


def verify(
    first: ImageLike | Face | Embedding,
    second: ImageLike | Face | Embedding,
    *,
    far: float | None = None,
    threshold: float | Threshold | None = None,
    pipeline: Pipeline | None = None,
    color: ColorOrder = "rgb",
) -> Verification:
    """Are two faces the same person's?

    Parameters
    ----------
    first, second
        A photo (its largest face counts), a ``Face`` or an ``Embedding``.
    far
        The false-accept rate that is accepted, 1e-3 by default: the threshold is the one that was measured at it.
    threshold
        A threshold of your own instead; the answer's ``far`` is NaN then, unless it is a ``Threshold`` with a rate.
    pipeline
        What looks at photos; the default models by default.

    Raises
    ------
    NoFaceError
        When a photo has no face.
    SpaceMismatchError, ThresholdUnknownError

    Examples
    --------
    >>> answer = fc.verify(fc.models.path("obama"), fc.models.path("obama2"))
    >>> answer.match, answer.far, answer.similarity > answer.threshold
    (True, 0.001, True)
    >>> bool(fc.verify(fc.models.path("obama"), fc.models.path("biden")))
    False
    """

    if far is not None and threshold is not None:
        raise ParameterError("at most one of far and threshold can be given")

    def face_of(value: Any) -> Any:
        refuse_analysis(value)
        if isinstance(value, (Face, Embedding)):
            return value
        return (pipeline or default_pipeline()).analyze_largest(value, color)

    faces = (face_of(first), face_of(second))
    one, other = (face.embedding if isinstance(face, Face) else face for face in faces)
    if threshold is None:
        applied = one.space.threshold_at(1e-3 if far is None else far)
    elif isinstance(threshold, Threshold):
        applied = threshold
    else:
        applied = Threshold(float(threshold), float("nan"), "a threshold of the caller's own")
    similarity, is_match = _native.verify(_plain(one), _space_of(one), _plain(other), _space_of(other), applied)
    return Verification(is_match, similarity, applied.similarity, applied.far, applied.measured_on, faces)
