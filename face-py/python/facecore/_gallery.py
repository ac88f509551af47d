"""Galleries: enrolled people, and who of them is on a photo."""

from __future__ import annotations

import html
import json
import math
import operator
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union, overload

from . import _native, _notebook
from ._embeddings import Embedding, Embeddings, _embedding, _plain, _space_of, stack
from ._errors import GalleryError, NameTakenError, NotEnrolledError, ParameterError, SpaceMismatchError
from ._images import ColorOrder, ImageLike
from ._items import Items
from ._native import EmbeddingSpace, Threshold
from ._pipeline import Face, Pipeline, default_pipeline, refuse_analysis
from ._progress import bar

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

__all__ = [
    "Approximate",
    "Candidate",
    "Duplicate",
    "Gallery",
    "Identification",
    "Identifications",
    "ImportReport",
    "MemoryUse",
    "Server",
    "Subject",
    "Template",
    "gallery_names",
]

PathLike = Union[str, "os.PathLike[str]"]
#: What can be enrolled or looked for: a photo, a face, an embedding.
Probe = ImageLike | Face | Embedding
Mode = Literal["auto", "exact", "approximate"]


class IdentifySettings(TypedDict, total=False):
    """How is looked for: see ``Gallery.identify``."""

    top_k: int
    fpir: float | None
    far: float | None
    threshold: float | Threshold | None
    metadata: Mapping[str, Any] | None
    subjects: Sequence[int] | None
    mode: Mode


#: Subjects that are fetched at once.
_PAGE = 1000


@dataclass(frozen=True)
class Template:
    """What is known of one enrolled embedding."""

    id: int
    #: How good the face is, from 0 to 1: the detector's score.
    quality: float | None
    #: Where it comes from.
    source: str | None
    enrolled_at: datetime


@dataclass(frozen=True)
class Subject:
    """An enrolled person."""

    id: int
    name: str
    metadata: dict[str, Any]
    templates: tuple[Template, ...]

    @classmethod
    def _parsed(cls, record: Mapping[str, Any]) -> Subject:
        templates = tuple(
            Template(
                template["id"],
                template.get("quality"),
                template.get("source"),
                datetime.fromtimestamp(template["enrolled_at"], timezone.utc),
            )
            for template in record["templates"]
        )
        return cls(record["id"], record["name"], record.get("metadata", {}), templates)


@dataclass(frozen=True)
class Candidate:
    """A subject that is like a probe."""

    subject: int
    name: str
    #: The template that is most like the probe.
    template: int
    similarity: float


@dataclass(frozen=True, eq=False)
class Identification:
    """Who is it? A ranked list of candidates, and a decision: the best one, or nobody. It is true where it is somebody."""

    #: The best first, each subject once.
    candidates: tuple[Candidate, ...]
    #: The threshold that was applied, with its false-accept rate.
    threshold: Threshold
    #: Number of templates that the probe was compared with.
    templates: int
    #: The face, where a photo or a face was looked for.
    face: Face | None = None

    @property
    def best_match(self) -> Candidate | None:
        """The enrolled person, or None for nobody."""
        best = self.candidates[0] if self.candidates else None
        return best if best is not None and best.similarity >= self.threshold.similarity else None

    @property
    def name(self) -> str | None:
        """The name of the enrolled person, or None for nobody."""
        return self.best_match.name if self.best_match is not None else None

    @property
    def fpir_bound(self) -> float:
        """The most that the false-positive identification rate comes to: templates times false-accept rate, at most 1.

        NaN for a threshold of your own.
        """
        return min(self.templates * self.threshold.far, 1.0)

    def __bool__(self) -> bool:
        return self.best_match is not None

    def _row(self) -> list[str]:
        face = _notebook.img(self.face.picture, 64) if self.face is not None else ""
        others = ", ".join(f"{html.escape(found.name)} {found.similarity:.3f}" for found in self.candidates)
        return [face, f"<b>{html.escape(self.name)}</b>" if self.name is not None else "nobody", others]

    def _repr_html_(self) -> str:
        return _notebook.table(["face", "who", "candidates"], [self._row()]) + self._rate()

    def _rate(self) -> str:
        promise = (
            ""
            if math.isnan(self.fpir_bound)
            else f", at most {self.fpir_bound:.2%} of strangers are taken for somebody"
        )
        return f"<small>threshold {self.threshold.similarity:.4f}{promise}</small>"

    def __repr__(self) -> str:
        best = self.candidates[0] if self.candidates else None
        of = f", most like {best.name} at {best.similarity:.4f}" if best is not None else ""
        return f"<Identification: {self.name or 'nobody'}{of}, threshold {self.threshold.similarity:.4f}>"


