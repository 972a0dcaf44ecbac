//! The CUDA calls edgebench makes itself, loaded at run time: no build of it links CUDA. Plain `cudaMalloc` memory only.
#![allow(unsafe_code, reason = "calls into the CUDA runtime's C interface")]

use super::EngineError;
use crate::units::Bytes;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Libraries the CUDA provider needs, in the order in which they must be loaded, with the pip package that has each.
const LIBRARIES: [(&str, &str); 4] = [
    ("libcudart.so", "nvidia-cuda-runtime"),
    ("libcublasLt.so", "nvidia-cublas"),
    ("libcublas.so", "nvidia-cublas"),
    ("libcurand.so", "nvidia-curand"),
];

const COPY_HOST_TO_DEVICE: c_int = 1;
const COPY_DEVICE_TO_HOST: c_int = 2;
const ATTRIBUTE_INTEGRATED: c_int = 18;
const ATTRIBUTE_MAJOR: c_int = 75;
const ATTRIBUTE_MINOR: c_int = 76;
const ERROR_MEMORY_ALLOCATION: c_int = 2;

type Status = c_int;

/// The CUDA runtime library and the functions used of it.
pub struct Cuda {
    malloc: Symbol<unsafe extern "C" fn(*mut *mut c_void, usize) -> Status>,
    free: Symbol<unsafe extern "C" fn(*mut c_void) -> Status>,
    copy: Symbol<unsafe extern "C" fn(*mut c_void, *const c_void, usize, c_int) -> Status>,
    set: Symbol<unsafe extern "C" fn(*mut c_void, c_int, usize) -> Status>,
    memory_info: Symbol<unsafe extern "C" fn(*mut usize, *mut usize) -> Status>,
    device_count: Symbol<unsafe extern "C" fn(*mut c_int) -> Status>,
    set_device: Symbol<unsafe extern "C" fn(c_int) -> Status>,
    attribute: Symbol<unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status>,
    runtime_version: Symbol<unsafe extern "C" fn(*mut c_int) -> Status>,
    error_string: Symbol<unsafe extern "C" fn(Status) -> *const c_char>,
    /// Paths of the libraries in use, in load order.
    pub libraries: Vec<PathBuf>,
    _loaded: Vec<Library>,
}

impl Cuda {
    /// Loads the CUDA libraries that `provider` (the CUDA provider's file) needs: from `folders` first, then from the usual
    /// places. Their file names carry the version, which is read from the provider's own list of needed libraries.
    pub fn load(provider: &Path, folders: &[PathBuf]) -> Result<Arc<Cuda>, EngineError> {
        let needed = needed_libraries(provider)?;
        let places = places(folders);
        let mut loaded = Vec::new();
        let mut libraries = Vec::new();
        for (stem, package) in LIBRARIES {
            let Some(name) = needed.iter().find(|name| name.starts_with(stem)) else {
                continue;
            };
            let (library, path) = open(name, package, &places)?;
            loaded.push(library);
            libraries.push(path);
        }
        let Some(runtime) = loaded.first() else {
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
                set: symbol(runtime, "cudaMemset")?,
                memory_info: symbol(runtime, "cudaMemGetInfo")?,
                device_count: symbol(runtime, "cudaGetDeviceCount")?,
                set_device: symbol(runtime, "cudaSetDevice")?,
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

    fn attribute(&self, attribute: c_int, index: u32) -> Result<c_int, EngineError> {
        let mut value = 0;
        // SAFETY: writes one integer.
        self.check("could not read a GPU attribute", unsafe {
            (self.attribute)(&mut value, attribute, index as c_int)
        })?;
        Ok(value)
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

    /// Version of the CUDA runtime, for example `13.0`.
    pub fn version(&self) -> Option<String> {
        let mut version = 0;
        // SAFETY: writes one integer.
        (unsafe { (self.runtime_version)(&mut version) } == 0)
            .then(|| format!("{}.{}", version / 1000, version % 1000 / 10))
    }

    /// Allocates device memory, filled with zeros.
    pub fn allocate(self: &Arc<Self>, bytes: usize) -> Result<DeviceBuffer, EngineError> {
        let mut at = std::ptr::null_mut();
        // SAFETY: writes one pointer, which is freed once, by DeviceBuffer.
        let status = unsafe { (self.malloc)(&mut at, bytes.max(1)) };
        self.check(
            &format!("could not allocate {bytes} bytes of GPU memory"),
            status,
        )?;
        let buffer = DeviceBuffer {
            cuda: Arc::clone(self),
            at,
        };
        // SAFETY: the buffer is at least `bytes` long.
        self.check("could not clear GPU memory", unsafe {
            (self.set)(at, 0, bytes)
        })?;
        Ok(buffer)
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
            "the CUDA runtime has no {name} ({error}); install CUDA 12 or newer"
        ))
    })
}

