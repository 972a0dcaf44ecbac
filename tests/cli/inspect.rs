//! `inspect` and `plan`: what a model is and what is predicted, with nothing run and nothing to run it with.

use crate::sandbox::{Sandbox, program};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The list of built-in models.
fn models(sandbox: &Sandbox) -> Vec<Value> {
    let list = sandbox
        .run(&["models", "--format", "json"])
        .left_with(0)
        .json();
    list.as_array().unwrap().clone()
}

fn inspected(sandbox: &Sandbox, target: &str, more: &[&str]) -> Value {
    let args = [&["inspect", target, "--format", "json"], more].concat();
    let ran = sandbox.run(&args).left_with(0);
    assert_eq!(ran.stderr, "", "{ran}");
    ran.json()
}

#[test]
fn an_exported_file_has_what_the_list_of_models_says() {
    let sandbox = Sandbox::new();
    let small: Vec<Value> = models(&sandbox)
        .into_iter()
        .filter(|model| model["suites"] == json!(["sanity"]))
        .collect();
    assert!(small.len() >= 6);
    for model in &small {
        let name = model["model"].as_str().unwrap();
        for (form, precision) in [("plain", "fp32"), ("fused", "fp16")] {
            let options = ["--form", form, "--precision", precision, "-o", "out"];
            sandbox
                .run(&[&["export", name], &options[..]].concat())
                .left_with(0);
            let file = inspected(&sandbox, "out/model.onnx", &[]);
            let what = format!("{name} {form} {precision}: {file:#}");
            assert_eq!(file["params"], model["params"], "{what}");
            assert_eq!(
                file["max_positions"]["positions"], model["max_positions"],
                "{what}"
            );
            let cache = &file["kv_cache"];
            assert_eq!(
                cache["bytes_per_token"], model["kv_bytes_per_token"][precision],
                "{what}"
            );
            let update = if form == "plain" { "grown" } else { "in_place" };
            assert_eq!(cache["update"], update, "{what}");
            let data = &file["external_files"][0];
            let length = fs::metadata(sandbox.work().join("out/weights.bin"))
                .unwrap()
                .len();
            assert_eq!(
                (&data["needed_bytes"], &data["found_bytes"]),
                (&json!(length), &json!(length))
            );
            assert_eq!(
                (&file["notes"], &file["unknown_parts"]),
                (&json!([]), &json!([])),
                "{what}"
            );
            let built_in = inspected(&sandbox, name, &["--form", form, "--precision", precision]);
            assert_eq!(
                built_in["graphs"][0]["operators"], file["operators"],
                "{what}"
            );
            assert_eq!(built_in["params"], model["params"], "{what}");
        }
    }
}

#[test]
fn data_files_that_are_missing_or_short_are_noted_and_sizes_told_all_the_same() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["export", "tiny-gpt2", "-o", "out"])
        .left_with(0);
    let whole = inspected(&sandbox, "out/model.onnx", &[]);
    let weights = sandbox.work().join("out/weights.bin");
    fs::write(&weights, [0; 10]).unwrap();
    let short = inspected(&sandbox, "out/model.onnx", &[]);
    fs::remove_file(&weights).unwrap();
    let missing = inspected(&sandbox, "out/model.onnx", &[]);
    for (file, found, note) in [
        (&short, json!(10), "has 10 bytes"),
        (&missing, Value::Null, "is not beside the file"),
    ] {
        assert_eq!(
            (&file["params"], &file["parts"]),
            (&whole["params"], &whole["parts"])
        );
        assert_eq!(file["external_files"][0]["found_bytes"], found);
        let said = file["notes"][0].as_str().unwrap();
        assert!(
            said.contains("weights.bin") && said.contains(note),
            "{said}"
        );
    }
    let text = sandbox
        .run(&["inspect", "out/model.onnx"])
        .left_with(0)
        .stdout;
    assert!(
        text.contains("note: weights.bin") && text.contains("missing"),
        "{text}"
    );
}

#[test]
fn what_is_no_onnx_file_is_one_sentence() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["export", "tiny-llama", "-o", "out"])
        .left_with(0);
    let graph = fs::read(sandbox.work().join("out/model.onnx")).unwrap();
    let write = |name: &str, bytes: &[u8]| sandbox.file(name, bytes);
    let table = [
        (
            write("text.onnx", b"This is no model.\n"),
            "begins no field",
        ),
        (write("empty.onnx", b""), "no graph is in it"),
        (write("cut.onnx", &graph[..graph.len() / 2]), "cut off"),
        (write("llama.onnx", b"GGUF\x03\0\0\0"), "a GGUF file"),
        (write("own.onnx", b"\x20\0\0\0ORTMxx"), ".ort"),
        ("/nonexistent/model.onnx".to_owned(), "No such file"),
        ("absent.onnx".to_owned(), "No such file"),
        ("/dev/null".to_owned(), "no regular file"),
    ];
    for (path, cause) in &table {
        sandbox
            .run(&["inspect", path])
            .refused(3, &["could not read", path, cause, ".onnx file"]);
    }
}

