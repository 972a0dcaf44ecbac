//! What the NVIDIA driver tells through NVML. Only this file and those below it name `nvml_wrapper`.

mod clocks;

pub use clocks::NvmlClocks;

use super::power::GpuPower;
use crate::protocol::{DeviceMemory, DriverFacts, DriverGpu, GpuFacts, GpuProcess, Told};
use crate::trial::DeviceState;
use crate::units::Bytes;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{
    Clock, Sampling, TemperatureSensor, TemperatureThreshold,
};
use nvml_wrapper::enums::device::{SampleValue, UsedGpuMemory};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

/// One GPU, where NVML is there and knows it.
#[derive(Debug)]
pub struct Gpu {
    nvml: Nvml,
    index: u32,
    /// Where it sits. By this it is found: NVML counts GPUs in another order than CUDA may, and those that CUDA does not show.
    bus_id: Option<String>,
}

impl Gpu {
    /// Opens NVML for the GPU that CUDA found at `bus_id`, or where that is not known for the one with this index. `None` without the
    /// library, the driver or the GPU.
    pub fn open(index: u32, bus_id: Option<&str>) -> Option<Gpu> {
        let gpu = Gpu {
            nvml: Nvml::init().ok()?,
            index,
            bus_id: bus_id.map(str::to_owned),
        };
        gpu.device()?;
        Some(gpu)
    }

