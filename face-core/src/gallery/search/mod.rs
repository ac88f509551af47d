//! Finding the templates that are most like a probe: exactly, or approximately in a graph.
//!
//! [`LocalGallery`](super::LocalGallery) uses these; they can be used alone, on vectors with keys of one's own.

#[cfg(feature = "hnsw")]
mod approximate;
mod collector;
mod exact;
mod kernels;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[cfg(feature = "hnsw")]
pub use approximate::ApproximateIndex;
#[cfg(feature = "hnsw")]
pub(crate) use approximate::on_threads;
pub use exact::{ExactIndex, Hit, Query, Snapshot};

/// How vectors are compared at first. The answer is the same: what may be among the best is compared again in double
/// precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision: 4 bytes a value.
    #[default]
    F32,
    /// Bytes: 1 byte a value is read for each comparison, and the 4 bytes of single precision are kept for the second
    /// look. Faster by 1.5 to 4 times (the manual's chapter on galleries has a table), for a quarter more memory.
    Int8,
}

/// Settings of the approximate index, a hierarchical navigable small world graph.
///
/// Source: Y. Malkov, D. Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
/// Small World graphs", 2018; the names are those of usearch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproximateParams {
    /// Neighbours of a node (M in the paper), from 4 to 128.
    pub connectivity: usize,
    /// Candidates that are looked at when a node is added (efConstruction), from 8 to 4096.
    pub expansion_add: usize,
    /// Candidates that are looked at in a search (ef), from 8 to 4096: more find more, and take longer.
    pub expansion_search: usize,
    /// [`SearchMode::Auto`](super::SearchMode::Auto) searches exactly up to so many templates.
    pub min_templates: u64,
}

impl Default for ApproximateParams {
    /// Twice the neighbours and candidates that are usual: faces lie closer together than most vectors. What comes of it is
    /// printed by `tests/bench/search`.
    fn default() -> Self {
        Self { connectivity: 32, expansion_add: 200, expansion_search: 256, min_templates: 50_000 }
    }
}

impl ApproximateParams {
    pub(crate) fn validate(&self) -> Result<()> {
        let within = |parameter, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let expected = format!("from {min} to {max}");
            Err(Error::InvalidParameter { parameter, value: value.to_string(), expected })
        };
        within("connectivity", self.connectivity, 4, 128)?;
        within("expansion_add", self.expansion_add, 8, 4096)?;
        within("expansion_search", self.expansion_search, 8, 4096)
    }
}

/// Largest length of a vector that can be searched: squares of it stay far from the end of single precision.
pub const MAX_LENGTH: f64 = 1e15;

/// Most values of a vector.
pub const MAX_DIMENSION: usize = 1 << 16;

/// Checks that sums of squares stay finite in single precision.
pub(super) fn check_length(vector: &[f32]) -> Result<()> {
    let length = length(vector);
    if length <= MAX_LENGTH {
        return Ok(());
    }
    Err(Error::InvalidEmbedding { reason: format!("its length is {length:e}, and galleries go to {MAX_LENGTH:e}") })
}

/// Euclidean length in double precision.
fn length(vector: &[f32]) -> f64 {
    vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
