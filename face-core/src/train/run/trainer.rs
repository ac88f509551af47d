//! From the first step to the last, and to the file that comes out.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Device, Tensor};

use super::checkpoint::{self, State};
use super::config::{ExportConfig, TrainConfig};
use super::dataset::{LeftOut, PhotoSet};
use super::features::Features;
use super::learner::{self, Learner, Place, StepValues};
use super::loader::{Loader, Order, Source};
use super::metrics::{self, Log, StepMetrics, ValidationMetrics};
use super::pictures::{Cutter, MEAN, STD};
use super::prepare::{self, Base, Photos};
use super::seeds;
use super::validation::{self, Validation};
use crate::embedders::{EmbedderSpec, OnnxEmbedder};
use crate::error::{Error, Result};
use crate::eval::LfwReport;
use crate::files::write_atomically;
use crate::geometry::templates::Template;
use crate::inference::TractModel;
use crate::models::ModelStore;
use crate::stage::{CropSpec, EmbeddingSpace, GroupAware, Metric};
use crate::train::export::{Intermediate, OnnxExportParams, network_to_onnx};
use crate::train::groupface::Stage;
use crate::train::network::{FaceNetwork, Head, HeadConfig, NetworkInput};

/// How a training is run; what it is, is in its [settings](TrainConfig).
pub struct TrainParams {
    /// Whether it goes on from the last checkpoint in its folder. Otherwise that folder must hold none.
    pub resume: bool,
    /// Where the default detector, and the base by name, come from.
    pub store: ModelStore,
    /// Devices of burn, without gradients; each takes a part of every batch. Empty for the processor, as often as the settings say.
    pub devices: Vec<Device>,
}

/// What happens during a training.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainEvent<'a> {
    /// Work on many photos begins before the first step.
    Phase {
        /// Which, such as `reading photos`.
        what: &'static str,
        /// How many photos.
        total: usize,
    },
    /// One of them begins; from any thread.
    Item,
    /// Everything is ready.
    Begin {
        /// Number of people.
        people: usize,
        /// Number of photos.
        photos: usize,
        /// What is not learnt from.
        left_out: &'a [LeftOut],
        /// Parameters of the network, without those of the loss.
        parameters: usize,
        /// Steps that are done already.
        step: usize,
        /// Steps in all.
        steps: usize,
    },
    /// A step is done.
    Step(StepProgress),
    /// A line of `metrics.csv` was written.
    Metrics(&'a StepMetrics),
    /// The pairs were compared.
    Validation(&'a ValidationMetrics),
    /// A checkpoint is on the disk.
    Checkpoint(&'a Path),
}

/// After a step.
#[derive(Debug, Clone, Copy)]
pub struct StepProgress {
    /// Steps that are done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Passes through the photos that are done, with parts.
    pub epoch: f64,
    /// The step's loss.
    pub loss: f64,
    /// Share of its photos whose person was the most likely one, when last looked at.
    pub accuracy: Option<f64>,
    /// Photos learnt from in a second, over the last steps.
    pub faces_per_second: f64,
    /// At that speed.
    pub seconds_left: f64,
}

/// Is told what happens, and says whether the training goes on: `Break` stops it at a checkpoint.
pub type Watcher<'a> = dyn Fn(&TrainEvent<'_>) -> ControlFlow<()> + Sync + 'a;

/// Tells the watcher, and whether it wants to go on.
pub(super) fn goes_on(watcher: &Watcher<'_>, event: &TrainEvent<'_>) -> bool {
    watcher(event).is_continue()
}

/// What came out.
#[derive(Debug, Clone)]
pub struct TrainOutcome {
    /// The network and its preprocessing, an ONNX file and the settings for it; `None` where the watcher stopped the training.
    pub network: Option<ExportedNetwork>,
    /// Steps that are done.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// The last line of `metrics.csv`.
    pub metrics: Option<StepMetrics>,
    /// The last line of `validation.csv`.
    pub validation: Option<ValidationMetrics>,
    /// What was not learnt from.
    pub left_out: Vec<LeftOut>,
}

/// A network that is ready for use.
#[derive(Debug, Clone)]
pub struct ExportedNetwork {
    /// The ONNX file.
    pub onnx: PathBuf,
    /// Its settings, for [`EmbedderSpec::open`]; with thresholds, where pairs were compared.
    pub spec: PathBuf,
    /// Greatest difference between an embedding in training and the file's on the library's own engine, for a few photos.
    pub difference: f32,
}

/// After how many steps a line of `metrics.csv` is written.
const LOG_EVERY: usize = 10;
/// Photos by which the file is compared with the network in training.
const COMPARED: usize = 4;
/// Greatest difference that is let pass.
const TOLERANCE: f32 = 1e-4;

/// The random generator of burn's processor backend belongs to the whole process: trainings take turns with it.
static GENERATOR: Mutex<()> = Mutex::new(());

fn generator() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Trains a network as the settings say.
///
/// What is left in the output folder: `checkpoints/`, `metrics.csv` (a line for each ten steps) and `validation.csv` with their plots
/// `loss.png` and `accuracy.png` (feature `draw`), `left_out.csv`, and in the end `network.onnx` with `network.toml`.
///
/// # Errors
/// As [`TrainConfig::validate`]; [`Error::TrainingData`] for fewer than two people or too many unusable photos;
/// [`Error::TrainingDiverged`]; [`Error::Checkpoint`] where there is a checkpoint already, or one with other settings; [`Error::Io`], where
/// no space is left for a checkpoint, say: the one before stays.
pub fn train(config: &TrainConfig, params: &TrainParams, watcher: &Watcher<'_>) -> Result<TrainOutcome> {
    config.validate()?;
    std::fs::create_dir_all(&config.output).map_err(Error::io("create the folder", &config.output))?;
    let checkpoints = config.output.join("checkpoints");
    let last = checkpoint::list(&checkpoints)?.pop();
    if let (Some(path), false) = (&last, params.resume) {
        let reason = "a training was begun there: resume it, or choose another folder for the output".into();
        return Err(Error::Checkpoint { path: path.clone(), reason });
    }
    match Trainer::prepare(config, params, watcher)? {
        Some(trainer) => trainer.run(last.as_deref(), watcher),
        None => {
            Ok(TrainOutcome { network: None, step: 0, steps: 0, metrics: None, validation: None, left_out: vec![] })
        }
    }
}

/// A training whose photos are ready.
struct Trainer<'a> {
    config: &'a TrainConfig,
    devices: Vec<Device>,
    base: Option<Base>,
    template: Template,
    set: PhotoSet,
    files: Arc<Vec<PathBuf>>,
    cutter: Cutter,
    features: Option<Features>,
    validation: Option<Validation>,
    learner: Learner,
    order: Order,
}

