//! Exact search: every row is compared, on all cores.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::collector::{Collector, Floor, Limits};
use super::kernels::{self, ByteLine, FloatLine, FloatProbes, IntegerProbes, Level};
use super::{MAX_DIMENSION, Precision, check_length, length};
use crate::error::{Error, Result};
use crate::stage::Metric;

/// What is asked of a search.
#[derive(Clone, Copy, Default)]
pub struct Query<'a> {
    /// Most groups for each probe.
    pub top_k: usize,
    /// Groups less alike than this are left out.
    pub min_similarity: Option<f32>,
    /// Which groups are looked at; `None` for all.
    pub accept: Option<&'a (dyn Fn(u64) -> bool + Sync)>,
}

/// One found group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The group.
    pub group: u64,
    /// The group's vector that is most like the probe.
    pub key: u64,
    /// How alike they are, as [`Embedding::similarity`](crate::Embedding::similarity) has it before it is rounded to single
    /// precision.
    pub similarity: f64,
}

/// Vectors with keys, in groups, and the search for the groups most like a probe.
///
/// The answer is that of a brute-force search in double precision, ties in the order of the groups: a scan in single
/// precision (or bytes) keeps everything that rounding may have put below the best, and that is compared again.
///
/// The [group-aware](Metric::GroupAware) similarity is no inner product: every row is compared in double precision at once,
/// whatever the precision asked for.
///
/// A scan costs (rows x values) multiplications; memory is 4 bytes a value and about 40 bytes a row, with
/// [`Precision::Int8`] 5 bytes a value.
///
/// ```
/// use face_core::Metric;
/// use face_core::gallery::search::{ExactIndex, Precision, Query};
///
/// let mut index = ExactIndex::new(2, Metric::Euclidean, Precision::F32)?;
/// index.insert(1, 10, &[0.0, 0.0])?;
/// index.insert(2, 10, &[5.0, 0.0])?;
/// index.insert(3, 20, &[3.0, 4.0])?;
/// let found = index.search(&[&[4.0, 0.0]], &Query { top_k: 2, ..Query::default() });
/// assert_eq!((found[0][0].group, found[0][0].key, found[0][0].similarity), (10, 2, -1.0));
/// assert_eq!(found[0][1].group, 20);
/// # Ok::<(), face_core::Error>(())
/// ```
pub struct ExactIndex {
    rows: Snapshot,
    row_of: HashMap<u64, u32>,
}

/// The vectors of an index as they were when it was taken: it costs next to nothing, and can be searched while the index
/// changes.
#[derive(Clone)]
pub struct Snapshot {
    dimension: usize,
    metric: Metric,
    level: Level,
    /// Cache lines of a row in single precision.
    lines: usize,
    /// Cache lines of a row in bytes; 0 when there are none.
    byte_lines: usize,
    /// The rows, in pieces that never move, so that a growing gallery is not copied. A change copies a piece only when a
    /// snapshot holds it too.
    pieces: Vec<Arc<Piece>>,
    count: usize,
    /// The longest vector there ever was.
    longest: f64,
    /// The largest loss of a row in bytes there ever was.
    residual: f64,
}

/// Some rows, one after another, with what belongs to them.
#[derive(Clone, Default)]
struct Piece {
    rows: Vec<FloatLine>,
    bytes: Vec<ByteLine>,
    /// What the bytes of a row are to be multiplied with.
    scales: Vec<f32>,
    /// Euclidean: minus half of the squared length, so that `q x + bias` grows as the distance falls. Cosine: empty.
    biases: Vec<f32>,
    keys: Vec<u64>,
    groups: Vec<u64>,
}

/// Rows of a piece.
const PIECE: usize = 8192;
/// Rows that one task of the pool scans; a part of a piece.
const TASK: usize = 4096;
/// Values that are scanned for all probes before the next ones, so that they stay in the second cache.
const BLOCK_VALUES: usize = 32 << 10;

/// The part of a row-wise list that belongs to these rows.
fn part<T>(list: &[T], rows: Range<usize>, lines: usize) -> &[T] {
    &list[rows.start * lines..rows.end * lines]
}

