//! The command line as clap sees it: flags, defaults and help texts. No file is opened and nothing is decided here.

mod again;
mod baseline;
mod import;
mod report;
mod unrun;
mod watch;

pub use again::{AgainArgs, StudyArgs};
pub use baseline::BaselineSub;
pub use import::{ImportArgs, ModelOrFolder};
pub use report::ReportArgs;
pub use unrun::{InspectArgs, PlanArgs};
pub use watch::{Pause, WatchArgs};

use super::values;
use super::{CacheAction, ColorChoice, ListFormat, OutputFormat};
use crate::ceiling::Kind;
use crate::export::compare::ComparisonFormat;
use crate::model::builtin;
use crate::payload::Arch;
use crate::plan::{PrecisionChoice, SUITES};
use crate::report::compare::{Condition, Rename};
use crate::trial::{DeviceChoice, Float, Form, KvCache, Offload, Precision};
use crate::tuning::Choice;
use crate::units::Bytes;
use clap::builder::{OsStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Parses one of a few names; a wrong one is answered with the list and the nearest match.
fn named<T: Copy + Send + Sync + 'static>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name)).try_map(move |given| {
        let found = names.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| *value).ok_or("unknown name")
    })
}

fn models() -> PossibleValuesParser {
    PossibleValuesParser::new(builtin().iter().map(|spec| spec.name.as_str()))
}

const FORMS: &[(&str, Form)] = &[("plain", Form::Plain), ("fused", Form::Fused)];
const PRECISIONS: &[(&str, Precision)] = &[
    ("fp32", Precision::Fp32),
    ("fp16", Precision::Fp16),
    ("int8", Precision::Int8),
    ("int4", Precision::Int4),
];
const ACTIVATIONS: &[(&str, Float)] = &[("fp32", Float::Fp32), ("fp16", Float::Fp16)];
const KV_CACHES: &[(&str, KvCache)] = &[("float", KvCache::Float), ("int8", KvCache::Int8)];
const PRECISION_CHOICES: &[(&str, PrecisionChoice)] = &[
    ("auto", PrecisionChoice::Auto),
    ("fp32", PrecisionChoice::Exactly(Precision::Fp32)),
    ("fp16", PrecisionChoice::Exactly(Precision::Fp16)),
    ("int8", PrecisionChoice::Exactly(Precision::Int8)),
    ("int4", PrecisionChoice::Exactly(Precision::Int4)),
];
const OUTPUT_FORMATS: &[(&str, OutputFormat)] = &[
    ("table", OutputFormat::Table),
    ("json", OutputFormat::Json),
    ("jsonl", OutputFormat::Jsonl),
    ("csv", OutputFormat::Csv),
    ("markdown", OutputFormat::Markdown),
];
const COMPARISON_FORMATS: &[(&str, ComparisonFormat)] = &[
    ("table", ComparisonFormat::Table),
    ("json", ComparisonFormat::Json),
    ("csv", ComparisonFormat::Csv),
    ("markdown", ComparisonFormat::Markdown),
];
const LIST_FORMATS: &[(&str, ListFormat)] =
    &[("table", ListFormat::Table), ("json", ListFormat::Json)];
const COLORS: &[(&str, ColorChoice)] = &[
    ("auto", ColorChoice::Auto),
    ("always", ColorChoice::Always),
    ("never", ColorChoice::Never),
];
const CEILINGS: &[(&str, Option<Kind>)] = &[
    ("none", None),
    ("context", Some(Kind::Context)),
    ("batch", Some(Kind::Batch)),
    ("model", Some(Kind::Model)),
];
const CACHE_ACTIONS: &[(&str, CacheAction)] =
    &[("list", CacheAction::List), ("clear", CacheAction::Clear)];

const AFTER_HELP: &str = "\
Without a command, edgebench runs the trials and prints a table. The full result
is always written to a JSON file too.

Examples:
  edgebench --vram-budget 4G
  edgebench --suite core --vram-budget 1G..8G
  edgebench --model dense-120m,moe-120m-a82m --batch 1,4 --format csv
  edgebench study --vram-budget 4G --repeat 5
  edgebench plan --suite core --device cuda --vram-budget 4G
  edgebench inspect llama-1b --vram-budget 4G
  edgebench compare desktop.json edge.json --fail-if 'decode_tok_s<0.95'
  edgebench compare --baseline desktop edge.json
  edgebench report desktop.json edge.json -o report.html";

