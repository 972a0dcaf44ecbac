//! How fast a GPU reads and copies its memory, and how fast the link to main memory is. No kernel of our own: copies of the CUDA
//! runtime, and a sum of cuBLAS for reading alone.

use super::{Cuda, DeviceBuffer, Pinned, symbol};
use crate::engine::EngineError;
use crate::units::Bytes;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::Instant;

/// Far more than any GPU caches.
const LARGEST: u64 = 1 << 30;
/// Less than this would be served by the caches of a large GPU.
const SMALLEST: u64 = 128 << 20;
/// Over the link, which has no cache.
const OVER_LINK: u64 = 256 << 20;
/// Passes in one round, and rounds; the fastest round counts: what else goes on only ever slows one down.
const PASSES: u32 = 5;
const ROUNDS: u32 = 5;

const COPY_DEVICE_TO_DEVICE: c_int = 3;
const POINTER_MODE_DEVICE: c_int = 1;

/// Bytes per second, or why not.
pub struct Rates {
    pub read: Result<f64, String>,
    pub copy: Result<f64, String>,
    pub to_device: Result<f64, String>,
    pub from_device: Result<f64, String>,
}

/// Measures the current GPU with at most `room` of its memory.
pub fn rates(cuda: &Arc<Cuda>, room: Bytes) -> Rates {
    let told = |rate: Result<f64, EngineError>| rate.map_err(|error| error.to_string());
    let size = (room.0 / 3).min(LARGEST) / 4096 * 4096;
    if size < SMALLEST {
        let cause = || Err("there is too little free memory on the GPU to measure with".to_owned());
        return Rates {
            read: cause(),
            copy: cause(),
            to_device: cause(),
            from_device: cause(),
        };
    }
    Rates {
        copy: told(copy(cuda, size)),
        read: told(read(cuda, size)),
        to_device: told(link(cuda, true)),
        from_device: told(link(cuda, false)),
    }
}

/// Seconds of the fastest round of `PASSES` calls of `pass`, each round waited for.
fn fastest(
    cuda: &Cuda,
    mut pass: impl FnMut() -> Result<(), EngineError>,
) -> Result<f64, EngineError> {
    pass()?;
    cuda.wait()?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..PASSES {
            pass()?;
        }
        cuda.wait()?;
        best = best.min(began.elapsed().as_secs_f64() / f64::from(PASSES));
    }
    Ok(best)
}

fn copy(cuda: &Arc<Cuda>, size: u64) -> Result<f64, EngineError> {
    let (from, to) = (cuda.allocate(size as usize)?, cuda.allocate(size as usize)?);
    let seconds = fastest(cuda, || {
        // SAFETY: both blocks are `size` long and do not overlap.
        let status = unsafe { (cuda.copy)(to.at, from.at, size as usize, COPY_DEVICE_TO_DEVICE) };
        cuda.check("could not copy inside GPU memory", status)
    })?;
    // Each byte is read once and written once.
    Ok(2.0 * size as f64 / seconds)
}

type Handle = *mut c_void;

/// A cuBLAS handle, destroyed on drop.
struct Blas<'a> {
    handle: Handle,
    destroy: &'a dyn Fn(Handle) -> c_int,
}

impl Drop for Blas<'_> {
    fn drop(&mut self) {
        (self.destroy)(self.handle);
    }
}

fn read(cuda: &Arc<Cuda>, size: u64) -> Result<f64, EngineError> {
    let block = cuda.allocate(size as usize)?;
    let sum: DeviceBuffer = cuda.allocate(4)?;
    let library = cuda
        ._loaded
        .iter()
        // SAFETY: only looked up.
        .find(|library| unsafe { library.get::<*const c_void>(b"cublasSasum_v2") }.is_ok())
        .ok_or_else(|| EngineError::Device("no cuBLAS is loaded to read memory with".into()))?;
    // SAFETY: names and signatures are those of cublas_api.h, unchanged since CUDA 6.
    let (create, destroy, mode, asum) = unsafe {
        (
            symbol::<unsafe extern "C" fn(*mut Handle) -> c_int>(library, "cublasCreate_v2")?,
            symbol::<unsafe extern "C" fn(Handle) -> c_int>(library, "cublasDestroy_v2")?,
            symbol::<unsafe extern "C" fn(Handle, c_int) -> c_int>(
                library,
                "cublasSetPointerMode_v2",
            )?,
            symbol::<
                unsafe extern "C" fn(Handle, c_int, *const c_void, c_int, *mut c_void) -> c_int,
            >(library, "cublasSasum_v2")?,
        )
    };
    let told = |what: &str, status: c_int| match status {
        0 => Ok(()),
        _ => Err(EngineError::Device(format!(
            "{what} (cuBLAS status {status})"
        ))),
    };
    let mut handle = std::ptr::null_mut();
    // SAFETY: writes one pointer.
    told("could not start cuBLAS", unsafe { create(&mut handle) })?;
    // SAFETY: the handle was made above and is given up once.
    let destroy = |handle| unsafe { destroy(handle) };
    let blas = Blas {
        handle,
        destroy: &destroy,
    };
    // SAFETY: the handle is alive.
    told("could not set up cuBLAS", unsafe {
        mode(blas.handle, POINTER_MODE_DEVICE)
    })?;
    let count = (size / 4) as c_int;
    let seconds = fastest(cuda, || {
        // SAFETY: the block holds `count` floats, the result one.
        told("cuBLAS could not sum", unsafe {
            asum(blas.handle, count, block.at, 1, sum.at)
        })
    })?;
    Ok(size as f64 / seconds)
}

fn link(cuda: &Arc<Cuda>, to_device: bool) -> Result<f64, EngineError> {
    let size = OVER_LINK as usize;
    let device = cuda.allocate(size)?;
    let host = Pinned::new(cuda, size)?;
    let (to, from, kind) = match to_device {
        true => (device.at, host.address(), super::COPY_HOST_TO_DEVICE),
        false => (host.address(), device.at, super::COPY_DEVICE_TO_HOST),
    };
    let seconds = fastest(cuda, || {
        // SAFETY: both blocks are `size` long.
        let status = unsafe { (cuda.copy)(to, from, size, kind) };
        cuda.check("could not copy over the link", status)
    })?;
    Ok(size as f64 / seconds)
}
