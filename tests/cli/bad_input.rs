//! Every mistake a user can make: one sentence that names the flag or the file, a documented exit code, nothing else.

use crate::sandbox::Sandbox;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A machine with a GPU of 8 GiB, so that "larger than the device" is the same everywhere.
fn gpu() -> Value {
    json!({"probe": {
        "runtime_version": "0.0.0",
        "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "gpu": {
            "index": 0, "name": "Scripted GPU", "compute_capability": "9.0",
            "memory_total": 8u64 << 30, "memory_free": 8u64 << 30, "unified_memory": false,
            "driver_version": null, "cuda_version": null, "power_limit_mw": null, "sm_clock_mhz": null,
            "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
        },
        "cuda_unavailable": null,
    }})
}

#[test]
fn a_wrong_word_on_the_command_line() {
    let sandbox = Sandbox::new();
    // A script that is not there: whatever looks at it before the command line is judged ends with 4.
    let table: [(&[&str], &[&str]); 14] = [
        (&["--vram-budget", "0"], &["--vram-budget", "zero"]),
        (&["--vram-budget", "-1"], &["--vram-budget", "negative"]),
        (&["--vram-budget", "4X"], &["--vram-budget", "4X"]),
        (&["--vram-budget", ""], &["--vram-budget", "empty"]),
        (&["--model", "gpt-5"], &["--model", "gpt-5"]),
        (&["--model", ""], &["--model"]),
        (&["--form", "molten"], &["--form", "molten", "plain, fused"]),
        (&["--suite", "all"], &["--suite", "all", "sanity, quick"]),
        (&["--precision", "int3"], &["--precision", "int3", "fp16"]),
        (&["--batch", "0"], &["--batch"]),
        (&["--timeout", "never"], &["--timeout", "never", "10m"]),
        (&["--device", "tpu"], &["--device", "tpu"]),
        (&["--format", "xml"], &["--format", "xml"]),
        (&["--engine", "magic"], &["--engine", "scripted:FILE"]),
    ];
    for (words, parts) in table {
        let mut args = vec!["--engine", "scripted:/nonexistent/script.json"];
        if words[0] == "--engine" {
            args.clear();
        }
        args.extend(words);
        sandbox.run(&args).refused(2, parts);
    }
    assert!(sandbox.written().is_empty());
}

#[test]
fn a_budget_larger_than_the_device_is_refused_and_smaller_ones_are_taken_exactly() {
    let sandbox = Sandbox::new();
    let with = |budget: &str| {
        let more = [
            "--device",
            "cuda",
            "--model",
            "tiny-gpt2",
            "--vram-budget",
            budget,
        ];
        let dry = ["--dry-run", "--format", "json", "--engine"];
        let engine = sandbox.script(&gpu());
        let args: Vec<&str> = more
            .into_iter()
            .chain(dry)
            .chain([engine.as_str()])
            .collect();
        sandbox.run(&args)
    };
    for budget in ["8193M", "9G", "1T"] {
        with(budget).refused(2, &["--vram-budget", "8.00 GiB", "8192M"]);
    }
    for (budget, bytes) in [
        ("4.5G", 9u64 << 29),
        ("4096M", 4 << 30),
        ("4G", 4 << 30),
        ("8G", 8 << 30),
    ] {
        assert_eq!(
            with(budget).left_with(0).json()["budget"],
            bytes,
            "{budget}"
        );
    }
}

#[test]
fn a_length_the_model_does_not_have() {
    let sandbox = Sandbox::new();
    for (flag, room) in [("-p", "--prompt-tokens at most 96"), ("-n", "--gen-tokens")] {
        let engine = sandbox.script(&json!({}));
        let args = ["--engine", &engine, "--model", "tiny-llama", flag, "200"];
        sandbox
            .run(&args)
            .refused(2, &["tiny-llama has 128 positions", room]);
    }
    assert!(!sandbox.models().exists());
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_anything_runs() {
    let sandbox = Sandbox::new();
    let file = sandbox.file("file", "content");
    let folder = sandbox.work();
    let folder = folder.to_str().unwrap();
    let below = format!("{file}/result.json");
    for path in [
        below.as_str(),
        folder,
        "/proc/edgebench/result.json",
        "new/",
    ] {
        // The script is not there: had so much as the probe been started, the exit code would be 4.
        let args = ["--engine", "scripted:/nonexistent/script.json", "-o", path];
        sandbox
            .run(&args)
            .refused(8, &[path.trim_end_matches('/'), "-o"]);
    }
    let args = [
        "--engine",
        "scripted:/nonexistent/script.json",
        "-o",
        "good.json",
    ];
    sandbox.run(&args).refused(4, &["/nonexistent/script.json"]);
    assert!(!sandbox.models().exists());
    assert!(!sandbox.work().join("good.json").exists());
}

/// The C library this test is linked with: a shared library, for this machine, that is not ONNX Runtime.
fn c_library() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|path| path.contains("/libc.") || path.contains("/libc-") || path.contains("/ld-"));
    PathBuf::from(path.unwrap())
}

