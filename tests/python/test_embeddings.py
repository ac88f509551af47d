"""Embeddings are arrays that know what they mean."""

import collections
import copy
import pickle

import facecore as fc
import numpy as np
import pytest


@pytest.fixture(scope="module")
def embeddings(pipeline, photos):
    return {name: pipeline.analyze_largest(path).embedding for name, path in photos.items()}


def other_space(space):
    return fc.EmbeddingSpace.from_json(space.to_json().replace(space.digest, "00" * 32))


def test_an_embedding_is_an_array(embeddings):
    embedding = embeddings["obama"]
    assert isinstance(embedding, np.ndarray) and embedding.shape == (128,) and embedding.dtype == np.float32
    assert abs(float(np.linalg.norm(embedding)) - 1) < 1e-6
    assert embedding.space.dimension == 128 and embedding.space.metric == "cosine"
    assert not embedding.flags.writeable and embedding.copy().flags.writeable
    assert "dlib-resnet-v1" in repr(embedding)


def test_what_is_computed_from_it_is_a_plain_array(embeddings):
    embedding = embeddings["obama"]
    results = [
        embedding * 2,
        embedding[:10],
        embedding[::2],
        embedding + embedding,
        -embedding,
        embedding / 3,
        np.abs(embedding),
    ]
    results += [
        np.stack([embedding, embedding]),
        np.concatenate([embedding, embedding]),
        np.mean([embedding, embedding], axis=0),
    ]
    results += [embedding @ np.ones((128, 3), np.float32), np.array(embedding), np.asarray(embedding) * 1]
    for result in results:
        assert type(result) is np.ndarray, result
    assert isinstance(embedding[0], np.float32) and isinstance(embedding.sum(), np.float32)
    methods = [
        embedding.astype(np.float64),
        embedding.reshape(2, 64),
        embedding.view(np.uint8),
        embedding.T,
        embedding.copy(),
    ]
    methods += [
        embedding.take([1, 0]),
        embedding.argsort(),
        embedding.byteswap(),
        embedding.ravel(),
        embedding.squeeze(),
    ]
    methods += [
        embedding.repeat(2),
        embedding.clip(0, 1),
        embedding.round(2),
        embedding.transpose(),
        embedding.cumsum(),
    ]
    matrix = fc.stack([embedding] * 128)
    methods += [
        matrix.T,
        matrix[:2],
        matrix.swapaxes(0, 1),
        matrix.mean(axis=0),
        np.sort(matrix),
        np.delete(matrix, 0, axis=0),
    ]
    for result in methods:
        assert type(result) is np.ndarray, result
        with pytest.raises(TypeError, match="no embedding"):
            fc.similarity([result], [embedding])
    pair = collections.namedtuple("Pair", "a b")
    assert np.concatenate(pair(embedding, embedding)).shape == (256,)
    with pytest.raises(ValueError, match="read-only"):
        embedding.sort()
    out = np.zeros(128, np.float32)
    np.add(embedding, 1, out=out)
    assert (out == np.asarray(embedding) + 1).all()


def test_it_cannot_be_written_to(embeddings):
    for array in (embeddings["obama"], fc.stack([embeddings["obama"]])):
        for again in (array, copy.deepcopy(array), copy.copy(array), pickle.loads(pickle.dumps(array))):
            assert not again.flags.writeable and again.space == array.space and (again == array).all()
            with pytest.raises(ValueError, match="read-only"):
                again *= 2
    assert embeddings["obama"].copy().flags.writeable


def test_it_keeps_its_bits_when_it_is_made_again(embeddings):
    for embedding in embeddings.values():
        again = fc.Embedding(embedding.tolist(), embedding.space)
        assert (again == embedding).all() and again.space == embedding.space
    longer = fc.Embedding(np.asarray(embedding) * 5, embedding.space)
    assert np.allclose(longer, embedding, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.ones(127), "127 values"),
        (np.ones((1, 128)), "shape"),
        (np.zeros(128), "no direction"),
        (np.full(128, np.nan), "not finite"),
        (np.full(128, np.inf), "not finite"),
        ([], "0 values"),
        (np.ones(128, complex), "complex"),
        (["a"] * 128, "dtype"),
        (np.ones(128, bool), "bool"),
    ],
)
def test_what_is_no_embedding_is_refused(values, says, pipeline):
    with pytest.raises(fc.EmbeddingError, match=says):
        fc.Embedding(values, pipeline.space)


