//! The CUDA calls edgebench makes itself, loaded at run time: no build of it links CUDA. Plain `cudaMalloc` memory only.
#![allow(unsafe_code, reason = "calls into the CUDA runtime's C interface")]

mod ballast;
mod bandwidth;
mod mapped;
mod needed;
mod places;
mod search;
mod stream;

pub use ballast::hold;
pub use bandwidth::rates;
pub use mapped::Mapped;
pub use stream::{Pinned, Stream};

use super::EngineError;
use crate::units::Bytes;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use search::Search;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const COPY_HOST_TO_DEVICE: c_int = 1;
const COPY_DEVICE_TO_HOST: c_int = 2;
/// The driver tells by the addresses.
const COPY_ANYWHERE: c_int = 4;
const ATTRIBUTE_INTEGRATED: c_int = 18;
const ATTRIBUTE_MAJOR: c_int = 75;
const ATTRIBUTE_MINOR: c_int = 76;
const LIMIT_STACK_SIZE: c_int = 0;
const ERROR_MEMORY_ALLOCATION: c_int = 2;

type Status = c_int;

/// The CUDA runtime library and the functions used of it.
pub struct Cuda {
    malloc: Symbol<unsafe extern "C" fn(*mut *mut c_void, usize) -> Status>,
    free: Symbol<unsafe extern "C" fn(*mut c_void) -> Status>,
    copy: Symbol<unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> Status>,
    copy_async: Symbol<
        unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int, *mut c_void) -> Status,
    >,
    stream_create: Symbol<unsafe extern "C" fn(*mut *mut c_void, c_uint) -> Status>,
    stream_destroy: Symbol<unsafe extern "C" fn(*mut c_void) -> Status>,
    stream_synchronize: Symbol<unsafe extern "C" fn(*mut c_void) -> Status>,
    malloc_host: Symbol<unsafe extern "C" fn(*mut *mut c_void, usize) -> Status>,
    free_host: Symbol<unsafe extern "C" fn(*mut c_void) -> Status>,
    host_alloc: Symbol<unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> Status>,
    device_pointer: Symbol<unsafe extern "C" fn(*mut *mut c_void, *mut c_void, c_uint) -> Status>,
    synchronize: Symbol<unsafe extern "C" fn() -> Status>,
    set: Symbol<unsafe extern "C" fn(*mut c_void, c_int, usize) -> Status>,
    memory_info: Symbol<unsafe extern "C" fn(*mut usize, *mut usize) -> Status>,
    device_count: Symbol<unsafe extern "C" fn(*mut c_int) -> Status>,
    set_device: Symbol<unsafe extern "C" fn(c_int) -> Status>,
    set_limit: Symbol<unsafe extern "C" fn(c_int, usize) -> Status>,
    bus_id: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Status>,
    attribute: Symbol<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status>,
    runtime_version: Symbol<unsafe extern "C" fn(*mut c_int) -> Status>,
    error_string: Symbol<unsafe extern "C" fn(Status) -> *const c_char>,
    /// Paths of the libraries in use, in load order.
    pub libraries: Vec<PathBuf>,
    _loaded: Vec<Library>,
}

impl Cuda {
    /// Loads the CUDA libraries that `provider` (the CUDA provider's file) needs, by full path and in the order in which they
    /// need each other: from the provider's own folder and `folders` first, then from the usual places. Their file names carry
    /// the version, which is read from the provider's own list of needed libraries.
    pub fn load(provider: &Path, folders: &[PathBuf]) -> Result<Arc<Cuda>, EngineError> {
        let wanted = needed::cuda_libraries(&needed::libraries(provider)?);
        let mut search = Search::new(&places::Surroundings::of_process(provider, folders));
        let mut loaded = Vec::new();
        let mut libraries = Vec::new();
        for wanted in &wanted {
            let (library, path) = open(wanted, &mut search)?;
            loaded.push(library);
            libraries.push(path);
        }
        let names_runtime = wanted.first().is_some_and(needed::Wanted::is_runtime);
        let Some(runtime) = loaded.first().filter(|_| names_runtime) else {
            return Err(EngineError::Device(format!(
                "the CUDA provider {} does not name the CUDA runtime among its needed libraries; use the provider of an official package",
                provider.display()
            )));
        };
        // SAFETY: the names and signatures are those of cuda_runtime_api.h, unchanged since CUDA 11.
        let cuda = unsafe {
            Cuda {
                malloc: symbol(runtime, "cudaMalloc")?,
                free: symbol(runtime, "cudaFree")?,
                copy: symbol(runtime, "cudaMemcpy")?,
                copy_async: symbol(runtime, "cudaMemcpyAsync")?,
                stream_create: symbol(runtime, "cudaStreamCreateWithFlags")?,
                stream_destroy: symbol(runtime, "cudaStreamDestroy")?,
                stream_synchronize: symbol(runtime, "cudaStreamSynchronize")?,
                malloc_host: symbol(runtime, "cudaMallocHost")?,
                free_host: symbol(runtime, "cudaFreeHost")?,
                host_alloc: symbol(runtime, "cudaHostAlloc")?,
                device_pointer: symbol(runtime, "cudaHostGetDevicePointer")?,
                synchronize: symbol(runtime, "cudaDeviceSynchronize")?,
                set: symbol(runtime, "cudaMemset")?,
                memory_info: symbol(runtime, "cudaMemGetInfo")?,
                device_count: symbol(runtime, "cudaGetDeviceCount")?,
                set_device: symbol(runtime, "cudaSetDevice")?,
                set_limit: symbol(runtime, "cudaDeviceSetLimit")?,
                bus_id: symbol(runtime, "cudaDeviceGetPCIBusId")?,
                attribute: symbol(runtime, "cudaDeviceGetAttribute")?,
                runtime_version: symbol(runtime, "cudaRuntimeGetVersion")?,
                error_string: symbol(runtime, "cudaGetErrorString")?,
                libraries,
                _loaded: loaded,
            }
        };
        Ok(Arc::new(cuda))
    }

