//! The commands beside a run: lists, cache, export, dry run, help; and a reader that leaves early.

use crate::sandbox::{Sandbox, names};
use serde_json::json;
use std::fs;

#[test]
fn models_are_listed_for_people_and_for_programs() {
    let sandbox = Sandbox::new();
    let text = sandbox.run(&["models"]).left_with(0);
    assert_eq!(text.stderr, "");
    let list = sandbox
        .run(&["models", "--format", "json"])
        .left_with(0)
        .json();
    let of = |name: &str| {
        let mut models = list.as_array().unwrap().iter();
        models.find(|model| model["model"] == name).unwrap().clone()
    };
    assert_eq!(of("dense-120m")["params"]["total"], 124_439_808);
    assert_eq!(of("alchemist-16m")["params"]["total"], 16_069_382);
    for name in ["dense-350m", "granite-1b-a400m", "llama-1b", "qwen3-0.6b"] {
        assert!(of(name)["weight_bytes"]["fp16"].as_u64().unwrap() > 0);
    }
    for model in list.as_array().unwrap() {
        let name = model["model"].as_str().unwrap();
        assert!(text.stdout.contains(name), "{name}");
        let params = &model["params"];
        assert!(
            params["active"].as_u64() <= params["total"].as_u64(),
            "{name}"
        );
        assert!(
            model["kv_bytes_per_token"]["fp32"].as_u64()
                > model["kv_bytes_per_token"]["fp16"].as_u64()
        );
    }
}

#[test]
fn the_cache_is_listed_and_cleared() {
    let sandbox = Sandbox::new();
    let empty = sandbox.run(&["cache"]).left_with(0);
    assert!(empty.stdout.contains("empty"), "{empty}");
    sandbox
        .scripted(&json!({}), &["--model", "tiny-gpt2,tiny-llama"])
        .left_with(0);
    let listed = sandbox.run(&["cache", "list"]).left_with(0);
    assert!(
        listed.stdout.contains("tiny-gpt2-") && listed.stdout.contains("tiny-llama-"),
        "{listed}"
    );
    let list = sandbox
        .run(&["cache", "list", "--format", "json"])
        .left_with(0)
        .json();
    assert_eq!(list["entries"].as_array().unwrap().len(), 2);
    assert!(list["total_bytes"].as_u64().unwrap() > 100_000);
    let cleared = sandbox.run(&["cache", "clear"]).left_with(0);
    assert!(
        cleared.stdout.contains("removed 2 of 2 entries"),
        "{cleared}"
    );
    assert!(sandbox.cached().is_empty());
    let list = sandbox
        .run(&["cache", "--format", "json"])
        .left_with(0)
        .json();
    assert_eq!(list["entries"], json!([]));
}

#[test]
fn without_a_place_for_the_cache_there_is_one_sentence() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["cache"]);
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
    sandbox
        .finish(command)
        .refused(2, &["XDG_CACHE_HOME", "HOME"]);
    let file = sandbox.file("file", "");
    let engine = sandbox.script(&json!({}));
    let mut command = sandbox.command(&[
        "--engine",
        &engine,
        "--device",
        "cpu",
        "--model",
        "tiny-gpt2",
    ]);
    command.env("XDG_CACHE_HOME", &file);
    sandbox
        .finish(command)
        .refused(8, &[&file, "XDG_CACHE_HOME"]);
}

#[test]
fn a_model_is_exported_in_both_forms_with_the_same_weights() {
    let sandbox = Sandbox::new();
    let mut weights = Vec::new();
    for form in ["plain", "fused"] {
        let folder = format!("deep/{form}");
        // The second time over what the first one left.
        for _ in 0..2 {
            let ran = sandbox
                .run(&["export", "tiny-llama", "--form", form, "-o", &folder])
                .left_with(0);
            assert_eq!(ran.stdout, format!("{folder}/model.onnx\n"));
            assert_eq!(ran.stderr, "");
        }
        let folder = sandbox.work().join(folder);
        assert_eq!(names(&folder), ["model.onnx", "weights.bin"]);
        let graph = fs::read(folder.join("model.onnx")).unwrap();
        let has = |word: &str| {
            graph
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        };
        assert!(has("past_key_values.0.key") && has("present.1.value") && has("weights.bin"));
        assert_eq!(has("GroupQueryAttention"), form == "fused");
        weights.push(fs::read(folder.join("weights.bin")).unwrap());
    }
    assert!(!weights[0].is_empty() && weights[0] == weights[1]);
}