impl<'a> Trainer<'a> {
    /// `None` where the watcher has had enough.
    fn prepare(config: &'a TrainConfig, params: &TrainParams, watcher: &Watcher<'_>) -> Result<Option<Self>> {
        let store = &params.store;
        let devices: Vec<Device> = if params.devices.is_empty() {
            vec![Device::flex().autodiff(); config.devices]
        } else {
            params.devices.iter().map(|device| device.clone().autodiff()).collect()
        };
        if config.sampling.batch() < devices.len() {
            return Err(Error::InvalidParameter {
                parameter: "devices",
                value: devices.len().to_string(),
                expected: format!("{} at most, the photos in a batch", config.sampling.batch()),
            });
        }
        let base = config.base.as_ref().map(|base| Base::open(base, store)).transpose()?;
        // Settings of the network that cannot be are found before the photos are read; weights are drawn when the people are known.
        let input = match &config.backbone {
            Some(backbone) => backbone.init(&devices[0])?.input(),
            None => [3, 0, 0],
        };
        if input[0] != 3 {
            return Err(Error::InvalidParameter {
                parameter: "backbone",
                value: format!("one for {} channels", input[0]),
                expected: "one for 3: red, green and blue".into(),
            });
        }
        check_head(config)?;
        let template = prepare::template(config, base.as_ref(), [input[1], input[2]])?;
        let Some(Photos { set, files, cutter }) = prepare::photos(config, &template, store, watcher)? else {
            return Ok(None);
        };
        let features = match &base {
            None => None,
            Some(base) => {
                let with_mirror = config.data.augmentation.mirror > 0.0;
                match prepare::features(base, &cutter, &files, with_mirror, &config.output, watcher)? {
                    None => return Ok(None),
                    some => some,
                }
            }
        };
        let validation = match &config.validation {
            None => None,
            Some(of_pairs) => {
                match prepare::validation(of_pairs, &config.output, &template, base.as_ref(), store, watcher)? {
                    None => return Ok(None),
                    some => some,
                }
            }
        };
        let learner = new_learner(config, set.people.len(), features.as_ref(), &devices[0])?;
        let order = Order { sampling: config.sampling, labels: Arc::new(set.labels()), seed: config.seed };
        let files = Arc::new(files);
        let trainer =
            Self { config, devices, base, template, set, files, cutter, features, validation, learner, order };
        Ok(Some(trainer))
    }

