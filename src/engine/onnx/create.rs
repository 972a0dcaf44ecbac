//! What a decoder is made of on a device: its weights, the session over them with what was found to save memory, and the arena's limit.

#![allow(
    unsafe_code,
    reason = "hands a stream of ours to the runtime; the block names the rule it keeps"
)]

use super::super::{Engine, EngineError};
use super::arena::Allocator;
use super::fetch::Operators;
use super::placement::Beside;
use super::tensors::{Place, Space, element};
use super::weights::Weights;
use super::{OnnxEngine, library, placement};
use crate::protocol::EngineKind;
use crate::trial::{KvCache, Placement};
use crate::units::Bytes;
use ort::ep;
use ort::session::Session;
use std::path::Path;

/// For graphs with weights that the CUDA provider packs anew. The bytes of the file go into allocations of their own, which are
/// given back when they are packed; in chunks of the arena they would stay. And experts are not turned into fp16 beyond this
/// many bytes at a time, for which the default is 1 GiB.
pub(super) const REPACKING: [(&str, &str); 2] = [
    ("session.use_device_allocator_for_initializers", "1"),
    ("ep.cuda.qmoe_int_dequant_max_scratch_bytes", "67108864"),
];

/// Oldest version whose CPU provider reads a KV cache in int8. Tried: 1.20.1, 1.23.2, 1.24.1 and 1.24.4 refuse the graph, 1.25.0 and
/// 1.26.0 load it and cannot run it, 1.27.0 to 1.31.1 keep to the references.
const OLDEST_WITH_INT8_CACHE: &str = "1.27";

/// Attention kernels that the runtime brings itself. Left to choose, it takes cuDNN's on newer GPUs where some cuDNN happens to be
/// installed, and fails where that lacks a library of its own: the same file would run other kernels on the next box.
fn attention() -> ep::cuda::AttentionBackend {
    use ep::cuda::AttentionBackend as Backend;
    Backend::FLASH_ATTENTION | Backend::EFFICIENT_ATTENTION | Backend::MATH
}

impl OnnxEngine {
    /// The weights on the GPU, in a block of our own; on the CPU the runtime maps the file itself.
    pub(super) fn weights(&self) -> Result<Option<Weights>, EngineError> {
        let request = &self.request;
        match &self.space {
            Space::Host => Ok(None),
            Space::Gpu(..) => {
                Weights::load(&request.weight_file, &request.tensors, &self.space).map(Some)
            }
        }
    }

    /// The allocator that the session's activations come from, to ask it.
    pub(super) fn allocator(&self, session: &Session) -> Result<Option<Allocator>, EngineError> {
        let EngineKind::Onnx { library, .. } = &self.request.engine else {
            return Ok(None);
        };
        Allocator::of(session, &Place::of(&self.space)?, library)
    }

    /// What the budget leaves to the arena of a session on a GPU: `held` before the load, `loaded` by it. Memory that the driver
    /// takes besides (kernels, libraries) is not in the arena's hands and is watched from outside.
    pub(super) fn arena_limit(
        &self,
        held: Option<Bytes>,
        loaded: Option<Bytes>,
        repacked: Bytes,
    ) -> Result<Option<Bytes>, EngineError> {
        let (Space::Gpu(..), Some(held), Some(loaded)) = (&self.space, held, loaded) else {
            return Ok(None);
        };
        remaining(self.request.trial.budget, held + loaded, repacked).map(Some)
    }

    /// Adds the session that copies weights from main memory before it uses them, with the operators that do, to one that has run:
    /// its arena may take what that one's has left of the limit.
    pub(super) fn add_copies(&mut self, arena_limit: Option<Bytes>) -> Result<(), EngineError> {
        let Some(graph) = self.request.copies_graph.clone() else {
            return Ok(());
        };
        let reserved = self.arena().map(|arena| arena.reserved);
        let weights = self.loaded()?.weights.as_ref();
        let repacked = Bytes(weights.map_or(0, Weights::repacked));
        let limit = arena_limit.map(|limit| left_over(limit, reserved, repacked));
        let limit = limit.transpose()?;
        let float = element(self.request.trial.numerics().compute().into());
        let operators = Operators::new(&self.space, float)?;
        let weights = self.loaded.as_ref().and_then(|one| one.weights.as_ref());
        let session = self.session(&graph, weights, limit, Some(&operators))?;
        let allocator = self.allocator(&session)?;
        let loaded = self.loaded()?;
        loaded.allocators.extend(allocator);
        loaded.copies = Some(session);
        loaded.operators = Some(operators);
        Ok(())
    }

