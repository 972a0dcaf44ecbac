//! Speed against memory: a point for each row, and the frontier that no row of the same result beats.

use super::super::{human, memory};
use super::axis::{self, Axis};
use super::labels::Labels;
use super::placing::{self, Name, Placed};
use super::table::number_text;
use super::{Shown, methods};
use crate::report::Row;
use maud::{Markup, html};

/// Most points that are drawn: those of the frontier, then the fastest.
const MOST_POINTS: usize = 200;

/// Most names beside points; the frontier's come first.
const MOST_NAMES: usize = 24;

/// A point.
struct Point {
    /// Place of its result on the page.
    result: usize,
    /// What its result is called, where there are several.
    label: String,
    id: String,
    name: String,
    peak: f64,
    speed: f64,
    frontier: bool,
}

/// A drawing's size: one for wide pages, one for phones. The points are the same, and the letters as large.
struct Size {
    class: &'static str,
    width: f64,
    height: f64,
    ticks: usize,
}

const SIZES: [Size; 2] = [
    Size {
        class: "wide",
        width: 920.0,
        height: 430.0,
        ticks: 6,
    },
    Size {
        class: "narrow",
        width: 340.0,
        height: 340.0,
        ticks: 4,
    },
];

/// Room for the axes: left, top, right, bottom.
const ROOM: [f64; 4] = [46.0, 30.0, 14.0, 40.0];

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    let (points, left_out) = points(results);
    html! {
        section #speed {
            h2 { "Speed against memory" }
            p.lead { "Up is faster, left is smaller. Filled points are on the frontier: nothing in the same result is both faster and smaller." }
            (methods::ask(&["decode", "peak", "frontier"]))
            @if points.is_empty() {
                p.empty { "not measured: no trial has both a decode speed and a peak memory" }
            } @else {
                @if results.len() > 1 {
                    ul.legend { @for (place, shown) in results.iter().enumerate() { li { span.swatch.(colour(place)) {} (shown.label) " " (super::page::machine(shown)) ", " (super::page::file_name(shown)) } } }
                }
                figure.scatter data-chart="scatter" {
                    @for size in &SIZES { (drawing(&points, size)) }
                }
                @if left_out > 0 {
                    p.note { "The frontier and the fastest rows are drawn, " (points.len()) " of " (points.len() + left_out) "; the table of trials has them all." }
                }
            }
        }
    }
}

/// The points of all results, and how many are left out.
fn points(results: &[Shown]) -> (Vec<Point>, usize) {
    let mut points: Vec<Point> = Vec::new();
    for (place, shown) in results.iter().enumerate() {
        let labels = Labels::of(&shown.report);
        let label = if results.len() > 1 {
            format!("{} ", shown.label)
        } else {
            String::new()
        };
        let rows = memory::shown(&shown.report.trials);
        let mut found: Vec<Point> = rows
            .iter()
            .filter_map(|row| point(place, &label, row, &labels))
            .collect();
        mark_frontier(&mut found);
        points.extend(found);
    }
    // The frontier first, because it is named first; then by speed.
    points.sort_by(|a, b| {
        b.frontier
            .cmp(&a.frontier)
            .then(b.speed.total_cmp(&a.speed))
    });
    let left_out = points.len().saturating_sub(MOST_POINTS);
    points.truncate(MOST_POINTS);
    (points, left_out)
}

/// A row's point; `None` where it did not end well or lacks one of both.
fn point(result: usize, label: &str, row: &Row, labels: &Labels) -> Option<Point> {
    let speed = row.decode_tok_s.as_ref()?.mean;
    (row.status == "ok" && speed.is_finite()).then_some(())?;
    Some(Point {
        result,
        label: label.to_owned(),
        id: row.id.clone(),
        name: labels.work(row),
        peak: row.memory.peak_bytes? as f64,
        speed,
        frontier: false,
    })
}

/// Marks the points that none of the others beats. Sorted by memory, those are the ones faster than all before them.
fn mark_frontier(points: &mut [Point]) {
    points.sort_by(|a, b| a.peak.total_cmp(&b.peak).then(b.speed.total_cmp(&a.speed)));
    let mut fastest = f64::NEG_INFINITY;
    for point in points {
        point.frontier = point.speed > fastest;
        fastest = fastest.max(point.speed);
    }
}

/// Colour of a result.
pub fn colour(place: usize) -> &'static str {
    ["s1", "s2", "s3", "s4"][place % 4]
}

