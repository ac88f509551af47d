"""Trainings."""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

from . import _native
from ._pipeline import Pipeline
from ._progress import Bar, bar

__all__ = ["TrainResult", "train"]

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class TrainResult:
    """What came out of a training."""

    #: The network, an ONNX file; ``None`` where the training is not at its end.
    network: Path | None
    #: Its settings, for ``Pipeline(embedder=..., spec=...)``.
    spec: Path | None
    #: Folder with checkpoints, metrics and plots.
    output: Path
    #: Steps that are done, and steps in all.
    step: int
    steps: int
    #: The last line of ``metrics.csv``.
    metrics: dict[str, Any] | None
    #: The last line of ``validation.csv``.
    validation: dict[str, Any] | None
    #: Photos and people that were not learnt from: ``{"what": ..., "reason": ...}``.
    left_out: list[dict[str, str]] = field(default_factory=list)

    def pipeline(self, **options: Any) -> Pipeline:
        """A pipeline with this network as its embedder; ``options`` are those of ``Pipeline``."""
        if self.network is None or self.spec is None:
            raise ValueError(f"the training stopped after {self.step} of {self.steps} steps: resume it first")
        return Pipeline(embedder=self.network, spec=self.spec, **options)

    def _repr_html_(self) -> str:
        plots = [self.output / name for name in ("loss.png", "accuracy.png")]
        pictures = "".join(
            f'<img style="max-width: 45%" src="data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode()}">'
            for plot in plots
            if plot.is_file()
        )
        state = str(self.network) if self.network else f"stopped after {self.step} of {self.steps} steps"
        return f"<div>{html.escape(state)}</div>{pictures}"


def train(
    config: PathLike | Mapping[str, Any],
    *,
    output: PathLike | None = None,
    seed: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> TrainResult:
    """Trains a network on your own photos, as the command ``face train`` does.

    ``config`` is a TOML file or the same settings as a dictionary; the chapter on training of the manual explains them. ``output`` and
    ``seed`` overrule what they say. ``resume`` goes on from the last checkpoint in the output folder, with the same bits as if there
    had been no interruption. ``progress`` is as elsewhere: a bar where somebody is looking.

    Ctrl-C (in a notebook, the stop button) stops at a checkpoint and raises ``KeyboardInterrupt``.

    >>> result = fc.train("config.toml")
    >>> result.validation["accuracy"]
    >>> result.pipeline().verify("a.jpg", "b.jpg")
    """
    path, settings = None, None
    if isinstance(config, Mapping):
        settings = json.dumps(config, default=os.fspath)
    else:
        path = os.fspath(config)
    display = _Display(progress)
    try:
        text = _native.train(
            path,
            settings,
            None if output is None else os.fspath(output),
            seed,
            resume,
            display.show,
        )
    finally:
        display.close()
    report = json.loads(text)
    for name in ("network", "spec", "output"):
        report[name] = report[name] and Path(report[name])
    report.pop("difference")
    return TrainResult(**report)


class _Display:
    """A bar for the phase that is going on."""

    def __init__(self, progress: bool | None) -> None:
        self._progress = progress
        self._what: str | None = None
        self._bar: Bar | None = None

    def show(self, record: str) -> None:
        event = json.loads(record)
        kind = event["event"]
        if kind == "phase":
            self._move(event["what"], event["total"], event["done"], "photo")
        elif kind == "step":
            self._move("training", event["steps"], event["step"], "step")
            if self._bar is not None:
                accuracy = "" if event["accuracy"] is None else f", {event['accuracy']:.1%} right"
                words = f"epoch {event['epoch']:.2f}, loss {event['loss']:.3f}{accuracy}"
                self._bar.set_postfix_str(f"{words}, {event['faces_per_second']:.0f} faces/s", refresh=False)
                self._bar.refresh()

    def _move(self, what: str, total: int, done: int, unit: str) -> None:
        if what != self._what:
            self.close()
            self._what, self._bar = what, bar(what, total, unit, self._progress)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._what, self._bar = None, None
