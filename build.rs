//! Obtains ONNX Runtime for the build: what `EDGEBENCH_ORT` names, else a pinned wheel through pip, unpacked into a cache that
//! all builds share. Hands the program the library's path and the commit; links nothing.

#[path = "src/cachedir.rs"]
mod cachedir;
#[path = "src/payload/wheel.rs"]
mod wheel;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The pinned release of ONNX Runtime.
const VERSION: &str = "1.31.1";

/// A wheel of that release: its project, the machine it is for, the platforms pip may pick it by, its SHA-256.
struct Pin {
    project: &'static str,
    arch: &'static str,
    platforms: &'static [&'static str],
    sha256: &'static str,
}

const PINS: [Pin; 4] = [
    Pin {
        project: "onnxruntime",
        arch: "x86_64",
        platforms: &["manylinux_2_28_x86_64"],
        sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
    },
    Pin {
        project: "onnxruntime",
        arch: "aarch64",
        platforms: &["manylinux_2_28_aarch64"],
        sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
    },
    Pin {
        project: "onnxruntime-gpu",
        arch: "x86_64",
        platforms: &["manylinux_2_28_x86_64", "manylinux_2_27_x86_64"],
        sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
    },
    Pin {
        project: "onnxruntime-gpu",
        arch: "aarch64",
        platforms: &["manylinux_2_28_aarch64", "manylinux_2_34_aarch64"],
        sha256: "a0f1725c5a6d1ef82d63498b5ebc25e2c90c9560e91dc76db9be4a49162d4d33",
    },
];

/// What the program is made of: a change here can change it, and makes the commit `-dirty` until it is committed.
const SOURCES: [&str; 5] = ["build.rs", "Cargo.toml", "Cargo.lock", "src", "models"];

/// Folder of the committed results.
const BENCHMARKS: &str = "benchmarks";

/// The list of baselines in it; the program is made of what that names too.
const BASELINES: &str = "baselines.json";

/// Value of `EDGEBENCH_ORT` for a build that gets its runtime later, from `edgebench bundle`: nothing is fetched, and no path of
/// the machine that builds is compiled in.
const NONE: &str = "none";

fn main() {
    for variable in [
        "EDGEBENCH_ORT",
        "EDGEBENCH_ORT_WHEEL",
        "XDG_CACHE_HOME",
        "HOME",
    ] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    sources().iter().for_each(|source| watch(source));
    if let Err(cause) = pack_references() {
        println!("cargo::error=could not pack the reference logits of models/: {cause}");
    }
    if let Err(cause) = pack_baselines() {
        println!("cargo::error=could not pack the baselines of {BENCHMARKS}/{BASELINES}: {cause}");
    }
    println!(
        "cargo::rustc-env=EDGEBENCH_COMMIT={}",
        commit().unwrap_or_default()
    );
    if variable("EDGEBENCH_ORT").as_deref() == Some(NONE) {
        println!("cargo::rustc-env=EDGEBENCH_BUILD_ORT=");
        return;
    }
    match runtime().and_then(one_line) {
        Ok(library) => {
            println!("cargo::rustc-env=EDGEBENCH_BUILD_ORT={library}");
            // Named even if it goes missing, so that the next build fetches it again.
            println!("cargo::rerun-if-changed={library}");
        }
        Err(sentence) => println!("cargo::error={}", sentence.replace('\n', " ")),
    }
}

/// Packs the reference logits into one compressed block for the program.
fn pack_references() -> std::io::Result<()> {
    let models = Path::new("models");
    let mut names = Vec::new();
    for folder in ["golden", "logits"] {
        for entry in fs::read_dir(models.join(folder))? {
            let name = entry?.file_name();
            names.push(format!("{folder}/{}", name.to_string_lossy()));
        }
    }
    names.sort();
    pack(models, &names, "references.zst")
}

/// Packs the list of baselines and the files that it names into another.
fn pack_baselines() -> std::io::Result<()> {
    let mut names = vec![BASELINES.to_owned()];
    names.extend(baseline_files()?);
    pack(Path::new(BENCHMARKS), &names, "baselines.zst")
}

