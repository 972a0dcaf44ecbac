//! edgebench measures which dense and Mixture-of-Experts decoders fit a memory budget on ONNX Runtime, and how fast they are.
//!
//! ```text
//! argv → cli::Command → plan::Plan ─┐                     (nothing has run yet; plan and --dry-run stop here)
//!                                   ├─ per Trial: supervisor ──stdin: one Request line──▶ worker → engine → ONNX Runtime
//! model::prepare (graph + weights) ─┘             ◀──stdout: JSON lines────────────────┘
//!    TrialResult (raw facts) → stats → report::Report → export::{table, json, jsonl, csv, markdown} → file or stdout
//!    checkpoint → import::Imported (spec + source of weights) → model::export → ONNX files
//!    saved results → report::compare → Comparison → export::compare::{table, json, csv, markdown} → stdout
//!    saved results + their Comparison → export::html → one page
//! ```
//!
//! A stage takes the previous value by reference and returns a new one; nothing downstream measures again or looks at argv.
//! A room (folder or file) imports only rooms to its left:
//! `error, units, carried, elf, shelf` → `trial` → `protocol` → `model, device, payload, engine, stats, failures` →
//! `plan, import, ceiling, tuning, worker, supervisor` → `report, doctor` → `baseline` → `export, progress` → `cli` → `app` → `lib`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

mod app;
mod baseline;
mod cachedir;
mod carried;
mod ceiling;
mod cli;
mod device;
mod doctor;
mod elf;
#[cfg(not(target_feature = "crt-static"))]
mod engine;
mod error;
mod export;
mod failures;
mod import;
mod model;
mod npy;
mod payload;
mod plan;
mod progress;
mod protocol;
mod report;
mod shelf;
mod stats;
mod supervisor;
mod text;
mod trial;
mod tuning;
mod units;
#[cfg(not(target_feature = "crt-static"))]
mod worker;

use std::io::Write;
use std::process::ExitCode;

/// Runs the program: parses the command line, runs the command, prints the one error there may be.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(bug));
    let argv: Vec<_> = std::env::args_os().collect();
    let command_line = argv
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let code = match cli::parse(argv) {
        Ok(command) => app::run(command, command_line).unwrap_or_else(|error| {
            say(&mut std::io::stderr(), &format!("error: {error}\n"));
            error.exit_code()
        }),
        Err(exit) => {
            match exit.stream {
                cli::Stream::Stdout => say(&mut std::io::stdout(), &exit.text),
                cli::Stream::Stderr => say(&mut std::io::stderr(), &exit.text),
            }
            exit.code
        }
    };
    ExitCode::from(code)
}

/// Reads an ONNX file as far as it is read without running it: what `inspect` tells of it, and why a run would be refused. For those
/// who try to break the reader, `tests/mutations.rs` and `fuzz/`; no part of an interface.
#[doc(hidden)]
pub fn read_onnx(path: &std::path::Path) -> Result<String, String> {
    app::everything(path).map_err(|error| error.to_string())
}

/// Runs the worker: serves the one request that comes on stdin. What `edgebench __worker` does, without the rest of it.
#[cfg(not(target_feature = "crt-static"))]
pub fn worker() -> ExitCode {
    std::panic::set_hook(Box::new(bug));
    ExitCode::from(worker::serve(std::io::stdin(), std::io::stdout()))
}

/// A panic is a bug: one sentence and the documented exit code, in whatever thread it happens.
fn bug(panic: &std::panic::PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no message");
    let place = panic
        .location()
        .map_or_else(String::new, |place| format!(" ({place})"));
    let error = error::Error::Bug(format!("{what}{place}"));
    say(&mut std::io::stderr(), &format!("error: {error}\n"));
    std::process::exit(i32::from(error.exit_code()));
}

/// Writes and flushes; a stream that nobody reads is no reason to fail.
fn say(stream: &mut dyn Write, text: &str) {
    let _ = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
}
