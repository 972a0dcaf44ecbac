//! What the NVIDIA driver tells through NVML. The only file that names `nvml_wrapper`.

use crate::protocol::GpuFacts;
use crate::units::Bytes;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

/// One GPU, where NVML is there and knows it.
#[derive(Debug)]
pub struct Gpu {
    nvml: Nvml,
    index: u32,
}

impl Gpu {
    /// Opens NVML for the GPU with this index. `None` without the library, the driver or the GPU.
    pub fn open(index: u32) -> Option<Gpu> {
        let nvml = Nvml::init().ok()?;
        nvml.device_by_index(index).ok()?;
        Some(Gpu { nvml, index })
    }

    fn device(&self) -> Option<Device<'_>> {
        self.nvml.device_by_index(self.index).ok()
    }

    /// Device memory of this process. `None` where NVML does not list it, as in some containers.
    pub fn own_bytes(&self) -> Option<Bytes> {
        let device = self.device()?;
        let compute = device.running_compute_processes().unwrap_or_default();
        let graphics = device.running_graphics_processes().unwrap_or_default();
        bytes_of(std::process::id(), compute.iter().chain(&graphics))
    }

    /// Fills in what the facts do not say yet.
    pub fn complete(&self, facts: &mut GpuFacts) {
        let version = &mut facts.driver_version;
        *version = version
            .take()
            .or_else(|| self.nvml.sys_driver_version().ok());
        let Some(device) = self.device() else { return };
        if facts.name.is_empty() {
            facts.name = device.name().unwrap_or_default();
        }
        let limit = || {
            device
                .enforced_power_limit()
                .or_else(|_| device.power_management_limit())
                .ok()
        };
        facts.power_limit_mw = facts.power_limit_mw.or_else(|| limit().map(u64::from));
        facts.sm_clock_mhz = facts
            .sm_clock_mhz
            .or_else(|| device.clock_info(Clock::SM).ok());
        facts.memory_clock_mhz = facts
            .memory_clock_mhz
            .or_else(|| device.clock_info(Clock::Memory).ok());
        facts.temperature_c = facts
            .temperature_c
            .or_else(|| device.temperature(TemperatureSensor::Gpu).ok());
    }
}

/// A process may be in both lists with the same figure, so the larger one counts, not the sum.
fn bytes_of<'a>(pid: u32, processes: impl Iterator<Item = &'a ProcessInfo>) -> Option<Bytes> {
    processes
        .filter(|process| process.pid == pid)
        .filter_map(|process| match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(Bytes(bytes)),
            UsedGpuMemory::Unavailable => None,
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, used_gpu_memory: UsedGpuMemory) -> ProcessInfo {
        ProcessInfo {
            pid,
            used_gpu_memory,
            gpu_instance_id: None,
            compute_instance_id: None,
        }
    }

    #[test]
    fn a_process_in_both_lists_counts_once_and_an_unknown_one_is_none() {
        let list = [
            process(7, UsedGpuMemory::Used(5)),
            process(7, UsedGpuMemory::Used(5)),
            process(8, UsedGpuMemory::Unavailable),
        ];
        assert_eq!(bytes_of(7, list.iter()), Some(Bytes(5)));
        assert_eq!(bytes_of(8, list.iter()), None);
        assert_eq!(bytes_of(9, list.iter()), None);
    }

    #[test]
    fn a_gpu_that_is_not_there_is_none() {
        assert!(Gpu::open(9999).is_none());
    }
}
