//! A Markdown table with `mean ± sd`, the remarks as a list and the verdict.

use super::ceilings;
use super::columns::{COLUMNS, Column, Place};
use super::human::{self, Cells, Detail};
use super::table::Prepared;
use super::{curve, ladder, limits, memory, notes, offload, repeat, study, tuning};
use crate::report::{Report, budgets};

/// The report as Markdown.
pub fn render(report: &Report) -> String {
    let mut blocks: Vec<String> = notes::caption(report)
        .iter()
        .map(|line| escape(line))
        .collect();
    blocks.extend(tables(report));
    blocks.extend(curve::columns(report).map(|columns| grid(Some(curve::TITLE), &columns)));
    blocks.push(grid(Some(curve::SPEEDS), &curve::speeds(report)));
    blocks.push(list(&curve::remarks(report)));
    blocks.extend(ladder::columns(report).map(|columns| grid(Some(ladder::TITLE), &columns)));
    blocks.push(grid(Some(memory::title(report)), &memory::columns(report)));
    blocks.push(grid(Some(limits::TITLE), &limits::columns(report)));
    blocks.push(grid(Some(offload::TITLE), &offload::columns(report)));
    blocks.push(grid(Some(offload::ELSEWHERE), &offload::elsewhere(report)));
    blocks.push(grid(None, &ceilings::columns(&report.ceilings)));
    blocks.extend(study::markdown(report));
    blocks.push(grid(Some(repeat::TITLE), &repeat::columns(report)));
    blocks.push(list(&repeat::conditions(report)));
    let tunings = tuning::lines(report);
    if !tunings.is_empty() {
        blocks.push(format!("### {}\n\n{}", tuning::TITLE, list(&tunings)));
    }
    blocks.push(list(&notes::remarks(report)));
    blocks.extend(
        report
            .verdict
            .as_ref()
            .map(|verdict| escape(&notes::paragraphs(verdict).join("\n\n"))),
    );
    blocks.retain(|block| !block.is_empty());
    blocks.join("\n\n") + "\n"
}

/// Texts as a list.
fn list(texts: &[String]) -> String {
    let items = texts.iter().map(|text| format!("- {}", escape(text)));
    items.collect::<Vec<String>>().join("\n")
}

/// The one table, or where there are several budgets one for each with a heading.
fn tables(report: &Report) -> Vec<String> {
    let budgets = budgets(&report.trials);
    let one = |budget: &u64| {
        let rows = report.trials.iter().enumerate();
        let of_budget = rows.filter(|(_, row)| row.memory.budget_bytes == *budget);
        let places: Vec<usize> = of_budget.map(|(place, _)| place).collect();
        let table = table(report, &places);
        match budgets.len() {
            1 => table,
            _ => format!("### {}\n\n{table}", notes::budget_title(*budget)),
        }
    };
    budgets.iter().map(one).collect()
}

/// A table of some rows, in the columns that suit all.
fn table(report: &Report, places: &[usize]) -> String {
    let rows = &report.trials;
    let shown = |column: &&Column| notes::is_shown(column, rows);
    let columns: Vec<(&Column, Cells)> = COLUMNS
        .iter()
        .filter(shown)
        .map(|column| {
            let values: Vec<_> = rows.iter().map(column.get).collect();
            (
                column,
                human::cells(column.unit, &values, Detail::Spread, notes::currency(rows)),
            )
        })
        // As in the table for a terminal: a column with nothing in it is left out.
        .filter(|(column, cells)| {
            let empty = || cells.texts.iter().all(|text| text == human::MISSING);
            matches!(column.place, Place::Shown(0)) || !empty()
        })
        .collect();
    let title = |(column, cells): &(&Column, Cells)| match cells.unit.as_str() {
        "" => column.title.to_owned(),
        unit => format!("{} {unit}", column.title),
    };
    let side =
        |(_, cells): &(&Column, Cells)| if cells.numeric { "---:" } else { "---" }.to_owned();
    let mut lines = vec![
        line(columns.iter().map(title)),
        line(columns.iter().map(side)),
    ];
    for row in places {
        lines.push(line(
            columns.iter().map(|(_, cells)| cells.texts[*row].clone()),
        ));
    }
    lines.join("\n")
}

/// A table of prepared columns, under its heading where it has one; empty where there are none.
pub fn grid(heading: Option<&str>, columns: &[Prepared]) -> String {
    let Some(first) = columns.first() else {
        return String::new();
    };
    let title = |column: &Prepared| format!("{} {}", column.title, column.cells.unit);
    let side = |column: &Prepared| if column.cells.numeric { "---:" } else { "---" }.to_owned();
    let titles = columns.iter().map(title);
    let mut lines: Vec<String> = heading
        .map(|heading| format!("### {heading}\n"))
        .into_iter()
        .collect();
    lines.push(line(titles.map(|title| title.trim().to_owned())));
    lines.push(line(columns.iter().map(side)));
    for row in 0..first.cells.texts.len() {
        lines.push(line(
            columns.iter().map(|column| column.cells.texts[row].clone()),
        ));
    }
    lines.join("\n")
}

/// One line of the table.
pub fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.map(|cell| escape(&cell)).collect();
    format!("| {} |", cells.join(" | "))
}

/// Text that Markdown shows as it is: no pipe ends a cell, no bracket opens a tag.
pub fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('`', "\\`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_pipe_in_a_name_ends_no_cell() {
        let mut report = fixture();
        report.trials[0].model = "a|b\n<i>".to_owned();
        let text = render(&report);
        assert!(text.contains("| a\\|b &lt;i> |"), "{text}");
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let counts: Vec<usize> = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(bars)
            .collect();
        // Four rows, and the memory of the two that ran.
        let equal = |lines: &[usize]| lines.windows(2).all(|pair| pair[0] == pair[1]);
        assert!(
            counts.len() == 10 && equal(&counts[..6]) && equal(&counts[6..]),
            "{counts:?}"
        );
    }
}
