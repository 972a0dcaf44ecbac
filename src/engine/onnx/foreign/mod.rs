//! Decoders that another program wrote: fed by what each of their inputs is for. Where an operator writes new keys and values into the
//! buffer it reads, past and present are one; else they go from one of two buffers into the other. The next ids are chosen here,
//! from the logits, as these graphs end with them.
//!
//! Where the graph allows, the steps of such a cache all have the same shapes: the mask is as wide as a bucket of lengths, and its ones
//! tell how far the cache is filled. Then a step writes a few bytes into buffers that are bound once, and on a GPU it is captured.

mod buffers;
mod choice;
mod mask;
mod steps;

use super::super::EngineError;
use super::arena::Allocator;
use super::buckets::Graphs;
use super::tensors::{Binding, Space};
use super::{OnnxEngine, not_loaded};
use crate::engine::Engine;
use crate::protocol::{CacheUpdate, ForeignIo, TrialRequest};
use crate::trial::{Arena, LoadFacts};
use crate::units::{Bytes, Nanos};
use buffers::{Buffers, Shape};
use ort::session::{RunOptions, Session};
use std::collections::HashMap;
use std::time::Instant;

/// A decoder that another program wrote.
pub(super) struct ForeignEngine {
    base: OnnxEngine,
    io: ForeignIo,
    loaded: Option<Loaded>,
    next: Vec<i64>,
    /// Why steps are not captured, where they were to be.
    not_captured: Option<String>,
}

/// A session and its memory. Field order is drop order.
struct Loaded {
    bindings: HashMap<Shape, Binding>,
    /// Of steps that are bound once, by the width of their mask; `None` where each is another.
    steps: Option<HashMap<usize, Binding>>,
    allocator: Option<Allocator>,
    session: Session,
    buffers: Buffers,
    options: RunOptions,
    graphs: Option<Graphs>,
    /// Steps may be captured: nobody reads their ids.
    priming: bool,
    /// Tokens in the cache.
    length: usize,
    swapped: bool,
}

impl ForeignEngine {
    pub(super) fn new(base: OnnxEngine, io: ForeignIo) -> ForeignEngine {
        ForeignEngine {
            base,
            io,
            loaded: None,
            next: Vec::new(),
            not_captured: None,
        }
    }

    fn request(&self) -> &TrialRequest {
        &self.base.request
    }

    fn create(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        let trial = &self.request().trial;
        let batch = u64::from(trial.batch);
        if let Some(fixed) = self.io.fixed_batch().filter(|fixed| *fixed != batch) {
            return Err(EngineError::Model(format!(
                "the graph takes just {fixed} sequences at a time, and {batch} were asked for; give --batch {fixed}, or export it with a batch that is free (dynamic)"
            )));
        }
        let taken = |engine: &OnnxEngine| holds().or_else(|| engine.device_used());
        let (held, before) = (holds(), taken(&self.base));
        let buffers = Buffers::new(
            self.request(),
            &self.io,
            &self.base.space,
            self.base.stream.as_ref(),
        )?;
        if let Space::Gpu(cuda, _) = &self.base.space {
            cuda.wait()?;
        }
        let with_buffers = taken(&self.base);
        let grown = |from: Option<Bytes>, to: Option<Bytes>| Some(to?.saturating_sub(from?));
        let buffers_taken = grown(before, with_buffers);
        let arena_limit = self.base.arena_limit(held, buffers_taken, Bytes(0))?;
        let started = Instant::now();
        let session = self.session(arena_limit)?;
        let session_time = Nanos::from(started.elapsed());
        let placement = self.base.placement(&session)?;
        let allocator = self.base.allocator(&session)?;
        let packed = allocator.as_ref().and_then(Allocator::stats);
        let facts = LoadFacts {
            session: session_time,
            provider: match self.base.space {
                Space::Host => "CPUExecutionProvider".into(),
                Space::Gpu(..) => "CUDAExecutionProvider".into(),
            },
            weights: self.request().weights,
            kv_cache: buffers.cache_bytes(),
            io_buffers: buffers.other_bytes(),
            // The runtime loads them into its arena.
            weights_taken: None,
            buffers_taken,
            packed: packed.map(|arena| arena.reserved),
            arena_limit,
            mapped: Bytes(0),
            link_ways: None,
            largest_tensor: self.request().largest_tensor,
            kv_mode: match self.io.update {
                CacheUpdate::InPlace => "in place".into(),
                CacheUpdate::Grown(_) => "concatenated".into(),
                CacheUpdate::None => "none".into(),
            },
            placement,
            not_captured: None,
        };
        self.next = vec![0; buffers.batch];
        let (options, graphs) = self.base.run_options(buffers.capacity)?;
        let even = steps::are_even(&self.io, facts.placement.as_ref());
        self.loaded = Some(Loaded {
            bindings: HashMap::new(),
            steps: even.then(HashMap::new),
            graphs,
            priming: false,
            allocator,
            session,
            buffers,
            options,
            length: 0,
            swapped: false,
        });
        match self.prime() {
            Err(error @ EngineError::OutOfMemory(_)) => Err(error),
            Err(error) if self.base.captures() => {
                self.after_failed_capture(&error)?;
                self.create(holds)
            }
            Err(error) => Err(error),
            Ok(()) => Ok(LoadFacts {
                not_captured: self.not_captured.clone(),
                ..facts
            }),
        }
    }

