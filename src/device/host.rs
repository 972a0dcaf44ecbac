//! Facts about the host. The only file that names `sysinfo`.

use crate::units::Bytes;
use std::path::Path;
use sysinfo::{CpuRefreshKind, System};

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
    /// Logical processors.
    pub threads: Option<u32>,
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

    #[test]
    fn a_machine_without_cpufreq_leaves_them_out_and_tells_the_rest() {
        let facts = host(Path::new("/nonexistent"));
        assert_eq!((facts.governor, facts.clock_mhz), (None, None));
        assert!(facts.memory_total >= facts.memory_available);
        assert!(facts.kernel.is_some() && facts.threads.is_some());
    }
}
