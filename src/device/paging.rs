//! Swap and page faults as the kernel counts them, under a root path that tests replace.

use super::memory::kibibytes;
use super::tree::Tree;
use crate::protocol::Told;
use crate::trial::Swapped;
use crate::units::Bytes;
use std::path::Path;

/// Page faults that waited for a disk, in `/proc/self/stat` behind the name: its tenth word, the twelfth of all.
const MAJOR_FAULTS: usize = 9;

/// The counters of one moment. All but the first only rise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagingLook {
    /// What of this process is in swap.
    pub worker_swap: Told<Bytes>,
    /// Its page faults so far that waited for a disk.
    pub major_faults: Told<u64>,
    /// What the whole host swapped so far.
    pub swapped: Told<Swapped>,
}

/// Reads them.
#[derive(Debug)]
pub struct PagingCounters {
    tree: Tree,
    page: u64,
}

impl PagingCounters {
    /// Of this process and its host, under `/` or a folder that looks like it.
    pub fn open(root: &Path) -> PagingCounters {
        PagingCounters {
            tree: Tree::new(root),
            page: rustix::param::page_size() as u64,
        }
    }

    /// What is told now.
    pub fn read(&self) -> PagingLook {
        PagingLook {
            worker_swap: self.worker_swap(),
            major_faults: self.major_faults(),
            swapped: self.swapped(),
        }
    }

    fn worker_swap(&self) -> Told<Bytes> {
        let text = self.tree.text("/proc/self/status")?;
        let found = text.lines().find_map(|line| kibibytes(line, "VmSwap"));
        found.ok_or_else(|| "/proc/self/status has no VmSwap".into())
    }

    fn major_faults(&self) -> Told<u64> {
        let text = self.tree.text("/proc/self/stat")?;
        // The name of the process may have spaces and brackets of its own.
        let words = text.rsplit_once(')').map(|(_, words)| words);
        let word = words.and_then(|words| words.split_ascii_whitespace().nth(MAJOR_FAULTS));
        word.and_then(|word| word.parse().ok())
            .ok_or_else(|| "/proc/self/stat tells no page faults".into())
    }

    fn swapped(&self) -> Told<Swapped> {
        let text = self.tree.text("/proc/vmstat")?;
        let pages = |name: &str| -> Told<Bytes> {
            let line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
            let pages: Option<u64> = text.lines().find_map(line);
            let bytes = pages.and_then(|pages| Bytes(pages).checked_mul(self.page));
            bytes.ok_or_else(|| format!("/proc/vmstat has no {name}"))
        };
        Ok(Swapped {
            read: pages("pswpin")?,
            written: pages("pswpout")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const STAT: &str = "42 (edge (bench) w) R 1 1 1 0 -1 4194304 99 0 17 0 5 6 0 0 20 0";

    #[test]
    fn counters_come_from_the_kernels_files() {
        let (root, _) = planted(&[
            ("proc/self/status", "Name:\tx\nVmSwap:\t  1024 kB\n"),
            ("proc/self/stat", STAT),
            ("proc/vmstat", "pswpin 3\npswpin_zero 8\npswpout 5\n"),
        ]);
        let counters = PagingCounters::open(root.path());
        let look = counters.read();
        assert_eq!(look.worker_swap, Ok(Bytes(1 << 20)));
        assert_eq!(look.major_faults, Ok(17));
        let expected = Swapped {
            read: Bytes(3 * counters.page),
            written: Bytes(5 * counters.page),
        };
        assert_eq!(look.swapped, Ok(expected));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_a_reason() {
        let (root, _) = planted(&[]);
        let look = PagingCounters::open(root.path()).read();
        for reason in [
            look.worker_swap.unwrap_err(),
            look.major_faults.unwrap_err(),
            look.swapped.unwrap_err(),
        ] {
            assert!(reason.contains("is not there"), "{reason}");
        }
        let (root, _) = planted(&[
            ("proc/self/status", "VmSwap: many kB"),
            ("proc/self/stat", "42 (x) R 1"),
            ("proc/vmstat", "pswpin 3\npswpout 99999999999999999999\n"),
        ]);
        let look = PagingCounters::open(root.path()).read();
        assert!(look.worker_swap.unwrap_err().contains("no VmSwap"));
        assert!(look.major_faults.unwrap_err().contains("no page faults"));
        assert!(look.swapped.unwrap_err().contains("no pswpout"));
    }

    #[test]
    fn this_machine_counts_the_page_faults_of_this_process() {
        let counters = PagingCounters::open(Path::new("/"));
        let (first, second) = (counters.read(), counters.read());
        assert!(first.major_faults.unwrap() <= second.major_faults.unwrap());
    }
}
