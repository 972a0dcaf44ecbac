//! The machine and the program, in the report's words.

use crate::device::HostFacts;
use crate::error::{Error, Result};
use crate::payload;
use crate::protocol::ProbeFacts;
use crate::report::{Environment, Tool};
use crate::trial::{Device, DeviceChoice};

/// The program.
pub fn tool() -> Tool {
    Tool {
        name: "edgebench".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: payload::COMMIT.map(str::to_owned),
    }
}

/// The machine and its runtime.
pub fn environment(host: &HostFacts, probe: &ProbeFacts, device: Device) -> Environment {
    Environment {
        host: host.name.clone(),
        os: host.os.clone(),
        kernel: host.kernel.clone(),
        arch: std::env::consts::ARCH.into(),
        cpu_info: host.cpu.clone(),
        cpu_cores: host.cores,
        cpu_threads: host.threads,
        memory_total_bytes: host.memory_total.map(|bytes| bytes.0),
        memory_available_bytes: host.memory_available.map(|bytes| bytes.0),
        gpu_info: probe.gpu.as_ref().map(|gpu| gpu.name.clone()),
        gpu: probe.gpu.clone(),
        runtime_version: Some(probe.runtime_version.clone()),
        runtime_build: probe.runtime_build.clone(),
        runtime_providers: probe.providers.clone(),
        provider_in_use: Some(match device {
            Device::Cpu => "CPUExecutionProvider".into(),
            Device::Cuda(_) => "CUDAExecutionProvider".into(),
        }),
        cuda_unavailable: probe.cuda_unavailable.clone(),
        power_mode: host.governor.clone(),
        cpu_clock_mhz: host.clock_mhz,
    }
}

/// The device to run on. CUDA by name never falls back; `auto` may, and the second value says why.
pub fn choose(choice: DeviceChoice, probe: &ProbeFacts) -> Result<(Device, Option<String>)> {
    let cause = || {
        probe
            .cuda_unavailable
            .clone()
            .unwrap_or_else(|| "no GPU was found".into())
    };
    match (choice, &probe.gpu) {
        (DeviceChoice::Cpu, _) => Ok((Device::Cpu, None)),
        (DeviceChoice::Auto | DeviceChoice::Cuda(_), Some(gpu)) => {
            Ok((Device::Cuda(gpu.index), None))
        }
        (DeviceChoice::Auto, None) => Ok((
            Device::Cpu,
            Some(format!(
                "running on the CPU, because CUDA cannot be used: {}",
                cause()
            )),
        )),
        (DeviceChoice::Cuda(index), None) => Err(Error::Device(format!(
            "--device cuda:{index} cannot be used: {}; --device cpu runs without it",
            cause()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::GpuFacts;

    #[test]
    fn auto_falls_back_and_says_why_but_cuda_never_does() {
        let without = ProbeFacts {
            cuda_unavailable: Some("no driver".into()),
            ..ProbeFacts::default()
        };
        let (device, note) = choose(DeviceChoice::Auto, &without).unwrap();
        assert_eq!(device, Device::Cpu);
        assert!(note.unwrap().contains("no driver"));
        let error = choose(DeviceChoice::Cuda(0), &without).unwrap_err();
        assert!(error.to_string().contains("no driver"));
        assert_eq!(error.exit_code(), crate::error::exit::DEVICE);
        let with = ProbeFacts {
            gpu: Some(GpuFacts::default()),
            ..ProbeFacts::default()
        };
        assert_eq!(
            choose(DeviceChoice::Auto, &with).unwrap(),
            (Device::Cuda(0), None)
        );
        assert_eq!(
            choose(DeviceChoice::Cpu, &with).unwrap(),
            (Device::Cpu, None)
        );
    }
}
