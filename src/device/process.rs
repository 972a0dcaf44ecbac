//! Memory of this process as the kernel tells it, under a root path that tests replace.

use crate::units::Bytes;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The exact figures of `/proc/self/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// `RssAnon` + `RssShmem`.
    pub anon: Option<Bytes>,
    /// `RssFile`.
    pub file: Option<Bytes>,
    /// `VmData`: private writable memory, resident or not, which is what `RLIMIT_DATA` counts.
    pub data: Option<Bytes>,
    /// `VmHWM`: most resident memory since the start or the last [`ProcessMemory::reset_peak`].
    pub peak: Option<Bytes>,
}

impl Status {
    /// Resident memory, anonymous and file-backed.
    pub fn resident(&self) -> Option<Bytes> {
        Some(self.anon? + self.file?)
    }
}

/// Reads one process's memory.
#[derive(Debug)]
pub struct ProcessMemory {
    folder: PathBuf,
    statm: Option<File>,
    page: u64,
}

impl ProcessMemory {
    /// This process, under `/proc` or a folder that looks like it.
    pub fn open(proc_root: &Path) -> ProcessMemory {
        let folder = proc_root.join("self");
        ProcessMemory {
            // Opened once: a sample is then one read.
            statm: File::open(folder.join("statm")).ok(),
            folder,
            page: rustix::param::page_size() as u64,
        }
    }

    /// The exact figures.
    pub fn status(&self) -> Status {
        let text = std::fs::read_to_string(self.folder.join("status")).unwrap_or_default();
        let field = |name: &str| text.lines().find_map(|line| kibibytes(line, name));
        Status {
            anon: field("RssAnon:").map(|anon| anon + field("RssShmem:").unwrap_or_default()),
            file: field("RssFile:"),
            data: field("VmData:"),
            peak: field("VmHWM:"),
        }
    }

    /// Resident and shared memory in one cheap read: `(resident, file-backed)`. Shared memory counts as file-backed here.
    pub fn quick(&self) -> Option<(Bytes, Bytes)> {
        let mut buffer = [0; 256];
        let length = self.statm.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(buffer.get(..length)?).ok()?;
        let mut pages = text.split_ascii_whitespace().skip(1).map(str::parse::<u64>);
        let resident = pages.next()?.ok()?.checked_mul(self.page)?;
        let shared = pages.next()?.ok()?.checked_mul(self.page)?;
        Some((Bytes(resident), Bytes(shared.min(resident))))
    }

    /// Sets `VmHWM` back to what is resident now. `false` where the kernel does not let us.
    pub fn reset_peak(&self) -> bool {
        // Never created: only the kernel's own file counts. 5 is "reset the peak" (proc_pid_clear_refs(5)).
        std::fs::OpenOptions::new()
            .write(true)
            .open(self.folder.join("clear_refs"))
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"5"))
            .is_ok()
    }
}

/// `RssAnon:     112 kB` → 112 KiB.
fn kibibytes(line: &str, name: &str) -> Option<Bytes> {
    let mut words = line.strip_prefix(name)?.split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    if words.next() != Some("kB") {
        return None;
    }
    Bytes(number).checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(status: &str, statm: &str) -> (tempfile::TempDir, ProcessMemory) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("self")).unwrap();
        std::fs::write(root.path().join("self/status"), status).unwrap();
        std::fs::write(root.path().join("self/statm"), statm).unwrap();
        let memory = ProcessMemory::open(root.path());
        (root, memory)
    }

    #[test]
    fn status_fields_are_kibibytes_and_shared_memory_is_not_file_backed() {
        let (_root, memory) = machine(
            "VmHWM:\t  100 kB\nVmData:\t  70 kB\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\nRssShmem:\t   5 kB\n",
            "9 3 2 0 0 0 0\n",
        );
        let expected = Status {
            anon: Some(Bytes(15 << 10)),
            file: Some(Bytes(20 << 10)),
            data: Some(Bytes(70 << 10)),
            peak: Some(Bytes(100 << 10)),
        };
        assert_eq!(memory.status(), expected);
        assert_eq!(
            memory.quick(),
            Some((Bytes(3 * memory.page), Bytes(2 * memory.page)))
        );
        assert!(!memory.reset_peak());
    }

    #[test]
    fn what_is_not_told_or_not_readable_is_none() {
        let (_root, memory) = machine(
            "RssAnon: 10\nRssFile: -1 kB\nVmHWM: 99999999999999999999 kB\n",
            "7\n",
        );
        assert_eq!(memory.status(), Status::default());
        assert_eq!(memory.quick(), None);
        let nowhere = ProcessMemory::open(Path::new("/nonexistent"));
        assert_eq!(
            (nowhere.status(), nowhere.quick()),
            (Status::default(), None)
        );
    }

    #[test]
    fn this_machine_tells_and_its_peak_can_be_reset() {
        let memory = ProcessMemory::open(Path::new("/proc"));
        assert!(memory.status().peak >= memory.status().anon);
        assert!(memory.quick().is_some());
        // Other tests of this process grow meanwhile, hence the tries.
        let falls = || {
            drop(std::hint::black_box(vec![1u8; 64 << 20]));
            let before = memory.status().peak;
            !memory.reset_peak() || memory.status().peak < before
        };
        assert!((0..50).any(|_| falls()));
    }
}
