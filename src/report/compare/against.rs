//! One file against the baseline: its rows beside the baseline's, judged, and those that stand alone.

use super::ceilings::CeilingPair;
use super::pairing::Pairing;
use super::quantity::Quantity;
use super::run::{Case, Parts, Run, Source};
use super::verdict::{self, Judgement, Labels};
use super::{ceilings, llama_bench, pairing, published};
use serde::Serialize;

/// A file against the baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// Label of the file.
    pub file: String,
    /// Label of what it is compared with.
    pub baseline: String,
    /// Rows that both have.
    pub pairs: Vec<Pair>,
    /// Rows that the baseline alone has.
    pub only_in_baseline: Vec<String>,
    /// Rows that this file alone has.
    pub only_in_other: Vec<String>,
    /// Ceilings that both have.
    pub ceilings: Vec<CeilingPair>,
    /// How its rows could be matched, where a name is all that stands between.
    pub hint: Option<String>,
    /// Rows that the baseline alone has, with their figures.
    #[serde(skip)]
    pub(super) lost: Vec<(String, Vec<Quantity>)>,
}

/// One of two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The baseline.
    Baseline,
    /// The file that is compared with it.
    Other,
}

/// Two rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// The baseline's row.
    pub row: String,
    /// The other file's row.
    pub other_row: String,
    /// Which of the two is published, if one is: the other is then the row that is most like it.
    #[serde(skip)]
    pub published: Option<Side>,
    /// Model, as the baseline calls it.
    pub model: String,
    /// Graph form and precision of both, where they are the same, and the KV cache, where it is not of the usual type.
    pub variant: Vec<String>,
    /// Memory budget of both, where a file has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_bytes: Option<u64>,
    /// Sequences decoded together.
    pub batch: u32,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub gen_tokens: u32,
    /// Tokens in the cache before the prompt.
    pub depth: u32,
    /// Why none of it is comparable.
    pub not_comparable: Option<String>,
    /// What to know besides.
    pub notes: Vec<String>,
    /// Each quantity.
    pub metrics: Vec<Judgement>,
    /// Parts of the peak in the baseline.
    pub baseline_memory: Parts,
    /// Parts of the peak in the other file.
    pub other_memory: Parts,
    /// Currency of the costs.
    pub currency: Option<String>,
    /// Whether the baseline's row has figures to be held to.
    #[serde(skip)]
    pub(super) baseline_is_sound: bool,
}

/// One file against the baseline.
pub fn against(first: &Run, other: &Run, labels: Labels) -> Against {
    let (mut ours, mut theirs) = (first.cases.clone(), other.cases.clone());
    let (mut idle_ours, mut idle_theirs) = (Vec::new(), Vec::new());
    match (first.source, other.source) {
        (Source::Edgebench, Source::LlamaBench) => {
            (theirs, idle_theirs) = aligned(&other.cases, &ours);
        }
        (Source::LlamaBench, Source::Edgebench) => {
            (ours, idle_ours) = aligned(&first.cases, &theirs)
        }
        _ => {}
    }
    let published = match (first.source, other.source) {
        (Source::Published, _) => Some(Side::Baseline),
        (_, Source::Published) => Some(Side::Other),
        _ => None,
    };
    let pairing = match published {
        Some(Side::Baseline) => beside(&ours, &theirs),
        Some(Side::Other) => beside(&theirs, &ours).turned(),
        None => pairing::pair(&ours, &theirs),
    };
    let alone = |cases: &[Case], places: &[usize], idle: Vec<Case>| -> Vec<Case> {
        let alone = places.iter().map(|place| cases[*place].clone());
        alone.chain(idle).collect()
    };
    let lost = alone(&ours, &pairing.baseline_only, idle_ours);
    let extra = alone(&theirs, &pairing.other_only, idle_theirs);
    let ids = |cases: &[Case]| cases.iter().map(|case| case.id.clone()).collect();
    Against {
        file: labels.other.to_owned(),
        baseline: labels.baseline.to_owned(),
        pairs: pairing
            .pairs
            .iter()
            .map(|(a, b)| Pair {
                published,
                ..pair(&ours[*a], &theirs[*b], labels)
            })
            .collect(),
        only_in_baseline: ids(&lost),
        only_in_other: ids(&extra),
        ceilings: ceilings::pairs(&first.ceilings, &other.ceilings, labels),
        hint: hint(&lost, &extra),
        lost: lost
            .iter()
            .map(|case| (case.id.clone(), known(case)))
            .collect(),
    }
}

