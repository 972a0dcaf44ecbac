//! Rows of bars: a name, a drawing as wide as there is room, a figure in words. Places are shares of the width, so that letters keep
//! their size on a phone.

use super::axis::Axis;
use maud::{Markup, html};

/// Height of a row's drawing.
pub const HEIGHT: u32 = 26;

/// Marks on the axis that still stand apart on a phone.
pub const TICKS: usize = 4;

/// A line through all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where.
    pub value: f64,
    /// What it is.
    pub label: String,
}

/// What all rows of a chart share.
pub struct Frame {
    /// The scale.
    pub axis: Axis,
    /// Round values with their texts.
    pub ticks: Vec<(f64, String)>,
    /// Lines through all rows.
    pub marks: Vec<Mark>,
    /// What the axis counts: told behind the last of the round values.
    pub title: &'static str,
}

impl Frame {
    /// A scale with about `count` round values, each called by `name`, and no lines through all rows.
    pub fn new(
        axis: Axis,
        count: usize,
        title: &'static str,
        name: impl Fn(f64) -> String,
    ) -> Frame {
        let ticks = axis.ticks(count).into_iter();
        Frame {
            axis,
            ticks: ticks.map(|tick| (tick, name(tick))).collect(),
            marks: Vec::new(),
            title,
        }
    }
}

/// One row.
pub struct Bar {
    /// Its trial.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What is drawn, or the words in its place.
    pub drawing: Result<Markup, String>,
    /// The figure in words.
    pub figure: String,
    /// What stands small below it.
    pub note: String,
}

/// A share as SVG has it.
pub fn percent(share: f64) -> String {
    format!("{:.3}%", share * 100.0)
}

impl Frame {
    /// Where a value stands.
    pub fn at(&self, value: f64) -> String {
        percent(self.axis.place(value))
    }

    /// How long a value is that begins at another.
    pub fn span(&self, from: f64, to: f64) -> String {
        percent((self.axis.place(to) - self.axis.place(from)).max(0.0))
    }

    /// The chart; `name` is its own among all charts, `label` what it shows to those who do not see it.
    pub fn chart(&self, name: &str, label: &str, bars: &[Bar]) -> Markup {
        html! {
            figure.bars data-chart=(name) aria-label=(label) {
                @if !self.marks.is_empty() { (self.marked()) }
                @for bar in bars { (self.row(bar)) }
                (self.scale())
            }
        }
    }

    /// One row.
    fn row(&self, bar: &Bar) -> Markup {
        let height = HEIGHT.to_string();
        html! {
            div.row data-row=(bar.id) {
                div.name { (bar.name) }
                @match &bar.drawing {
                    Ok(drawing) => {
                        svg.bar width="100%" height=(height) role="img" aria-label={ (bar.name) ": " (bar.figure) } {
                            @for (tick, _) in &self.ticks {
                                line.grid x1=(self.at(*tick)) x2=(self.at(*tick)) y1="0" y2=(height) {}
                            }
                            (drawing)
                            @for mark in &self.marks {
                                line.mark x1=(self.at(mark.value)) x2=(self.at(mark.value)) y1="0" y2=(height) {}
                            }
                        }
                    }
                    Err(words) => div.none title=(words) { (words) },
                }
                div.figure { span { (bar.figure) } @if !bar.note.is_empty() { " " small { (bar.note) } } }
            }
        }
    }

    /// Names of the lines, above the rows. One too near to its neighbour is told in words only.
    fn marked(&self) -> Markup {
        const APART: f64 = 0.2;
        let mut named: Vec<&Mark> = Vec::new();
        for mark in &self.marks {
            let place = self.axis.place(mark.value);
            if named
                .last()
                .is_none_or(|last| place - self.axis.place(last.value) >= APART)
            {
                named.push(mark);
            }
        }
        html! {
            div.row.scale {
                div.name {}
                svg.bar width="100%" height="18" aria-hidden="true" {
                    @for mark in named {
                        text.marked x=(self.at(mark.value)) y="12" text-anchor=(anchor(self.axis.place(mark.value))) { (mark.label) }
                    }
                }
                div.figure {}
            }
        }
    }

    /// The axis below the rows.
    fn scale(&self) -> Markup {
        html! {
            div.row.scale {
                div.name {}
                svg.bar width="100%" height="18" aria-hidden="true" {
                    @for (nth, (tick, text)) in self.ticks.iter().enumerate() {
                        text.tick x=(self.at(*tick)) y="13" text-anchor=(anchor(self.axis.place(*tick))) { (text) @if nth + 1 == self.ticks.len() && !self.title.is_empty() { " " (self.title) } }
                    }
                }
                div.figure {}
            }
        }
    }
}

/// Texts at the edges stay inside.
pub fn anchor(place: f64) -> &'static str {
    match place {
        place if place < 0.07 => "start",
        place if place > 0.9 => "end",
        _ => "middle",
    }
}
