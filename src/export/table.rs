//! Aligned text for a terminal: as many columns as its width allows, then the remarks and the verdict.

use super::ceilings;
use super::columns::{COLUMNS, Column, Place};
use super::human::{self, Cells, Detail};
use super::{curve, ladder, limits, memory, notes, offload, repeat, study, tuning};
use crate::report::{Report, Row, budgets};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// Blank columns between two columns.
const GAP: u16 = 2;

/// A column ready to be laid out.
pub struct Prepared<'a> {
    /// Its place among the important ones; 0 is never left out.
    pub importance: u8,
    /// Its title.
    pub title: &'a str,
    /// Its cells and unit.
    pub cells: Cells,
}

impl Prepared<'_> {
    /// Columns of the terminal it takes, without the gap.
    fn width(&self) -> usize {
        let texts = self.cells.texts.iter().map(String::as_str);
        let all = texts.chain([self.title, &self.cells.unit]);
        all.map(|text| text.chars().count()).max().unwrap_or(0)
    }
}

/// The report as text.
pub fn render(report: &Report, width: usize, colour: bool) -> String {
    let width = width.max(20);
    let mut blocks = vec![lines(&notes::caption(report), width, 2)];
    if !report.trials.is_empty() {
        let columns = fit(prepare(&report.trials), width);
        let laid = layout(&columns, report.trials.len());
        blocks.extend(tables(
            &paint(&laid, &report.trials, colour),
            &report.trials,
        ));
    }
    blocks.extend(curve::columns(report).map(|columns| {
        let columns = fit(columns, width);
        let rows = columns.first().map_or(0, |column| column.cells.texts.len());
        format!("{}\n{}", curve::TITLE, layout(&columns, rows).join("\n"))
    }));
    let bought = fit(curve::speeds(report), width);
    if let Some(first) = bought.first() {
        let laid = layout(&bought, first.cells.texts.len());
        let remarks = lines(&curve::remarks(report), width, 2);
        blocks.push(format!("{}\n{}\n{remarks}", curve::SPEEDS, laid.join("\n")));
    }
    if let Some(columns) = ladder::columns(report) {
        let columns = fit(columns, width);
        let rows = columns.first().map_or(0, |column| column.cells.texts.len());
        let laid = layout(&columns, rows).join("\n");
        blocks.push(format!("{}\n{laid}", ladder::TITLE));
    }
    let parts = fit(memory::columns(report), width);
    if let Some(first) = parts.first() {
        let laid = layout(&parts, first.cells.texts.len());
        blocks.push(format!("{}\n{}", memory::title(report), laid.join("\n")));
    }
    let speeds = fit(limits::columns(report), width);
    if let Some(first) = speeds.first() {
        let laid = layout(&speeds, first.cells.texts.len());
        blocks.push(format!("{}\n{}", limits::TITLE, laid.join("\n")));
    }
    let carried = fit(offload::columns(report), width);
    if let Some(first) = carried.first() {
        let laid = layout(&carried, first.cells.texts.len());
        blocks.push(format!("{}\n{}", offload::TITLE, laid.join("\n")));
    }
    let elsewhere = fit(offload::elsewhere(report), width);
    if let Some(first) = elsewhere.first() {
        let laid = layout(&elsewhere, first.cells.texts.len());
        blocks.push(format!("{}\n{}", offload::ELSEWHERE, laid.join("\n")));
    }
    let found = fit(ceilings::columns(&report.ceilings), width);
    if let Some(first) = found.first() {
        blocks.push(layout(&found, first.cells.texts.len()).join("\n"));
    }
    blocks.extend(study::blocks(report, width));
    let runs = fit(repeat::columns(report), width);
    if let Some(first) = runs.first() {
        let laid = layout(&runs, first.cells.texts.len());
        blocks.push(format!("{}\n{}", repeat::TITLE, laid.join("\n")));
    }
    blocks.push(lines(&repeat::conditions(report), width, 2));
    let tunings = tuning::lines(report);
    if !tunings.is_empty() {
        blocks.push(format!("{}\n{}", tuning::TITLE, lines(&tunings, width, 2)));
    }
    blocks.push(lines(&notes::remarks(report), width, 2));
    blocks.extend(
        report
            .verdict
            .as_ref()
            .map(|verdict| lines(&notes::paragraphs(verdict), width, 0)),
    );
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

/// The one table, or where there are several budgets one for each, all in the same columns.
fn tables(lines: &[String], rows: &[Row]) -> Vec<String> {
    let budgets = budgets(rows);
    if budgets.len() < 2 {
        return vec![lines.join("\n")];
    }
    let (head, body) = lines.split_at(lines.len().saturating_sub(rows.len()));
    let table = |budget: u64| {
        let of_budget = body
            .iter()
            .zip(rows)
            .filter(|(_, row)| row.memory.budget_bytes == budget);
        let mut table = vec![notes::budget_title(budget)];
        table.extend(head.iter().cloned());
        table.extend(of_budget.map(|(line, _)| line.clone()));
        table.join("\n")
    };
    budgets.into_iter().map(table).collect()
}

/// Each text wrapped, one below the other.
pub fn lines(texts: &[String], width: usize, indent: usize) -> String {
    let wrapped: Vec<String> = texts
        .iter()
        .map(|text| human::wrap(text, width, indent))
        .collect();
    wrapped.join("\n")
}

/// The columns for people as text.
fn prepare(rows: &[Row]) -> Vec<Prepared<'static>> {
    let shown = |column: &&Column| notes::is_shown(column, rows);
    COLUMNS
        .iter()
        .filter(shown)
        .map(|column| prepared(column, rows))
        .collect()
}

