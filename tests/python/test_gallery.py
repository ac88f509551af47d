"""Galleries: in memory, in a file, on a server."""

import os
import socket
import threading
import time

import facecore as fc
import numpy as np
import postgres
import pytest
from conftest import skip


@pytest.fixture(scope="module")
def embeddings(pipeline, photos):
    return {name: pipeline.analyze_largest(path).embedding for name, path in photos.items()}


@pytest.fixture(scope="module")
def server():
    """The address of a PostgreSQL server with pgvector that is gone with the tests."""
    if "postgres" not in fc.features():
        pytest.skip("this build has no galleries on servers")
    if not postgres.is_there():
        skip("no PostgreSQL in target/tools (tests/run brings it)")
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["memory", "file", "approximate", "server"])
def gallery(request, pipeline, tmp_path):
    settings = {"pipeline": pipeline}
    if request.param == "memory":
        made = fc.Gallery(**settings)
    elif request.param == "server":
        url = request.getfixturevalue("server")
        name = request.node.name[:80]
        made = fc.Gallery(url, name=name, server=fc.Server(tls=False), **settings)
    else:
        made = fc.Gallery(tmp_path / "people.face", approximate=request.param == "approximate", **settings)
    with made:
        yield made


def test_the_life_of_a_gallery(gallery, embeddings, photos):
    ada = gallery.enroll("Ada", photos["obama"], metadata={"team": {"name": "red"}, "age": 36})
    assert ada.name == "Ada" and ada.metadata == {"team": {"name": "red"}, "age": 36}
    assert ada.templates[0].source == str(photos["obama"]) and 0.5 < ada.templates[0].quality <= 1
    ben = gallery.enroll("Ben", [embeddings["biden"], photos["biden"]])
    assert [template.source for template in ben.templates] == [None, str(photos["biden"])]
    assert len(gallery) == 2 and gallery.count() == (2, 3) and "Ada" in gallery and "Eve" not in gallery
    assert [subject.name for subject in gallery] == ["Ada", "Ben"] and gallery.subject("Ben") == gallery.subject(
        ben.id
    ) == ben
    assert (gallery.embedding(ben.templates[0]) == embeddings["biden"]).all()

    found = gallery.identify(photos["obama2"])
    assert found.names == ["Ada"] and found[0] and found[0].best_match.subject == ada.id and found[0].templates == 3
    assert len(found[0].candidates) == 2 and len(gallery.identify(photos["obama2"], top_k=1)[0].candidates) == 1
    one = gallery.identify(embeddings["obama2"])
    assert isinstance(one, fc.Identification) and one.name == "Ada" and one.face is None
    assert one.best_match.similarity == fc.similarity(embeddings["obama2"], embeddings["obama"])
    assert 0 < one.fpir_bound <= 0.01 and one.threshold.far * one.templates == pytest.approx(one.fpir_bound)
    stranger = gallery.identify(embeddings["astronaut"])
    assert not stranger and stranger.name is None and len(stranger.candidates) == 2
    assert gallery.identify(np.zeros((99, 99), np.uint8)).names == []
    assert gallery.identify(embeddings["astronaut"], threshold=0.0).best_match is not None
    assert gallery.identify(embeddings["astronaut"], far=1e-3).threshold.far == 1e-3
    assert gallery.identify(embeddings["obama2"], metadata={"team": {"name": "blue"}}).candidates == ()
    assert gallery.identify(embeddings["obama2"], subjects=[ben.id]).candidates[0].name == "Ben"
    answers = gallery.identify_batch([embeddings["obama2"], embeddings["astronaut"]], top_k=1)
    assert [answer.name for answer in answers] == ["Ada", None] and gallery.identify_batch([]) == []
    assert [[hit.name for hit in hits] for hits in gallery.search(embeddings["obama2"], mode="exact")] == [
        ["Ada", "Ben"]
    ]
    assert gallery.search(embeddings["obama2"], min_similarity=0.99) == [[]]

    gallery.enroll("Ada", embeddings["obama2"], existing="add", metadata={"age": 37})
    assert len(gallery.subject("Ada").templates) == 2 and gallery.subject("Ada").metadata == {"age": 37}
    assert gallery.count(metadata={"age": 37}) == (1, 2)
    (added,) = gallery.add("Ben", embeddings["astronaut"])
    gallery.remove_template(added)
    gallery.rename("Ben", "Benedict")
    gallery.set_metadata(ben, {"x": [1, None, "é"]})
    assert gallery.subject("Benedict").metadata == {"x": [1, None, "é"]} and gallery.find("Ben") is None
    gallery.enroll("Twin", embeddings["obama"])
    pairs = gallery.duplicates(progress=False)
    assert (pairs[0].first, pairs[0].second) == (ada.id, gallery.subject("Twin").id) and pairs[0].similarity > 0.999
    gallery.remove("Twin")
    gallery.compact()
    assert [subject.name for subject in gallery.subjects()] == ["Ada", "Benedict"]
    assert "2 subjects" in repr(gallery) and "<table>" in gallery._repr_html_()


