//! Weights in main memory: where they lie, what the link carries, and the speed that was measured beside the predicted one.

use super::super::columns::{Unit, Value};
use super::super::{human, offload as told};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, TICKS};
use super::labels::{Labels, reason};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, Shown, budgets, methods};
use crate::report::{OffloadRow, Row};
use maud::{Markup, html};

/// Whether a result says anything that belongs here.
pub fn is_told(shown: &Shown) -> bool {
    shown.report.trials.iter().any(|row| row.offload.is_some())
}

/// The section; nothing where all weights of all results were on the device and each had one budget.
pub fn section(results: &[Shown]) -> Markup {
    let any = results.iter().any(is_told);
    let curve = budgets::part(results);
    html! {
        @if any || curve.is_some() {
            section #offload {
                h2 { "Budgets and main memory" }
                p.lead { "What a smaller memory budget costs in speed. Weights that do not fit stay in main memory, and the GPU reads them over the link." }
                (methods::ask(&["curve", "offload", "link", "predicted_speed"]))
                @if let Some(curve) = curve { (curve) }
                @if any { div.side { @for shown in results { (one(shown)) } } }
            }
        }
    }
}

/// The rows of one result.
fn one(shown: &Shown) -> Markup {
    let labels = Labels::of(&shown.report);
    let trials = shown.report.trials.iter();
    let rows: Vec<(&Row, &OffloadRow)> = trials
        .filter_map(|row| Some((row, row.offload.as_ref()?)))
        .collect();
    let drawn = &rows[..rows.len().min(MOST_ROWS)];
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if rows.is_empty() {
                p.empty { "All weights of this result were to be on the device." }
            } @else {
                h3 { "Where the weights lie" }
                ul.legend { li { span.swatch.p1 {} "on the GPU" } li { span.swatch.p2 {} "in main memory" } }
                (places(drawn, &labels))
                h3 { "Measured and predicted speed" }
                ul.legend { li { span.swatch.round {} "measured" } li { span.swatch.tick {} "predicted" } }
                (speeds(drawn, &labels))
                @if rows.len() > drawn.len() { p.note { "The first " (drawn.len()) " of " (rows.len()) " rows are drawn; the table has them all." } }
                details.data { summary { "Figures" } (figures(&rows, &labels)) }
                @let remarks = told::remarks(&shown.report);
                ul.remarks { @for remark in &remarks { li { (remark) } } }
            }
        }
    }
}

/// Round marks of a scale.
fn ticks(axis: Axis, unit: f64) -> Vec<(f64, String)> {
    let ticks = super::scatter::ticks(axis, unit, TICKS).into_iter();
    ticks.map(|tick| (tick, axis::short(tick / unit))).collect()
}

/// Weights on the GPU and in main memory, one behind the other.
fn places(rows: &[(&Row, &OffloadRow)], labels: &Labels) -> Markup {
    let whole = |offload: &OffloadRow| offload.resident_bytes as f64 + offload.mapped_bytes as f64;
    let axis = Axis::linear(rows.iter().map(|(_, offload)| whole(offload)));
    let largest = rows.iter().map(|(_, offload)| whole(offload));
    let (unit, unit_name) = axis::size_unit(largest.fold(0.0, f64::max));
    let frame = Frame {
        axis,
        ticks: ticks(axis, unit),
        marks: Vec::new(),
        title: unit_name,
    };
    let bar = |(row, offload): &(&Row, &OffloadRow)| {
        let (resident, mapped) = (offload.resident_bytes, offload.mapped_bytes);
        let link = match offload.step_link_share {
            Some(share) if mapped > 0 => format!(", link {:.0} %", share * 100.0),
            _ => String::new(),
        };
        Bar {
            id: row.id.clone(),
            name: labels.full(row),
            drawing: Ok(html! {
                rect.part.p1 x="0" y="6" height=(HEIGHT - 12) width=(frame.span(0.0, resident as f64))
                    data-key="resident_bytes" data-value=(resident) { title { (human::bytes(resident)) " on the GPU" } }
                rect.part.p2 x=(frame.at(resident as f64)) y="6" height=(HEIGHT - 12) width=(frame.span(resident as f64, whole(offload)))
                    data-key="mapped_bytes" data-value=(mapped) { title { (human::bytes(mapped)) " in main memory" } }
            }),
            figure: match mapped {
                0 => "all on the GPU".to_owned(),
                _ => format!("{} in main", human::bytes(mapped)),
            },
            note: match mapped {
                0 => String::new(),
                _ => format!(
                    "{} MB a step{link}",
                    human::short(offload.link_bytes_per_step as f64 / 1e6)
                ),
            },
        }
    };
    let bars: Vec<Bar> = rows.iter().map(bar).collect();
    frame.chart("places", "Weights on the GPU and in main memory", &bars)
}

fn speed(row: &Row) -> Option<f64> {
    Some(row.decode_tok_s.as_ref()?.mean)
}

