//! Test-size models on the ONNX Runtime of the build, on the CPU: no script, no stand-in.

use crate::sandbox::{Ran, Sandbox, names, statuses};
use serde_json::{Value, json};
use std::fs;

/// Runs on the CPU with JSON on stdout.
fn run(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let mut args = vec![
        "--device",
        "cpu",
        "--vram-budget",
        "2G",
        "-r",
        "1",
        "--format",
        "json",
    ];
    args.extend(more);
    sandbox.run(&args)
}

/// The rows of a run in which all went well.
#[track_caller]
fn rows(ran: &Ran) -> Vec<Value> {
    let report = ran.json();
    assert!(
        statuses(&report).iter().all(|status| *status == "ok"),
        "{ran}"
    );
    report["trials"].as_array().unwrap().clone()
}

fn first_ids(rows: &[Value]) -> Vec<&Value> {
    assert!(
        rows.iter()
            .all(|row| row["first_ids"].as_array().unwrap().len() == 16)
    );
    rows.iter().map(|row| &row["first_ids"]).collect()
}

#[test]
fn both_forms_of_every_architecture_are_held_to_the_reference() {
    let sandbox = Sandbox::new();
    let sanity = || {
        let mut args = vec!["--suite", "sanity", "--form", "plain,fused", "-r", "1"];
        args.extend(["--device", "cpu", "--format", "json"]);
        sandbox.run(&args).left_with(0)
    };
    let first = sanity();
    let first = rows(&first);
    assert_eq!(first.len(), 14);
    for row in &first {
        let check = &row["check"];
        assert_eq!(
            (&check["passed"], &check["ids_equal"]),
            (&json!(true), &json!(true)),
            "{row}"
        );
        assert_eq!(check["tolerance"], 1e-4);
        let changed = &row["fp32_difference"];
        let told = (&changed["positions"], &changed["same_top"]);
        assert_eq!(told, (&json!(8), &json!(8)), "{row}");
        let changed = changed["error"].as_f64().unwrap();
        assert!(changed > 0.0 && changed < 1e-4, "{row}");
        let error = check["worst_error"].as_f64().unwrap();
        // No two implementations round alike: an error of exactly zero would mean that nothing was compared.
        assert!(error > 0.0 && error <= 1e-4, "{row}");
    }
    let second = sanity();
    assert!(!second.stderr.contains("warning"), "{second}");
    assert_eq!(first_ids(&first), first_ids(&rows(&second)));
}

#[test]
fn quantised_models_are_held_to_the_reference_of_their_own_weights() {
    let sandbox = Sandbox::new();
    let mut args = vec!["--suite", "sanity", "--precision", "int8,int4", "-r", "1"];
    args.extend(["--device", "cpu", "--format", "json"]);
    let ran = sandbox.run(&args).left_with(0);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 14);
    for row in &rows {
        let check = &row["check"];
        let both = (&check["passed"], &check["ids_equal"]);
        assert_eq!(both, (&json!(true), &json!(true)), "{row}");
        // The CPU provider rounds activations to 8 bits; another layout of the weights would be off by about 1.
        let error = check["worst_error"].as_f64().unwrap();
        assert!(error > 1e-3 && error <= 8e-2, "{row}");
        let changed = &check["quantization"];
        assert_eq!(changed["positions"], 8);
        let most = if row["precision"] == "int8" { 0.2 } else { 0.9 };
        let changed = changed["error"].as_f64().unwrap();
        assert!(changed > 1e-3 && changed < most, "{row}");
        // The same text, of which the check reads the prompt in one go and this all of it token by token.
        let told = &row["fp32_difference"];
        let again = told["error"].as_f64().unwrap();
        assert!(
            told["positions"] == 8 && (changed / 2.0..changed * 2.0).contains(&again),
            "{row}"
        );
        assert_eq!(
            (&row["type_k"], &row["type_v"]),
            (&json!("f32"), &json!("f32"))
        );
        // 4 or 8 bits, and a scale of 32 bits for each 32 weights.
        let size = row["model_size"].as_f64().unwrap() / row["params"]["total"].as_f64().unwrap();
        let bytes = if row["precision"] == "int8" {
            1.125
        } else {
            0.625
        };
        assert!(size > bytes && size < 2.0, "{row}");
    }
    let entries = sandbox.cached();
    for end in ["-int8-fp32", "-int4-fp32"] {
        assert_eq!(
            entries.iter().filter(|name| name.ends_with(end)).count(),
            7,
            "{entries:?}"
        );
    }
}

/// A row's check must have passed, with an error that is none of exactly zero; a cache in int8 has changed something.
fn held_to_its_own_reference(row: &Value, most: f64) {
    let check = &row["check"];
    let both = (&check["passed"], &check["ids_equal"]);
    assert_eq!(both, (&json!(true), &json!(true)), "{row}");
    let error = check["worst_error"].as_f64().unwrap();
    assert!(error > 0.0 && error <= most, "{row}");
    let changed = check["quantization"]["error"].as_f64().unwrap();
    assert!(changed > 1e-3 && changed < 0.9, "{row}");
}

