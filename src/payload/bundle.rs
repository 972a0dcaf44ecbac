//! Makes one file of a program, a worker and an ONNX Runtime. Needs no Rust and no network: any build of edgebench can.

use super::fatbin::Arch;
use super::format::{self, Index, Kernels, Package, Part};
use super::gather::{Entry, Gathered, program, unreadable};
use super::parallel;
use crate::error::{Error, Result};
use std::fs::{File, Permissions};
use std::io::{self, Seek, Write};
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
    let scratch = tempfile::Builder::new()
        .prefix(".edgebench-bundle-")
        .tempdir_in(folder)
        .map_err(unwritable)?;
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
    let (parts, mut packed) =
        compress(&gathered.parts, scratch.path(), request.level, tell).map_err(unwritable)?;
    let mut program = File::open(&front.path).map_err(|cause| unreadable(&front.path, &cause))?;
    let front_sha256 = format::digest(io::Read::take(&program, front.facts.end))
        .and_then(|digest| io::Seek::rewind(&mut program).map(|()| digest))
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
    let mut staged = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
    let bytes = format::write(&mut program, &index, &mut packed, staged.as_file_mut())
        .and_then(|()| {
            let file = staged.as_file();
            file.set_permissions(Permissions::from_mode(0o755))?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        })
        .map_err(unwritable)?;
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

/// Compresses every part, several at once, and returns them with the file that has one after the other.
fn compress(
    entries: &[Entry],
    scratch: &Path,
    level: i32,
    tell: &mut dyn FnMut(Step),
) -> io::Result<(Vec<Part>, File)> {
    entries
        .iter()
        .for_each(|entry| tell(Step::Packing(&entry.name)));
    let mut work = Vec::new();
    for entry in entries {
        work.push((entry, entry.source.len()?, tempfile::tempfile_in(scratch)?));
    }
    // The longest first, so that no thread is left alone with it at the end.
    let mut order: Vec<_> = work.iter().collect();
    order.sort_by_key(|(_, bytes, _)| std::cmp::Reverse(*bytes));
    parallel(&order, |(entry, bytes, out)| {
        let mut encoder = zstd::Encoder::new(out, level)?;
        encoder.include_checksum(true)?;
        encoder.set_pledged_src_size(Some(*bytes))?;
        encoder.long_distance_matching(true)?;
        encoder.window_log(format::WINDOW_LOG)?;
        io::copy(&mut entry.source.open()?, &mut encoder)?;
        encoder.finish()?.flush()
    })?;
    let mut all = tempfile::tempfile_in(scratch)?;
    let mut parts = Vec::new();
    for (entry, bytes, mut packed) in work {
        packed.rewind()?;
        let sha256 = format::digest(&packed)?;
        packed.rewind()?;
        let stored = io::copy(&mut packed, &mut all)?;
        parts.push(Part {
            name: entry.name.clone(),
            kind: entry.kind,
            bytes,
            stored,
            sha256,
        });
    }
    all.flush()?;
    Ok((parts, all))
}
