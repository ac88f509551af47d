"""Many photos: in order, with errors for each, in bounded memory, side by side, and across processes."""

import copy
import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import facecore as fc
import numpy as np
import pytest
from conftest import takes_long


def test_a_stream_keeps_the_order_and_goes_on_after_errors(pipeline, photos):
    images = [photos["obama"], b"no picture", photos["biden"], "missing.jpg", np.zeros((50, 50, 3), np.uint8), 3]
    results = list(pipeline.stream(images))
    assert [result.ok for result in results] == [True, False, True, False, True, False]
    assert [type(result.error) for result in results if not result.ok] == [fc.ImageError, FileNotFoundError, TypeError]
    assert results[3].source == "missing.jpg" and "missing.jpg" in repr(results[3])
    for name, result in (("obama", results[0]), ("biden", results[2])):
        assert result.source == str(photos[name])
        assert (result[0].embedding == pipeline.analyze(photos[name])[0].embedding).all()


def test_frames_are_taken_as_they_are(pipeline, photos):
    """As a camera gives them: one array, which it writes to again and again."""
    frames = [fc.load(photos[name]).to_array()[:550, :550] for name in ("obama", "astronaut")]
    frames[1] = fc.load(photos["astronaut"]).to_array()[:512, :512]
    frames = [np.ascontiguousarray(frame[:512, :512]) for frame in frames]
    buffer = np.empty_like(frames[0])

    def camera():
        for number in range(8):
            buffer[:] = frames[number % 2]
            yield buffer

    expected = [len(pipeline.analyze(frame)) and pipeline.analyze(frame)[0].box.tolist() for frame in frames]
    found = [len(result) and result[0].box.tolist() for result in pipeline.stream(camera(), ahead=6)]
    assert found == expected * 4 and expected[0] != expected[1]


def test_whatever_goes_wrong_with_a_photo_is_its_own(pipeline, photos):
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("the sensor is gone")

    class Odd:
        @property
        def filename(self):
            raise KeyError("no name")

    results = list(pipeline.stream([Broken(), photos["obama"], Odd()]))
    assert [type(result.error) for result in results] == [RuntimeError, type(None), KeyError]
    for one in (str(photos["obama"]), photos["obama"], b"bytes", fc.load(photos["obama"])):
        with pytest.raises(TypeError, match="one photo"):
            pipeline.stream(one)
        with pytest.raises(TypeError, match="one photo"):
            pipeline.analyze_batch(one)
    with pytest.raises(fc.ParameterError, match="color"):
        pipeline.stream([], color="gbr")


def test_the_number_of_threads_changes_no_bit(photos):
    takes_long()
    images = list(photos.values()) * 2
    expected = fc.Pipeline(threads=1, pull=False).analyze_batch(images)
    found = fc.Pipeline(threads=4, pull=False).analyze_batch(images)
    for a, b in zip(expected, found):
        assert len(a) == len(b) > 0
        for one, other in zip(a, b):
            assert (one.box == other.box).all() and (one.embedding == other.embedding).all()


def threads_of_streams():
    """Threads of the engine that work on photos of streams; 0 where the system does not tell."""
    names = Path("/proc/self/task").glob("*/comm")
    return sum(name.read_text().startswith("face-stream") for name in names)


def test_a_stream_takes_no_more_than_it_may(pipeline):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield np.zeros((40, 40), np.uint8)

    stream = pipeline.stream(endless(), ahead=5)
    assert taken == []
    for number in range(20):
        assert next(stream).ok
        assert len(taken) <= number + 6
    assert threads_of_streams() > 0 or sys.platform != "linux"
    stream.close()
    assert len(taken) <= 26
    # What was begun is finished in the background.
    until = time.monotonic() + 60
    while threads_of_streams() > 0:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert list(pipeline.stream([])) == []
    with pytest.raises(fc.ParameterError, match="ahead"):
        pipeline.stream([], ahead=-1)


def test_what_the_iterable_raises_comes_through(pipeline):
    def broken():
        yield np.zeros((40, 40), np.uint8)
        raise OverflowError("the camera is gone")

    with pytest.raises(OverflowError, match="camera"):
        list(pipeline.stream(broken()))


