//! `import`: a checkpoint to ONNX files, or a sentence and nothing written.

use crate::sandbox::{Ran, Sandbox, names, statuses};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

fn fixture(family: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/import");
    folder.join(family)
}

/// A copy of a fixture with a tokenizer and another option.
fn copy(sandbox: &Sandbox, family: &str, key: &str, value: Value) -> String {
    let folder = sandbox.path().join("checkpoint");
    fs::create_dir_all(&folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture(family).join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join("tokenizer.json"), "{\"kept\": true}").unwrap();
    let config = folder.join("config.json");
    let mut options: Map<String, Value> =
        serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    options.insert(key.into(), value);
    fs::write(&config, Value::Object(options).to_string()).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_becomes_files_that_inspect_reads() {
    let sandbox = Sandbox::new();
    let folder = copy(&sandbox, "qwen3_moe", "use_cache", json!(false));
    for (precision, form) in [
        ("fp32", "plain"),
        ("fp16", "fused"),
        ("int8", "fused"),
        ("int4", "fused"),
    ] {
        // The second time over what the first one left.
        let args = [
            "import",
            &folder,
            "-o",
            "deep/out",
            "--precision",
            precision,
            "--form",
            form,
        ];
        let ran = sandbox.run(&args).left_with(0);
        assert_eq!((&*ran.stdout, &*ran.stderr), ("deep/out/model.onnx\n", ""));
        let out = sandbox.work().join("deep/out");
        assert_eq!(names(&out), ["model.onnx", "tokenizer.json", "weights.bin"]);
        assert_eq!(names(&sandbox.work().join("deep")), ["out"]);
        assert_eq!(
            fs::read_to_string(out.join("tokenizer.json")).unwrap(),
            "{\"kept\": true}"
        );
        let file = sandbox
            .run(&["inspect", "deep/out", "--format", "json"])
            .left_with(0)
            .json();
        let params = &file["params"];
        // Vocabulary and width; attention, two head norms, four experts and a router, two norms in each layer; the last norm.
        let layer = 64 * 256 + 128 * 64 + 2 * 32 + 4 * 3 * 64 * 32 + 64 * 4 + 2 * 64;
        assert_eq!(
            params["total"],
            json!(128 * 64 + 2 * layer + 64),
            "{file:#}"
        );
        assert_eq!(file["max_positions"]["positions"], json!(128), "{file:#}");
    }
}

#[test]
fn what_a_user_should_know_is_told() {
    let sandbox = Sandbox::new();
    let folder = fixture("mistral");
    let ran = sandbox
        .run(&["import", folder.to_str().unwrap(), "-o", "out"])
        .left_with(0);
    assert!(ran.stderr.starts_with("warning: mistral: "), "{ran}");
    assert!(
        ran.stderr.contains("limited to 64 of its 128 positions"),
        "{ran}"
    );
    assert_eq!(
        names(&sandbox.work().join("out")),
        ["model.onnx", "weights.bin"]
    );
}

#[test]
fn what_cannot_be_imported_is_named_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let folder = copy(&sandbox, "llama", "attention_bias", json!(true));
    let import = |folder: &str, more: &[&str]| {
        sandbox.run(&[&["import", folder, "-o", "out"], more].concat())
    };
    import(&folder, &[]).refused(3, &["config.json", "attention_bias is true"]);
    let folder = copy(&sandbox, "llama", "num_hidden_layers", json!(1));
    import(&folder, &[]).refused(
        3,
        &[
            "checkpoint",
            "model.layers.1.input_layernorm.weight",
            "and 6 more",
        ],
    );
    let folder = copy(&sandbox, "llama", "num_hidden_layers", json!(3));
    import(&folder, &[]).refused(3, &["lacks", "model.layers.2."]);
    let folder = copy(&sandbox, "llama", "head_dim", json!(8));
    import(&folder, &[]).refused(
        3,
        &["model.layers.0.self_attn.k_proj.weight [32, 64] instead of [16, 64]"],
    );
    let folder = copy(&sandbox, "llama", "head_dim", json!(16));
    import(&folder, &["--form", "plain", "--precision", "int4"]).refused(2, &["--form fused"]);
    import(&folder, &["--activations", "fp16"]).refused(2, &["--activations"]);
    import("/nowhere", &[]).refused(3, &["/nowhere/config.json"]);
    fs::remove_file(Path::new(&folder).join("model.safetensors")).unwrap();
    import(&folder, &[]).refused(3, &["model.safetensors"]);
    assert!(sandbox.written().is_empty());
    let file = sandbox.file("file", "");
    let folder = fixture("gpt2");
    let folder = folder.to_str().unwrap();
    for output in [
        file.clone(),
        format!("{file}/below"),
        "/proc/edgebench".into(),
    ] {
        sandbox
            .run(&["import", folder, "-o", &output])
            .refused(8, &[&output, "-o"]);
    }
    sandbox.run(&["import", folder]).refused(2, &["--output"]);
    assert!(sandbox.written().is_empty());
}

