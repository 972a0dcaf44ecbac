//! The memory that a foreign decoder reads and writes, and how it is bound for each shape of run.

use super::super::super::EngineError;
use super::super::courier::Courier;
use super::super::tensors::{Binding, Buffer, Element, Place, Space, Tensor};
use super::choice::{floats, largest};
use super::mask::lay_mask;
use crate::engine::cuda::Stream;
use crate::protocol::{Axis, CacheUpdate, Fed, Fill, ForeignIo, Port, PortType, TrialRequest};
use crate::units::Bytes;
use half::f16;
use ort::session::Session;
use std::rc::Rc;

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

/// All of it. The courier waits for what is under way before the rest goes.
pub struct Buffers {
    courier: Courier,
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
    /// How the mask of the last step lies in its buffer: its width, and how many of it are ones. `None` after a prompt's.
    laid: Option<(usize, usize)>,
    /// Room to lay out inputs and to choose from logits in.
    bytes: Vec<u8>,
    rows: Vec<u8>,
}

impl Buffers {
    /// Allocates everything.
    pub fn new(
        request: &TrialRequest,
        io: &ForeignIo,
        space: &Space,
        stream: Option<&Rc<Stream>>,
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
            let on_host = is_scalar(fed);
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
        let on_the_way = inputs.iter().map(|(buffer, _)| Courier::room(buffer.bytes));
        let on_the_way: usize = on_the_way.sum();
        let vocab = usize::try_from(io.vocab()).unwrap_or(0);
        let kind = io.logits.kind;
        let rows = vec![0; batch * vocab * kind.bytes() as usize];
        Ok(Buffers {
            courier: Courier::new(space, stream, on_the_way + Courier::room(rows.len()))?,
            place: Place::of(space)?,
            host_place: Place::of(&Space::Host)?,
            caches: caches.collect::<Result<_, _>>()?,
            logits: Buffer::new(space, bytes(&io.logits)?)?,
            bytes: Vec::with_capacity(widest.unwrap_or(0)),
            rows,
            laid: None,
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
        self.laid = None;
        for (fed, (buffer, on_host)) in io.inputs.iter().zip(&mut self.inputs) {
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
            match on_host {
                true => buffer.write_bytes(0, &self.bytes)?,
                false => self.courier.write_bytes(buffer, 0, &self.bytes)?,
            }
        }
        Ok(())
    }

    /// Writes what a step of `bound` tokens in width changes: the ids, where they stand, and one more one in the mask. The rest is as
    /// it was.
    pub fn write_step(
        &mut self,
        io: &ForeignIo,
        ids: &[i64],
        total: usize,
        bound: usize,
    ) -> Result<(), EngineError> {
        let sizes = Sizes {
            batch: self.batch,
            new: 1,
            past: bound - 1,
            total: bound,
        };
        let laid = self.laid.replace((bound, total));
        for (fed, (buffer, on_host)) in io.inputs.iter().zip(&mut self.inputs) {
            let dims = sizes.of(&fed.port);
            let count = dims.iter().product::<i64>().max(0);
            if fed.fill == Fill::Mask {
                let rows = usize::try_from(dims[0]).unwrap_or(0);
                let mask = (rows, bound, total);
                lay_mask(
                    &mut self.courier,
                    buffer,
                    &mut self.bytes,
                    fed.port.kind,
                    mask,
                    laid,
                )?;
                continue;
            }
            self.bytes.clear();
            let mut put = |value: i64| push(&mut self.bytes, fed.port.kind, value);
            match fed.fill {
                Fill::Ids => ids.iter().for_each(|id| put(*id)),
                Fill::Positions | Fill::LastPosition => {
                    (0..count).for_each(|_| put(total as i64 - 1));
                }
                // Zeros are written with every prompt.
                Fill::Zero => continue,
                fill => (0..count).for_each(|_| put(constant(fill, &sizes))),
            }
            match on_host {
                true => buffer.write_bytes(0, &self.bytes)?,
                false => self.courier.write_bytes(buffer, 0, &self.bytes)?,
            }
        }
        Ok(())
    }

    /// Waits for what was asked of the GPU.
    pub fn wait(&mut self) -> Result<(), EngineError> {
        self.courier.wait()
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

    /// Waits for the run and fetches the logits of each row's last position.
    pub fn fetch(&mut self) -> Result<(), EngineError> {
        let mut rows = std::mem::take(&mut self.rows);
        let (batch, first) = (self.batch, self.start(0));
        let apart = self.start(1) - first;
        let starts = (0..batch).map(|row| first + row * apart);
        let fetched = self.courier.fetch_parts(&self.logits, starts, &mut rows);
        self.rows = rows;
        fetched
    }

    /// The most likely id of each row, by what was fetched.
    pub fn choose(&self, next: &mut [i64]) {
        let length = self.vocab * self.kind.bytes() as usize;
        for (id, row) in next.iter_mut().zip(self.rows.chunks(length.max(1))) {
            *id = largest(row, self.kind);
        }
    }

    /// Logits of each row's last position, as they lie where the run left them.
    pub fn logits(&self) -> Result<Vec<f32>, EngineError> {
        let mut all = Vec::with_capacity(self.batch * self.vocab);
        let mut row = vec![0; self.vocab * self.kind.bytes() as usize];
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

/// Whether an input is one that operators take from main memory: a number for all sequences.
fn is_scalar(fed: &Fed) -> bool {
    let fixed = |axis: &Axis| matches!(axis, Axis::Size(_));
    let of_each = matches!(
        fed.fill,
        Fill::Ids | Fill::Mask | Fill::Positions | Fill::LastPosition
    );
    !of_each && fed.port.axes.iter().all(fixed)
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
pub(super) fn push(bytes: &mut Vec<u8>, kind: PortType, value: i64) {
    match kind {
        PortType::Int64 => bytes.extend(value.to_ne_bytes()),
        PortType::Int32 => bytes.extend((value as i32).to_ne_bytes()),
        PortType::Int8 | PortType::Uint8 | PortType::Bool => bytes.push(value as u8),
        PortType::Fp32 => bytes.extend((value as f32).to_ne_bytes()),
        PortType::Fp16 => bytes.extend(f16::from_f32(value as f32).to_ne_bytes()),
        PortType::Bf16 => bytes.extend(half::bf16::from_f32(value as f32).to_ne_bytes()),
    }
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