/// Measure which dense and Mixture-of-Experts language models fit a memory budget on ONNX Runtime, and how fast they run.
#[derive(Debug, Parser)]
#[command(name = "edgebench", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(subcommand)]
    pub command: Option<Sub>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Sub {
    /// List the built-in models: parameters, bytes, suites
    Models {
        /// How to print the list
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
        format: ListFormat,
    },
    /// Print the trials of a run with their predicted memory by terms, and run nothing; with --device and --vram-budget no GPU is needed
    Plan(PlanArgs),
    /// Run dense and Mixture-of-Experts models that are matched in size, and say which is worth it in the budget; options as without a command
    Study(Box<StudyArgs>),
    /// Say what a model is without running it: parameters, bytes, operators, KV cache, predicted memory
    Inspect(InspectArgs),
    /// Print a saved result, of this machine or another, also of a run that was stopped
    Show {
        /// The result file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// How to print it
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(OUTPUT_FORMATS))]
        format: OutputFormat,
    },
    /// Compare saved results, of this machine or others: ratios with intervals and a verdict for each figure
    Compare(CompareArgs),
    /// List, show, add or remove the results that others are compared with by a name
    Baseline {
        #[command(subcommand)]
        action: Option<BaselineSub>,
    },
    /// Write one page to look at, of one result or of several side by side: charts, tables, verdicts; it needs no network
    Report(ReportArgs),
    /// Write a built-in model as ONNX files that other tools load
    Export(ExportArgs),
    /// Write a checkpoint, as transformers saves it, as the same ONNX files; what it has that is not known is named and nothing is written
    Import(ImportArgs),
    /// Pack this program, an ONNX Runtime and, if wanted, CUDA's libraries into one file
    Bundle(BundleArgs),
    /// Print the licences of edgebench and of everything it carries
    Licenses,
    /// List or clear what is kept between runs: generated weights, unpacked runtimes
    Cache {
        /// What to do
        #[arg(value_name = "ACTION", default_value = "list", value_parser = named(CACHE_ACTIONS))]
        action: CacheAction,
        /// How to print the list
        #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
        format: ListFormat,
    },
    /// Say what this machine has, what is missing, and what to do about it
    Doctor(DoctorArgs),
    /// Serve one request from standard input
    #[command(name = "__worker", hide = true)]
    Worker,
}

/// What to compare.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Result file that the others are compared with; with --baseline, the first of those to compare
    #[arg(value_name = "BASELINE")]
    pub first: PathBuf,
    /// Result files to compare, of edgebench or of llama-bench -o json
    #[arg(value_name = "FILE", required_unless_present = "baseline")]
    pub others: Vec<PathBuf>,
    /// Compare all files with the baseline of this name; `edgebench baseline list` tells them [default: none]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// Exit with code 7 if this is true of the ratio to the baseline (to its first file where it has several) in any row, or cannot be told, for example 'decode_tok_s<0.95'; may be repeated [default: none]
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true, value_parser = values::condition)]
    pub fail_if: Vec<Condition>,
    /// Say which model one of another name is, for example 'llama 1B F16=llama-1b'; other precisions are then a note; may be repeated [default: none]
    #[arg(long = "match", value_name = "NAME=MODEL", allow_hyphen_values = true, value_parser = values::rename)]
    pub renames: Vec<Rename>,
    /// What standard output carries
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(COMPARISON_FORMATS))]
    pub format: ComparisonFormat,
    /// When to use colour; auto is on a terminal only
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = named(COLORS))]
    pub color: ColorChoice,
}

/// What to export.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Built-in model; `edgebench models` lists them
    #[arg(value_name = "MODEL", value_parser = models(), hide_possible_values = true)]
    pub model: String,
    /// Graph form: standard ONNX operators (plain) or ONNX Runtime's own (fused)
    #[arg(long, default_value = "fused", value_parser = named(FORMS))]
    pub form: Form,
    /// Type of the weights; int8 and int4 are blocks of 32 with a scale each, in the fused form only
    #[arg(long, default_value = "fp32", value_parser = named(PRECISIONS))]
    pub precision: Precision,
    /// What a graph with int8 or int4 weights computes in: fp16 for CUDA, fp32 for the CPU [default: fp16]
    #[arg(long, value_name = "TYPE", value_parser = named(ACTIVATIONS))]
    pub activations: Option<Float>,
    /// Type of the KV cache: that of the activations (float), or 8 bits with one scale (int8), in the fused form only
    #[arg(long, value_name = "TYPE", default_value = "float", value_parser = named(KV_CACHES))]
    pub kv_cache: KvCache,
    /// Folder to write to; created if missing
    #[arg(short, long, value_name = "DIR", required = true)]
    pub output: PathBuf,
    /// Seed of the weights: the same seed gives the same bytes on every machine
    #[arg(long, value_name = "N", default_value = "42", allow_negative_numbers = true, value_parser = values::seed)]
    pub seed: u64,
}

