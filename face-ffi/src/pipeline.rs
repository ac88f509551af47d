//! The four stages in a row, and each alone.

use std::ffi::c_char;
use std::sync::Arc;

use face_core::detectors::DetectionParams;
use face_core::inference::Engine;
use face_core::models::EmbedderSpec;
use face_core::{Aligner as _, Embedder as _, FaceCrop, FaceDetector as _, FacePipeline, ModelSource, Normalizer as _};
use face_core::{ImageView, PipelineParams};

use crate::analysis::{face_analysis_t, face_batch_t};
use crate::detection::{face_crop_t, face_detection_t, face_detections_t, face_landmarks_t};
use crate::embedding::face_embedding_t;
use crate::guard;
use crate::image::face_image_view_t;
use crate::models::store;
use crate::pointers::{
    array, growing_settings, invalid, optional_text, or_default, out, reference, release, reserved, settings,
};
use crate::space::face_space_t;
use crate::status::{Outcome, face_status_t};

/// For face_pipeline_params_t: no second look at the photo for large faces.
pub const FACE_NO_SMALL_SIDE: u32 = 0xFFFF_FFFF;

/// What a pipeline is made of. Members that are 0 or NULL have their default, so that `{ .struct_size = sizeof params }` stands for
/// the default models.
///
/// A model is named (an entry of the catalogue), or a file of your own, or the bytes of one: at most one of the three.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct face_pipeline_params_t {
    /// sizeof(face_pipeline_params_t).
    pub struct_size: usize,
    /// Where the models lie; see face_models_list().
    pub models_folder: *const c_char,
    /// Name of a detector in the catalogue, such as "yunet".
    pub detector: *const c_char,
    /// Path of an ONNX file with CenterFace's or YuNet's outputs.
    pub detector_path: *const c_char,
    /// Content of such a file; not needed any more when the pipeline is open.
    pub detector_bytes: *const u8,
    /// Number of bytes.
    pub detector_bytes_length: usize,
    /// Name of an embedder in the catalogue, such as "sface".
    pub embedder: *const c_char,
    /// Path of an ONNX file.
    pub embedder_path: *const c_char,
    /// Content of such a file; not needed any more when the pipeline is open.
    pub embedder_bytes: *const u8,
    /// Number of bytes.
    pub embedder_bytes_length: usize,
    /// Which variant of a catalogue embedder.
    pub embedder_variant: *const c_char,
    /// How the embedder wants its input, as TOML text: needed for a file of your own. The manual's chapter on models describes it.
    pub embedder_spec: *const c_char,
    /// Most faces that are reported; 1000 by default.
    pub max_faces: usize,
    /// Smallest score of a face, above 0 to 1; the detector's own by default.
    pub score_threshold: f32,
    /// Of two boxes that overlap by more than this, only the better is kept; 0.3 by default.
    pub nms_threshold: f32,
    /// Shorter side of the smallest box that is reported, in pixels.
    pub min_size: f32,
    /// Photos are shrunk to this long side before faces are looked for; 1024 by default, from 32 to 8192.
    pub max_side: u32,
    /// Long side of the second look, for faces that fill the photo; 320 by default, FACE_NO_SMALL_SIDE for none.
    pub small_side: u32,
    /// Must be 0.
    pub reserved: u32,
}

growing_settings!(face_pipeline_params_t, reserved: u32, reserved: u32);

/// A detector, an aligner, a normalizer and an embedder.
///
/// May be used by any number of threads at the same time, without a lock. Opening one takes a moment: open it once, and share it.
/// What comes out of it (detections, crops, embeddings, spaces) does not need it any more. Free it with face_pipeline_free() when no
/// thread uses it.
pub struct face_pipeline_t {
    pub(crate) pipeline: Arc<FacePipeline>,
    space: face_space_t,
}

