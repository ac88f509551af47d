"""Measures, against formulas of their own and against the command."""

import json
import shutil

import facecore as fc
import numpy as np
import pytest
from conftest import imported
from test_command import face

E = fc.evaluation


@pytest.fixture(scope="module")
def scores():
    random = np.random.default_rng(5)
    return E.PairScores(random.normal(1, 1, 2000), random.normal(-1, 1, 5000))


def test_operating_points_against_counting(scores):
    for far in (0.1, 0.01, 0.001):
        point = scores.at_far(far)
        assert point.far == np.mean(scores.different >= np.float32(point.threshold)) <= far
        assert point.tar == np.mean(scores.same >= np.float32(point.threshold))
        lower = np.nextafter(np.float32(point.threshold), np.float32(-9), dtype=np.float32)
        assert np.mean(scores.different >= lower) > far or point.far == far
        assert scores.at_threshold(point.threshold) == point
    with pytest.raises(fc.ParameterError, match="1/5000"):
        scores.at_far(1e-5)


def test_curves(scores):
    roc = scores.roc()
    assert len(roc.far) == len(roc.tar) == len(roc.thresholds)
    assert (np.diff(roc.far) >= 0).all() and (np.diff(roc.tar) >= 0).all()
    area = np.sum(np.diff(roc.far) * (roc.tar[1:] + roc.tar[:-1]) / 2)
    pairs = np.mean(scores.same[:, None] > scores.different[None, :500])
    assert abs(area - pairs) < 0.02
    labelled = E.PairScores.from_labels(np.concatenate([scores.same, scores.different]), np.arange(7000) < 2000)
    assert (labelled.same == scores.same).all() and (labelled.different == scores.different).all()


def test_cross_validation(scores):
    folds = [E.PairScores(scores.same[i::10], scores.different[i * 200 : (i + 1) * 200]) for i in range(10)]
    accuracy = E.cross_validate(folds)
    assert len(accuracy.folds) == 10 and accuracy.mean == pytest.approx(np.mean(accuracy.folds))
    assert accuracy.std == pytest.approx(np.std(accuracy.folds)) and 0.8 < accuracy.mean < 0.9
    with pytest.raises(fc.ParameterError):
        E.cross_validate(folds[:1])


def test_identification_against_counting():
    random = np.random.default_rng(6)
    ranks, best, unknown = random.integers(0, 5, 400), random.normal(1, 1, 400), random.normal(-1, 1, 2000)
    scores = E.IdentificationScores(ranks, best, unknown)
    point = scores.at_fpir(0.05)
    assert point.fpir == np.mean(scores.unknown >= np.float32(point.threshold)) <= 0.05
    assert point.tpir == np.mean((ranks == 1) & (scores.best >= np.float32(point.threshold)))
    assert scores.cmc(4).tolist() == [np.mean((ranks > 0) & (ranks <= k)) for k in (1, 2, 3, 4)]
    assert scores.at_threshold(point.threshold) == point
    with pytest.raises(fc.ParameterError):
        scores.at_fpir(1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: E.PairScores([[1.0]], [0.0]),
        lambda: E.PairScores([np.nan], [0.0]),
        lambda: E.PairScores.from_labels([1.0, 2.0], [True]),
        lambda: E.PairScores.from_labels([1.0, 2.0], [1, 0]),
        lambda: E.IdentificationScores([1, 2], [0.5], []),
        lambda: E.PairScores([], []).at_far(0.1),
    ],
)
def test_what_is_no_list_of_scores_is_refused(make):
    with pytest.raises(fc.ParameterError):
        make()


def people(data, count):
    folders = sorted(folder for folder in (data / "lfw" / "images").iterdir() if len(list(folder.iterdir())) >= 4)
    return folders[:count]


def test_lfw_gives_the_numbers_of_the_command(pipeline, data, tmp_path):
    chosen = people(data, 6)
    lines = ["2\t6"]
    for fold in (chosen[:3], chosen[3:]):
        numbers = {person: sorted(int(photo.stem[-4:]) for photo in person.iterdir()) for person in fold}
        lines += [f"{person.name}\t{own[i]}\t{own[i + 1]}" for person, own in numbers.items() for i in (0, 2)]
        pairs = [(fold[a], fold[b]) for a, b in ((0, 1), (1, 2), (2, 0))]
        lines += [f"{a.name}\t{numbers[a][i]}\t{b.name}\t{numbers[b][i]}" for a, b in pairs for i in (0, 1)]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    images = data / "lfw" / "images"
    report = E.lfw(images, tmp_path / "pairs.txt", pipeline=pipeline, measured_on="a test", progress=False)
    done = face("eval", "lfw", "--images", images, "--pairs", tmp_path / "pairs.txt", "--json")
    expected = json.loads(done.stdout)
    assert report.accuracy.mean == expected["accuracy"] and report.accuracy.std == expected["accuracy_std"]
    assert report.failed == {} and len(report.scores.same) == len(report.scores.different) == 12
    assert report.space == pipeline.space and "LfwReport" in repr(report) and "<table>" in report._repr_html_()
    with pytest.raises(FileNotFoundError):
        E.lfw(tmp_path / "missing", tmp_path / "pairs.txt", pipeline=pipeline)
    (tmp_path / "broken.txt").write_text("ten folds")
    with pytest.raises(fc.FormatError, match="line 1"):
        E.lfw(images, tmp_path / "broken.txt", pipeline=pipeline)


def test_identification_on_a_folder(pipeline, data, tmp_path):
    for number, person in enumerate(people(data, 8)):
        for photo in sorted(person.iterdir())[: 1 if number >= 5 else 3]:
            target = tmp_path / person.name / photo.name
            target.parent.mkdir(exist_ok=True)
            shutil.copy(photo, target)
    report = E.identification(tmp_path, pipeline=pipeline, progress=False)
    done = face("eval", "identification", "--images", tmp_path, "--json")
    expected = json.loads(done.stdout)
    assert report.enrolled == expected["enrolled"] == 5 and len(report.scores.unknown) == 3
    assert report.scores.cmc(5)[[0, 4]].tolist() == [expected["rank_1"], expected["rank_5"]]


def test_plots(scores):
    matplotlib = imported("matplotlib")
    matplotlib.use("Agg")
    axes = scores.plot(label="ours")
    assert axes.get_xscale() == "log" and len(axes.lines) == 1
    assert len(scores.plot_histogram(threshold=0.5).patches) > 50
    ranks = E.IdentificationScores([1, 2, 1], [0.9, 0.8, 0.7], [0.1])
    assert ranks.plot(ranks=3).lines[0].get_ydata().tolist() == pytest.approx([2 / 3, 1, 1])
