//! The threads that one network is spread over when it is run by itself.
//!
//! Photos over threads come first: they scale better, and wait for nobody. A call on a thread of a rayon pool therefore computes alone,
//! as its neighbours have work of their own; and calls from several other threads at once share the cores.
//!
//! The pool is not rayon's global one. A thread that waits for a pool may be handed any work that is waiting there, and the caller of
//! a network may hold a lock that such work waits for; in this pool there are parts of networks alone.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rayon::ThreadPool;

use crate::error::{Error, Result};

/// Most threads that can be asked for.
const MAX_THREADS: usize = 1024;

/// How many threads were asked for; 0 for one for each core.
static WANTED: AtomicUsize = AtomicUsize::new(0);
/// The threads of this process.
static CREW: Mutex<Option<Arc<Crew>>> = Mutex::new(None);

thread_local! {
    /// Into how many parts the network at work on this thread cuts its operators.
    static PARTS: Cell<usize> = const { Cell::new(1) };
}

struct Crew {
    pool: ThreadPool,
    wanted: usize,
    /// Threads do not survive a fork.
    process: u32,
    /// Networks that are at work.
    busy: AtomicUsize,
}

/// Sets over how many threads a single network is spread, in the whole process: 1 for none but the caller's, 0 for one for each core
/// (or as many as the environment variable `RAYON_NUM_THREADS` says), as it is from the beginning.
///
/// It counts for calls from threads of no rayon pool, such as a single [`analyze`](crate::FacePipeline::analyze) on the main thread.
/// Several at once share the threads. A call from a thread of a rayon pool (so, within a [`stream`](crate::FacePipeline::stream))
/// computes on that thread alone. The numbers are the same for every setting.
///
/// # Errors
/// [`Error::InvalidParameter`] for more than 1024.
///
/// # Example
/// ```
/// face_core::inference::set_threads(1)?;
/// # Ok::<(), face_core::Error>(())
/// ```
pub fn set_threads(threads: usize) -> Result<()> {
    if threads > MAX_THREADS {
        let expected = format!("0 to {MAX_THREADS}");
        return Err(Error::InvalidParameter { parameter: "threads", value: threads.to_string(), expected });
    }
    WANTED.store(threads, Ordering::Relaxed);
    Ok(())
}

/// How many threads an engine with threads of its own may use for a call from here; 0 for one for each core.
#[cfg(feature = "ort")]
pub(super) fn wanted_here() -> usize {
    if rayon::current_thread_index().is_some() { 1 } else { WANTED.load(Ordering::Relaxed) }
}

/// Into how many parts the operators of the network that runs on this thread are cut.
pub(super) fn parts() -> usize {
    PARTS.get()
}

/// Runs a network, on as many threads as are free.
pub(super) fn spread<T: Send>(network: impl FnOnce() -> T + Send) -> T {
    match crew() {
        Some(crew) => crew.spread(network),
        None => in_parts(1, network),
    }
}

/// The threads, if this call may use more than its own.
fn crew() -> Option<Arc<Crew>> {
    let wanted = WANTED.load(Ordering::Relaxed);
    if wanted == 1 || rayon::current_thread_index().is_some() {
        return None;
    }
    // Held only where threads are looked up or started. After a fork at that very moment it stays held for ever in the child, which
    // then computes on its callers' threads.
    let mut slot = CREW.try_lock().ok()?;
    let process = std::process::id();
    if let Some(crew) = slot.as_ref().filter(|crew| crew.process == process && crew.wanted == wanted) {
        return Some(Arc::clone(crew));
    }
    let crew = Arc::new(Crew::new(wanted)?);
    match slot.replace(Arc::clone(&crew)) {
        // Ending a pool takes its locks, and those of the parent process may be held for ever.
        Some(other) if other.process != process => std::mem::forget(other),
        _ => {}
    }
    Some(crew)
}

impl Crew {
    fn new(wanted: usize) -> Option<Self> {
        let name = |index| format!("face-network-{index}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(wanted).thread_name(name).build().ok()?;
        Some(Self { pool, wanted, process: std::process::id(), busy: AtomicUsize::new(0) })
    }

    fn spread<T: Send>(&self, network: impl FnOnce() -> T + Send) -> T {
        let shift = Shift::new(self);
        let parts = self.pool.current_num_threads() / shift.networks;
        if parts > 1 { self.pool.install(|| in_parts(parts, network)) } else { in_parts(1, network) }
    }
}

/// A network at work.
struct Shift<'a> {
    crew: &'a Crew,
    /// How many are, with this one.
    networks: usize,
}

impl<'a> Shift<'a> {
    fn new(crew: &'a Crew) -> Self {
        Self { crew, networks: crew.busy.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        self.crew.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a network whose operators see this number. A thread that waits for parts of one network may meanwhile run another.
fn in_parts<T>(parts: usize, network: impl FnOnce() -> T) -> T {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            PARTS.set(self.0);
        }
    }
    let _restore = Restore(PARTS.replace(parts));
    network()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    use super::*;

    #[test]
    fn a_network_by_itself_is_spread_and_one_of_many_is_not() {
        let crew = Crew::new(3).unwrap();
        assert_eq!(parts(), 1);
        assert_eq!(crew.spread(parts), 3);
        assert_eq!(crew.spread(|| spread(parts)), 1, "on a thread of the pool");
        assert_eq!(crew.spread(|| (spread(parts), parts()).1), 3, "and afterwards");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        assert_eq!(pool.install(|| spread(parts)), 1, "in a pool of the caller's");
        assert_eq!(crew.spread(|| crew.spread(parts)), 1, "three threads for two networks");
        let lost = AssertUnwindSafe(|| crew.spread(|| resume_unwind(Box::new("lost"))));
        assert!(catch_unwind(lost).is_err());
        assert_eq!((crew.spread(parts), parts()), (3, 1), "after a panic");
    }

    #[test]
    fn more_threads_than_any_machine_has_are_refused() {
        assert!(matches!(set_threads(1025), Err(Error::InvalidParameter { parameter: "threads", .. })));
    }
}
