//! How fast the kernels are on the layers of the networks that face-core runs: `cargo bench --package face-kernels`.
//!
//! Items are multiplications with additions: half of the operations of a floating-point unit.
#![allow(missing_docs)]

use divan::counter::ItemsCount;
use face_kernels::{Convolution, Geometry, Kernels, Step};

fn main() {
    divan::main();
}

/// Channels, rows and columns of the input; channels of the output; kernel; stride; each channel by itself.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    input: [usize; 3],
    outputs: usize,
    kernel: usize,
    stride: usize,
    is_depthwise: bool,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn layer(name: &'static str, input: [usize; 3], outputs: usize, kernel: usize, stride: usize) -> Layer {
    Layer { name, input, outputs, kernel, stride, is_depthwise: false }
}

const fn depthwise(name: &'static str, input: [usize; 3], stride: usize) -> Layer {
    Layer { name, input, outputs: input[0], kernel: 3, stride, is_depthwise: true }
}

const LAYERS: [Layer; 12] = [
    layer("CenterFace, first", [3, 480, 640], 32, 3, 2),
    layer("CenterFace, expansion", [16, 240, 320], 96, 1, 1),
    layer("CenterFace, projection", [144, 120, 160], 24, 1, 1),
    layer("CenterFace, deep", [576, 30, 40], 96, 1, 1),
    layer("CenterFace, last", [24, 120, 160], 24, 3, 1),
    depthwise("CenterFace, depthwise", [144, 120, 160], 1),
    depthwise("CenterFace, depthwise, every second", [96, 240, 320], 2),
    layer("dlib, first", [3, 150, 150], 32, 7, 2),
    layer("dlib, 35 x 35", [32, 35, 35], 32, 3, 1),
    layer("dlib, 17 x 17", [64, 17, 17], 64, 3, 1),
    layer("dlib, 4 x 4", [256, 4, 4], 256, 3, 1),
    layer("IResNet, 14 x 14", [256, 14, 14], 256, 3, 1),
];

#[divan::bench(args = LAYERS)]
fn best(bencher: divan::Bencher<'_, '_>, layer: Layer) {
    run(bencher, layer, Kernels::Best);
}

#[divan::bench(args = LAYERS)]
fn avx2(bencher: divan::Bencher<'_, '_>, layer: Layer) {
    run(bencher, layer, Kernels::Avx2);
}

#[divan::bench(args = LAYERS)]
fn portable(bencher: divan::Bencher<'_, '_>, layer: Layer) {
    run(bencher, layer, Kernels::Portable);
}

fn run(bencher: divan::Bencher<'_, '_>, layer: Layer, kernels: Kernels) {
    let Layer { input, outputs, kernel, stride, is_depthwise, .. } = layer;
    let padding = if layer.name == "dlib, first" { 0 } else { kernel / 2 };
    let side = |side: usize| (side + 2 * padding - kernel) / stride + 1;
    let output = [outputs, side(input[1]), side(input[2])];
    let (kernel, stride) = ([kernel; 2], [stride; 2]);
    let geometry = Geometry { input, output, kernel, stride, dilation: [1, 1], padding: [padding; 2] };
    let groups = if is_depthwise { input[0] } else { 1 };
    let each = input[0] / groups * kernel[0] * kernel[1];
    let wave = |count: usize| (0..count).map(|index| (index as f32 * 0.37).sin()).collect::<Vec<f32>>();
    let Some(mut convolution) = Convolution::new(geometry, groups, wave(outputs * each), wave(outputs)) else {
        unreachable!("the layer is one that the kernels do");
    };
    convolution.push(Step::Clamp(0.0, f32::INFINITY));
    let convolution = convolution.prepare(kernels);
    let picture = wave(input.iter().product());
    let mut result = vec![0.0; output.iter().product()];
    let products = result.len() * each;
    bencher.counter(ItemsCount::new(products)).bench_local(|| {
        convolution.run(&picture, &[], &mut result, 1);
        divan::black_box(&result);
    });
}