def test_results_of_many_keep_paths_alone(pipeline, photos):
    array = fc.load(photos["obama"]).to_array()
    by_path, by_array = pipeline.stream([photos["obama"], array])
    assert by_path.image.width == array.shape[1] and by_path._repr_png_()
    with pytest.raises(fc.ParameterError, match="not at hand"):
        by_array.image  # noqa: B018
    assert by_array._repr_png_() is None and by_array[0]._repr_png_() is None
    assert pipeline.analyze(array)._repr_png_().startswith(b"\x89PNG")


def test_folders(pipeline, photos, tmp_path):
    for place in ("b.jpg", "a.PNG", "sub/c.jpeg", "sub/.hidden.jpg", ".secret/d.jpg", "notes.txt", "e.jpg"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photos["obama"].read_bytes() if "e.jpg" not in place else b"broken")
    results = pipeline.analyze_folder(tmp_path, progress=False)
    assert [os.path.relpath(result.source, tmp_path) for result in results] == ["a.PNG", "b.jpg", "e.jpg", "sub/c.jpeg"]
    assert [result.ok for result in results] == [True, True, False, True]
    assert len(pipeline.analyze_folder(tmp_path, recursive=False)) == 3
    with pytest.raises(FileNotFoundError):
        pipeline.analyze_folder(tmp_path / "missing")
    with pytest.raises(NotADirectoryError):
        pipeline.analyze_folder(tmp_path / "notes.txt")


def analyze_on(threads, photo):
    fc.set_threads(threads)
    return fc.default_pipeline().analyze(photo)[0].embedding


def test_a_network_on_several_threads_gives_the_same_numbers(pipeline, photos):
    takes_long()
    expected = pipeline.analyze(photos["obama"])[0].embedding
    try:
        for threads in (1, 2, 3, 0):
            assert (analyze_on(threads, photos["obama"]) == expected).all()
        # The threads do not come with a fork: a child starts its own.
        with multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn").Pool(1) as pool:
            assert (pool.apply_async(analyze_on, (2, photos["obama"])).get(timeout=120) == expected).all()
    finally:
        fc.set_threads(0)
    with pytest.raises(fc.ParameterError, match="threads"):
        fc.set_threads(1025)
    with pytest.raises((OverflowError, TypeError)):
        fc.set_threads(-1)


def test_other_threads_run_meanwhile(pipeline, photos):
    photo = fc.load(photos["obama"])
    ticks, done = [0], threading.Event()

    def count():
        while not done.is_set():
            ticks[0] += 1
            time.sleep(0.0005)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        # Without the interpreter being given up, the other thread could not count at all during the call.
        before = ticks[0]
        pipeline.analyze(photo)
        during = ticks[0] - before
    finally:
        done.set()
        thread.join()
    assert during >= 3


def test_one_pipeline_serves_many_threads(pipeline, photos):
    takes_long()
    expected = {name: pipeline.analyze(path)[0].embedding for name, path in photos.items()}
    wrong = []

    def work():
        for name, path in photos.items():
            if not (pipeline.analyze(path)[0].embedding == expected[name]).all():
                wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_everything_pickles(pipeline, photos):
    analysis = pipeline.analyze(photos["obama"])
    values = [analysis, analysis[0], analysis[0].detection, analysis[0].embedding, fc.stack([analysis[0].embedding])]
    crop = pipeline.normalizer.normalize(photos["obama"], analysis[0].landmarks)
    values += [
        crop,
        pipeline.space,
        pipeline.space.thresholds[0],
        fc.verify(analysis[0], analysis[0]),
        fc.load(photos["obama"]),
    ]
    with fc.Gallery(pipeline=pipeline) as gallery:
        values += [gallery.enroll("Ada", analysis[0]), gallery.identify(analysis[0])]
    for value in values:
        for again in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert type(again) is type(value) and repr(again) == repr(value)
    again = pickle.loads(pickle.dumps(crop))
    assert (pipeline.embedder.embed(again) == analysis[0].embedding).all()
    assert (again.transform == crop.transform).all()
    again = pickle.loads(pickle.dumps(analysis[0].embedding))
    assert (again == analysis[0].embedding).all() and again.space == pipeline.space
    for stage in (pipeline, pipeline.detector, pipeline.aligner, pipeline.normalizer, pipeline.embedder):
        again = pickle.loads(pickle.dumps(stage))
        assert repr(again) == repr(stage)
    own = fc.Pipeline(threads=3, max_side=300, pull=False)
    again = pickle.loads(pickle.dumps(own))
    assert again.threads == 3 and again.detector._configuration["max_side"] == 300
    assert (again.analyze(photos["obama"])[0].box == own.analyze(photos["obama"])[0].box).all()