/// Names among the `DT_NEEDED` entries of a library.
fn needed_libraries(path: &Path) -> Result<Vec<String>, EngineError> {
    use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _};
    let unreadable = |cause: &dyn std::fmt::Display| {
        EngineError::Runtime(format!(
            "could not read the CUDA provider {}: {cause}; install ONNX Runtime again",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let cache = object::ReadCache::new(file);
    let elf =
        ElfFile64::<object::Endianness, _>::parse(&cache).map_err(|error| unreadable(&error))?;
    let (endian, data) = (elf.endian(), elf.data());
    let sections = elf
        .elf_header()
        .sections(endian, data)
        .map_err(|error| unreadable(&error))?;
    let dynamic = sections
        .dynamic(endian, data)
        .map_err(|error| unreadable(&error))?;
    let Some((entries, link)) = dynamic else {
        return Ok(Vec::new());
    };
    let strings = sections
        .strings(endian, data, link)
        .map_err(|error| unreadable(&error))?;
    let needed = entries
        .iter()
        .filter(|entry| entry.tag(endian) == object::elf::DT_NEEDED);
    let names = needed.filter_map(|entry| entry.string(endian, strings).ok());
    Ok(names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect())
}

/// Folders to look in: the user's, then CUDA's own, the distribution's, JetPack's, and pip's in the active environment.
fn places(folders: &[PathBuf]) -> Vec<PathBuf> {
    let mut places = folders.to_vec();
    let arch = if cfg!(target_arch = "aarch64") {
        "aarch64"
    } else {
        "x86_64"
    };
    places.extend([
        "/usr/local/cuda/lib64".into(),
        format!("/usr/local/cuda/targets/{arch}-linux/lib").into(),
    ]);
    let installed = std::fs::read_dir("/usr/local")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut versions: Vec<PathBuf> = installed
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("cuda-"))
        })
        .collect();
    versions.sort();
    places.extend(versions.into_iter().rev().map(|path| path.join("lib64")));
    places.extend([
        format!("/usr/lib/{arch}-linux-gnu").into(),
        "/usr/lib64".into(),
        format!("/usr/lib/{arch}-linux-gnu/tegra").into(),
    ]);
    if let Some(environment) = std::env::var_os("VIRTUAL_ENV") {
        let versions = std::fs::read_dir(Path::new(&environment).join("lib"))
            .into_iter()
            .flatten()
            .flatten();
        let packages = versions.map(|version| version.path().join("site-packages/nvidia"));
        let parts =
            packages.flat_map(|nvidia| std::fs::read_dir(nvidia).into_iter().flatten().flatten());
        places.extend(parts.map(|part| part.path().join("lib")));
    }
    places
}

fn open(name: &str, package: &str, places: &[PathBuf]) -> Result<(Library, PathBuf), EngineError> {
    // SAFETY: loading a CUDA library runs its initialisers, which is what the provider would do a moment later.
    let load = |path: &Path| unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
    for folder in places {
        let path = folder.join(name);
        if path.exists() {
            let library = load(&path);
            return library.map(|library| (library, path.clone())).map_err(|error| {
                EngineError::Device(format!("could not load {}: {error}; put a good copy's folder first with --cuda-dir", path.display()))
            });
        }
    }
    load(Path::new(name)).map(|library| (library, PathBuf::from(name))).map_err(|_| {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        EngineError::Device(format!(
            "{name} was not found on the loader's path nor in {}; install it (pip package {package}, or the CUDA toolkit) or name its folder with --cuda-dir",
            places.join(", ")
        ))
    })
}