    pub(super) fn session(
        &self,
        graph: &Path,
        weights: Option<&Weights>,
        arena_limit: Option<Bytes>,
        operators: Option<&Operators>,
    ) -> Result<Session, EngineError> {
        let trial = &self.request.trial;
        let refused = |error: ort::Error| library::refused(&error);
        let mut builder = Session::builder(&self.environment)
            .map_err(refused)?
            .with_intra_threads(trial.threads as usize)
            .map_err(|error| refused(error.into()))?
            .with_config_entry(placement::RECORD, "1")
            .map_err(|error| refused(error.into()))?;
        if self.request.routing {
            builder = self.log.listen(builder)?;
        }
        if let Space::Gpu(_, index) = self.space {
            // The runtime notes where each value of a run lay and allocates the next run of that shape in one block, while it
            // keeps the patchwork of the first: twice the activations (on an H100 3,448 against 3,174 MiB for llama-1b at 4,000
            // tokens), for speeds that do not differ.
            builder = builder
                .with_memory_pattern(false)
                .map_err(|error| refused(error.into()))?;
            let mut cuda = ep::CUDA::default();
            if let Some(stream) = &self.stream {
                // SAFETY: the stream outlives the session: the engine drops it later.
                cuda = unsafe { cuda.with_compute_stream(stream.handle().cast()) };
            }
            if let Some(limit) = arena_limit {
                cuda = cuda.with_memory_limit(limit.0 as usize);
            }
            let cuda = cuda
                .with_device_id(index as i32)
                // Doubling growth would take up to twice what is needed: ruinous on a 4 GiB card.
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                .with_cuda_graph(self.captures())
                .with_attention_backend(attention())
                .build()
                // The default is to fall back to the CPU in silence.
                .error_on_failure();
            if self.request.tensors.iter().any(|tensor| tensor.repacked) {
                for (key, value) in REPACKING {
                    builder = builder
                        .with_config_entry(key, value)
                        .map_err(|error| refused(error.into()))?;
                }
            }
            if self.request.io.fused {
                // A fused graph has nothing to compute on the CPU: a node that would land there is an error, not a
                // slower run. Plain graphs compute shapes on the host, as every framework's export does.
                builder = builder
                    .with_config_entry("session.disable_cpu_ep_fallback", "1")
                    .map_err(|error| refused(error.into()))?;
            }
            builder = builder.with_execution_providers([cuda]).map_err(|error| {
                match refused(error.into()) {
                    EngineError::Model(message) => EngineError::Device(message),
                    other => other,
                }
            })?;
        }
        if let Some(weights) = weights {
            weights.hand_over(&builder, |_| true)?;
        }
        if let Some(operators) = operators {
            operators.hand_over(&builder)?;
        }
        self.check_cache()?;
        builder
            .commit_from_file(graph)
            .map_err(|error| self.too_old(refused(error)))
    }

    /// Where the nodes went, if this runtime tells; an error when one of them is not where it was asked to be.
    pub(super) fn placement(&self, session: &Session) -> Result<Option<Placement>, EngineError> {
        let EngineKind::Onnx { library, .. } = &self.request.engine else {
            return Ok(None);
        };
        let beside = match (&self.space, &self.request.io.foreign) {
            (Space::Host, _) => Beside::Anything,
            (Space::Gpu(..), None) => Beside::Shapes,
            (Space::Gpu(..), Some(io)) => Beside::Nodes(&io.host_nodes),
        };
        let nodes = placement::of(session, library)?;
        nodes
            .map(|nodes| placement::judge(&nodes, beside))
            .transpose()
    }

