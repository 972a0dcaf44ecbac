//! Door of the text room: prompts, and the tokenizers that turn them into ids.

mod prompts;
mod rules;
mod trained;

pub use prompts::{Prompts, rows, rows_repeated};

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest tokenizer or prompt file that is read: a slip such as `/dev/zero` must end.
const LARGEST_FILE: u64 = 256 << 20;

/// What turns text into ids.
#[derive(Debug)]
pub enum Tokenizer {
    /// Words and marks, hashed into the vocabulary; needs no file.
    Rules(rules::Rules),
    /// A `tokenizer.json`.
    Trained(Box<trained::Trained>),
}

impl Tokenizer {
    /// The built-in tokenizer.
    pub fn rules() -> Result<Tokenizer> {
        rules::Rules::new().map(Tokenizer::Rules)
    }

    /// A tokenizer from a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Tokenizer> {
        let trained = trained::Trained::load(path)?;
        Ok(Tokenizer::Trained(Box::new(trained)))
    }

    /// Name for reports: `rules`, or the file's path.
    pub fn name(&self) -> &str {
        match self {
            Tokenizer::Rules(_) => "rules",
            Tokenizer::Trained(trained) => trained.name(),
        }
    }

    /// Ids of `text`, all smaller than `vocab`.
    pub fn encode(&self, text: &str, vocab: u32) -> Result<Vec<i64>> {
        match self {
            Tokenizer::Rules(rules) => Ok(rules.encode(text, vocab)),
            Tokenizer::Trained(trained) => trained.encode(text, vocab),
        }
    }
}

/// The bytes of a file that `flag` names; `what` says what it ought to be.
fn read(path: &Path, flag: &str, what: &str) -> Result<Vec<u8>> {
    let refuse = |cause: String| {
        let path = path.display();
        Error::Usage(format!(
            "{flag} {path}: could not read it ({cause}); give the path of {what}"
        ))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse(format!("larger than {} MiB", LARGEST_FILE >> 20)));
    }
    Ok(bytes)
}