/// Puts the last row of a list, which may be the list itself, in the place of another.
fn replace<T: Copy>(list: &mut [T], row: usize, with: &[T]) {
    list[row * with.len()..][..with.len()].copy_from_slice(with);
}

impl ExactIndex {
    /// An empty index for vectors of so many values.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for no values, or more than [`MAX_DIMENSION`].
    pub fn new(dimension: usize, metric: Metric, precision: Precision) -> Result<Self> {
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(Error::InvalidParameter {
                parameter: "dimension",
                value: dimension.to_string(),
                expected: format!("from 1 to {MAX_DIMENSION}"),
            });
        }
        let byte_lines = match (precision, metric) {
            (Precision::F32, _) | (_, Metric::GroupAware(_)) => 0,
            (Precision::Int8, _) => dimension.div_ceil(64),
        };
        let rows = Snapshot {
            dimension,
            metric,
            level: Level::detect(),
            lines: dimension.div_ceil(16),
            byte_lines,
            pieces: vec![],
            count: 0,
            longest: 0.0,
            residual: 0.0,
        };
        Ok(Self { rows, row_of: HashMap::new() })
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.rows.count
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.rows.count == 0
    }

    /// Bytes of memory that the index takes.
    pub fn memory_bytes(&self) -> usize {
        // A hash map keeps one byte beside each entry, and an eighth of its places free.
        let map = self.row_of.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1);
        map + self.rows.pieces.iter().map(|piece| piece.memory_bytes()).sum::<usize>()
    }

    /// The vectors as they are now.
    pub fn snapshot(&self) -> Snapshot {
        self.rows.clone()
    }

    /// Adds a vector.
    ///
    /// # Errors
    /// [`Error::InvalidEmbedding`] for another number of values or more than [`MAX_LENGTH`](super::MAX_LENGTH);
    /// [`Error::NonFinite`]; [`Error::InvalidParameter`] for a key that is there already, or more than 2^32 vectors.
    pub fn insert(&mut self, key: u64, group: u64, vector: &[f32]) -> Result<()> {
        let dimension = self.rows.dimension;
        if vector.len() != dimension {
            let reason = format!("{} values, where the index has {dimension}", vector.len());
            return Err(Error::InvalidEmbedding { reason });
        }
        crate::error::ensure_finite("vector", vector)?;
        check_length(vector)?;
        let refused = |value: String, expected: &str| {
            Err(Error::InvalidParameter { parameter: "key", value, expected: expected.to_owned() })
        };
        if self.row_of.contains_key(&key) {
            return refused(format!("{key}, which is there already"), "a new one");
        }
        let Ok(row) = u32::try_from(self.rows.count) else {
            return refused("one too many".into(), "among the first 2^32");
        };
        self.rows.push(key, group, vector);
        self.row_of.insert(key, row);
        Ok(())
    }

    /// Removes the vector of a key, and says whether there was one.
    pub fn remove(&mut self, key: u64) -> bool {
        let Some(row) = self.row_of.remove(&key) else { return false };
        if let Some(moved) = self.rows.swap_remove(row as usize) {
            self.row_of.insert(moved, row);
        }
        true
    }

    /// The vector of a key.
    pub fn vector(&self, key: u64) -> Option<&[f32]> {
        self.row_of.get(&key).map(|row| self.rows.row(*row))
    }

    /// The group of a key.
    pub fn group(&self, key: u64) -> Option<u64> {
        self.row_of.get(&key).map(|row| self.rows.group(*row))
    }

    /// As [`Snapshot::search`].
    pub fn search(&self, probes: &[&[f32]], query: &Query<'_>) -> Vec<Vec<Hit>> {
        self.rows.search(probes, query)
    }

    /// The best groups among the vectors of these keys; keys that are not there are passed over.
    pub fn rank(&self, keys: &[u64], probe: &[f32], query: &Query<'_>) -> Vec<Hit> {
        let rows = keys.iter().filter_map(|key| self.row_of.get(key).copied());
        let accepted = rows.filter(|row| query.accept.is_none_or(|accept| accept(self.rows.group(*row))));
        self.rows.compare_again(accepted.collect(), probe, query)
    }
}

