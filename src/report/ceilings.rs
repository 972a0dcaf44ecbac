//! Ceilings in the result file: what a search found, with what each of its trials measured. Every figure that is missing gets
//! its reason here.

use super::schema::{Row, float};
use super::verdict;
use crate::ceiling::{Found, Kind, Limit, MARGIN_PERCENT, MOST_TRIALS};
use crate::trial::{Phase, Trial};
use crate::units::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a ceiling is measured.
const METHOD: &str = "each size ran in a worker of its own: one prompt at that size and a few decode steps, nothing warmed up; ttft is that first prompt, decode speed is sequences over the median step; peak as in the rows";

/// The largest size that ran inside the budget, and the smallest that did not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// `context`: the longest context of one sequence, in tokens of prompt and generated text; `batch`: the most sequences at
    /// these lengths; `model`: the largest built-in model and precision; from schema 1.3 on `dim:NAME`: the largest size of a
    /// dimension of a model that is no decoder, the others as in its row.
    pub kind: String,
    /// Model name; where that is what was searched for, the largest that ran.
    pub model: Option<String>,
    /// Graph form.
    pub form: String,
    /// Element type, as the model.
    pub precision: Option<String>,
    /// Type of the KV cache, as a row's.
    #[serde(default = "float")]
    pub kv_cache_type: String,
    /// Device.
    pub device: String,
    /// The budget.
    pub budget_bytes: u64,
    /// Sequences; null where they are searched for.
    pub batch: Option<u32>,
    /// Prompt length of each sequence; null where the context is searched for.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated for each sequence.
    pub gen_tokens: Option<u32>,
    /// Distance of two sizes; null for models.
    pub granularity: Option<u32>,
    /// `measured`; `not_closed` where sizes are left between the two, or where the next larger model was only predicted not to
    /// fit; `not_searched`; or `pending` before the search.
    pub status: String,
    /// What keeps the size from being larger, or why it was not searched for, in one sentence.
    pub reason: Option<String>,
    /// The largest size that ran.
    pub fits: Option<u32>,
    /// The smallest size that did not.
    pub fails: Option<u32>,
    /// `memory | margin | positions | flag | throughput_cliff | failure`; of models also `models`, where there is no larger one,
    /// and `prediction`, where the next larger one was not run.
    pub limited_by: Option<String>,
    /// Phase in which `fails` failed.
    pub failed_phase: Option<String>,
    /// What the search stays under, on the CPU and where CPU and GPU share one memory.
    pub margin_bytes: Option<u64>,
    /// When `fails` failed, where an earlier run remembered it and this one did not try again.
    pub remembered_from: Option<String>,
    /// The largest size that was predicted to fit before anything ran; an estimate.
    pub predicted: Option<u32>,
    /// The next larger model, and why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub larger: Option<LargerModel>,
    /// Peak of memory at `fits`.
    pub peak_bytes: Option<u64>,
    /// Time to first token at `fits`.
    pub ttft_ms: Option<f64>,
    /// Decode speed of all sequences at `fits`.
    pub decode_tok_s: Option<f64>,
    /// The trials, in the order in which they ran.
    pub trials: Vec<CeilingTrial>,
    /// How the figures came about.
    pub method: String,
    /// Reason for every `null` above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// A model that is larger than the largest that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LargerModel {
    /// Model name.
    pub model: String,
    /// Element type.
    pub precision: String,
    /// Predicted peak; an estimate.
    pub predicted_peak_bytes: u64,
    /// How its trial ended, as a row's; `not_run` where the prediction kept it from being run.
    pub status: String,
    /// Why it is not the largest.
    pub reason: String,
}

/// One trial of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CeilingTrial {
    /// The size: tokens of context or sequences; null for a model.
    pub size: Option<u32>,
    /// Its id, as a row's.
    pub id: String,
    /// `ok | does_not_fit | out_of_memory | timed_out | crashed | failed`.
    pub status: String,
    /// Why it is not `ok`.
    pub reason: Option<String>,
    /// Phase in which it ended, when not `ok`.
    pub failed_phase: Option<String>,
    /// Predicted peak; an estimate.
    pub predicted_peak_bytes: Option<u64>,
    /// Peak of memory; of what it reached, when not `ok`.
    pub peak_bytes: Option<u64>,
    /// Time to first token.
    pub ttft_ms: Option<f64>,
    /// Decode speed of all sequences.
    pub decode_tok_s: Option<f64>,
    /// Wall time, seconds.
    pub wall_s: Option<f64>,
    /// Reason for every `null` figure above, by field name.
    #[serde(default)]
    pub not_measured: BTreeMap<String, String>,
}

