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

/// What ONNX Runtime says of a session that is to capture and cannot.
fn is_of_capture(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    ["graph capture", "cuda graph", "capture"]
        .iter()
        .any(|words| cause.contains(words))
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
            Err(EngineError::Model(cause)) if base.captures() && is_of_capture(&cause) => {
                self.without_capture(cause)?;
                self.base.session(&graph, None, arena_limit, None)
            }
            made => made,
        }
    }

    /// Gives up on captured steps. A stream on which a capture failed is of no use any more.
    pub(super) fn without_capture(&mut self, why: String) -> Result<(), EngineError> {
        self.not_captured = Some(format!("ONNX Runtime does not capture its steps: {why}"));
        self.base.request.trial.cuda_graph = false;
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
        let steps = self.steps.get_or_insert_default();
        if !steps.contains_key(&bound) {
            // What is bound from main memory may be copied now, and what lies on the GPU must have arrived.
            self.buffers.wait()?;
            let shape = Shape {
                new: 1,
                past: bound - 1,
                swapped: false,
            };
            let binding = self.buffers.bind(&self.session, io, shape)?;
            steps.insert(bound, binding);
        }
        let graph = match &mut self.graphs {
            Some(graphs) => graphs.step(bound, self.priming),
            None => None,
        };
        let options: &RunOptions = graph.unwrap_or(&self.options);
        self.buffers.last_new = 1;
        let started = Instant::now();
        steps[&bound].run(&mut self.session, options)?;
        self.buffers.fetch()?;
        let time = started.elapsed();
        self.length += 1;
        Ok(time.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runtime_says_of_capture_is_told_from_other_refusals() {
        assert!(is_of_capture(
            "This session cannot use the graph capture feature as requested by the user as all compute graph nodes have not been partitioned to the CUDAExecutionProvider"
        ));
        assert!(!is_of_capture("Load model failed: no such file"));
    }
}
