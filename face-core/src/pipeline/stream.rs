//! Many photos, one after the other, on all cores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::queue::{StreamParams, WorkQueue};
use super::{Analysis, FacePipeline};
use crate::error::Result;
use crate::image::Image;
use crate::stage::{Aligner, Embedder, FaceDetector, Normalizer};

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
    queue: WorkQueue<Result<Analysis>>,
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
    /// [`Error::InvalidParameter`](crate::Error::InvalidParameter) for more than 1024 threads or 100,000 photos ahead, and when
    /// threads cannot be started.
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
        let queue = WorkQueue::new(params)?;
        let pipeline = Arc::clone(self);
        let analyze = Arc::new(move |photo: &Image| pipeline.analyze(&photo.view()));
        Ok(AnalysisStream { photos: photos.into_iter(), queue, analyze })
    }
}

impl<I: Iterator<Item: PhotoSource>> Iterator for AnalysisStream<I> {
    type Item = Result<Analysis>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.has_room() {
            let Some(photo) = self.photos.next() else { break };
            let analyze = Arc::clone(&self.analyze);
            self.queue.push(move || analyze(&photo.load()?));
        }
        self.queue.take()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = self.photos.size_hint();
        let waiting = self.queue.waiting();
        (least.saturating_add(waiting), most.and_then(|most| most.checked_add(waiting)))
    }
}
