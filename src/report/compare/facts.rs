//! Facts of a machine and a run that are no part of the work: they are listed where files differ, and refuse nothing.

use crate::report::schema::{Environment, Report};
use crate::report::tuning_name;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names of the facts, in the order in which they are listed. A name carries its unit.
pub const NAMES: &[&str] = &[
    "device",
    "provider",
    "gpu",
    "gpu_memory_bytes",
    "gpu_driver",
    "cuda_version",
    "gpu_power_limit_mw",
    "gpu_sm_clock_mhz",
    "gpu_memory_clock_mhz",
    "gpu_locked_clock_mhz",
    "cpu",
    "cpu_cores",
    "cpu_threads",
    "cpu_clock_mhz",
    "power_mode",
    "memory_bytes",
    "os",
    "engine",
    "threads",
    "tuning",
    "budget_bytes",
    "seed",
    "tokenizer",
    "cost_per_hour",
    "currency",
    "tool",
    "commit",
    "options",
];

/// A fact in base units.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// Words.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A number.
    Number(f64),
}

/// The facts of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// What is known, by name.
    pub known: BTreeMap<&'static str, Fact>,
    /// Why something is not known, by name.
    pub unknown: BTreeMap<&'static str, String>,
}

impl Facts {
    /// Adds what is known.
    pub fn text(&mut self, name: &'static str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.known.insert(name, Fact::Text(value));
        }
    }

    /// Adds a count that is known.
    pub fn count(&mut self, name: &'static str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            self.known.insert(name, Fact::Count(value.into()));
        }
    }
}

/// A fact that is not the same in all files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Its name.
    pub name: &'static str,
    /// Its value in each file, in their order.
    pub values: Vec<Option<Fact>>,
    /// Why a value is null, by the label of the file.
    pub not_known: BTreeMap<String, String>,
}

/// The facts in which files differ. Each comes with its label.
pub fn differences(files: &[(&str, &Facts)]) -> Vec<Difference> {
    let one = |name: &&'static str| {
        let values: Vec<Option<Fact>> = files
            .iter()
            .map(|(_, facts)| facts.known.get(name).cloned())
            .collect();
        if values.windows(2).all(|pair| pair[0] == pair[1]) {
            return None;
        }
        let absent = files
            .iter()
            .filter(|(_, facts)| !facts.known.contains_key(name));
        let reason = |facts: &Facts| {
            let told = facts.unknown.get(name).cloned();
            told.unwrap_or_else(|| "this file does not tell it".to_owned())
        };
        Some(Difference {
            name,
            values,
            not_known: absent
                .map(|(label, facts)| ((*label).to_owned(), reason(facts)))
                .collect(),
        })
    };
    NAMES.iter().filter_map(one).collect()
}

/// The facts of a result of edgebench.
pub fn of_report(report: &Report) -> Facts {
    let mut facts = of_environment(&report.environment);
    let rows = &report.trials;
    facts.text("device", distinct(rows, |row| row.device.clone()));
    facts.text(
        "threads",
        distinct(rows, |row| row.llama_bench.n_threads.to_string()),
    );
    let tunings: Vec<String> = rows.iter().filter_map(tuning_name).collect();
    facts.text("tuning", distinct(&tunings, String::clone));
    match report.budgets_bytes.as_slice() {
        [] | [_] => facts.count("budget_bytes", Some(report.budget_bytes)),
        several => facts.text("budget_bytes", distinct(several, u64::to_string)),
    }
    facts.count("seed", Some(report.seed));
    facts.text("tokenizer", Some(report.tokenizer.clone()));
    let tool = &report.tool;
    facts.text("tool", Some(format!("{} {}", tool.name, tool.version)));
    facts.text("commit", tool.commit.clone());
    facts.text("options", Some(options(&report.command_line)));
    let mut costs = rows.iter().filter_map(|row| row.cost.as_ref());
    if let Some(first) = costs.next() {
        facts.text("currency", Some(first.currency.clone()));
        if costs.all(|cost| cost.per_hour == first.per_hour) {
            let price = Fact::Number(first.per_hour);
            facts.known.insert("cost_per_hour", price);
        } else {
            let reason = "it differs from row to row".to_owned();
            facts.unknown.insert("cost_per_hour", reason);
        }
    }
    facts
}

