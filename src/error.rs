//! The one error type, its exit codes and their meaning. No printing here: `lib.rs` prints.

use std::path::{Path, PathBuf};

/// Shorthand for results that carry [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Exit codes, as documented in README.
pub mod exit {
    /// Everything asked for was done.
    pub const OK: u8 = 0;
    /// A bug in edgebench.
    pub const BUG: u8 = 1;
    /// The command line, or a file it names as an option, is wrong.
    pub const USAGE: u8 = 2;
    /// A model, spec or weight file is wrong or unreadable.
    pub const MODEL: u8 = 3;
    /// ONNX Runtime is missing, broken or of the wrong version.
    pub const RUNTIME: u8 = 4;
    /// The device asked for cannot be used.
    pub const DEVICE: u8 = 5;
    /// At least one trial crashed, timed out, ran out of memory or failed; the others are in the result.
    pub const TRIALS: u8 = 6;
    /// `compare --fail-if` found a regression, or could not judge what it was asked to.
    pub const REGRESSION: u8 = 7;
    /// A result or cache file could not be written.
    pub const OUTPUT: u8 = 8;
}

/// What can go wrong outside a trial. Each message is one sentence: what, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A model file or spec is wrong.
    #[error("{0}")]
    Model(String),
    /// ONNX Runtime cannot be used.
    #[error("{0}")]
    Runtime(String),
    /// The device cannot be used.
    #[error("{0}")]
    Device(String),
    /// A comparison fails a condition that was asked for, or could not judge it.
    #[error("{0}")]
    Regression(String),
    /// A file could not be written.
    #[error("could not write {path}: {source}; choose another place{hint}", path = path.display())]
    Output {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
        /// The flag or variable that moves it, with a leading space, or nothing.
        hint: &'static str,
    },
    /// A bug in edgebench.
    #[error("internal error: {0}; please report this as a bug")]
    Bug(String),
}

impl Error {
    /// The process exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => exit::USAGE,
            Error::Model(_) => exit::MODEL,
            Error::Runtime(_) => exit::RUNTIME,
            Error::Device(_) => exit::DEVICE,
            Error::Regression(_) => exit::REGRESSION,
            Error::Output { .. } => exit::OUTPUT,
            Error::Bug(_) => exit::BUG,
        }
    }

    /// An [`Error::Output`] for `path`; `hint` names the flag or variable that moves it.
    pub fn output(path: &Path, source: std::io::Error, hint: &'static str) -> Error {
        Error::Output {
            path: path.to_owned(),
            source,
            hint,
        }
    }
}
