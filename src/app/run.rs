//! The main job: probe, plan, one worker for each trial, a result file that is rewritten after each.

use super::start::Start;
use super::tuning::Tuner;
use super::{ceilings, facts, limits, plan, print, progress, render, show_preparing};
use crate::cachedir;
use crate::cli::{CostInputs, OutputFormat, RunCommand};
use crate::device::{self, HostFacts};
use crate::error::{Error, Result, exit};
use crate::export::{self, Format};
use crate::model::{self, Store};
use crate::plan::{Firmness, Plan, PlannedTrial};
use crate::progress::{Event, Progress};
use crate::protocol::{ProbeFacts, TrialRequest};
use crate::report::{self, Ceiling, Params, ReportHead, Row};
use crate::supervisor;
use crate::text::{self, Prompts, Tokenizer};
use crate::trial::{Device, DeviceLimits, Outcome, Phase, PowerLog, TrialResult};
use crate::units::{Bytes, Nanos};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Runs a suite to its exit code.
pub fn run(command: &RunCommand, command_line: Vec<String>) -> Result<u8> {
    let host = device::host(Path::new("/sys"));
    let started = utc(SystemTime::now());
    let words = Words::load(command)?;
    let cost = cost_inputs(&command.cost)?;
    if let (Some(output), false) = (&command.output, command.dry_run) {
        export::ensure_writable(output)?;
    }
    let progress = progress(command.quiet);
    if command.dry_run {
        let plan = plan::unrun(&command.into(), &host, &progress)?;
        return print(&export::plan(&plan, command.format == OutputFormat::Json)?);
    }
    let bench = Bench::set_up(command, &host, &progress)?;
    if let Some(note) = &bench.firmness.note {
        progress.event(&Event::Note(format!(
            "the budget is held softly, {note}: the process is watched, and the runtime's arena limited where the driver tells enough"
        )));
    }
    let prompts = bench.prompts(&words, command.try_all)?;
    let ceilings = ceilings::tasks(command, &bench);
    let cache = cachedir::root().map_err(Error::Usage)?;
    let mut store = Store::new(&cache, command.cache_limit);
    store.ensure()?;
    let output = match &command.output {
        Some(output) => output.clone(),
        None => default_output(&started, &host)?,
    };
    let limits = limits::measure(&bench, &host, command.try_all);
    let head = ReportHead {
        tool: facts::tool(),
        command_line,
        started_utc: started,
        environment: facts::environment(&host, &bench.probe, bench.plan.device, limits.as_ref()),
        budgets: bench.plan.budgets.clone(),
        seed: command.request.seed,
        tokenizer: words.tokenizer.name().to_owned(),
        continued_utc: Vec::new(),
        formulas: None,
    };
    let mut rows = Rows {
        head,
        rows: bench.plan.trials.iter().map(pending).collect(),
        limits,
        ceilings: ceilings.iter().map(|task| task.pending.clone()).collect(),
        output,
    };
    let mut code = trials(
        command, &bench, prompts, &cost, &mut store, &mut rows, &progress,
    )?;
    let crank = ceilings::Crank {
        command,
        bench: &bench,
        words: &words,
        cost: &cost,
        progress: &progress,
        cache: &cache,
    };
    code = code.max(crank.search(&ceilings, &mut store, &mut rows)?);
    progress.finish();
    if command.format != OutputFormat::Jsonl {
        print(&render(&rows.report(), command.format, command.color)?)?;
    }
    progress.event(&Event::Note(format!("result: {}", rows.output.display())));
    Ok(code)
}

/// Tokenizer and prompts, read before anything runs.
pub(super) struct Words {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The prompts.
    pub prompts: Prompts,
}

impl Words {
    fn load(command: &RunCommand) -> Result<Words> {
        let tokenizer = command
            .tokenizer
            .as_deref()
            .map_or_else(Tokenizer::rules, Tokenizer::from_file)?;
        let prompts = command
            .prompt_file
            .as_deref()
            .map_or_else(|| Ok(Prompts::builtin()), Prompts::from_file)?;
        Ok(Words { tokenizer, prompts })
    }
}

/// Everything that is settled before the first trial.
pub(super) struct Bench {
    /// The worker and its runtime.
    pub start: Start,
    /// What the probe found.
    pub probe: ProbeFacts,
    /// The trials.
    pub plan: Plan,
    /// How firmly the budget is held.
    pub firmness: Firmness,
}

impl Bench {
    fn set_up(command: &RunCommand, host: &HostFacts, progress: &Progress) -> Result<Bench> {
        let (start, probe, plan) = plan::to_run(&command.into(), host, progress)?;
        let gpu = probe.gpu.as_ref().filter(|_| plan.device != Device::Cpu);
        if let (Some(gpu), true) = (gpu, command.exclusive) {
            crate::plan::alone(gpu)?;
        }
        let firmness = crate::plan::firmness(command.enforce, gpu)?;
        Ok(Bench {
            start,
            probe,
            plan,
            firmness,
        })
    }