/// The files that the list of baselines names, each once.
fn baseline_files() -> std::io::Result<Vec<String>> {
    let list = fs::read_to_string(Path::new(BENCHMARKS).join(BASELINES))?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    let baselines = list.as_array().into_iter().flatten();
    let files = baselines.flat_map(|baseline| baseline["files"].as_array().into_iter().flatten());
    let names = files.filter_map(|file| Some(file.as_str()?.to_owned()));
    Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
}

/// Packs files into one block: each as a line with its name below `folder` and its length, and its content.
fn pack(folder: &Path, names: &[String], packed: &str) -> std::io::Result<()> {
    const LEVEL: i32 = 19;
    let mut block = Vec::new();
    for name in names {
        let file = folder.join(name);
        let content = fs::read(&file).map_err(|cause| {
            std::io::Error::new(cause.kind(), format!("{}: {cause}", file.display()))
        })?;
        block.extend(format!("{name} {}\n", content.len()).into_bytes());
        block.extend(content);
    }
    let block = zstd::bulk::compress(&block, LEVEL)?;
    let out = PathBuf::from(variable("OUT_DIR").unwrap_or_default());
    fs::write(out.join(packed), block)
}

/// The library that this build uses.
fn runtime() -> Result<PathBuf, String> {
    let arch = variable("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if let Some(given) = env::var_os("EDGEBENCH_ORT").filter(|value| !value.is_empty()) {
        watch(Path::new(&given));
        return wheel::resolve(Path::new(&given), &arch, cachedir::root)
            .map_err(|sentence| format!("EDGEBENCH_ORT: {sentence}"));
    }
    let project = match variable("EDGEBENCH_ORT_WHEEL").as_deref() {
        Some("cuda") => "onnxruntime-gpu",
        Some("cpu") => "onnxruntime",
        Some(other) => {
            return Err(format!(
                "EDGEBENCH_ORT_WHEEL is {other:?}; set it to cpu or cuda, or unset it"
            ));
        }
        None if env::var_os("CARGO_FEATURE_CUDA").is_some() => "onnxruntime-gpu",
        None => "onnxruntime",
    };
    let linux = variable("CARGO_CFG_TARGET_OS").as_deref() == Some("linux");
    let pin = PINS
        .iter()
        .find(|pin| linux && pin.project == project && pin.arch == arch)
        .ok_or_else(|| {
            format!("no {project} wheel is pinned for this target, only for Linux on x86_64 and aarch64; set EDGEBENCH_ORT to a wheel, a folder or a libonnxruntime.so")
        })?;
    let folder = wheel::folder(&cachedir::root()?, pin.sha256);
    match wheel::unpacked(&folder, pin.arch) {
        Some(library) => Ok(library),
        None => fetch(pin, &folder),
    }
}

/// Downloads the pinned wheel, checks it and unpacks it into `folder`.
fn fetch(pin: &Pin, folder: &Path) -> Result<PathBuf, String> {
    let scratch =
        tempfile::tempdir_in(variable("OUT_DIR").unwrap_or_default()).map_err(|cause| {
            format!("could not make a folder for the download: {cause}; check the target folder")
        })?;
    let file = download(pin, scratch.path())?;
    let found = wheel::digest(&file)?;
    if found != pin.sha256 {
        return Err(format!(
            "the {}=={VERSION} wheel that pip fetched has SHA-256 {found} where {} is pinned, so it is not used; check which index pip is set to ask, or {}",
            pin.project,
            pin.sha256,
            elsewhere(pin)
        ));
    }
    wheel::unpack(&file, folder, pin.arch)
}

/// Has pip put the wheel into `folder`, and returns its path.
fn download(pin: &Pin, folder: &Path) -> Result<PathBuf, String> {
    let name = format!("{}=={VERSION}", pin.project);
    let output = Command::new("python3")
        .args(pip_arguments(pin))
        .args(["--quiet", "--no-input", "--disable-pip-version-check", "-d"])
        .arg(folder)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => {
                format!("there is no python3 on PATH to fetch {name} with; install python3 with pip, or {}", elsewhere(pin))
            }
            _ => format!("could not run python3 to fetch {name}: {cause}; mend it, or {}", elsewhere(pin)),
        })?;
    if !output.status.success() {
        return Err(pip_failure(pin, &String::from_utf8_lossy(&output.stderr)));
    }
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| {
            format!(
                "pip reported success but left no {name} wheel; {}",
                elsewhere(pin)
            )
        })
}

