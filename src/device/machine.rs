//! The machine as its files describe it: board, GPUs, driver, container, memory, temperatures. Nothing is loaded or run.

use super::jetson::{Jetson, device_tree, jetson};
use super::memory::{MainMemory, main_memory};
use super::thermal::{Zone, zones};
use super::tree::Tree;
use crate::protocol::Told;
use std::path::Path;

/// The files' facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Board or computer.
    pub model: Told<String>,
    /// Operating system.
    pub os: Told<String>,
    /// Kernel version.
    pub kernel: Told<String>,
    /// CPU model.
    pub cpu: Told<String>,
    /// CPU frequency governor.
    pub governor: Told<String>,
    /// What says that this is a container; `None` where nothing does.
    pub container: Option<String>,
    /// Whether it runs on its battery.
    pub on_battery: Told<bool>,
    /// NVIDIA's kernel module.
    pub kernel_driver: Told<KernelDriver>,
    /// Whether the free driver `nouveau` is loaded, which serves no CUDA.
    pub nouveau: bool,
    /// NVIDIA GPUs on the PCI bus.
    pub pci_gpus: Vec<PciGpu>,
    /// Device files of GPUs.
    pub device_files: Vec<String>,
    /// CUDA toolkits in the usual place, with their versions where they tell.
    pub toolkits: Vec<String>,
    /// Main memory.
    pub memory: MainMemory,
    /// Thermal zones.
    pub zones: Vec<Zone>,
    /// A Jetson's own facts; `None` on other machines.
    pub jetson: Option<Jetson>,
}

/// The loaded kernel module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelDriver {
    /// Its version.
    pub version: String,
    /// Whether it is the open kind.
    pub open: bool,
}

/// A GPU on the PCI bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciGpu {
    /// Its address.
    pub slot: String,
    /// NVIDIA's number for the chip.
    pub device: Told<String>,
    /// Its name, where the driver tells.
    pub name: Told<String>,
}

/// Device files through which a GPU is reached: a card's, a Jetson's, and that of Windows' Linux.
const DEVICE_FILES: [&str; 7] = [
    "/dev/nvidia0",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvgpu",
    "/dev/nvhost-gpu",
    "/dev/nvmap",
    "/dev/dxg",
];

/// Reads the files below `root`.
pub fn machine(root: &Path) -> Machine {
    let tree = Tree::new(root);
    Machine {
        model: model(&tree),
        os: os(&tree),
        kernel: tree.text("/proc/sys/kernel/osrelease"),
        cpu: cpu(&tree),
        governor: tree.text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        container: container(&tree),
        on_battery: on_battery(&tree),
        kernel_driver: kernel_driver(&tree),
        nouveau: tree.has("/sys/module/nouveau"),
        pci_gpus: pci_gpus(&tree),
        device_files: DEVICE_FILES
            .into_iter()
            .filter(|path| tree.has(path))
            .map(str::to_owned)
            .collect(),
        toolkits: toolkits(&tree),
        memory: main_memory(&tree),
        zones: zones(&tree),
        jetson: jetson(&tree),
    }
}

/// The device tree's model, else what the firmware of a PC says.
fn model(tree: &Tree) -> Told<String> {
    device_tree(tree, "model").or_else(|_| {
        let product = tree
            .text("/sys/class/dmi/id/product_name")
            .map_err(|_| "neither a device tree nor the firmware names it")?;
        Ok(match tree.text("/sys/class/dmi/id/sys_vendor") {
            Ok(vendor) if !product.starts_with(&vendor) => format!("{vendor} {product}"),
            _ => product,
        })
    })
}

fn os(tree: &Tree) -> Told<String> {
    let text = tree.text("/etc/os-release")?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned())
        .ok_or_else(|| "/etc/os-release has no PRETTY_NAME".into())
}

