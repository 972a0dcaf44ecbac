//! What must be known besides the figures of a comparison, one remark each: the same for text and Markdown.

use super::{ceilings, sheet};
use crate::export::human;
use crate::report::compare::{
    Against, Checked, Comparison, Judgement, NOISE, Pair, Quantity, Verdict,
};

/// Most rows that a remark names one by one.
const NAMED: usize = 4;

/// Remarks on one file against the baseline.
pub fn of_file(against: &Against) -> Vec<String> {
    let baseline = against.baseline.as_str();
    let pairs = &against.pairs;
    let every = pairs.len();
    let mut remarks = Vec::new();
    if pairs.is_empty() {
        remarks.push(format!(
            "No row of {} was run in {baseline}: nothing can be compared.",
            against.file
        ));
    }
    let empty = grouped(pairs, |pair| {
        let nothing = sheet::lines(pair).is_empty();
        nothing
            .then(|| "neither file has a figure of it".to_owned())
            .into_iter()
            .collect()
    });
    remarks.extend(said(empty, every, str::to_owned));
    let refused = grouped(pairs, |pair| pair.not_comparable.iter().cloned().collect());
    remarks.extend(said(refused, every, |reason| {
        format!("not comparable: {reason}")
    }));
    let partly = grouped(pairs, metric_reasons);
    remarks.extend(said(partly, every, str::to_owned));
    let notes = grouped(pairs, |pair| pair.notes.clone());
    remarks.extend(said(notes, every, |note| format!("note: {note}")));
    let without = grouped(pairs, no_interval);
    remarks.extend(said(without, every, str::to_owned));
    for (file, rows) in [
        (baseline, &against.only_in_baseline),
        (against.file.as_str(), &against.only_in_other),
    ] {
        if !rows.is_empty() {
            remarks.push(format!("Only in {file}: {}.", rows.join(", ")));
        }
    }
    remarks.extend(ceilings::remarks(against));
    remarks.extend(against.hint.iter().map(|hint| format!("{hint}.")));
    remarks
        .iter()
        .map(|remark| human::one_line(remark))
        .collect()
}

/// Texts with the rows they are true for, in the order of their first row.
fn grouped(pairs: &[Pair], read: impl Fn(&Pair) -> Vec<String>) -> Vec<(String, Vec<String>)> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for pair in pairs {
        for text in read(pair) {
            match groups.iter_mut().find(|(known, _)| *known == text) {
                Some((_, rows)) => rows.push(pair.row.clone()),
                None => groups.push((text, vec![pair.row.clone()])),
            }
        }
    }
    groups
}

/// Each text with its rows in front.
fn said(
    groups: Vec<(String, Vec<String>)>,
    every: usize,
    say: impl Fn(&str) -> String,
) -> Vec<String> {
    let one = |(text, rows): (String, Vec<String>)| {
        let who = match rows.len() {
            count if count == every && every > 1 => "every row".to_owned(),
            count if count > NAMED => {
                format!("{} and {} more", rows[..NAMED].join(", "), count - NAMED)
            }
            _ => rows.join(", "),
        };
        format!("{who}: {}", say(&text))
    };
    groups.into_iter().map(one).collect()
}

/// Quantities that one file lacks, or that alone are not comparable.
fn metric_reasons(pair: &Pair) -> Vec<String> {
    if pair.not_comparable.is_some() {
        return Vec::new();
    }
    let found = pair.metrics.iter().filter(|found| found.ratio.is_none());
    let shown = found.filter(|found| found.baseline.is_some() || found.other.is_some());
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for found in shown {
        let reason = found.reason.clone().unwrap_or_default();
        collect(&mut reasons, reason, sheet::title(found.metric));
    }
    let say = |(reason, titles): &(String, Vec<&str>)| {
        format!("{} not comparable: {reason}", titles.join(", "))
    };
    reasons.iter().map(say).collect()
}

/// Quantities with a ratio and no interval.
fn no_interval(pair: &Pair) -> Vec<String> {
    let bare = |found: &&Judgement| found.ratio.is_some() && found.ci95.is_none();
    let mut reasons: Vec<(String, Vec<&str>)> = Vec::new();
    for found in pair.metrics.iter().filter(bare) {
        let reason = found.not_measured.get("ci95").cloned().unwrap_or_default();
        collect(&mut reasons, reason, sheet::title(found.metric));
    }
    let say = |(reason, titles): &(String, Vec<&str>)| {
        format!(
            "no interval for {}: {reason}; the word follows from the ratio alone",
            titles.join(", ")
        )
    };
    reasons.iter().map(say).collect()
}

/// Adds a title to its reason.
fn collect<'a>(reasons: &mut Vec<(String, Vec<&'a str>)>, reason: String, title: &'a str) {
    match reasons.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, titles)) => titles.push(title),
        None => reasons.push((reason, vec![title])),
    }
}

/// What the whole says of one file, by the decode speed.
pub fn summary(against: &Against) -> Option<String> {
    let baseline = &against.baseline;
    let decode = against.pairs.iter().filter_map(|pair| {
        let mut metrics = pair.metrics.iter();
        let decode = metrics.find(|found| found.metric == Quantity::DecodeTokS);
        decode.filter(|found| found.baseline.is_some() || found.other.is_some())
    });
    let decode: Vec<_> = decode.collect();
    if decode.is_empty() {
        return None;
    }
    let ratios = decode.iter().filter_map(|found| found.ratio);
    let low = ratios.clone().reduce(f64::min);
    let range = low.zip(ratios.reduce(f64::max)).map(|(low, high)| {
        let shown = human::ratios(&[low, high]);
        match shown.as_slice() {
            [low, high] if low != high => format!(" at {low} to {high} times the speed"),
            _ => format!(" at {} times the speed", shown[0]),
        }
    });
    let count = |verdict| {
        decode
            .iter()
            .filter(|found| found.verdict == verdict)
            .count()
    };
    let counts = [
        (count(Verdict::Better), "faster"),
        (count(Verdict::Worse), "slower"),
        (count(Verdict::NoDifference), "no different"),
        (count(Verdict::NotComparable), "not comparable"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    Some(format!(
        "{} against {baseline}, decoding: {} of {}{}.",
        against.file,
        counts.join(", "),
        match decode.len() {
            1 => "1 row".to_owned(),
            rows => format!("{rows} rows"),
        },
        range.unwrap_or_default()
    ))
}

/// Remarks on the whole.
pub fn of_all(comparison: &Comparison) -> Vec<String> {
    let pairs = comparison.against.iter().flat_map(|against| &against.pairs);
    let mut found = pairs.flat_map(|pair| &pair.metrics);
    let mut remarks = Vec::new();
    if found.any(|found| found.ci95.is_some()) {
        remarks.push(format!(
            "Ratios are to the baseline. Intervals are 95 % bootstrap intervals over the repetitions of one process: run-to-run differences are not in them, and with few repetitions they are narrow. A ratio within {} % of 1 is no difference.",
            human::plain(NOISE * 100.0)
        ));
    }
    remarks.extend(comparison.conditions.iter().map(outcome));
    remarks
}

/// What came of a condition.
fn outcome(checked: &Checked) -> String {
    let mut parts = vec![format!("{} judged", checked.judged)];
    let counts = [
        (checked.failed.len(), "failed"),
        (checked.not_judged.len(), "not judged"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    parts.extend(counts.map(|(count, word)| format!("{count} {word}")));
    let outcome = checked.outcome.replace('_', " ");
    let parts = parts.join(", ");
    format!(
        "--fail-if {}: {outcome} (rows: {parts}).",
        checked.condition
    )
}
