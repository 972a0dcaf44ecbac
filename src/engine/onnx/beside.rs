//! Runs a small graph once, beside the session of the trial: on the same device, with what it needs read from its own files.

use super::super::EngineError;
use super::tensors::{Binding, Buffer, Number, Place, Space, Tensor};
use super::{OnnxEngine, library};
use crate::protocol::SideGraph;
use ort::environment::Environment;
use ort::ep;
use ort::session::builder::SessionBuilder;
use ort::session::{RunOptions, Session};

/// A session's beginning, on the device of the trial.
pub(super) fn builder(
    environment: &Environment,
    space: &Space,
) -> Result<SessionBuilder, EngineError> {
    let refused = |error: ort::Error| library::refused(&error);
    let builder = Session::builder(environment).map_err(refused)?;
    let Space::Gpu(_, index) = space else {
        return Ok(builder);
    };
    let provider = ep::CUDA::default()
        .with_device_id(*index as i32)
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
        .build()
        .error_on_failure();
    builder
        .with_execution_providers([provider])
        .map_err(|error| refused(error.into()))
}

impl OnnxEngine {
    /// The outputs of `side`, in their order.
    pub(super) fn run_beside(&self, side: &SideGraph) -> Result<Vec<Vec<f32>>, EngineError> {
        run(&self.environment, &self.space, side).map_err(|error| self.starved(error))
    }
}

fn run(
    environment: &Environment,
    space: &Space,
    side: &SideGraph,
) -> Result<Vec<Vec<f32>>, EngineError> {
    let session = builder(environment, space)?.commit_from_file(&side.graph);
    let mut session = session.map_err(|error| library::refused(&error))?;
    let place = Place::of(space)?;
    // Declared before the binding, which refers to them, so that they outlive it.
    let mut buffers = Vec::new();
    let mut outputs = Vec::new();
    let mut binding = Binding::new(&session)?;
    for input in &side.inputs {
        let mut buffer = Buffer::new(space, input.values.len() * 4)?;
        buffer.write(&input.values)?;
        let tensor = Tensor::over(&buffer, &place, f32::ELEMENT, &input.dims)?;
        binding.input(&input.name, tensor)?;
        buffers.push(buffer);
    }
    for output in &side.outputs {
        let buffer = Buffer::new(space, output.count() * 4)?;
        let tensor = Tensor::over(&buffer, &place, f32::ELEMENT, &output.dims)?;
        binding.output(&output.name, tensor)?;
        outputs.push((buffer, output.count()));
    }
    if let Space::Gpu(cuda, _) = space {
        // Written on the default stream, which the session's does not wait for.
        cuda.wait()?;
    }
    let options = RunOptions::new().map_err(|error| library::refused(&error))?;
    binding.run(&mut session, &options)?;
    let read = |(buffer, count): &(Buffer, usize)| {
        let mut values = vec![0.0_f32; *count];
        buffer.read(&mut values)?;
        Ok(values)
    };
    outputs.iter().map(read).collect()
}
