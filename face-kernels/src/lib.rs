//! Convolutions with all that follows them, in one pass over memory, and max pooling, on the widest vectors that the processor has.
//!
//! The innermost loops of `face-core`, apart from it because they are compiled otherwise: without checks of overflow, and seldom. The
//! vectors are chosen when the program runs; every processor has a path that is tested against the definition. Work can be cut for the
//! threads of a rayon pool; the numbers do not depend on it.
//!
//! ```
//! use face_kernels::{Convolution, Geometry, Kernels, Step};
//!
//! // One channel of 3 x 3 pixels, summed up under a kernel of 2 x 2, not above 20.
//! let geometry = Geometry {
//!     input: [1, 3, 3],
//!     output: [1, 2, 2],
//!     kernel: [2, 2],
//!     stride: [1, 1],
//!     dilation: [1, 1],
//!     padding: [0, 0],
//! };
//! let mut convolution = Convolution::new(geometry, 1, vec![1.0; 4], vec![0.0]).expect("one group");
//! convolution.push(Step::Clamp(0.0, 20.0));
//! let picture = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! let mut output = [0.0; 4];
//! convolution.prepare(Kernels::Best).run(&picture, &[], &mut output, 1);
//! assert_eq!(output, [12.0, 16.0, 20.0, 20.0]);
//! ```

// Loops over indices, all through: a closure would be compiled for the baseline, and called; and what is indexed are registers.
#![allow(clippy::needless_range_loop)]

mod bands;
mod depthwise;
mod lines;
mod matrix;
mod maxpool;

use std::any::TypeId;
use std::sync::Arc;

use pulp::{Arch, Scalar128b, Simd, WithSimd, bytemuck};

use self::bands::{Band, by_channels, by_rows, spread};
use self::depthwise::Depthwise;
use self::matrix::{Matrix, Source};

pub use self::maxpool::MaxPool;

/// Sides, strides and borders of a convolution over one picture. Channels come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Channels, rows, columns of the picture.
    pub input: [usize; 3],
    /// Channels, rows, columns of the result.
    pub output: [usize; 3],
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// How many rows and columns further the kernel is for the next place.
    pub stride: [usize; 2],
    /// How far the rows and columns of the kernel lie apart.
    pub dilation: [usize; 2],
    /// Rows above and columns to the left that count as zero. Those below and to the right follow from the sides.
    pub padding: [usize; 2],
}

impl Geometry {
    fn pixels(&self) -> usize {
        self.output[1] * self.output[2]
    }
}

/// What is done to the sums, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Values below and above are brought to these.
    Clamp(f32, f32),
    /// Negative values times the slope of their channel, or of all.
    PRelu(Arc<[f32]>),
    /// The next input is added.
    AddInput,
}

/// By which instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// The widest vectors that this processor has.
    Best,
    /// AVX2 and FMA, on a processor that has them; else as `Portable`. To test and compare: it may not be the best.
    Avx2,
    /// What every processor has.
    Portable,
}

impl Kernels {
    fn run<W: WithSimd>(self, work: W) -> W::Output {
        #[cfg(target_arch = "x86_64")]
        if self == Self::Avx2
            && let Some(avx2) = pulp::x86::V3::try_new()
        {
            return Simd::vectorize(avx2, work);
        }
        match (self, Arch::new()) {
            // Four values at once, which every processor of the families that are built for can do.
            (Self::Avx2 | Self::Portable, _) | (_, Arch::Scalar) => Simd::vectorize(Scalar128b, work),
            (Self::Best, arch) => arch.dispatch(work),
        }
    }
}

/// What a convolution is, and what follows it.
#[derive(Debug, Clone)]
pub struct Convolution {
    geometry: Geometry,
    is_depthwise: bool,
    /// Output channel, input channel, row, column; of a depthwise convolution channel, row, column.
    weights: Vec<f32>,
    bias: Vec<f32>,
    steps: Vec<Step>,
}

