//! Weights in main memory, for people: where they went, what the link carries, and what that was predicted to allow.

use super::human::{self, Cells};
use super::memory;
use super::table::Prepared;
use crate::model::OffloadPlan;
use crate::report::{Elsewhere, OffloadRow, Report, Row};
use crate::units::Bytes;

/// What stands over it.
pub const TITLE: &str = "Weights in main memory, read over the link";

/// What stands over the predictions for other links.
pub const ELSEWHERE: &str =
    "The same plans over other links, decode tok/s: predictions, nothing of it was measured there";

/// The columns of that; none where no row had weights that a link carries.
pub fn elsewhere(report: &Report) -> Vec<Prepared<'static>> {
    let predicted = |row: &Row| -> Option<Vec<Elsewhere>> {
        let list = &row.offload.as_ref()?.elsewhere;
        (!list.is_empty()).then(|| list.clone())
    };
    let rows = report.trials.iter();
    let known: Vec<(&Row, Vec<Elsewhere>)> = rows
        .filter_map(|row| Some((row, predicted(row)?)))
        .collect();
    let Some((_, first)) = known.first() else {
        return Vec::new();
    };
    let rows: Vec<&Row> = known.iter().map(|(row, _)| *row).collect();
    let mut columns = memory::names(&rows, report);
    let speed = |link: &str, list: &[Elsewhere]| {
        let found = list.iter().find(|one| one.link == link)?;
        Some(human::short(found.predicted_decode_tok_s))
    };
    let column = |link: &str| Prepared {
        importance: 0,
        title: "over",
        cells: Cells {
            unit: link.to_owned(),
            texts: known
                .iter()
                .map(|(_, list)| speed(link, list).unwrap_or_else(|| human::MISSING.to_owned()))
                .collect(),
            numeric: true,
        },
    };
    columns.extend(first.iter().map(|one| column(&one.link)));
    columns
}

/// The columns; none where all weights were on the GPU.
pub fn columns(report: &Report) -> Vec<Prepared<'static>> {
    let rows = report.trials.iter();
    let known: Vec<&Row> = rows.filter(|row| row.offload.is_some()).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut columns = memory::names(&known, report);
    let column =
        |importance, title, unit: &str, get: &dyn Fn(&Row, &OffloadRow) -> Option<String>| {
            let text = |row: &&Row| {
                let told = row.offload.as_ref().and_then(|offload| get(row, offload));
                told.unwrap_or_else(|| human::MISSING.to_owned())
            };
            Prepared {
                importance,
                title,
                cells: Cells {
                    unit: unit.to_owned(),
                    texts: known.iter().map(text).collect(),
                    numeric: true,
                },
            }
        };
    let mebibytes = |bytes: u64| Some(format!("{:.0}", bytes as f64 / Bytes::MIB.0 as f64));
    let percent = |share: Option<f64>| share.map(|share| format!("{:.0}", 100.0 * share));
    columns.push(column(3, "asked", "", &|_, offload| {
        Some(offload.asked.clone())
    }));
    columns.push(column(0, "on GPU", "MiB", &|_, offload| {
        mebibytes(offload.resident_bytes)
    }));
    columns.push(column(0, "in main", "MiB", &|_, offload| {
        mebibytes(offload.mapped_bytes)
    }));
    columns.push(column(1, "link/step", "MB", &|_, offload| {
        Some(human::short(offload.link_bytes_per_step as f64 / 1e6))
    }));
    columns.push(column(1, "predicted", "tok/s", &|_, offload| {
        offload.predicted_decode_tok_s.map(human::short)
    }));
    columns.push(column(0, "decode", "tok/s", &|row, _| {
        Some(human::short(row.decode_tok_s.as_ref()?.mean))
    }));
    columns.push(column(2, "read", "", &|_, offload| {
        Some(offload.ways.as_ref()?.step.to_string())
    }));
    columns.push(column(0, "link", "% of step", &|_, offload| {
        percent(offload.step_link_share)
    }));
    columns.push(column(3, "read", "", &|_, offload| {
        Some(offload.ways.as_ref()?.prompt.to_string())
    }));
    columns.push(column(2, "link", "% of prompt", &|_, offload| {
        percent(offload.prompt_link_share)
    }));
    columns
}

/// What the columns mean, and what was refused first.
pub fn remarks(report: &Report) -> Vec<String> {
    if columns(report).is_empty() {
        return Vec::new();
    }
    let mut remarks = vec![
        "Weights in main memory are pinned and read by the GPU where they lie. link/step: bytes that a decode step reads of them, by shape, experts as a router without preferences chooses them; % of step and prompt: the part of the measured time that a pinned copy of these bytes takes.".to_owned(),
    ];
    let refused = |row: &Row| {
        let refused = row.offload.as_ref()?.refused.as_ref()?;
        Some(human::one_line(&format!(
            "{}: a first plan with more weights on the GPU was refused ({refused}); this is the second.",
            row.id
        )))
    };
    remarks.extend(report.trials.iter().filter_map(refused));
    let told = report.trials.iter().filter_map(|row| row.offload.as_ref());
    if let Some(one) = told.clone().find(|one| one.unified_memory) {
        remarks.push(shared(&one.asked).to_owned());
    }
    if let Some(basis) = told.clone().find_map(|one| one.prediction_basis.as_ref()) {
        remarks.push(format!("predicted: {basis}."));
    }
    remarks.extend(told.clone().find_map(|one| rates(&one.elsewhere)));
    let in_place = |row: &Row| {
        let note = row.offload.as_ref()?.ways.as_ref()?.note.as_ref()?;
        Some(human::one_line(&format!(
            "{}: all was read in place, since {note}.",
            row.id
        )))
    };
    remarks.extend(report.trials.iter().filter_map(in_place));
    remarks
}