/// Published rows beside measured ones. A measured row without one is not missed by anybody.
fn beside(published: &[Case], measured: &[Case]) -> Pairing {
    let (pairs, baseline_only) = published::beside(published, measured);
    Pairing {
        pairs,
        baseline_only,
        other_only: Vec::new(),
    }
}

/// llama-bench's tests as rows like `ours`, and those that no row is made of.
fn aligned(tests: &[Case], ours: &[Case]) -> (Vec<Case>, Vec<Case>) {
    let (rows, used) = llama_bench::align(tests, ours);
    let idle = tests.iter().filter(|test| !used.contains(&test.id));
    (rows, idle.cloned().collect())
}

/// The quantities of a row that something can be held to.
fn known(case: &Case) -> Vec<Quantity> {
    let figures = case.figures.iter();
    let known = figures.filter(|(_, figure)| case.obstacles.is_empty() && figure.value().is_some());
    known.map(|(quantity, _)| *quantity).collect()
}

/// The `--match` that would bring together two rows that stand alone for their names.
fn hint(lost: &[Case], extra: &[Case]) -> Option<String> {
    let other_program = |a: &Case, b: &Case| a.form.is_some() != b.form.is_some();
    let (a, b) = lost
        .iter()
        .flat_map(|a| extra.iter().map(move |b| (a, b)))
        .find(|(a, b)| other_program(a, b) && a.params == b.params && a.key.model != b.key.model)?;
    let (from, to) = if a.form.is_some() { (b, a) } else { (a, b) };
    Some(format!(
        "{} and {} have the same number of parameters; --match '{}={}' compares them where the lengths are the same",
        from.key.model, to.key.model, from.key.model, to.key.model
    ))
}

/// Two rows that belong together.
fn pair(a: &Case, b: &Case, labels: Labels) -> Pair {
    let refusal = pairing::refusal(a, b, labels);
    let metrics = a.figures.iter().zip(&b.figures);
    let judge = |((quantity, ours), (_, theirs)): (&(Quantity, _), &(Quantity, _))| {
        let refused = refusal
            .clone()
            .or_else(|| pairing::refusal_of(*quantity, a, b, labels));
        verdict::judge(*quantity, ours, theirs, refused.as_deref(), labels)
    };
    let same = |a: &Option<String>, b: &Option<String>| match (a, b) {
        (Some(a), Some(b)) if a == b => Some(a.clone()),
        _ => None,
    };
    let precisions = (Some(a.precision.clone()), Some(b.precision.clone()));
    Pair {
        row: a.id.clone(),
        other_row: b.id.clone(),
        published: None,
        model: a.key.model.clone(),
        variant: [
            same(&a.form, &b.form),
            same(&precisions.0, &precisions.1),
            (a.key.kv_cache != "float").then(|| format!("KV cache {}", a.key.kv_cache)),
        ]
        .into_iter()
        .flatten()
        .collect(),
        budget_bytes: [a.budget, b.budget]
            .into_iter()
            .flatten()
            .find_map(|budget| budget.one_of_several.then_some(budget.bytes)),
        batch: a.key.batch,
        prompt_tokens: a.key.prompt_tokens,
        gen_tokens: a.key.gen_tokens,
        depth: a.key.depth,
        metrics: metrics.map(judge).collect(),
        notes: pairing::notes(a, b, labels),
        baseline_memory: a.memory.clone(),
        other_memory: b.memory.clone(),
        currency: a.currency.clone().or_else(|| b.currency.clone()),
        baseline_is_sound: a.obstacles.is_empty(),
        not_comparable: refusal,
    }
}
