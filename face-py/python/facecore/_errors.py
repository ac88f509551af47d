"""What facecore raises.

Files that are not there, or cannot be read or written, raise Python's own ``FileNotFoundError``, ``PermissionError`` and other
children of ``OSError``; arguments of a wrong type raise ``TypeError``. Everything else is a ``FaceError``.
"""

from __future__ import annotations

__all__ = [
    "CropError",
    "EmbeddingError",
    "FaceError",
    "FormatError",
    "GalleryCorruptError",
    "GalleryError",
    "GalleryInUseError",
    "GalleryReadOnlyError",
    "ImageError",
    "LandmarkError",
    "ModelError",
    "ModelMissingError",
    "NameTakenError",
    "NoFaceError",
    "NotEnrolledError",
    "ParameterError",
    "PullError",
    "SpaceMismatchError",
    "ThresholdUnknownError",
]


class FaceError(Exception):
    """The parent of all errors of facecore. Its text says what is wrong, where, and what to do."""


class ParameterError(FaceError, ValueError):
    """An argument is outside of its range, or names what there is not."""


class ImageError(FaceError, ValueError):
    """What was given is no picture: damaged, of an unknown format, too large, or an array of a shape or type that is none."""


class NoFaceError(FaceError):
    """No face was found where one is needed."""


class LandmarkError(FaceError, ValueError):
    """Landmarks that are missing, of another scheme, or too close together to carry a transform."""


class CropError(FaceError, ValueError):
    """A crop that was made for another embedder."""


class EmbeddingError(FaceError, ValueError):
    """A vector that is no embedding of its space: of another length, without direction, or not finite."""


class SpaceMismatchError(FaceError, ValueError):
    """Embeddings of different models or preprocessing: comparing them would mean nothing."""


class ThresholdUnknownError(FaceError, LookupError):
    """No threshold was measured at that rate. The text lists the rates there are."""


class FormatError(FaceError, ValueError):
    """A text file (pairs, settings of a model, an export) that does not follow its format. The text names the line."""


class ModelError(FaceError):
    """A model that is damaged, does not fit its role, or failed while it ran."""


class ModelMissingError(ModelError):
    """A model of the catalogue that is not in the cache; ``model`` is its name."""

    model: str


class PullError(ModelError):
    """A model that could not be brought from its source. The text says what to do."""


class GalleryError(FaceError):
    """The store of a gallery refused: no room, a server that is away, another version of the format."""


class GalleryInUseError(GalleryError):
    """Another process, or another object of this one, has the gallery open."""


class GalleryReadOnlyError(GalleryError):
    """The gallery was opened for reading."""


class GalleryCorruptError(GalleryError):
    """The file is damaged, or no gallery."""


class NotEnrolledError(GalleryError, LookupError):
    """The gallery has no such subject or template."""


class NameTakenError(GalleryError):
    """A subject of that name is enrolled already."""


# What a user sees, and what a pickle names, is `facecore.NoFaceError`.
for _name in __all__:
    globals()[_name].__module__ = "facecore"
