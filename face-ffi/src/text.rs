//! Text for C: UTF-8 with a NUL at its end.

use std::ffi::CString;

/// Text with its end marked; a NUL inside, which C would take for the end, is shown as the replacement character.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{FFFD}")).unwrap_or_default()
}