/// A ceiling before its search: of the trial's model for contexts and batches, of all models otherwise.
pub fn pending(
    kind: Kind,
    trial: &Trial,
    granularity: Option<u32>,
    predicted: Option<u32>,
) -> Ceiling {
    let lengths = kind != Kind::Context;
    let named = kind != Kind::Model;
    explained(Ceiling {
        kind: kind.name().to_owned(),
        model: named.then(|| trial.model.clone()),
        form: trial.form.to_string(),
        precision: named.then(|| trial.precision.to_string()),
        kv_cache_type: trial.kv_cache.to_string(),
        device: trial.device.to_string(),
        budget_bytes: trial.budget.0,
        batch: (kind != Kind::Batch).then_some(1),
        prompt_tokens: lengths.then_some(trial.prompt_tokens),
        gen_tokens: Some(trial.gen_tokens),
        granularity,
        status: "pending".to_owned(),
        predicted,
        method: METHOD.to_owned(),
        ..Ceiling::default()
    })
}

/// A ceiling that is not searched for.
pub fn not_searched(ceiling: Ceiling, reason: String) -> Ceiling {
    explained(Ceiling {
        status: "not_searched".to_owned(),
        reason: Some(reason),
        ..ceiling
    })
}

/// A search that could not go on.
pub fn broken_off(ceiling: Ceiling, reason: String) -> Ceiling {
    explained(Ceiling {
        status: if ceiling.trials.is_empty() {
            "not_searched"
        } else {
            "not_closed"
        }
        .to_owned(),
        limited_by: None,
        reason: Some(reason),
        ..ceiling
    })
}

/// One trial of a search, from its row. `size` is what was searched for.
pub fn trial(size: Option<u32>, row: &Row) -> CeilingTrial {
    let mut not_measured = BTreeMap::new();
    let named = [
        ("peak_bytes", "memory.peak_bytes"),
        ("ttft_ms", "ttft_ms"),
        ("decode_tok_s", "itl_ms"),
        ("wall_s", "wall_s"),
    ];
    for (name, in_row) in named {
        if let Some(reason) = row.not_measured.get(in_row) {
            not_measured.insert(name.to_owned(), reason.clone());
        }
    }
    let step = row.itl_ms.as_ref().map(|step| step.median);
    CeilingTrial {
        size,
        id: row.id.clone(),
        status: row.status.clone(),
        reason: row.reason.clone(),
        failed_phase: row.failed_phase.clone(),
        predicted_peak_bytes: row.memory.predicted_peak_bytes,
        peak_bytes: row.memory.peak_bytes,
        ttft_ms: row.ttft_ms.as_ref().map(|ttft| ttft.median),
        decode_tok_s: step
            .filter(|step| *step > 0.0)
            .map(|step| f64::from(row.batch) * 1e3 / step),
        wall_s: row.wall_s,
        not_measured,
    }
}

/// The ceiling with what its search has found so far. `at` is the trial at the largest size that ran.
pub fn searched(
    ceiling: Ceiling,
    found: &Found,
    margin: Option<Bytes>,
    at: Option<&CeilingTrial>,
) -> Ceiling {
    let fails = found.fails.as_ref();
    let limited_by = found.limited_by.filter(|_| found.complete);
    explained(Ceiling {
        status: if found.complete {
            "measured"
        } else {
            "not_closed"
        }
        .to_owned(),
        reason: Some(why(&ceiling, found)),
        fits: found.fits.map(|fit| fit.size),
        fails: fails.map(|fails| fails.size),
        limited_by: limited_by.map(|limit| limit.name().to_owned()),
        failed_phase: fails
            .and_then(|fails| fails.phase)
            .map(|phase: Phase| phase.to_string()),
        margin_bytes: margin.map(|bytes| bytes.0),
        remembered_from: fails.and_then(|fails| fails.remembered_from.clone()),
        ..at_fits(ceiling, at)
    })
}

