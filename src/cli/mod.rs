//! Door of the command line: arguments in, a [`Command`] out. clap does not leave this folder.

mod args;
mod import;
mod unrun;
mod values;

pub use import::{ImportCommand, is_folder};
pub use unrun::{InspectCommand, PlanCommand};

use crate::ceiling::Kind;
use crate::error::exit;
use crate::export::compare::ComparisonFormat;
use crate::model::foreign::ExternalPaths;
use crate::payload::BundleRequest;
use crate::plan::{DEFAULT_SUITE, Request, STUDY_SUITE, Selection};
use crate::report::Formula;
use crate::report::compare::{Condition, Rename};
use crate::trial::{DeviceChoice, Enforce, Float, Form, KvCache, Precision};
use crate::tuning::Choice;
use crate::units::Bytes;
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Run trials.
    Run(Box<RunCommand>),
    /// List the built-in models.
    Models(ListFormat),
    /// Write a model to a folder.
    Export(ExportCommand),
    /// Write a checkpoint as a model to a folder.
    Import(ImportCommand),
    /// Predict trials and run none.
    Plan(Box<PlanCommand>),
    /// Say what a model is.
    Inspect(InspectCommand),
    /// Print a saved result.
    Show(PathBuf, OutputFormat),
    /// Make one file of program, worker and runtime.
    Bundle(BundleRequest, ListFormat),
    /// Print the licences.
    Licenses,
    /// Compare saved results.
    Compare(CompareCommand),
    /// Look after the baselines.
    Baseline(BaselineAction),
    /// Make a page of saved results.
    Report(ReportCommand),
    /// Look after the cache.
    Cache(CacheAction, ListFormat),
    /// Tell what this machine has and what is missing.
    Doctor(DoctorCommand),
    /// Serve the supervisor.
    Worker,
}

/// A run, as asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunCommand {
    /// The trials.
    pub request: Request,
    /// Longest time for each phase of a trial.
    pub timeout: Duration,
    /// Ceilings to search for; `None` where the device decides.
    pub ceilings: Option<Vec<Kind>>,
    /// How firmly the budget is held; `None` for as firmly as the device allows.
    pub enforce: Option<Enforce>,
    /// Whether other processes on the GPU are refused.
    pub exclusive: bool,
    /// Whether the GPU's clocks are locked.
    pub lock_clocks: bool,
    /// Pause between memory readings; `None` to read at the ends of phases only.
    pub sample_interval: Option<Duration>,
    /// Run also what is predicted not to fit.
    pub try_all: bool,
    /// How often the whole suite runs.
    pub repeat: u32,
    /// Result file of a run to continue.
    pub resume: Option<PathBuf>,
    /// Formulas to price tokens by, where the study was asked for.
    pub formulas: Option<Vec<Formula>>,
    /// Whether the published study's way of measuring is shown beside ours.
    pub as_published: bool,
    /// Whether it is told where routers send tokens.
    pub router: bool,
    /// Tunings of the runtime.
    pub tune: Choice,
    /// Print the plan and stop.
    pub dry_run: bool,
    /// A `tokenizer.json`; `None` for the rules.
    pub tokenizer: Option<PathBuf>,
    /// A file of prompts; `None` for the built-in ones.
    pub prompt_file: Option<PathBuf>,
    /// Most main memory that may be pinned for weights; `None` for a share of what is available.
    pub host_budget: Option<Bytes>,
    /// Most disk space for the cache.
    pub cache_limit: Bytes,
    /// Device.
    pub device: DeviceChoice,
    /// ONNX Runtime: a library, a folder or a wheel; `None` for the built-in choice.
    pub ort: Option<PathBuf>,
    /// Folders to look for CUDA libraries in first.
    pub cuda_dirs: Vec<PathBuf>,
    /// Folder to unpack the payload into; `None` for the usual place.
    pub runtime_dir: Option<PathBuf>,
    /// Script of the scripted engine, which then takes the place of ONNX Runtime.
    pub script: Option<PathBuf>,
    /// What standard output carries.
    pub format: OutputFormat,
    /// Result file; `None` for the usual place.
    pub output: Option<PathBuf>,
    /// Name of the baseline to compare with.
    pub baseline: Option<String>,
    /// No progress.
    pub quiet: bool,
    /// When to use colour.
    pub color: ColorChoice,
    /// Prices.
    pub cost: CostInputs,
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoctorCommand {
    /// JSON instead of text.
    pub json: bool,
    /// Device.
    pub device: DeviceChoice,
    /// ONNX Runtime: a library, a folder or a wheel; `None` for the built-in choice.
    pub ort: Option<PathBuf>,
    /// Folders to look for CUDA libraries in first.
    pub cuda_dirs: Vec<PathBuf>,
    /// Script of the scripted engine, which then takes the place of ONNX Runtime.
    pub script: Option<PathBuf>,
    /// Folder to read the system's files from; `None` for `/`.
    pub root: Option<PathBuf>,
    /// Folder to unpack the payload into; `None` for the usual place.
    pub runtime_dir: Option<PathBuf>,
}

