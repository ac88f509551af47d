//! Convolutions as products of matrices: weights times the pixels that lie under the kernel at each place of the output.
//!
//! The second matrix is never whole: a block of it is gathered at a time, for a few dozen places of the output and as many rows as
//! fit into the cache beside them (K. Goto, R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008). The order of
//! the summands of a value depends neither on its place nor on the number of threads.

use std::borrow::Cow;
use std::ops::Range;

use pulp::{Simd, WithSimd, bytemuck};

use super::{Geometry, Job, Kernels, Piece, Target, multiply_add};

/// Rows of the gathered matrix that are kept at once.
const DEPTH: usize = 384;
/// Rows of a matrix that are few.
const SHALLOW: usize = 64;
/// Most values of a tile's row.
const WIDEST: usize = 32;
/// Values that are kept of the gathered block, and of the sums: half of a second-level cache in all.
const BLOCK_VALUES: usize = 32 * 1024;

/// The weights in the order of use: blocks of rows of the product, in each blocks of channels, in each the rows, in each the channels.
#[derive(Debug)]
pub(super) struct Matrix {
    weights: Vec<f32>,
    bias: Vec<f32>,
    rows: usize,
    tile: Tile,
    /// Where the first place of the output sees each row.
    begins: Vec<usize>,
}

impl Matrix {
    pub(super) fn new(geometry: &Geometry, weights: &[f32], bias: &[f32], kernels: Kernels) -> Self {
        let channels = geometry.output[0];
        let rows = geometry.input[0] * geometry.kernel[0] * geometry.kernel[1];
        let tile = kernels.run(BestTile { channels, rows });
        let block = tile.channels;
        let blocks = channels.div_ceil(block);
        let mut packed = Vec::with_capacity(blocks * rows * block);
        for first in (0..rows).step_by(depth(rows)) {
            for start in (0..channels).step_by(block) {
                for row in first..rows.min(first + depth(rows)) {
                    let channels = start..start + block;
                    packed.extend(channels.map(|channel| weights.get(channel * rows + row).copied().unwrap_or(0.0)));
                }
            }
        }
        let mut bias = bias.to_vec();
        bias.resize(blocks * block, 0.0);
        let begins: Vec<_> = (0..rows).map(|row| begin(geometry, row)).collect();
        Self { weights: packed, bias, rows, tile, begins }
    }

    /// How many weights there are.
    pub(super) fn len(&self) -> usize {
        self.weights.len()
    }

    /// How many channels are computed at once.
    pub(super) fn block(&self) -> usize {
        self.tile.channels
    }
}

/// How many rows are kept at once: blocks of the same size, or nearly.
fn depth(rows: usize) -> usize {
    rows.div_ceil(rows.div_ceil(DEPTH))
}

/// What the innermost loop computes: the sums and what they are made of fit into the registers, and the rows of a tile into the
/// first-level cache.
#[derive(Debug, Clone, Copy)]
struct Tile {
    channels: usize,
    /// Of places.
    vectors: usize,
}

/// Of the tiles that a processor is good at, the one that computes the fewest channels in vain.
struct BestTile {
    channels: usize,
    rows: usize,
}

impl WithSimd for BestTile {
    type Output = Tile;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Tile {
        let (sizes, vectors): (&[usize], _) = match (S::REGISTER_COUNT >= 32, S::F32_LANES >= 16) {
            // Few rows: what takes time is to write the output, which goes better in longer pieces.
            (true, true) if self.rows <= SHALLOW => (&[12, 8], 2),
            (true, true) => (&[24, 16, 12, 8], 1),
            (true, false) => (&[12, 8], 2),
            (false, _) => (&[6, 4], 2),
        };
        // Eight sums do not keep the units of a processor busy as more do: as if there were an eighth more to compute.
        let cost = |size: usize| {
            let channels = self.channels.next_multiple_of(size);
            if size * vectors > 8 { channels } else { channels + channels / 8 }
        };
        let mut best = sizes[0];
        for size in sizes {
            if cost(*size) < cost(best) {
                best = *size;
            }
        }
        Tile { channels: best, vectors }
    }
}

impl WithSimd for Job<'_, '_, Matrix, Source<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Tile { channels, vectors } = self.weights.tile;
        if S::REGISTER_COUNT < 32 {
            return if channels == 6 { self.compute::<S, 6, 2>(simd) } else { self.compute::<S, 4, 2>(simd) };
        }
        if vectors == 2 {
            return if channels == 12 { self.compute::<S, 12, 2>(simd) } else { self.compute::<S, 8, 2>(simd) };
        }
        match channels {
            24 => self.compute::<S, 24, 1>(simd),
            16 => self.compute::<S, 16, 1>(simd),
            12 => self.compute::<S, 12, 1>(simd),
            _ => self.compute::<S, 8, 1>(simd),
        }
    }
}

