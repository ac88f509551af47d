//! A small network learns real crops by GroupFace; how evenly are its groups used on the way?

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use face_core::normalizers::SimilarityNormalizer;
use face_core::templates::{ARCFACE_112, Template};
use face_core::train::backbones::{Backbone, DeepIdConfig};
use face_core::train::burn;
use face_core::train::groupface::{
    GroupFaceHead, GroupFaceHeadConfig, GroupFaceLoss, GroupFaceLossConfig, Labelling, SelfDistributedGroupingConfig,
    Stage,
};
use face_core::{CropSpec, FacePipeline, Image, Landmarks, Normalizer, Point};

/// Rows and columns of a crop: DeepID's input.
pub(super) const SIZE: [usize; 2] = [39, 31];
/// How many people are learnt,
pub(super) const PEOPLE: usize = 20;
/// from how many photos each,
pub(super) const PHOTOS: usize = 10;
/// how many times.
pub(super) const PASSES: usize = 60;
const DIMENSION: usize = 32;
const GROUPS: usize = 8;
const BATCH: usize = 64;
const LEARNING_RATE: f64 = 1e-3;
/// Batches of the expectation: few, since so small a network changes fast.
const WINDOW: usize = 4;

/// Crops of real faces with the people's numbers.
pub(super) struct Crops {
    /// Planes of red, green and blue from -1 to 1, one crop after another.
    pictures: Vec<f32>,
    /// A number for each crop.
    pub(super) labels: Vec<usize>,
}

impl Crops {
    /// The first photos of the first people of a folder, one folder for each, who have so many.
    ///
    /// # Errors
    /// What went wrong with the first photo that cannot be read or has no face; too few people.
    pub(super) fn from_folder(
        images: &Path,
        pipeline: &FacePipeline,
        people: usize,
        photos: usize,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let normalizer = normalizer()?;
        let sorted = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
            let mut paths: Vec<PathBuf> =
                std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
            paths.sort();
            Ok(paths)
        };
        let (mut pictures, mut labels, mut label) = (vec![], vec![], 0);
        for folder in sorted(images)? {
            let files = if folder.is_dir() { sorted(&folder)? } else { vec![] };
            if label == people || files.len() < photos {
                continue;
            }
            for file in &files[..photos] {
                let photo = Image::open(file)?;
                let found = pipeline.detector.detect(&photo.view())?;
                let face =
                    found.first().and_then(|face| face.landmarks).ok_or(format!("no face: {}", file.display()))?;
                let crop = normalizer.normalize(&photo.view(), &face)?;
                let view = crop.views[0].as_raw();
                let planes = (0..3).flat_map(|channel| view.iter().skip(channel).step_by(3));
                pictures.extend(planes.map(|value| f32::from(*value) / 127.5 - 1.0));
                labels.push(label);
            }
            label += 1;
        }
        if label < people {
            return Err(format!("{label} people with {photos} photos; expected {people}").into());
        }
        Ok(Self { pictures, labels })
    }

    /// Some of the crops `[count, 3, rows, columns]`.
    pub(super) fn tensor(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        let size = 3 * SIZE[0] * SIZE[1];
        let values: Vec<f32> =
            indices.iter().flat_map(|index| &self.pictures[index * size..(index + 1) * size]).copied().collect();
        Tensor::from_data(TensorData::new(values, [indices.len(), 3, SIZE[0], SIZE[1]]), device)
    }
}

/// The places of the ArcFace template, in a picture as high as the network's, cut at the sides.
fn normalizer() -> face_core::Result<SimilarityNormalizer> {
    let scale = SIZE[0] as f32 / ARCFACE_112.height as f32;
    let cut = (SIZE[0] - SIZE[1]) as f32 / 2.0;
    let points = ARCFACE_112.landmarks.points.map(|point| Point::new(point.x * scale - cut, point.y * scale));
    let template = Template::new("deepid", SIZE[1] as u32, SIZE[0] as u32, Landmarks::eyes_nose_mouth(points))?;
    SimilarityNormalizer::new(CropSpec::single(template))
}

/// Backbone, head and loss, which learn together.
#[derive(Module, Debug)]
struct Learner {
    backbone: Backbone,
    head: GroupFaceHead,
    loss: GroupFaceLoss,
}

/// Entropy of the groups that the crops are labelled with, as a share of that of even use, after each pass over the crops.
///
/// # Errors
/// [`face_core::Error::InvalidParameter`] and the like, which nothing here gives cause for.
pub(super) fn entropies(
    crops: &Crops,
    labelling: Labelling,
    progress: &mut dyn FnMut(),
) -> face_core::Result<Vec<f64>> {
    let device = Device::flex().autodiff();
    device.seed(5);
    let people = crops.labels.iter().max().map_or(0, |last| last + 1);
    let head = GroupFaceHeadConfig::new().with_shared(64).with_dimension(DIMENSION).with_groups(GROUPS).with_hidden(32);
    let loss = GroupFaceLossConfig::new(people)
        .with_dimension(DIMENSION)
        .with_groups(GROUPS)
        .with_grouping(SelfDistributedGroupingConfig::new().with_window(WINDOW).with_labelling(labelling));
    let mut learner = Learner {
        backbone: DeepIdConfig::new().with_dimension(64).init(&device)?,
        head: head.init(&device)?,
        loss: loss.init(&device)?,
    };
    let mut optimizer = AdamConfig::new().init();
    let mut order: Vec<usize> = (0..crops.labels.len()).collect();
    let mut state = 1_u64;
    let mut entropies = vec![];
    for _ in 0..PASSES {
        // Fisher and Yates.
        for last in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (state >> 33) as usize % (last + 1));
        }
        let mut counts = [0_usize; GROUPS];
        for batch in order.chunks(BATCH) {
            let labels: Vec<usize> = batch.iter().map(|index| crops.labels[*index]).collect();
            let output = learner.head.forward(learner.backbone.forward(crops.tensor(batch, &device))?)?;
            let losses = learner.loss.forward(&output, &labels, Stage::Training)?;
            for group in losses.group_labels.into_data().iter::<i64>() {
                counts[usize::try_from(group).unwrap_or(0)] += 1;
            }
            let gradients = GradientsParams::from_grads(losses.total.backward(), &learner);
            learner = optimizer.step(LEARNING_RATE, learner, gradients);
        }
        entropies.push(evenness(&counts));
        progress();
    }
    Ok(entropies)
}

/// Entropy of a distribution over that of an even one: 1 is even, 0 is all in one.
fn evenness(counts: &[usize]) -> f64 {
    let total: usize = counts.iter().sum();
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total as f64);
    0.0 - shares.map(|share| share * share.ln()).sum::<f64>() / (counts.len() as f64).ln()
}