/// What offloading comes to where CPU and GPU share one memory.
fn shared(asked: &str) -> &'static str {
    match asked {
        "auto" => {
            "CPU and GPU share one memory, of which weights kept apart would free nothing: --offload auto keeps none apart."
        }
        _ => {
            "CPU and GPU share one memory: weights kept apart in it are read where they lie, never copied, and count against the budget, once."
        }
    }
}

/// Where the rates of other links come from; links of one source together.
fn rates(elsewhere: &[Elsewhere]) -> Option<String> {
    let mut sources: Vec<(&str, Vec<String>)> = Vec::new();
    for one in elsewhere {
        let rate = format!("{} {:.1} GB/s", one.link, one.bytes_per_s / 1e9);
        match sources.iter_mut().find(|(source, _)| *source == one.source) {
            Some((_, links)) => links.push(rate),
            None => sources.push((&one.source, vec![rate])),
        }
    }
    let one = |(source, links): &(&str, Vec<String>)| format!("{} ({source})", links.join(", "));
    let list: Vec<String> = sources.iter().map(one).collect();
    (!list.is_empty()).then(|| {
        human::one_line(&format!(
            "Other links are predicted with this GPU behind them, and a board's memory with this GPU's kernels on it: {}.",
            list.join("; ")
        ))
    })
}

/// A plan in a few words, for the progress lines.
pub fn summary(plan: &OffloadPlan, predicted_peak: Bytes, tok_s: Option<f64>) -> String {
    let speed = tok_s.map_or_else(String::new, |speed| {
        format!(", about {} tok/s", human::short(speed))
    });
    if plan.unified {
        let asked = if plan.mapped.is_empty() { "auto" } else { "" };
        return format!(
            "{} predicted peak {}{speed}",
            shared(asked),
            human::bytes(predicted_peak.0)
        );
    }
    format!(
        "{} of weights on the GPU, {} in main memory ({} of {} tensors), {} MB over the link for each token; predicted peak {}{speed}",
        human::bytes(plan.resident.0),
        human::bytes(plan.mapped_bytes.0),
        plan.mapped.len(),
        plan.tensors,
        human::short(plan.link_step.0 as f64 / 1e6),
        human::bytes(predicted_peak.0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn rows_with_weights_in_main_memory_have_a_table() {
        let mut report = fixture();
        assert!(columns(&report).is_empty() && remarks(&report).is_empty());
        report.trials[0].offload = Some(OffloadRow {
            asked: "auto".to_owned(),
            resident_bytes: 512 << 20,
            mapped_bytes: 1024 << 20,
            mapped_tensors: 3,
            tensors: 40,
            link_bytes_per_step: 604_000_000,
            link_bytes_per_prompt: 1 << 30,
            predicted_decode_tok_s: Some(74.0),
            step_link_share: Some(0.85),
            prompt_link_share: None,
            ways: None,
            unified_memory: false,
            prediction_basis: Some("rates and constants".to_owned()),
            elsewhere: vec![
                Elsewhere {
                    link: "slow link".to_owned(),
                    bytes_per_s: 3.2e9,
                    source: "a standard".to_owned(),
                    predicted_decode_tok_s: 4.5,
                },
                Elsewhere {
                    link: "wide link".to_owned(),
                    bytes_per_s: 6.4e9,
                    source: "a standard".to_owned(),
                    predicted_decode_tok_s: 8.75,
                },
            ],
            refused: Some("no memory".to_owned()),
        });
        let table = crate::export::table::render(&report, 120, false);
        let (_, after) = table.split_once(TITLE).unwrap();
        let line = after.lines().find(|line| line.contains("auto")).unwrap();
        for shown in ["512", "1024", "604", "74.0", "85"] {
            assert!(
                line.split_whitespace().any(|word| word == shown),
                "{shown}: {line}"
            );
        }
        assert!(remarks(&report)[1].contains("no memory"));
        let (_, after) = table.split_once(ELSEWHERE).unwrap();
        assert!(
            after.contains("slow link") && after.contains("4.50"),
            "{after}"
        );
        let told = remarks(&report).join("\n");
        for shown in [
            "predicted: rates and constants.",
            "slow link 3.2 GB/s, wide link 6.4 GB/s (a standard)",
        ] {
            assert!(told.contains(shown), "{told}");
        }
        let markdown = crate::export::markdown::render(&report);
        assert!(
            markdown.contains(TITLE) && markdown.contains(ELSEWHERE),
            "{markdown}"
        );
    }

    #[test]
    fn one_shared_memory_is_told_of_and_is_no_link() {
        let mut plan = OffloadPlan {
            unified: true,
            ..OffloadPlan::default()
        };
        let said = summary(&plan, Bytes(1 << 30), None);
        assert!(said.contains("--offload auto keeps none apart"), "{said}");
        assert!(!said.contains("link"), "{said}");
        plan.mapped.push(crate::model::MappedWeight {
            name: "w".to_owned(),
            range: 0..1,
            copied: false,
            packed: false,
        });
        let said = summary(&plan, Bytes(1 << 30), None);
        assert!(
            said.contains("never copied, and count against the budget, once"),
            "{said}"
        );
    }
}
