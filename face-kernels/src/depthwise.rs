//! Convolutions of each channel by itself.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::{Geometry, Piece, Step, Target};

/// Channel, row, column.
#[derive(Debug)]
pub(super) struct Depthwise {
    pub(super) weights: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// Whether the kernels here do this.
pub(super) fn fits(geometry: &Geometry) -> bool {
    geometry.dilation == [1, 1] && (1..=2).contains(&geometry.stride[1]) && geometry.padding[1] < geometry.kernel[1]
}

/// Products that are added up without going through memory: all of a 3 x 3 kernel.
const TAPS: usize = 9;
/// Vectors of places that one round of the innermost loop computes.
const VECTORS: usize = 4;

pub(super) struct Job<'a> {
    pub(super) weights: &'a Depthwise,
    pub(super) geometry: &'a Geometry,
    pub(super) steps: &'a [Step],
    pub(super) input: &'a [f32],
    pub(super) added: &'a [&'a [f32]],
    pub(super) output: &'a mut [f32],
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, geometry, steps, input, added, output } = self;
        let Geometry { input: [_, height, _], output: [_, rows, columns], kernel, stride, padding, .. } = *geometry;
        let mut lines = Lines::new(geometry, VECTORS * S::F32_LANES);
        let taps = kernel[0] * kernel[1];
        let planes = input.chunks_exact(input.len() / geometry.input[0]);
        for (channel, plane) in planes.enumerate() {
            let factors = &weights.weights[channel * taps..][..taps];
            let bias = weights.bias[channel];
            lines.forget();
            for row in 0..rows {
                let top = row * stride[0];
                for row in top..top + kernel[0] {
                    if let Some(row) = row.checked_sub(padding[0]).filter(|row| *row < height) {
                        lines.prepare(row, plane);
                    }
                }
                let place = row * columns;
                let target = Target { steps, added, places: rows * columns, channel, channels: 1, pieces: &[] };
                if kernel == [3, 3] {
                    let mut pairs = [(&[][..], 0.0); TAPS];
                    for index in 0..TAPS {
                        let line = lines.under((top + index / 3).wrapping_sub(padding[0]), index % 3);
                        pairs[index] = (line, factors[index]);
                    }
                    sum(simd, &target, place..place + columns, Some(bias), &pairs, output);
                    continue;
                }
                for index in 0..taps {
                    let (down, right) = (index / kernel[1], index % kernel[1]);
                    let pair = (lines.under((top + down).wrapping_sub(padding[0]), right), factors[index]);
                    let steps = if index + 1 == taps { steps } else { &[] };
                    let target = Target { steps, ..target };
                    sum(simd, &target, place..place + columns, (index == 0).then_some(bias), &[pair], output);
                }
            }
        }
    }
}

/// Adds up the products for one row of the output, beginning with the bias or what is there. A line is as long as all vectors.
// Plain loops: a closure would be compiled for the baseline, and called.
#[inline(always)]
fn sum<S: Simd, const TAPS: usize>(
    simd: S,
    target: &Target<'_>,
    places: Range<usize>,
    bias: Option<f32>,
    taps: &[(&[f32], f32); TAPS],
    output: &mut [f32],
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
            None => target.load(simd, output, 0),
        };
        for tap in 0..TAPS {
            let (line, _) = S::as_simd_f32s(&lines[tap][offset..offset + width]);
            for vector in 0..VECTORS {
                total[vector] = simd.mul_add_e_f32s(factors[tap], line[vector], total[vector]);
            }
        }
        target.finish(simd, [total], output);
    }
}

/// Rows of the input with their borders, split where every second column is skipped, so that what lies under each column of the
/// kernel is contiguous. The last rows are kept: neighbouring rows of the output share them.
struct Lines {
    /// For each row that is kept, and each column modulo the stride, the values.
    values: Vec<f32>,
    /// Which row of the input each one is.
    rows: Vec<Option<usize>>,
    zeros: Vec<f32>,
    length: usize,
    stride: usize,
    columns: usize,
    padding: usize,
}

impl Lines {
    fn new(geometry: &Geometry, width: usize) -> Self {
        let (kernel, stride) = (geometry.kernel, geometry.stride[1]);
        let length = geometry.output[2].next_multiple_of(width) + kernel[1];
        Self {
            values: vec![0.0; kernel[0] * stride * length],
            rows: vec![None; kernel[0]],
            zeros: vec![0.0; length],
            length,
            stride,
            columns: geometry.input[2],
            padding: geometry.padding[1],
        }
    }

    /// Another channel follows.
    fn forget(&mut self) {
        self.rows.fill(None);
    }

    #[inline(always)]
    fn prepare(&mut self, row: usize, plane: &[f32]) {
        let slot = row % self.rows.len();
        if self.rows[slot] == Some(row) {
            return;
        }
        self.rows[slot] = Some(row);
        let line = &plane[row * self.columns..][..self.columns];
        let size = self.stride * self.length;
        let values = &mut self.values[slot * size..][..size];
        // Borders stay zero: they are never written to.
        if self.stride == 1 {
            let end = (self.padding + line.len()).min(values.len());
            values[self.padding..end].copy_from_slice(&line[..end - self.padding]);
            return;
        }
        let (even, odd) = values.split_at_mut(self.length);
        // Column x of the input is value (x + padding) / 2 of the half that it belongs to.
        let (first, line) = if self.padding % 2 == 1 { line.split_at(1) } else { line.split_at(0) };
        let start = self.padding.div_ceil(2);
        if let [first] = first {
            odd[start - 1] = *first;
        }
        let pairs = line.chunks(2).zip(even[start..].iter_mut().zip(&mut odd[start..]));
        for (pair, (even, odd)) in pairs {
            *even = pair[0];
            *odd = pair.get(1).copied().unwrap_or(0.0);
        }
    }

    /// What lies under one column of the kernel, for all columns of the output.
    #[inline(always)]
    fn under(&self, row: usize, column: usize) -> &[f32] {
        let slot = row % self.rows.len();
        if self.rows[slot] != Some(row) {
            return &self.zeros[column..];
        }
        let start = (slot * self.stride + column % self.stride) * self.length;
        &self.values[start + column / self.stride..start + self.length]
    }
}
