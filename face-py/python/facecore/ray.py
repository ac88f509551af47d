"""Analysis on many machines, by Ray Data.

>>> import ray, facecore.ray                                                         # doctest: +SKIP
>>> photos = ray.data.read_binary_files("photos/", include_paths=True)               # doctest: +SKIP
>>> faces = facecore.ray.analyze(photos)                                             # doctest: +SKIP
>>> faces.write_parquet("faces/")                                                    # doctest: +SKIP
>>> with fc.Gallery("postgresql://me@server/faces") as gallery:                      # doctest: +SKIP
...     facecore.ray.enroll(ray.data.read_parquet("faces/"), gallery, name=lambda source: Path(source).parent.name)

``analyze`` keeps one pipeline in each of its actors. Ray restarts actors of a machine that is lost, and gives their photos to
others: every photo comes out once. Needs Ray: ``pip install facecore[ray]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import pyarrow as pa
except ImportError:
    raise ImportError("facecore.ray needs Ray: pip install 'ray[data]'") from None

from ._embeddings import Embedding
from ._errors import SpaceMismatchError
from ._gallery import Gallery
from ._pipeline import Analysis, Failure, Pipeline

__all__ = ["COLUMNS", "Analyzer", "analyze", "enroll"]

#: What `analyze` makes: a row for each face; for a photo without one a single row whose `error` says why.
COLUMNS = pa.schema(
    [
        ("source", pa.string()),
        ("face", pa.int32()),
        ("x", pa.float32()),
        ("y", pa.float32()),
        ("width", pa.float32()),
        ("height", pa.float32()),
        ("score", pa.float32()),
        ("landmarks", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),
        ("space", pa.string()),
        ("error", pa.string()),
    ]
)


class Analyzer:
    """Analyses batches of photos with one pipeline: for ``ray.data.Dataset.map_batches``, which makes one in each actor.

    Parameters
    ----------
    image
        The column with the content of photo files.
    source
        The column with the path or another name of each photo.
    pipeline
        The arguments of ``Pipeline``.
    """

    def __init__(self, image: str = "bytes", source: str = "path", **pipeline: Any) -> None:
        self._columns = (image, source)
        self._pipeline = Pipeline(**pipeline)

    def __call__(self, batch: pa.Table) -> pa.Table:
        image, source = self._columns
        photos = (content.as_py() for content in batch.column(image))
        rows: list[dict[str, Any]] = []
        for name, result in zip(batch.column(source), self._pipeline.stream(photos)):
            rows += self._rows(str(name.as_py()), result)
        return pa.Table.from_pylist(rows, schema=COLUMNS)

    def _rows(self, source: str, result: Analysis | Failure) -> list[dict[str, Any]]:
        if isinstance(result, Failure):
            return [{"source": source, "error": str(result.error)}]
        rows = [record | {"source": source, "space": self._pipeline.space.id} for record in result.to_records()]
        return rows or [{"source": source, "error": "no face was found"}]


def analyze(
    photos: Any,
    *,
    image: str = "bytes",
    source: str = "path",
    actors: int | tuple[int, int] = 1,
    cpus: float = 1,
    batch_size: int = 16,
    **pipeline: Any,
) -> Any:
    """Finds and embeds the faces of a data set of photos.

    Parameters
    ----------
    photos
        A ``ray.data.Dataset`` with a column of file contents and one of names: ``ray.data.read_binary_files(folder,
        include_paths=True)``, or ``ray.data.read_parquet`` of a table of photos.
    image, source
        Names of those two columns.
    actors
        Number of pipelines, or the least and the most of them.
    cpus
        Cores of each: so many photos are worked on at a time.
    batch_size
        Photos that an actor is given at once.
    pipeline
        The arguments of ``facecore.Pipeline``. Models that are missing on a machine are pulled there.

    Returns
    -------
    ray.data.Dataset
        Of ``COLUMNS``: boxes and landmarks in pixels as in ``Analysis.to_records``, ``space`` is the id of the embedding space, and
        ``error`` is null unless the photo has no face or could not be read.
    """
    pipeline.setdefault("threads", max(1, int(cpus)))
    return photos.map_batches(
        Analyzer,
        fn_constructor_kwargs={"image": image, "source": source, **pipeline},
        batch_size=batch_size,
        batch_format="pyarrow",
        num_cpus=cpus,
        concurrency=actors,
    )


def enroll(
    faces: Any,
    gallery: Gallery,
    *,
    name: str | Callable[[str], str | None],
    batch_size: int = 1024,
) -> tuple[int, int]:
    """Enrols what ``analyze`` has found, the largest face of each photo.

    A photo that is enrolled already (a template of the person has it as its source) is left out, so that a run that was
    interrupted can be repeated.

    Parameters
    ----------
    faces
        The data set that ``analyze`` has made, or that was read back from its Parquet files.
    gallery
        Where to; on a server, other machines may enrol at the same time.
    name
        The column with the names of the people, or a function from the source of a photo to a name, or to None for nobody.

    batch_size
        How many rows are taken at a time. The faces of one photo are looked at together where they are in one batch, as `analyze` and
        Parquet files have them.

    Returns
    -------
    tuple of int
        Numbers of templates that were enrolled, and of photos that were left out.

    Raises
    ------
    SpaceMismatchError
        When the faces were embedded by another model than the gallery's.
    """
    enrolled, left_out = 0, 0
    for batch in faces.iter_batches(batch_size=batch_size, batch_format="pyarrow"):
        people: dict[str, dict[str, tuple[float, Embedding, float]]] = {}
        for row in batch.to_pylist():
            person = row[name] if isinstance(name, str) else name(row["source"])
            if row["embedding"] is None or person is None:
                left_out += 1
                continue
            if row["space"] != gallery.space.id:
                raise SpaceMismatchError(
                    f"the gallery {gallery.name} holds embeddings of one space, and was given one of another:\n"
                    f"  {gallery.space.id}\n  {row['space']}"
                )
            area, photos = row["width"] * row["height"], people.setdefault(person, {})
            if row["source"] not in photos or area > photos[row["source"]][0]:
                values = np.asarray(row["embedding"], np.float32)
                photos[row["source"]] = (area, Embedding(values, gallery.space), row["score"])
        for person, photos in people.items():
            known = gallery.find(person)
            sources = {template.source for template in known.templates} if known is not None else set()
            new = [(face, score, source) for source, (_, face, score) in photos.items() if source not in sources]
            if new:
                gallery._add_faces(person, new)
            enrolled += len(new)
            left_out += len(photos) - len(new)
    return enrolled, left_out
