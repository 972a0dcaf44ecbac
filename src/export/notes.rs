//! What stands around a table, shared by the text table and Markdown: the settings above it, the remarks below it.

use super::columns::{COLUMNS, Column, Place};
use super::human;
use crate::report::{Cost, Report, Row, hardware_price_source};

/// The machine and what all rows have in common.
pub fn caption(report: &Report) -> Vec<String> {
    let environment = &report.environment;
    let mut machine = vec![format!("{} {}", report.tool.name, report.tool.version)];
    if let Some(version) = &environment.runtime_version {
        machine.push(format!("ONNX Runtime {version}"));
    }
    let hardware = [
        &environment.gpu_info,
        &environment.cpu_info,
        &environment.provider_in_use,
    ];
    machine.extend(hardware.into_iter().flatten().cloned());
    let mut lines = vec![human::one_line(&machine.join(", "))];
    let mut common = common_settings(&report.trials);
    common.push(format!("budget {}", human::bytes(report.budget_bytes)));
    lines.push(human::one_line(&common.join(", ")));
    if let Some(why) = &environment.cuda_unavailable {
        lines.push(human::one_line(&format!("CUDA not used: {why}")));
    }
    lines
}

/// Settings that are the same in all rows, in words.
fn common_settings(rows: &[Row]) -> Vec<String> {
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let words = |column: &Column| match column.key {
        "form" => format!("{} graphs", first.form),
        "precision" => first.precision.clone(),
        "device" => first.device.clone(),
        "batch" => format!("batch {}", first.batch),
        "prompt_tokens" => format!("{} prompt tokens", first.prompt_tokens),
        "gen_tokens" => format!("{} generated", first.gen_tokens),
        key => key.to_owned(),
    };
    let constant = COLUMNS.iter().filter(|column| is_common(column, rows));
    let mut common: Vec<String> = constant.map(words).collect();
    if rows.iter().all(|row| row.repetitions == first.repetitions) {
        common.push(match first.repetitions {
            1 => "one repetition, so no spread".to_owned(),
            count => format!("mean ± standard deviation of {count} repetitions"),
        });
    }
    common
}

/// Whether a column is a setting that all rows share: it is said in the caption instead.
pub fn is_common(column: &Column, rows: &[Row]) -> bool {
    let same = || {
        rows.windows(2)
            .all(|pair| (column.get)(&pair[0]) == (column.get)(&pair[1]))
    };
    matches!(column.place, Place::Setting(_)) && same()
}

/// The currency of the costs.
pub fn currency(rows: &[Row]) -> &str {
    let first = rows.iter().find_map(|row| row.cost.as_ref());
    first.map_or("", |cost| &cost.currency)
}

/// Everything a reader must know besides the figures, one remark each.
pub fn remarks(report: &Report) -> Vec<String> {
    let rows = &report.trials;
    let mut remarks: Vec<String> = rows.iter().filter_map(failure).collect();
    for row in rows {
        let tell =
            |warning: &String| human::one_line(&format!("{}: warning: {warning}", name(row)));
        remarks.extend(row.warnings.iter().map(tell));
    }
    remarks.extend(costs(rows));
    remarks.extend(rows.iter().find_map(|row| row.cost.as_ref()).map(prices));
    remarks.extend(prediction(rows));
    if !report.finished {
        let left = rows.iter().filter(|row| row.status == "pending").count();
        remarks.push(format!(
            "Unfinished: {left} of {} trials have not run.",
            rows.len()
        ));
    }
    remarks
}

/// A row by model, form and precision.
fn name(row: &Row) -> String {
    format!("{} {} {}", row.model, row.form, row.precision)
}

/// Why a row is not `ok`.
fn failure(row: &Row) -> Option<String> {
    if ["ok", "pending"].contains(&row.status.as_str()) {
        return None;
    }
    let status = row.status.replace('_', " ");
    let reason = row.reason.as_deref().unwrap_or("no reason was told");
    let phase = row
        .failed_phase
        .as_ref()
        .map(|phase| format!(" in phase {phase}"))
        .unwrap_or_default();
    Some(human::one_line(&format!(
        "{}: {status}{phase}: {reason}",
        name(row)
    )))
}

/// The cost of each row, where there are few: the table drops that column first when it is narrow.
fn costs(rows: &[Row]) -> Option<String> {
    const MOST: usize = 8;
    let priced: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row, row.cost.as_ref()?)))
        .collect();
    let (_, first) = priced.first()?;
    let one = |(row, cost): &(&Row, &Cost)| {
        let name = name(row);
        format!("{name} {}", human::plain(cost.per_million_tokens))
    };
    let list: Vec<String> = priced.iter().map(one).collect();
    (list.len() <= MOST).then(|| {
        human::one_line(&format!(
            "Cost per 1,000,000 generated tokens in {}: {}.",
            first.currency,
            list.join(", ")
        ))
    })
}

/// The inputs of the cost.
fn prices(cost: &Cost) -> String {
    let money = |amount: f64| format!("{} {}", human::plain(amount), cost.currency);
    if let Some(price) = cost.flat_price_per_hour {
        return format!("Cost: {} an hour, flat.", money(price));
    }
    let price = cost.hardware_price.unwrap_or_default();
    let source = hardware_price_source(price, &cost.currency);
    let hardware = money(price);
    let life = human::plain(cost.hardware_life_hours.unwrap_or_default());
    let energy = match (cost.watts, cost.electricity_price_per_kwh) {
        (Some(watts), Some(price)) => {
            format!(
                "{} W at {}/kWh ({})",
                human::plain(watts),
                money(price),
                cost.watts_source
            )
        }
        _ => format!("energy left out ({})", cost.watts_source),
    };
    human::one_line(&format!(
        "Cost: hardware {hardware} ({source}) over {life} h; {energy}."
    ))
}

/// How good the predictions of the peak were.
fn prediction(rows: &[Row]) -> Option<String> {
    let ratio = |row: &Row| {
        let (predicted, peak) = row.memory.predicted_peak_bytes.zip(row.memory.peak_bytes)?;
        (row.status == "ok" && peak > 0).then(|| predicted as f64 / peak as f64)
    };
    let ratios: Vec<f64> = rows.iter().filter_map(ratio).collect();
    let low = ratios.iter().copied().reduce(f64::min)?;
    let high = ratios.iter().copied().reduce(f64::max)?;
    let range = if ratios.len() == 1 {
        human::ratio(low)
    } else {
        format!("{} to {}", human::ratio(low), human::ratio(high))
    };
    Some(format!(
        "Predicted peak memory was {range} times the measured peak."
    ))
}