/// Prices and power, as given.
#[derive(Debug, Clone, PartialEq)]
pub struct CostInputs {
    /// Price of the hardware.
    pub hardware_price: Option<f64>,
    /// Time over which it is spread.
    pub hardware_life: Duration,
    /// Flat price of an hour, instead of hardware and electricity.
    pub price_per_hour: Option<f64>,
    /// Price of a kilowatt-hour.
    pub electricity_price: Option<f64>,
    /// Power in watts; `None` for what the device tells.
    pub watts: Option<f64>,
    /// Label of the prices.
    pub currency: String,
}

/// What to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCommand {
    /// Name of a built-in model.
    pub model: String,
    /// Graph form.
    pub form: Form,
    /// Type of the weights.
    pub precision: Precision,
    /// What is computed in where they are quantised; `None` for the default.
    pub activations: Option<Float>,
    /// Type of the KV cache.
    pub kv_cache: KvCache,
    /// Folder.
    pub output: PathBuf,
    /// Seed of the weights.
    pub seed: u64,
}

/// What to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareCommand {
    /// The files; the baseline first, where it has no name.
    pub files: Vec<PathBuf>,
    /// Name of the baseline.
    pub baseline: Option<String>,
    /// What the exit code depends on.
    pub conditions: Vec<Condition>,
    /// Models of other names.
    pub renames: Vec<Rename>,
    /// What standard output carries.
    pub format: ComparisonFormat,
    /// When to use colour.
    pub color: ColorChoice,
}

/// What to make a page of.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportCommand {
    /// The files, the baseline first.
    pub files: Vec<PathBuf>,
    /// Models of other names.
    pub renames: Vec<Rename>,
    /// The page; `-` for standard output.
    pub output: PathBuf,
}

/// Formats of a run's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// Aligned text with a verdict.
    Table,
    /// The whole report.
    Json,
    /// One JSON object for each trial.
    Jsonl,
    /// One line for each trial.
    Csv,
    /// A Markdown table.
    Markdown,
}

/// Formats of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Aligned text.
    Table,
    /// JSON.
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do with the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAction {
    /// List what is in it.
    List,
    /// Empty it.
    Clear,
}

/// What to do with the baselines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaselineAction {
    /// List them.
    List(ListFormat),
    /// Print one.
    Show(String, ListFormat),
    /// Keep a result under a name.
    Add {
        /// The name.
        name: String,
        /// The result.
        file: PathBuf,
        /// Whether it may take the place of another.
        replace: bool,
    },
    /// Remove one.
    Remove(String),
}

