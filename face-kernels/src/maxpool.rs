//! The largest value under a kernel, in each channel by itself.

use pulp::{Simd, WithSimd};

use super::bands::{Band, by_channels, spread};
use super::lines::{self, Lines};
use super::{Geometry, Kernels};

/// Vectors of places that one round of the innermost loop computes.
const VECTORS: usize = 4;
/// How many values a part has at least.
const MIN_VALUES: usize = 1 << 16;

/// Max pooling. What lies around the picture does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxPool {
    geometry: Geometry,
    kernels: Kernels,
}

impl MaxPool {
    /// `None` for what the kernels do not do: dilation, and strides over 2.
    pub fn new(geometry: Geometry, kernels: Kernels) -> Option<Self> {
        let fits = lines::fit(&geometry) && geometry.input[0] == geometry.output[0] && geometry.kernel[0] > 0;
        fits.then_some(Self { geometry, kernels })
    }

    /// Its sides.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// One picture: channels, rows, columns, one behind the other, of the sides that the [`Geometry`] has. Where it is worth it, the
    /// work is cut into up to so many parts for the threads of the current rayon pool.
    ///
    /// # Panics
    /// When a slice is shorter than that.
    pub fn run(&self, input: &[f32], output: &mut [f32], parts: usize) {
        let parts = parts.min(output.len() / MIN_VALUES);
        self.run_in_parts(input, output, parts);
    }

    pub(super) fn run_in_parts(&self, input: &[f32], output: &mut [f32], parts: usize) {
        let Self { geometry, kernels } = self;
        spread(&mut by_channels(geometry, output, parts, 1), &|band| kernels.run(Job { geometry, input, band }));
    }
}

struct Job<'a, 'b> {
    geometry: &'a Geometry,
    input: &'a [f32],
    band: &'a mut Band<'b>,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { geometry, input, band } = self;
        let Geometry { input: [_, height, width], output: [.., columns], kernel, stride, .. } = *geometry;
        let block = VECTORS * S::F32_LANES;
        let mut lines = Lines::new(geometry, block, f32::NEG_INFINITY);
        let planes = input.chunks_exact(height * width).skip(band.channels.start).zip(&mut band.planes);
        for (plane, result) in planes {
            lines.begin(plane);
            for (row, result) in result.chunks_exact_mut(columns).enumerate() {
                let top = row * stride[0];
                lines.prepare(top, plane);
                for offset in (0..columns).step_by(block) {
                    let mut largest = [simd.splat_f32s(f32::NEG_INFINITY); VECTORS];
                    for down in 0..kernel[0] {
                        let line = lines.row(top + down);
                        for right in 0..kernel[1] {
                            let (line, _) = S::as_simd_f32s(&line[lines.column(right) + offset..][..block]);
                            for vector in 0..VECTORS {
                                largest[vector] = simd.max_f32s(largest[vector], line[vector]);
                            }
                        }
                    }
                    let count = block.min(columns - offset);
                    let values: &[f32] = pulp::bytemuck::cast_slice(&largest);
                    result[offset..offset + count].copy_from_slice(&values[..count]);
                }
            }
        }
    }
}
