//! What this ONNX Runtime can run on: a compiled-in list says nothing, so CUDA is proved with a one-node graph.

use super::super::EngineError;
use super::super::cuda::Cuda;
use super::tensors::{Binding, Buffer, Number, Place, Space, Tensor};
use super::{STACK, cuda_provider, library};
use crate::protocol::{CudaSeen, DeviceMemory, EngineKind, GpuFacts, ProbeFacts};
use crate::trial::DeviceChoice;
use ort::environment::Environment;
use ort::ep;
use ort::session::{RunOptions, Session};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `y = x + x` for one float: small enough to keep, real enough to need a kernel for this GPU.
const ADD: &[u8] = include_bytes!("add.onnx");

/// Looks at the library and, unless the CPU was asked for, at CUDA.
pub fn probe(engine: &EngineKind, device: DeviceChoice) -> Result<ProbeFacts, EngineError> {
    let EngineKind::Onnx {
        library: path,
        cuda_dirs,
    } = engine
    else {
        return Err(EngineError::Other(
            "the ONNX engine was asked to run a script".into(),
        ));
    };
    let environment = library::load(path)?;
    let mut facts = ProbeFacts {
        runtime_version: library::version(path)?,
        runtime_build: Some(library::build_info()),
        providers: library::providers(),
        gpu: None,
        cuda_unavailable: None,
        cuda_seen: None,
    };
    let index = match device {
        DeviceChoice::Cpu => return Ok(facts),
        DeviceChoice::Auto => 0,
        DeviceChoice::Cuda(index) => index,
    };
    match gpu(&environment, path, cuda_dirs, index, &mut facts.cuda_seen) {
        Ok(gpu) => facts.gpu = Some(gpu),
        Err(error) => facts.cuda_unavailable = Some(error.to_string()),
    }
    Ok(facts)
}

/// The GPU, where CUDA can be used. What is learnt on the way stays in `seen`.
fn gpu(
    environment: &Environment,
    library: &Path,
    folders: &[PathBuf],
    index: u32,
    seen: &mut Option<CudaSeen>,
) -> Result<GpuFacts, EngineError> {
    let cuda = Cuda::load(&cuda_provider(library)?, folders)?;
    let seen = seen.insert(CudaSeen {
        libraries: cuda
            .libraries
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        version: cuda.version(),
        ..CudaSeen::default()
    });
    let count = cuda.device_count()?;
    seen.devices = Some(count);
    if index >= count {
        return Err(EngineError::Device(format!(
            "there is no GPU {index}: the driver shows {count}; choose one with --device cuda:N"
        )));
    }
    let (major, minor) = cuda.compute_capability(index)?;
    let compute_capability = format!("{major}.{minor}");
    seen.compute_capability = Some(compute_capability.clone());
    let unified_memory = cuda.is_integrated(index)?;
    seen.unified_memory = Some(unified_memory);
    cuda.use_device(index)?;
    // As in a trial, so that what this process holds tells what one will.
    cuda.limit_stack(STACK)?;
    let (free, total) = cuda.memory_info()?;
    seen.memory = Some(DeviceMemory { total, free });
    let facts = GpuFacts {
        index,
        compute_capability,
        bus_id: cuda.bus_id(index),
        memory_total: total,
        memory_free: free,
        unified_memory,
        cuda_version: seen.version.clone(),
        libraries: seen.libraries.clone(),
        ..GpuFacts::default()
    };
    prove(environment, cuda, index)?;
    Ok(facts)
}

/// Runs the one-node graph on the GPU and looks at the sum.
fn prove(environment: &Environment, cuda: Arc<Cuda>, index: u32) -> Result<(), EngineError> {
    let refused = |error: ort::Error| match library::refused(&error) {
        EngineError::Model(message) => EngineError::Device(message),
        other => other,
    };
    let provider = ep::CUDA::default()
        .with_device_id(index as i32)
        .build()
        .error_on_failure();
    let mut session = Session::builder(environment)
        .map_err(refused)?
        .with_execution_providers([provider])
        .map_err(|error| refused(error.into()))?
        .commit_from_memory(ADD)
        .map_err(refused)?;
    let space = Space::Gpu(cuda, index);
    let place = Place::of(&space)?;
    let (mut x, y) = (Buffer::new(&space, 4)?, Buffer::new(&space, 4)?);
    x.write(&[1.5f32])?;
    let mut binding = Binding::new(&session)?;
    binding.input("x", Tensor::over(&x, &place, f32::ELEMENT, &[1])?)?;
    binding.output("y", Tensor::over(&y, &place, f32::ELEMENT, &[1])?)?;
    let options = RunOptions::new().map_err(refused)?;
    binding.run(&mut session, &options)?;
    let mut sum = [0f32];
    y.read(&mut sum)?;
    drop(binding);
    if sum == [3.0] {
        Ok(())
    } else {
        Err(EngineError::Device(format!(
            "GPU {index} computed 1.5 + 1.5 = {}; its driver and ONNX Runtime do not fit together",
            sum[0]
        )))
    }
}
