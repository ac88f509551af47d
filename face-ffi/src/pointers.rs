//! What comes from C: pointers, arrays, text and settings, each checked before it is used.
//!
//! Nothing can be known of a pointer but whether it is NULL and aligned; that it points to what its type says, and that this lives
//! long enough, is what the header asks of its callers.

use std::ffi::{CStr, c_char};

use crate::status::{Failure, Outcome, face_status_t};

fn null(what: &str) -> Failure {
    Failure { status: face_status_t::FACE_STATUS_NULL_POINTER, message: format!("{what} is NULL") }
}

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure { status: face_status_t::FACE_STATUS_INVALID_ARGUMENT, message: message.into() }
}

/// An object, or an error that names it.
///
/// # Safety
/// `pointer` is NULL or points to a live `T`.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T, what: &str) -> Outcome<&'a T> {
    if !pointer.is_null() && !pointer.is_aligned() {
        return Err(invalid(format!("{what} is not aligned as its type needs")));
    }
    // SAFETY: by the contract of this function, and aligned as was just checked.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// A place for a result, which is written only when all has succeeded.
#[derive(Clone, Copy)]
pub(crate) struct Out<T>(*mut T);

/// # Safety
/// `pointer` is NULL or may be written to.
pub(crate) unsafe fn out<T>(pointer: *mut T, what: &str) -> Outcome<Out<T>> {
    if pointer.is_null() {
        return Err(null(what));
    }
    if !pointer.is_aligned() {
        return Err(invalid(format!("{what} is not aligned as its type needs")));
    }
    Ok(Out(pointer))
}

impl<T> Out<T> {
    pub(crate) fn set(self, value: T) {
        // SAFETY: not NULL and aligned, as `out` has checked, and writable by its contract.
        unsafe { self.0.write(value) }
    }
}

impl<T> Out<*mut T> {
    /// Hands an object over to C.
    pub(crate) fn give(self, value: T) {
        self.set(Box::into_raw(Box::new(value)));
    }
}

/// Takes an object back from C and drops it. NULL is nothing.
///
/// # Safety
/// `pointer` is NULL or comes from [`Out::give`], and is not used again.
pub(crate) unsafe fn release<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: by the contract of this function.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

/// An array; NULL is one without elements.
///
/// # Safety
/// `pointer` is NULL or points to `length` live values.
pub(crate) unsafe fn array<'a, T>(pointer: *const T, length: usize, what: &str) -> Outcome<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    // SAFETY: by the contract of this function.
    unsafe { reference(pointer, what) }?;
    if length.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(invalid(format!("{what} has an impossible length of {length}")));
    }
    // SAFETY: not NULL, aligned, not larger than the address space, and alive by the contract of this function.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// A place for a result, or for an array of them, that may be left out.
///
/// # Safety
/// As [`out`].
pub(crate) unsafe fn optional_out<T>(pointer: *mut T, what: &str) -> Outcome<Option<Out<T>>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by the contract of this function.
    unsafe { out(pointer, what) }.map(Some)
}

/// Writes a result that may not be wanted.
pub(crate) fn set_if_wanted<T>(out: Option<Out<T>>, value: T) {
    if let Some(out) = out {
        out.set(value);
    }
}

/// Writes an array that may not be wanted.
///
/// # Safety
/// As [`Out::set_all`].
pub(crate) unsafe fn set_all_if_wanted<T>(out: Option<Out<T>>, values: impl IntoIterator<Item = T>) {
    if let Some(out) = out {
        // SAFETY: by the contract of this function.
        unsafe { out.set_all(values) }
    }
}

impl<T> Out<T> {
    /// Writes an array.
    ///
    /// # Safety
    /// There is room for as many as `values` has.
    pub(crate) unsafe fn set_all(self, values: impl IntoIterator<Item = T>) {
        for (index, value) in values.into_iter().enumerate() {
            // SAFETY: within the array by the contract of this function.
            unsafe { self.0.add(index).write(value) }
        }
    }
}

/// Text, or an error that names it.
///
/// # Safety
/// `pointer` is NULL or points to text with a NUL at its end.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Outcome<&'a str> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: by the contract of this function.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|error| Failure {
        status: face_status_t::FACE_STATUS_INVALID_UTF8,
        message: format!("{what} is not UTF-8 after its first {} bytes", error.valid_up_to()),
    })
}

/// Text that may be left out.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(pointer: *const c_char, what: &str) -> Outcome<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: by the contract of this function.
    unsafe { text(pointer, what) }.map(Some)
}

/// Settings that may grow: a `repr(C)` struct of integers, floats and pointers, all of which may be zero, whose first member is
/// its own size.
///
/// # Safety
/// The type is as described; it does not end in padding, where an older caller's rubbish would be taken for a newer member.
pub(crate) unsafe trait Settings: Copy {
    /// Its size in the first version that had it.
    const FIRST_SIZE: usize;
}

