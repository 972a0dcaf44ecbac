//! Clocks of a GPU that were locked for a run.

use serde::{Deserialize, Serialize};

/// What was locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedClocks {
    /// Name of the GPU.
    pub gpu: String,
    /// Its UUID, by which its clocks are restored.
    pub uuid: String,
    /// Clock that the multiprocessors are held to.
    pub graphics_mhz: u32,
    /// Clock that the memory is held to; null where it is not locked.
    pub memory_mhz: Option<u32>,
    /// Why the memory's clock is not locked.
    pub memory_reason: Option<String>,
    /// Why these clocks.
    pub rule: String,
    /// The GPU before that.
    pub before: ClocksBefore,
}

/// Clocks of a GPU before they were locked. NVML does not tell whether they were locked by others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClocksBefore {
    /// Clock of the multiprocessors, where the driver tells it.
    pub sm_mhz: Option<u32>,
    /// Clock of the memory, where the driver tells it.
    pub memory_mhz: Option<u32>,
    /// Application clock of the multiprocessors, where the driver tells it.
    pub application_graphics_mhz: Option<u32>,
    /// Application clock of the memory, where the driver tells it.
    pub application_memory_mhz: Option<u32>,
}