impl face_pipeline_params_t {
    unsafe fn read(&self) -> Outcome<PipelineParams> {
        reserved(self.reserved, "params->reserved")?;
        let default = DetectionParams::default();
        let detection = DetectionParams {
            score_threshold: (self.score_threshold != 0.0).then_some(self.score_threshold),
            nms_threshold: or_default(self.nms_threshold, default.nms_threshold),
            min_size: or_default(self.min_size, default.min_size),
            max_faces: or_default(self.max_faces, default.max_faces),
            max_side: or_default(self.max_side, default.max_side),
            small_side: match self.small_side {
                0 => default.small_side,
                FACE_NO_SMALL_SIDE => None,
                side => Some(side),
            },
        };
        let spec = unsafe { optional_text(self.embedder_spec, "params->embedder_spec") }?;
        Ok(PipelineParams {
            detector: unsafe {
                let bytes = (self.detector_bytes, self.detector_bytes_length);
                source(["detector", "detector_path", "detector_bytes"], self.detector, self.detector_path, bytes)
            }?,
            detection,
            embedder: unsafe {
                let bytes = (self.embedder_bytes, self.embedder_bytes_length);
                source(["embedder", "embedder_path", "embedder_bytes"], self.embedder, self.embedder_path, bytes)
            }?,
            variant: unsafe { optional_text(self.embedder_variant, "params->embedder_variant") }?.map(str::to_owned),
            embedder_spec: spec.map(EmbedderSpec::from_toml).transpose()?,
            engine: Engine::default(),
        })
    }
}

/// Where a model comes from: one of a name, a path and bytes.
unsafe fn source(
    [name_member, path_member, bytes_member]: [&str; 3],
    name: *const c_char,
    path: *const c_char,
    (bytes, length): (*const u8, usize),
) -> Outcome<ModelSource> {
    let named = unsafe { optional_text(name, &format!("params->{name_member}")) }?;
    let file = unsafe { optional_text(path, &format!("params->{path_member}")) }?;
    if bytes.is_null() && length != 0 {
        return Err(invalid(format!("params->{bytes_member} is NULL, and its length is {length}")));
    }
    let content = (!bytes.is_null()).then_some(unsafe { array(bytes, length, bytes_member) }?);
    match (named, file, content) {
        (None, None, None) => Ok(ModelSource::Default),
        (Some(name), None, None) => Ok(ModelSource::Catalogue(name.to_owned())),
        (None, Some(path), None) => Ok(ModelSource::File(path.into())),
        (None, None, Some(content)) => {
            Ok(ModelSource::Bytes { name: bytes_member.to_owned(), content: content.to_vec() })
        }
        _ => Err(invalid(format!("more than one of {name_member}, {path_member} and {bytes_member} is given"))),
    }
}

/// The pixels of an image that must be given.
pub(crate) unsafe fn pixels<'a>(view: *const face_image_view_t) -> Outcome<ImageView<'a>> {
    unsafe { reference(view, "view")?.pixels() }
}

/// Opens a pipeline.
///
/// @param params   NULL for the default models.
/// @param pipeline Receives the pipeline.
/// @return FACE_STATUS_MODEL_MISSING before the models were pulled (face_models_pull()); FACE_STATUS_MODEL_CORRUPT,
///         FACE_STATUS_MODEL_INVALID, FACE_STATUS_UNKNOWN_NAME, FACE_STATUS_NOT_FOUND, FACE_STATUS_FORMAT,
///         FACE_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_open(
    params: *const face_pipeline_params_t,
    pipeline: *mut *mut face_pipeline_t,
) -> face_status_t {
    guard::status("face_pipeline_open", || {
        let params = unsafe { settings(params, "params") }?;
        let pipeline = unsafe { out(pipeline, "pipeline") }?;
        let store = unsafe { store(params.models_folder) }?;
        let opened = FacePipeline::open(&store, &unsafe { params.read() }?)?;
        let space = face_space_t::new(opened.embedder.space());
        pipeline.give(face_pipeline_t { pipeline: Arc::new(opened), space });
        Ok(())
    })
}

/// The space of the pipeline's embeddings, lent as long as the pipeline lives; NULL after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_space(pipeline: *const face_pipeline_t) -> *const face_space_t {
    guard::value("face_pipeline_space", std::ptr::null(), || {
        Ok(&raw const unsafe { reference(pipeline, "pipeline") }?.space)
    })
}

