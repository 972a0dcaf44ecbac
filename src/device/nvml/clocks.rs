//! The driver's side of locked clocks.

use super::{Gpu, reason};
use crate::device::clocks::{GpuClocks, Refusal};
use crate::trial::ClocksBefore;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::GpuLockedClocksSetting;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// A GPU whose clocks NVML sets.
#[derive(Debug)]
pub struct NvmlClocks {
    nvml: Nvml,
    uuid: String,
}

fn refused(error: NvmlError) -> Refusal {
    match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_) => Refusal::NotSupported,
        NvmlError::NoPermission => Refusal::NotAllowed,
        NvmlError::NotFound | NvmlError::GpuLost => Refusal::Gone,
        other => Refusal::Other(reason(other)),
    }
}

impl NvmlClocks {
    /// The GPU that CUDA found at `bus_id`, or where that is not known the one with this index.
    pub fn of_device(index: u32, bus_id: Option<&str>) -> Result<NvmlClocks, Refusal> {
        let nvml = Nvml::init().map_err(refused)?;
        let gpu = Gpu {
            nvml,
            index,
            bus_id: bus_id.map(str::to_owned),
        };
        let uuid = gpu.told_device().map_err(Refusal::Other)?.uuid();
        let uuid = uuid.map_err(refused)?;
        Ok(NvmlClocks {
            nvml: gpu.nvml,
            uuid,
        })
    }

    /// The GPU with this UUID.
    pub fn of_uuid(uuid: &str) -> Result<NvmlClocks, Refusal> {
        let found = NvmlClocks {
            nvml: Nvml::init().map_err(refused)?,
            uuid: uuid.to_owned(),
        };
        found.device()?;
        Ok(found)
    }

    fn device(&self) -> Result<Device<'_>, Refusal> {
        let device = self.nvml.device_by_uuid(self.uuid.as_str());
        device.map_err(refused)
    }
}

impl GpuClocks for NvmlClocks {
    fn uuid(&self) -> Result<String, Refusal> {
        Ok(self.uuid.clone())
    }

    fn name(&self) -> Result<String, Refusal> {
        self.device()?.name().map_err(refused)
    }

    fn now(&self) -> ClocksBefore {
        let Ok(device) = self.device() else {
            return ClocksBefore::default();
        };
        ClocksBefore {
            sm_mhz: device.clock_info(Clock::SM).ok(),
            memory_mhz: device.clock_info(Clock::Memory).ok(),
            application_graphics_mhz: device.applications_clock(Clock::Graphics).ok(),
            application_memory_mhz: device.applications_clock(Clock::Memory).ok(),
        }
    }

    fn defaults(&self) -> (Option<u32>, Option<u32>) {
        let told = |clock| {
            let device = self.device().ok()?;
            device.default_applications_clock(clock).ok()
        };
        (told(Clock::Graphics), told(Clock::Memory))
    }

    fn supported_memory(&self) -> Result<Vec<u32>, Refusal> {
        self.device()?.supported_memory_clocks().map_err(refused)
    }

    fn supported_graphics(&self, memory_mhz: u32) -> Result<Vec<u32>, Refusal> {
        let clocks = self.device()?.supported_graphics_clocks(memory_mhz);
        clocks.map_err(refused)
    }

    fn lock_graphics(&mut self, mhz: u32) -> Result<(), Refusal> {
        let setting = GpuLockedClocksSetting::Numeric {
            min_clock_mhz: mhz,
            max_clock_mhz: mhz,
        };
        let mut device = self.device()?;
        device.set_gpu_locked_clocks(setting).map_err(refused)
    }

    fn lock_memory(&mut self, mhz: u32) -> Result<(), Refusal> {
        let mut device = self.device()?;
        device.set_mem_locked_clocks(mhz, mhz).map_err(refused)
    }

    fn reset_graphics(&mut self) -> Result<(), Refusal> {
        self.device()?.reset_gpu_locked_clocks().map_err(refused)
    }

    fn reset_memory(&mut self) -> Result<(), Refusal> {
        self.device()?.reset_mem_locked_clocks().map_err(refused)
    }
}
