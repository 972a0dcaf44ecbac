//! Models that are no decoders: one forward pass after the other over the same inputs, which come from main memory and whose outputs
//! go there, as an application has them.

use super::super::EngineError;
use super::arena::Allocator;
use super::tensors::Space;
use super::{OnnxEngine, library, not_loaded};
use crate::engine::{Engine, Output};
use crate::npy;
use crate::protocol::{PassContent, PassInput, PassIo, PortType};
use crate::trial::{Arena, LoadFacts, Pass};
use crate::units::{Bytes, Nanos};
use half::{bf16, f16};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor, ValueRef};
use std::fmt::Debug;
use std::time::Instant;

/// Such a model.
pub(super) struct PassEngine {
    base: OnnxEngine,
    io: PassIo,
    loaded: Option<Loaded>,
}

/// A session and its inputs. Field order is drop order.
struct Loaded {
    inputs: Vec<(String, DynValue)>,
    allocator: Option<Allocator>,
    session: Session,
}

impl PassEngine {
    pub(super) fn new(base: OnnxEngine, io: PassIo) -> PassEngine {
        PassEngine {
            base,
            io,
            loaded: None,
        }
    }

    fn create(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        let request = &self.base.request;
        let pass = request.trial.pass.clone().unwrap_or_default();
        let (mut bytes, mut inputs) = (0u64, Vec::new());
        for (place, input) in self.io.inputs.iter().enumerate() {
            let seed = request.trial.seed.wrapping_add((place as u64) << 32);
            let (value, size) = make(input, &pass, seed)?;
            bytes = bytes.saturating_add(size);
            inputs.push((input.name.clone(), value));
        }
        let arena_limit = self.base.arena_limit(holds(), None, Bytes(0))?;
        let started = Instant::now();
        let session = self.base.session(&request.graph, None, arena_limit, None)?;
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
            weights: request.weights,
            kv_cache: Bytes(0),
            io_buffers: Bytes(bytes),
            weights_taken: None,
            buffers_taken: None,
            packed: packed.map(|arena| arena.reserved),
            arena_limit,
            mapped: Bytes(0),
            link_ways: None,
            largest_tensor: request.largest_tensor,
            kv_mode: "none".into(),
            not_captured: None,
            placement,
        };
        self.loaded = Some(Loaded {
            inputs,
            allocator,
            session,
        });
        Ok(facts)
    }

    /// One pass, and what is read of its outputs once the clock has stopped.
    fn run<T>(
        &mut self,
        read: impl FnOnce(&ort::session::SessionOutputs<'_>) -> T,
    ) -> Result<(Nanos, T), EngineError> {
        let loaded = self.loaded.as_mut().ok_or_else(not_loaded)?;
        let inputs = loaded.inputs.iter();
        let fed: Vec<(&str, SessionInputValue<'_>)> = inputs
            .map(|(name, value)| (name.as_str(), value.into()))
            .collect();
        let started = Instant::now();
        let outputs = loaded
            .session
            .run(fed)
            .map_err(|error| library::refused(&error))?;
        let time = started.elapsed();
        Ok((time.into(), read(&outputs)))
    }
}

impl Engine for PassEngine {
    fn load(&mut self, holds: &dyn Fn() -> Option<Bytes>) -> Result<LoadFacts, EngineError> {
        let loaded = self.create(holds);
        loaded.map_err(|error| self.base.starved(error))
    }

    fn reset(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn append(&mut self, _rows: &[Vec<i64>]) -> Result<Nanos, EngineError> {
        let run = self.run(|_| ());
        run.map(|(time, ())| time)
            .map_err(|error| self.base.starved(error))
    }

    fn step(&mut self) -> Result<Nanos, EngineError> {
        Err(EngineError::Other(
            "a model that is no decoder has no step".into(),
        ))
    }

    fn next_ids(&self) -> &[i64] {
        &[]
    }

    fn logits(&mut self) -> Result<Vec<f32>, EngineError> {
        Err(EngineError::Other(
            "a model that is no decoder has no logits".into(),
        ))
    }

    fn outputs(&mut self) -> Result<Vec<Output>, EngineError> {
        let run = self.run(|outputs| {
            let all = outputs.iter();
            all.map(|(name, value)| output(name, &value)).collect()
        });
        run.map(|(_, outputs)| outputs)
            .map_err(|error| self.base.starved(error))
    }

    fn device_used(&self) -> Option<Bytes> {
        self.base.device_used()
    }

    fn arena(&self) -> Option<Arena> {
        self.loaded.as_ref()?.allocator.as_ref()?.stats()
    }
}

/// A type of elements.
trait Item: PrimitiveTensorElementType + Debug + Clone + Copy + 'static {
    /// A number as one of them.
    fn of(number: f64) -> Self;
    /// One of them as a number.
    fn number(self) -> f64;
    /// One of them as a file has it.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! items {
    ($($type:ty: $of:expr, $number:expr, $read:expr;)+) => {
        $(impl Item for $type {
            fn of(number: f64) -> Self {
                $of(number)
            }
            fn number(self) -> f64 {
                $number(self)
            }
            fn read(bytes: &[u8]) -> Self {
                $read(bytes)
            }
        })+
    };
}
macro_rules! le {
    ($type:ty) => {
        |bytes: &[u8]| <$type>::from_le_bytes(bytes.try_into().unwrap_or_default())
    };
}
items!(
    f32: |n| n as f32, f64::from, le!(f32);
    f16: f16::from_f64, f16::to_f64, le!(f16);
    bf16: bf16::from_f64, bf16::to_f64, le!(bf16);
    i64: |n| n as i64, |n| n as f64, le!(i64);
    i32: |n| n as i32, f64::from, le!(i32);
    i8: |n| n as i8, f64::from, le!(i8);
    u8: |n| n as u8, f64::from, le!(u8);
    bool: |n| n != 0.0, |b| f64::from(u8::from(b)), |bytes: &[u8]| bytes != [0];
);

/// An input and its length in bytes.
fn make(input: &PassInput, pass: &Pass, seed: u64) -> Result<(DynValue, u64), EngineError> {
    let shape = input.shape(|name| pass.dims.get(name).copied());
    let shape =
        shape.map_err(|name| EngineError::Model(format!("dimension {name} has no size")))?;
    let count = shape
        .iter()
        .try_fold(1u64, |all, size| all.checked_mul(*size));
    let bytes = count.and_then(|count| count.checked_mul(input.kind.bytes()));
    let bytes = bytes.filter(|bytes| *bytes <= isize::MAX as u64);
    let (Some(count), Some(bytes)) = (count, bytes) else {
        return Err(EngineError::OutOfMemory(format!(
            "{} would take more bytes than a machine can count",
            input.name
        )));
    };
    let file = match pass.files.get(&input.name) {
        Some(path) => Some(npy::read(path).map_err(EngineError::Model)?),
        None => None,
    };
    let file = file.as_ref().map(|npy| npy.bytes.as_slice());
    if file.is_some_and(|file| file.len() as u64 != bytes) {
        return Err(EngineError::Model(format!(
            "the file for {} has another length than when it was looked at",
            input.name
        )));
    }
    let source = Source {
        shape: shape.iter().map(|size| *size as i64).collect(),
        count: count as usize,
        content: input.content,
        seed,
        file,
    };
    let value = match input.kind {
        PortType::Fp32 => source.fill::<f32>(),
        PortType::Fp16 => source.fill::<f16>(),
        PortType::Bf16 => source.fill::<bf16>(),
        PortType::Int64 => source.fill::<i64>(),
        PortType::Int32 => source.fill::<i32>(),
        PortType::Int8 => source.fill::<i8>(),
        PortType::Uint8 => source.fill::<u8>(),
        PortType::Bool => source.fill::<bool>(),
    }?;
    Ok((value, bytes))
}

/// What an input is made from.
struct Source<'a> {
    shape: Vec<i64>,
    count: usize,
    content: PassContent,
    seed: u64,
    file: Option<&'a [u8]>,
}

