//! What a row is called in a chart: its model, and in few words each setting that the rows of its result do not share.

use super::super::columns::{COLUMNS, Place, Value};
use super::super::{human, notes};
use crate::report::{Report, Row, budgets};

/// Names rows of one result.
pub struct Labels<'a> {
    report: &'a Report,
    several_budgets: bool,
}

impl<'a> Labels<'a> {
    /// For the rows of `report`.
    pub fn of(report: &'a Report) -> Labels<'a> {
        Labels {
            report,
            several_budgets: budgets(&report.trials).len() > 1,
        }
    }

    /// Model and differing settings, without the budget.
    pub fn work(&self, row: &Row) -> String {
        let rows = &self.report.trials;
        let told = COLUMNS.iter().filter(|column| {
            let setting = matches!(column.place, Place::Setting(_)) || column.key == "step";
            setting && !notes::is_common(column, rows)
        });
        let words = told.filter_map(|column| {
            Some(match ((column.get)(row), column.key) {
                (Value::Text(text), "kv_cache_type") if text == "float" => return None,
                (Value::Text(text), "kv_cache_type") => format!("{text} KV"),
                (Value::Text(text) | Value::Name(text), _) => text,
                (Value::Count(count), "batch") => format!("batch {count}"),
                (Value::Count(count), "prompt_tokens") => format!("{count} prompt"),
                (Value::Count(count), "gen_tokens") => format!("{count} generated"),
                _ => return None,
            })
        });
        let name = std::iter::once(row.model.clone()).chain(words);
        human::one_line(&name.collect::<Vec<_>>().join(", "))
    }

    /// The same with the budget, where there are several.
    pub fn full(&self, row: &Row) -> String {
        match self.several_budgets {
            true => format!(
                "{} in {}",
                self.work(row),
                human::bytes(row.memory.budget_bytes)
            ),
            false => self.work(row),
        }
    }

    /// Whether the result has several budgets.
    pub fn several_budgets(&self) -> bool {
        self.several_budgets
    }
}

/// Why a figure of a row is not known, by the first of these names that the row has a reason for.
pub fn reason(row: &Row, paths: &[&str]) -> String {
    let told = paths.iter().find_map(|path| row.not_measured.get(*path));
    match told {
        Some(reason) => human::one_line(reason),
        None if row.status == "pending" => "the trial has not run".to_owned(),
        None => "this file does not tell it".to_owned(),
    }
}

/// The names under which the reason for a missing cell may stand, by the key of its column.
pub fn paths(key: &str) -> &'static [&'static str] {
    match key {
        "load_ms" => &["load_ms"],
        "ttft_ms_mean" => &["ttft_ms"],
        "prefill_tok_s_mean" => &["prefill_tok_s"],
        "decode_tok_s_mean" => &["decode_tok_s"],
        "itl_ms_p50" => &["itl_ms"],
        "itl_ms_p90" => &["itl_ms.quantiles.p90", "itl_ms"],
        "itl_ms_p99" => &["itl_ms.quantiles.p99", "itl_ms"],
        "itl_ms_min" | "itl_ms_max" | "itl_ms_mean" => &["itl_ms"],
        "fp32_difference_error" => &["fp32_difference"],
        "peak_bytes" => &["memory.peak_bytes", "memory"],
        "loaded_peak_bytes" => &["memory.loaded_peak_bytes", "memory"],
        "weights_bytes" => &["memory.weights_bytes", "memory"],
        "kv_bytes" => &["memory.kv_bytes", "memory"],
        "activations_bytes" => &["memory.activations_bytes", "memory"],
        "runtime_bytes" => &["memory.runtime_bytes", "memory"],
        "unaccounted_bytes" => &["memory.unaccounted_bytes", "memory"],
        "steady_bytes" => &["memory.steady_bytes", "memory"],
        "predicted_peak_bytes" => &["memory.predicted_peak_bytes", "memory"],
        "enforced" => &["memory.enforced"],
        "energy_j_per_token" | "mean_watts" => &["energy"],
        "cost_per_million_tokens" => &["cost"],
        "decode_limit_share"
        | "prefill_limit_share"
        | "decode_floor_ms"
        | "decode_bound"
        | "prefill_bound"
        | "step_bytes" => &["limits"],
        _ => &[],
    }
}
