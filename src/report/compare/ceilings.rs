//! Ceilings of two files beside each other: the largest contexts and batches that both searched for.

use super::run::{Budget, same_budget};
use super::verdict::Labels;
use crate::report::Report;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was searched for, the same in both files or not comparable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CeilingKey {
    /// `context` or `batch`.
    pub kind: String,
    /// Model name, as the baseline calls it.
    pub model: String,
    /// Graph form.
    pub form: String,
    /// Element type.
    pub precision: String,
    /// Type of the KV cache.
    pub kv_cache_type: String,
    /// Prompt length of each sequence; null where the context was searched for.
    pub prompt_tokens: Option<u32>,
    /// Tokens generated for each sequence.
    pub gen_tokens: Option<u32>,
}

/// A ceiling of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// What was searched for.
    pub key: CeilingKey,
    budget: Budget,
    found: Found,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The largest size that ran.
    pub fits: Option<u32>,
    /// What keeps it from being larger.
    pub limited_by: Option<String>,
    /// The budget.
    pub budget_bytes: u64,
    /// How the search ended.
    pub status: String,
    /// Reason for every `null` above, by field name.
    pub not_measured: BTreeMap<String, String>,
    /// What keeps it from being larger, or why it has no bounds, in a sentence.
    #[serde(skip)]
    reason: String,
}

/// A ceiling that both files have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CeilingPair {
    /// What was searched for.
    #[serde(flatten)]
    pub key: CeilingKey,
    /// The baseline's.
    pub baseline: Found,
    /// The other file's.
    pub other: Found,
    /// The other's size over the baseline's.
    pub ratio: Option<f64>,
    /// Reason for every `null` among these, by field name.
    pub not_measured: BTreeMap<String, String>,
}

/// The ceilings of a report. That of models is none of them: it is a name and no size.
pub fn of_report(report: &Report) -> Vec<Ceiling> {
    let several = report.budgets_bytes.len() > 1;
    let sized = report.ceilings.iter().filter(|one| one.kind != "model");
    let one = |ceiling: &crate::report::Ceiling| {
        Some(Ceiling {
            key: CeilingKey {
                kind: ceiling.kind.clone(),
                model: ceiling.model.clone()?,
                form: ceiling.form.clone(),
                precision: ceiling.precision.clone()?,
                kv_cache_type: ceiling.kv_cache_type.clone(),
                prompt_tokens: ceiling.prompt_tokens,
                gen_tokens: ceiling.gen_tokens,
            },
            budget: Budget {
                bytes: ceiling.budget_bytes,
                one_of_several: several,
            },
            found: found(ceiling),
        })
    };
    sized.filter_map(one).collect()
}

/// What the search found, with a reason for what it did not.
fn found(ceiling: &crate::report::Ceiling) -> Found {
    let reason = ceiling.reason.as_deref().unwrap_or("no reason was told");
    let nulls = [
        ("fits", ceiling.fits.is_none()),
        ("limited_by", ceiling.limited_by.is_none()),
    ];
    let missing = nulls.into_iter().filter(|(_, null)| *null);
    Found {
        fits: ceiling.fits,
        limited_by: ceiling.limited_by.clone(),
        budget_bytes: ceiling.budget_bytes,
        status: ceiling.status.clone(),
        not_measured: missing
            .map(|(name, _)| (name.to_owned(), reason.to_owned()))
            .collect(),
        reason: reason.to_owned(),
    }
}

/// The ceilings that both files have, in the baseline's order.
pub fn pairs(baseline: &[Ceiling], other: &[Ceiling], labels: Labels) -> Vec<CeilingPair> {
    let fellow = |ours: &Ceiling| {
        let same = |theirs: &&Ceiling| {
            ours.key == theirs.key && same_budget(Some(ours.budget), Some(theirs.budget))
        };
        other.iter().find(same)
    };
    baseline
        .iter()
        .filter_map(|ours| Some(pair(ours, fellow(ours)?, labels)))
        .collect()
}

