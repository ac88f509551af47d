"""How good is it? Measures of verification (1:1) and identification (1:N), with NumPy in and out.

The protocols are the engine's own, and give the numbers of ``face eval``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np

from . import _native, _notebook
from ._embeddings import FloatArray, _plain
from ._errors import FaceError, ParameterError
from ._native import EmbeddingSpace, Threshold
from ._pipeline import Pipeline, _cores, default_pipeline
from ._progress import bar

__all__ = [
    "FoldAccuracy",
    "IdentificationReport",
    "IdentificationScores",
    "LfwReport",
    "OpenSetPoint",
    "OperatingPoint",
    "PairScores",
    "Roc",
    "cross_validate",
    "identification",
    "lfw",
]

PathLike = Union[str, "os.PathLike[str]"]
DoubleArray = np.ndarray[Any, np.dtype[np.float64]]


def _scores(values: Any) -> FloatArray:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 1:
        raise ParameterError(f"similarities have the shape {array.shape}, and must have one axis")
    if np.isnan(array).any():
        raise ParameterError("a similarity is NaN; a pair whose photo had no face has minus infinity")
    return array


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold achieves in verification."""

    #: Smallest similarity of a match.
    threshold: float
    #: False-accept rate: share of the pairs of different people that match.
    far: float
    #: True-accept rate: share of the pairs of the same person that match.
    tar: float


@dataclass(frozen=True, eq=False)
class Roc:
    """The receiver operating characteristic: three arrays of one length."""

    thresholds: FloatArray
    far: DoubleArray
    tar: DoubleArray


@dataclass(frozen=True)
class FoldAccuracy:
    """Mean and spread of the accuracy over folds."""

    mean: float
    #: Standard deviation (divided by the number of folds).
    std: float
    folds: tuple[float, ...]

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} +- {100 * self.std:.2f} % over {len(self.folds)} folds"

    def __repr__(self) -> str:
        return f"<FoldAccuracy {self}>"


class PairScores:
    """Similarities of pairs of the same person, and of different people.

    A pair whose photo had no usable face never matches: give it ``-numpy.inf``.

    Examples
    --------
    >>> scores = fc.evaluation.PairScores(same=[0.9, 0.8, 0.4], different=[0.1, 0.5, 0.2, 0.3])
    >>> point = scores.at_far(0.25)
    >>> round(point.threshold, 3), point.far, round(point.tar, 3)
    (0.3, 0.25, 1.0)
    """

    def __init__(self, same: Any, different: Any) -> None:
        self.same = _scores(same)
        self.different = _scores(different)

    @classmethod
    def from_labels(cls, similarities: Any, is_same: Any) -> PairScores:
        """Similarities of pairs, and for each whether it is of the same person."""
        values, labels = _scores(similarities), np.asarray(is_same)
        if labels.shape != values.shape or labels.dtype != np.bool_:
            raise ParameterError(
                f"is_same has the shape {labels.shape} and dtype {labels.dtype}, and must be {values.shape} and bool"
            )
        return cls(values[labels], values[~labels])

    def at_far(self, far: float) -> OperatingPoint:
        """The operating point with the highest true-accept rate whose false-accept rate is at most ``far``.

        Raises ParameterError when there are too few pairs of different people to measure such a rate.
        """
        return OperatingPoint(*_native.verification_at_far(self.same, self.different, far))

    def at_threshold(self, threshold: float) -> OperatingPoint:
        """What a threshold achieves."""
        if np.isnan(threshold):
            raise ParameterError("the threshold is NaN")
        return OperatingPoint(*_native.verification_at_threshold(self.same, self.different, threshold))

    def roc(self) -> Roc:
        """The receiver operating characteristic."""
        return Roc(*_native.roc(self.same, self.different))

    def plot(self, ax: Any = None, label: str | None = None) -> Any:
        """Plots true-accept rate over false-accept rate with matplotlib, and returns the axes."""
        ax = _axes(ax)
        roc = self.roc()
        shown = roc.far > 0
        ax.plot(roc.far[shown], roc.tar[shown], drawstyle="steps-post", label=label)
        ax.set(xscale="log", xlabel="false-accept rate", ylabel="true-accept rate", title="ROC")
        ax.grid(True, alpha=0.3)
        if label is not None:
            ax.legend(loc="lower right")
        return ax

    def plot_histogram(self, ax: Any = None, threshold: float | None = None, bins: int = 60) -> Any:
        """Plots how the similarities are spread, with a threshold, and returns the axes."""
        ax = _axes(ax)
        finite = [scores[np.isfinite(scores)] for scores in (self.different, self.same)]
        low, high = (float(edge(np.concatenate(finite))) for edge in (np.min, np.max))
        for scores, label, color in zip(finite, ("different people", "same person"), ("#b3261e", "#0a7d33")):
            ax.hist(scores, bins=bins, range=(low, high), density=True, alpha=0.55, label=label, color=color)
        if threshold is not None:
            ax.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.4f}")
        ax.set(xlabel="similarity", ylabel="density", title="Similarities of pairs")
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return f"<PairScores: {len(self.same)} pairs of the same person, {len(self.different)} of different people>"


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plots need matplotlib: pip install facecore[plot]") from None
    return pyplot.subplots(figsize=(5.5, 4))[1]


