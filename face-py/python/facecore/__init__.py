"""Face recognition: find the faces in a photo, say whether two of them are the same person's, and who of the enrolled people they are.

>>> import facecore as fc
>>> pipeline = fc.Pipeline()                             # default models, pulled at the first use
>>> faces = pipeline.analyze(photo)                      # a path, bytes, an array, a PIL image
>>> faces[0].box.shape, faces[0].landmarks.shape, faces[0].embedding.shape
((4,), (5, 2), (128,))
>>> fc.verify(fc.models.path("obama"), fc.models.path("obama2")).match
True
>>> with fc.Gallery() as gallery:                        # or fc.Gallery("people.face")
...     subject = gallery.enroll("Barack", fc.models.path("obama"))
...     gallery.identify(fc.models.path("obama2"))[0].name
'Barack'

Photos walk through four stages, each of which can be used alone: ``Detector``, ``Aligner``, ``Normalizer``, ``Embedder``;
``Pipeline`` chains them. Embeddings are NumPy arrays that know their ``EmbeddingSpace``: comparing across models is an error, not
a number. Thresholds state their false-accept rate and the data it was measured on.

``stream``, ``analyze_batch`` and ``analyze_folder`` of a pipeline work on all cores; ``facecore.ray`` on many machines.
``models`` is the catalogue, ``evaluation`` measures, ``train`` learns a network from your own photos. In a notebook, faces and answers show themselves as pictures.

Everything may be used by any number of threads; other Python threads run while the engine works. All errors are ``FaceError``,
beside Python's own for files and types. The engine is the Rust library face-core, and gives the same numbers as in Rust and C.
"""

from . import evaluation, models
from ._embeddings import Embedding, Embeddings, group, similarity, stack
from ._errors import (
    CropError,
    EmbeddingError,
    FaceError,
    FormatError,
    GalleryCorruptError,
    GalleryError,
    GalleryInUseError,
    GalleryReadOnlyError,
    ImageError,
    LandmarkError,
    ModelError,
    ModelMissingError,
    NameTakenError,
    NoFaceError,
    NotEnrolledError,
    ParameterError,
    PullError,
    SpaceMismatchError,
    ThresholdUnknownError,
)
from ._gallery import (
    Approximate,
    Candidate,
    Duplicate,
    Gallery,
    Identification,
    Identifications,
    ImportReport,
    MemoryUse,
    Server,
    Subject,
    Template,
    gallery_names,
)
from ._images import load
from ._native import Crop, EmbeddingSpace, Image, Threshold, features, set_threads, version
from ._notebook import draw
from ._pipeline import Analysis, Face, Failure, Pipeline, Verification, default_pipeline, verify
from ._stages import Aligner, Detection, Detector, Embedder, Normalizer
from ._train import TrainResult, train

__version__ = version()

__all__ = [
    "Aligner",
    "Analysis",
    "Approximate",
    "Candidate",
    "Crop",
    "CropError",
    "Detection",
    "Detector",
    "Duplicate",
    "Embedder",
    "Embedding",
    "EmbeddingError",
    "EmbeddingSpace",
    "Embeddings",
    "Face",
    "FaceError",
    "Failure",
    "FormatError",
    "Gallery",
    "GalleryCorruptError",
    "GalleryError",
    "GalleryInUseError",
    "GalleryReadOnlyError",
    "Identification",
    "Identifications",
    "Image",
    "ImageError",
    "ImportReport",
    "LandmarkError",
    "MemoryUse",
    "ModelError",
    "ModelMissingError",
    "NameTakenError",
    "NoFaceError",
    "Normalizer",
    "NotEnrolledError",
    "ParameterError",
    "Pipeline",
    "PullError",
    "Server",
    "SpaceMismatchError",
    "Subject",
    "Template",
    "Threshold",
    "ThresholdUnknownError",
    "TrainResult",
    "Verification",
    "default_pipeline",
    "draw",
    "evaluation",
    "features",
    "gallery_names",
    "group",
    "load",
    "models",
    "set_threads",
    "similarity",
    "stack",
    "train",
    "verify",
    "version",
]
