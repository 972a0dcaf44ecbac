//! The tunings of the runtime for people: what was tried for which model, what was kept and what it gained.

use super::human;
use crate::report::{Report, Row, TriedTuning};
use crate::tuning::Tried;

/// What stands over it.
pub const TITLE: &str = "Tuning";

/// One line for each model, precision and shape that something was tried for; none where nothing was.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in &report.trials {
        // Other budgets of the same work share what was tried.
        lines.extend(line(row).filter(|line| !lines.contains(line)));
    }
    lines
}

fn line(row: &Row) -> Option<String> {
    let tried = &row.tuning.as_ref()?.tried;
    if tried.is_empty() {
        return None;
    }
    let (kept, other): (Vec<&TriedTuning>, Vec<&TriedTuning>) =
        tried.iter().partition(|tried| tried.kept);
    let mut parts = vec![match kept.as_slice() {
        [] => "nothing kept".to_owned(),
        kept => {
            let names: Vec<String> = kept.iter().map(|tried| measured(tried)).collect();
            format!("kept {}{}", names.join(", "), together(kept))
        }
    }];
    if !other.is_empty() {
        let names: Vec<String> = other.iter().map(|tried| refused(tried)).collect();
        parts.push(format!("not kept {}", names.join(", ")));
    }
    Some(human::one_line(&format!(
        "{} {}, batch {}, {} + {} tokens: {}",
        row.model,
        row.precision,
        row.batch,
        row.prompt_tokens,
        row.gen_tokens,
        parts.join("; ")
    )))
}

/// What several gained together.
fn together(kept: &[&TriedTuning]) -> String {
    match kept {
        [_, _, ..] => {
            let all: f64 = kept.iter().filter_map(|tried| tried.ratio).product();
            format!(" (together {all:.2}x)")
        }
        _ => String::new(),
    }
}

/// A name with its ratio.
fn measured(tried: &TriedTuning) -> String {
    match tried.ratio {
        Some(ratio) => format!("{} {ratio:.2}x", tried.name),
        None => tried.name.clone(),
    }
}

/// A name with its ratio, or with what else spoke against it.
fn refused(tried: &TriedTuning) -> String {
    let slow = tried.reason.starts_with("decode was");
    let reason = if slow {
        String::new()
    } else {
        format!(" ({})", tried.reason)
    };
    format!("{}{reason}", measured(tried))
}

/// The first short trial, for the progress lines.
pub fn untuned_summary(decode_tok_s: f64) -> String {
    format!("untuned {} tok/s", human::plain(decode_tok_s))
}

/// A tuning that was tried, for the progress lines.
pub fn tuning_summary(tried: &Tried) -> String {
    let speeds = tried.decode_tok_s.zip(tried.ratio());
    let measured = speeds.map_or_else(String::new, |(speed, ratio)| {
        format!(
            " {} tok/s, {ratio:.2}x of {}",
            human::plain(speed),
            human::plain(tried.base_tok_s)
        )
    });
    let verdict = if tried.kept {
        "kept".to_owned()
    } else {
        format!("not kept ({})", tried.reason)
    };
    human::one_line(&format!("{}{measured}: {verdict}", tried.name))
}
