//! The prompts, and how they are laid out as the rows of a batch.

use super::Tokenizer;
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::Path;

/// First sentences that everybody may copy: a pangram, Austen, Shakespeare, Tolstoy (tr. Garnett) and Dickens.
const BUILTIN: [&str; 5] = [
    "The quick brown fox jumps over the lazy dog.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer the slings and arrows of \
     outrageous fortune, or to take arms against a sea of troubles, and by opposing end them.",
    "Happy families are all alike; every unhappy family is unhappy in its own way.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, \
     it was the epoch of belief, it was the epoch of incredulity, it was the season of Light, it was the season of \
     Darkness, it was the spring of hope, it was the winter of despair.",
];

/// Texts to fill the rows of a batch with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    source: String,
    texts: Vec<String>,
}

impl Prompts {
    /// The five built-in ones.
    pub fn builtin() -> Prompts {
        Prompts {
            source: "built-in prompts".to_owned(),
            texts: BUILTIN.map(str::to_owned).to_vec(),
        }
    }

    /// One prompt from each line of a UTF-8 file that is not blank.
    pub fn from_file(path: &Path) -> Result<Prompts> {
        let source = format!("--prompt-file {}", path.display());
        let bytes = super::read(path, "--prompt-file", "a UTF-8 text file")?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            Error::Usage(format!(
                "{source}: it is not UTF-8 text (byte {at}); save it as UTF-8, one prompt on each line"
            ))
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let texts: Vec<String> = lines.map(str::to_owned).collect();
        if texts.is_empty() {
            return Err(Error::Usage(format!(
                "{source}: it is empty; write one prompt on each line"
            )));
        }
        Ok(Prompts { source, texts })
    }
}

/// `batch` rows of exactly `length` ids: all prompts laid end to end, over and over, each row starting elsewhere.
///
/// Row 0 starts at the first prompt, row 1 at the second, and so on; further rows start one token later in each prompt,
/// and when the text is used up a row's first token is followed by text from further on. Rows are distinct as long as
/// the text has that many to give, and the same arguments always give the same rows.
pub fn rows(
    tokenizer: &Tokenizer,
    prompts: &Prompts,
    batch: u32,
    length: u32,
    vocab: u32,
) -> Result<Vec<Vec<i64>>> {
    let rows = distinct(tokenizer, prompts, batch, length, vocab)?;
    if rows.len() < batch as usize {
        return Err(Error::Usage(format!(
            "{}: its text gives only {} different rows of {length} tokens and --batch asks for {batch}; add text or lower --batch",
            prompts.source,
            rows.len()
        )));
    }
    Ok(rows)
}

/// As [`rows`], for a look at memory that may take any batch: where the text gives no more different rows, they come again.
pub fn rows_repeated(
    tokenizer: &Tokenizer,
    prompts: &Prompts,
    batch: u32,
    length: u32,
    vocab: u32,
) -> Result<Vec<Vec<i64>>> {
    let rows = distinct(tokenizer, prompts, batch, length, vocab)?;
    Ok(rows.iter().cycle().take(batch as usize).cloned().collect())
}

