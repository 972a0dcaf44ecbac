//! What the device can do at most, measured once before the trials.

use super::run::Bench;
use super::start;
use crate::device::HostFacts;
use crate::error::Result;
use crate::model;
use crate::protocol::Request;
use crate::supervisor;
use crate::trial::{Device, DeviceLimits};
use crate::units::Bytes;

/// Free main memory that measuring the CPU leaves untouched at least: it takes up to 768 MiB itself.
const ENOUGH: Bytes = Bytes(3 << 29);

/// Measures the device of the plan; `None` where nothing of it will be run.
pub fn measure(bench: &Bench, host: &HostFacts, try_all: bool) -> Result<Option<DeviceLimits>> {
    let device = bench.plan.device;
    let first = bench
        .plan
        .trials
        .iter()
        .find(|planned| planned.refusal(try_all).is_none());
    let Some(first) = first else { return Ok(None) };
    let short = host.memory_available.is_some_and(|free| free < ENOUGH);
    if device == Device::Cpu && short {
        return Ok(Some(DeviceLimits::unknown(
            "there is too little free main memory to measure with",
        )));
    }
    let folder = tempfile::tempdir().map_err(|cause| {
        crate::error::Error::output(&std::env::temp_dir(), cause, " with TMPDIR")
    })?;
    let request = Request::Measure {
        engine: bench.start.engine.clone(),
        device,
        yardsticks: model::yardsticks(folder.path(), device)?,
        room: bench.plan.largest_budget(),
        threads: first.trial.threads,
    };
    let limits = supervisor::measure(&request, &bench.start.worker, start::PROBE_TIMEOUT);
    Ok(Some(limits))
}
