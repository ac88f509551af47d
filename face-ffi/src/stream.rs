//! Many photos, one after the other, on all cores.

use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::Arc;

use face_core::{Analysis, FacePipeline, PhotoSource, StreamParams, WorkQueue};

use crate::analysis::face_analysis_t;
use crate::guard;
use crate::image::face_image_view_t;
use crate::pipeline::{face_pipeline_t, pixels};
use crate::pointers::{array, growing_settings, invalid, out, reference, release, settings, text};
use crate::status::{Outcome, face_status_t};

/// Settings of a stream. Members that are 0 have their default.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_stream_params_t {
    /// sizeof(face_stream_params_t).
    pub struct_size: usize,
    /// Number of threads, which are the stream's own; one for each core by default, at most 1024.
    pub threads: usize,
    /// How many photos may be pushed before the first result of them is taken, which bounds the memory; twice the number of threads by
    /// default, at most 100000.
    pub ahead: usize,
}

growing_settings!(face_stream_params_t, ahead: usize, ahead: usize);

/// Photos on their way through a pipeline, spread over threads: push some, take results in the same order.
///
///   while (next < count || face_stream_waiting(stream) > 0) {
///     while (next < count && face_stream_has_room(stream))
///       face_stream_push_file(stream, paths[next++]);
///     if (face_stream_take(stream, &analysis) != FACE_STATUS_OK)
///       fprintf(stderr, "%s\n", face_last_error());  // This photo's; the others go on.
///     ...
///     face_analysis_free(analysis);
///     analysis = NULL;
///   }
///
/// Any number of threads may push and take at the same time. It keeps what it needs of its pipeline, which may be freed before. Free it
/// with face_stream_free() when no thread uses it.
pub struct face_stream_t {
    pipeline: Arc<FacePipeline>,
    queue: WorkQueue<face_core::Result<Analysis>>,
}

impl face_stream_t {
    fn push(&self, photo: impl PhotoSource) -> Outcome<()> {
        let pipeline = Arc::clone(&self.pipeline);
        let is_pushed = self.queue.push(move || pipeline.analyze(&photo.load()?.view()));
        if is_pushed { Ok(()) } else { Err(full()) }
    }
}

fn full() -> crate::status::Failure {
    invalid("the stream has no room: take a result first (face_stream_has_room() tells)")
}

/// A stream through a pipeline.
///
/// @param pipeline The pipeline.
/// @param params   NULL for the default ones.
/// @param stream   Receives the stream.
/// @return FACE_STATUS_INVALID_ARGUMENT for settings out of range, and where threads cannot be started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_stream(
    pipeline: *const face_pipeline_t,
    params: *const face_stream_params_t,
    stream: *mut *mut face_stream_t,
) -> face_status_t {
    guard::status("face_pipeline_stream", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let params = unsafe { settings(params, "params") }?;
        let stream = unsafe { out(stream, "stream") }?;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if params.threads == 0 { cores() } else { params.threads };
        let queue = WorkQueue::new(&StreamParams { threads, ahead: params.ahead })?;
        stream.give(face_stream_t { pipeline: Arc::clone(&pipeline.pipeline), queue });
        Ok(())
    })
}

/// Whether a photo may be pushed before a result is taken; false after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_has_room(stream: *const face_stream_t) -> bool {
    guard::value("face_stream_has_room", false, || Ok(unsafe { reference(stream, "stream") }?.queue.has_room()))
}

/// How many photos were pushed whose results were not taken; 0 after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_waiting(stream: *const face_stream_t) -> usize {
    guard::value("face_stream_waiting", 0, || Ok(unsafe { reference(stream, "stream") }?.queue.waiting()))
}

/// Pushes a photo. Its pixels are copied, because they are looked at later: the next frame may be written to the same place.
///
/// @param stream The stream.
/// @param view   The photo.
/// @return FACE_STATUS_INVALID_ARGUMENT where there is no room; FACE_STATUS_IMAGE_BUFFER where size, stride and format do not fit. It
///         was then not pushed, and has no result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_push(
    stream: *const face_stream_t,
    view: *const face_image_view_t,
) -> face_status_t {
    guard::status("face_stream_push", || {
        let stream = unsafe { reference(stream, "stream") }?;
        let view = unsafe { pixels(view) }?;
        // Before the copy.
        if stream.queue.has_room() { stream.push(view.to_image()) } else { Err(full()) }
    })
}

/// Pushes a photo in a file, which is read and decoded on a thread of the stream.
///
/// @param stream The stream.
/// @param path   Copied.
/// @return FACE_STATUS_INVALID_ARGUMENT where there is no room. That the file cannot be read is the photo's result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_push_file(stream: *const face_stream_t, path: *const c_char) -> face_status_t {
    guard::status("face_stream_push_file", || {
        let stream = unsafe { reference(stream, "stream") }?;
        stream.push(PathBuf::from(unsafe { text(path, "path") }?))
    })
}

/// Pushes a photo as the content of a file, which is decoded on a thread of the stream.
///
/// @param stream The stream.
/// @param bytes  Copied.
/// @param length Number of bytes.
/// @return FACE_STATUS_INVALID_ARGUMENT where there is no room. That they are no photo is the photo's result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_push_bytes(
    stream: *const face_stream_t,
    bytes: *const u8,
    length: usize,
) -> face_status_t {
    guard::status("face_stream_push_bytes", || {
        let stream = unsafe { reference(stream, "stream") }?;
        let bytes = unsafe { array(bytes, length, "bytes") }?;
        if stream.queue.has_room() { stream.push(bytes.to_vec()) } else { Err(full()) }
    })
}

/// Waits for the result that is next in the order of the photos, and takes it.
///
/// @param stream   The stream.
/// @param analysis Receives the analysis, as of face_pipeline_analyze().
/// @return What went wrong with this photo, which has then been taken and does not end the stream. FACE_STATUS_INVALID_ARGUMENT where
///         no photo is on its way (face_stream_waiting() tells).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_take(
    stream: *const face_stream_t,
    analysis: *mut *mut face_analysis_t,
) -> face_status_t {
    guard::status("face_stream_take", || {
        let stream = unsafe { reference(stream, "stream") }?;
        let analysis = unsafe { out(analysis, "analysis") }?;
        let taken = stream.queue.take().ok_or_else(|| invalid("no photo is on its way: push one first"))?;
        analysis.give(face_analysis_t::new(taken?));
        Ok(())
    })
}

/// Ends a stream, which no thread may be using any more. Photos that were begun are finished in the background, the others dropped. NULL
/// is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_stream_free(stream: *mut face_stream_t) {
    guard::free("face_stream_free", || unsafe { release(stream) })
}