/// What to pack.
#[derive(Debug, Args)]
pub struct BundleArgs {
    /// File to make
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// ONNX Runtime to pack, 1.20 or newer: a wheel, a folder or a libonnxruntime.so [default: the one that --front or else edgebench carries, or was built with]
    #[arg(long, value_name = "PATH")]
    pub ort: Option<PathBuf>,
    /// GPU architectures to keep, such as 86,89 for sm_86 and sm_89; code for others is blanked [default: all]
    #[arg(long, value_name = "ARCH", value_delimiter = ',')]
    pub cuda_arch: Vec<Arch>,
    /// Pack CUDA's libraries too, from these folders or wheels (nvidia-cuda-runtime, nvidia-cublas, nvidia-curand), so that only the driver is needed; may be repeated
    #[arg(long, value_name = "PATH", value_delimiter = ',')]
    pub with_cuda_libs: Vec<PathBuf>,
    /// Program that loads ONNX Runtime: a dynamically linked build of edgebench [default: the one that --front or else edgebench carries, or this program]
    #[arg(long, value_name = "FILE")]
    pub worker: Option<PathBuf>,
    /// Program in front, which users start: a build of edgebench, best a static one, or a released file, also for another machine [default: this program]
    #[arg(long, value_name = "FILE")]
    pub front: Option<PathBuf>,
    /// Licence or notice to carry as well; may be repeated
    #[arg(long, value_name = "FILE")]
    pub notice: Vec<PathBuf>,
    /// Level of the zstd compression, 1 (quick) to 22 (small)
    #[arg(long, value_name = "N", default_value = "19", allow_negative_numbers = true, value_parser = values::count::<1, 22>)]
    pub level: u32,
    /// How to print what was made
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(LIST_FORMATS))]
    pub format: ListFormat,
}

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Folder to read the system's files from instead of /
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
}

/// Options of a run.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub sweep: SweepArgs,
    #[command(flatten)]
    pub text: TextArgs,
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub watch: WatchArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub again: AgainArgs,
    #[command(flatten)]
    pub cost: CostArgs,
}