impl Piece {
    fn memory_bytes(&self) -> usize {
        64 * (self.rows.capacity() + self.bytes.capacity())
            + 4 * (self.scales.capacity() + self.biases.capacity())
            + 8 * (self.keys.capacity() + self.groups.capacity())
    }

    /// An empty piece; only the first one of an index grows from small.
    fn with_capacity(rows: usize, lines: usize, byte_lines: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows * lines),
            bytes: Vec::with_capacity(rows * byte_lines),
            keys: Vec::with_capacity(rows),
            groups: Vec::with_capacity(rows),
            ..Self::default()
        }
    }
}

impl Snapshot {
    fn push(&mut self, key: u64, group: u64, vector: &[f32]) {
        let length = length(vector);
        self.longest = self.longest.max(length);
        if self.count == self.pieces.len() * PIECE {
            let rows = if self.pieces.is_empty() { 0 } else { PIECE };
            self.pieces.push(Arc::new(Piece::with_capacity(rows, self.lines, self.byte_lines)));
        }
        self.count += 1;
        let Some(piece) = self.pieces.last_mut() else { return };
        let piece = Arc::make_mut(piece);
        piece.rows.extend(vector.chunks(16).map(|values| {
            let mut line = [0.0; 16];
            line[..values.len()].copy_from_slice(values);
            FloatLine(line)
        }));
        if self.byte_lines > 0 {
            let quantized = kernels::quantize_row(vector);
            piece.bytes.extend(quantized.values.chunks(64).map(|values| {
                let mut line = [0; 64];
                line[..values.len()].copy_from_slice(values);
                ByteLine(line)
            }));
            piece.scales.push(quantized.scale);
            self.residual = self.residual.max(quantized.residual);
        }
        if self.metric == Metric::Euclidean {
            piece.biases.push((-0.5 * length * length) as f32);
        }
        piece.keys.push(key);
        piece.groups.push(group);
    }

    /// Removes a row by putting the last one in its place; the key of that one, if it is another.
    fn swap_remove(&mut self, row: usize) -> Option<u64> {
        let last = self.pieces.last_mut()?;
        self.count -= 1;
        let moves = row != self.count;
        let Piece { rows, bytes, scales, biases, keys, groups } = Arc::make_mut(last);
        let row_lines = rows.split_off(rows.len() - self.lines);
        let byte_lines = bytes.split_off(bytes.len() - self.byte_lines);
        let (scale, bias, key, group) = (scales.pop(), biases.pop(), keys.pop(), groups.pop());
        if keys.is_empty() {
            self.pieces.pop();
        }
        if !moves {
            return None;
        }
        let (piece, at) = (Arc::make_mut(&mut self.pieces[row / PIECE]), row % PIECE);
        replace(&mut piece.rows, at, &row_lines);
        replace(&mut piece.bytes, at, &byte_lines);
        replace(&mut piece.scales, at, scale.as_slice());
        replace(&mut piece.biases, at, bias.as_slice());
        replace(&mut piece.keys, at, key.as_slice());
        replace(&mut piece.groups, at, group.as_slice());
        key
    }

    fn row(&self, row: u32) -> &[f32] {
        let (piece, at) = (row as usize / PIECE, row as usize % PIECE);
        &kernels::floats(part(&self.pieces[piece].rows, at..at + 1, self.lines))[..self.dimension]
    }

    fn group(&self, row: u32) -> u64 {
        self.pieces[row as usize / PIECE].groups[row as usize % PIECE]
    }

    fn key(&self, row: u32) -> u64 {
        self.pieces[row as usize / PIECE].keys[row as usize % PIECE]
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Every key with its vector.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[f32])> {
        (0..self.count as u32).map(|row| (self.key(row), self.row(row)))
    }

    /// For each probe the groups that are most like it, the best first.
    ///
    /// Runs on the current rayon pool. Probes have as many values as the index, all finite and of a length up to
    /// [`MAX_LENGTH`](super::MAX_LENGTH); another one finds nothing.
    pub fn search(&self, probes: &[&[f32]], query: &Query<'_>) -> Vec<Vec<Hit>> {
        let is_valid = |probe: &&[f32]| {
            probe.len() == self.dimension && probe.iter().all(|v| v.is_finite()) && check_length(probe).is_ok()
        };
        let none = vec![0.0; self.dimension];
        let valid: Vec<bool> = probes.iter().map(is_valid).collect();
        let probes: Vec<&[f32]> =
            probes.iter().zip(&valid).map(|(probe, valid)| if *valid { *probe } else { none.as_slice() }).collect();
        // More probes at once than this take memory without sparing any reading.
        let groups = probes.chunks(96).zip(valid.chunks(96));
        groups.flat_map(|(probes, valid)| self.search_some(probes, valid, query)).collect()
    }