def test_similarities_of_pairs_and_of_matrices_are_the_same_bits(embeddings):
    faces = list(embeddings.values())
    table = fc.similarity(faces, faces)
    assert table.shape == (4, 4) and table.dtype == np.float32
    for i, a in enumerate(faces):
        for j, b in enumerate(faces):
            assert table[i, j] == np.float32(fc.similarity(a, b)) == np.float32(a.similarity(b))
    assert (fc.similarity(faces[0], faces) == table[0]).all() and (fc.similarity(faces, faces[0]) == table[:, 0]).all()
    # An independent formula.
    matrix = np.stack(faces).astype(np.float64)
    assert np.abs(matrix @ matrix.T - table).max() < 1e-6
    assert fc.similarity(embeddings["obama"], embeddings["obama2"]) > fc.similarity(
        embeddings["obama"], embeddings["biden"]
    )


def test_stacks(embeddings, pipeline):
    faces = list(embeddings.values())
    stacked = fc.stack(faces)
    assert stacked.shape == (4, 128) and stacked.space == pipeline.space
    assert all((a == b).all() and a.space == b.space for a, b in zip(stacked, faces))
    assert (fc.stack(np.asarray(stacked), pipeline.space) == stacked).all() and fc.stack(stacked) is stacked
    assert fc.stack([], pipeline.space).shape == (0, 128)
    assert fc.similarity(fc.stack([], pipeline.space), faces).shape == (0, 4)
    with pytest.raises(fc.ParameterError, match="space="):
        fc.stack([])
    with pytest.raises(TypeError, match="space"):
        fc.stack([np.ones(128, np.float32)])


def test_spaces_do_not_mix(embeddings):
    embedding = embeddings["obama"]
    other = fc.Embedding(embedding.tolist(), other_space(embedding.space))
    for compare in (
        lambda: fc.similarity(embedding, other),
        lambda: embedding.similarity(other),
        lambda: fc.similarity([embedding], [other]),
        lambda: fc.stack([embedding, other]),
        lambda: fc.verify(embedding, other),
        lambda: fc.stack(fc.stack([embedding]), other.space),
        lambda: fc.stack([embedding], other.space),
        lambda: fc.Embedding(embedding, other.space),
        lambda: embedding - other,
        lambda: embedding @ other,
        lambda: np.add(embedding, other),
    ):
        with pytest.raises(fc.SpaceMismatchError) as caught:
            compare()
        assert embedding.space.digest in str(caught.value) and "00" * 32 in str(caught.value)


def test_a_space_describes_itself(pipeline):
    space = pipeline.space
    assert fc.EmbeddingSpace.from_json(space.to_json()) == space and hash(copy.copy(space)) == hash(space)
    assert space != other_space(space) and space.id != other_space(space).id
    threshold = space.threshold_at(1e-3)
    assert threshold.far == 1e-3 and threshold in space.thresholds and "LFW" in threshold.measured_on
    with pytest.raises(fc.ThresholdUnknownError, match="known rates"):
        space.threshold_at(0.5)
    with pytest.raises(fc.ParameterError):
        space.threshold_at(2.0)
    other = space.with_thresholds([fc.Threshold(0.5, 0.1, "a test")])
    assert other == space and other.threshold_at(0.1).similarity == 0.5
    with pytest.raises(fc.ParameterError, match="space"):
        fc.EmbeddingSpace.from_json("{}")


def test_groups(embeddings, pipeline):
    labels = fc.group(list(embeddings.values()), pipeline.space.threshold_at(1e-3).similarity)
    names = list(embeddings)
    assert labels[names.index("obama")] == labels[names.index("obama2")]
    assert len(set(labels.tolist())) == 3
    with pytest.raises(fc.ParameterError):
        fc.group(list(embeddings.values()), float("nan"))
