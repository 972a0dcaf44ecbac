//! Door of the ceiling room: searches for the largest size that fits, as values that are asked for the next size and told
//! how it went. Pure: no process, no clock, no file; `app` turns the crank.

mod cliff;
mod estimate;
mod largest;
mod search;

pub use largest::Largest;
#[cfg(test)]
pub use search::Margin;
pub use search::{Found, Search};

use crate::trial::Phase;
use crate::units::{Bytes, Nanos};

/// Most trials of one search.
pub const MOST_TRIALS: usize = 8;

/// Contexts are tried in multiples of so many tokens; a model's last position may be tried though it is none.
pub const CONTEXT_STEP: u32 = 64;

/// Share of the memory there is that a search stays under where a machine hangs when it runs out: on the CPU, and where CPU
/// and GPU share one memory.
pub const MARGIN_PERCENT: u64 = 95;

/// What is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The longest context of one sequence.
    Context,
    /// The most sequences at a trial's own lengths.
    Batch,
    /// The largest built-in model and precision.
    Model,
    /// The largest size of a dimension.
    Dimension,
}

impl Kind {
    /// The word used on the command line and in results.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Context => "context",
            Kind::Batch => "batch",
            Kind::Model => "model",
            Kind::Dimension => "dim",
        }
    }
}

/// The sizes there are: multiples of `step` up to `most`, and `most` itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Distance of two sizes.
    pub step: u32,
    /// The largest.
    pub most: u32,
    /// What stands behind it: [`Limit::Positions`] or [`Limit::Flag`].
    pub end: Limit,
}

/// What keeps a size from being larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// More was refused by the budget or by an allocation.
    Memory,
    /// More is expected to take what a machine needs to stay alive.
    Margin,
    /// The model has no more positions.
    Positions,
    /// The largest number that the flag takes.
    Flag,
    /// More ran, but so much slower that it no longer was in the device's own memory.
    ThroughputCliff,
    /// More did not run for a reason other than memory.
    Failure,
}

impl Limit {
    /// The word used in results.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Memory => "memory",
            Limit::Margin => "margin",
            Limit::Positions => "positions",
            Limit::Flag => "flag",
            Limit::ThroughputCliff => "throughput_cliff",
            Limit::Failure => "failure",
        }
    }
}

/// What a size that fits took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Peak of memory.
    pub peak: Option<Bytes>,
    /// Time of the prompt, the first run of its worker. `None` where it may not be compared with such a run.
    pub prefill: Option<Nanos>,
    /// Median time of a decode step.
    pub step: Option<Nanos>,
}

/// A size that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// The size.
    pub size: u32,
    /// What it took.
    pub pass: Pass,
}

/// A size that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The size.
    pub size: u32,
    /// What kept it.
    pub limit: Limit,
    /// Phase in which it failed, where one did.
    pub phase: Option<Phase>,
    /// Why, in one sentence.
    pub reason: String,
    /// When it was, for one that an earlier run remembered.
    pub remembered_from: Option<String>,
}

/// How a trial went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ran inside the budget.
    Fits(Pass),
    /// It did not. Its size is told beside it.
    Fails {
        /// [`Limit::Memory`] or [`Limit::Failure`].
        limit: Limit,
        /// Phase in which it failed.
        phase: Option<Phase>,
        /// Why, in one sentence.
        reason: String,
    },
}