    fn feed(&mut self, rows: &[&[i64]]) -> Result<Nanos, EngineError> {
        let Some(loaded) = self.loaded.as_mut() else {
            return Err(not_loaded());
        };
        let new = rows.first().map_or(0, |row| row.len());
        let even = rows.iter().all(|row| row.len() == new);
        if rows.len() != loaded.buffers.batch || !even || new == 0 {
            return Err(EngineError::Other(format!(
                "{} uneven or empty rows of ids for a batch of {}",
                rows.len(),
                loaded.buffers.batch
            )));
        }
        let mut time = 0;
        // The buffer of the logits has room for a prompt: what is longer is no part of what is timed.
        let (mut done, most) = (0, loaded.buffers.most_new);
        while done < new {
            let end = (done + most).min(new);
            time += loaded.run(&self.io, &self.base.space, rows, (done, end))?.0;
            done = end;
        }
        loaded.buffers.fetch()?;
        loaded.buffers.choose(&mut self.next);
        Ok(Nanos(time))
    }
}

impl Loaded {
    fn room(&self, new: usize) -> Result<(), EngineError> {
        if self.length + new > self.buffers.capacity {
            return Err(EngineError::Other(format!(
                "{} tokens do not fit a cache of {}",
                self.length + new,
                self.buffers.capacity
            )));
        }
        Ok(())
    }

    /// One run over the tokens `from..to` of each row.
    fn run(
        &mut self,
        io: &ForeignIo,
        space: &Space,
        rows: &[&[i64]],
        (from, to): (usize, usize),
    ) -> Result<Nanos, EngineError> {
        let new = to - from;
        self.room(new)?;
        self.buffers.write(io, rows, (from, to), self.length)?;
        let shape = Shape {
            new,
            past: self.length,
            swapped: self.swapped,
        };
        // What is bound from main memory for a GPU is copied when it is bound: there a binding holds for one run.
        let anew = matches!(space, Space::Gpu(..));
        if anew {
            self.bindings.clear();
        }
        // What the runtime copies when it is bound it copies on a stream of its own.
        self.buffers.wait()?;
        if !self.bindings.contains_key(&shape) {
            let binding = self.buffers.bind(&self.session, io, shape)?;
            self.bindings.insert(shape, binding);
        }
        let started = Instant::now();
        self.bindings[&shape].run(&mut self.session, &self.options)?;
        self.buffers.wait()?;
        let time = started.elapsed();
        self.buffers.last_new = new;
        self.length += new;
        self.swapped = !self.swapped && matches!(io.update, CacheUpdate::Grown(_));
        Ok(time.into())
    }
}

impl Engine for ForeignEngine {
    fn load(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        let loaded = self.create(holds);
        loaded.map_err(|error| self.base.starved(error))
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(not_loaded)?;
        (loaded.length, loaded.swapped) = (0, false);
        Ok(())
    }

    fn append(&mut self, rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
        let run = self.feed(&rows);
        run.map_err(|error| self.base.starved(error))
    }

    fn step(&mut self) -> Result<Nanos, EngineError> {
        if self.io.update == CacheUpdate::None {
            return Err(EngineError::Other(
                "a decoder without a KV cache has no step: the whole sequence is run again".into(),
            ));
        }
        if self
            .loaded
            .as_ref()
            .is_some_and(|loaded| loaded.steps.is_some())
        {
            let run = self.even_step();
            return run.map_err(|error| self.base.starved(error));
        }
        let next = std::mem::take(&mut self.next);
        let rows: Vec<&[i64]> = next.chunks(1).collect();
        self.next = vec![0; next.len()];
        let run = self.feed(&rows);
        run.map_err(|error| self.base.starved(error))
    }

    fn next_ids(&self) -> &[i64] {
        &self.next
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        let loaded = self.loaded.as_ref().ok_or_else(not_loaded)?;
        loaded.buffers.logits()
    }

    fn device_used(&self) -> Option<Bytes> {
        self.base.device_used()
    }

    fn arena(&self) -> Option<Arena> {
        self.loaded.as_ref()?.allocator.as_ref()?.stats()
    }
}