    fn search_some(&self, probes: &[&[f32]], valid: &[bool], query: &Query<'_>) -> Vec<Vec<Hit>> {
        if self.count == 0 || query.top_k == 0 {
            return vec![vec![]; probes.len()];
        }
        if let Metric::GroupAware(_) = self.metric {
            let pairs = probes.iter().zip(valid);
            return pairs
                .map(|(probe, valid)| if *valid { self.search_plainly(probe, query) } else { vec![] })
                .collect();
        }
        let scan = Scan::new(self, probes, valid, query);
        let tasks = self.count.div_ceil(TASK);
        let collectors = (0..tasks)
            .into_par_iter()
            .fold(
                || scan.collectors(),
                |collectors, task| scan.run(task * TASK..((task + 1) * TASK).min(self.count), collectors),
            )
            .reduce(
                || scan.collectors(),
                |first, second| first.into_iter().zip(second).map(|(a, b)| a.merge(b)).collect(),
            );
        let work: Vec<_> = collectors.into_iter().enumerate().collect();
        work.into_par_iter()
            .map(|(number, collector)| {
                if !valid[number] {
                    return vec![];
                }
                let rows = collector.finish(scan.limits[number], |row| self.group(row), &scan.floors[number]);
                self.compare_again(rows, probes[number], query)
            })
            .collect()
    }

    /// Every row in double precision, without a scan before: for similarities that are no inner product.
    fn search_plainly(&self, probe: &[f32], query: &Query<'_>) -> Vec<Hit> {
        let of_task = |task: usize| {
            let rows = (task * TASK) as u32..((task + 1) * TASK).min(self.count) as u32;
            let accepted = rows.filter(|row| query.accept.is_none_or(|accept| accept(self.group(*row))));
            self.compare_again(accepted.collect(), probe, query)
        };
        // Whatever is among the best of all is among the best of its task.
        let best: Vec<Vec<Hit>> = (0..self.count.div_ceil(TASK)).into_par_iter().map(of_task).collect();
        best_of_groups(best.concat(), query)
    }

    /// The best groups among these rows, in double precision.
    fn compare_again(&self, rows: Vec<u32>, probe: &[f32], query: &Query<'_>) -> Vec<Hit> {
        let hit = |row: u32| Hit {
            group: self.group(row),
            key: self.key(row),
            similarity: self.metric.similarity(probe, self.row(row)),
        };
        best_of_groups(rows.into_iter().map(hit).collect(), query)
    }
}

/// The best hit of each group, the best groups first.
fn best_of_groups(mut hits: Vec<Hit>, query: &Query<'_>) -> Vec<Hit> {
    if let Some(least) = query.min_similarity {
        hits.retain(|hit| hit.similarity as f32 >= least);
    }
    hits.sort_unstable_by(|a, b| {
        b.similarity.total_cmp(&a.similarity).then(a.group.cmp(&b.group)).then(a.key.cmp(&b.key))
    });
    let mut seen = std::collections::HashSet::new();
    hits.retain(|hit| seen.insert(hit.group));
    hits.truncate(query.top_k);
    hits
}

/// One search on its way.
struct Scan<'a> {
    index: &'a Snapshot,
    probes: Probes,
    limits: Vec<Limits>,
    floors: Vec<Floor>,
    accept: Option<&'a (dyn Fn(u64) -> bool + Sync)>,
}

enum Probes {
    Floats(FloatProbes),
    Integers(IntegerProbes),
}