#[test]
fn an_export_that_cannot_be_written_or_has_no_such_model() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("file", "");
    for folder in [
        format!("{file}/below"),
        file.clone(),
        "/proc/edgebench".to_owned(),
    ] {
        sandbox
            .run(&["export", "tiny-llama", "-o", &folder])
            .refused(8, &[&folder, "-o"]);
    }
    sandbox
        .run(&["export", "huge-llama", "-o", "x"])
        .refused(2, &["huge-llama"]);
    sandbox
        .run(&["export", "tiny-llama"])
        .refused(2, &["--output"]);
    assert!(sandbox.written().is_empty());
}

#[test]
fn a_dry_run_shows_the_plan_and_leaves_no_trace() {
    let sandbox = Sandbox::new();
    // Every trial would crash.
    let script = json!({"default": {"fault": {"at": "open", "what": "crash"}}});
    let more = [
        "--dry-run",
        "--model",
        "tiny-gpt2,llama-1b",
        "--form",
        "plain,fused",
        "--vram-budget",
        "1G",
    ];
    let table = sandbox.scripted(&script, &more).left_with(0);
    assert!(
        table.stdout.contains("tiny-gpt2/plain/fp32/b1/pp4/tg3"),
        "{table}"
    );
    assert!(
        table
            .stdout
            .contains("4 trials on cpu, 2 of them predicted to fit"),
        "{table}"
    );
    let more: Vec<&str> = more.into_iter().chain(["--format", "json"]).collect();
    let plan = sandbox.scripted(&script, &more).left_with(0).json();
    let trials = plan["trials"].as_array().unwrap();
    assert_eq!((trials.len(), &plan["budget"]), (4, &json!(1 << 30)));
    let fits = |at: usize| trials[at]["does_not_fit"].is_null();
    assert!(fits(0) && fits(1) && !fits(2) && !fits(3), "{plan}");
    assert!(
        trials
            .iter()
            .all(|trial| trial["predicted_peak"].as_u64().unwrap() > 0)
    );
    assert!(sandbox.written().is_empty() && !sandbox.models().exists());
}

#[test]
fn help_and_version_are_no_errors() {
    let sandbox = Sandbox::new();
    for args in [
        &["--help"][..],
        &["-h"],
        &["export", "--help"],
        &["models", "--help"],
        &["cache", "--help"],
    ] {
        let ran = sandbox.run(args).left_with(0);
        assert!(
            ran.stdout.contains("Usage: edgebench") && ran.stderr.is_empty(),
            "{ran}"
        );
        assert!(
            !ran.stdout.contains("__worker") && !ran.stdout.contains("scripted"),
            "{ran}"
        );
    }
    let version = sandbox.run(&["--version"]).left_with(0);
    assert_eq!(
        version.stdout,
        format!("edgebench {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert!(sandbox.written().is_empty());
}

#[test]
fn a_reader_that_has_left_is_no_error() {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&json!({}));
    let mut run = vec![
        "--engine",
        &engine,
        "--device",
        "cpu",
        "--model",
        "tiny-gpt2",
        "--format",
    ];
    run.extend(["jsonl", "-o", "result.json"]);
    run.extend(crate::sandbox::QUICK);
    let table = [
        &["models"][..],
        &["models", "--format", "json"],
        &["--help"],
        &["cache"],
        &run,
    ];
    for args in table {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(args);
        let output = command.stdout(writer).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {stderr}");
        assert!(
            !stderr.contains("error") && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
    assert!(sandbox.work().join("result.json").exists());
}

#[test]
fn a_plan_for_a_named_device_does_without_a_runtime() {
    let sandbox = Sandbox::new();
    let plan = |device: &str, more: &[&str]| {
        let args = ["--dry-run", "--ort", "/nonexistent", "--format", "json"];
        sandbox.run(&[&args[..], &["--device", device], more].concat())
    };
    for more in [&[][..], &["--vram-budget", "1G"]] {
        let ran = plan("cpu", more).left_with(0);
        assert_eq!(
            (&ran.json()["device"], ran.stderr.as_str()),
            (&json!("cpu"), "")
        );
    }
    // What the machine has is known all the same.
    plan("cpu", &["--vram-budget", "100T"]).refused(2, &["--vram-budget", "this device has"]);
    let ran = plan("cuda:1", &["--vram-budget", "8G"]).left_with(0);
    assert_eq!(ran.json()["budget"], 8_u64 << 30);
    assert_eq!(ran.json()["device_memory"], json!(null), "nobody was asked");
    assert!(ran.json()["not_known"]["device_memory"].is_string());
    assert!(
        ran.stderr.contains("--vram-budget for granted") && ran.stderr.contains("/nonexistent"),
        "{ran}"
    );
    // Without a budget nothing is known of the GPU, and of whatever device there is nothing at all.
    plan("cuda:1", &[]).refused(4, &["--ort", "/nonexistent"]);
    plan("auto", &["--vram-budget", "1G"]).refused(4, &["--ort", "/nonexistent"]);
    assert!(sandbox.written().is_empty());
}
