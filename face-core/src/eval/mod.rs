//! Evaluation: how good is a pipeline, and at which thresholds?

mod identification;
mod lfw;
mod photos;
#[cfg(feature = "draw")]
mod plot;
mod verification;

pub use identification::{
    IdentificationProtocol, IdentificationReport, IdentificationScores, IdentificationSettings, KnownProbe,
    LabelledPhoto, OpenSetPoint, RulePoint, evaluate_identification, score_identification,
};
pub use lfw::{LfwPair, LfwProtocol, LfwReport, LfwSettings, evaluate_lfw, score_lfw};
pub use photos::EmbeddedPhotos;
#[cfg(any(feature = "cli", feature = "train"))]
pub(crate) use photos::entries_of;
#[cfg(feature = "cli")]
pub(crate) use photos::is_picture;
#[cfg(feature = "train")]
pub(crate) use photos::photos_by_person;
#[cfg(feature = "draw")]
pub use plot::{plot_cmc, plot_lines, plot_roc};
pub use verification::{FoldAccuracy, OperatingPoint, PairScores, RocPoint};

/// Fewer errors than this say little about a rate: smaller rates are not reported.
const MIN_ERRORS: usize = 10;
