//! The conclusion of a run in one paragraph, or where there are many budgets or pairs in one for each. Every figure is one of the rows' or a ratio of two of them, and only rows of
//! equal device, form, precision, KV cache, batch and lengths are compared; of a pair of models each may be in the widest
//! precision that fits it, which is then said.

use super::budgets::{self, is_inside};
use super::compare::{self, Labels, Quantity, Verdict};
use super::ladder::step;
use super::row::variant;
use super::schema::Row;
use super::study::{self, Study};

/// Rows listed one by one in a sentence, and pairs in a paragraph.
const LISTED: usize = 4;

/// The paragraph, which ends with what the pairs of dense and Mixture-of-Experts models show; `None` while no trial has ended.
pub fn verdict(rows: &[Row], study: Option<&Study>) -> Option<String> {
    let ended = rows.iter().filter(|row| row.status != "pending").count();
    if ended == 0 {
        return None;
    }
    if budgets::of(rows).len() > 1 {
        return Some(of_several(rows, study, ended));
    }
    let mut sentences = vec![counts(rows, ended)];
    sentences.extend(fits(rows));
    sentences.extend(misfits(rows));
    sentences.extend(broken(rows));
    for group in groups(rows) {
        sentences.extend(best(&group));
    }
    let budget = rows.first().map_or(0, |row| row.memory.budget_bytes);
    let pairs = pairs(study, budget);
    if pairs.len() > LISTED {
        return Some(lines(sentences.join(" "), pairs));
    }
    sentences.extend(pairs);
    Some(sentences.join(" "))
}

/// Many pairs are a line each: as one paragraph nobody would read them.
fn lines(first: String, pairs: Vec<String>) -> String {
    let mut lines = vec![first];
    lines.extend(pairs);
    lines.join("\n")
}

/// With several budgets: a line for the whole, one for each budget, and the comparisons within the largest budget, where
/// most models ran.
fn of_several(rows: &[Row], study: Option<&Study>, ended: usize) -> String {
    let mut lines = vec![counts(rows, ended)];
    let mut last = Vec::new();
    for budget in budgets::of(rows) {
        let of_budget = rows.iter().filter(|row| row.memory.budget_bytes == budget);
        last = of_budget.cloned().collect::<Vec<Row>>();
        let mut sentences: Vec<String> = fits(&last).into_iter().collect();
        sentences.extend(broken(&last));
        let groups = groups(&last);
        if let [group] = groups.as_slice() {
            sentences.extend(best(group));
        }
        lines.push(sentences.join(" "));
    }
    let largest = last.first().map_or(0, |row| row.memory.budget_bytes);
    let compared = pairs(study, largest);
    if compared.len() > LISTED {
        lines.push(format!(
            "Compared in the largest budget, {}:",
            bytes(largest)
        ));
        lines.extend(compared);
    } else if !compared.is_empty() {
        lines.push(format!(
            "Compared in the largest budget, {}. {}",
            bytes(largest),
            compared.join(" ")
        ));
    }
    lines.join("\n")
}

/// What the pairs of a budget show.
fn pairs(study: Option<&Study>, budget: u64) -> Vec<String> {
    study.map_or_else(Vec::new, |study| study::sentences(study, budget))
}

/// Rows that may be compared with each other.
struct Group<'a> {
    /// What they have in common, in words; empty when it is common to the whole run.
    label: String,
    /// The rows, all `ok`.
    rows: Vec<&'a Row>,
}

/// What must be equal for two rows to be compared.
fn setting(row: &Row) -> (&str, String, u32, u32, u32) {
    (
        &row.device,
        variant(row),
        row.batch,
        row.prompt_tokens,
        row.gen_tokens,
    )
}

/// The `ok` rows by setting, in the order of the plan.
fn groups(rows: &[Row]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    // Of a ladder the last step alone is how the model is run.
    let whole = |row: &&Row| row.status == "ok" && step(row).is_none();
    for row in rows.iter().filter(whole) {
        match groups
            .iter_mut()
            .find(|group| setting(group.rows[0]) == setting(row))
        {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                label: String::new(),
                rows: vec![row],
            }),
        }
    }
    if groups.len() > 1 {
        for group in &mut groups {
            let (device, variant, batch, prompt, generated) = setting(group.rows[0]);
            group.label =
                format!("{variant} on {device}, batch {batch}, {prompt}+{generated} tokens: ");
        }
    }
    groups
}

/// How many trials ran.
fn counts(rows: &[Row], ended: usize) -> String {
    let ok = rows.iter().filter(|row| row.status == "ok").count();
    let waiting = rows.len() - ended;
    let tail = if waiting == 0 {
        String::new()
    } else {
        format!(", {waiting} not run")
    };
    format!("{ok} of {} trials ran to the end{tail}.", rows.len())
}

