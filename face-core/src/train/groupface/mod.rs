//! GroupFace: a face is described by what it is, and by the group of faces that it is like.
//!
//! Source: Y. Kim, W. Park, M.-C. Roh, J. Shin, "GroupFace: Learning Latent Groups and Constructing Group-based
//! Representations for Face Recognition", CVPR 2020, arXiv 2005.10497. Nobody gives group labels: the network sorts faces
//! into K groups itself, and is kept from putting all into one (*self-distributed grouping*).

mod decision;
mod grouping;
mod head;
mod loss;

pub use decision::{GroupDecision, GroupDecisionNetwork};
pub use grouping::{Labelling, SelfDistributedGrouping, SelfDistributedGroupingConfig};
pub use head::{Assignment, Combination, GroupFaceHead, GroupFaceHeadConfig, GroupFaceOutput};
pub use loss::{GroupFaceLoss, GroupFaceLossConfig, GroupFaceLosses, Stage};
