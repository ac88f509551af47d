//! Work on several threads, whose results come in the order in which it was handed in.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::ThreadPool;

use crate::error::{Error, Result};

/// Settings of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamParams {
    /// Number of threads; 0 for those of the rayon pool that the stream is made in (the global one has one for each core).
    pub threads: usize,
    /// How many photos are taken before the first result of them is asked for, which bounds the memory: each is decoded, and has the
    /// tensors of a network. 0 for twice the number of threads.
    pub ahead: usize,
}

/// Most threads, and most photos ahead.
const MAX_THREADS: usize = 1024;
const MAX_AHEAD: usize = 100_000;

/// How long a thread of a pool waits before it looks for work again.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

/// Work on several threads, whose results come in the order in which it was handed in, with a bound on what is on the way.
///
/// What [`FacePipeline::stream`](crate::FacePipeline::stream) is made of. By itself it is for photos that are pushed, by a camera say,
/// and for more than an analysis. Any number of threads may push and take. Dropping it ends it: what was begun is finished in the
/// background, and what was not is dropped.
///
/// # Example
/// ```
/// use face_core::{StreamParams, WorkQueue};
///
/// let queue = WorkQueue::new(&StreamParams { threads: 2, ahead: 3 })?;
/// for side in 1..=3 {
///     assert!(queue.push(move || side * side));
/// }
/// assert!(!queue.push(|| 16)); // A result must be taken first.
/// assert_eq!([queue.take(), queue.take(), queue.take(), queue.take()], [Some(1), Some(4), Some(9), None]);
/// # Ok::<(), face_core::Error>(())
/// ```
pub struct WorkQueue<T> {
    /// A pool of the queue's own; else the current one.
    pool: Option<ThreadPool>,
    waiting: Mutex<VecDeque<Receiver<std::thread::Result<T>>>>,
    ahead: usize,
    is_over: Arc<AtomicBool>,
}

impl<T: Send + 'static> WorkQueue<T> {
    /// An empty queue.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for more than 1024 threads or 100,000 pieces of work ahead, and when threads cannot be started.
    pub fn new(params: &StreamParams) -> Result<Self> {
        let check = |parameter, value: usize, most: usize| {
            let refused =
                || Error::InvalidParameter { parameter, value: value.to_string(), expected: format!("0 to {most}") };
            if value <= most { Ok(()) } else { Err(refused()) }
        };
        check("threads", params.threads, MAX_THREADS)?;
        check("ahead", params.ahead, MAX_AHEAD)?;
        let name = |index| format!("face-stream-{index}");
        let pool = match params.threads {
            0 => None,
            threads => {
                let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(name);
                Some(builder.build().map_err(|error| Error::InvalidParameter {
                    parameter: "threads",
                    value: threads.to_string(),
                    expected: format!("as many as the system can start: {error}"),
                })?)
            }
        };
        let threads = if params.threads == 0 { rayon::current_num_threads() } else { params.threads };
        let ahead = if params.ahead == 0 { 2 * threads } else { params.ahead };
        Ok(Self { pool, waiting: Mutex::default(), ahead, is_over: Arc::default() })
    }

    /// Whether more may be handed in before a result is taken.
    pub fn has_room(&self) -> bool {
        self.waiting() < self.ahead
    }

    /// How many results are still to be taken.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    /// Hands in work. `false` where there is no room: it is not done.
    pub fn push(&self, work: impl FnOnce() -> T + Send + 'static) -> bool {
        let (sender, receiver) = sync_channel(1);
        let is_over = Arc::clone(&self.is_over);
        let job = move || {
            if !is_over.load(Ordering::Relaxed) {
                // Where nobody waits any more, the result is lost, as it should be.
                let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
            }
        };
        let mut waiting = self.lock();
        if waiting.len() >= self.ahead {
            return false;
        }
        // First in, first out: the results are wanted in this order.
        match &self.pool {
            Some(pool) => pool.spawn_fifo(job),
            None => rayon::spawn_fifo(job),
        }
        waiting.push_back(receiver);
        true
    }

    /// Waits for the result that is next in the order. `None` where none is on the way.
    ///
    /// # Panics
    /// Where the work did.
    pub fn take(&self) -> Option<T> {
        let receiver = self.lock().pop_front()?;
        let outcome = loop {
            match receiver.try_recv() {
                Ok(outcome) => break outcome,
                Err(TryRecvError::Disconnected) => unreachable!("a job answers before it ends"),
                Err(TryRecvError::Empty) => {}
            }
            // A thread of the pool must not wait for work that may be its own: it does some of it.
            if self.pool.is_some() || !matches!(rayon::yield_now(), Some(rayon::Yield::Executed)) {
                match receiver.recv_timeout(PATIENCE) {
                    Ok(outcome) => break outcome,
                    Err(_) => continue,
                }
            }
        };
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Receiver<std::thread::Result<T>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for WorkQueue<T> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn queue(threads: usize, ahead: usize) -> WorkQueue<usize> {
        WorkQueue::new(&StreamParams { threads, ahead }).unwrap()
    }

    #[test]
    fn results_come_in_order_and_no_more_than_allowed_are_on_the_way() {
        for (threads, ahead) in [(0, 0), (1, 1), (2, 5), (3, 2)] {
            let queue = queue(threads, ahead);
            let limit = queue.ahead;
            let (mut taken, mut results) = (0, vec![]);
            loop {
                while queue.has_room() && taken < 60 {
                    let number = taken;
                    taken += 1;
                    queue.push(move || {
                        // Later ones are done sooner.
                        std::thread::sleep(std::time::Duration::from_micros(500 * (5 - number as u64 % 5)));
                        number * number
                    });
                }
                let Some(result) = queue.take() else { break };
                results.push(result);
                assert!(taken < results.len() + limit, "{threads} threads, {ahead} ahead");
            }
            assert_eq!(results, (0..60).map(|number| number * number).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_thread_of_the_only_pool_does_the_work_itself() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let results: Vec<usize> = pool.install(|| {
            let queue = queue(0, 20);
            (0..20).for_each(|number| {
                queue.push(move || number + 1);
            });
            std::iter::from_fn(|| queue.take()).collect()
        });
        assert_eq!(results, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_wanted_any_more_does_not_begin() {
        let done = Arc::new(AtomicUsize::new(0));
        let queue = queue(1, 50);
        for number in 0..50 {
            let done = Arc::clone(&done);
            queue.push(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                done.fetch_add(1, Ordering::SeqCst);
                number
            });
        }
        assert_eq!(queue.take(), Some(0));
        // Waits for the pool's threads, too.
        drop(queue);
        let after = done.load(Ordering::SeqCst);
        assert!(after < 50);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(done.load(Ordering::SeqCst) <= after + 1);
    }

    #[test]
    fn a_panic_reaches_the_one_who_asks() {
        let queue = queue(2, 2);
        queue.push(|| resume_unwind(Box::new("lost")));
        queue.push(|| 7);
        let panic = catch_unwind(AssertUnwindSafe(|| queue.take())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"lost"));
        assert_eq!(queue.take(), Some(7));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (threads, ahead) in [(MAX_THREADS + 1, 0), (0, MAX_AHEAD + 1)] {
            let refused = WorkQueue::<usize>::new(&StreamParams { threads, ahead });
            assert!(matches!(refused, Err(Error::InvalidParameter { .. })));
        }
    }
}
