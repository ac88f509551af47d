//! Many photos, one after the other, on all cores.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use rayon::ThreadPool;

use super::{Analysis, FacePipeline};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::stage::{Aligner, Embedder, FaceDetector, Normalizer};

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

/// What a stream takes photos from. It is read on the stream's threads, so that decoding is spread over the cores too.
pub trait PhotoSource: Send + 'static {
    /// The photo.
    ///
    /// # Errors
    /// Any; it takes the place of the photo's result.
    fn load(self) -> Result<Image>;
}

impl PhotoSource for Image {
    fn load(self) -> Result<Image> {
        Ok(self)
    }
}

impl PhotoSource for PathBuf {
    fn load(self) -> Result<Image> {
        Image::open(self)
    }
}

impl PhotoSource for &'static Path {
    fn load(self) -> Result<Image> {
        Image::open(self)
    }
}

/// The content of a file.
impl PhotoSource for Vec<u8> {
    fn load(self) -> Result<Image> {
        Image::decode(&self)
    }
}

/// A photo that could not be had: its error is its result.
impl<S: PhotoSource> PhotoSource for Result<S> {
    fn load(self) -> Result<Image> {
        self.and_then(S::load)
    }
}

/// What is done with a photo.
type Analyze = dyn Fn(&Image) -> Result<Analysis> + Send + Sync;

/// The analyses of photos, in the order of the photos. Made by [`FacePipeline::stream`].
///
/// Photos are taken from the source when a result is asked for, on the thread that asks. Dropping the stream ends it: what was begun
/// is finished in the background, and nothing more is taken.
pub struct AnalysisStream<I> {
    photos: I,
    jobs: Jobs<Result<Analysis>>,
    analyze: Arc<Analyze>,
}

impl<D, A, N, E> FacePipeline<D, A, N, E>
where
    D: FaceDetector + 'static,
    A: Aligner + 'static,
    N: Normalizer + 'static,
    E: Embedder + 'static,
{
    /// Analyses photos as they come, spread over threads: results in the order of the photos, and a bounded number of photos on the way.
    /// An error is the result of its photo, and does not end the stream.
    ///
    /// The numbers are the same as from [`analyze`](Self::analyze) one by one, whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`] for more than 1024 threads or 100,000 photos ahead, and when threads cannot be started.
    ///
    /// # Example
    /// ```no_run
    /// use std::path::PathBuf;
    /// use std::sync::Arc;
    ///
    /// use face_core::{FacePipeline, StreamParams};
    ///
    /// let pipeline = Arc::new(FacePipeline::open_default()?);
    /// let photos = ["a.jpg", "b.jpg"].map(PathBuf::from);
    /// for (photo, analysis) in photos.iter().zip(pipeline.stream(photos.clone(), &StreamParams::default())?) {
    ///     match analysis {
    ///         Ok(analysis) => println!("{}: {} faces", photo.display(), analysis.faces.len()),
    ///         Err(error) => eprintln!("{}: {error}", photo.display()),
    ///     }
    /// }
    /// # Ok::<(), face_core::Error>(())
    /// ```
    pub fn stream<I>(self: &Arc<Self>, photos: I, params: &StreamParams) -> Result<AnalysisStream<I::IntoIter>>
    where
        I: IntoIterator,
        I::Item: PhotoSource,
    {
        let jobs = Jobs::new(params)?;
        let pipeline = Arc::clone(self);
        let analyze = Arc::new(move |photo: &Image| pipeline.analyze(&photo.view()));
        Ok(AnalysisStream { photos: photos.into_iter(), jobs, analyze })
    }
}

impl<I: Iterator<Item: PhotoSource>> Iterator for AnalysisStream<I> {
    type Item = Result<Analysis>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.jobs.has_room() {
            let Some(photo) = self.photos.next() else { break };
            let analyze = Arc::clone(&self.analyze);
            self.jobs.push(move || analyze(&photo.load()?));
        }
        self.jobs.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.photos.size_hint();
        let waiting = self.jobs.waiting.len();
        (least.saturating_add(waiting), most.and_then(|most| most.checked_add(waiting)))
    }
}

/// Work on the threads of a pool, whose results come in the order in which it was handed in.
struct Jobs<T> {
    /// A pool of the stream's own; else the current one.
    pool: Option<ThreadPool>,
    waiting: VecDeque<Receiver<std::thread::Result<T>>>,
    ahead: usize,
    is_over: Arc<AtomicBool>,
}

