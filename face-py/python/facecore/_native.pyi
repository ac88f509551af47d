"""
The engine of facecore. Use the package `facecore`: this module may change in any release.
"""

import collections.abc
import numpy
from _typeshed import Incomplete, SupportsGetItem
from os import PathLike
from typing import Any, SupportsFloat, SupportsIndex, final

__all__ = ["Crop", "EmbeddingSpace", "Image", "NativeAligner", "NativeDetector", "NativeEmbedder", "NativeGallery", "NativeNormalizer", "NativePipeline", "NativeStream", "Threshold", "catalogue", "check_model", "cluster", "cross_validate", "draw_detections", "draw_names", "features", "identification_at_fpir", "identification_at_threshold", "identification_photos", "image_limits", "lfw_photos", "model_path", "models_folder", "new_embedding", "picture_endings", "postgres_names", "pull_models", "roc", "run_command", "score_identification", "score_lfw", "set_threads", "similarities", "similarity", "train", "verification_at_far", "verification_at_threshold", "verify", "version"]

@final
class Crop:
    """
    A normalized face: one picture for each zoom of the embedder it was cut for. A notebook shows the first.
    """
    def __reduce__(self, /) -> "tuple[Any, ...]": ...
    def __repr__(self, /) -> str: ...
    def _repr_png_(self, /) -> "bytes":
        """
        What a notebook shows.
        """
    @staticmethod
    def _restore(views: "list[Image]", template: "tuple[str, int, int]", points: "tuple[list[list[float]], str]", zooms: SupportsGetItem[int, SupportsFloat | SupportsIndex], transform: "list[float]") -> Crop:
        """
        A crop that was pickled.
        """
    @property
    def template(self, /) -> str:
        """
        Name of the template.
        """
    @property
    def transform(self, /) -> Incomplete:
        """
        The similarity transform from pixels of the photo to pixels of the crop at zoom 1: shape (2, 3), dtype float64.
        """
    @property
    def views(self, /) -> list[Incomplete]:
        """
        The pictures, each of shape (height, width, 3), dtype uint8, RGB; what lay outside of the photo is black.
        """

