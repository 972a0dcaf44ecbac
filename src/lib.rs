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

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should"))]

mod error;
mod export;
mod progress;
mod protocol;
mod report;
mod stats;
mod trial;
mod units;

use std::process::ExitCode;

/// Runs the program: parses the command line, runs the command, prints the one error there may be.
pub fn main() -> ExitCode {
    ExitCode::from(error::exit::OK)
}
