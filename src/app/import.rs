//! Checkpoints: to ONNX files, or as models beside the built-in ones.

use super::{print, progress, show_preparing};
use crate::cli::{ImportCommand, is_folder};
use crate::error::{Error, Result};
use crate::import::{self, Imported};
use crate::model::{self, ModelSpec, Preparing, foreign};
use crate::plan::{Request, Selection};
use crate::progress::{Event, Progress};
use crate::trial::{Float, KvCache};
use std::path::Path;

/// Writes the graph and the weights of a checkpoint.
pub fn run(command: &ImportCommand) -> Result<u8> {
    model::check_form(command.form, command.precision)?;
    super::check_activations(command.precision, command.activations)?;
    let imported = Imported::open(&command.folder)?;
    let progress = progress(false);
    tell_notes(&imported, &progress);
    let name = &imported.spec().name;
    let mut tell = |event: Preparing| show_preparing(&progress, name, event);
    let float = command.activations.unwrap_or(Float::Fp16);
    let numerics = command.precision.with(float);
    let written = imported.write(command.form, numerics, &command.output, &mut tell)?;
    progress.finish();
    print(&format!("{}\n", written.graph.display()))
}

fn tell_notes(imported: &Imported, progress: &Progress) {
    for note in imported.notes() {
        let name = &imported.spec().name;
        progress.event(&Event::Warning(format!("{name}: {note}")));
    }
}

/// Puts the name of a model in the place of each folder that a request names, and takes the checkpoint in as that model.
pub fn adopt(request: &mut Request, quiet: bool) -> Result<()> {
    let asked = request.clone();
    let Selection::Models(models) = &mut request.selection else {
        return Ok(());
    };
    let progress = progress(quiet);
    for model in models.iter_mut().filter(|model| is_folder(model)) {
        if let Some(graph) = foreign::graph(Path::new(model))? {
            let spec = foreign::adopt(&graph, request.external_paths)?;
            super::foreign::check(spec, &asked)?;
            super::foreign::tell_notes(spec, &progress);
            model.clone_from(&spec.name);
            continue;
        }
        let spec = adopted(Path::new(model), &progress)?;
        for form in &request.forms {
            import::check_heads(spec, *form)?;
        }
        if request.kv_caches.contains(&KvCache::Int8) {
            return Err(Error::Usage(format!(
                "--kv-cache int8 has the range that built-in models' keys and values have, and that of {model} is not known; give --kv-cache float"
            )));
        }
        model.clone_from(&spec.name);
    }
    Ok(())
}

/// The checkpoint in a folder as a model.
pub fn adopted(folder: &Path, progress: &Progress) -> Result<&'static ModelSpec> {
    let imported = Imported::open(folder)?;
    tell_notes(&imported, progress);
    let spec = imported.spec().clone();
    Ok(model::adopt(spec, Box::new(imported)))
}
