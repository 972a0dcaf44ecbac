//! The largest sizes that ran inside the budget: bars of the longest context and of the largest batch, and the table of the search.

use super::super::columns::{Unit, Value};
use super::super::lists::grouped;
use super::super::{ceilings as told, human};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, TICKS};
use super::table::{self, Column};
use super::{MOST_ROWS, Shown, methods};
use crate::report::Ceiling;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    html! {
        section #ceilings {
            h2 { "Ceilings" }
            p.lead { "The longest context and the largest batch that ran inside the budget." }
            (methods::ask(&["ceiling"]))
            div.side { @for shown in results { (one(shown, results)) } }
        }
    }
}

/// The bars and the table of one result; kinds share a scale with the other results.
fn one(shown: &Shown, results: &[Shown]) -> Markup {
    let ceilings = &shown.report.ceilings;
    let remarks = told::remarks(ceilings);
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @if ceilings.is_empty() {
                p.empty { "not measured: no ceiling was searched for in this run" }
            } @else {
                div.kinds { @for (kind, title, unit) in [("context", "Longest context", "tokens"), ("batch", "Largest batch", "sequences")] { (chart(kind, title, unit, ceilings, results)) } }
                details.data { summary { "Figures" } (figures(ceilings)) }
            }
            @if remarks.len() > FEW {
                details { summary { (remarks.len()) " remarks on the ceilings" } ul { @for remark in &remarks { li { (remark) } } } }
            } @else {
                @for remark in &remarks { p.note { (remark) } }
            }
        }
    }
}

/// Remarks that need not be folded away.
const FEW: usize = 4;

/// The bars of one kind.
fn chart(kind: &str, title: &str, unit: &str, ceilings: &[Ceiling], results: &[Shown]) -> Markup {
    let of_kind: Vec<&Ceiling> = ceilings.iter().filter(|one| one.kind == kind).collect();
    let all = results.iter().flat_map(|shown| &shown.report.ceilings);
    let sizes = all
        .filter(|one| one.kind == kind)
        .filter_map(|one| one.fits);
    let axis = Axis::linear(sizes.map(f64::from));
    let frame = Frame::new(axis, TICKS, "", axis::short);
    let drawn: Vec<&Ceiling> = of_kind.iter().copied().take(MOST_ROWS).collect();
    let budgets: BTreeSet<u64> = drawn.iter().map(|one| one.budget_bytes).collect();
    let bars = |budget: u64| -> Vec<Bar> {
        let inside = drawn.iter().filter(|one| one.budget_bytes == budget);
        inside.map(|one| bar(one, &of_kind, &frame)).collect()
    };
    html! {
        @if !drawn.is_empty() {
            div {
                h4 { (title) ", " (unit) }
                @for budget in &budgets {
                    @if budgets.len() > 1 { h5 { "in " (human::bytes(*budget)) } }
                    (frame.chart(kind, title, &bars(*budget)))
                }
                @if of_kind.len() > drawn.len() {
                    p.note { "The first " (drawn.len()) " of " (of_kind.len()) " are drawn; the table has them all." }
                }
            }
        }
    }
}

/// One ceiling's bar.
fn bar(ceiling: &Ceiling, alike: &[&Ceiling], frame: &Frame) -> Bar {
    let status = || {
        let reason = ceiling.reason.as_deref().unwrap_or("no reason was told");
        human::one_line(&format!("{}: {reason}", ceiling.status.replace('_', " ")))
    };
    let drawing = ceiling.fits.map(|fits| {
        html! {
            rect.part.p1 x="0" y="6" height=(HEIGHT - 12) width=(frame.span(0.0, fits.into()))
                data-key="fits" data-value=(fits) { title { (grouped(fits.into())) " fits" } }
        }
    });
    let limit = ceiling
        .limited_by
        .as_ref()
        .map(|limit| limit.replace('_', " "));
    Bar {
        id: name(ceiling, alike),
        name: name(ceiling, alike),
        drawing: drawing.ok_or_else(status),
        figure: ceiling
            .fits
            .map_or_else(String::new, |fits| grouped(fits.into())),
        note: human::one_line(&limit.unwrap_or_default()),
    }
}

