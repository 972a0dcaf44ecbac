//! The next id, chosen from logits of any type in main memory.

use crate::protocol::PortType;
use half::{bf16, f16};

/// Logits as numbers.
pub fn floats(bytes: &[u8], kind: PortType) -> Box<dyn Iterator<Item = f32> + '_> {
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match kind {
        PortType::Fp16 => Box::new(halves().map(|half| f16::from_ne_bytes(half).to_f32())),
        PortType::Bf16 => Box::new(halves().map(|half| bf16::from_ne_bytes(half).to_f32())),
        _ => Box::new(
            bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|word| f32::from_ne_bytes(*word)),
        ),
    }
}

/// The place of the first of the largest. Bits of floating point numbers are ordered as integers are, but for their sign: so
/// a vocabulary is gone through without turning each half into a number, which would take longer than the step of a small model.
pub fn largest(bytes: &[u8], kind: PortType) -> i64 {
    let infinity = match kind {
        PortType::Fp16 => f16::INFINITY.to_bits(),
        PortType::Bf16 => bf16::INFINITY.to_bits(),
        _ => {
            return first_of_largest(bytes.as_chunks::<4>().0, i32::MIN, |word| {
                key(i32::from_ne_bytes(word))
            });
        }
    };
    first_of_largest(bytes.as_chunks::<2>().0, i16::MIN, |half| {
        half_key(i16::from_ne_bytes(half), infinity as i16)
    })
}

/// The order of a half: what is no number comes first, and both zeros are one.
fn half_key(bits: i16, infinity: i16) -> i16 {
    let size = bits & i16::MAX;
    let signed = if bits < 0 { -size } else { size };
    if size > infinity { i16::MIN } else { signed }
}

/// The order of a number of 32 bits.
fn key(bits: i32) -> i32 {
    let size = bits & i32::MAX;
    let signed = if bits < 0 { -size } else { size };
    if size > f32::INFINITY.to_bits() as i32 {
        i32::MIN
    } else {
        signed
    }
}

/// Numbers that are compared at once.
const LANES: usize = 32;

/// In two passes over blocks of a fixed length with nothing that ends them early, of which compilers make vector code: 8 us for
/// 50,257 halves on the CPU that this was written on, where looking at one after the other took 50.
fn first_of_largest<T: Copy, K: Ord + Copy>(values: &[T], least: K, key: impl Fn(T) -> K) -> i64 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut most = [least; LANES];
    for block in blocks {
        for (most, value) in most.iter_mut().zip(block) {
            *most = (*most).max(key(*value));
        }
    }
    let of_rest = rest.iter().map(|value| key(*value));
    let largest = most.into_iter().chain(of_rest).max().unwrap_or(least);
    let is_largest = |value: &T| key(*value) == largest;
    let in_block = blocks.iter().position(|block| {
        let found = block.iter().map(|value| i16::from(is_largest(value)));
        found.fold(0, |any, one| any | one) != 0
    });
    let (start, last) = match in_block {
        Some(place) => (place * LANES, &blocks[place][..]),
        None => (blocks.len() * LANES, rest),
    };
    let place = last.iter().position(is_largest);
    place.map_or(0, |place| (start + place) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes<const N: usize>(values: impl Iterator<Item = [u8; N]>) -> Vec<u8> {
        values.flatten().collect()
    }

    /// By comparing numbers.
    fn by_numbers(bytes: &[u8], kind: PortType) -> i64 {
        let mut best = (0, f32::NEG_INFINITY);
        for (at, value) in floats(bytes, kind).enumerate() {
            if value > best.1 {
                best = (at as i64, value);
            }
        }
        best.0
    }

    #[test]
    fn the_first_of_the_largest_is_chosen_in_every_type() {
        let values = [-1.0f32, 3.0, 3.0, f32::NAN, 2.0];
        let wide = bytes(values.iter().map(|value| value.to_ne_bytes()));
        let half = bytes(
            values
                .iter()
                .map(|value| f16::from_f32(*value).to_ne_bytes()),
        );
        let brain = bytes(
            values
                .iter()
                .map(|value| bf16::from_f32(*value).to_ne_bytes()),
        );
        assert_eq!(largest(&wide, PortType::Fp32), 1);
        assert_eq!(largest(&half, PortType::Fp16), 1);
        assert_eq!(largest(&brain, PortType::Bf16), 1);
        let zeros = bytes([-1.0f32, -0.0, 0.0].iter().map(|value| value.to_ne_bytes()));
        assert_eq!(largest(&zeros, PortType::Fp32), 1);
        assert_eq!(largest(&[], PortType::Fp16), 0);
    }

    proptest! {
        #[test]
        fn any_bits_are_ordered_as_the_numbers_are(mut bits in prop::collection::vec(any::<u16>(), 1..140)) {
            // One number that is larger than what is none.
            bits.push(0);
            let half = bytes(bits.iter().map(|bits| bits.to_ne_bytes()));
            for kind in [PortType::Fp16, PortType::Bf16] {
                prop_assert_eq!(largest(&half, kind), by_numbers(&half, kind));
            }
        }

        #[test]
        fn wide_bits_too(mut bits in prop::collection::vec(any::<u32>(), 1..140)) {
            bits.push(0);
            let wide = bytes(bits.iter().map(|bits| bits.to_ne_bytes()));
            prop_assert_eq!(largest(&wide, PortType::Fp32), by_numbers(&wide, PortType::Fp32));
        }
    }
}
