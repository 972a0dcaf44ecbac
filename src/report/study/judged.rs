//! Two rows to ratios with intervals, by the machinery of the comparison of files.

use super::pairs::{self, Found};
use super::{Ratio, Side, StudyPair, words};
use crate::report::budgets::is_inside;
use crate::report::compare::{self, Figure, Judgement, Labels, Quantity, Samples};
use crate::report::repeat::Repeatability;
use crate::report::schema::Row;
use crate::stats;

/// How the pairs are compared, for the result file.
pub fn method(runs: Option<&Repeatability>) -> String {
    let spread = match runs {
        Some(repeated) => format!(
            "the spread of up to {} runs of the whole suite, each trial in processes of its own, on the narrow side where they are few, and where one of the two models has but one run, of the repetitions within it",
            repeated.runs
        ),
        None => "the spread of the repetitions within one run, which is smaller than that between runs; peak memory and energy are one figure for each trial and have no interval, and a cost has that of the decode speed it comes from".to_owned(),
    };
    format!(
        "mixture over dense, in the same setting; 95 % bootstrap interval of the ratio of means from {spread}; no difference where the interval holds 1 or the ratio is within {:.0} % of it. The weights are random: nothing is said of what a model is good for.",
        compare::NOISE * 100.0
    )
}

/// The pair with everything that is known of it.
pub fn pair(found: &Found<'_>, runs: Option<&Repeatability>) -> StudyPair {
    let (dense, moe) = (found.dense, found.moe);
    let refused = refusal(dense, moe);
    let judge = |metric: Quantity| {
        // An interval of one kind: the spread between runs is wider than that of repetitions.
        let several = |row| has_several(row, metric, runs);
        let runs = runs.filter(|_| several(dense) && several(moe));
        let (below, above) = (figure(dense, metric, runs), figure(moe, metric, runs));
        let labels = Labels {
            baseline: &dense.model,
            other: &moe.model,
        };
        let priced =
            || unlike_prices(dense, moe).filter(|_| metric == Quantity::CostPerMillionTokens);
        let refused = refused.clone().or_else(priced);
        let found = compare::judge(metric, &below, &above, refused.as_deref(), labels);
        let mut ratio: Ratio = found.into();
        ratio.intervals_of = ratio.ci95.map(|_| kind(runs.is_some()).to_owned());
        ratio
    };
    let sizes = [moe, dense].map(|row| pairs::size(row, found.basis).max(1) as f64);
    let pair = StudyPair {
        basis: found.basis,
        matched: found.mismatch.is_none(),
        mismatch: found.mismatch.clone(),
        size_ratio: sizes[0] / sizes[1],
        dense: side(dense),
        moe: side(moe),
        device: dense.device.clone(),
        form: dense.form.clone(),
        kv_cache_type: dense.kv_cache_type.clone(),
        batch: dense.batch,
        prompt_tokens: dense.prompt_tokens,
        gen_tokens: dense.gen_tokens,
        budget_bytes: dense.memory.budget_bytes,
        offload: pairs::offload(dense).map(str::to_owned),
        ratios: Quantity::STUDIED.into_iter().map(judge).collect(),
        verdict: String::new(),
    };
    StudyPair {
        verdict: words::verdict(&pair, [dense, moe]),
        ..pair
    }
}

/// Why two costs stand for different things.
fn unlike_prices(dense: &Row, moe: &Row) -> Option<String> {
    let (a, b) = (dense.cost.as_ref()?, moe.cost.as_ref()?);
    let without = match (a.watts, b.watts, a.flat_price_per_hour) {
        (None, Some(_), None) => dense,
        (Some(_), None, None) => moe,
        _ => return None,
    };
    Some(format!(
        "the power is known of one of the two only, so the cost of {} is without energy",
        without.model
    ))
}

/// Why nothing of the two may be compared.
fn refusal(dense: &Row, moe: &Row) -> Option<String> {
    let own = |row: &Row| {
        let status = row.status.replace('_', " ");
        let wrong = row.check.as_ref().is_some_and(|check| !check.passed);
        match (&row.reason, wrong) {
            (Some(reason), _) if row.status != "ok" => {
                Some(format!("{}: {status} ({reason})", row.model))
            }
            _ if row.status != "ok" => Some(format!("{}: {status}", row.model)),
            (_, true) => Some(format!(
                "{}: its logits differ from the reference",
                row.model
            )),
            _ => None,
        }
    };
    let reasons: Vec<String> = [dense, moe].into_iter().filter_map(own).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// What an interval is of.
fn kind(of_runs: bool) -> &'static str {
    if of_runs { "runs" } else { "repetitions" }
}

/// What the intervals of all pairs are of.
pub fn intervals_of(pairs: &[StudyPair], runs: Option<&Repeatability>) -> &'static str {
    let all = pairs.iter().flat_map(|pair| &pair.ratios);
    let mut kinds = all.filter_map(|ratio| ratio.intervals_of.as_deref());
    let first = kinds.next().unwrap_or(kind(runs.is_some()));
    match (first, kinds.all(|other| other == first)) {
        (_, false) => "mixed",
        ("runs", true) => "runs",
        (_, true) => "repetitions",
    }
}

/// Whether a row has the quantity in several runs.
fn has_several(row: &Row, metric: Quantity, runs: Option<&Repeatability>) -> bool {
    let values = runs.and_then(|runs| runs.values(row, metric));
    values.is_some_and(|values| values.len() > 1)
}

/// A figure with what its interval is taken from: its runs where there are several, else its repetitions.
pub fn figure(row: &Row, metric: Quantity, runs: Option<&Repeatability>) -> Figure {
    let own = compare::figure(row, metric);
    let Some(values) = runs.and_then(|runs| runs.values(row, metric)) else {
        return own;
    };
    match stats::mean(&values) {
        Some(value) if values.len() > 1 => Figure::Known {
            value,
            samples: Samples::Own(values),
        },
        _ => own,
    }
}

fn side(row: &Row) -> Side {
    Side {
        model: row.model.clone(),
        row: row.id.clone(),
        precision: row.precision.clone(),
        params: row.params.clone(),
        vocabulary: pairs::vocabulary(row),
        status: row.status.clone(),
        fits: match (row.status.as_str(), row.memory.peak_bytes) {
            ("ok", Some(_)) => Some(is_inside(row)),
            ("does_not_fit" | "out_of_memory", _) => Some(false),
            _ => None,
        },
        pinned_bytes: row.offload.as_ref().map(|offload| offload.mapped_bytes),
        memory: compare::parts(row),
    }
}

impl From<Judgement> for Ratio {
    fn from(found: Judgement) -> Ratio {
        let name = |field: &str| {
            match field {
                "baseline" => "dense",
                "other" => "moe",
                field => field,
            }
            .to_owned()
        };
        let reasons = found.not_measured.into_iter();
        Ratio {
            metric: found.metric,
            dense: found.baseline,
            moe: found.other,
            ratio: found.ratio,
            ci95: found.ci95,
            intervals_of: None,
            verdict: found.word.to_owned(),
            not_measured: reasons
                .map(|(field, reason)| (name(field), reason))
                .collect(),
        }
    }
}