@final
class EmbeddingSpace:
    """
    What an embedding means: weights, preprocessing, averaging and metric. Only embeddings of equal spaces can be compared.

    Every embedder, pipeline, gallery and Embedding has one as `.space`. Thresholds belong to a space and are no part of its
    identity.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __reduce__(self, /) -> tuple[Any, tuple[str]]: ...
    def __repr__(self, /) -> str: ...
    @property
    def averaging(self, /) -> str:
        """
        Which crops are averaged into one embedding, in words.
        """
    @property
    def digest(self, /) -> str:
        """
        SHA-256 of the weights, in hexadecimal digits.
        """
    @property
    def dimension(self, /) -> int:
        """
        Number of values of an embedding.
        """
    @staticmethod
    def from_json(text: str) -> EmbeddingSpace:
        """
        The space that `to_json()` has written.
        """
    @property
    def id(self, /) -> str:
        """
        The identity of the space as one line of text.
        """
    @property
    def metric(self, /) -> str:
        """
        How two embeddings are compared: "cosine", "euclidean" or "group-aware(...)".
        """
    @property
    def model(self, /) -> str:
        """
        Name of the model, for people.
        """
    @property
    def preprocessing(self, /) -> str:
        """
        How a photo becomes the network's input, in words.
        """
    def threshold_at(self, /, far: SupportsFloat | SupportsIndex) -> Threshold:
        """
        The threshold that was measured at this false-accept rate.

        Raises ThresholdUnknownError, which lists the rates there are, and ParameterError for what is no rate.
        """
    @property
    def thresholds(self, /) -> list[Threshold]:
        """
        The thresholds that were measured in this space.
        """
    def to_json(self, /) -> str:
        """
        The space as JSON text, with its thresholds.
        """
    def with_thresholds(self, /, thresholds: SupportsGetItem[int, Threshold]) -> EmbeddingSpace:
        """
        The same space with other thresholds.
        """

@final
class Image:
    """
    A decoded picture: RGB, 8 bits a channel, turned as its EXIF orientation says.

    Made by `facecore.load()`. Decode a photo once, and give the Image to every function that takes a photo. It never changes, and
    may be used by any number of threads. `numpy.asarray(image)` is an array of shape (height, width, 3), dtype uint8; a notebook
    shows the picture.
    """
    def __array__(self, /, dtype: Any | None = None, copy: bool | None = None) -> "numpy.ndarray":
        """
        What `numpy.asarray` asks for.
        """
    def __reduce__(self, /) -> tuple[Any, tuple[Incomplete, bool]]: ...
    def __repr__(self, /) -> str: ...
    def _repr_png_(self, /) -> "bytes":
        """
        What a notebook shows.
        """
    @staticmethod
    def decode(content: "bytes") -> Image:
        """
        Decodes the content of such a file.
        """
    @staticmethod
    def from_array(pixels: "numpy.ndarray", bgr: bool) -> Image:
        """
        Copies an array of uint8: (height, width) grey, (height, width, 3) or (height, width, 4) colour.
        """
    @property
    def height(self, /) -> int:
        """
        Height in pixels.
        """
    @staticmethod
    def open(path: str | PathLike[str]) -> Image:
        """
        Decodes a file: JPEG, PNG, WebP, BMP, GIF (its first frame) or TIFF.
        """
    def save(self, /, path: str | PathLike[str]) -> None:
        """
        Writes the picture as PNG, or as JPEG where the path ends so. The file appears whole or not at all.
        """
    def to_array(self, /) -> "numpy.ndarray":
        """
        A copy of the pixels: shape (height, width, 3), dtype uint8, RGB.
        """
    def to_png(self, /) -> "bytes":
        """
        The picture as the content of a PNG file.
        """
    @property
    def width(self, /) -> int:
        """
        Width in pixels.
        """

@final
class NativeAligner:
    """
    Stage 2.
    """
    def __new__(cls, /, scheme: str, folder: "str | None") -> NativeAligner:
        """
        The aligner that finds the landmarks of this scheme.
        """
    def align(self, /, image: Image, detection: "tuple[Any, ...]") -> "tuple[numpy.ndarray, str]":
        """
        Five landmarks.
        """

@final
class NativeDetector:
    """
    Stage 1.
    """
    def __new__(cls, /, model: "tuple[str | None, str | None, str | None, tuple[str, bytes] | None]", *, score_threshold: SupportsFloat | SupportsIndex | None, nms_threshold: SupportsFloat | SupportsIndex, min_size: SupportsFloat | SupportsIndex, max_faces: SupportsIndex, max_side: SupportsIndex, small_side: SupportsIndex | None) -> NativeDetector: ...
    def detect(self, /, image: Image) -> "list[tuple[Any, ...]]":
        """
        All faces, the most certain first.
        """

@final
class NativeEmbedder:
    """
    Stage 4.
    """
    def __new__(cls, /, model: "tuple[str | None, str | None, str | None, tuple[str, bytes] | None]", *, variant: str | None, spec: str | None) -> NativeEmbedder: ...
    def crop_of(self, /, views: SupportsGetItem[int, Image]) -> Crop:
        """
        A crop that was cut by other means: one picture for each zoom.
        """
    @property
    def crop_size(self, /) -> tuple[int, int]:
        """
        Width and height of the crops, in pixels.
        """
    def embed(self, /, crop: Crop) -> "numpy.ndarray":
        """
        The values of the embedding of a normalized face.
        """
    @property
    def landmark_scheme(self, /) -> str:
        """
        The scheme of the landmarks that the crops are cut by.
        """
    @property
    def space(self, /) -> EmbeddingSpace:
        """
        The space of the embeddings.
        """

@final
class NativeGallery:
    """
    A gallery behind a handle that can be closed.
    """
    def add_templates(self, /, subject: SupportsIndex, templates: "list[tuple[Any, ...]]") -> "list[int]": ...
    def close(self, /) -> None:
        """
        Closes the file or the connections, when the last call that is under way has ended.
        """
    def compact(self, /) -> None: ...
    def count(self, /, subjects: "list[int] | None", metadata_json: str | None) -> "tuple[int, int]":
        """
        Numbers of subjects and templates.
        """
    @staticmethod
    def create(path: "str", space: EmbeddingSpace, precision: str, approximate: "tuple[int, int, int, int] | None") -> NativeGallery: ...
    def embedding(self, /, template: SupportsIndex) -> "numpy.ndarray":
        """
        The values of a template's embedding.
        """
    def enroll(self, /, subjects: "list[tuple[Any, ...]]") -> "list[int]":
        """
        Enrols subjects: (name, metadata as JSON, templates).
        """
    def export(self, /, path: "str", progress: "collections.abc.Callable[[int], object] | None") -> "tuple[int, int]":
        """
        Writes the gallery as lines of JSON. Returns the numbers of subjects and templates.
        """
    def find(self, /, name: str) -> str | None:
        """
        The subject of this name as JSON.
        """
    def find_duplicates(self, /, min_similarity: SupportsFloat | SupportsIndex, progress: "collections.abc.Callable[[int], object] | None") -> "list[tuple[int, int, float]]":
        """
        Pairs of subjects that are alike: (id, id, similarity).
        """
    def identify(self, /, probes: "numpy.ndarray", space: EmbeddingSpace, top_k: SupportsIndex, rule: str, rate: SupportsFloat | SupportsIndex, threshold: Threshold | None, subjects: "list[int] | None", metadata_json: str | None, mode: str) -> "list[tuple[list[tuple[int, str, int, float]], Threshold, int]]":
        """
        For each probe (a row) the candidates, the threshold that was applied, and the number of templates that were compared.
        """
    def import_file(self, /, path: "str", skip_existing: bool, progress: "collections.abc.Callable[[int], object] | None") -> "tuple[int, int, int, int]":
        """
        Enrols what `export` has written. Returns the numbers of subjects and templates, and of subjects that were left out
        because they have no template, and because their names are enrolled.
        """
    @staticmethod
    def in_memory(space: EmbeddingSpace, precision: str, approximate: "tuple[int, int, int, int] | None") -> NativeGallery: ...
    @property
    def is_closed(self, /) -> bool: ...
    def memory_use(self, /) -> "tuple[int, int, int] | None":
        """
        Bytes in memory: records, vectors, approximate index; None for a gallery on a server.
        """
    @property
    def name(self, /) -> str: ...
    @staticmethod
    def on_server(server: "tuple[str, str, str | None, bool, int, float, float, tuple[int, int, int, int] | None]", space: EmbeddingSpace | None) -> NativeGallery:
        """
        A gallery on a server. With a space it is made; without, it must be there.
        """
    @staticmethod
    def open(path: "str", read_only: bool, precision: str, approximate: "tuple[int, int, int, int] | None") -> NativeGallery: ...
    def page(self, /, after: SupportsIndex | None, limit: SupportsIndex) -> str:
        """
        A page of subjects as JSON, in the order of their ids.
        """
    def remove_subject(self, /, subject: SupportsIndex) -> None: ...
    def remove_template(self, /, template: SupportsIndex) -> None: ...
    def rename(self, /, subject: SupportsIndex, name: str) -> None: ...
    def save_index(self, /) -> None:
        """
        Writes the approximate index beside the file; nothing for other galleries.
        """
    def search(self, /, probes: "numpy.ndarray", space: EmbeddingSpace, top_k: SupportsIndex, min_similarity: SupportsFloat | SupportsIndex | None, subjects: "list[int] | None", metadata_json: str | None, mode: str) -> "list[list[tuple[int, str, int, float]]]":
        """
        For each probe (a row) the most similar subjects: (id, name, template, similarity).
        """
    def set_metadata(self, /, subject: SupportsIndex, metadata_json: str) -> None: ...
    def set_thresholds(self, /, thresholds: SupportsGetItem[int, Threshold]) -> None: ...
    @property
    def space(self, /) -> EmbeddingSpace: ...
    def subject(self, /, subject: SupportsIndex) -> str:
        """
        A subject as JSON.
        """

@final
class NativeNormalizer:
    """
    Stage 3.
    """
    def normalize(self, /, image: Image, points: "tuple[list[list[float]], str]") -> Crop:
        """
        The face, on its template.
        """
    @staticmethod
    def of_embedder(embedder: NativeEmbedder) -> NativeNormalizer:
        """
        The normalizer that makes the crops of an embedder.
        """
    @staticmethod
    def of_template(template: str, zooms: SupportsGetItem[int, SupportsFloat | SupportsIndex]) -> NativeNormalizer:
        """
        The normalizer for a template of the catalogue, with these zooms.
        """

@final
class NativePipeline:
    """
    Detector, aligner, normalizer and embedder.
    """
    def __new__(cls, /, detector: NativeDetector, aligner: NativeAligner, normalizer: NativeNormalizer, embedder: NativeEmbedder) -> NativePipeline: ...
    def analyze(self, /, image: Image) -> "tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]":
        """
        All faces, and the detections that could not be embedded, each with the exception.
        """
    def analyze_central(self, /, image: Image, name: str) -> "tuple[Any, ...]":
        """
        The face nearest to the centre; `name` is used in the error.
        """
    def analyze_largest(self, /, image: Image, name: str) -> "tuple[Any, ...]":
        """
        The face with the largest box; `name` is used in the error.
        """
    def embed_detection(self, /, image: Image, detection: "tuple[Any, ...]") -> "tuple[Any, ...]":
        """
        Stages 2 to 4 for one detection.
        """
    def stream(self, /, threads: SupportsIndex, ahead: SupportsIndex) -> NativeStream:
        """
        Photos on their way, on so many threads, with so many ahead.
        """

@final
class NativeStream:
    """
    Photos on their way through a pipeline.
    """
    def close(self, /) -> None:
        """
        Photos that were begun are finished in the background, and no others begin.
        """
    def push(self, /, image: Image) -> None:
        """
        A picture.
        """
    def push_bytes(self, /, content: "bytes") -> None:
        """
        The content of a file.
        """
    def push_file(self, /, path: str | PathLike[str]) -> None:
        """
        A file, which is read on a thread of the stream.
        """
    def take(self, /) -> "tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], tuple[int, int]]":
        """
        The result that is next in the order: faces, rejected detections, width and height. Raises what went wrong with the photo.
        """

@final
class Threshold:
    """
    A similarity from which two faces count as the same person's, and what that costs.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __new__(cls, /, similarity: SupportsFloat | SupportsIndex, far: SupportsFloat | SupportsIndex, measured_on: str) -> Threshold: ...
    def __reduce__(self, /) -> tuple[type, tuple[float, float, str]]: ...
    def __repr__(self, /) -> str: ...
    @property
    def far(self, /) -> float:
        """
        False-accept rate: the share of pairs of *different* people that reach the similarity, on the set below.
        """
    @property
    def measured_on(self, /) -> str:
        """
        The data set and protocol on which the rate was measured.
        """
    @property
    def similarity(self, /) -> float:
        """
        Smallest similarity of a match.
        """

