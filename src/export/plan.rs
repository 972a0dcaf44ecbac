//! The plan: every trial with its prediction by terms. Nothing in it was measured, and it says so.

use super::lists::{WIDTH, grouped, pretty, table};
use super::notes::budget_title;
use super::{curve, human};
use crate::error::{Error, Result};
use crate::model;
use crate::plan::{Bound, Limit, PassedOver, Plan, PlannedTrial};
use crate::trial::Device;
use crate::units::Bytes;
use serde_json::{Value, json};
use std::cmp::Reverse;

/// What stands over every prediction.
pub(super) const LABEL: &str = "Estimates only: nothing was run.";

/// The plan, with its predictions.
pub fn plan(plan: &Plan, as_json: bool) -> Result<String> {
    if as_json {
        return pretty(&plan_json(plan)?);
    }
    let titles = [
        "trial",
        "weights",
        "KV cache",
        "activations",
        "runtime",
        "predicted peak",
        "fits",
    ];
    let mut text = String::new();
    for budget in &plan.budgets {
        let trials = || of_budget(plan, *budget);
        if plan.budgets.len() > 1 {
            text.push_str(&format!("{}\n", budget_title(budget.0)));
        }
        let rows = trials().map(|planned| {
            let mut cells = vec![planned.trial.id.clone()];
            cells.extend(terms(planned));
            cells.push(if fits(planned) { "yes" } else { "no" }.to_owned());
            cells
        });
        text.push_str(&table(&titles, rows, 1..6));
        for planned in trials().filter(|planned| fits(planned)) {
            if let Some(wider) = passed_over(planned) {
                text.push_str(&format!("{}: {wider}\n", planned.trial.id));
            }
        }
        // What does not fit the largest budget fits none.
        for planned in trials().filter(|_| *budget == plan.largest_budget()) {
            if let Some(reason) = &planned.does_not_fit {
                text.push_str(&format!(
                    "{}: {reason}{}\n",
                    planned.trial.id,
                    instead(planned)
                ));
            }
        }
        text.push('\n');
    }
    text.push_str(&summary(plan));
    let foreign = |planned: &PlannedTrial| planned.spec.foreign.is_some();
    if !plan.trials.iter().all(foreign) {
        text.push_str(&basis(&[plan.device]));
    }
    if plan.trials.iter().any(foreign) {
        text.push_str(&human::wrap(BASIS_OF_FOREIGN, WIDTH, 2));
        text.push('\n');
    }
    Ok(text)
}

/// What is predicted of graphs that other programs wrote.
const BASIS_OF_FOREIGN: &str = "Predictions for graphs that other programs wrote are lower bounds. They rest on this: weights: as they are stored, on the CPU those in fp16 also as they are converted; KV cache: its buffers by shape, two where it is copied to grow; activations: the logits alone, as the sizes of other values are not in the file; runtime: as for edgebench's own graphs.";

/// The trials of one budget.
fn of_budget(plan: &Plan, budget: Bytes) -> impl Iterator<Item = &PlannedTrial> {
    let trials = plan.trials.iter();
    trials.filter(move |planned| planned.trial.budget == budget)
}

fn fits(planned: &PlannedTrial) -> bool {
    planned.does_not_fit.is_none()
}

/// How many trials fit; with several budgets what each of them buys.
fn summary(plan: &Plan) -> String {
    let (all, device) = (plan.trials.len(), plan.device);
    let fitting = plan.trials.iter().filter(|planned| fits(planned)).count();
    if let [budget] = plan.budgets.as_slice() {
        return format!(
            "{all} trials on {device}, {fitting} of them predicted to fit the budget of {}. {LABEL}\n",
            human::bytes(budget.0),
        );
    }
    let total = |planned: &PlannedTrial| model::census(planned.spec).total;
    let largest = |budget: &Bytes| {
        let fitting = of_budget(plan, *budget).filter(|planned| fits(planned));
        // Of one model in several precisions the widest.
        fitting.max_by_key(|planned| (total(planned), Reverse(planned.trial.precision)))
    };
    let sizes: Vec<u64> = plan
        .budgets
        .iter()
        .map(|budget| largest(budget).map_or(0, total))
        .collect();
    let rows = plan
        .budgets
        .iter()
        .zip(curve::bars(&sizes))
        .map(|(budget, bar)| {
            let count = of_budget(plan, *budget)
                .filter(|planned| fits(planned))
                .count();
            let (name, size) = match largest(budget) {
                Some(planned) => (named(plan, planned), grouped(total(planned))),
                None => (human::MISSING.to_owned(), human::MISSING.to_owned()),
            };
            let of = all / plan.budgets.len();
            vec![
                human::bytes(budget.0),
                format!("{count} of {of}"),
                size,
                name,
                bar,
            ]
        });
    let titles = [
        "budget",
        "trials",
        "parameters",
        "largest predicted to fit",
        "",
    ];
    format!(
        "{}\n{}\n{all} trials on {device}, {fitting} of them predicted to fit their budget. {LABEL}\n",
        curve::TITLE,
        table(&titles, rows, 0..3)
    )
}