/// The ceiling of models with what was found so far: the largest that ran, and the next larger one.
pub fn largest(
    ceiling: Ceiling,
    best: Option<(&str, String, &CeilingTrial)>,
    larger: Option<LargerModel>,
    margin: Option<Bytes>,
    complete: bool,
) -> Ceiling {
    let (ran, limited_by) = larger.as_ref().map_or_else(
        // Every model there is ran.
        || (true, "models"),
        |larger| limit_of(larger, ceiling.budget_bytes, margin),
    );
    let reason = match &larger {
        Some(larger) => format!(
            "{} in {}: {}",
            larger.model, larger.precision, larger.reason
        ),
        None => "no built-in model is larger".to_owned(),
    };
    let at = best.as_ref().map(|(_, _, trial)| *trial);
    explained(Ceiling {
        status: if complete && ran {
            "measured"
        } else {
            "not_closed"
        }
        .to_owned(),
        model: best.as_ref().map(|(model, _, _)| (*model).to_owned()),
        limited_by: complete.then(|| limited_by.to_owned()),
        reason: Some(reason),
        larger,
        margin_bytes: margin.map(|bytes| bytes.0),
        ..at_fits(
            Ceiling {
                precision: best.as_ref().map(|(_, precision, _)| precision.clone()),
                ..ceiling
            },
            at,
        )
    })
}

/// Whether the next larger model failed by running, and what it is that keeps it from being the largest.
fn limit_of(larger: &LargerModel, budget: u64, margin: Option<Bytes>) -> (bool, &'static str) {
    // Inside the budget, but not inside what the search stays under.
    let held = |margin: Bytes| (margin.0 + 1..=budget).contains(&larger.predicted_peak_bytes);
    match larger.status.as_str() {
        "not_run" | "does_not_fit" if margin.is_some_and(held) => (false, Limit::Margin.name()),
        "not_run" | "does_not_fit" => (false, "prediction"),
        // It ran to its end, with a peak above the budget.
        "out_of_memory" | "ok" => (true, Limit::Memory.name()),
        _ => (true, Limit::Failure.name()),
    }
}

/// The figures of the largest that ran.
fn at_fits(ceiling: Ceiling, at: Option<&CeilingTrial>) -> Ceiling {
    Ceiling {
        peak_bytes: at.and_then(|trial| trial.peak_bytes),
        ttft_ms: at.and_then(|trial| trial.ttft_ms),
        decode_tok_s: at.and_then(|trial| trial.decode_tok_s),
        ..ceiling
    }
}

/// What keeps the size from being larger, in one sentence.
fn why(ceiling: &Ceiling, found: &Found) -> String {
    if let Some(margin) = &found.margin {
        let share = format!(
            "the search stays under {} MiB, {MARGIN_PERCENT} % of the budget or of the memory that was free, whichever is less, so that this machine does not run out of memory",
            margin.limit.0 >> 20
        );
        return match margin.expected {
            Some(expected) => format!(
                "{} is expected to take {} MiB, as the measured peaks let expect, and {share}",
                margin.next,
                expected.0.div_ceil(1 << 20)
            ),
            None => format!("no peak was measured, and {share}"),
        };
    }
    let spent = format!("{MOST_TRIALS} trials were not enough to close in on it");
    match (&found.fails, found.complete) {
        (Some(fails), true) => fails.reason.clone(),
        (Some(fails), false) => format!("{spent}; {} failed: {}", fails.size, fails.reason),
        (None, false) => spent,
        (None, true) if found.limited_by == Some(Limit::Flag) => {
            "--batch takes no larger number".to_owned()
        }
        (None, true) => format!(
            "{} has no more positions",
            ceiling.model.as_deref().unwrap_or("the model")
        ),
    }
}

