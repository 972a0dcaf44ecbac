//! The first result against each of the others: what differs between the machines, ratios with their intervals, verdicts in words.

mod ceilings;

use super::super::compare::{remarks, sheet};
use super::bars::Bar;
use super::ratios::{self, Ratioed};
use super::{MOST_ROWS, methods, table};
use crate::report::compare::{Against, Comparison, Judgement, Pair, Quantity};
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
        let mut metrics = pair.metrics.iter();
        metrics.position(|found| found.metric == quantity && found.ratio.is_some())
    };
    let found: Vec<Ratioed> = against
        .pairs
        .iter()
        .filter_map(|pair| {
            let found = &pair.metrics[of(pair)?];
            Some(ratioed(pair, found, pair.row.clone(), names))
        })
        .collect();
    let frame = ratios::frame(found.iter().map(|one| one.found));
    let bars: Vec<Bar> = found
        .iter()
        .take(MOST_ROWS)
        .map(|one| ratios::bar(one, &frame))
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

fn ratioed<'a>(pair: &'a Pair, found: &'a Judgement, id: String, names: &Names) -> Ratioed<'a> {
    Ratioed {
        id,
        name: names.name(pair),
        currency: pair.currency.as_deref().unwrap_or_default(),
        found,
    }
}

/// Every quantity of every pair.
fn figures(against: &Against, baseline: &str, names: &Names) -> Markup {
    let lines: Vec<Ratioed> = against
        .pairs
        .iter()
        .flat_map(|pair| pair.metrics.iter().map(move |found| (pair, found)))
        .filter(|(_, found)| found.baseline.is_some() || found.other.is_some())
        .map(|(pair, found)| {
            let id = format!("{}:{}", pair.row, found.metric.name());
            ratioed(pair, found, id, names)
        })
        .collect();
    let ids: Vec<String> = lines.iter().map(|one| one.id.clone()).collect();
    table::table(
        "compare",
        "Each quantity of each row, compared",
        &ratios::columns(&lines.iter().collect::<Vec<_>>(), baseline, &against.file),
        &ids,
    )
}
