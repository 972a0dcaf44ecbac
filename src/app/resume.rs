//! Going on with a run that was stopped: its result file tells what was asked for and what has ended. What would not be the same
//! run any more is refused in a sentence.

use super::{facts, inputs};
use crate::cli::{self, Command, RunCommand};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::report::compare::options;
use crate::report::{self, Ceiling, Environment, Inputs, Report, ReportHead};
use crate::units::Bytes;
use std::ffi::OsString;
use std::path::Path;

/// How far two readings of one machine's memory may be apart: a kernel keeps another part of it for itself after an update.
const SAME_MEMORY: f64 = 0.01;

/// A run to continue.
pub struct Resumed {
    /// What was asked for then, with the output of now.
    pub command: RunCommand,
    /// Its result so far.
    pub report: Report,
}

/// Reads the file and what was asked for when it was begun. `now` is the command line that continues it.
pub fn read(file: &Path, command: &RunCommand, now: &[String]) -> Result<Resumed> {
    let report = super::read(file, report::from_json)?;
    let (then, given) = (options(&report.command_line), options(now));
    if !given.is_empty() && given != then {
        return Err(Error::Usage(format!(
            "--resume {}: that run was begun with {}, and now there is {given}; give the same options, or none",
            file.display(),
            if then.is_empty() { "no options" } else { &then }
        )));
    }
    let argv = report.command_line.iter().map(OsString::from);
    let Ok(Command::Run(begun)) = cli::parse(argv) else {
        return Err(Error::Usage(format!(
            "--resume {}: this edgebench does not take the command line it was begun with ({then}); use the edgebench that wrote it, or run it anew",
            file.display()
        )));
    };
    let mut command = RunCommand {
        output: Some(file.to_owned()),
        resume: Some(file.to_owned()),
        format: command.format,
        quiet: command.quiet,
        color: command.color,
        ..*begun
    };
    // Files and folders that it names are models again.
    super::import::adopt(&mut command.request, command.quiet)?;
    Ok(Resumed { command, report })
}

impl Resumed {
    /// Refuses another program, runtime or machine, files and variables that changed, and a plan that is another one now.
    pub fn check(
        &self,
        environment: &Environment,
        now: &Inputs,
        plan: &Plan,
        ceilings: &[Ceiling],
    ) -> Result<()> {
        let tool = facts::tool();
        let mut unlike = Vec::new();
        if self.report.tool != tool {
            unlike.push(other("edgebench", &words(&self.report.tool), &words(&tool)));
        }
        unlike.extend(machine(&self.report.environment, environment));
        // Results of before there were any say nothing of them.
        if let Some(then) = &self.report.inputs {
            unlike.extend(inputs::differences(then, now));
        }
        if unlike.is_empty() {
            unlike.extend(self.other_work(plan, ceilings));
        }
        if unlike.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "--resume {}: what is left would not be measured under the same conditions ({}); restore them, or run the suite anew",
            self.command
                .output
                .as_deref()
                .unwrap_or(Path::new(""))
                .display(),
            unlike.join("; ")
        )))
    }

    /// In what the plan of now differs.
    fn other_work(&self, plan: &Plan, ceilings: &[Ceiling]) -> Option<String> {
        let then = self.report.trials.iter().map(|row| &row.id);
        if !then.eq(plan.trials.iter().map(|planned| &planned.trial.id)) {
            return Some("the trials of the plan are others".to_owned());
        }
        let near = |then: u64, now: Bytes| is_near(then as f64, now.0 as f64);
        let budgets = &self.report.budgets_bytes;
        let same = budgets.len() == plan.budgets.len()
            && budgets
                .iter()
                .zip(&plan.budgets)
                .all(|(then, now)| near(*then, *now));
        if !same {
            return Some("the budget is another one".to_owned());
        }
        let work = |one: &Ceiling| {
            (
                one.kind.clone(),
                one.model.clone(),
                one.precision.clone(),
                one.prompt_tokens,
            )
        };
        let then = self.report.ceilings.iter();
        // The largest model is named by its search, and only the others before it.
        let names = |one: &Ceiling| (one.kind != "model").then(|| work(one));
        let same = then.clone().count() == ceilings.len()
            && then.map(names).eq(ceilings.iter().map(names));
        (!same).then(|| "the ceilings to search for are others".to_owned())
    }

    /// What heads the continued result: what headed it before.
    pub fn head(&self, now: String) -> ReportHead {
        let report = &self.report;
        let mut continued = report.continued_utc.clone();
        continued.push(now);
        ReportHead {
            tool: report.tool.clone(),
            command_line: report.command_line.clone(),
            started_utc: report.started_utc.clone(),
            environment: report.environment.clone(),
            budgets: report.budgets_bytes.iter().copied().map(Bytes).collect(),
            seed: report.seed,
            tokenizer: report.tokenizer.clone(),
            inputs: report.inputs.clone(),
            continued_utc: continued,
            formulas: self.command.formulas.clone(),
        }
    }
}