fn cpu(tree: &Tree) -> Told<String> {
    let text = tree.text("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    name.ok_or_else(|| "/proc/cpuinfo names no model".into())
}

fn container(tree: &Tree) -> Option<String> {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    if let Some(mark) = marks.into_iter().find(|mark| tree.has(mark)) {
        return Some(mark.to_owned());
    }
    let groups = tree.text("/proc/1/cgroup").ok()?;
    let names = ["docker", "kubepods", "containerd", "libpod", "lxc"];
    let name = names.into_iter().find(|name| groups.contains(name))?;
    Some(format!("{name} in /proc/1/cgroup"))
}

fn on_battery(tree: &Tree) -> Told<bool> {
    let folder = "/sys/class/power_supply";
    // A battery knows best: power over USB-C is no "Mains".
    let states = tree.names(folder).into_iter();
    let states = states.filter_map(|name| tree.text(&format!("{folder}/{name}/status")).ok());
    let states: Vec<String> = states.collect();
    if !states.is_empty() {
        return Ok(states.iter().any(|state| state == "Discharging"));
    }
    let mut mains = tree.names(folder).into_iter().filter_map(|name| {
        let kind = tree.text(&format!("{folder}/{name}/type")).ok()?;
        let online = tree.count(&format!("{folder}/{name}/online")).ok()?;
        (kind == "Mains").then_some(online != 0)
    });
    let first = mains.next().ok_or("no mains supply is listed")?;
    Ok(!first && !mains.any(|online| online))
}

/// `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 …`.
fn kernel_driver(tree: &Tree) -> Told<KernelDriver> {
    let path = "/proc/driver/nvidia/version";
    let text = tree.text(path)?;
    let line = text.lines().find(|line| line.starts_with("NVRM version:"));
    let version = |word: &&str| {
        let mut parts = word.split('.');
        word.contains('.')
            && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let found = line.and_then(|line| {
        Some(KernelDriver {
            version: line.split_whitespace().find(version)?.to_owned(),
            open: line.contains("Open Kernel Module"),
        })
    });
    found.ok_or_else(|| format!("{path} names no version"))
}

/// NVIDIA's devices (10de) of the display class (03).
fn pci_gpus(tree: &Tree) -> Vec<PciGpu> {
    let folder = "/sys/bus/pci/devices";
    let slots = tree.names(folder).into_iter().filter(|slot| {
        let is = |file: &str, start: &str| {
            let text = tree.text(&format!("{folder}/{slot}/{file}"));
            text.is_ok_and(|text| text.starts_with(start))
        };
        is("vendor", "0x10de") && is("class", "0x03")
    });
    slots
        .map(|slot| PciGpu {
            device: tree.text(&format!("{folder}/{slot}/device")),
            name: pci_name(tree, &slot),
            slot,
        })
        .collect()
}

fn pci_name(tree: &Tree, slot: &str) -> Told<String> {
    let path = format!("/proc/driver/nvidia/gpus/{slot}/information");
    let text = tree.text(&path)?;
    let name = text.lines().find_map(|line| line.strip_prefix("Model:"));
    name.map(|name| name.trim().to_owned())
        .ok_or_else(|| format!("{path} names no model"))
}

fn toolkits(tree: &Tree) -> Vec<String> {
    let folder = "/usr/local";
    let names = tree.names(folder);
    let folders = names.iter().filter(|name| name.starts_with("cuda-"));
    folders
        .map(|name| {
            let path = format!("{folder}/{name}");
            let text = tree.text(&format!("{path}/version.json")).ok();
            let version = text.and_then(|text| {
                let json: serde_json::Value = serde_json::from_str(&text).ok()?;
                Some(json["cuda"]["version"].as_str()?.to_owned())
            });
            match version {
                Some(version) => format!("{path} (CUDA {version})"),
                None => path,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::{planted, recorded};
    use super::*;
    use crate::units::Bytes;

    fn of(name: &str) -> Machine {
        machine(recorded(name).0.path())
    }

    #[test]
    fn an_orin_is_a_board_with_one_memory_and_no_card() {
        let orin = of("orin");
        assert!(orin.model.unwrap().ends_with("Developer Kit Super"));
        assert_eq!(orin.kernel_driver.unwrap().version, "540.4.0");
        assert_eq!(orin.device_files, ["/dev/nvhost-gpu", "/dev/nvmap"]);
        assert_eq!(orin.toolkits, ["/usr/local/cuda-12.6 (CUDA 12.6.11)"]);
        assert_eq!(orin.memory.nvmap_used, Ok(Bytes(401_408 << 10)));
        assert!(orin.jetson.is_some() && orin.pci_gpus.is_empty());
        assert!(orin.cpu.is_err() && orin.on_battery.is_err());
    }

    #[test]
    fn a_thor_is_a_board_too_and_tells_no_nvmap() {
        let thor = of("thor");
        assert_eq!(thor.jetson.unwrap().soc.unwrap().sm, 110);
        assert!(thor.memory.nvmap_used.unwrap_err().contains("NvMapMemUsed"));
    }

    #[test]
    fn a_laptop_has_a_card_with_a_name_and_may_be_on_battery() {
        let laptop = of("laptop");
        assert_eq!(laptop.model, Ok("Example Computers Notebook 15".into()));
        let driver = laptop.kernel_driver.unwrap();
        assert_eq!(
            (driver.version.as_str(), driver.open),
            ("535.183.01", false)
        );
        assert_eq!(laptop.pci_gpus.len(), 1, "its sound device is no GPU");
        assert_eq!(
            laptop.pci_gpus[0].name,
            Ok("NVIDIA GeForce GTX 1650".into())
        );
        assert_eq!(laptop.on_battery, Ok(true));
        assert_eq!((laptop.jetson, laptop.container), (None, None));
    }

    #[test]
    fn a_container_shows_the_card_and_not_its_device_files() {
        let container = of("container");
        assert_eq!(container.container.as_deref(), Some("/.dockerenv"));
        assert!(container.kernel_driver.unwrap().open);
        assert!(container.device_files.is_empty());
        assert!(container.pci_gpus[0].name.is_err());
        assert_eq!(container.memory.limit, Ok(Bytes(8 << 30)));
    }

    #[test]
    fn an_empty_root_has_a_reason_for_everything() {
        let (root, _) = planted(&[]);
        let nothing = machine(root.path());
        for reason in [
            nothing.model.unwrap_err(),
            nothing.os.unwrap_err(),
            nothing.kernel.unwrap_err(),
            nothing.cpu.unwrap_err(),
            nothing.governor.unwrap_err(),
            nothing.kernel_driver.unwrap_err(),
            nothing.memory.available.unwrap_err(),
        ] {
            assert!(!reason.is_empty());
        }
        assert!(nothing.pci_gpus.is_empty() && nothing.zones.is_empty() && !nothing.nouveau);
    }

    #[test]
    fn garbage_is_a_reason_and_never_a_panic() {
        let (root, _) = planted(&[
            ("proc/driver/nvidia/version", "NVRM version: none here.\n"),
            ("etc/os-release", "\u{fffd}"),
            ("etc/nv_tegra_release", "# R"),
            ("usr/local/cuda-13.0/version.json", "{"),
            ("proc/1/cgroup", "0::/kubepods/x"),
        ]);
        let machine = machine(root.path());
        assert!(machine.kernel_driver.unwrap_err().contains("no version"));
        assert_eq!(machine.toolkits, ["/usr/local/cuda-13.0"]);
        assert_eq!(
            machine.container.as_deref(),
            Some("kubepods in /proc/1/cgroup")
        );
        assert!(machine.jetson.unwrap().l4t.is_err());
    }
}
