//! Where routers send tokens: for each router the share of every expert as a small bar, and how even the shares are.

use super::super::columns::{Unit, Value};
use super::super::{human, reuse, routers as told};
use super::MOST_ROWS;
use super::axis::Axis;
use super::bars::{self, Bar, Frame, HEIGHT};
use super::table::{self, Column};
use crate::report::{RouterFacts, RouterLayer, Study};
use maud::{Markup, html};

/// The charts and the table; nothing where no router was watched.
pub fn part(study: &Study) -> Markup {
    let all: Vec<(&RouterFacts, &RouterLayer)> = study
        .routers
        .iter()
        .flat_map(|facts| facts.layers.iter().map(move |layer| (facts, layer)))
        .collect();
    html! {
        @if !study.routers.is_empty() {
            h3 { "Where the routers send tokens" }
            p.lead { "A bar for each expert, as high as its share of the choices; the line is an even share." }
            @for facts in &study.routers { (chart(facts)) }
            @if !all.is_empty() { details.data { summary { "Figures" } (figures(&all)) } }
            ul.remarks { @for remark in told::remarks(study).into_iter().chain(reuse::remarks(study)) { li { (remark) } } }
        }
    }
}

/// The routers of one model, one below the other.
fn chart(facts: &RouterFacts) -> Markup {
    let most = facts.layers.iter().map(|layer| layer.most_share);
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let frame = Frame {
        axis: Axis::Linear(1.0),
        ticks: Vec::new(),
        marks: Vec::new(),
        title: "",
    };
    let bar = |layer: &RouterLayer| Bar {
        id: format!("{}:{}", facts.row, layer.layer),
        name: human::one_line(&layer.layer),
        drawing: Ok(drawing(layer, most)),
        figure: match layer.entropy {
            Some(entropy) => format!("entropy {} %", human::short(entropy * 100.0)),
            None => "one expert".to_owned(),
        },
        note: format!(
            "{} to {} %",
            human::short(layer.least_share * 100.0),
            human::short(layer.most_share * 100.0)
        ),
    };
    let bars: Vec<Bar> = facts.layers.iter().take(MOST_ROWS).map(bar).collect();
    html! {
        @if !bars.is_empty() {
            h4 { (human::one_line(&facts.model)) }
            (frame.chart("routers", "Share of the choices of each expert", &bars))
            @if facts.layers.len() > MOST_ROWS { p.note { "The first " (MOST_ROWS) " of " (facts.layers.len()) " routers are drawn." } }
        }
    }
}

/// A bar for each expert, side by side.
fn drawing(layer: &RouterLayer, most: f64) -> Markup {
    let all: u64 = layer.chosen.iter().sum();
    let experts = layer.chosen.len().max(1) as f64;
    let high = f64::from(HEIGHT) - 4.0;
    let tall = |share: f64| high * share / most;
    let even = f64::from(HEIGHT) - tall(1.0 / experts);
    html! {
        @for (place, count) in layer.chosen.iter().enumerate() {
            @let share = *count as f64 / all.max(1) as f64;
            rect.part.p1 x=(bars::percent(place as f64 / experts)) width=(bars::percent(1.0 / experts))
                y=(format!("{:.2}", f64::from(HEIGHT) - tall(share))) height=(format!("{:.2}", tall(share)))
                data-key="chosen" data-at=(place) data-value=(count) {
                title { "expert " (place) ": " (human::short(share * 100.0)) " % of the choices" }
            }
        }
        line.tail x1="0" x2="100%" y1=(format!("{even:.2}")) y2=(format!("{even:.2}")) {}
    }
}

/// Every router as a table.
fn figures(all: &[(&RouterFacts, &RouterLayer)]) -> Markup {
    let column = |key, title, unit, read: fn(&RouterLayer) -> Value| {
        let values: Vec<Value> = all.iter().map(|(_, layer)| read(layer)).collect();
        Column::of(key, title, unit, &values, "", |_| {
            "a single expert has no spread".to_owned()
        })
    };
    let columns = [
        Column::words(
            "row",
            "model",
            all.iter().map(|(facts, _)| facts.model.clone()).collect(),
        ),
        Column::words(
            "router",
            "router",
            all.iter().map(|(_, layer)| layer.layer.clone()).collect(),
        ),
        column("experts", "experts", Unit::Plain, |layer| {
            (layer.chosen.len() as u64).into()
        }),
        column("router_tokens", "tokens", Unit::Plain, |layer| {
            layer.tokens.into()
        }),
        column(
            "experts_per_token",
            "experts a token",
            Unit::Plain,
            |layer| layer.experts_per_token.into(),
        ),
        column("least_share", "least", Unit::Share, |layer| {
            layer.least_share.into()
        }),
        column("most_share", "most", Unit::Share, |layer| {
            layer.most_share.into()
        }),
        column("entropy", "entropy", Unit::Share, |layer| {
            layer.entropy.into()
        }),
        column("imbalance", "imbalance", Unit::Share, |layer| {
            layer.imbalance.into()
        }),
    ];
    let ids: Vec<String> = all
        .iter()
        .map(|(facts, layer)| format!("{}:{}", facts.row, layer.layer))
        .collect();
    table::table("routers", "Where the routers send tokens", &columns, &ids)
}