impl Convolution {
    /// A convolution in one group, or one for each channel.
    ///
    /// `None` for what the kernels do not do: tract's own operator does it.
    pub fn new(geometry: Geometry, groups: usize, weights: Vec<f32>, bias: Vec<f32>) -> Option<Self> {
        let ([channels, ..], [outputs, ..]) = (geometry.input, geometry.output);
        let is_depthwise = groups > 1;
        let fits = !is_depthwise || (groups == channels && outputs == channels && lines::fit(&geometry));
        let each = channels / groups * geometry.kernel[0] * geometry.kernel[1];
        let is_whole = each > 0 && outputs > 0 && weights.len() == outputs * each && bias.len() == outputs;
        (fits && is_whole).then_some(Self { geometry, is_depthwise, weights, bias, steps: vec![] })
    }

    /// Channels of the output.
    pub fn channels(&self) -> usize {
        self.geometry.output[0]
    }

    /// Adds a step behind those that are there.
    pub fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Scales each output channel, as batch normalization does, with one factor for all or one for each. `false` where a step comes
    /// before.
    pub fn scale(&mut self, factors: &[f32]) -> bool {
        if !self.takes(factors) {
            return false;
        }
        let each = self.weights.len() / self.channels();
        let factors = factors.iter().cycle();
        for ((weights, bias), factor) in self.weights.chunks_exact_mut(each).zip(&mut self.bias).zip(factors) {
            weights.iter_mut().for_each(|weight| *weight *= factor);
            *bias *= factor;
        }
        true
    }

    /// As [`scale`](Self::scale), for sums.
    pub fn shift(&mut self, summands: &[f32]) -> bool {
        let takes = self.takes(summands);
        if takes {
            self.bias.iter_mut().zip(summands.iter().cycle()).for_each(|(bias, summand)| *bias += summand);
        }
        takes
    }

    fn takes(&self, values: &[f32]) -> bool {
        self.steps.is_empty() && (values.len() == 1 || values.len() == self.channels())
    }

    /// Ready to run.
    pub fn prepare(self, kernels: Kernels) -> FusedConvolution {
        let Self { geometry, is_depthwise, weights, bias, steps } = self;
        let work = match is_depthwise {
            true => Work::Depthwise(Depthwise { weights, bias }),
            false => Work::Matrix(Matrix::new(&geometry, &weights, &bias, kernels)),
        };
        FusedConvolution { geometry, steps, kernels, work }
    }
}

/// A convolution, its bias, and the steps that follow, with the weights in the order of their use.
#[derive(Debug)]
pub struct FusedConvolution {
    geometry: Geometry,
    steps: Vec<Step>,
    kernels: Kernels,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Depthwise(Depthwise),
    Matrix(Matrix),
}

impl FusedConvolution {
    /// Its sides.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// One picture: channels, rows, columns, one behind the other, of the sides that the [`Geometry`] has. `added` holds an input of the
    /// output's size for each [`Step::AddInput`]. Where it is worth it, the work is cut into up to so many parts for the threads of the
    /// current rayon pool.
    ///
    /// # Panics
    /// When a slice is shorter than that.
    pub fn run(&self, input: &[f32], added: &[&[f32]], output: &mut [f32], parts: usize) {
        let products = match &self.work {
            Work::Depthwise(weights) => weights.weights.len(),
            Work::Matrix(weights) => weights.len(),
        } * self.geometry.pixels();
        self.run_in_parts(input, added, output, parts.min(products / MIN_PRODUCTS));
    }

    fn run_in_parts(&self, input: &[f32], added: &[&[f32]], output: &mut [f32], parts: usize) {
        let Self { geometry, steps, kernels, work } = self;
        let Geometry { output: [channels, rows, _], .. } = *geometry;
        match work {
            Work::Depthwise(weights) => spread(&mut by_channels(geometry, output, parts, 1), &|band| {
                kernels.run(Job { weights, geometry, steps, input, added, band });
            }),
            Work::Matrix(weights) => {
                // All parts read either the weights or the pictures: the smaller of both.
                let mut bands = match rows >= 2 * parts && geometry.pixels() >= channels {
                    true => by_rows(geometry, output, parts),
                    false => by_channels(geometry, output, parts, weights.block()),
                };
                let input = &Source::new(geometry, input);
                spread(&mut bands, &|band| kernels.run(Job { weights, geometry, steps, input, added, band }));
            }
        }
    }
}