/// Declares settings, with the last member that they had in their first version, and the last one of now. `abi/` lists the place of
/// each member, so that the first one stays where it was.
macro_rules! growing_settings {
    ($type:ty, $first:ident: $first_type:ty, $last:ident: $last_type:ty) => {
        const _: () = assert!(std::mem::offset_of!($type, $last) + size_of::<$last_type>() == size_of::<$type>());
        // SAFETY: integers, floats and pointers, with `struct_size` first and, as was just checked, no padding at the end.
        unsafe impl crate::pointers::Settings for $type {
            const FIRST_SIZE: usize = std::mem::offset_of!($type, $first) + size_of::<$first_type>();
        }
    };
}
pub(crate) use growing_settings;

/// A copy of settings; NULL stands for all zeros, and members that the caller does not know yet are zero too.
///
/// # Safety
/// `pointer` is NULL or points to settings as large as their first member says.
pub(crate) unsafe fn settings<T: Settings>(pointer: *const T, what: &str) -> Outcome<T> {
    // SAFETY: all zeros are a value of every `Settings`.
    let mut copy: T = unsafe { std::mem::zeroed() };
    if pointer.is_null() {
        return Ok(copy);
    }
    // SAFETY: the first member is a `usize`, there by the contract of this function.
    let given = *unsafe { reference(pointer.cast::<usize>(), what) }?;
    let own = size_of::<T>();
    if given < T::FIRST_SIZE {
        return Err(invalid(format!("{what} has the struct_size {given}: set it to sizeof, which is {own}")));
    }
    // Larger ones are of a newer version. Far larger ones are not: struct_size was never set.
    if given > own.saturating_mul(8) {
        return Err(invalid(format!("{what} has the struct_size {given}: set it to sizeof, which is {own}")));
    }
    let bytes = pointer.cast::<u8>();
    if given > own {
        // SAFETY: `given` bytes are there by the contract of this function.
        let newer = unsafe { std::slice::from_raw_parts(bytes.add(own), given - own) };
        if newer.iter().any(|byte| *byte != 0) {
            return Err(invalid(format!("{what} uses members that this version of the library does not know")));
        }
    }
    // SAFETY: both are at least so many bytes long, and do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes, (&raw mut copy).cast::<u8>(), given.min(own)) };
    Ok(copy)
}

/// Reads an enum from a number that C has written, which may be none of it.
macro_rules! numbered {
    ($type:ident: $($variant:ident)|+) => {
        impl $type {
            pub(crate) fn numbered(number: u32, what: &str) -> crate::status::Outcome<Self> {
                let found = [$(Self::$variant),+].into_iter().find(|variant| *variant as u32 == number);
                found.ok_or_else(|| {
                    crate::pointers::invalid(format!("{what} is {number}, and no {}", stringify!($type)))
                })
            }
        }

        // All of its variants are listed.
        const _: fn($type) = |variant| match variant {
            $($type::$variant)|+ => {}
        };
    };
}
pub(crate) use numbered;

/// A member of settings, of which 0 stands for the default.
pub(crate) fn or_default<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

/// Yes or no, from a number that C has written.
pub(crate) fn flag(number: u32, what: &str) -> Outcome<bool> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(invalid(format!("{what} is {other}, and must be 0 or 1"))),
    }
}

/// A member that is kept for later: what is written there today must not mean something one day.
pub(crate) fn reserved(number: u32, what: &str) -> Outcome<()> {
    if number == 0 { Ok(()) } else { Err(invalid(format!("{what} is {number}, and must be 0"))) }
}

/// A value of a list, by its position.
pub(crate) fn item<'a, T>(values: &'a [T], index: usize, what: &str) -> Outcome<&'a T> {
    values.get(index).ok_or_else(|| invalid(format!("{what} {index} of {}, counted from 0", values.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that have grown: `second` was added.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Grown {
        struct_size: usize,
        first: u64,
        second: u64,
    }

    growing_settings!(Grown, first: u64, second: u64);

    fn read(given: &Grown) -> Outcome<Grown> {
        // SAFETY: as large as any size that is tried.
        unsafe { settings(given, "given") }
    }

    #[test]
    fn programs_of_the_first_version_are_served() {
        let given = |struct_size| Grown { struct_size, first: 5, second: 7 };
        let old = read(&given(16)).ok();
        assert_eq!(old.map(|read| (read.first, read.second)), Some((5, 0)));
        let new = read(&given(24)).ok();
        assert_eq!(new.map(|read| (read.first, read.second)), Some((5, 7)));
        for impossible in [0, 8, 15, 1 << 20] {
            assert!(read(&given(impossible)).is_err());
        }
    }
}
