//! The plan alone: the whole selection predicted, nothing run. What a run looks at before it begins, too.

use super::start::{self, Start};
use super::{clocks, facts, print, progress};
use crate::cli::{ListFormat, PlanCommand, RunCommand};
use crate::device::{self, HostFacts};
use crate::error::{Error, Result};
use crate::export;
use crate::model;
use crate::plan::{Facts, Plan, Request};
use crate::progress::{Event, Progress};
use crate::protocol::{GpuFacts, ProbeFacts};
use crate::supervisor;
use crate::trial::{Device, DeviceChoice};
use crate::units::Bytes;
use std::path::{Path, PathBuf};

/// What is to be planned, and where to look for what there is.
pub struct Wanted<'a> {
    request: &'a Request,
    device: DeviceChoice,
    script: Option<&'a Path>,
    ort: Option<&'a Path>,
    runtime_dir: Option<&'a Path>,
    cuda_dirs: &'a [PathBuf],
}

impl<'a> From<&'a RunCommand> for Wanted<'a> {
    fn from(command: &'a RunCommand) -> Wanted<'a> {
        Wanted {
            request: &command.request,
            device: command.device,
            script: command.script.as_deref(),
            ort: command.ort.as_deref(),
            runtime_dir: command.runtime_dir.as_deref(),
            cuda_dirs: &command.cuda_dirs,
        }
    }
}

impl<'a> From<&'a PlanCommand> for Wanted<'a> {
    fn from(command: &'a PlanCommand) -> Wanted<'a> {
        Wanted {
            request: &command.request,
            device: command.device,
            script: command.script.as_deref(),
            ort: command.ort.as_deref(),
            runtime_dir: command.runtime_dir.as_deref(),
            cuda_dirs: &command.cuda_dirs,
        }
    }
}

/// Prints the plan of `edgebench plan`.
pub fn run(command: &PlanCommand) -> Result<u8> {
    let host = device::host(Path::new("/sys"));
    let progress = progress(command.quiet);
    let plan = unrun(&command.into(), &host, &progress)?;
    print(&export::plan(&plan, command.format == ListFormat::Json)?)
}

/// The plan of what will not be run. For the CPU it needs neither a worker nor ONNX Runtime, and for a GPU that is named it
/// can do without them: then `--vram-budget` is all that is known of its memory.
pub fn unrun(wanted: &Wanted<'_>, host: &HostFacts, progress: &Progress) -> Result<Plan> {
    let with_budget = !wanted.request.budgets.is_empty();
    if wanted.device == DeviceChoice::Cpu {
        let memory = device_memory(Device::Cpu, &ProbeFacts::default(), host);
        let memory = match (memory, with_budget) {
            (Err(_), true) => None,
            (memory, _) => Some(memory?),
        };
        return build(wanted, Device::Cpu, memory, None, host);
    }
    match (look(wanted, progress), wanted.device, with_budget) {
        (Ok((_, probe, device)), ..) => build(
            wanted,
            device,
            Some(device_memory(device, &probe, host)?),
            Some(&probe),
            host,
        ),
        (Err(cause), DeviceChoice::Cuda(index), true) => {
            progress.event(&Event::Note(format!(
                "the plan takes --vram-budget for granted, because the GPU could not be asked: {cause}"
            )));
            build(wanted, Device::Cuda(index), None, None, host)
        }
        (Err(cause), ..) => Err(cause),
    }
}

/// The plan of what will be run, with the worker and the device to run it.
pub fn to_run(
    wanted: &Wanted<'_>,
    host: &HostFacts,
    cache: &Path,
    progress: &Progress,
) -> Result<(Start, ProbeFacts, Plan)> {
    let start = find(wanted, progress)?;
    clocks::restore(cache, &start.worker, progress);
    let (probe, device) = ask(wanted, &start, progress)?;
    let memory = device_memory(device, &probe, host)?;
    let plan = build(wanted, device, Some(memory), Some(&probe), host)?;
    Ok((start, probe, plan))
}

/// Finds the runtime, asks a worker what is there, and settles on a device.
fn look(wanted: &Wanted<'_>, progress: &Progress) -> Result<(Start, ProbeFacts, Device)> {
    let start = find(wanted, progress)?;
    let (probe, device) = ask(wanted, &start, progress)?;
    Ok((start, probe, device))
}

/// Finds the runtime.
fn find(wanted: &Wanted<'_>, progress: &Progress) -> Result<Start> {
    let start = start::find(
        wanted.script,
        wanted.ort,
        wanted.runtime_dir,
        wanted.cuda_dirs,
    )?;
    if let Some(note) = &start.note {
        progress.event(&Event::Note(note.clone()));
    }
    Ok(start)
}

/// Asks a worker what is there, and settles on a device.
fn ask(wanted: &Wanted<'_>, start: &Start, progress: &Progress) -> Result<(ProbeFacts, Device)> {
    let probe = supervisor::probe(
        &start.engine,
        wanted.device,
        &start.worker,
        start::PROBE_TIMEOUT,
    )?;
    let (device, note) = facts::choose(wanted.device, &probe)?;
    if let Some(note) = note {
        progress.event(&Event::Note(note));
    }
    Ok((probe, device))
}

/// The trials, judged by the device's memory.
fn build(
    wanted: &Wanted<'_>,
    device: Device,
    memory: Option<Bytes>,
    probe: Option<&ProbeFacts>,
    host: &HostFacts,
) -> Result<Plan> {
    let facts = Facts {
        device,
        device_memory: memory,
        cores: host.usable_cores.unwrap_or(1),
    };
    let gpu = gpu_memory(probe.and_then(|probe| probe.gpu.as_ref()));
    Plan::build(wanted.request, &facts, &|spec, trial| {
        model::footprint_on(spec, trial, gpu)
    })
}

/// What a probe told of a GPU's memory.
pub(super) fn gpu_memory(gpu: Option<&GpuFacts>) -> model::GpuMemory {
    model::GpuMemory {
        probed: gpu.and_then(|gpu| gpu.probe_bytes),
        unified: gpu.is_some_and(|gpu| gpu.unified_memory),
    }
}

fn device_memory(device: Device, probe: &ProbeFacts, host: &HostFacts) -> Result<Bytes> {
    match (device, &probe.gpu) {
        (Device::Cuda(_), Some(gpu)) => Ok(gpu.memory_total),
        _ => host.memory_total.ok_or_else(|| {
            Error::Device("the size of main memory is not known on this system; edgebench needs /proc/meminfo".into())
        }),
    }
}
