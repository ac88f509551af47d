//! Normalizers: from landmarks to a crop of one shape and size.

mod similarity;
mod warp;

pub use similarity::SimilarityNormalizer;