class Identifications(Items[Identification]):
    """Who is on a photo: one ``Identification`` for each face. A notebook shows the names in the photo."""

    def __init__(self, found: list[Identification], analysis: Any) -> None:
        super().__init__(found)
        self._analysis = analysis

    @property
    def names(self) -> list[str | None]:
        """The name for each face; None for nobody."""
        return [found.name for found in self._items]

    def draw(self) -> _native.Image:
        """A copy of the photo with names. Raises ParameterError when the photo is not at hand."""
        return _notebook.drawn_with(self._analysis.image, self._items)

    def _repr_html_(self) -> str:
        rate = self._items[0]._rate() if self._items else ""
        rows = [found._row() for found in self._items]
        return _notebook.img(self.draw, 320) + _notebook.table(["face", "who", "candidates"], rows) + rate

    def __repr__(self) -> str:
        return f"<Identifications: {', '.join(name or 'nobody' for name in self.names) or 'no face'}>"


@dataclass(frozen=True)
class Duplicate:
    """Two subjects that are alike."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class ImportReport:
    """What an import has brought."""

    subjects: int
    templates: int
    #: Subjects that were left out because they have no template.
    skipped: int
    #: Subjects that were left out because their names are enrolled.
    existing: int


@dataclass(frozen=True)
class MemoryUse:
    """Memory of a gallery, in bytes."""

    records: int
    vectors: int
    #: The approximate index.
    approximate: int


@dataclass(frozen=True)
class Approximate:
    """Settings of approximate search (HNSW). On a server ``connectivity``, ``expansion_add`` and ``expansion_search`` are pgvector's
    ``m``, ``ef_construction`` and ``ef_search``, and None stands for 16, 128, 128 and 10,000."""

    #: Neighbours of a node; 32 by default.
    connectivity: int | None = None
    #: Candidates that are looked at when a template is added; 200 by default.
    expansion_add: int | None = None
    #: Candidates that are looked at in a search; 256 by default. More find more, and take longer.
    expansion_search: int | None = None
    #: The mode "auto" searches exactly up to so many templates; 50,000 by default.
    min_templates: int | None = None

    def _with(self, *defaults: int) -> Any:
        own = (self.connectivity, self.expansion_add, self.expansion_search, self.min_templates)
        names = ("connectivity", "expansion_add", "expansion_search", "min_templates")
        given = zip(names, own, defaults)
        return tuple(default if value is None else count_of(name, value) for name, value, default in given)


@dataclass(frozen=True)
class Server:
    """How a PostgreSQL server is talked to. Connections are encrypted unless ``tls`` is False."""

    #: PEM file with the authorities that are trusted in place of the machine's.
    root_certificate: PathLike | None = None
    tls: bool = True
    #: Most connections at a time.
    pool_size: int = 8
    #: Seconds until a connection must stand.
    connect_timeout: float = 10.0
    #: Seconds that a statement may take.
    statement_timeout: float = 60.0


def gallery_names(url: str, server: Server = Server()) -> list[str]:
    """The names of the galleries in a database."""
    return _native.postgres_names(_parts(url, "default", server, None))


class Gallery:
    """Enrolled people: enrol, identify, list, remove.

    A gallery is pinned to the embedding space of one embedder: what comes from another is refused. One gallery serves all threads;
    searches run side by side. A change is kept as a whole or not at all, and when the call returns it is durable. Use it in a
    ``with`` statement, or call ``close()``.

    Parameters
    ----------
    place
        - a path: one file, of ten to some millions of templates; one process writes at a time;
        - ``"postgresql://USER@HOST/DATABASE"``: on a server with pgvector;
        - None: in memory, gone with the object.
    mode
        ``"a"``: open it to write, and make it when it is not there; ``"r"``: open it to read; ``"x"``: make it, and fail where it
        is there.
    pipeline
        What looks at photos that are enrolled or looked for; the default models by default.
    space
        The space of a new gallery; the pipeline's by default.
    name
        On a server: the gallery's name in the database.
    precision
        ``"f32"``, or ``"int8"``: faster, for a quarter more memory, with the same answers.
    approximate
        True or settings for approximate search of large galleries.
    server
        On a server: how it is talked to.

    Raises
    ------
    GalleryInUseError, GalleryCorruptError, GalleryError, FileNotFoundError, FileExistsError

    Examples
    --------
    >>> with fc.Gallery() as gallery:
    ...     subject = gallery.enroll("Barack", fc.models.path("obama"), metadata={"office": "president"})
    ...     subject = gallery.enroll("Joe", fc.models.path("biden"))
    ...     gallery.identify(fc.models.path("obama2")).names
    ['Barack']
    """

    def __init__(
        self,
        place: PathLike | None = None,
        mode: Literal["a", "r", "x"] = "a",
        *,
        pipeline: Pipeline | None = None,
        space: EmbeddingSpace | None = None,
        name: str = "default",
        precision: Literal["f32", "int8"] = "f32",
        approximate: bool | Approximate = False,
        server: Server = Server(),
    ) -> None:
        if mode not in ("a", "r", "x"):
            raise ParameterError(f'mode is {mode!r}, and must be "a", "r" or "x"')
        if pipeline is not None and not isinstance(pipeline, Pipeline):
            raise TypeError(f"pipeline is a {type(pipeline).__name__}, and must be a Pipeline")
        if not isinstance(approximate, (bool, Approximate)):
            raise TypeError(f"approximate is a {type(approximate).__name__}, and must be a bool or an Approximate")
        self._pipeline = pipeline
        settings = Approximate() if approximate is True else approximate or None

        def new_space() -> EmbeddingSpace:
            return space if space is not None else (pipeline or default_pipeline()).space

        if isinstance(place, str) and place.startswith(("postgres://", "postgresql://")):
            self._native = _on_server(place, mode, new_space, name, settings, server)
        else:
            local = settings._with(32, 200, 256, 50_000) if settings is not None else None
            if place is None:
                if mode == "r":
                    raise ParameterError("a gallery in memory begins empty: there is nothing to open for reading")
                self._native = _native.NativeGallery.in_memory(new_space(), precision, local)
            else:
                path = os.fspath(place)
                # A link to nothing is there too, and its error says more than that a file cannot be made.
                if mode == "x" or (mode == "a" and not os.path.lexists(path)):
                    self._native = _native.NativeGallery.create(path, new_space(), precision, local)
                else:
                    self._native = _native.NativeGallery.open(path, mode == "r", precision, local)
        wanted = space if space is not None else pipeline.space if pipeline is not None else None
        if wanted is not None and wanted != self.space:
            self.close()
            raise SpaceMismatchError(
                f"the gallery {self.name} holds embeddings of one space, and was given one of another:\n"
                f"  {self.space.id}\n  {wanted.id}"
            )

    @property
    def space(self) -> EmbeddingSpace:
        """The space of all its embeddings, with the thresholds that the gallery keeps."""
        return self._native.space

    @property
    def name(self) -> str:
        """Its path or address, as in errors."""
        return self._native.name

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.is_closed

    def close(self) -> None:
        """Closes the file or the connections. Closing again does nothing."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _embedded(self, probe: Probe, color: ColorOrder) -> tuple[Embedding, Face | None, str | None]:
        refuse_analysis(probe)
        if isinstance(probe, Embedding):
            return probe, None, None
        if not isinstance(probe, Face):
            probe = (self._pipeline or default_pipeline()).analyze_largest(probe, color)
        source = probe._photo[0] if probe._photo is not None and isinstance(probe._photo[0], str) else None
        return probe.embedding, probe, source

    def _template(self, probe: Probe, color: ColorOrder) -> Any:
        embedding, face, source = self._embedded(probe, color)
        quality = min(1.0, max(0.0, face.score)) if face is not None else None
        return (_plain(embedding), _space_of(embedding), quality, source, None)

    def _templates(self, probes: Probe | Sequence[Probe] | Embeddings, color: ColorOrder) -> list[Any]:
        several: Any = probes if isinstance(probes, (list, tuple, Embeddings)) else [probes]
        return [self._template(probe, color) for probe in several]

    def enroll(
        self,
        name: str,
        images: Probe | Sequence[Probe],
        *,
        metadata: Mapping[str, Any] | None = None,
        existing: Literal["error", "add"] = "error",
        color: ColorOrder = "rgb",
    ) -> Subject:
        """Enrols a person.

        Parameters
        ----------
        images
            A photo (its largest face counts), a ``Face``, an ``Embedding``, or a list of them: a template for each.
        metadata
            Anything that JSON can hold.
        existing
            What becomes of a name that is enrolled: ``"error"``, or ``"add"``: the templates are added, and given metadata replaces
            the person's.

        Raises
        ------
        NoFaceError, NameTakenError, SpaceMismatchError, GalleryReadOnlyError, ParameterError
        """
        if existing not in ("error", "add"):
            raise ParameterError(f'existing is {existing!r}, and must be "error" or "add"')
        templates = self._templates(images, color)
        known = self._native.find(name) if existing == "add" else None
        if known is not None:
            subject = json.loads(known)["id"]
            self._native.add_templates(subject, templates)
            if metadata is not None:
                self._native.set_metadata(subject, _json(metadata))
        else:
            subject = self._native.enroll([(name, _json(metadata or {}), templates)])[0]
        return self.subject(subject)

    def _add_faces(self, name: str, faces: Sequence[tuple[Embedding, float | None, str]]) -> None:
        """Enrols or adds embeddings with their qualities and sources; another machine may enrol the same person meanwhile."""
        templates = [(_plain(face), _space_of(face), quality, source, None) for face, quality, source in faces]
        known = self._native.find(name)
        if known is None:
            try:
                self._native.enroll([(name, "{}", templates)])
                return
            except NameTakenError:
                known = self._native.find(name)
        self._native.add_templates(json.loads(known)["id"] if known is not None else 0, templates)

    def enroll_batch(self, people: Mapping[str, Probe | Sequence[Probe]], *, color: ColorOrder = "rgb") -> list[int]:
        """Enrols people by name, all of them or, when one is refused, none. Returns their ids."""
        if not isinstance(people, Mapping):
            raise TypeError(f"people is a {type(people).__name__}, and must map names to photos")
        return self._native.enroll([(name, "{}", self._templates(images, color)) for name, images in people.items()])

    def add(
        self, subject: int | str | Subject, images: Probe | Sequence[Probe], *, color: ColorOrder = "rgb"
    ) -> list[int]:
        """Adds templates to a subject, all of them or none. Returns their ids."""
        return self._native.add_templates(self._id(subject), self._templates(images, color))

    @overload
    def identify(  # type: ignore[overload-overlap]
        self, probe: Face | Embedding, *, color: ColorOrder = "rgb", **settings: Unpack[IdentifySettings]
    ) -> Identification: ...
    @overload
    def identify(
        self, probe: ImageLike, *, color: ColorOrder = "rgb", **settings: Unpack[IdentifySettings]
    ) -> Identifications: ...
    def identify(
        self,
        probe: Probe,
        *,
        top_k: int = 5,
        fpir: float | None = None,
        far: float | None = None,
        threshold: float | Threshold | None = None,
        metadata: Mapping[str, Any] | None = None,
        subjects: Sequence[int] | None = None,
        mode: Mode = "auto",
        color: ColorOrder = "rgb",
    ) -> Any:
        """Who is it?

        Parameters
        ----------
        probe
            A photo, a ``Face`` or an ``Embedding``.
        top_k
            Number of candidates, from 1 to 10,000.
        fpir, far, threshold
            At most one of them: the share of strangers that may be taken for somebody; the false-accept rate of the threshold; a
            threshold of your own. By default the threshold fits the gallery's size: the strictest that is needed for a
            false-positive identification rate of 1 in 100, as far as one was measured.
        metadata, subjects
            Only people with this metadata, or with these ids.
        mode
            "auto" searches approximately where the gallery has an index and is large.

        Returns
        -------
        Identifications or Identification
            For a photo one ``Identification`` for each of its faces (an empty sequence where it has none); for a ``Face`` or an
            ``Embedding`` one ``Identification``.

        Raises
        ------
        SpaceMismatchError, ThresholdUnknownError, ParameterError
        """
        settings: IdentifySettings = {
            "top_k": top_k,
            "fpir": fpir,
            "far": far,
            "threshold": threshold,
            "metadata": metadata,
            "subjects": subjects,
            "mode": mode,
        }
        refuse_analysis(probe)
        if isinstance(probe, Embedding):
            return self._identify([probe], [None], **settings)[0]
        if isinstance(probe, Face):
            return self._identify([probe.embedding], [probe], **settings)[0]
        analysis = (self._pipeline or default_pipeline()).analyze(probe, color)
        faces = list(analysis)
        found = self._identify([face.embedding for face in faces], faces, **settings) if faces else []
        return Identifications(found, analysis)

    def identify_batch(
        self, probes: Embeddings | Sequence[Embedding], **settings: Unpack[IdentifySettings]
    ) -> list[Identification]:
        """Who are they? One answer for each embedding; settings as for ``identify``."""
        matrix = stack(probes, self.space if len(probes) == 0 else None)
        return self._identify(matrix, [None] * len(matrix), **settings)

    def _identify(
        self,
        probes: Any,
        faces: Sequence[Face | None],
        *,
        top_k: int = 5,
        fpir: float | None = None,
        far: float | None = None,
        threshold: float | Threshold | None = None,
        metadata: Mapping[str, Any] | None = None,
        subjects: Sequence[int] | None = None,
        mode: str = "auto",
    ) -> list[Identification]:
        if sum(value is not None for value in (fpir, far, threshold)) > 1:
            raise ParameterError("at most one of fpir, far and threshold can be given")
        rule, rate = ("fpir", fpir) if fpir is not None else ("far", far) if far is not None else ("gallery-size", 1e-2)
        if threshold is not None and not isinstance(threshold, Threshold):
            threshold = Threshold(float(threshold), math.nan, "a threshold of the caller's own")
        matrix = stack(probes)
        answers = self._native.identify(
            _plain(matrix),
            matrix.space,
            count_of("top_k", top_k),
            rule,
            float(rate or 0.0),
            threshold,
            _ids(subjects),
            _filter(metadata),
            mode,
        )
        return [
            Identification(tuple(Candidate(*found) for found in candidates), applied, templates, face)
            for (candidates, applied, templates), face in zip(answers, faces)
        ]

    def search(
        self,
        probes: Embedding | Embeddings | Sequence[Embedding],
        *,
        top_k: int = 5,
        min_similarity: float | None = None,
        metadata: Mapping[str, Any] | None = None,
        subjects: Sequence[int] | None = None,
        mode: Mode = "auto",
    ) -> list[list[Candidate]]:
        """For each probe the subjects that are most like it, the best first, without a decision."""
        matrix = stack(probes, self.space if not isinstance(probes, Embedding) and len(probes) == 0 else None)
        found = self._native.search(
            _plain(matrix),
            matrix.space,
            count_of("top_k", top_k),
            min_similarity,
            _ids(subjects),
            _filter(metadata),
            mode,
        )
        return [[Candidate(*candidate) for candidate in candidates] for candidates in found]

    def subject(self, subject: int | str) -> Subject:
        """A subject by id or name. Raises NotEnrolledError."""
        if isinstance(subject, str):
            found = self.find(subject)
            if found is None:
                raise NotEnrolledError(f'the gallery {self.name} has no subject named "{subject}"')
            return found
        return Subject._parsed(json.loads(self._native.subject(self._id(subject))))

    def find(self, name: str) -> Subject | None:
        """The subject of this name, or None."""
        found = self._native.find(name)
        return Subject._parsed(json.loads(found)) if found is not None else None

    def subjects(self) -> Iterator[Subject]:
        """All subjects, in the order of their ids; fetched page by page."""
        after: int | None = None
        while page := json.loads(self._native.page(after, _PAGE)):
            for record in page:
                yield Subject._parsed(record)
            after = page[-1]["id"]

    def __iter__(self) -> Iterator[Subject]:
        return self.subjects()

    def __len__(self) -> int:
        """Number of subjects."""
        return self.count()[0]

    def __bool__(self) -> bool:
        # An empty gallery is a gallery.
        return True

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._native.find(name) is not None

    def count(
        self, *, metadata: Mapping[str, Any] | None = None, subjects: Sequence[int] | None = None
    ) -> tuple[int, int]:
        """Number of subjects and of templates; of those with this metadata, or with these ids."""
        return self._native.count(_ids(subjects), _filter(metadata))

    def embedding(self, template: int | Template) -> Embedding:
        """The embedding of a template, bit for bit as it was enrolled. Raises NotEnrolledError."""
        return _embedding(self._native.embedding(self._template_id(template)), self.space)

    def rename(self, subject: int | str | Subject, name: str) -> None:
        """Gives a subject another name. Raises NameTakenError, NotEnrolledError."""
        self._native.rename(self._id(subject), name)

    def set_metadata(self, subject: int | str | Subject, metadata: Mapping[str, Any]) -> None:
        """Replaces the metadata of a subject."""
        self._native.set_metadata(self._id(subject), _json(metadata))

    def set_thresholds(self, thresholds: Sequence[Threshold]) -> None:
        """Replaces the thresholds that the gallery keeps. They take effect when it is opened again."""
        self._native.set_thresholds(list(thresholds))

    def remove(self, subject: int | str | Subject) -> None:
        """Removes a subject with all templates. Its bytes are gone from the store after ``compact``. Raises NotEnrolledError."""
        self._native.remove_subject(self._id(subject))

    def remove_template(self, template: int | Template) -> None:
        """Removes one template. Raises NotEnrolledError."""
        self._native.remove_template(self._template_id(template))

    def compact(self) -> None:
        """Rewrites the store without what was removed."""
        self._native.compact()

    def save_index(self) -> None:
        """Writes the approximate index beside the file, so that opening the gallery need not build it.

        Closing the gallery does so too, but cannot tell of an error. Nothing to do for other galleries.
        """
        self._native.save_index()

    def memory_use(self) -> MemoryUse | None:
        """Memory in bytes; None for a gallery on a server."""
        used = self._native.memory_use()
        return MemoryUse(*used) if used is not None else None

    def duplicates(self, min_similarity: float | None = None, *, progress: bool | None = None) -> list[Duplicate]:
        """Pairs of subjects that are alike, the most alike first; by default from the threshold at a false-accept rate of 1e-4."""
        if min_similarity is None:
            min_similarity = self.space.threshold_at(1e-4).similarity
        with _Counting("comparing", self.count()[1], "template", progress) as tell:
            return [Duplicate(*pair) for pair in self._native.find_duplicates(min_similarity, tell)]

    def export(self, path: PathLike, *, progress: bool | None = None) -> tuple[int, int]:
        """Writes the gallery as lines of JSON, readable by the owner of the file alone. Returns the numbers of subjects and templates."""
        with _Counting("exporting", len(self), "subject", progress) as tell:
            return self._native.export(os.fspath(path), tell)

    def import_file(
        self, path: PathLike, *, existing: Literal["error", "skip"] = "error", progress: bool | None = None
    ) -> ImportReport:
        """Enrols what ``export`` has written, a thousand subjects at a time.

        Raises FormatError, with the line; NameTakenError (unless ``existing`` is ``"skip"``); SpaceMismatchError.
        """
        if existing not in ("error", "skip"):
            raise ParameterError(f'existing is {existing!r}, and must be "error" or "skip"')
        with _Counting("importing", None, "subject", progress) as tell:
            return ImportReport(*self._native.import_file(os.fspath(path), existing == "skip", tell))

    def _id(self, subject: int | str | Subject) -> int:
        if isinstance(subject, Subject):
            return subject.id
        return self.subject(subject).id if isinstance(subject, str) else self._known("subject", subject)

    def _template_id(self, template: int | Template) -> int:
        return template.id if isinstance(template, Template) else self._known("template", template)

    def _known(self, what: str, value: Any) -> int:
        number = operator.index(value)
        if not 0 <= number < 2**64:
            raise NotEnrolledError(f"the gallery {self.name} has no {what} {number}")
        return number

    def _repr_html_(self) -> str:
        if self.closed:
            return html.escape(repr(self))
        shown = [subject for subject, _ in zip(self.subjects(), range(20))]
        rows = [
            [
                str(subject.id),
                html.escape(subject.name),
                str(len(subject.templates)),
                html.escape(_json(subject.metadata)),
            ]
            for subject in shown
        ]
        more = f"<small>and {len(self) - len(shown)} more</small>" if len(self) > len(shown) else ""
        return (
            f"<p>{html.escape(repr(self))}</p>" + _notebook.table(["id", "name", "templates", "metadata"], rows) + more
        )

    def __repr__(self) -> str:
        if self.closed:
            return f"<Gallery {self.name}, closed>"
        subjects, templates = self.count()
        return f"<Gallery {self.name}: {subjects} subjects, {templates} templates, {self.space.model}>"