impl Job<'_, '_, Matrix, Source<'_>> {
    #[inline(always)]
    fn compute<S: Simd, const BLOCK: usize, const VECTORS: usize>(self, simd: S) {
        let Self { weights, geometry, steps, input: source, added, band } = self;
        let width = VECTORS * S::F32_LANES;
        let columns = geometry.output[2];
        let Layout { is_compact, is_direct, pitch } = source.layout(geometry, width, S::F32_LANES);
        let (begin, end) = (band.rows.start * pitch, (band.rows.end - 1) * pitch + columns);
        let all_blocks = weights.bias.len() / BLOCK;
        // A band begins with a whole block, and ends with one, or with the last channel.
        let first_block = band.channels.start / BLOCK;
        let blocks = band.channels.end.div_ceil(BLOCK) - first_block;
        let depth = depth(weights.rows);
        // As many tiles as the cache holds, of the gathered rows and of the sums.
        let tiles =
            (BLOCK_VALUES / (depth.max(blocks * BLOCK) * width)).clamp(1, 32).min((end - begin).div_ceil(width));
        let zero = simd.splat_f32s(0.0);
        // An odd number of cache lines for each row: an even one would put all rows into a few places of the cache.
        let line = (tiles | 1) * width;
        let lines: Vec<usize> = (0..depth).map(|row| row * line).collect();
        let mut gathered = vec![zero; if is_direct { 0 } else { (depth * line + WIDEST) / S::F32_LANES }];
        let mut sums = vec![zero; blocks * tiles * BLOCK * VECTORS];
        let (mut pieces, mut copies) = (Vec::with_capacity(2 * tiles), Vec::new());
        for start in (begin..end).step_by(tiles * width) {
            let count = (end - start).min(tiles * width);
            let tiles = count.div_ceil(width);
            split(start, count, width, [pitch, columns, columns], &mut pieces);
            if is_compact {
                source.split(columns, start..start + count, S::F32_LANES, &mut copies);
            }
            for first in (0..weights.rows).step_by(depth) {
                let depth = depth.min(weights.rows - first);
                let begins = &weights.begins[first..][..depth];
                if is_compact {
                    source.gather_rows::<S>(begins, &copies, line, &mut gathered);
                } else if !is_direct {
                    source.gather::<S>(begins, start..start + tiles * width, line, &mut gathered);
                }
                let bias = (first == 0).then_some(weights.bias.as_slice());
                let is_last = first + depth == weights.rows;
                for block in 0..blocks {
                    let channel = (first_block + block) * BLOCK;
                    let packed = &weights.weights[first * all_blocks * BLOCK + depth * channel..][..depth * BLOCK];
                    let bias = bias.map(|bias| &bias[channel..][..BLOCK]);
                    let mut pieces = pieces.as_slice();
                    for tile in 0..tiles {
                        let (values, begins): (&[f32], _) = if is_direct {
                            (&source.values[start + tile * width..], begins)
                        } else {
                            (bytemuck::cast_slice(&gathered[tile * VECTORS..]), &lines[..depth])
                        };
                        let kept = &mut sums[(block * tiles + tile) * BLOCK * VECTORS..][..BLOCK * VECTORS];
                        let total = multiply::<S, BLOCK, VECTORS>(simd, packed, values, begins, bias, kept);
                        if !is_last {
                            kept.as_chunks_mut::<VECTORS>().0.copy_from_slice(&total);
                            continue;
                        }
                        let mut end = 0;
                        while end < pieces.len() && pieces[end].tile == tile {
                            end += 1;
                        }
                        let (here, others) = pieces.split_at(end);
                        pieces = others;
                        let target = Target {
                            steps,
                            added,
                            places: geometry.pixels(),
                            channel,
                            channels: BLOCK.min(geometry.output[0] - channel),
                            pieces: here,
                        };
                        target.finish(simd, total, band);
                    }
                }
            }
        }
    }
}

