//! Door of the plan room: from what was asked for and what there is to the list of trials. Nothing runs here;
//! every rule that needs more than one argument, or the machine, is checked here.

mod auto;
mod bounds;
mod enforce;
mod fit;
mod sweep;
mod ways;

pub use auto::PassedOver;
pub use bounds::{Bound, Bounds, Limit, MOST_SEQUENCES, of as bounds_of};
pub use enforce::{Firmness, alone, firmness};
pub use fit::{at_least, at_most};
pub use sweep::{find_model, lengths};

use crate::error::{Error, Result};
use crate::model::foreign::ExternalPaths;
use crate::model::{Footprint, ModelSpec, check_cache, check_device, check_form};
use crate::trial::{Device, Form, KvCache, Offload, Precision, Trial};
use crate::units::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The suite that looks at whether things work.
pub const SANITY_SUITE: &str = "sanity";

/// Names of the suites, smallest first but for the last: `study` is the matched pairs, of all sizes.
pub const SUITES: [&str; 5] = [SANITY_SUITE, "quick", "core", "extended", STUDY_SUITE];

/// The suite that runs where none is named.
pub const DEFAULT_SUITE: &str = "quick";

/// The suite of dense and Mixture-of-Experts models that are matched in size.
pub const STUDY_SUITE: &str = "study";

/// Prompt length where none is given; half of the positions of a model that has fewer than twice as many.
pub const DEFAULT_PROMPT_TOKENS: u32 = 256;

/// Generated tokens where none are given; a quarter of the positions of a model that has fewer than four times as many.
pub const DEFAULT_GEN_TOKENS: u32 = 128;

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Which models.
    pub selection: Selection,
    /// Graph forms.
    pub forms: Vec<Form>,
    /// Types of the weights.
    pub precisions: Vec<PrecisionChoice>,
    /// Types of the KV cache.
    pub kv_caches: Vec<KvCache>,
    /// Go from the plain form to the tuned one step by step, instead of the forms.
    pub ablate: bool,
    /// Which weights stay in main memory.
    pub offload: Offload,
    /// Tokens that KV caches have room for at least; `None` for what each trial needs.
    pub kv_room: Option<u32>,
    /// Where weights of graphs that other programs wrote may be.
    pub external_paths: ExternalPaths,
    /// Sizes of dimensions that the graph of a model leaves free which is no decoder, by name.
    pub dims: BTreeMap<String, u32>,
    /// Files of its inputs, by name.
    pub inputs: BTreeMap<String, PathBuf>,
    /// Batch sizes.
    pub batches: Vec<u32>,
    /// Prompt lengths; empty for each model's default.
    pub prompt_tokens: Vec<u32>,
    /// Generated tokens; empty for each model's default.
    pub gen_tokens: Vec<u32>,
    /// Timed repetitions.
    pub repetitions: u32,
    /// Untimed repetitions before them.
    pub warmup: u32,
    /// Go on with these until their times are steady.
    pub steady: bool,
    /// Threads of the CPU provider; `None` for one on each physical core.
    pub threads: Option<u32>,
    /// Capture decode into a CUDA graph where that is possible.
    pub cuda_graph: bool,
    /// Seed of the built-in weights.
    pub seed: u64,
    /// Memory budgets in ascending order, each once; empty for all the memory of the device.
    pub budgets: Vec<Bytes>,
}

/// Which models to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All models of a suite.
    Suite(String),
    /// These models.
    Models(Vec<String>),
}

/// The type of the weights that the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrecisionChoice {
    /// The widest that is predicted to fit the budget: of fp32, int8 and int4 on the CPU, of fp16, int8 and int4 on a GPU. The
    /// plain form has no int8 and int4.
    Auto,
    /// This one.
    Exactly(Precision),
}

impl PrecisionChoice {
    /// Whether its weights are quantised whatever fits.
    fn is_quantized(self) -> bool {
        matches!(self, PrecisionChoice::Exactly(precision) if precision.quantized_bits().is_some())
    }
}

/// What there is to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The device, chosen.
    pub device: Device,
    /// All of its memory; `None` for a device that was not asked.
    pub device_memory: Option<Bytes>,
    /// Cores that may be used.
    pub cores: u32,
}

/// The trials to run, in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The device.
    pub device: Device,
    /// All of its memory; `None` for a device that was not asked.
    pub device_memory: Option<Bytes>,
    /// Memory budgets in ascending order, one at least.
    pub budgets: Vec<Bytes>,
    /// The trials, those of the smallest budget first.
    pub trials: Vec<PlannedTrial>,
}

