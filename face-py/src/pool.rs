//! The threads that searches and comparisons of many faces are spread over, and work that Ctrl-C ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use pyo3::prelude::*;
use rayon::ThreadPool;

use crate::errors::{Outcome, invalid};

/// The pool, with the process that it was made in.
static POOL: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);
/// How often the interpreter is asked whether the user has interrupted, and told how far the work is.
const POLL: Duration = Duration::from_millis(50);

/// Runs work on all cores, while other Python threads run. For what computes: work that waits would keep the others from it.
///
/// Threads do not survive a fork, and Python programs fork (`multiprocessing`): a child makes a pool of its own. Rayon's global
/// pool cannot be made again, and would wait for ever.
pub(crate) fn on_all_cores<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> Outcome<T> {
    let pool = current()?;
    Ok(py.detach(|| pool.install(work)))
}

/// The pool of this process.
pub(crate) fn current() -> PyResult<Arc<ThreadPool>> {
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

/// What ends long work when Python has raised.
#[derive(Default)]
pub(crate) struct Interruption(AtomicBool);

/// What the work unwinds with.
struct Interrupted;

impl Interruption {
    /// Whether the work is to end where it can go on later.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Does not return when the work is not to go on: what was done stays, and no more follows.
    pub(crate) fn check(&self) {
        if self.is_set() {
            resume_unwind(Box::new(Interrupted));
        }
    }
}

/// Runs long work on a thread of its own. This one tells Python how far it is, and ends it when Python raises: signals come to the
/// main thread alone, and it must not be waiting for them.
pub(crate) fn interruptible<T: Send>(
    py: Python<'_>,
    tell: &dyn Fn(Python<'_>) -> PyResult<()>,
    work: impl FnOnce(&Interruption) -> T + Send,
) -> Outcome<T> {
    let interruption = &Interruption::default();
    let (outcome, raised) = std::thread::scope(|scope| {
        let (sender, done) = mpsc::channel();
        scope.spawn(move || sender.send(catch_unwind(AssertUnwindSafe(|| work(interruption)))));
        // A channel's end may be used by one thread at a time, and giving up the interpreter wants what all may use.
        let done = Mutex::new(done);
        let mut raised = None;
        loop {
            let waited = py.detach(|| done.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(POLL));
            if raised.is_none() {
                raised = tell(py).and_then(|()| py.check_signals()).err();
                interruption.0.store(raised.is_some(), Ordering::Relaxed);
            }
            match waited {
                Ok(outcome) => return (outcome, raised),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the thread sends before it ends"),
            }
        }
    });
    match (outcome, raised) {
        (_, Some(error)) => Err(error.into()),
        (Ok(value), None) => Ok(value),
        (Err(panic), None) => resume_unwind(panic),
    }
}

/// As [`interruptible`], for work that counts: Python is called with the number, where it has changed.
pub(crate) fn counting<T: Send>(
    py: Python<'_>,
    call: Option<&Py<PyAny>>,
    work: impl FnOnce(&mut (dyn FnMut(u64) + Send)) -> T + Send,
) -> Outcome<T> {
    let (count, told) = (AtomicU64::new(0), AtomicU64::new(0));
    let tell = |py: Python<'_>| {
        let now = count.load(Ordering::Relaxed);
        let call = call.filter(|_| told.swap(now, Ordering::Relaxed) != now);
        call.map_or(Ok(()), |call| call.call1(py, (now,)).map(drop))
    };
    interruptible(py, &tell, |interruption| {
        work(&mut |done| {
            count.store(done, Ordering::Relaxed);
            interruption.check();
        })
    })
}