impl<'a> Scan<'a> {
    fn new(index: &'a Snapshot, probes: &[&[f32]], valid: &[bool], query: &Query<'a>) -> Self {
        let prepared = match index.byte_lines {
            0 => Probes::Floats(FloatProbes::new(index.level, index.lines * 16, probes)),
            lines => Probes::Integers(IntegerProbes::new(index.level, lines * 64, probes)),
        };
        let mut limits = vec![];
        let mut floors = vec![];
        for (number, probe) in probes.iter().enumerate() {
            let length = length(probe);
            let margin = index.margin(length, &prepared, number);
            let start = match (valid[number], query.min_similarity) {
                (false, _) => f32::INFINITY,
                (true, None) => f32::NEG_INFINITY,
                (true, Some(least)) => index.lowest_score(length, least, margin),
            };
            limits.push(Limits { top_k: query.top_k, margin });
            floors.push(Floor::new(start));
        }
        Self { index, probes: prepared, limits, floors, accept: query.accept }
    }

    fn collectors(&self) -> Vec<Collector> {
        self.limits.iter().map(|_| Collector::default()).collect()
    }

    /// Scans rows of one piece.
    fn run(&self, rows: Range<usize>, mut collectors: Vec<Collector>) -> Vec<Collector> {
        let Snapshot { lines, byte_lines, pieces, .. } = self.index;
        let (piece, first) = (&pieces[rows.start / PIECE], rows.start / PIECE * PIECE);
        let width = kernels::padded(self.limits.len());
        let block = (BLOCK_VALUES / (lines * 16)).clamp(4, 512).next_multiple_of(4);
        let mut scores = vec![0.0; block * width];
        let mut scratch = vec![];
        let mut floors = vec![f32::INFINITY; width];
        let end = rows.end - first;
        for start in (rows.start - first..end).step_by(block) {
            let block = start..(start + block).min(end);
            let scores = &mut scores[..block.len() * width];
            match &self.probes {
                Probes::Floats(probes) => {
                    probes.score(kernels::floats(part(&piece.rows, block.clone(), *lines)), scores);
                }
                Probes::Integers(probes) => {
                    let bytes = kernels::bytes(part(&piece.bytes, block.clone(), *byte_lines));
                    probes.score(bytes, &piece.scales[block.clone()], scores, &mut scratch);
                }
            }
            for (value, floor) in floors.iter_mut().zip(&self.floors) {
                *value = floor.get();
            }
            for (row, scores) in block.zip(scores.chunks_exact(width)) {
                let bias = piece.biases.get(row).copied().unwrap_or(0.0);
                if self.index.level.reaches(scores, bias, &floors) {
                    self.collect((first + row) as u32, scores, bias, &mut floors, &mut collectors);
                }
            }
        }
        collectors
    }

    #[cold]
    fn collect(&self, row: u32, scores: &[f32], bias: f32, floors: &mut [f32], collectors: &mut [Collector]) {
        let group = |row| self.index.group(row);
        if self.accept.is_some_and(|accept| !accept(group(row))) {
            return;
        }
        for (number, collector) in collectors.iter_mut().enumerate() {
            let score = scores[number] + bias;
            if score >= floors[number] {
                collector.push(score, row, self.limits[number], group, &self.floors[number]);
                floors[number] = self.floors[number].get();
            }
        }
    }
}

impl Snapshot {
    /// The most by which a computed score can differ from the true one.
    ///
    /// Single precision: a sum of n products is off by at most n u |q| |x| with u = 2^-24 in any order of summation (N.
    /// Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1); twice that is taken. Bytes: what rounding took
    /// from the row and the probe, by the Cauchy-Schwarz inequality.
    fn margin(&self, probe_length: f64, probes: &Probes, number: usize) -> f32 {
        let steps = (self.lines * 16 + 16) as f64;
        let rounding = steps * f64::from(f32::EPSILON);
        let mut margin = rounding * probe_length * self.longest;
        if self.metric == Metric::Euclidean {
            margin += rounding * self.longest * self.longest;
        }
        if let Probes::Integers(probes) = probes {
            let residual = probes.residuals[number];
            margin += probe_length * self.residual + residual * (self.longest + self.residual);
        }
        (margin as f32).next_up()
    }