def test_what_is_refused(gallery, embeddings, pipeline, photos):
    gallery.enroll("Ada", embeddings["obama"])
    with pytest.raises(fc.NameTakenError, match="Ada"):
        gallery.enroll("Ada", embeddings["biden"])
    with pytest.raises(fc.NoFaceError):
        gallery.enroll("Nobody", np.zeros((99, 99), np.uint8))
    with pytest.raises(FileNotFoundError):
        gallery.enroll("Nobody", "missing.jpg")
    other = fc.EmbeddingSpace.from_json(pipeline.space.to_json().replace(pipeline.space.digest, "00" * 32))
    stranger = fc.Embedding(embeddings["obama"].tolist(), other)
    for refuse in (
        lambda: gallery.enroll("Eve", stranger),
        lambda: gallery.identify(stranger),
        lambda: gallery.search(stranger),
    ):
        with pytest.raises(fc.SpaceMismatchError):
            refuse()
    for name in ("", "a" * 501, "a\0b"):
        with pytest.raises(fc.ParameterError):
            gallery.enroll(name, embeddings["obama"])
    for metadata in ({"a": float("nan")}, {"a": object()}, {"a": "x" * 70_000}, {"a": 2**70}, {1: 2}, {"a": {1: 2}}):
        with pytest.raises(fc.ParameterError):
            gallery.enroll("Eve", embeddings["obama"], metadata=metadata)
    for settings in (
        {"top_k": 0},
        {"top_k": -1},
        {"top_k": 10**6},
        {"fpir": 2.0},
        {"threshold": float("nan")},
        {"mode": "fast"},
        {"far": 1e-3, "fpir": 1e-2},
    ):
        with pytest.raises(fc.ParameterError):
            gallery.identify(embeddings["obama"], **settings)
    for missing in (99, "Nobody"):
        with pytest.raises(fc.NotEnrolledError):
            gallery.remove(missing)
    for unknown in (-1, 2**70):
        for use in (gallery.remove, gallery.subject, gallery.embedding, gallery.remove_template):
            with pytest.raises(fc.NotEnrolledError):
                use(unknown)
    assert gallery.identify(embeddings["obama"], subjects=[-1, 2**70]).candidates == ()
    plain = np.asarray(embeddings["obama"])
    for wrong in (
        lambda: gallery.enroll("Eve", 3),
        lambda: gallery.enroll("Eve", embeddings["obama"].astype(np.float64)),
    ):
        with pytest.raises((TypeError, fc.ImageError)):
            wrong()
    for wrong in (
        lambda: gallery.search(plain),
        lambda: gallery.identify(embeddings["obama"], subjects="12"),
        lambda: gallery.identify(embeddings["obama"], subjects=[1.5]),
        lambda: gallery.identify(embeddings["obama"], top_k=1.5),
        lambda: gallery.enroll_batch([("Eve", embeddings["biden"])]),
        lambda: gallery.set_metadata("Ada", [1]),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(fc.ParameterError):
        gallery.enroll("Eve", [])
    with pytest.raises(fc.NameTakenError):
        gallery.enroll_batch({"Eve": embeddings["biden"], "Ada": embeddings["biden"]})
    assert len(gallery) == 1 and "Eve" not in gallery
    assert len(gallery.enroll_batch({"Eve": embeddings["biden"], "Zoë": [photos["obama2"]]})) == 2


def test_galleries_travel(gallery, embeddings, pipeline, tmp_path):
    gallery.enroll("Ada", embeddings["obama"], metadata={"a": 1})
    gallery.enroll("Ben", embeddings["biden"])
    assert gallery.export(tmp_path / "people.jsonl", progress=False) == (2, 2)
    with fc.Gallery(pipeline=pipeline) as copy:
        assert copy.import_file(tmp_path / "people.jsonl", progress=False) == fc.ImportReport(2, 2, 0, 0)
        assert (copy.embedding(copy.subject("Ada").templates[0]) == embeddings["obama"]).all()
        with pytest.raises(fc.NameTakenError):
            copy.import_file(tmp_path / "people.jsonl")
        assert copy.import_file(tmp_path / "people.jsonl", existing="skip").existing == 2
        (tmp_path / "broken.jsonl").write_text("{}\n")
        with pytest.raises(fc.FormatError, match="line 1"):
            copy.import_file(tmp_path / "broken.jsonl")
        with pytest.raises(FileNotFoundError):
            copy.import_file(tmp_path / "missing.jsonl")


def test_files_are_opened_made_and_closed(pipeline, embeddings, tmp_path):
    path = tmp_path / "people.face"
    with fc.Gallery(path, pipeline=pipeline) as gallery:
        gallery.enroll("Ada", embeddings["obama"])
        with pytest.raises(fc.GalleryInUseError):
            fc.Gallery(path)
    assert gallery.closed and "closed" in repr(gallery)
    gallery.close()
    with pytest.raises(fc.ParameterError, match="closed"):
        gallery.enroll("Ben", embeddings["biden"])
    with fc.Gallery(path, "r") as one, fc.Gallery(str(path), "r") as other:
        assert len(one) == len(other) == 1 and one.space == pipeline.space
        with pytest.raises(fc.GalleryReadOnlyError):
            one.enroll("Ben", embeddings["biden"])
    with pytest.raises(FileExistsError):
        fc.Gallery(path, "x", pipeline=pipeline)
    with pytest.raises(FileNotFoundError):
        fc.Gallery(tmp_path / "missing.face", "r")
    with pytest.raises(fc.ParameterError):
        fc.Gallery(path, "w")
    with pytest.raises(fc.ParameterError):
        fc.Gallery(mode="r")
    with pytest.raises(fc.ParameterError, match="precision"):
        fc.Gallery(pipeline=pipeline, precision="f16")
    other = fc.EmbeddingSpace.from_json(pipeline.space.to_json().replace(pipeline.space.digest, "00" * 32))
    with pytest.raises(fc.SpaceMismatchError):
        fc.Gallery(path, space=other)
    if "single-euclidean" in {name for model in fc.models.list_models() for name in model.variants}:
        with pytest.raises(fc.SpaceMismatchError):
            fc.Gallery(path, pipeline=fc.Pipeline(variant="single-euclidean", pull=False))
    (tmp_path / "broken.face").write_bytes(b"this is no gallery" * 1000)
    with pytest.raises(fc.GalleryCorruptError):
        fc.Gallery(tmp_path / "broken.face")
    with fc.Gallery(path, precision="int8") as gallery:
        assert gallery.identify(embeddings["obama2"]).name == "Ada" and gallery.memory_use().vectors > 0
        gallery.set_thresholds([fc.Threshold(0.99, 0.01, "a test")])
    with fc.Gallery(path) as gallery:
        assert gallery.identify(embeddings["obama2"]).name is None


def test_an_index_is_kept_beside_the_file(pipeline, embeddings, tmp_path):
    if "hnsw" not in fc.features():
        pytest.skip("this build has no approximate search")
    random = np.random.default_rng(3)
    crowd = fc.stack(random.normal(size=(600, 128)), pipeline.space)
    settings = {"approximate": fc.Approximate(min_templates=100)}
    with fc.Gallery(tmp_path / "people.face", pipeline=pipeline, **settings) as gallery:
        gallery.enroll_batch({f"person {number}": embedding for number, embedding in enumerate(crowd)})
        exact = gallery.search(crowd, top_k=1, mode="exact")
        assert [hits[0].name for hits in exact] == [f"person {number}" for number in range(600)]
        near = gallery.search(crowd, top_k=1, mode="approximate")
        assert sum(a[0] == b[0] for a, b in zip(exact, near)) >= 590
        gallery.save_index()
        assert gallery.memory_use().approximate > 0
    assert (tmp_path / "people.face.hnsw").is_file()


def test_a_gallery_serves_many_threads(gallery, embeddings):
    gallery.enroll("Ada", embeddings["obama"])
    failed = []

    def work(number):
        try:
            gallery.enroll(f"person {number}", embeddings["biden"])
            for _ in range(10):
                assert gallery.identify(embeddings["obama2"]).name == "Ada"
        except (AssertionError, fc.FaceError) as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and len(gallery) == 7


def test_threads_that_enrol_many_do_not_wait_for_one_another(pipeline):
    if "hnsw" not in fc.features():
        pytest.skip("this build has no approximate search")
    random = np.random.default_rng(4)
    with fc.Gallery(pipeline=pipeline, approximate=fc.Approximate(min_templates=10)) as gallery:

        def work(number):
            crowd = fc.stack(random.normal(size=(400, 128)), pipeline.space)
            gallery.enroll_batch({f"{number} {place}": embedding for place, embedding in enumerate(crowd)})
            gallery.compact()

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads) and len(gallery) == 1600