/// How many products a part has at least: to hand it to another thread takes about a tenth of its time.
const MIN_PRODUCTS: usize = 1 << 20;

/// `a * b + c`, rounded once where the processor has an instruction for it: without one, it would be a call of a function for each value.
#[inline(always)]
fn multiply_add<S: Simd>(simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
    if TypeId::of::<S>() == TypeId::of::<Scalar128b>() {
        simd.add_f32s(simd.mul_f32s(a, b), c)
    } else {
        simd.mul_add_e_f32s(a, b, c)
    }
}

/// A band of a convolution of one picture, for either kind of weights and what they read.
struct Job<'a, 'b, W, I: ?Sized> {
    weights: &'a W,
    geometry: &'a Geometry,
    steps: &'a [Step],
    input: &'a I,
    added: &'a [&'a [f32]],
    band: &'a mut Band<'b>,
}

/// Neighbouring places of the output that a tile of sums has.
#[derive(Clone, Copy)]
struct Piece {
    /// The first one, in the output.
    place: usize,
    tile: usize,
    /// The first one, in the tile.
    offset: usize,
    count: usize,
}

/// Where the values of a tile belong, for some channels, and what is done to them.
#[derive(Clone, Copy)]
struct Target<'a> {
    steps: &'a [Step],
    added: &'a [&'a [f32]],
    /// Values of a channel.
    places: usize,
    /// The first channel, and how many there are.
    channel: usize,
    channels: usize,
    pieces: &'a [Piece],
}

impl Target<'_> {
    /// The steps, one after the other for all values, and the output.
    // Plain loops: a closure would be compiled for the baseline, and called.
    #[inline(always)]
    fn finish<S: Simd, const CHANNELS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        mut values: [[S::f32s; VECTORS]; CHANNELS],
        band: &mut Band<'_>,
    ) {
        let channels = CHANNELS.min(self.channels);
        let mut added = self.added.iter();
        for step in self.steps {
            match step {
                Step::Clamp(low, high) => {
                    let (low, high) = (simd.splat_f32s(*low), simd.splat_f32s(*high));
                    for channel in 0..CHANNELS {
                        for vector in 0..VECTORS {
                            let value = simd.max_f32s(values[channel][vector], low);
                            values[channel][vector] = simd.min_f32s(value, high);
                        }
                    }
                }
                Step::PRelu(slopes) => {
                    let zero = simd.splat_f32s(0.0);
                    for channel in 0..CHANNELS {
                        let slope = simd.splat_f32s(slopes[(self.channel + channel).min(slopes.len() - 1)]);
                        for vector in 0..VECTORS {
                            let value = values[channel][vector];
                            let is_negative = simd.less_than_f32s(value, zero);
                            values[channel][vector] = simd.select_f32s(is_negative, simd.mul_f32s(value, slope), value);
                        }
                    }
                }
                Step::AddInput => {
                    let Some(added) = added.next() else { continue };
                    for channel in 0..channels {
                        let plane = &added[(self.channel + channel) * self.places..][..self.places];
                        let summands: [S::f32s; VECTORS] = load(simd, self.pieces, plane, 0);
                        for vector in 0..VECTORS {
                            values[channel][vector] = simd.add_f32s(values[channel][vector], summands[vector]);
                        }
                    }
                }
            }
        }
        for channel in 0..channels {
            let (plane, first) = band.plane_mut(self.channel + channel);
            if let [piece] = self.pieces
                && piece.count == VECTORS * S::F32_LANES
            {
                let places = &mut plane[piece.place - first..][..piece.count];
                S::as_mut_simd_f32s(places).0.copy_from_slice(&values[channel]);
                continue;
            }
            // A copy: what is looked at through memory would be kept there from the beginning.
            let part = values[channel];
            let values: &[f32] = bytemuck::cast_slice(&part);
            for piece in self.pieces {
                plane[piece.place - first..][..piece.count].copy_from_slice(&values[piece.offset..][..piece.count]);
            }
        }
    }
}

