//! Approximate search in a navigable graph, through usearch.

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::{ApproximateParams, MAX_DIMENSION};
use crate::error::{Error, Result};
use crate::stage::Metric;

/// Vectors with keys, and a graph in which those near a probe are found without looking at all.
///
/// It gives keys alone: their similarities are for [`ExactIndex::rank`](super::ExactIndex::rank) to compute. Vectors are
/// kept in 16 bits (bfloat16). All threads may search at once, and while others add. Where several [`insert`](Self::insert) at
/// once, usearch leaves a few vectors without a way to them (its issue 735); [`insert_batch`](Self::insert_batch) finds those
/// and adds them again.
pub struct ApproximateIndex {
    params: ApproximateParams,
    dimension: usize,
    /// Locked for writing only to make room and to remove.
    index: RwLock<Index>,
}

/// Threads that may be inside at once; the others wait. usearch keeps memory for each and takes them in turn, so that more
/// than there are cores would only be memory that no cache holds.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).max(4)
}

/// What usearch looks at where nobody asks for more; searches here say themselves how many candidates they want.
const SMALLEST_EXPANSION: usize = 1;

/// Candidates with which a vector is looked for by itself, to see whether there is a way to it.
const SELF_EXPANSION: usize = 32;

/// Room for so many vectors is made at first.
const INITIAL_CAPACITY: usize = 1024;

impl ApproximateIndex {
    /// An empty index.
    ///
    /// # Errors
    /// [`Error::InvalidParameter`]; [`Error::GalleryStore`] when there is no memory for it.
    pub fn new(dimension: usize, metric: Metric, params: &ApproximateParams) -> Result<Self> {
        params.validate()?;
        if !(1..=MAX_DIMENSION).contains(&dimension) {
            return Err(Error::InvalidParameter {
                parameter: "dimension",
                value: dimension.to_string(),
                expected: format!("from 1 to {MAX_DIMENSION}"),
            });
        }
        let options = IndexOptions {
            dimensions: dimension,
            metric: match metric {
                Metric::Cosine => MetricKind::IP,
                Metric::Euclidean => MetricKind::L2sq,
                Metric::GroupAware(_) => {
                    return Err(Error::InvalidParameter {
                        parameter: "metric",
                        value: metric.to_string(),
                        expected: "cosine or euclidean: the group-aware similarity is searched exactly".into(),
                    });
                }
            },
            quantization: ScalarKind::BF16,
            connectivity: params.connectivity,
            expansion_add: params.expansion_add,
            expansion_search: SMALLEST_EXPANSION,
            multi: false,
        };
        let index = Index::new(&options).map_err(failed("build"))?;
        index.reserve_capacity_and_threads(INITIAL_CAPACITY, threads()).map_err(failed("build"))?;
        Ok(Self { params: *params, dimension, index: RwLock::new(index) })
    }

    /// The settings.
    pub fn params(&self) -> &ApproximateParams {
        &self.params
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.read().size()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is a vector of this key.
    pub fn contains(&self, key: u64) -> bool {
        self.read().contains(key)
    }

    /// Whether the vector of this key is there, as far as 16 bits can tell.
    pub(crate) fn holds(&self, key: u64, vector: &[f32]) -> bool {
        let mut own = vec![0.0_f32; self.dimension];
        let found = self.read().get(key, &mut own);
        // bfloat16 keeps eight bits of a value; what is smaller than any plays no part.
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= b.abs() / 128.0 + f32::MIN_POSITIVE;
        matches!(found, Ok(1)) && own.iter().zip(vector).all(near)
    }

    /// Bytes of memory that the index takes.
    pub fn memory_bytes(&self) -> usize {
        self.read().memory_usage()
    }

    /// Makes room for so many vectors in all.
    ///
    /// # Errors
    /// [`Error::GalleryStore`] when there is no memory for them.
    pub fn reserve(&self, count: usize) -> Result<()> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if count <= index.capacity() {
            return Ok(());
        }
        index.reserve_capacity_and_threads(count, threads()).map_err(failed("grow"))
    }

