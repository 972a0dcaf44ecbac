//! Which weights of a model stay in main memory when its GPU cannot hold them all. By shape; pure.
//!
//! A byte of GPU memory saves the more time the more often a decode step reads what lies in it. So what every token reads goes
//! there first, then experts, of which a token reads some, and last a table of which it reads a row.

use super::part::{Part, of_weight};
use super::spec::{Ffn, ModelSpec};
use super::traffic::experts_used;
use super::weights::{Layout, Tensor};
use crate::trial::{Offload, Trial};
use crate::units::Bytes;
use std::ops::Range;

/// Smaller tensors are always on the GPU: they are hardly any bytes, and reading them over the link costs its latency.
const SMALLEST: u64 = 16 << 10;

/// Copies of weights that are about to be used may take one part in so many of a budget, each of the two that a layer may need at once.
/// Larger ones are read in place.
const STAGED: u64 = 16;

/// What addresses in a block of weights are multiples of.
pub const WEIGHT_ALIGN: u64 = 256;

/// Where the weights of a trial go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OffloadPlan {
    /// The tensors in main memory.
    pub mapped: Vec<MappedWeight>,
    /// Room on the GPU for copies of weights that are about to be used, where some are copied.
    pub staging: Bytes,
    /// All tensors.
    pub tensors: u32,
    /// Bytes on the GPU.
    pub resident: Bytes,
    /// Bytes in main memory.
    pub mapped_bytes: Bytes,
    /// Bytes that a decode step reads from main memory, by shape.
    pub link_step: Bytes,
    /// Bytes that the prompt reads from main memory, if each is read once.
    pub link_prompt: Bytes,
    /// Main memory is the GPU's too: what lies there counts against the same budget.
    pub unified: bool,
}

impl OffloadPlan {
    /// What of the GPU's memory it takes, copies included.
    pub fn on_gpu(&self) -> Bytes {
        let shared = match self.unified {
            true => self.mapped_bytes,
            false => Bytes(0),
        };
        self.resident + self.staging + shared
    }
}

/// A weight tensor in main memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedWeight {
    /// Its name in the layout.
    pub name: String,
    /// Its bytes in the file.
    pub range: Range<u64>,
    /// Whether a copy of it may be made on the GPU before it is used.
    pub copied: bool,
    /// Whether the engine packs it, as it must then all quantised experts of the model.
    pub packed: bool,
}

/// A weight tensor that may stay in main memory.
struct Candidate<'a> {
    tensor: &'a Tensor,
    bytes: u64,
    /// Share of it that a decode step reads.
    step: f64,
    /// Share of it that the prompt reads.
    prompt: f64,
}

/// Places the weights of `trial`, of which `room` bytes may lie on the GPU where that decides.
pub fn offload_plan(spec: &ModelSpec, trial: &Trial, room: Bytes) -> OffloadPlan {
    let layout = Layout::of(spec, trial.numerics());
    let tensors = u32::try_from(layout.tensors.len()).unwrap_or(u32::MAX);
    if trial.offload == Offload::None {
        return OffloadPlan {
            tensors,
            resident: layout.file_bytes,
            ..OffloadPlan::default()
        };
    }
    let mut fixed = 0;
    let mut candidates = Vec::new();
    for tensor in &layout.tensors {
        let bytes = tensor.bytes.next_multiple_of(WEIGHT_ALIGN);
        if may_be_mapped(tensor) {
            let (step, prompt) = shares(spec, trial, tensor);
            candidates.push(Candidate {
                tensor,
                bytes,
                step,
                prompt,
            });
        } else {
            fixed += bytes;
        }
    }
    // A stable sort: equals in the order of the layers.
    candidates.sort_by(|a, b| b.step.total_cmp(&a.step));
    let most = trial.budget.0 / STAGED;
    let copies = candidates.iter().map(|one| one.bytes);
    let staging = 2 * copies.filter(|bytes| *bytes <= most).max().unwrap_or(0);
    let all: u64 = candidates.iter().map(|one| one.bytes).sum();
    // Where everything has room nothing is copied.
    let left = match fixed + all <= room.0 {
        true => room.0,
        false => room.0.saturating_sub(staging),
    };
    let mut plan = OffloadPlan {
        tensors,
        ..OffloadPlan::default()
    };
    let (mut resident, mut link_step, mut link_prompt) = (fixed, 0.0, 0.0);
    for one in &candidates {
        let stays = match trial.offload {
            Offload::None => true,
            Offload::All => false,
            Offload::Experts => of_weight(&one.tensor.name) != Part::Experts,
            Offload::Layers(count) => {
                let first = spec.n_layers.saturating_sub(count);
                layer(&one.tensor.name).is_none_or(|layer| layer < first)
            }
            Offload::Auto => resident + one.bytes <= left,
        };
        if stays {
            resident += one.bytes;
        } else {
            plan.mapped.push(MappedWeight {
                name: one.tensor.name.clone(),
                range: one.tensor.offset..one.tensor.offset + one.tensor.bytes,
                copied: one.bytes <= most,
                packed: one.tensor.packable_bits().is_some(),
            });
            plan.mapped_bytes += Bytes(one.bytes);
            link_step += one.tensor.bytes as f64 * one.step;
            link_prompt += one.tensor.bytes as f64 * one.prompt;
        }
    }
    if plan.mapped.iter().any(|one| one.copied) {
        plan.staging = Bytes(staging);
    }
    plan.resident = Bytes(resident);
    (plan.link_step, plan.link_prompt) = (Bytes(link_step as u64), Bytes(link_prompt as u64));
    plan
}