def test_a_forked_process_does_not_write(pipeline, embeddings, tmp_path):
    path = tmp_path / "people.face"
    gallery = fc.Gallery(path, pipeline=pipeline)
    gallery.enroll("Ada", embeddings["obama"])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            gallery.enroll("Ben", embeddings["biden"])
        except fc.GalleryInUseError:
            gallery.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    gallery.enroll("Eve", embeddings["biden"])
    gallery.close()
    with fc.Gallery(path) as gallery:
        assert [subject.name for subject in gallery] == ["Ada", "Eve"]


def test_long_work_ends_when_it_is_interrupted(pipeline, tmp_path):
    size = 20_000
    crowd = fc.stack(np.random.default_rng(4).normal(size=(size, 128)), pipeline.space)
    with fc.Gallery(pipeline=pipeline) as gallery:
        gallery.enroll_batch({f"{place}": embedding for place, embedding in enumerate(crowd)})
        gallery.export(tmp_path / "people.jsonl", progress=False)
        told = []

        def interrupt(count):
            told.append(count)
            raise KeyboardInterrupt

        for work in (
            lambda: gallery._native.find_duplicates(0.5, interrupt),
            lambda: gallery._native.export(str(tmp_path / "again.jsonl"), interrupt),
        ):
            with pytest.raises(KeyboardInterrupt):
                work()
        # A machine that is done before Python is asked has nothing left to end.
        assert not (tmp_path / "again.jsonl").exists() or told[-1] == size
    with fc.Gallery(pipeline=pipeline) as gallery:
        with pytest.raises(KeyboardInterrupt):
            gallery._native.import_file(str(tmp_path / "people.jsonl"), False, interrupt)
        assert len(gallery) < size or told[-1] == size
        assert len(gallery) >= told[-1] and len(gallery) % 1000 == 0