def catalogue() -> "list[tuple[str, str, bool, str, str, str, int, list[str]]]":
    """
    Every entry of the catalogue: name, role, whether it is its role's default, summary, licence, credit, bytes, and the names
    of its variants.
    """

def check_model(name: str, folder: "str | None") -> None:
    """
    Raises when the file of an entry is missing, damaged or altered.
    """

def cluster(rows: "numpy.ndarray", space: EmbeddingSpace, min_similarity: SupportsFloat | SupportsIndex) -> "list[int]":
    """
    The groups of faces of one person, as a label for each row.
    """

def cross_validate(folds: "list[tuple[numpy.ndarray, numpy.ndarray]]") -> "tuple[float, float, list[float]]":
    """
    The accuracy over folds, each at the threshold that is best on the others: mean, standard deviation, that of each fold.
    """

def draw_detections(image: Image, detections: "list[tuple[Any, ...]]") -> Image:
    """
    A copy of the picture with the box, the score and the landmarks of every detection.
    """

def draw_names(image: Image, faces: "list[tuple[list[float], str, bool]]") -> Image:
    """
    A copy of the picture with a box and a name for every face: (box, name, whether that is somebody).
    """

def features() -> list[str]:
    """
    What this build can do beside the rest: `hnsw` (approximate search), `postgres` (galleries on a server).
    """