/// Places the weights of `trial` where CPU and GPU share one memory. Whatever is kept apart there is taken from it all the same, so that
/// nothing is unless it was asked for by hand; and a copy would be one more of what the GPU can read as quickly where it lies.
pub fn unified_plan(spec: &ModelSpec, trial: &Trial) -> OffloadPlan {
    let by_hand = match trial.offload {
        Offload::Auto => Offload::None,
        asked => asked,
    };
    let trial = Trial {
        offload: by_hand,
        ..trial.clone()
    };
    let mut plan = offload_plan(spec, &trial, Bytes(0));
    for weight in &mut plan.mapped {
        weight.copied = false;
    }
    OffloadPlan {
        staging: Bytes(0),
        unified: true,
        ..plan
    }
}

/// Whether a tensor can be read where it lies, and is worth it. What the runtime packs anew it loads itself.
fn may_be_mapped(tensor: &Tensor) -> bool {
    let part = of_weight(&tensor.name);
    let matrix = matches!(
        part,
        Part::Embedding | Part::Head | Part::Attention | Part::Ffn | Part::Experts
    );
    // Codes of experts the engine can pack itself.
    let repacked = tensor.repacked && tensor.packable_bits().is_none();
    matrix && !repacked && tensor.bytes >= SMALLEST
}

/// Shares of a tensor that a decode step and the prompt read.
fn shares(spec: &ModelSpec, trial: &Trial, tensor: &Tensor) -> (f64, f64) {
    let step_tokens = u64::from(trial.batch);
    let prompt_tokens = step_tokens * u64::from(trial.prompt_tokens);
    let rows = |tokens: u64| (tokens as f64 / f64::from(spec.vocab)).min(1.0);
    match (of_weight(&tensor.name), spec.ffn) {
        (Part::Experts, Ffn::Moe { experts, top_k, .. }) => (
            experts_used(experts, top_k, step_tokens),
            experts_used(experts, top_k, prompt_tokens),
        ),
        (Part::Embedding, _) if !spec.tied_head => (rows(step_tokens), rows(prompt_tokens)),
        _ => (1.0, 1.0),
    }
}

