//! What stands around a table, shared by the text table and Markdown: the settings above it, the remarks below it.

use super::ceilings;
use super::columns::{COLUMNS, Column, OF_DECODERS, OF_PASSES, Place, Value};
use super::{fp32, human, limits, memory, offload};
use crate::report::{self, Cost, Report, Row, budgets, hardware_price_source, is_same_work};
use std::collections::BTreeSet;

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
    common.push(budget(report));
    lines.push(human::one_line(&common.join(", ")));
    if let Some(why) = &environment.cuda_unavailable {
        lines.push(human::one_line(&format!("CUDA not used: {why}")));
    }
    lines
}

/// The budget, or the budgets, in words.
fn budget(report: &Report) -> String {
    const MOST: usize = 8;
    let sizes: Vec<String> = report
        .budgets_bytes
        .iter()
        .map(|size| human::bytes(*size))
        .collect();
    match sizes.as_slice() {
        [] | [_] => format!("budget {}", human::bytes(report.budget_bytes)),
        all if all.len() <= MOST => format!("budgets {}", all.join(", ")),
        [first, .., last] => format!("{} budgets from {first} to {last}", sizes.len()),
    }
}

/// What stands over the table of one of several budgets.
pub fn budget_title(budget: u64) -> String {
    format!("Budget {}", human::bytes(budget))
}

/// The verdict's paragraphs: one, or with several budgets one for each and one for all.
pub fn paragraphs(verdict: &str) -> Vec<String> {
    verdict.lines().map(human::one_line).collect()
}

