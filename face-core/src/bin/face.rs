//! The command `face`.

use std::process::ExitCode;

fn main() -> ExitCode {
    face_core::cli::main()
}
