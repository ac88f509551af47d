//! The best hits of a scan, without losing one that rounding has put a little lower.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

/// A score below which a row cannot be among the best any more, shared by the threads of a search. Only ever rises.
pub(super) struct Floor(AtomicU32);

impl Floor {
    pub(super) fn new(score: f32) -> Self {
        Self(AtomicU32::new(score.to_bits()))
    }

    pub(super) fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn raise(&self, score: f32) {
        let higher = |bits| (f32::from_bits(bits) < score).then_some(score.to_bits());
        // An error means that it is as high already.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, higher);
    }
}

/// The best rows of one probe, as one thread sees them.
#[derive(Default)]
pub(super) struct Collector {
    /// Score and row.
    hits: Vec<(f32, u32)>,
    capacity: usize,
}

/// What all collectors of a probe have in common.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Number of groups that are wanted.
    pub(super) top_k: usize,
    /// A computed score and the true one differ by at most this.
    pub(super) margin: f32,
}

impl Collector {
    pub(super) fn push(&mut self, score: f32, row: u32, limits: Limits, group: impl Fn(u32) -> u64, floor: &Floor) {
        self.hits.push((score, row));
        if self.capacity == 0 {
            self.capacity = limits.top_k.saturating_mul(2).saturating_add(32);
        }
        if self.hits.len() >= self.capacity {
            self.prune(limits, group, floor);
            // Many hits within the margin of the last: pruning again soon would not help.
            self.capacity = self.capacity.max(2 * self.hits.len());
        }
    }

    /// Drops what cannot be among the best groups.
    fn prune(&mut self, limits: Limits, group: impl Fn(u32) -> u64, floor: &Floor) {
        self.hits.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut seen = HashSet::with_capacity(limits.top_k.min(self.hits.len()));
        let last = self.hits.iter().find(|(_, row)| {
            seen.insert(group(*row));
            seen.len() == limits.top_k
        });
        if let Some((score, _)) = last {
            // The last one's true score is at least `score - margin`; a hit's true score at most its own plus the margin.
            let lowest = score - 2.0 * limits.margin;
            self.hits.truncate(self.hits.partition_point(|hit| hit.0 >= lowest));
            floor.raise(lowest);
        }
    }

    pub(super) fn merge(mut self, mut other: Self) -> Self {
        if self.hits.len() < other.hits.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.hits.append(&mut other.hits);
        self.capacity = self.capacity.max(other.capacity);
        self
    }

    /// Every row that may be among the best.
    pub(super) fn finish(mut self, limits: Limits, group: impl Fn(u32) -> u64, floor: &Floor) -> Vec<u32> {
        self.prune(limits, group, floor);
        let lowest = floor.get();
        self.hits.into_iter().filter(|hit| hit.0 >= lowest).map(|hit| hit.1).collect()
    }
}
