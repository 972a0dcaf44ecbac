//! How fast the runtime is on a device where nothing of a model slows it down: launches of tiny kernels, and one large product.

use super::super::EngineError;
use super::super::cuda::{self, Cuda};
use super::super::host;
use super::tensors::{Binding, Buffer, Place, Space, Tensor, element};
use super::{STACK, cuda_provider, library};
use crate::protocol::{Element, Yardsticks};
use crate::trial::{DeviceLimits, Float};
use crate::units::Bytes;
use ort::environment::Environment;
use ort::ep;
use ort::session::{RunOptions, Session};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Runs of a chain and of a product in one round, and rounds; the fastest round counts.
const CHAIN_RUNS: u32 = 50;
const PRODUCT_RUNS: u32 = 3;
const ROUNDS: u32 = 5;

/// The limits of GPU `index`.
pub fn measure_gpu(
    library: &Path,
    folders: &[PathBuf],
    index: u32,
    yardsticks: &Yardsticks,
    room: Bytes,
) -> Result<DeviceLimits, EngineError> {
    let environment = library::load(library)?;
    let cuda = Cuda::load(&cuda_provider(library)?, folders)?;
    cuda.use_device(index)?;
    cuda.limit_stack(STACK)?;
    let (free, _) = cuda.memory_info()?;
    let rates = cuda::rates(&cuda, room.min(free));
    let space = Space::Gpu(cuda, index);
    let told = |value: Result<f64, EngineError>| value.map_err(|error| error.to_string());
    let launch = |captured| told(launch(&environment, &space, yardsticks, captured));
    Ok(DeviceLimits {
        read_bytes_s: rates.read,
        copy_bytes_s: rates.copy,
        to_device_bytes_s: rates.to_device,
        from_device_bytes_s: rates.from_device,
        launch_s: launch(false),
        graph_launch_s: launch(true),
        flop_s: told(product(&environment, &space, yardsticks, 1)),
        method: format!(
            "read: cuBLAS sums up to 1 GiB of floats; copy: cudaMemcpy inside the device, bytes read and written; link: cudaMemcpy of 256 MiB of pinned memory; launch: chains of {} and {} one-element kernels, difference of the times of a run; product: {edge} x {edge} x {edge} in {float} by ONNX Runtime; each the fastest of {ROUNDS} rounds",
            yardsticks.short_chain.1,
            yardsticks.long_chain.1,
            edge = yardsticks.edge,
            float = yardsticks.float,
        ),
    })
}

/// The limits of the CPU with so many threads.
pub fn measure_host(
    library: &Path,
    yardsticks: &Yardsticks,
    threads: u32,
) -> Result<DeviceLimits, EngineError> {
    let environment = library::load(library)?;
    let rates = host::rates(threads);
    let none = |why: &str| Err(why.to_owned());
    let flop_s = product(&environment, &Space::Host, yardsticks, threads);
    Ok(DeviceLimits {
        read_bytes_s: Ok(rates.read),
        copy_bytes_s: Ok(rates.copy),
        to_device_bytes_s: none("the CPU has no link to its memory"),
        from_device_bytes_s: none("the CPU has no link to its memory"),
        launch_s: none("the CPU launches no kernels"),
        graph_launch_s: none("the CPU launches no kernels"),
        flop_s: flop_s.map_err(|error| error.to_string()),
        method: format!(
            "read and copy: each of {threads} threads on up to 128 MiB of its own, bytes read and written, the fastest of {} rounds; product: {edge} x {edge} x {edge} in {float} by ONNX Runtime, the fastest of {ROUNDS}",
            host::ROUNDS,
            edge = yardsticks.edge,
            float = yardsticks.float,
        ),
    })
}

/// A session over a yardstick.
fn session(
    environment: &Environment,
    space: &Space,
    graph: &Path,
    captured: bool,
    threads: u32,
) -> Result<Session, EngineError> {
    let refused = |error: ort::Error| library::refused(&error);
    let mut builder = Session::builder(environment)
        .map_err(refused)?
        .with_intra_threads(threads as usize)
        .map_err(|error| refused(error.into()))?;
    if let Space::Gpu(_, index) = space {
        let cuda = ep::CUDA::default()
            .with_device_id(*index as i32)
            .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
            .with_cuda_graph(captured)
            .build()
            .error_on_failure();
        builder = builder
            .with_execution_providers([cuda])
            .map_err(|error| refused(error.into()))?;
    }
    builder.commit_from_file(graph).map_err(refused)
}