/// The products of a block of channels and a tile of places, added to what is kept, or to the bias at the beginning.
// Plain loops: a closure would be compiled for the baseline, and called.
#[inline(always)]
fn multiply<S: Simd, const BLOCK: usize, const VECTORS: usize>(
    simd: S,
    weights: &[f32],
    values: &[f32],
    begins: &[usize],
    bias: Option<&[f32]>,
    kept: &[S::f32s],
) -> [[S::f32s; VECTORS]; BLOCK] {
    let (kept, _) = kept.as_chunks::<VECTORS>();
    let (weights, _) = weights.as_chunks::<BLOCK>();
    let mut total = [[simd.splat_f32s(0.0); VECTORS]; BLOCK];
    for channel in 0..BLOCK {
        total[channel] = match bias {
            Some(bias) => [simd.splat_f32s(bias[channel]); VECTORS],
            None => kept[channel],
        };
    }
    for (weights, begin) in weights.iter().zip(begins) {
        let (gathered, _) = S::as_simd_f32s(&values[*begin..][..VECTORS * S::F32_LANES]);
        for channel in 0..BLOCK {
            let weight = simd.splat_f32s(weights[channel]);
            for vector in 0..VECTORS {
                total[channel][vector] = multiply_add(simd, weight, gathered[vector], total[channel][vector]);
            }
        }
    }
    total
}

/// Places from `start` on, cut where a row or a tile ends. Rows are `pitch` wide, of which the first `columns` count, and lie
/// `target_pitch` apart where the pieces belong.
fn split(
    start: usize,
    count: usize,
    width: usize,
    [pitch, columns, target_pitch]: [usize; 3],
    pieces: &mut Vec<Piece>,
) {
    pieces.clear();
    // Without borders on either side, all rows are one.
    let is_flat = pitch == columns && target_pitch == columns;
    let [pitch, columns, target_pitch] = if is_flat { [usize::MAX; 3] } else { [pitch, columns, target_pitch] };
    let mut done = 0;
    while done < count {
        let (row, column) = ((start + done) / pitch, (start + done) % pitch);
        let Some(rest) = columns.checked_sub(column).filter(|rest| *rest > 0) else {
            done += pitch - column;
            continue;
        };
        let (tile, offset) = (done / width, done % width);
        let count = (width - offset).min(rest).min(count - done);
        pieces.push(Piece { place: row * target_pitch + column, tile, offset, count });
        done += count;
    }
}

/// Rows and columns of phases, and of a phase: where the kernel skips rows and columns, those that it skips are put apart, so that
/// neighbouring places of the output see neighbouring values.
fn phases(geometry: &Geometry) -> [[usize; 2]; 2] {
    let Geometry { output: [_, rows, columns], stride, .. } = *geometry;
    let reach = [0, 1].map(|axis| (geometry.kernel[axis] - 1) * geometry.dilation[axis]);
    [
        [0, 1].map(|axis| stride[axis].min(reach[axis] + 1)),
        [rows + reach[0] / stride[0], columns + reach[1] / stride[1]],
    ]
}

/// Where the first place of the output sees a row of the gathered matrix.
fn begin(geometry: &Geometry, row: usize) -> usize {
    let Geometry { kernel, stride, dilation, .. } = *geometry;
    let [phases, sides] = phases(geometry);
    let (channel, tap) = (row / (kernel[0] * kernel[1]), row % (kernel[0] * kernel[1]));
    let (down, right) = (tap / kernel[1] * dilation[0], tap % kernel[1] * dilation[1]);
    let phase = (channel * phases[0] + down % stride[0]) * phases[1] + right % stride[1];
    (phase * sides[0] + down / stride[0]) * sides[1] + right / stride[1]
}

/// How places become tiles.
struct Layout {
    /// Of a row with its borders, as many places are computed as it is wide, and those in the border are left out at the end; or, in small
    /// pictures, from the beginning, which takes more copying.
    is_compact: bool,
    /// Rows that overlap are read where they are, again for each block of channels, and not gathered.
    is_direct: bool,
    /// Places of a row.
    pitch: usize,
}

/// The picture with its borders, in phases.
pub(super) struct Source<'a> {
    values: Cow<'a, [f32]>,
    /// Rows and columns of a phase.
    sides: [usize; 2],
}

