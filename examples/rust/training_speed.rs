//! How fast does a network learn on this machine, and how much of its arithmetic is used?
//!
//! ```sh
//! cargo run --release --package face-core --features train --example training_speed
//! ```
//!
//! The measure is the product of two large matrices on the same device, in the same run. A step of learning counts as three passes over the
//! network's multiplications: one forward, and two for the gradients of inputs and weights. Medians of some steps; the photos are random
//! numbers, since no loader is measured here (`metrics.csv` of a training says how long it waited for one).

#![allow(clippy::print_stdout)] // It is a program.

use std::time::Instant;

use face_core::train::backbones::Backbone;
use face_core::train::burn::optim::{GradientsParams, SgdConfig};
use face_core::train::burn::tensor::{Device, Distribution, Tensor};
use face_core::train::losses::ArcFaceConfig;
use face_core::train::run::{BackboneConfig, BackboneKind};

/// Rows and columns of the matrices.
const SIDE: usize = 1536;
const ROUNDS: usize = 5;

fn main() -> face_core::Result<()> {
    let plain = Device::flex();
    let matrix = || Tensor::<2>::random([SIDE, SIDE], Distribution::Normal(0.0, 1.0), &plain);
    let (a, b) = (matrix(), matrix());
    let seconds = median(|| drop(a.clone().matmul(b.clone()).into_data()));
    let best = 2.0 * (SIDE as f64).powi(3) / seconds / 1e9;
    println!("product of {SIDE} x {SIDE} matrices: {best:.0} GFLOP/s");
    println!("{:<34} {:>9} {:>9} {:>8} {:>7}", "network, batch", "MMAC/face", "faces/s", "GFLOP/s", "share");
    for (kind, side, width, batch) in [
        (BackboneKind::ResNet18, 40, Some(8), 64),
        (BackboneKind::ResNet18, 112, Some(32), 32),
        (BackboneKind::MobileFaceNet, 112, None, 16),
        (BackboneKind::IResNet18, 112, None, 8),
    ] {
        let config = BackboneConfig { kind, input: Some([side, side]), width, dimension: Some(128) };
        let device = plain.clone().autodiff();
        let backbone = config.init(&device)?;
        let work = backbone.multiply_adds() as f64;
        let seconds = step_seconds(backbone, batch, &device)?;
        let speed = batch as f64 / seconds;
        let used = 3.0 * 2.0 * work * speed / 1e9;
        let name =
            format!("{kind:?} {side}x{side}, width {}, {batch}", width.map_or("default".into(), |w| w.to_string()));
        println!("{name:<34} {:>9.1} {speed:>9.0} {used:>8.1} {:>6.0}%", work / 1e6, 100.0 * used / best);
    }
    Ok(())
}

/// A step of learning: forward, backward, and the weights' own step.
fn step_seconds(mut backbone: Backbone, batch: usize, device: &Device) -> face_core::Result<f64> {
    let [channels, height, width] = backbone.input();
    let loss = ArcFaceConfig::new(300, backbone.dimension()).init(device)?;
    let labels: Vec<usize> = (0..batch).collect();
    let mut optimizer = SgdConfig::new().init();
    let mut failed = None;
    let seconds = median(|| {
        let photos = Tensor::<4>::random([batch, channels, height, width], Distribution::Normal(0.0, 1.0), device);
        match backbone.forward(photos).and_then(|features| loss.forward(features, &labels)) {
            Ok(mean) => {
                let gradients = GradientsParams::from_grads(mean.backward(), &backbone);
                backbone = optimizer.step(1e-3, backbone.clone(), gradients);
            }
            Err(error) => failed = Some(error),
        }
    });
    failed.map_or(Ok(seconds), Err)
}

fn median(mut work: impl FnMut()) -> f64 {
    work();
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[ROUNDS / 2]
}
