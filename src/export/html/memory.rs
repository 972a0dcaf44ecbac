//! Where the memory goes: a bar for each model, made of the parts of its peak, against the budget.

use super::super::columns::{Unit, Value};
use super::super::{human, memory as terms};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, Mark, TICKS};
use super::labels::{Labels, paths, reason};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, Shown, methods};
use crate::report::{MemoryRow, Row, budgets, is_same_work};
use maud::{Markup, html};

/// A budget this many times the longest bar still stands on the axis; a larger one is told in words.
const NEAR: f64 = 5.0;

/// The parts of a peak: key, name and colour of each.
const PARTS: [(&str, &str, &str); 5] = [
    ("weights_bytes", "weights", "p1"),
    ("kv_bytes", "KV cache", "p2"),
    ("activations_bytes", "activations", "p3"),
    ("runtime_bytes", "runtime", "p4"),
    ("unaccounted_bytes", "unaccounted", "p5"),
];

/// Sizes of the parts, in the order of [`PARTS`].
fn sizes(memory: &MemoryRow) -> [Value; 5] {
    [
        memory.weights_bytes.into(),
        memory.kv_bytes.into(),
        memory.activations_bytes.into(),
        memory.runtime_bytes.into(),
        memory.unaccounted_bytes.into(),
    ]
}

/// What the parts add up to.
fn sum(memory: &MemoryRow) -> Option<u64> {
    memory.loaded_peak_bytes.or(memory.peak_bytes)
}

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    let longest = longest(results);
    html! {
        section #memory {
            h2 { "Memory" }
            p.lead { "Peak memory of each model by what it is made of, against its budget." }
            (methods::ask(&["peak", "parts", "unaccounted", "budget"]))
            (legend(results))
            div.side {
                @for shown in results { (one(shown, longest)) }
            }
            (super::page::remarks(results, |shown| terms::remarks(&shown.report)))
        }
    }
}

/// The longest bar of all results, which share one scale.
fn longest(results: &[Shown]) -> f64 {
    let rows = results
        .iter()
        .flat_map(|shown| terms::shown(&shown.report.trials));
    let peaks = rows.filter_map(|row| row.memory.peak_bytes.max(sum(&row.memory)));
    peaks.max().unwrap_or(0) as f64
}

/// The colours of the parts that stand in some bar.
fn legend(results: &[Shown]) -> Markup {
    let rows: Vec<&Row> = results
        .iter()
        .flat_map(|shown| terms::shown(&shown.report.trials))
        .collect();
    let known = |place: usize| {
        rows.iter()
            .any(|row| sizes(&row.memory)[place] != Value::Missing)
    };
    html! {
        ul.legend {
            @for (place, (_, title, colour)) in PARTS.iter().enumerate() {
                @if known(place) { li { span.swatch.(colour) {} (title) } }
            }
            @if !rows.is_empty() { li { span.swatch.line {} "budget" } }
        }
    }
}

/// The bars and the table of one result.
fn one(shown: &Shown, longest: f64) -> Markup {
    let report = &shown.report;
    let labels = Labels::of(report);
    let read = terms::shown(&report.trials);
    let frame = frame(shown, longest);
    let mut drawn = read.clone();
    if drawn.len() > MOST_ROWS {
        drawn.sort_by_key(|row| std::cmp::Reverse(sum(&row.memory)));
        drawn.truncate(MOST_ROWS);
    }
    let mut bars: Vec<Bar> = drawn.iter().map(|row| bar(row, &labels, &frame)).collect();
    let absent = absent(&report.trials, &read);
    let room = MOST_ROWS.saturating_sub(bars.len());
    bars.extend(absent.iter().take(room).map(|row| refusal(row, &labels)));
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if bars.is_empty() {
                p.empty { "not measured: no trial of this result has a reading of its memory" }
            } @else {
                (frame.chart("memory", "Peak memory by its parts", &bars))
            }
            @if read.len() > drawn.len() {
                p.note { "The " (drawn.len()) " rows with the largest peaks of " (read.len()) " are drawn; the table has them all." }
            }
            @if absent.len() > room {
                p.note { (absent.len() - room) " more without a reading are in the table of trials." }
            }
            @if let Some(words) = beyond(shown, longest) { p.note { (words) } }
            @if !read.is_empty() {
                details.data { summary { "Figures" } (figures(&read, &labels)) }
            }

        }
    }
}

