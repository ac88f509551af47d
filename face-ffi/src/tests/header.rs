//! `include/face.h` is what the sources make of it.

use std::fmt::Write as _;

use super::{SECTIONS, folder, parsed};

/// Set, the test writes the header instead of comparing it.
const UPDATE: &str = "FACE_UPDATE_HEADER";

fn generated() -> String {
    let mut header = std::fs::read_to_string(folder().join("header/conventions.h")).unwrap();
    header.push_str(
        "\n#ifndef FACE_H\n#define FACE_H\n\n#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n\
         \n#ifdef __cplusplus\nextern \"C\" {\n#endif\n",
    );
    for (title, file) in SECTIONS {
        let mut config = cbindgen::Config::from_file(folder().join("cbindgen.toml")).unwrap();
        // Numbers that no function of the same file takes belong to it, too.
        config.export.include = types(file);
        let bindings = cbindgen::Builder::new()
            .with_config(config)
            .with_src(folder().join("src").join(file))
            .generate()
            .unwrap_or_else(|error| unreachable!("{file}: {error}"));
        let mut section = vec![];
        bindings.write(&mut section);
        let section = String::from_utf8(section).unwrap();
        let section = section
            .replace("#ifdef __cplusplus\nextern \"C\" {\n#endif // __cplusplus\n", "")
            .replace("#ifdef __cplusplus\n}  // extern \"C\"\n#endif  // __cplusplus\n", "");
        let line = "=".repeat(100);
        let _ = write!(header, "\n/* {line}\n * {title}\n * {line} */\n\n{}\n", section.trim());
    }
    header.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* FACE_H */\n");
    while header.contains("\n\n\n") {
        header = header.replace("\n\n\n", "\n\n");
    }
    header
}

/// The types that a source file makes public.
fn types(file: &str) -> Vec<String> {
    let public = |item: syn::Item| match item {
        syn::Item::Enum(item) if matches!(item.vis, syn::Visibility::Public(_)) => Some(item.ident.to_string()),
        syn::Item::Struct(item) if matches!(item.vis, syn::Visibility::Public(_)) => Some(item.ident.to_string()),
        _ => None,
    };
    parsed(file).items.into_iter().filter_map(public).collect()
}

#[test]
fn the_header_is_up_to_date() {
    let path = folder().parent().unwrap().join("include/face.h");
    let header = generated();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &header).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = written.lines().zip(header.lines()).position(|(written, generated)| written != generated) {
        assert!(written == header, "include/face.h differs from line {} on: run the test with {UPDATE}=1", line + 1);
    }
    assert!(written == header, "include/face.h has another length: run the test with {UPDATE}=1");
}

#[test]
fn no_rustdoc_leaks_into_the_header() {
    let header = generated();
    for leak in ["# Safety", "# Errors", "[`", "](", "::", "Box<", "Option<"] {
        assert!(!header.contains(leak), "{leak}");
    }
}