/// Settings that are the same in all rows, in words.
fn common_settings(rows: &[Row]) -> Vec<String> {
    let Some(first) = rows.first() else {
        return Vec::new();
    };
    let words = |column: &Column| {
        Some(match column.key {
            "form" => format!("{} graphs", first.form),
            "precision" => first.precision.clone(),
            // The usual one goes without saying.
            "kv_cache_type" if first.kv_cache_type == "float" => return None,
            "kv_cache_type" => format!("KV cache in {}", first.kv_cache_type),
            "device" => first.device.clone(),
            "batch" => format!("batch {}", first.batch),
            "prompt_tokens" | "gen_tokens" if first.dims.is_some() => return None,
            "dims" => match (column.get)(first) {
                Value::Text(sizes) if !sizes.is_empty() => sizes,
                _ => return None,
            },
            "prompt_tokens" => format!("{} prompt tokens", first.prompt_tokens),
            "gen_tokens" => format!("{} generated", first.gen_tokens),
            key => key.to_owned(),
        })
    };
    let constant = COLUMNS.iter().filter(|column| is_common(column, rows));
    let mut common: Vec<String> = constant.filter_map(words).collect();
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

/// Whether a column stands in the tables for people.
pub fn is_shown(column: &Column, rows: &[Row]) -> bool {
    let passes = |row: &Row| row.dims.is_some();
    if OF_PASSES.contains(&column.key) && !rows.iter().any(passes)
        || OF_DECODERS.contains(&column.key) && !rows.is_empty() && rows.iter().all(passes)
    {
        return false;
    }
    match column.place {
        Place::Data => false,
        Place::Quantized(_) => rows.iter().any(fp32::is_quantized),
        Place::Shown(_) | Place::Setting(_) => !is_common(column, rows),
    }
}

/// The currency of the costs.
pub fn currency(rows: &[Row]) -> &str {
    let first = rows.iter().find_map(|row| row.cost.as_ref());
    first.map_or("", |cost| &cost.currency)
}

/// Everything a reader must know besides the figures, one remark each.
pub fn remarks(report: &Report) -> Vec<String> {
    let rows = &report.trials;
    let several = budgets(rows).len() > 1;
    let mut remarks = if several {
        grouped_failures(rows)
    } else {
        rows.iter().filter_map(failure).collect()
    };
    for row in rows {
        let name = if several {
            name_in_budget(row)
        } else {
            name(row)
        };
        let tell = |warning: &String| human::one_line(&format!("{name}: warning: {warning}"));
        remarks.extend(row.warnings.iter().map(tell));
    }
    remarks.extend(ceilings::remarks(&report.ceilings));
    remarks.extend(memory::remarks(report));
    remarks.extend(limits::remarks(report));
    remarks.extend(offload::remarks(report));
    remarks.extend(figures(rows));
    let left = rows.iter().filter(|row| row.status == "pending").count();
    if left > 0 {
        remarks.push(format!(
            "Unfinished: {left} of {} trials have not run.",
            rows.len()
        ));
    }
    remarks
}

/// How to read the figures that have no table of their own: energy, cost, predictions and checks.
pub fn figures(rows: &[Row]) -> Vec<String> {
    let mut remarks: Vec<String> = energy(rows).into_iter().collect();
    remarks.extend(costs(rows));
    remarks.extend(prices(rows));
    remarks.extend(prediction(rows));
    remarks.extend(fp32::remarks(rows));
    remarks.extend(decode_checks(rows));
    remarks.extend(router_checks(rows));
    remarks
}

/// A row by model, form and precision.
pub fn name(row: &Row) -> String {
    format!("{} {}", row.model, report::variant(row))
}

/// The same where there are several budgets.
fn name_in_budget(row: &Row) -> String {
    let budget = human::bytes(row.memory.budget_bytes);
    format!("{} at {budget}", name(row))
}

/// Why rows are not `ok`, where there are several budgets. What fits none of some budgets is told once, with the reason for
/// the largest of them.
fn grouped_failures(rows: &[Row]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        if row.status != "does_not_fit" {
            told.extend(
                failure(row).map(|words| words.replacen(&name(row), &name_in_budget(row), 1)),
            );
            continue;
        }
        let small = |other: &&Row| other.status == "does_not_fit" && is_same_work(row, other);
        if rows[..place].iter().any(|other| small(&other)) {
            continue;
        }
        let group: Vec<&Row> = rows[place..].iter().filter(small).collect();
        let sizes: Vec<String> = group
            .iter()
            .map(|row| human::bytes(row.memory.budget_bytes))
            .collect();
        let reason = group.last().and_then(|row| row.reason.as_deref());
        told.push(human::one_line(&format!(
            "{}: does not fit {}: {}",
            name(row),
            sizes.join(", "),
            reason.unwrap_or("no reason was told")
        )));
    }
    told
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
    let several = budgets(rows).len() > 1;
    let one = |(row, cost): &(&Row, &Cost)| {
        let name = if several {
            name_in_budget(row)
        } else {
            name(row)
        };
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

/// How far decode was from prefill, where that is inside the tolerance: a row in which it is not says so itself.
fn decode_checks(rows: &[Row]) -> Option<String> {
    let all = rows.iter().filter_map(|row| row.decode_check.as_ref());
    let passed: Vec<_> = all.filter(|check| check.passed).collect();
    let worst = passed.iter().map(|check| check.error).reduce(f64::max)?;
    let deepest = passed.iter().map(|check| check.position).max()?;
    Some(format!(
        "Decode was held to prefill in {}, at up to {deepest} tokens: their logits differ by {worst:.1e} of the largest logit at most.",
        match passed.len() {
            1 => "one trial".to_owned(),
            count => format!("{count} trials"),
        }
    ))
}

/// What was seen of the routers' weights, where they passed: a row in which they do not says so itself.
fn router_checks(rows: &[Row]) -> Option<String> {
    let all = rows.iter().filter_map(|row| row.router_check.as_ref());
    let passed: Vec<_> = all.filter(|check| check.passed).collect();
    let errors = passed.iter().map(|check| check.weight_sum_error);
    let worst = errors.reduce(f64::max)?;
    Some(format!(
        "Routers were checked in {}: tokens go to their number of experts and no others, and the sums of their weights are right to {worst:.1e}.",
        match passed.len() {
            1 => "one trial".to_owned(),
            count => format!("{count} trials"),
        }
    ))
}

/// What the energy figures cover.
fn energy(rows: &[Row]) -> Option<String> {
    let measured: Vec<_> = rows.iter().filter_map(|row| row.energy.as_ref()).collect();
    let whose: BTreeSet<_> = measured
        .iter()
        .map(|energy| match energy.measures.as_str() {
            "gpu" => "the GPU alone",
            "cpu" => "the CPU alone",
            _ => "the whole board",
        })
        .collect();
    (!whose.is_empty()).then(|| {
        format!(
            "Energy: of {}, for each generated token with its share of the prompt; power: mean over the same time.",
            whose.into_iter().collect::<Vec<_>>().join(" or ")
        )
    })
}

/// The inputs of the cost.
fn prices(rows: &[Row]) -> Option<String> {
    let costs: Vec<&Cost> = rows.iter().filter_map(|row| row.cost.as_ref()).collect();
    let cost = costs.first()?;
    let money = |amount: f64| format!("{} {}", human::plain(amount), cost.currency);
    if let Some(price) = cost.flat_price_per_hour {
        return Some(format!("Cost: {} an hour, flat.", money(price)));
    }
    let price = cost.hardware_price.unwrap_or_default();
    let source = hardware_price_source(price, &cost.currency);
    let hardware = money(price);
    let life = human::plain(cost.hardware_life_hours.unwrap_or_default());
    let energy = electricity(&costs);
    Some(human::one_line(&format!(
        "Cost: hardware {hardware} ({source}) over {life} h; {energy}."
    )))
}

/// The energy in the costs. Measured power is each row's own.
fn electricity(costs: &[&Cost]) -> String {
    let with = costs.iter().filter_map(|cost| Some((*cost, cost.watts?)));
    let known: Vec<(&Cost, f64)> = with.collect();
    let without = costs.iter().find(|cost| cost.watts.is_none());
    let Some((first, watts)) = known.first() else {
        let source = without.map_or("", |cost| &cost.watts_source);
        return format!("energy left out ({source})");
    };
    let price = human::plain(first.electricity_price_per_kwh.unwrap_or_default());
    let price = format!("{price} {}", first.currency);
    let sources: BTreeSet<&str> = known.iter().map(|(cost, _)| &*cost.watts_source).collect();
    let sources = sources.into_iter().collect::<Vec<_>>().join("; ");
    let equal = known.iter().all(|(_, other)| other == watts);
    let mut words = if equal {
        format!("{} W at {price}/kWh ({sources})", human::plain(*watts))
    } else {
        format!("each row's own power at {price}/kWh ({sources})")
    };
    if let Some(cost) = without {
        let count = costs.len() - known.len();
        words += &format!(
            "; energy left out in {count} of {} ({})",
            costs.len(),
            cost.watts_source
        );
    }
    words
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn decode_that_agrees_is_told_with_the_worst_of_it() {
        let mut rows = fixture().trials;
        assert_eq!(decode_checks(&rows), None);
        let check = |passed, error, position| crate::report::DecodeCheck {
            passed,
            tolerance: 0.01,
            error,
            position,
            read: "pieces".into(),
        };
        rows[0].decode_check = Some(check(true, 2e-4, 1023));
        let words = decode_checks(&rows).unwrap();
        assert!(words.contains("one trial, at up to 1023 tokens") && words.contains("2.0e-4"));
        // What failed is told by its own row.
        rows[1].decode_check = Some(check(false, 0.9, 2000));
        assert_eq!(decode_checks(&rows).unwrap(), words);
        rows[2].decode_check = Some(check(true, 3e-4, 7));
        let words = decode_checks(&rows).unwrap();
        assert!(words.contains("2 trials, at up to 1023 tokens") && words.contains("3.0e-4"));
    }

    #[test]
    fn each_rows_own_power_is_not_told_as_one() {
        let cost = fixture().trials[1].cost.clone().unwrap();
        let other = Cost {
            watts: cost.watts.map(|watts| watts + 2.0),
            ..cost.clone()
        };
        let words = electricity(&[&cost, &other]);
        assert_eq!(
            words,
            "each row's own power at 0.15 USD/kWh (measured: the CPU alone, mean while decoding)"
        );
        assert!(electricity(&[&cost, &cost]).starts_with("40 W at 0.15 USD/kWh"));
    }
}
