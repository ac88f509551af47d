"""What counts as a photo, and what is refused."""

import io

import facecore as fc
import numpy as np
import pytest
from conftest import imported


@pytest.fixture(scope="module")
def pixels(photos):
    return fc.load(photos["obama"]).to_array()


def boxes(faces):
    return np.array([face.box for face in faces])


def test_every_kind_of_photo_gives_the_same_pixels(photos, pixels):
    path = photos["obama"]
    content = path.read_bytes()

    class Interface:
        __array_interface__ = pixels.__array_interface__

    class Array:
        def __array__(self, dtype=None, copy=None):
            return pixels

    kinds = [path, str(path), content, bytearray(content), memoryview(content), pixels, Interface(), Array()]
    kinds += [fc.load(path), np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])]
    for kind in kinds:
        assert (fc.load(kind).to_array() == pixels).all(), type(kind)
    assert (fc.load(pixels[..., ::-1], color="bgr").to_array() == pixels).all()
    assert (fc.load(pixels.astype(np.float32) / 255).to_array() == pixels).all()
    assert (fc.load(pixels.astype(np.float64) / 255).to_array() == pixels).all()


def test_arrays_of_all_strides(pixels):
    for view in (pixels[::-1], pixels[:, ::-1], pixels[::2, ::3], pixels.transpose(1, 0, 2), np.asfortranarray(pixels)):
        assert (fc.load(view).to_array() == view).all()
    read_only = pixels.copy()
    read_only.flags.writeable = False
    assert (fc.load(read_only).to_array() == pixels).all()


def test_grey_is_grey(pixels, pipeline):
    grey = pixels.mean(axis=2).astype(np.uint8)
    for array in (grey, grey[..., None]):
        image = fc.load(array)
        assert (image.to_array() == grey[..., None]).all()
        assert len(pipeline.analyze(image)) == 1


def test_what_was_given_is_not_changed_and_not_needed_afterwards(pixels, pipeline):
    own = pixels.copy()
    image = fc.load(own)
    assert (own == pixels).all()
    own[:] = 0
    assert (image.to_array() == pixels).all()
    array = image.to_array()
    del image
    array += 0
    assert (array == pixels).all()


