//! Decoders on ONNX Runtime: the only folder that names `ort`.
//!
//! All state lives in buffers that are bound once for each shape and updated in place: token ids go from the output
//! `next_ids` straight into the input `input_ids`. A fused graph has one KV buffer for past and present. A plain graph's
//! cache grows by concatenation, from one of two buffers into the other, so nothing is allocated while it is timed either.

mod arena;
mod beside;
mod buckets;
mod choices;
mod courier;
mod create;
mod fetch;
mod foreign;
mod io;
mod library;
mod packing;
mod packing_check;
mod passes;
mod placement;
mod probe;
mod tensors;
mod ways;
mod weights;
mod yardsticks;

use super::cuda::Stream;
use super::{Ballast, Engine, EngineError};
use crate::protocol::{DecoderIo, EngineKind, Held, SideGraph, TrialRequest};
use crate::trial::{Arena, Choice, Device, Float, LinkWay, LinkWays, LoadFacts};
use crate::units::{Bytes, Nanos};
use arena::Allocator;
use buckets::Graphs;
use choices::Log;
use fetch::Operators;
use io::{Io, Shape};
use ort::environment::Environment;
use ort::session::{RunOptions, Session};
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;
use tensors::{Binding, Space};
use weights::Weights;

pub use probe::probe;
pub use yardsticks::{measure_gpu, measure_host};

/// Bytes of call stack for each GPU thread, a quarter of CUDA's default. The context reserves them for every thread that the
/// GPU can hold: 198 MiB less on an H100 (518 to 320 MiB), where every test-size model keeps to its reference with it.
const STACK: usize = 256;

/// Free memory of a GPU below which an error is one of memory: cuBLAS, cuDNN and the kernels' modules each need tens of MiB.
const NEARLY_NOTHING: Bytes = Bytes(64 << 20);

/// Loads the library; no session yet.
pub fn open(request: &TrialRequest) -> Result<Box<dyn Engine>, EngineError> {
    let EngineKind::Onnx { library, cuda_dirs } = &request.engine else {
        return Err(EngineError::Other(
            "the ONNX engine was asked to run a script".into(),
        ));
    };
    let environment = library::load(library)?;
    let mut stream = None;
    let space = match request.trial.device {
        Device::Cpu => Space::Host,
        Device::Cuda(index) => {
            let cuda = super::cuda::Cuda::load(&cuda_provider(library)?, cuda_dirs)?;
            cuda.use_device(index)?;
            cuda.limit_stack(STACK)?;
            stream = Some(Rc::new(Stream::new(&cuda)?));
            Space::Gpu(cuda, index)
        }
    };
    let engine = OnnxEngine {
        request: request.clone(),
        environment,
        space,
        loaded: None,
        stream,
        next: Vec::new(),
        log: Log::default(),
    };
    if let Some(io) = &request.io.pass {
        return Ok(Box::new(passes::PassEngine::new(engine, (**io).clone())));
    }
    Ok(match &request.io.foreign {
        Some(io) => Box::new(foreign::ForeignEngine::new(engine, (**io).clone())),
        None => Box::new(engine),
    })
}

/// Takes memory of a GPU away. Needs CUDA's libraries only, no session.
pub fn hold(
    engine: &EngineKind,
    device: u32,
    leave: Bytes,
) -> Result<(Box<dyn Ballast>, Held), EngineError> {
    let EngineKind::Onnx { library, cuda_dirs } = engine else {
        return Err(EngineError::Other(
            "the ONNX engine was asked to run a script".into(),
        ));
    };
    let cuda = super::cuda::Cuda::load(&cuda_provider(library)?, cuda_dirs)?;
    cuda.use_device(device)?;
    // The context of this process comes on top of what it takes away: the smaller, the better.
    cuda.limit_stack(STACK)?;
    super::cuda::hold(&cuda, leave)
}

/// The CUDA provider's file, which lies beside the library.
fn cuda_provider(library: &Path) -> Result<std::path::PathBuf, EngineError> {
    let provider = library.with_file_name("libonnxruntime_providers_cuda.so");
    if provider.exists() {
        return Ok(provider);
    }
    Err(EngineError::Device(format!(
        "this ONNX Runtime ({}) has no CUDA provider beside it; name one that has with --ort (the onnxruntime-gpu wheel, or a build for your board)",
        library.display()
    )))
}