def cross_validate(folds: Sequence[PairScores]) -> FoldAccuracy:
    """The accuracy over folds, each at the threshold that is best on the others (LFW's protocol).

    Raises ParameterError for fewer than two folds, or an empty one.

    Examples
    --------
    >>> fold = fc.evaluation.PairScores([0.9, 0.8], [0.1, 0.2])
    >>> fc.evaluation.cross_validate([fold, fold]).mean
    1.0
    """
    if not all(isinstance(fold, PairScores) for fold in folds):
        raise TypeError("folds must be a list of PairScores")
    mean, std, each = _native.cross_validate([(fold.same, fold.different) for fold in folds])
    return FoldAccuracy(mean, std, tuple(each))


@dataclass(frozen=True)
class OpenSetPoint:
    """What a threshold achieves in open-set identification."""

    threshold: float
    #: False-positive identification rate: share of the strangers who are taken for somebody.
    fpir: float
    #: True-positive identification rate: share of the enrolled people who are found, and by their name.
    tpir: float


class IdentificationScores:
    """How a search answered to probes of people who are enrolled, and of strangers.

    Parameters
    ----------
    ranks
        For each probe of an enrolled person the place of the right one in the list of candidates, from 1; 0 where it is not there.
    best
        For each of them the similarity of the best candidate, whoever that is.
    unknown
        For each probe of a stranger the similarity of the best candidate.

    Examples
    --------
    >>> scores = fc.evaluation.IdentificationScores(ranks=[1, 1, 2, 0], best=[0.9, 0.7, 0.6, 0.5], unknown=[0.4, 0.65])
    >>> scores.rank_rate(1), scores.rank_rate(2), scores.at_threshold(0.66).tpir
    (0.5, 0.75, 0.5)
    """

    def __init__(self, ranks: Any, best: Any, unknown: Any) -> None:
        given = np.asarray(ranks)
        if given.dtype.kind not in "iu" and given.size > 0:
            raise ParameterError(f"ranks have the dtype {given.dtype}, and must be whole numbers")
        self.ranks = given.astype(np.int64)
        self.best, self.unknown = _scores(best), _scores(unknown)
        if self.ranks.shape != self.best.shape:
            raise ParameterError(
                f"there are {self.ranks.shape} ranks and {self.best.shape} similarities: expected one for each probe"
            )

    def rank_rate(self, k: int) -> float:
        """Rank-k identification rate: share of the probes with the right person among the first k candidates."""
        return float(np.mean((self.ranks > 0) & (self.ranks <= k))) if len(self.ranks) else float("nan")

    def cmc(self, ranks: int = 10) -> DoubleArray:
        """The cumulative match characteristic: the rank-k rates from 1 to ``ranks``."""
        return np.array([self.rank_rate(k) for k in range(1, ranks + 1)])

    def at_threshold(self, threshold: float) -> OpenSetPoint:
        """What a threshold achieves."""
        return OpenSetPoint(*_native.identification_at_threshold(self.ranks, self.best, self.unknown, threshold))

    def at_fpir(self, fpir: float) -> OpenSetPoint:
        """The operating point at a false-positive identification rate.

        Raises ParameterError where there are too few strangers to measure it.
        """
        return OpenSetPoint(*_native.identification_at_fpir(self.ranks, self.best, self.unknown, fpir))

    def plot(self, ax: Any = None, ranks: int = 10, label: str | None = None) -> Any:
        """Plots the cumulative match characteristic with matplotlib, and returns the axes."""
        ax = _axes(ax)
        ax.plot(range(1, ranks + 1), self.cmc(ranks), marker="o", label=label)
        ax.set(xlabel="rank", ylabel="identification rate", title="CMC")
        ax.grid(True, alpha=0.3)
        if label is not None:
            ax.legend(loc="lower right")
        return ax

    def __repr__(self) -> str:
        return f"<IdentificationScores: {len(self.ranks)} probes of enrolled people, {len(self.unknown)} of strangers>"