/// Rows that were never read, each work once.
fn absent<'a>(rows: &'a [Row], read: &[&Row]) -> Vec<&'a Row> {
    let mut found: Vec<&Row> = Vec::new();
    let lacking = rows.iter().filter(|row| row.memory.peak_bytes.is_none());
    for row in lacking {
        let known = read
            .iter()
            .chain(&found)
            .any(|other| is_same_work(row, other));
        if !known {
            found.push(row);
        }
        // More are not drawn, and with a thousand rows looking for each would take long.
        if found.len() > MOST_ROWS {
            break;
        }
    }
    found
}

/// The scale with the budgets that stand on it.
fn frame(shown: &Shown, longest: f64) -> Frame {
    let near = budgets(&shown.report.trials)
        .into_iter()
        .filter(|budget| is_near(*budget, longest));
    let marks: Vec<Mark> = near
        .map(|budget| Mark {
            value: budget as f64,
            label: human::bytes(budget),
        })
        .collect();
    let axis = Axis::linear(marks.iter().map(|mark| mark.value).chain([longest]));
    let Axis::Linear(end) = axis else {
        return Frame {
            axis,
            ticks: Vec::new(),
            marks,
            title: "",
        };
    };
    let (unit, name) = axis::size_unit(end);
    let ticks = Axis::Linear(end / unit).ticks(TICKS);
    Frame {
        axis,
        ticks: ticks
            .into_iter()
            .map(|tick| (tick * unit, axis::short(tick)))
            .collect(),
        marks,
        title: name,
    }
}

fn is_near(budget: u64, longest: f64) -> bool {
    longest > 0.0 && budget as f64 <= NEAR * longest
}

/// The budgets that are too large for the scale.
fn beyond(shown: &Shown, longest: f64) -> Option<String> {
    let far = budgets(&shown.report.trials)
        .into_iter()
        .filter(|budget| !is_near(*budget, longest));
    let far: Vec<String> = far.map(human::bytes).collect();
    (longest > 0.0 && !far.is_empty()).then(|| {
        format!(
            "More than {NEAR} times the longest bar, and so not on the scale: budget {}.",
            far.join(", ")
        )
    })
}

/// One row's bar.
fn bar(row: &Row, labels: &Labels, frame: &Frame) -> Bar {
    let memory = &row.memory;
    let peak = memory.peak_bytes.unwrap_or(0);
    let share = 100.0 * peak as f64 / memory.budget_bytes.max(1) as f64;
    let mut name = labels.work(row);
    if row.status != "ok" {
        name += &format!(" ({})", row.status.replace('_', " "));
    }
    Bar {
        id: row.id.clone(),
        name,
        drawing: Ok(drawing(memory, frame)),
        figure: human::bytes(peak),
        note: format!("{share:.0} % of {}", human::bytes(memory.budget_bytes)),
    }
}

