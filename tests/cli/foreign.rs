//! Models as another exporter left them, on the ONNX Runtime of the build, on the CPU.

use crate::sandbox::{Ran, Sandbox, statuses};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn fixture(name: &str) -> String {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign");
    all.join(name).to_str().unwrap().to_owned()
}

fn run(sandbox: &Sandbox, model: &str, more: &[&str]) -> Ran {
    let mut args = vec![
        "--device",
        "cpu",
        "--vram-budget",
        "4G",
        "-r",
        "1",
        "--warmup",
        "1",
        "-q",
        "--format",
        "json",
        "--model",
        model,
    ];
    args.extend(more);
    sandbox.run(&args)
}

#[test]
fn a_folder_runs_as_it_came_and_its_row_says_how() {
    let sandbox = Sandbox::new();
    let folder = fixture("genai-llama-int4");
    let more = [
        "-p",
        "16",
        "-n",
        "8",
        "--batch",
        "1,2",
        "--ceiling",
        "context,batch",
    ];
    let report = run(&sandbox, &folder, &more).left_with(0).json();
    assert_eq!(statuses(&report), ["ok", "ok"]);
    for row in report["trials"].as_array().unwrap() {
        assert_eq!(
            (&row["form"], &row["precision"]),
            (&json!("fused"), &json!("int4")),
            "{row:#}"
        );
        assert_eq!(row["kv_mode"], "in place");
        let foreign = &row["foreign"];
        assert_eq!(foreign["cache_in_place"], true, "{foreign:#}");
        assert_eq!(
            (&foreign["graph"], &foreign["whole_sequence"]),
            (&json!(false), &json!(false))
        );
        assert!(
            foreign["graph_note"].as_str().unwrap().contains("CUDA"),
            "{foreign:#}"
        );
        assert_eq!(row["params"]["active"], row["params"]["total"], "{row:#}");
        assert_eq!(row["decode_check"]["passed"], true, "{row:#}");
        assert!(row["memory"]["peak_bytes"].as_u64().unwrap() > 0);
        assert!(
            row["not_measured"]["tuning"]
                .as_str()
                .unwrap()
                .contains("as it was exported")
        );
        assert_eq!(
            row["llama_bench"]["type_k"].as_str().unwrap_or("f32"),
            "f32"
        );
    }
    let ceilings = report["ceilings"].as_array().unwrap();
    let context = ceilings
        .iter()
        .find(|one| one["kind"] == "context")
        .unwrap();
    assert_eq!(context["fits"], json!(96), "{context:#}");
}

#[test]
fn a_decoder_without_a_cache_is_run_whole_and_marked() {
    let sandbox = Sandbox::new();
    let more = ["-p", "12", "-n", "6"];
    let with = run(&sandbox, &fixture("optimum-gpt2"), &more)
        .left_with(0)
        .json();
    let graph = format!("{}/model.onnx", fixture("optimum-gpt2-no-cache"));
    let without = run(&sandbox, &graph, &more).left_with(0).json();
    let (with, without) = (&with["trials"][0], &without["trials"][0]);
    assert_eq!(with["first_ids"], without["first_ids"]);
    assert_eq!(without["foreign"]["whole_sequence"], true, "{without:#}");
    assert_eq!(without["foreign"]["cache_in_place"], Value::Null);
    let warnings = without["warnings"].to_string();
    assert!(warnings.contains("whole sequence again"), "{warnings}");
    let reason = |row: &Value, what: &str| {
        row["not_measured"][what]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        reason(without, "decode_check").contains("no KV cache"),
        "{without:#}"
    );
    assert_eq!(with["foreign"]["cache_in_place"], false);
    let note = with["foreign"]["cache_note"].as_str().unwrap();
    assert!(note.contains("Concat"), "{note}");
}

#[test]
fn prompts_are_made_by_the_tokenizer_beside_the_graph() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("my-model");
    fs::create_dir_all(&folder).unwrap();
    for name in ["model.onnx", "model.onnx.data", "genai_config.json"] {
        fs::copy(
            Path::new(&fixture("genai-qwen3-fp32")).join(name),
            folder.join(name),
        )
        .unwrap();
    }
    let words: serde_json::Map<String, Value> =
        (0..128).map(|id| (format!("w{id}"), json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": words, "unk_token": "w2" },
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let report = run(&sandbox, folder.to_str().unwrap(), &["-p", "8", "-n", "4"])
        .left_with(0)
        .json();
    let row = &report["trials"][0];
    assert_eq!(row["model"], "my-model");
    assert!(
        row["foreign"]["tokenizer"]
            .as_str()
            .unwrap()
            .ends_with("tokenizer.json"),
        "{row:#}"
    );
}

#[test]
fn what_a_graph_as_it_came_does_not_have_is_refused_before_anything_runs() {
    let sandbox = Sandbox::new();
    let folder = fixture("merged");
    for (more, with) in [
        (&["--precision", "int8"][..], "--precision"),
        (&["--form", "fused,plain"], "--form"),
        (&["--kv-cache", "int8"], "--kv-cache"),
        (&["--offload", "all"], "--offload"),
        (&["--ablate"], "--ablate"),
    ] {
        let ran = run(&sandbox, &folder, more).left_with(2);
        assert!(
            ran.stderr.contains(with) && ran.stderr.contains("as it was exported"),
            "{ran}"
        );
    }
    let damaged = sandbox.path().join("damaged.onnx");
    fs::write(&damaged, "no graph").unwrap();
    let ran = run(&sandbox, damaged.to_str().unwrap(), &[]).left_with(3);
    assert!(ran.stderr.contains("damaged.onnx"), "{ran}");
}

#[test]
fn inspect_says_how_a_folder_is_understood() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .run(&["inspect", &fixture("genai-llama-fp32")])
        .left_with(0);
    for part in [
        "ids of the new tokens",
        "attention mask",
        "cache layout",
        "one buffer",
        "2 query heads",
        "genai_config.json",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran}");
    }
    let sheet = sandbox
        .run(&["inspect", &fixture("merged"), "--format", "json"])
        .left_with(0)
        .json();
    let decoder = &sheet["decoder"];
    let roles: Vec<&Value> = decoder["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["role"])
        .collect();
    assert_eq!(roles, ["ids", "mask", "has_past"], "{decoder:#}");
    assert_eq!(
        (&decoder["cache_in_place"], &decoder["head_size"]),
        (&json!(false), &json!(16))
    );
}

#[test]
fn a_plan_says_that_its_predictions_are_lower_bounds() {
    let sandbox = Sandbox::new();
    let folder = fixture("genai-llama-fp32");
    let args = [
        "plan",
        "--device",
        "cpu",
        "--vram-budget",
        "1G",
        "--model",
        &folder,
    ];
    let ran = sandbox.run(&args).left_with(0);
    assert!(ran.stdout.contains("lower bounds"), "{ran}");
    assert!(
        ran.stdout
            .contains("genai-llama-fp32/fused/fp32/b1/pp48/tg24"),
        "{ran}"
    );
}
