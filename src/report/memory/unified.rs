//! The gauge of a memory that CPU and GPU share: what the process takes of it, on the GPU and as resident memory, by the best
//! source that the machine has.

use crate::trial::{MemoryReading, PoolSource};
use crate::units::Bytes;

/// Why there is no figure.
pub const NO_BASE: &str = "neither NVML nor the GPU driver's list of clients nor /proc/meminfo tells what the process takes of the memory that CPU and GPU share";

/// Whether these readings are of such a memory.
pub fn is_shared(readings: &[MemoryReading]) -> bool {
    readings.iter().any(|look| look.pool.is_some())
}

/// What a source shows, before the base is taken off.
pub fn raw(source: Option<PoolSource>, reading: &MemoryReading) -> Option<Bytes> {
    source?.level(reading)
}

/// What is not the trial's.
pub fn base(source: Option<PoolSource>, readings: &[MemoryReading]) -> Option<Bytes> {
    source?.base(readings.first()?)
}

/// Where the figures come from.
pub fn method(source: Option<PoolSource>) -> &'static str {
    match source {
        Some(PoolSource::Nvml) => {
            "peak: highest sum of the GPU memory of the process (NVML) and its resident memory above the empty worker's, both from the one memory of the machine; runtime: the same after making the context; activations: highest while running less that at the end of the load"
        }
        Some(PoolSource::Clients) => {
            "peak: highest sum of the GPU memory of the process (nvmap's list of clients) and its resident memory above the empty worker's, both from the one memory of the machine; runtime: the same after making the context; activations: highest while running less that at the end of the load"
        }
        Some(PoolSource::NvMap) => {
            "peak: highest sum of the GPU memory of everybody (NvMapMemUsed) above its first reading, so other programs count, and the resident memory of the process above the empty worker's, both from the one memory of the machine; runtime: the same after making the context; activations: highest while running less that at the end of the load"
        }
        Some(PoolSource::Available) => {
            "peak: highest fall of the memory available to everybody (MemAvailable) since the first reading, so other programs count, and the growth of the process's mapped files, which count as available; runtime: the same after making the context; activations: highest while running less that at the end of the load"
        }
        None => "no figure of the memory that CPU and GPU share",
    }
}
