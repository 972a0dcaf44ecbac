//! The buffers a decoder reads and writes, and how they are bound for each shape of run.

use super::super::EngineError;
use super::super::cuda::Stream;
use super::courier::Courier;
use super::tensors::{self, Binding, Buffer, Element, Number, Place, Slab, Space, Tensor};
use crate::protocol::{CacheShape, DecoderIo, TrialRequest};
use crate::units::Bytes;
use ort::session::Session;
use std::rc::Rc;

/// Which tensors a run needs: new tokens in each row, and tokens already in a growing cache (0 for a shared one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) new: usize,
    pub(super) past: usize,
    /// A growing cache's past lies in its second buffer.
    pub(super) swapped: bool,
    /// The new token is the last run's `next_ids`.
    pub(super) feedback: bool,
}

/// Every buffer a decoder reads and writes.
pub(super) struct Io {
    courier: Courier,
    place: Place,
    host_place: Place,
    pub(super) batch: usize,
    pub(super) capacity: usize,
    float: Element,
    ids: Buffer,
    next: Buffer,
    pub(super) logits: Buffer,
    /// `position_ids`, or what stands in for it in a decode step: `seqlens_k` itself.
    positions: Buffer,
    seqlens: Buffer,
    /// Always in main memory: GroupQueryAttention reads it there.
    total: Buffer,
    mask: Option<Buffer>,
    /// Key and value of each cache; a growing cache has two buffers each.
    caches: Vec<[CachePart; 2]>,
    router: Option<CachePart>,
    /// Room to lay out ids and positions in: nothing is allocated while a clock runs.
    wide: Vec<i64>,
    narrow: Vec<i32>,
}

/// One tensor of a cache.
struct CachePart {
    element: Element,
    buffers: Vec<Buffer>,
}

impl Io {
    /// Allocates everything, on a GPU in one block.
    pub(super) fn new(
        request: &TrialRequest,
        space: &Space,
        stream: Option<&Rc<Stream>>,
    ) -> Result<Io, EngineError> {
        let mut room = 0;
        // Counted first, with stand-ins of no length.
        Io::build(request, space, &mut |bytes| {
            room += Slab::room(bytes);
            Buffer::new(&Space::Host, 0)
        })?;
        let mut slab = Slab::new(space, room)?;
        let mut io = Io::build(request, space, &mut |bytes| slab.take(bytes))?;
        // Ids, positions and lengths of a run on their way there, its next ids on their way back.
        let (rows, tokens) = (io.batch, io.batch * io.capacity);
        let numbers = [tokens * 8, tokens * 8, rows * 8, rows * 8];
        let room = numbers.into_iter().map(Courier::room).sum();
        io.courier = Courier::new(space, stream, room)?;
        if let Some(mask) = &mut io.mask {
            mask.write(&vec![1i64; io.batch * io.capacity])?;
        }
        Ok(io)
    }

    fn build(
        request: &TrialRequest,
        space: &Space,
        buffer: &mut dyn FnMut(usize) -> Result<Buffer, EngineError>,
    ) -> Result<Io, EngineError> {
        let (trial, decoder) = (&request.trial, &request.io);
        let (batch, capacity) = (trial.batch as usize, trial.context() as usize);
        let float = tensors::element(trial.numerics().compute().into());
        let size = tensors::element_bytes(float);
        let cache = tensors::cache_element(decoder.kv_cache, float);
        let copies = if decoder.shared_kv { 1 } else { 2 };
        let mut part = |element: Element, count: usize| -> Result<CachePart, EngineError> {
            let bytes = count * tensors::element_bytes(element);
            let buffers = (0..copies).map(|_| buffer(bytes));
            Ok(CachePart {
                element,
                buffers: buffers.collect::<Result<_, _>>()?,
            })
        };
        let mut parts = |shape: &CacheShape| -> Result<[CachePart; 2], EngineError> {
            let count = batch * capacity * (shape.kv_heads * shape.head_dim) as usize;
            Ok([part(cache, count)?, part(cache, count)?])
        };
        let caches = decoder
            .caches
            .iter()
            .map(&mut parts)
            .collect::<Result<_, _>>()?;
        let router = decoder
            .router_width
            .map(|width| part(float, batch * capacity * width as usize))
            .transpose()?;
        let mask = (!decoder.fused).then(|| buffer(batch * capacity * 8));
        Ok(Io {
            courier: Courier::new(&Space::Host, None, 0)?,
            place: Place::of(space)?,
            host_place: Place::of(&Space::Host)?,
            batch,
            capacity,
            float,
            ids: buffer(batch * capacity * 8)?,
            next: buffer(batch * 8)?,
            logits: buffer(batch * decoder.vocab as usize * size)?,
            positions: buffer(batch * capacity * 8)?,
            seqlens: buffer(batch * 4)?,
            total: Buffer::new(&Space::Host, 4)?,
            mask: mask.transpose()?,
            wide: Vec::with_capacity(batch * capacity),
            narrow: Vec::with_capacity(batch * capacity),
            caches,
            router,
        })
    }

    /// Router weights of a mixture of specialists, a row for each token: those of the last run, where `swapped` says which buffer is
    /// the past of the next.
    pub(super) fn router_rows(&self, swapped: bool) -> Option<&Buffer> {
        let buffers = &self.router.as_ref()?.buffers;
        buffers.get(usize::from(swapped))
    }

    fn parts(&self) -> impl Iterator<Item = &Buffer> {
        self.caches
            .iter()
            .flatten()
            .chain(&self.router)
            .flat_map(|part| &part.buffers)
    }

    pub(super) fn cache_bytes(&self) -> Bytes {
        Bytes(self.parts().map(|buffer| buffer.bytes as u64).sum())
    }

