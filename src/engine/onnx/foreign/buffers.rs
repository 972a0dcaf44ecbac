//! The memory that a foreign decoder reads and writes, and how it is bound for each shape of run.

use super::super::super::EngineError;
use super::super::tensors::{Binding, Buffer, Element, Place, Space, Tensor};
use crate::protocol::{Axis, CacheUpdate, Fed, Fill, ForeignIo, Port, PortType, TrialRequest};
use crate::units::Bytes;
use half::f16;
use ort::session::Session;

/// Which tensors a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// New tokens in each row.
    pub new: usize,
    /// Tokens already in the cache.
    pub past: usize,
    /// A growing cache's past lies in its second buffer.
    pub swapped: bool,
}

/// All of it.
pub struct Buffers {
    place: Place,
    host_place: Place,
    /// Sequences.
    pub batch: usize,
    /// Tokens that there is room for.
    pub capacity: usize,
    /// New tokens of the largest run.
    pub most_new: usize,
    /// New tokens of the last one.
    pub last_new: usize,
    /// For each fed input; of scalars in main memory, where the operators that take them read them.
    inputs: Vec<(Buffer, bool)>,
    logits: Buffer,
    kind: PortType,
    vocab: usize,
    all_logits: bool,
    /// For each cache one buffer or two.
    caches: Vec<Vec<Buffer>>,
    /// Room to lay out inputs and to choose from logits in.
    bytes: Vec<u8>,
    row: Vec<u8>,
}

impl Buffers {
    /// Allocates everything.
    pub fn new(
        request: &TrialRequest,
        io: &ForeignIo,
        space: &Space,
    ) -> Result<Buffers, EngineError> {
        let trial = &request.trial;
        let (batch, capacity) = (trial.batch as usize, trial.context() as usize);
        let most_new = match io.update {
            CacheUpdate::None => capacity,
            _ => (trial.prompt_tokens as usize).max(1),
        };
        let sizes = Sizes {
            batch,
            new: most_new,
            past: capacity,
            total: capacity,
        };
        let bytes = |port: &Port| {
            let length = sizes
                .of(port)
                .iter()
                .try_fold(port.kind.bytes(), |product, size| {
                    product.checked_mul(u64::try_from(*size).ok()?)
                });
            length
                .and_then(|length| usize::try_from(length).ok())
                .ok_or_else(|| {
                    EngineError::OutOfMemory(format!(
                        "{} would take more bytes than a machine can count",
                        port.name
                    ))
                })
        };
        let inputs = io.inputs.iter().map(|fed| {
            let on_host = fed
                .port
                .axes
                .iter()
                .all(|axis| matches!(axis, Axis::Size(_)));
            let space = if on_host { &Space::Host } else { space };
            Ok((Buffer::new(space, bytes(&fed.port)?)?, on_host))
        });
        let inputs: Vec<(Buffer, bool)> = inputs.collect::<Result<_, EngineError>>()?;
        let copies = match io.update {
            CacheUpdate::Grown(_) => 2,
            CacheUpdate::InPlace | CacheUpdate::None => 1,
        };
        let caches = io.caches.iter().map(|cache| {
            let buffers = (0..copies).map(|_| Buffer::new(space, bytes(&cache.past)?));
            buffers.collect::<Result<Vec<_>, EngineError>>()
        });
        let widest = inputs.iter().map(|(buffer, _)| buffer.bytes).max();
        let vocab = usize::try_from(io.vocab()).unwrap_or(0);
        let kind = io.logits.kind;
        Ok(Buffers {
            place: Place::of(space)?,
            host_place: Place::of(&Space::Host)?,
            caches: caches.collect::<Result<_, _>>()?,
            logits: Buffer::new(space, bytes(&io.logits)?)?,
            bytes: Vec::with_capacity(widest.unwrap_or(0)),
            row: vec![0; vocab * kind.bytes() as usize],
            all_logits: io.all_logits(),
            last_new: 1,
            batch,
            capacity,
            most_new,
            inputs,
            kind,
            vocab,
        })
    }