struct OnnxEngine {
    request: TrialRequest,
    environment: Environment,
    space: Space,
    loaded: Option<Loaded>,
    /// What the session on a GPU runs on; it outlives the session.
    stream: Option<Rc<Stream>>,
    /// What the runtime tells of its experts.
    log: Log,
    /// Host copy of the greedy next ids.
    next: Vec<i64>,
}

/// A session and its memory. Field order is drop order: bindings, allocator, session, buffers.
struct Loaded {
    bindings: HashMap<(LinkWay, Shape), Binding>,
    allocators: Vec<Allocator>,
    session: Session,
    /// The session whose graph copies weights from main memory before it uses them.
    copies: Option<Session>,
    /// Which of the two runs prompts, and which decode steps.
    ways: LinkWays,
    // What that session's graph has operators of.
    operators: Option<Operators>,
    io: Io,
    // The session reads them where they lie.
    weights: Option<Weights>,
    /// Options of ordinary runs, and the CUDA graphs of decode steps.
    plain_run: RunOptions,
    graphs: Option<Graphs>,
    /// Tokens in the cache.
    length: usize,
    swapped: bool,
    /// Decode steps may be captured: nobody reads their ids.
    priming: bool,
}

impl Engine for OnnxEngine {
    fn load(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        let loaded = self.create(holds);
        loaded.map_err(|error| self.starved(error))
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        let loaded = self.loaded()?;
        (loaded.length, loaded.swapped) = (0, false);
        Ok(())
    }

    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        let run = self.prompt(rows);
        run.map_err(|error| self.starved(error))
    }

    fn step(&mut self) -> Result<Nanos, EngineError> {
        let run = self.token();
        run.map_err(|error| self.starved(error))
    }

    fn next_ids(&self) -> &[i64] {
        &self.next
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        let count = self.next.len() * self.request.io.vocab as usize;
        let float = self.request.trial.numerics().compute();
        let logits = &self.loaded()?.io.logits;
        match float {
            Float::Fp32 => {
                let mut values = vec![0.0; count];
                logits.read(&mut values)?;
                Ok(values)
            }
            Float::Fp16 => {
                let mut values = vec![half::f16::ZERO; count];
                logits.read(&mut values)?;
                Ok(values.into_iter().map(half::f16::to_f32).collect())
            }
        }
    }

    fn device_used(&self) -> Option<Bytes> {
        match &self.space {
            Space::Host => None,
            Space::Gpu(cuda, _) => cuda
                .memory_info()
                .ok()
                .map(|(free, total)| total.saturating_sub(free)),
        }
    }

    fn choices(&mut self) -> Result<Vec<Choice>, EngineError> {
        self.decided()
    }

    fn beside(&mut self, graph: &SideGraph) -> Result<Option<Vec<Vec<f32>>>, EngineError> {
        self.run_beside(graph).map(Some)
    }

    fn specialist_weights(&mut self) -> Result<Option<Vec<f32>>, EngineError> {
        self.router_cache()
    }

    fn arena(&self) -> Option<Arena> {
        let all = self
            .loaded
            .as_ref()?
            .allocators
            .iter()
            .map(Allocator::stats);
        all.reduce(|a, b| Some(a?.with(b?))).flatten()
    }
}

fn not_loaded() -> EngineError {
    EngineError::Other("the model was run before it was loaded".into())
}

impl OnnxEngine {
    /// An error that came while hardly any of the GPU's memory was free, as what it is: libraries have many words for it, and some have
    /// none.
    fn starved(&self, error: EngineError) -> EngineError {
        let Space::Gpu(cuda, _) = &self.space else {
            return error;
        };
        let free = cuda.memory_info().map(|(free, _)| free).ok();
        match (error, free) {
            (EngineError::Model(said), Some(free))
                if free < NEARLY_NOTHING && library::is_of_cuda(&said) =>
            {
                EngineError::OutOfMemory(format!(
                    "ONNX Runtime gave up with {} MiB of GPU memory left: {said}",
                    free.0 >> 20
                ))
            }
            (error, _) => error,
        }
    }

