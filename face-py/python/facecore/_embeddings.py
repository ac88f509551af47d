"""Feature vectors that know what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from . import _native
from ._errors import EmbeddingError, ParameterError, SpaceMismatchError
from ._native import EmbeddingSpace

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Embedding", "Embeddings", "group", "similarity", "stack"]

FloatArray = np.ndarray[Any, np.dtype[np.float32]]


class _InSpace(np.ndarray[Any, np.dtype[np.float32]]):
    """An array of which only the whole has a meaning: what is cut out of it, or computed from it, is a plain array."""

    # Set where an embedding is made, and nowhere else: what NumPy makes of one has no space.
    space: EmbeddingSpace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `a - b` and `a @ b` of two models would be a number that means nothing.
        spaces = [array.space for array in inputs if isinstance(array, _InSpace) and hasattr(array, "space")]
        if any(space != spaces[0] for space in spaces[1:]):
            raise SpaceMismatchError(
                "embeddings of different spaces cannot be computed with:\n  "
                + "\n  ".join(space.id for space in spaces)
            )
        if "out" in kwargs:
            kwargs["out"] = tuple(_plain(array) for array in kwargs["out"])
        return getattr(ufunc, method)(*(_plain(array) for array in inputs), **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return func(*(_plain_all(arg) for arg in args), **{key: _plain_all(value) for key, value in kwargs.items()})

    def __getitem__(self, key: Any) -> Any:
        return _plain(self)[key]

    def __reduce__(self) -> Any:
        return (_restore, (type(self), np.array(_plain(self)), getattr(self, "space", None)))

    def __eq__(self, other: object) -> Any:
        return _plain(self) == _plain(other)

    def __ne__(self, other: object) -> Any:
        return _plain(self) != _plain(other)

    __hash__ = None

    def __copy__(self) -> Any:
        return _restore(type(self), np.array(_plain(self)), getattr(self, "space", None))

    def __deepcopy__(self, memo: Any) -> Any:
        return self.__copy__()

    @property
    def T(self) -> Any:
        return _plain(self).T


def _plain(array: Any) -> Any:
    return np.ndarray.view(array, np.ndarray) if isinstance(array, _InSpace) else array


def _plain_all(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_all(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_plain_all(item) for item in value)
    return _plain(value)


def _restore(kind: Any, values: FloatArray, space: EmbeddingSpace | None) -> Any:
    if space is None:
        return values
    # What was unpickled owns its numbers, and is not to be written to either.
    values.flags.writeable = False
    array = values.view(kind)
    array.space = space
    return array


def _as_plain(name: str) -> Any:
    def of_the_plain_array(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(_plain(self), name)(*args, **kwargs)

    of_the_plain_array.__name__ = name
    of_the_plain_array.__doc__ = f"As ``numpy.ndarray.{name}``; the result is a plain array."
    return of_the_plain_array


# Methods that NumPy does not hand to `__array_function__`, and whose results are no embeddings.
for _name in [
    "argpartition",
    "argsort",
    "astype",
    "byteswap",
    "choose",
    "clip",
    "compress",
    "conj",
    "conjugate",
    "copy",
    "cumprod",
    "cumsum",
    "diagonal",
    "flatten",
    "max",
    "mean",
    "min",
    "prod",
    "ravel",
    "repeat",
    "reshape",
    "round",
    "squeeze",
    "std",
    "sum",
    "swapaxes",
    "take",
    "transpose",
    "var",
    "view",
]:
    setattr(_InSpace, _name, _as_plain(_name))


class Embedding(_InSpace):
    """The feature vector of a face: a NumPy array of shape (dimension,), dtype float32, with the space that gives it meaning.

    In a cosine space it has unit length. Slices of it and results of arithmetic are plain arrays. The array cannot be written
    to: ``embedding.copy()`` can.

    Parameters
    ----------
    values
        The numbers, such as a row of a table. Brought to unit length where the space asks for it; values that have it already
        keep their bits.
    space
        What the numbers mean: ``pipeline.space``, ``gallery.space``, or the ``.space`` of another embedding.

    Raises
    ------
    EmbeddingError
        For a vector of another length, without direction, or not finite.

    Examples
    --------
    >>> face = fc.Pipeline().analyze_largest(photo)
    >>> face.embedding.shape, face.embedding.space.model
    ((128,), 'dlib-resnet-v1')
    >>> again = fc.Embedding(face.embedding.tolist(), face.embedding.space)
    >>> bool((again == face.embedding).all())
    True
    """

    def __new__(cls, values: Any, space: EmbeddingSpace) -> Self:
        _refuse_another_space(values, space)
        vector = _floats(values)
        if vector.ndim != 1:
            raise EmbeddingError(f"an array of shape {vector.shape} is no vector: expected ({space.dimension},)")
        made: Self = _restore(cls, _native.new_embedding(vector, space), space)
        return made

    def similarity(self, other: Embedding) -> float:
        """How alike two faces are: greater is more alike, whatever the metric.

        Cosine: from -1 to 1. Euclidean: the distance with a minus sign. Raises SpaceMismatchError, which names both spaces.
        """
        return _native.similarity(_plain(self), self.space, _plain(other), _space_of(other))

    def __repr__(self) -> str:
        if getattr(self, "space", None) is None:
            return repr(_plain(self))
        return f"<Embedding of {self.space.dimension} values, {self.space.model}, {self.space.metric}>"


class Embeddings(_InSpace):
    """Embeddings of one space as the rows of a matrix: shape (n, dimension), dtype float32. Made by ``facecore.stack``."""

    def __iter__(self) -> Iterator[Embedding]:  # type: ignore[override]
        return (_embedding(np.array(row), self.space) for row in _plain(self))

    def __repr__(self) -> str:
        if getattr(self, "space", None) is None:
            return repr(_plain(self))
        return (
            f"<Embeddings of {len(self)} faces, {self.space.dimension} values, {self.space.model}, {self.space.metric}>"
        )


def _embedding(values: FloatArray, space: EmbeddingSpace) -> Embedding:
    """An embedding of values that are one already."""
    made: Embedding = _restore(Embedding, values, space)
    return made


def _floats(values: Any) -> FloatArray:
    array = np.asarray(_plain(values))
    if array.dtype.kind not in "fiu" and array.size > 0:
        raise EmbeddingError(f"an array of dtype {array.dtype} is no vector: expected numbers")
    return np.asarray(array, dtype=np.float32)


def _refuse_another_space(value: Any, space: EmbeddingSpace) -> None:
    own = getattr(value, "space", None)
    if isinstance(own, EmbeddingSpace) and own != space:
        raise SpaceMismatchError(f"an embedding of one space cannot become one of another:\n  {own.id}\n  {space.id}")


def _space_of(value: Any) -> EmbeddingSpace:
    space = getattr(value, "space", None)
    if not isinstance(value, _InSpace) or not isinstance(space, EmbeddingSpace):
        raise TypeError(
            f"{type(value).__name__} is no embedding: give an array its meaning with facecore.Embedding(values, space)"
        )
    return space


def stack(embeddings: Any, space: EmbeddingSpace | None = None) -> Embeddings:
    """Embeddings of one space as the rows of a matrix.

    Parameters
    ----------
    embeddings
        A sequence of embeddings; or, with ``space``, an array of shape (n, dimension), such as a column of a table.
    space
        What the rows mean; needed where they do not say so themselves.

    Raises
    ------
    SpaceMismatchError
        When they lie in different spaces.
    EmbeddingError
        When a row is no embedding.

    Examples
    --------
    >>> faces = fc.Pipeline().analyze(photo)
    >>> fc.stack([face.embedding for face in faces]).shape
    (1, 128)
    """
    if space is not None:
        _refuse_another_space(embeddings, space)
    if isinstance(embeddings, Embeddings):
        _space_of(embeddings)
        return embeddings
    if isinstance(embeddings, Embedding):
        embeddings = [embeddings]
    if space is None:
        items = list(embeddings)
        if not items:
            raise ParameterError("there are no embeddings: an empty matrix needs space=...")
        space = _space_of(items[0])
        for item in items:
            if _space_of(item) != space:
                raise SpaceMismatchError(
                    f"embeddings of different spaces cannot be compared:\n  {space.id}\n  {item.space.id}"
                )
        rows = [np.asarray(_plain(item), dtype=np.float32) for item in items]
    else:
        rows = [_plain(Embedding(row, space)) for row in embeddings]
    matrix = np.stack(rows) if rows else np.empty((0, space.dimension), np.float32)
    stacked: Embeddings = _restore(Embeddings, matrix, space)
    return stacked


@overload
def similarity(first: Embedding, second: Embedding) -> float: ...
@overload
def similarity(first: Embeddings | Sequence[Embedding], second: Any) -> FloatArray: ...
@overload
def similarity(first: Any, second: Embeddings | Sequence[Embedding]) -> FloatArray: ...
def similarity(first: Any, second: Any) -> Any:
    """How alike faces are: greater is more alike.

    Two embeddings give a number. A sequence (or ``Embeddings``) on either side gives an array, with an axis for each sequence.
    Each number is the one that ``Embedding.similarity`` gives, bit for bit; rows are spread over the cores.

    Raises
    ------
    SpaceMismatchError
        When they lie in different spaces.

    Examples
    --------
    >>> face = fc.Pipeline().analyze_largest(photo).embedding
    >>> round(fc.similarity(face, face), 4)
    1.0
    >>> fc.similarity([face, face], [face]).shape
    (2, 1)
    """
    one, other = isinstance(first, Embedding), isinstance(second, Embedding)
    if one and other:
        return first.similarity(second)
    a, b = stack(first), stack(second)
    table = _native.similarities(_plain(a), a.space, _plain(b), b.space)
    return table[0] if one else table[:, 0] if other else table


def group(embeddings: Any, min_similarity: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Groups faces by person: a label for each, equal for faces of one group.

    By Chinese whispers, in which one wrong edge does not join two people. The same faces always give the same groups.

    Parameters
    ----------
    embeddings
        A sequence of embeddings of one space.
    min_similarity
        From which similarity two faces are neighbours, such as ``space.threshold_at(1e-4).similarity``.

    Examples
    --------
    >>> pipeline = fc.Pipeline()
    >>> faces = [pipeline.analyze_largest(fc.models.path(name)).embedding for name in ("obama", "biden", "obama2")]
    >>> fc.group(faces, pipeline.space.threshold_at(1e-3).similarity)
    array([0, 1, 0])
    """
    matrix = stack(embeddings)
    return np.asarray(_native.cluster(_plain(matrix), matrix.space, min_similarity), dtype=np.int64)
