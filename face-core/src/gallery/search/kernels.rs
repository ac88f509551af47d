//! Inner products of many rows with some probes: where a search spends its time.
//!
//! Rows lie one after another, each padded with zeros to whole cache lines. One probe is memory-bound: every row
//! is read once and multiplied with each probe. More probes are transposed into panels of up to 24, so that a value of a
//! row is multiplied with the same value of many probes at once, as in a matrix product; no row needs to be packed.
//! Bytes are multiplied with 16-bit probes and summed in 32 bits, which is exact.

// Vector instructions need raw loads, and functions that may be called on some processors alone.
#![allow(unsafe_code)]

/// A cache line of single precision values.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct FloatLine(pub(super) [f32; 16]);

/// A cache line of bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct ByteLine(pub(super) [i8; 64]);

/// The values of lines that lie one after another.
pub(super) fn floats(lines: &[FloatLine]) -> &[f32] {
    // SAFETY: a line is 16 values of 4 bytes without padding (64 bytes in all, as its alignment), valid for reads.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 16) }
}

/// The values of lines that lie one after another.
pub(super) fn bytes(lines: &[ByteLine]) -> &[i8] {
    // SAFETY: a line is 64 bytes without padding, valid for reads.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * 64) }
}

/// What the processor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// What every processor of the target has.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Level {
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Self::Avx2;
        }
        Self::Portable
    }
}

/// Probes of a panel.
const PANEL: usize = 24;
/// Probes of a vector register.
const LANES: usize = 8;
/// Up to so many probes are multiplied one by one: a single one leaves most of a panel empty.
const FEW: usize = 1;

/// Number of scores of a row: one for each probe, and some that mean nothing up to a whole register.
pub(super) fn padded(probes: usize) -> usize {
    probes.next_multiple_of(LANES)
}

/// The panels that so many probes make: first probe and number of registers.
fn panels(probes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..probes).step_by(PANEL).map(move |first| (first, (probes - first).min(PANEL).div_ceil(LANES)))
}

/// Probes in single precision, ready to be multiplied with rows of `stride` values.
pub(super) struct FloatProbes {
    level: Level,
    stride: usize,
    count: usize,
    /// The probes one after another, padded.
    rows: Vec<f32>,
    /// Panel after panel: value after value, the probes of the panel side by side.
    transposed: Vec<f32>,
}

impl FloatProbes {
    pub(super) fn new(level: Level, stride: usize, probes: &[&[f32]]) -> Self {
        let count = probes.len();
        let mut rows = vec![0.0; count * stride];
        for (row, probe) in rows.chunks_exact_mut(stride).zip(probes) {
            row[..probe.len()].copy_from_slice(probe);
        }
        let mut transposed = vec![];
        if count > FEW {
            for (first, vectors) in panels(count) {
                for value in 0..stride {
                    transposed.extend(
                        (first..first + vectors * LANES)
                            .map(|probe| if probe < count { rows[probe * stride + value] } else { 0.0 }),
                    );
                }
            }
        }
        Self { level, stride, count, rows, transposed }
    }

