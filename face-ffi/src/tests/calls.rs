//! Every exported function, called with nothing: once while it panics inside, once as it is.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_char, c_void};

use super::exported;
use crate::analysis::*;
use crate::detection::*;
use crate::embedding::*;
use crate::gallery::*;
use crate::guard::tests::panicking;
use crate::image::*;
use crate::models::*;
use crate::pipeline::*;
use crate::space::*;
use crate::status::*;
use crate::stream::*;
use crate::version::*;

/// The argument that says nothing: NULL or 0.
trait Nothing {
    fn nothing() -> Self;
}

impl<T> Nothing for *const T {
    fn nothing() -> Self {
        std::ptr::null()
    }
}

impl<T> Nothing for *mut T {
    fn nothing() -> Self {
        std::ptr::null_mut()
    }
}

macro_rules! nothing {
    ($($type:ty = $value:expr),* $(,)?) => {
        $(impl Nothing for $type {
            fn nothing() -> Self {
                $value
            }
        })*
    };
}

nothing!(i32 = 0, u32 = 0, u64 = 0, usize = 0, f32 = 0.0, f64 = 0.0);

impl Nothing for face_pull_progress_t {
    fn nothing() -> Self {
        None
    }
}

/// What came back.
enum Returned {
    Status(face_status_t),
    /// Whether it is what a failure gives.
    Value {
        is_fallback: bool,
    },
    None,
}

trait Return {
    fn returned(self) -> Returned;
}

macro_rules! value {
    ($($type:ty),*) => {
        $(impl Return for $type {
            fn returned(self) -> Returned {
                Returned::Value { is_fallback: self == <$type>::default() }
            }
        })*
    };
}

value!(bool, u32, u64, usize);

impl Return for face_status_t {
    fn returned(self) -> Returned {
        Returned::Status(self)
    }
}

impl Return for () {
    fn returned(self) -> Returned {
        Returned::None
    }
}

impl Return for face_metric_t {
    fn returned(self) -> Returned {
        Returned::Value { is_fallback: self == Self::FACE_METRIC_UNKNOWN }
    }
}

impl Return for *const c_char {
    fn returned(self) -> Returned {
        // SAFETY: text that the library lends.
        Returned::Value { is_fallback: self.is_null() || unsafe { CStr::from_ptr(self) }.is_empty() }
    }
}

macro_rules! objects {
    ($($type:ty),*) => {
        $(impl Return for *const $type {
            fn returned(self) -> Returned {
                Returned::Value { is_fallback: self.is_null() }
            }
        })*
    };
}

objects!(f32, face_space_t, face_embedding_t, face_analysis_t);

