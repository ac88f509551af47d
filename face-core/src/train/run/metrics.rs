//! What is written down during a training: CSV files, and plots of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files::write_atomically;

/// A line of `metrics.csv`: means over the steps since the line before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Steps that are done.
    pub step: usize,
    /// Passes through the photos that are done, with parts.
    pub epoch: f64,
    /// Learning rate of the last step.
    pub rate: f64,
    /// Mean loss.
    pub loss: f64,
    /// Mean loss of the groups, without its weight.
    pub grouping_loss: Option<f64>,
    /// Share of the photos of the last step whose person was the most likely one.
    pub accuracy: Option<f64>,
    /// Photos learnt from in a second.
    pub faces_per_second: f64,
    /// Share of the time in which the network waited for photos: near 0 where the loader is fast enough.
    pub waiting: f64,
}

/// A line of `validation.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// Steps that are done.
    pub step: usize,
    /// Passes through the photos that are done.
    pub epoch: f64,
    /// Share of the pairs that are told right, over the folds.
    pub accuracy: f64,
    /// Its standard deviation.
    pub accuracy_std: f64,
    /// True-accept rate at a false-accept rate of 1e-2; `None` where there are too few pairs.
    pub tar_at_far_1e_2: Option<f64>,
    /// At 1e-3.
    pub tar_at_far_1e_3: Option<f64>,
    /// Photos that could not be read or had no face; they match nothing.
    pub failed: usize,
}

/// A CSV file with a line for each entry, which is on the disk when `push` returns.
pub(super) struct Log<T> {
    path: PathBuf,
    rows: Vec<T>,
}

/// Lines that know their step.
pub(super) trait Row: Serialize + for<'a> Deserialize<'a> {
    fn step(&self) -> usize;
}

impl Row for StepMetrics {
    fn step(&self) -> usize {
        self.step
    }
}

impl Row for ValidationMetrics {
    fn step(&self) -> usize {
        self.step
    }
}

impl<T: Row> Log<T> {
    /// An empty log; one that has lines after `step` loses them, since those steps will be done again.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] for another file of that name.
    pub(super) fn open(path: PathBuf, step: usize) -> Result<Self> {
        let mut rows: Vec<T> = vec![];
        if step > 0 && path.is_file() {
            let text = crate::files::read_text(&path)?;
            for row in csv::Reader::from_reader(text.as_bytes()).deserialize::<T>() {
                // A line that was cut off by a crash is one of those that are done again.
                match row {
                    Ok(row) if row.step() <= step => rows.push(row),
                    _ => break,
                }
            }
        }
        let log = Self { path, rows };
        write_atomically(&log.path, &log.csv(&log.rows, true)?)?;
        Ok(log)
    }

    pub(super) fn push(&mut self, row: T) -> Result<()> {
        let is_first = self.rows.is_empty();
        let line = self.csv(std::slice::from_ref(&row), is_first)?;
        if is_first {
            write_atomically(&self.path, &line)?;
        } else {
            let mut file = std::fs::OpenOptions::new().append(true).open(&self.path);
            let file = file.as_mut().map_err(|error| std::io::Error::new(error.kind(), error.to_string()));
            file.and_then(|file| file.write_all(&line)).map_err(Error::io("write", &self.path))?;
        }
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn rows(&self) -> &[T] {
        &self.rows
    }

    fn csv(&self, rows: &[T], with_header: bool) -> Result<Vec<u8>> {
        let failed = |error: csv::Error| Error::io("write", &self.path)(error.into());
        let mut writer = csv::WriterBuilder::new().has_headers(with_header).from_writer(vec![]);
        rows.iter().try_for_each(|row| writer.serialize(row)).map_err(failed)?;
        writer.into_inner().map_err(|error| Error::io("write", &self.path)(error.into_error()))
    }
}

/// Plots of a training, as PNG files in its folder (feature `draw`).
#[cfg(feature = "draw")]
pub(super) fn plot(folder: &Path, name: &str, steps: &[StepMetrics], validation: &[ValidationMetrics]) -> Result<()> {
    use crate::eval::plot_lines;

    let of = |value: fn(&StepMetrics) -> Option<f64>| -> Vec<(f64, f64)> {
        steps.iter().filter_map(|row| Some((row.epoch, value(row)?))).collect()
    };
    let mut lines = vec![("loss", of(|row| Some(row.loss)))];
    let groups = of(|row| row.grouping_loss);
    if !groups.is_empty() {
        lines.push(("loss of the groups", groups));
    }
    if lines[0].1.len() > 1 {
        plot_lines(&format!("{name}: loss"), "epochs", "loss", &lines)?.save(folder.join("loss.png"))?;
    }
    let of = |value: fn(&ValidationMetrics) -> Option<f64>| -> Vec<(f64, f64)> {
        validation.iter().filter_map(|row| Some((row.epoch, value(row)?))).collect()
    };
    let mut lines: Vec<(&str, Vec<(f64, f64)>)> = vec![
        ("accuracy on the photos learnt from", of_training(steps)),
        ("accuracy on the pairs", of(|row| Some(row.accuracy))),
        ("TAR at FAR 1e-2", of(|row| row.tar_at_far_1e_2)),
        ("TAR at FAR 1e-3", of(|row| row.tar_at_far_1e_3)),
    ];
    lines.retain(|(_, points)| !points.is_empty());
    if lines.iter().any(|(_, points)| points.len() > 1) {
        plot_lines(&format!("{name}: how good"), "epochs", "share", &lines)?.save(folder.join("accuracy.png"))?;
    }
    Ok(())
}

#[cfg(feature = "draw")]
fn of_training(steps: &[StepMetrics]) -> Vec<(f64, f64)> {
    steps.iter().filter_map(|row| Some((row.epoch, row.accuracy?))).collect()
}

#[cfg(not(feature = "draw"))]
pub(super) fn plot(_: &Path, _: &str, _: &[StepMetrics], _: &[ValidationMetrics]) -> Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn logs_go_on_after_the_step_they_are_opened_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("validation.csv");
        let row = |step| ValidationMetrics {
            step,
            epoch: step as f64 / 10.0,
            accuracy: 0.5,
            accuracy_std: 0.25,
            tar_at_far_1e_2: None,
            tar_at_far_1e_3: Some(0.125),
            failed: 0,
        };
        let mut log = Log::open(path.clone(), 0).unwrap();
        (1..=3).for_each(|step| log.push(row(step * 10)).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(
            "step,epoch,accuracy,accuracy_std,tar_at_far_1e_2,tar_at_far_1e_3,failed\n10,1.0,0.5,0.25,,0.125,0\n"
        ));
        std::fs::write(&path, format!("{text}40,4.0,0.")).unwrap();
        let mut log = Log::<ValidationMetrics>::open(path.clone(), 20).unwrap();
        assert_eq!(log.rows(), [row(10), row(20)]);
        log.push(row(30)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert!(Log::<ValidationMetrics>::open(path, 0).unwrap().rows().is_empty());
    }
}