/// The layer that a weight belongs to, by its name: `l3.qkv.weight`, `s1.l3.fc.weight`.
fn layer(name: &str) -> Option<u32> {
    name.split('.')
        .find_map(|word| word.strip_prefix('l')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::{builtin, find};
    use super::*;
    use crate::trial::{Device, Precision};
    use proptest::prelude::*;

    fn trial(offload: Offload, precision: Precision) -> Trial {
        Trial {
            device: Device::Cuda(0),
            precision,
            offload,
            prompt_tokens: 256,
            gen_tokens: 128,
            ..Trial::example()
        }
    }

    fn plan(name: &str, offload: Offload, room: u64) -> OffloadPlan {
        offload_plan(
            find(name).unwrap(),
            &trial(offload, Precision::Fp16),
            Bytes(room),
        )
    }

    #[test]
    fn what_is_read_least_leaves_first() {
        let name = "granite-1b-a400m";
        let whole = plan(name, Offload::None, 0).resident.0;
        let some = plan(name, Offload::Auto, whole - (300 << 20));
        assert!(!some.mapped.is_empty());
        assert!(
            some.mapped.iter().all(|one| one.name.contains("experts")),
            "{:?}",
            some.mapped
        );
        // A token reads 8 of 32 experts.
        let quarter = some.mapped_bytes.0 as f64 / 4.0;
        assert!((some.link_step.0 as f64 / quarter - 1.0).abs() < 1e-3);
        let experts = plan(name, Offload::Experts, 0);
        let all = plan(name, Offload::All, 0);
        assert!(all.mapped_bytes > experts.mapped_bytes && all.resident < experts.resident);
        // 24 layers, 32 experts of 3 x 1024 x 512 in fp16, a quarter of them for a token: the 604 MB that were measured.
        assert_eq!(experts.link_step.0, 24 * 8 * 3 * 1024 * 512 * 2);
    }

    #[test]
    fn on_one_shared_memory_nothing_is_copied_and_auto_keeps_nothing_apart() {
        let spec = find("granite-1b-a400m").unwrap();
        let place = |offload| {
            let trial = Trial {
                budget: Bytes(1 << 30),
                ..trial(offload, Precision::Fp16)
            };
            let plans = (
                unified_plan(spec, &trial),
                offload_plan(spec, &trial, Bytes(0)),
            );
            assert!(plans.0.unified && plans.0.staging == Bytes(0));
            plans
        };
        let (auto, apart) = place(Offload::Auto);
        assert!(auto.mapped.is_empty() && !apart.mapped.is_empty());
        let (experts, apart) = place(Offload::Experts);
        assert_eq!(experts.mapped_bytes, apart.mapped_bytes);
        assert!(apart.mapped.iter().any(|one| one.copied));
        assert!(experts.mapped.iter().all(|one| !one.copied));
        assert_eq!(experts.on_gpu(), experts.resident + experts.mapped_bytes);
        assert_eq!(apart.on_gpu(), apart.resident + apart.staging);
    }

    #[test]
    fn layers_are_the_last_ones_and_leave_the_head() {
        let two = plan("llama-1b", Offload::Layers(2), 0);
        assert!(
            two.mapped
                .iter()
                .all(|one| one.name.starts_with("l14.") || one.name.starts_with("l15."))
        );
        let all = plan("llama-1b", Offload::Layers(1024), 0);
        assert_eq!(all.link_step, all.mapped_bytes);
        // Sixteen layers of 60.8 M weights: what was measured, 1,946 MB.
        assert!(
            (all.mapped_bytes.0 as f64 / 1.946e9 - 1.0).abs() < 0.01,
            "{}",
            all.mapped_bytes.0
        );
        assert!(!all.mapped.iter().any(|one| one.name.contains("wte")));
    }

    #[test]
    fn a_dense_model_has_no_experts_and_of_quantised_ones_the_codes_leave() {
        assert!(plan("llama-1b", Offload::Experts, 0).mapped.is_empty());
        let spec = find("granite-1b-a400m").unwrap();
        let packed = offload_plan(spec, &trial(Offload::All, Precision::Int4), Bytes(0));
        let (experts, others): (Vec<_>, Vec<_>) = packed
            .mapped
            .iter()
            .partition(|one| one.name.contains("experts"));
        assert_eq!(experts.len(), 48);
        assert!(
            experts
                .iter()
                .all(|one| one.packed && one.name.ends_with(".q"))
        );
        assert!(!others.is_empty() && others.iter().all(|one| !one.packed));
        let codes = offload_plan(spec, &trial(Offload::Experts, Precision::Int4), Bytes(0));
        // A quarter of what fp16 reads.
        assert_eq!(codes.link_step.0, 24 * 8 * 3 * 1024 * 512 / 2);
        let whole = |plan: &OffloadPlan| plan.resident + plan.mapped_bytes;
        assert_eq!(whole(&codes), whole(&packed));
    }

    proptest! {
        #[test]
        fn the_room_is_kept_and_more_room_never_means_more_over_the_link(
            model in 0..builtin().len(), share in 0.0..1.2f64, more in 0.0..0.3f64, int4 in any::<bool>(),
        ) {
            let spec = &builtin()[model];
            let precision = if int4 { Precision::Int4 } else { Precision::Fp16 };
            let trial = Trial { budget: Bytes(4 << 30), ..trial(Offload::Auto, precision) };
            let whole = Layout::of(spec, trial.numerics()).file_bytes.0 as f64;
            let least = offload_plan(spec, &trial, Bytes(0));
            let (room, wider) = (Bytes((whole * share) as u64), Bytes((whole * (share + more)) as u64));
            let (a, b) = (offload_plan(spec, &trial, room), offload_plan(spec, &trial, wider));
            let (taken, floor) = (a.resident + a.staging, least.resident + least.staging);
            prop_assert!(taken <= room.max(floor));
            prop_assert!(b.link_step <= a.link_step, "{} then {}", a.link_step.0, b.link_step.0);
            let all = Layout::of(spec, trial.numerics()).tensors.len();
            prop_assert!(least.mapped.len() <= all && a.mapped.len() <= least.mapped.len());
            prop_assert_eq!(a.resident + a.mapped_bytes, b.resident + b.mapped_bytes);
        }
    }
}