    /// Refuses a KV cache in int8 where the CPU provider cannot have it, which some versions find out in the middle of a run.
    fn check_cache(&self) -> Result<(), EngineError> {
        let EngineKind::Onnx { library, .. } = &self.request.engine else {
            return Ok(());
        };
        let on_cpu = matches!(self.space, Space::Host);
        if !on_cpu || self.request.io.kv_cache == KvCache::Float {
            return Ok(());
        }
        let version = library::version(library)?;
        match library::is_older(&version, OLDEST_WITH_INT8_CACHE) {
            true => Err(EngineError::Model(format!(
                "ONNX Runtime {version} has no KV cache in int8 on the CPU: {OLDEST_WITH_INT8_CACHE} or newer is needed; leave --kv-cache int8 out, or name another with --ort"
            ))),
            false => Ok(()),
        }
    }

    /// Names the remedy where a library does not know an operator of the fused form.
    fn too_old(&self, error: EngineError) -> EngineError {
        let signs = [
            "Unrecognized attribute",
            "not a registered",
            "No Op registered",
            "invalid model",
        ];
        match error {
            EngineError::Model(cause)
                if self.request.io.fused && signs.iter().any(|sign| cause.contains(sign)) =>
            {
                let quantized = self.request.trial.precision.quantized_bits();
                let instead = match (self.request.io.kv_cache, quantized) {
                    (KvCache::Int8, _) => "a KV cache in int8: leave --kv-cache int8 out",
                    (KvCache::Float, None) => "the fused form: use --form plain",
                    (KvCache::Float, Some(_)) => "quantised weights: use --precision fp16 or fp32",
                };
                EngineError::Model(format!(
                    "{cause}; this ONNX Runtime may be too old for {instead}, or name a newer one with --ort"
                ))
            }
            other => other,
        }
    }
}

/// What a budget leaves to the arena. `repacked` are weights that the runtime loads into it whatever its limit: it counts them, and
/// a limit below them would wrap around and hold nothing.
fn remaining(budget: Bytes, taken: Bytes, repacked: Bytes) -> Result<Bytes, EngineError> {
    let left = budget.saturating_sub(taken);
    if left > repacked {
        return Ok(left);
    }
    let missing = (taken + repacked).saturating_sub(budget).0.max(1);
    Err(EngineError::OutOfMemory(format!(
        "could not allocate {missing} bytes of GPU memory for activations within the budget of {} bytes: context, weights and KV cache take it all",
        budget.0
    )))
}

/// What of the limit for both is left to the arena of a second session, where the first one's holds this much; half of it where nobody
/// tells. Each with a limit of its own would be two budgets.
fn left_over(limit: Bytes, reserved: Option<Bytes>, repacked: Bytes) -> Result<Bytes, EngineError> {
    let left = limit.saturating_sub(reserved.unwrap_or(Bytes(limit.0 / 2)));
    if left > repacked {
        return Ok(left);
    }
    Err(EngineError::OutOfMemory(format!(
        "reading in place left {} bytes of the {} that the runtime's arenas may take",
        left.0, limit.0
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_arenas_never_have_more_than_the_limit_between_them() {
        for (limit, reserved, repacked) in [(100, 30, 0), (100, 30, 69), (100, 99, 0), (1, 0, 0)] {
            let left = left_over(Bytes(limit), Some(Bytes(reserved)), Bytes(repacked)).unwrap();
            assert_eq!(left.0 + reserved, limit);
            assert!(left.0 > repacked);
        }
        assert_eq!(left_over(Bytes(9), None, Bytes(0)).unwrap(), Bytes(5));
        // A limit of nothing is none to the runtime.
        for (reserved, repacked) in [(100, 0), (170, 0), (30, 70)] {
            let refused = left_over(Bytes(100), Some(Bytes(reserved)), Bytes(repacked));
            assert!(matches!(refused, Err(EngineError::OutOfMemory(_))));
        }
    }

    #[test]
    fn the_arena_gets_what_remains_and_never_a_limit_that_wraps_around() {
        let bytes = |budget, taken, repacked| {
            remaining(Bytes(budget), Bytes(taken), Bytes(repacked))
                .map_err(|error| error.to_string())
        };
        assert_eq!(bytes(100, 60, 0), Ok(Bytes(40)));
        assert_eq!(bytes(100, 60, 39), Ok(Bytes(40)));
        for (taken, repacked) in [(100, 0), (170, 0), (60, 40), (60, 90)] {
            let sentence = bytes(100, taken, repacked).unwrap_err();
            assert!(sentence.starts_with("could not allocate"), "{sentence}");
        }
    }
}
