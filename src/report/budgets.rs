//! What each memory budget of a run buys: which models ran inside it, the largest of them, the fastest. Pure.

use super::row::variant;
use super::schema::Row;
use std::collections::BTreeSet;

/// One budget with what ran inside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step<'a> {
    /// The budget.
    pub budget_bytes: u64,
    /// Models with a trial that ran inside it.
    pub fitting: usize,
    /// Models with a trial.
    pub models: usize,
    /// The row of the largest model that ran inside it, by parameters; the fastest of equals.
    pub largest: Option<&'a Row>,
    /// The row with the highest decode speed inside it.
    pub fastest: Option<&'a Row>,
}

/// The budgets of these rows in ascending order, each once.
pub fn of(rows: &[Row]) -> Vec<u64> {
    let budgets: BTreeSet<u64> = rows.iter().map(|row| row.memory.budget_bytes).collect();
    budgets.into_iter().collect()
}

/// Whether two rows are the same work, in whatever budget.
pub fn is_same_work(a: &Row, b: &Row) -> bool {
    let named = |row: &Row| (row.model.clone(), variant(row), row.device.clone());
    let work = |row: &Row| (row.batch, row.prompt_tokens, row.gen_tokens);
    work(a) == work(b) && named(a) == named(b)
}

/// Whether a row ran inside its budget, as far as its memory was read.
pub fn is_inside(row: &Row) -> bool {
    let peak = row.memory.peak_bytes;
    row.status == "ok" && peak.is_some_and(|peak| peak <= row.memory.budget_bytes)
}

/// One step for each budget, in ascending order.
pub fn steps(rows: &[Row]) -> Vec<Step<'_>> {
    let step = |budget: u64| {
        let tried = || {
            rows.iter()
                .filter(move |row| row.memory.budget_bytes == budget)
        };
        let inside = || tried().filter(|row| is_inside(row));
        let by_speed = |a: &&Row, b: &&Row| speed(a).total_cmp(&speed(b));
        Step {
            budget_bytes: budget,
            fitting: inside()
                .map(|row| &row.model)
                .collect::<BTreeSet<_>>()
                .len(),
            models: tried().map(|row| &row.model).collect::<BTreeSet<_>>().len(),
            largest: inside().max_by(|a, b| {
                let sizes = a.params.total.cmp(&b.params.total);
                sizes.then_with(|| by_speed(a, b))
            }),
            fastest: inside()
                .filter(|row| row.decode_tok_s.is_some())
                .max_by(by_speed),
        }
    };
    of(rows).into_iter().map(step).collect()
}

/// Mean decode speed, to order rows by; one without stands behind all others.
fn speed(row: &Row) -> f64 {
    let metric = row.decode_tok_s.as_ref();
    metric.map_or(f64::NEG_INFINITY, |metric| metric.mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn each_budget_has_its_own_largest_and_fastest() {
        let mut report = fixture();
        let (mut small, mut other) = (report.trials[0].clone(), report.trials[1].clone());
        for row in [&mut small, &mut other] {
            row.memory.budget_bytes = 600 << 20;
        }
        // It ran, but with more than it was to have.
        other.memory.peak_bytes = Some(601 << 20);
        report.trials.extend([other, small]);
        let steps = steps(&report.trials);
        let told: Vec<_> = steps
            .iter()
            .map(|step| {
                let name = |row: Option<&Row>| row.map(|row| row.model.clone()).unwrap();
                (
                    step.budget_bytes >> 20,
                    (step.fitting, step.models),
                    name(step.largest),
                    name(step.fastest),
                )
            })
            .collect();
        let named = |name: &str| name.to_owned();
        assert_eq!(
            told,
            [
                (600, (1, 2), named("dense-120m"), named("dense-120m")),
                (
                    4096,
                    (2, 4),
                    named("moe-120m-total"),
                    named("moe-120m-total")
                ),
            ]
        );
    }

    #[test]
    fn where_nothing_ran_there_is_no_largest_and_no_fastest() {
        let mut report = fixture();
        for row in &mut report.trials {
            row.status = "pending".to_owned();
        }
        let steps = steps(&report.trials);
        assert_eq!((steps[0].fitting, steps[0].models), (0, 4));
        assert_eq!((steps[0].largest, steps[0].fastest), (None, None));
        assert!(super::steps(&[]).is_empty());
    }
}