/// The end of the program before it began: help, version or a wrong command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliExit {
    /// What to print, newline included.
    pub text: String,
    /// Where to print it.
    pub stream: Stream,
    /// The exit code.
    pub code: u8,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Parses a command line, the program's name first.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Command, CliExit> {
    let cli = args::Cli::try_parse_from(argv).map_err(|error| leave(&error))?;
    Ok(match cli.command {
        None => Command::Run(Box::new(run(cli.run, DEFAULT_SUITE))),
        Some(args::Sub::Models { format }) => Command::Models(format),
        Some(args::Sub::Study(args)) => Command::Run(Box::new(study(*args))),
        Some(args::Sub::Plan(args)) => Command::Plan(Box::new(args.into())),
        Some(args::Sub::Inspect(args)) => Command::Inspect(args.into()),
        Some(args::Sub::Show { file, format }) => Command::Show(file, format),
        Some(args::Sub::Compare(args)) => Command::Compare(CompareCommand {
            files: std::iter::once(args.first).chain(args.others).collect(),
            baseline: args.baseline,
            conditions: args.fail_if,
            renames: args.renames,
            format: args.format,
            color: args.color,
        }),
        Some(args::Sub::Baseline { action }) => Command::Baseline(baseline(action)),
        Some(args::Sub::Report(args)) => Command::Report(ReportCommand {
            files: args.files,
            renames: args.renames,
            output: args.output,
        }),
        Some(args::Sub::Cache { action, format }) => Command::Cache(action, format),
        Some(args::Sub::Worker) => Command::Worker,
        Some(args::Sub::Licenses) => Command::Licenses,
        Some(args::Sub::Bundle(args)) => Command::Bundle(
            BundleRequest {
                output: args.output,
                front: args.front,
                worker: args.worker,
                ort: args.ort,
                cuda_archs: args.cuda_arch,
                cuda_libs: args.with_cuda_libs,
                notices: args.notice,
                level: args.level as i32,
            },
            args.format,
        ),
        Some(args::Sub::Doctor(args)) => Command::Doctor(DoctorCommand {
            json: args.json,
            device: args.runtime.device,
            ort: args.runtime.ort,
            cuda_dirs: args.runtime.cuda_dir,
            runtime_dir: given(args.runtime.runtime_dir),
            script: args.runtime.engine,
            root: args.root,
        }),
        Some(args::Sub::Import(args)) => Command::Import(args.into()),
        Some(args::Sub::Export(args)) => Command::Export(ExportCommand {
            model: args.model,
            form: args.form,
            precision: args.precision,
            activations: args.activations,
            kv_cache: args.kv_cache,
            output: args.output,
            seed: args.seed,
        }),
    })
}

/// The study: its own suite where none is named, and its tables.
fn study(args: args::StudyArgs) -> RunCommand {
    let formulas = match args.cost_formula.as_slice() {
        [] => Formula::ALL.to_vec(),
        some => some.to_vec(),
    };
    RunCommand {
        formulas: Some(formulas),
        as_published: args.as_published,
        router: args.router,
        ..run(args.run, STUDY_SUITE)
    }
}

fn run(args: args::RunArgs, suite: &str) -> RunCommand {
    let (text, machine, output, cost) = (args.text, args.machine, args.output, args.cost);
    RunCommand {
        timeout: args.sweep.timeout,
        ceilings: ceilings(&args.sweep.ceiling),
        dry_run: args.sweep.dry_run,
        enforce: args.watch.enforce,
        exclusive: args.watch.exclusive,
        lock_clocks: args.watch.lock_clocks,
        sample_interval: args.watch.sample_interval.0,
        try_all: args.sweep.try_all,
        tune: machine.tune.clone(),
        request: request(args.sweep, &text, &machine, suite),
        formulas: None,
        as_published: false,
        router: false,
        repeat: args.again.repeat,
        resume: args.again.resume,
        tokenizer: text.tokenizer,
        prompt_file: text.prompt_file,
        host_budget: text.host_budget,
        cache_limit: text.cache_limit,
        device: machine.runtime.device,
        ort: machine.runtime.ort,
        cuda_dirs: machine.runtime.cuda_dir,
        runtime_dir: given(machine.runtime.runtime_dir),
        script: machine.runtime.engine,
        format: output.format,
        output: output.output,
        baseline: output.baseline,
        quiet: output.quiet,
        color: output.color,
        cost: CostInputs {
            hardware_price: cost.hardware_price,
            hardware_life: cost.hardware_life,
            price_per_hour: cost.price_per_hour,
            electricity_price: cost.electricity_price,
            watts: cost.watts,
            currency: cost.currency,
        },
    }
}

