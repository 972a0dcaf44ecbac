//! The main job: probe, plan, the suite, the ceilings, the result.

use super::clocks::{self, Clocks};
use super::resume::{self, Resumed};
use super::routers;
use super::start::Start;
use super::suite::{Suite, not_run};
use super::{
    ceilings, compare, facts, foreign, inputs, limits, offload, plan, print, progress, published,
    render, show_preparing,
};
use crate::cachedir;
use crate::cli::{CostInputs, OutputFormat, RunCommand};
use crate::device::{self, HostFacts};
use crate::error::{Error, Result};
use crate::export::{self, Format};
use crate::model::{self, MappedWeight, Store};
use crate::plan::{Firmness, Plan, PlannedTrial, SANITY_SUITE};
use crate::progress::{Event, Progress};
use crate::protocol::{ProbeFacts, TrialRequest};
use crate::report::{
    self, Ceiling, Environment, Inputs, Params, Repeatability, ReportHead, Reproduced, RouterFacts,
    Row,
};
use crate::supervisor;
use crate::text::{self, Prompts, Tokenizer};
use crate::trial::{Device, DeviceLimits, Offload, OffloadFacts, Outcome, TrialResult};
use crate::units::{Bytes, Nanos};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Runs a suite to its exit code, or what is left of it.
pub fn run(command: &RunCommand, command_line: Vec<String>) -> Result<u8> {
    match &command.resume {
        Some(file) => {
            let resumed = resume::read(file, command, &command_line)?;
            go(&resumed.command, command_line, Some(&resumed))
        }
        None => go(command, command_line, None),
    }
}

/// Runs a suite, or what is left of one.
fn go(command: &RunCommand, command_line: Vec<String>, resumed: Option<&Resumed>) -> Result<u8> {
    let host = device::host(Path::new("/sys"));
    let started = utc(SystemTime::now());
    clocks::check(command)?;
    let baseline = compare::baseline(command)?;
    let words = Words::load(command)?;
    let inputs = inputs::now(command)?;
    let cost = cost_inputs(&command.cost)?;
    if let (Some(output), false) = (&command.output, command.dry_run) {
        export::ensure_writable(output)?;
    }
    let progress = progress(command.quiet);
    if command.dry_run {
        let plan = plan::unrun(&command.into(), &host, &progress)?;
        return print(&export::plan(&plan, command.format == OutputFormat::Json)?);
    }
    let cache = cachedir::root().map_err(Error::Usage)?;
    let bench = Bench::set_up(command, &host, &cache, &progress)?;
    if let Some(note) = &bench.firmness.note {
        progress.event(&Event::Note(format!(
            "the budget is held softly, {note}: the process is watched, and the runtime's arena limited where the driver tells enough"
        )));
    }
    let prompts = bench.prompts(&words, command.try_all)?;
    let ceilings = ceilings::tasks(command, &bench);
    let mut store = Store::new(&cache, command.cache_limit);
    store.ensure()?;
    let clocks = Clocks::lock(command, &bench, &cache, &progress)?;
    clocks.announce(bench.plan.device, &progress);
    let mut rows = match resumed {
        Some(resumed) => Rows::again(
            resumed,
            &bench,
            (&host, &clocks, &inputs),
            &ceilings,
            started,
        )?,
        None => {
            let limits = limits::measure(&bench, &host, command.try_all);
            let head = ReportHead {
                tool: facts::tool(),
                command_line,
                environment: bench.environment(&host, limits.as_ref(), &clocks),
                budgets: bench.plan.budgets.clone(),
                seed: command.request.seed,
                tokenizer: words.tokenizer.name().to_owned(),
                inputs: Some(inputs),
                continued_utc: Vec::new(),
                formulas: command.formulas.clone(),
                started_utc: started,
            };
            Rows::new(command, &bench, head, limits, &ceilings, &host)?
        }
    };
    let suite = Suite {
        command,
        bench: &bench,
        prompts,
        cost: &cost,
        progress: &progress,
    };
    let mut code = suite.run(&mut store, &mut rows)?;
    code = code.max(suite.as_published(&mut store, &mut rows)?);
    code = code.max(suite.routers(&mut store, &mut rows)?);
    let crank = ceilings::Crank {
        command,
        bench: &bench,
        words: &words,
        cost: &cost,
        progress: &progress,
        cache: &cache,
    };
    code = code.max(crank.search(&ceilings, &mut store, &mut rows)?);
    clocks.release(&cache, &bench.start.worker, &progress);
    progress.finish();
    show(command, &rows.report())?;
    if let Some(baseline) = &baseline {
        print(&compare::below(
            baseline,
            &rows.output,
            &rows.report(),
            command,
        )?)?;
    }
    progress.event(&Event::Note(format!("result: {}", rows.output.display())));
    Ok(code)
}

