//! A model's published figures beside those that its study's way gives here and those that are measured properly.

use super::super::columns::{Unit, Value};
use super::super::human::{self, Detail};
use super::super::published as told;
use super::table::{self, Column};
use crate::report::{Beside, Reproduced, Study};
use maud::{Markup, html};

/// A table for each model; nothing where none was measured so.
pub fn part(study: &Study) -> Markup {
    html! {
        @if !study.as_published.is_empty() {
            h3 { "Published, reproduced its way, measured properly" }
            @for model in &study.as_published { (one(model)) }
        }
    }
}

fn one(model: &Reproduced) -> Markup {
    let figures = &model.figures;
    let titles = figures.iter().map(|figure| {
        let unit = cells(figure, figure.published).1;
        format!("{} {unit}", told::name(figure.metric))
    });
    let mut columns = vec![Column::words("row", "quantity", titles.collect())];
    type Read = fn(&Beside) -> Option<f64>;
    let parts: [(&'static str, &str, Read); 3] = [
        ("published", "published", |figure| figure.published),
        ("reproduced", "its way", |figure| figure.reproduced),
        ("measured", "properly", |figure| figure.measured),
    ];
    for (key, title, read) in parts {
        let values: Vec<Value> = figures.iter().map(|figure| read(figure).into()).collect();
        let mut column = Column::of(key, title, Unit::Plain, &values, "", |place| {
            missing(&figures[place], key)
        });
        for (cell, figure) in column.cells.iter_mut().zip(figures) {
            cell.text = cells(figure, read(figure)).0;
        }
        columns.push(column);
    }
    let ratios: Vec<Value> = figures.iter().map(|figure| figure.ratio.into()).collect();
    let mut ratio = Column::of(
        "its_ratio",
        "its way / properly",
        Unit::Plain,
        &ratios,
        "",
        |place| missing(&figures[place], "ratio"),
    );
    for (cell, figure) in ratio.cells.iter_mut().zip(figures) {
        if let Some(ratio) = figure.ratio {
            cell.text = human::ratio(ratio);
        }
    }
    columns.push(ratio);
    let ids: Vec<String> = (0..figures.len())
        .map(|place| format!("{}:{place}", model.model))
        .collect();
    html! {
        h4 { (human::one_line(&model.model)) small { ", " (model.prompt_tokens) " prompt, " (model.gen_tokens) " generated" } }
        @if figures.is_empty() {
            p.empty { "not measured: " (human::one_line(model.reason.as_deref().unwrap_or("it has not run"))) }
        } @else {
            (table::table("published", "Published, reproduced and measured figures", &columns, &ids))
        }
        ul.remarks { @for line in told::effects(model) { li { (line) } } }
    }
}

/// A figure in the unit that suits all three of its line, and that unit.
fn cells(figure: &Beside, value: Option<f64>) -> (String, String) {
    let all = [value, figure.published, figure.reproduced, figure.measured].map(Value::from);
    let cells = human::cells(told::unit(figure.metric), &all, Detail::Mean, "USD");
    (
        cells.texts.into_iter().next().unwrap_or_default(),
        cells.unit,
    )
}

fn missing(figure: &Beside, key: &str) -> String {
    let told = figure.not_measured.get(key);
    told.map_or_else(
        || "this file does not tell it".to_owned(),
        |reason| human::one_line(reason),
    )
}