/// A trial with what is known before it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedTrial {
    /// The trial.
    pub trial: Trial,
    /// The model.
    #[serde(skip)]
    pub spec: &'static ModelSpec,
    /// Whether settings of the runtime may be tried for it and kept.
    #[serde(skip)]
    pub tune: bool,
    /// Predicted peak of memory, an estimate; `None` where the model has no such length, or the device no operators
    /// for it.
    pub predicted_peak: Option<Bytes>,
    /// The prediction by terms, whose sum it is.
    pub predicted: Option<Footprint>,
    /// The largest sizes of this model, form and precision that are predicted to fit the budget.
    pub fits_up_to: Bounds,
    /// Wider precisions that `auto` did not take, because they are predicted not to fit the budget.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// Why it will not be run, and what would fit; `None` for a trial to run.
    pub does_not_fit: Option<String>,
}

impl PlannedTrial {
    /// Why it is not to be run. `try_all` takes a prediction for what it is; a length that the model does not have
    /// and operators that the device does not have remain.
    pub fn refusal(&self, try_all: bool) -> Option<&str> {
        let is_prediction = self.predicted.is_some();
        self.does_not_fit
            .as_deref()
            .filter(|_| !(try_all && is_prediction))
    }
}

/// Predicts the memory of a trial.
pub type Predict<'a> = &'a dyn Fn(&ModelSpec, &Trial) -> Footprint;

impl Plan {
    /// Expands the request into trials and judges each by its prediction.
    pub fn build(request: &Request, facts: &Facts, predict: Predict<'_>) -> Result<Plan> {
        let budgets = budgets(&request.budgets, facts.device_memory)?;
        let specs = sweep::select(&request.selection)?;
        check_forms(request)?;
        check_offload(request.offload, facts.device)?;
        let cells = sweep::expand(&specs, request, facts, &budgets, predict);
        check_positions(&request.selection, &cells)?;
        check_room(&cells)?;
        let trials = cells.into_iter().map(|cell| judge(cell, facts, predict));
        Ok(Plan {
            device: facts.device,
            device_memory: facts.device_memory,
            budgets,
            trials: trials.collect(),
        })
    }

    /// The largest budget.
    pub fn largest_budget(&self) -> Bytes {
        self.budgets.last().copied().unwrap_or_default()
    }
}

/// The budgets in force: none larger than the device.
fn budgets(asked: &[Bytes], memory: Option<Bytes>) -> Result<Vec<Bytes>> {
    match (asked.last(), memory) {
        (Some(largest), Some(memory)) if *largest > memory => Err(Error::Usage(format!(
            "--vram-budget {} is more than the {} this device has; give at most {}, or leave --vram-budget out to use all of it",
            fit::at_least(*largest),
            fit::at_most(memory),
            fit::argument_at_most(memory),
        ))),
        (Some(_), _) => Ok(asked.to_vec()),
        (None, Some(memory)) => Ok(vec![memory]),
        (None, None) => Err(Error::Usage(
            "the memory of the device is not known; say how much there is with --vram-budget"
                .into(),
        )),
    }
}

/// Refuses forms that cannot be written with the weights or the KV cache asked for.
fn check_forms(request: &Request) -> Result<()> {
    for form in &request.forms {
        for kv_cache in &request.kv_caches {
            check_cache(*form, *kv_cache)?;
        }
        for precision in &request.precisions {
            if let PrecisionChoice::Exactly(precision) = precision {
                check_form(*form, *precision)?;
            }
        }
    }
    Ok(())
}

/// Refuses to keep weights out of a GPU's memory where there is none.
fn check_offload(offload: Offload, device: Device) -> Result<()> {
    match (offload, device) {
        (Offload::None, _) | (_, Device::Cuda(_)) => Ok(()),
        (asked, Device::Cpu) => Err(Error::Usage(format!(
            "--offload {asked} keeps weights out of a GPU's memory, and the trials run on the CPU; leave it out, or choose a GPU with --device cuda"
        ))),
    }
}