/// Prints the result. Its rows are on standard output already where that carries a stream.
fn show(command: &RunCommand, report: &report::Report) -> Result<u8> {
    print(&match command.format {
        OutputFormat::Jsonl => export::json_closing_lines(report)?,
        // The study is about pairs, and a file has one kind of line.
        OutputFormat::Csv if command.formulas.is_some() => export::study_csv(report)?,
        format => render(report, format, command.color)?,
    })
}

/// Tokenizer and prompts, read before anything runs.
pub(super) struct Words {
    /// The tokenizer of models that have none of their own.
    pub tokenizer: Tokenizer,
    /// Tokenizers of models that brought their own, by the models' names; none where one was named for all.
    own: BTreeMap<String, Tokenizer>,
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
        let own = match &command.tokenizer {
            Some(_) => BTreeMap::new(),
            None => foreign::tokenizers(&command.request)?,
        };
        Ok(Words {
            tokenizer,
            own,
            prompts,
        })
    }

    /// The tokenizer of a model.
    pub fn tokenizer(&self, model: &str) -> &Tokenizer {
        self.own.get(model).unwrap_or(&self.tokenizer)
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
    /// Main memory that was available before anything ran.
    pub memory_available: Option<Bytes>,
}

impl Bench {
    fn set_up(
        command: &RunCommand,
        host: &HostFacts,
        cache: &Path,
        progress: &Progress,
    ) -> Result<Bench> {
        let (start, probe, plan) = plan::to_run(&command.into(), host, cache, progress)?;
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
            memory_available: host.memory_available,
        })
    }

    /// The machine and its runtime.
    fn environment(
        &self,
        host: &HostFacts,
        limits: Option<&DeviceLimits>,
        clocks: &Clocks,
    ) -> Environment {
        let mut facts = facts::environment(host, &self.probe, self.plan.device, limits);
        clocks.record(&mut facts);
        facts
    }

    /// Prompt ids of every trial that will run, so that a tokenizer that does not suit a model stops the run before it begins.
    fn prompts(&self, words: &Words, try_all: bool) -> Result<Vec<Vec<Vec<i64>>>> {
        let rows = |planned: &PlannedTrial| {
            // Only decoders of text have prompts.
            if planned.refusal(try_all).is_some() || planned.trial.pass.is_some() {
                return Ok(Vec::new());
            }
            let trial = &planned.trial;
            text::rows(
                words.tokenizer(&trial.model),
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
    /// The models that are measured the published study's way, where that was asked for.
    pub as_published: Vec<Reproduced>,
    /// The models whose routers are looked at, where that was asked for.
    pub routers: Vec<RouterFacts>,
    /// What several runs measured; `None` where the suite runs once.
    pub repeated: Option<Repeatability>,
    output: PathBuf,
}

impl Rows {
    /// Before the first trial.
    fn new(
        command: &RunCommand,
        bench: &Bench,
        head: ReportHead,
        limits: Option<DeviceLimits>,
        ceilings: &[ceilings::Task],
        host: &HostFacts,
    ) -> Result<Rows> {
        let output = match &command.output {
            Some(output) => output.clone(),
            None => default_output(&head.started_utc, host)?,
        };
        let rows: Vec<Row> = bench.plan.trials.iter().map(pending).collect();
        Ok(Rows {
            head,
            limits,
            ceilings: ceilings.iter().map(|task| task.pending.clone()).collect(),
            as_published: published::pending(command, &bench.plan, &rows),
            routers: routers::pending(command, &bench.plan, &rows),
            repeated: (command.repeat > 1).then(|| Repeatability::new(command.repeat, &rows)),
            rows,
            output,
        })
    }

    /// What a run that was stopped has left, where it may go on here.
    fn again(
        resumed: &Resumed,
        bench: &Bench,
        (host, clocks, inputs): (&HostFacts, &Clocks, &Inputs),
        ceilings: &[ceilings::Task],
        now: String,
    ) -> Result<Rows> {
        let pending: Vec<Ceiling> = ceilings.iter().map(|task| task.pending.clone()).collect();
        resumed.check(
            &bench.environment(host, None, clocks),
            inputs,
            &bench.plan,
            &pending,
        )?;
        let (command, report) = (&resumed.command, &resumed.report);
        let repeated = report.repeatability.clone();
        let anew = || Repeatability::new(command.repeat, &report.trials);
        Ok(Rows {
            head: resumed.head(now),
            rows: report.trials.clone(),
            limits: report::device_limits(&report.environment),
            ceilings: report.ceilings.clone(),
            routers: match &report.study {
                Some(study) if !study.routers.is_empty() => study.routers.clone(),
                _ => routers::pending(command, &bench.plan, &report.trials),
            },
            as_published: match &report.study {
                Some(study) if !study.as_published.is_empty() => study.as_published.clone(),
                _ => published::pending(command, &bench.plan, &report.trials),
            },
            repeated: (command.repeat > 1).then(|| repeated.unwrap_or_else(anew)),
            output: command.output.clone().unwrap_or_default(),
        })
    }

    fn report(&self) -> report::Report {
        let rows = self.rows.clone();
        let report = report::build(&self.head, rows, self.repeated.as_ref());
        let report = report::with_as_published(report, &self.as_published);
        let report = report::with_routers(report, &self.routers);
        report::with_ceilings(report, &self.ceilings)
    }

    /// Writes the result file anew.
    pub fn save(&self) -> Result<()> {
        export::write_atomically(
            &self.output,
            export::render(&self.report(), Format::Json, None, false)?.as_bytes(),
        )
    }
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
    /// The published study's way of measuring: the whole sequence again for each token. Logits have been checked in the row.
    AsPublished,
    /// Where the routers send tokens.
    Routing,
}

/// Prepares the model and runs one trial in a worker. Where the driver refuses what a plan for the weights was thought to leave,
/// one with fewer weights on the GPU is tried.
pub(super) fn trial(
    command: &RunCommand,
    bench: &Bench,
    planned: &PlannedTrial,
    prompts: Vec<Vec<i64>>,
    purpose: Purpose,
    store: &mut Store,
    progress: &Progress,
) -> Result<TrialResult> {
    let mut again = None;
    if planned.trial.offload == Offload::Auto && purpose == Purpose::Row {
        again = Some(prompts.clone());
    }
    let mut run = |prompts, less| {
        let weights = offload::place(command, bench, planned, less);
        if let Some(reason) = weights.refusal {
            return Ok(not_run(planned, Outcome::DoesNotFit { reason }));
        }
        let mut result = attempt(
            command,
            bench,
            planned,
            prompts,
            purpose,
            &weights.mapped,
            store,
            progress,
        )?;
        result.offload = weights.facts;
        Ok(result)
    };
    let first: TrialResult = run(prompts, Bytes(0))?;
    // On one shared memory another plan would take as much.
    let unified = |facts: &OffloadFacts| facts.unified;
    let again = again.filter(|_| !first.offload.as_ref().is_some_and(unified));
    match (&first.outcome, again) {
        (Outcome::OutOfMemory { reason, .. }, Some(prompts)) => {
            let refused = reason.clone();
            progress.event(&Event::Note(format!(
                "{}: out of memory ({refused}); it runs again with fewer weights on the GPU",
                planned.trial.id
            )));
            let mut second = run(prompts, offload::less(planned.trial.budget))?;
            if let Some(facts) = &mut second.offload {
                facts.refused = Some(refused);
            }
            Ok(second)
        }
        _ => Ok(first),
    }
}

/// Runs one trial in a worker, with these tensors in main memory.
#[expect(clippy::too_many_arguments, reason = "all of it is one request")]
fn attempt(
    command: &RunCommand,
    bench: &Bench,
    planned: &PlannedTrial,
    prompts: Vec<Vec<i64>>,
    purpose: Purpose,
    mapped: &[MappedWeight],
    store: &mut Store,
    progress: &Progress,
) -> Result<TrialResult> {
    let (spec, trial) = (planned.spec, &planned.trial);
    let mut tell = |event: model::Preparing| show_preparing(progress, &spec.name, event);
    let variant = model::Variant {
        packed_experts: offload::packs_experts(mapped),
        ..model::Variant::of(trial)
    };
    let prepared = store.prepare(spec, variant, trial.numerics(), trial.seed, &mut tell)?;
    let is_whole = spec.foreign.is_some_and(|foreign| foreign.is_whole());
    let is_checked = !matches!(purpose, Purpose::AsPublished | Purpose::Routing);
    let copied = offload::copied(mapped);
    let copies_graph = match copied.is_empty() {
        true => None,
        false => Some(store.with_copies(&prepared, spec, variant, trial.numerics(), &copied)?),
    };
    let packing_check = match variant.packed_experts {
        true => store.with_packing_check(&prepared, spec, trial.numerics())?,
        false => None,
    };
    // Quick, and of the routing alone: what holds in test size holds for larger ones, whose graphs are made by the same hand.
    let has_check =
        purpose == Purpose::Row && spec.suites.iter().any(|suite| suite == SANITY_SUITE);
    let router_check = match (has_check, prompts.first()) {
        (true, Some(prompt)) => store.with_router_check(&prepared, spec, trial, prompt)?,
        _ => None,
    };
    let request = TrialRequest {
        trial: trial.clone(),
        engine: bench.start.engine.clone(),
        graph: prepared.graph.clone(),
        copies_graph,
        packing_check,
        io: prepared.io.clone(),
        weights: prepared.weights,
        largest_tensor: prepared.largest_tensor,
        weight_file: prepared.weight_file.clone(),
        tensors: offload::mark(&prepared.tensors, mapped),
        prompts,
        golden: is_checked
            .then(|| model::golden(&spec.name, trial.seed, trial.precision, trial.kv_cache))
            .flatten(),
        unquantized: is_checked
            .then(|| model::unquantized_golden(trial))
            .flatten(),
        tolerance: model::tolerance(trial.numerics(), trial.kv_cache),
        decode_rule: match purpose {
            Purpose::Row if is_whole || trial.pass.is_some() => None,
            Purpose::Row => Some(model::decode_rule(spec, trial)),
            _ => None,
        },
        fp32_text: match purpose {
            Purpose::Row => model::text_logits(&spec.name, trial.seed),
            _ => None,
        },
        output_check: purpose == Purpose::Row && trial.pass.is_some(),
        router_check,
        whole_sequence: purpose == Purpose::AsPublished || is_whole,
        routing: purpose == Purpose::Routing,
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
    let told = planned.spec.foreign.map(|foreign| foreign.active());
    Params {
        total: census.total,
        active: told
            .as_ref()
            .map_or(Some(census.active), |told| told.0.clone().ok()),
        active_read: told.map_or(Some(census.active_read), |told| told.1.ok()),
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