/// The machine and the runtime.
fn of_environment(environment: &Environment) -> Facts {
    let mut facts = Facts::default();
    let version = environment.runtime_version.as_ref();
    let texts = [
        ("provider", environment.provider_in_use.clone()),
        ("gpu", environment.gpu_info.clone()),
        ("cpu", environment.cpu_info.clone()),
        ("power_mode", environment.power_mode.clone()),
        ("os", environment.os.clone()),
        (
            "engine",
            version.map(|version| format!("ONNX Runtime {version}")),
        ),
    ];
    for (name, value) in texts {
        facts.text(name, value);
    }
    facts.count("cpu_cores", environment.cpu_cores);
    facts.count("cpu_threads", environment.cpu_threads);
    facts.count("cpu_clock_mhz", environment.cpu_clock_mhz);
    facts.count("memory_bytes", environment.memory_total_bytes);
    if let Some(gpu) = &environment.gpu {
        facts.count("gpu_memory_bytes", Some(gpu.memory_total.0));
        facts.text("gpu_driver", gpu.driver_version.clone());
        facts.text("cuda_version", gpu.cuda_version.clone());
        facts.count("gpu_power_limit_mw", gpu.power_limit_mw);
        facts.count("gpu_sm_clock_mhz", gpu.sm_clock_mhz);
        facts.count("gpu_memory_clock_mhz", gpu.memory_clock_mhz);
    }
    let locked = environment.locked_clocks.as_ref();
    facts.count(
        "gpu_locked_clock_mhz",
        locked.map(|locked| locked.graphics_mhz),
    );
    let fields = [
        ("gpu", "gpu_info"),
        ("gpu_locked_clock_mhz", "locked_clocks"),
        ("cpu", "cpu_info"),
        ("cpu_cores", "cpu_cores"),
        ("cpu_threads", "cpu_threads"),
        ("cpu_clock_mhz", "cpu_clock_mhz"),
        ("power_mode", "power_mode"),
        ("memory_bytes", "memory_total_bytes"),
        ("os", "os"),
        ("engine", "runtime_version"),
    ];
    for (name, field) in fields {
        if let Some(reason) = environment.not_measured.get(field) {
            facts.unknown.insert(name, reason.clone());
        }
    }
    facts
}

/// The values of all rows, each once.
pub fn distinct<T>(rows: &[T], read: impl Fn(&T) -> String) -> Option<String> {
    let mut seen: Vec<String> = Vec::new();
    for value in rows.iter().map(read) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    (!seen.is_empty()).then(|| seen.join(", "))
}

/// The options of a run without those that only say where and how to print, or that it goes on.
pub fn options(command_line: &[String]) -> String {
    let mut kept = Vec::new();
    let mut words = command_line.iter().skip(1);
    while let Some(word) = words.next() {
        let (name, has_value) = match word.split_once('=') {
            Some((name, _)) => (name, true),
            None => (word.as_str(), false),
        };
        match name {
            "-q" | "--quiet" => {}
            "-o" | "--output" | "--format" | "--color" | "--resume" if !has_value => {
                words.next();
            }
            "-o" | "--output" | "--format" | "--color" | "--resume" => {}
            _ => kept.push(word.as_str()),
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// Labels and facts as [`differences`] takes them.
    fn differing(a: &Report, b: &Report) -> Vec<Difference> {
        differences(&[("A", &of_report(a)), ("B", &of_report(b))])
    }

    #[test]
    fn a_machine_does_not_differ_from_itself() {
        assert_eq!(differing(&fixture(), &fixture()), []);
    }

    #[test]
    fn only_what_differs_is_listed_and_what_is_not_known_has_a_reason() {
        let (a, mut b) = (fixture(), fixture());
        b.environment.runtime_version = Some("1.20.1".to_owned());
        b.environment.cpu_info = None;
        let reason = "there is no /proc/cpuinfo".to_owned();
        b.environment
            .not_measured
            .insert("cpu_info".to_owned(), reason.clone());
        b.budget_bytes = 1 << 30;
        b.tool.commit = Some("abc".to_owned());
        let found = differing(&a, &b);
        let names: Vec<&str> = found.iter().map(|fact| fact.name).collect();
        assert_eq!(names, ["cpu", "engine", "budget_bytes", "commit"]);
        assert_eq!(
            found[0].values,
            [Some(Fact::Text("Example CPU".into())), None]
        );
        assert_eq!(found[0].not_known["B"], reason);
        assert_eq!(found[3].not_known["A"], "this file does not tell it");
    }

    #[test]
    fn options_that_only_place_the_output_make_no_difference() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let line =
            "edgebench --vram-budget 4G -o a.json -q --format=csv --no-cuda-graph --output=b";
        assert_eq!(options(&words(line)), "--vram-budget 4G --no-cuda-graph");
        assert_eq!(options(&[]), "");
    }
}