    fn run(mut self, from: Option<&Path>, watcher: &Watcher<'_>) -> Result<TrainOutcome> {
        let config = self.config;
        let (per_epoch, output) = (self.order.steps_per_epoch(), &config.output);
        let steps = per_epoch * config.schedule.epochs;
        let photos = prepare::digest(&self.set);
        let mut optimizer = learner::optimizer(&config.optimizer);
        let mut start = 0;
        if let Some(path) = from {
            let state = checkpoint::read_state(path)?;
            state.check(path, config, &photos)?;
            (self.learner, optimizer) = checkpoint::load(path, self.learner, optimizer)?;
            start = state.step;
        }
        let source = match self.features.take() {
            Some(features) => Source::Features(features),
            None => Source::Photos { files: Arc::clone(&self.files), cutter: self.cutter.clone() },
        };
        let mut loader = Loader::new(self.order.clone(), config.data.augmentation, source, start)?;
        let mut step_log = Log::open(output.join("metrics.csv"), start)?;
        let mut validation_log = Log::open(output.join("validation.csv"), start)?;
        let parameters = self.learner.network.num_params();
        let begin = TrainEvent::Begin {
            people: self.set.people.len(),
            photos: self.set.photos.len(),
            left_out: &self.set.left_out,
            parameters,
            step: start,
            steps,
        };
        let mut goes_on = goes_on(watcher, &begin);
        let keep = config.checkpoints.keep;
        let folder = output.join("checkpoints");
        let mut report = None;
        let mut meter = Meter::new(config.sampling.batch());
        let mut step = start;
        while step < steps && goes_on {
            let waiting = Instant::now();
            let parts = loader.next(&self.devices)?;
            meter.waited(waiting);
            let (stage, is_new) = self.stage(step, per_epoch);
            if is_new {
                self.learner.loss = self.learner.loss.start_training();
            }
            let is_logged = (step + 1).is_multiple_of(LOG_EVERY) || step + 1 == steps;
            let rate = config.schedule.rate_at(step, per_epoch);
            let values;
            (self.learner, values) = {
                let _turn = generator();
                let seed = seeds::seed(&[config.seed, seeds::STEP, step as u64]);
                self.devices.iter().for_each(|device| device.seed(seed));
                let place = Place { step, stage, rate, is_logged };
                self.learner.step(&mut optimizer, config.optimizer.clip, parts, place)?
            };
            step += 1;
            let epoch = step as f64 / per_epoch as f64;
            meter.stepped(values);
            goes_on &= watcher(&TrainEvent::Step(meter.progress(step, steps, epoch))).is_continue();
            if is_logged {
                let row = meter.row(step, epoch, rate);
                step_log.push(row)?;
                goes_on &= watcher(&TrainEvent::Metrics(&row)).is_continue();
            }
            let is_end = step == steps || step.is_multiple_of(per_epoch);
            let is_due = |every: usize| step == steps || (step / per_epoch).is_multiple_of(every);
            if let (Some(validation), Some(of_pairs), true) = (&self.validation, &config.validation, is_end)
                && is_due(of_pairs.every)
            {
                let found = validation.run(&self.learner.network, &self.space(""), &self.devices[0])?;
                let row = validation::metrics(&found, step, epoch);
                validation_log.push(row)?;
                goes_on &= watcher(&TrainEvent::Validation(&row)).is_continue();
                report = Some(found);
                meter.restart();
            }
            if is_end {
                metrics::plot(output, &config.name, step_log.rows(), validation_log.rows())?;
            }
            let every = config.checkpoints.every;
            let is_due = if every == 0 { is_end } else { step.is_multiple_of(every) || step == steps };
            if is_due || !goes_on {
                goes_on &= self.save(&folder, keep, step, &photos, &optimizer, watcher)?;
                meter.restart();
            }
        }
        if let (None, Some(validation)) = (&report, self.validation.as_ref().filter(|_| step == steps)) {
            // Interrupted after the last step: what is left is to measure, and to write the network.
            report = Some(validation.run(&self.learner.network, &self.space(""), &self.devices[0])?);
        }
        let network = if step == steps { Some(self.export(report.as_ref())?) } else { None };
        Ok(TrainOutcome {
            network,
            step,
            steps,
            metrics: step_log.rows().last().copied(),
            validation: validation_log.rows().last().copied(),
            left_out: self.set.left_out,
        })
    }

    /// Which stage a step belongs to, and whether the second one begins with it.
    fn stage(&self, step: usize, per_epoch: usize) -> (Stage, bool) {
        let pretraining = self.config.loss.pretraining.unwrap_or(0) * per_epoch;
        if step < pretraining {
            (Stage::Pretraining, false)
        } else {
            (Stage::Training, step == pretraining && step > 0)
        }
    }

