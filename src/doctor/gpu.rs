//! One view of the GPU out of three sources: CUDA as the worker saw it, the driver's NVML, and the files.

use super::Facts;
use crate::device::Soc;
use crate::protocol::{CudaSeen, DeviceMemory, DriverFacts, DriverGpu, GpuFacts, ProbeFacts, Told};
use crate::trial::DeviceChoice;
use crate::units::Bytes;

/// The GPU that is looked at.
pub struct Gpu<'a> {
    facts: &'a Facts,
    /// Its index.
    pub index: u32,
}

impl<'a> Gpu<'a> {
    /// The GPU asked for, or the first.
    pub fn of(facts: &'a Facts) -> Gpu<'a> {
        let index = match facts.device {
            DeviceChoice::Cuda(index) => index,
            DeviceChoice::Auto | DeviceChoice::Cpu => 0,
        };
        Gpu { facts, index }
    }

    fn probe(&self) -> Option<&'a ProbeFacts> {
        self.facts.answers.probe.as_ref().ok()
    }

    /// The GPU, where CUDA can be used.
    pub fn used(&self) -> Option<&'a GpuFacts> {
        self.probe()?.gpu.as_ref()
    }

    /// How far CUDA came.
    pub fn seen(&self) -> Option<&'a CudaSeen> {
        self.probe()?.cuda_seen.as_ref()
    }

    /// Why CUDA cannot be used, where it was tried.
    pub fn unusable(&self) -> Option<&'a str> {
        self.probe()?.cuda_unavailable.as_deref()
    }

    /// The driver as NVML tells it.
    pub fn driver(&self) -> Told<&'a DriverFacts> {
        self.facts.answers.driver.as_ref().map_err(Clone::clone)
    }

    /// NVML's answers about this GPU.
    pub fn queries(&self) -> Told<&'a DriverGpu> {
        let gpus = &self.driver()?.gpus;
        let found = gpus.iter().find(|gpu| gpu.index == self.index);
        found.ok_or_else(|| format!("NVML shows no GPU {}", self.index))
    }

    /// One answer of NVML.
    pub fn query<T: Clone>(&self, field: impl Fn(&DriverGpu) -> &Told<T>) -> Told<T> {
        field(self.queries()?).clone()
    }

    /// The chip of a Jetson.
    pub fn soc(&self) -> Option<Soc> {
        self.facts.machine.jetson.as_ref()?.soc.clone().ok()
    }

    /// Whether anything shows that there is an NVIDIA GPU, with a driver or without.
    pub fn is_there(&self) -> bool {
        let machine = &self.facts.machine;
        machine.jetson.is_some() || !machine.pci_gpus.is_empty() || self.has_driver()
    }

    /// Whether a driver serves a GPU here.
    pub fn has_driver(&self) -> bool {
        let machine = &self.facts.machine;
        // A Jetson's older drivers and Windows' Linux show as device files only.
        let only_files = ["/dev/nvgpu", "/dev/nvhost-gpu", "/dev/dxg"];
        machine.kernel_driver.is_ok()
            || self.driver().is_ok()
            || self.used().is_some()
            || machine
                .device_files
                .iter()
                .any(|file| only_files.contains(&file.as_str()))
    }

    /// Its name.
    pub fn name(&self) -> Told<String> {
        let used = self.used().map(|gpu| gpu.name.clone());
        if let Some(name) = used.filter(|name| !name.is_empty()) {
            return Ok(name);
        }
        self.query(|gpu| &gpu.name).or_else(|reason| {
            let card = self.facts.machine.pci_gpus.get(self.index as usize);
            match (self.soc(), card) {
                (Some(soc), _) => Ok(format!("{} ({})", soc.family, soc.name)),
                (None, Some(card)) => card.name.clone(),
                (None, None) => Err(reason),
            }
        })
    }

    /// Compute capability, such as `8.7`.
    pub fn compute_capability(&self) -> Told<String> {
        let used = self.used().map(|gpu| gpu.compute_capability.clone());
        let seen = || self.seen()?.compute_capability.clone();
        if let Some(told) = used.or_else(seen) {
            return Ok(told);
        }
        self.query(|gpu| &gpu.compute_capability)
            .or_else(|reason| match self.soc() {
                Some(soc) => Ok(format!("{}.{}", soc.sm / 10, soc.sm % 10)),
                None => Err(reason),
            })
    }

    /// Compute capability as the number of its code: `8.7` is 87.
    pub fn sm(&self) -> Option<u32> {
        let told = self.compute_capability().ok()?;
        let (major, minor) = told.split_once('.')?;
        let major: u32 = major.parse().ok()?;
        major.checked_mul(10)?.checked_add(minor.parse().ok()?)
    }

    /// Version of the driver.
    pub fn driver_version(&self) -> Told<String> {
        let nvml = self
            .driver()
            .and_then(|driver| driver.driver_version.clone());
        nvml.or_else(|reason| match &self.facts.machine.kernel_driver {
            Ok(module) => Ok(module.version.clone()),
            Err(file) => Err(format!("{reason}; {file}")),
        })
    }

    /// Whether it shares the CPU's memory.
    pub fn unified(&self) -> Told<bool> {
        let seen = || self.seen()?.unified_memory;
        let told = self.used().map(|gpu| gpu.unified_memory).or_else(seen);
        match (told, &self.facts.machine.jetson) {
            (Some(told), _) => Ok(told),
            (None, Some(_)) => Ok(true),
            (None, None) => Err("CUDA did not tell, nor do the files".into()),
        }
    }

    /// Its memory, as NVML counts it, else CUDA.
    pub fn memory(&self) -> Told<DeviceMemory> {
        let used = || {
            let gpu = self.used()?;
            Some(DeviceMemory {
                total: gpu.memory_total,
                free: gpu.memory_free,
            })
        };
        let seen = || self.seen()?.memory;
        self.query(|gpu| &gpu.memory)
            .or_else(|reason| used().or_else(seen).ok_or(reason))
    }

    /// What a model can have: on a unified memory what main memory has available, else the GPU's free memory.
    pub fn budget(&self) -> Told<Bytes> {
        match self.unified() {
            Ok(true) => self.facts.machine.memory.available.clone(),
            _ if self.is_there() => self.memory().map(|memory| memory.free),
            _ => Err("there is no GPU; on the CPU it is main memory".into()),
        }
    }
}
