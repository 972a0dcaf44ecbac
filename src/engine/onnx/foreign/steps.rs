//! Steps that all have the same shapes: bound once for each width of the mask, and on a GPU captured into a CUDA graph, where ONNX
//! Runtime agrees to that.

use super::super::super::EngineError;
use super::super::super::cuda::Stream;
use super::super::tensors::Space;
use super::super::{buckets, not_loaded};
use super::buffers::Shape;
use super::{ForeignEngine, Loaded};
use crate::engine::Engine;
use crate::protocol::ForeignIo;
use crate::trial::Placement;
use crate::units::{Bytes, Nanos};
use ort::session::{RunOptions, Session};
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::Instant;

/// Whether they are: by the graph, and by where its nodes went. A mask that is summed up in main memory is copied there when it is
/// bound, and a binding that is kept would keep what it was then.
pub(super) fn are_even(io: &ForeignIo, placement: Option<&Placement>) -> bool {
    let summed = placement.is_some_and(|placement| {
        let host = &placement.host_operators;
        host.contains_key("ReduceSum")
    });
    io.uneven_steps.is_none() && !summed
}

impl ForeignEngine {
    /// The session, without captured steps where the runtime refuses them for this graph.
    pub(super) fn session(&mut self, arena_limit: Option<Bytes>) -> Result<Session, EngineError> {
        let base = &mut self.base;
        if let Some(why) = self.io.uneven_steps.as_ref().filter(|_| base.captures()) {
            self.not_captured = Some(why.clone());
            base.request.trial.cuda_graph = false;
        }
        let graph = base.request.graph.clone();
        match base.session(&graph, None, arena_limit, None) {
            // If it is the graph that is at fault, it is refused again.
            Err(EngineError::Model(cause)) if base.captures() => {
                self.without_capture(&cause);
                self.base.session(&graph, None, arena_limit, None)
            }
            made => made,
        }
    }

    /// Gives up on captured steps.
    fn without_capture(&mut self, why: &str) {
        self.not_captured = Some(format!("ONNX Runtime does not capture its steps: {why}"));
        self.base.request.trial.cuda_graph = false;
    }

    /// Gives up on them once a capture has failed, with all that was loaded: its stream is of no use any more.
    pub(super) fn after_failed_capture(&mut self, why: &EngineError) -> Result<(), EngineError> {
        self.loaded = None;
        self.without_capture(&why.to_string());
        if let Space::Gpu(cuda, _) = &self.base.space {
            self.base.stream = Some(Rc::new(Stream::new(cuda)?));
        }
        Ok(())
    }

    /// With CUDA graphs: one token, then for each bucket that the trial gets to an ordinary step and the capturing one, before anybody
    /// looks at a clock.
    pub(super) fn prime(&mut self) -> Result<(), EngineError> {
        let trial = &self.request().trial;
        let prompt = trial.prompt_tokens as usize;
        // The last id is chosen and never read.
        let longest = (prompt + trial.gen_tokens as usize).saturating_sub(1);
        let loaded = self.loaded.as_mut().ok_or_else(not_loaded)?;
        let capacity = loaded.buffers.capacity;
        if !self.base.captures() || capacity < 3 || longest <= prompt {
            return Ok(());
        }
        if loaded.steps.is_none() {
            return Err(EngineError::Model(
                "its mask is summed up in main memory, where a captured graph does not look again"
                    .into(),
            ));
        }
        let rows = vec![vec![0]; self.next.len()];
        let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
        self.feed(&rows)?;
        for bound in buckets::between(prompt + 1, longest, capacity) {
            for _ in 0..2 {
                let loaded = self.loaded.as_mut().ok_or_else(not_loaded)?;
                (loaded.length, loaded.priming) = (bound - 1, true);
                self.even_step()?;
            }
        }
        self.loaded.as_mut().ok_or_else(not_loaded)?.priming = false;
        self.reset()
    }

    /// A step in buffers that stay bound. The run call and, on a GPU, the wait for its logits are timed.
    pub(super) fn even_step(&mut self) -> Result<Nanos, EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(not_loaded)?;
        loaded.room(1)?;
        let (total, capacity) = (loaded.length + 1, loaded.buffers.capacity);
        let bound = buckets::bound(total, capacity);
        loaded
            .buffers
            .write_step(&self.io, &self.next, total, bound)?;
        let time = loaded.even_run(&self.io, bound)?;
        loaded.buffers.choose(&mut self.next);
        Ok(time)
    }
}

impl Loaded {
    fn even_run(&mut self, io: &ForeignIo, bound: usize) -> Result<Nanos, EngineError> {
        let binding = match self.steps.get_or_insert_default().entry(bound) {
            Entry::Occupied(made) => made.into_mut(),
            Entry::Vacant(place) => {
                // What is bound from main memory may be copied now, and what lies on the GPU must have arrived.
                self.buffers.wait()?;
                let shape = Shape {
                    new: 1,
                    past: bound - 1,
                    swapped: false,
                };
                place.insert(self.buffers.bind(&self.session, io, shape)?)
            }
        };
        let graph = match &mut self.graphs {
            Some(graphs) => graphs.step(bound, self.priming),
            None => None,
        };
        let options: &RunOptions = graph.unwrap_or(&self.options);
        self.buffers.last_new = 1;
        let started = Instant::now();
        binding.run(&mut self.session, options)?;
        self.buffers.fetch()?;
        let time = started.elapsed();
        self.length += 1;
        Ok(time.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CacheUpdate, HostNodes, Port, PortType};

    #[test]
    fn steps_are_not_even_where_the_graph_or_the_place_of_its_nodes_forbids() {
        let io = |uneven_steps| ForeignIo {
            inputs: Vec::new(),
            logits: Port {
                name: "logits".into(),
                kind: PortType::Fp32,
                axes: Vec::new(),
            },
            caches: Vec::new(),
            update: CacheUpdate::InPlace,
            host_nodes: HostNodes::default(),
            uneven_steps,
        };
        let placed = |operator: &str| {
            let mut placement = Placement::default();
            placement.host_operators.insert(operator.into(), 1);
            placement
        };
        assert!(are_even(&io(None), None));
        assert!(are_even(&io(None), Some(&placed("Gather"))));
        assert!(!are_even(&io(None), Some(&placed("ReduceSum"))));
        assert!(!are_even(&io(Some("why".into())), None));
    }
}
