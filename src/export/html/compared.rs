//! The first result against each of the others: what differs between the machines, ratios with their intervals, verdicts in words.

mod ceilings;

use super::super::columns::{Unit, Value};
use super::super::compare::{remarks, sheet};
use super::super::human::{self, Detail};
use super::axis::{self, Axis};
use super::bars::{Bar, Frame, HEIGHT, Mark, TICKS};
use super::table::{self, Column, number_text};
use super::{MOST_ROWS, methods};
use crate::report::compare::{Against, Comparison, Judgement, Pair, Quantity, Verdict};
use maud::{Markup, html};

/// Quantities that are drawn; the table has all.
const DRAWN: [Quantity; 3] = [Quantity::DecodeTokS, Quantity::TtftMs, Quantity::PeakBytes];

/// The section.
pub fn section(comparison: &Comparison) -> Markup {
    let baseline = comparison
        .files
        .first()
        .map_or("A", |file| file.label.as_str());
    html! {
        section #compare {
            h2 { "Side by side" }
            p.lead { "Each result against the first. A ratio counts what was run alike; where it was not, the word is “not comparable” and the reason stands below." }
            (methods::ask(&["ratio"]))
            ul.files { @for line in sheet::files(comparison) { li { (line) } } }
            (differences(comparison))
            @for against in &comparison.against { (one(against, baseline)) }
            @for remark in remarks::of_all(comparison) { p.note { (remark) } }
        }
    }
}

/// What pairs are called beside each other: their model, and what not all of them share.
struct Names {
    shared: Vec<String>,
}

impl Names {
    fn of(pairs: &[Pair]) -> Names {
        let mut names = pairs.iter().map(Names::words);
        let mut shared = names.next().unwrap_or_default();
        shared = shared.split_off(shared.len().min(1));
        for words in names {
            shared.retain(|word| words.contains(word));
        }
        Names { shared }
    }

    /// All that tells a pair from others, its model first.
    fn words(pair: &Pair) -> Vec<String> {
        sheet::name(pair).split(", ").map(str::to_owned).collect()
    }

    fn name(&self, pair: &Pair) -> String {
        let words = Names::words(pair).into_iter().enumerate();
        let own = words.filter(|(nth, word)| *nth == 0 || !self.shared.contains(word));
        own.map(|(_, word)| word).collect::<Vec<_>>().join(", ")
    }
}

/// What differs between machines and settings.
fn differences(comparison: &Comparison) -> Markup {
    html! {
        @if comparison.differences.is_empty() {
            p.note { "Machine, versions and settings are the same." }
        } @else {
            h3 { "What differs" }
            div.scroll.whole tabindex="0" role="region" aria-label="What differs between the results" {
                table.facts {
                    thead { tr { th scope="col" { "differs in" } @for file in &comparison.files { th scope="col" { span.badge { (file.label) } } } } }
                    tbody {
                        @for fact in &comparison.differences {
                            tr { th scope="row" { (sheet::fact_title(fact.name)) } @for text in sheet::fact_texts(fact) { td { (text) } } }
                        }
                    }
                }
            }
        }
    }
}

/// One file against the baseline.
fn one(against: &Against, baseline: &str) -> Markup {
    let remarks = remarks::of_file(against);
    let names = Names::of(&against.pairs);
    html! {
        article data-against=(against.file) {
            h3 { span.badge { (against.file) } " against " span.badge { (baseline) } }
            @if let Some(words) = remarks::summary(against) { p.verdict { (words) } }
            @if !names.shared.is_empty() { p.note { "All rows: " (names.shared.join(", ")) "." } }
            div.side { @for quantity in DRAWN { (forest(against, baseline, quantity, &names)) } }
            @if !against.pairs.is_empty() { (figures(against, baseline, &names)) }
            @if !against.ceilings.is_empty() { h4 { "Ceilings" } (ceilings::table(against, baseline)) }
            @if !remarks.is_empty() { ul.remarks { @for remark in &remarks { li { (remark) } } } }
        }
    }
}

/// A quantity of all pairs: a dot at each ratio, a line as long as its interval, around 1.
fn forest(against: &Against, baseline: &str, quantity: Quantity, names: &Names) -> Markup {
    let of = |pair: &Pair| {
        pair.metrics
            .iter()
            .find(|found| found.metric == quantity)
            .cloned()
    };
    let found: Vec<(&Pair, Judgement)> = against
        .pairs
        .iter()
        .filter_map(|pair| Some((pair, of(pair)?)))
        .filter(|(_, found)| found.ratio.is_some())
        .collect();
    let ends = found.iter().flat_map(|(_, found)| {
        found
            .ratio
            .into_iter()
            .chain(found.ci95.into_iter().flatten())
    });
    let axis = Axis::ratios(ends);
    let frame = Frame {
        axis,
        ticks: axis
            .ticks(TICKS + 1)
            .into_iter()
            .map(|tick| (tick, axis::short(tick)))
            .collect(),
        marks: vec![Mark {
            value: 1.0,
            label: "the same".to_owned(),
        }],
        title: "times",
    };
    let bars: Vec<Bar> = found
        .iter()
        .take(MOST_ROWS)
        .map(|(pair, found)| ratio_bar(names.name(pair), pair, found, &frame))
        .collect();
    html! {
        @if !bars.is_empty() {
            div {
                h4 { (sheet::title(quantity)) ", " (against.file) " / " (baseline) }
                (frame.chart(quantity.name(), "Ratios with their intervals", &bars))
                @if found.len() > MOST_ROWS { p.note { "The first " (MOST_ROWS) " of " (found.len()) " rows are drawn; the table has them all." } }
            }
        }
    }
}