impl<'a> Source<'a> {
    pub(super) fn new(geometry: &Geometry, input: &'a [f32]) -> Self {
        let Geometry { input: [channels, height, width], stride, padding, .. } = *geometry;
        let [phases, sides] = phases(geometry);
        if geometry.kernel == [1, 1] && padding == [0, 0] && sides == [height, width] {
            return Self { values: input.into(), sides };
        }
        let [tall, pitch] = sides;
        // A tile may begin at the last place.
        let mut values = vec![0.0; channels * phases[0] * phases[1] * tall * pitch + WIDEST];
        let mut targets = values.chunks_exact_mut(pitch);
        for plane in input.chunks_exact(height * width) {
            for (phase_row, phase_column) in
                (0..phases[0]).flat_map(|row| (0..phases[1]).map(move |column| (row, column)))
            {
                // The first column of the picture that is in this phase, and where it lies there.
                let first = (phase_column + stride[1] - padding[1] % stride[1]) % stride[1];
                let begin = ((first + padding[1]) / stride[1]).min(pitch);
                for (row, target) in (0..tall).zip(&mut targets) {
                    let source = (row * stride[0] + phase_row).checked_sub(padding[0]).filter(|row| *row < height);
                    let Some(source) = source.map(|row| &plane[row * width..][..width]) else { continue };
                    copy_every(stride[1], source.get(first..).unwrap_or_default(), &mut target[begin..]);
                }
            }
        }
        Self { values: values.into(), sides }
    }

    /// What is best for tiles that are so wide.
    fn layout(&self, geometry: &Geometry, width: usize, lanes: usize) -> Layout {
        let [channels, rows, columns] = geometry.output;
        // A tile costs as much as there are channels, and a vector that is copied about 3.
        let overlaps = geometry.kernel != [1, 1];
        let with_borders = ((rows - 1) * self.sides[1] + columns).div_ceil(width) * channels;
        let copies = rows * columns.div_ceil(lanes);
        let is_compact = overlaps && geometry.pixels().div_ceil(width) * channels + 3 * copies < with_borders;
        let pitch = if is_compact { columns } else { self.sides[1] };
        Layout { is_compact, is_direct: overlaps && !is_compact, pitch }
    }

    /// Which vectors are copied to gather these places without those in the borders: from where to where. What is too much at the end
    /// of one is overwritten by the next.
    fn split(&self, columns: usize, places: Range<usize>, lanes: usize, copies: &mut Vec<[usize; 2]>) {
        copies.clear();
        let mut place = places.start;
        while place < places.end {
            let (row, column) = (place / columns, place % columns);
            let end = ((row + 1) * columns).min(places.end);
            let from = row * self.sides[1] + column;
            let offsets = (0..end - place).step_by(lanes);
            copies.extend(offsets.map(|offset| [from + offset, place - places.start + offset]));
            place = end;
        }
    }

    /// Rows of the gathered matrix without the places in the borders.
    #[inline(always)]
    fn gather_rows<S: Simd>(&self, begins: &[usize], copies: &[[usize; 2]], line: usize, gathered: &mut [S::f32s]) {
        let gathered: &mut [f32] = bytemuck::cast_slice_mut(gathered);
        for (index, begin) in begins.iter().enumerate() {
            let source = &self.values[*begin..];
            let target = &mut gathered[index * line..];
            for [from, to] in copies {
                let (source, _) = S::as_simd_f32s(&source[*from..][..S::F32_LANES]);
                let (target, _) = S::as_mut_simd_f32s(&mut target[*to..][..S::F32_LANES]);
                target[0] = source[0];
            }
        }
    }

    /// Rows of the gathered matrix: these places and those in the borders.
    #[inline(always)]
    fn gather<S: Simd>(&self, begins: &[usize], places: Range<usize>, line: usize, gathered: &mut [S::f32s]) {
        let gathered: &mut [f32] = bytemuck::cast_slice_mut(gathered);
        for (begin, target) in begins.iter().zip(gathered.chunks_exact_mut(line)) {
            let source = &self.values[*begin + places.start..];
            // The last places of the last channel may lack some.
            let count = places.len().min(source.len());
            target[..count].copy_from_slice(&source[..count]);
        }
    }
}

/// The first of each so many values.
fn copy_every(stride: usize, source: &[f32], target: &mut [f32]) {
    match stride {
        1 => {
            let count = source.len().min(target.len());
            target[..count].copy_from_slice(&source[..count]);
        }
        2 => {
            let (pairs, rest) = source.as_chunks::<2>();
            for (value, pair) in target.iter_mut().zip(pairs) {
                *value = pair[0];
            }
            // The last pair may lack its second value.
            if let (Some(value), [last]) = (target.get_mut(pairs.len()), rest) {
                *value = *last;
            }
        }
        _ => {
            for (value, group) in target.iter_mut().zip(source.chunks(stride)) {
                *value = group[0];
            }
        }
    }
}