    pub fn cache_bytes(&self) -> Bytes {
        Bytes(
            self.caches
                .iter()
                .flatten()
                .map(|buffer| buffer.bytes as u64)
                .sum(),
        )
    }

    pub fn other_bytes(&self) -> Bytes {
        let inputs: usize = self.inputs.iter().map(|(buffer, _)| buffer.bytes).sum();
        Bytes((inputs + self.logits.bytes) as u64)
    }

    /// Writes every input for a run over the tokens `from..to` of each row, behind `past` others.
    pub fn write(
        &mut self,
        io: &ForeignIo,
        rows: &[&[i64]],
        (from, to): (usize, usize),
        past: usize,
    ) -> Result<(), EngineError> {
        let sizes = Sizes {
            batch: self.batch,
            new: to - from,
            past,
            total: past + to - from,
        };
        for (fed, (buffer, _)) in io.inputs.iter().zip(&mut self.inputs) {
            self.bytes.clear();
            let mut put = |value: i64| push(&mut self.bytes, fed.port.kind, value);
            let count = || sizes.of(&fed.port).iter().product::<i64>().max(0);
            match fed.fill {
                Fill::Ids => rows
                    .iter()
                    .for_each(|row| row[from..to].iter().for_each(|id| put(*id))),
                Fill::Positions => {
                    let rows = count() / (to - from).max(1) as i64;
                    (0..rows).for_each(|_| (past..sizes.total).for_each(|at| put(at as i64)));
                }
                fill => {
                    let value = constant(fill, &sizes);
                    (0..count()).for_each(|_| put(value));
                }
            }
            buffer.write_bytes(0, &self.bytes)?;
        }
        Ok(())
    }

    /// Binds all of it for a shape.
    pub fn bind(
        &self,
        session: &Session,
        io: &ForeignIo,
        shape: Shape,
    ) -> Result<Binding, EngineError> {
        let mut binding = Binding::new(session)?;
        let sizes = Sizes {
            batch: self.batch,
            new: shape.new,
            past: shape.past,
            total: shape.past + shape.new,
        };
        for (Fed { port, .. }, (buffer, on_host)) in io.inputs.iter().zip(&self.inputs) {
            let place = if *on_host {
                &self.host_place
            } else {
                &self.place
            };
            binding.input(
                &port.name,
                Tensor::over(buffer, place, element(port.kind), &sizes.of(port))?,
            )?;
        }
        let logits = Tensor::over(
            &self.logits,
            &self.place,
            element(self.kind),
            &sizes.of(&io.logits),
        )?;
        binding.output(&io.logits.name, logits)?;
        // One buffer of full length, of which the operator is told how much is used.
        let whole = Sizes {
            past: self.capacity,
            total: self.capacity,
            ..sizes
        };
        for (cache, buffers) in io.caches.iter().zip(&self.caches) {
            let (from, to, sizes) = match (buffers.as_slice(), shape.swapped) {
                ([both], _) => (both, both, &whole),
                ([first, second], false) => (first, second, &sizes),
                ([first, second], true) => (second, first, &sizes),
                _ => return Err(EngineError::Other("a cache has no buffer".into())),
            };
            let over = |buffer, port: &Port| {
                Tensor::over(buffer, &self.place, element(port.kind), &sizes.of(port))
            };
            binding.input(&cache.past.name, over(from, &cache.past)?)?;
            binding.output(&cache.present.name, over(to, &cache.present)?)?;
        }
        Ok(binding)
    }

    /// The most likely id of each row.
    pub fn choose(&mut self, next: &mut [i64]) -> Result<(), EngineError> {
        for (at, id) in next.iter_mut().enumerate() {
            let mut row = std::mem::take(&mut self.row);
            let read = self.logits.read_bytes_from(self.start(at), &mut row);
            *id = largest(&row, self.kind);
            self.row = row;
            read?;
        }
        Ok(())
    }

