//! Batches, made ready on all cores while the network learns from the ones before.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng as _;

use super::config::Augmentation;
use super::features::Features;
use super::learner::Part;
use super::pictures::{Cutter, planes};
use super::sampling::Sampling;
use super::seeds;
use crate::error::Result;
use crate::pipeline::{StreamParams, WorkQueue};
use crate::train::network::NetworkInput;

/// Batches that are made ready ahead of the network.
const AHEAD: usize = 3;

/// Which photos come up when.
#[derive(Clone)]
pub(super) struct Order {
    pub(super) sampling: Sampling,
    pub(super) labels: Arc<Vec<usize>>,
    pub(super) seed: u64,
}

impl Order {
    pub(super) fn steps_per_epoch(&self) -> usize {
        self.sampling.steps(self.labels.len())
    }

    /// The photos of all steps from one on, as (step, place in the batch, photo).
    fn after(self, start: usize) -> impl Iterator<Item = (usize, usize, usize)> + Send {
        let steps = self.steps_per_epoch();
        (start / steps..)
            .flat_map(move |epoch| {
                let batches = self.sampling.batches(&self.labels, self.seed, epoch);
                batches.into_iter().enumerate().map(move |(index, batch)| (epoch * steps + index, batch))
            })
            .skip(start % steps)
            .flat_map(|(step, batch)| batch.into_iter().enumerate().map(move |(place, photo)| (step, place, photo)))
    }
}

/// Where the inputs come from.
pub(super) enum Source {
    Photos { files: Arc<Vec<PathBuf>>, cutter: Cutter },
    Features(Features),
}

/// The batches in order.
pub(super) struct Loader {
    order: Order,
    augmentation: Augmentation,
    source: Source,
    queue: Option<WorkQueue<Result<Vec<f32>>>>,
    coming: Box<dyn Iterator<Item = (usize, usize, usize)> + Send>,
    /// Labels of the photos that are in the queue.
    labels: std::collections::VecDeque<usize>,
}

impl Loader {
    pub(super) fn new(order: Order, augmentation: Augmentation, source: Source, start: usize) -> Result<Self> {
        let queue = match &source {
            Source::Photos { .. } => {
                let params =
                    StreamParams { threads: rayon::current_num_threads(), ahead: AHEAD * order.sampling.batch() };
                Some(WorkQueue::new(&params)?)
            }
            Source::Features(_) => None,
        };
        let coming = Box::new(order.clone().after(start));
        Ok(Self { order, augmentation, source, queue, coming, labels: std::collections::VecDeque::new() })
    }

    /// The next batch, in parts for so many devices.
    ///
    /// # Errors
    /// What goes wrong with a photo that was readable when the training began.
    pub(super) fn next(&mut self, devices: &[Device]) -> Result<Vec<(Part, Device)>> {
        let size = self.order.sampling.batch();
        let mut rows: Vec<Vec<f32>> = Vec::with_capacity(size);
        let mut labels = Vec::with_capacity(size);
        for _ in 0..size {
            match (&self.source, &self.queue) {
                (Source::Photos { files, cutter }, Some(queue)) => {
                    while queue.has_room() {
                        let Some((step, place, photo)) = self.coming.next() else { break };
                        let (files, cutter) = (Arc::clone(files), cutter.clone());
                        let (augmentation, seed) = (self.augmentation, self.order.seed);
                        self.labels.push_back(self.order.labels[photo]);
                        queue.push(move || {
                            let key = [seed, seeds::AUGMENTATION, step as u64, place as u64];
                            let mut random = seeds::generator(&key);
                            let crop = cutter.crop(&files[photo], Some((&mut random, &augmentation)))?;
                            Ok(planes(&augmentation.change(crop, &mut random)?))
                        });
                    }
                    if let Some(row) = queue.take() {
                        rows.push(row?);
                        labels.extend(self.labels.pop_front());
                    }
                }
                (Source::Features(features), _) => {
                    let Some((step, place, photo)) = self.coming.next() else { break };
                    let key = [self.order.seed, seeds::AUGMENTATION, step as u64, place as u64];
                    let is_mirrored = seeds::generator(&key).random_bool(self.augmentation.mirror);
                    rows.push(features.of(photo, is_mirrored).to_vec());
                    labels.push(self.order.labels[photo]);
                }
                (Source::Photos { .. }, None) => break,
            }
        }
        let share = size.div_ceil(devices.len().max(1));
        let parts = rows.chunks(share).zip(labels.chunks(share)).zip(devices);
        Ok(parts.map(|((rows, labels), device)| (self.part(rows, labels, device), device.clone())).collect())
    }

    fn part(&self, rows: &[Vec<f32>], labels: &[usize], device: &Device) -> Part {
        let input = match &self.source {
            Source::Photos { cutter, .. } => NetworkInput::Pictures(super::validation::pictures(rows, cutter, device)),
            Source::Features(features) => {
                let data = TensorData::new(rows.concat(), [rows.len(), features.dimension()]);
                NetworkInput::Features(Tensor::from_data(data, device))
            }
        };
        Part { input, labels: labels.to_vec() }
    }
}
