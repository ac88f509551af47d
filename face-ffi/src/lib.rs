//! The C interface of `face-core`: `libface.so`, `libface.a` and `include/face.h`.
//!
//! The manual is the header, which is made from the comments here: change them, and run
//! `FACE_UPDATE_HEADER=1 cargo test --release --package face-ffi`.
//!
//! One file for each C type. Three files hold what all functions share: `guard` turns errors and panics into a status and a message,
//! `pointers` checks what comes from C, `status` numbers the errors. No logic lives here: a function checks its arguments, calls
//! `face-core`, and hands the result over.
#![allow(unsafe_code, reason = "pointers from C; what each function relies on is in the conventions of the header")]
#![allow(clippy::missing_safety_doc, reason = "the contract is the header's, and would be repeated at every function")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "as above: arguments are as the header wants them")]
#![allow(non_camel_case_types, reason = "names are C's")]
#![allow(rustdoc::broken_intra_doc_links, reason = "comments are written for the header: t[0] is an element")]

pub mod analysis;
pub mod detection;
pub mod embedding;
pub mod gallery;
mod guard;
pub mod image;
pub mod models;
pub mod pipeline;
mod pointers;
pub mod space;
pub mod status;
pub mod stream;
mod text;
pub mod version;

#[cfg(test)]
mod tests;
