//! Copies that wait for nothing but what was asked of their stream before: a stream of one's own and pinned main memory.

use super::{COPY_DEVICE_TO_HOST, COPY_HOST_TO_DEVICE, Cuda};
use crate::engine::EngineError;
use std::ffi::{c_uint, c_void};
use std::sync::Arc;

/// Work on this stream does not wait for the legacy default stream's, nor that for it.
const NON_BLOCKING: c_uint = 1;

/// A queue of work on the current GPU.
pub struct Stream {
    cuda: Arc<Cuda>,
    at: *mut c_void,
}

impl Stream {
    /// A new stream on the current GPU.
    pub fn new(cuda: &Arc<Cuda>) -> Result<Stream, EngineError> {
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one handle, which is destroyed once, on drop.
        let status = unsafe { (cuda.stream_create)(&mut at, NON_BLOCKING) };
        cuda.check("could not make a stream on the GPU", status)?;
        Ok(Stream {
            cuda: Arc::clone(cuda),
            at,
        })
    }

    /// CUDA's handle.
    pub fn handle(&self) -> *mut c_void {
        self.at
    }

    /// Waits until everything that was asked of the stream is done.
    pub fn wait(&self) -> Result<(), EngineError> {
        // SAFETY: the stream is alive.
        let status = unsafe { (self.cuda.stream_synchronize)(self.at) };
        self.cuda.check("the GPU did not finish", status)
    }

    /// Asks for a copy of pinned bytes to device memory.
    ///
    /// # Safety
    /// `to` must be device memory of at least `bytes` bytes; the pinned ones may not change until the stream was waited for.
    pub unsafe fn upload(
        &self,
        to: *mut c_void,
        from: &Pinned,
        at: usize,
        bytes: usize,
    ) -> Result<(), EngineError> {
        let from = from.part(at, bytes);
        // SAFETY: the caller vouches for `to`, the pinned part is as long.
        let status =
            unsafe { (self.cuda.copy_async)(to, from, bytes, COPY_HOST_TO_DEVICE, self.at) };
        self.cuda.check("could not copy to the GPU", status)
    }

    /// Asks for a copy of device memory to pinned bytes, which are there once the stream was waited for.
    ///
    /// # Safety
    /// `from` must be device memory of at least `bytes` bytes.
    pub unsafe fn download(
        &self,
        to: &mut Pinned,
        at: usize,
        from: *const c_void,
        bytes: usize,
    ) -> Result<(), EngineError> {
        let to = to.part(at, bytes);
        // SAFETY: the caller vouches for `from`, the pinned part is as long.
        let status =
            unsafe { (self.cuda.copy_async)(to, from, bytes, COPY_DEVICE_TO_HOST, self.at) };
        self.cuda.check("could not copy from the GPU", status)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: came from cudaStreamCreateWithFlags and is destroyed here only. A failure has nobody to go to.
        unsafe { (self.cuda.stream_destroy)(self.at) };
    }
}

/// Main memory that the GPU copies from and to by itself, freed on drop.
pub struct Pinned {
    cuda: Arc<Cuda>,
    at: *mut c_void,
    bytes: usize,
}

impl Pinned {
    /// Allocates pinned memory.
    pub fn new(cuda: &Arc<Cuda>, bytes: usize) -> Result<Pinned, EngineError> {
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one pointer, freed once, on drop.
        let status = unsafe { (cuda.malloc_host)(&mut at, bytes.max(1)) };
        cuda.check("could not allocate pinned main memory", status)?;
        Ok(Pinned {
            cuda: Arc::clone(cuda),
            at,
            bytes,
        })
    }

    /// Length in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its first byte.
    pub fn address(&self) -> *mut c_void {
        self.at
    }

    fn part(&self, at: usize, bytes: usize) -> *mut c_void {
        let inside = at.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        assert!(inside, "a copy stays inside the pinned memory");
        // SAFETY: inside the block (asserted).
        unsafe { self.at.byte_add(at) }
    }

    /// Puts bytes into it.
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        let to = self.part(at, bytes.len());
        // SAFETY: the part is as long as the slice and separate from it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len()) };
    }

    /// Takes bytes out of it.
    pub fn take(&self, at: usize, bytes: &mut [u8]) {
        let from = self.part(at, bytes.len());
        // SAFETY: the part is as long as the slice and separate from it.
        unsafe { std::ptr::copy_nonoverlapping(from.cast(), bytes.as_mut_ptr(), bytes.len()) };
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: came from cudaMallocHost and is freed here only.
        unsafe { (self.cuda.free_host)(self.at) };
    }
}
