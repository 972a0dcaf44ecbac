//! The tunings of the runtime for people: what was tried for which model, what was kept and what it gained.

use super::human;
use crate::report::{Report, Row, TriedTuning, Tuning};
use crate::tuning::Tried;

/// What stands over it.
pub const TITLE: &str = "Tuning";

/// One line for each model, precision and shape that something is to be told of, and one for each row that does without what won;
/// none where nothing was tried or wanted.
pub fn lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in &report.trials {
        let Some(tuning) = &row.tuning else { continue };
        // Other budgets of the same work share what was tried.
        let line = parts(tuning).map(|parts| format!("{}: {parts}", work(row)));
        lines.extend(line.filter(|line| !lines.contains(line)));
        lines.extend(tuning.note.as_ref().map(|note| {
            let budget = human::bytes(row.memory.budget_bytes);
            human::one_line(&format!("{} in {budget}: {note}", work(row)))
        }));
    }
    lines
}

/// What is measured in a row.
fn work(row: &Row) -> String {
    format!(
        "{} {}, batch {}, {} + {} tokens",
        row.model, row.precision, row.batch, row.prompt_tokens, row.gen_tokens
    )
}

fn parts(tuning: &Tuning) -> Option<String> {
    let (kept, other): (Vec<&TriedTuning>, Vec<&TriedTuning>) =
        tuning.tried.iter().partition(|tried| tried.kept);
    let listed = |word: &str, names: Vec<String>| {
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    let left = tuning.left_alone.iter();
    let nothing = kept.is_empty() && !other.is_empty();
    let parts = [
        nothing.then(|| "nothing kept".to_owned()),
        listed("kept", kept.iter().map(|tried| measured(tried)).collect())
            .map(|names| names + &together(&kept)),
        listed(
            "not kept",
            other.iter().map(|tried| refused(tried)).collect(),
        ),
        listed(
            "left alone",
            left.map(|one| format!("{} ({})", one.name, one.reason))
                .collect(),
        ),
    ];
    let told: Vec<String> = parts.into_iter().flatten().collect();
    (!told.is_empty()).then(|| human::one_line(&told.join("; ")))
}

/// What several gained together.
fn together(kept: &[&TriedTuning]) -> String {
    match kept {
        [first, .., last] => {
            // The last was run with all of them, the first held to a trial without any.
            let all = last.decode_tok_s.map(|speed| (speed, first.base_tok_s));
            all.map_or_else(String::new, |(speed, base)| {
                format!(" (together {:.2}x)", speed / base)
            })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{LeftAloneTuning, several_budgets};

    fn tried(name: &str, ratio: Option<f64>, kept: bool, reason: &str) -> TriedTuning {
        TriedTuning {
            name: name.to_owned(),
            decode_tok_s: ratio.map(|ratio| 100.0 * ratio),
            base_tok_s: 100.0,
            ratio,
            peak_bytes: None,
            kept,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn a_model_has_one_line_whatever_its_budgets_and_each_note_its_own() {
        let mut report = several_budgets();
        assert_eq!(lines(&report), Vec::<String>::new());
        let tuning = Tuning {
            mode: "auto".to_owned(),
            tried: vec![
                tried("gemm", Some(1.142), true, "decode was faster"),
                tried("attention-flash", Some(0.987), false, "decode was slower"),
                tried("moe-timed", None, false, "crashed: killed by SIGABRT"),
                TriedTuning {
                    decode_tok_s: Some(125.6),
                    base_tok_s: 114.2,
                    ..tried("moe-grouped", Some(1.1), true, "decode was faster")
                },
            ],
            left_alone: vec![LeftAloneTuning {
                name: "fpa-intb".to_owned(),
                reason: "ORT_FPA_INTB_GEMM is set in the environment".to_owned(),
            }],
            ..Tuning::default()
        };
        for row in &mut report.trials {
            row.tuning = (row.model == "dense-120m").then(|| tuning.clone());
        }
        let last = report.trials.iter_mut().rfind(|row| row.tuning.is_some());
        if let Some(tuning) = last.and_then(|row| row.tuning.as_mut()) {
            tuning.note = Some("it runs untuned".to_owned());
        }
        assert_eq!(
            lines(&report),
            [
                "dense-120m fp32, batch 1, 256 + 128 tokens: kept gemm 1.14x, moe-grouped 1.10x (together 1.26x); not kept \
                 attention-flash 0.99x, moe-timed (crashed: killed by SIGABRT); left alone fpa-intb (ORT_FPA_INTB_GEMM is set in \
                 the environment)",
                "dense-120m fp32, batch 1, 256 + 128 tokens in 4.00 GiB: it runs untuned",
            ]
        );
        let markdown = super::super::markdown::render(&report);
        assert!(
            markdown.contains("### Tuning\n\n- dense-120m fp32"),
            "{markdown}"
        );
        let table = super::super::table::render(&report, 80, false);
        let (_, after) = table.split_once("\n\nTuning\ndense-120m fp32, ").unwrap();
        let section = after.split("\n\n").next().unwrap();
        assert!(
            section.lines().all(|line| line.chars().count() <= 80),
            "{section}"
        );
    }

    #[test]
    fn a_progress_line_says_how_fast_and_why_not() {
        let name = crate::trial::TuningName::try_from("gemm".to_owned()).unwrap();
        let mut one = Tried {
            name,
            decode_tok_s: Some(2132.0),
            base_tok_s: 1866.0,
            peak: None,
            kept: true,
            reason: "decode was faster than in two trials without it".to_owned(),
        };
        let line = tuning_summary(&one);
        assert!(
            line.starts_with("gemm 2") && line.ends_with(": kept"),
            "{line}"
        );
        assert!(line.contains("1.14x of 1"), "{line}");
        one.kept = false;
        one.decode_tok_s = None;
        one.reason = "crashed: killed\nby SIGABRT".to_owned();
        assert_eq!(
            tuning_summary(&one),
            "gemm: not kept (crashed: killed by SIGABRT)"
        );
    }
}
