//! Weights of few bits: blocks of 32 along a layer's inputs, each with a scale, symmetric around a zero point in the middle.
//!
//! Scales are rounded to fp16 before anything is divided by them, also where they are stored as fp32: so the quantised weights,
//! and what they stand for, are the same in every file.

use half::f16;

/// Weights that share a scale. The size that every kernel of ONNX Runtime takes, those of its CUDA provider among them.
pub const BLOCK: usize = 32;

/// What stands for zero: weights are stored unsigned.
pub fn zero_point(bits: u32) -> u8 {
    1 << (bits - 1)
}

/// Bytes of so many weights that lie together.
pub fn packed_bytes(weights: u64, bits: u32) -> u64 {
    (weights * u64::from(bits)).div_ceil(8)
}

/// The scale of a block: its largest magnitude becomes the largest number that has an opposite.
pub fn scale(block: &[f32], bits: u32) -> f32 {
    // Magnitudes are in the order of their bits, and the largest of integers is found many at a time.
    let magnitudes = block.iter().map(|value| value.to_bits() & (u32::MAX >> 1));
    let most = magnitudes.fold(0, |most: i32, bits| most.max(bits as i32));
    f16::from_f32(f32::from_bits(most as u32) / steps(bits)).to_f32()
}

/// A value this large has no digits after the point: what is added to it is rounded to the nearest integer, ties to even, and
/// stands in its lowest bits. The instruction that rounds is not one of every x86-64 processor.
const INTEGERS: f32 = 12_582_912.0;

/// The numbers nearest to values, stored unsigned.
pub fn quantize(values: &[f32; BLOCK], scale: f32, bits: u32) -> [u8; BLOCK] {
    let zero = zero_point(bits);
    if scale == 0.0 {
        return [zero; BLOCK];
    }
    let steps = steps(bits);
    values.map(|value| {
        let nearest = (value / scale).clamp(-steps, steps) + INTEGERS;
        (nearest.to_bits() as u8).wrapping_add(zero)
    })
}

/// Appends stored numbers: of two that share a byte the first is in its low half.
pub fn pack(numbers: &[u8], bits: u32, out: &mut Vec<u8>) {
    match bits {
        4 => {
            let pairs = numbers.chunks(2);
            out.extend(pairs.map(|pair| pair[0] | pair.get(1).map_or(0, |high| high << 4)));
        }
        _ => out.extend_from_slice(numbers),
    }
}

/// The largest number that has an opposite.
fn steps(bits: u32) -> f32 {
    f32::from(zero_point(bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dequantize(number: u8, scale: f32, bits: u32) -> f32 {
        (f32::from(number) - f32::from(zero_point(bits))) * scale
    }

    proptest! {
        #[test]
        fn a_weight_comes_back_within_half_a_step(
            block in proptest::array::uniform32(-4.0f32..4.0),
            bits in prop_oneof![Just(4u32), Just(8)],
        ) {
            let scale = scale(&block, bits);
            for (value, number) in block.into_iter().zip(quantize(&block, scale, bits)) {
                let nearest = (value / scale).round_ties_even().clamp(-steps(bits), steps(bits));
                prop_assert_eq!(f32::from(number) - f32::from(zero_point(bits)), nearest);
                let back = dequantize(number, scale, bits);
                // The scale itself is rounded to 11 bits: the largest value may lie that much beyond the last step.
                let beyond = value.abs() * 2.0f32.powi(-11);
                prop_assert!((back - value).abs() <= scale * 0.5001 + beyond, "{value} {back} {scale}");
            }
        }
    }

    #[test]
    fn numbers_are_packed_low_half_first() {
        let block = [7.0, -7.0, 0.0, 1.0, -3.4, 3.6];
        let numbers = |bits, scale: f32| {
            let mut whole = [0.0; BLOCK];
            whole[..block.len()].copy_from_slice(&block);
            quantize(&whole, scale, bits)[..block.len()].to_vec()
        };
        assert_eq!(numbers(4, 1.0), [15, 1, 8, 9, 5, 12]);
        assert_eq!(numbers(8, 0.25), [156, 100, 128, 132, 114, 142]);
        let mut packed = Vec::new();
        pack(&numbers(4, 1.0), 4, &mut packed);
        assert_eq!(packed, [0x1F, 0x98, 0xC5]);
        packed.clear();
        // The last of an odd count has a byte to itself.
        pack(&[8, 8, 8], 4, &mut packed);
        assert_eq!(packed, [0x88, 0x08]);
        packed.clear();
        pack(&numbers(8, 0.25), 8, &mut packed);
        assert_eq!(packed, numbers(8, 0.25));
    }

    #[test]
    fn halves_go_to_the_even_number_and_nothing_beyond_the_last_step() {
        let mut block = [0.0; BLOCK];
        block[..6].copy_from_slice(&[0.5, 1.5, -2.5, -3.5, 9.0, -1e9]);
        assert_eq!(quantize(&block, 1.0, 4)[..6], [8, 10, 6, 4, 15, 1]);
    }

    #[test]
    fn scales_are_fp16_and_a_block_of_zeros_stays_one() {
        assert_eq!(scale(&[1.0, -2.1], 4), f16::from_f32(0.3).to_f32());
        assert_eq!(scale(&[0.0; BLOCK], 8), 0.0);
        assert_eq!(quantize(&[0.0; BLOCK], 0.0, 4), [8; BLOCK]);
    }
}
