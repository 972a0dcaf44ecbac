//! How near each row comes to what its device can do: decode against the memory bandwidth, prefill against the arithmetic.

use super::super::columns::{Unit, Value};
use super::super::{human, limits as told, memory};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, TICKS};
use super::labels::{Labels, paths, reason};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, Shown, methods};
use crate::report::{Row, RowLimits};
use maud::{Markup, html};

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    let all = results
        .iter()
        .flat_map(|shown| held(shown))
        .filter_map(|row| row.limits.as_ref());
    let shares = all.flat_map(|limits| [limits.decode.share, limits.prefill.share]);
    let axis = Axis::linear(shares.chain([1.0]));
    html! {
        section #limits {
            h2 { "Share of the hardware's limit" }
            p.lead { "Decode as a share of what the memory bandwidth allows, prefill of what the arithmetic allows; 100 % is the hardware's limit." }
            (methods::ask(&["limit", "bound"]))
            ul.legend { li { span.swatch.p1 {} "decode" } li { span.swatch.p2 {} "prefill" } }
            div.side { @for shown in results { (one(shown, axis)) } }
            (super::page::remarks(results, |shown| told::remarks(&shown.report)))
        }
    }
}

/// Rows that are held against a limit, each work once.
fn held(shown: &Shown) -> Vec<&Row> {
    let rows = memory::shown(&shown.report.trials).into_iter();
    rows.filter(|row| row.limits.is_some()).collect()
}

/// The shares and the table of one result.
fn one(shown: &Shown, axis: Axis) -> Markup {
    let labels = Labels::of(&shown.report);
    let rows = held(shown);
    let share = |row: &Row| {
        row.limits
            .as_ref()
            .map_or(0.0, |limits| limits.decode.share)
    };
    let mut drawn = rows.clone();
    if drawn.len() > MOST_ROWS {
        drawn.sort_by(|a, b| share(b).total_cmp(&share(a)));
        drawn.truncate(MOST_ROWS);
    }
    let frame = Frame::new(axis, TICKS, "", |tick| {
        format!("{} %", axis::short(tick * 100.0))
    });
    let bar = |row: &&Row| {
        let limits = row.limits.as_ref()?;
        Some(Bar {
            id: row.id.clone(),
            name: labels.work(row),
            drawing: Ok(drawing(limits, &frame)),
            figure: percent(limits.decode.share),
            note: format!(
                "{}; prefill {}",
                human::one_line(&limits.decode.bound),
                percent(limits.prefill.share)
            ),
        })
    };
    let bars: Vec<Bar> = drawn.iter().filter_map(bar).collect();
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if bars.is_empty() {
                p.empty { "not measured: " (unknown(shown)) }
            } @else {
                (frame.chart("limits", "Share of the hardware's limit", &bars))
                @if rows.len() > drawn.len() {
                    p.note { "The " (drawn.len()) " rows nearest to the limit of " (rows.len()) " are drawn; the table has them all." }
                }
                details.data { summary { "Figures" } (figures(&rows, &labels)) }
            }

        }
    }
}

/// Why no row is held against a limit.
fn unknown(shown: &Shown) -> String {
    let trials = &shown.report.trials;
    let first = trials
        .iter()
        .find(|row| row.status == "ok")
        .or(trials.first());
    first.map_or_else(
        || "the result has no trial".to_owned(),
        |row| reason(row, &["limits"]),
    )
}

fn percent(share: f64) -> String {
    format!("{} %", human::short(share * 100.0))
}

/// Two thin bars, decode above.
fn drawing(limits: &RowLimits, frame: &Frame) -> Markup {
    let bars = [
        ("decode_limit_share", "decode", "p1", &limits.decode, 4),
        (
            "prefill_limit_share",
            "prefill",
            "p2",
            &limits.prefill,
            HEIGHT / 2 + 1,
        ),
    ];
    html! {
        @for (key, title, colour, phase, top) in bars {
            rect.part.(colour) x="0" y=(top) height="8" width=(frame.span(0.0, phase.share))
                data-key=(key) data-value=(number_text(phase.share)) { title { (title) " " (percent(phase.share)) ", held by " (phase.bound) } }
        }
    }
}

/// The shares as a table.
fn figures(rows: &[&Row], labels: &Labels) -> Markup {
    type Read = fn(&RowLimits) -> Value;
    let parts: [(&'static str, &str, Unit, Read); 6] = [
        ("step_bytes", "reads a step", Unit::Bytes, |limits| {
            (limits
                .step_weight_bytes
                .saturating_add(limits.step_kv_bytes))
            .into()
        }),
        (
            "decode_floor_ms",
            "decode at best",
            Unit::Millis,
            |limits| limits.decode.floor_ms.into(),
        ),
        ("decode_limit_share", "decode", Unit::Share, |limits| {
            limits.decode.share.into()
        }),
        ("decode_bound", "decode held by", Unit::Plain, |limits| {
            (&limits.decode.bound).into()
        }),
        ("prefill_limit_share", "prefill", Unit::Share, |limits| {
            limits.prefill.share.into()
        }),
        ("prefill_bound", "prefill held by", Unit::Plain, |limits| {
            (&limits.prefill.bound).into()
        }),
    ];
    let mut columns = vec![Column::words(
        "row",
        "model",
        rows.iter().map(|row| labels.full(row)).collect(),
    )];
    for (key, title, unit, read) in parts {
        let values: Vec<Value> = rows
            .iter()
            .map(|row| row.limits.as_ref().map_or(Value::Missing, read))
            .collect();
        columns.push(Column::of(key, title, unit, &values, "", |place| {
            reason(rows[place], paths(key))
        }));
    }
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    table::table("limits", "Share of the hardware's limit", &columns, &ids)
}