#[test]
fn a_target_or_flags_that_do_not_suit_are_refused() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["export", "tiny-llama", "-o", "out"])
        .left_with(0);
    let file = "out/model.onnx";
    let table: [(&[&str], &[&str]); 8] = [
        (&["lama-1b"], &["lama-1b", "edgebench models"]),
        (&[], &["<MODEL|FILE>"]),
        (&[file, "--form", "plain"], &["--form", file]),
        (&[file, "--precision", "fp16"], &["--precision", file]),
        (&[file, "-p", "200"], &["128 positions", "--prompt-tokens"]),
        (
            &["tiny-llama", "-p", "200"],
            &["tiny-llama", "128 positions"],
        ),
        (
            &["tiny-llama", "--vram-budget", "0"],
            &["'--vram-budget", "zero"],
        ),
        (
            &["tiny-llama", "--form", "fuse"],
            &["'--form", "plain, fused"],
        ),
    ];
    for (args, parts) in table {
        sandbox
            .run(&[&["inspect"], args].concat())
            .refused(2, parts);
    }
}

#[test]
fn a_model_is_shown_with_what_fits_a_budget_as_a_prediction() {
    let sandbox = Sandbox::new();
    let args = [
        "inspect",
        "llama-1b",
        "--vram-budget",
        "4G",
        "--device",
        "cuda",
    ];
    let text = sandbox.run(&args).left_with(0).stdout;
    for part in [
        "1,235,814,400 in all",
        "GroupQueryAttention",
        "context at batch 1",
        "nothing was run",
        "an H100",
    ] {
        assert!(
            text.replace("\n  ", " ").replace('\n', " ").contains(part),
            "{part}: {text}"
        );
    }
    let with = inspected(&sandbox, "llama-1b", &["--vram-budget", "4G"]);
    let rows = with["predictions"].as_array().unwrap();
    assert_eq!(
        rows.len(),
        12,
        "two types in both forms and two in one, on both kinds of device"
    );
    for row in rows {
        let (fits, terms) = (row["does_not_fit"].is_null(), &row["predicted"]);
        assert_eq!(
            fits,
            terms["total_bytes"].as_u64().unwrap() <= 4 << 30,
            "{row}"
        );
        let batch = row["fits_up_to"]["batch"]["size"].as_u64();
        assert_eq!(fits, batch.is_some(), "{row}");
    }
    let without = inspected(&sandbox, "llama-1b", &[]);
    assert!(without["budget"].is_null() && without["predictions"][0].get("fits_up_to").is_none());
    assert!(sandbox.written().is_empty() && !sandbox.models().exists());
}

/// A copy of the program in a folder of its own, with no runtime in reach.
fn alone(sandbox: &Sandbox) -> std::path::PathBuf {
    let copy = sandbox.path().join("edgebench");
    fs::copy(program(), &copy).unwrap();
    copy
}

#[test]
fn a_plan_needs_no_runtime_and_no_gpu_and_is_what_a_dry_run_prints() {
    let sandbox = Sandbox::new();
    let program = alone(&sandbox);
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(args);
        sandbox.settle(&mut command);
        command.env("EDGEBENCH_ORT", "/nonexistent/libonnxruntime.so");
        sandbox.finish(command).left_with(0)
    };
    let shape = [
        "--suite",
        "core",
        "--batch",
        "1,32",
        "--form",
        "plain,fused",
        "--vram-budget",
        "2G",
    ];
    for device in ["cuda:1", "cpu"] {
        let rest = [&shape[..], &["--device", device]].concat();
        let plan = run(&[&["plan"], &rest[..]].concat());
        let dry = run(&[&["--dry-run"], &rest[..]].concat());
        assert_eq!((&plan.stdout, &plan.stderr), (&dry.stdout, &dry.stderr));
        for part in [
            "weights",
            "activations",
            "runtime",
            "Estimates only: nothing was run.",
            "would fit",
        ] {
            assert!(plan.stdout.contains(part), "{part}: {plan}");
        }
        let json = run(&[&["plan", "--format", "json"], &rest[..]].concat()).json();
        assert_eq!(json["trials"].as_array().unwrap().len(), 8 * 4, "{device}");
        assert_eq!(json["device_memory"].is_null(), device != "cpu", "{device}");
        assert!(
            json["basis"]["runtime"]
                .as_str()
                .unwrap()
                .contains("measured")
        );
    }
    assert!(sandbox.written().is_empty() && !sandbox.models().exists());
}

#[test]
fn a_plan_without_device_or_budget_asks_and_says_what_is_wrong() {
    let sandbox = Sandbox::new();
    let gone = Path::new("/nonexistent/libonnxruntime.so")
        .to_str()
        .unwrap();
    for words in [
        &["plan", "--vram-budget", "2G", "--ort", gone][..],
        &["plan", "--device", "cuda", "--ort", gone],
    ] {
        sandbox.run(words).refused(4, &[gone, "--ort"]);
    }
    let engine = sandbox.script(&json!({}));
    let asked = sandbox.run(&[
        "plan",
        "--engine",
        &engine,
        "--device",
        "cpu",
        "--model",
        "tiny-gpt2",
    ]);
    assert!(asked.left_with(0).stdout.contains("1 trials on cpu"));
    sandbox
        .run(&[
            "plan",
            "--device",
            "cpu",
            "--model",
            "tiny-llama",
            "-p",
            "200",
        ])
        .refused(2, &["128 positions"]);
}
