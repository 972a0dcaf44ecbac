//! A table of the page: headers that sort and tell the method, cells that carry their value in base units, and below it why cells
//! are empty.

use super::super::columns::{Unit, Value};
use super::super::human::{self, Cells, Detail};
use super::methods;
use maud::{Markup, html};
use std::collections::BTreeSet;

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// The value in base units with all its digits; `None` for words, and where there is none.
    pub value: Option<String>,
    /// Why there is no value.
    pub missing: Option<String>,
}

/// A column.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name in data.
    pub key: &'static str,
    /// Its title.
    pub title: String,
    /// Its unit.
    pub unit: String,
    /// Whether it stands right.
    pub numeric: bool,
    /// One for each row.
    pub cells: Vec<Cell>,
}

impl Column {
    /// Values in one unit. `missing` says of a row why it has none.
    pub fn of(
        key: &'static str,
        title: &str,
        unit: Unit,
        values: &[Value],
        currency: &str,
        missing: impl Fn(usize) -> String,
    ) -> Column {
        Column::laid(
            key,
            title,
            human::cells(unit, values, Detail::Spread, currency),
            values,
            missing,
        )
    }

    /// Values whose texts are made.
    pub fn laid(
        key: &'static str,
        title: &str,
        cells: Cells,
        values: &[Value],
        missing: impl Fn(usize) -> String,
    ) -> Column {
        let one = |(place, (text, value)): (usize, (String, &Value))| Cell {
            text,
            value: raw(value),
            missing: (*value == Value::Missing).then(|| missing(place)),
        };
        let texts = cells.texts.into_iter().zip(values);
        Column {
            key,
            title: title.to_owned(),
            unit: cells.unit,
            numeric: cells.numeric,
            cells: texts.enumerate().map(one).collect(),
        }
    }

    /// Sizes, each in the unit that suits it.
    pub fn sizes(key: &'static str, title: &str, bytes: &[u64]) -> Column {
        let one = |bytes: &u64| Cell {
            text: human::bytes(*bytes),
            value: Some(bytes.to_string()),
            missing: None,
        };
        Column {
            key,
            title: title.to_owned(),
            unit: String::new(),
            numeric: true,
            cells: bytes.iter().map(one).collect(),
        }
    }

    /// Words.
    pub fn words(key: &'static str, title: &str, texts: Vec<String>) -> Column {
        let one = |text: String| Cell {
            text: human::one_line(&text),
            value: None,
            missing: None,
        };
        Column {
            key,
            title: title.to_owned(),
            unit: String::new(),
            numeric: false,
            cells: texts.into_iter().map(one).collect(),
        }
    }

    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| cell.missing.is_some())
    }
}

/// A number with all its digits, as JSON has it.
pub fn raw(value: &Value) -> Option<String> {
    match value {
        Value::Count(count) => Some(count.to_string()),
        Value::Signed(count) => Some(count.to_string()),
        Value::Number(number) | Value::Spread(number, _) => Some(number_text(*number)),
        Value::Missing | Value::Text(_) | Value::Name(_) | Value::Flag(_) => None,
    }
}

/// The shortest digits that read back as the same number.
pub fn number_text(number: f64) -> String {
    format!("{number:?}")
}

/// The table, and below it why cells are empty. `ids` name its rows; `caption` says what it is to those who do not see it.
pub fn table(name: &str, caption: &str, columns: &[Column], ids: &[String]) -> Markup {
    html! { (bare(name, caption, columns, ids)) (absences(columns, ids)) }
}

/// The table alone.
pub fn bare(name: &str, caption: &str, columns: &[Column], ids: &[String]) -> Markup {
    let filled: Vec<&Column> = columns
        .iter()
        .enumerate()
        .filter(|(place, column)| *place == 0 || !column.is_empty())
        .map(|(_, column)| column)
        .collect();
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table.sortable data-table=(name) {
                caption.hidden { (caption) }
                thead { tr { @for column in &filled { (head(column)) } } }
                tbody {
                    @for (place, id) in ids.iter().enumerate() {
                        tr data-row=(id) {
                            @for (nth, column) in filled.iter().enumerate() { (cell(column, place, nth == 0)) }
                        }
                    }
                }
            }
        }
    }
}

/// A header: a button that sorts, and one that tells how the figure is obtained.
fn head(column: &Column) -> Markup {
    html! {
        th scope="col" data-key=(column.key) .n[column.numeric] {
            span.head {
                button.sort type="button" {
                    span { (column.title) @if !column.unit.is_empty() { " " span.unit { (column.unit) } } }
                }
                @if let Some(method) = methods::of(column.key) { (methods::button(method)) }
            }
        }
    }
}

/// A cell; the first of a row is its header.
fn cell(column: &Column, place: usize, first: bool) -> Markup {
    let Some(cell) = column.cells.get(place) else {
        return html! { td {} };
    };
    html! {
        @if first {
            th scope="row" { (cell.text) }
        } @else if let Some(reason) = &cell.missing {
            td.nm.n[column.numeric] title={ "not measured: " (reason) } {
                span aria-hidden="true" { "–" } span.hidden { "not measured: " (reason) }
            }
        } @else {
            td .n[column.numeric] data-value=[&cell.value] { (cell.text) }
        }
    }
}

/// Most rows that are named one by one.
const NAMED: usize = 4;

/// Why cells are empty: each reason once, with the figures and rows it is true for.
fn absences(columns: &[Column], ids: &[String]) -> Markup {
    let mut groups: Vec<(&str, Vec<&str>, BTreeSet<usize>)> = Vec::new();
    for column in columns {
        for (place, cell) in column.cells.iter().enumerate() {
            let Some(reason) = &cell.missing else {
                continue;
            };
            let known = groups.iter().position(|(known, ..)| known == reason);
            if known.is_none() && groups.len() == MOST_REASONS {
                continue;
            }
            if known.is_none() {
                groups.push((reason, Vec::new(), BTreeSet::new()));
            }
            let nth = known.unwrap_or(groups.len() - 1);
            let (_, titles, places) = &mut groups[nth];
            if !titles.contains(&column.title.as_str()) {
                titles.push(&column.title);
            }
            places.insert(place);
        }
    }
    let who = |places: &BTreeSet<usize>| match places.len() {
        count if count == ids.len() => "every row".to_owned(),
        count if count > NAMED => format!("{count} rows"),
        _ => {
            let names = places.iter().filter_map(|place| ids.get(*place));
            names.cloned().collect::<Vec<_>>().join(", ")
        }
    };
    html! {
        @if !groups.is_empty() {
            details.absent {
                summary { "Not measured, and why" }
                ul {
                    @for (reason, titles, places) in &groups {
                        li { (titles.join(", ")) " of " (who(places)) ": not measured: " (reason) }
                    }
                    @if groups.len() == MOST_REASONS { li { "Other reasons stand in the cells themselves." } }
                }
            }
        }
    }
}

/// Most reasons that are listed below a table.
const MOST_REASONS: usize = 24;