type Call = (&'static str, fn() -> Returned);

macro_rules! calls {
    (@nothing $argument:tt) => { Nothing::nothing() };
    ($($name:ident ($($argument:tt)*))*) => {
        &[$((stringify!($name), || {
            // SAFETY: NULL and 0 are what the functions must bear.
            #[allow(unused_unsafe)]
            unsafe { $name($(calls!(@nothing $argument)),*) }.returned()
        })),*]
    };
}

const CALLS: &[Call] = calls![
    face_version() face_version_number() face_has_feature(_) face_last_error() face_status_name(_)
    face_image_open(_ _ _) face_image_decode(_ _ _ _) face_image_copy(_ _) face_image_view(_ _) face_image_save(_ _)
    face_image_free(_)
    face_models_list(_ _) face_models_folder(_) face_models_count(_) face_models_get(_ _ _) face_models_free(_)
    face_models_check(_ _) face_models_pull(_ _ _ _ _)
    face_space_id(_) face_space_model(_) face_space_dimension(_) face_space_metric(_) face_space_threshold_count(_)
    face_space_threshold(_ _ _) face_space_threshold_at(_ _ _) face_space_free(_)
    face_embedding_new(_ _ _ _) face_embedding_clone(_ _) face_embedding_values(_) face_embedding_dimension(_)
    face_embedding_space(_ _) face_embedding_similarity(_ _ _) face_verify(_ _ _ _) face_cluster(_ _ _ _)
    face_embedding_free(_)
    face_detections_count(_) face_detections_get(_ _ _) face_detections_free(_) face_crop_count(_) face_crop_view(_ _ _)
    face_crop_transform(_ _) face_crop_free(_) face_draw_detections(_ _ _ _) face_landmark_scheme_name(_)
    face_analysis_count(_) face_analysis_largest(_) face_analysis_detection(_ _ _) face_analysis_landmarks(_ _ _)
    face_analysis_embedding(_ _) face_analysis_rejected_count(_) face_analysis_rejected(_ _ _ _ _) face_analysis_free(_)
    face_batch_count(_) face_batch_status(_ _) face_batch_message(_ _) face_batch_analysis(_ _) face_batch_free(_)
    face_pipeline_open(_ _) face_pipeline_space(_) face_pipeline_detect(_ _ _) face_pipeline_align(_ _ _ _)
    face_pipeline_normalize(_ _ _ _) face_pipeline_aligned_crop(_ _ _ _) face_pipeline_embed(_ _ _)
    face_pipeline_embed_detection(_ _ _ _) face_pipeline_analyze(_ _ _) face_pipeline_analyze_largest(_ _ _) face_pipeline_analyze_batch(_ _ _ _)
    face_set_threads(_) face_pipeline_free(_)
    face_pipeline_stream(_ _ _) face_stream_has_room(_) face_stream_waiting(_) face_stream_push(_ _) face_stream_push_file(_ _)
    face_stream_push_bytes(_ _ _) face_stream_take(_ _) face_stream_free(_)
    face_subjects_count(_) face_subjects_id(_ _) face_subjects_name(_ _) face_subjects_metadata(_ _)
    face_subjects_template_count(_ _) face_subjects_template(_ _ _ _) face_subjects_free(_)
    face_gallery_in_memory(_ _ _) face_gallery_create(_ _ _ _) face_gallery_open(_ _ _)
    face_gallery_open_read_only(_ _ _) face_gallery_name(_) face_gallery_space(_) face_gallery_count(_ _ _)
    face_gallery_count_matching(_ _ _ _ _ _) face_gallery_memory_use(_ _ _ _)
    face_gallery_enroll(_ _ _) face_gallery_enroll_batch(_ _ _ _) face_gallery_add_templates(_ _ _ _ _)
    face_gallery_rename(_ _ _) face_gallery_set_metadata(_ _ _) face_gallery_set_thresholds(_ _ _)
    face_gallery_remove_subject(_ _) face_gallery_remove_template(_ _) face_gallery_list(_ _ _ _)
    face_gallery_subject(_ _ _) face_gallery_find(_ _ _) face_gallery_embedding(_ _ _) face_gallery_compact(_)
    face_gallery_save_index(_) face_gallery_free(_)
    face_gallery_create_postgres(_ _ _) face_gallery_open_postgres(_ _)
    face_gallery_identify(_ _ _ _ _) face_identifications_count(_) face_identifications_is_match(_ _)
    face_identifications_candidate_count(_ _) face_identifications_candidate(_ _ _ _)
    face_identifications_threshold(_ _ _ _ _) face_identifications_free(_)
    face_gallery_search(_ _ _ _ _) face_candidates_count(_ _) face_candidates_get(_ _ _ _) face_candidates_free(_)
    face_gallery_export(_ _) face_export_space(_ _) face_gallery_import(_ _ _ _) face_gallery_duplicates(_ _ _)
    face_duplicates_count(_) face_duplicates_get(_ _ _) face_duplicates_free(_)
];

fn last_error() -> String {
    // SAFETY: text that the library lends.
    unsafe { CStr::from_ptr(face_last_error()) }.to_str().unwrap().to_owned()
}

/// Makes the message empty.
fn succeed() {
    face_version();
    assert_eq!(last_error(), "");
}

#[test]
fn the_calls_are_all_that_is_exported() {
    let called: BTreeSet<String> = CALLS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let exported: BTreeSet<String> = exported().iter().map(|function| function.sig.ident.to_string()).collect();
    assert_eq!(called, exported);
    assert_eq!(CALLS.len(), exported.len());
}

#[test]
fn a_panic_inside_of_any_function_becomes_a_status_and_a_message() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut missing = vec![];
    for (name, call) in CALLS.iter().filter(|(name, _)| !super::WITHOUT_GUARD.contains(name)) {
        succeed();
        let is_right = match panicking(call) {
            Returned::Status(status) => status == face_status_t::FACE_STATUS_PANIC,
            Returned::Value { is_fallback } => is_fallback,
            Returned::None => true,
        };
        let expected = format!("{name}: a defect of this library (please report it): on purpose");
        if !is_right || last_error() != expected {
            missing.push(*name);
        }
    }
    std::panic::set_hook(hook);
    assert!(missing.is_empty(), "{missing:?}");
}

/// Without arguments these work, or try to.
const NEEDS_NOTHING: &[&str] = &[
    "face_version",
    "face_version_number",
    "face_last_error",
    "face_status_name",
    "face_landmark_scheme_name",
    "face_set_threads",
];

#[test]
fn every_function_bears_null() {
    for (name, call) in CALLS.iter().filter(|(name, _)| !NEEDS_NOTHING.contains(name)) {
        // NULL there means the default models, which would be pulled; nothing to group is in no group.
        if ["face_models_pull", "face_cluster"].contains(name) {
            continue;
        }
        succeed();
        match call() {
            Returned::Status(status) => {
                assert_eq!(status, face_status_t::FACE_STATUS_NULL_POINTER, "{name}: {}", last_error());
                assert!(last_error().starts_with(&format!("{name}: ")), "{}", last_error());
            }
            Returned::Value { is_fallback } => {
                assert!(is_fallback, "{name}");
                assert!(last_error().starts_with(&format!("{name}: ")), "{}", last_error());
            }
            Returned::None => assert_eq!(last_error(), "", "{name}"),
        }
    }
}

#[test]
fn the_message_survives_clean_up_and_goes_with_the_next_success() {
    // SAFETY: NULL is what is tested.
    unsafe {
        assert_eq!(face_models_check(std::ptr::null(), std::ptr::null()), face_status_t::FACE_STATUS_NULL_POINTER);
        face_image_free(std::ptr::null_mut());
        assert_eq!(last_error(), "face_models_check: name is NULL");
        assert!(!face_has_feature(c"telepathy".as_ptr()));
    }
    assert_eq!(last_error(), "");
    // Another thread has a message of its own.
    // SAFETY: NULL is what is tested.
    unsafe { face_image_copy(std::ptr::null(), std::ptr::null_mut()) };
    std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
    assert_eq!(last_error(), "face_image_copy: view is NULL");
}

#[test]
fn the_callback_has_its_type() {
    unsafe extern "C" fn progress(_: *const c_char, _: u64, _: u64, _: *mut c_void) {}
    let _: face_pull_progress_t = Some(progress);
}
