//! Which ONNX Runtime and which worker this run uses: those of the payload that the program carries, or those of the build.
//! Loading the library is the engine's business, in the worker.

mod bundle;
mod fatbin;
mod format;
mod gather;
mod install;
mod memory;
#[cfg(test)]
mod samples;
mod scratch;
mod sources;
mod wheel;

pub use bundle::{BundleRequest, Step, Summary, bundle};
pub use fatbin::{Arch, code_runs_on};
pub use format::{Kind, Package, Part};
pub use install::{Entry, discard, entries, sweep};

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cachedir;
use crate::error::{Error, Result};

/// The commit this program was built from, with `-dirty` when its sources differed from it; `None` outside a git checkout.
pub const COMMIT: Option<&str> = match env!("EDGEBENCH_COMMIT") {
    commit if commit.is_empty() => None,
    commit => Some(commit),
};

/// The library that the build fetched or was given; empty for a build that was told to do without.
const BUILD_LIBRARY: &str = env!("EDGEBENCH_BUILD_ORT");

/// Folder of the extracted payloads in the cache.
pub const FOLDER: &str = "runtime";

/// The machine that the library must be built for.
const ARCH: &str = std::env::consts::ARCH;

/// What runs a trial: a program and a library on disk, for this machine; nothing has been loaded yet.
#[derive(Debug)]
pub struct Runtime {
    /// The program to start as the worker.
    pub worker: PathBuf,
    /// ONNX Runtime's library, as an absolute path.
    pub library: PathBuf,
    /// Who named the library, for reports: `--ort`, `EDGEBENCH_ORT`, `payload` or `build`.
    pub origin: &'static str,
    /// The folder of the extracted payload, which may hold CUDA libraries.
    pub payload: Option<PathBuf>,
    /// What the user should know, if anything.
    pub note: Option<String>,
    _installed: Option<install::Installed>,
}

/// The payload that this program carries.
pub fn own_package() -> Result<Option<Package>> {
    Package::open(&own_program()?)
}

/// The extracted payloads live here, unless the user says otherwise.
pub fn runtime_root(explicit: Option<&Path>) -> Result<PathBuf> {
    match explicit {
        Some(folder) => std::path::absolute(folder).map_err(|cause| {
            Error::Usage(format!(
                "--runtime-dir {}: {cause}; name a folder",
                folder.display()
            ))
        }),
        None => cachedir::root()
            .map(|cache| cache.join(FOLDER))
            .map_err(Error::Usage),
    }
}

/// Finds the worker alone: the payload's, else this program.
pub fn locate_worker(runtime_dir: Option<&Path>) -> Result<Runtime> {
    let installed = install_own(runtime_dir)?.map(|(installed, _)| installed);
    runtime(installed, PathBuf::new(), "none")
}

/// Finds worker and ONNX Runtime. The library is what `--ort` names (`explicit`), else what `EDGEBENCH_ORT` names, else the
/// payload's, else the build's; the first of them that is given decides. The worker is the payload's, else this program.
pub fn locate(explicit: Option<&Path>, runtime_dir: Option<&Path>) -> Result<Runtime> {
    let installed = install_own(runtime_dir)?;
    // Whoever starts the worker is settled first: a file without its payload says that, not what else is missing.
    worker(installed.as_ref().map(|(installed, _)| installed))?;
    let packed = installed
        .as_ref()
        .and_then(|(_, library)| library.as_deref());
    let (library, origin) = choose(
        explicit,
        std::env::var_os("EDGEBENCH_ORT").as_deref(),
        packed,
        Path::new(BUILD_LIBRARY),
        cachedir::root,
    )?;
    runtime(installed.map(|(installed, _)| installed), library, origin)
}

/// The payload of this program on disk, and the ONNX Runtime in it.
fn install_own(
    runtime_dir: Option<&Path>,
) -> Result<Option<(install::Installed, Option<PathBuf>)>> {
    let Some(package) = own_package()? else {
        return Ok(None);
    };
    let installed = install::ensure(&package, &runtime_root(runtime_dir)?)?;
    let library = package
        .index
        .parts
        .iter()
        .find(|part| part.kind == Kind::Runtime);
    let library = library.map(|part| installed.folder.join(&part.name));
    Ok(Some((installed, library)))
}

