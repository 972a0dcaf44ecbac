//! The payload in anonymous memory files, for machines that have no folder for it.

use super::format::{Package, Part};
use super::install::{extracted, fill};
use super::parallel;
use super::scratch::Scratch;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Folders of links start with this.
pub const LINKS: &str = ".edgebench-links-";

/// Files without names, and a folder of links to them. ONNX Runtime looks for its providers beside the path it was loaded by,
/// so such a folder stands in for one of files; the links lead through the descriptors that the worker inherits.
#[derive(Debug)]
pub struct Unpacked {
    links: Scratch,
    _files: Vec<File>,
}

impl Unpacked {
    /// Unpacks everything. The links go to `root` if it takes them, else to a folder for passing things.
    pub fn new(package: &Package, root: &Path) -> io::Result<Unpacked> {
        let places = [root.to_owned(), std::env::temp_dir(), "/dev/shm".into()];
        let links = places
            .iter()
            .find_map(|place| Scratch::new(place, LINKS).ok())
            .ok_or_else(|| io::Error::other("no folder can be written, not even for links"))?;
        let parts: Vec<_> = extracted(package).collect();
        let files: Vec<File> = parts
            .iter()
            .map(|(part, _)| nameless(part))
            .collect::<io::Result<_>>()?;
        let work: Vec<_> = parts.iter().zip(&files).collect();
        parallel(&work, |((part, at), file)| {
            fill(file, &mut package.content(part, *at)?, part.bytes)
        })?;
        for ((part, _), file) in &work {
            let target = format!("/proc/self/fd/{}", file.as_raw_fd());
            symlink(target, links.path().join(&part.name))?;
        }
        Ok(Unpacked {
            links,
            _files: files,
        })
    }

    /// The folder that the files seem to be in.
    pub fn folder(&self) -> &Path {
        self.links.path()
    }
}

/// A file that a child inherits and may execute.
fn nameless(part: &Part) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    // Kernels from 6.3 want to be told that it may be executed; older ones do not know the flag.
    let made = memfd_create(&*part.name, MemfdFlags::EXEC)
        .or_else(|_| memfd_create(&*part.name, MemfdFlags::empty()))?;
    Ok(File::from(made))
}
