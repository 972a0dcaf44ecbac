//! What was measured on what: a column for each result, and what each warns of.

use super::super::human;
use super::labels::Labels;
use super::{Shown, methods};
use crate::report::{Environment, Report, budgets};
use maud::{Markup, html};

/// A fact: its name, and its text or why there is none.
type Fact = (&'static str, Result<String, String>);

/// Warnings that need not be folded away.
const FEW: usize = 3;

/// The section.
pub fn section(results: &[Shown]) -> Markup {
    let columns: Vec<Vec<Fact>> = results.iter().map(|shown| facts(&shown.report)).collect();
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in columns.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    // In the order of the first result that knows them all.
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name));
    html! {
        section #measured {
            h2 { "What was measured on what" }
            (methods::ask(&["trial"]))
            div.scroll.whole tabindex="0" role="region" aria-label="What was measured on what" {
                table.facts {
                    @if results.len() > 1 {
                        thead { tr { td {} @for shown in results { th scope="col" { span.badge { (shown.label) } " " (human::one_line(&shown.file)) } } } }
                    }
                    tbody {
                        @for name in &names {
                            tr {
                                th scope="row" { (name) }
                                @for column in &columns { td data-fact=(name) { (text(column, name)) } }
                            }
                        }
                    }
                }
            }
            @for shown in results { (warnings(shown, results.len() > 1)) }
        }
    }
}

/// A fact's text in its column.
fn text(column: &[Fact], name: &str) -> Markup {
    let found = column
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, fact)| fact);
    html! {
        @match found {
            Some(Ok(text)) => @if name == "command line" { code { (text) } } @else { (text) },
            Some(Err(reason)) => span.nm { "not measured: " (reason) },
            None => span.nm { "–" },
        }
    }
}

/// Names of all facts in their order.
const ORDER: &[&str] = &[
    "tool",
    "command line",
    "started",
    "state",
    "budget",
    "trials",
    "held",
    "machine",
    "system",
    "CPU",
    "main memory",
    "GPU",
    "GPU driver",
    "power mode",
    "runtime",
    "runtime build",
    "provider",
    "CUDA not used",
    "seed",
    "tokenizer",
];

/// Everything that the result tells of itself and its machine.
fn facts(report: &Report) -> Vec<Fact> {
    let environment = &report.environment;
    let tool = &report.tool;
    let commit = tool
        .commit
        .as_ref()
        .map(|commit| format!(", commit {commit}"))
        .unwrap_or_default();
    let mut facts: Vec<Fact> = vec![
        (
            "tool",
            Ok(format!("{} {}{commit}", tool.name, tool.version)),
        ),
        ("command line", Ok(report.command_line.join(" "))),
        (
            "started",
            Ok(report.started_utc.replace('T', " ").replace('Z', " UTC")),
        ),
        ("state", Ok(state(report))),
        ("budget", Ok(budget(report))),
        ("trials", Ok(trials(report))),
        ("seed", Ok(report.seed.to_string())),
        ("tokenizer", Ok(report.tokenizer.clone())),
    ];
    facts.extend(held(report).map(|held| ("held", Ok(held))));
    facts.extend(machine(environment));
    facts.extend(runtime(environment));
    let visible = |(name, fact): Fact| {
        let fact = fact
            .map(|text| human::one_line(&text))
            .map_err(|reason| human::one_line(&reason));
        (name, fact)
    };
    facts.into_iter().map(visible).collect()
}

fn state(report: &Report) -> String {
    let left = report
        .trials
        .iter()
        .filter(|row| row.status == "pending")
        .count();
    match (report.finished, left) {
        (true, _) => "finished".to_owned(),
        (false, 0) => "unfinished".to_owned(),
        (false, left) => format!(
            "unfinished: {left} of {} trials have not run",
            report.trials.len()
        ),
    }
}

fn budget(report: &Report) -> String {
    let sizes: Vec<String> = budgets(&report.trials)
        .into_iter()
        .map(human::bytes)
        .collect();
    match sizes.is_empty() {
        true => human::bytes(report.budget_bytes),
        false => sizes.join(", "),
    }
}

/// How many trials ended how.
fn trials(report: &Report) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for row in &report.trials {
        match counts.iter_mut().find(|(status, _)| *status == row.status) {
            Some((_, count)) => *count += 1,
            None => counts.push((&row.status, 1)),
        }
    }
    let told = counts
        .iter()
        .map(|(status, count)| format!("{count} {}", status.replace('_', " ")));
    match report.trials.len() {
        0 => "none".to_owned(),
        all => format!("{all}: {}", told.collect::<Vec<_>>().join(", ")),
    }
}

/// How firmly the budget was held.
fn held(report: &Report) -> Option<String> {
    let mut ways: Vec<&str> = report
        .trials
        .iter()
        .filter_map(|row| row.memory.enforced.as_deref())
        .collect();
    ways.sort_unstable();
    ways.dedup();
    (!ways.is_empty()).then(|| format!("budget held {}", ways.join(" and ")))
}