/// One sentence for what pip printed.
fn pip_failure(pin: &Pin, stderr: &str) -> String {
    /// Causes that mean pip never got an answer; its own last line hides them behind "no matching distribution".
    const NETWORK: [&str; 8] = [
        "Connection refused",
        "Temporary failure in name resolution",
        "Name or service not known",
        "Network is unreachable",
        "No route to host",
        "Cannot connect to proxy",
        "certificate verify failed",
        "timed out",
    ];
    let name = format!("{}=={VERSION}", pin.project);
    let elsewhere = elsewhere(pin);
    if stderr.contains("No module named pip") {
        return format!(
            "python3 has no pip to fetch {name} with; install it (python3 -m ensurepip, or the package python3-pip), or {elsewhere}"
        );
    }
    if let Some(cause) = NETWORK.iter().find(|cause| stderr.contains(**cause)) {
        return format!(
            "pip could not reach its package index to fetch {name} ({cause}); connect this machine and build again, or {elsewhere}"
        );
    }
    let lines = || {
        stderr
            .lines()
            .rev()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let cause = lines()
        .find_map(|line| line.strip_prefix("ERROR: "))
        .or_else(|| lines().next());
    format!(
        "pip could not fetch {name} ({}); mend that, or {elsewhere}",
        cause.unwrap_or("it gave no reason")
    )
}

/// The remedy that works without pip on this machine.
fn elsewhere(pin: &Pin) -> String {
    format!(
        "run `python3 {}` on a machine that can and build with EDGEBENCH_ORT set to the .whl file it writes (or to a folder or libonnxruntime.so)",
        pip_arguments(pin).join(" ")
    )
}

/// The arguments that make any python3 pick the pinned wheel, whatever its own version and machine.
fn pip_arguments(pin: &Pin) -> Vec<String> {
    let fixed =
        "--no-deps --only-binary=:all: --python-version 3.12 --implementation cp --abi cp312";
    [
        "-m",
        "pip",
        "download",
        &format!("{}=={VERSION}", pin.project),
    ]
    .into_iter()
    .chain(fixed.split(' '))
    .chain(
        pin.platforms
            .iter()
            .flat_map(|platform| ["--platform", platform]),
    )
    .map(str::to_owned)
    .collect()
}

/// [`SOURCES`], the list of baselines and the files that it names.
fn sources() -> Vec<PathBuf> {
    let carried = baseline_files().unwrap_or_default().into_iter();
    let carried = std::iter::once(BASELINES.to_owned()).chain(carried);
    let carried = carried.map(|name| Path::new(BENCHMARKS).join(name));
    SOURCES.iter().map(PathBuf::from).chain(carried).collect()
}

/// The commit of this checkout; nothing outside one (a released archive, or a folder inside somebody else's repository).
fn commit() -> Option<String> {
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    for name in ["HEAD", "logs/HEAD", branch.as_str()]
        .into_iter()
        .filter(|name| !name.is_empty())
    {
        watch(Path::new(&git(&["rev-parse", "--git-path", name])?));
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let sources = sources();
    let present = sources.iter().filter(|source| source.exists());
    let status: Vec<&str> = ["--no-optional-locks", "status", "--porcelain", "--"]
        .into_iter()
        .chain(present.filter_map(|source| source.to_str()))
        .collect();
    let suffix = if git(&status)?.is_empty() {
        ""
    } else {
        "-dirty"
    };
    Some(commit + suffix)
}

/// What git prints, trimmed; nothing when it is absent or refuses.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs this script again when the path changes. Not for an absent path, which cargo would take for changed every time.
fn watch(path: &Path) {
    if path.exists()
        && let Some(path) = path.to_str()
    {
        println!("cargo::rerun-if-changed={path}");
    }
}

/// The path as cargo can be told it.
fn one_line(library: PathBuf) -> Result<String, String> {
    match library.to_str() {
        Some(path) if !path.contains(['\n', '\r']) => Ok(path.to_owned()),
        _ => Err(format!(
            "the path {library:?} is not one line of UTF-8, which cargo needs; set XDG_CACHE_HOME or EDGEBENCH_ORT to a plain path"
        )),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
