//! Speed over the memory budget: a line for each model that ran in several budgets, in one result or in several.

use super::super::human;
use super::Shown;
use super::axis::{self, Axis};
use super::labels::Labels;
use super::lines::{self, COLOURS, Dot, Frame, Line, Size};
use crate::report::{Row, is_same_work};
use maud::{Markup, html};

const SIZES: [Size; 2] = [
    Size {
        class: "wide",
        width: 920.0,
        height: 400.0,
        ticks: 6,
    },
    Size {
        class: "narrow",
        width: 340.0,
        height: 320.0,
        ticks: 4,
    },
];

/// A model is a mixture when less than this share of its parameters takes part for one token.
const MOE_SHARE: f64 = 0.95;

/// The rows of one work, and what it is called.
struct Work<'a> {
    name: String,
    rows: Vec<&'a Row>,
}

/// The chart with its legend and what it shows in words; `None` where nothing ran in several budgets.
pub fn part(results: &[Shown]) -> Option<Markup> {
    let works = works(results);
    let drawn = &works[..works.len().min(COLOURS)];
    let lines: Vec<Line> = drawn
        .iter()
        .enumerate()
        .map(|(nth, work)| line(nth, work))
        .collect();
    if lines.is_empty() {
        return None;
    }
    let dots = || lines.iter().flat_map(|line| &line.dots);
    let largest = dots().map(|dot| dot.x).fold(0.0, f64::max);
    let (unit, unit_name) = axis::size_unit(largest);
    let frame = Frame {
        across: Axis::linear(dots().map(|dot| dot.x)),
        up: Axis::spread(&dots().map(|dot| dot.y).collect::<Vec<f64>>()),
        across_title: format!("memory budget, {unit_name}"),
        up_title: "decode, tok/s".to_owned(),
        unit,
        key: "decode_tok_s_mean",
    };
    let passings = passings(drawn);
    Some(html! {
        h3 { "Speed over the memory budget" }
        (lines::legend(&lines))
        p.note { "Dense models have a whole line, mixtures of experts a dashed one. A budget without a point is one in which the model did not run; its reason stands among the rows that did not end ok." }
        figure.lines data-chart="budgets" { @for size in &SIZES { (frame.drawing("Decode speed over the memory budget", &lines, size)) } }
        @for words in &passings { p.verdict { (words) } }
        @if works.len() > drawn.len() { p.note { "The first " (drawn.len()) " of " (works.len()) " models and settings are drawn." } }
    })
}

/// The works of these results that ran in several budgets, each with its rows by budget.
fn works(results: &[Shown]) -> Vec<Work<'_>> {
    let mut works: Vec<Work> = Vec::new();
    for shown in results {
        let labels = Labels::of(&shown.report);
        let mut own: Vec<Work> = Vec::new();
        let ran = |row: &&Row| row.status == "ok" && row.decode_tok_s.is_some();
        for row in shown.report.trials.iter().filter(ran) {
            match own.iter_mut().find(|work| is_same_work(work.rows[0], row)) {
                Some(work) => work.rows.push(row),
                None => own.push(Work {
                    name: match results.len() {
                        1 => labels.work(row),
                        _ => format!("{} {}", shown.label, labels.work(row)),
                    },
                    rows: vec![row],
                }),
            }
        }
        for work in &mut own {
            work.rows.sort_by_key(|row| row.memory.budget_bytes);
            work.rows.dedup_by_key(|row| row.memory.budget_bytes);
        }
        works.extend(own.into_iter().filter(|work| work.rows.len() > 1));
    }
    let precision = |work: &Work| work.rows[0].precision.clone();
    if works
        .windows(2)
        .any(|two| precision(&two[0]) != precision(&two[1]))
    {
        for work in &mut works {
            let precision = precision(work);
            // A result with one precision does not name it.
            if !work.name.split(", ").any(|word| word == precision) {
                work.name = human::one_line(&format!("{}, {precision}", work.name));
            }
        }
    }
    works
}

fn speed(row: &Row) -> f64 {
    row.decode_tok_s.as_ref().map_or(0.0, |metric| metric.mean)
}

fn line(colour: usize, work: &Work) -> Line {
    let dot = |row: &&Row| {
        let budget = row.memory.budget_bytes;
        let link = row.offload.as_ref().and_then(|offload| {
            let share = offload
                .step_link_share
                .filter(|_| offload.mapped_bytes > 0)?;
            Some(format!(", the link takes {:.0} % of a step", share * 100.0))
        });
        let place = match (&row.offload, link) {
            (_, Some(link)) => link,
            (Some(offload), None) if offload.mapped_bytes == 0 => {
                ", all weights on the GPU".to_owned()
            }
            _ => String::new(),
        };
        Dot {
            x: budget as f64,
            y: speed(row),
            band: None,
            title: format!(
                "{} in {}: {} tok/s{place}",
                work.name,
                human::bytes(budget),
                human::short(speed(row))
            ),
            row: row.id.clone(),
        }
    };
    let params = &work.rows[0].params;
    Line {
        name: work.name.clone(),
        colour,
        dashed: params
            .active
            .is_some_and(|active| (active as f64) < params.total as f64 * MOE_SHARE),
        dots: work.rows.iter().map(dot).collect(),
    }
}

/// Between which budgets one of two passes the other, in words: at budgets in which both ran, and only what was measured there.
fn passings(works: &[Work]) -> Vec<String> {
    let mut told = Vec::new();
    for (nth, a) in works.iter().enumerate() {
        for b in &works[nth + 1..] {
            let at = |budget: u64| {
                let other = b
                    .rows
                    .iter()
                    .find(|row| row.memory.budget_bytes == budget)?;
                Some(speed(other))
            };
            let both: Vec<(u64, bool)> = a
                .rows
                .iter()
                .filter_map(|row| {
                    let budget = row.memory.budget_bytes;
                    Some((budget, speed(row) > at(budget)?))
                })
                .collect();
            for pair in both.windows(2).filter(|pair| pair[0].1 != pair[1].1) {
                let (below, above) = if pair[0].1 { (a, b) } else { (b, a) };
                told.push(format!(
                    "{} is faster in {}, {} in {}.",
                    below.name,
                    human::bytes(pair[0].0),
                    above.name,
                    human::bytes(pair[1].0)
                ));
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn where_one_passes_the_other_is_told_between_two_budgets() {
        let row = |budget: u64, speed: f64| {
            let mut row = fixture().trials.remove(0);
            row.memory.budget_bytes = budget << 30;
            row.decode_tok_s.as_mut().unwrap().mean = speed;
            row
        };
        let (slow, fast) = (
            [row(1, 20.0), row(2, 30.0), row(4, 700.0)],
            [row(1, 70.0), row(3, 90.0), row(4, 600.0)],
        );
        let work = |name: &str, rows: &'static [Row]| Work {
            name: name.to_owned(),
            rows: rows.iter().collect(),
        };
        let leak = |rows: [Row; 3]| -> &'static [Row] { Box::leak(Box::new(rows)) };
        let works = [work("dense", leak(slow)), work("moe", leak(fast))];
        assert_eq!(
            passings(&works),
            ["moe is faster in 1.00 GiB, dense in 4.00 GiB."]
        );
        assert!(passings(&works[..1]).is_empty());
    }
}