/// The first of these fields with a text, or the reason that the result has for it.
fn told(
    environment: &Environment,
    field: &str,
    text: Option<String>,
) -> Option<Result<String, String>> {
    match text {
        Some(text) => Some(Ok(text)),
        None => environment.not_measured.get(field).cloned().map(Err),
    }
}

fn machine(environment: &Environment) -> Vec<Fact> {
    let cores = environment
        .cpu_cores
        .map(|cores| format!(", {cores} cores"))
        .unwrap_or_default();
    let threads = environment
        .cpu_threads
        .map(|threads| format!(", {threads} threads"))
        .unwrap_or_default();
    let clock = environment
        .cpu_clock_mhz
        .map(|clock| format!(", {clock} MHz at the start"))
        .unwrap_or_default();
    let kernel = environment
        .kernel
        .as_ref()
        .map(|kernel| format!(", kernel {kernel}"))
        .unwrap_or_default();
    let available = environment
        .memory_available_bytes
        .map(|bytes| format!(", {} available at the start", human::bytes(bytes)));
    let gpu = environment.gpu.as_ref();
    let facts = [
        (
            "machine",
            told(environment, "host", environment.host.clone()),
        ),
        (
            "system",
            told(
                environment,
                "os",
                environment
                    .os
                    .as_ref()
                    .map(|os| format!("{os}{kernel}, {}", environment.arch)),
            ),
        ),
        (
            "CPU",
            told(
                environment,
                "cpu_info",
                environment
                    .cpu_info
                    .as_ref()
                    .map(|cpu| format!("{cpu}{cores}{threads}{clock}")),
            ),
        ),
        (
            "main memory",
            told(
                environment,
                "memory_total_bytes",
                environment.memory_total_bytes.map(|bytes| {
                    format!("{}{}", human::bytes(bytes), available.unwrap_or_default())
                }),
            ),
        ),
        (
            "GPU",
            told(
                environment,
                "gpu_info",
                gpu.map(gpu_words).or(environment.gpu_info.clone()),
            ),
        ),
        ("GPU driver", gpu.and_then(driver).map(Ok)),
        (
            "power mode",
            told(environment, "power_mode", environment.power_mode.clone()),
        ),
    ];
    facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)))
        .collect()
}

/// A GPU in words.
fn gpu_words(gpu: &crate::protocol::GpuFacts) -> String {
    let mut words = vec![gpu.name.clone()];
    words.extend([human::bytes(gpu.memory_total.0)]);
    words.push(format!("compute capability {}", gpu.compute_capability));
    words.extend(
        gpu.power_limit_mw
            .map(|limit| format!("power limit {} W", human::plain(limit as f64 / 1e3))),
    );
    words.extend(
        gpu.sm_clock_mhz
            .map(|clock| format!("SM clock {clock} MHz")),
    );
    words.extend(
        gpu.memory_clock_mhz
            .map(|clock| format!("memory clock {clock} MHz")),
    );
    words.extend(
        gpu.temperature_c
            .map(|celsius| format!("{celsius} °C at the start")),
    );
    words.join(", ")
}

fn driver(gpu: &crate::protocol::GpuFacts) -> Option<String> {
    let versions = [("driver", &gpu.driver_version), ("CUDA", &gpu.cuda_version)];
    let told = versions
        .into_iter()
        .filter_map(|(name, version)| Some(format!("{name} {}", version.as_ref()?)));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn runtime(environment: &Environment) -> Vec<Fact> {
    let facts = [
        (
            "runtime",
            told(
                environment,
                "runtime_version",
                environment
                    .runtime_version
                    .as_ref()
                    .map(|version| format!("ONNX Runtime {version}")),
            ),
        ),
        (
            "runtime build",
            told(
                environment,
                "runtime_build",
                environment.runtime_build.clone(),
            ),
        ),
        (
            "provider",
            told(
                environment,
                "provider_in_use",
                environment.provider_in_use.clone(),
            ),
        ),
        (
            "CUDA not used",
            environment.cuda_unavailable.clone().map(Ok),
        ),
    ];
    facts
        .into_iter()
        .filter_map(|(name, fact)| Some((name, fact?)))
        .collect()
}

/// What a reader must know of the conditions: warnings of the rows.
fn warnings(shown: &Shown, several: bool) -> Markup {
    let labels = Labels::of(&shown.report);
    let rows = shown.report.trials.iter();
    let all: Vec<(String, String)> = rows
        .flat_map(|row| {
            row.warnings
                .iter()
                .map(|warning| (labels.full(row), human::one_line(warning)))
        })
        .collect();
    html! {
        @if !all.is_empty() {
            details.warnings open[all.len() <= FEW] {
                summary { @if several { span.badge { (shown.label) } " " } (all.len()) @if all.len() == 1 { " warning" } @else { " warnings" } " about the conditions" }
                ul { @for (name, warning) in &all { li { strong { (name) } ": " (warning) } } }
            }
        } @else {
            p.note { @if several { span.badge { (shown.label) } " " } "No warning was recorded." }
        }
    }
}