    fn create(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        // The process's own figure; the device's free memory, which everybody changes, only where there is none.
        let taken = |engine: &OnnxEngine| holds().or_else(|| engine.device_used());
        let (held, before) = (holds(), taken(self));
        let started = Instant::now();
        let weights = self.weights()?;
        let weights_time = started.elapsed();
        let with_weights = taken(self);
        // Before the session: what is left of the budget after both is what its arena may take.
        let io = Io::new(&self.request, &self.space, self.stream.as_ref())?;
        if let Space::Gpu(cuda, _) = &self.space {
            // Weights and zeros were written on the default stream, which the session's does not wait for.
            cuda.wait()?;
        }
        let with_all = taken(self);
        let grown = |from: Option<Bytes>, to: Option<Bytes>| Some(to?.saturating_sub(from?));
        let repacked = weights.as_ref().map_or(0, Weights::repacked);
        let (block, mapped) = weights.as_ref().map_or((0, 0), Weights::bytes);
        let weight_bytes = Bytes((block + mapped) as u64);
        // What it takes on the GPU is none of what was read above, and mostly given back.
        self.check_packing(weights.as_ref())?;
        let grown_by = grown(before, with_all);
        let grown_by = match self.request.unified_memory {
            // Pinned memory is not always the driver's to tell, and yet of the same pool.
            true => {
                grown_by.map(|told| told.max(io.cache_bytes() + io.other_bytes() + weight_bytes))
            }
            false => grown_by,
        };
        let arena_limit = self.arena_limit(held, grown_by, Bytes(repacked))?;
        let started = Instant::now();
        // Asked before weights and buffers are given back.
        let session = self.session(&self.request.graph, weights.as_ref(), arena_limit, None);
        let session = session.map_err(|error| self.starved(error))?;
        let session_time = weights_time + started.elapsed();
        let placement = self.placement(&session)?;
        let allocators = Vec::from_iter(self.allocator(&session)?);
        let packed = allocators.first().and_then(Allocator::stats);
        let packed = packed.map(|arena| arena.reserved);
        let kv_cache = io.cache_bytes();
        let io_buffers = io.other_bytes();
        let (plain_run, graphs) = self.run_options(io.capacity)?;
        self.next = vec![0; io.batch];
        let bindings = HashMap::new();
        self.loaded = Some(Loaded {
            bindings,
            allocators,
            session,
            copies: None,
            ways: LinkWays::default(),
            operators: None,
            io,
            weights,
            plain_run,
            graphs,
            length: 0,
            swapped: false,
            priming: false,
        });
        let (link_ways, copies_time) = self.choose_ways(arena_limit)?;
        self.prime()?;
        Ok(LoadFacts {
            not_captured: None,
            session: Nanos::from(session_time + copies_time),
            provider: match self.space {
                Space::Host => "CPUExecutionProvider".into(),
                Space::Gpu(..) => "CUDAExecutionProvider".into(),
            },
            weights: self.request.weights,
            kv_cache,
            io_buffers,
            weights_taken: grown(before, with_weights),
            buffers_taken: grown(with_weights, with_all),
            packed,
            arena_limit,
            mapped: Bytes(mapped as u64),
            link_ways,
            largest_tensor: self.request.largest_tensor,
            kv_mode: match (self.request.io.shared_kv, self.request.io.fused) {
                (true, _) => "in place".into(),
                (false, true) => "copied".into(),
                (false, false) => "concatenated".into(),
            },
            placement,
        })
    }

    fn prompt(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        let new = rows.first().map_or(0, Vec::len);
        let shared = self.request.io.shared_kv;
        let Some(loaded) = self.loaded.as_mut() else {
            return Err(not_loaded());
        };
        let even = rows.iter().all(|row| row.len() == new);
        if rows.len() != loaded.io.batch || !even || new == 0 {
            return Err(EngineError::Other(format!(
                "{} uneven or empty rows of ids for a batch of {}",
                rows.len(),
                loaded.io.batch
            )));
        }
        loaded.room(new)?;
        loaded.io.write_ids(rows)?;
        let total = loaded.length + new;
        loaded
            .io
            .write_positions(loaded.length, new, self.request.io.fused, total)?;
        let past = if shared { 0 } else { loaded.length };
        let shape = Shape {
            new,
            past,
            swapped: loaded.swapped,
            feedback: false,
        };
        loaded.run(&self.request.io, shape, None, &mut self.next)
    }

