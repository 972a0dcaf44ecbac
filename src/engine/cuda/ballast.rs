//! Memory of a GPU taken away with plain `cudaMalloc`, until just so much is free as a smaller GPU would have.

use super::{Cuda, DeviceBuffer};
use crate::engine::{Ballast, EngineError};
use crate::protocol::Held;
use crate::units::Bytes;
use std::sync::Arc;

/// The driver hands memory out in pieces of this size.
const GRANULE: u64 = 2 << 20;
/// Memory may be in pieces, and others come and go: so many attempts, each at most what was free before it.
const ATTEMPTS: usize = 64;

/// Blocks that nobody reads or writes.
struct Blocks(#[expect(dead_code, reason = "kept, not read")] Vec<DeviceBuffer>);

impl Ballast for Blocks {}

/// Takes memory of the current GPU away until `leave` is free, to the driver's granule; never less than that stays.
pub fn hold(cuda: &Arc<Cuda>, leave: Bytes) -> Result<(Box<dyn Ballast>, Held), EngineError> {
    let mut blocks = Vec::new();
    let mut taken = 0;
    let mut largest = u64::MAX;
    for _ in 0..ATTEMPTS {
        let (free, _) = cuda.memory_info()?;
        let excess = free.0.saturating_sub(leave.0) / GRANULE * GRANULE;
        let next = excess.min(largest);
        if next == 0 {
            break;
        }
        match cuda.reserve(next as usize) {
            Ok(block) => {
                blocks.push(block);
                taken += next;
            }
            Err(EngineError::OutOfMemory(_)) => largest = next / 2 / GRANULE * GRANULE,
            Err(other) => return Err(other),
        }
    }
    let (free, _) = cuda.memory_info()?;
    let held = Held {
        taken: Bytes(taken),
        free,
    };
    Ok((Box::new(Blocks(blocks)), held))
}