#[test]
fn a_cache_in_int8_takes_a_quarter_and_is_held_to_the_reference_of_such_a_cache() {
    let sandbox = Sandbox::new();
    let mut args = vec!["--suite", "sanity", "--precision", "fp32", "-r", "1"];
    args.extend(["--kv-cache", "float,int8", "--device", "cpu"]);
    args.extend(["--format", "json"]);
    let ran = sandbox.run(&args).left_with(0);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 14);
    for pair in rows.chunks(2) {
        let [float, int8] = pair else {
            panic!("{pair:?}")
        };
        let id = float["id"].as_str().unwrap();
        assert_eq!(int8["id"], format!("{id}/kv8"));
        let told = |row: &Value| ["kv_cache_type", "type_k", "type_v"].map(|key| row[key].clone());
        assert_eq!(told(float), ["float", "f32", "f32"]);
        assert_eq!(told(int8), ["int8", "i8", "i8"]);
        let bytes = |row: &Value| row["memory"]["kv_bytes"].as_u64().unwrap();
        // The router of a mixture has a cache of its own, 3 numbers for each token, which stays as it is.
        let router = match float["model"] == "tiny-specialists" {
            true => (64 + 32) * 3 * 4,
            false => 0,
        };
        let of_cache = |row| bytes(row) - router;
        assert_eq!(4 * of_cache(int8), of_cache(float), "{int8}");
        held_to_its_own_reference(int8, 2e-2);
    }
}

#[test]
fn quantised_weights_with_a_cache_in_int8_are_held_to_the_reference_of_both() {
    let sandbox = Sandbox::new();
    let mut args = vec!["--suite", "sanity", "--precision", "int8,int4", "-r", "1"];
    args.extend(["--kv-cache", "int8", "--device", "cpu", "--format", "json"]);
    let ran = sandbox.run(&args).left_with(0);
    let rows = rows(&ran);
    assert_eq!(rows.len(), 14);
    for row in &rows {
        held_to_its_own_reference(row, 8e-2);
    }
}

#[test]
fn a_cache_in_int8_has_no_plain_form() {
    let sandbox = Sandbox::new();
    let words = ["--kv-cache", "int8", "--form", "plain"];
    for command in [
        &["--model", "tiny-llama"][..],
        &["plan", "--device", "cpu", "--model", "tiny-llama"],
        &["export", "tiny-llama", "-o", "out"],
    ] {
        let args = [command, &words[..]].concat();
        sandbox
            .run(&args)
            .refused(2, &["--form fused", "--kv-cache int8"]);
    }
}

#[test]
fn an_export_with_a_cache_in_int8_says_so() {
    let sandbox = Sandbox::new();
    let args = ["export", "tiny-qwen3", "--kv-cache", "int8", "-o", "out"];
    sandbox.run(&args).left_with(0);
    let file = sandbox
        .run(&["inspect", "out/model.onnx", "--format", "json"])
        .left_with(0)
        .json();
    // Two layers of keys and values, two heads of 32 each.
    assert_eq!(
        file["kv_cache"]["bytes_per_token"],
        2 * 2 * 2 * 32,
        "{file:#}"
    );
}

#[test]
fn quantised_weights_have_no_plain_form_and_other_activations_in_an_export_only() {
    let sandbox = Sandbox::new();
    let refused = [
        (
            vec!["--form", "plain", "--precision", "int4"],
            "--form fused",
        ),
        (
            vec![
                "export",
                "tiny-llama",
                "--form",
                "plain",
                "--precision",
                "int8",
                "-o",
                "out",
            ],
            "--form fused",
        ),
        (
            vec![
                "inspect",
                "tiny-llama",
                "--form",
                "plain",
                "--precision",
                "int8",
            ],
            "--form fused",
        ),
        (
            vec!["export", "tiny-llama", "--activations", "fp16", "-o", "out"],
            "--activations",
        ),
    ];
    for (args, word) in refused {
        sandbox.run(&args).refused(2, &[word]);
    }
    for (activations, element) in [("fp32", "float32"), ("fp16", "float16")] {
        let options = [
            "--precision",
            "int4",
            "--activations",
            activations,
            "-o",
            "out",
        ];
        let args = [&["export", "tiny-moe-llama"], &options[..]].concat();
        sandbox.run(&args).left_with(0);
        let file = sandbox
            .run(&["inspect", "out/model.onnx", "--format", "json"])
            .left_with(0)
            .json();
        assert_eq!(file["params"]["total"], 334_336, "{file:#}");
        assert!(
            file["types"]["uint8"]["bytes"].as_u64().unwrap() > 150_000,
            "{file:#}"
        );
        assert!(file["types"].get(element).is_some(), "{file:#}");
    }
}

