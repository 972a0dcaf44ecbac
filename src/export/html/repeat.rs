//! From run to run: how far the runs of each trial are from their median, against what is promised.

use super::super::columns::{Unit, Value};
use super::super::compare::sheet;
use super::super::{human, repeat as told};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, Mark, TICKS};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, Shown, methods};
use crate::report::compare::Quantity;
use crate::report::{Repeatability, RepeatedTrial, RunFigures, Spread};
use maud::{Markup, html};

/// The runs of a result.
pub fn of(shown: &Shown) -> Option<&Repeatability> {
    shown.report.repeatability.as_ref()
}

/// The section; nothing where no result ran several times.
pub fn section(results: &[Shown]) -> Markup {
    html! {
        @if results.iter().any(|shown| of(shown).is_some()) {
            section #repeat {
                h2 { "From run to run" }
                p.lead { "Each dot is a run of the whole suite, as far from the median of all runs as it stands from the middle; the dashed lines are what is promised." }
                (methods::ask(&["repeat"]))
                @for shown in results { (one(shown)) }
            }
        }
    }
}

fn one(shown: &Shown) -> Markup {
    let Some(repeated) = of(shown) else {
        return html! {
            article data-result=(shown.label) {
                (super::page::of(shown))
                p.empty { "not measured: the suite ran once" }
            }
        };
    };
    let lines: Vec<(&RepeatedTrial, &Spread)> = repeated
        .trials
        .iter()
        .flat_map(|trial| trial.spread.iter().map(move |spread| (trial, spread)))
        .collect();
    let kinds = [Quantity::DecodeTokS, Quantity::TtftMs, Quantity::PeakBytes];
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            p.verdict { (human::one_line(&repeated.verdict)) }
            div.kinds.two { @for metric in kinds { (chart(metric, &lines, repeated.promise)) } }
            @if !lines.is_empty() { details.data { summary { "Figures" } (figures(&lines)) } }
            details { summary { "Conditions of each run" } ul { @for line in told::conditions(&shown.report) { li { (line) } } } }
        }
    }
}

/// What a run measured of a quantity.
fn value(run: &RunFigures, metric: Quantity) -> Option<f64> {
    let value = match metric {
        Quantity::DecodeTokS => run.decode_tok_s,
        Quantity::TtftMs => run.ttft_ms,
        Quantity::PeakBytes => run.peak_bytes.map(|bytes| bytes as f64),
        _ => None,
    };
    value.filter(|_| run.status == "ok")
}

/// One quantity of all trials.
fn chart(metric: Quantity, lines: &[(&RepeatedTrial, &Spread)], promise: f64) -> Markup {
    let found: Vec<_> = lines
        .iter()
        .filter(|(_, spread)| spread.metric == metric)
        .collect();
    let off = |value: f64, spread: &Spread| value / spread.median - 1.0;
    let ends = found
        .iter()
        .flat_map(|(_, spread)| [off(spread.min, spread), off(spread.max, spread)]);
    let axis = Axis::deviations(ends.chain([promise * 1.5]));
    let percent = |share: f64| format!("{} %", axis::short(share * 100.0));
    let frame = Frame {
        marks: vec![
            Mark {
                value: -promise,
                label: format!("± {}", percent(promise)),
            },
            Mark {
                value: promise,
                label: String::new(),
            },
        ],
        ..Frame::new(axis, TICKS, "", percent)
    };
    let bar = |(trial, spread): &&(&RepeatedTrial, &Spread)| {
        let colour = if spread.within { "better" } else { "worse" };
        let middle = HEIGHT / 2;
        let dots = trial
            .runs
            .iter()
            .filter_map(|run| Some((run.run, value(run, metric)?)));
        Bar {
            id: trial.row.clone(),
            name: human::one_line(&trial.model),
            drawing: Ok(html! {
                line.interval.(colour) x1=(frame.at(off(spread.min, spread))) x2=(frame.at(off(spread.max, spread))) y1=(middle) y2=(middle) {}
                @for (run, value) in dots {
                    circle.dot.(colour) cx=(frame.at(off(value, spread))) cy=(middle) r="4" data-key="run" data-at=(run) data-value=(number_text(value)) {
                        title { "run " (run) ": " (human::short(off(value, spread) * 100.0)) " % from the median" }
                    }
                }
            }),
            figure: format!("± {} %", human::short(spread.worst_deviation * 100.0)),
            note: if spread.within { "kept" } else { "not kept" }.to_owned(),
        }
    };
    let bars: Vec<Bar> = found.iter().take(MOST_ROWS).map(bar).collect();
    let name = format!("runs_{}", metric.name());
    html! {
        @if !bars.is_empty() {
            div {
                h4 { (sheet::title(metric)) ", off the median" }
                (frame.chart(&name, "Deviation of each run from the median", &bars))
                @if found.len() > MOST_ROWS { p.note { "The first " (MOST_ROWS) " of " (found.len()) " trials are drawn; the table has them all." } }
            }
        }
    }
}

/// Every spread as a table.
fn figures(lines: &[(&RepeatedTrial, &Spread)]) -> Markup {
    let words = |read: &dyn Fn(&RepeatedTrial, &Spread) -> String| -> Vec<String> {
        lines
            .iter()
            .map(|(trial, spread)| read(trial, spread))
            .collect()
    };
    let column = |key, title, unit, read: fn(&Spread) -> Value| {
        let values: Vec<Value> = lines.iter().map(|(_, spread)| read(spread)).collect();
        Column::of(key, title, unit, &values, "", |_| String::new())
    };
    let mut median = column("run_median", "median", Unit::Plain, |spread| {
        spread.median.into()
    });
    for (cell, (_, spread)) in median.cells.iter_mut().zip(lines) {
        cell.text = told::amount(spread);
    }
    let columns = [
        Column::words("row", "trial", words(&|trial, _| trial.row.clone())),
        Column::words(
            "quantity",
            "quantity",
            words(&|_, spread| sheet::title(spread.metric).to_owned()),
        ),
        column("runs", "runs", Unit::Plain, |spread| spread.runs.into()),
        median,
        column("range_share", "max − min", Unit::Share, |spread| {
            spread.range_share.into()
        }),
        column("variation", "CV", Unit::Share, |spread| {
            spread.variation.into()
        }),
        column("worst_deviation", "worst ±", Unit::Share, |spread| {
            spread.worst_deviation.into()
        }),
        Column::words(
            "within",
            "kept",
            words(&|_, spread| if spread.within { "yes" } else { "no" }.to_owned()),
        ),
    ];
    let ids: Vec<String> = lines
        .iter()
        .map(|(trial, spread)| format!("{}:{}", trial.row, spread.metric.name()))
        .collect();
    table::table(
        "runs",
        "Spread of each quantity over the runs",
        &columns,
        &ids,
    )
}
