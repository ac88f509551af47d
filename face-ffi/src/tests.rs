//! The header, the guard and the promise of stability, checked against the sources.
#![allow(clippy::unwrap_used)]

mod abi;
mod calls;
mod header;
mod regressions;

use std::path::{Path, PathBuf};

/// The crate's folder.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The parts of the header, in their order: title, source file.
const SECTIONS: &[(&str, &str)] = &[
    ("Version and features", "version.rs"),
    ("Status and messages", "status.rs"),
    ("Images", "image.rs"),
    ("Models", "models.rs"),
    ("Embedding spaces and thresholds", "space.rs"),
    ("Embeddings and verification: is it the same person?", "embedding.rs"),
    ("Detections, landmarks, crops", "detection.rs"),
    ("Analyses: the faces of a photo, or of many", "analysis.rs"),
    ("Pipelines: from pixels to embeddings", "pipeline.rs"),
    ("Streams: many photos, one after the other", "stream.rs"),
    ("Galleries: settings", "gallery/params.rs"),
    ("Galleries: people and templates", "gallery/records.rs"),
    ("Galleries: open, enrol, list, remove", "gallery/handle.rs"),
    ("Galleries on a PostgreSQL server", "gallery/postgres.rs"),
    ("Identification: who is it?", "gallery/identification.rs"),
    ("Galleries: export, import, duplicates", "gallery/exchange.rs"),
];

/// A source file, parsed.
fn parsed(file: &str) -> syn::File {
    let path: PathBuf = folder().join("src").join(file);
    syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

/// Every function that C can call, in the header's order.
fn exported() -> Vec<syn::ItemFn> {
    let items = SECTIONS.iter().flat_map(|(_, file)| parsed(file).items);
    items
        .filter_map(|item| match item {
            syn::Item::Fn(function) if function.sig.abi.is_some() => Some(function),
            _ => None,
        })
        .collect()
}

/// All source files below a folder, relative to `src`.
fn sources(below: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else {
            let name = path.strip_prefix(folder().join("src")).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(name);
        }
    }
}

#[test]
fn no_function_is_exported_from_a_file_that_the_header_does_not_know() {
    let mut files = vec![];
    sources(&folder().join("src"), &mut files);
    for file in files.iter().filter(|file| !file.starts_with("tests")) {
        let text = std::fs::read_to_string(folder().join("src").join(file)).unwrap();
        let is_known = SECTIONS.iter().any(|(_, known)| known == file);
        assert!(is_known || !text.contains("no_mangle"), "{file} is in no section of the header");
    }
}

/// These cannot fail: they look something up.
const WITHOUT_GUARD: &[&str] = &["face_last_error", "face_status_name"];

#[test]
fn nothing_is_exported_from_where_these_tests_do_not_look() {
    let in_sources: usize = SECTIONS
        .iter()
        .map(|(_, file)| std::fs::read_to_string(folder().join("src").join(file)).unwrap().matches("no_mangle").count())
        .sum();
    assert_eq!(in_sources, exported().len());
    let header = std::fs::read_to_string(folder().parent().unwrap().join("include/face.h")).unwrap();
    let code: String = header.split("/*").filter_map(|part| part.split_once("*/")).map(|(_, code)| code).collect();
    for function in exported() {
        assert_eq!(code.matches(&format!("{}(", function.sig.ident)).count(), 1, "{}", function.sig.ident);
    }
    assert_eq!(code.matches(");").count() - code.matches("(*face_").count(), exported().len());
}

/// What the header says of threads.
#[test]
fn handles_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<crate::analysis::face_analysis_t>();
    shared::<crate::analysis::face_batch_t>();
    shared::<crate::detection::face_crop_t>();
    shared::<crate::detection::face_detections_t>();
    shared::<crate::embedding::face_embedding_t>();
    shared::<crate::gallery::face_candidates_t>();
    shared::<crate::gallery::face_duplicates_t>();
    shared::<crate::gallery::face_gallery_t>();
    shared::<crate::gallery::face_identifications_t>();
    shared::<crate::gallery::face_subjects_t>();
    shared::<crate::image::face_image_t>();
    shared::<crate::models::face_models_t>();
    shared::<crate::pipeline::face_pipeline_t>();
    shared::<crate::space::face_space_t>();
    shared::<crate::stream::face_stream_t>();
}

#[test]
fn the_body_of_every_exported_function_is_one_guard_of_its_name() {
    let functions = exported();
    assert!(functions.len() > 80);
    for function in functions {
        let name = function.sig.ident.to_string();
        let is_exported = function.attrs.iter().any(|attribute| {
            let text = match &attribute.meta {
                syn::Meta::List(list) => list.tokens.to_string(),
                _ => String::new(),
            };
            text == "no_mangle"
        });
        assert!(is_exported, "{name} is no_mangle");
        if !WITHOUT_GUARD.contains(&name.as_str()) {
            assert_eq!(guard_of(&function).as_deref(), Some(name.as_str()), "{name}");
        }
    }
}

/// The name that the guard around the whole body is given.
fn guard_of(function: &syn::ItemFn) -> Option<String> {
    let [syn::Stmt::Expr(syn::Expr::Call(call), None)] = function.block.stmts.as_slice() else { return None };
    let syn::Expr::Path(path) = call.func.as_ref() else { return None };
    let segments: Vec<String> = path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let is_guard = matches!(segments.as_slice(), [module, kind] if module == "guard"
        && ["status", "value", "free"].contains(&kind.as_str()));
    let Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(name), .. })) = call.args.first() else { return None };
    is_guard.then(|| name.value())
}
