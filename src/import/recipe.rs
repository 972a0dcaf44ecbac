//! How a weight of a graph is made of a checkpoint's tensors: which of their rows, in which order, times what.

use super::checkpoint::{Checkpoint, Kind, Stored};
use half::f16;

/// Some rows of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The tensor.
    pub stored: Stored,
    /// The first of the rows.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// How rows of tensors lie in a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One after the other, as rows.
    Stacked,
    /// One after the other, as columns.
    Turned,
    /// As rows, of each two of the parts by turns.
    Woven,
}

/// A weight in terms of tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    /// The tensors' rows, all of one length.
    pub parts: Vec<Rows>,
    /// Their order.
    pub order: Order,
    /// What each value is multiplied with.
    pub factor: f32,
    /// Length of a row of the tensors.
    pub width: u64,
}

/// A place in a part, and how many rows follow each other there.
struct Place<'a> {
    part: &'a Rows,
    row: u64,
    left: u64,
}

impl Recipe {
    /// Fills a slice with values of the weight, whose last dimension is `last`: see [`crate::model::Values`].
    pub fn fill(&self, from: &Checkpoint, last: u64, start: u64, step: u64, out: &mut [f32]) {
        debug_assert!(step == 1 || step == last);
        let turned = self.order == Order::Turned;
        let (mut at, mut rest) = (start, &mut *out);
        while !rest.is_empty() {
            let (row, column) = (at / last, at % last);
            let (lane, position) = if turned { (column, row) } else { (row, column) };
            let Some(place) = self.place(lane) else { break };
            // Along a row of the tensor, or from row to row of it.
            let (stride, most) = match (step == 1) != turned {
                true => (1, self.width - position),
                false => (self.width, place.left),
            };
            let count = most.min(rest.len() as u64) as usize;
            let (now, later) = rest.split_at_mut(count);
            let first = (place.part.first + place.row) * self.width + position;
            let stored = &place.part.stored;
            decode(
                from.bytes(stored),
                stored.kind,
                first as usize,
                stride as usize,
                now,
            );
            at += count as u64 * step;
            rest = later;
        }
        if self.factor != 1.0 {
            out.iter_mut().for_each(|value| *value *= self.factor);
        }
    }

    /// Where the weight's row (or column) of this number comes from.
    fn place(&self, lane: u64) -> Option<Place<'_>> {
        if self.order == Order::Woven {
            // Parts of one length, two by two.
            let rows = self.parts.first()?.count;
            let (pair, within) = (lane / (2 * rows), lane % (2 * rows));
            let part = self.parts.get((2 * pair + within % 2) as usize)?;
            return Some(Place {
                part,
                row: within / 2,
                left: 1,
            });
        }
        let mut row = lane;
        // Few parts but for experts, and those are of one length.
        let parts = match self.parts.first() {
            Some(first) if self.order == Order::Stacked && self.parts.len() > 3 => {
                let skipped = (lane / first.count).min(self.parts.len() as u64 - 1);
                row -= skipped * first.count;
                &self.parts[skipped as usize..]
            }
            _ => &self.parts[..],
        };
        for part in parts {
            if row < part.count {
                let left = part.count - row;
                return Some(Place { part, row, left });
            }
            row -= part.count;
        }
        None
    }
}

/// Reads every so manieth value from `first`.
fn decode(bytes: &[u8], kind: Kind, first: usize, stride: usize, out: &mut [f32]) {
    let size = kind.bytes();
    let bytes = &bytes[first * size..];
    match kind {
        Kind::F32 => each::<4>(bytes, stride, out, f32::from_le_bytes),
        Kind::F16 => each::<2>(bytes, stride, out, |word| f16::from_le_bytes(word).to_f32()),
        Kind::Bf16 => each::<2>(bytes, stride, out, |[low, high]| {
            f32::from_le_bytes([0, 0, low, high])
        }),
    }
}

fn each<const SIZE: usize>(
    bytes: &[u8],
    stride: usize,
    out: &mut [f32],
    value: impl Fn([u8; SIZE]) -> f32,
) {
    let (words, _) = bytes.as_chunks::<SIZE>();
    if stride == 1 {
        for (slot, word) in out.iter_mut().zip(words) {
            *slot = value(*word);
        }
    } else {
        for (slot, word) in out.iter_mut().zip(words.iter().step_by(stride)) {
            *slot = value(*word);
        }
    }
}