/// A model, with its precision and KV cache where the plan has several: what fits a small budget may be the same model in fewer bits.
fn named(plan: &Plan, planned: &PlannedTrial) -> String {
    let (precision, cache) = (planned.trial.precision, planned.trial.kv_cache);
    let trials = || plan.trials.iter().map(|other| &other.trial);
    let mut name = planned.spec.name.clone();
    if trials().any(|other| other.precision != precision) {
        name.push_str(&format!(" {precision}"));
    }
    if trials().any(|other| other.kv_cache != cache) {
        name.push_str(&format!(" (KV cache {cache})"));
    }
    name
}

/// The terms of a prediction and their sum.
pub(super) fn terms(planned: &PlannedTrial) -> [String; 5] {
    let Some(terms) = planned.predicted else {
        return std::array::from_fn(|_| human::MISSING.to_owned());
    };
    [
        terms.weights,
        terms.kv_cache,
        terms.activations,
        terms.runtime,
        terms.total(),
    ]
    .map(|term| human::bytes(term.0))
}

/// Why `auto` is no wider precision.
fn passed_over(planned: &PlannedTrial) -> Option<String> {
    let told = |one: &PassedOver| {
        let peak = human::bytes(one.predicted_peak.0);
        format!("{} ({peak})", one.precision)
    };
    let wider: Vec<String> = planned.passed_over.iter().map(told).collect();
    let precision = planned.trial.precision;
    (!wider.is_empty()).then(|| {
        format!(
            "{precision}, because the budget is less than what is predicted for {}",
            wider.join(" and ")
        )
    })
}

/// What of the same model is predicted to fit, as the end of a sentence.
fn instead(planned: &PlannedTrial) -> String {
    let bounds = planned.fits_up_to;
    let (tokens, batch) = (bounds.context_at_batch_1.size, bounds.batch.size);
    match (tokens, batch) {
        (None, _) => String::new(),
        (Some(tokens), None) => format!(
            "; at batch 1 it is predicted to fit up to {} tokens of prompt and generated text",
            grouped(tokens.into())
        ),
        (Some(_), Some(batch)) => format!(
            "; at these lengths it is predicted to fit up to batch {}",
            grouped(batch.into())
        ),
    }
}

/// A bound in a cell: the size, and what limits it where that is not the budget.
pub(super) fn bound(limit: Limit) -> String {
    let size = limit
        .size
        .map_or_else(|| "none".to_owned(), |size| grouped(size.into()));
    match limit.limited_by {
        Bound::Budget | Bound::Operators => size,
        Bound::Positions => format!("{size} (all positions)"),
        Bound::Flag => format!("{size} or more"),
    }
}

/// What the terms rest on, in words.
pub(super) fn basis(devices: &[Device]) -> String {
    let mut text = String::new();
    for device in devices {
        let mut sentence = format!("Predictions on {device} rest on this:");
        for (index, (term, words)) in model::basis(*device).iter().enumerate() {
            let joint = if index == 0 { " " } else { "; " };
            sentence.push_str(&format!(
                "{joint}{}: {words}",
                term.replace("kv_cache", "KV cache")
            ));
        }
        text.push_str(&human::wrap(&(sentence + "."), WIDTH, 2));
        text.push('\n');
    }
    text
}

/// The same for programs.
pub(super) fn basis_json(device: Device) -> Value {
    let terms = model::basis(device).map(|(term, words)| (term.to_owned(), json!(words)));
    Value::Object(terms.into_iter().collect())
}