/// One ratio.
fn ratio_bar(name: String, pair: &Pair, found: &Judgement, frame: &Frame) -> Bar {
    let ratio = found.ratio.unwrap_or(1.0);
    let colour = verdict_class(found.verdict);
    let middle = HEIGHT / 2;
    let mut numbers = vec![ratio];
    numbers.extend(found.ci95.into_iter().flatten());
    let shown = human::ratios(&numbers);
    let interval = match shown.get(1..) {
        Some([low, high]) => format!("{low} to {high}"),
        _ => String::new(),
    };
    Bar {
        id: pair.row.clone(),
        name,
        drawing: Ok(html! {
            @if let Some([low, high]) = found.ci95 {
                line.interval.(colour) x1=(frame.at(low)) x2=(frame.at(high)) y1=(middle) y2=(middle) { title { (interval) } }
            }
            circle.dot.(colour) cx=(frame.at(ratio)) cy=(middle) r="5" data-key="ratio" data-value=(number_text(ratio)) {
                title { (shown[0]) " times" }
            }
        }),
        figure: format!("{} {}", shown[0], found.word.replace('_', " ")),
        note: interval,
    }
}

/// The colour of a verdict.
fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::NoDifference => "same",
        Verdict::NotComparable => "unknown",
    }
}

/// Every quantity of every pair.
fn figures(against: &Against, baseline: &str, names: &Names) -> Markup {
    let lines: Vec<(&Pair, &Judgement)> = against
        .pairs
        .iter()
        .flat_map(|pair| pair.metrics.iter().map(move |found| (pair, found)))
        .filter(|(_, found)| found.baseline.is_some() || found.other.is_some())
        .collect();
    let ids: Vec<String> = lines
        .iter()
        .map(|(pair, found)| format!("{}:{}", pair.row, found.metric.name()))
        .collect();
    let texts = |read: &dyn Fn(&Pair, &Judgement) -> String| {
        lines
            .iter()
            .map(|(pair, found)| read(pair, found))
            .collect::<Vec<String>>()
    };
    let why = |field: &'static str| {
        let lines = &lines;
        move |place: usize| {
            let (_, found) = lines[place];
            let told = found.not_measured.get(field).or(found.reason.as_ref());
            told.map_or_else(
                || "this file does not tell it".to_owned(),
                |reason| human::one_line(reason),
            )
        }
    };
    let ratios = lines
        .iter()
        .map(|(_, found)| value(found.ratio))
        .collect::<Vec<Value>>();
    let mut columns = vec![
        Column::words("row", "row", texts(&|pair, _| names.name(pair))),
        Column::words(
            "quantity",
            "quantity",
            texts(&|pair, found| quantity(pair, found)),
        ),
        side(
            "baseline",
            baseline,
            &lines,
            |found| found.baseline,
            why("baseline"),
        ),
        side(
            "other",
            &against.file,
            &lines,
            |found| found.other,
            why("other"),
        ),
        Column::of(
            "ratio",
            &format!("{} / {baseline}", against.file),
            Unit::Plain,
            &ratios,
            "",
            why("ratio"),
        ),
        interval(&lines, why("ci95")),
        Column::words(
            "verdict",
            "verdict",
            texts(&|_, found| found.word.replace('_', " ")),
        ),
    ];
    // Each ratio has its own digits, as in the table for a terminal.
    for (cell, (_, found)) in columns[4].cells.iter_mut().zip(&lines) {
        if let Some(ratio) = found.ratio {
            cell.text = human::ratios(&[ratio]).concat();
        }
    }
    table::table(
        "compare",
        "Each quantity of each row, compared",
        &columns,
        &ids,
    )
}

fn value(number: Option<f64>) -> Value {
    number.map_or(Value::Missing, Value::Number)
}

/// A quantity with its unit.
fn quantity(pair: &Pair, found: &Judgement) -> String {
    let values = [value(found.baseline), value(found.other)];
    let currency = pair.currency.as_deref().unwrap_or_default();
    let unit = human::cells(sheet::unit(found.metric), &values, Detail::Mean, currency).unit;
    format!("{} {unit}", sheet::title(found.metric))
}

/// The figures of one side: those of a line in one unit with those of the other side.
fn side(
    key: &'static str,
    title: &str,
    lines: &[(&Pair, &Judgement)],
    read: fn(&Judgement) -> Option<f64>,
    missing: impl Fn(usize) -> String,
) -> Column {
    let values: Vec<Value> = lines.iter().map(|(_, found)| value(read(found))).collect();
    let mut column = Column::of(key, title, Unit::Plain, &values, "", missing);
    for (cell, (pair, found)) in column.cells.iter_mut().zip(lines) {
        let both = [
            value(read(found)),
            value(found.baseline),
            value(found.other),
        ];
        let currency = pair.currency.as_deref().unwrap_or_default();
        let texts = human::cells(sheet::unit(found.metric), &both, Detail::Mean, currency).texts;
        cell.text = texts.into_iter().next().unwrap_or_default();
    }
    column
}

/// The intervals; sorted by their lower ends.
fn interval(lines: &[(&Pair, &Judgement)], missing: impl Fn(usize) -> String) -> Column {
    let lows: Vec<Value> = lines
        .iter()
        .map(|(_, found)| value(found.ci95.map(|ends| ends[0])))
        .collect();
    let mut column = Column::of("interval", "95 % interval", Unit::Plain, &lows, "", missing);
    for (cell, (_, found)) in column.cells.iter_mut().zip(lines) {
        if let Some([low, high]) = found.ci95 {
            let mut numbers = found.ratio.into_iter().collect::<Vec<f64>>();
            numbers.extend([low, high]);
            let texts = human::ratios(&numbers);
            cell.text = texts[texts.len() - 2..].join(" to ");
        }
    }
    column
}