/// Which trials; shared by a run and by `plan`.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to measure")]
pub struct SelectionArgs {
    /// Memory each trial may use: 4G, 4.5GiB, 4096M (G and GB mean GiB, all units are binary); several as a list (2G,4G,6G), a range (1G..8G in steps of 1G) or one with a step or a factor (1G..8G+512M, 1G..8G*2): then every trial runs in each [default: all of the device's memory]
    #[arg(long, value_name = "SIZES", allow_hyphen_values = true, value_parser = values::budgets)]
    pub vram_budget: Option<values::Budgets>,
    /// Models to run, separated by commas: built-in ones, which `edgebench models` lists, folders of checkpoints that `edgebench import` takes, or ONNX files and their folders as they came from an exporter, such as ./my-model [default: those of --suite]
    #[arg(long, value_name = "NAME|PATH", value_delimiter = ',', value_parser = ModelOrFolder(models()))]
    pub model: Vec<String>,
    /// Group of models to run [default: quick; of the command study: study]
    #[arg(long, value_name = "NAME", conflicts_with = "model", value_parser = PossibleValuesParser::new(SUITES))]
    pub suite: Option<String>,
    /// Graph forms: standard ONNX operators (plain), ONNX Runtime's own (fused), or both
    #[arg(long, value_delimiter = ',', default_value = "fused", value_parser = named(FORMS))]
    pub form: Vec<Form>,
    /// Types of the weights; auto is for each trial the widest that is predicted to fit its budget: of fp16, int8 and int4 on a GPU, of fp32, int8 and int4 on the CPU, in the plain form always the first of them; int8 and int4 weights are quantised, in the fused form only, and all else is fp16 on a GPU and fp32 on the CPU
    #[arg(long, value_delimiter = ',', default_value = "auto", value_parser = named(PRECISION_CHOICES))]
    pub precision: Vec<PrecisionChoice>,
    /// Types of the KV cache: that of the activations (float), or 8 bits with one scale (int8), in the fused form only; keys and values are rounded, and what that costs is told where there is a reference
    #[arg(long, value_name = "TYPE", value_delimiter = ',', default_value = "float", value_parser = named(KV_CACHES))]
    pub kv_cache: Vec<KvCache>,
    /// Weights that stay in main memory, pinned, where the GPU reads them over the link: none, all, experts, those of so many layers (the last ones), or auto, as few as the budget demands, those first that a token reads least of
    #[arg(long, value_name = "WHAT", default_value = "none", value_parser = values::offload)]
    pub offload: Offload,
    /// Tokens that the KV cache has room for, as in an application that sets room aside for its longest conversation, but no more than the model has positions; ceilings of the batch have it too [default: the prompt and the generated tokens]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::count::<1, 1_048_576>)]
    pub context: Option<u32>,
    /// Take a model of another exporter also where it has its weights in files outside of its folder or behind links, which it could use to have any file of this machine read [default: refused]
    #[arg(long)]
    pub allow_external_paths: bool,
    /// Instead of one form, run each step from standard operators to all that the runtime offers, and show what it buys: plain, fused, KV cache in place, and on a GPU captured CUDA graph and tuned settings
    #[arg(long, conflicts_with = "form")]
    pub ablate: bool,
    /// Sequences decoded together, one or more numbers separated by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", allow_negative_numbers = true, value_parser = values::count::<1, 65_536>)]
    pub batch: Vec<u32>,
    /// Prompt length in tokens, one or more numbers separated by commas [default: 256, or half a small model's positions]
    #[arg(short, long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true, value_parser = values::count::<1, 1_048_576>)]
    pub prompt_tokens: Vec<u32>,
    /// Tokens to generate for each sequence, one or more numbers separated by commas [default: 128, or a quarter of a small model's positions]
    #[arg(short = 'n', long, value_name = "N", value_delimiter = ',', allow_negative_numbers = true, value_parser = values::count::<1, 1_048_576>)]
    pub gen_tokens: Vec<u32>,
}

/// What to measure.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to measure")]
pub struct SweepArgs {
    #[command(flatten)]
    pub selection: SelectionArgs,
    /// Timed repetitions of each trial
    #[arg(short, long, value_name = "N", default_value = "5", allow_negative_numbers = true, value_parser = values::count::<1, 10_000>)]
    pub repetitions: u32,
    /// Untimed repetitions before them: so many, or with auto until the last two took the same time within 2 %, five at most and none begun after 30 s
    #[arg(long, value_name = "auto|N", default_value = "auto", allow_negative_numbers = true, value_parser = values::warmup)]
    pub warmup: values::Warmup,
    /// Longest time for each phase of a trial: 90s, 10m, 1h
    #[arg(long, value_name = "TIME", default_value = "10m", allow_hyphen_values = true, value_parser = values::deadline)]
    pub timeout: Duration,
    /// After the trials, search for the largest that fits the budget by running: the longest context at batch 1, the most sequences at each prompt length, the largest built-in model; at most 8 short trials each [default: context,batch on a GPU, none on the CPU]
    // An Option inside a list: clap would take it for one that may be absent.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = named(CEILINGS))]
    pub ceiling: Vec<std::option::Option<Kind>>,
    /// Run also what is predicted not to fit the budget, which is enforced all the same: an excess ends the trial as out_of_memory
    #[arg(long)]
    pub try_all: bool,
    /// Print the trials with their predicted memory, and run nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Text and weights.
#[derive(Debug, Args)]
#[command(next_help_heading = "Text and weights")]
pub struct TextArgs {
    /// Hugging Face tokenizer.json to use [default: words hashed into the vocabulary, no file needed]
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// UTF-8 text, one prompt on each line [default: five built-in prompts]
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Seed of the weights: the same seed gives the same bytes on every machine
    #[arg(long, value_name = "N", default_value = "42", allow_negative_numbers = true, value_parser = values::seed)]
    pub seed: u64,
    /// Most main memory that may be pinned for weights of --offload, in the units of --vram-budget [default: three quarters of what is available]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, value_parser = values::size)]
    pub host_budget: Option<Bytes>,
    /// Most disk space for weights kept between runs, in the units of --vram-budget
    #[arg(long, value_name = "SIZE", env = "EDGEBENCH_CACHE_LIMIT", hide_env_values = true, default_value = "20G", allow_hyphen_values = true, value_parser = values::size)]
    pub cache_limit: Bytes,
}

/// Device and runtime.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device and runtime")]
pub struct MachineArgs {
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Threads of the CPU provider [default: the physical cores it may use]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = values::count::<1, 1_024>)]
    pub threads: Option<u32>,
    /// Do not capture token generation into a CUDA graph
    #[arg(long, conflicts_with = "ablate")]
    pub no_cuda_graph: bool,
    /// ONNX Runtime's own tunings for the fused form on CUDA: auto tries in short trials those that apply and keeps what makes decode faster inside the budget, off uses none, and names (gemm, attention-flash, fpa-intb, moe-timed, moe-unfused-finalize, moe-grouped) are used without trying; ceilings are searched for without any, and a variable that you set in the environment is left as it is
    #[arg(long, value_name = "auto|off|NAMES", default_value = "auto", value_parser = values::tune)]
    pub tune: Choice,
}