/// Seconds of one run in the fastest round. Each run is waited for, as each decode step is.
fn fastest(
    session: &mut Session,
    binding: &Binding,
    options: &RunOptions,
    runs: u32,
) -> Result<f64, EngineError> {
    let mut best = f64::INFINITY;
    // The first round warms up and captures.
    for _ in 0..=ROUNDS {
        let began = Instant::now();
        for _ in 0..runs {
            binding.run(session, options)?;
        }
        best = best.min(began.elapsed().as_secs_f64() / f64::from(runs));
    }
    Ok(best)
}

/// What one more kernel in a chain takes.
fn launch(
    environment: &Environment,
    space: &Space,
    yardsticks: &Yardsticks,
    captured: bool,
) -> Result<f64, EngineError> {
    let place = Place::of(space)?;
    let seconds = |graph: &Path| -> Result<f64, EngineError> {
        let mut session = session(environment, space, graph, captured, 1)?;
        let (x, y) = (Buffer::new(space, 4)?, Buffer::new(space, 4)?);
        let mut binding = Binding::new(&session)?;
        let float = element(Element::Fp32);
        binding.input("x", Tensor::over(&x, &place, float, &[1])?)?;
        binding.output("y", Tensor::over(&y, &place, float, &[1])?)?;
        let mut options = RunOptions::new().map_err(|error| library::refused(&error))?;
        if captured {
            options
                .set("gpu_graph_id", "1")
                .map_err(|error| library::refused(&error))?;
        }
        let seconds = fastest(&mut session, &binding, &options, CHAIN_RUNS);
        drop(binding);
        seconds
    };
    let (short, long) = (&yardsticks.short_chain, &yardsticks.long_chain);
    let more = f64::from(long.1.saturating_sub(short.1).max(1));
    let each = (seconds(&long.0)? - seconds(&short.0)?) / more;
    if each > 0.0 {
        return Ok(each);
    }
    Err(EngineError::Other(
        "the longer chain took no longer than the shorter one: something else was running".into(),
    ))
}

/// Numbers between a half and one, in no order.
fn numbers(size: usize, float: Float) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        match float {
            Float::Fp16 => bytes.extend((0x3800 | (next() & 0x3ff) as u16).to_le_bytes()),
            Float::Fp32 => bytes.extend((0x3f00_0000 | (next() & 0x7f_ffff) as u32).to_le_bytes()),
        }
    }
    bytes
}

/// Floating point operations per second of the product.
fn product(
    environment: &Environment,
    space: &Space,
    yardsticks: &Yardsticks,
    threads: u32,
) -> Result<f64, EngineError> {
    let mut session = session(environment, space, &yardsticks.product, false, threads)?;
    let place = Place::of(space)?;
    let edge = yardsticks.edge as usize;
    let kind = element(match yardsticks.float {
        Float::Fp32 => Element::Fp32,
        Float::Fp16 => Element::Fp16,
    });
    let size = edge * edge * yardsticks.float.bytes() as usize;
    let mut buffers = [
        Buffer::new(space, size)?,
        Buffer::new(space, size)?,
        Buffer::new(space, size)?,
    ];
    // Zeros would draw less power and let the clocks stay higher than a model's numbers do.
    for buffer in &mut buffers[..2] {
        buffer.write_bytes(0, &numbers(size, yardsticks.float))?;
    }
    let dims = [edge as i64, edge as i64];
    let over = |buffer: &Buffer| Tensor::over(buffer, &place, kind, &dims);
    let mut binding = Binding::new(&session)?;
    binding.input("a", over(&buffers[0])?)?;
    binding.input("b", over(&buffers[1])?)?;
    binding.output("c", over(&buffers[2])?)?;
    let options = RunOptions::new().map_err(|error| library::refused(&error))?;
    let seconds = fastest(&mut session, &binding, &options, PRODUCT_RUNS)?;
    drop(binding);
    Ok(2.0 * (edge as f64).powi(3) / seconds)
}
