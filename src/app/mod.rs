//! One short function for each command, doors called in order. No arithmetic, no formatting, no clap, no ONNX Runtime.

mod facts;
mod run;

use crate::cachedir;
use crate::cli::{CacheAction, Command, ExportCommand, ListFormat};
use crate::error::{Error, Result, exit};
use crate::export::lists;
use crate::model::{self, Preparing, Store};
use crate::progress::{Event, Progress};
use crate::units::Bytes;
use crate::worker;
use std::io::{self, IsTerminal, Write};

/// Runs a command to its exit code.
pub fn run(command: Command, command_line: Vec<String>) -> Result<u8> {
    match command {
        Command::Worker => Ok(worker::serve(io::stdin(), io::stdout())),
        Command::Run(command) => run::run(&command, command_line),
        Command::Models(format) => print(&lists::models(
            model::builtin(),
            format == ListFormat::Json,
        )?),
        Command::Export(command) => export(&command),
        Command::Cache(action, format) => cache(action, format == ListFormat::Json),
    }
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

fn export(command: &ExportCommand) -> Result<u8> {
    let spec = crate::plan::find_model(&command.model)?;
    let progress = progress(false);
    let mut tell = |event: Preparing| show_preparing(&progress, &command.model, event);
    let graph = model::export(
        spec,
        command.form,
        command.precision,
        command.seed,
        &command.output,
        &mut tell,
    )?;
    progress.finish();
    print(&format!("{}\n", graph.display()))
}

fn cache(action: CacheAction, json: bool) -> Result<u8> {
    let root = cachedir::root().map_err(Error::Usage)?;
    let store = Store::new(&root, Bytes(u64::MAX));
    let wrap = |source| Error::output(store.root(), source, " with XDG_CACHE_HOME");
    match action {
        CacheAction::List => print(&lists::cache(
            store.root(),
            &store.entries().map_err(wrap)?,
            json,
        )?),
        CacheAction::Clear => {
            let (removed, in_use) = store.clear().map_err(wrap)?;
            print(&lists::cleared(&removed, &in_use, json)?)
        }
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
