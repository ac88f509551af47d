//! Models: the catalogue, the cache, pulling, file formats.

mod catalogue;
mod embedder_spec;
pub mod formats;
pub mod onnx_writer;
#[cfg(feature = "pull")]
mod pull;
mod store;

pub use catalogue::{Catalogue, CatalogueEntry, Conversion, Converter, EntryKind, FileRecord, Role, Source, Variant};
pub use embedder_spec::{ColorOrder, EmbedderSpec, TensorLayout};
#[cfg(feature = "pull")]
pub use pull::{PullEvent, PullProgress};
pub use store::{MODELS_VARIABLE, ModelStore};
