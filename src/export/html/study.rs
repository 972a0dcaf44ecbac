//! Dense against Mixture of Experts: ratios with their intervals by what the two are equal in, the verdicts in words, the published
//! figures beside those measured here, where routers send tokens, and what tokens cost by formulas that do not agree.

use super::super::compare::sheet;
use super::super::{human, notes, study as told};
use super::bars::Bar;
use super::ratios::{self, Ratioed};
use super::table::{self, Column};
use super::{MOST_ROWS, Shown, methods, published, routers};
use crate::report::compare::{Judgement, Quantity};
use crate::report::{Basis, Study, StudyPair};
use maud::{Markup, html};

/// Quantities that are drawn; the table has all.
const DRAWN: [Quantity; 4] = [
    Quantity::DecodeTokS,
    Quantity::TtftMs,
    Quantity::PeakBytes,
    Quantity::EnergyPerTokenJ,
];

/// What pairs are equal in, in the order of the page.
const BASES: [Basis; 4] = [
    Basis::Total,
    Basis::Active,
    Basis::OneExpert,
    Basis::AsPublished,
];

/// The studies of these results.
pub fn of(shown: &Shown) -> Option<&Study> {
    shown.report.study.as_ref()
}

/// The section; nothing where no result has a study.
pub fn section(results: &[Shown]) -> Markup {
    html! {
        @if results.iter().any(|shown| of(shown).is_some()) {
            section #study {
                h2 { "Dense against Mixture of Experts" }
                p.lead { "The mixture's figure over that of the dense model that is equal to it in total or in active parameters. A line is the 95 % interval; where it holds 1, there is no difference." }
                (methods::ask(&["pairs", "published", "routers", "formulas"]))
                @for shown in results { (one(shown)) }
            }
        }
    }
}

/// The study of one result.
fn one(shown: &Shown) -> Markup {
    let Some(study) = of(shown) else {
        return html! {
            article data-result=(shown.label) {
                (super::page::of(shown))
                p.empty { "not measured: no two models of this result belong together" }
            }
        };
    };
    let currency = notes::currency(&shown.report.trials);
    let judged = judged(study);
    let names = names(&study.pairs);
    let lines: Vec<Line> = study
        .pairs
        .iter()
        .zip(&judged)
        .zip(&names)
        .flat_map(|((pair, found), name)| {
            found.iter().map(move |found| Line {
                pair,
                ratioed: Ratioed {
                    id: format!(
                        "{}:{}:{}",
                        pair.dense.row,
                        pair.moe.row,
                        found.metric.name()
                    ),
                    name: name.clone(),
                    currency,
                    found,
                },
            })
        })
        .collect();
    html! {
        article data-result=(shown.label) {
            (super::page::of(shown))
            @for basis in BASES { (forests(basis, &lines)) }
            @if !study.pairs.is_empty() {
                h3 { "In words" }
                ul.verdicts { @for pair in &study.pairs { li { (human::one_line(&pair.verdict)) } } }
                details.data { summary { "Figures" } (figures(&lines)) }
                p.note { "Pairs: " (human::one_line(&study.method)) }
            }
            (published::part(study))
            (routers::part(study))
            (prices(study))
        }
    }
}

/// A quantity of a pair.
struct Line<'a> {
    pair: &'a StudyPair,
    ratioed: Ratioed<'a>,
}

/// The ratios of each pair, as the comparison of files has them.
fn judged(study: &Study) -> Vec<Vec<Judgement>> {
    let own = |pair: &StudyPair| pair.ratios.iter().map(told::judgement).collect();
    study.pairs.iter().map(own).collect()
}

/// What pairs are called beside each other: their models, and in what settings they differ.
fn names(pairs: &[StudyPair]) -> Vec<String> {
    let words = |pair: &StudyPair| {
        let precision = match pair.dense.precision == pair.moe.precision {
            true => pair.dense.precision.clone(),
            false => format!("{} against {}", pair.moe.precision, pair.dense.precision),
        };
        [
            format!("{} {precision}", pair.form),
            pair.device.clone(),
            format!("KV cache {}", pair.kv_cache_type),
            format!("batch {}", pair.batch),
            format!("{} prompt", pair.prompt_tokens),
            format!("{} generated", pair.gen_tokens),
            format!("in {}", human::bytes(pair.budget_bytes)),
        ]
    };
    let all: Vec<_> = pairs.iter().map(words).collect();
    let differs = |place: usize| all.windows(2).any(|two| two[0][place] != two[1][place]);
    let name = |(pair, words): (&StudyPair, &[String; 7])| {
        let mut name = vec![format!("{} / {}", pair.moe.model, pair.dense.model)];
        let own = words.iter().enumerate();
        name.extend(
            own.filter(|(place, _)| differs(*place))
                .map(|(_, word)| word.clone()),
        );
        human::one_line(&name.join(", "))
    };
    pairs.iter().zip(&all).map(name).collect()
}

