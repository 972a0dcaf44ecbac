//! `--lock-clocks`: the GPU's clocks held for a run, and those restored that an earlier one left.

use super::run::Bench;
use crate::cli::RunCommand;
use crate::device;
use crate::error::{Error, Result};
use crate::progress::{Event, Progress};
use crate::report::Environment;
use crate::supervisor::{self, ClockLock, WorkerCommand};
use crate::trial::{Device, DeviceChoice, LockedClocks};
use std::path::Path;

/// What stands in the place of locked clocks where the flag was not given.
const FREE: &str =
    "--lock-clocks was not given, so the GPU's clocks follow its load, heat and power limit";

/// Clocks held for a run, or not.
pub struct Clocks {
    lock: Option<ClockLock>,
}

/// Refuses what cannot be meant, before anything is looked at.
pub fn check(command: &RunCommand) -> Result<()> {
    match (command.lock_clocks, command.device) {
        (true, DeviceChoice::Cpu) => Err(Error::Usage(
            "--lock-clocks holds the clocks of a GPU, and --device cpu runs nothing on one; leave one of them out".into(),
        )),
        _ => Ok(()),
    }
}

/// Restores what a run left locked that ended without doing so: it would bend every figure of this one.
pub fn restore(cache: &Path, worker: &WorkerCommand, progress: &Progress) {
    let folder = cache.join(device::CLOCKS_FOLDER);
    if !device::clocks_are_left(&folder) {
        return;
    }
    for said in supervisor::restore_clocks(&folder, worker) {
        progress.event(&Event::Warning(said.unwrap_or_else(|cause| cause)));
    }
}

impl Clocks {
    /// Locks the clocks of the GPU that the trials run on, where that was asked for.
    pub fn lock(
        command: &RunCommand,
        bench: &Bench,
        cache: &Path,
        progress: &Progress,
    ) -> Result<Clocks> {
        if !command.lock_clocks {
            return Ok(Clocks { lock: None });
        }
        let Device::Cuda(index) = bench.plan.device else {
            return Err(Error::Device(
                "--lock-clocks: the trials would run on the CPU, because CUDA cannot be used; make it usable (edgebench doctor says what is missing), or leave the flag out".into(),
            ));
        };
        let gpu = bench.probe.gpu.as_ref();
        let bus_id = gpu.and_then(|gpu| gpu.bus_id.clone());
        let folder = cache.join(device::CLOCKS_FOLDER);
        let lock = ClockLock::start(index, bus_id, &folder, &bench.start.worker);
        let lock = lock.map_err(|cause| {
            Error::Device(format!(
                "--lock-clocks: the clocks of GPU {index} could not be locked: {cause}; run as a user who may set them (root), on a GPU whose driver can, or leave the flag out"
            ))
        })?;
        progress.event(&Event::Note(words(&lock.clocks)));
        Ok(Clocks { lock: Some(lock) })
    }

    /// Writes down what is locked, or why nothing is.
    pub fn record(&self, environment: &mut Environment) {
        environment.locked_clocks = self.lock.as_ref().map(|lock| lock.clocks.clone());
        if self.lock.is_none() {
            let reason = match environment.provider_in_use.as_deref() {
                Some("CPUExecutionProvider") => {
                    "the trials run on the CPU, whose clocks edgebench does not set"
                }
                _ => FREE,
            };
            let missing = &mut environment.not_measured;
            missing.insert("locked_clocks".to_owned(), reason.to_owned());
        }
    }

    /// Says what could not be pinned down.
    pub fn announce(&self, device: Device, progress: &Progress) {
        if self.lock.is_none() && device != Device::Cpu {
            progress.event(&Event::Note(format!("{FREE}; runs may differ by that")));
        }
    }

    /// Restores the clocks. Where that fails the user must know.
    pub fn release(self, cache: &Path, worker: &WorkerCommand, progress: &Progress) {
        let Some(Err(cause)) = self.lock.map(ClockLock::release) else {
            return;
        };
        progress.event(&Event::Warning(format!(
            "the GPU's clocks could not be restored as they should: {cause}; the next run tries again"
        )));
        restore(cache, worker, progress);
    }
}

fn words(clocks: &LockedClocks) -> String {
    let memory = match (clocks.memory_mhz, &clocks.memory_reason) {
        (Some(mhz), _) => format!("its memory at {mhz} MHz"),
        (None, Some(reason)) => format!("its memory's clock not ({reason})"),
        (None, None) => "its memory's clock not".to_owned(),
    };
    format!(
        "the clocks of {} are locked at {} MHz, {memory}, until this run ends ({})",
        clocks.gpu, clocks.graphics_mhz, clocks.rule
    )
}