/// The values at these places of a channel, of which those from `first` on are given.
#[inline(always)]
fn load<S: Simd, const VECTORS: usize>(simd: S, pieces: &[Piece], plane: &[f32], first: usize) -> [S::f32s; VECTORS] {
    let mut values = [simd.splat_f32s(0.0); VECTORS];
    if let [piece] = pieces
        && piece.count == VECTORS * S::F32_LANES
    {
        let mut whole = values;
        whole.copy_from_slice(S::as_simd_f32s(&plane[piece.place - first..][..piece.count]).0);
        return whole;
    }
    let target: &mut [f32] = bytemuck::cast_slice_mut(&mut values);
    for piece in pieces {
        target[piece.offset..][..piece.count].copy_from_slice(&plane[piece.place - first..][..piece.count]);
    }
    values
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Values that look random, from -1 to 1.
    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// The convolution by its definition, in double precision.
    fn reference(geometry: &Geometry, groups: usize, weights: &[f32], bias: &[f32], input: &[f32]) -> Vec<f64> {
        let Geometry { input: [channels, height, width], output: [outputs, rows, columns], .. } = *geometry;
        let (each_in, each_out) = (channels / groups, outputs / groups);
        let mut result = vec![];
        for output in 0..outputs {
            for row in 0..rows {
                for column in 0..columns {
                    let mut sum = f64::from(bias[output]);
                    for channel in 0..each_in {
                        for down in 0..geometry.kernel[0] {
                            for right in 0..geometry.kernel[1] {
                                let y = row * geometry.stride[0] + down * geometry.dilation[0];
                                let x = column * geometry.stride[1] + right * geometry.dilation[1];
                                let (Some(y), Some(x)) =
                                    (y.checked_sub(geometry.padding[0]), x.checked_sub(geometry.padding[1]))
                                else {
                                    continue;
                                };
                                if y >= height || x >= width {
                                    continue;
                                }
                                let source = output / each_out * each_in + channel;
                                let weight = ((output * each_in + channel) * geometry.kernel[0] + down)
                                    * geometry.kernel[1]
                                    + right;
                                sum += f64::from(weights[weight]) * f64::from(input[(source * height + y) * width + x]);
                            }
                        }
                    }
                    result.push(sum);
                }
            }
        }
        result
    }

    /// Sides of the input, outputs, groups, kernel, stride, dilation, padding on all sides.
    type Case = ([usize; 3], usize, usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2]);

    const CASES: [Case; 20] = [
        // Pointwise: one place, a few, more than a block; few channels and more rows than are kept at once.
        ([3, 1, 1], 2, 1, [1, 1], [1, 1], [1, 1], [0, 0]),
        ([16, 7, 9], 96, 1, [1, 1], [1, 1], [1, 1], [0, 0]),
        ([300, 5, 5], 13, 1, [1, 1], [1, 1], [1, 1], [0, 0]),
        ([24, 40, 41], 7, 1, [1, 1], [1, 1], [1, 1], [0, 0]),
        ([8, 9, 9], 5, 1, [1, 1], [2, 2], [1, 1], [0, 0]),
        ([8, 9, 9], 5, 1, [1, 1], [1, 1], [1, 1], [1, 2]),
        // Kernels with borders, strides, dilation; pictures narrower than a vector, and than the kernel.
        ([3, 33, 47], 32, 1, [3, 3], [2, 2], [1, 1], [1, 1]),
        ([40, 17, 19], 20, 1, [3, 3], [1, 1], [1, 1], [1, 1]),
        ([2, 5, 5], 3, 1, [7, 7], [2, 2], [1, 1], [3, 3]),
        ([4, 20, 21], 3, 1, [3, 2], [1, 3], [2, 2], [0, 1]),
        ([5, 2, 2], 4, 1, [3, 3], [1, 1], [1, 1], [1, 1]),
        // Small pictures with more rows than are kept at once.
        ([70, 4, 4], 20, 1, [3, 3], [1, 1], [1, 1], [1, 1]),
        ([50, 8, 8], 9, 1, [3, 3], [1, 1], [1, 1], [1, 1]),
        // Depthwise: strides, sides odd and even, borders, kernels of other sizes, one place.
        ([5, 17, 40], 5, 5, [3, 3], [1, 1], [1, 1], [1, 1]),
        ([3, 16, 70], 3, 3, [3, 3], [2, 2], [1, 1], [1, 1]),
        ([3, 15, 33], 3, 3, [3, 3], [2, 2], [1, 1], [0, 0]),
        ([2, 9, 11], 2, 2, [5, 5], [1, 1], [1, 1], [2, 2]),
        ([2, 9, 12], 2, 2, [5, 5], [2, 2], [1, 1], [2, 2]),
        ([6, 7, 7], 6, 6, [7, 7], [1, 1], [1, 1], [0, 0]),
        ([2, 1, 3], 2, 2, [3, 3], [1, 2], [1, 1], [1, 1]),
    ];

    fn geometry(case: &Case) -> Geometry {
        let (input, outputs, _, kernel, stride, dilation, padding) = *case;
        let side = |axis: usize| {
            (input[axis + 1] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1
        };
        Geometry { input, output: [outputs, side(0), side(1)], kernel, stride, dilation, padding }
    }

    fn run(convolution: &Convolution, kernels: Kernels, input: &[f32]) -> Vec<f32> {
        let mut output = vec![f32::NAN; convolution.geometry.output.iter().product()];
        convolution.clone().prepare(kernels).run(input, &[], &mut output, 1);
        output
    }

    #[test]
    fn every_kernel_does_what_the_definition_says() {
        for (seed, case) in CASES.iter().enumerate() {
            let geometry = geometry(case);
            let groups = case.2;
            let each = geometry.input[0] / groups * geometry.kernel[0] * geometry.kernel[1];
            let weights = noise(geometry.output[0] * each, seed as u32);
            let bias = noise(geometry.output[0], 77);
            let input = noise(geometry.input.iter().product(), 5);
            let expected = reference(&geometry, groups, &weights, &bias, &input);
            let convolution = Convolution::new(geometry, groups, weights, bias).unwrap();
            for kernels in [Kernels::Best, Kernels::Avx2, Kernels::Portable] {
                let output = run(&convolution, kernels, &input);
                assert_eq!(output.len(), expected.len(), "{case:?}");
                let tolerance = 1e-6 * each.max(2) as f64;
                for (index, (value, expected)) in output.iter().zip(&expected).enumerate() {
                    let off = (f64::from(*value) - expected).abs();
                    assert!(off <= tolerance, "{case:?} {kernels:?}: value {index} is {value}, and not {expected}");
                }
                for parts in [2, 3, 64] {
                    let mut cut = vec![f32::NAN; output.len()];
                    convolution.clone().prepare(kernels).run_in_parts(&input, &[], &mut cut, parts);
                    assert_eq!(cut, output, "{case:?} {kernels:?} in {parts} parts");
                }
            }
        }
    }

    #[test]
    fn steps_follow_in_their_order() {
        for case in [&CASES[1], &CASES[11], &CASES[13], &CASES[16]] {
            let geometry = geometry(case);
            let channels = geometry.output[0];
            let sums = geometry.output.iter().product::<usize>();
            let each = geometry.input[0] / case.2 * geometry.kernel[0] * geometry.kernel[1];
            let (weights, bias) = (noise(channels * each, 1), noise(channels, 2));
            let (input, added) = (noise(geometry.input.iter().product(), 3), noise(sums, 4));
            let (scale, slopes) = (noise(channels, 6), noise(channels, 7));
            let plain = reference(&geometry, case.2, &weights, &bias, &input);
            let mut convolution = Convolution::new(geometry.clone(), case.2, weights, bias).unwrap();
            assert!(convolution.scale(&scale) && convolution.shift(&[0.25]) && !convolution.shift(&[1.0, 2.0, 3.0]));
            convolution.push(Step::PRelu(slopes.clone().into()));
            convolution.push(Step::AddInput);
            convolution.push(Step::Clamp(-0.2, 0.9));
            // Too late: a scale would be applied before the steps.
            assert!(!convolution.scale(&scale) && !convolution.shift(&[1.0]));
            for (kernels, parts) in [(Kernels::Best, 1), (Kernels::Best, 2), (Kernels::Avx2, 1), (Kernels::Portable, 3)]
            {
                let mut output = vec![f32::NAN; sums];
                convolution.clone().prepare(kernels).run_in_parts(&input, &[&added], &mut output, parts);
                for (index, value) in output.iter().enumerate() {
                    let channel = index / (sums / channels);
                    let sum = plain[index] * f64::from(scale[channel]) + 0.25;
                    let sum = if sum < 0.0 { sum * f64::from(slopes[channel]) } else { sum };
                    let expected = (sum + f64::from(added[index])).clamp(f64::from(-0.2_f32), f64::from(0.9_f32));
                    assert!((f64::from(*value) - expected).abs() < 1e-4, "{case:?} {kernels:?}: {index}");
                }
            }
        }
    }

    #[test]
    fn pooling_takes_the_largest_value_and_nothing_from_around_the_picture() {
        let cases: [Case; 6] = [
            ([3, 8, 70], 3, 3, [2, 2], [2, 2], [1, 1], [0, 0]),
            ([2, 7, 9], 2, 2, [3, 3], [2, 2], [1, 1], [0, 0]),
            ([2, 7, 10], 2, 2, [3, 3], [2, 2], [1, 1], [1, 1]),
            ([2, 5, 37], 2, 2, [3, 2], [1, 1], [1, 1], [1, 1]),
            ([1, 1, 1], 1, 1, [1, 1], [1, 1], [1, 1], [0, 0]),
            ([1, 6, 6], 1, 1, [6, 6], [1, 1], [1, 1], [0, 0]),
        ];
        for case in &cases {
            let geometry = geometry(case);
            let Geometry { input: [channels, height, width], output: [_, rows, columns], .. } = geometry;
            // Below zero: the border must not count as such.
            let input: Vec<f32> = noise(channels * height * width, 3).iter().map(|value| value - 2.0).collect();
            for kernels in [Kernels::Best, Kernels::Avx2, Kernels::Portable] {
                let mut output = vec![f32::NAN; channels * rows * columns];
                MaxPool::new(geometry.clone(), kernels).unwrap().run_in_parts(&input, &mut output, 1 + channels / 2);
                for (index, value) in output.iter().enumerate() {
                    let (channel, row, column) = (index / (rows * columns), index / columns % rows, index % columns);
                    let mut largest = f32::NEG_INFINITY;
                    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                        let under = |place: usize, axis: usize, from: usize| {
                            let begin = from * geometry.stride[axis];
                            (begin..begin + geometry.kernel[axis]).contains(&(place + geometry.padding[axis]))
                        };
                        if under(y, 0, row) && under(x, 1, column) {
                            largest = largest.max(input[(channel * height + y) * width + x]);
                        }
                    }
                    assert_eq!(*value, largest, "{case:?} {kernels:?}: {index}");
                }
            }
        }
        let wide = Geometry { stride: [3, 3], ..geometry(&cases[0]) };
        assert!(MaxPool::new(wide, Kernels::Best).is_none());
    }

    #[test]
    fn what_the_kernels_do_not_do_is_left_to_others() {
        let geometry = geometry(&([4, 9, 9], 4, 4, [3, 3], [1, 1], [2, 2], [1, 1]));
        assert!(Convolution::new(geometry.clone(), 4, vec![0.0; 36], vec![0.0; 4]).is_none(), "dilated and depthwise");
        assert!(Convolution::new(geometry.clone(), 2, vec![0.0; 72], vec![0.0; 4]).is_none(), "two groups");
        assert!(Convolution::new(geometry.clone(), 1, vec![0.0; 144], vec![0.0; 4]).is_some());
        assert!(Convolution::new(geometry, 1, vec![0.0; 143], vec![0.0; 4]).is_none(), "a weight is missing");
    }
}
