//! Quantised experts as the CUDA provider's kernels read them, so that they can be read from wherever they lie.
//!
//! Left alone the provider packs them into GPU memory when a model is loaded. Packing only moves codes; what they stand for and how
//! many there are stays. In one matrix of `[outputs, inputs]`, whose inputs are whole tiles of 64:
//!
//! 1. Among the inputs of each 16 bytes (32 codes of 4 bits, 16 of 8) those come together that a thread of the tensor cores gets.
//! 2. Outputs take turns, a tile each: four outputs of 4 bits, two of 8, so that a cache line of 128 bytes is one turn.
//! 3. In each word of 32 bits the codes at even places come before those at odd ones.
//!
//! So the outputs of one turn become the bytes that they were, in another order, and are packed alone.

/// Codes of an output that stay together.
const TILE: usize = 64;

/// Bytes inside of which codes change their places.
const SPAN: usize = 16;

/// How the matrices of a tensor are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packing {
    bits: usize,
    /// Bytes of one output.
    row: usize,
}

impl Packing {
    /// That of matrices whose codes have 4 or 8 bits and whose outputs have this many bytes; `None` where there is no such packing.
    pub(super) fn new(bits: u32, row: usize) -> Option<Packing> {
        let bits = bits as usize;
        let tile = TILE * bits / 8;
        let known = matches!(bits, 4 | 8) && row > 0 && row.is_multiple_of(tile);
        known.then_some(Packing { bits, row })
    }

    /// Bytes that are packed together: the outputs of one turn.
    pub(super) fn turn(self) -> usize {
        self.outputs() * self.row
    }

    /// Outputs that take turns.
    fn outputs(self) -> usize {
        16 / self.bits
    }

    /// Packs whole turns into as many bytes.
    pub(super) fn pack(self, raw: &[u8], packed: &mut [u8]) {
        let tile = TILE * self.bits / 8;
        let turns = raw.chunks_exact(self.turn());
        for (raw, packed) in turns.zip(packed.chunks_exact_mut(self.turn())) {
            for (at, tiles) in packed.chunks_exact_mut(tile * self.outputs()).enumerate() {
                for (raw, packed) in raw.chunks_exact(self.row).zip(tiles.chunks_exact_mut(tile)) {
                    self.pack_tile(&raw[at * tile..][..tile], packed);
                }
            }
        }
    }

    fn pack_tile(self, raw: &[u8], packed: &mut [u8]) {
        let spans = raw.chunks_exact(SPAN);
        for (raw, packed) in spans.zip(packed.chunks_exact_mut(SPAN)) {
            for (word, packed) in packed.chunks_exact_mut(4).enumerate() {
                let bytes = match self.bits {
                    4 => evens_first([0, 4, 8, 12].map(|from| raw[word + from])),
                    _ => [0, 8, 1, 9].map(|from| raw[2 * word + from]),
                };
                packed.copy_from_slice(&bytes);
            }
        }
    }
}

