//! How far each row is from what the device can do at most, for people: a table below the rows, and what the device can do.

use super::human::{self, Cells};
use super::memory;
use super::table::Prepared;
use crate::report::{Limits, PhaseLimit, Report, Row, RowLimits};

/// What stands over it.
pub const TITLE: &str = "Distance from the hardware's limit";

/// The columns; none where no row is held against a limit.
pub fn columns(report: &Report) -> Vec<Prepared<'static>> {
    let rows = memory::shown(&report.trials);
    let known: Vec<&Row> = rows
        .into_iter()
        .filter(|row| row.limits.is_some())
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut columns = memory::names(&known, report);
    let column = |importance, title, unit: &str, numeric, get: &dyn Fn(&RowLimits) -> String| {
        let text = |row: &&Row| row.limits.as_ref().map_or_else(String::new, get);
        Prepared {
            importance,
            title,
            cells: Cells {
                unit: unit.to_owned(),
                texts: known.iter().map(text).collect(),
                numeric,
            },
        }
    };
    let read = |limits: &RowLimits| {
        let bytes = limits.step_weight_bytes + limits.step_kv_bytes;
        human::short(bytes as f64 / 1e6)
    };
    let percent = |phase: &PhaseLimit| format!("{:.0}", 100.0 * phase.share);
    columns.push(column(4, "reads/step", "MB", true, &read));
    columns.push(column(3, "at best", "ms", true, &|limits| {
        human::short(limits.decode.floor_ms)
    }));
    columns.push(column(0, "decode", "% of limit", true, &|limits| {
        percent(&limits.decode)
    }));
    columns.push(column(1, "held by", "", false, &|limits| {
        limits.decode.bound.clone()
    }));
    columns.push(column(2, "prefill", "% of limit", true, &|limits| {
        percent(&limits.prefill)
    }));
    columns.push(column(2, "held by", "", false, &|limits| {
        limits.prefill.bound.clone()
    }));
    columns
}

/// What the device can do, and what would help each row that is held back by something.
pub fn remarks(report: &Report) -> Vec<String> {
    let mut remarks: Vec<String> = report
        .environment
        .limits
        .as_ref()
        .and_then(device)
        .into_iter()
        .collect();
    if columns(report).is_empty() {
        return remarks;
    }
    let mut told: Vec<(String, String)> = Vec::new();
    let phases = report
        .trials
        .iter()
        .filter_map(|row| row.limits.as_ref())
        .map(|limits| &limits.decode);
    for phase in phases {
        if told.iter().all(|(bound, _)| *bound != phase.bound) {
            told.push((phase.bound.clone(), phase.remedy.clone()));
        }
    }
    let advice: Vec<String> = told
        .iter()
        .map(|(bound, remedy)| format!("{bound}: {remedy}"))
        .collect();
    remarks.push(human::one_line(&format!(
        "Decode is held by what explains at least half of its time, by reading weights and cache at that speed or by launching its kernels one after the other. {}.",
        advice.join(". ")
    )));
    remarks
}

/// The device's limits in a sentence.
fn device(limits: &Limits) -> Option<String> {
    let rate = |what: &str, value: Option<f64>, unit: f64, name: &str| {
        Some(format!("{what} {} {name}", human::short(value? / unit)))
    };
    let facts = [
        rate("reads", limits.read_bytes_s, 1e9, "GB/s"),
        rate(
            "copies",
            limits.copy_bytes_s,
            1e9,
            "GB/s (read and written)",
        ),
        rate("computes", limits.flop_s, 1e12, "TFLOP/s"),
        rate("launches a kernel in", limits.launch_s, 1e-6, "us"),
        rate("in a CUDA graph in", limits.graph_launch_s, 1e-6, "us"),
        rate(
            "takes",
            limits.to_device_bytes_s,
            1e9,
            "GB/s from main memory",
        ),
        rate("gives", limits.from_device_bytes_s, 1e9, "GB/s to it"),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    (!facts.is_empty()).then(|| {
        format!(
            "Measured before the trials, the device {}.",
            facts.join(", ")
        )
    })
}
