//! Flags on how a budget is held and memory is read.

use super::super::values;
use super::named;
use crate::trial::Enforce;
use clap::Args;
use std::time::Duration;

const ENFORCE: &[(&str, Enforce)] = &[("hard", Enforce::Hard), ("soft", Enforce::Soft)];

/// How the budget is held.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub struct WatchArgs {
    /// How the budget is held: hard takes the GPU's memory beyond it away (on the CPU: limits the worker's), soft limits the runtime's arena and watches [default: hard, but soft on a GPU that draws a display, serves other programs or shares the CPU's memory]
    #[arg(long, value_parser = named(ENFORCE))]
    pub enforce: Option<Enforce>,
    /// Refuse to measure while another process uses the GPU
    #[arg(long)]
    pub exclusive: bool,
    /// Lock the GPU's clocks at a steady value while the run lasts: the highest supported one at or below the default application clock, that of the memory too where the driver can; most systems allow it to root only. They are restored when the run ends, also by a signal, and after a crash when the next one starts
    #[arg(long, help_heading = "Runtime and device")]
    pub lock_clocks: bool,
    /// Pause between memory readings: 10ms, 1s; off reads at the ends of phases only
    #[arg(long, value_name = "TIME", default_value = "10ms", allow_hyphen_values = true, value_parser = values::interval)]
    pub sample_interval: Pause,
}

/// A pause between readings; `None` for no readings in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause(pub Option<Duration>);