impl Source<'_> {
    fn fill<T: Item>(self) -> Result<DynValue, EngineError> {
        let mut values: Vec<T> = Vec::new();
        values.try_reserve_exact(self.count).map_err(|_| {
            EngineError::OutOfMemory(format!(
                "could not allocate {} elements of an input",
                self.count
            ))
        })?;
        let mut chance = Chance(self.seed);
        match (self.file, self.content) {
            (Some(bytes), _) => {
                values.extend(bytes.chunks_exact(size_of::<T>()).map(T::read));
            }
            (None, PassContent::Below(end)) => {
                values.extend((0..self.count).map(|_| T::of((chance.next() % end.max(1)) as f64)));
            }
            (None, PassContent::Ones) => values.resize(self.count, T::of(1.0)),
            (None, PassContent::Zeros) => values.resize(self.count, T::of(0.0)),
            (None, PassContent::Normal) => {
                values.extend((0..self.count).map(|_| T::of(chance.normal())));
            }
        }
        let tensor = Tensor::from_array((self.shape, values));
        Ok(tensor.map_err(|error| library::refused(&error))?.into_dyn())
    }
}

/// Numbers that look random, the same everywhere (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, never 0.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    /// By Box and Muller.
    fn normal(&mut self) -> f64 {
        let (radius, turn) = ((-2.0 * self.part().ln()).sqrt(), self.part());
        radius * (std::f64::consts::TAU * turn).cos()
    }
}

/// An output, its numbers where they are of a type that is read.
fn output(name: &str, value: &ValueRef<'_>) -> Output {
    fn numbers<T: Item>(value: &ValueRef<'_>) -> Option<(Vec<i64>, Vec<f64>)> {
        let (shape, values) = value.try_extract_tensor::<T>().ok()?;
        Some((
            shape.iter().copied().collect(),
            values.iter().map(|value| value.number()).collect(),
        ))
    }
    let read = numbers::<f32>(value)
        .or_else(|| numbers::<f16>(value))
        .or_else(|| numbers::<bf16>(value))
        .or_else(|| numbers::<i64>(value))
        .or_else(|| numbers::<i32>(value))
        .or_else(|| numbers::<u8>(value))
        .or_else(|| numbers::<i8>(value))
        .or_else(|| numbers::<bool>(value));
    let (shape, values) = read.unwrap_or_default();
    Output {
        name: name.to_owned(),
        shape,
        values,
    }
}