    /// A score below which no vector can be as alike as this.
    fn lowest_score(&self, probe_length: f64, least: f32, margin: f32) -> f32 {
        let least = f64::from(least);
        let score = match self.metric {
            Metric::Euclidean if least > 0.0 => return f32::INFINITY,
            // From |q - x|^2 = |q|^2 - 2 (q x - |x|^2 / 2).
            Metric::Euclidean => 0.5 * (probe_length * probe_length - least * least),
            _ => least,
        };
        // What is lost when similarities are rounded to single precision at the end.
        let slack = 1e-6 * (score.abs() + least * least + probe_length * probe_length);
        (score - slack - 2.0 * f64::from(margin)) as f32
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        }

        /// Vectors around some centres, as faces of people; of unit length for the cosine.
        fn vectors(&mut self, count: usize, dimension: usize, metric: Metric) -> Vec<Vec<f32>> {
            let centres: Vec<Vec<f32>> =
                (0..count.div_ceil(5)).map(|_| (0..dimension).map(|_| self.next() + 0.8).collect()).collect();
            (0..count)
                .map(|index| {
                    let mut vector: Vec<f32> =
                        centres[index / 5].iter().map(|value| value + 0.3 * self.next()).collect();
                    if metric == Metric::Cosine {
                        let length = length(&vector) as f32;
                        vector.iter_mut().for_each(|value| *value /= length);
                    }
                    vector
                })
                .collect()
        }
    }

    /// The independent answer: every similarity in double precision, sorted.
    fn brute_force(rows: &[(u64, u64, Vec<f32>)], probe: &[f32], metric: Metric, query: &Query<'_>) -> Vec<Hit> {
        let mut hits: Vec<Hit> = vec![];
        for (key, group, vector) in rows {
            let pairs = probe.iter().zip(vector).map(|(a, b)| (f64::from(*a), f64::from(*b)));
            let similarity = match metric {
                Metric::Cosine => pairs.map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0),
                Metric::Euclidean => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
                Metric::GroupAware(group_aware) => {
                    let pairs: Vec<(f64, f64)> = pairs.collect();
                    let (first, second) = pairs.split_at(group_aware.representation());
                    let apart = second.iter().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
                    let cosine = first.iter().map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0);
                    cosine - group_aware.beta() * apart.powf(group_aware.gamma())
                }
            };
            if query.accept.is_some_and(|accept| !accept(*group))
                || query.min_similarity.is_some_and(|least| (similarity as f32) < least)
            {
                continue;
            }
            match hits.iter_mut().find(|hit| hit.group == *group) {
                Some(hit) if (hit.similarity, *key) < (similarity, hit.key) => {
                    *hit = Hit { group: *group, key: *key, similarity };
                }
                Some(_) => {}
                None => hits.push(Hit { group: *group, key: *key, similarity }),
            }
        }
        hits.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then(a.group.cmp(&b.group)));
        hits.truncate(query.top_k);
        hits
    }

    #[test]
    fn the_answer_is_that_of_brute_force_in_double_precision() {
        let mut random = Random(7);
        let group_aware = Metric::GroupAware(crate::stage::GroupAware::new(2).unwrap());
        for metric in [Metric::Cosine, Metric::Euclidean, group_aware] {
            for (count, dimension) in [(1, 3), (40, 3), (700, 128), (300, 70), (9000, 20)] {
                let vectors = random.vectors(count, dimension, metric);
                let mut rows: Vec<(u64, u64, Vec<f32>)> = vec![];
                for (number, vector) in vectors.iter().enumerate() {
                    rows.push((1000 + number as u64, number as u64 / 3, vector.clone()));
                }
                // The same vector once more, in another group: a tie.
                rows.push((5, 100_000, vectors[count / 2].clone()));
                let probes: Vec<Vec<f32>> = random
                    .vectors(30, dimension, metric)
                    .into_iter()
                    .chain([vectors[0].clone(), vectors[count / 2].clone()])
                    .collect();
                let odd = |group: u64| !group.is_multiple_of(2);
                let similar = match metric {
                    Metric::Cosine => 0.9,
                    Metric::Euclidean | Metric::GroupAware(_) => -2.0,
                };
                let queries = [
                    Query { top_k: 1, ..Query::default() },
                    Query { top_k: 5, accept: Some(&odd), ..Query::default() },
                    Query { top_k: 20, min_similarity: Some(similar), ..Query::default() },
                    Query { top_k: 10_000, ..Query::default() },
                ];
                for precision in [Precision::F32, Precision::Int8] {
                    let mut index = ExactIndex::new(dimension, metric, precision).unwrap();
                    for (key, group, vector) in &rows {
                        index.insert(*key, *group, vector).unwrap();
                    }
                    for batch in [1, 2, 5, 32] {
                        for query in &queries {
                            for probes in probes.chunks(batch) {
                                let borrowed: Vec<&[f32]> = probes.iter().map(Vec::as_slice).collect();
                                let found = index.search(&borrowed, query);
                                for (probe, found) in probes.iter().zip(found) {
                                    let expected = brute_force(&rows, probe, metric, query);
                                    assert_eq!(found, expected, "{metric} {count}x{dimension} {precision:?} {batch}");
                                }
                            }
                            if count == 9000 {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn removed_vectors_are_not_found_and_the_others_stay() {
        let mut random = Random(3);
        let vectors = random.vectors(PIECE + 100, 16, Metric::Euclidean);
        for precision in [Precision::F32, Precision::Int8] {
            let mut index = ExactIndex::new(16, Metric::Euclidean, precision).unwrap();
            for (number, vector) in vectors.iter().enumerate() {
                index.insert(number as u64, number as u64, vector).unwrap();
            }
            for key in (0..vectors.len() as u64).filter(|key| key % 3 != 0) {
                assert!(index.remove(key));
                assert!(!index.remove(key));
            }
            assert_eq!(index.len(), vectors.len().div_ceil(3));
            let rows: Vec<(u64, u64, Vec<f32>)> =
                (0..vectors.len()).step_by(3).map(|n| (n as u64, n as u64, vectors[n].clone())).collect();
            for (key, _, vector) in &rows {
                assert_eq!(index.vector(*key), Some(vector.as_slice()));
            }
            assert_eq!(index.vector(1), None);
            let query = Query { top_k: 7, ..Query::default() };
            for probe in vectors.iter().step_by(997) {
                let expected = brute_force(&rows, probe, Metric::Euclidean, &query);
                assert_eq!(index.search(&[probe], &query)[0], expected);
            }
            for (key, ..) in &rows {
                assert!(index.remove(*key));
            }
            assert!(index.is_empty() && index.search(&[&vectors[0]], &query)[0].is_empty());
            index.insert(1, 1, &vectors[1]).unwrap();
            assert_eq!(index.search(&[&vectors[1]], &query)[0][0].similarity, 0.0);
        }
    }

    #[test]
    fn impossible_vectors_are_refused() {
        let mut index = ExactIndex::new(2, Metric::Euclidean, Precision::Int8).unwrap();
        index.insert(1, 1, &[1.0, 2.0]).unwrap();
        assert!(matches!(index.insert(1, 2, &[1.0, 2.0]), Err(Error::InvalidParameter { .. })));
        assert!(matches!(index.insert(2, 2, &[1.0]), Err(Error::InvalidEmbedding { .. })));
        assert!(matches!(index.insert(2, 2, &[1e20, 0.0]), Err(Error::InvalidEmbedding { .. })));
        assert!(matches!(index.insert(2, 2, &[f32::NAN, 0.0]), Err(Error::NonFinite { .. })));
        assert!(ExactIndex::new(0, Metric::Cosine, Precision::F32).is_err());
        let query = Query { top_k: 1, ..Query::default() };
        let found = index.search(&[&[1.0], &[f32::NAN, 0.0], &[1e30, 0.0], &[1.0, 2.0]], &query);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 0, 1]);
    }

    #[test]
    fn lengths_of_very_different_size_are_ranked_right() {
        for precision in [Precision::F32, Precision::Int8] {
            let mut index = ExactIndex::new(2, Metric::Euclidean, precision).unwrap();
            for (key, x) in [1e14_f32, 1.0, 1.000_001, 1e-20, 0.0].into_iter().enumerate() {
                index.insert(key as u64, key as u64, &[x, 0.0]).unwrap();
            }
            let found = index.search(&[&[1.0, 0.0]], &Query { top_k: 5, ..Query::default() });
            assert_eq!(found[0].iter().map(|hit| hit.key).collect::<Vec<_>>(), [1, 2, 3, 4, 0]);
        }
    }
}
