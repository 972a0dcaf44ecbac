//! What each step from standard operators to all that the runtime offers buys (`--ablate`). Pure.

use super::schema::Row;

/// One step of a model's ladder.
#[derive(Debug, Clone, PartialEq)]
pub struct Rung<'a> {
    /// Its row.
    pub row: &'a Row,
    /// What it adds to the one before.
    pub adds: &'static str,
    /// Its decode speed over that of the last step before that has one.
    pub over_previous: Option<f64>,
    /// Its decode speed over the first step's.
    pub over_first: Option<f64>,
}

/// What a step of a ladder does without that others have; `None` for the last step, which is a row like any other. The ends of ids
/// tell.
pub fn step(row: &Row) -> Option<&'static str> {
    place(row).map(|place| STEPS[place].1)
}

/// Of each step between the plain form and the last: the end of its ids, what it does without, and what it adds to the one before.
const STEPS: [(&str, &str, &str); 3] = [
    ("/kv-copied", "KV cache copied", "fused operators"),
    ("/no-graph", "no CUDA graph", "KV cache in place"),
    ("/untuned", "untuned", "CUDA graph"),
];

/// Which of the [`STEPS`] a row is.
fn place(row: &Row) -> Option<usize> {
    STEPS.iter().position(|(end, ..)| row.id.contains(end))
}

/// What the trial of this id adds, in the order of the ladder: the end of an id tells, and where there is nothing the row is the last
/// step of its device.
fn adds(row: &Row) -> (usize, &'static str) {
    match place(row) {
        _ if row.form == "plain" => (0, "plain"),
        Some(place) => (place + 1, STEPS[place].2),
        None if row.device == "cpu" => (STEPS.len() + 1, "KV cache in place"),
        None if keeps_none(row) => (STEPS.len() + 1, "tuned settings (none kept)"),
        None => (STEPS.len() + 1, "tuned settings"),
    }
}

/// Whether a row was measured without any tuning.
fn keeps_none(row: &Row) -> bool {
    row.tuning
        .as_ref()
        .is_some_and(|tuning| tuning.kept.is_empty())
}

/// The ladders of a report, step by step; empty where nobody asked for one.
pub fn rungs(rows: &[Row]) -> Vec<Rung<'_>> {
    let mut found = Vec::new();
    // Each ladder has one such row.
    for mark in rows.iter().filter(|row| place(row) == Some(0)) {
        let mut steps: Vec<_> = rows
            .iter()
            .filter(|row| is_same(row, mark))
            .map(|row| (adds(row), row))
            .collect();
        steps.sort_by_key(|((order, _), _)| *order);
        let mut speeds: Vec<f64> = Vec::new();
        for ((_, adds), row) in steps {
            let speed = row.decode_tok_s.as_ref().map(|metric| metric.mean);
            let over = |base: Option<&f64>| Some(speed? / base?);
            found.push(Rung {
                row,
                adds,
                over_previous: over(speeds.last()),
                over_first: over(speeds.first()),
            });
            speeds.extend(speed);
        }
    }
    found
}

/// Whether two rows are steps of the same ladder.
fn is_same(a: &Row, b: &Row) -> bool {
    let of = |row: &Row| {
        let kind = (row.precision.clone(), row.kv_cache_type.clone());
        let work = (row.batch, row.prompt_tokens, row.gen_tokens);
        (
            row.model.clone(),
            kind,
            work,
            row.device.clone(),
            row.memory.budget_bytes,
        )
    };
    of(a) == of(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn step(id: &str, form: &str, speed: Option<f64>) -> Row {
        let mut row = fixture().trials.remove(0);
        row.id = format!("m/{form}/fp16/b1/pp8/tg8{id}");
        (row.form, row.device) = (form.into(), "cuda:0".into());
        match (&mut row.decode_tok_s, speed) {
            (Some(metric), Some(speed)) => metric.mean = speed,
            (metric, _) => *metric = None,
        }
        row
    }

    #[test]
    fn each_step_is_held_to_the_one_before_and_to_the_first() {
        let rows = [
            step("", "fused", Some(80.0)),
            step("", "plain", Some(10.0)),
            step("/untuned", "fused", Some(60.0)),
            step("/kv-copied", "fused", None),
            step("/no-graph", "fused", Some(30.0)),
        ];
        let rungs = rungs(&rows);
        let told: Vec<_> = rungs
            .iter()
            .map(|rung| (rung.adds, rung.over_previous, rung.over_first))
            .collect();
        assert_eq!(
            told,
            [
                ("plain", None, None),
                ("fused operators", None, None),
                ("KV cache in place", Some(3.0), Some(3.0)),
                ("CUDA graph", Some(2.0), Some(6.0)),
                ("tuned settings", Some(80.0 / 60.0), Some(8.0)),
            ]
        );
    }

    #[test]
    fn without_a_ladder_there_are_no_rungs() {
        assert!(rungs(&fixture().trials).is_empty());
    }
}
