//! Models that are no decoders, on the ONNX Runtime of the build, on the CPU.

use crate::sandbox::{Ran, Sandbox, statuses};
use serde_json::json;
use std::path::Path;

fn fixture(name: &str) -> String {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/passes");
    all.join(name).to_str().unwrap().to_owned()
}

fn run(sandbox: &Sandbox, model: &str, more: &[&str]) -> Ran {
    let mut args = vec![
        "--device", "cpu", "-r", "3", "--warmup", "1", "-q", "--model",
    ];
    let model = fixture(model);
    args.push(&model);
    args.extend(more);
    sandbox.run(&args)
}

#[test]
fn a_pass_has_latency_and_items_and_no_tokens() {
    let sandbox = Sandbox::new();
    let more = [
        "--format",
        "json",
        "--vram-budget",
        "4G",
        "--dim",
        "batch=4,seq=16",
    ];
    let report = run(&sandbox, "embedding/model.onnx", &more)
        .left_with(0)
        .json();
    assert_eq!(statuses(&report), ["ok"]);
    let row = &report["trials"][0];
    assert_eq!(row["id"], "embedding/plain/fp32/batch=4,seq=16");
    assert_eq!(
        (&row["batch"], &row["dims"]),
        (&json!(4), &json!({"batch": 4, "seq": 16}))
    );
    let latency = row["latency_ms"]["median"].as_f64().unwrap();
    let items = row["items_s"]["median"].as_f64().unwrap();
    assert!(
        latency > 0.0 && (items * latency / 4e3 - 1.0).abs() < 1e-6,
        "{row:#}"
    );
    assert_eq!(row["latency_ms"]["n"], 3);
    for name in ["ttft_ms", "prefill_tok_s", "decode_tok_s", "itl_ms"] {
        assert_eq!(row[name], json!(null), "{name}");
        assert_eq!(row["not_measured"][name], "not a decoder");
    }
    let check = &row["output_check"];
    assert_eq!(
        (&check["passed"], &check["values"], &check["not_finite"]),
        (&json!(true), &json!(128), &json!(0))
    );
    assert!(row["memory"]["peak_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_table_shows_latency_in_the_place_of_speeds() {
    let sandbox = Sandbox::new();
    let file = fixture("vision/pixel_values.npy");
    let input = format!("pixel_values={file}");
    let ran = run(
        &sandbox,
        "vision",
        &["--input", &input, "--vram-budget", "4G"],
    )
    .left_with(0);
    let text = &ran.stdout;
    assert!(
        text.contains("latency") && text.contains("items/s"),
        "{text}"
    );
    assert!(text.contains("batch=2"), "{text}");
    assert!(
        !text.contains("decode") && !text.contains("prompt tokens"),
        "{text}"
    );
}

#[test]
fn the_largest_size_of_a_dimension_is_found_by_running() {
    let sandbox = Sandbox::new();
    let more = [
        "--format",
        "json",
        "--vram-budget",
        "120M",
        "--dim",
        "batch=1",
        "--ceiling",
        "dim:batch,dim:width",
    ];
    let report = run(&sandbox, "vision", &more).left_with(0).json();
    let ceilings = report["ceilings"].as_array().unwrap();
    let of = |kind: &str| ceilings.iter().find(|one| one["kind"] == kind).unwrap();
    let batch = of("dim:batch");
    let fits = batch["fits"].as_u64().unwrap();
    assert!(fits > 100, "{batch:#}");
    assert!(
        batch["fails"].as_u64().is_none_or(|fails| fails > fits),
        "{batch:#}"
    );
    let at = batch["trials"].as_array().unwrap().iter();
    let at: Vec<_> = at.filter(|one| one["size"] == fits).collect();
    assert!(
        at[0]["peak_bytes"].as_u64().unwrap() <= 120 << 20,
        "{batch:#}"
    );
    let width = of("dim:width");
    assert_eq!(width["status"], "not_searched");
    assert!(
        width["reason"].as_str().unwrap().contains("it has batch"),
        "{width:#}"
    );
}

#[test]
fn what_is_missing_or_wrong_is_told_before_anything_runs() {
    let sandbox = Sandbox::new();
    let ids = format!("pixel_values={}", fixture("embedding/input_ids.npy"));
    let cases: [(&[&str], &str); 6] = [
        (&[], "add --dim batch=N"),
        (&["--dim", "bach=2"], "it leaves batch free"),
        (&["--dim", "batch=0"], "expected NAME=N"),
        (
            &["--dim", "batch=2", "-p", "16"],
            "--prompt-tokens is for decoders of text",
        ),
        (&["--input", &ids], "astype"),
        (&["--input", "x=y.npy"], "it has pixel_values"),
    ];
    for (more, expected) in cases {
        let ran = run(&sandbox, "vision", more).left_with(2);
        assert!(ran.stderr.contains(expected), "{more:?}: {}", ran.stderr);
    }
    let decoder = sandbox.run(&[
        "--dim",
        "batch=2",
        "--model",
        "dense-120m",
        "--device",
        "cpu",
    ]);
    assert!(decoder.left_with(2).stderr.contains("no decoders"));
}
