//! The one guard around every exported function: what goes wrong inside becomes a status and a message, and a panic too.
//!
//! A test reads the sources and checks that the body of every exported function is one call of [`status`], [`value`] or
//! [`free`] with the function's own name; another one makes each of them panic.

use std::cell::RefCell;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::status::{Failure, Outcome, face_status_t};
use crate::text::c_string;

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::new(CString::default());
}

/// The message of the last failure on this thread, for [`crate::status::face_last_error`].
pub(crate) fn message() -> *const std::ffi::c_char {
    // A thread that is ending has no message any more.
    MESSAGE.try_with(|message| message.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn set_message(text: &str) {
    let _ = MESSAGE.try_with(|message| *message.borrow_mut() = c_string(text));
}

fn clear_message() {
    let _ = MESSAGE.try_with(|message| {
        if !message.borrow().is_empty() {
            *message.borrow_mut() = CString::default();
        }
    });
}

/// Runs the body of a function that returns a status.
pub(crate) fn status(function: &str, body: impl FnOnce() -> Outcome<()>) -> face_status_t {
    match run(function, body) {
        Ok(()) => face_status_t::FACE_STATUS_OK,
        Err(status) => status,
    }
}

/// Runs the body of a function that returns a value, and `fallback` when it fails.
pub(crate) fn value<T>(function: &str, fallback: T, body: impl FnOnce() -> Outcome<T>) -> T {
    run(function, body).unwrap_or(fallback)
}

/// Runs the body of a function that releases something. The message of an earlier failure stays, so that clean-up before it is
/// shown does not lose it.
pub(crate) fn free(function: &str, body: impl FnOnce()) {
    if let Err(failure) = caught(|| {
        body();
        Ok(())
    }) {
        set_message(&format!("{function}: {}", failure.message));
    }
}

fn run<T>(function: &str, body: impl FnOnce() -> Outcome<T>) -> Result<T, face_status_t> {
    match caught(body) {
        Ok(value) => {
            clear_message();
            Ok(value)
        }
        Err(failure) => {
            set_message(&format!("{function}: {}", failure.message));
            Err(failure.status)
        }
    }
}

fn caught<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let body = || {
        #[cfg(test)]
        tests::panic_if_asked();
        body()
    };
    // What a panic leaves half-done lies behind locks that are poisoned or taken over whole.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "without a message".to_owned());
        // Dropping it may panic again, outside of any guard.
        std::mem::forget(payload);
        Err(Failure {
            status: face_status_t::FACE_STATUS_PANIC,
            message: format!("a defect of this library (please report it): {text}"),
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes every guarded body on this thread panic.
    pub(crate) fn panicking<T>(work: impl FnOnce() -> T) -> T {
        PANICS.set(true);
        let result = work();
        PANICS.set(false);
        result
    }

    #[allow(clippy::panic)]
    pub(super) fn panic_if_asked() {
        if PANICS.get() {
            panic!("on purpose");
        }
    }
}
