//! edgebench measures which dense and Mixture-of-Experts decoders fit a memory budget on ONNX Runtime, and how fast they are.
//!
//! ```text
//! argv → cli::Command → plan::Plan ─┐                     (nothing has run yet; --dry-run stops here)
//!                                   ├─ per Trial: supervisor ──stdin: one Request line──▶ worker → engine → ONNX Runtime
//! model::prepare (graph + weights) ─┘             ◀──stdout: JSON lines────────────────┘
//!    TrialResult (raw facts) → stats → report::Report → export::{table, json, jsonl, csv, markdown} → file or stdout
//! ```
//!
//! A stage takes the previous value by reference and returns a new one; nothing downstream measures again or looks at argv.
//! A room (folder or file) imports only rooms to its left:
//! `error, units` → `trial` → `protocol` → `model, device, payload, engine, stats` → `plan, worker, supervisor` → `report`
//! → `export, progress` → `cli` → `app` → `lib`.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        reason = "a test that unwraps fails where it should"
    )
)]

mod cachedir;
mod cli;
mod device;
mod engine;
mod error;
mod model;
mod payload;
mod plan;
mod protocol;
mod report;
mod supervisor;
mod text;
mod trial;
mod units;
mod worker;

use std::process::ExitCode;

/// Runs the program: parses the command line, runs the command, prints the one error there may be.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == "__worker") {
        return ExitCode::from(worker::serve(std::io::stdin(), std::io::stdout()));
    }
    ExitCode::from(error::exit::OK)
}
