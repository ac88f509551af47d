//! Convolutions of each channel by itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::lines::{Lines, SMALL};
use super::{Band, Geometry, Job, Piece, Target, load, multiply_add};

/// Channel, row, column.
#[derive(Debug)]
pub(super) struct Depthwise {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Products that are added up without going through memory: all of a 3 x 3 kernel.
const TAPS: usize = 9;

impl WithSimd for Job<'_, '_, Depthwise, [f32]> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [_, height, width] = self.geometry.input;
        if self.geometry.kernel == [3, 3] && self.geometry.stride == [1, 1] && height * width <= SMALL {
            return self.compute_small(simd);
        }
        // How many vectors of places one round of the innermost loop computes.
        if S::F32_LANES >= 16 { self.compute::<S, 2>(simd) } else { self.compute::<S, 4>(simd) }
    }
}

impl Job<'_, '_, Depthwise, [f32]> {
    /// A small plane as one line, with its borders: places in the borders are computed, too, and left out when the rows are written.
    #[inline(always)]
    fn compute_small<S: Simd>(self, simd: S) {
        let Self { weights, geometry, steps, input, added, band } = self;
        let Geometry { input: [_, height, width], output: [_, rows, columns], padding: [top, left], .. } = *geometry;
        let (lanes, pitch) = (S::F32_LANES, columns + 2);
        let places = (rows - 1) * pitch + columns;
        let end = places.next_multiple_of(lanes);
        // What lies under the last vector ends behind the plane.
        let mut plane = vec![0.0; (rows + 2) * pitch + lanes];
        let mut sums = vec![0.0; end + lanes];
        for channel in band.channels.clone() {
            let lines = input[channel * height * width..][..height * width].chunks_exact(width);
            for (line, target) in lines.zip(plane.chunks_exact_mut(pitch).skip(top)) {
                let count = width.min(pitch - left);
                target[left..left + count].copy_from_slice(&line[..count]);
            }
            let mut factors = [simd.splat_f32s(0.0); TAPS];
            for tap in 0..TAPS {
                factors[tap] = simd.splat_f32s(weights.weights[channel * TAPS + tap]);
            }
            let bias = simd.splat_f32s(weights.bias[channel]);
            let (targets, _) = S::as_mut_simd_f32s(&mut sums[..end]);
            for (index, target) in targets.iter_mut().enumerate() {
                let mut total = bias;
                for down in 0..3 {
                    let line = &plane[down * pitch + index * lanes..][..lanes + 2];
                    for right in 0..3 {
                        let (values, _) = S::as_simd_f32s(&line[right..right + lanes]);
                        total = multiply_add(simd, factors[3 * down + right], values[0], total);
                    }
                }
                *target = total;
            }
            for row in 0..rows {
                let mut column = 0;
                while column < columns {
                    // The last vector writes some places for a second time.
                    let begin = if columns >= lanes { column.min(columns - lanes) } else { column };
                    let place = row * columns + begin;
                    let piece = [Piece { place, tile: 0, offset: 0, count: lanes.min(columns - begin) }];
                    let target = Target { steps, added, places: rows * columns, channel, channels: 1, pieces: &piece };
                    let (values, _) = S::as_simd_f32s(&sums[row * pitch + begin..][..lanes]);
                    target.finish(simd, [[values[0]]], band);
                    column = begin + lanes;
                }
            }
        }
    }

