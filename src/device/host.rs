//! Facts about the host. The only file that names `sysinfo`.

use crate::units::Bytes;
use std::collections::HashSet;
use std::path::Path;
use sysinfo::{CpuRefreshKind, System};

/// More logical processors than Linux can be built for; a longer list is not believed.
const MOST_PROCESSORS: u32 = 1 << 16;

/// The host as the operating system describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Host name.
    pub name: Option<String>,
    /// Operating system, with version.
    pub os: Option<String>,
    /// Kernel version.
    pub kernel: Option<String>,
    /// CPU model name.
    pub cpu: Option<String>,
    /// Physical cores.
    pub cores: Option<u32>,
    /// Logical processors that this process may use, by affinity and the control group's quota.
    pub threads: Option<u32>,
    /// Cores that this process may use: as many threads as pay for arithmetic.
    pub usable_cores: Option<u32>,
    /// Main memory, or the part of it this control group may use.
    pub memory_total: Option<Bytes>,
    /// Main memory available now, inside the same limit.
    pub memory_available: Option<Bytes>,
    /// CPU frequency governor.
    pub governor: Option<String>,
    /// Clock of the first CPU.
    pub clock_mhz: Option<u32>,
}

/// Asks the system; `sys_root` is `/sys` or a folder that looks like it.
pub fn host(sys_root: &Path) -> HostFacts {
    let mut facts = HostFacts {
        name: System::host_name().ok().filter(|name| !name.is_empty()),
        os: System::long_os_version().ok(),
        kernel: System::kernel_version().ok(),
        cores: System::physical_core_count()
            .ok()
            .and_then(|count| u32::try_from(count).ok()),
        threads: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok()),
        governor: line(&sys_root.join("devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        clock_mhz: line(&sys_root.join("devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"))
            .and_then(|text| Some(text.parse::<u32>().ok()? / 1000)),
        ..HostFacts::default()
    };
    let allowed = allowed(Path::new("/proc/self/status"));
    let cores = allowed.and_then(|allowed| cores_among(&allowed, sys_root));
    facts.usable_cores = usable(cores.or(facts.cores), facts.threads);
    if let Ok(mut system) = System::new() {
        system.refresh_memory();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        let limits = system.cgroup_limits();
        let total = limits
            .as_ref()
            .map_or(u64::MAX, |limits| limits.total_memory);
        let free = limits
            .as_ref()
            .map_or(u64::MAX, |limits| limits.free_memory);
        facts.memory_total = told(system.total_memory().min(total));
        facts.memory_available = told(system.available_memory().min(free));
        facts.cpu = system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned())
            .filter(|brand| !brand.is_empty());
    }
    facts
}

/// No more than the cores that the affinity leaves, since the threads of one core share its arithmetic units; and no more than
/// the logical processors that a quota is worth, since the runtime's threads wait for each other by spinning.
fn usable(cores: Option<u32>, processors: Option<u32>) -> Option<u32> {
    [cores, processors].into_iter().flatten().min()
}

/// The logical processors this process may run on, as the kernel lists them: `0-3,8`.
fn allowed(status: &Path) -> Option<String> {
    let status = std::fs::read_to_string(status).ok()?;
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(list.trim().to_owned())
}

/// How many cores the logical processors in `list` belong to; those that are switched off are not counted.
fn cores_among(list: &str, sys_root: &Path) -> Option<u32> {
    let siblings = |cpu: u32| {
        let topology = sys_root.join(format!("devices/system/cpu/cpu{cpu}/topology"));
        // The second is the older kernels' name of the same.
        line(&topology.join("core_cpus_list"))
            .or_else(|| line(&topology.join("thread_siblings_list")))
    };
    let cores: HashSet<String> = processors(list)?.filter_map(siblings).collect();
    u32::try_from(cores.len()).ok().filter(|count| *count > 0)
}