def test_errors_pickle(pipeline):
    for name in fc._errors.__all__:
        kind = getattr(fc, name)
        error = kind("what is wrong")
        error.model = "centerface"
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and str(again) == "what is wrong" and again.model == "centerface"
        assert issubclass(kind, fc.FaceError) and kind.__doc__ and kind.__module__ == "facecore"
    with pytest.raises(FileNotFoundError) as caught:
        pipeline.analyze("missing.jpg")
    assert pickle.loads(pickle.dumps(caught.value)).filename == "missing.jpg"


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes(method, pipeline, photos):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    expected = pipeline.analyze(photos["obama"])[0].embedding
    # The engine's threads are running when the child is forked, and do not come with it.
    assert fc.similarity([expected] * 50, [expected] * 50).shape == (50, 50)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map_async(pipeline.analyze, [str(photos["obama"])] * 3).get(timeout=120)
        tables = pool.starmap_async(fc.similarity, [([expected] * 50, [expected] * 50)] * 2).get(timeout=120)
    assert all((result[0].embedding == expected).all() for result in results)
    assert all(table.shape == (50, 50) for table in tables)


def test_ctrl_c_ends_a_batch(photos):
    script = (
        "import signal, sys, facecore as fc\n"
        # Where the tests run in the background, interrupts are ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('ready', flush=True)\n"
        "fc.Pipeline(pull=False).analyze_batch([sys.argv[1]] * 100_000)\n"
    )
    command = [sys.executable, "-c", script, str(photos["obama"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode != 0 and "KeyboardInterrupt" in said


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_thousand_calls_leave_nothing_behind(pipeline, photos):
    takes_long()
    detector = fc.Detector(max_side=32, small_side=None, pull=False)
    tiny = np.zeros((32, 32, 3), np.uint8)
    embedding = pipeline.analyze(photos["obama"])[0].embedding
    gallery = fc.Gallery(pipeline=pipeline)
    gallery.enroll("Ada", embedding)

    small = np.ascontiguousarray(fc.load(photos["obama"]).to_array()[::6, ::6])
    crop = np.zeros((150, 150, 3), np.uint8)
    assert len(pipeline.analyze(small)) == 1

    def network():
        pipeline.embedder.embed(crop)
        list(pipeline.analyze(small))
        list(pipeline.stream([small]))
        try:
            pipeline.analyze_largest(tiny)
        except fc.NoFaceError:
            pass

    def once():
        detector.detect(tiny)
        fc.load(tiny).to_array()
        embedding.similarity(embedding)
        fc.stack([embedding, embedding])
        gallery.identify(embedding)
        pickle.loads(pickle.dumps(embedding))
        try:
            fc.load(b"no picture")
        except fc.ImageError:
            pass

    for rounds, work, allowed in ((10_000, once, 8 << 20), (300, network, 8 << 20)):
        for _ in range(rounds // 10):
            work()
        gc.collect()
        before = resident()
        for _ in range(rounds):
            work()
        gc.collect()
        # Of the small calls one that keeps a kilobyte would show, of the networks one that keeps a small picture.
        assert resident() - before < allowed


def test_arrays_outlive_what_made_them(photos):
    pipeline = fc.Pipeline(pull=False)
    analysis = pipeline.analyze(photos["obama"])
    face = analysis[0]
    expected = [face.box.tolist(), face.landmarks.tolist(), face.embedding.tolist()]
    arrays = [face.box, face.landmarks, face.embedding]
    del pipeline, analysis, face
    gc.collect()
    junk = [np.random.default_rng(0).random(10_000) for _ in range(100)]
    assert [array.tolist() for array in arrays] == expected and len(junk) == 100
