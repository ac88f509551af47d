//! Convolutions of each channel by itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::lines::Lines;
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
        // How many vectors of places one round of the innermost loop computes.
        if S::F32_LANES >= 16 { self.compute::<S, 2>(simd) } else { self.compute::<S, 4>(simd) }
    }
}

impl Job<'_, '_, Depthwise, [f32]> {
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
            lines.forget();
            for row in 0..rows {
                let top = row * stride[0];
                lines.prepare(top, plane);
                let place = row * columns;
                let target = Target { steps, added, places: rows * columns, channel, channels: 1, pieces: &[] };
                if kernel == [3, 3] {
                    let mut pairs = [(&[][..], 0.0); TAPS];
                    for index in 0..TAPS {
                        let line = lines.under(top + index / 3, index % 3);
                        pairs[index] = (line, factors[index]);
                    }
                    sum::<S, TAPS, VECTORS>(simd, &target, place..place + columns, Some(bias), &pairs, band);
                    continue;
                }
                for index in 0..taps {
                    let (down, right) = (index / kernel[1], index % kernel[1]);
                    let pair = (lines.under(top + down, right), factors[index]);
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
    let width = VECTORS * S::F32_LANES;
    let mut lines = [&[][..]; TAPS];
    let mut factors = [simd.splat_f32s(0.0); TAPS];
    for tap in 0..TAPS {
        lines[tap] = &taps[tap].0[..places.len().next_multiple_of(width)];
        factors[tap] = simd.splat_f32s(taps[tap].1);
    }
    for offset in (0..places.len()).step_by(width) {
        let count = width.min(places.len() - offset);
        let piece = [Piece { place: places.start + offset, tile: 0, offset: 0, count }];
        let target = Target { pieces: &piece, ..*target };
        let mut total = match bias {
            Some(bias) => [simd.splat_f32s(bias); VECTORS],
            None => {
                let (plane, first) = band.plane_mut(target.channel);
                load(simd, target.pieces, plane, first)
            }
        };
        for tap in 0..TAPS {
            let (line, _) = S::as_simd_f32s(&lines[tap][offset..offset + width]);
            for vector in 0..VECTORS {
                total[vector] = multiply_add(simd, factors[tap], line[vector], total[vector]);
            }
        }
        target.finish(simd, [total], band);
    }
}
