//! Measures of verification and identification.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use face_core::eval::{
    EmbeddedPhotos, IdentificationProtocol, IdentificationScores, IdentificationSettings, KnownProbe, LfwProtocol,
    LfwSettings, OperatingPoint, PairScores, score_identification as identify_all, score_lfw as score,
};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::errors::Outcome;
use crate::pool::on_all_cores;
use crate::space::{EmbeddingSpace, Threshold, embedding};

/// Threshold, false-accept rate, true-accept rate.
type Point = (f32, f64, f64);

fn scores(same: &PyReadonlyArray1<'_, f32>, different: &PyReadonlyArray1<'_, f32>) -> PairScores {
    PairScores { same: same.as_array().to_vec(), different: different.as_array().to_vec() }
}

fn point(OperatingPoint { threshold, far, tar }: OperatingPoint) -> Point {
    (threshold, far, tar)
}

/// The operating point with the highest true-accept rate whose false-accept rate is at most `far`: (threshold, far, tar).
#[pyfunction]
#[pyo3(signature = (same: "numpy.ndarray", different: "numpy.ndarray", far) -> "tuple[float, float, float]")]
pub(crate) fn verification_at_far(
    same: PyReadonlyArray1<'_, f32>,
    different: PyReadonlyArray1<'_, f32>,
    far: f64,
) -> Outcome<Point> {
    Ok(point(scores(&same, &different).at_far(far)?))
}

/// What a threshold achieves: (threshold, far, tar).
#[pyfunction]
#[pyo3(signature = (same: "numpy.ndarray", different: "numpy.ndarray", threshold) -> "tuple[float, float, float]")]
pub(crate) fn verification_at_threshold(
    same: PyReadonlyArray1<'_, f32>,
    different: PyReadonlyArray1<'_, f32>,
    threshold: f32,
) -> Point {
    point(scores(&same, &different).at_threshold(threshold))
}

/// The receiver operating characteristic as three arrays: thresholds, false-accept rates, true-accept rates.
#[pyfunction]
#[pyo3(signature = (same: "numpy.ndarray", different: "numpy.ndarray") -> "tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]")]
pub(crate) fn roc<'py>(
    py: Python<'py>,
    same: PyReadonlyArray1<'py, f32>,
    different: PyReadonlyArray1<'py, f32>,
) -> (Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>) {
    let scores = scores(&same, &different);
    let points = py.detach(|| scores.roc());
    (
        PyArray1::from_iter(py, points.iter().map(|point| point.threshold)),
        PyArray1::from_iter(py, points.iter().map(|point| point.far)),
        PyArray1::from_iter(py, points.iter().map(|point| point.tar)),
    )
}

/// The accuracy over folds, each at the threshold that is best on the others: mean, standard deviation, that of each fold.
#[pyfunction]
#[pyo3(signature = (folds: "list[tuple[numpy.ndarray, numpy.ndarray]]") -> "tuple[float, float, list[float]]")]
pub(crate) fn cross_validate(
    py: Python<'_>,
    folds: Vec<(PyReadonlyArray1<'_, f32>, PyReadonlyArray1<'_, f32>)>,
) -> Outcome<(f64, f64, Vec<f64>)> {
    let folds: Vec<PairScores> = folds.iter().map(|(same, different)| scores(same, different)).collect();
    let accuracy = py.detach(|| PairScores::cross_validate(&folds))?;
    Ok((accuracy.mean, accuracy.std, accuracy.folds))
}

/// The answers of a search. A rank of 0 stands for a person who was not found.
fn identification_scores(
    ranks: &PyReadonlyArray1<'_, i64>,
    best: &PyReadonlyArray1<'_, f32>,
    unknown: &PyReadonlyArray1<'_, f32>,
) -> IdentificationScores {
    let known = ranks
        .as_array()
        .into_iter()
        .zip(best.as_array())
        .map(|(rank, best)| KnownProbe { rank: usize::try_from(*rank).ok().filter(|rank| *rank > 0), best: *best });
    IdentificationScores { known: known.collect(), unknown: unknown.as_array().to_vec() }
}

/// The open-set operating point at a false-positive identification rate: (threshold, fpir, tpir).
#[pyfunction]
#[pyo3(signature = (ranks: "numpy.ndarray", best: "numpy.ndarray", unknown: "numpy.ndarray", fpir) -> "tuple[float, float, float]")]
pub(crate) fn identification_at_fpir(
    ranks: PyReadonlyArray1<'_, i64>,
    best: PyReadonlyArray1<'_, f32>,
    unknown: PyReadonlyArray1<'_, f32>,
    fpir: f64,
) -> Outcome<Point> {
    let point = identification_scores(&ranks, &best, &unknown).at_fpir(fpir)?;
    Ok((point.threshold, point.fpir, point.tpir))
}