impl<T: Send + 'static> Jobs<T> {
    fn new(params: &StreamParams) -> Result<Self> {
        let check = |parameter, value: usize, most: usize| {
            let refused =
                || Error::InvalidParameter { parameter, value: value.to_string(), expected: format!("0 to {most}") };
            if value <= most { Ok(()) } else { Err(refused()) }
        };
        check("threads", params.threads, MAX_THREADS)?;
        check("ahead", params.ahead, MAX_AHEAD)?;
        let pool = match params.threads {
            0 => None,
            threads => Some(rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| {
                Error::InvalidParameter {
                    parameter: "threads",
                    value: threads.to_string(),
                    expected: format!("as many as the system can start: {error}"),
                }
            })?),
        };
        let threads = if params.threads == 0 { rayon::current_num_threads() } else { params.threads };
        let ahead = if params.ahead == 0 { 2 * threads } else { params.ahead };
        Ok(Self { pool, waiting: VecDeque::new(), ahead, is_over: Arc::default() })
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < self.ahead
    }

    fn push(&mut self, work: impl FnOnce() -> T + Send + 'static) {
        let (sender, receiver) = sync_channel(1);
        let is_over = Arc::clone(&self.is_over);
        let job = move || {
            if !is_over.load(Ordering::Relaxed) {
                // Where nobody waits any more, the result is lost, as it should be.
                let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
            }
        };
        // First in, first out: the results are wanted in this order.
        match &self.pool {
            Some(pool) => pool.spawn_fifo(job),
            None => rayon::spawn_fifo(job),
        }
        self.waiting.push_back(receiver);
    }

    fn next(&mut self) -> Option<T> {
        let receiver = self.waiting.pop_front()?;
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
}

/// How long a thread of a pool waits before it looks for work again.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(5);

impl<T> Drop for Jobs<T> {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn jobs(threads: usize, ahead: usize) -> Jobs<usize> {
        Jobs::new(&StreamParams { threads, ahead }).unwrap()
    }

    #[test]
    fn results_come_in_order_and_no_more_than_allowed_are_on_the_way() {
        for (threads, ahead) in [(0, 0), (1, 1), (2, 5), (3, 2)] {
            let mut jobs = jobs(threads, ahead);
            let limit = jobs.ahead;
            let (mut taken, mut results) = (0, vec![]);
            loop {
                while jobs.has_room() && taken < 60 {
                    let number = taken;
                    taken += 1;
                    jobs.push(move || {
                        // Later ones are done sooner.
                        std::thread::sleep(std::time::Duration::from_micros(500 * (5 - number as u64 % 5)));
                        number * number
                    });
                }
                let Some(result) = jobs.next() else { break };
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
            let mut jobs = jobs(0, 3);
            (0..20).for_each(|number| jobs.push(move || number + 1));
            std::iter::from_fn(|| jobs.next()).collect()
        });
        assert_eq!(results, (1..=20).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_wanted_any_more_does_not_begin() {
        let done = Arc::new(AtomicUsize::new(0));
        let mut jobs = jobs(1, 50);
        for number in 0..50 {
            let done = Arc::clone(&done);
            jobs.push(move || {
                std::thread::sleep(std::time::Duration::from_millis(5));
                done.fetch_add(1, Ordering::SeqCst);
                number
            });
        }
        assert_eq!(jobs.next(), Some(0));
        // Waits for the pool's threads, too.
        drop(jobs);
        let after = done.load(Ordering::SeqCst);
        assert!(after < 50);
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(done.load(Ordering::SeqCst) <= after + 1);
    }

    #[test]
    fn a_panic_reaches_the_one_who_asks() {
        let mut jobs = jobs(2, 2);
        jobs.push(|| resume_unwind(Box::new("lost")));
        jobs.push(|| 7);
        let panic = catch_unwind(AssertUnwindSafe(|| jobs.next())).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"lost"));
        assert_eq!(jobs.next(), Some(7));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (threads, ahead) in [(MAX_THREADS + 1, 0), (0, MAX_AHEAD + 1)] {
            let refused = Jobs::<usize>::new(&StreamParams { threads, ahead });
            assert!(matches!(refused, Err(Error::InvalidParameter { .. })));
        }
    }
}
