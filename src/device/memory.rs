//! Main memory as the kernel counts it, inside the limit of a control group where there is one.

use super::tree::Tree;
use crate::protocol::Told;
use crate::units::Bytes;

/// Main memory, swap and what the Jetson's GPU driver holds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainMemory {
    /// All of it.
    pub total: Told<Bytes>,
    /// What a new program can have without swapping, inside the limit.
    pub available: Told<Bytes>,
    /// Swap space.
    pub swap_total: Told<Bytes>,
    /// Swap space in use.
    pub swap_used: Told<Bytes>,
    /// What the Jetson's GPU driver holds of main memory (`NvMapMemUsed`).
    pub nvmap_used: Told<Bytes>,
    /// Most memory that the control group of this process may use.
    pub limit: Told<Bytes>,
}

/// Reads `/proc/meminfo` and the control group's files.
pub fn main_memory(tree: &Tree) -> MainMemory {
    let text = tree.text("/proc/meminfo");
    let field = |name: &str| -> Told<Bytes> {
        let lines = text.as_ref().map_err(Clone::clone)?;
        lines
            .lines()
            .find_map(|line| kibibytes(line, name))
            .ok_or_else(|| format!("/proc/meminfo has no {name}"))
    };
    let total = field("MemTotal");
    let group = group(tree, total.as_ref().ok().copied());
    let swap_total = field("SwapTotal");
    MainMemory {
        available: field("MemAvailable").map(|available| match &group {
            Ok((_, free)) => available.min(*free),
            Err(_) => available,
        }),
        swap_used: swap_total
            .clone()
            .and_then(|total| Ok(total.saturating_sub(field("SwapFree")?))),
        swap_total,
        nvmap_used: field("NvMapMemUsed"),
        limit: group.map(|(limit, _)| limit),
        total,
    }
}

/// `MemTotal:       24684092 kB`.
pub(super) fn kibibytes(line: &str, name: &str) -> Option<Bytes> {
    let mut words = line
        .strip_prefix(name)?
        .strip_prefix(':')?
        .split_ascii_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    (words.next() == Some("kB")).then_some(Bytes(number).checked_mul(1024))?
}

/// The limit of the control group and what is left of it. Cached files that can be dropped count as left.
fn group(tree: &Tree, total: Option<Bytes>) -> Told<(Bytes, Bytes)> {
    // Version 2, then version 1.
    let files = [
        (
            "/sys/fs/cgroup/memory.max",
            "/sys/fs/cgroup/memory.current",
            "/sys/fs/cgroup/memory.stat",
            "inactive_file ",
        ),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
            "/sys/fs/cgroup/memory/memory.stat",
            "total_inactive_file ",
        ),
    ];
    let known = files.iter().find(|(limit, ..)| tree.has(limit));
    let Some((limit, used, stat, droppable)) = known else {
        return Err("no control group limits it".into());
    };
    let limit = tree
        .count(limit)
        .ok()
        .map(Bytes)
        // "max", or more than there is: no limit.
        .filter(|limit| total.is_none_or(|total| *limit < total))
        .ok_or("no control group limits it")?;
    let used = Bytes(tree.count(used)?);
    let dropped = tree.text(stat).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix(droppable))?;
        line.parse().ok().map(Bytes)
    });
    let held = used.saturating_sub(dropped.unwrap_or_default());
    Ok((limit, limit.saturating_sub(held)))
}

#[cfg(test)]
mod tests {
    use super::super::tree::planted;
    use super::*;

    const MEMINFO: &str = "MemTotal: 8000 kB\nMemFree: 100 kB\nMemAvailable: 6000 kB\nSwapTotal: 4000 kB\nSwapFree: 3000 kB\n";

    #[test]
    fn the_kernels_fields_are_kibibytes() {
        let (_root, tree) = planted(&[(
            "proc/meminfo",
            &format!("{MEMINFO}NvMapMemFree: 1 kB\nNvMapMemUsed: 512 kB\n"),
        )]);
        let memory = main_memory(&tree);
        assert_eq!(memory.total, Ok(Bytes(8000 << 10)));
        assert_eq!(memory.available, Ok(Bytes(6000 << 10)));
        assert_eq!(memory.swap_used, Ok(Bytes(1000 << 10)));
        assert_eq!(memory.nvmap_used, Ok(Bytes(512 << 10)));
        assert!(memory.limit.unwrap_err().contains("no control group"));
    }

    #[test]
    fn a_control_group_limits_what_is_available() {
        for (max, current, stat, line) in [
            (
                "memory.max",
                "memory.current",
                "memory.stat",
                "inactive_file 1024",
            ),
            (
                "memory/memory.limit_in_bytes",
                "memory/memory.usage_in_bytes",
                "memory/memory.stat",
                "cache 9\ntotal_inactive_file 1024",
            ),
        ] {
            let path = |name: &str| format!("sys/fs/cgroup/{name}");
            let (_root, tree) = planted(&[
                ("proc/meminfo", MEMINFO),
                (&path(max), "4096000\n"),
                (&path(current), "1025024"),
                (&path(stat), line),
            ]);
            let memory = main_memory(&tree);
            assert_eq!(memory.limit, Ok(Bytes(4_096_000)), "{max}");
            assert_eq!(memory.available, Ok(Bytes(4_096_000 - 1_024_000)), "{max}");
        }
    }

    #[test]
    fn a_limit_above_all_memory_is_none_and_a_missing_file_a_reason() {
        for none in ["max", "9223372036854771712", "8192000"] {
            let (_root, tree) = planted(&[
                ("proc/meminfo", MEMINFO),
                ("sys/fs/cgroup/memory.max", none),
            ]);
            let memory = main_memory(&tree);
            assert!(memory.limit.is_err(), "{none}");
            assert_eq!(memory.available, Ok(Bytes(6000 << 10)));
        }
        let (_root, tree) = planted(&[]);
        let memory = main_memory(&tree);
        assert_eq!(memory.total, Err("/proc/meminfo is not there".into()));
        assert_eq!(memory.swap_used, Err("/proc/meminfo is not there".into()));
        let (_root, tree) = planted(&[("proc/meminfo", "MemTotal: many kB\n")]);
        let memory = main_memory(&tree);
        assert_eq!(memory.total, Err("/proc/meminfo has no MemTotal".into()));
    }
}