/// The drawing in one size.
fn drawing(points: &[Point], size: &Size) -> Markup {
    let peaks: Vec<f64> = points.iter().map(|point| point.peak).collect();
    let speeds: Vec<f64> = points.iter().map(|point| point.speed).collect();
    let (across, up) = (Axis::spread(&peaks), Axis::spread(&speeds));
    let [left, top, right, bottom] = ROOM;
    let (inner_width, inner_height) = (size.width - left - right, size.height - top - bottom);
    let x = |peak: f64| left + across.place(peak) * inner_width;
    let y = |speed: f64| top + (1.0 - up.place(speed)) * inner_height;
    let placed = names(points, size, &x, &y);
    let floor = top + inner_height;
    let scale = |axis: Axis| if axis.is_log() { ", logarithmic" } else { "" };
    let (unit, unit_name) = axis::size_unit(peaks.iter().copied().fold(0.0, f64::max));
    html! {
        svg.(size.class) viewBox={ "0 0 " (size.width) " " (size.height) } role="img"
            aria-label={ "Decode speed against peak memory of " (points.len()) " rows" } {
            @for tick in ticks(across, unit, size.ticks) {
                line.grid x1=(px(x(tick))) x2=(px(x(tick))) y1=(top) y2=(floor) {}
                text.tick x=(px(x(tick))) y=(floor + 16.0) text-anchor="middle" { (axis::short(tick / unit)) }
            }
            @for tick in up.ticks(size.ticks) {
                line.grid x1=(left) x2=(size.width - right) y1=(px(y(tick))) y2=(px(y(tick))) {}
                text.tick x=(left - 6.0) y=(px(y(tick) + 4.0)) text-anchor="end" { (axis::short(tick)) }
            }
            text.axis x=(size.width - right) y=(size.height - 5.0) text-anchor="end" { "peak memory, " (unit_name) (scale(across)) }
            text.axis x="0" y="12" { "decode, tok/s" (scale(up)) }
            @for (result, path) in frontiers(points, &x, &y) { path.frontier.(colour(result)) d=(path) {} }
            // The frontier lies on top.
            @for point in points.iter().rev() {
                circle.point.(colour(point.result)).on[point.frontier] cx=(px(x(point.peak))) cy=(px(y(point.speed))) r="5.5"
                    data-row=(point.id) data-peak_bytes=(number_text(point.peak)) data-decode_tok_s_mean=(number_text(point.speed)) {
                    title { (point.label) (point.name) ": " (human::short(point.speed)) " tok/s, " (human::bytes(point.peak as u64)) }
                }
            }
            @for (point, placed) in points.iter().zip(&placed) {
                @if let Some(placed) = placed {
                    text.label.on[point.frontier] x=(px(placed.x)) y=(px(placed.y)) text-anchor=(placed.anchor) { (short_name(&point.name)) }
                }
            }
        }
    }
}

/// Names beside their points, where there is room for them.
fn names(
    points: &[Point],
    size: &Size,
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) -> Vec<Option<Placed>> {
    let places: Vec<[f64; 2]> = points
        .iter()
        .map(|point| [x(point.peak), y(point.speed)])
        .collect();
    let name = |point: &Point| Name {
        letters: short_name(&point.name).chars().count(),
        bold: point.frontier,
    };
    let texts: Vec<Name> = points.iter().take(MOST_NAMES).map(name).collect();
    placing::place(
        &places,
        &texts,
        [ROOM[0], ROOM[1] - 14.0, size.width, size.height - ROOM[3]],
    )
}

/// A name that leaves room for others.
pub fn short_name(name: &str) -> String {
    const MOST: usize = 28;
    match name.chars().count() > MOST {
        true => name.chars().take(MOST - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}

/// Marks of an axis of sizes, round in its unit.
pub fn ticks(across: Axis, unit: f64, most: usize) -> Vec<f64> {
    let in_unit = match across {
        Axis::Linear(end) => Axis::Linear(end / unit),
        Axis::Log(low, high) => Axis::Log(low - unit.log10(), high - unit.log10()),
        Axis::Between(low, high) => Axis::Between(low / unit, high / unit),
    };
    in_unit
        .ticks(most)
        .into_iter()
        .map(|tick| tick * unit)
        .collect()
}

/// For each result the steps of its frontier: as much memory as a point takes buys its speed, until the next one.
fn frontiers(
    points: &[Point],
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) -> Vec<(usize, String)> {
    let last = points.iter().map(|point| point.result).max().unwrap_or(0);
    let one = |result: usize| {
        let mut on: Vec<&Point> = points
            .iter()
            .filter(|point| point.result == result && point.frontier)
            .collect();
        on.sort_by(|a, b| a.peak.total_cmp(&b.peak));
        let first = on.first()?;
        let mut path = format!("M{} {}", px(x(first.peak)), px(y(first.speed)));
        for point in &on[1..] {
            path += &format!("H{}V{}", px(x(point.peak)), px(y(point.speed)));
        }
        let farthest = points.iter().map(|point| point.peak).fold(0.0, f64::max);
        path += &format!("H{}", px(x(farthest)));
        Some((result, path))
    };
    (0..=last).filter_map(one).collect()
}

/// A place with one digit behind the point.
pub fn px(place: f64) -> String {
    format!("{place:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(peak: f64, speed: f64) -> Point {
        Point {
            result: 0,
            label: String::new(),
            id: String::new(),
            name: String::new(),
            peak,
            speed,
            frontier: false,
        }
    }

    #[test]
    fn the_frontier_is_what_nothing_beats() {
        let mut points = vec![
            at(5.0, 50.0),
            at(1.0, 10.0),
            at(2.0, 8.0),
            at(3.0, 30.0),
            at(3.0, 29.0),
            at(9.0, 50.0),
        ];
        mark_frontier(&mut points);
        let on: Vec<f64> = points
            .iter()
            .filter(|point| point.frontier)
            .map(|point| point.peak)
            .collect();
        assert_eq!(on, [1.0, 3.0, 5.0]);
        assert!(
            points
                .iter()
                .all(|point| !(point.frontier && point.speed == 29.0))
        );
    }
}