def test_servers(server, pipeline, embeddings):
    plain = fc.Server(tls=False)
    with fc.Gallery(
        server, name="one", pipeline=pipeline, server=plain, approximate=fc.Approximate(min_templates=10)
    ) as gallery:
        gallery.enroll("Ada", embeddings["obama"])
        assert gallery.memory_use() is None
        gallery.save_index()
    with fc.Gallery(server, name="one", server=plain) as gallery:
        assert len(gallery) == 1 and gallery.space == pipeline.space
    assert "one" in fc.gallery_names(server, plain)
    with pytest.raises(fc.FaceError):
        fc.Gallery(server, "x", name="one", pipeline=pipeline, server=plain)
    with pytest.raises(fc.ParameterError):
        fc.Gallery(server, "r", server=plain)
    with pytest.raises(fc.GalleryError) as caught:
        fc.Gallery(
            "postgresql://me:geheim@127.0.0.1:1/x", pipeline=pipeline, server=fc.Server(tls=False, connect_timeout=1)
        )
    assert "geheim" not in str(caught.value)
    with pytest.raises(fc.GalleryError):
        # The server speaks no TLS.
        fc.gallery_names(server)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"postgresql://me@127.0.0.1:{silent.getsockname()[1]}/x"
        started = time.monotonic()
        with pytest.raises(fc.GalleryError):
            fc.Gallery(silent_url, pipeline=pipeline, server=fc.Server(tls=False, connect_timeout=1))
        # Not the ten seconds that are the default.
        assert time.monotonic() - started < 8
    for wrong in (
        fc.Server(connect_timeout=float("nan")),
        fc.Server(tls=False, root_certificate="a.pem"),
        fc.Server(pool_size=-1),
    ):
        with pytest.raises(fc.ParameterError):
            fc.gallery_names(server, wrong)