/// The list where nothing else is asked for.
fn baseline(action: Option<args::BaselineSub>) -> BaselineAction {
    match action {
        None => BaselineAction::List(ListFormat::Table),
        Some(args::BaselineSub::List { format }) => BaselineAction::List(format),
        Some(args::BaselineSub::Show { name, format }) => BaselineAction::Show(name, format),
        Some(args::BaselineSub::Remove { name }) => BaselineAction::Remove(name),
        Some(args::BaselineSub::Add {
            name,
            file,
            replace,
        }) => BaselineAction::Add {
            name,
            file,
            replace,
        },
    }
}

/// The ceilings to search for, each once and in their own order; `none` beside others adds nothing.
fn ceilings(given: &[Option<Kind>]) -> Option<Vec<Kind>> {
    let kinds: std::collections::BTreeSet<Kind> = given.iter().copied().flatten().collect();
    (!given.is_empty()).then(|| kinds.into_iter().collect())
}

/// A folder that a variable may have left empty.
fn given(folder: Option<PathBuf>) -> Option<PathBuf> {
    folder.filter(|folder| !folder.as_os_str().is_empty())
}

fn request(
    sweep: args::SweepArgs,
    text: &args::TextArgs,
    machine: &args::MachineArgs,
    suite: &str,
) -> Request {
    Request {
        repetitions: sweep.repetitions,
        warmup: sweep.warmup.least,
        steady: sweep.warmup.steady,
        threads: machine.threads,
        cuda_graph: !machine.no_cuda_graph,
        seed: text.seed,
        ..selected(sweep.selection, suite)
    }
}

/// The trials of a selection, with a run's defaults for what has no part in a prediction.
fn selected(args: args::SelectionArgs, suite: &str) -> Request {
    let selection = if args.model.is_empty() {
        Selection::Suite(args.suite.unwrap_or_else(|| suite.to_owned()))
    } else {
        Selection::Models(args.model)
    };
    Request {
        selection,
        forms: args.form,
        precisions: args.precision,
        kv_caches: args.kv_cache,
        ablate: args.ablate,
        offload: args.offload,
        kv_room: args.context,
        external_paths: match args.allow_external_paths {
            true => ExternalPaths::Anywhere,
            false => ExternalPaths::Inside,
        },
        batches: args.batch,
        prompt_tokens: args.prompt_tokens,
        gen_tokens: args.gen_tokens,
        repetitions: 5,
        warmup: 1,
        steady: true,
        threads: None,
        cuda_graph: true,
        seed: 42,
        budgets: sizes(args.vram_budget),
    }
}

/// The budgets that were given; none where the flag was left out.
fn sizes(given: Option<values::Budgets>) -> Vec<Bytes> {
    given.map_or_else(Vec::new, |budgets| budgets.0)
}

/// `scripted:FILE`, for tests without hardware.
fn engine(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("scripted:") {
        Some(file) if !file.is_empty() => Ok(PathBuf::from(file)),
        _ => Err("give scripted:FILE".to_owned()),
    }
}

/// Help and version as clap writes them; a mistake as one sentence and a hint.
fn leave(error: &clap::Error) -> CliExit {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => CliExit {
            text,
            stream: Stream::Stdout,
            code: exit::OK,
        },
        _ => CliExit {
            text: format!(
                "{}\nTry 'edgebench --help' for the options.\n",
                sentence(&text)
            ),
            stream: Stream::Stderr,
            code: exit::USAGE,
        },
    }
}