/// A planned trial for programs: its sum stands with its terms.
pub(super) fn trial_json(planned: &PlannedTrial) -> Result<Value> {
    let mut value = serde_json::to_value(planned).map_err(|error| Error::Bug(error.to_string()))?;
    if let (Some(terms), Some(sum)) = (value["predicted"].as_object_mut(), planned.predicted_peak) {
        terms.insert("total_bytes".into(), json!(sum));
    }
    Ok(value)
}

fn plan_json(plan: &Plan) -> Result<Value> {
    let trials: Result<Vec<Value>> = plan.trials.iter().map(trial_json).collect();
    let mut value = json!({
        "label": LABEL,
        "device": plan.device,
        "device_memory": plan.device_memory,
        "budget": plan.largest_budget(),
        "budgets": plan.budgets,
        "basis": basis_json(plan.device),
        "trials": trials?,
    });
    if plan
        .trials
        .iter()
        .any(|planned| planned.spec.foreign.is_some())
    {
        value["basis_of_foreign"] = json!(BASIS_OF_FOREIGN);
    }
    if plan.device_memory.is_none() {
        value["not_known"] =
            json!({ "device_memory": "the device was not asked, because its budget was given" });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Facts, PrecisionChoice, Request, Selection};
    use crate::trial::Form;

    fn of(device: Device, budgets: &[Bytes], prompt: u32, forms: &[Form]) -> Plan {
        let request = Request {
            selection: Selection::Suite("core".into()),
            forms: forms.to_vec(),
            precisions: vec![PrecisionChoice::Auto],
            kv_caches: vec![Default::default()],
            ablate: false,
            offload: Default::default(),
            kv_room: None,
            external_paths: Default::default(),
            batches: vec![1, 8],
            prompt_tokens: vec![prompt],
            gen_tokens: vec![],
            repetitions: 5,
            warmup: 1,
            steady: false,
            threads: None,
            cuda_graph: true,
            seed: 42,
            budgets: budgets.to_vec(),
        };
        let facts = Facts {
            device,
            device_memory: None,
            cores: 2,
        };
        Plan::build(&request, &facts, &model::footprint).unwrap()
    }

    #[test]
    fn the_plan_as_a_table() {
        let gpu = of(Device::Cuda(0), &[Bytes(2 << 30)], 1000, &[Form::Fused]);
        insta::assert_snapshot!(plan(&gpu, false).unwrap());
    }

    #[test]
    fn the_plan_of_several_budgets() {
        let budgets = [Bytes(1 << 30), Bytes(3 << 30)];
        let gpu = of(Device::Cuda(0), &budgets, 256, &[Form::Fused]);
        insta::assert_snapshot!(plan(&gpu, false).unwrap());
        let value: Value = serde_json::from_str(&plan(&gpu, true).unwrap()).unwrap();
        assert_eq!(value["budgets"], json!(budgets));
        assert_eq!(value["budget"], json!(budgets[1]));
        let trials = value["trials"].as_array().unwrap();
        let of = |budget: Bytes| {
            let own = trials
                .iter()
                .filter(|one| one["trial"]["budget"] == json!(budget));
            own.count()
        };
        assert_eq!(budgets.map(of), [trials.len() / 2; 2]);
    }

    #[test]
    fn the_terms_of_every_row_add_up_to_its_total() {
        let text = plan(
            &of(
                Device::Cpu,
                &[Bytes(4 << 30)],
                256,
                &[Form::Plain, Form::Fused],
            ),
            true,
        )
        .unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        for trial in value["trials"].as_array().unwrap() {
            let term = |name: &str| trial["predicted"][name].as_u64().unwrap();
            let terms = [
                "weights_bytes",
                "kv_cache_bytes",
                "activations_bytes",
                "runtime_bytes",
            ];
            assert_eq!(
                terms.map(term).iter().sum::<u64>(),
                term("total_bytes"),
                "{trial}"
            );
            assert_eq!(trial["predicted_peak"], term("total_bytes"));
            assert!(terms.map(term).iter().all(|term| *term > 0), "{trial}");
        }
        assert!(
            value["basis"]["runtime"]
                .as_str()
                .unwrap()
                .contains("measured")
        );
        assert!(value["not_known"]["device_memory"].is_string());
    }
}
