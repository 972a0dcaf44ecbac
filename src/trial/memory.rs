//! Memory of a trial as raw facts: readings, the runtime's own count, how the budget was kept, who else was there.

use super::{Phase, PoolReading};
use crate::units::{Bytes, Nanos};
use serde::{Deserialize, Serialize};

/// One look at a worker's memory. A field the machine does not offer is `None`, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryReading {
    /// Time since the worker started.
    pub at: Nanos,
    /// Phase at that time.
    pub phase: Phase,
    /// Resident anonymous memory of the worker (`RssAnon` + `RssShmem`).
    pub rss_anon: Option<Bytes>,
    /// Resident file-backed memory of the worker (`RssFile`): mapped weights and libraries.
    pub rss_file: Option<Bytes>,
    /// Device memory in use by this process as NVML tells it.
    pub device_process: Option<Bytes>,
    /// Device memory in use by everybody: total less free, as NVML tells it, else `cudaMemGetInfo`.
    pub device_used: Option<Bytes>,
    /// What is told of a memory that CPU and GPU share; `None` where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolReading>,
    /// What the runtime's own allocator says; at the ends of phases only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena: Option<Arena>,
}

impl MemoryReading {
    /// Resident memory of the worker, anonymous and file-backed.
    pub fn rss(&self) -> Option<Bytes> {
        Some(self.rss_anon? + self.rss_file?)
    }
}

/// The runtime's arena: the allocator of everything but weights and caches, which edgebench allocates itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arena {
    /// What it holds of the device.
    pub reserved: Bytes,
    /// What of it is in use now.
    pub live: Bytes,
    /// The most that was in use at once so far.
    pub live_peak: Bytes,
}

impl Arena {
    /// This one and another of the same process.
    pub fn with(self, other: Arena) -> Arena {
        Arena {
            reserved: self.reserved + other.reserved,
            live: self.live + other.live,
            live_peak: self.live_peak + other.live_peak,
        }
    }
}

/// How firmly a budget is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforce {
    /// What lies beyond the budget is really taken away: an allocation that exceeds it is refused by the driver or the kernel.
    Hard,
    /// The runtime's arena is limited, and the process is watched and stopped when it is seen to hold more.
    Soft,
}

/// How the budget of a trial was held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// How firmly.
    pub mode: Enforce,
    /// By what means, or why not more firmly.
    pub how: String,
    /// Device memory that was left free for the trial, where memory was taken away.
    pub left_free: Option<Bytes>,
}

/// A process on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuProcess {
    /// Its number, as the driver counts them.
    pub pid: u32,
    /// Its memory on the GPU, where the driver tells.
    pub bytes: Option<Bytes>,
    /// Its name, where this system knows a process of that number.
    #[serde(default)]
    pub name: Option<String>,
}