@dataclass(frozen=True, eq=False)
class LfwReport:
    """What came out of an evaluation on pairs."""

    accuracy: FoldAccuracy
    scores: PairScores
    #: Thresholds over all pairs of photos of different people, each with the true-accept rate of the listed pairs.
    thresholds: list[tuple[Threshold, float]]
    #: Number of all pairs of photos of different people.
    cross_pairs: int
    #: Photos that could not be read or had no usable face, with the reason. They match nothing.
    failed: dict[str, str]
    space: EmbeddingSpace

    def plot(self, ax: Any = None, label: str | None = None) -> Any:
        """Plots the ROC with matplotlib, and returns the axes."""
        return self.scores.plot(ax, label)

    def _repr_html_(self) -> str:
        rows = [
            [f"{threshold.far:g}", f"{threshold.similarity:.4f}", f"{100 * tar:.2f} %"]
            for threshold, tar in self.thresholds
        ]
        text = f"<p>accuracy {self.accuracy}, {len(self.failed)} photos failed</p>"
        return text + _notebook.table(["false-accept rate", "threshold", "true-accept rate"], rows)

    def __repr__(self) -> str:
        return f"<LfwReport: {self.accuracy!r}, {self.scores!r}, {len(self.failed)} photos failed>"


@dataclass(frozen=True, eq=False)
class IdentificationReport:
    """What came out of an evaluation of identification."""

    #: Number of people who were enrolled, with one template each.
    enrolled: int
    scores: IdentificationScores
    #: Photos that could not be read or had no usable face, with the reason.
    failed: dict[str, str]
    space: EmbeddingSpace

    def plot(self, ax: Any = None, ranks: int = 10, label: str | None = None) -> Any:
        """Plots the CMC with matplotlib, and returns the axes."""
        return self.scores.plot(ax, ranks, label)

    def __repr__(self) -> str:
        rank_1 = 100 * self.scores.rank_rate(1)
        return f"<IdentificationReport: {self.enrolled} enrolled, {self.scores!r}, rank-1 {rank_1:.2f} %, {len(self.failed)} photos failed>"


def _embed(pipeline: Pipeline, folder: Path, photos: list[str], progress: bool | None) -> dict[str, Any]:
    """The embedding of the central face of each photo, or the reason why there is none."""
    if not any((folder / photo).is_file() for photo in photos):
        raise FileNotFoundError(2, "it holds none of the photos that are listed", os.fspath(folder))

    def one(photo: str) -> Any:
        try:
            return _plain(pipeline.analyze_central(folder / photo).embedding)
        except (FaceError, OSError) as error:
            return str(error)

    shown = bar("embedding", len(photos), "photo", progress)
    pool = ThreadPoolExecutor(pipeline.threads or _cores(), thread_name_prefix="facecore")
    try:
        embedded = {}
        for photo, result in zip(photos, pool.map(one, photos)):
            embedded[photo] = result
            shown.update()
        return embedded
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        shown.close()


def _failed(photos: dict[str, Any]) -> dict[str, str]:
    return {photo: reason for photo, reason in photos.items() if isinstance(reason, str)}


def lfw(
    folder: PathLike,
    pairs: PathLike,
    *,
    pipeline: Pipeline | None = None,
    measured_on: str = "LFW",
    progress: bool | None = None,
) -> LfwReport:
    """Evaluates verification on a list of pairs in LFW's format, as ``face eval lfw`` does.

    Parameters
    ----------
    folder
        With photos as ``NAME/NAME_0001.jpg``.
    pairs
        LFW's ``pairs.txt``, or a file of that form.
    measured_on
        Name of the data, for the thresholds.

    Raises
    ------
    FileNotFoundError, FormatError (with the line)
    """
    pipeline = pipeline or default_pipeline()
    photos = _embed(pipeline, Path(folder), _native.lfw_photos(os.fspath(pairs)), progress)
    accuracy, same, different, thresholds, cross_pairs = _native.score_lfw(
        os.fspath(pairs), photos, pipeline.space, measured_on
    )
    folds = FoldAccuracy(accuracy[0], accuracy[1], tuple(accuracy[2]))
    return LfwReport(folds, PairScores(same, different), thresholds, cross_pairs, _failed(photos), pipeline.space)


def identification(
    folder: PathLike, *, pipeline: Pipeline | None = None, progress: bool | None = None
) -> IdentificationReport:
    """Evaluates open-set identification on a folder with a folder for each person, as ``face eval identification`` does."""
    pipeline = pipeline or default_pipeline()
    photos = _embed(pipeline, Path(folder), _native.identification_photos(os.fspath(folder)), progress)
    enrolled, ranks, best, unknown = _native.score_identification(os.fspath(folder), photos, pipeline.space)
    return IdentificationReport(enrolled, IdentificationScores(ranks, best, unknown), _failed(photos), pipeline.space)