/// The ceiling with a reason for each figure that is null.
fn explained(mut ceiling: Ceiling) -> Ceiling {
    let models = ceiling.kind == Kind::Model.name();
    let unsearched = ["pending", "not_searched"].contains(&ceiling.status.as_str());
    let nothing = match ceiling.status.as_str() {
        "pending" => "the search has not ended yet",
        "not_searched" => "it was not searched for",
        _ => "no size that was tried ran inside the budget",
    };
    let or = |otherwise: &'static str| if unsearched { nothing } else { otherwise };
    let no_size = if models {
        "models are not counted"
    } else {
        nothing
    };
    let has_fit = if models {
        ceiling.model.is_some()
    } else {
        ceiling.fits.is_some()
    };
    let at = |name: &str| {
        let last = ceiling
            .trials
            .iter()
            .rev()
            .find(|trial| trial.status == "ok");
        let told = last.and_then(|trial| trial.not_measured.get(name));
        match told.filter(|_| has_fit) {
            Some(reason) => reason.clone(),
            None if has_fit => "the trial did not tell it".to_owned(),
            None => nothing.to_owned(),
        }
    };
    let fields = [
        ("model", ceiling.model.is_none(), nothing.to_owned()),
        ("precision", ceiling.precision.is_none(), nothing.to_owned()),
        (
            "batch",
            ceiling.batch.is_none(),
            "it is what is searched for".to_owned(),
        ),
        (
            "prompt_tokens",
            ceiling.prompt_tokens.is_none(),
            "it is the context less the generated tokens".to_owned(),
        ),
        (
            "granularity",
            ceiling.granularity.is_none(),
            "models have no distance".to_owned(),
        ),
        ("fits", ceiling.fits.is_none(), no_size.to_owned()),
        (
            "fails",
            ceiling.fails.is_none(),
            if models {
                no_size
            } else {
                or("no size that was tried failed")
            }
            .to_owned(),
        ),
        (
            "limited_by",
            ceiling.limited_by.is_none(),
            or("the search did not come to an end").to_owned(),
        ),
        (
            "failed_phase",
            ceiling.failed_phase.is_none(),
            or("nothing failed in a phase that is known").to_owned(),
        ),
        (
            "margin_bytes",
            ceiling.margin_bytes.is_none(),
            or("a GPU with memory of its own needs none").to_owned(),
        ),
        (
            "remembered_from",
            ceiling.remembered_from.is_none(),
            or("nothing of it is remembered from an earlier run").to_owned(),
        ),
        (
            "predicted",
            ceiling.predicted.is_none(),
            if models {
                no_size
            } else {
                "not even the smallest size is predicted to fit"
            }
            .to_owned(),
        ),
        ("peak_bytes", ceiling.peak_bytes.is_none(), at("peak_bytes")),
        ("ttft_ms", ceiling.ttft_ms.is_none(), at("ttft_ms")),
        (
            "decode_tok_s",
            ceiling.decode_tok_s.is_none(),
            at("decode_tok_s"),
        ),
        ("reason", ceiling.reason.is_none(), nothing.to_owned()),
    ];
    let missing = fields.into_iter().filter(|(_, missing, _)| *missing);
    ceiling.not_measured = missing
        .map(|(name, _, reason)| (name.to_owned(), reason))
        .collect();
    ceiling
}