/// Names without repetition, in order; the first few and a count of the others.
fn listed(mut names: Vec<String>) -> String {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let others = names.len().saturating_sub(LISTED * 2);
    names.truncate(LISTED * 2);
    if others > 0 {
        names.push(format!("{others} more"));
    }
    names.join(", ")
}

/// Which models ran inside the budget.
fn fits(rows: &[Row]) -> Option<String> {
    let inside = rows
        .iter()
        .filter(|row| is_inside(row) && step(row).is_none());
    let names: Vec<String> = inside.map(|row| row.model.clone()).collect();
    let budget = bytes(rows.first()?.memory.budget_bytes);
    if names.is_empty() {
        return Some(format!("No model ran within the budget of {budget}."));
    }
    Some(format!("Within the budget of {budget}: {}.", listed(names)))
}

/// Which rows did not fit, and why.
fn misfits(rows: &[Row]) -> Option<String> {
    // Of a row whose memory was not read nobody can say either.
    let over = |row: &Row| row.status == "ok" && row.memory.peak_bytes.is_some() && !is_inside(row);
    let clause = |row: &Row| {
        let why = match &row.reason {
            Some(reason) => one_clause(reason),
            None => format!("peak {}", bytes(row.memory.peak_bytes.unwrap_or_default())),
        };
        format!("{} ({why})", name(row))
    };
    let picked = rows
        .iter()
        .filter(|row| row.status == "does_not_fit" || over(row));
    sentence("Did not fit: ", picked.map(clause).collect())
}

/// Which rows broke, and how.
fn broken(rows: &[Row]) -> Option<String> {
    let bad = |row: &&Row| !["ok", "pending", "does_not_fit"].contains(&row.status.as_str());
    let clause = |row: &Row| match &row.failed_phase {
        Some(phase) => format!(
            "{} ({} in phase {phase})",
            name(row),
            row.status.replace('_', " ")
        ),
        None => format!("{} ({})", name(row), row.status.replace('_', " ")),
    };
    sentence(
        "Not measured: ",
        rows.iter().filter(bad).map(clause).collect(),
    )
}

/// A sentence of clauses, the first few of them.
pub(super) fn sentence(start: &str, mut clauses: Vec<String>) -> Option<String> {
    if clauses.is_empty() {
        return None;
    }
    let others = clauses.len().saturating_sub(LISTED);
    clauses.truncate(LISTED);
    if others > 0 {
        clauses.push(format!("{others} more"));
    }
    Some(format!("{start}{}.", clauses.join("; ")))
}

/// A model with the part of its setting that tells its rows apart.
fn name(row: &Row) -> String {
    format!("{} {}", row.model, variant(row))
}

