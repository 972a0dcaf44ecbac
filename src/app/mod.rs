//! One short function for each command, doors called in order. No arithmetic, no formatting, no clap, no ONNX Runtime.

mod baseline;
mod ceilings;
mod clocks;
mod compare;
mod doctor;
mod facts;
mod foreign;
mod import;
mod inputs;
mod inspect;
mod limits;
mod offload;
mod pack;
mod plan;
mod published;
mod report_page;
mod resume;
mod routers;
mod run;
mod start;
mod suite;
mod tuning;

use crate::cachedir;
use crate::cli::{CacheAction, ColorChoice, Command, ExportCommand, ListFormat, OutputFormat};
use crate::error::{Error, Result, exit};
use crate::export::{self, Format, lists};
use crate::failures::{Failures, Listing};
use crate::model::{self, Preparing, Store};
use crate::payload;
use crate::progress::{Event, Progress};
use crate::report;
use crate::trial::{Float, Precision};
use crate::units::Bytes;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

/// Runs a command to its exit code.
pub fn run(command: Command, command_line: Vec<String>) -> Result<u8> {
    match command {
        Command::Worker => worker(),
        Command::Doctor(command) => print(&doctor::run(&command)?),
        Command::Run(mut command) => {
            import::adopt(&mut command.request, command.quiet)?;
            run::run(&command, command_line)
        }
        Command::Models(format) => print(&lists::models(
            model::builtin(),
            format == ListFormat::Json,
        )?),
        Command::Plan(mut command) => {
            import::adopt(&mut command.request, command.quiet)?;
            plan::run(&command)
        }
        Command::Inspect(command) => inspect::run(&command),
        Command::Show(file, format) => show(&file, format),
        Command::Compare(command) => compare::run(&command),
        Command::Baseline(action) => baseline::run(&action),
        Command::Report(command) => report_page::run(&command),
        Command::Export(command) => export_model(&command),
        Command::Import(command) => import::run(&command),
        Command::Bundle(request, format) => pack::bundle(&request, format == ListFormat::Json),
        Command::Licenses => pack::licences(),
        Command::Cache(action, format) => cache(action, format == ListFormat::Json),
    }
}

/// Serves the supervisor.
#[cfg(not(target_feature = "crt-static"))]
fn worker() -> Result<u8> {
    Ok(crate::worker::serve(io::stdin(), io::stdout()))
}

/// A static program cannot load a native library, so it cannot be a worker: the one in its payload is.
#[cfg(target_feature = "crt-static")]
fn worker() -> Result<u8> {
    Err(Error::Runtime(
        "this program is linked statically and cannot be a worker; start the worker that was packed with it".into(),
    ))
}

/// Writes to stdout. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<u8> {
    match io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| io::stdout().flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::output("standard output".as_ref(), error, ""))
        }
        _ => Ok(exit::OK),
    }
}

fn progress(quiet: bool) -> Progress {
    Progress::new(io::stderr().is_terminal(), quiet, Box::new(io::stderr()))
}

/// Prints a saved result.
fn show(file: &Path, format: OutputFormat) -> Result<u8> {
    let report = read(file, report::from_json)?;
    print(&render(&report, format, ColorChoice::Auto)?)
}

/// What stands in a file. A mistake in it is told with its name.
fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T>) -> Result<T> {
    parse(&read_text(file)?).map_err(|error| match error {
        Error::Usage(cause) => Error::Usage(format!("{}: {cause}", file.display())),
        other => other,
    })
}

/// The text of a result file.
fn read_text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|cause| {
        Error::Usage(format!(
            "could not read {}: {cause}; name a result file of edgebench",
            file.display()
        ))
    })
}

/// Whether standard output is to be coloured.
fn is_coloured(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    }
}

/// The report in a format, as wide and as colourful as standard output allows.
fn render(report: &report::Report, format: OutputFormat, colour: ColorChoice) -> Result<String> {
    let format = match format {
        OutputFormat::Table => Format::Table,
        OutputFormat::Json => Format::Json,
        OutputFormat::Jsonl => Format::Jsonl,
        OutputFormat::Csv => Format::Csv,
        OutputFormat::Markdown => Format::Markdown,
    };
    export::render(
        report,
        format,
        export::terminal_width(),
        is_coloured(colour),
    )
}

fn export_model(command: &ExportCommand) -> Result<u8> {
    let spec = crate::plan::find_model(&command.model)?;
    let (form, precision) = (command.form, command.precision);
    model::check_form(form, precision)?;
    model::check_cache(form, command.kv_cache)?;
    check_activations(precision, command.activations)?;
    let progress = progress(false);
    let mut tell = |event: Preparing| show_preparing(&progress, &command.model, event);
    let written = model::export(
        spec,
        model::Variant::portable(form, command.kv_cache, spec.max_positions),
        precision.with(command.activations.unwrap_or(Float::Fp16)),
        &model::Seeded(command.seed),
        &command.output,
        &mut tell,
    )?;
    progress.finish();
    print(&format!("{}\n", written.graph.display()))
}

/// Refuses a type to compute in that the weights leave no choice of.
fn check_activations(precision: Precision, activations: Option<Float>) -> Result<()> {
    match (activations, precision.quantized_bits()) {
        (Some(_), None) => Err(Error::Usage(format!(
            "--activations says what is computed in beside int8 or int4 weights, and a graph in {precision} computes in {precision}; leave it out"
        ))),
        _ => Ok(()),
    }
}

fn cache(action: CacheAction, json: bool) -> Result<u8> {
    let root = cachedir::root().map_err(Error::Usage)?;
    let store = Store::new(&root, Bytes(u64::MAX));
    let wrap = |source| Error::output(store.root(), source, " with XDG_CACHE_HOME");
    let payloads = payload::entries(&root.join(payload::FOLDER));
    let failures = Failures::new(&root);
    let failed = failures.listing().map(failures_entry);
    match action {
        CacheAction::List => {
            let mut entries = store.entries().map_err(wrap)?;
            entries.extend(payloads.iter().map(payload_entry));
            entries.extend(failed);
            print(&lists::cache(&root, &entries, json)?)
        }
        CacheAction::Clear => {
            let (mut removed, mut in_use) = store.clear().map_err(wrap)?;
            payload::sweep(&root.join(payload::FOLDER));
            for payload in &payloads {
                let entry = payload_entry(payload);
                if payload::discard(payload) {
                    removed.push(entry);
                } else {
                    in_use.push(entry);
                }
            }
            if let Some(entry) = failed {
                if failures.clear() {
                    removed.push(entry);
                } else {
                    in_use.push(entry);
                }
            }
            print(&lists::cleared(&removed, &in_use, json)?)
        }
    }
}

/// An extracted payload among the entries of the cache.
fn payload_entry(payload: &payload::Entry) -> model::Entry {
    model::Entry {
        name: format!("{}/{}", payload::FOLDER, payload.name),
        bytes: Bytes(payload.bytes),
        last_used: payload.last_used,
    }
}

/// The remembered failures among the entries of the cache.
fn failures_entry(file: Listing) -> model::Entry {
    model::Entry {
        name: file.name,
        bytes: file.bytes,
        last_used: file.modified,
    }
}

fn show_preparing(progress: &Progress, model: &str, event: Preparing) {
    match event {
        Preparing::Writing(done, total) => {
            progress.event(&Event::Preparing {
                model: model.to_owned(),
                done_bytes: done.0,
                total_bytes: total.0,
            });
        }
        Preparing::Note(note) => progress.event(&Event::Warning(note.to_owned())),
    }
}