fn words(tool: &report::Tool) -> String {
    let commit = tool.commit.as_deref().unwrap_or("of no known commit");
    format!("{} {commit}", tool.version)
}

fn other(what: &str, then: &str, now: &str) -> String {
    format!("{what} was {then} and is {now}")
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() <= SAME_MEMORY * a.max(b)
}

/// In what the machine, its settings and the runtime differ.
fn machine(then: &Environment, now: &Environment) -> Vec<String> {
    type Read = fn(&Environment) -> Option<String>;
    type Size = fn(&Environment) -> Option<u64>;
    let facts: [(&str, Read); 11] = [
        ("the architecture", |one| Some(one.arch.clone())),
        ("the CPU", |one| one.cpu_info.clone()),
        ("the number of cores", |one| {
            Some(one.cpu_cores?.to_string())
        }),
        ("the GPU", |one| one.gpu_info.clone()),
        ("the GPU's driver", |one| {
            one.gpu.as_ref()?.driver_version.clone()
        }),
        ("the GPU's power limit in mW", |one| {
            Some(one.gpu.as_ref()?.power_limit_mw?.to_string())
        }),
        ("the GPU's locked clock in MHz", |one| {
            Some(one.locked_clocks.as_ref()?.graphics_mhz.to_string())
        }),
        ("ONNX Runtime", |one| one.runtime_version.clone()),
        ("its build", |one| one.runtime_build.clone()),
        ("the provider", |one| one.provider_in_use.clone()),
        ("the power mode", |one| one.power_mode.clone()),
    ];
    let none = || "not known".to_owned();
    let mut unlike: Vec<String> = facts
        .iter()
        .filter(|(_, read)| read(then) != read(now))
        .map(|(what, read)| {
            let [then, now] = [then, now].map(|one| read(one).unwrap_or_else(none));
            other(what, &then, &now)
        })
        .collect();
    let sizes: [(&str, Size); 2] = [
        ("main memory", |one| one.memory_total_bytes),
        ("the GPU's memory", |one| {
            Some(one.gpu.as_ref()?.memory_total.0)
        }),
    ];
    for (what, read) in sizes {
        let same = match (read(then), read(now)) {
            (Some(then), Some(now)) => is_near(then as f64, now as f64),
            (then, now) => then == now,
        };
        if !same {
            let text = |size: Option<u64>| size.map_or_else(none, |size| format!("{size} bytes"));
            unlike.push(other(what, &text(read(then)), &text(read(now))));
        }
    }
    unlike
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_the_same_as_itself_and_after_an_update_of_its_kernel() {
        let then = Environment {
            cpu_info: Some("a CPU".into()),
            memory_total_bytes: Some(8_000_000_000),
            runtime_version: Some("1.31.1".into()),
            kernel: Some("6.1".into()),
            ..Environment::default()
        };
        assert!(machine(&then, &then).is_empty());
        let mut now = Environment {
            memory_total_bytes: Some(7_999_000_000),
            kernel: Some("6.2".into()),
            ..then.clone()
        };
        assert!(machine(&then, &now).is_empty());
        now.runtime_version = Some("1.24.0".into());
        now.power_mode = Some("performance".into());
        now.memory_total_bytes = Some(4_000_000_000);
        assert_eq!(
            machine(&then, &now),
            [
                "ONNX Runtime was 1.31.1 and is 1.24.0",
                "the power mode was not known and is performance",
                "main memory was 8000000000 bytes and is 4000000000 bytes",
            ]
        );
    }
}
