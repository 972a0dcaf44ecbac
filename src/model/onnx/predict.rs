//! What running a file is predicted to take, as far as the file tells. What it does not tell makes the sum a lower bound.

use super::super::footprint;
use super::caches::Update;
use super::{Caches, OnnxFile};
use crate::protocol::{CacheUpdate, Told};
use crate::trial::Device;
use crate::units::Bytes;

/// What is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Device.
    pub device: Device,
    /// Sequences decoded together.
    pub batch: u64,
    /// Longest sequence: prompt and generated tokens.
    pub context: u64,
}

/// A prediction by terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    /// All constants, as they are stored.
    pub weights: Told<Bytes>,
    /// KV cache buffers.
    pub kv_cache: Told<Bytes>,
    /// Activations.
    pub activations: Told<Bytes>,
    /// The runtime itself.
    pub runtime: Bytes,
    /// The sum of what is known: it takes at least that much.
    pub at_least: Bytes,
    /// With a budget: the longest context at batch 1 for which there is room, or why that is not known.
    pub context_at_most: Option<Told<Most>>,
    /// With a budget: the most sequences of this length for which there is room, or why that is not known.
    pub batch_at_most: Option<Told<Most>>,
}

/// An upper bound: what is unknown is left out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// The size.
    pub size: u64,
    /// Whether the model's positions are what limits it, and not the budget.
    pub is_all_positions: bool,
}

/// Predicts what `file` takes.
pub fn predict(file: &OnnxFile, shape: Shape, budget: Option<Bytes>) -> Prediction {
    let weights = file.counts.bytes.clone().map(Bytes);
    let per_token = file.caches.clone().and_then(|caches| per_token(&caches));
    let per_token = per_token.or_else(|reason| as_run(file).ok_or(reason));
    let kv_cache = per_token.clone().map(|bytes| {
        let tokens = shape.batch.saturating_mul(shape.context);
        Bytes(bytes.saturating_mul(tokens))
    });
    let runtime = footprint::runtime(shape.device);
    let fixed = weights
        .clone()
        .unwrap_or(Bytes(0))
        .0
        .saturating_add(runtime.0);
    let cache = kv_cache.clone().unwrap_or(Bytes(0)).0;
    let room = |each: u64| {
        let left = budget?.0.checked_sub(fixed);
        Some(per_token.clone().map(|bytes| {
            let unit = bytes.saturating_mul(each).max(1);
            left.map_or(0, |left| left / unit)
        }))
    };
    let positions = file.positions.as_ref().ok().map(|(count, _)| *count);
    let context = |room: u64| {
        let all = positions.filter(|count| *count <= room);
        Most {
            size: all.unwrap_or(room),
            is_all_positions: all.is_some(),
        }
    };
    let batch = |size| Most {
        size,
        is_all_positions: false,
    };
    Prediction {
        context_at_most: room(1).map(|told| told.map(context)),
        batch_at_most: room(shape.context).map(|told| told.map(batch)),
        weights,
        kv_cache,
        activations: Err(
            "the sizes of intermediate values are not in the file, so they are not predicted"
                .into(),
        ),
        runtime,
        at_least: Bytes(fixed.saturating_add(cache)),
    }
}

/// The same as a run would have it, where only how it is fed tells.
fn as_run(file: &OnnxFile) -> Option<u64> {
    let io = &file.decoder.as_ref().ok()?.io;
    let copies = match io.update {
        CacheUpdate::InPlace => 1,
        CacheUpdate::Grown(_) => 2,
        CacheUpdate::None => return None,
    };
    Some(io.bytes_per_token().saturating_mul(copies))
}

/// Bytes that one token takes in the buffers of the caches; a cache that is copied to grow is there twice.
fn per_token(caches: &Caches) -> Told<u64> {
    let copies = match caches.update.clone()? {
        Update::InPlace => 1,
        Update::Grown => 2,
    };
    Ok(caches.bytes_per_token.0.saturating_mul(copies))
}