    fn check(&self, what: &str, status: Status) -> Result<(), EngineError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: cudaGetErrorString returns a static, terminated string for every status.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) }.to_string_lossy();
        let message = format!("{what}: {text} (CUDA error {status})");
        Err(if status == ERROR_MEMORY_ALLOCATION {
            EngineError::OutOfMemory(message)
        } else {
            EngineError::Device(message)
        })
    }

    /// Number of GPUs the driver shows this process.
    pub fn device_count(&self) -> Result<u32, EngineError> {
        let mut count = 0;
        // SAFETY: writes one integer.
        self.check("could not count the GPUs (is an NVIDIA driver installed, and new enough for these CUDA libraries?)", unsafe {
            (self.device_count)(&mut count)
        })?;
        Ok(count.unsigned_abs())
    }

    /// Makes the GPU with this index the current one of the calling thread.
    pub fn use_device(&self, index: u32) -> Result<(), EngineError> {
        // SAFETY: takes an index by value; an invalid one is an error status.
        self.check(&format!("could not use GPU {index}"), unsafe {
            (self.set_device)(index as c_int)
        })
    }

    /// Sets the call stack of each GPU thread in this process.
    pub fn limit_stack(&self, bytes: usize) -> Result<(), EngineError> {
        // SAFETY: takes two numbers by value; refused ones are an error status.
        self.check("could not limit the stack of GPU threads", unsafe {
            (self.set_limit)(LIMIT_STACK_SIZE, bytes)
        })
    }

    fn attribute(&self, attribute: c_int, index: u32) -> Result<c_int, EngineError> {
        let mut value = 0;
        // SAFETY: writes one integer.
        self.check("could not read a GPU attribute", unsafe {
            (self.attribute)(&mut value, attribute, index as c_int)
        })?;
        Ok(value)
    }

    /// Where the GPU sits, such as `0000:3B:00.0`: CUDA and the driver's own library may number GPUs differently.
    pub fn bus_id(&self, index: u32) -> Option<String> {
        let mut text = [0 as c_char; 32];
        // SAFETY: at most `len` bytes are written, terminated.
        let status =
            unsafe { (self.bus_id)(text.as_mut_ptr(), text.len() as c_int, index as c_int) };
        // SAFETY: terminated where the call succeeded.
        let told = || {
            unsafe { CStr::from_ptr(text.as_ptr()) }
                .to_string_lossy()
                .into_owned()
        };
        (status == 0).then(told)
    }

    /// Compute capability, major and minor.
    pub fn compute_capability(&self, index: u32) -> Result<(i32, i32), EngineError> {
        Ok((
            self.attribute(ATTRIBUTE_MAJOR, index)?,
            self.attribute(ATTRIBUTE_MINOR, index)?,
        ))
    }

    /// Whether the GPU shares the CPU's memory.
    pub fn is_integrated(&self, index: u32) -> Result<bool, EngineError> {
        Ok(self.attribute(ATTRIBUTE_INTEGRATED, index)? != 0)
    }

    /// Free and total memory of the current GPU. Creates the context, if there is none yet.
    pub fn memory_info(&self) -> Result<(Bytes, Bytes), EngineError> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two sizes.
        self.check("could not read the GPU's free memory", unsafe {
            (self.memory_info)(&mut free, &mut total)
        })?;
        Ok((Bytes(free as u64), Bytes(total as u64)))
    }

    /// Waits for everything that was asked of the GPU.
    pub fn wait(&self) -> Result<(), EngineError> {
        // SAFETY: takes and writes nothing.
        self.check("the GPU did not finish", unsafe { (self.synchronize)() })
    }

    /// Version of the CUDA runtime, for example `13.0`.
    pub fn version(&self) -> Option<String> {
        let mut version = 0;
        // SAFETY: writes one integer.
        (unsafe { (self.runtime_version)(&mut version) } == 0)
            .then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    /// Allocates device memory, filled with zeros.
    pub fn allocate(self: &Arc<Self>, bytes: usize) -> Result<DeviceBuffer, EngineError> {
        let buffer = self.reserve(bytes)?;
        // SAFETY: the buffer is at least `bytes` long.
        self.check("could not clear GPU memory", unsafe {
            (self.set)(buffer.at, 0, bytes)
        })?;
        Ok(buffer)
    }

    /// Allocates device memory with whatever is in it.
    fn reserve(self: &Arc<Self>, bytes: usize) -> Result<DeviceBuffer, EngineError> {
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one pointer, which is freed once, by DeviceBuffer.
        let status = unsafe { (self.malloc)(&mut at, bytes.max(1)) };
        self.check(
            &format!("could not allocate {bytes} bytes of GPU memory"),
            status,
        )?;
        Ok(DeviceBuffer {
            cuda: Arc::clone(self),
            at,
        })
    }

    /// Copies host bytes to device memory and waits for it.
    ///
    /// # Safety
    /// `to` must be device memory of at least `bytes.len()` bytes.
    pub unsafe fn upload(&self, to: *mut c_void, bytes: &[u8]) -> Result<(), EngineError> {
        // SAFETY: the caller vouches for `to`; the slice is valid for its length.
        let status =
            unsafe { (self.copy)(to, bytes.as_ptr().cast(), bytes.len(), COPY_HOST_TO_DEVICE) };
        self.check("could not copy to the GPU", status)
    }

    /// Asks a stream for a copy between two places that the GPU can address.
    ///
    /// # Safety
    /// Both must be of at least `bytes` bytes until the stream got past the copy; the stream must be alive.
    pub unsafe fn copy_on(
        &self,
        stream: *mut c_void,
        to: *mut c_void,
        from: *const c_void,
        bytes: usize,
    ) -> Result<(), EngineError> {
        // SAFETY: the caller vouches for places and stream.
        let status = unsafe { (self.copy_async)(to, from, bytes, COPY_ANYWHERE, stream) };
        self.check("could not copy weights to the GPU", status)
    }

    /// Copies device memory to the host and waits for it.
    ///
    /// # Safety
    /// `from` must be device memory of at least `bytes.len()` bytes.
    pub unsafe fn download(
        &self,
        bytes: &mut [u8],
        from: *const c_void,
    ) -> Result<(), EngineError> {
        // SAFETY: the caller vouches for `from`; the slice is valid for its length.
        let status = unsafe {
            (self.copy)(
                bytes.as_mut_ptr().cast(),
                from,
                bytes.len(),
                COPY_DEVICE_TO_HOST,
            )
        };
        self.check("could not copy from the GPU", status)
    }
}