/// Which device and runtime; shared by a run and by `doctor`.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device and runtime")]
pub struct RuntimeArgs {
    /// auto, cpu, cuda (the first GPU) or cuda:N; auto takes CUDA where it works, else the CPU; cuda never falls back
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = values::device)]
    pub device: DeviceChoice,
    // The variable is read where the library is looked for, so that a mistake in it is told as one.
    /// ONNX Runtime to load: libonnxruntime.so, or a folder or wheel that holds it [env: EDGEBENCH_ORT] [default: the one edgebench carries or was built with]
    #[arg(long, value_name = "PATH")]
    pub ort: Option<PathBuf>,
    /// Folder to look for CUDA libraries in before the usual places; may be repeated [default: none]
    #[arg(long, value_name = "DIR")]
    pub cuda_dir: Vec<PathBuf>,
    /// Folder to unpack the runtime into that this file carries [default: runtime in the cache folder]
    #[arg(
        long,
        value_name = "DIR",
        env = "EDGEBENCH_RUNTIME_DIR",
        hide_env_values = true,
        // Takes an empty value, which counts as none: a variable may well be empty.
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub runtime_dir: Option<PathBuf>,
    /// Engine to use instead of ONNX Runtime
    #[arg(long, value_name = "scripted:FILE", hide = true, value_parser = super::engine)]
    pub engine: Option<PathBuf>,
}

/// Output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// What standard output carries
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = named(OUTPUT_FORMATS))]
    pub format: OutputFormat,
    /// Result file (JSON), rewritten after each trial [default: edgebench-results/TIME-HOST.json]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// After the tables, print the comparison with the baseline of this name; `edgebench baseline list` tells them [default: none]
    #[arg(long, value_name = "NAME")]
    pub baseline: Option<String>,
    /// No progress on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// When to use colour; auto is on a terminal only
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = named(COLORS))]
    pub color: ColorChoice,
}

/// Cost of tokens.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cost per million tokens")]
pub struct CostArgs {
    /// Price of the hardware in --currency, spread over its life [default: 249, the list price of a Jetson Orin Nano developer kit]
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = values::price)]
    pub hardware_price: Option<f64>,
    /// Life of the hardware: 3y, 18months; used in every hour of it
    #[arg(long, value_name = "TIME", default_value = "3y", allow_hyphen_values = true, value_parser = values::life)]
    pub hardware_life: Duration,
    /// Price of an hour in --currency, as for a rented machine, instead of hardware and electricity [default: none]
    #[arg(long, value_name = "PRICE", conflicts_with_all = ["hardware_price", "electricity_price"], allow_negative_numbers = true, value_parser = values::price)]
    pub price_per_hour: Option<f64>,
    /// Price of a kilowatt-hour in --currency, counted with the power [default: 0.15]
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = values::price)]
    pub electricity_price: Option<f64>,
    /// Power in watts while running [default: as measured; where it cannot be, energy is left out]
    #[arg(long, value_name = "W", allow_negative_numbers = true, value_parser = values::watts)]
    pub watts: Option<f64>,
    /// Label of the prices, not converted
    #[arg(long, value_name = "LABEL", default_value = "USD", value_parser = values::currency)]
    pub currency: String,
}