    /// Adds a vector of finite values.
    ///
    /// # Errors
    /// [`Error::InvalidEmbedding`] for another number of values; [`Error::GalleryStore`] for a key that is there already, or
    /// when there is no memory.
    pub fn insert(&self, key: u64, vector: &[f32]) -> Result<()> {
        self.check(vector)?;
        loop {
            let index = self.read();
            // Others may be adding at the same moment: never fill the last places without the lock.
            if index.size() + threads() < index.capacity() {
                return retried(|| index.add(key, vector)).map_err(failed("add to"));
            }
            let wanted = index.capacity().saturating_mul(2);
            drop(index);
            self.reserve(wanted)?;
        }
    }

    /// Adds many vectors of finite values, on as many threads as the current rayon pool has, and sees to it that there is a way to
    /// each.
    ///
    /// The graph depends on which thread was first: two that are built of the same vectors may differ in what they miss.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); some of the vectors may be there then.
    pub fn insert_batch(&self, vectors: &[(u64, &[f32])]) -> Result<()> {
        let wanted = self.len() + vectors.len() + threads();
        if wanted > self.read().capacity() {
            self.reserve(wanted + wanted / 4)?;
        }
        on_threads(vectors, |(key, vector)| self.insert(*key, vector))?;
        // Most are found at once; the others deserve a thorough look.
        let expansions = [SELF_EXPANSION, self.params.expansion_search.max(4 * SELF_EXPANSION)];
        let is_found = |(key, vector): &(u64, &[f32])| -> Result<bool> {
            for expansion in expansions {
                if self.candidates(vector, expansion)?.contains(key) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let found = on_threads(vectors, is_found)?;
        for ((key, vector), _) in vectors.iter().zip(found).filter(|(_, is_found)| !is_found) {
            self.remove(*key)?;
            self.insert(*key, vector)?;
        }
        Ok(())
    }

    /// Removes the vector of a key, if there is one.
    ///
    /// # Errors
    /// [`Error::GalleryStore`].
    pub fn remove(&self, key: u64) -> Result<()> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.remove(key).map(drop).map_err(failed("remove from"))
    }

    /// Keys of the vectors that are most like a probe of finite values, the best first; at most so many.
    ///
    /// # Errors
    /// [`Error::InvalidEmbedding`] for another number of values; [`Error::GalleryStore`].
    pub fn search(&self, probe: &[f32], count: usize) -> Result<Vec<u64>> {
        self.check(probe)?;
        let mut keys = self.candidates(probe, count.max(self.params.expansion_search))?;
        keys.truncate(count);
        Ok(keys)
    }

    /// The best of a search that goes through so many candidates: all of them.
    fn candidates(&self, probe: &[f32], expansion: usize) -> Result<Vec<u64>> {
        let index = self.read();
        let expansion = expansion.min(index.size());
        if expansion == 0 {
            return Ok(vec![]);
        }
        Ok(retried(|| index.search(probe, expansion)).map_err(failed("search"))?.keys)
    }

    /// Writes the index to a file.
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        self.read().save(as_text(path)?).map_err(failed("save"))
    }

