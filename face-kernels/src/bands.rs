//! Parts of an output, for threads: some of its channels, or some of its rows.

use std::ops::Range;

use super::Geometry;

/// Some rows of some channels.
pub(super) struct Band<'a> {
    pub(super) channels: Range<usize>,
    pub(super) rows: Range<usize>,
    /// Of each channel, these rows.
    pub(super) planes: Vec<&'a mut [f32]>,
    columns: usize,
}

impl Band<'_> {
    /// The band's part of a channel, and the place in the channel where it begins.
    #[inline(always)]
    pub(super) fn plane_mut(&mut self, channel: usize) -> (&mut [f32], usize) {
        (self.planes[channel - self.channels.start], self.rows.start * self.columns)
    }
}

/// Bands of all rows, and some channels: whole blocks of so many.
pub(super) fn by_channels<'a>(geometry: &Geometry, output: &'a mut [f32], parts: usize, block: usize) -> Vec<Band<'a>> {
    let [channels, rows, columns] = geometry.output;
    let mut planes = output.chunks_exact_mut(rows * columns);
    let of = |channels: Range<usize>| {
        let planes = planes.by_ref().take(channels.len()).collect();
        Band { channels, rows: 0..rows, planes, columns }
    };
    shares(channels, parts, block).map(of).collect()
}

/// Bands of all channels, and some rows.
pub(super) fn by_rows<'a>(geometry: &Geometry, output: &'a mut [f32], parts: usize) -> Vec<Band<'a>> {
    let [channels, rows, columns] = geometry.output;
    let empty = |rows| Band { channels: 0..channels, rows, planes: Vec::with_capacity(channels), columns };
    let mut bands: Vec<_> = shares(rows, parts, 1).map(empty).collect();
    for mut plane in output.chunks_exact_mut(rows * columns) {
        for band in &mut bands {
            let (part, rest) = plane.split_at_mut(band.rows.len() * columns);
            band.planes.push(part);
            plane = rest;
        }
    }
    bands
}

/// Up to so many ranges of nearly the same length, each of whole blocks but the last one.
fn shares(total: usize, parts: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = total.div_ceil(block);
    let parts = parts.clamp(1, blocks.max(1));
    let end = move |part: usize| (blocks * part / parts * block).min(total);
    (0..parts).map(move |part| end(part)..end(part + 1))
}

/// Works on each band, on the threads of the current rayon pool where there is more than one.
pub(super) fn spread<'a>(bands: &mut [Band<'a>], work: &(impl Fn(&mut Band<'a>) + Sync)) {
    match bands {
        [] => {}
        [band] => work(band),
        _ => {
            let (left, right) = bands.split_at_mut(bands.len() / 2);
            rayon::join(|| spread(left, work), || spread(right, work));
        }
    }
}
