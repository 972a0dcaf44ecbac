//! Which ONNX Runtime this run uses, and the commit it was built from. Loading the library is the engine's business.

#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the bundle command, which cuts libraries, is not there yet"
    )
)]
mod fatbin;
mod wheel;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::cachedir;
use crate::error::{Error, Result};

/// The commit this program was built from, with `-dirty` when its sources differed from it; `None` outside a git checkout.
pub const COMMIT: Option<&str> = match env!("EDGEBENCH_COMMIT") {
    commit if commit.is_empty() => None,
    commit => Some(commit),
};

/// The library that the build fetched or was given.
const BUILD_LIBRARY: &str = env!("EDGEBENCH_BUILD_ORT");

/// The machine that the library must be built for.
const ARCH: &str = std::env::consts::ARCH;

/// An ONNX Runtime library on disk, for the machine this program runs on; it has not been loaded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeLibrary {
    /// The library, as an absolute path.
    pub path: PathBuf,
    /// Who named it, for reports: `--ort`, `EDGEBENCH_ORT` or `build`.
    pub origin: String,
}

/// Finds ONNX Runtime: what `--ort` names (`explicit`), else what `EDGEBENCH_ORT` names, else the library the build fetched.
/// The first of them that is given decides: a bad one is an error, never a reason to take the next.
pub fn locate(explicit: Option<&Path>) -> Result<RuntimeLibrary> {
    choose(
        explicit,
        std::env::var_os("EDGEBENCH_ORT").as_deref(),
        Path::new(BUILD_LIBRARY),
        cachedir::root,
    )
}

/// The rule of [`locate`], apart from the environment it reads.
fn choose(
    explicit: Option<&Path>,
    variable: Option<&OsStr>,
    built: &Path,
    cache: impl FnOnce() -> Result<PathBuf, String>,
) -> Result<RuntimeLibrary> {
    let variable = variable.filter(|value| !value.is_empty()).map(Path::new);
    let named = explicit
        .map(|path| ("--ort", path))
        .or(variable.map(|path| ("EDGEBENCH_ORT", path)));
    if let Some((origin, given)) = named {
        return match wheel::resolve(given, ARCH, cache) {
            Ok(path) => Ok(RuntimeLibrary {
                path,
                origin: origin.to_owned(),
            }),
            Err(sentence) => Err(Error::Runtime(format!("{origin}: {sentence}"))),
        };
    }
    match wheel::resolve(built, ARCH, cache) {
        Ok(path) => Ok(RuntimeLibrary {
            path,
            origin: "build".to_owned(),
        }),
        Err(_) => Err(Error::Runtime(format!(
            "there is no ONNX Runtime: --ort is not given, EDGEBENCH_ORT is not set, and {}, which the build used, is missing or broken; \
             build edgebench again, or name an onnxruntime wheel, a folder or a libonnxruntime.so with --ort or EDGEBENCH_ORT",
            built.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn no_cache() -> Result<PathBuf, String> {
        Err("the cache is not asked for".to_owned())
    }

    /// The library of the build under another name, so that it passes for a second one.
    fn copy_in(folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::os::unix::fs::symlink(BUILD_LIBRARY, &path).unwrap();
        path
    }

    #[test]
    fn the_library_of_the_build_is_found_and_is_an_elf_file() {
        let found = choose(None, None, Path::new(BUILD_LIBRARY), no_cache).unwrap();
        assert_eq!(
            found,
            RuntimeLibrary {
                path: PathBuf::from(BUILD_LIBRARY),
                origin: "build".to_owned()
            }
        );
        assert!(fs::read(&found.path).unwrap().starts_with(b"\x7fELF"));
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_the_build() {
        let temp = tempfile::tempdir().unwrap();
        let flag = copy_in(temp.path(), "flag.so");
        let variable = copy_in(temp.path(), "variable.so");
        let built = Path::new(BUILD_LIBRARY);
        let found = choose(Some(&flag), Some(variable.as_os_str()), built, no_cache).unwrap();
        assert_eq!((found.path, found.origin.as_str()), (flag, "--ort"));
        let found = choose(None, Some(variable.as_os_str()), built, no_cache).unwrap();
        assert_eq!(
            (found.path, found.origin.as_str()),
            (variable, "EDGEBENCH_ORT")
        );
        let found = choose(None, Some(OsStr::new("")), built, no_cache).unwrap();
        assert_eq!(found.origin, "build", "an empty variable counts as unset");
    }

    #[test]
    fn a_bad_choice_is_an_error_and_never_passed_over() {
        let absent = Path::new("/absent/libonnxruntime.so");
        let built = Path::new(BUILD_LIBRARY);
        let flag = choose(Some(absent), None, built, no_cache).unwrap_err();
        let variable = choose(None, Some(absent.as_os_str()), built, no_cache).unwrap_err();
        for (error, origin) in [(flag, "--ort: "), (variable, "EDGEBENCH_ORT: ")] {
            let sentence = error.to_string();
            assert!(matches!(error, Error::Runtime(_)));
            assert!(
                sentence.starts_with(origin) && sentence.contains("/absent/libonnxruntime.so"),
                "{sentence}"
            );
        }
    }

    #[test]
    fn when_the_library_of_the_build_is_gone_every_place_is_named() {
        let sentence = choose(None, None, Path::new("/gone/lib.so"), no_cache)
            .unwrap_err()
            .to_string();
        for part in [
            "--ort",
            "EDGEBENCH_ORT",
            "/gone/lib.so",
            "build edgebench again",
        ] {
            assert!(sentence.contains(part), "{part:?} is not in: {sentence}");
        }
    }

    #[test]
    fn the_commit_is_absent_or_twelve_digits_and_perhaps_dirty() {
        let Some(commit) = COMMIT else { return };
        let digits = commit.strip_suffix("-dirty").unwrap_or(commit);
        assert!(
            digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{commit}"
        );
    }
}