    /// Reads an index that [`save`](Self::save) wrote. The file must be known to be whole: usearch trusts it.
    pub(crate) fn load(&self, path: &Path) -> Result<()> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.load(as_text(path)?).map_err(failed("load"))?;
        if index.dimensions() != self.dimension {
            return Err(failed("load")(format!("it has {} dimensions", index.dimensions())));
        }
        // The file brings its own.
        index.change_expansion_add(self.params.expansion_add);
        index.change_expansion_search(SMALLEST_EXPANSION);
        let capacity = index.size().saturating_add(INITIAL_CAPACITY);
        index.reserve_capacity_and_threads(capacity, threads()).map_err(failed("load"))
    }

    fn check(&self, vector: &[f32]) -> Result<()> {
        if vector.len() == self.dimension && vector.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        let reason = format!("{} values, where the index has {} finite ones", vector.len(), self.dimension);
        Err(Error::InvalidEmbedding { reason })
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits while more threads are inside than there are places for.
fn retried<T, E: std::fmt::Display>(work: impl Fn() -> Result<T, E>) -> Result<T, E> {
    loop {
        match work() {
            Err(error) if error.to_string().contains("No available threads") => std::thread::yield_now(),
            outcome => return outcome,
        }
    }
}

fn as_text(path: &Path) -> Result<&str> {
    let reason = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is no text in UTF-8");
    path.to_str().ok_or_else(|| Error::io("use", path)(reason()))
}

fn failed<E: std::fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Error {
    move |error| Error::GalleryStore { action, gallery: "approximate index".into(), reason: error.to_string() }
}

/// Vectors that are worth a thread.
const MIN_PER_THREAD: usize = 16;

/// Works on many items, on threads of its own. Whoever adds to a gallery holds its writer: a thread of the rayon pool that waits for
/// others may be given the next change of the same gallery, and would wait for itself.
pub(crate) fn on_threads<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let count = rayon::current_num_threads().min(items.len() / MIN_PER_THREAD).max(1);
    let all = |items: &[T]| items.iter().map(&work).collect::<Result<Vec<R>>>();
    if count == 1 {
        return all(items);
    }
    std::thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(count));
        let workers: Vec<_> = parts.map(|part| scope.spawn(|| all(part))).collect();
        let mut done = Vec::with_capacity(items.len());
        for worker in workers {
            done.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(done)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    fn vector(number: u64) -> Vec<f32> {
        let mut state = number + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..24).map(|_| next()).collect()
    }

    #[test]
    fn what_was_added_is_found_until_it_is_removed() {
        let index = ApproximateIndex::new(24, Metric::Euclidean, &ApproximateParams::default()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let index = &index;
                scope.spawn(move || {
                    for number in (thread..3000).step_by(4) {
                        index.insert(number, &vector(number)).unwrap();
                        assert!(index.search(&vector(number / 2), 3).unwrap().len() <= 3);
                    }
                });
            }
        });
        assert_eq!(index.len(), 3000);
        let found = (0..3000).filter(|number| index.search(&vector(*number), 1).unwrap() == [*number]).count();
        assert!(found > 2950, "{found} of 3000");
        for number in 0..1500 {
            index.remove(number).unwrap();
        }
        assert_eq!(index.len(), 1500);
        for number in 0..3000 {
            assert!(index.search(&vector(number), 10).unwrap().iter().all(|key| *key >= 1500));
        }
        assert!(index.insert(2000, &vector(0)).is_err());
        assert!(matches!(index.insert(9000, &[1.0]), Err(Error::InvalidEmbedding { .. })));
        assert!(matches!(index.search(&[f32::NAN; 24], 1), Err(Error::InvalidEmbedding { .. })));
    }

    #[test]
    fn a_batch_leaves_no_vector_without_a_way_to_it() {
        let index = ApproximateIndex::new(24, Metric::Cosine, &ApproximateParams::default()).unwrap();
        let vectors: Vec<Vec<f32>> = (0..20_000).map(vector).collect();
        let unit = |vector: &Vec<f32>| {
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter().map(|value| value / length).collect::<Vec<f32>>()
        };
        let units: Vec<Vec<f32>> = vectors.iter().map(unit).collect();
        let batch: Vec<(u64, &[f32])> = (0..).zip(units.iter().map(Vec::as_slice)).collect();
        let (first, second) = batch.split_at(15_000);
        index.insert_batch(first).unwrap();
        index.insert_batch(second).unwrap();
        index.insert_batch(&[]).unwrap();
        assert_eq!(index.len(), 20_000);
        let is_lost = |(key, vector): &&(u64, &[f32])| index.search(vector, 1).unwrap() != [*key];
        assert_eq!(batch.par_iter().filter(is_lost).count(), 0);
        assert!(index.insert_batch(&batch[..2]).is_err(), "their keys are there already");
    }

    #[test]
    fn impossible_settings_are_refused() {
        for params in [
            ApproximateParams { connectivity: 0, ..Default::default() },
            ApproximateParams { expansion_search: 1 << 20, ..Default::default() },
        ] {
            assert!(matches!(ApproximateIndex::new(4, Metric::Cosine, &params), Err(Error::InvalidParameter { .. })));
        }
    }
}