class _Counting:
    """A bar that is told how much is done, instead of how much more."""

    def __init__(self, what: str, total: int | None, unit: str, progress: bool | None) -> None:
        self._bar = bar(what, total, unit, progress)

    def tell(self, count: int) -> None:
        self._bar.update(max(0, count - self._bar.n))

    def __enter__(self) -> Callable[[int], None]:
        return self.tell

    def __exit__(self, *exception: object) -> None:
        self._bar.close()


def _on_server(
    url: str, mode: str, new_space: Any, name: str, approximate: Approximate | None, server: Server
) -> _native.NativeGallery:
    if mode == "r":
        raise ParameterError(
            "a gallery on a server is not opened for reading alone: give the user of the address no right to write"
        )
    parts = _parts(url, name, server, approximate)
    if mode == "a" and name in _native.postgres_names(parts):
        return _native.NativeGallery.on_server(parts, None)
    try:
        return _native.NativeGallery.on_server(parts, new_space())
    except GalleryError:
        # Another process may have made it meanwhile.
        if mode == "a" and name in _native.postgres_names(parts):
            return _native.NativeGallery.on_server(parts, None)
        raise


def _parts(url: str, name: str, server: Server, approximate: Approximate | None) -> Any:
    root = os.fspath(server.root_certificate) if server.root_certificate is not None else None
    hnsw = approximate._with(16, 128, 128, 10_000) if approximate is not None else None
    times = (float(server.connect_timeout), float(server.statement_timeout))
    return (url, name, root, server.tls, count_of("pool_size", server.pool_size), *times, hnsw)