/// Its parts one behind the other; the whole where they are not known.
fn drawing(memory: &MemoryRow, frame: &Frame) -> Markup {
    let values = sizes(memory);
    let mut begin = 0.0;
    let mut parts = Vec::new();
    for ((key, title, colour), value) in PARTS.iter().zip(&values) {
        let bytes = match value {
            Value::Count(bytes) => *bytes as f64,
            Value::Signed(bytes) => *bytes as f64,
            _ => continue,
        };
        parts.push((*key, *title, *colour, begin, bytes));
        begin += bytes.max(0.0);
    }
    let peak = memory.peak_bytes.unwrap_or(0);
    let (top, bottom) = ("5", (HEIGHT - 10).to_string());
    html! {
        @if parts.len() < 2 {
            rect.part.whole x="0" y=(top) height=(bottom) width=(frame.span(0.0, peak as f64))
                data-key="peak_bytes" data-value=(peak) { title { "peak " (human::bytes(peak)) } }
        } @else {
            @for (key, title, colour, begin, bytes) in parts {
                rect.part.(colour) x=(frame.at(begin)) y=(top) height=(bottom) width=(frame.span(begin, begin + bytes.max(0.0)))
                    data-key=(key) data-value=(whole(bytes)) { title { (title) " " (size(bytes)) } }
            }
        }
        line.peak x1=(frame.at(peak as f64)) x2=(frame.at(peak as f64)) y1="2" y2=(HEIGHT - 2)
            data-key="peak_bytes" data-value=(peak) { title { "peak " (human::bytes(peak)) } }
    }
}

/// A count of bytes as JSON has it.
fn whole(bytes: f64) -> String {
    let text = number_text(bytes);
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A size that may be below nought.
fn size(bytes: f64) -> String {
    let sign = if bytes < 0.0 { "−" } else { "" };
    format!("{sign}{}", human::bytes(bytes.abs() as u64))
}

/// A row without a reading: its status where the bar would be.
fn refusal(row: &Row, labels: &Labels) -> Bar {
    let status = row.status.replace('_', " ");
    let words = match (&row.reason, row.status.as_str()) {
        (Some(reason), status_name) if status_name != "ok" => format!("{status}: {reason}"),
        _ => format!("not measured: {}", reason(row, paths("peak_bytes"))),
    };
    Bar {
        id: row.id.clone(),
        name: labels.full(row),
        drawing: Err(human::one_line(&words)),
        figure: String::new(),
        note: String::new(),
    }
}

/// The terms as a table.
fn figures(rows: &[&Row], labels: &Labels) -> Markup {
    let of = |key: &'static str, title: &str, read: &dyn Fn(&Row) -> Value| {
        let values: Vec<Value> = rows.iter().map(|row| read(row)).collect();
        (key, title.to_owned(), values)
    };
    let mut terms: Vec<_> = PARTS
        .iter()
        .enumerate()
        .map(|(place, (key, title, _))| of(key, title, &|row| sizes(&row.memory)[place].clone()))
        .collect();
    terms.push(of("loaded_peak_bytes", "= peak from the load on", &|row| {
        row.memory.loaded_peak_bytes.into()
    }));
    terms.push(of("peak_bytes", "peak", &|row| {
        row.memory.peak_bytes.into()
    }));
    terms.push(of("steady_bytes", "steady", &|row| {
        row.memory.steady_bytes.into()
    }));
    terms.push(of("predicted_peak_bytes", "predicted", &|row| {
        row.memory.predicted_peak_bytes.into()
    }));
    terms.push(of("budget_bytes", "budget", &|row| {
        row.memory.budget_bytes.into()
    }));
    let values: Vec<Vec<Value>> = terms.iter().map(|(.., values)| values.clone()).collect();
    let mut columns = vec![Column::words(
        "row",
        "model",
        rows.iter().map(|row| labels.full(row)).collect(),
    )];
    for ((key, title, values), cells) in terms.into_iter().zip(human::mebibytes(&values)) {
        columns.push(Column::laid(key, &title, cells, &values, |place| {
            reason(rows[place], paths(key))
        }));
    }
    let held: Vec<Value> = rows
        .iter()
        .map(|row| row.memory.enforced.clone().into())
        .collect();
    columns.push(Column::of(
        "enforced",
        "held",
        Unit::Plain,
        &held,
        "",
        |place| reason(rows[place], paths("enforced")),
    ));
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    table::table(
        "memory",
        "Memory of each model by its parts",
        &columns,
        &ids,
    )
}