/// A Llama of mostly zeros that take no room on disk; returns the bytes of its tensors, and of the largest.
fn sparse_checkpoint(folder: &Path) -> (u64, u64) {
    let (width, inner, layers, vocab) = (1024, 8192, 12, 1024);
    let config = json!({
        "model_type": "llama", "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": vocab, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": true, "hidden_act": "silu",
    });
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, width]),
        ("model.norm.weight".to_owned(), vec![width]),
    ];
    for layer in 0..layers {
        let mut add = |name: &str, dims: &[u64]| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), dims.to_vec()));
        };
        add("input_layernorm", &[width]);
        add("post_attention_layernorm", &[width]);
        for (name, outputs) in [
            ("q", width),
            ("k", width / 2),
            ("v", width / 2),
            ("o", width),
        ] {
            add(&format!("self_attn.{name}_proj"), &[outputs, width]);
        }
        add("mlp.gate_proj", &[inner, width]);
        add("mlp.up_proj", &[inner, width]);
        add("mlp.down_proj", &[width, inner]);
    }
    let (mut header, mut end) = (Map::new(), 0);
    for (name, dims) in tensors {
        let next = end + 2 * dims.iter().product::<u64>();
        header.insert(
            name,
            json!({"dtype": "BF16", "shape": dims, "data_offsets": [end, next]}),
        );
        end = next;
    }
    let header = Value::Object(header).to_string();
    let length = header.len() as u64;
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let file = folder.join("model.safetensors");
    fs::write(
        &file,
        [&length.to_le_bytes()[..], header.as_bytes()].concat(),
    )
    .unwrap();
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_len(8 + length + end).unwrap();
    (end, 2 * width * inner)
}

