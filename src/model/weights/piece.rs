//! The bytes of a tensor, piece by piece: each piece is made by itself, in any order and on any thread.

use super::planner::{Kind, Weight};
use super::quantize::{self, BLOCK};
use super::{Content, QUANTIZED_BLOCK, Tensor, Values, values};
use crate::trial::Float;
use std::ops::Range;

/// Values generated at a time: what bounds the generator's memory.
const STEP: u64 = 1 << 17;

/// Values that are generated before they are encoded.
const ENCODED: usize = 1 << 10;

/// What a piece becomes. Kept and used again for another.
#[derive(Debug, Default)]
pub struct Buffer {
    /// The bytes of the tensor.
    pub bytes: Vec<u8>,
    /// The scales of quantised values, which are of the tensor after that one.
    pub scales: Vec<u8>,
}

impl Tensor {
    /// Bits of its codes where they are those of experts: codes that the CUDA provider's kernels read packed.
    pub fn packable_bits(&self) -> Option<u32> {
        match (self.weight.kind, self.content) {
            (Kind::Experts, Content::Packed { bits }) => Some(bits),
            _ => None,
        }
    }

    /// The pieces of its file in order; none of scales, which come with the values that they are of.
    pub fn pieces(&self) -> impl Iterator<Item = Range<u64>> {
        let end = match self.content {
            Content::Scales { .. } => 0,
            _ => self.units(),
        };
        let step = STEP / self.unit_values();
        (0..end)
            .step_by(step as usize)
            .map(move |first| first..end.min(first + step))
    }

    /// What is generated together: a value, a block, or a row of zero points.
    pub fn units(&self) -> u64 {
        let blocks = self.weight.inner() / QUANTIZED_BLOCK;
        match self.content {
            Content::Values => self.stored,
            Content::Packed { .. } | Content::Scales { .. } => self.weight.padded_rows() * blocks,
            Content::ZeroPoints { .. } => self.weight.rows(),
        }
    }

    /// Values of the model that a unit stands for, at most one step's.
    fn unit_values(&self) -> u64 {
        match self.content {
            Content::Values => 1,
            Content::Packed { .. } | Content::Scales { .. } => QUANTIZED_BLOCK,
            Content::ZeroPoints { .. } => self.weight.inner().min(STEP),
        }
    }

    /// Fills a buffer with these units.
    pub fn fill(&self, of: &Values, units: Range<u64>, float: Float, buffer: &mut Buffer) {
        buffer.bytes.clear();
        buffer.scales.clear();
        match self.content {
            Content::Values => self.values(of, units, float, &mut buffer.bytes),
            Content::Packed { bits } => self.packed(of, units, bits, float, buffer),
            Content::ZeroPoints { bits } => {
                let blocks = self.weight.inner() / QUANTIZED_BLOCK;
                let row = vec![quantize::zero_point(bits); blocks as usize];
                units.for_each(|_| quantize::pack(&row, bits, &mut buffer.bytes));
            }
            // It has no pieces.
            Content::Scales { .. } => (),
        }
    }

    fn values(&self, of: &Values, mut units: Range<u64>, float: Float, out: &mut Vec<u8>) {
        let mut part = [0.0; ENCODED];
        while !units.is_empty() {
            let count = ENCODED.min((units.end - units.start) as usize);
            let part = &mut part[..count];
            of(units.start, 1, part);
            values::encode(part, float, out);
            units.start += count as u64;
        }
    }

    fn packed(&self, of: &Values, units: Range<u64>, bits: u32, float: Float, out: &mut Buffer) {
        let blocks = self.weight.inner() / QUANTIZED_BLOCK;
        let mut scales = Vec::with_capacity((units.end - units.start) as usize);
        let (mut row, mut block) = (units.start / blocks, units.start % blocks);
        for _ in units {
            let values = self.weight.block(of, row, block);
            let scale = quantize::scale(&values, bits);
            let numbers = quantize::quantize(&values, scale, bits);
            quantize::pack(&numbers, bits, &mut out.bytes);
            scales.push(scale);
            block += 1;
            if block == blocks {
                (row, block) = (row + 1, 0);
            }
        }
        values::encode(&scales, float, &mut out.scales);
    }
}

impl Weight {
    /// Its last dimension: how long a row is.
    pub fn last(&self) -> u64 {
        self.dims.last().copied().unwrap_or(1)
    }

    /// The values of one block of a row; zeros in a row that only fills up.
    fn block(&self, of: &Values, row: u64, block: u64) -> [f32; BLOCK] {
        let mut values = [0.0; BLOCK];
        if row >= self.rows() {
            return values;
        }
        let (last, column) = (self.last(), block * QUANTIZED_BLOCK);
        // A linear layer's outputs are the columns of what is generated.
        let (start, step) = match self.kind == Kind::Linear {
            true => (column * last + row, last),
            false => (row * self.inner() + column, 1),
        };
        of(start, step, &mut values);
        values
    }
}
