//! Line charts: a few lines over a common scale, each with its points and, where there is one, the band around them.

use super::axis::{self, Axis};
use super::scatter::px;
use super::table::number_text;
use maud::{Markup, html};

/// Colours there are: so many lines are told apart in one chart.
pub const COLOURS: usize = 8;

/// A point of a line.
pub struct Dot {
    /// Where it stands across.
    pub x: f64,
    /// Its value.
    pub y: f64,
    /// The band around it.
    pub band: Option<[f64; 2]>,
    /// What it is, in words.
    pub title: String,
    /// Its trial.
    pub row: String,
}

/// A line.
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Which colour it has.
    pub colour: usize,
    /// Whether it is dashed.
    pub dashed: bool,
    /// Its points, from left to right.
    pub dots: Vec<Dot>,
}

/// A drawing's size.
pub struct Size {
    /// When it is shown.
    pub class: &'static str,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// Marks on a scale, at most.
    pub ticks: usize,
}

/// What the lines stand on.
pub struct Frame {
    /// The scale across.
    pub across: Axis,
    /// The scale upwards.
    pub up: Axis,
    /// What is counted across.
    pub across_title: String,
    /// What is counted upwards.
    pub up_title: String,
    /// Marks across and what one of them counts in.
    pub unit: f64,
    /// The name of the value in data.
    pub key: &'static str,
}

/// Room for the axes: left, top, right, bottom.
const ROOM: [f64; 4] = [44.0, 26.0, 14.0, 38.0];

impl Frame {
    /// The drawing in one size; `label` is for those who do not see it.
    pub fn drawing(&self, label: &str, lines: &[Line], size: &Size) -> Markup {
        let [left, top, right, bottom] = ROOM;
        let (inner_width, inner_height) = (size.width - left - right, size.height - top - bottom);
        let x = |value: f64| left + self.across.place(value) * inner_width;
        let y = |value: f64| top + (1.0 - self.up.place(value)) * inner_height;
        let floor = top + inner_height;
        html! {
            svg.(size.class) viewBox={ "0 0 " (size.width) " " (size.height) } role="img" aria-label=(label) {
                @for tick in super::scatter::ticks(self.across, self.unit, size.ticks) {
                    line.grid x1=(px(x(tick))) x2=(px(x(tick))) y1=(top) y2=(floor) {}
                    text.tick x=(px(x(tick))) y=(floor + 15.0) text-anchor="middle" { (axis::short(tick / self.unit)) }
                }
                @for tick in self.up.ticks(size.ticks) {
                    line.grid x1=(left) x2=(size.width - right) y1=(px(y(tick))) y2=(px(y(tick))) {}
                    text.tick x=(left - 6.0) y=(px(y(tick) + 4.0)) text-anchor="end" { (axis::short(tick)) }
                }
                text.axis x=(size.width - right) y=(size.height - 5.0) text-anchor="end" { (self.across_title) }
                text.axis x="0" y="11" { (self.up_title) @if self.up.is_log() { ", logarithmic" } }
                @for line in lines { (one(line, self.key, &x, &y)) }
            }
        }
    }
}

/// One line with its band and points.
fn one(line: &Line, key: &str, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> Markup {
    let colour = class(line.colour);
    let places = |read: &dyn Fn(&Dot) -> f64| -> Vec<String> {
        let dots = line.dots.iter();
        dots.map(|dot| format!("{} {}", px(x(dot.x)), px(y(read(dot)))))
            .collect()
    };
    let band = line.dots.iter().all(|dot| dot.band.is_some()) && line.dots.len() > 1;
    let edge = |nth: usize| places(&|dot: &Dot| dot.band.map_or(dot.y, |band| band[nth]));
    let around = || {
        let mut around = edge(1);
        around.extend(edge(0).into_iter().rev());
        format!("M{}Z", around.join("L"))
    };
    html! {
        g.(colour) {
            @if band { path.band d=(around()) {} }
            @if line.dots.len() > 1 { path.line.dashed[line.dashed] d={ "M" (places(&|dot| dot.y).join("L")) } {} }
            @for dot in &line.dots {
                circle.at.hollow[line.dashed] cx=(px(x(dot.x))) cy=(px(y(dot.y))) r=(if line.dots.len() > 12 { 2.5 } else { 4.5 })
                    data-row=(dot.row) data-key=(key) data-at=(number_text(dot.x)) data-value=(number_text(dot.y)) {
                    title { (dot.title) }
                }
            }
        }
    }
}

/// The colour of a line.
pub fn class(colour: usize) -> &'static str {
    ["l1", "l2", "l3", "l4", "l5", "l6", "l7", "l8"][colour % COLOURS]
}

/// What the lines are called.
pub fn legend(lines: &[Line]) -> Markup {
    html! {
        ul.legend {
            @for line in lines {
                li {
                    svg.key width="26" height="10" aria-hidden="true" {
                        g.(class(line.colour)) { path.line.dashed[line.dashed] d="M0 5H26" {} circle.at.hollow[line.dashed] cx="13" cy="5" r="3.5" {} }
                    }
                    (line.name)
                }
            }
        }
    }
}
