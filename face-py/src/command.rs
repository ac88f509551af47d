//! The console script, and what this build is.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command `face` with these arguments, the program's name first. Returns its exit status.
#[pyfunction]
#[pyo3(signature = (arguments: "list[str]") -> "int")]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| face_core::cli::main_from(arguments))
}

/// The version of the engine.
#[pyfunction]
pub(crate) fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// What this build can do beside the rest: `hnsw` (approximate search), `postgres` (galleries on a server).
#[pyfunction]
pub(crate) fn features() -> Vec<&'static str> {
    let all = [("hnsw", cfg!(feature = "hnsw")), ("postgres", cfg!(feature = "postgres"))];
    all.into_iter().filter_map(|(name, is_built_in)| is_built_in.then_some(name)).collect()
}
