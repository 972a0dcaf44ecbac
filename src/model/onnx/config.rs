//! What stands about a model in the files that exporters put beside its graph: genai_config.json, config.json.

use serde_json::Value;
use std::path::Path;

/// What is told; all of it may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The file that told.
    pub file: Option<&'static str>,
    /// The graph's file.
    pub graph: Option<String>,
    /// Tokens that it was made for.
    pub context: Option<u64>,
    /// Size of one head.
    pub head_size: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Ids that end a text.
    pub eos: Vec<u64>,
    /// The kind of model.
    pub kind: Option<String>,
}

/// A configuration longer than this is none.
const LONGEST: u64 = 4 << 20;

/// What is told in a folder.
pub fn beside(folder: &Path) -> Config {
    genai(folder)
        .or_else(|| transformers(folder))
        .unwrap_or_default()
}

fn json(folder: &Path, name: &str) -> Option<Value> {
    let path = folder.join(name);
    let about = std::fs::metadata(&path).ok()?;
    let text = (about.is_file() && about.len() <= LONGEST).then(|| std::fs::read(&path).ok())??;
    serde_json::from_slice(&text).ok()
}

fn number(value: &Value, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| value.get(name)?.as_u64())
}

fn ids(value: Option<&Value>) -> Vec<u64> {
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_u64).collect(),
        Some(one) => one.as_u64().into_iter().collect(),
        None => Vec::new(),
    }
}

fn genai(folder: &Path) -> Option<Config> {
    let file = "genai_config.json";
    let all = json(folder, file)?;
    let model = all.get("model")?;
    let decoder = model.get("decoder")?;
    Some(Config {
        file: Some(file),
        graph: decoder
            .get("filename")
            .and_then(Value::as_str)
            .map(str::to_owned),
        context: number(model, &["context_length"]),
        head_size: number(decoder, &["head_size"]),
        heads: number(decoder, &["num_attention_heads"]),
        eos: ids(model.get("eos_token_id")),
        kind: model.get("type").and_then(Value::as_str).map(str::to_owned),
    })
}

fn transformers(folder: &Path) -> Option<Config> {
    let file = "config.json";
    let all = json(folder, file)?;
    let heads = number(&all, &["num_attention_heads", "n_head", "num_heads"]);
    let width = number(&all, &["hidden_size", "n_embd", "d_model"]);
    let each = width
        .zip(heads)
        .and_then(|(width, heads)| width.checked_div(heads));
    Some(Config {
        file: Some(file),
        graph: None,
        context: number(
            &all,
            &[
                "max_position_embeddings",
                "n_positions",
                "n_ctx",
                "max_seq_len",
            ],
        ),
        head_size: number(&all, &["head_dim"]).or(each),
        heads,
        eos: ids(all.get("eos_token_id")),
        kind: all
            .get("model_type")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::write;

    #[test]
    fn what_an_exporter_told_is_read_and_damage_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(beside(folder.path()), Config::default());
        let config = r#"{"model_type": "gpt2", "n_positions": 96, "n_embd": 64, "n_head": 4, "eos_token_id": [1, 2]}"#;
        write(folder.path().join("config.json"), config).unwrap();
        let found = beside(folder.path());
        assert_eq!(
            (found.context, found.head_size, found.eos),
            (Some(96), Some(16), vec![1, 2])
        );
        let genai = r#"{"model": {"context_length": 32, "eos_token_id": 3, "decoder": {"filename": "d.onnx", "head_size": 8}}}"#;
        write(folder.path().join("genai_config.json"), genai).unwrap();
        let found = beside(folder.path());
        assert_eq!(
            (found.context, found.graph.as_deref(), found.eos),
            (Some(32), Some("d.onnx"), vec![3])
        );
        for damaged in ["{", "[]", r#"{"model": {"decoder": -1}}"#] {
            write(folder.path().join("genai_config.json"), damaged).unwrap();
            let _ = beside(folder.path());
        }
    }
}