#[test]
fn an_onnx_runtime_that_is_none() {
    let sandbox = Sandbox::new();
    let text = sandbox.file("libonnxruntime.txt", "not a library");
    let empty = sandbox.file("empty.so", "");
    let wheel = sandbox.file("onnxruntime.whl", "PK but not a wheel");
    let folder = sandbox.path().join("home");
    let cut = std::fs::read(c_library()).unwrap()[..4096].to_vec();
    let cut = sandbox.file("libonnxruntime.so", cut);
    let paths = [
        Path::new("/nonexistent"),
        Path::new(&text),
        Path::new(&empty),
        Path::new(&wheel),
        Path::new(&cut),
        &folder,
    ];
    for path in paths {
        let path = path.to_str().unwrap();
        sandbox
            .run(&["--model", "tiny-gpt2", "--ort", path])
            .refused(4, &[path, "--ort"]);
        let mut by_variable = sandbox.command(&["--model", "tiny-gpt2"]);
        by_variable.env("EDGEBENCH_ORT", path);
        sandbox
            .finish(by_variable)
            .refused(4, &[path, "EDGEBENCH_ORT: "]);
    }
    // Only loading it shows that this one is another library.
    let library = c_library();
    let library = library.to_str().unwrap();
    sandbox
        .run(&["--model", "tiny-gpt2", "--ort", library])
        .refused(4, &[library, "OrtGetApiBase", "--ort"]);
    assert!(!sandbox.models().exists());

    // A plan for whatever device is there has to ask the runtime.
    let mut empty = sandbox.command(&["--model", "tiny-gpt2", "--device", "auto", "--dry-run"]);
    empty.env("EDGEBENCH_ORT", "");
    sandbox.finish(empty).left_with(0);
}

#[test]
fn cuda_without_a_gpu_is_refused_and_never_a_run_on_the_cpu() {
    let sandbox = Sandbox::new();
    let none = json!({"probe": {"runtime_version": "0.0.0", "providers": [], "gpu": null, "cuda_unavailable": "there is no driver"}});
    let engine = sandbox.script(&none);
    for device in ["cuda", "cuda:3"] {
        let args = [
            "--engine",
            &engine,
            "--model",
            "tiny-gpt2",
            "--device",
            device,
        ];
        sandbox
            .run(&args)
            .refused(5, &["--device cuda", "there is no driver", "--device cpu"]);
    }
    // With the real runtime: no machine has a hundred GPUs.
    let args = ["--model", "tiny-gpt2", "--device", "cuda:99"];
    sandbox.run(&args).refused(5, &["--device cuda:99"]);
    assert!(!sandbox.models().exists());

    let args = [
        "--engine",
        &engine,
        "--model",
        "tiny-gpt2",
        "--dry-run",
        "--device",
        "auto",
    ];
    let auto = sandbox.run(&args).left_with(0);
    assert!(
        auto.stderr.contains("running on the CPU") && auto.stderr.contains("there is no driver"),
        "{auto}"
    );
}

#[test]
fn a_prompt_file_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    let empty = sandbox.file("empty.txt", "");
    let blank = sandbox.file("blank.txt", " \n\n\t\n");
    let binary = sandbox.file("binary.txt", b"ok\n\xff\xfe");
    let folder = sandbox.path().join("home");
    let table = [
        ("/nonexistent/prompts.txt", "could not read"),
        (empty.as_str(), "empty"),
        (blank.as_str(), "empty"),
        (binary.as_str(), "not UTF-8"),
        (folder.to_str().unwrap(), "could not read"),
    ];
    for (path, cause) in table {
        let args = [
            "--engine",
            "scripted:/nonexistent/script.json",
            "--prompt-file",
            path,
        ];
        sandbox
            .run(&args)
            .refused(2, &["--prompt-file", path, cause]);
    }
    assert!(sandbox.written().is_empty());
}

/// A tokenizer that knows two words, one of them with an id that no test-size model has.
const WORDS: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"unk": 0, "near": 1, "far": 900}, "unk_token": "unk"}}"#;

#[test]
fn a_tokenizer_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    let garbage = sandbox.file("garbage.json", "{\"model\": 7}");
    let empty = sandbox.file("empty.json", "");
    for (path, cause) in [
        ("/nonexistent/tokenizer.json", "could not read"),
        (garbage.as_str(), "not a tokenizer"),
        (empty.as_str(), "not a tokenizer"),
    ] {
        let args = [
            "--engine",
            "scripted:/nonexistent/script.json",
            "--tokenizer",
            path,
        ];
        sandbox.run(&args).refused(2, &["--tokenizer", path, cause]);
    }
    let words = sandbox.file("tokenizer.json", WORDS);
    let tokenized = |text: &str| {
        let prompts = sandbox.file("prompts.txt", text);
        let more = [
            "--model",
            "tiny-gpt2",
            "--tokenizer",
            &words,
            "--prompt-file",
            &prompts,
        ];
        sandbox.scripted(&json!({}), &more)
    };
    tokenized("near far").refused(2, &["--tokenizer", &words, "900", "211"]);
    assert!(!sandbox.models().exists(), "a trial began");
    tokenized("near near").left_with(0);
}
