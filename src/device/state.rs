//! The device's state as files tell it: clocks, temperature, limit, and events of throttling since the watch began.

use super::jetson::{gpu_clock, monitors};
use super::tree::Tree;
use super::{rapl, thermal};
use crate::protocol::Told;
use crate::trial::{Device, DeviceState};

/// Counts a CPU package's thermal throttling, on x86.
const CPU_EVENTS: &str = "/sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count";

/// Counters of throttling, held against what they stood at in the beginning.
#[derive(Debug)]
pub struct Events {
    tree: Tree,
    counters: Vec<(String, &'static str, u64)>,
    alarms: Vec<String>,
}

impl Events {
    /// Begins to watch what may throttle this device.
    pub fn watch(tree: &Tree, device: Device) -> Events {
        let (mut counters, mut alarms) = (Vec::new(), Vec::new());
        let mut count = |path: String, name| {
            if let Ok(now) = tree.count(&path) {
                counters.push((path, name, now));
            }
        };
        for folder in monitors(tree) {
            for file in tree.names(&folder) {
                if file.starts_with("oc") && file.ends_with("_event_cnt") {
                    count(format!("{folder}/{file}"), "over_current");
                } else if file.ends_with("_oc_alarm") {
                    alarms.push(format!("{folder}/{file}"));
                }
            }
        }
        if device == Device::Cpu {
            count(CPU_EVENTS.to_owned(), "cpu_thermal");
        }
        Events {
            tree: tree.clone(),
            counters,
            alarms,
        }
    }

    /// What has throttled the device since the beginning, or does now. An error where nothing could tell.
    pub fn seen(&self) -> Told<Vec<String>> {
        if self.counters.is_empty() && self.alarms.is_empty() {
            return Err("nothing on this system counts throttling".into());
        }
        let count = |path: &str| self.tree.count(path).unwrap_or_default();
        let risen = |(path, name, first): &(String, &'static str, u64)| {
            (count(path) > *first).then_some(*name)
        };
        let mut seen: Vec<String> = self
            .counters
            .iter()
            .filter_map(risen)
            .map(String::from)
            .collect();
        if self.alarms.iter().any(|path| count(path) > 0) {
            seen.push("over_current".into());
        }
        seen.sort();
        seen.dedup();
        Ok(seen)
    }
}

/// What the files tell; the reason where they do not.
pub fn state(tree: &Tree, device: Device, events: &Events) -> DeviceState {
    let on_cpu = || "the trial runs on the CPU".to_owned();
    let (sm_clock_mhz, memory_clock_mhz, power_limit_mw, zone) = match device {
        Device::Cpu => (
            Err(on_cpu()),
            Err(on_cpu()),
            rapl::power_limit_mw(tree),
            ["x86_pkg_temp", "cpu"],
        ),
        Device::Cuda(_) => (
            gpu_clock(tree).and_then(|clock| whole(clock.now_mhz?)),
            Err("no file tells the clock of the GPU's memory".into()),
            Err("no file tells the GPU's power limit".into()),
            ["gpu", "gpu"],
        ),
    };
    DeviceState {
        sm_clock_mhz,
        memory_clock_mhz,
        cpu_clock_mhz: tree
            .count("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
            .and_then(|kilohertz| whole(kilohertz / 1000)),
        temperature_c: temperature(tree, zone),
        power_limit_mw,
        throttle_reasons: events.seen(),
    }
}

fn whole(megahertz: u64) -> Told<u32> {
    u32::try_from(megahertz).map_err(|_| "its reading is no clock".into())
}

/// Temperature of the first thermal zone with one of these in its name.
fn temperature(tree: &Tree, names: [&str; 2]) -> Told<f64> {
    let zones = thermal::zones(tree);
    let named = |name: &str| {
        let found = |zone: &&thermal::Zone| zone.name.to_lowercase().contains(name);
        zones.iter().find(found)
    };
    let zone = named(names[0]).or_else(|| named(names[1]));
    zone.ok_or_else(|| format!("no thermal zone is called {}", names[1]))?
        .celsius
        .clone()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{planted, recorded};
    use super::*;

    #[test]
    fn an_orin_tells_clock_and_temperature_and_counts_over_current_from_now_on() {
        let (root, tree) = recorded("orin");
        let events = Events::watch(&tree, Device::Cuda(0));
        let now = state(&tree, Device::Cuda(0), &events);
        assert_eq!(now.sm_clock_mhz, Ok(306));
        assert!(now.temperature_c.is_ok(), "{now:?}");
        assert!(now.memory_clock_mhz.is_err() && now.power_limit_mw.is_err());
        // The counter stands at 37 since the start of the board, which is none of this trial's.
        assert_eq!(now.throttle_reasons, Ok(Vec::new()));
        let mut stack = vec![root.path().to_owned()];
        let mut raised = 0;
        while let Some(folder) = stack.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    stack.push(path);
                } else if path.ends_with("oc3_event_cnt") {
                    std::fs::write(path, "38\n").unwrap();
                    raised += 1;
                }
            }
        }
        assert!(raised > 0);
        assert_eq!(events.seen(), Ok(vec!["over_current".into()]));
    }

    #[test]
    fn a_cpu_tells_its_own_clock_limit_heat_and_throttling() {
        let (root, tree) = planted(&[
            (
                "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq",
                "2400123",
            ),
            (CPU_EVENTS.trim_start_matches('/'), "7"),
            ("sys/class/thermal/thermal_zone0/type", "acpitz"),
            ("sys/class/thermal/thermal_zone0/temp", "27800"),
            ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp"),
            ("sys/class/thermal/thermal_zone1/temp", "61000"),
            ("sys/class/powercap/intel-rapl:0/name", "package-0"),
            (
                "sys/class/powercap/intel-rapl:0/constraint_0_power_limit_uw",
                "28000000",
            ),
        ]);
        let events = Events::watch(&tree, Device::Cpu);
        let now = state(&tree, Device::Cpu, &events);
        assert_eq!(
            (now.cpu_clock_mhz, now.temperature_c, now.power_limit_mw),
            (Ok(2400), Ok(61.0), Ok(28_000))
        );
        assert!(now.sm_clock_mhz.unwrap_err().contains("CPU"));
        assert_eq!(now.throttle_reasons, Ok(Vec::new()));
        std::fs::write(root.path().join(CPU_EVENTS.trim_start_matches('/')), "9").unwrap();
        assert_eq!(events.seen(), Ok(vec!["cpu_thermal".into()]));
    }

    #[test]
    fn a_machine_that_tells_nothing_gives_reasons() {
        let (_root, tree) = planted(&[("etc/hostname", "x")]);
        for device in [Device::Cpu, Device::Cuda(0)] {
            let events = Events::watch(&tree, device);
            let now = state(&tree, device, &events);
            assert!(now.throttle_reasons.is_err() && now.temperature_c.is_err());
            assert!(now.cpu_clock_mhz.is_err() && now.sm_clock_mhz.is_err());
        }
    }
}