fn runtime(
    installed: Option<install::Installed>,
    library: PathBuf,
    origin: &'static str,
) -> Result<Runtime> {
    Ok(Runtime {
        worker: worker(installed.as_ref())?,
        library,
        origin,
        payload: installed.as_ref().map(|installed| installed.folder.clone()),
        note: installed
            .as_ref()
            .and_then(|installed| installed.note.clone()),
        _installed: installed,
    })
}

/// The program to start as the worker: the payload's, or this one where it is linked dynamically.
fn worker(installed: Option<&install::Installed>) -> Result<PathBuf> {
    if let Some(installed) = installed {
        return Ok(installed.folder.join(format::WORKER));
    }
    if cfg!(target_feature = "crt-static") {
        return Err(Error::Runtime(
            "this edgebench carries no ONNX Runtime: it was cut short, or never packed; copy it again, or pack one with `edgebench bundle`"
                .to_owned(),
        ));
    }
    own_program()
}

/// This program's own file, also where `/proc` is not mounted.
fn own_program() -> Result<PathBuf> {
    let started_as = || {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(OsStr::from_bytes(rustix::param::linux_execfn().to_bytes()))
    };
    // The name the kernel keeps of a file that was removed meanwhile leads nowhere; the link itself still does.
    [
        std::env::current_exe().ok(),
        Some("/proc/self/exe".into()),
        Some(started_as()),
    ]
    .into_iter()
    .flatten()
    .find(|path| path.is_file())
    .ok_or_else(|| {
        Error::Runtime(
            "the file of this program cannot be found; start edgebench by its full path".to_owned(),
        )
    })
}

/// The rule of [`locate`] for the library, apart from the environment it reads.
fn choose(
    explicit: Option<&Path>,
    variable: Option<&OsStr>,
    packed: Option<&Path>,
    built: &Path,
    cache: impl FnOnce() -> Result<PathBuf, String>,
) -> Result<(PathBuf, &'static str)> {
    let variable = variable.filter(|value| !value.is_empty()).map(Path::new);
    let named = explicit
        .map(|path| ("--ort", path))
        .or(variable.map(|path| ("EDGEBENCH_ORT", path)));
    if let Some((origin, given)) = named {
        return match wheel::resolve(given, ARCH, cache) {
            Ok(path) => Ok((path, origin)),
            Err(sentence) => Err(Error::Runtime(format!("{origin}: {sentence}"))),
        };
    }
    if let Some(packed) = packed {
        return Ok((packed.to_owned(), "payload"));
    }
    if built.as_os_str().is_empty() {
        return Err(Error::Runtime(
            "there is no ONNX Runtime: this edgebench was built without one and carries none; name an onnxruntime wheel, a folder or a \
             libonnxruntime.so with --ort or EDGEBENCH_ORT, or pack one with `edgebench bundle`"
                .to_owned(),
        ));
    }
    match wheel::resolve(built, ARCH, cache) {
        Ok(path) => Ok((path, "build")),
        Err(_) => Err(Error::Runtime(format!(
            "there is no ONNX Runtime: --ort is not given, EDGEBENCH_ORT is not set, and {}, which the build used, is missing or broken; \
             build edgebench again, or name an onnxruntime wheel, a folder or a libonnxruntime.so with --ort or EDGEBENCH_ORT",
            built.display()
        ))),
    }
}

/// The architectures that the CUDA provider beside an ONNX Runtime has machine code and PTX for, as 86 for sm_86.
pub fn provider_kernels(library: &Path) -> Result<(Vec<u32>, Vec<u32>), String> {
    let path = library.with_file_name(sources::PROVIDERS_CUDA);
    let bytes = std::fs::read(&path).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::NotFound => "this ONNX Runtime has no CUDA provider".to_owned(),
        _ => format!("could not read {}: {cause}", path.display()),
    })?;
    Ok(fatbin::holdings(&bytes).numbers())
}