/// Refuses a KV cache that has no room for the sequence.
fn check_room(cells: &[sweep::Cell]) -> Result<()> {
    let has_none = |cell: &&sweep::Cell| {
        let sequence = cell.trial.sequence();
        let room = cell.trial.kv_room.unwrap_or(sequence);
        room < sequence && !fit::is_too_long(cell.spec, &cell.trial)
    };
    match cells.iter().find(has_none).map(|cell| &cell.trial) {
        Some(trial) => Err(Error::Usage(format!(
            "--context {} has no room for {} prompt and {} generated tokens; give at least {}, or shorter ones",
            trial.kv_room.unwrap_or(0),
            trial.prompt_tokens,
            trial.gen_tokens,
            trial.sequence()
        ))),
        None => Ok(()),
    }
}

/// Refuses lengths that a model named by the user does not have, or that no model of the suite has.
fn check_positions(selection: &Selection, cells: &[sweep::Cell]) -> Result<()> {
    let mut too_long = cells
        .iter()
        .filter(|cell| fit::is_too_long(cell.spec, &cell.trial));
    let refused = match selection {
        Selection::Models(_) => too_long.next(),
        Selection::Suite(_)
            if cells
                .iter()
                .all(|cell| fit::is_too_long(cell.spec, &cell.trial)) =>
        {
            too_long.max_by_key(|cell| cell.spec.max_positions)
        }
        Selection::Suite(_) => None,
    };
    match refused {
        Some(cell) => Err(Error::Usage(fit::too_long(cell.spec, &cell.trial))),
        None => Ok(()),
    }
}

/// A prediction is trusted to one part in so many: what is predicted to need no more than that above its budget may fit, and running it
/// tells. Wider than what was measured: 0.1 to 2.8 % too low on an H100 (benchmarks/results/h100-memory.txt), 1 to 7 % off on the CPU.
const UNSURE: u64 = 20;

/// Whether a trial cannot fit, as far as its prediction tells.
fn cannot_fit(predicted: Bytes, budget: Bytes) -> bool {
    predicted > Bytes(budget.0.saturating_add(budget.0 / UNSURE))
}