    fn token(&mut self) -> Result<Nanos, EngineError> {
        let shared = self.request.io.shared_kv;
        let Some(loaded) = self.loaded.as_mut() else {
            return Err(not_loaded());
        };
        loaded.room(1)?;
        let total = loaded.length + 1;
        let bound = match loaded.graphs {
            Some(_) => buckets::bound(total, loaded.io.capacity),
            None => total,
        };
        loaded
            .io
            .write_positions(loaded.length, 1, self.request.io.fused, bound)?;
        let past = if shared { 0 } else { loaded.length };
        let shape = Shape {
            new: 1,
            past,
            swapped: loaded.swapped,
            feedback: true,
        };
        loaded.run(&self.request.io, shape, Some(bound), &mut self.next)
    }

    fn loaded(&mut self) -> Result<&mut Loaded, EngineError> {
        self.loaded.as_mut().ok_or_else(not_loaded)
    }

    /// Options of ordinary runs, and the graphs of decode steps where they are captured.
    fn run_options(&self, capacity: usize) -> Result<(RunOptions, Option<Graphs>), EngineError> {
        if self.captures() {
            return Ok((buckets::outside()?, Some(Graphs::new(capacity)?)));
        }
        let mut options = RunOptions::new().map_err(|error| library::refused(&error))?;
        if matches!(self.space, Space::Gpu(..)) {
            asynchronous(&mut options)?;
        }
        Ok((options, None))
    }

    /// Whether decode steps are captured into a CUDA graph: a growing cache changes shape with every token and cannot be.
    fn captures(&self) -> bool {
        matches!(self.space, Space::Gpu(..))
            && self.request.trial.cuda_graph
            && self.request.io.shared_kv
    }

    /// With CUDA graphs: one token, then for each bucket that the trial gets to an ordinary step and the capturing one, before anybody
    /// looks at a clock.
    fn prime(&mut self) -> Result<(), EngineError> {
        let trial = &self.request.trial;
        let prompt = trial.prompt_tokens as usize;
        // The last id is chosen and never read.
        let longest = (prompt + trial.gen_tokens as usize).saturating_sub(1);
        let capacity = self.loaded()?.io.capacity;
        if !self.captures() || capacity < 3 || longest <= prompt {
            return Ok(());
        }
        let rows = vec![vec![0]; self.next.len()];
        self.prompt(&rows)?;
        self.loaded()?.priming = true;
        for bound in buckets::between(prompt + 1, longest, capacity) {
            for _ in 0..2 {
                self.loaded()?.length = bound - 1;
                self.token()?;
            }
        }
        self.loaded()?.priming = false;
        self.reset()
    }
}

impl Loaded {
    fn room(&self, new: usize) -> Result<(), EngineError> {
        if self.length + new > self.io.capacity {
            return Err(EngineError::Other(format!(
                "{} tokens do not fit a cache of {}",
                self.length + new,
                self.io.capacity
            )));
        }
        Ok(())
    }

    /// One run of the session, to the ids it chose: the run call and, on a GPU, the wait for what it asked for are timed. Bindings are
    /// made on first use: warm-up makes them all. `bound` is the bucket of a decode step.
    fn run(
        &mut self,
        decoder: &DecoderIo,
        shape: Shape,
        bound: Option<usize>,
        next: &mut [i64],
    ) -> Result<Nanos, EngineError> {
        let way = match shape.feedback {
            true => self.ways.step,
            false => self.ways.prompt,
        };
        let session = match (way, &mut self.copies) {
            (LinkWay::Copied, Some(copies)) => copies,
            _ => &mut self.session,
        };
        if !self.bindings.contains_key(&(way, shape)) {
            let binding = self.io.bind(session, decoder, shape)?;
            self.bindings.insert((way, shape), binding);
        }
        let graph = match (&mut self.graphs, bound) {
            (Some(graphs), Some(bound)) => graphs.step(bound, self.priming),
            _ => None,
        };
        let binding = &self.bindings[&(way, shape)];
        let started = Instant::now();
        binding.run(session, graph.unwrap_or(&self.plain_run))?;
        self.io.fetch_next(next)?;
        let time = started.elapsed();
        self.length += shape.new;
        self.swapped = !self.swapped && !decoder.shared_kv;
        Ok(time.into())
    }
}

/// Lets a run return when its work is asked for: the wait for it is ours.
fn asynchronous(options: &mut RunOptions) -> Result<(), EngineError> {
    options
        .set("disable_synchronize_execution_providers", "1")
        .map_err(|error| library::refused(&error))
}