/// The numbers in a list such as `0-3,8`.
fn processors(list: &str) -> Option<impl Iterator<Item = u32> + use<>> {
    let ranges: Option<Vec<_>> = list
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (last < MOST_PROCESSORS).then_some(first..=last)
        })
        .collect();
    Some(ranges?.into_iter().flatten())
}

/// `sysinfo` says 0 for "not known".
fn told(bytes: u64) -> Option<Bytes> {
    (bytes != 0).then_some(Bytes(bytes))
}

fn line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn governor_and_clock_come_from_the_root_that_is_handed_in() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("devices/system/cpu/cpu0/cpufreq");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("scaling_governor"), "performance\n").unwrap();
        std::fs::write(folder.join("scaling_cur_freq"), "2400123\n").unwrap();
        let facts = host(root.path());
        assert_eq!(facts.governor.as_deref(), Some("performance"));
        assert_eq!(facts.clock_mhz, Some(2400));
    }

    /// A folder like `/sys` with these lists of the processors of one core, from processor 0 on; none: switched off.
    fn topology(file: &str, siblings: &[Option<&str>]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (cpu, list) in siblings.iter().enumerate() {
            let folder = root
                .path()
                .join(format!("devices/system/cpu/cpu{cpu}/topology"));
            if let Some(list) = list {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(file), format!("{list}\n")).unwrap();
            }
        }
        root
    }

    #[test]
    fn threads_of_one_core_count_once_and_cores_outside_the_affinity_do_not() {
        // Four cores of two threads, numbered as desktops number them: 0 and 4 are one core.
        let lists = ["0,4", "1,5", "2,6", "3,7"].map(Some);
        let root = topology("core_cpus_list", &[lists, lists].concat());
        for (allowed, cores) in [("0-7", 4), ("0,4", 1), ("0-1", 2), ("0-1,4-5", 2), ("7", 1)] {
            assert_eq!(cores_among(allowed, root.path()), Some(cores), "{allowed}");
        }
    }

    #[test]
    fn a_board_that_switches_cores_off_has_fewer() {
        // Six cores without threads, two of them off in this power mode; the kernel still lists them as allowed.
        let lists = [Some("0"), Some("1"), Some("2"), Some("3"), None, None];
        let root = topology("thread_siblings_list", &lists);
        assert_eq!(cores_among("0-5", root.path()), Some(4));
    }

    #[test]
    fn what_cannot_be_read_is_not_known() {
        let root = topology("core_cpus_list", &[Some("0")]);
        for list in ["", "0-", "x", "0-99999999"] {
            assert_eq!(cores_among(list, root.path()), None, "{list}");
        }
        assert_eq!(cores_among("0", Path::new("/nonexistent")), None);
        assert_eq!(allowed(Path::new("/nonexistent")), None);
    }

    #[test]
    fn a_quota_or_an_affinity_leaves_fewer_than_the_machine_has() {
        // A container of two processors on a machine of 64 cores; a desktop of 8 cores and 16 threads; one thing unknown.
        assert_eq!(usable(Some(64), Some(2)), Some(2));
        assert_eq!(usable(Some(8), Some(16)), Some(8));
        assert_eq!(usable(None, Some(4)), Some(4));
        assert_eq!(usable(None, None), None);
    }

    #[test]
    fn this_process_may_use_as_many_cores_as_the_kernel_says_at_most() {
        let facts = host(Path::new("/sys"));
        assert!(facts.usable_cores >= Some(1), "{facts:?}");
        assert!(facts.usable_cores <= facts.threads, "{facts:?}");
    }

    #[test]
    fn a_machine_without_cpufreq_leaves_them_out_and_tells_the_rest() {
        let facts = host(Path::new("/nonexistent"));
        assert_eq!((facts.governor, facts.clock_mhz), (None, None));
        assert!(facts.memory_total >= facts.memory_available);
        assert!(facts.kernel.is_some() && facts.threads.is_some());
    }
}
