//! Door of the plan room: from what was asked for and what there is to the list of trials. Nothing runs here;
//! every rule that needs more than one argument, or the machine, is checked here.

mod bounds;
mod enforce;
mod fit;
mod sweep;

pub use bounds::{Bound, Bounds, Limit, MOST_SEQUENCES, of as bounds_of};
pub use enforce::{Firmness, alone, firmness};
pub use fit::{at_least, at_most};
pub use sweep::{find_model, lengths};

use crate::error::{Error, Result};
use crate::model::{Footprint, ModelSpec, check_form};
use crate::trial::{Device, Form, Precision, Trial};
use crate::units::Bytes;
use serde::Serialize;

/// Names of the suites, smallest first.
pub const SUITES: [&str; 4] = ["sanity", "quick", "core", "extended"];

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
    /// fp32 on the CPU, fp16 on a GPU.
    Auto,
    /// This one.
    Exactly(Precision),
}

/// What there is to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The device, chosen.
    pub device: Device,
    /// All of its memory; `None` for a device that was not asked.
    pub device_memory: Option<Bytes>,
    /// Physical cores.
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
    /// Predicted peak of memory, an estimate; `None` where the model has no such length.
    pub predicted_peak: Option<Bytes>,
    /// The prediction by terms, whose sum it is.
    pub predicted: Option<Footprint>,
    /// The largest sizes of this model, form and precision that are predicted to fit the budget.
    pub fits_up_to: Bounds,
    /// Why it will not be run, and what would fit; `None` for a trial to run.
    pub does_not_fit: Option<String>,
}

impl PlannedTrial {
    /// Why it is not to be run. `try_all` takes a prediction for what it is; a length that the model does not have remains.
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
        let cells = sweep::expand(&specs, request, facts, &budgets);
        check_positions(&request.selection, &cells)?;
        let trials = cells
            .into_iter()
            .map(|(spec, trial)| judge(spec, trial, facts, predict));
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

/// Refuses forms that cannot be written with the weights asked for.
fn check_forms(request: &Request) -> Result<()> {
    for form in &request.forms {
        for precision in &request.precisions {
            if let PrecisionChoice::Exactly(precision) = precision {
                check_form(*form, *precision)?;
            }
        }
    }
    Ok(())
}

/// Refuses lengths that a model named by the user does not have, or that no model of the suite has.
fn check_positions(selection: &Selection, cells: &[sweep::Cell]) -> Result<()> {
    let mut too_long = cells
        .iter()
        .filter(|cell| fit::is_too_long(cell.0, &cell.1));
    let refused = match selection {
        Selection::Models(_) => too_long.next(),
        Selection::Suite(_) if cells.iter().all(|cell| fit::is_too_long(cell.0, &cell.1)) => {
            too_long.max_by_key(|cell| cell.0.max_positions)
        }
        Selection::Suite(_) => None,
    };
    match refused {
        Some((spec, trial)) => Err(Error::Usage(fit::too_long(spec, trial))),
        None => Ok(()),
    }
}

/// Adds the prediction, and the reason where the trial cannot run.
fn judge(
    spec: &'static ModelSpec,
    trial: Trial,
    facts: &Facts,
    predict: Predict<'_>,
) -> PlannedTrial {
    let fits_up_to = bounds::of(spec, &trial, predict);
    let (predicted, does_not_fit) = if fit::is_too_long(spec, &trial) {
        (None, Some(fit::too_long(spec, &trial)))
    } else {
        let predicted = predict(spec, &trial);
        let peak = predicted.total();
        let reason =
            (peak > trial.budget).then(|| fit::too_large(spec, &trial, peak, facts, predict));
        (Some(predicted), reason)
    };
    PlannedTrial {
        trial,
        spec,
        predicted_peak: predicted.map(|terms| terms.total()),
        predicted,
        fits_up_to,
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
            batches: vec![1],
            prompt_tokens: vec![],
            gen_tokens: vec![],
            repetitions: 5,
            warmup: 1,
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
        })
    }

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
        let mut request = request(&["llama-1b"]);
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
    fn half_the_precision_is_offered_when_it_fits() {
        let mut request = request(&["llama-1b"]);
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
