//! The machine and the program, in the report's words.

use crate::device::HostFacts;
use crate::error::{Error, Result};
use crate::payload;
use crate::protocol::ProbeFacts;
use crate::report::{Environment, Limits, Tool};
use crate::trial::{Device, DeviceChoice, DeviceLimits};
use std::collections::BTreeMap;

/// The program.
pub fn tool() -> Tool {
    Tool {
        name: "edgebench".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        commit: payload::COMMIT.map(str::to_owned),
    }
}

/// The machine and its runtime.
pub fn environment(
    host: &HostFacts,
    probe: &ProbeFacts,
    device: Device,
    limits: Option<&DeviceLimits>,
) -> Environment {
    let mut environment = Environment {
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
        limits: limits.map(plain),
        power_mode: host.governor.clone(),
        cpu_clock_mhz: host.clock_mhz,
        locked_clocks: None,
        not_measured: BTreeMap::new(),
    };
    environment.not_measured = reasons(&environment);
    environment
        .not_measured
        .extend(limits.into_iter().flat_map(unmeasured));
    environment
}

/// The device's limits in the report's words.
fn plain(limits: &DeviceLimits) -> Limits {
    let told = |value: &Result<f64, String>| value.as_ref().ok().copied();
    Limits {
        read_bytes_s: told(&limits.read_bytes_s),
        copy_bytes_s: told(&limits.copy_bytes_s),
        to_device_bytes_s: told(&limits.to_device_bytes_s),
        from_device_bytes_s: told(&limits.from_device_bytes_s),
        launch_s: told(&limits.launch_s),
        graph_launch_s: told(&limits.graph_launch_s),
        flop_s: told(&limits.flop_s),
        method: limits.method.clone(),
    }
}

/// Why some of them are not known.
fn unmeasured(limits: &DeviceLimits) -> Vec<(String, String)> {
    let all = [
        ("read_bytes_s", &limits.read_bytes_s),
        ("copy_bytes_s", &limits.copy_bytes_s),
        ("to_device_bytes_s", &limits.to_device_bytes_s),
        ("from_device_bytes_s", &limits.from_device_bytes_s),
        ("launch_s", &limits.launch_s),
        ("graph_launch_s", &limits.graph_launch_s),
        ("flop_s", &limits.flop_s),
    ];
    let missing = all.into_iter().filter_map(|(name, value)| {
        let reason = value.as_ref().err()?;
        Some((format!("limits.{name}"), reason.clone()))
    });
    missing.collect()
}

/// Why a fact of the environment is missing, for each that is.
fn reasons(environment: &Environment) -> BTreeMap<String, String> {
    let no_gpu = environment
        .cuda_unavailable
        .as_deref()
        .unwrap_or("the CPU was asked for, so no GPU was looked for");
    let system = "the system does not tell it";
    let governor = "the system tells no CPU frequency governor (virtual machines have none)";
    let clock = "the system tells no CPU clock in /sys/devices/system/cpu";
    let cuda = "CUDA is in use, or was not looked for";
    let facts = [
        ("host", environment.host.is_none(), system),
        ("os", environment.os.is_none(), system),
        ("kernel", environment.kernel.is_none(), system),
        ("cpu_info", environment.cpu_info.is_none(), system),
        ("cpu_cores", environment.cpu_cores.is_none(), system),
        ("cpu_threads", environment.cpu_threads.is_none(), system),
        (
            "memory_total_bytes",
            environment.memory_total_bytes.is_none(),
            system,
        ),
        (
            "memory_available_bytes",
            environment.memory_available_bytes.is_none(),
            system,
        ),
        ("gpu", environment.gpu.is_none(), no_gpu),
        ("gpu_info", environment.gpu_info.is_none(), no_gpu),
        (
            "runtime_build",
            environment.runtime_build.is_none(),
            "the library does not tell it",
        ),
        (
            "cuda_unavailable",
            environment.cuda_unavailable.is_none(),
            cuda,
        ),
        (
            "limits",
            environment.limits.is_none(),
            "no trial was to be run",
        ),
        ("power_mode", environment.power_mode.is_none(), governor),
        ("cpu_clock_mhz", environment.cpu_clock_mhz.is_none(), clock),
    ];
    let missing = facts.into_iter().filter(|(_, missing, _)| *missing);
    missing
        .map(|(field, _, reason)| (field.to_owned(), reason.to_owned()))
        .collect()
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