/// The low halves of four bytes, and then the high ones.
fn evens_first(bytes: [u8; 4]) -> [u8; 4] {
    let word = u32::from_le_bytes(bytes);
    let together = |halves: u32| {
        let pairs = (halves | halves >> 4) & 0x00FF_00FF;
        (pairs | pairs >> 8) & 0xFFFF
    };
    let (low, high) = (word & 0x0F0F_0F0F, word >> 4 & 0x0F0F_0F0F);
    (together(low) | together(high) << 16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(raw: &[u8], bits: u32, row: usize) -> Vec<u8> {
        let mut packed = vec![0; raw.len()];
        Packing::new(bits, row).unwrap().pack(raw, &mut packed);
        packed
    }

    /// Code `at` of packed bytes.
    fn code(bytes: &[u8], bits: usize, at: usize) -> u8 {
        match bits {
            4 => bytes[at / 2] >> (at % 2 * 4) & 15,
            _ => bytes[at],
        }
    }

    /// Where the definition puts the code of an output and an input: permutation of the rows of the transposed matrix, tiles of
    /// columns in turn, and the order within a word, one after the other.
    fn place(output: usize, input: usize, inputs: usize, bits: usize) -> usize {
        // Row i of a span is taken from row `rows[i]`.
        let rows: &[usize] = match bits {
            4 => &[
                0, 1, 8, 9, 16, 17, 24, 25, 2, 3, 10, 11, 18, 19, 26, 27, 4, 5, 12, 13, 20, 21, 28,
                29, 6, 7, 14, 15, 22, 23, 30, 31,
            ],
            _ => &[0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15],
        };
        let span = rows.len();
        let within = rows.iter().position(|row| *row == input % span).unwrap();
        let row = input / span * span + within;
        let columns = 16 / bits;
        let column = output / columns * columns * inputs;
        let at = column + row / 64 * 64 * columns + output % columns * 64 + row % 64;
        let word = 32 / bits;
        let order: Vec<usize> = (0..word).step_by(2).chain((1..word).step_by(2)).collect();
        let moved = order.iter().position(|from| *from == at % word).unwrap();
        at / word * word + moved
    }

    proptest! {
        #[test]
        fn each_code_comes_to_the_place_that_is_defined_for_it(
            seed in any::<u64>(), turns in 1..4usize, tiles in 1..4usize, four in any::<bool>(),
        ) {
            let bits = if four { 4 } else { 8 };
            let (outputs, inputs) = (turns * 16 / bits, tiles * 64);
            let row = inputs * bits / 8;
            let mut state = seed;
            let raw: Vec<u8> = (0..outputs * row)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 56) as u8
                })
                .collect();
            let packed = packed(&raw, bits as u32, row);
            let mut taken = vec![false; outputs * inputs];
            for output in 0..outputs {
                for input in 0..inputs {
                    let at = place(output, input, inputs, bits);
                    prop_assert!(!std::mem::replace(&mut taken[at], true), "{at} twice");
                    let expected = code(&raw[output * row..], bits, input);
                    prop_assert_eq!(code(&packed, bits, at), expected, "output {} input {}", output, input);
                }
            }
            prop_assert!(taken.into_iter().all(|taken| taken));
        }
    }

    #[test]
    fn one_turn_is_what_it_was_elsewhere() {
        // Byte i of the raw matrix is i * 37 + 11. Written down by another program, which permutes whole arrays.
        let raw: Vec<u8> = (0..128u32).map(|at| (at * 37 + 11) as u8).collect();
        let elsewhere = [
            (
                4,
                32,
                [
                    251, 115, 144, 195, 64, 200, 195, 229, 149, 29, 229, 23, 234, 98, 7, 58, 251,
                    115, 229, 24, 64, 200, 24, 58, 149, 29, 58, 108, 234, 98, 92, 143, 251, 115,
                    58, 109, 64, 200, 109, 143, 149, 29, 143, 177, 234, 98, 161, 212, 251, 115,
                    143, 178, 64, 200, 178, 212, 149, 29, 212, 6, 234, 98, 246, 41, 251, 115, 212,
                    7, 64, 200, 7, 41, 149, 29, 41, 91, 234, 98, 75, 126, 251, 115, 41, 92, 64,
                    200, 92, 126, 149, 29, 126, 160, 234, 98, 144, 195, 251, 115, 126, 161, 64,
                    200, 161, 195, 149, 29, 195, 245, 234, 98, 229, 24, 251, 115, 195, 246, 64,
                    200, 246, 24, 149, 29, 24, 74, 234, 98, 58, 109,
                ],
            ),
            (
                8,
                64,
                [
                    11, 51, 48, 88, 85, 125, 122, 162, 159, 199, 196, 236, 233, 17, 14, 54, 91,
                    131, 128, 168, 165, 205, 202, 242, 239, 23, 20, 60, 57, 97, 94, 134, 171, 211,
                    208, 248, 245, 29, 26, 66, 63, 103, 100, 140, 137, 177, 174, 214, 251, 35, 32,
                    72, 69, 109, 106, 146, 143, 183, 180, 220, 217, 1, 254, 38, 75, 115, 112, 152,
                    149, 189, 186, 226, 223, 7, 4, 44, 41, 81, 78, 118, 155, 195, 192, 232, 229,
                    13, 10, 50, 47, 87, 84, 124, 121, 161, 158, 198, 235, 19, 16, 56, 53, 93, 90,
                    130, 127, 167, 164, 204, 201, 241, 238, 22, 59, 99, 96, 136, 133, 173, 170,
                    210, 207, 247, 244, 28, 25, 65, 62, 102,
                ],
            ),
        ];
        for (bits, row, expected) in elsewhere {
            assert_eq!(packed(&raw, bits, row), expected, "{bits} bits");
        }
    }

    #[test]
    fn widths_that_are_no_whole_tiles_have_no_packing() {
        assert_eq!(Packing::new(4, 64).unwrap().turn(), 256);
        assert_eq!(Packing::new(8, 64).unwrap().turn(), 128);
        for (bits, row) in [(4, 16), (4, 0), (8, 96), (2, 64), (0, 64)] {
            assert_eq!(Packing::new(bits, row), None, "{bits} {row}");
        }
    }
}