/// As many different rows as the text gives, `batch` at most.
fn distinct(
    tokenizer: &Tokenizer,
    prompts: &Prompts,
    batch: u32,
    length: u32,
    vocab: u32,
) -> Result<Vec<Vec<i64>>> {
    let encoded = encode(tokenizer, prompts, vocab)?;
    let ring: Vec<i64> = encoded.concat();
    if ring.is_empty() {
        return Err(Error::Usage(format!(
            "{}: tokenizer {} finds no token in it; write words into it",
            prompts.source,
            tokenizer.name()
        )));
    }
    let (batch, length) = (batch as usize, length as usize);
    let row = |start: usize, skip: usize| -> Vec<i64> {
        let rest = ring.iter().cycle().skip((start + 1 + skip) % ring.len());
        let first = std::iter::once(&ring[start]);
        first.chain(rest).take(length).copied().collect()
    };

    let starts = starts(&encoded);
    let laps = (0..ring.len()).flat_map(|skip| starts.iter().map(move |start| (*start, skip)));
    // A text that repeats itself has few distinct rows: do not look for more for ever.
    let tries = ring.len().saturating_add(batch.saturating_mul(4));
    let mut seen = HashSet::new();
    let mut rows = Vec::new();
    for (start, skip) in laps.take(tries) {
        if rows.len() == batch {
            break;
        }
        let row = row(start, skip);
        if seen.insert(row.clone()) {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Every prompt's ids.
fn encode(tokenizer: &Tokenizer, prompts: &Prompts, vocab: u32) -> Result<Vec<Vec<i64>>> {
    let texts = prompts.texts.iter();
    texts.map(|text| tokenizer.encode(text, vocab)).collect()
}

/// Every position of the prompts laid end to end: first each prompt's first token, then each one's second, and so on.
fn starts(encoded: &[Vec<i64>]) -> Vec<usize> {
    let longest = encoded.iter().map(Vec::len).max().unwrap_or(0);
    let mut starts = Vec::new();
    for offset in 0..longest {
        let mut base = 0;
        for ids in encoded {
            if offset < ids.len() {
                starts.push(base + offset);
            }
            base += ids.len();
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn distinct(rows: &[Vec<i64>]) -> usize {
        rows.iter().collect::<HashSet<_>>().len()
    }

    fn builtin_rows(batch: u32, length: u32, vocab: u32) -> Vec<Vec<i64>> {
        let tokenizer = Tokenizer::rules().unwrap();
        rows(&tokenizer, &Prompts::builtin(), batch, length, vocab).unwrap()
    }

    fn file(content: &[u8]) -> Result<Prompts> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.txt");
        std::fs::write(&path, content).unwrap();
        Prompts::from_file(&path)
    }

    #[test]
    fn each_of_the_first_rows_starts_with_its_prompt() {
        let tokenizer = Tokenizer::rules().unwrap();
        let rows = builtin_rows(5, 8, 50257);
        for (row, text) in rows.iter().zip(BUILTIN) {
            assert_eq!(row[..], tokenizer.encode(text, 50257).unwrap()[..8]);
        }
    }

    #[test]
    fn text_is_laid_end_to_end() {
        let tokenizer = Tokenizer::rules().unwrap();
        let prompts = file(b"a b\n\n  \nc\n").unwrap();
        let rows = rows(&tokenizer, &prompts, 3, 5, 50257).unwrap();
        let ids = |text| tokenizer.encode(text, 50257).unwrap();
        assert_eq!(rows, [ids("a b c a b"), ids("c a b c a"), ids("b c a b c")]);
    }

    #[test]
    fn a_batch_of_a_thousand_is_distinct() {
        assert_eq!(distinct(&builtin_rows(1000, 256, 50257)), 1000);
    }

    #[test]
    fn a_text_without_variety_is_refused_for_a_batch() {
        let tokenizer = Tokenizer::rules().unwrap();
        let text = file(b"la la la").unwrap();
        assert_eq!(rows(&tokenizer, &text, 1, 6, 650).unwrap().len(), 1);
        let error = rows(&tokenizer, &text, 4, 6, 650).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.contains("only 1 different rows") && sentence.contains("--batch"),
            "{sentence}"
        );
        let repeated = rows_repeated(&tokenizer, &text, 4, 6, 650).unwrap();
        assert_eq!((repeated.len(), distinct(&repeated)), (4, 1));
    }

    #[test]
    fn a_look_at_memory_takes_any_batch_and_length_and_differs_as_long_as_it_can() {
        let tokenizer = Tokenizer::rules().unwrap();
        let look =
            |batch, length| rows_repeated(&tokenizer, &Prompts::builtin(), batch, length, 50257);
        assert_eq!(look(64, 16).unwrap(), builtin_rows(64, 16, 50257));
        let long = look(1, 131_072).unwrap();
        assert_eq!((long.len(), long[0].len()), (1, 131_072));
        let many = look(65_536, 4).unwrap();
        assert!(many.len() == 65_536 && distinct(&many) > 10_000);
    }

    #[test]
    fn bad_prompt_files_are_refused_in_one_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            (file(b""), "empty"),
            (file(b" \n\t\n"), "empty"),
            (file(b"ok\n\xff\xfe"), "not UTF-8 text (byte 3)"),
            (Prompts::from_file(folder.path()), "directory"),
            (Prompts::from_file(Path::new("/nowhere/p.txt")), "/nowhere"),
        ];
        for (result, part) in cases {
            let error = result.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(part) && text.starts_with("--prompt-file"),
                "{text}"
            );
            assert_eq!((error.exit_code(), text.lines().count()), (2, 1));
        }
    }

    proptest! {
        #[test]
        fn builtin_rows_are_distinct_up_to_64(batch in 1u32..=64, length in 4u32..300, vocab in 97u32..60_000) {
            let rows = builtin_rows(batch, length, vocab);
            prop_assert_eq!(rows.len(), batch as usize);
            prop_assert!(rows.iter().all(|row| row.len() == length as usize));
            prop_assert_eq!(distinct(&rows), batch as usize);
            prop_assert_eq!(rows, builtin_rows(batch, length, vocab));
        }

        #[test]
        fn rows_are_distinct_when_the_text_allows(lines in prop::collection::vec("[a-c]( [a-c]){0,6}", 1..5), batch in 1u32..=64, length in 1u32..20) {
            let tokenizer = Tokenizer::rules().unwrap();
            let prompts = Prompts { source: "test".to_owned(), texts: lines };
            let rows = rows(&tokenizer, &prompts, batch, length, 50257);
            let ring = encode(&tokenizer, &prompts, 50257).unwrap().concat();
            let window = |start| ring.iter().cycle().skip(start).take(length as usize).copied().collect::<Vec<_>>();
            let possible = (0..ring.len()).map(window).collect::<HashSet<_>>().len();
            match rows {
                Ok(rows) => prop_assert_eq!((rows.len(), distinct(&rows)), (batch as usize, batch as usize)),
                Err(_) => prop_assert!(possible < batch as usize),
            }
        }
    }
}