    /// Prompt ids of every trial that will run, so that a tokenizer that does not suit a model stops the run before it begins.
    fn prompts(&self, words: &Words, try_all: bool) -> Result<Vec<Vec<Vec<i64>>>> {
        let rows = |planned: &PlannedTrial| {
            if planned.refusal(try_all).is_some() {
                return Ok(Vec::new());
            }
            let trial = &planned.trial;
            text::rows(
                &words.tokenizer,
                &words.prompts,
                trial.batch,
                trial.prompt_tokens,
                planned.spec.vocab,
            )
        };
        self.plan.trials.iter().map(rows).collect()
    }
}

/// The rows so far, and where they are kept.
pub(super) struct Rows {
    /// What is known without them.
    pub head: ReportHead,
    /// In the order of the plan.
    pub rows: Vec<Row>,
    /// What the device can do at most.
    pub limits: Option<DeviceLimits>,
    /// In the order of their searches.
    pub ceilings: Vec<Ceiling>,
    output: PathBuf,
}

impl Rows {
    fn report(&self) -> report::Report {
        report::with_ceilings(report::build(&self.head, self.rows.clone()), &self.ceilings)
    }

    /// Writes the result file anew.
    pub fn save(&self) -> Result<()> {
        export::write_atomically(
            &self.output,
            export::render(&self.report(), Format::Json, None, false)?.as_bytes(),
        )
    }
}

fn trials(
    command: &RunCommand,
    bench: &Bench,
    prompts: Vec<Vec<Vec<i64>>>,
    cost: &report::CostInputs,
    store: &mut Store,
    rows: &mut Rows,
    progress: &Progress,
) -> Result<u8> {
    let (mut code, mut stopped) = (exit::OK, exit::OK);
    let mut tuner = Tuner::new(command, bench, progress);
    progress.event(&Event::PlanReady {
        trials: bench.plan.trials.len(),
    });
    rows.save()?;
    for (index, (planned, prompts)) in bench.plan.trials.iter().zip(prompts).enumerate() {
        let id = planned.trial.id.clone();
        progress.event(&Event::TrialStarted {
            index,
            id: id.clone(),
        });
        let began = utc(SystemTime::now());
        let (result, tuning) = match planned.refusal(command.try_all) {
            Some(reason) => {
                let reason = reason.to_owned();
                (not_run(planned, Outcome::DoesNotFit { reason }), None)
            }
            None => tuner.run(planned, prompts, store).unwrap_or_else(|error| {
                // Weights that cannot be written cost this row; smaller models may still have room.
                stopped = stopped.max(error.exit_code());
                let (phase, reason) = (Phase::Start, error.to_string());
                (not_run(planned, Outcome::Failed { phase, reason }), None)
            }),
        };
        if !matches!(result.outcome, Outcome::Ok | Outcome::DoesNotFit { .. }) {
            code = exit::TRIALS;
        }
        let row = report::row(
            &result,
            params(planned),
            weight_bytes(planned),
            planned.predicted_peak,
            cost,
            Some(began),
        );
        let row = report::with_tuning(row, tuning);
        rows.rows[index] = match &rows.limits {
            Some(limits) => {
                let work = model::work(planned.spec, &planned.trial);
                report::with_limits(row, &work, limits)
            }
            None => row,
        };
        rows.save()?;
        progress.event(&Event::TrialFinished {
            id,
            line: export::summary(&rows.rows[index]),
        });
        if command.format == OutputFormat::Jsonl {
            print(&export::json_line(&rows.rows[index])?)?;
        }
    }
    Ok(code.max(stopped))
}

/// What a trial is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A row of the result: it ends with decode held to prefill, and logits to those in fp32.
    Row,
    /// A step of a search for a ceiling. It ends with the last token: such a trial goes to the edge of the memory on purpose, where
    /// reading the tokens again could be refused what the search asks about, and on the CPU a long context takes minutes. How the
    /// model, form and precision decode has been checked in their row.
    Ceiling,
    /// One of the short trials that tell which tunings to keep: the timed one, which is run with them, is checked.
    Tuning,
}