    fn save(
        &self,
        folder: &Path,
        keep: usize,
        step: usize,
        photos: &str,
        optimizer: &ModuleOptimizer,
        watcher: &Watcher<'_>,
    ) -> Result<bool> {
        let state = State::new(step, self.config, photos);
        let path = checkpoint::save(folder, keep, &state, &self.learner, optimizer)?;
        Ok(watcher(&TrainEvent::Checkpoint(&path)).is_continue())
    }

    fn metric(&self) -> Metric {
        let groups = GroupAware::new(self.learner.network.dimension());
        match (self.config.export.group_aware, groups) {
            (true, Ok(groups)) => Metric::GroupAware(groups),
            _ => Metric::Cosine,
        }
    }

    /// What the embeddings mean.
    fn spec(&self, report: Option<&LfwReport>) -> EmbedderSpec {
        let set = self.config.validation.as_ref().map(|validation| validation.set.clone()).unwrap_or_default();
        EmbedderSpec {
            name: self.config.name.clone(),
            crops: CropSpec::single(self.template.clone()),
            metric: self.metric(),
            thresholds: report.map(|report| report.thresholds(&set)).unwrap_or_default(),
            ..match &self.base {
                Some(base) => base.embedder.spec().clone(),
                None => EmbedderSpec { mean: [MEAN; 3], std: [STD; 3], ..EmbedderSpec::arcface("") },
            }
        }
    }

    fn space(&self, digest: &str) -> Arc<EmbeddingSpace> {
        let spec = self.spec(None);
        Arc::new(EmbeddingSpace {
            model: spec.name.clone(),
            digest: digest.to_owned(),
            dimension: self.learner.network.dimension() + self.intermediate(),
            preprocessing: spec.preprocessing(),
            averaging: spec.averaging(),
            metric: spec.metric,
            thresholds: vec![],
        })
    }

    /// Number of values of the intermediate vector, where embeddings carry it.
    fn intermediate(&self) -> usize {
        match &self.learner.network.head {
            Some(Head::GroupFace(head)) if self.config.export.group_aware => head.decision.hidden(),
            _ => 0,
        }
    }

    /// Writes the network, after it was compared with the one in training.
    fn export(&self, report: Option<&LfwReport>) -> Result<ExportedNetwork> {
        let network = self.learner.network.clone().valid();
        let base = self.base.as_ref().map(|base| base.content.as_slice());
        let ExportConfig { folds_batch_norm, group_aware } = self.config.export;
        let intermediate = if group_aware { Intermediate::Appended } else { Intermediate::None };
        let params = OnnxExportParams { folds_batch_norm, intermediate, ..OnnxExportParams::default() };
        let content = network_to_onnx(&network, base, &params)?;
        let spec = self.spec(report);
        let difference = self.difference(&network, &content, &spec)?;
        if difference.is_nan() || difference > TOLERANCE {
            return Err(Error::ModelInvalid {
                model: self.config.name.clone(),
                role: "the network in training",
                expected: format!("embeddings that differ by {TOLERANCE} at most"),
                actual: format!("a difference of {difference}"),
            });
        }
        let [onnx, toml] = ["network.onnx", "network.toml"].map(|name| self.config.output.join(name));
        write_atomically(&onnx, &content)?;
        write_atomically(&toml, spec.to_toml().as_bytes())?;
        Ok(ExportedNetwork { onnx, spec: toml, difference })
    }

    /// Greatest difference of an embedding's value between the network and its file, for a few photos.
    fn difference(&self, network: &FaceNetwork, content: &[u8], spec: &EmbedderSpec) -> Result<f32> {
        let device = self.devices[0].clone().without_autodiff();
        let model = TractModel::from_onnx(self.config.name.clone(), content)?;
        let file = OnnxEmbedder::new(Arc::new(model), crate::files::sha256_hex(content), spec.clone())?;
        let mut greatest = 0.0_f32;
        for path in self.files.iter().take(COMPARED) {
            let crop = self.cutter.crop(path, None)?;
            let input = match &self.base {
                None => NetworkInput::Pictures(validation::pictures(
                    &[super::pictures::planes(&crop)],
                    &self.cutter,
                    &device,
                )),
                Some(base) => {
                    let row = base.embedder.features(&crop, false)?;
                    NetworkInput::Features(Tensor::<1>::from_floats(row.as_slice(), &device).unsqueeze())
                }
            };
            let expected = network.forward(input)?.rows(spec.metric).into_data();
            let actual = file.features(&crop, false)?;
            for (a, b) in actual.iter().zip(expected.iter::<f32>()) {
                greatest = greatest.max(if (a - b).is_nan() { f32::NAN } else { (a - b).abs() });
            }
        }
        Ok(greatest)
    }
}