    pub(super) fn other_bytes(&self) -> Bytes {
        let buffers = [
            &self.ids,
            &self.next,
            &self.logits,
            &self.positions,
            &self.seqlens,
            &self.total,
        ];
        Bytes(
            buffers
                .into_iter()
                .chain(&self.mask)
                .map(|buffer| buffer.bytes as u64)
                .sum(),
        )
    }

    /// Waits for the run and fetches the ids it chose.
    pub(super) fn fetch_next(&mut self, ids: &mut [i64]) -> Result<(), EngineError> {
        self.courier.fetch(&self.next, ids)
    }

    pub(super) fn write_ids(&mut self, rows: &[Vec<i64>]) -> Result<(), EngineError> {
        self.wide.clear();
        rows.iter().for_each(|row| self.wide.extend_from_slice(row));
        self.courier.write(&mut self.ids, &self.wide)
    }

    /// Tells the graph where the new tokens stand. In a decode step of a fused graph that is one number for each row. `bound` is what
    /// it hears of the total length besides: not less than that (`seqlens_k` decides).
    pub(super) fn write_positions(
        &mut self,
        length: usize,
        new: usize,
        fused: bool,
        bound: usize,
    ) -> Result<(), EngineError> {
        let total = length + new;
        if !fused {
            self.wide.clear();
            let row = length as i64..total as i64;
            (0..self.batch).for_each(|_| self.wide.extend(row.clone()));
            return self.courier.write(&mut self.positions, &self.wide);
        }
        self.total.write(&[bound as i32])?;
        self.narrow.clear();
        self.narrow.resize(self.batch, total as i32 - 1);
        self.courier.write(&mut self.seqlens, &self.narrow)?;
        if new > 1 {
            self.narrow.clear();
            let row = length as i32..total as i32;
            (0..self.batch).for_each(|_| self.narrow.extend(row.clone()));
            self.courier.write(&mut self.positions, &self.narrow)?;
        }
        Ok(())
    }

    pub(super) fn bind(
        &self,
        session: &Session,
        decoder: &DecoderIo,
        shape: Shape,
    ) -> Result<Binding, EngineError> {
        let mut binding = Binding::new(session)?;
        let (batch, new) = (self.batch as i64, shape.new as i64);
        let on = |buffer: &Buffer, element, dims: &[i64]| {
            Tensor::over(buffer, &self.place, element, dims)
        };
        let source = if shape.feedback {
            &self.next
        } else {
            &self.ids
        };
        binding.input("input_ids", on(source, i64::ELEMENT, &[batch, new])?)?;
        if decoder.fused {
            binding.input("seqlens_k", on(&self.seqlens, i32::ELEMENT, &[batch])?)?;
            let total = Tensor::over(&self.total, &self.host_place, i32::ELEMENT, &[1])?;
            binding.input("total_sequence_length", total)?;
            if decoder.position_ids {
                // The position of a single new token is the length before it: `seqlens_k`, read from where it lies.
                let positions = if shape.new == 1 {
                    &self.seqlens
                } else {
                    &self.positions
                };
                binding.input("position_ids", on(positions, i32::ELEMENT, &[batch, new])?)?;
            }
        } else {
            binding.input(
                "position_ids",
                on(&self.positions, i64::ELEMENT, &[batch, new])?,
            )?;
            if let Some(mask) = &self.mask {
                binding.input(
                    "attention_mask",
                    on(
                        mask,
                        i64::ELEMENT,
                        &[batch, (shape.past + shape.new) as i64],
                    )?,
                )?;
            }
        }
        binding.output(
            "logits",
            on(
                &self.logits,
                self.float,
                &[batch, 1, i64::from(decoder.vocab)],
            )?,
        )?;
        binding.output("next_ids", on(&self.next, i64::ELEMENT, &[batch, 1])?)?;
        for (index, (cache, dims)) in self.caches.iter().zip(&decoder.caches).enumerate() {
            for (part, name) in cache.iter().zip(["key", "value"]) {
                let dims = |length: i64| {
                    vec![
                        batch,
                        i64::from(dims.kv_heads),
                        length,
                        i64::from(dims.head_dim),
                    ]
                };
                let names = (
                    format!("past_key_values.{index}.{name}"),
                    format!("present.{index}.{name}"),
                );
                self.bind_cache(&mut binding, part, names, shape, decoder.shared_kv, dims)?;
            }
        }
        if let (Some(router), Some(width)) = (&self.router, decoder.router_width) {
            let names = (
                "past_router.weights".into(),
                "present_router.weights".into(),
            );
            self.bind_cache(
                &mut binding,
                router,
                names,
                shape,
                decoder.shared_kv,
                |length| vec![batch, length, i64::from(width)],
            )?;
        }
        Ok(binding)
    }

    fn bind_cache(
        &self,
        binding: &mut Binding,
        part: &CachePart,
        (past_name, present_name): (String, String),
        shape: Shape,
        shared: bool,
        dims: impl Fn(i64) -> Vec<i64>,
    ) -> Result<(), EngineError> {
        let (past, present) = if shared {
            let whole = dims(self.capacity as i64);
            ((&part.buffers[0], whole.clone()), (&part.buffers[0], whole))
        } else {
            let (from, to) = if shape.swapped { (1, 0) } else { (0, 1) };
            let (past, total) = (shape.past as i64, (shape.past + shape.new) as i64);
            (
                (&part.buffers[from], dims(past)),
                (&part.buffers[to], dims(total)),
            )
        };
        binding.input(
            &past_name,
            Tensor::over(past.0, &self.place, part.element, &past.1)?,
        )?;
        binding.output(
            &present_name,
            Tensor::over(present.0, &self.place, part.element, &present.1)?,
        )
    }
}
