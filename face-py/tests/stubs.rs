//! The type stubs of the compiled module are what PyO3 generates from it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

/// The module: beside the folder of the test. `cargo build` makes it, and `cargo test` does not.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let name = format!("{}_native{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    test.parent().unwrap().parent().unwrap().join(name)
}

#[test]
fn stubs_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/facecore/_native.pyi");
    let built =
        library().metadata().and_then(|metadata| metadata.modified()).expect("a module: run `cargo build` first");
    for source in Path::new(env!("CARGO_MANIFEST_DIR")).join("src").read_dir().unwrap() {
        let source = source.unwrap();
        let changed = source.metadata().unwrap().modified().unwrap();
        assert!(changed <= built, "{} is newer than the module: run `cargo build` first", source.path().display());
    }
    let module = pyo3_introspection::introspect_cdylib(library(), "_native").unwrap();
    let stubs = pyo3_introspection::module_stub_files(&module);
    let generated = stubs.into_iter().next().expect("one file").1;
    // The annotations that we have written ourselves need them.
    let generated = generated.replacen("\nfrom ", "\nimport collections.abc\nimport numpy\nfrom ", 1);
    if std::env::var_os("FACE_UPDATE_STUBS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        generated == committed,
        "{} is not what the module has: run this test with FACE_UPDATE_STUBS=1, and look at the change",
        path.display()
    );
}