#[test]
fn a_row_of_a_batch_is_what_it_is_alone() {
    let sandbox = Sandbox::new();
    let more = [
        "--model",
        "tiny-llama",
        "--form",
        "plain,fused",
        "--batch",
        "1,3",
        "-p",
        "16",
        "-n",
        "16",
    ];
    let ran = run(&sandbox, &more).left_with(0);
    let rows = rows(&ran);
    let batches: Vec<_> = rows
        .iter()
        .map(|row| row["batch"].as_u64().unwrap())
        .collect();
    assert_eq!(batches, [1, 3, 1, 3]);
    let ids = first_ids(&rows);
    assert!(ids.iter().all(|one| *one == ids[0]), "{ids:?}");
    // Greedy decoding that says the same word for ever would prove little.
    let distinct: std::collections::HashSet<_> = ids[0]
        .as_array()
        .unwrap()
        .iter()
        .map(Value::to_string)
        .collect();
    assert!(distinct.len() > 2, "{ids:?}");
}

#[test]
fn damaged_weights_are_named_and_written_again() {
    let sandbox = Sandbox::new();
    let more = ["--model", "tiny-gpt2", "-p", "8", "-n", "16"];
    let good = rows(&run(&sandbox, &more).left_with(0));
    let entries = sandbox.cached();
    let [entry] = entries.as_slice() else {
        panic!("{entries:?}")
    };
    let path = sandbox.models().join(entry).join("weights.bin");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1]] {
        fs::write(&path, damaged).unwrap();
        let ran = run(&sandbox, &[&more[..], &["--quiet"]].concat()).left_with(0);
        let warnings: Vec<&str> = ran.stderr.lines().collect();
        let [warning] = warnings.as_slice() else {
            panic!("{ran}")
        };
        assert!(
            warning.starts_with("warning: ") && warning.contains(path.to_str().unwrap()),
            "{ran}"
        );
        assert!(
            fs::read(&path).unwrap() == whole,
            "the weights are not what they were"
        );
        assert_eq!(first_ids(&rows(&ran)), first_ids(&good));
    }
    assert_eq!(
        run(&sandbox, &[&more[..], &["--quiet"]].concat())
            .left_with(0)
            .stderr,
        ""
    );
}

#[test]
fn a_budget_too_small_for_the_runtime_itself_is_a_row_that_says_so() {
    let sandbox = Sandbox::new();
    let args = [
        "--device",
        "cpu",
        "--vram-budget",
        "10M",
        "--model",
        "tiny-gpt2",
        "--format",
        "json",
    ];
    let ran = sandbox.run(&args).left_with(0);
    let report = ran.json();
    assert_eq!(statuses(&report), ["does_not_fit"], "{ran}");
    assert!(
        report["trials"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("10.00 MiB"),
        "{ran}"
    );
}

#[test]
fn fp16_on_the_cpu_agrees_with_the_reference() {
    let sandbox = Sandbox::new();
    let ran = run(
        &sandbox,
        &[
            "--suite",
            "sanity",
            "--form",
            "plain,fused",
            "--precision",
            "fp16",
        ],
    );
    for row in ran.json()["trials"].as_array().unwrap() {
        assert_eq!(row["status"], "ok", "{row}");
        assert_eq!(row["check"]["passed"], true, "{row}");
    }
    ran.left_with(0);
}

#[test]
fn nothing_but_edgebench_writes_into_the_cache_folder() {
    let sandbox = Sandbox::new();
    rows(&run(&sandbox, &["--model", "tiny-gpt2,tiny-llama"]));
    let cache = sandbox.models();
    let cache = cache.ancestors().nth(2).unwrap();
    assert_eq!(
        names(cache),
        ["edgebench"],
        "ONNX Runtime's telemetry keeps a database there unless it is off"
    );
}

#[test]
fn a_model_that_outgrows_its_budget_is_out_of_memory_and_the_next_trial_runs() {
    let sandbox = Sandbox::new();
    let run = |batch: &str, form: &str| {
        let args = [
            "--device",
            "cpu",
            "--model",
            "tiny-llama",
            "--seed",
            "7",
            "--try-all",
        ];
        let shape = ["--form", form, "--batch", batch, "-p", "64", "-n", "16"];
        let more = [
            "-r",
            "1",
            "--warmup",
            "0",
            "--vram-budget",
            "70M,4G",
            "--format",
            "json",
        ];
        let ran = sandbox
            .run(&[&args[..], &shape, &more].concat())
            .left_with(6);
        let report = ran.json();
        assert_eq!(statuses(&report), ["out_of_memory", "ok"], "{ran}");
        report["trials"][0].clone()
    };
    // Activations of the prompt, which grow beyond the budget piece by piece.
    let row = run("256", "plain");
    assert_eq!(row["failed_phase"], "prefill", "{row}");
    assert!(row["reason"].as_str().unwrap().contains("budget"), "{row}");
    // A cache that is larger than the budget, and is not taken as a whole before somebody says so.
    let row = run("4096", "fused");
    assert_eq!(row["failed_phase"], "load", "{row}");
    assert!(row["failed_bytes"].is_u64(), "{row}");
    let predicted = row["memory"]["predicted_peak_bytes"].as_u64().unwrap();
    let peak = row["memory"]["peak_bytes"].as_u64().unwrap();
    assert!(peak < predicted / 2, "{row}");
}