/// The first clause of a reason, on one line and without its full stop; the whole reason is in the row.
pub(super) fn one_clause(reason: &str) -> String {
    let first = reason.split("; ").next().unwrap_or(reason);
    let words: Vec<&str> = first.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

/// Mean decode speed.
fn speed(row: &Row) -> Option<f64> {
    row.decode_tok_s.as_ref().map(|metric| metric.mean)
}

/// Fastest decode and smallest peak of a group of at least two.
fn best(group: &Group<'_>) -> Option<String> {
    let label = &group.label;
    let mut by_speed: Vec<(&Row, f64)> = group
        .rows
        .iter()
        .filter_map(|row| Some((*row, speed(row)?)))
        .collect();
    by_speed.sort_by(|a, b| b.1.total_cmp(&a.1));
    let smallest = group
        .rows
        .iter()
        .filter_map(|row| Some((row.memory.peak_bytes?, *row)))
        .min_by_key(|(peak, _)| *peak);
    let mut parts = Vec::new();
    if let [(first, fastest), rest @ ..] = by_speed.as_slice() {
        let rival = rest
            .first()
            .filter(|(second, _)| no_difference(first, second));
        let only = if rest.is_empty() {
            "only decode"
        } else {
            "fastest decode"
        };
        parts.push(match rival {
            Some((second, _)) => format!(
                "{only} {} at {} tok/s, with no difference from {} (the 95 % interval of their ratio holds 1, or it is within 1 %)",
                first.model,
                figure(*fastest),
                second.model
            ),
            None => format!("{only} {} at {} tok/s", first.model, figure(*fastest)),
        });
    }
    if let Some((peak, row)) = smallest.filter(|_| group.rows.len() > 1) {
        parts.push(format!("smallest peak {} at {}", row.model, bytes(peak)));
    }
    (!parts.is_empty()).then(|| capitalised(&format!("{label}{}.", parts.join("; "))))
}

/// Whether nothing can be said of which of two rows decodes faster, although both have an interval.
fn no_difference(a: &Row, b: &Row) -> bool {
    let [below, above] = [a, b].map(|row| compare::figure(row, Quantity::DecodeTokS));
    let labels = Labels {
        baseline: &a.model,
        other: &b.model,
    };
    let found = compare::judge(Quantity::DecodeTokS, &below, &above, None, labels);
    found.ci95.is_some() && found.verdict == Verdict::NoDifference
}

/// Three significant digits, and every digit before the point.
pub(super) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// Bytes in MiB or GiB.
pub(super) fn bytes(count: u64) -> String {
    let gib = count as f64 / (1_u64 << 30) as f64;
    if gib >= 1.0 {
        format!("{gib:.2} GiB")
    } else {
        format!("{} MiB", figure(gib * 1024.0))
    }
}

/// Parameters in millions.
pub(super) fn millions(count: u64) -> String {
    format!("{} M", figure(count as f64 / 1e6))
}

/// With a capital first letter, unless a name comes first.
pub(super) fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, pending_row, study};

    /// The verdict on the fixture's rows after a change.
    fn after(change: impl FnOnce(&mut Vec<Row>)) -> String {
        let mut rows = fixture().trials;
        change(&mut rows);
        let study = study::study(&rows, None, None);
        verdict(&rows, study.as_ref()).unwrap()
    }

    #[test]
    fn the_fixture_in_words() {
        insta::assert_snapshot!(after(|_| ()), @"2 of 4 trials ran to the end. Within the budget of 4.00 GiB: dense-120m, moe-120m-total. Did not fit: llama-1b fused fp32 (needs 4.71 GiB (predicted) of 4.00 GiB). Not measured: granite-1b-a400m fused fp32 (crashed in phase load). Fastest decode moe-120m-total at 100 tok/s; smallest peak dense-120m at 593 MiB. At about the same total parameters, not matched (moe-120m-total 126 M against dense-120m 124 M, the vocabulary of moe-120m-total is not known) the MoE decodes at 2.48 times the dense speed (95 % interval 2.44 to 2.54) and needs 0.41 times the time to the first token and 1.01 times the peak memory.");
    }

    #[test]
    fn each_of_several_budgets_has_a_line() {
        let text = crate::report::several_budgets().verdict.unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "3 of 12 trials ran to the end.");
        assert!(lines[1].starts_with("No model ran within the budget of 300 MiB."));
        assert!(lines[2].starts_with("Within the budget of 600 MiB: dense-120m."));
        assert!(
            lines[3].contains("4.00 GiB: dense-120m, moe-120m-total.")
                && lines[3].contains("Fastest decode")
        );
        assert!(lines[4].contains("2.48 times the dense speed"), "{text}");
    }

    #[test]
    fn nothing_ended_means_no_verdict() {
        let trial = crate::report::fixture::trial("m", 8);
        let row = pending_row(
            &trial,
            super::super::Params::default(),
            crate::units::Bytes(1),
            None,
        );
        assert_eq!(verdict(&[row], None), None);
        assert_eq!(verdict(&[], None), None);
    }

    #[test]
    fn an_interval_that_holds_one_is_no_difference() {
        let text = after(|rows| {
            rows[0].decode_tok_s = rows[1].decode_tok_s.clone();
        });
        assert!(
            text.contains("shows no difference in decode speed (ratio 1.00"),
            "{text}"
        );
        assert!(text.contains("with no difference from"), "{text}");
    }

    #[test]
    fn rows_of_different_settings_are_not_compared() {
        for change in [
            |row: &mut Row| row.form = "plain".to_owned(),
            |row: &mut Row| row.batch = 2,
            |row: &mut Row| row.prompt_tokens = 64,
        ] {
            let text = after(|rows| change(&mut rows[1]));
            assert!(
                !text.contains("times") && !text.contains("fastest"),
                "{text}"
            );
        }
    }

    #[test]
    fn models_of_different_size_are_not_matched() {
        let text = after(|rows| {
            rows[1].params = super::super::Params {
                total: 900_000_000,
                active: Some(46_000_000),
                active_read: Some(1),
            }
        });
        assert!(!text.contains("parameters ("), "{text}");
    }

    #[test]
    fn a_peak_above_the_budget_did_not_fit() {
        let text = after(|rows| rows[0].memory.peak_bytes = Some(5 << 30));
        assert!(
            text.contains("Did not fit: dense-120m fused fp32 (peak 5.00 GiB)"),
            "{text}"
        );
    }

    #[test]
    fn many_pairs_are_a_line_each() {
        let rows = crate::report::studied().trials;
        let found = study::study(&rows, None, None).unwrap();
        let few = verdict(&rows, Some(&found)).unwrap();
        assert_eq!(few.lines().count(), 1, "{few}");
        let mut many = found.clone();
        while many.pairs.len() <= LISTED {
            many.pairs.extend(found.pairs.clone());
        }
        let told = verdict(&rows, Some(&many)).unwrap();
        assert_eq!(told.lines().count(), many.pairs.len() + 1, "{told}");
    }

    #[test]
    fn no_row_that_ran_is_said_plainly() {
        let text = after(|rows| rows.drain(..2).for_each(drop));
        assert!(
            text.starts_with(
                "0 of 2 trials ran to the end. No model ran within the budget of 4.00 GiB."
            ),
            "{text}"
        );
    }
}
