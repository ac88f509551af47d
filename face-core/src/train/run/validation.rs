//! How good is a network on people that were not in its training?

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use super::features::Features;
use super::metrics::ValidationMetrics;
use super::pictures::{Cutter, planes};
use crate::error::Result;
use crate::eval::{EmbeddedPhotos, LfwProtocol, LfwReport, LfwSettings, score_lfw};
use crate::stage::{Embedding, EmbeddingSpace};
use crate::train::network::{FaceNetwork, NetworkInput};

/// Photos in one pass through the network.
const BATCH: usize = 64;

/// Pairs of photos whose faces were found already.
pub(super) struct Validation {
    pub(super) protocol: LfwProtocol,
    /// The photos, as the protocol names them, with the file of their crop; those without a face are not among them.
    pub(super) photos: Vec<(PathBuf, PathBuf)>,
    /// Those without, and why.
    pub(super) failed: BTreeMap<PathBuf, String>,
    pub(super) cutter: Cutter,
    /// Of the base, where there is one.
    pub(super) features: Option<Features>,
}

impl Validation {
    /// Compares the pairs by what the network makes of them.
    ///
    /// # Errors
    /// As the network; what goes wrong with a photo, which was readable before.
    pub(super) fn run(&self, network: &FaceNetwork, space: &Arc<EmbeddingSpace>, device: &Device) -> Result<LfwReport> {
        use rayon::prelude::*;

        let start = Instant::now();
        let network = network.clone().valid();
        let device = device.clone().without_autodiff();
        let mut photos: BTreeMap<PathBuf, std::result::Result<Embedding, String>> =
            self.failed.iter().map(|(photo, reason)| (photo.clone(), Err(reason.clone()))).collect();
        for (index, batch) in self.photos.chunks(BATCH).enumerate() {
            let input = match &self.features {
                Some(features) => {
                    let rows = (0..batch.len()).flat_map(|row| features.of(index * BATCH + row, false).iter().copied());
                    let data = TensorData::new(rows.collect::<Vec<f32>>(), [batch.len(), features.dimension()]);
                    NetworkInput::Features(Tensor::from_data(data, &device))
                }
                None => {
                    let crops: Vec<_> =
                        batch.par_iter().map(|(_, file)| self.cutter.crop(file, None)).collect::<Result<_>>()?;
                    NetworkInput::Pictures(pictures(
                        &crops.iter().map(planes).collect::<Vec<_>>(),
                        &self.cutter,
                        &device,
                    ))
                }
            };
            let embeddings = network.forward(input)?.rows(space.metric);
            let values: Vec<f32> = embeddings.into_data().iter::<f32>().collect();
            for ((photo, _), row) in batch.iter().zip(values.chunks_exact(space.dimension)) {
                let embedding = Embedding::new(row.to_vec(), Arc::clone(space)).map_err(|error| error.to_string());
                photos.insert(photo.clone(), embedding);
            }
        }
        let images_per_second = self.photos.len() as f64 / start.elapsed().as_secs_f64();
        let photos = EmbeddedPhotos { photos, images_per_second, space: Arc::clone(space) };
        score_lfw(&self.protocol, &photos, &LfwSettings::default())
    }
}

/// Crops as one tensor `[batch, 3, height, width]`.
pub(super) fn pictures(crops: &[Vec<f32>], cutter: &Cutter, device: &Device) -> Tensor<4> {
    let [height, width] = cutter.size();
    Tensor::from_data(TensorData::new(crops.concat(), [crops.len(), 3, height, width]), device)
}

/// What is written down of a report.
pub(super) fn metrics(report: &LfwReport, step: usize, epoch: f64) -> ValidationMetrics {
    let tar = |wanted: f64| {
        report.points.iter().find(|(far, _)| *far == wanted).and_then(|(_, point)| point.map(|point| point.tar))
    };
    ValidationMetrics {
        step,
        epoch,
        accuracy: report.accuracy.mean,
        accuracy_std: report.accuracy.std,
        tar_at_far_1e_2: tar(1e-2),
        tar_at_far_1e_3: tar(1e-3),
        failed: report.failed.len(),
    }
}