/// Prepares the model and runs one trial in a worker.
pub(super) fn trial(
    command: &RunCommand,
    bench: &Bench,
    planned: &PlannedTrial,
    prompts: Vec<Vec<i64>>,
    purpose: Purpose,
    store: &mut Store,
    progress: &Progress,
) -> Result<TrialResult> {
    let (spec, trial) = (planned.spec, &planned.trial);
    let mut tell = |event: model::Preparing| show_preparing(progress, &spec.name, event);
    let prepared = store.prepare(
        spec,
        model::Variant::of(trial),
        trial.numerics(),
        trial.seed,
        &mut tell,
    )?;
    let request = TrialRequest {
        trial: trial.clone(),
        engine: bench.start.engine.clone(),
        graph: prepared.graph.clone(),
        io: prepared.io.clone(),
        weights: prepared.weights,
        largest_tensor: prepared.largest_tensor,
        weight_file: prepared.weight_file.clone(),
        tensors: prepared.tensors.clone(),
        prompts,
        golden: model::golden(&spec.name, trial.seed, trial.precision, trial.kv_cache),
        unquantized: model::unquantized_golden(trial),
        tolerance: model::tolerance(trial.numerics(), trial.kv_cache),
        decode_rule: match purpose {
            Purpose::Row => Some(model::decode_rule(spec, trial)),
            Purpose::Ceiling | Purpose::Tuning => None,
        },
        fp32_text: match purpose {
            Purpose::Row => model::text_logits(&spec.name, trial.seed),
            Purpose::Ceiling | Purpose::Tuning => None,
        },
        sample_interval: command.sample_interval.map(Nanos::from),
        enforce: bench.firmness.mode,
        enforce_note: bench.firmness.note.clone(),
        enforce_asked: command.enforce.is_some(),
        // The probe looked from inside its own context.
        device_free: bench
            .probe
            .gpu
            .as_ref()
            .map(|gpu| gpu.memory_free + gpu.probe_bytes.unwrap_or_default()),
        bus_id: bench.probe.gpu.as_ref().and_then(|gpu| gpu.bus_id.clone()),
        exclusive: command.exclusive,
        unified_memory: trial.device != Device::Cpu
            && bench
                .probe
                .gpu
                .as_ref()
                .is_some_and(|gpu| gpu.unified_memory),
    };
    let mut done = 0;
    Ok(supervisor::run(
        &request,
        &bench.start.worker,
        command.timeout,
        &mut |event| match event {
            supervisor::Event::Phase(phase) => progress.event(&Event::Phase { phase }),
            supervisor::Event::WarmedUp => (),
            supervisor::Event::Repetition => {
                done += 1;
                progress.event(&Event::Repetition {
                    done,
                    of: trial.repetitions,
                });
            }
        },
    ))
}

/// The result of a trial that was not run.
fn not_run(planned: &PlannedTrial, outcome: Outcome) -> TrialResult {
    TrialResult {
        trial: planned.trial.clone(),
        outcome,
        load: None,
        repetitions: Vec::new(),
        first_run: None,
        check: None,
        decode_check: None,
        fp32_difference: None,
        memory: Vec::new(),
        enforcement: None,
        others: None,
        power: PowerLog::default(),
        first_ids: Vec::new(),
        wall: None,
    }
}

fn pending(planned: &PlannedTrial) -> Row {
    report::pending_row(
        &planned.trial,
        params(planned),
        weight_bytes(planned),
        planned.predicted_peak,
    )
}

pub(super) fn params(planned: &PlannedTrial) -> Params {
    let census = model::census(planned.spec);
    Params {
        total: census.total,
        active: census.active,
        active_read: census.active_read,
    }
}

pub(super) fn weight_bytes(planned: &PlannedTrial) -> Bytes {
    model::weight_bytes(planned.spec, planned.trial.numerics())
}

/// Prices from the command line, the report's assumptions where none were given.
fn cost_inputs(given: &CostInputs) -> Result<report::CostInputs> {
    let assumed = report::CostInputs::default();
    let priced = given.hardware_price.is_some() || given.price_per_hour.is_some();
    if given.currency != assumed.currency && !priced {
        return Err(Error::Usage(format!(
            "--currency {} needs a price in it, because the assumed one is in {}; add --hardware-price or --price-per-hour",
            given.currency, assumed.currency
        )));
    }
    Ok(report::CostInputs {
        hardware_price: given.hardware_price.unwrap_or(assumed.hardware_price),
        hardware_life_hours: given.hardware_life.as_secs_f64() / 3600.0,
        flat_price_per_hour: given.price_per_hour,
        electricity_price_per_kwh: given
            .electricity_price
            .unwrap_or(assumed.electricity_price_per_kwh),
        watts: given.watts,
        currency: given.currency.clone(),
    })
}

pub(super) fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `edgebench-results/<UTC time>-<host>.json`, with nothing in the name that a file system may refuse. The file is made
/// here, so that two runs that start in the same second do not write to one.
fn default_output(started: &str, host: &HostFacts) -> Result<PathBuf> {
    let time: String = started
        .chars()
        .filter(|char| char.is_ascii_alphanumeric())
        .collect();
    let host = host.name.as_deref().unwrap_or("unknown-host");
    let plain = |char: char| char.is_ascii_alphanumeric() || char == '-';
    let host: String = host
        .chars()
        .map(|char| if plain(char) { char } else { '_' })
        .collect();
    let folder = Path::new("edgebench-results");
    let first = folder.join(format!("{time}-{host}.json"));
    let wrap = |source| Error::output(folder, source, " with -o");
    std::fs::create_dir_all(folder).map_err(wrap)?;
    let others = (2..1000).map(|number| folder.join(format!("{time}-{host}-{number}.json")));
    for path in std::iter::once(first.clone()).chain(others) {
        match std::fs::File::create_new(&path) {
            Ok(_) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(Error::output(&path, error, " with -o")),
        }
    }
    Ok(first)
}