/// Stage 1: finds the faces of an image. None is an empty list, and no failure.
///
/// @param pipeline   The pipeline.
/// @param view       The image.
/// @param detections Receives the faces.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_detect(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    detections: *mut *mut face_detections_t,
) -> face_status_t {
    guard::status("face_pipeline_detect", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let detections = unsafe { out(detections, "detections") }?;
        detections.give(face_detections_t(pipeline.pipeline.detector.detect(&view)?));
        Ok(())
    })
}

/// Stage 2: finds the landmarks of one face, in the scheme that the embedder's crops are made by.
///
/// @param pipeline  The pipeline.
/// @param view      The image in which the face was found.
/// @param detection The face.
/// @param landmarks Receives the landmarks.
/// @return FACE_STATUS_LANDMARKS_MISSING where the aligner builds on landmarks that the detection does not have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_align(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    detection: *const face_detection_t,
    landmarks: *mut face_landmarks_t,
) -> face_status_t {
    guard::status("face_pipeline_align", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let detection = unsafe { reference(detection, "detection") }?.read()?;
        let landmarks = unsafe { out(landmarks, "landmarks") }?;
        landmarks.set((&pipeline.pipeline.aligner.align(&view, &detection)?).into());
        Ok(())
    })
}

/// Stage 3: brings a face to the shape and size that the embedder asks for.
///
/// @param pipeline  The pipeline.
/// @param view      The image.
/// @param landmarks Of the face, in pixels of the image.
/// @param crop      Receives the crop.
/// @return FACE_STATUS_DEGENERATE_LANDMARKS, FACE_STATUS_NON_FINITE, FACE_STATUS_LANDMARK_SCHEME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_normalize(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    landmarks: *const face_landmarks_t,
    crop: *mut *mut face_crop_t,
) -> face_status_t {
    guard::status("face_pipeline_normalize", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let landmarks = unsafe { reference(landmarks, "landmarks") }?.needed()?;
        let crop = unsafe { out(crop, "crop") }?;
        crop.give(face_crop_t(pipeline.pipeline.normalizer.normalize(&view, &landmarks)?));
        Ok(())
    })
}

/// A crop that was aligned by other means, in place of stages 1 to 3.
///
/// @param pipeline The pipeline.
/// @param views    Pictures of one face, each of exactly the embedder's size, with its landmarks where the embedder's template has them:
///                 one for each of the zooms that the embedder asks for, cut that tightly. Most embedders ask for one; those of the
///                 crops that face_pipeline_normalize() makes show how they must look.
/// @param count    Number of pictures.
/// @param crop     Receives the crop.
/// @return FACE_STATUS_CROP_MISMATCH for another size or number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_aligned_crop(
    pipeline: *const face_pipeline_t,
    views: *const face_image_view_t,
    count: usize,
    crop: *mut *mut face_crop_t,
) -> face_status_t {
    guard::status("face_pipeline_aligned_crop", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let views = unsafe { array(views, count, "views") }?.iter();
        let views = views.map(|view| Ok(unsafe { view.pixels() }?.to_image())).collect::<Outcome<Vec<_>>>()?;
        let crop = unsafe { out(crop, "crop") }?;
        let spec = pipeline.pipeline.embedder.crop_spec().clone();
        crop.give(face_crop_t(FaceCrop::from_aligned_views(views, spec)?));
        Ok(())
    })
}

/// Stage 4: turns a normalized face into a feature vector.
///
/// @param pipeline  The pipeline.
/// @param crop      Of stage 3.
/// @param embedding Receives the embedding.
/// @return FACE_STATUS_CROP_MISMATCH for a crop that was made for another embedder.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_embed(
    pipeline: *const face_pipeline_t,
    crop: *const face_crop_t,
    embedding: *mut *mut face_embedding_t,
) -> face_status_t {
    guard::status("face_pipeline_embed", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let crop = unsafe { reference(crop, "crop") }?;
        let embedding = unsafe { out(embedding, "embedding") }?;
        embedding.give(face_embedding_t(pipeline.pipeline.embedder.embed(&crop.0)?));
        Ok(())
    })
}

