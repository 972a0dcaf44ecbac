//! What the device can do at most, measured once before the trials.

use super::run::Bench;
use super::start;
use crate::device::HostFacts;
use crate::model;
use crate::protocol::Request;
use crate::supervisor;
use crate::trial::{Device, DeviceLimits};
use crate::units::Bytes;

/// Free main memory that measuring the CPU wants: it takes up to 768 MiB itself with up to 128 threads.
const ENOUGH: Bytes = Bytes(3 << 29);

/// Measures the device of the plan; `None` where nothing of it will be run. What goes wrong costs these figures and not the run.
pub fn measure(bench: &Bench, host: &HostFacts, try_all: bool) -> Option<DeviceLimits> {
    let device = bench.plan.device;
    let first = bench
        .plan
        .trials
        .iter()
        .find(|planned| planned.refusal(try_all).is_none());
    let threads = first?.trial.threads;
    let short = host.memory_available.is_some_and(|free| free < ENOUGH);
    if device == Device::Cpu && short {
        return Some(DeviceLimits::unknown(
            "there is too little free main memory to measure with",
        ));
    }
    let unknown = |cause: &dyn std::fmt::Display| {
        Some(DeviceLimits::unknown(&format!(
            "the graphs to measure with could not be written to {}: {cause}",
            std::env::temp_dir().display()
        )))
    };
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(cause) => return unknown(&cause),
    };
    let yardsticks = match model::yardsticks(folder.path(), device) {
        Ok(yardsticks) => yardsticks,
        Err(cause) => return unknown(&cause),
    };
    let request = Request::Measure {
        engine: bench.start.engine.clone(),
        device,
        yardsticks,
        room: bench.plan.largest_budget(),
        threads,
    };
    Some(supervisor::measure(
        &request,
        &bench.start.worker,
        start::PROBE_TIMEOUT,
    ))
}
