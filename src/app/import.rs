//! A checkpoint to ONNX files.

use super::{print, progress, show_preparing};
use crate::cli::ImportCommand;
use crate::error::Result;
use crate::import::Imported;
use crate::model::{self, Preparing};
use crate::progress::Event;
use crate::trial::Float;

/// Writes the graph and the weights of a checkpoint.
pub fn run(command: &ImportCommand) -> Result<u8> {
    model::check_form(command.form, command.precision)?;
    super::check_activations(command.precision, command.activations)?;
    let imported = Imported::open(&command.folder)?;
    let progress = progress(false);
    let name = &imported.spec().name;
    for note in imported.notes() {
        progress.event(&Event::Warning(format!("{name}: {note}")));
    }
    let mut tell = |event: Preparing| show_preparing(&progress, name, event);
    let float = command.activations.unwrap_or(Float::Fp16);
    let numerics = command.precision.with(float);
    let written = imported.write(command.form, numerics, &command.output, &mut tell)?;
    progress.finish();
    print(&format!("{}\n", written.graph.display()))
}
