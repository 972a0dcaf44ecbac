//! What a model is, without running it: a built-in one by its spec and graphs, or an ONNX file.

use super::import::adopted;
use super::{print, progress};
use crate::cli::{InspectCommand, ListFormat};
use crate::error::{Error, Result};
use crate::export::inspect::{self, Builtin, FileSheet, Graph};
use crate::model::onnx::{self, Shape};
use crate::model::{self, ModelSpec, foreign};
use crate::plan::{self, Facts, Plan, PrecisionChoice, Request, Selection};
use crate::trial::{Device, DeviceChoice, Float, Form, KvCache, Precision};
use crate::units::Bytes;
use std::path::Path;

/// Prints what a model is.
pub fn run(command: &InspectCommand) -> Result<u8> {
    let as_json = command.format == ListFormat::Json;
    let path = Path::new(&command.target);
    // A folder as an exporter wrote it, `export` and `import` among them.
    let graph = match path.is_dir() {
        true => foreign::graph(path)?,
        false => None,
    };
    let path = graph.as_deref().unwrap_or(path);
    let spec = match model::find(&command.target) {
        None if path.join("config.json").is_file() => Some(adopted(path, &progress(false))?),
        found => found,
    };
    match spec {
        Some(spec) => print(&inspect::builtin(&builtin(spec, command)?, as_json)?),
        None if path.exists()
            || path.components().count() > 1
            || path.extension().is_some_and(|end| end == "onnx") =>
        {
            file(path, command, as_json)
        }
        None => Err(Error::Usage(format!(
            "there is neither a built-in model nor a file {}; `edgebench models` lists the models",
            command.target
        ))),
    }
}

/// The devices to predict for.
fn devices(choice: DeviceChoice) -> Vec<Device> {
    match choice {
        DeviceChoice::Auto => vec![Device::Cpu, Device::Cuda(0)],
        DeviceChoice::Cpu => vec![Device::Cpu],
        DeviceChoice::Cuda(index) => vec![Device::Cuda(index)],
    }
}

fn builtin(spec: &'static ModelSpec, command: &InspectCommand) -> Result<Builtin<'static>> {
    let forms = given_or(&command.forms, &[Form::Plain, Form::Fused]);
    let precisions = given_or(&command.precisions, &Precision::ALL);
    let devices = devices(command.device);
    let mut graphs = Vec::new();
    for precision in &precisions {
        for form in forms_of(&forms, *precision) {
            // A graph with quantised weights is another one on another device: here it is that of the last, a GPU's if any.
            let on = devices.last().map(|device| precision.on(*device));
            let numerics = on.unwrap_or(precision.with(Float::Fp16));
            let file = onnx::of_builtin(spec, form, numerics)?;
            graphs.push(Graph {
                form,
                numerics,
                file,
            });
        }
    }
    if graphs.is_empty() {
        // Every form that was asked for is one that no precision that was asked for has.
        for (form, precision) in forms.iter().zip(&precisions) {
            model::check_form(*form, *precision)?;
        }
    }
    let (float, quantized): (Vec<Precision>, Vec<Precision>) = precisions
        .iter()
        .partition(|precision| precision.quantized_bits().is_none());
    let mut requests = Vec::new();
    for precisions in [float, quantized] {
        if let Some(first) = precisions.first() {
            let forms = forms_of(&forms, *first);
            requests.push(request(spec, command, forms, &precisions));
        }
    }
    let plans = devices.into_iter().map(|device| plan(&requests, device));
    Ok(Builtin {
        spec,
        graphs,
        plans: plans.collect::<Result<_>>()?,
        budgets: command.budgets.clone(),
    })
}

/// The forms that a precision has.
fn forms_of(forms: &[Form], precision: Precision) -> Vec<Form> {
    let mut forms = forms.to_vec();
    forms.retain(|form| model::check_form(*form, precision).is_ok());
    forms
}

/// What to predict: all combinations.
fn request(
    spec: &ModelSpec,
    command: &InspectCommand,
    forms: Vec<Form>,
    precisions: &[Precision],
) -> Request {
    let precisions = precisions.iter().copied();
    Request {
        selection: Selection::Models(vec![spec.name.clone()]),
        forms,
        precisions: precisions.map(PrecisionChoice::Exactly).collect(),
        kv_caches: vec![KvCache::Float],
        ablate: false,
        offload: Default::default(),
        kv_room: None,
        external_paths: Default::default(),
        batches: vec![command.batch],
        prompt_tokens: command.prompt_tokens.into_iter().collect(),
        gen_tokens: command.gen_tokens.into_iter().collect(),
        repetitions: 1,
        warmup: 0,
        steady: false,
        threads: None,
        cuda_graph: true,
        seed: 0,
        // Without one nothing is said of what fits.
        budgets: if command.budgets.is_empty() {
            vec![Bytes(u64::MAX)]
        } else {
            command.budgets.clone()
        },
    }
}

/// The predictions of all requests on a device.
fn plan(requests: &[Request], device: Device) -> Result<Plan> {
    let facts = Facts {
        device,
        device_memory: None,
        cores: 1,
    };
    let mut plans = requests
        .iter()
        .map(|request| Plan::build(request, &facts, &model::footprint));
    let mut all = plans
        .next()
        .unwrap_or_else(|| Err(Error::Bug("nothing to predict".into())))?;
    for plan in plans {
        all.trials.extend(plan?.trials);
    }
    Ok(all)
}

/// What was given, each once, or all.
fn given_or<T: Copy + PartialEq>(given: &[T], all: &[T]) -> Vec<T> {
    let chosen = all
        .iter()
        .filter(|one| given.is_empty() || given.contains(one));
    chosen.copied().collect()
}

fn file(path: &Path, command: &InspectCommand, as_json: bool) -> Result<u8> {
    if !command.forms.is_empty() || !command.precisions.is_empty() {
        return Err(Error::Usage(format!(
            "--form and --precision choose among graphs of a built-in model, and {} is a file; leave them out",
            path.display()
        )));
    }
    let file = onnx::read(path)?;
    let positions = file.positions.as_ref().ok().map(|(count, _)| *count);
    let (prompt, generated) = plan::lengths(command.prompt_tokens, command.gen_tokens, positions);
    let context = u64::from(prompt) + u64::from(generated);
    if let Some(most) = positions.filter(|most| context > *most) {
        return Err(Error::Usage(format!(
            "{} has {most} positions, too few for {prompt} prompt and {generated} generated tokens; reduce --prompt-tokens or --gen-tokens",
            path.display()
        )));
    }
    let mut predictions = Vec::new();
    for device in devices(command.device) {
        let shape = Shape {
            device,
            batch: command.batch.into(),
            context,
        };
        let mut predict =
            |budget| predictions.push((shape, budget, onnx::predict(&file, shape, budget)));
        match command.budgets.as_slice() {
            [] => predict(None),
            budgets => budgets.iter().for_each(|budget| predict(Some(*budget))),
        }
    }
    let sheet = FileSheet {
        path,
        file: &file,
        predictions,
        budgets: command.budgets.clone(),
    };
    print(&inspect::file(&sheet, as_json)?)
}
