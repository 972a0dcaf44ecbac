//! The built program from outside: what it prints, which file it writes, how it exits. Each test has a home, a cache and
//! a working folder of its own. Most trials follow a script instead of ONNX Runtime, so no GPU is needed.

#![expect(
    clippy::unwrap_used,
    reason = "a test that unwraps fails where it should"
)]

mod bad_input;
mod baselines;
mod budgets;
mod bundle;
mod ceilings;
mod clocks;
mod commands;
mod compare;
mod doctor;
mod energy;
mod enforce;
mod foreign;
mod formats;
mod import;
mod inspect;
mod ladder;
mod offload;
mod outcomes;
mod passes;
mod published;
mod real;
mod report;
mod result_file;
mod routers;
mod sandbox;
mod study;
mod tuning;