/// The measured speed as a dot, the predicted one as a tick: a bar has no length on a logarithmic scale.
fn speeds(rows: &[(&Row, &OffloadRow)], labels: &Labels) -> Markup {
    let all = rows.iter().flat_map(|(row, offload)| {
        [speed(row), offload.predicted_decode_tok_s]
            .into_iter()
            .flatten()
    });
    let axis = Axis::spread(&all.collect::<Vec<f64>>());
    let frame = Frame {
        axis,
        ticks: ticks(axis, 1.0),
        marks: Vec::new(),
        title: "tok/s",
    };
    let bar = |(row, offload): &(&Row, &OffloadRow)| {
        let (measured, predicted) = (speed(row), offload.predicted_decode_tok_s);
        let drawing = html! {
            @if let Some(measured) = measured {
                circle.dot cx=(frame.at(measured)) cy=(HEIGHT / 2) r="5"
                    data-key="decode_tok_s_mean" data-value=(number_text(measured)) { title { (human::short(measured)) " tok/s measured" } }
            }
            @if let Some(predicted) = predicted {
                line.tail x1=(frame.at(predicted)) x2=(frame.at(predicted)) y1="3" y2=(HEIGHT - 3)
                    data-key="predicted_decode_tok_s" data-value=(number_text(predicted)) { title { (human::short(predicted)) " tok/s predicted" } }
            }
        };
        Bar {
            id: row.id.clone(),
            name: labels.full(row),
            drawing: match measured {
                Some(_) => Ok(drawing),
                None => Err(format!("not measured: {}", reason(row, &["decode_tok_s"]))),
            },
            figure: measured.map_or_else(String::new, |speed| {
                format!("{} tok/s", human::short(speed))
            }),
            note: predicted.map_or_else(String::new, |speed| {
                format!("predicted {}", human::short(speed))
            }),
        }
    };
    let bars: Vec<Bar> = rows.iter().map(bar).collect();
    html! {
        (frame.chart("speeds", "Measured and predicted decode speed", &bars))
        @if axis.is_log() { p.note { "The scale is logarithmic." } }
    }
}

/// Everything of every row.
fn figures(rows: &[(&Row, &OffloadRow)], labels: &Labels) -> Markup {
    type Read = fn(&Row, &OffloadRow) -> Value;
    let parts: [(&'static str, &str, Unit, Read); 8] = [
        ("resident_bytes", "on the GPU", Unit::Bytes, |_, offload| {
            offload.resident_bytes.into()
        }),
        (
            "mapped_bytes",
            "in main memory",
            Unit::Bytes,
            |_, offload| offload.mapped_bytes.into(),
        ),
        (
            "link_bytes_per_step",
            "link, a step",
            Unit::Bytes,
            |_, offload| offload.link_bytes_per_step.into(),
        ),
        (
            "step_link_share",
            "link's share of a step",
            Unit::Share,
            |_, offload| offload.step_link_share.into(),
        ),
        (
            "prompt_link_share",
            "of the prompt",
            Unit::Share,
            |_, offload| offload.prompt_link_share.into(),
        ),
        (
            "predicted_decode_tok_s",
            "predicted",
            Unit::TokensPerSecond,
            |_, offload| offload.predicted_decode_tok_s.into(),
        ),
        (
            "decode_tok_s_mean",
            "decode",
            Unit::TokensPerSecond,
            |row, _| speed(row).into(),
        ),
        (
            "measured_over_predicted",
            "measured / predicted",
            Unit::Share,
            |row, offload| {
                let both = speed(row).zip(offload.predicted_decode_tok_s);
                both.map(|(measured, predicted)| measured / predicted)
                    .into()
            },
        ),
    ];
    let words = |read: &dyn Fn(&Row, &OffloadRow) -> String| -> Vec<String> {
        rows.iter()
            .map(|(row, offload)| read(row, offload))
            .collect()
    };
    let mut columns = vec![
        Column::words("row", "model", words(&|row, _| labels.full(row))),
        Column::words("asked", "asked", words(&|_, offload| offload.asked.clone())),
    ];
    for (key, title, unit, read) in parts {
        let values: Vec<Value> = rows
            .iter()
            .map(|(row, offload)| read(row, offload))
            .collect();
        columns.push(Column::of(key, title, unit, &values, "", |place| {
            let (row, offload) = rows[place];
            match (key, offload.mapped_bytes) {
                ("decode_tok_s_mean" | "measured_over_predicted", _) if speed(row).is_none() => {
                    reason(row, &["decode_tok_s"])
                }
                (_, 0) => "no weights were in main memory".to_owned(),
                _ if row.status != "ok" => reason(row, &["itl_ms", "decode_tok_s"]),
                _ => "the speed of the link was not measured".to_owned(),
            }
        }));
    }
    let ids: Vec<String> = rows.iter().map(|(row, _)| row.id.clone()).collect();
    table::table("offload", "Weights in main memory", &columns, &ids)
}
