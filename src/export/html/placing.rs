//! Where the names of points stand in a drawing: beside their point, over no other name and no point, inside the drawing.

/// A letter is about this wide, in the drawing's units, in the widest of the usual fonts.
const LETTER: f64 = 7.3;

/// A bold one.
const BOLD: f64 = 8.2;

/// A line of letters is this high.
const LINE: f64 = 14.0;

/// Room around a point.
const POINT: f64 = 7.0;

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

/// A name as far as its place depends on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Name {
    /// How long it is.
    pub letters: usize,
    /// Whether it is bold.
    pub bold: bool,
}

/// A name in its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placed {
    /// Where the text begins, is centred or ends, as `anchor` says.
    pub x: f64,
    /// Its base line.
    pub y: f64,
    /// `start`, `middle` or `end`.
    pub anchor: &'static str,
}

/// A place inside `bounds` (left, top, right, bottom) for each name, in their order; `None` where there is none left. `points` are
/// all points, the named ones first.
pub fn place(points: &[[f64; 2]], names: &[Name], bounds: [f64; 4]) -> Vec<Option<Placed>> {
    let mut taken: Vec<Area> = points.iter().map(|point| around(*point)).collect();
    let mut found = Vec::new();
    for (name, point) in names.iter().zip(points) {
        let length = name.letters as f64 * if name.bold { BOLD } else { LETTER };
        let free = candidates(*point).into_iter().find(|placed| {
            let area = area(placed, length);
            let [left, top, right, bottom] = bounds;
            let inside = area[0] >= left && area[1] >= top && area[2] <= right && area[3] <= bottom;
            inside && !taken.iter().any(|other| overlap(&area, other))
        });
        taken.extend(free.map(|placed| area(&placed, length)));
        found.push(free);
    }
    found
}

fn around([x, y]: [f64; 2]) -> Area {
    [x - POINT, y - POINT, x + POINT, y + POINT]
}

fn overlap(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// The area of a name of this length.
fn area(placed: &Placed, length: f64) -> Area {
    let left = match placed.anchor {
        "start" => placed.x,
        "end" => placed.x - length,
        _ => placed.x - length / 2.0,
    };
    [left, placed.y - LINE + 3.0, left + length, placed.y + 3.0]
}

/// Right, left, above and below of the point, then the corners, then farther off.
fn candidates([x, y]: [f64; 2]) -> [Placed; 12] {
    let at = |dx: f64, dy: f64, anchor| Placed {
        x: x + dx,
        y: y + dy,
        anchor,
    };
    [
        at(9.0, 4.0, "start"),
        at(-9.0, 4.0, "end"),
        at(0.0, -10.0, "middle"),
        at(0.0, 19.0, "middle"),
        at(8.0, -8.0, "start"),
        at(8.0, 16.0, "start"),
        at(-8.0, -8.0, "end"),
        at(-8.0, 16.0, "end"),
        at(0.0, -24.0, "middle"),
        at(0.0, 33.0, "middle"),
        at(-6.0, -24.0, "end"),
        at(-6.0, 33.0, "end"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_near_points_stand_apart_and_inside() {
        let points: Vec<[f64; 2]> = (0..6)
            .map(|nth| [170.0 + f64::from(nth), 100.0 + 3.0 * f64::from(nth)])
            .collect();
        let names = [Name {
            letters: 7,
            bold: false,
        }; 6];
        let placed = place(&points, &names, [0.0, 0.0, 340.0, 200.0]);
        let areas: Vec<Area> = placed
            .iter()
            .flatten()
            .map(|one| area(one, 7.0 * LETTER))
            .collect();
        assert!(areas.len() >= 4, "{placed:?}");
        for (nth, area) in areas.iter().enumerate() {
            assert!(area[0] >= 0.0 && area[2] <= 340.0);
            assert!(areas[nth + 1..].iter().all(|other| !overlap(area, other)));
        }
    }

    #[test]
    fn a_point_at_the_right_edge_is_named_on_its_left() {
        let placed = place(
            &[[335.0, 50.0]],
            &[Name {
                letters: 7,
                bold: true,
            }],
            [0.0, 0.0, 340.0, 100.0],
        );
        assert_eq!(placed[0].unwrap().anchor, "end");
    }
}