/// The largest contexts in words, for the verdict; `None` where none was found.
pub fn sentence(ceilings: &[Ceiling]) -> Option<String> {
    let found = |ceiling: &&Ceiling| ceiling.kind == "context" && ceiling.fits.is_some();
    let clause = |ceiling: &Ceiling| {
        let (model, precision) = (ceiling.model.as_deref()?, ceiling.precision.as_deref()?);
        let open = match (ceiling.status.as_str(), ceiling.limited_by.as_deref()) {
            ("not_closed", _) => " at least",
            (_, Some("positions")) => ", all its positions",
            _ => "",
        };
        Some(format!(
            "{model} {} {precision} {} tokens{open}",
            ceiling.form, ceiling.fits?
        ))
    };
    let clauses = ceilings.iter().filter(found).filter_map(clause).collect();
    verdict::sentence("Longest context at batch 1: ", clauses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceiling::{Failure, Fit, Margin, Pass};
    use crate::report::fixture;

    fn context() -> Ceiling {
        let trial = fixture().trials[0].clone();
        assert_eq!(trial.form, "fused");
        let trial = super::super::fixture::trial("dense-120m", 16);
        pending(Kind::Context, &trial, Some(64), Some(960))
    }

    fn found(
        fits: Option<u32>,
        fails: Option<u32>,
        limited_by: Option<Limit>,
        complete: bool,
    ) -> Found {
        Found {
            fits: fits.map(|size| Fit {
                size,
                pass: Pass::default(),
            }),
            fails: fails.map(|size| Failure {
                size,
                limit: Limit::Memory,
                phase: Some(Phase::Prefill),
                reason: "an allocation was refused".to_owned(),
                remembered_from: None,
            }),
            limited_by,
            margin: None,
            complete,
        }
    }

    /// Names of the fields that are null.
    fn nulls(value: &impl Serialize) -> Vec<String> {
        let value = serde_json::to_value(value).unwrap();
        let fields = value.as_object().unwrap().iter();
        fields
            .filter(|(_, value)| value.is_null())
            .map(|(name, _)| name.clone())
            .collect()
    }

    #[test]
    fn every_null_has_its_reason_in_every_state() {
        let at = trial(Some(896), &fixture().trials[0]);
        let mut margin = found(Some(896), None, Some(Limit::Margin), true);
        margin.margin = Some(Margin {
            limit: Bytes(950 << 20),
            next: 960,
            expected: Some(Bytes(960 << 20)),
        });
        let model = pending(
            Kind::Model,
            &super::super::fixture::trial("m", 8),
            None,
            None,
        );
        let states = [
            context(),
            model.clone(),
            not_searched(context(), "no trial ran".to_owned()),
            broken_off(context(), "the disk is full".to_owned()),
            searched(
                context(),
                &found(Some(896), Some(960), Some(Limit::Memory), true),
                None,
                Some(&at),
            ),
            searched(
                context(),
                &found(Some(1024), None, Some(Limit::Positions), true),
                None,
                Some(&at),
            ),
            searched(
                context(),
                &found(None, Some(64), Some(Limit::Memory), true),
                None,
                None,
            ),
            searched(
                context(),
                &found(Some(64), Some(960), Some(Limit::Memory), false),
                None,
                Some(&at),
            ),
            searched(context(), &margin, Some(Bytes(950 << 20)), Some(&at)),
            largest(
                model.clone(),
                Some(("m", "fp32".to_owned(), &at)),
                None,
                None,
                true,
            ),
            largest(model, None, None, None, false),
        ];
        for state in states {
            for name in nulls(&state) {
                let told = state
                    .not_measured
                    .get(&name)
                    .is_some_and(|reason| !reason.is_empty());
                assert!(told, "{name} of {state:?}");
            }
            assert_eq!(state.not_measured.len(), nulls(&state).len());
        }
        for row in fixture().trials {
            let trial = trial(Some(64), &row);
            for name in nulls(&trial) {
                let is_word =
                    ["reason", "failed_phase", "predicted_peak_bytes"].contains(&name.as_str());
                assert!(
                    is_word || trial.not_measured.contains_key(&name),
                    "{name} of {trial:?}"
                );
            }
        }
    }

    #[test]
    fn a_larger_model_that_was_not_run_is_a_prediction_and_no_measurement() {
        let at = trial(None, &fixture().trials[0]);
        let pending = pending(
            Kind::Model,
            &super::super::fixture::trial("m", 8),
            None,
            None,
        );
        let budget = pending.budget_bytes;
        let told = |status: &str, predicted_peak_bytes: u64, margin: Option<u64>| {
            let larger = LargerModel {
                model: "l".to_owned(),
                precision: "fp32".to_owned(),
                predicted_peak_bytes,
                status: status.to_owned(),
                reason: "a reason".to_owned(),
            };
            let best = Some(("m", "fp32".to_owned(), &at));
            let found = largest(pending.clone(), best, Some(larger), margin.map(Bytes), true);
            (found.status, found.limited_by.unwrap())
        };
        let pair = |status: &str, limit: &str| (status.to_owned(), limit.to_owned());
        let open = |limit: &str| pair("not_closed", limit);
        assert_eq!(told("not_run", budget * 2, None), open("prediction"));
        assert_eq!(
            told("not_run", budget * 2, Some(budget / 2)),
            open("prediction")
        );
        assert_eq!(told("not_run", budget, Some(budget / 2)), open("margin"));
        for (status, limit) in [
            ("out_of_memory", "memory"),
            ("ok", "memory"),
            ("crashed", "failure"),
        ] {
            assert_eq!(told(status, budget, None), pair("measured", limit));
        }
    }

    #[test]
    fn the_reason_says_what_limits() {
        let reason = |found: &Found| searched(context(), found, None, None).reason.unwrap();
        assert_eq!(
            reason(&found(Some(1024), None, Some(Limit::Positions), true)),
            "dense-120m has no more positions"
        );
        assert_eq!(
            reason(&found(Some(896), Some(960), Some(Limit::Memory), true)),
            "an allocation was refused"
        );
        let open = found(Some(64), Some(960), Some(Limit::Memory), false);
        assert!(
            reason(&open).starts_with("8 trials were not enough"),
            "{}",
            reason(&open)
        );
        assert_eq!(searched(context(), &open, None, None).limited_by, None);
    }

    #[test]
    fn the_verdict_names_the_longest_contexts() {
        let end = searched(
            context(),
            &found(Some(1024), None, Some(Limit::Positions), true),
            None,
            None,
        );
        let open = searched(
            context(),
            &found(Some(64), Some(960), None, false),
            None,
            None,
        );
        assert_eq!(
            sentence(&[end.clone(), open, context()]).unwrap(),
            "Longest context at batch 1: dense-120m fused fp32 1024 tokens, all its positions; dense-120m fused fp32 64 tokens at least."
        );
        assert_eq!(sentence(&[context()]), None);
        let report = super::super::with_ceilings(fixture(), &[end]);
        assert!(report.finished && report.verdict.unwrap().contains("Longest context"));
        assert!(!super::super::with_ceilings(fixture(), &[context()]).finished);
    }
}
