//! What was promised stays: functions with their types, numbers of enums, members of structs with their places.

use std::collections::BTreeSet;

use super::{SECTIONS, exported, folder, parsed};
use crate::detection::*;
use crate::embedding::*;
use crate::gallery::*;
use crate::image::*;
use crate::models::*;
use crate::space::*;

/// Set, the test adds what is new to the list.
const UPDATE: &str = "FACE_UPDATE_ABI";

/// Sizes of the structs whose members C sees, but for settings, which grow.
macro_rules! sizes {
    ($($type:ty),* $(,)?) => { vec![$((stringify!($type), size_of::<$type>())),*] };
}

/// Size and alignment of a member's type on a machine with pointers of 64 bits.
fn layout(member: &syn::Type) -> [usize; 2] {
    match member {
        syn::Type::Array(array) => {
            let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(count), .. }) = &array.len else { unreachable!() };
            let [size, alignment] = layout(&array.elem);
            [size * count.base10_parse::<usize>().unwrap(), alignment]
        }
        other => match tokens(other).as_str() {
            "bool" => [1, 1],
            "f32" | "u32" | "i32" => [4, 4],
            "f64" | "u64" | "usize" => [8, 8],
            "face_point_t" => [size_of::<face_point_t>(), align_of::<face_point_t>()],
            "face_box_t" => [size_of::<face_box_t>(), align_of::<face_box_t>()],
            "face_landmarks_t" => [size_of::<face_landmarks_t>(), align_of::<face_landmarks_t>()],
            pointer if pointer.starts_with('*') => [8, 8],
            unknown => unreachable!("how large is {unknown}?"),
        },
    }
}

/// A line for each member of a struct that C sees, with its place.
fn members(item: &syn::ItemStruct, promises: &mut BTreeSet<String>) {
    let mut place = 0;
    for field in &item.fields {
        let name = field.ident.as_ref().unwrap();
        let [size, alignment] = layout(&field.ty);
        place = usize::div_ceil(place, alignment) * alignment;
        let kind = match &field.ty {
            syn::Type::Array(array) => format!("{} array", tokens(&array.elem)),
            other => tokens(other),
        };
        promises.insert(format!("member {}.{name} {kind} at {place}", item.ident));
        place += size;
    }
}

/// One line for each promise.
fn promises() -> BTreeSet<String> {
    let mut promises = BTreeSet::new();
    for function in exported() {
        let signature = &function.sig;
        let types = signature.inputs.iter().map(|input| match input {
            syn::FnArg::Typed(argument) => tokens(&argument.ty),
            syn::FnArg::Receiver(_) => "self".to_owned(),
        });
        let output = match &signature.output {
            syn::ReturnType::Default => "void".to_owned(),
            syn::ReturnType::Type(_, output) => tokens(output),
        };
        let types = types.collect::<Vec<_>>().join(", ");
        promises.insert(format!("function {}({types}) -> {output}", signature.ident));
    }
    for item in SECTIONS.iter().flat_map(|(_, file)| parsed(file).items) {
        let is_plain = |attribute: &syn::Attribute| matches!(&attribute.meta, syn::Meta::List(list) if list.path.is_ident("repr") && list.tokens.to_string() == "C");
        if let syn::Item::Struct(item) = &item
            && item.attrs.iter().any(is_plain)
            && cfg!(target_pointer_width = "64")
        {
            members(item, &mut promises);
        }
        let syn::Item::Enum(item) = item else { continue };
        if !matches!(item.vis, syn::Visibility::Public(_)) {
            continue;
        }
        for variant in &item.variants {
            let (_, number) = variant.discriminant.as_ref().unwrap_or_else(|| unreachable!("{}", variant.ident));
            let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(number), .. }) = number else { unreachable!() };
            promises.insert(format!("number {} {} = {number}", item.ident, variant.ident));
        }
    }
    if cfg!(target_pointer_width = "64") {
        // Settings grow at their end, and are not listed.
        for (name, size) in sizes![
            face_box_t,
            face_candidate_t,
            face_detection_t,
            face_duplicate_t,
            face_image_view_t,
            face_import_report_t,
            face_landmarks_t,
            face_model_t,
            face_new_subject_t,
            face_new_template_t,
            face_point_t,
            face_template_t,
            face_threshold_t,
            face_verification_t,
        ] {
            promises.insert(format!("size {name} {size}"));
        }
    }
    promises
}

fn tokens(value: &syn::Type) -> String {
    match value {
        syn::Type::Ptr(pointer) => {
            let kind = if pointer.mutability.is_some() { "*mut" } else { "*const" };
            format!("{kind} {}", tokens(&pointer.elem))
        }
        syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default(),
        _ => unreachable!("a type that C does not have"),
    }
}

#[test]
fn nothing_that_was_promised_is_gone() {
    let path = folder().join("abi").join(format!(
        "{}.{}.txt",
        crate::version::FACE_VERSION_MAJOR,
        crate::version::FACE_VERSION_MINOR
    ));
    let now = promises();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let mut promised: BTreeSet<String> =
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    if std::env::var_os(UPDATE).is_some() {
        promised.extend(now.iter().cloned());
        let lines: Vec<&str> = promised.iter().map(String::as_str).collect();
        let heading =
            "# What programs linked to this version of libface rely on. Lines are added, and none is taken away.\n";
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("{heading}{}\n", lines.join("\n"))).unwrap();
    }
    let broken: Vec<&String> = promised.difference(&now).collect();
    assert!(broken.is_empty(), "these break programs that are linked already: {broken:#?}");
    let new: Vec<&String> = now.difference(&promised).collect();
    assert!(new.is_empty(), "not promised yet; run the test with {UPDATE}=1 once they are to stay: {new:#?}");
}
