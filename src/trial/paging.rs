//! What was swapped, and read back from files, while a trial ran. Times of a run that waits for a disk are the disk's.

use crate::units::Bytes;
use serde::{Deserialize, Serialize};

type Told<T> = Result<T, String>;

/// Paging around a trial. What was not reached is `None`; what the kernel does not tell is a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paging {
    /// Most of the worker's memory that was in swap when a phase began or ended (`VmSwap`).
    pub worker_swap: Told<Bytes>,
    /// What the whole host swapped while the model was loaded.
    pub load: Option<Told<Swapped>>,
    /// What it swapped in the timed phases.
    pub timed: Option<Told<Swapped>>,
    /// Page faults of the worker in the timed phases that had to wait for a disk.
    pub timed_major_faults: Option<Told<u64>>,
}

/// Bytes between memory and swap, counted by whole pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Read back from swap.
    pub read: Bytes,
    /// Written to swap.
    pub written: Bytes,
}

impl Swapped {
    /// What came after `earlier`.
    pub fn since(self, earlier: Swapped) -> Swapped {
        Swapped {
            read: self.read.saturating_sub(earlier.read),
            written: self.written.saturating_sub(earlier.written),
        }
    }

    /// Both together.
    pub fn with(self, other: Swapped) -> Swapped {
        Swapped {
            read: self.read + other.read,
            written: self.written + other.written,
        }
    }
}