    #[inline(always)]
    fn compute<S: Simd, const VECTORS: usize>(self, simd: S) {
        let Self { weights, geometry, steps, input, added, band } = self;
        let Geometry { output: [_, rows, columns], kernel, stride, .. } = *geometry;
        let mut lines = Lines::new(geometry, VECTORS * S::F32_LANES, 0.0);
        let taps = kernel[0] * kernel[1];
        let size = input.len() / geometry.input[0];
        for channel in band.channels.clone() {
            let plane = &input[channel * size..][..size];
            let factors = &weights.weights[channel * taps..][..taps];
            let bias = weights.bias[channel];
            lines.begin(plane);
            for row in 0..rows {
                let top = row * stride[0];
                lines.prepare(top, plane);
                let place = row * columns;
                let target = Target { steps, added, places: rows * columns, channel, channels: 1, pieces: &[] };
                if kernel == [3, 3] {
                    let mut pairs = [(&[][..], 0.0); TAPS];
                    for down in 0..3 {
                        let line = lines.row(top + down);
                        for right in 0..3 {
                            pairs[3 * down + right] = (&line[lines.column(right)..], factors[3 * down + right]);
                        }
                    }
                    sum::<S, TAPS, VECTORS>(simd, &target, place..place + columns, Some(bias), &pairs, band);
                    continue;
                }
                for index in 0..taps {
                    let (down, right) = (index / kernel[1], index % kernel[1]);
                    let pair = (&lines.row(top + down)[lines.column(right)..], factors[index]);
                    let steps = if index + 1 == taps { steps } else { &[] };
                    let target = Target { steps, ..target };
                    let bias = (index == 0).then_some(bias);
                    sum::<S, 1, VECTORS>(simd, &target, place..place + columns, bias, &[pair], band);
                }
            }
        }
    }
}

/// Adds up the products for one row of the output, beginning with the bias or what is there. A line is as long as all vectors.
// Plain loops: a closure would be compiled for the baseline, and called.
#[inline(always)]
fn sum<S: Simd, const TAPS: usize, const VECTORS: usize>(
    simd: S,
    target: &Target<'_>,
    places: Range<usize>,
    bias: Option<f32>,
    taps: &[(&[f32], f32); TAPS],
    band: &mut Band<'_>,
) {
    let (lanes, columns) = (S::F32_LANES, places.len());
    let mut lines = [&[][..]; TAPS];
    let mut factors = [simd.splat_f32s(0.0); TAPS];
    for tap in 0..TAPS {
        lines[tap] = &taps[tap].0[..columns.next_multiple_of(lanes)];
        factors[tap] = simd.splat_f32s(taps[tap].1);
    }
    let mut column = 0;
    while column + VECTORS * lanes <= columns {
        add_up::<S, TAPS, VECTORS>(simd, target, places.start, column, VECTORS * lanes, bias, &lines, &factors, band);
        column += VECTORS * lanes;
    }
    while column < columns {
        // The last vector computes some places for a second time, and is written as a whole; not where sums are added to what is there.
        let begin = if TAPS > 1 && columns >= lanes { column.min(columns - lanes) } else { column };
        let count = lanes.min(columns - begin);
        add_up::<S, TAPS, 1>(simd, target, places.start, begin, count, bias, &lines, &factors, band);
        column = begin + lanes;
    }
}

/// Some neighbouring places of a row.
#[allow(clippy::too_many_arguments)] // The innermost loop.
#[inline(always)]
fn add_up<S: Simd, const TAPS: usize, const VECTORS: usize>(
    simd: S,
    target: &Target<'_>,
    first: usize,
    column: usize,
    count: usize,
    bias: Option<f32>,
    lines: &[&[f32]; TAPS],
    factors: &[S::f32s; TAPS],
    band: &mut Band<'_>,
) {
    let piece = [Piece { place: first + column, tile: 0, offset: 0, count }];
    let target = Target { pieces: &piece, ..*target };
    let mut total = match bias {
        Some(bias) => [simd.splat_f32s(bias); VECTORS],
        None => {
            let (plane, first) = band.plane_mut(target.channel);
            load(simd, target.pieces, plane, first)
        }
    };
    for tap in 0..TAPS {
        let (line, _) = S::as_simd_f32s(&lines[tap][column..column + VECTORS * S::F32_LANES]);
        for vector in 0..VECTORS {
            total[vector] = multiply_add(simd, factors[tap], line[vector], total[vector]);
        }
    }
    target.finish(simd, [total], band);
}
