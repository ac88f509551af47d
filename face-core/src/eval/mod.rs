//! Evaluation: how good is a pipeline, and at which thresholds?

mod lfw;
#[cfg(feature = "draw")]
mod plot;
mod verification;

pub use lfw::{LfwPair, LfwProtocol, LfwReport, LfwSettings, evaluate_lfw};
#[cfg(feature = "draw")]
pub use plot::plot_roc;
pub use verification::{FoldAccuracy, OperatingPoint, PairScores, RocPoint};