def identification_at_fpir(ranks: "numpy.ndarray", best: "numpy.ndarray", unknown: "numpy.ndarray", fpir: SupportsFloat | SupportsIndex) -> "tuple[float, float, float]":
    """
    The open-set operating point at a false-positive identification rate: (threshold, fpir, tpir).
    """

def identification_at_threshold(ranks: "numpy.ndarray", best: "numpy.ndarray", unknown: "numpy.ndarray", threshold: SupportsFloat | SupportsIndex) -> "tuple[float, float, float]":
    """
    What a threshold achieves in open-set identification: (threshold, fpir, tpir).
    """

def identification_photos(folder: "str") -> "list[str]":
    """
    Every photo of a folder with a folder for each person, as a path below it.
    """

def image_limits() -> "tuple[int, int]":
    """
    The longest side in pixels and the most pixels that an array or a file may have.
    """

def lfw_photos(pairs: "str") -> "list[str]":
    """
    Every photo of a list of pairs in LFW's format, as a path below the folder of photos.
    """

def model_path(name: str, folder: "str | None") -> "str":
    """
    Where the file of an entry lies, or would lie.
    """

def models_folder() -> "str":
    """
    The folder in which models are kept by default: FACE_MODELS, or one in the platform's cache folder.
    """

def new_embedding(values: "numpy.ndarray", space: EmbeddingSpace) -> "numpy.ndarray":
    """
    The values of an embedding, brought to unit length where the space asks for it.
    """