/// Its model, and what tells it from the others.
fn name(ceiling: &Ceiling, alike: &[&Ceiling]) -> String {
    let mut words = vec![
        ceiling
            .model
            .clone()
            .unwrap_or_else(|| "largest model".to_owned()),
    ];
    type Read = fn(&Ceiling) -> Option<String>;
    let parts: [Read; 4] = [
        |one| one.precision.clone(),
        |one| Some(one.form.clone()),
        |one| (one.kv_cache_type != "float").then(|| format!("{} KV", one.kv_cache_type)),
        |one| Some(format!("{}+{}", one.prompt_tokens?, one.gen_tokens?)),
    ];
    for part in parts {
        if alike.windows(2).any(|pair| part(pair[0]) != part(pair[1])) {
            words.extend(part(ceiling));
        }
    }
    human::one_line(&words.join(", "))
}

/// Every ceiling as a table.
fn figures(ceilings: &[Ceiling]) -> Markup {
    let why = |paths: &'static [&'static str]| {
        move |place: usize| {
            let one: &Ceiling = &ceilings[place];
            let told = paths.iter().find_map(|path| one.not_measured.get(*path));
            let told = told
                .or(one.reason.as_ref())
                .map(|reason| human::one_line(reason));
            told.unwrap_or_else(|| "this file does not tell it".to_owned())
        }
    };
    let values =
        |read: &dyn Fn(&Ceiling) -> Value| ceilings.iter().map(read).collect::<Vec<Value>>();
    let words =
        |read: &dyn Fn(&Ceiling) -> String| ceilings.iter().map(read).collect::<Vec<String>>();
    let kind = |one: &Ceiling| match one.prompt_tokens.zip(one.gen_tokens) {
        Some((prompt, generated)) => format!("{} {prompt}+{generated}", one.kind),
        None => one.kind.clone(),
    };
    let text = |read: &Option<String>| read.clone().map(|text| text.replace('_', " ")).into();
    let columns = [
        Column::words(
            "row",
            "model",
            words(&|one| one.model.clone().unwrap_or_else(|| "none".to_owned())),
        ),
        Column::words("kind", "ceiling", words(&kind)),
        Column::words("form", "form", words(&|one| one.form.clone())),
        Column::of(
            "precision",
            "precision",
            Unit::Plain,
            &values(&|one| text(&one.precision)),
            "",
            why(&["precision"]),
        ),
        Column::of(
            "budget_bytes",
            "budget",
            Unit::Bytes,
            &values(&|one| one.budget_bytes.into()),
            "",
            why(&[]),
        ),
        Column::of(
            "fits",
            "fits",
            Unit::Plain,
            &values(&|one| one.fits.into()),
            "",
            why(&["fits"]),
        ),
        Column::of(
            "fails",
            "fails",
            Unit::Plain,
            &values(&|one| one.fails.into()),
            "",
            why(&["fails"]),
        ),
        Column::of(
            "limited_by",
            "limited by",
            Unit::Plain,
            &values(&|one| text(&one.limited_by)),
            "",
            why(&["limited_by"]),
        ),
        Column::of(
            "predicted",
            "predicted",
            Unit::Plain,
            &values(&|one| one.predicted.into()),
            "",
            why(&["predicted"]),
        ),
        Column::of(
            "ceiling_peak_bytes",
            "peak",
            Unit::Bytes,
            &values(&|one| one.peak_bytes.into()),
            "",
            why(&["peak_bytes"]),
        ),
        Column::of(
            "ceiling_decode_tok_s",
            "decode",
            Unit::TokensPerSecond,
            &values(&|one| one.decode_tok_s.into()),
            "",
            why(&["decode_tok_s"]),
        ),
        Column::of(
            "ceiling_ttft_ms",
            "TTFT",
            Unit::Millis,
            &values(&|one| one.ttft_ms.into()),
            "",
            why(&["ttft_ms"]),
        ),
        Column::words(
            "ceiling_status",
            "status",
            words(&|one| one.status.replace('_', " ")),
        ),
    ];
    let ids: Vec<String> = (0..ceilings.len()).map(|place| place.to_string()).collect();
    table::table(
        "ceilings",
        "Ceilings and how they were found",
        &columns,
        &ids,
    )
}