/// Stages 2 to 4 for one face that was found already.
///
/// @param pipeline  The pipeline.
/// @param view      The image in which it was found.
/// @param detection The face.
/// @param analysis  Receives that one face, with its embedding.
/// @return As the stages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_embed_detection(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    detection: *const face_detection_t,
    analysis: *mut *mut face_analysis_t,
) -> face_status_t {
    guard::status("face_pipeline_embed_detection", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let detection = unsafe { reference(detection, "detection") }?.read()?;
        let analysis = unsafe { out(analysis, "analysis") }?;
        let face = pipeline.pipeline.embed_detection(&view, &detection)?;
        analysis.give(face_analysis_t::new(face_core::Analysis { faces: vec![face], rejected: vec![] }));
        Ok(())
    })
}

/// All four stages: finds and embeds every face of an image. None is an empty analysis, and no failure.
///
/// @param pipeline The pipeline.
/// @param view     The image.
/// @param analysis Receives the faces, and those that could not be embedded, with the reason.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_analyze(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    analysis: *mut *mut face_analysis_t,
) -> face_status_t {
    guard::status("face_pipeline_analyze", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let analysis = unsafe { out(analysis, "analysis") }?;
        analysis.give(face_analysis_t::new(pipeline.pipeline.analyze(&view)?));
        Ok(())
    })
}

/// All four stages for the face with the largest box alone: what a portrait or a selfie needs.
///
/// @param pipeline The pipeline.
/// @param view     The image.
/// @param analysis Receives that one face.
/// @return FACE_STATUS_NO_FACE; what goes wrong with that face.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_analyze_largest(
    pipeline: *const face_pipeline_t,
    view: *const face_image_view_t,
    analysis: *mut *mut face_analysis_t,
) -> face_status_t {
    guard::status("face_pipeline_analyze_largest", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let view = unsafe { pixels(view) }?;
        let analysis = unsafe { out(analysis, "analysis") }?;
        let face = pipeline.pipeline.analyze_largest(&view, "the image")?;
        analysis.give(face_analysis_t::new(face_core::Analysis { faces: vec![face], rejected: vec![] }));
        Ok(())
    })
}

/// All four stages for many images at once, on all cores; the numbers are those of face_pipeline_analyze(), one by one.
///
/// @param pipeline The pipeline.
/// @param views    The images.
/// @param count    Number of images.
/// @param batch    Receives a status and an analysis for each image, in their order. An image that fails does not end the others.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_analyze_batch(
    pipeline: *const face_pipeline_t,
    views: *const face_image_view_t,
    count: usize,
    batch: *mut *mut face_batch_t,
) -> face_status_t {
    guard::status("face_pipeline_analyze_batch", || {
        let pipeline = unsafe { reference(pipeline, "pipeline") }?;
        let views = unsafe { array(views, count, "views") }?;
        let batch = unsafe { out(batch, "batch") }?;
        let views: Vec<_> = views.iter().map(|view| unsafe { view.pixels() }).collect();
        let readable: Vec<ImageView<'_>> = views.iter().filter_map(|view| view.as_ref().ok().copied()).collect();
        let mut analyses = pipeline.pipeline.analyze_batch(&readable).into_iter();
        let entry = |view: Outcome<ImageView<'_>>| -> Outcome<face_analysis_t> {
            view?;
            let analysis = analyses.next().ok_or_else(|| invalid("fewer answers than images"))?;
            Ok(face_analysis_t::new(analysis?))
        };
        batch.give(face_batch_t::new(views.into_iter().map(entry)));
        Ok(())
    })
}

/// Sets over how many threads a network is spread that a call runs by itself, in the whole process.
///
/// Calls from several threads at once share them; within a batch or a stream, where there is a photo for each core, a network has one
/// thread. The numbers are the same for every setting.
///
/// @param threads 1 for none but the caller's; 0 for one for each core, as it is from the beginning; at most 1024.
/// @return FACE_STATUS_INVALID_ARGUMENT for more.
#[unsafe(no_mangle)]
pub extern "C" fn face_set_threads(threads: usize) -> face_status_t {
    guard::status("face_set_threads", || Ok(face_core::inference::set_threads(threads)?))
}

/// Frees a pipeline, which no thread may be using any more. NULL is nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn face_pipeline_free(pipeline: *mut face_pipeline_t) {
    guard::free("face_pipeline_free", || unsafe { release(pipeline) })
}