/// The charts of the pairs of one basis.
fn forests(basis: Basis, lines: &[Line]) -> Markup {
    let title = match basis {
        Basis::Total => "At equal total parameters",
        Basis::Active => "At equal active parameters",
        Basis::OneExpert => "The same FFN as a router's only expert",
        Basis::AsPublished => "As published, not matched",
    };
    let chart = |quantity: Quantity| {
        let drawable = |line: &&Line| {
            line.ratioed.found.metric == quantity && line.ratioed.found.ratio.is_some()
        };
        let all: Vec<&Line> = lines.iter().filter(drawable).collect();
        // Both bases share a scale, so that they may be compared by eye.
        let frame = ratios::frame(all.iter().map(|line| line.ratioed.found));
        let of_basis = all.iter().filter(|line| line.pair.basis == basis);
        let bars: Vec<Bar> = of_basis
            .take(MOST_ROWS)
            .map(|line| ratios::bar(&line.ratioed, &frame))
            .collect();
        let name = format!("pairs_{}", quantity.name());
        html! {
            @if !bars.is_empty() {
                div {
                    h4 { (sheet::title(quantity)) ", MoE / dense" }
                    (frame.chart(&name, title, &bars))
                }
            }
        }
    };
    let mut pairs: Vec<&StudyPair> = lines.iter().map(|line| line.pair).collect();
    pairs.retain(|pair| pair.basis == basis);
    let drawn = pairs
        .iter()
        .any(|pair| pair.ratios.iter().any(|ratio| ratio.ratio.is_some()));
    html! {
        @if !pairs.is_empty() {
            div.basis data-basis=(title) {
                h3 { (title) }
                @if drawn { div.kinds.two { @for quantity in DRAWN { (chart(quantity)) } } }
                @else { p.empty { "not measured: of no pair both models ran; the reasons stand in the words below" } }
            }
        }
    }
}

/// Every quantity of every pair.
fn figures(lines: &[Line]) -> Markup {
    let known = |line: &&Line| {
        let found = line.ratioed.found;
        found.baseline.is_some() || found.other.is_some()
    };
    let lines: Vec<&Line> = lines.iter().filter(known).collect();
    let basis = |line: &&Line| {
        let word = match line.pair.basis {
            Basis::Total => "total",
            Basis::Active => "active",
            Basis::OneExpert => return "one expert".to_owned(),
            Basis::AsPublished => "as published",
        };
        match line.pair.matched {
            true => format!("equal {word}"),
            false => format!("{word}, not matched"),
        }
    };
    let bases = lines.iter().map(basis).collect();
    let ids: Vec<String> = lines.iter().map(|line| line.ratioed.id.clone()).collect();
    let ratioed: Vec<&Ratioed> = lines.iter().map(|line| &line.ratioed).collect();
    let mut columns = ratios::columns(&ratioed, "dense", "MoE");
    columns.insert(1, Column::words("basis", "parameters", bases));
    table::table("pairs", "Each quantity of each pair", &columns, &ids)
}

/// What a million tokens cost by each formula.
fn prices(study: &Study) -> Markup {
    let Some(first) = study.prices.first() else {
        return html! {};
    };
    let models = study.prices.iter().map(|row| row.model.clone()).collect();
    let mut columns = vec![Column::words("row", "model", models)];
    for (place, column) in told::prices(study).into_iter().skip(1).enumerate() {
        // The speed comes first, then a price by each formula.
        let read = |row: &crate::report::Priced| match place.checked_sub(1) {
            None => Some(row.decode_tok_s),
            Some(nth) => row
                .prices
                .get(nth)
                .and_then(|price| price.per_million_tokens),
        };
        let key = match place.checked_sub(1).and_then(|nth| first.prices.get(nth)) {
            Some(price) => price.formula.name(),
            None => "decode_tok_s_mean",
        };
        let values: Vec<_> = study.prices.iter().map(|row| read(row).into()).collect();
        columns.push(Column::laid(
            key,
            column.title,
            column.cells,
            &values,
            |_| "the row has no cost".to_owned(),
        ));
    }
    let ids: Vec<String> = study.prices.iter().map(|row| row.row.clone()).collect();
    html! {
        h3 { "What a million tokens cost, by formulas that do not agree" }
        (table::table("prices", "What a million tokens cost by each formula", &columns, &ids))
        ul.remarks { @for price in &first.prices { li { strong { (price.formula.name()) } ": " (human::one_line(&price.how)) "." } } }
    }
}
