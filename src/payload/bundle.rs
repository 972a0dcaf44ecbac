//! Makes one file of a program, a worker and an ONNX Runtime. Needs no Rust and no network: any build of edgebench can.

use super::fatbin::Arch;
use super::format::{self, Index, Kernels, Kind, Package, Part};
use super::gather::{Entry, Gathered, program, unreadable};
use super::scratch::Scratch;
use crate::error::{Error, Result};
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What to pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRequest {
    /// The file to make.
    pub output: PathBuf,
    /// The program the payload is appended to; `None` for this one, without its own payload.
    pub front: Option<PathBuf>,
    /// The worker; `None` for the one this program carries, or this program where it is linked dynamically.
    pub worker: Option<PathBuf>,
    /// ONNX Runtime: a wheel, a folder or a library; `None` for the one this program carries or was built with.
    pub ort: Option<PathBuf>,
    /// GPU architectures to keep; empty for all.
    pub cuda_archs: Vec<Arch>,
    /// Folders and wheels to take CUDA's libraries from; empty to leave them out.
    pub cuda_libs: Vec<PathBuf>,
    /// More licences and notices to carry.
    pub notices: Vec<PathBuf>,
    /// Level of the compression, 1 to 22.
    pub level: i32,
}

/// What is being done, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A part is being compressed.
    Packing(&'a str),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The file.
    pub output: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Length of the program in front of the payload.
    pub front_bytes: u64,
    /// Whether that program is linked statically.
    pub static_front: bool,
    /// The machine it is for.
    pub arch: String,
    /// The newest version of glibc that worker and runtime need.
    pub glibc: Option<(u32, u32)>,
    /// The parts.
    pub parts: Vec<Part>,
    /// GPU kernels kept and blanked, by library.
    pub kernels: Vec<Kernels>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Packs a file.
pub fn bundle(request: &BundleRequest, tell: &mut dyn FnMut(Step)) -> Result<Summary> {
    let unwritable = |cause| Error::output(&request.output, cause, " with -o");
    let folder = match request.output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    refuse_what_is_no_file(&request.output).map_err(unwritable)?;
    let scratch = Scratch::new(folder, SCRATCH).map_err(unwritable)?;
    let own = own_package_for(request)?;
    let front = program(request.front.as_deref(), "--front")?;
    let arch = front.facts.machine.ok_or_else(|| {
        Error::Usage(format!(
            "--front {} is for a machine that edgebench does not run on; use a build for x86_64 or aarch64",
            front.path.display()
        ))
    })?;
    let mut gathered = Gathered::new(request, own.as_ref(), scratch.path(), arch);
    gathered.worker(&front)?;
    let runtime_source = gathered.runtime()?;
    gathered.cuda()?;
    gathered.own_texts()?;
    let glibc = gathered.glibc();
    let (parts, mut packed) = compress(&gathered.parts, scratch.path(), request.level, tell)
        .map_err(|failed| match failed {
            Failed::Reading(path, cause) => unreadable(&path, &cause),
            Failed::Writing(cause) => unwritable(cause),
        })?;
    let mut program = File::open(&front.path).map_err(|cause| unreadable(&front.path, &cause))?;
    let front_sha256 = format::digest((&program).take(front.facts.end))
        .and_then(|digest| program.rewind().map(|()| digest))
        .map_err(|cause| unreadable(&front.path, &cause))?;
    let index = Index {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arch: arch.to_owned(),
        front_bytes: front.facts.end,
        front_sha256,
        runtime_source,
        kernels: gathered.kernels,
        parts,
    };
    let mut staged = tempfile::NamedTempFile::new_in(scratch.path()).map_err(unwritable)?;
    let bytes = format::write(&mut program, &index, &mut packed, staged.as_file_mut())
        .and_then(|()| {
            let file = staged.as_file();
            file.set_permissions(Permissions::from_mode(0o755))?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        })
        .map_err(unwritable)?;
    prove(staged.path())?;
    staged
        .persist(&request.output)
        .map_err(|failed| unwritable(failed.error))?;
    Ok(Summary {
        output: request.output.clone(),
        bytes,
        front_bytes: index.front_bytes,
        static_front: !front.facts.interpreted,
        arch: index.arch,
        glibc,
        parts: index.parts,
        kernels: index.kernels,
        notes: gathered.notes,
    })
}

/// The payload to take from, unless the request names everything itself.
fn own_package_for(request: &BundleRequest) -> Result<Option<Package>> {
    if request.worker.is_some() && request.ort.is_some() {
        return Ok(None);
    }
    super::own_package()
}

/// The folder beside the output that everything is prepared in.
const SCRATCH: &str = ".edgebench-bundle-";

/// A rename would put the file in the place of a device or a pipe, and cannot replace a folder.
fn refuse_what_is_no_file(output: &Path) -> io::Result<()> {
    let ends_in_slash = output.as_os_str().as_bytes().ends_with(b"/");
    let flaw = match std::fs::metadata(output) {
        Ok(facts) if facts.is_dir() => "it is a folder, not a file",
        Ok(facts) if !facts.is_file() => "it is not a regular file",
        _ if ends_in_slash || output.file_name().is_none() => "it does not name a file",
        _ => return Ok(()),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, flaw))
}

/// Reads back what was written: no file is handed out that would refuse to start.
fn prove(path: &Path) -> Result<()> {
    let bug = |cause: String| Error::Bug(format!("the file that was packed is refused: {cause}"));
    match Package::open(path) {
        Ok(Some(package)) => package.verify().map_err(|cause| bug(cause.to_string())),
        Ok(None) => Err(bug("no payload is found in it".to_owned())),
        Err(cause) => Err(bug(cause.to_string())),
    }
}

/// What went wrong while a part was compressed.
enum Failed {
    Reading(PathBuf, io::Error),
    Writing(io::Error),
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Failed {
        Failed::Writing(cause)
    }
}

/// Compresses every part, one after the other in one scratch file.
fn compress(
    entries: &[Entry],
    scratch: &Path,
    level: i32,
    tell: &mut dyn FnMut(Step),
) -> Result<(Vec<Part>, File), Failed> {
    let mut out = tempfile::tempfile_in(scratch)?;
    let mut parts = Vec::new();
    for Entry { kind, name, source } in entries {
        // Texts take no time worth telling of.
        if *kind != Kind::Notice {
            tell(Step::Packing(name));
        }
        let unread = |cause| Failed::Reading(source.path().to_owned(), cause);
        let mut content = source.open().map_err(unread)?;
        let (begin, bytes) = (out.stream_position()?, source.len().map_err(unread)?);
        let mut encoder = zstd::Encoder::new(&mut out, level)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(bytes))?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(format::WINDOW_LOG)?;
        io::copy(&mut content, &mut encoder)?;
        encoder.finish()?;
        let end = out.stream_position()?;
        out.seek(SeekFrom::Start(begin))?;
        let sha256 = format::digest((&out).take(end - begin))?;
        out.seek(SeekFrom::Start(end))?;
        parts.push(Part {
            name: name.clone(),
            kind: *kind,
            bytes,
            stored: end - begin,
            sha256,
        });
    }
    out.flush()?;
    Ok((parts, out))
}