/// One column as text.
fn prepared(column: &Column, rows: &[Row]) -> Prepared<'static> {
    let values: Vec<_> = rows.iter().map(column.get).collect();
    // A standard deviation beside each mean would fill the line: the table shows that of the decode speed only.
    let detail = if column.key == "decode_tok_s_mean" {
        Detail::Spread
    } else {
        Detail::Mean
    };
    Prepared {
        importance: match column.place {
            Place::Shown(importance)
            | Place::Quantized(importance)
            | Place::Setting(importance) => importance,
            Place::Data => u8::MAX,
        },
        title: column.title,
        cells: human::cells(column.unit, &values, detail, notes::currency(rows)),
    }
}

/// The columns that fit: the least important ones, and those with nothing in them, are left out.
pub fn fit(mut columns: Vec<Prepared>, width: usize) -> Vec<Prepared> {
    let empty = |column: &Prepared| column.cells.texts.iter().all(|text| text == human::MISSING);
    columns.retain(|column| column.importance == 0 || !empty(column));
    let total = |columns: &[Prepared]| {
        let widths: usize = columns.iter().map(Prepared::width).sum();
        widths + usize::from(GAP) * columns.len().saturating_sub(1)
    };
    while total(&columns) > width {
        let least = columns
            .iter()
            .map(|column| column.importance)
            .max()
            .unwrap_or(0);
        let Some(place) = columns
            .iter()
            .rposition(|column| column.importance == least && least > 0)
        else {
            break;
        };
        columns.remove(place);
    }
    columns
}

/// Header, units where there are any, rule and rows, one string each.
pub fn layout(columns: &[Prepared], rows: usize) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.title));
    let with_units = columns.iter().any(|column| !column.cells.unit.is_empty());
    if with_units {
        table.add_row(columns.iter().map(|column| column.cells.unit.as_str()));
    }
    for row in 0..rows {
        table.add_row(
            columns
                .iter()
                .map(|column| Cell::new(&column.cells.texts[row])),
        );
    }
    let last = columns.len().saturating_sub(1);
    for (place, column) in columns.iter().enumerate() {
        if let Some(laid) = table.column_mut(place) {
            laid.set_padding((0, if place == last { 0 } else { GAP }));
            let side = if column.cells.numeric {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            };
            laid.set_cell_alignment(side);
        }
    }
    let mut lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    let widest = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let header = if with_units { 2 } else { 1 };
    lines.insert(lines.len().min(header), "─".repeat(widest));
    lines
}

/// The lines, the status at the end of each row coloured when asked for.
fn paint(lines: &[String], rows: &[Row], colour: bool) -> Vec<String> {
    let mut lines = lines.to_vec();
    if colour {
        let body = lines.len().saturating_sub(rows.len());
        for (line, row) in lines.iter_mut().skip(body).zip(rows) {
            let word = row.status.replace('_', " ");
            if let Some(start) = line.strip_suffix(&word) {
                *line = format!("{start}\u{1b}[{}m{word}\u{1b}[0m", ansi(&row.status));
            }
        }
    }
    lines
}

/// ANSI colour of a status: green, yellow, dim, red.
fn ansi(status: &str) -> u8 {
    match status {
        "ok" => 32,
        "does_not_fit" => 33,
        "pending" => 2,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [60, 80, 100, 120, 160, 250] {
            let text = render(&fixture(), width, false);
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{widest} > {width}\n{text}");
        }
    }

    #[test]
    fn a_wider_terminal_shows_more() {
        let header = |width| {
            let text = render(&fixture(), width, false);
            text.lines()
                .find(|line| line.starts_with("model"))
                .unwrap()
                .split_whitespace()
                .count()
        };
        assert!(header(60) < header(80) && header(80) < header(160));
    }

    #[test]
    fn colour_changes_nothing_but_the_colour() {
        let plain = render(&fixture(), 80, false);
        let painted = render(&fixture(), 80, true);
        assert!(!plain.contains('\u{1b}'));
        let mut bare = painted.clone();
        for code in ["\u{1b}[32m", "\u{1b}[33m", "\u{1b}[31m", "\u{1b}[0m"] {
            assert!(painted.contains(code));
            bare = bare.replace(code, "");
        }
        assert_eq!(bare, plain);
    }

    #[test]
    fn a_setting_that_differs_becomes_a_column() {
        let mut report = fixture();
        report.trials[1].form = "plain".to_owned();
        let text = render(&report, 80, false);
        let header = text.lines().find(|line| line.starts_with("model")).unwrap();
        assert!(
            header.contains("form") && !header.contains("batch"),
            "{text}"
        );
    }

    #[test]
    fn the_difference_from_fp32_stands_beside_the_speed_of_quantised_rows() {
        let mut report = fixture();
        for (row, error) in report.trials.iter_mut().zip([1e-6, 0.1234]) {
            row.fp32_difference = Some(crate::report::Difference {
                error,
                same_top: 9,
                positions: 16,
            });
        }
        let plain = render(&report, 80, false);
        assert!(!plain.contains("vs fp32"), "{plain}");
        report.trials[1].precision = "int4".to_owned();
        for width in [80, 160] {
            let text = render(&report, width, false);
            let header = text.lines().find(|line| line.starts_with("model"));
            assert!(header.is_some_and(|line| line.contains("decode  vs fp32")));
            let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
            assert!(row("dense-120m").contains(" 0.00 "), "{text}");
            assert!(row("moe-120m").contains(" 12.34 "), "{text}");
        }
    }

    #[test]
    fn a_report_without_rows_is_still_a_report() {
        let mut report = fixture();
        report.trials.clear();
        report.verdict = None;
        assert!(render(&report, 80, false).contains("budget 4.00 GiB"));
    }
}
