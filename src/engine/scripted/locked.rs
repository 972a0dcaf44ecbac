//! Memory that cannot be swapped out, as pinned weights cannot: what a script locks to play them.

#![allow(
    unsafe_code,
    reason = "locks a block of our own; the block names the rule it keeps"
)]

use super::super::EngineError;

/// Memory of so many MiB, touched and locked. The kernel unlocks it when it is given back, and when the process dies.
pub fn locked(mib: usize) -> Result<Vec<u8>, EngineError> {
    if mib == 0 {
        return Ok(Vec::new());
    }
    let mut block = super::grown(mib)?;
    let (at, bytes) = (block.as_mut_ptr().cast(), block.len());
    // SAFETY: the block is `bytes` long and alive; locking pages changes nothing that is seen of them.
    unsafe { rustix::mm::mlock(at, bytes) }.map_err(|cause| {
        EngineError::OutOfMemory(format!("could not lock {bytes} bytes of memory: {cause}"))
    })?;
    Ok(block)
}
