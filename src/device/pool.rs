//! Reads what is told of a memory that CPU and GPU share, below a root folder. Nothing is computed here.

use super::memory::kibibytes;
use super::tree::Tree;
use crate::protocol::Told;
use crate::trial::PoolReading;
use crate::units::Bytes;
use std::path::Path;

/// The driver's list of who holds GPU memory; for root alone, and not there on Thor and GB10.
const CLIENTS: &str = "/sys/kernel/debug/nvmap/iovmm/clients";

/// Looks at the shared memory for one process.
#[derive(Debug, Clone)]
pub struct Pool {
    tree: Tree,
    pid: u32,
}

impl Pool {
    /// The system at `root`, for this process.
    pub fn open(root: &Path) -> Pool {
        Pool {
            tree: Tree::new(root),
            pid: std::process::id(),
        }
    }

    /// What is told now.
    pub fn read(&self) -> PoolReading {
        let text = self.tree.text("/proc/meminfo");
        let field = |name: &str| {
            let text = text.as_ref().map_err(Clone::clone)?;
            let found = text.lines().find_map(|line| kibibytes(line, name));
            found.ok_or_else(|| format!("/proc/meminfo has no {name}"))
        };
        PoolReading {
            process: self
                .tree
                .text(CLIENTS)
                .and_then(|list| held_by(self.pid, &list)),
            gpu: field("NvMapMemUsed"),
            // Of the whole machine, not of a control group: the GPU's memory is in none.
            available: field("MemAvailable"),
        }
    }
}

/// The sum of a process's lines in the list, which are `user name pid size`, the size with a letter for its unit. Names may have
/// spaces. A process that is not listed is not known to hold nothing: inside a container it has another number.
fn held_by(pid: u32, list: &str) -> Told<Bytes> {
    let mut sum = None;
    for line in list.lines() {
        let mut words = line.split_ascii_whitespace().rev();
        let (Some(last), Some(number)) = (words.next(), words.next()) else {
            continue;
        };
        if number.parse() == Ok(pid) {
            let bytes =
                size(last).ok_or_else(|| format!("{CLIENTS} has a size that is none: {last}"))?;
            sum = Some(sum.unwrap_or(Bytes(0)) + bytes);
        }
    }
    sum.ok_or_else(|| format!("{CLIENTS} does not list this process"))
}

/// `43588K`.
fn size(text: &str) -> Option<Bytes> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "" | "B" => 1,
        "K" | "kB" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    Bytes(number.parse().ok()?).checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::super::tree::{planted, recorded};
    use super::*;

    const LIST: &str = "CLIENT                        PROCESS      PID        SIZE\n\
        user                             Xorg     1021      30720K\n\
        user                 edgebench worker     4242     102400K\n\
        user                        edgebench     4242          1M\n\
        user                           python    14242          3G\n\
        total                                           3279872K\n";

    #[test]
    fn a_process_holds_the_sum_of_its_lines() {
        assert_eq!(held_by(4242, LIST), Ok(Bytes((100 << 20) + (1 << 20))));
        assert_eq!(held_by(14242, LIST), Ok(Bytes(3 << 30)));
        for pid in [1, 242, 3_279_872] {
            let reason = held_by(pid, LIST).unwrap_err();
            assert!(reason.contains("does not list"), "{reason}");
        }
        for bad in [
            "user x 7 12X",
            "user x 7 K",
            "user x 7 99999999999999999999K",
        ] {
            assert!(held_by(7, bad).unwrap_err().contains("a size that is none"));
        }
        assert!(held_by(7, "").is_err());
    }

    #[test]
    fn a_board_tells_what_it_has_and_why_not() {
        let meminfo = "MemTotal: 8000 kB\nMemAvailable: 6000 kB\nNvMapMemUsed: 512 kB\n";
        let (root, _) = planted(&[
            ("proc/meminfo", meminfo),
            (CLIENTS.trim_start_matches('/'), LIST),
        ]);
        let mut pool = Pool::open(root.path());
        pool.pid = 4242;
        let expected = PoolReading {
            process: Ok(Bytes(101 << 20)),
            gpu: Ok(Bytes(512 << 10)),
            available: Ok(Bytes(6000 << 10)),
        };
        assert_eq!(pool.read(), expected);

        let (root, _) = recorded("orin");
        let orin = Pool::open(root.path()).read();
        assert_eq!(orin.gpu, Ok(Bytes(401_408 << 10)));
        assert!(orin.process.unwrap_err().contains("is not there"));
        let (root, _) = recorded("thor");
        let thor = Pool::open(root.path()).read();
        assert!(thor.gpu.unwrap_err().contains("NvMapMemUsed"));
        assert!(thor.available.is_ok());

        let (root, _) = planted(&[]);
        let nothing = Pool::open(root.path()).read();
        for reason in [nothing.process, nothing.gpu, nothing.available] {
            assert!(reason.unwrap_err().contains("is not there"));
        }
    }
}