    /// Logits of each row's last position.
    pub fn logits(&self) -> Result<Vec<f32>, EngineError> {
        let mut all = Vec::with_capacity(self.batch * self.vocab);
        let mut row = vec![0; self.row.len()];
        for at in 0..self.batch {
            self.logits.read_bytes_from(self.start(at), &mut row)?;
            all.extend(floats(&row, self.kind));
        }
        Ok(all)
    }

    /// The first byte of a row's last logits.
    fn start(&self, row: usize) -> usize {
        let position = match self.all_logits {
            true => (row + 1) * self.last_new - 1,
            false => row,
        };
        position * self.vocab * self.kind.bytes() as usize
    }
}

/// What dimensions count in a run.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    new: usize,
    past: usize,
    total: usize,
}

impl Sizes {
    fn of(&self, port: &Port) -> Vec<i64> {
        let size = |axis: &Axis| match axis {
            Axis::Size(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Axis::Batch => self.batch as i64,
            Axis::New => self.new as i64,
            Axis::Past => self.past as i64,
            Axis::Total => self.total as i64,
        };
        port.axes.iter().map(size).collect()
    }
}

/// What all of an input is that is the same everywhere.
fn constant(fill: Fill, sizes: &Sizes) -> i64 {
    match fill {
        Fill::Mask | Fill::One => 1,
        Fill::LastPosition => sizes.total as i64 - 1,
        Fill::TotalLength => sizes.total as i64,
        Fill::PastLength => sizes.past as i64,
        Fill::HasPast => i64::from(sizes.past > 0),
        Fill::Zero | Fill::Ids | Fill::Positions => 0,
    }
}

/// Appends a number as an element of that type.
fn push(bytes: &mut Vec<u8>, kind: PortType, value: i64) {
    match kind {
        PortType::Int64 => bytes.extend(value.to_ne_bytes()),
        PortType::Int32 => bytes.extend((value as i32).to_ne_bytes()),
        PortType::Int8 | PortType::Uint8 | PortType::Bool => bytes.push(value as u8),
        PortType::Fp32 => bytes.extend((value as f32).to_ne_bytes()),
        PortType::Fp16 => bytes.extend(f16::from_f32(value as f32).to_ne_bytes()),
        PortType::Bf16 => bytes.extend(half::bf16::from_f32(value as f32).to_ne_bytes()),
    }
}

fn floats(bytes: &[u8], kind: PortType) -> Box<dyn Iterator<Item = f32> + '_> {
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match kind {
        PortType::Fp16 => Box::new(halves().map(|half| f16::from_ne_bytes(half).to_f32())),
        PortType::Bf16 => Box::new(halves().map(|half| half::bf16::from_ne_bytes(half).to_f32())),
        _ => Box::new(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| f32::from_ne_bytes(*word)),
        ),
    }
}

/// The first of the largest.
fn largest(bytes: &[u8], kind: PortType) -> i64 {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, value) in floats(bytes, kind).enumerate() {
        if value > best.1 {
            best = (at as i64, value);
        }
    }
    best.0
}

fn element(kind: PortType) -> Element {
    match kind {
        PortType::Fp32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        PortType::Fp16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        PortType::Bf16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        PortType::Int64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        PortType::Int32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        PortType::Int8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        PortType::Uint8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        PortType::Bool => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_is_chosen_in_every_type() {
        let values = [-1.0f32, 3.0, 3.0, f32::NAN, 2.0];
        let wide: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_ne_bytes())
            .collect();
        let half: Vec<u8> = values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_ne_bytes())
            .collect();
        assert_eq!(
            (
                largest(&wide, PortType::Fp32),
                largest(&half, PortType::Fp16)
            ),
            (1, 1)
        );
    }
}