/// What a threshold achieves in open-set identification: (threshold, fpir, tpir).
#[pyfunction]
#[pyo3(signature = (ranks: "numpy.ndarray", best: "numpy.ndarray", unknown: "numpy.ndarray", threshold) -> "tuple[float, float, float]")]
pub(crate) fn identification_at_threshold(
    ranks: PyReadonlyArray1<'_, i64>,
    best: PyReadonlyArray1<'_, f32>,
    unknown: PyReadonlyArray1<'_, f32>,
    threshold: f32,
) -> Point {
    let point = identification_scores(&ranks, &best, &unknown).at_threshold(threshold);
    (point.threshold, point.fpir, point.tpir)
}

/// Every photo of a list of pairs in LFW's format, as a path below the folder of photos.
#[pyfunction]
#[pyo3(signature = (pairs: "str") -> "list[str]")]
pub(crate) fn lfw_photos(pairs: PathBuf) -> Outcome<Vec<OsString>> {
    Ok(LfwProtocol::open(pairs)?.images().into_iter().map(PathBuf::into_os_string).collect())
}

/// Scores embeddings of photos on a list of pairs; `photos` has the values, or why there are none. Returns the accuracy (mean,
/// standard deviation, folds), similarities of same and of different pairs by fold, and thresholds over all pairs of photos of
/// different people: (threshold, tar).
#[pyfunction]
#[pyo3(signature = (pairs: "str", photos: "dict[str, numpy.ndarray | str]", space, measured_on) -> "tuple[tuple[float, float, list[float]], numpy.ndarray, numpy.ndarray, list[tuple[Threshold, float]], int]")]
pub(crate) fn score_lfw<'py>(
    py: Python<'py>,
    pairs: PathBuf,
    photos: BTreeMap<PathBuf, GivenPhoto<'py>>,
    space: &EmbeddingSpace,
    measured_on: &str,
) -> Outcome<((f64, f64, Vec<f64>), Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<f32>>, Vec<(Threshold, f64)>, u64)> {
    let protocol = LfwProtocol::open(pairs)?;
    let photos = embedded(photos, space)?;
    let report = on_all_cores(py, || score(&protocol, &photos, &LfwSettings::default()))??;
    let thresholds = report.thresholds(measured_on).into_iter().map(|threshold| {
        let tar = report.scores.at_threshold(threshold.similarity).tar;
        (Threshold::from(threshold), tar)
    });
    let accuracy = (report.accuracy.mean, report.accuracy.std, report.accuracy.folds.clone());
    let [same, different] =
        [&report.scores.same, &report.scores.different].map(|scores| PyArray1::from_slice(py, scores));
    Ok((accuracy, same, different, thresholds.collect(), report.cross_pairs))
}

/// Every photo of a folder with a folder for each person, as a path below it.
#[pyfunction]
#[pyo3(signature = (folder: "str") -> "list[str]")]
pub(crate) fn identification_photos(folder: PathBuf) -> Outcome<Vec<OsString>> {
    let images = IdentificationProtocol::from_folder(folder, None)?.images();
    Ok(images.into_iter().map(PathBuf::into_os_string).collect())
}

/// Enrols one photo of each person and probes with the others, as `face eval identification` does. Returns the number of people
/// who are enrolled; of the probes of enrolled people the rank of the right one (0: not found) and the similarity of the best
/// candidate; and that of the probes of others.
#[pyfunction]
#[pyo3(signature = (folder: "str", photos: "dict[str, numpy.ndarray | str]", space) -> "tuple[int, numpy.ndarray, numpy.ndarray, numpy.ndarray]")]
pub(crate) fn score_identification<'py>(
    py: Python<'py>,
    folder: PathBuf,
    photos: BTreeMap<PathBuf, GivenPhoto<'py>>,
    space: &EmbeddingSpace,
) -> Outcome<(usize, Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<f32>>, Bound<'py, PyArray1<f32>>)> {
    let protocol = IdentificationProtocol::from_folder(folder, None)?;
    let photos = embedded(photos, space)?;
    let settings = IdentificationSettings::default();
    let report = on_all_cores(py, || identify_all(&protocol, &photos, &settings))??;
    let IdentificationScores { known, unknown } = &report.scores;
    let ranks = known.iter().map(|probe| probe.rank.map_or(0, |rank| rank as i64));
    Ok((
        report.enrolled,
        PyArray1::from_iter(py, ranks),
        PyArray1::from_iter(py, known.iter().map(|probe| probe.best)),
        PyArray1::from_slice(py, unknown),
    ))
}

/// A photo that was embedded, or why it could not be.
#[derive(FromPyObject)]
pub(crate) enum GivenPhoto<'py> {
    /// The values.
    Embedding(PyReadonlyArray1<'py, f32>),
    /// The reason.
    Reason(String),
}

fn embedded(photos: BTreeMap<PathBuf, GivenPhoto<'_>>, space: &EmbeddingSpace) -> Outcome<EmbeddedPhotos> {
    let photos = photos.into_iter().map(|(path, photo)| {
        Ok(match photo {
            GivenPhoto::Embedding(values) => (path, Ok(embedding(&values, space)?)),
            GivenPhoto::Reason(reason) => (path, Err(reason)),
        })
    });
    let photos = photos.collect::<Outcome<BTreeMap<_, _>>>()?;
    Ok(EmbeddedPhotos { photos, images_per_second: 0.0, space: Arc::clone(&space.space) })
}
