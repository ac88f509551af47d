"""Batch analysis on Ray: a local cluster of two nodes, one of which is killed in the middle."""

import collections
import os
import shutil
import time

import facecore as fc
import numpy as np
import pytest
from conftest import imported
from test_gallery import server  # noqa: F401

PHOTOS = 60


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    imported("ray")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    from ray.cluster_utils import Cluster

    # The first node has room for what the second one loses: with nowhere to go, actors wait for a new machine.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "object_store_memory": 200 << 20})
    cluster.second = cluster.add_node(num_cpus=2, object_store_memory=200 << 20, resources={"second": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """Photos of several people, a picture without a face, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    known = (person for person in sorted((data / "lfw" / "images").iterdir()) if len(list(person.iterdir())) >= 5)
    taken = 0
    for person in known:
        for photo in sorted(person.iterdir())[:5]:
            (folder / person.name).mkdir(exist_ok=True)
            shutil.copy(photo, folder / person.name)
            taken += 1
        if taken >= PHOTOS:
            break
    (folder / "nobody").mkdir()
    (folder / "nobody" / "broken.jpg").write_bytes(b"no picture")
    fc.load(np.full((100, 100), 90, np.uint8)).save(folder / "nobody" / "grey.png")
    return folder


def test_every_photo_comes_out_once_although_a_node_is_killed(cluster, folder, pipeline, server, tmp_path):  # noqa: F811
    import facecore.ray
    import ray

    photos = ray.data.read_binary_files(str(folder), include_paths=True, override_num_blocks=16)
    faces = facecore.ray.analyze(photos, actors=2, batch_size=2, pull=False)
    stopped = kill_after(cluster, tmp_path / "faces", 3, folder)
    faces.write_parquet(str(tmp_path / "faces"))
    stopped()
    assert len([node for node in ray.nodes() if node["Alive"]]) == 1

    table = ray.data.read_parquet(str(tmp_path / "faces")).to_pandas()
    given = sorted(str(path) for path in folder.rglob("*.*"))
    assert sorted(set(table["source"])) == given
    # Once: no face of a photo has the same number twice.
    twice = collections.Counter(zip(table["source"], table["face"].fillna(-1)))
    assert max(twice.values()) == 1
    errors = table[table["error"].notna()].set_index("source")["error"]
    assert "not a readable picture" in errors[str(folder / "nobody" / "broken.jpg")]
    assert errors[str(folder / "nobody" / "grey.png")] == "no face was found"
    # The numbers are those of one pipeline here.
    source = given[0]
    ours = pipeline.analyze(source)
    theirs = table[table["source"] == source].sort_values("face")
    assert len(ours) == len(theirs)
    assert (ours[0].embedding == np.asarray(theirs["embedding"].iloc[0], np.float32)).all()

    data_set = ray.data.read_parquet(str(tmp_path / "faces"))
    settings = {"name": "ray", "pipeline": pipeline, "server": fc.Server(tls=False)}
    with fc.Gallery(server, **settings) as gallery:
        enrolled, left_out = facecore.ray.enroll(data_set, gallery, name=person_of)
        assert gallery.count() == (len({person_of(path) for path in given}) - 1, enrolled) and left_out >= 2
        assert gallery.identify(source).names[0] == person_of(source)
        again, _ = facecore.ray.enroll(data_set, gallery, name=person_of)
        assert again == 0 and gallery.count()[1] == enrolled


def test_a_parquet_file_of_images(cluster, folder, pipeline, tmp_path):
    import facecore.ray
    import pyarrow
    import pyarrow.parquet
    import ray

    paths = [path for path in sorted(folder.rglob("*.jpg")) if path.parent.name != "nobody"][:4]
    table = {"id": [path.name for path in paths], "image": [path.read_bytes() for path in paths]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "photos.parquet")
    photos = ray.data.read_parquet(str(tmp_path / "photos.parquet"))
    faces = facecore.ray.analyze(photos, image="image", source="id", pull=False).to_pandas()
    assert sorted(set(faces["source"])) == sorted(table["id"]) and faces["error"].isna().all()
    ours = pipeline.analyze(paths[0])
    theirs = faces[faces["source"] == paths[0].name].sort_values("face")
    assert [face.score for face in ours] == theirs["score"].tolist()


def person_of(path):
    name = os.path.basename(os.path.dirname(path))
    return name if name != "nobody" else None


def kill_after(cluster, written, files, folder):
    """Kills the second node, as a power cut would, when so many files of results are there."""
    import threading

    killed = threading.Event()

    def wait():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if written.is_dir() and len(list(written.glob("*.parquet"))) >= files:
                cluster.remove_node(cluster.second, allow_graceful=False)
                killed.set()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()

    def stopped():
        thread.join()
        assert killed.is_set(), "the node was not killed in the middle"

    return stopped