/// The most memory that a process has had, while it lives.
fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[test]
fn memory_is_bounded_by_the_largest_tensor_and_not_by_the_checkpoint() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path().join("sparse");
    fs::create_dir(&folder).unwrap();
    let (all, largest) = sparse_checkpoint(&folder);
    let bound = largest + (256 << 20);
    assert!(all > 2 * bound, "a checkpoint of {all} bytes tells nothing");
    let args = [
        "import",
        folder.to_str().unwrap(),
        "-o",
        "out",
        "--precision",
        "int4",
    ];
    let mut child = sandbox
        .command(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let status = loop {
        peak = peak_bytes(child.id()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert!(status.success());
    assert!(peak > 10 << 20 && peak < bound, "{peak} of {bound}");
}

/// Runs a checkpoint on the CPU with JSON on stdout.
fn run(sandbox: &Sandbox, folder: &str, more: &[&str]) -> Ran {
    let args = [
        "--model",
        folder,
        "--device",
        "cpu",
        "--vram-budget",
        "2G",
        "-r",
        "1",
        "--warmup",
        "0",
        "-p",
        "16",
        "-n",
        "16",
        "--format",
        "json",
    ];
    sandbox.run(&[&args[..], more].concat())
}

#[test]
fn a_checkpoint_runs_as_a_model_from_the_cache() {
    let sandbox = Sandbox::new();
    let folder = copy(&sandbox, "granitemoe", "use_cache", json!(true));
    let ran = run(
        &sandbox,
        &folder,
        &["--form", "plain,fused", "--precision", "fp32"],
    )
    .left_with(0);
    let report = ran.json();
    assert_eq!(statuses(&report), ["ok", "ok"], "{ran}");
    let rows = report["trials"].as_array().unwrap();
    // Granite's width, experts and layers, as in `a_checkpoint_becomes_files_that_inspect_reads`.
    let layer = 64 * 128 + 64 * 64 + 4 * 3 * 64 * 32 + 64 * 4 + 2 * 64;
    for row in rows {
        assert_eq!(row["model"], "checkpoint", "{row}");
        assert_eq!(row["params"]["total"], 128 * 64 + 2 * layer + 64, "{row}");
        assert_eq!(row["first_ids"], rows[0]["first_ids"], "{row}");
    }
    // The weights that `import` writes.
    sandbox.run(&["import", &folder, "-o", "out"]).left_with(0);
    let cached = sandbox.cached();
    assert_eq!(cached.len(), 1, "{cached:?}");
    assert!(
        cached[0].starts_with("checkpoint-") && cached[0].ends_with("-fp32"),
        "{cached:?}"
    );
    let kept = sandbox.models().join(&cached[0]).join("weights.bin");
    let written = sandbox.work().join("out/weights.bin");
    assert_eq!(fs::read(&kept).unwrap(), fs::read(written).unwrap());
    // Another run takes what is there; another checkpoint in its place is another model.
    let modified = || fs::metadata(&kept).unwrap().modified().unwrap();
    let before = modified();
    run(&sandbox, &folder, &["--precision", "fp32"]).left_with(0);
    assert_eq!((modified(), sandbox.cached().len()), (before, 1));
    let config = Path::new(&folder).join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("\"residual_multiplier\":0.3", "\"residual_multiplier\":0.4"),
    )
    .unwrap();
    run(&sandbox, &folder, &["--precision", "fp32"]).left_with(0);
    assert_eq!((modified(), sandbox.cached().len()), (before, 2));
}

#[test]
fn a_checkpoint_is_planned_and_inspected_without_its_weights() {
    let sandbox = Sandbox::new();
    let folder = copy(&sandbox, "llama", "use_cache", json!(true));
    let args = [
        "--model",
        &folder,
        "--device",
        "cpu",
        "--vram-budget",
        "1G",
        "--format",
        "json",
    ];
    let plan = sandbox
        .run(&[&["plan"][..], &args].concat())
        .left_with(0)
        .json();
    assert_eq!(
        plan["trials"][0]["trial"]["model"], "checkpoint",
        "{plan:#}"
    );
    let told = sandbox
        .run(&["inspect", &folder, "--format", "json"])
        .left_with(0)
        .json();
    let layer = 64 * 128 + 64 * 64 + 3 * 64 * 64 + 2 * 64;
    assert_eq!(
        told["params"]["total"],
        2 * 128 * 64 + 2 * layer + 64,
        "{told:#}"
    );
    assert!(sandbox.written().is_empty() && !sandbox.models().exists());
}

#[test]
fn a_folder_that_cannot_be_run_is_told_before_anything_is() {
    let sandbox = Sandbox::new();
    run(&sandbox, "./nothing", &[]).refused(3, &["./nothing/config.json"]);
    run(&sandbox, "nothing", &[]).refused(2, &["nothing", "--model"]);
    let folder = copy(&sandbox, "llama", "head_dim", json!(16));
    run(&sandbox, &folder, &["--kv-cache", "int8"]).refused(2, &["--kv-cache float", &folder]);
    let folder = copy(&sandbox, "llama", "mlp_bias", json!(true));
    run(&sandbox, &folder, &[]).refused(3, &["mlp_bias is true"]);
    assert!(sandbox.written().is_empty() && sandbox.cached().is_empty());
}
