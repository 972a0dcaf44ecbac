//! Which weights of a trial stay in main memory, and whether there is enough of that.

use super::run::Bench;
use crate::cli::RunCommand;
use crate::export;
use crate::model::{self, MappedWeight};
use crate::plan::{PlannedTrial, at_least, at_most};
use crate::progress::{Event, Progress};
use crate::protocol::WeightTensor;
use crate::report;
use crate::trial::{DeviceLimits, Offload, OffloadFacts};
use crate::units::Bytes;

/// Pinned memory cannot be swapped out: of what is available this share is left to everything else, unless told otherwise.
const LEFT_TO_OTHERS: u64 = 4;

/// The least that a second try has less on the GPU.
const LEAST_LESS: Bytes = Bytes(64 << 20);

/// Where the weights of a trial go.
pub(super) struct Placed {
    /// Tensors that stay in main memory.
    pub mapped: Vec<MappedWeight>,
    /// For the row; `None` where nothing was asked for.
    pub facts: Option<OffloadFacts>,
    /// Why that cannot be.
    pub refusal: Option<String>,
}

/// What a second try has less on the GPU, in this budget.
pub(super) fn less(budget: Bytes) -> Bytes {
    Bytes(budget.0 / 16).max(LEAST_LESS)
}

/// Places the weights of a trial, with so much less on the GPU than its budget is thought to have room for.
pub(super) fn place(
    command: &RunCommand,
    bench: &Bench,
    planned: &PlannedTrial,
    less: Bytes,
) -> Placed {
    let trial = &planned.trial;
    let none = Placed {
        mapped: Vec::new(),
        facts: None,
        refusal: None,
    };
    let (false, Some(predicted)) = (trial.offload == Offload::None, planned.predicted) else {
        return none;
    };
    let budget = trial.budget.saturating_sub(less);
    let plan = predicted.offload_plan(planned.spec, trial, budget);
    let facts = OffloadFacts {
        asked: trial.offload,
        resident: plan.resident,
        mapped: plan.mapped_bytes,
        mapped_tensors: u32::try_from(plan.mapped.len()).unwrap_or(u32::MAX),
        tensors: plan.tensors,
        link_step: plan.link_step,
        link_prompt: plan.link_prompt,
        unified: plan.unified,
        refused: None,
    };
    Placed {
        refusal: too_much(
            plan.mapped_bytes,
            command.host_budget,
            bench,
            &planned.spec.name,
        ),
        mapped: plan.mapped,
        facts: Some(facts),
    }
}

/// Tells where the weights of a trial are about to go, and how fast that is expected to be.
pub(super) fn announce(planned: &PlannedTrial, limits: Option<&DeviceLimits>, progress: &Progress) {
    let trial = &planned.trial;
    let (false, Some(predicted)) = (trial.offload == Offload::None, planned.predicted) else {
        return;
    };
    let plan = predicted.offload_plan(planned.spec, trial, trial.budget);
    let work = model::work(planned.spec, trial);
    let step = limits.and_then(|limits| {
        // Over no link where there is one memory.
        let bytes = match plan.unified {
            true => (0, 0),
            false => (plan.link_step.0, plan.mapped_bytes.0),
        };
        report::predicted_step(bytes, planned.spec.n_layers, &work, limits)
    });
    let speed = step.map(|step| f64::from(trial.batch) / step);
    progress.event(&Event::Note(format!(
        "{}: {}",
        trial.id,
        export::offload_summary(&plan, predicted.total(), speed)
    )));
}

/// Why so much main memory is not pinned.
fn too_much(
    wanted: Bytes,
    host_budget: Option<Bytes>,
    bench: &Bench,
    model: &str,
) -> Option<String> {
    if wanted == Bytes(0) {
        return None;
    }
    let (limit, which) = match host_budget {
        Some(limit) => (limit, "--host-budget is"),
        None => {
            let Some(available) = bench.memory_available else {
                return Some(format!(
                    "{model} would keep {} of its weights in pinned main memory, and how much of it is available is not known; say how much may be pinned with --host-budget",
                    at_least(wanted)
                ));
            };
            let left = available.saturating_sub(Bytes(available.0 / LEFT_TO_OTHERS));
            (
                left,
                "three quarters of what was available at the start are",
            )
        }
    };
    (wanted > limit).then(|| {
        format!(
            "{model} would keep {} of its weights in pinned main memory, and {which} {}; give more of the budget with --vram-budget, or allow more with --host-budget",
            at_least(wanted),
            at_most(limit)
        )
    })
}

/// The tensors of a graph with those marked that stay in main memory: also views and slices of what does.
pub(super) fn mark(tensors: &[WeightTensor], mapped: &[MappedWeight]) -> Vec<WeightTensor> {
    let mut tensors = tensors.to_vec();
    for tensor in &mut tensors {
        tensor.mapped = mapped.iter().any(|one| one.range.contains(&tensor.offset));
    }
    tensors
}

/// Whether the engine packs quantised experts.
pub(super) fn packs_experts(mapped: &[MappedWeight]) -> bool {
    mapped.iter().any(|one| one.packed)
}

/// Names of those that may be copied before they are used.
pub(super) fn copied(mapped: &[MappedWeight]) -> Vec<String> {
    let copied = mapped.iter().filter(|one| one.copied);
    copied.map(|one| one.name.clone()).collect()
}
