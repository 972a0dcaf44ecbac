//! Main memory that kernels read in place, over the link: pinned, and mapped into the GPU's addresses.

use super::Cuda;
use crate::engine::EngineError;
use std::ffi::{c_uint, c_void};
use std::sync::Arc;

/// `cudaHostAllocPortable | cudaHostAllocMapped`.
const PORTABLE_AND_MAPPED: c_uint = 1 | 2;

/// A block of it, given back on drop, and by the system where the process dies.
pub struct Mapped {
    cuda: Arc<Cuda>,
    at: *mut c_void,
    device: *mut c_void,
    bytes: usize,
}

impl Mapped {
    /// Allocates main memory that the current GPU can read.
    pub fn new(cuda: &Arc<Cuda>, bytes: usize) -> Result<Mapped, EngineError> {
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one pointer, freed once, on drop.
        let status = unsafe { (cuda.host_alloc)(&mut at, bytes.max(1), PORTABLE_AND_MAPPED) };
        cuda.check(
            &format!("could not pin {bytes} bytes of main memory for weights"),
            status,
        )?;
        let mut mapped = Mapped {
            cuda: Arc::clone(cuda),
            at,
            device: std::ptr::null_mut(),
            bytes,
        };
        // SAFETY: writes one pointer; the block was allocated to be mapped.
        let status = unsafe { (cuda.device_pointer)(&mut mapped.device, at, 0) };
        cuda.check("could not map main memory into the GPU's addresses", status)?;
        Ok(mapped)
    }

    /// Its first byte, as kernels address it.
    pub fn device(&self) -> *mut c_void {
        self.device
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is `bytes` long, readable and writable, and borrowed for as long as the slice lives. No kernel reads it
        // while weights are loaded.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.bytes) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: came from cudaHostAlloc and is freed here only. A failure has nobody to go to.
        unsafe { (self.cuda.free_host)(self.at) };
    }
}
