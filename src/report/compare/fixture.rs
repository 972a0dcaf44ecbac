//! Two results that differ in every way a comparison tells apart, for the tests of this room and of the exporters.

use super::{Comparison, Run, compare};
use crate::report::schema::{Metric, Report, Row};
use crate::report::{Ceiling, fixture, to_json};

/// A metric with everything in it times `factor`.
fn scaled(metric: &mut Option<Metric>, factor: f64) {
    let Some(metric) = metric else { return };
    metric.median *= factor;
    metric.mean *= factor;
    metric.sd = metric.sd.map(|sd| sd * factor);
    metric.ci95 = metric.ci95.map(|ends| ends.map(|end| end * factor));
    let samples = metric.samples.iter_mut().flatten();
    samples.for_each(|sample| *sample *= factor);
    if let Some(quantiles) = &mut metric.quantiles {
        quantiles.p50 *= factor;
        quantiles.p90 = quantiles.p90.map(|p90| p90 * factor);
    }
}

/// Makes a row as if the machine were `factor` times as fast.
pub fn faster(row: &mut Row, factor: f64) {
    scaled(&mut row.prefill_tok_s, factor);
    scaled(&mut row.decode_tok_s, factor);
    scaled(&mut row.ttft_ms, 1.0 / factor);
    scaled(&mut row.itl_ms, 1.0 / factor);
    if let Some(cost) = &mut row.cost {
        cost.per_million_tokens /= factor;
    }
}

/// The report as a run, through its JSON as a file would be.
pub fn run(file: &str, report: &Report) -> Run {
    Run::read(file, &to_json(report).unwrap()).unwrap()
}

/// Compares each run with the first.
pub fn with_first(
    mut runs: Vec<Run>,
    renames: &[super::Rename],
    conditions: &[super::Condition],
) -> crate::error::Result<Comparison> {
    let others = runs.split_off(1);
    compare(runs, others, renames, conditions)
}

/// Compares reports as files `a.json`, `b.json` and so on.
pub fn compared(reports: &[&Report], conditions: &[super::Condition]) -> Comparison {
    let names = ["a.json", "b.json", "c.json"];
    let runs = names
        .iter()
        .zip(reports)
        .map(|(name, report)| run(name, report));
    with_first(runs.collect(), &[], conditions).unwrap()
}

/// Another machine: the first row twice as fast with a larger peak, the second in another precision, the third ran and
/// the fourth is gone; one is new.
pub fn other() -> Report {
    let mut report = fixture();
    report.environment.runtime_version = Some("1.20.1".to_owned());
    report.environment.cpu_info = Some("Faster CPU | <b>".to_owned());
    report.environment.memory_total_bytes = Some(16 << 30);
    let mut rows = report.trials.drain(..);
    let (mut first, mut second, third) = (
        rows.next().unwrap(),
        rows.next().unwrap(),
        rows.next().unwrap(),
    );
    drop(rows);
    faster(&mut first, 2.0);
    first.memory.peak_bytes = first.memory.peak_bytes.map(|peak| peak + (60 << 20));
    first.memory.unaccounted_bytes = first.memory.unaccounted_bytes.map(|rest| rest + (60 << 20));
    second.precision = "fp16".to_owned();
    second.id = second.id.replace("fp32", "fp16");
    let mut extra = second.clone();
    extra.model = "moe-295m-a120m".to_owned();
    extra.id = extra.id.replace("moe-120m-total", &extra.model);
    report.trials = vec![first, second, third, extra];
    report
}

/// The report with a ceiling of its first row's model.
pub fn with_ceiling(mut report: Report, kind: &str, fits: u32, limited_by: &str) -> Report {
    let row = &report.trials[0];
    let batch = kind == "batch";
    let ceiling = Ceiling {
        kind: kind.to_owned(),
        model: Some(row.model.clone()),
        form: row.form.clone(),
        precision: Some(row.precision.clone()),
        device: row.device.clone(),
        budget_bytes: report.budget_bytes,
        prompt_tokens: batch.then_some(256),
        gen_tokens: Some(if batch { 128 } else { 16 }),
        status: "measured".to_owned(),
        reason: Some(format!("{limited_by} is why")),
        fits: Some(fits),
        limited_by: Some(limited_by.to_owned()),
        ..Ceiling::default()
    };
    report.ceilings.push(ceiling);
    report
}

/// The fixture's report against itself and against [`other`], both with ceilings, with a condition that fails.
pub fn example() -> Comparison {
    let condition = super::Condition {
        quantity: super::Quantity::PeakBytes,
        operator: super::Operator::Above,
        limit: 1.05,
    };
    let ours = with_ceiling(fixture(), "context", 1024, "memory");
    let ours = with_ceiling(ours, "batch", 8, "memory");
    let theirs = with_ceiling(other(), "context", 1536, "positions");
    let mut theirs = with_ceiling(theirs, "batch", 12, "memory");
    theirs.ceilings[1].status = "not_closed".to_owned();
    theirs.ceilings[1].limited_by = None;
    compared(&[&ours, &theirs, &fixture()], &[condition])
}
