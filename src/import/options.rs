//! A checkpoint's config.json, read key by key: what nobody asked for is an option that nobody understood, and is refused.

use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::Path;

/// Name of the file.
pub const FILE: &str = "config.json";

/// Say nothing of what is computed from a prompt: training, other tasks, text before and after the model, formats.
const WITHOUT_MEANING: &[&str] = &[
    "_name_or_path",
    "attention_dropout",
    "attn_pdrop",
    "bos_token_id",
    "dtype",
    "embd_pdrop",
    "embedding_dropout",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "initializer_range",
    "is_llama_config",
    "max_window_layers",
    "model_type",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "resid_pdrop",
    "resid_dropout",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_cache",
];

/// The options of a file, or of one object in it.
pub struct Options {
    path: String,
    map: Map<String, Value>,
    asked: BTreeSet<String>,
    refused: Vec<String>,
}

impl Options {
    /// Those of a checkpoint.
    pub fn read(folder: &Path) -> Result<Options> {
        let path = folder.join(FILE);
        let shown = path.display().to_string();
        let text = fs::read_to_string(&path).map_err(|cause| {
            Error::Model(format!(
                "could not read {shown}: {cause}; name a folder with a checkpoint's config.json and *.safetensors"
            ))
        })?;
        match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(Options::of(shown, map)),
            Ok(_) => Err(wrong(&shown, "it is no JSON object")),
            Err(cause) => Err(wrong(&shown, cause)),
        }
    }

    fn of(path: String, map: Map<String, Value>) -> Options {
        Options {
            path,
            map,
            asked: BTreeSet::new(),
            refused: Vec::new(),
        }
    }

    /// An option's value; one that is null is not set.
    pub fn value(&mut self, key: &str) -> Option<&Value> {
        self.asked.insert(key.to_owned());
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// An error about this file.
    pub fn wrong(&self, cause: impl Display) -> Error {
        wrong(&self.path, cause)
    }

    /// Keeps a reason to refuse the file; all of them are told together.
    pub fn refuse(&mut self, reason: String) {
        self.refused.push(reason);
    }

    /// A text that must be there.
    pub fn text(&mut self, key: &str) -> Result<String> {
        match self.value(key).and_then(Value::as_str) {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.wrong(format!("it has no text {key}"))),
        }
    }

    /// A whole number of at least 1 and at most `most`.
    pub fn count(&mut self, key: &str, most: u32) -> Result<u32> {
        match self.count_if_set(key, most)? {
            Some(count) => Ok(count),
            None => Err(self.wrong(format!("it has no number {key}"))),
        }
    }

    /// The same, where it need not be there.
    pub fn count_if_set(&mut self, key: &str, most: u32) -> Result<Option<u32>> {
        let Some(value) = self.value(key).cloned() else {
            return Ok(None);
        };
        let count = value.as_u64().filter(|count| *count > 0);
        match count.filter(|count| *count <= u64::from(most)) {
            Some(count) => Ok(u32::try_from(count).ok()),
            None => Err(self.wrong(format!(
                "{key} is {value} and has to be a whole number from 1 to {most}"
            ))),
        }
    }

    /// A number above zero.
    pub fn number(&mut self, key: &str, default: Option<f64>) -> Result<f64> {
        let value = self.value(key).cloned();
        let Some(value) = value else {
            return default.ok_or_else(|| self.wrong(format!("it has no number {key}")));
        };
        let number = value.as_f64().filter(|number| *number > 0.0);
        number.ok_or_else(|| {
            self.wrong(format!(
                "{key} is {value} and has to be a number above zero"
            ))
        })
    }

    /// A number above zero, as the graph has it.
    pub fn float(&mut self, key: &str, default: Option<f64>) -> Result<f32> {
        let number = self.number(key, default)? as f32;
        if number.is_normal() {
            return Ok(number);
        }
        Err(self.wrong(format!("{key} is {number:e} in 32 bits")))
    }

    /// Yes or no.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        let value = self.value(key).cloned();
        match value {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(format!("{key} is {other} and has to be true or false"))),
        }
    }

    /// An option that may have one of these values only, or not be set.
    pub fn only(&mut self, key: &str, known: &[Value]) {
        if let Some(value) = self.value(key).cloned()
            && !known.contains(&value)
        {
            let known: Vec<String> = known.iter().map(Value::to_string).collect();
            let known = known.join(" or ");
            self.refuse(format!("{key} is {value}, and only {known} is known"));
        }
    }

    /// An option that is a group of options; it is asked for and [`Self::close`]d by itself.
    pub fn group(&mut self, key: &str) -> Result<Option<Options>> {
        match self.value(key).cloned() {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Options::of(format!("{}, {key}", self.path), map))),
            Some(other) => Err(self.wrong(format!("{key} is {other} and has to be an object"))),
        }
    }

    /// Refuses whatever was refused so far, and what is set and was never asked for.
    pub fn close(self) -> Result<()> {
        let mut refused = self.refused;
        let unknown = self.map.iter().filter(|(key, value)| {
            let known = self.asked.contains(*key) || WITHOUT_MEANING.contains(&key.as_str());
            !known && !value.is_null()
        });
        refused.extend(unknown.map(|(key, value)| {
            let mut value = value.to_string();
            if value.chars().count() > 60 {
                value = value.chars().take(60).chain("...".chars()).collect();
            }
            format!("{key} (here {value}) is an option that is not known")
        }));
        match refused.is_empty() {
            true => Ok(()),
            false => Err(wrong(&self.path, refused.join("; "))),
        }
    }
}

/// An error about a file that was read.
fn wrong(path: &str, cause: impl Display) -> Error {
    Error::Model(format!(
        "could not import {path}: {cause}; nothing was written, choose another checkpoint"
    ))
}