    /// Inner products of rows with every probe: for each row [`padded`] scores.
    pub(super) fn score(&self, rows: &[f32], scores: &mut [f32]) {
        let width = padded(self.count);
        assert_eq!(rows.len() / self.stride * width, scores.len(), "scores for every row and probe");
        assert_eq!(rows.len() % self.stride, 0, "whole rows");
        #[cfg(target_arch = "x86_64")]
        if self.level == Level::Avx2 {
            // SAFETY: `Level::detect` has found both features; tests use no other level than it or `Portable`.
            unsafe { self.score_avx2(rows, scores, width) };
            return;
        }
        let Level::Portable = self.level else { unreachable!("handled above") };
        for (row, scores) in rows.chunks_exact(self.stride).zip(scores.chunks_exact_mut(width)) {
            for (probe, score) in self.rows.chunks_exact(self.stride).zip(scores) {
                *score = dot_portable(row, probe);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn score_avx2(&self, rows: &[f32], scores: &mut [f32], width: usize) {
        let stride = self.stride;
        if self.count <= FEW {
            for (index, probe) in self.rows.chunks_exact(stride).enumerate() {
                let mut blocks = rows.chunks_exact(4 * stride);
                let mut row = 0;
                for block in &mut blocks {
                    for score in avx2::dots_f32::<4>(block, probe) {
                        scores[row * width + index] = score;
                        row += 1;
                    }
                }
                for single in blocks.remainder().chunks_exact(stride) {
                    let [score] = avx2::dots_f32::<1>(single, probe);
                    scores[row * width + index] = score;
                    row += 1;
                }
            }
            return;
        }
        let mut start = 0;
        for (first, vectors) in panels(self.count) {
            let panel = &self.transposed[start..start + stride * vectors * LANES];
            start += panel.len();
            match vectors {
                1 => avx2::panel_f32::<8, 1>(rows, stride, panel, scores, width, first),
                2 => avx2::panel_f32::<6, 2>(rows, stride, panel, scores, width, first),
                _ => avx2::panel_f32::<4, 3>(rows, stride, panel, scores, width, first),
            }
        }
    }
}

fn dot_portable(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// A vector in bytes or 16-bit integers, with the factor that gives the values back.
pub(super) struct Quantized<T> {
    pub(super) values: Vec<T>,
    pub(super) scale: f32,
    /// Length of what was lost.
    pub(super) residual: f64,
}

/// Rounds a vector to integers from `-largest` to `largest`, with a factor of its own.
fn quantize<T>(vector: &[f32], largest: i16, convert: impl Fn(i16) -> T) -> Quantized<T> {
    let peak = vector.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
    let scale = if peak > 0.0 { peak / f32::from(largest) } else { 1.0 };
    let mut lost = 0.0;
    let values = vector
        .iter()
        .map(|value| {
            let rounded = (value / scale).round().clamp(-f32::from(largest), f32::from(largest));
            lost += (f64::from(*value) - f64::from(rounded) * f64::from(scale)).powi(2);
            convert(rounded as i16)
        })
        .collect();
    Quantized { values, scale, residual: lost.sqrt() }
}

/// A row in bytes, from -127 to 127.
pub(super) fn quantize_row(vector: &[f32]) -> Quantized<i8> {
    quantize(vector, 127, |value| value as i8)
}

/// Probes in 16 bits, ready to be multiplied with rows of `stride` bytes.
pub(super) struct IntegerProbes {
    level: Level,
    stride: usize,
    count: usize,
    /// The probes one after another, padded.
    rows: Vec<i16>,
    /// Panel after panel: pair of values after pair of values, the pairs of the panel's probes side by side.
    transposed: Vec<i16>,
    /// One factor for each probe, padded.
    scales: Vec<f32>,
    /// Length of what rounding took from each probe.
    pub(super) residuals: Vec<f64>,
}

impl IntegerProbes {
    pub(super) fn new(level: Level, stride: usize, probes: &[&[f32]]) -> Self {
        let count = probes.len();
        // As large as the sum of all products allows in 32 bits.
        let largest = (i32::MAX as usize / 127 / stride).min(16_383) as i16;
        let mut rows = vec![0; count * stride];
        let (mut scales, mut residuals) = (vec![0.0; padded(count)], vec![]);
        for (index, probe) in probes.iter().enumerate() {
            let quantized = quantize(probe, largest, |value| value);
            rows[index * stride..][..probe.len()].copy_from_slice(&quantized.values);
            scales[index] = quantized.scale;
            residuals.push(quantized.residual);
        }
        let mut transposed = vec![];
        if count > FEW {
            for (first, vectors) in panels(count) {
                for pair in 0..stride / 2 {
                    for probe in first..first + vectors * LANES {
                        let values = if probe < count {
                            [rows[probe * stride + 2 * pair], rows[probe * stride + 2 * pair + 1]]
                        } else {
                            [0, 0]
                        };
                        transposed.extend(values);
                    }
                }
            }
        }
        Self { level, stride, count, rows, transposed, scales, residuals }
    }

    /// Inner products of rows with every probe: for each row [`padded`] scores. `row_scales` has a factor for each row;
    /// `scratch` is memory that the caller keeps between calls.
    pub(super) fn score(&self, rows: &[i8], row_scales: &[f32], scores: &mut [f32], scratch: &mut Vec<i16>) {
        let width = padded(self.count);
        assert_eq!(row_scales.len() * self.stride, rows.len(), "a factor for every row");
        assert_eq!(row_scales.len() * width, scores.len(), "scores for every row and probe");
        match self.level {
            // SAFETY: `Level::detect` has found both features; tests use no other level than it or `Portable`.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { self.score_avx2(rows, scores, width, scratch) },
            Level::Portable => {
                for (row, scores) in rows.chunks_exact(self.stride).zip(scores.chunks_exact_mut(width)) {
                    for (probe, score) in self.rows.chunks_exact(self.stride).zip(scores) {
                        let sum: i32 = row.iter().zip(probe).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                        *score = sum as f32;
                    }
                }
            }
        }
        match self.level {
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::scale(scores, row_scales, &self.scales) },
            Level::Portable => scale(scores, row_scales, &self.scales),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn score_avx2(&self, rows: &[i8], scores: &mut [f32], width: usize, scratch: &mut Vec<i16>) {
        let stride = self.stride;
        if self.count <= FEW {
            for (index, probe) in self.rows.chunks_exact(stride).enumerate() {
                let mut blocks = rows.chunks_exact(4 * stride);
                let mut row = 0;
                for block in &mut blocks {
                    for score in avx2::dots_i8::<4>(block, probe) {
                        scores[row * width + index] = score as f32;
                        row += 1;
                    }
                }
                for single in blocks.remainder().chunks_exact(stride) {
                    let [score] = avx2::dots_i8::<1>(single, probe);
                    scores[row * width + index] = score as f32;
                    row += 1;
                }
            }
            return;
        }
        widen(rows, scratch);
        let mut start = 0;
        for (first, vectors) in panels(self.count) {
            let panel = &self.transposed[start..start + stride * vectors * LANES];
            start += panel.len();
            match vectors {
                1 => avx2::panel_i16::<8, 1>(scratch, stride, panel, scores, width, first),
                2 => avx2::panel_i16::<5, 2>(scratch, stride, panel, scores, width, first),
                _ => avx2::panel_i16::<3, 3>(scratch, stride, panel, scores, width, first),
            }
        }
    }
}

impl Level {
    /// Whether one of a row's scores reaches its floor.
    pub(super) fn reaches(self, scores: &[f32], bias: f32, floors: &[f32]) -> bool {
        match self {
            // SAFETY: `Level::detect` has found the feature; tests use no other level than it or `Portable`.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::reaches(scores, bias, floors) },
            Self::Portable => reaches(scores, bias, floors),
        }
    }
}

// Loops that the compiler turns into vector instructions of whatever the function around them may use.

#[inline(always)]
fn reaches(scores: &[f32], bias: f32, floors: &[f32]) -> bool {
    scores.iter().zip(floors).fold(false, |any, (score, floor)| any | (score + bias >= *floor))
}

#[inline(always)]
fn scale(scores: &mut [f32], row_scales: &[f32], scales: &[f32]) {
    for (scores, row_scale) in scores.chunks_exact_mut(scales.len()).zip(row_scales) {
        for (score, scale) in scores.iter_mut().zip(scales) {
            *score *= row_scale * scale;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn widen(rows: &[i8], scratch: &mut Vec<i16>) {
    scratch.resize(rows.len(), 0);
    for (wide, value) in scratch.iter_mut().zip(rows) {
        *wide = i16::from(*value);
    }
}

/// Kernels for AVX2 and FMA. Each checks its lengths, so that no load leaves its slice.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::LANES;

    #[target_feature(enable = "avx2")]
    pub(super) fn reaches(scores: &[f32], bias: f32, floors: &[f32]) -> bool {
        super::reaches(scores, bias, floors)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn scale(scores: &mut [f32], row_scales: &[f32], scales: &[f32]) {
        super::scale(scores, row_scales, scales);
    }

    /// Inner products of R rows with one probe; all of a length that 16 divides.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dots_f32<const R: usize>(rows: &[f32], probe: &[f32]) -> [f32; R] {
        let stride = probe.len();
        assert!(rows.len() == R * stride && stride.is_multiple_of(16));
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for start in (0..stride).step_by(16) {
            // SAFETY: `start + 16 <= stride`, and there are R rows of `stride` values.
            unsafe {
                let low = _mm256_loadu_ps(probe.as_ptr().add(start));
                let high = _mm256_loadu_ps(probe.as_ptr().add(start + 8));
                for (r, sum) in sums.iter_mut().enumerate() {
                    let row = rows.as_ptr().add(r * stride + start);
                    sum[0] = _mm256_fmadd_ps(_mm256_loadu_ps(row), low, sum[0]);
                    sum[1] = _mm256_fmadd_ps(_mm256_loadu_ps(row.add(8)), high, sum[1]);
                }
            }
        }
        sums.map(|[a, b]| {
            let mut lanes = [0.0; 8];
            // SAFETY: eight values fit.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(a, b)) };
            lanes.iter().sum()
        })
    }

    /// Exact inner products of R rows with one probe; all of a length that 16 divides.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn dots_i8<const R: usize>(rows: &[i8], probe: &[i16]) -> [i32; R] {
        let stride = probe.len();
        assert!(rows.len() == R * stride && stride.is_multiple_of(16));
        let mut sums = [_mm256_setzero_si256(); R];
        for start in (0..stride).step_by(16) {
            // SAFETY: `start + 16 <= stride`, and there are R rows of `stride` values.
            unsafe {
                let values = _mm256_loadu_si256(probe.as_ptr().add(start).cast());
                for (r, sum) in sums.iter_mut().enumerate() {
                    let row = _mm_loadu_si128(rows.as_ptr().add(r * stride + start).cast());
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(row), values));
                }
            }
        }
        sums.map(|sum| {
            let mut lanes = [0; 8];
            // SAFETY: eight values fit.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sum) };
            lanes.iter().sum()
        })
    }

    /// Inner products of all rows, R at a time, with the V x 8 probes of a panel. R x V sums, V vectors of probes and one of
    /// the row must find room in 16 registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn panel_f32<const R: usize, const V: usize>(
        rows: &[f32],
        stride: usize,
        panel: &[f32],
        scores: &mut [f32],
        width: usize,
        first: usize,
    ) {
        let count = rows.len() / stride;
        assert!(panel.len() == stride * V * LANES && first + V * LANES <= width && scores.len() == count * width);
        let mut row = 0;
        while row < count {
            let (rows, scores) = (&rows[row * stride..], &mut scores[row * width + first..]);
            if row + R <= count {
                tile_f32::<R, V>(rows, stride, panel, scores, width);
                row += R;
            } else {
                tile_f32::<1, V>(rows, stride, panel, scores, width);
                row += 1;
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn tile_f32<const R: usize, const V: usize>(
        rows: &[f32],
        stride: usize,
        panel: &[f32],
        scores: &mut [f32],
        width: usize,
    ) {
        assert!(rows.len() >= R * stride && panel.len() == stride * V * LANES);
        assert!(scores.len() >= (R - 1) * width + V * LANES);
        let mut sums = [[_mm256_setzero_ps(); V]; R];
        for value in 0..stride {
            // SAFETY: `value < stride`, and the lengths were checked above.
            unsafe {
                let probes = panel.as_ptr().add(value * V * LANES);
                let mut vectors = [_mm256_setzero_ps(); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = _mm256_loadu_ps(probes.add(v * LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let own = _mm256_broadcast_ss(&*rows.as_ptr().add(r * stride + value));
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm256_fmadd_ps(own, vector, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                // SAFETY: the length of `scores` was checked above.
                unsafe { _mm256_storeu_ps(scores.as_mut_ptr().add(r * width + v * LANES), *sum) };
            }
        }
    }

    /// As [`panel_f32`], exactly; a register more is needed for the products.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn panel_i16<const R: usize, const V: usize>(
        rows: &[i16],
        stride: usize,
        panel: &[i16],
        scores: &mut [f32],
        width: usize,
        first: usize,
    ) {
        let count = rows.len() / stride;
        assert!(panel.len() == stride * V * LANES && first + V * LANES <= width && scores.len() == count * width);
        let mut row = 0;
        while row < count {
            let (rows, scores) = (&rows[row * stride..], &mut scores[row * width + first..]);
            if row + R <= count {
                tile_i16::<R, V>(rows, stride, panel, scores, width);
                row += R;
            } else {
                tile_i16::<1, V>(rows, stride, panel, scores, width);
                row += 1;
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn tile_i16<const R: usize, const V: usize>(
        rows: &[i16],
        stride: usize,
        panel: &[i16],
        scores: &mut [f32],
        width: usize,
    ) {
        assert!(rows.len() >= R * stride && panel.len() == stride * V * LANES && stride.is_multiple_of(2));
        // A pair is loaded as one value of four bytes.
        assert!(rows.as_ptr().cast::<f32>().is_aligned());
        assert!(scores.len() >= (R - 1) * width + V * LANES);
        let mut sums = [[_mm256_setzero_si256(); V]; R];
        for pair in 0..stride / 2 {
            // SAFETY: `2 * pair + 1 < stride`, and the lengths were checked above.
            unsafe {
                let probes = panel.as_ptr().add(pair * V * LANES * 2);
                let mut vectors = [_mm256_setzero_si256(); V];
                for (v, vector) in vectors.iter_mut().enumerate() {
                    *vector = _mm256_loadu_si256(probes.add(v * LANES * 2).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    // A pair of values as one of 32 bits: only its bits count.
                    let own = _mm256_broadcast_ss(&*rows.as_ptr().add(r * stride + 2 * pair).cast());
                    let own = _mm256_castps_si256(own);
                    for (sum, vector) in sums.iter_mut().zip(vectors) {
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(own, vector));
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let sum = _mm256_cvtepi32_ps(*sum);
                // SAFETY: the length of `scores` was checked above.
                unsafe { _mm256_storeu_ps(scores.as_mut_ptr().add(r * width + v * LANES), sum) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that look random and are the same on every machine.
    fn values(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// Levels that this processor has.
    fn levels() -> Vec<Level> {
        let mut levels = vec![Level::Portable, Level::detect()];
        levels.dedup();
        levels
    }

    #[test]
    fn every_kernel_multiplies_every_row_with_every_probe() {
        for (stride, rows) in [(16, 1), (64, 7), (128, 33), (192, 4)] {
            let data = values(stride * rows, 1);
            for count in [1, 2, 3, 8, 9, 16, 23, 24, 25, 64] {
                let all = values(stride * count, 2);
                let probes: Vec<&[f32]> = all.chunks_exact(stride).collect();
                for level in levels() {
                    let mut scores = vec![0.0; rows * padded(count)];
                    FloatProbes::new(level, stride, &probes).score(&data, &mut scores);
                    for (row, scores) in data.chunks_exact(stride).zip(scores.chunks_exact(padded(count))) {
                        for (probe, score) in probes.iter().zip(scores) {
                            assert!((f64::from(*score) - dot(row, probe)).abs() < 1e-4, "{level:?} {stride} {count}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bytes_are_summed_exactly_up_to_the_largest_values() {
        for (stride, rows) in [(64, 5), (128, 9), (1024, 3)] {
            for (largest, seed) in [(false, 3), (true, 4)] {
                let mut data: Vec<f32> = values(stride * rows, seed);
                let mut all: Vec<f32> = values(stride * 25, seed + 1);
                if largest {
                    data.fill(1.0);
                    all.fill(-1.0);
                }
                let quantized: Vec<Quantized<i8>> = data.chunks_exact(stride).map(quantize_row).collect();
                let row_bytes: Vec<i8> = quantized.iter().flat_map(|row| row.values.clone()).collect();
                let scales: Vec<f32> = quantized.iter().map(|row| row.scale).collect();
                for count in [1, 2, 25] {
                    let probes: Vec<&[f32]> = all.chunks_exact(stride).take(count).collect();
                    let mut answers = vec![];
                    for level in levels() {
                        let integers = IntegerProbes::new(level, stride, &probes);
                        let mut scores = vec![0.0; rows * padded(count)];
                        integers.score(&row_bytes, &scales, &mut scores, &mut vec![]);
                        for (index, row) in data.chunks_exact(stride).enumerate() {
                            for (number, probe) in probes.iter().enumerate() {
                                let score = f64::from(scores[index * padded(count) + number]);
                                let (length, probe_length) = (dot(row, row).sqrt(), dot(probe, probe).sqrt());
                                let bound = quantized[index].residual * probe_length
                                    + integers.residuals[number] * (length + quantized[index].residual)
                                    + 1e-6 * length * probe_length;
                                assert!((score - dot(row, probe)).abs() <= bound, "{level:?} {stride} {count}");
                            }
                        }
                        answers.push(scores);
                    }
                    // Sums of integers do not hang on their order.
                    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
                }
            }
        }
    }
}