/// Adds the prediction, and the reason where the trial cannot run.
fn judge(cell: sweep::Cell, facts: &Facts, predict: Predict<'_>) -> PlannedTrial {
    let sweep::Cell {
        spec,
        trial,
        tune,
        passed_over,
    } = cell;
    let fits_up_to = bounds::of(spec, &trial, predict);
    let (predicted, does_not_fit) = if fit::is_too_long(spec, &trial) {
        (None, Some(fit::too_long(spec, &trial)))
    } else if let Err(error) = check_device(spec, trial.precision, trial.device) {
        (None, Some(error.to_string()))
    } else {
        let predicted = predict(spec, &trial);
        let peak = predicted.total();
        let reason = fit::nothing_to_offload(spec, &trial, &predicted);
        if reason.is_some() {
            return PlannedTrial {
                trial,
                spec,
                tune,
                predicted_peak: None,
                predicted: None,
                fits_up_to,
                passed_over,
                does_not_fit: reason,
            };
        }
        let reason = cannot_fit(peak, trial.budget)
            .then(|| fit::too_large(spec, &trial, (peak, &passed_over), facts, predict));
        (Some(predicted), reason)
    };
    PlannedTrial {
        trial,
        spec,
        tune,
        predicted_peak: predicted.map(|terms| terms.total()),
        predicted,
        fits_up_to,
        passed_over,
        does_not_fit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weight_bytes;

    fn request(models: &[&str]) -> Request {
        Request {
            selection: Selection::Models(models.iter().map(|name| (*name).to_owned()).collect()),
            forms: vec![Form::Fused],
            precisions: vec![PrecisionChoice::Auto],
            kv_caches: vec![KvCache::Float],
            ablate: false,
            offload: Offload::None,
            kv_room: None,
            external_paths: Default::default(),
            dims: Default::default(),
            inputs: Default::default(),
            batches: vec![1],
            prompt_tokens: vec![],
            gen_tokens: vec![],
            repetitions: 5,
            warmup: 1,
            steady: false,
            threads: None,
            cuda_graph: true,
            seed: 42,
            budgets: vec![],
        }
    }

    const CPU: Facts = Facts {
        device: Device::Cpu,
        device_memory: Some(Bytes(8 << 30)),
        cores: 2,
    };

    fn build(request: &Request) -> Result<Plan> {
        build_on(request, &CPU)
    }

    fn build_on(request: &Request, facts: &Facts) -> Result<Plan> {
        Plan::build(request, facts, &|spec, trial| Footprint {
            weights: weight_bytes(spec, trial.numerics()),
            kv_cache: Bytes(0),
            activations: Bytes(0),
            runtime: Bytes(0),
            unified: false,
        })
    }

    /// A request for one precision.
    fn exactly(model: &str, precision: Precision) -> Request {
        Request {
            precisions: vec![PrecisionChoice::Exactly(precision)],
            ..request(&[model])
        }
    }

    const GPU: Facts = Facts {
        device: Device::Cuda(0),
        device_memory: Some(Bytes(8 << 30)),
        cores: 2,
    };

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.trials
            .iter()
            .map(|one| one.trial.id.as_str())
            .collect()
    }

    fn refusal(request: &Request) -> String {
        let error = build(request).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn the_default_budget_is_the_device() {
        let plan = build(&request(&["dense-120m"])).unwrap();
        assert_eq!(plan.budgets, [CPU.device_memory.unwrap()]);
        assert_eq!(ids(&plan), ["dense-120m/fused/fp32/b1/pp256/tg128"]);
        assert_eq!(plan.trials[0].does_not_fit, None);
        assert_eq!(
            (
                plan.trials[0].trial.threads,
                plan.trials[0].trial.cuda_graph
            ),
            (2, false)
        );
    }

    #[test]
    fn a_device_that_was_not_asked_needs_a_budget_and_bounds_none() {
        let unseen = Facts {
            device: Device::Cuda(0),
            device_memory: None,
            cores: 2,
        };
        let mut request = request(&["llama-1b"]);
        let error = build_on(&request, &unseen).unwrap_err().to_string();
        assert!(error.contains("--vram-budget"), "{error}");
        request.budgets = vec![Bytes(1 << 20)];
        request.precisions = vec![PrecisionChoice::Exactly(Precision::Fp16)];
        let plan = build_on(&request, &unseen).unwrap();
        let reason = plan.trials[0].does_not_fit.as_deref().unwrap();
        assert!(reason.contains("raise --vram-budget to 2358M"), "{reason}");
        assert!(!reason.contains("has only"), "{reason}");
    }

    #[test]
    fn quantised_weights_have_no_plain_form() {
        let mut request = request(&["tiny-llama"]);
        request.precisions = vec![
            PrecisionChoice::Auto,
            PrecisionChoice::Exactly(Precision::Int4),
        ];
        let plan = build(&request).unwrap();
        assert_eq!(
            plan.trials[1].trial.id,
            "tiny-llama/fused/int4/b1/pp64/tg32"
        );
        request.forms = vec![Form::Fused, Form::Plain];
        let text = refusal(&request);
        assert!(
            text.contains("--form fused") && text.contains("--precision int4"),
            "{text}"
        );
    }

    #[test]
    fn a_cache_in_int8_has_no_plain_form_and_an_id_of_its_own() {
        let mut request = request(&["tiny-llama"]);
        request.kv_caches = vec![KvCache::Float, KvCache::Int8];
        let plan = build(&request).unwrap();
        let float = "tiny-llama/fused/fp32/b1/pp64/tg32";
        assert_eq!(ids(&plan), [float, &format!("{float}/kv8")]);
        request.forms = vec![Form::Fused, Form::Plain];
        let text = refusal(&request);
        assert!(
            text.contains("--form fused") && text.contains("--kv-cache int8"),
            "{text}"
        );
    }

    #[test]
    fn a_budget_larger_than_the_device_names_both() {
        let mut request = request(&["dense-120m"]);
        request.budgets = vec![Bytes(1 << 30), Bytes(9 << 30)];
        let text = refusal(&request);
        for part in ["9.00 GiB", "8.00 GiB", "at most 8192M"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_named_model_with_too_few_positions_is_refused() {
        let mut request = request(&["llama-1b", "dense-120m"]);
        request.prompt_tokens = vec![256, 1000];
        let text = refusal(&request);
        for part in ["dense-120m", "1024", "1000", "128", "at most 896"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_suite_keeps_a_row_for_a_model_with_too_few_positions() {
        let mut request = request(&[]);
        request.selection = Selection::Suite("core".to_owned());
        request.prompt_tokens = vec![2000];
        let plan = build(&request).unwrap();
        let dense = &plan.trials[0];
        assert!(dense.does_not_fit.as_ref().unwrap().contains("1024"));
        assert_eq!(dense.predicted_peak, None);
        assert!(dense.refusal(false).is_some() && dense.refusal(true).is_some());
        assert!(plan.trials.iter().any(|one| one.does_not_fit.is_none()));
        request.selection = Selection::Suite("quick".to_owned());
        assert!(refusal(&request).contains("1024"));
    }

    #[test]
    fn a_trial_too_large_stays_and_says_what_would_fit() {
        let mut request = exactly("llama-1b", Precision::Fp32);
        request.budgets = vec![Bytes::GIB];
        let plan = build(&request).unwrap();
        let reason = plan.trials[0].does_not_fit.as_deref().unwrap();
        for part in [
            "llama-1b",
            "4.61 GiB",
            "1.00 GiB",
            "would fit",
            "--vram-budget to 4715M",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(!reason.contains("tiny"), "{reason}");
        assert_eq!(plan.trials[0].refusal(false), Some(reason));
        assert_eq!(plan.trials[0].refusal(true), None);
    }

    #[test]
    fn several_budgets_are_run_from_the_smallest_and_told_apart_in_the_ids() {
        let mut request = request(&["llama-1b", "dense-120m"]);
        request.precisions = vec![PrecisionChoice::Exactly(Precision::Fp32)];
        request.budgets = vec![Bytes(1536 << 20), Bytes(6 << 30)];
        let plan = build(&request).unwrap();
        assert_eq!(
            ids(&plan),
            [
                "llama-1b/fused/fp32/b1/pp256/tg128/vram1536M",
                "dense-120m/fused/fp32/b1/pp256/tg128/vram1536M",
                "llama-1b/fused/fp32/b1/pp256/tg128/vram6G",
                "dense-120m/fused/fp32/b1/pp256/tg128/vram6G",
            ]
        );
        let fits: Vec<bool> = plan
            .trials
            .iter()
            .map(|one| one.does_not_fit.is_none())
            .collect();
        assert_eq!(fits, [false, true, true, true]);
        assert_eq!(plan.largest_budget(), Bytes(6 << 30));
    }

    #[test]
    fn auto_is_the_widest_that_fits_each_budget() {
        let mut request = request(&["llama-1b", "dense-120m"]);
        // Of llama-1b the weights are 2.3 GiB in fp16, 1.2 GiB in int8 and 0.65 GiB in int4.
        request.budgets = [600, 700, 1536, 3072]
            .map(|size| Bytes(size << 20))
            .to_vec();
        let plan = build_on(&request, &GPU).unwrap();
        let found: Vec<_> = plan
            .trials
            .iter()
            .map(|one| {
                let passed_over = one.passed_over.iter().map(|other| other.precision);
                let fits = one.does_not_fit.is_none();
                (one.trial.id.as_str(), passed_over.collect::<Vec<_>>(), fits)
            })
            .collect();
        let (fp16, int8) = (Precision::Fp16, Precision::Int8);
        let id = |precision: &str, budget: &str| {
            format!("llama-1b/fused/{precision}/b1/pp256/tg128/vram{budget}")
        };
        let expected = [
            (id("int4", "600M"), vec![fp16, int8], false),
            (id("int4", "700M"), vec![fp16, int8], true),
            (id("int8", "1536M"), vec![fp16], true),
            (id("fp16", "3G"), vec![], true),
        ];
        let large = found.iter().filter(|(id, ..)| id.starts_with("llama-1b"));
        for ((id, passed_over, fits), found) in expected.iter().zip(large) {
            assert_eq!(
                (id.as_str(), passed_over, fits),
                (found.0, &found.1, &found.2)
            );
        }
        let small = |id: &&str| id.starts_with("dense-120m/fused/fp16/");
        assert_eq!(ids(&plan).into_iter().filter(small).count(), 4);
        let reason = plan.trials[0].does_not_fit.as_deref().unwrap();
        for part in [
            "llama-1b in int4, the narrowest of fp16, int8 and int4,",
            "raise --vram-budget to",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
        for one in &plan.trials {
            assert!(
                one.passed_over
                    .iter()
                    .all(|other| other.predicted_peak > one.trial.budget)
            );
        }
    }

    #[test]
    fn auto_on_the_cpu_goes_from_fp32_to_quantised_and_in_the_plain_form_nowhere() {
        let mut request = request(&["llama-1b"]);
        request.budgets = vec![Bytes(3 << 30)];
        assert_eq!(
            ids(&build(&request).unwrap()),
            ["llama-1b/fused/int8/b1/pp256/tg128"]
        );
        request.forms = vec![Form::Plain];
        let plan = build(&request).unwrap();
        assert_eq!(ids(&plan), ["llama-1b/plain/fp32/b1/pp256/tg128"]);
        assert!(plan.trials[0].does_not_fit.is_some());
    }

    #[test]
    fn what_auto_is_and_what_is_asked_for_by_name_is_one_trial() {
        let mut request = request(&["llama-1b"]);
        request.budgets = vec![Bytes(1536 << 20)];
        request
            .precisions
            .extend([Precision::Int8, Precision::Int4].map(PrecisionChoice::Exactly));
        let plan = build_on(&request, &GPU).unwrap();
        assert_eq!(
            ids(&plan),
            ["int8", "int4"].map(|precision| format!("llama-1b/fused/{precision}/b1/pp256/tg128"))
        );
    }

    #[test]
    fn auto_is_no_precision_that_the_device_has_no_operators_for() {
        let mut request = request(&["tiny-moe-llama", "tiny-moe-q"]);
        request.budgets = vec![Bytes(100_000)];
        let plan = build_on(&request, &GPU).unwrap();
        let precisions: Vec<_> = plan.trials.iter().map(|one| one.trial.precision).collect();
        assert_eq!(precisions, [Precision::Fp16, Precision::Int4]);
        assert_eq!(plan.trials[0].passed_over, []);
    }

    #[test]
    fn quantised_experts_that_cuda_has_no_operator_for_keep_a_row() {
        let mut request = exactly("tiny-moe-llama", Precision::Int4);
        let plan = build_on(&request, &GPU).unwrap();
        let row = &plan.trials[0];
        let reason = row.does_not_fit.as_deref().unwrap();
        assert!(reason.contains("multiples of 64"), "{reason}");
        assert_eq!(row.predicted_peak, None);
        // No prediction, and so nothing that could be tried all the same.
        assert_eq!(row.refusal(true), Some(reason));
        assert_eq!(build(&request).unwrap().trials[0].does_not_fit, None);
        request.selection = Selection::Models(vec!["tiny-moe-q".into()]);
        assert_eq!(
            build_on(&request, &GPU).unwrap().trials[0].does_not_fit,
            None
        );
    }

    #[test]
    fn half_the_precision_is_offered_when_it_fits() {
        let mut request = exactly("llama-1b", Precision::Fp32);
        request.budgets = vec![Bytes(3 << 30)];
        let plan = build(&request).unwrap();
        let reason = plan.trials[0].does_not_fit.as_deref().unwrap();
        assert!(reason.contains("llama-1b in fp16 would fit"), "{reason}");
    }

    #[test]
    fn when_nothing_fits_the_reason_says_so() {
        let mut request = request(&["llama-1b"]);
        request.budgets = vec![Bytes(10 << 20)];
        let plan = build(&request).unwrap();
        let reason = plan.trials[0].does_not_fit.as_deref().unwrap();
        assert!(reason.contains("no built-in model"), "{reason}");
    }

    #[test]
    fn the_suites_hold_the_models_that_they_are_known_for() {
        let names = |suite: &str| {
            let of_suite = crate::model::builtin()
                .iter()
                .filter(|spec| spec.suites.iter().any(|one| one == suite));
            of_suite
                .map(|spec| spec.name.as_str())
                .collect::<Vec<&str>>()
        };
        assert_eq!(
            names("quick"),
            [
                "dense-120m",
                "moe-120m-a82m",
                "moe-295m-a120m",
                "alchemist-16m"
            ]
        );
        assert_eq!(names("core").len(), 8);
        assert_eq!(
            names(STUDY_SUITE),
            [
                "dense-120m",
                "moe-120m-a82m",
                "moe-295m-a120m",
                "alchemist-16m",
                "dense-16m",
                "moe-16m-a10m",
                "moe-41m-a16m",
                "dense-350m",
                "moe-350m-a210m",
                "moe-946m-a350m",
                "swiglu-124m",
                "one-expert-124m",
                "llama-1b",
                "moe-1b-a632m",
                "moe-2.8b-a1b",
            ]
        );
    }

    #[test]
    fn every_suite_has_models_and_every_model_a_known_suite() {
        let specs = crate::model::builtin();
        for suite in SUITES {
            assert!(
                specs
                    .iter()
                    .any(|spec| spec.suites.iter().any(|one| one == suite))
            );
        }
        for name in specs.iter().flat_map(|spec| &spec.suites) {
            assert!(SUITES.contains(&name.as_str()), "{name}");
        }
    }
}
