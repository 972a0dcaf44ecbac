//! A tokenizer trained elsewhere: a `tokenizer.json`, run by Hugging Face's `tokenizers` crate.

use crate::error::{Error, Result};
use std::path::Path;
use tokenizers::Tokenizer;

/// A loaded `tokenizer.json`.
#[derive(Debug)]
pub struct Trained {
    name: String,
    tokenizer: Tokenizer,
}

impl Trained {
    /// Loads the file.
    pub fn load(path: &Path) -> Result<Trained> {
        let name = path.display().to_string();
        let bytes = super::read(path, "--tokenizer", "a tokenizer.json")?;
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| {
            Error::Usage(format!(
                "--tokenizer {name}: this is not a tokenizer ({error}); give the tokenizer.json of a Hugging Face model"
            ))
        })?;
        // Lengths are edgebench's business: a file that cuts or pads would change them behind its back.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|error| Error::Bug(error.to_string()))?;
        Ok(Trained { name, tokenizer })
    }

    /// The file's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ids of `text` without special tokens; an id the model has no row for is an error.
    pub fn encode(&self, text: &str, vocab: u32) -> Result<Vec<i64>> {
        let name = &self.name;
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| {
            Error::Usage(format!(
                "--tokenizer {name}: it could not encode the prompt ({error}); use another tokenizer or --prompt-file"
            ))
        })?;
        match encoding.get_ids().iter().find(|id| **id >= vocab) {
            Some(id) => Err(Error::Usage(format!(
                "--tokenizer {name}: it gives id {id}, but the model's vocabulary has {vocab} entries (0 to {last}); \
                 use the tokenizer of that model, or leave --tokenizer out",
                last = vocab.saturating_sub(1),
            ))),
            None => Ok(encoding.get_ids().iter().copied().map(i64::from).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"{"version": "1.0", "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
        "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"unk": 0, "to": 1, "be": 2, "far": 900}, "unk_token": "unk"}}"#;

    fn load(content: &str) -> Result<Trained> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, content).unwrap();
        Trained::load(&path)
    }

    #[test]
    fn a_tokenizer_file_encodes_uncut() {
        let words = load(WORDS).unwrap();
        assert_eq!(words.encode("to be or be", 10).unwrap(), [1, 2, 0, 2]);
    }

    #[test]
    fn an_id_outside_the_vocabulary_names_tokenizer_id_and_vocabulary() {
        let error = load(WORDS).unwrap().encode("to far", 650).unwrap_err();
        let text = error.to_string();
        for part in ["tokenizer.json", "900", "650", "leave --tokenizer out"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        for content in ["", "{}", "not json", "[1, 2]"] {
            let error = load(content).unwrap_err();
            assert!(error.to_string().contains("not a tokenizer"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let missing = Trained::load(Path::new("/nowhere/tokenizer.json")).unwrap_err();
        assert!(missing.to_string().contains("/nowhere"), "{missing}");
    }
}