/// Changes of photos that a base's features, which are computed once, cannot follow.
fn check_head(config: &TrainConfig) -> Result<()> {
    if config.base.is_none() {
        return Ok(());
    }
    if config.head.is_none() {
        return Err(Error::InvalidParameter {
            parameter: "head",
            value: "not given".into(),
            expected: "linear, mlp or groupface: on a base that stays as it is there is nothing else to learn".into(),
        });
    }
    let only_mirror = super::config::Augmentation { mirror: config.data.augmentation.mirror, ..Default::default() };
    if config.data.augmentation != only_mirror {
        return Err(Error::InvalidParameter {
            parameter: "augmentation",
            value: format!("{:?}", config.data.augmentation),
            expected: "`mirror` alone with a base, whose features are computed once".into(),
        });
    }
    Ok(())
}

/// Network and loss with new weights, which follow from the seed.
fn new_learner(config: &TrainConfig, people: usize, features: Option<&Features>, device: &Device) -> Result<Learner> {
    let _turn = generator();
    device.seed(seeds::seed(&[config.seed, seeds::WEIGHTS]));
    let network = match (&config.backbone, features, &config.head) {
        (Some(backbone), _, head) => FaceNetwork::with_backbone(backbone.init(device)?, head.as_ref(), device)?,
        (None, Some(features), Some(head)) => FaceNetwork::on_base(features.dimension(), head, device)?,
        (None, ..) => unreachable!("settings without a backbone have a base and a head: both were checked"),
    };
    let groups = config.head.as_ref().map_or(0, HeadConfig::groups);
    let loss = config.loss.init(people, network.dimension(), groups, device)?;
    let learner = Learner { network, loss };
    // Weights are drawn when they are first looked at: that is now, while nobody else draws.
    learner.visit(&mut Draw);
    Ok(learner)
}

struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        drop(param.val());
    }
}

/// Means over the steps between two lines of the log, and speed.
struct Meter {
    batch: usize,
    since: Instant,
    /// Speed over the last steps, without what is between them.
    speed: f64,
    steps: usize,
    loss: f64,
    grouping: Option<f64>,
    accuracy: Option<f64>,
    last_loss: f64,
    waited: f64,
    worked: f64,
}

impl Meter {
    fn new(batch: usize) -> Self {
        Self {
            batch,
            since: Instant::now(),
            speed: 0.0,
            steps: 0,
            loss: 0.0,
            grouping: None,
            accuracy: None,
            last_loss: 0.0,
            waited: 0.0,
            worked: 0.0,
        }
    }

    fn waited(&mut self, since: Instant) {
        self.waited += since.elapsed().as_secs_f64();
    }

    fn stepped(&mut self, values: StepValues) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.restart();
        self.worked += seconds;
        self.steps += 1;
        let speed = self.batch as f64 / seconds.max(1e-9);
        self.speed = if self.speed == 0.0 { speed } else { 0.9 * self.speed + 0.1 * speed };
        self.last_loss = values.loss;
        self.loss += values.loss;
        self.grouping = values.grouping.map(|loss| self.grouping.unwrap_or(0.0) + loss);
        self.accuracy = values.accuracy.or(self.accuracy);
    }

    /// What was done since the last step does not count.
    fn restart(&mut self) {
        self.since = Instant::now();
    }

    fn progress(&self, step: usize, steps: usize, epoch: f64) -> StepProgress {
        let left = ((steps - step) * self.batch) as f64;
        StepProgress {
            step,
            steps,
            epoch,
            loss: self.last_loss,
            accuracy: self.accuracy,
            faces_per_second: self.speed,
            seconds_left: left / self.speed.max(1e-9),
        }
    }

    fn row(&mut self, step: usize, epoch: f64, rate: f64) -> StepMetrics {
        let (steps, worked) = (self.steps.max(1) as f64, self.worked.max(1e-9));
        let row = StepMetrics {
            step,
            epoch,
            rate,
            loss: self.loss / steps,
            grouping_loss: self.grouping.map(|loss| loss / steps),
            accuracy: self.accuracy,
            faces_per_second: (self.steps * self.batch) as f64 / worked,
            waiting: self.waited / worked,
        };
        *self = Self { speed: self.speed, accuracy: self.accuracy, ..Self::new(self.batch) };
        row
    }
}