def picture_endings() -> "list[str]":
    """
    How the names of files that can be decoded end, in lower case, with the dot.
    """

def postgres_names(server: "tuple[str, str, str | None, bool, int, float, float, tuple[int, int, int, int] | None]") -> list[str]:
    """
    The names of the galleries in a database.
    """

def pull_models(names: "list[str]", folder: "str | None", python: "str | None", progress: "collections.abc.Callable[[str, str, int | None, int | None], object]") -> None:
    """
    Brings models into the folder. `python` is the interpreter whose pip is used; `progress` is called with what happens, the
    file or name it happens to, and two numbers or None: ("downloading", file, received, total), ("present", name, None, None),
    ("installed", name, None, None), ("waiting", folder, None, None), ("retrying", file and reason, None, None).
    """

def roc(same: "numpy.ndarray", different: "numpy.ndarray") -> "tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]":
    """
    The receiver operating characteristic as three arrays: thresholds, false-accept rates, true-accept rates.
    """

def run_command(arguments: "list[str]") -> "int":
    """
    Runs the command `face` with these arguments, the program's name first. Returns its exit status.
    """

def score_identification(folder: "str", photos: "dict[str, numpy.ndarray | str]", space: EmbeddingSpace) -> "tuple[int, numpy.ndarray, numpy.ndarray, numpy.ndarray]":
    """
    Enrols one photo of each person and probes with the others, as `face eval identification` does. Returns the number of people
    who are enrolled; of the probes of enrolled people the rank of the right one (0: not found) and the similarity of the best
    candidate; and that of the probes of others.
    """

def score_lfw(pairs: "str", photos: "dict[str, numpy.ndarray | str]", space: EmbeddingSpace, measured_on: str) -> "tuple[tuple[float, float, list[float]], numpy.ndarray, numpy.ndarray, list[tuple[Threshold, float]], int]":
    """
    Scores embeddings of photos on a list of pairs; `photos` has the values, or why there are none. Returns the accuracy (mean,
    standard deviation, folds), similarities of same and of different pairs by fold, and thresholds over all pairs of photos of
    different people: (threshold, tar).
    """

def set_threads(threads: SupportsIndex) -> None:
    """
    Sets over how many threads a network is spread that a call runs by itself, in the whole process: 1 for none but the caller's, 0 for
    one on each core, as it is from the beginning.

    Several calls at once share them; within a stream, batch or folder, where there is a photo for each core, a network has one thread.
    The numbers are the same for every setting. Raises ParameterError for more than 1024.
    """

def similarities(first: "numpy.ndarray", first_space: EmbeddingSpace, second: "numpy.ndarray", second_space: EmbeddingSpace) -> "numpy.ndarray":
    """
    How alike every row of one matrix is to every row of another.
    """

def similarity(first: "numpy.ndarray", first_space: EmbeddingSpace, second: "numpy.ndarray", second_space: EmbeddingSpace) -> "float":
    """
    How alike two faces are.
    """

def train(path: "str | None", settings: "str | None", output: "str | None", seed: "int | None", resume: "bool", tell: "collections.abc.Callable[[str], object]") -> "str":
    """
    Trains a network as the settings say: a TOML file, or their JSON. `tell` is called with JSON records of what happens; what it
    raises, and Ctrl-C, stops the training at a checkpoint. Returns what came out, as JSON.
    """

def verification_at_far(same: "numpy.ndarray", different: "numpy.ndarray", far: SupportsFloat | SupportsIndex) -> "tuple[float, float, float]":
    """
    The operating point with the highest true-accept rate whose false-accept rate is at most `far`: (threshold, far, tar).
    """

def verification_at_threshold(same: "numpy.ndarray", different: "numpy.ndarray", threshold: SupportsFloat | SupportsIndex) -> "tuple[float, float, float]":
    """
    What a threshold achieves: (threshold, far, tar).
    """

def verify(first: "numpy.ndarray", first_space: EmbeddingSpace, second: "numpy.ndarray", second_space: EmbeddingSpace, threshold: Threshold) -> "tuple[float, bool]":
    """
    How alike two faces are, and whether that reaches the threshold.
    """

def version() -> str:
    """
    The version of the engine.
    """
