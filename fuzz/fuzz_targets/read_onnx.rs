//! Any bytes as an ONNX file, through everything that reads one without running it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

/// Where the file lies that is read; nothing is beside it.
static FOLDER: LazyLock<Option<TempDir>> = LazyLock::new(|| tempfile::tempdir().ok());

fuzz_target!(|bytes: &[u8]| {
    let Some(folder) = FOLDER.as_ref() else { return };
    let path: PathBuf = folder.path().join("model.onnx");
    if std::fs::write(&path, bytes).is_ok() {
        let _ = edgebench::read_onnx(&path);
    }
});
