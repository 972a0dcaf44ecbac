//! The steps from standard operators to all that the runtime offers, and KV caches with more room than a sequence needs.

use crate::sandbox::{QUICK, Sandbox, report, statuses};
use crate::tuning::{GEMM, run};
use serde_json::{Value, json};

const FP16: [&str; 6] = [
    "--model",
    "tiny-llama",
    "--precision",
    "fp16",
    "--vram-budget",
    "1G",
];

/// The rows of a result by the ends of their ids.
fn steps(result: &Value) -> Vec<(String, Value)> {
    let rows = result["trials"].as_array().unwrap();
    let named = rows.iter().map(|row| {
        let id = row["id"].as_str().unwrap();
        let form = row["form"].as_str().unwrap();
        let end = id.split("/tg3").nth(1).unwrap();
        (format!("{form}{end}"), row.clone())
    });
    named.collect()
}

#[test]
fn on_a_gpu_each_step_is_a_row_and_the_last_alone_is_tuned() {
    let sandbox = Sandbox::new();
    let variables = json!({GEMM: {"faster": 8.0}});
    let ran = run(&sandbox, &variables, &[&FP16[..], &["--ablate"]].concat()).left_with(0);
    let result = report(&sandbox.work().join("result.json"));
    assert!(statuses(&result).iter().all(|word| *word == "ok"), "{ran}");
    let steps = steps(&result);
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "plain",
            "fused/kv-copied",
            "fused/no-graph",
            "fused/untuned",
            "fused"
        ]
    );
    for (name, row) in &steps {
        let graph = name == "fused/untuned" || name == "fused";
        assert_eq!(row["cuda_graph"], graph, "{name}");
        let kept = match name.as_str() {
            "plain" => Value::Null,
            "fused" => json!(["gemm"]),
            _ => json!([]),
        };
        assert_eq!(row["tuning"]["kept"], kept, "{name}: {row}");
        let mode = match name.as_str() {
            "plain" => "concatenated",
            "fused/kv-copied" => "copied",
            _ => "in place",
        };
        assert_eq!(row["kv_mode"], mode, "{name}");
    }
    for text in [
        "What each step buys\n",
        "fused operators",
        "KV cache in place",
        "tuned settings",
    ] {
        assert!(ran.stdout.contains(text), "{text}: {ran}");
    }
    // One model that ran in five ways is not compared with itself.
    assert!(!ran.stdout.contains("no clear difference"), "{ran}");
    assert!(result["ceilings"].as_array().is_none_or(Vec::is_empty));
}

#[test]
fn forms_and_graphs_are_not_chosen_beside_the_steps() {
    let sandbox = Sandbox::new();
    for other in [&["--form", "plain"][..], &["--no-cuda-graph"]] {
        let ran = sandbox.run(&[&["--ablate"], other].concat()).left_with(2);
        assert!(ran.stderr.contains("cannot be used with"), "{ran}");
    }
}

#[test]
fn a_cache_with_more_room_is_other_work_and_takes_its_memory() {
    let sandbox = Sandbox::new();
    let measured = |name: &str, more: &[&str]| {
        let mut args = vec!["--device", "cpu", "--model", "tiny-llama", "-o", name];
        args.extend(QUICK);
        args.extend(more);
        sandbox.run(&args).left_with(0);
        report(&sandbox.work().join(name))["trials"][0].clone()
    };
    let usual = measured("usual.json", &[]);
    let roomy = measured("roomy.json", &["--context", "100"]);
    assert_eq!(
        (&usual["kv_capacity"], &roomy["kv_capacity"]),
        (&json!(7), &json!(100))
    );
    let bytes = |row: &Value| row["memory"]["kv_bytes"].as_u64().unwrap();
    assert_eq!(bytes(&roomy) * 7, bytes(&usual) * 100);
    assert!(
        roomy["id"].as_str().unwrap().ends_with("/ctx100"),
        "{roomy}"
    );
    assert_eq!(roomy["first_ids"], usual["first_ids"]);
    assert_eq!(roomy["decode_check"]["passed"], true, "{roomy}");
    let compared = sandbox.run(&["compare", "usual.json", "roomy.json"]);
    assert!(!compared.stdout.contains("no difference"), "{compared}");
    // No model attends to more tokens than it has positions.
    let all = measured("all.json", &["--context", "100000"]);
    assert_eq!(all["kv_capacity"], 128);
}

#[test]
fn a_cache_too_small_for_the_sequence_is_refused() {
    let sandbox = Sandbox::new();
    let args = [
        "--device",
        "cpu",
        "--model",
        "tiny-llama",
        "-p",
        "64",
        "-n",
        "32",
        "--context",
        "95",
    ];
    let ran = sandbox.run(&args).left_with(2);
    assert!(
        ran.stderr
            .contains("--context 95 has no room for 64 prompt and 32 generated tokens"),
        "{ran}"
    );
}
