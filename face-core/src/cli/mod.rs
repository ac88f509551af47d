//! The command `face` (feature `cli`).
//!
//! Results go to the standard output, as text for people or with `--json` for programs; progress, warnings and errors go
//! to the standard error.

mod bench;
mod demo;
mod detect;
mod embed;
mod enroll;
mod eval;
mod gallery;
mod group;
mod identify;
mod models;
mod options;
mod output;
mod photos;
#[cfg(feature = "train")]
mod train;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Result;

/// Detect, verify, identify and group faces.
#[derive(Debug, Parser)]
#[command(name = "face", version, about, max_term_width = 110, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Number of threads; 0 for one per core
    #[arg(long, global = true, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=MAX_THREADS))]
    threads: u16,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List, pull and check the models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Find the faces in photos
    Detect(detect::DetectArguments),
    /// Are the largest faces of two photos the same person's? Exit status 0: yes, 1: no, 2: error
    Verify(verify::VerifyArguments),
    /// Turn the faces in photos into feature vectors
    Embed(embed::EmbedArguments),
    /// Enrol a person into a gallery. Exit status 0: done, 2: no photo could be used, or another error
    Enroll(enroll::EnrollArguments),
    /// Who is on the photos? Exit status 0: somebody was identified, 1: nobody, 2: error
    Identify(identify::IdentifyArguments),
    /// Look after a gallery: list, remove, export, import and more
    #[command(subcommand)]
    Gallery(gallery::GalleryCommand),
    /// Group the photos below a folder by person, with a contact sheet
    Group(group::GroupArguments),
    /// Measure how good a pipeline is
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Learn a network from photos of one's own. Exit status 0: done, 1: stopped at a checkpoint, 2: error
    #[cfg(feature = "train")]
    Train(train::TrainArguments),
    /// Measure how fast a pipeline is on this machine
    Bench(bench::BenchArguments),
    /// See it all at work on sample photos; pulls models and photos first
    Demo(demo::DemoArguments),
}

/// More threads than any machine has cores would only take its memory.
const MAX_THREADS: i64 = 512;

/// The work is done; for `verify`, the same person; for `identify`, somebody.
const SUCCESS: u8 = 0;
/// Different people (`verify`), nobody (`identify`), a training that was stopped (`train`).
const DIFFERENT: u8 = 1;
/// Nothing could be done as asked.
const FAILURE: u8 = 2;

/// Runs the command on the process's arguments.
pub fn main() -> ExitCode {
    main_from(std::env::args_os()).into()
}

/// Runs the command on these arguments, the program's name first, and returns its exit status.
pub fn main_from(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and the version are answers, and clap's status for them is 0; for wrong usage it is 2.
            let _ = error.print();
            return error.exit_code().try_into().unwrap_or(FAILURE);
        }
    };
    let run = || -> Result<u8> {
        match arguments.command {
            Command::Models(command) => models::run(command),
            Command::Detect(arguments) => detect::run(&arguments),
            Command::Verify(arguments) => verify::run(&arguments),
            Command::Embed(arguments) => embed::run(&arguments),
            Command::Enroll(arguments) => enroll::run(&arguments),
            Command::Identify(arguments) => identify::run(&arguments),
            Command::Gallery(command) => gallery::run(&command),
            Command::Group(arguments) => group::run(&arguments),
            Command::Eval(command) => eval::run(command),
            #[cfg(feature = "train")]
            Command::Train(arguments) => train::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Demo(arguments) => demo::run(&arguments),
        }
    };
    let pool = match rayon::ThreadPoolBuilder::new().num_threads(arguments.threads.into()).build() {
        Ok(pool) => pool,
        Err(error) => {
            eprintln!("error: cannot start {} threads: {error}", arguments.threads);
            return FAILURE;
        }
    };
    match pool.install(run) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error}");
            FAILURE
        }
    }
}
