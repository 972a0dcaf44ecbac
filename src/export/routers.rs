//! Where routers send tokens, for people: a line for each router.

use super::columns::{Unit, Value};
use super::human::{self, Detail};
use super::markdown;
use super::table::{self, Prepared};
use crate::report::{RouterFacts, RouterLayer, Study};

const TITLE: &str = "Where the routers send tokens";

/// The table with what it means.
pub fn blocks(study: &Study, width: usize) -> Vec<String> {
    if study.routers.is_empty() {
        return Vec::new();
    }
    let columns = table::fit(columns(study), width);
    let rows = columns.first().map_or(0, |column| column.cells.texts.len());
    let mut text = vec![TITLE.to_owned()];
    if rows > 0 {
        text.extend(table::layout(&columns, rows));
    }
    text.push(table::lines(&remarks(study), width, 2));
    vec![text.join("\n")]
}

/// The same as Markdown.
pub fn markdown(study: &Study) -> Vec<String> {
    if study.routers.is_empty() {
        return Vec::new();
    }
    let items: Vec<String> = remarks(study)
        .iter()
        .map(|text| format!("- {}", markdown::escape(text)))
        .collect();
    let grid = markdown::grid(Some(TITLE), &columns(study));
    vec![grid, items.join("\n")]
}

/// Why a model has no routers, and how they were watched.
pub fn remarks(study: &Study) -> Vec<String> {
    let missing = |facts: &RouterFacts| {
        let pending = (facts.status == "pending").then_some("it has not run");
        let said = facts.reason.as_deref().or(pending)?;
        Some(human::one_line(&format!("{}: {said}.", facts.model)))
    };
    let mut remarks: Vec<String> = study.routers.iter().filter_map(missing).collect();
    let method = study.routers.iter().take(1);
    remarks.extend(method.map(|facts| human::one_line(&format!("Routers: {}.", facts.method))));
    remarks
}

fn columns(study: &Study) -> Vec<Prepared<'static>> {
    let lines: Vec<(&RouterFacts, &RouterLayer)> = study
        .routers
        .iter()
        .flat_map(|facts| facts.layers.iter().map(move |layer| (facts, layer)))
        .collect();
    type Read<'a> = &'a dyn Fn(&RouterFacts, &RouterLayer) -> Value;
    let column = |title, importance, unit, read: Read<'_>| {
        let values: Vec<Value> = lines
            .iter()
            .map(|(facts, layer)| read(facts, layer))
            .collect();
        Prepared {
            importance,
            title,
            cells: human::cells(unit, &values, Detail::Mean, ""),
        }
    };
    vec![
        column("model", 0, Unit::Plain, &|facts, _| (&facts.model).into()),
        column("router", 0, Unit::Plain, &|_, layer| (&layer.layer).into()),
        column("experts", 2, Unit::Plain, &|_, layer| {
            (layer.chosen.len() as u64).into()
        }),
        column("tokens", 3, Unit::Plain, &|_, layer| layer.tokens.into()),
        column("least", 1, Unit::Share, &|_, layer| {
            layer.least_share.into()
        }),
        column("most", 1, Unit::Share, &|_, layer| layer.most_share.into()),
        column("entropy", 0, Unit::Share, &|_, layer| layer.entropy.into()),
        column("imbalance", 0, Unit::Share, &|_, layer| {
            layer.imbalance.into()
        }),
    ]
}
