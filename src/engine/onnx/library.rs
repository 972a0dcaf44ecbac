//! Loading ONNX Runtime's library, and saying what it says in one sentence.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use ort::environment::Environment;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

/// Oldest version whose interface edgebench is compiled for.
const OLDEST: &str = "1.20";

/// A process can have one environment, which a worker makes and leaves with. Tests make several engines.
#[cfg(test)]
static SHARED: std::sync::Mutex<Option<Environment>> = std::sync::Mutex::new(None);

/// Loads the library and creates its environment.
pub fn load(path: &Path) -> Result<Environment, EngineError> {
    if !path.exists() {
        return Err(EngineError::Runtime(format!(
            "ONNX Runtime's library {} does not exist; build edgebench again or name one with --ort",
            path.display()
        )));
    }
    let version = version(path)?;
    if is_older(&version, OLDEST) {
        return Err(EngineError::Runtime(format!(
            "ONNX Runtime {version} ({}) is too old: {OLDEST} or newer is needed; name another with --ort",
            path.display()
        )));
    }
    let unusable = |cause: String| {
        EngineError::Runtime(format!(
            "could not start ONNX Runtime {version} ({}): {cause}; name another with --ort",
            path.display()
        ))
    };
    #[cfg(test)]
    let mut shared = SHARED.lock().unwrap();
    #[cfg(test)]
    if let Some(environment) = shared.as_ref() {
        return Ok(environment.clone());
    }
    let builder = ort::init_from(path).map_err(|error| unusable(error.to_string()))?;
    let environment = builder
        .with_name("edgebench")
        // Not enough for the official packages: the supervisor sets ORT_DISABLE_TELEMETRY as well.
        .with_telemetry(false)
        .build()
        .map_err(|error| unusable(first_line(error.message())))?;
    environment.set_log_level(ort::logging::LogLevel::Error);
    #[cfg(test)]
    let environment = shared.insert(environment).clone();
    Ok(environment)
}

/// Whether one version, such as `1.26.0`, is older than another. All have the same first number.
pub fn is_older(version: &str, than: &str) -> bool {
    let number = |text: &str| {
        text.split('.')
            .nth(1)
            .and_then(|minor| minor.parse::<u32>().ok())
    };
    number(version) < number(than)
}

/// The table of functions of the C interface `version`; `None` when the library is older.
pub fn api(path: &Path, version: u32) -> Result<Option<*const c_void>, EngineError> {
    let base = base(path)?;
    // SAFETY: the base table is static; GetApi returns a static table or null.
    let table = unsafe { ((*base).GetApi)(version) };
    Ok((!table.is_null()).then_some(table.cast()))
}

/// Version of the library at `path`, asked before `ort` gets to see it: an old one must give a sentence, not a panic.
pub fn version(path: &Path) -> Result<String, EngineError> {
    let base = base(path)?;
    // SAFETY: the base table is static; its version string is static and terminated.
    let version: *const c_char = unsafe { ((*base).GetVersionString)() };
    if version.is_null() {
        return Err(unusable(path, "it tells no version"));
    }
    // SAFETY: not null, static, terminated.
    let version = unsafe { CStr::from_ptr(version) }
        .to_string_lossy()
        .into_owned();
    Ok(version)
}

/// The library's static table to ask for versions of its interface.
fn base(path: &Path) -> Result<*const ort::sys::OrtApiBase, EngineError> {
    // SAFETY: loading runs the library's initialisers, as `ort` would a moment later.
    let library = unsafe { libloading::Library::new(path) }
        .map_err(|error| unusable(path, &error.to_string()))?;
    // SAFETY: the signature is that of onnxruntime_c_api.h.
    let base = unsafe {
        library.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase")
    };
    let base = base.map_err(|_| unusable(path, "it has no OrtGetApiBase"))?;
    // SAFETY: OrtGetApiBase takes nothing and returns a static table.
    let base = unsafe { base() };
    // Kept loaded: unloading ONNX Runtime is not supported.
    std::mem::forget(library);
    if base.is_null() {
        return Err(unusable(path, "it gives no interface"));
    }
    Ok(base)
}