/// The licences and notices that travel with this program, each under a heading: edgebench's own, and those of what it carries.
pub fn licences() -> Result<String> {
    let mut text = String::new();
    let mut add = |title: &str, body: &str| {
        let line = "=".repeat(title.chars().count());
        text.push_str(&format!("{title}\n{line}\n\n{}\n\n", body.trim_end()));
    };
    add("edgebench/LICENSE", LICENSE);
    match own_package()? {
        Some(package) => {
            for (part, at) in package.located() {
                if part.kind != Kind::Notice || part.name == "edgebench/LICENSE" {
                    continue;
                }
                let mut body = Vec::new();
                package
                    .content(part, at)
                    .and_then(|mut content| content.read_to_end(&mut body))
                    .map_err(|cause| {
                        Error::Runtime(format!(
                            "could not read {} in {}: {cause}; copy the program again",
                            part.name,
                            package.path().display()
                        ))
                    })?;
                add(&part.name, &String::from_utf8_lossy(&body));
            }
        }
        None => {
            for notice in sources::notices_beside(Path::new(BUILD_LIBRARY)) {
                if let Ok(body) = std::fs::read(&notice.path) {
                    add(&notice.name, &String::from_utf8_lossy(&body));
                }
            }
        }
    }
    Ok(text)
}

/// edgebench's own licence.
const LICENSE: &str = include_str!("../../LICENSE");

/// Does the work on every item, on all cores; the first error in the items' order is the answer.
fn parallel<T: Sync, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> std::result::Result<(), E> + Sync,
) -> std::result::Result<(), E> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let one = || {
        let mut failed: Vec<(usize, E)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else {
                return failed;
            };
            if let Err(cause) = work(item) {
                failed.push((index, cause));
            }
        }
    };
    let failed = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..threads.min(items.len()))
            .map(|_| scope.spawn(one))
            .collect();
        let mut failed = one();
        for thread in threads {
            // A panic in a thread goes on in this one, as it would without threads.
            match thread.join() {
                Ok(more) => failed.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        failed
    });
    match failed.into_iter().min_by_key(|(index, _)| *index) {
        Some((_, cause)) => Err(cause),
        None => Ok(()),
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
        let (path, origin) = choose(None, None, None, Path::new(BUILD_LIBRARY), no_cache).unwrap();
        assert_eq!(
            (path.as_path(), origin),
            (Path::new(BUILD_LIBRARY), "build")
        );
        assert!(fs::read(&path).unwrap().starts_with(b"\x7fELF"));
    }

    #[test]
    fn the_flag_wins_over_the_variable_then_come_the_payload_and_the_build() {
        let temp = tempfile::tempdir().unwrap();
        let flag = copy_in(temp.path(), "flag.so");
        let variable = copy_in(temp.path(), "variable.so");
        let (packed, built) = (Path::new("/packed/lib.so"), Path::new(BUILD_LIBRARY));
        let chosen = |flag: Option<&Path>, variable: Option<&OsStr>, packed: Option<&Path>| {
            choose(flag, variable, packed, built, no_cache).unwrap()
        };
        let set = Some(variable.as_os_str());
        assert_eq!(chosen(Some(&flag), set, Some(packed)), (flag, "--ort"));
        assert_eq!(
            chosen(None, set, Some(packed)),
            (variable.clone(), "EDGEBENCH_ORT")
        );
        assert_eq!(
            chosen(None, Some(OsStr::new("")), Some(packed)),
            (packed.to_owned(), "payload"),
            "an empty variable counts as unset"
        );
        assert_eq!(chosen(None, None, None).1, "build");
    }

    #[test]
    fn a_bad_choice_is_an_error_and_never_passed_over() {
        let absent = Path::new("/absent/libonnxruntime.so");
        let built = Path::new(BUILD_LIBRARY);
        let flag = choose(Some(absent), None, None, built, no_cache).unwrap_err();
        let variable = choose(None, Some(absent.as_os_str()), None, built, no_cache).unwrap_err();
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
        let sentence = choose(None, None, None, Path::new("/gone/lib.so"), no_cache)
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
    fn a_build_without_a_runtime_names_the_ways_to_get_one() {
        let sentence = choose(None, None, None, Path::new(""), no_cache)
            .unwrap_err()
            .to_string();
        assert!(
            sentence.contains("--ort") && sentence.contains("edgebench bundle"),
            "{sentence}"
        );
    }

    #[test]
    fn the_first_failure_in_order_is_the_answer_and_all_items_are_worked_on() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let done = AtomicU32::new(0);
        let work = |item: &u32| {
            done.fetch_add(1, Ordering::Relaxed);
            if *item % 2 == 1 { Err(*item) } else { Ok(()) }
        };
        assert_eq!(parallel(&[0, 2, 5, 4, 3], work), Err(5));
        assert_eq!(done.load(Ordering::Relaxed), 5);
        assert_eq!(parallel(&[0, 2], work), Ok(()));
        assert_eq!(parallel(&[], work), Ok(()));
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