/// Device memory, freed on drop.
pub struct DeviceBuffer {
    cuda: Arc<Cuda>,
    /// Device address.
    pub at: *mut c_void,
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: `at` came from cudaMalloc and is freed here only. A failure at this point has nobody to go to.
        unsafe { (self.cuda.free)(self.at) };
    }
}

unsafe fn symbol<T>(library: &Library, name: &str) -> Result<Symbol<T>, EngineError> {
    // SAFETY: the caller names the right type.
    unsafe { library.get(name.as_bytes()) }.map_err(|error| {
        EngineError::Device(format!(
            "a CUDA library has no {name} ({error}); install CUDA 12 or newer"
        ))
    })
}

/// Finds a library and loads it.
fn open(wanted: &needed::Wanted, search: &mut Search) -> Result<(Library, PathBuf), EngineError> {
    // SAFETY: loading a CUDA library runs its initialisers, which is what the provider would do a moment later.
    let load = |path: &Path| unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    let mut by_loader = None;
    let found = search.find(&wanted.name, &mut |name| {
        by_loader = load(Path::new(name)).ok();
        by_loader.as_ref()?;
        let map = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Some(search::file_in_map(&map, name).unwrap_or_else(|| PathBuf::from(name)))
    });
    let Some(path) = found else {
        return Err(EngineError::Device(search.missing(wanted)));
    };
    if let Some(library) = by_loader {
        return Ok((library, path));
    }
    let library = load(&path).map_err(|error| {
        EngineError::Device(format!(
            "could not load {}: {error}; put a good copy's folder first with --cuda-dir",
            path.display()
        ))
    })?;
    Ok((library, path))
}
