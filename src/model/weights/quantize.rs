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
    let most = block
        .iter()
        .fold(0.0f32, |most, value| most.max(value.abs()));
    f16::from_f32(most / steps(bits)).to_f32()
}

/// The number nearest to a value, stored unsigned.
pub fn quantize(value: f32, scale: f32, bits: u32) -> u8 {
    if scale == 0.0 {
        return zero_point(bits);
    }
    let steps = steps(bits);
    let nearest = (value / scale).round_ties_even().clamp(-steps, steps);
    (nearest as i32 + i32::from(zero_point(bits))) as u8
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
            block in proptest::collection::vec(-4.0f32..4.0, BLOCK),
            bits in prop_oneof![Just(4u32), Just(8)],
        ) {
            let scale = scale(&block, bits);
            for value in block {
                let back = dequantize(quantize(value, scale, bits), scale, bits);
                // The scale itself is rounded to 11 bits: the largest value may lie that much beyond the last step.
                let beyond = value.abs() * 2.0f32.powi(-11);
                prop_assert!((back - value).abs() <= scale * 0.5001 + beyond, "{value} {back} {scale}");
            }
        }
    }

    #[test]
    fn numbers_are_packed_low_half_first() {
        let block = [7.0, -7.0, 0.0, 1.0, -3.4, 3.6];
        let numbers = |bits, scale: f32| block.map(|value| quantize(value, scale, bits));
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
    fn scales_are_fp16_and_a_block_of_zeros_stays_one() {
        assert_eq!(scale(&[1.0, -2.1], 4), f16::from_f32(0.3).to_f32());
        assert_eq!(scale(&[0.0; BLOCK], 8), 0.0);
        assert_eq!(quantize(0.0, 0.0, 4), 8);
    }
}