fn unusable(path: &Path, cause: &str) -> EngineError {
    EngineError::Runtime(format!(
        "{} is not a usable ONNX Runtime library: {cause}; name another with --ort",
        path.display()
    ))
}

/// Build information of the loaded library.
pub fn build_info() -> String {
    ort::info().to_owned()
}

/// Providers compiled into the loaded library.
pub fn providers() -> Vec<String> {
    let api = ort::api();
    let (mut names, mut count): (*mut *mut c_char, i32) = (std::ptr::null_mut(), 0);
    // SAFETY: two values are written; the status is released by `ort`.
    let status = unsafe {
        ort::Error::result_from_status((api.GetAvailableProviders)(&mut names, &mut count))
    };
    if status.is_err() || names.is_null() {
        return Vec::new();
    }
    // SAFETY: the array holds `count` terminated strings until it is released below.
    let listed = unsafe { std::slice::from_raw_parts(names, count.unsigned_abs() as usize) };
    // SAFETY: as above.
    let listed = listed
        .iter()
        .map(|name| {
            unsafe { CStr::from_ptr(*name) }
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    // SAFETY: releases what GetAvailableProviders gave, once.
    let _ =
        unsafe { ort::Error::result_from_status((api.ReleaseAvailableProviders)(names, count)) };
    listed
}

/// An error of ONNX Runtime as ours: refused allocations apart, everything else a matter of the model.
pub fn refused(error: &ort::Error) -> EngineError {
    let message = first_line(error.message());
    // All of it: what happened may stand behind a long signature.
    let lower = error.message().to_lowercase();
    let memory = [
        "failed to allocate memory",
        "memory allocation failed",
        "is smaller than requested bytes",
        "out of memory",
        "bad_alloc",
        "bad allocation",
        "not enough memory",
        // cuBLAS and the CUDA driver in their own words; cuBLAS says "not initialized" where it gets no memory for a handle.
        "alloc_failed",
        "out_of_memory",
        "cudaerrormemoryallocation",
        "cublas_status_not_initialized",
    ];
    if memory.iter().any(|sign| lower.contains(sign)) {
        return EngineError::OutOfMemory(format!("ONNX Runtime was refused memory: {message}"));
    }
    if lower.contains("no kernel image") {
        return EngineError::Device(format!(
            "this build of ONNX Runtime's CUDA provider has no kernels for this GPU: {message}; use one built for its compute capability"
        ));
    }
    EngineError::Model(format!("ONNX Runtime refused: {message}"))
}

/// Whether a message tells of a call to CUDA or one of its libraries, and not of a graph that is wrong.
pub fn is_of_cuda(message: &str) -> bool {
    let lower = message.to_lowercase();
    ["cuda", "cublas", "cudnn", "curand", "alloc"]
        .iter()
        .any(|name| lower.contains(name))
}

/// ONNX Runtime's messages may run over many lines of source paths; the first says what happened.
pub fn first_line(message: &str) -> String {
    let line = message
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("no message");
    const LONGEST: usize = 600;
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_cuda_are_told_from_errors_of_graphs() {
        assert!(is_of_cuda(
            "CUDNN_STATUS_NOT_INITIALIZED: /x/cuda_call.cc:154"
        ));
        assert!(is_of_cuda("cublasCreate failed"));
        assert!(!is_of_cuda(
            "Fatal error: com.microsoft:QMoE(-1) is not a registered function/op"
        ));
    }

    #[test]
    fn versions_are_told_by_their_second_number() {
        assert!(is_older("1.26.0", "1.27") && is_older("1.9.1", "1.20"));
        assert!(!is_older("1.27.0", "1.27") && !is_older("1.31.1", "1.27"));
    }
}