def test_color_order_matters(pixels, pipeline):
    right, wrong = pipeline.analyze(pixels), pipeline.analyze(pixels, color="bgr")
    assert fc.similarity(right[0].embedding, wrong[0].embedding) < 0.999
    assert (boxes(pipeline.analyze(pixels[..., ::-1].copy(), color="bgr")) == boxes(right)).all()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((0, 10, 3), np.uint8), "empty"),
        (np.zeros((10, 0, 3), np.uint8), "empty"),
        (np.zeros((10, 10, 2), np.uint8), "shape"),
        (np.zeros((10, 10, 5), np.uint8), "shape"),
        (np.zeros((3, 10, 10), np.uint8), "channels must come last"),
        (np.zeros(10, np.uint8), "shape"),
        (np.zeros((1, 2, 3, 4), np.uint8), "shape"),
        (np.zeros((10, 10, 3), np.int64), "int64"),
        (np.zeros((10, 10, 3), np.uint16), "uint16"),
        (np.zeros((10, 10, 3), bool), "bool"),
        (np.zeros((10, 10, 3), complex), "complex"),
        (np.full((10, 10, 3), 200.0), "divide it by 255"),
        (np.full((10, 10, 3), np.nan), "from 0 to 1"),
        (np.full((10, 10, 3), -0.1), "from 0 to 1"),
        (np.array([["a", "b"]]), "dtype"),
        (np.array([[None, None]]), "dtype"),
        # Nothing may be copied before its size is known: these claim terabytes, and hold a byte.
        (np.broadcast_to(np.uint8(0), (10**6, 10**6, 3)), "limit"),
        (np.broadcast_to(np.float64(0), (32_768, 32_768)), "limit"),
        (np.broadcast_to(np.uint8(0), (10, 10**9, 3)), "limit"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(array, says, pipeline):
    with pytest.raises(fc.ImageError, match=says):
        pipeline.analyze(array)
    assert issubclass(fc.ImageError, ValueError)


@pytest.mark.parametrize("value", [None, 3, 2.5, object(), [[1, 2]], {"a": 1}, lambda: None, ("a",)])
def test_what_is_no_photo_is_a_type_error(value, pipeline):
    with pytest.raises(TypeError, match="photo"):
        pipeline.analyze(value)


@pytest.mark.parametrize(
    "content", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut short", b"\x89PNG\r\n\x1a\n" + bytes(30)]
)
def test_bytes_that_are_no_picture_are_refused(content):
    with pytest.raises(fc.ImageError, match="not a readable picture"):
        fc.load(content)


def test_files_raise_python_s_own_errors(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        fc.load(tmp_path / "fehlt.jpg")
    assert caught.value.filename == str(tmp_path / "fehlt.jpg") and caught.value.errno == 2
    with pytest.raises(IsADirectoryError):
        fc.load(tmp_path)
    with pytest.raises(ValueError, match="null|NUL|nul"):
        fc.load("a\0b.jpg")


def test_paths_of_any_letters(tmp_path, photos):
    path = tmp_path / "Łódź 東京.jpg"
    path.write_bytes(photos["obama"].read_bytes())
    assert fc.load(path).width == fc.load(str(path)).width > 0


def test_an_image_shows_saves_and_converts_itself(tmp_path, pixels):
    image = fc.load(pixels)
    assert np.asarray(image).shape == pixels.shape == (image.height, image.width, 3)
    assert np.asarray(image, dtype=np.float32).dtype == np.float32
    assert image._repr_png_().startswith(b"\x89PNG")
    image.save(tmp_path / "copy.png")
    assert (fc.load(tmp_path / "copy.png").to_array() == pixels).all()
    with pytest.raises(fc.ParameterError, match="png"):
        image.save(tmp_path / "copy.xyz")
    with pytest.raises(fc.ParameterError, match="color"):
        fc.load(pixels, color="gbr")
    assert repr(image) == f"<Image {image.width} x {image.height}>"


def test_pil_images(photos, pixels):
    pil = imported("PIL.Image")
    with pil.open(photos["obama"]) as image:
        assert np.abs(fc.load(image).to_array().astype(int) - pixels).max() <= 3
    image = pil.fromarray(pixels)
    assert (fc.load(image).to_array() == pixels).all()
    assert (fc.load(image.convert("RGBA")).to_array() == pixels).all()
    palette = image.convert("P")
    assert (fc.load(palette).to_array() == np.asarray(palette.convert("RGB"))).all()
    assert (fc.load(image.convert("L")).to_array()[..., 0] == np.asarray(image.convert("L"))).all()
    for mode in ("I", "F"):
        with pytest.raises(fc.ImageError, match="8 bits"):
            fc.load(image.convert("L").convert(mode))
    empty = pil.new("RGB", (0, 5))
    with pytest.raises(fc.ImageError, match="empty"):
        fc.load(empty)


def test_drawing(photos, pipeline):
    pil = imported("PIL.Image")
    faces = pipeline.analyze(photos["obama"])
    drawn = fc.draw(photos["obama"], faces)
    assert isinstance(drawn, pil.Image) and drawn.size == faces.size
    assert (np.asarray(drawn) == faces.draw().to_array()).all()
    assert (np.asarray(drawn) != fc.load(photos["obama"]).to_array()).any()
    detected = fc.draw(photos["obama"], pipeline.detector.detect(photos["obama"]))
    assert (np.asarray(detected) == np.asarray(drawn)).all()
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    assert buffer.tell() > 1000


def test_frames_of_opencv(photos, pipeline):
    cv2 = imported("cv2")
    frame = cv2.imread(str(photos["obama"]))
    from_frame = pipeline.analyze(frame, color="bgr")
    from_file = pipeline.analyze(photos["obama"])
    # Two decoders of JPEG round differently.
    assert np.abs(boxes(from_frame) - boxes(from_file)).max() < 1.0
    assert fc.similarity(from_frame[0].embedding, from_file[0].embedding) > 0.999
    drawn = np.asarray(from_frame.draw())[..., ::-1]
    assert cv2.imencode(".png", np.ascontiguousarray(drawn))[0]
