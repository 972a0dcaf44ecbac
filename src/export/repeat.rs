//! How far runs of the suite are apart, for people: a line for each quantity of each trial, and the conditions of each run.

use super::columns::{Unit, Value};
use super::human::{self, Cells, Detail};
use super::table::Prepared;
use crate::report::compare::Quantity;
use crate::report::{RepeatedTrial, Report, RunFigures, Spread};

/// What stands over it.
pub const TITLE: &str = "From run to run";

/// The columns; none where the suite ran once, or nothing ran to the end twice.
pub fn columns(report: &Report) -> Vec<Prepared<'static>> {
    let trials = report
        .repeatability
        .iter()
        .flat_map(|repeated| &repeated.trials);
    let lines: Vec<(&RepeatedTrial, &Spread)> = trials
        .flat_map(|trial| trial.spread.iter().map(move |spread| (trial, spread)))
        .collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let column = |importance,
                  title,
                  unit: &str,
                  numeric,
                  read: &dyn Fn(&RepeatedTrial, &Spread) -> String| Prepared {
        importance,
        title,
        cells: Cells {
            unit: unit.to_owned(),
            texts: lines
                .iter()
                .map(|(trial, spread)| read(trial, spread))
                .collect(),
            numeric,
        },
    };
    vec![
        column(0, "trial", "", false, &|trial, _| {
            human::one_line(&trial.row)
        }),
        column(0, "quantity", "", false, &|_, spread| {
            title(spread.metric).to_owned()
        }),
        column(2, "runs", "", true, &|_, spread| spread.runs.to_string()),
        column(1, "median", "", true, &|_, spread| amount(spread)),
        column(0, "max-min", "%", true, &|_, spread| {
            percent(spread.range_share)
        }),
        column(1, "CV", "%", true, &|_, spread| percent(spread.variation)),
        column(0, "worst", "± %", true, &|_, spread| {
            percent(spread.worst_deviation)
        }),
        column(0, "kept", "", false, &|_, spread| {
            if spread.within { "yes" } else { "no" }.to_owned()
        }),
    ]
}

fn title(metric: Quantity) -> &'static str {
    match metric {
        Quantity::DecodeTokS => "decode",
        Quantity::TtftMs => "TTFT",
        Quantity::PeakBytes => "peak",
        other => other.name(),
    }
}

/// The median in its own unit.
pub fn amount(spread: &Spread) -> String {
    let unit = match spread.metric {
        Quantity::DecodeTokS => Unit::TokensPerSecond,
        Quantity::PeakBytes => Unit::Bytes,
        _ => Unit::Millis,
    };
    let cells = human::cells(unit, &[Value::Number(spread.median)], Detail::Mean, "");
    format!("{} {}", cells.texts.join(""), cells.unit)
}

fn percent(share: f64) -> String {
    format!("{:.2}", share * 100.0)
}

/// What held while the runs were measured, a line for each run.
pub fn conditions(report: &Report) -> Vec<String> {
    let Some(repeated) = &report.repeatability else {
        return Vec::new();
    };
    let one = |run: u32| {
        let figures: Vec<&RunFigures> = repeated
            .trials
            .iter()
            .flat_map(|trial| trial.runs.iter().filter(move |known| known.run == run))
            .collect();
        (!figures.is_empty()).then(|| of_run(run, &figures))
    };
    let mut lines: Vec<String> = (1..=repeated.runs).filter_map(one).collect();
    lines.push(format!(
        "The runs are {}; worst is the largest distance from the median, and within {:.0} % the promise is kept.",
        repeated.order,
        repeated.promise * 100.0
    ));
    lines.extend(pinned(report));
    lines
}

/// What was held, or could have moved from run to run.
fn pinned(report: &Report) -> Option<String> {
    let environment = &report.environment;
    if let Some(locked) = &environment.locked_clocks {
        let memory = match locked.memory_mhz {
            Some(mhz) => format!("its memory's at {mhz} MHz"),
            None => "its memory's was not".to_owned(),
        };
        return Some(format!(
            "The GPU's clock was locked at {} MHz, {memory}.",
            locked.graphics_mhz
        ));
    }
    let reason = environment.not_measured.get("locked_clocks")?;
    Some(format!("Not pinned down: clocks ({reason})."))
}

/// Clocks, temperature and throttling of all trials of a run.
fn of_run(run: u32, figures: &[&RunFigures]) -> String {
    let states = || {
        figures
            .iter()
            .filter_map(|figures| figures.device_state.as_ref())
    };
    let readings = || states().flat_map(|state| std::iter::once(&state.start).chain(&state.end));
    let range = |values: Vec<f64>, unit: &str| {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some(format!(
            "{} to {} {unit}",
            human::plain(low),
            human::plain(high)
        ))
    };
    let clock = |read: fn(&crate::report::Readings) -> Option<u32>| -> Vec<f64> {
        readings().filter_map(read).map(f64::from).collect()
    };
    let mut facts: Vec<String> = Vec::new();
    facts.extend(
        range(clock(|one| one.sm_clock_mhz), "MHz").map(|text| format!("GPU clock {text}")),
    );
    facts.extend(
        range(clock(|one| one.memory_clock_mhz), "MHz").map(|text| format!("memory clock {text}")),
    );
    facts.extend(
        range(clock(|one| one.cpu_clock_mhz), "MHz").map(|text| format!("CPU clock {text}")),
    );
    let celsius = readings().filter_map(|one| one.temperature_c).collect();
    facts.extend(range(celsius, "°C"));
    let told = states().any(|state| state.throttle_reasons.is_some());
    let mut reasons: Vec<&String> = states()
        .filter_map(|state| state.throttle_reasons.as_ref())
        .flatten()
        .collect();
    reasons.sort();
    reasons.dedup();
    facts.push(match (told, reasons.as_slice()) {
        (false, _) => "throttling not known".to_owned(),
        (true, []) => "no throttle reason".to_owned(),
        (true, all) => format!(
            "throttle reasons {}",
            all.iter()
                .map(|reason| reason.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    });
    let gated: Vec<bool> = figures
        .iter()
        .filter_map(|figures| Some(figures.steady.as_ref()?.reached))
        .collect();
    if !gated.is_empty() {
        let steady = gated.iter().filter(|reached| **reached).count();
        facts.push(format!(
            "warm-up steady in {steady} of {} trials",
            gated.len()
        ));
    }
    human::one_line(&format!("Run {run}: {}.", facts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, render};
    use super::*;
    use crate::report::repeated_report;

    #[test]
    fn as_text_at_80_columns() {
        let text = render(&repeated_report(), Format::Table, Some(80), false).unwrap();
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
        let start = text.find(TITLE).unwrap();
        insta::assert_snapshot!(&text[start..]);
    }

    #[test]
    fn in_markdown_it_is_a_table() {
        let text = render(&repeated_report(), Format::Markdown, None, false).unwrap();
        assert!(
            text.contains("### From run to run") && text.contains("Run 1: "),
            "{text}"
        );
    }
}
