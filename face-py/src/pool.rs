//! The threads that searches and comparisons of many faces are spread over.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use rayon::ThreadPool;

use crate::errors::{Outcome, invalid};

/// The pool, with the process that it was made in.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// Runs work on all cores, while other Python threads run.
///
/// Threads do not survive a fork, and Python programs fork (`multiprocessing`): a child makes a pool of its own. Rayon's global
/// pool cannot be made again, and would wait for ever.
pub(crate) fn on_all_cores<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> Outcome<T> {
    let pool = current()?;
    Ok(py.detach(|| pool.install(work)))
}

fn current() -> PyResult<Arc<ThreadPool>> {
    // Never held while the interpreter may fork: whoever takes it holds the interpreter and does not give it up here.
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((owner, pool)) = pool.as_ref()
        && *owner == process
    {
        return Ok(Arc::clone(pool));
    }
    let made = rayon::ThreadPoolBuilder::new()
        .build()
        .map_err(|error| invalid(format!("cannot start one thread for each core: {error}")))?;
    let made = Arc::new(made);
    // The parent's pool is left as it is: ending it would mean to wait for threads that are not there.
    std::mem::forget(pool.replace((process, Arc::clone(&made))));
    Ok(made)
}