    fn device(&self) -> Option<Device<'_>> {
        self.told_device().ok()
    }

    fn told_device(&self) -> Told<Device<'_>> {
        match &self.bus_id {
            Some(bus_id) => self.nvml.device_by_pci_bus_id(bus_id.as_str()),
            None => self.nvml.device_by_index(self.index),
        }
        .map_err(reason)
    }

    /// Device memory of this process. `None` where NVML does not list it, as in some containers.
    pub fn own_bytes(&self) -> Option<Bytes> {
        let device = self.device()?;
        let compute = device.running_compute_processes().unwrap_or_default();
        let graphics = device.running_graphics_processes().unwrap_or_default();
        bytes_of(std::process::id(), compute.iter().chain(&graphics))
    }

    /// Device memory in use by everybody: all of it less what is free.
    pub fn used_bytes(&self) -> Option<Bytes> {
        let memory = self.device()?.memory_info().ok()?;
        Some(Bytes(memory.total.saturating_sub(memory.free)))
    }

    /// Processes on the GPU but this one.
    pub fn other_processes(&self) -> Told<Vec<GpuProcess>> {
        others(&self.told_device()?)
    }

    /// Fills in what the facts do not say yet.
    pub fn complete(&self, facts: &mut GpuFacts) {
        let version = &mut facts.driver_version;
        *version = version
            .take()
            .or_else(|| self.nvml.sys_driver_version().ok());
        facts.probe_bytes = facts.probe_bytes.or_else(|| self.own_bytes());
        let Some(device) = self.device() else { return };
        if facts.name.is_empty() {
            facts.name = device.name().unwrap_or_default();
        }
        facts.display_active = facts
            .display_active
            .or_else(|| device.is_display_active().ok());
        if facts.others.is_none() {
            facts.others = others(&device).ok();
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

impl GpuPower for Gpu {
    fn is_ours(&self) -> Told<()> {
        // CUDA may count otherwise than NVML; a GPU is known to be ours by where it sits, if it is the only one or lists this process.
        let alone = self.nvml.device_count().map_err(reason)? == 1;
        if alone || self.bus_id.is_some() || self.own_bytes().is_some() {
            return Ok(());
        }
        Err(format!(
            "NVML does not list this process on GPU {}, and there are others, so the readings could be of another GPU",
            self.index
        ))
    }

    fn energy_mj(&self) -> Told<u64> {
        let device = self.told_device()?;
        device.total_energy_consumption().map_err(reason)
    }

    fn power_samples(&self, since_us: Option<u64>) -> Told<Vec<(u64, u64)>> {
        let device = self.told_device()?;
        let samples = match device.samples(Sampling::Power, since_us) {
            Ok(samples) => samples,
            // Nothing new.
            Err(NvmlError::NotFound) => Vec::new(),
            Err(error) => return Err(reason(error)),
        };
        let milliwatts = |value| match value {
            SampleValue::U32(value) => Some(u64::from(value)),
            SampleValue::U64(value) => Some(value),
            SampleValue::I64(_) | SampleValue::F64(_) => None,
        };
        let told = samples
            .into_iter()
            .filter_map(|sample| Some((sample.timestamp, milliwatts(sample.value)?)));
        Ok(told.collect())
    }

    fn throttle_reasons(&self) -> Told<Vec<String>> {
        let reasons = self.told_device()?.current_throttle_reasons();
        reasons.map(throttle_names).map_err(reason)
    }

    fn state(&self) -> DeviceState {
        let device = match self.told_device() {
            Ok(device) => device,
            Err(reason) => return DeviceState::unknown(&reason),
        };
        let limit = device.enforced_power_limit();
        let heat = device.temperature(TemperatureSensor::Gpu);
        DeviceState {
            sm_clock_mhz: device.clock_info(Clock::SM).map_err(reason),
            memory_clock_mhz: device.clock_info(Clock::Memory).map_err(reason),
            temperature_c: heat.map(f64::from).map_err(reason),
            power_limit_mw: limit
                .or_else(|_| device.power_management_limit())
                .map(u64::from)
                .map_err(reason),
            throttle_reasons: self.throttle_reasons(),
            ..DeviceState::default()
        }
    }
}

/// Everything the driver tells, query by query; or why NVML cannot be used.
pub fn driver() -> Told<DriverFacts> {
    let nvml = Nvml::init().map_err(reason)?;
    let count = nvml.device_count().map_err(reason)?;
    Ok(DriverFacts {
        driver_version: nvml.sys_driver_version().map_err(reason),
        nvml_version: nvml.sys_nvml_version().map_err(reason),
        cuda_version: nvml.sys_cuda_driver_version().map_err(reason).map(|all| {
            let major = nvml_wrapper::cuda_driver_version_major(all);
            let minor = nvml_wrapper::cuda_driver_version_minor(all);
            format!("{major}.{minor}")
        }),
        gpus: (0..count)
            .map(|index| match nvml.device_by_index(index) {
                Ok(device) => queries(index, &device),
                Err(error) => DriverGpu::unknown(index, &reason(error)),
            })
            .collect(),
    })
}

/// Device memory of this process, or why NVML does not list it.
pub fn own_process(index: u32, bus_id: Option<&str>) -> Told<Bytes> {
    let gpu = Gpu::open(index, bus_id).ok_or("NVML cannot be used")?;
    gpu.own_bytes().ok_or_else(|| {
        "NVML lists no memory for this process, as in containers with process ids of their own"
            .into()
    })
}

/// Asks a GPU everything once.
fn queries(index: u32, device: &Device<'_>) -> DriverGpu {
    fn told<T, U: From<T>>(answer: Result<T, NvmlError>) -> Told<U> {
        answer.map(U::from).map_err(reason)
    }
    DriverGpu {
        index,
        name: told(device.name()),
        compute_capability: told(device.cuda_compute_capability()).map(
            |cc: nvml_wrapper::structs::device::CudaComputeCapability| {
                format!("{}.{}", cc.major, cc.minor)
            },
        ),
        memory: device
            .memory_info()
            .map_err(reason)
            .map(|memory| DeviceMemory {
                total: Bytes(memory.total),
                free: Bytes(memory.free),
            }),
        temperature_c: told(device.temperature(TemperatureSensor::Gpu)),
        slowdown_temperature_c: told(device.temperature_threshold(TemperatureThreshold::Slowdown)),
        power_mw: told(device.power_usage()),
        power_limit_mw: told(
            device
                .enforced_power_limit()
                .or_else(|_| device.power_management_limit()),
        ),
        default_power_limit_mw: told(device.power_management_limit_default()),
        energy_mj: told(device.total_energy_consumption()),
        sm_clock_mhz: told(device.clock_info(Clock::SM)),
        max_sm_clock_mhz: told(device.max_clock_info(Clock::SM)),
        memory_clock_mhz: told(device.clock_info(Clock::Memory)),
        max_memory_clock_mhz: told(device.max_clock_info(Clock::Memory)),
        throttle_reasons: device
            .current_throttle_reasons()
            .map(throttle_names)
            .map_err(reason),
        performance_state: device
            .performance_state()
            .map_err(reason)
            .and_then(|state| match state.as_c() {
                number @ 0..=15 => Ok(number),
                _ => Err("NVML does not know it".into()),
            }),
        utilization_percent: device
            .utilization_rates()
            .map_err(reason)
            .map(|load| load.gpu),
        mig: device
            .mig_mode()
            .map_err(reason)
            .map(|mode| mode.current != 0),
        display_active: told(device.is_display_active()),
        persistence: told(device.is_in_persistent_mode()),
        processes: others(device),
    }
}

/// Processes on the GPU but this one.
fn others(device: &Device<'_>) -> Told<Vec<GpuProcess>> {
    let mut all = device.running_compute_processes().map_err(reason)?;
    // Graphics are a list of their own, which compute-only GPUs do not have.
    all.extend(device.running_graphics_processes().unwrap_or_default());
    let mut pids: Vec<u32> = all.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != std::process::id());
    let with_bytes = |pid| GpuProcess {
        pid,
        bytes: bytes_of(pid, all.iter()),
        name: std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .ok()
            .map(|name| name.trim().to_owned()),
    };
    Ok(pids.into_iter().map(with_bytes).collect())
}

/// The set bits by name, in lower case.
fn throttle_names(reasons: ThrottleReasons) -> Vec<String> {
    let set = reasons.iter_names().map(|(name, _)| name.to_lowercase());
    set.filter(|name| name != "none").collect()
}

/// NVML's reasons in one clause.
fn reason(error: NvmlError) -> String {
    match error {
        NvmlError::NotSupported => "not supported on this GPU".into(),
        NvmlError::NoPermission => "the driver does not allow this user to ask".into(),
        NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".into(),
        NvmlError::FailedToLoadSymbol(_) | NvmlError::FunctionNotFound => {
            "this driver's NVML is too old to be asked".into()
        }
        NvmlError::LibloadingError(cause) => format!("NVML could not be loaded ({cause})"),
        NvmlError::LibraryNotFound => "NVML could not find a library of the driver".into(),
        other => other.to_string(),
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
    fn throttle_reasons_have_names() {
        let both = ThrottleReasons::GPU_IDLE | ThrottleReasons::SW_POWER_CAP;
        assert_eq!(throttle_names(both), ["gpu_idle", "sw_power_cap"]);
        assert!(throttle_names(ThrottleReasons::NONE).is_empty());
    }

    #[test]
    fn what_nvml_refuses_is_a_reason_in_plain_words() {
        let said = reason(NvmlError::NotSupported);
        assert_eq!(said, "not supported on this GPU");
        // With a driver or without: never empty, never a panic.
        if let Err(cause) = driver() {
            assert!(!cause.is_empty());
        }
    }

    #[test]
    fn a_gpu_that_is_not_there_is_none() {
        assert!(Gpu::open(9999, None).is_none());
    }
}
