//! The published study's way of measuring beside ours.

use crate::sandbox::{QUICK, Sandbox, report};
use serde_json::{Value, json};

fn figure<'a>(model: &'a Value, metric: &str) -> &'a Value {
    let figures = model["figures"].as_array().unwrap();
    figures
        .iter()
        .find(|figure| figure["metric"] == metric)
        .unwrap()
}

#[test]
fn its_two_models_have_three_figures_each_and_every_flaw_in_words() {
    let sandbox = Sandbox::new();
    let engine = sandbox.script(&json!({"default": {"prefill_ms": 40.0, "step_ms": [1.0]}}));
    let head = ["study", "--as-published", "--engine", &engine];
    let more = ["--device", "cpu", "--format", "markdown", "-o", "r.json"];
    let models = ["--model", "tiny-gpt2,dense-120m,alchemist-16m"];
    let ran = sandbox
        .run(&[&head[..], &QUICK, &models, &more].concat())
        .left_with(0);
    assert!(
        ran.stdout.contains("| its way | properly |"),
        "no table: {ran}"
    );
    let study = &report(&sandbox.work().join("r.json"))["study"];
    let models = study["as_published"].as_array().unwrap();
    let names: Vec<&Value> = models.iter().map(|model| &model["model"]).collect();
    assert_eq!(names, ["dense-120m", "alchemist-16m"]);
    for model in models {
        assert_eq!(
            (&model["status"], &model["gen_tokens"]),
            (&json!("ok"), &json!(10))
        );
        // Ten passes of 40 ms against one, and at most 25 tokens a second against a step of 1 ms.
        let first = figure(model, "first_token_ms");
        let ratio = first["ratio"].as_f64().unwrap();
        assert!((5.0..=12.0).contains(&ratio), "{first}");
        let speed = figure(model, "decode_tok_s");
        assert!(speed["reproduced"].as_f64().unwrap() <= 25.0, "{speed}");
        assert!(speed["ratio"].as_f64().unwrap() < 0.8, "{speed}");
        let published = speed["published"].as_f64().unwrap();
        let one = model["model"] == "dense-120m";
        assert!((published - if one { 161.56 } else { 100.32 }).abs() < 0.01);
        let memory = figure(model, "memory_bytes");
        assert!(memory["reproduced"].is_null());
        assert!(!memory["not_measured"]["reproduced"].is_null());
    }
    let shown = sandbox.run(&["show", "r.json"]).left_with(0);
    for part in ["as the published study does", "first token", "its way"] {
        assert!(shown.stdout.contains(part), "{part}: {shown}");
    }
}

#[test]
fn what_fails_its_way_is_told_and_counts() {
    let sandbox = Sandbox::new();
    // The third run of a prompt is the first of the study's way: the row has one to warm up and one that is timed.
    let script =
        json!({"default": {"fault": {"at": "append", "nth": 9, "what": {"model": "no more"}}}});
    let engine = sandbox.script(&script);
    let more = ["--as-published", "--model", "tiny-gpt2", "-o", "r.json"];
    let head = ["study", "--device", "cpu", "--engine", &engine];
    sandbox
        .run(&[&head[..], &QUICK, &more].concat())
        .left_with(6);
    let file = report(&sandbox.work().join("r.json"));
    assert_eq!(file["trials"][0]["status"], "ok");
    let model = &file["study"]["as_published"][0];
    assert_eq!(model["status"], "failed");
    assert!(figure(model, "decode_tok_s")["reproduced"].is_null());
    assert!(figure(model, "decode_tok_s")["measured"].is_f64());
    assert_eq!(file["finished"], true);
}

#[test]
fn a_model_on_the_runtime_of_the_build_is_measured_both_ways() {
    let sandbox = Sandbox::new();
    let args = [
        "study",
        "--as-published",
        "--device",
        "cpu",
        "--model",
        "tiny-gpt2,tiny-moe-llama",
        "-r",
        "2",
        "-o",
        "r.json",
    ];
    sandbox.run(&args).left_with(0);
    let file = report(&sandbox.work().join("r.json"));
    let models = file["study"]["as_published"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    for model in models {
        assert_eq!(model["status"], "ok", "{model}");
        assert_eq!(model["all_tokens_ms"]["n"], 2);
        let speed = figure(model, "decode_tok_s");
        assert!(speed["reproduced"].as_f64().unwrap() > 0.0, "{speed}");
        assert!(speed["effect"].as_str().unwrap().contains("KV cache"));
    }
}

#[test]
fn routers_of_experts_and_of_specialists_tell_where_they_send_tokens() {
    let sandbox = Sandbox::new();
    let models = ["--model", "tiny-gpt2,tiny-moe-llama,tiny-specialists"];
    let args = ["study", "--router", "--device", "cpu", "-r", "1"];
    let ran = sandbox
        .run(&[&args[..], &models, &["-o", "r.json"]].concat())
        .left_with(0);
    assert!(
        ran.stdout.contains("Where the routers send tokens"),
        "{ran}"
    );
    let file = report(&sandbox.work().join("r.json"));
    let routers = file["study"]["routers"].as_array().unwrap();
    assert_eq!(routers.len(), 2, "a dense model has none");
    let prompt = file["trials"][0]["prompt_tokens"].as_u64().unwrap();
    let layers = routers[0]["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for layer in layers {
        assert_eq!(layer["tokens"].as_u64(), Some(prompt), "{layer}");
        let chosen = layer["chosen"].as_array().unwrap();
        assert_eq!(chosen.len(), 8);
        // Every token goes to exactly two.
        let all: u64 = chosen.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(all, 2 * prompt, "{layer}");
        let entropy = layer["entropy"].as_f64().unwrap();
        assert!(entropy > 0.0 && entropy <= 1.0, "{layer}");
    }
    let specialists = &routers[1]["layers"][0];
    assert_eq!(specialists["tokens"].as_u64(), Some(prompt));
    let each = specialists["experts_per_token"].as_f64().unwrap();
    assert!((1.0..=3.0).contains(&each), "{specialists}");
}