def _json(value: Mapping[str, Any]) -> str:
    if not isinstance(value, Mapping):
        raise TypeError(f"metadata is a {type(value).__name__}, and must be a mapping")
    _check_json(value)
    try:
        return json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError(f"metadata must be what JSON can hold: {error}") from None


def _check_json(value: Any, depth: int = 0) -> None:
    """What JSON would change without a word."""
    if depth > 100:
        raise ParameterError("metadata is nested too deep")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ParameterError(f"a key of metadata is {key!r}, and must be text")
            _check_json(item, depth + 1)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_json(item, depth + 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ParameterError(f"{value} in metadata has more than 64 bits: give it as text")


def _filter(metadata: Mapping[str, Any] | None) -> str | None:
    return _json(metadata) if metadata is not None else None


def _ids(subjects: Sequence[int] | None) -> list[int] | None:
    if subjects is None:
        return None
    if isinstance(subjects, (str, bytes)):
        raise TypeError("subjects are ids, and not a text")
    # Ids are positive: others are nobody's.
    return [number for number in map(operator.index, subjects) if 0 <= number < 2**64]


def count_of(parameter: str, value: Any) -> int:
    """A number of something. Python's own error for one below 0 would be an OverflowError."""
    number = operator.index(value)
    if not 0 <= number < 2**32:
        raise ParameterError(f"{parameter} is {number}, and must be a number of something")
    return number