fn pair(ours: &Ceiling, theirs: &Ceiling, labels: Labels) -> CeilingPair {
    let mut not_measured = BTreeMap::new();
    let mut obstacles = Vec::new();
    let files = [
        (labels.baseline, &ours.found),
        (labels.other, &theirs.found),
    ];
    for (label, found) in files {
        if found.status != "measured" {
            let status = found.status.replace('_', " ");
            obstacles.push(format!("{label}: {status} ({})", found.reason));
        } else if found.fits.is_none() {
            obstacles.push(format!("{label}: nothing fits ({})", found.reason));
        }
    }
    if ours.budget.bytes != theirs.budget.bytes {
        obstacles.push(format!(
            "other budget ({} {} MiB, {} {} MiB)",
            labels.baseline,
            ours.budget.bytes >> 20,
            labels.other,
            theirs.budget.bytes >> 20
        ));
    }
    let sizes = ours.found.fits.zip(theirs.found.fits);
    let ratio = sizes
        .filter(|(ours, _)| obstacles.is_empty() && *ours > 0)
        .map(|(ours, theirs)| f64::from(theirs) / f64::from(ours));
    if ratio.is_none() {
        not_measured.insert("ratio".to_owned(), obstacles.join("; "));
    }
    if ours.key.prompt_tokens.is_none() {
        let why = "the context is what was searched for".to_owned();
        not_measured.insert("prompt_tokens".to_owned(), why);
    }
    if ours.key.gen_tokens.is_none() {
        let why = "the baseline does not tell it".to_owned();
        not_measured.insert("gen_tokens".to_owned(), why);
    }
    CeilingPair {
        key: ours.key.clone(),
        baseline: ours.found.clone(),
        other: theirs.found.clone(),
        ratio,
        not_measured,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{compared, with_ceiling};
    use super::*;
    use crate::report::fixture;

    /// The pairs of two reports.
    fn against(a: &Report, b: &Report) -> Vec<CeilingPair> {
        compared(&[a, b], &[]).against[0].ceilings.clone()
    }

    #[test]
    fn what_both_searched_for_has_a_ratio() {
        let ours = with_ceiling(fixture(), "context", 1024, "memory");
        let theirs = with_ceiling(fixture(), "context", 1536, "positions");
        let pairs = against(&ours, &theirs);
        let fits = |found: &Found| found.fits;
        assert_eq!(
            (
                fits(&pairs[0].baseline),
                fits(&pairs[0].other),
                pairs[0].ratio
            ),
            (Some(1024), Some(1536), Some(1.5))
        );
        assert!(!pairs[0].not_measured.contains_key("ratio"));
    }

    #[test]
    fn other_work_and_what_one_file_lacks_is_no_pair() {
        let ours = with_ceiling(fixture(), "context", 1024, "memory");
        let batch = with_ceiling(fixture(), "batch", 8, "memory");
        assert_eq!(against(&ours, &batch), []);
        assert_eq!(against(&ours, &fixture()), []);
        let mut other = ours.clone();
        other.ceilings[0].precision = Some("int4".to_owned());
        assert_eq!(against(&ours, &other), []);
        let mut model = ours.clone();
        model.ceilings[0].kind = "model".to_owned();
        assert_eq!(against(&model, &model), []);
    }

    #[test]
    fn bounds_that_say_something_else_have_no_ratio_and_a_reason() {
        let ours = with_ceiling(fixture(), "batch", 8, "memory");
        let changed = |change: fn(&mut crate::report::Ceiling)| {
            let mut theirs = ours.clone();
            change(&mut theirs.ceilings[0]);
            against(&ours, &theirs).remove(0)
        };
        let table = [
            (
                changed(|one| one.budget_bytes = 2 << 30),
                "other budget (A 4096 MiB, B 2048 MiB)",
            ),
            (
                changed(|one| one.status = "not_closed".to_owned()),
                "B: not closed (memory is why)",
            ),
            (changed(|one| one.fits = None), "B: nothing fits"),
        ];
        for (pair, reason) in table {
            assert_eq!(pair.ratio, None);
            assert!(pair.not_measured["ratio"].contains(reason), "{pair:?}");
        }
    }

    #[test]
    fn where_a_file_has_several_budgets_each_is_held_to_its_own() {
        let mut ours = with_ceiling(fixture(), "batch", 8, "memory");
        ours.budgets_bytes = vec![2 << 30, 4 << 30];
        let mut small = ours.ceilings[0].clone();
        (small.budget_bytes, small.fits) = (2 << 30, Some(3));
        ours.ceilings.insert(0, small);
        let ratios: Vec<_> = against(&ours, &ours)
            .iter()
            .map(|pair| pair.ratio)
            .collect();
        assert_eq!(ratios, [Some(1.0), Some(1.0)]);
    }
}