/// Joins clap's paragraphs (what is wrong, the valid values, the nearest match) and drops its usage summary.
fn sentence(text: &str) -> String {
    let mut sentence = String::new();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
    {
        let (joint, line) = match line.strip_prefix("tip: ") {
            Some(tip) => ("; ", tip),
            None if sentence.is_empty() => ("", line),
            None => (" ", line),
        };
        sentence.push_str(joint);
        sentence.push_str(line);
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PrecisionChoice;
    use clap::CommandFactory;

    fn parse_words(words: &[&str]) -> Result<Command, CliExit> {
        let argv = std::iter::once(&"edgebench").chain(words);
        parse(argv.map(OsString::from))
    }

    fn run_of(words: &[&str]) -> RunCommand {
        match parse_words(words).unwrap() {
            Command::Run(run) => *run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_help_of_tune_names_every_tuning() {
        let help = args::Cli::command().render_long_help().to_string();
        for name in crate::trial::TuningName::all() {
            assert!(help.contains(&name.to_string()), "{name}");
        }
    }

    #[test]
    fn clap_finds_no_fault_with_the_definitions() {
        args::Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_80_columns_and_every_flag_has_some() {
        for words in [
            &["--help"][..],
            &["export", "--help"],
            &["cache", "--help"],
            &["compare", "--help"],
            &["baseline", "--help"],
            &["baseline", "add", "--help"],
            &["doctor", "--help"],
            &["bundle", "--help"],
            &["plan", "--help"],
            &["inspect", "--help"],
            &["study", "--help"],
        ] {
            let argv = std::iter::once(&"edgebench").chain(words);
            let command = args::Cli::command().term_width(80);
            let help = command.try_get_matches_from(argv).unwrap_err();
            for line in help.render().to_string().lines() {
                assert!(line.chars().count() <= 80, "{line}");
            }
        }
        let mut command = args::Cli::command();
        command.build();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {arg}", command.get_name());
            }
        }
    }

    #[test]
    fn no_arguments_mean_the_defaults() {
        let run = run_of(&[]);
        assert_eq!(run.request.selection, Selection::Suite("quick".into()));
        assert_eq!(run.request.forms, [Form::Fused]);
        assert_eq!(run.request.precisions, [PrecisionChoice::Auto]);
        assert_eq!((run.request.budgets, run.request.threads), (vec![], None));
        assert_eq!((run.request.repetitions, run.request.warmup), (5, 1));
        assert!(run.request.steady && run.repeat == 1 && run.resume.is_none());
        assert_eq!(run.formulas, None);
        assert_eq!(run.request.seed, 42);
        assert_eq!(run.timeout, Duration::from_secs(600));
        assert_eq!(
            (run.device, run.format),
            (DeviceChoice::Auto, OutputFormat::Table)
        );
    }

    #[test]
    fn the_study_is_a_run_of_its_own_suite_with_every_formula() {
        let study = run_of(&["study", "--vram-budget", "1G"]);
        assert_eq!(study.request.selection, Selection::Suite("study".into()));
        assert_eq!(study.formulas, Some(Formula::ALL.to_vec()));
        let other = run_of(&["study", "--suite", "quick", "--cost-formula", "study-json"]);
        assert_eq!(other.request.selection, Selection::Suite("quick".into()));
        assert_eq!(other.formulas, Some(vec![Formula::StudyJson]));
        let run = run_of(&["--repeat", "3", "--warmup", "2"]);
        assert_eq!(
            (run.repeat, run.request.warmup, run.request.steady),
            (3, 2, false)
        );
        for clash in [
            &["--resume", "a", "-o", "b"][..],
            &["--resume", "a", "--dry-run"],
        ] {
            assert_eq!(parse_words(clash).unwrap_err().code, exit::USAGE);
        }
    }

    #[test]
    fn lists_are_comma_separated_or_repeated() {
        let run = run_of(&[
            "--model",
            "dense-120m,llama-1b",
            "--model=tiny-llama",
            "--form",
            "plain,fused",
            "--batch",
            "1,2,4",
            "-p",
            "32,64",
            "-n8",
            "--cuda-dir",
            "/a",
            "--cuda-dir",
            "/b",
            "--vram-budget=4.5G",
            "--no-cuda-graph",
            "--engine",
            "scripted:/tmp/s.json",
        ]);
        let names = ["dense-120m", "llama-1b", "tiny-llama"].map(str::to_owned);
        assert_eq!(run.request.selection, Selection::Models(names.to_vec()));
        assert_eq!(run.request.forms, [Form::Plain, Form::Fused]);
        assert_eq!(run.request.batches, [1, 2, 4]);
        assert_eq!(
            (run.request.prompt_tokens, run.request.gen_tokens),
            (vec![32, 64], vec![8])
        );
        assert_eq!(run.cuda_dirs.len(), 2);
        assert_eq!(run.request.budgets, [Bytes(9 << 29)]);
        assert!(!run.request.cuda_graph);
        assert_eq!(run.script, Some("/tmp/s.json".into()));
    }

    #[test]
    fn ceilings_are_a_list_in_their_own_order() {
        assert_eq!(run_of(&[]).ceilings, None);
        assert_eq!(run_of(&["--ceiling", "none"]).ceilings, Some(vec![]));
        let words = ["--ceiling", "batch,context", "--ceiling=model,batch"];
        assert_eq!(
            run_of(&words).ceilings,
            Some(vec![Kind::Context, Kind::Batch, Kind::Model])
        );
    }

    #[test]
    fn commands_are_told_apart() {
        assert_eq!(
            parse_words(&["models"]),
            Ok(Command::Models(ListFormat::Table))
        );
        assert_eq!(parse_words(&["__worker"]), Ok(Command::Worker));
        assert_eq!(
            parse_words(&["cache"]),
            Ok(Command::Cache(CacheAction::List, ListFormat::Table))
        );
        let doctor = parse_words(&["doctor", "--json", "--device", "cuda:1", "--cuda-dir", "/c"]);
        let expected = DoctorCommand {
            json: true,
            device: DeviceChoice::Cuda(1),
            ort: None,
            cuda_dirs: vec!["/c".into()],
            runtime_dir: None,
            script: None,
            root: None,
        };
        assert_eq!(doctor, Ok(Command::Doctor(expected)));
        let clear = parse_words(&["cache", "clear", "--format", "json"]);
        assert_eq!(
            clear,
            Ok(Command::Cache(CacheAction::Clear, ListFormat::Json))
        );
        let inspect = parse_words(&["inspect", "llama-1b", "--form", "plain", "-p", "64"]);
        let expected = InspectCommand {
            target: "llama-1b".into(),
            budgets: vec![],
            forms: vec![Form::Plain],
            precisions: vec![],
            device: DeviceChoice::Auto,
            batch: 1,
            prompt_tokens: Some(64),
            gen_tokens: None,
            format: ListFormat::Table,
        };
        assert_eq!(inspect, Ok(Command::Inspect(expected)));
        let export = parse_words(&[
            "export",
            "tiny-llama",
            "--form",
            "plain",
            "--precision",
            "fp16",
            "-o",
            "out",
        ]);
        let expected = ExportCommand {
            model: "tiny-llama".into(),
            form: Form::Plain,
            precision: Precision::Fp16,
            activations: None,
            kv_cache: KvCache::Float,
            output: "out".into(),
            seed: 42,
        };
        assert_eq!(export, Ok(Command::Export(expected)));
    }

    #[test]
    fn a_plan_selects_as_a_run_does() {
        let selection = [
            "--suite",
            "core",
            "--form",
            "plain,fused",
            "--batch=1,4",
            "-p",
            "64",
            "-n8",
        ];
        let more = ["--vram-budget", "2G,4G", "--device", "cuda:1", "-q"];
        let words = [&selection[..], &more].concat();
        let run = run_of(&[&words[..], &["--dry-run"]].concat());
        let Ok(Command::Plan(plan)) = parse_words(&[&["plan"], &words[..]].concat()) else {
            panic!("no plan")
        };
        assert_eq!(
            (plan.request, plan.device, plan.quiet),
            (run.request, run.device, true)
        );
    }

    #[test]
    fn a_comparison_takes_a_baseline_others_and_conditions() {
        let words = ["compare", "a", "b", "c", "--fail-if", "decode_tok_s<0.95"];
        let more = ["--fail-if=ttft_ms>=1.1", "--match", "llama 1B=llama-1b"];
        let Ok(Command::Compare(compare)) = parse_words(&[&words[..], &more].concat()) else {
            panic!("not a comparison")
        };
        assert_eq!(compare.files, ["a", "b", "c"].map(PathBuf::from));
        let said: Vec<String> = compare.conditions.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["decode_tok_s<0.95", "ttft_ms>=1.1"]);
        assert_eq!(compare.renames[0].to, "llama-1b");
        assert_eq!(compare.format, ComparisonFormat::Table);
        assert_eq!(compare.baseline, None);
        let words = ["compare", "--baseline", "desktop", "a"];
        let Ok(Command::Compare(named)) = parse_words(&words) else {
            panic!("not a comparison")
        };
        assert_eq!(named.baseline.as_deref(), Some("desktop"));
        assert_eq!(named.files, ["a"].map(PathBuf::from));
    }

    #[test]
    fn baselines_are_listed_unless_something_else_is_asked_for() {
        let parsed = |words: &[&str]| match parse_words(words) {
            Ok(Command::Baseline(action)) => action,
            other => panic!("{other:?}"),
        };
        let list = BaselineAction::List(ListFormat::Table);
        assert_eq!(parsed(&["baseline"]), list);
        assert_eq!(parsed(&["baseline", "list"]), list);
        let add = parsed(&["baseline", "add", "mine", "a.json", "--replace"]);
        let (name, file) = ("mine".to_owned(), PathBuf::from("a.json"));
        assert_eq!(
            add,
            BaselineAction::Add {
                name,
                file,
                replace: true
            }
        );
        let show = parsed(&["baseline", "show", "mine", "--format", "json"]);
        assert_eq!(show, BaselineAction::Show("mine".into(), ListFormat::Json));
        let remove = parsed(&["baseline", "remove", "mine"]);
        assert_eq!(remove, BaselineAction::Remove("mine".into()));
        let run = run_of(&["--baseline", "desktop"]);
        assert_eq!(run.baseline.as_deref(), Some("desktop"));
    }

    #[test]
    fn a_page_takes_results_and_a_place() {
        let Ok(Command::Report(page)) = parse_words(&["report", "a", "b", "--match=x=y"]) else {
            panic!("not a page")
        };
        assert_eq!(page.files, ["a", "b"].map(PathBuf::from));
        assert_eq!(page.output, PathBuf::from("report.html"));
        assert_eq!(page.renames[0].to, "y");
    }

    #[test]
    fn help_and_version_go_to_stdout() {
        for (words, part) in [
            (&["--help"][..], "--vram-budget"),
            (&["-h"], "[default: 10m]"),
            (&["--version"], env!("CARGO_PKG_VERSION")),
            (&["export", "--help"], "--precision"),
        ] {
            let leave = parse_words(words).unwrap_err();
            assert_eq!((leave.stream, leave.code), (Stream::Stdout, 0));
            assert!(leave.text.contains(part), "{}", leave.text);
            assert!(!leave.text.contains("__worker") && !leave.text.contains("scripted"));
        }
    }

    #[test]
    fn every_mistake_is_one_sentence_with_flag_cause_and_remedy() {
        let cases: &[(&[&str], &[&str])] = &[
            (&["--vram-budget", "0"], &["'--vram-budget", "zero", "4G"]),
            (
                &["--vram-budget", "-1"],
                &["'-1'", "'--vram-budget", "negative", "4G"],
            ),
            (
                &["--vram-budget=-1"],
                &["'-1'", "'--vram-budget", "negative", "4G"],
            ),
            (
                &["--vram-budget", "4X"],
                &["'4X'", "'--vram-budget", "not a unit", "4G"],
            ),
            (&["--vram-budget", ""], &["'--vram-budget", "empty", "4G"]),
            (&["--vram-budget="], &["'--vram-budget", "empty", "4G"]),
            (
                &["--vram-budget", "9999999T"],
                &["'--vram-budget", "more memory than any", "4G"],
            ),
            (&["--vram-budget"], &["'--vram-budget", "value is required"]),
            (
                &["--vram-budget", "8G..1G"],
                &["'8G..1G'", "'--vram-budget", "range is empty", "1G..8G*2"],
            ),
            (
                &["inspect", "llama-1b", "--vram-budget", "1G..2G+0M"],
                &["'--vram-budget", "step"],
            ),
            (
                &["--model", "dense-12m"],
                &[
                    "'dense-12m'",
                    "'--model",
                    "llama-1b",
                    "similar",
                    "'dense-120m'",
                ],
            ),
            (&["--model", "dense-120m,"], &["'--model", "dense-120m"]),
            (&["--form", "fuse"], &["'--form", "plain, fused", "'fused'"]),
            (
                &["--suite", "quik"],
                &[
                    "'--suite",
                    "sanity, quick, core, extended, study",
                    "'quick'",
                ],
            ),
            (&["--precision", "fp8"], &["'--precision", "fp32, fp16"]),
            (
                &["--suite", "core", "--model", "llama-1b"],
                &["'--suite", "'--model"],
            ),
            (&["--batch", "0"], &["'--batch", "1 to 65536"]),
            (&["-p", "0"], &["'--prompt-tokens", "1 to 1048576"]),
            (&["-n", "-4"], &["'--gen-tokens", "1 to 1048576"]),
            (&["-r", "0"], &["'--repetitions", "1 to 10000"]),
            (&["--timeout", "10"], &["'--timeout", "10m"]),
            (
                &["--ceiling", "contxt"],
                &["'--ceiling", "none, context, batch, model", "'context'"],
            ),
            (&["--device", "gpu"], &["'--device", "cuda:N"]),
            (&["--format", "xml"], &["'--format", "table, json"]),
            (
                &["--price-per-hour", "1", "--hardware-price", "2"],
                &["'--price-per-hour", "'--hardware-price"],
            ),
            (&["--modle", "x"], &["'--modle'", "'--model'"]),
            (&["exprot"], &["'exprot'"]),
            (&["export", "tiny-llama"], &["--output <DIR>"]),
            (
                &["export", "tiny-lama", "-o", "x"],
                &["'tiny-lama'", "'tiny-llama'"],
            ),
            (&["report"], &["<FILE>"]),
            (&["compare"], &["<BASELINE>", "<FILE>"]),
            (&["compare", "a.json"], &["<FILE>"]),
            (&["compare", "--baseline", "desktop"], &["<BASELINE>"]),
            (&["baseline", "wipe"], &["'wipe'"]),
            (&["baseline", "add", "x"], &["<FILE>"]),
            (&["baseline", "show"], &["<NAME>"]),
            (
                &["compare", "a", "b", "--fail-if", "speed<1"],
                &["'speed<1'", "'--fail-if", "decode_tok_s", "ttft_ms"],
            ),
            (
                &["compare", "a", "b", "--match", "x"],
                &["'x'", "'--match", "NAME=MODEL"],
            ),
            (
                &["compare", "a", "b", "--format", "jsonl"],
                &["'--format", "csv"],
            ),
            (&["cache", "wipe"], &["'wipe'", "list, clear"]),
            (&["--quiet", "models"], &["'models'"]),
        ];
        for (words, parts) in cases {
            let leave = parse_words(words).expect_err(&words.join(" "));
            assert_eq!((leave.stream, leave.code), (Stream::Stderr, 2));
            let lines: Vec<_> = leave.text.lines().collect();
            assert_eq!(lines.len(), 2, "{}", leave.text);
            assert!(lines[0].starts_with("error: ") && lines[1].contains("--help"));
            for part in *parts {
                assert!(lines[0].contains(part), "{words:?}: {}", lines[0]);
            }
        }
    }
}
