//! The tokenizer that needs no file: lower-case words and punctuation marks, hashed into a vocabulary.

use crate::error::{Error, Result};
use regex::Regex;
use xxhash_rust::xxh3::xxh3_64;

/// Ids kept free at the start of the vocabulary: 0 is padding, 1 is "unknown". No word hashes to them.
const RESERVED_IDS: u64 = 2;

/// Splits text by a rule and hashes the pieces; the ids depend on nothing but the text and the vocabulary size.
#[derive(Debug)]
pub struct Rules {
    piece: Regex,
}

impl Rules {
    /// Prepares the rule.
    pub fn new() -> Result<Rules> {
        // A run of word characters of any script, or one character that is neither word nor white space.
        let piece = Regex::new(r"\w+|[^\w\s]").map_err(|error| Error::Bug(error.to_string()))?;
        Ok(Rules { piece })
    }

    /// Ids of `text`, each from 2 to `vocab - 1`.
    pub fn encode(&self, text: &str, vocab: u32) -> Vec<i64> {
        let lower = text.to_lowercase();
        let pieces = self.piece.find_iter(&lower);
        pieces.map(|piece| id(piece.as_str(), vocab)).collect()
    }
}

/// `2 + h mod (vocab - 2)`, where `h` is XXH3 (64 bits, seed 0) of the piece's UTF-8 bytes.
/// This is part of what a result means: it can never change, and a test holds it to fixed values.
fn id(piece: &str, vocab: u32) -> i64 {
    let free = u64::from(vocab).saturating_sub(RESERVED_IDS).max(1);
    // Smaller than a u32's range, so that it always fits.
    i64::try_from(RESERVED_IDS + xxh3_64(piece.as_bytes()) % free).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// If this fails, the hash has changed and every published id with it: restore the hash, not the test.
    #[test]
    fn ids_are_these_for_ever() {
        let rules = Rules::new().unwrap();
        let text = "The quick, brown FOX: naïve Straße 東京 42!";
        let ids = [
            24065, 7749, 3156, 21502, 9262, 11651, 40005, 31729, 44458, 23915, 13719,
        ];
        assert_eq!(rules.encode(text, 50257), ids);
        // The hash's published value for no input at all.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn words_and_marks_are_apart_and_case_is_ignored() {
        let rules = Rules::new().unwrap();
        let ids = |text| rules.encode(text, 50257);
        assert_eq!(ids("Don't  stop."), ids("don ' t\nSTOP ."));
        assert_eq!(ids("a_b1 c").len(), 2);
        assert_eq!(ids("...").len(), 3);
        assert_eq!(ids(" \t\n"), [0i64; 0]);
    }

    proptest! {
        #[test]
        fn ids_stay_inside_the_vocabulary(text in ".{0,60}", vocab in 3u32..200_000) {
            for id in Rules::new().unwrap().encode(&text, vocab) {
                prop_assert!((2..i64::from(vocab)).contains(&id));
            }
        }
    }
}
