//! Routers: their weights are looked at in every trial of test size, and a wrong one fails its row; what caches of experts would hit.

use crate::sandbox::{Sandbox, report, statuses};
use serde_json::{Value, json};

/// The row of `tiny-moe-llama` in its plain form, whose router tells these weights for experts 1 and 2 of 8.
fn told(weights: [f64; 2], code: i32) -> Value {
    let sandbox = Sandbox::new();
    let router = json!({
        "weights": weights,
        "chosen": [1, 2],
        "logits": [0.0, 2.0, 1.0, -1.0, -1.0, -1.0, -1.0, -1.0],
    });
    let script = json!({"models": {"tiny-moe-llama": {"router": router}}});
    let models = ["--model", "tiny-moe-llama", "--form", "plain"];
    let args = [&models[..], &["-o", "result.json"]].concat();
    let ran = sandbox.scripted(&script, &args).left_with(code);
    let summary = "Routers were checked in one trial";
    assert_eq!(ran.stdout.contains(summary), code == 0, "{ran}");
    report(&sandbox.work().join("result.json"))["trials"][0].clone()
}

#[test]
fn weights_that_do_not_sum_to_one_fail_the_row() {
    let row = told([0.75, 0.25], 0);
    assert_eq!(row["router_check"]["passed"], true, "{row}");
    assert_eq!(row["router_check"]["experts_per_token"], 2.0, "{row}");
    let row = told([0.75, 0.5], 6);
    assert_eq!(row["status"], "failed", "{row}");
    assert_eq!(row["failed_phase"], "selfcheck", "{row}");
    let reason = row["reason"].as_str().unwrap();
    let named = reason.contains("router check: the weights of a token sum to 2.5e-1");
    assert!(named, "{reason}");
    assert_eq!(row["router_check"]["passed"], false, "{row}");
    // It was measured before, and stays in the row.
    assert!(row["decode_tok_s"]["n"].as_u64() > Some(0), "{row}");
}

#[test]
fn an_engine_that_shows_no_weights_is_told_as_a_reason() {
    let sandbox = Sandbox::new();
    let args = ["--model", "tiny-moe-llama,tiny-llama", "-o", "result.json"];
    sandbox.scripted(&json!({}), &args).left_with(0);
    let found = report(&sandbox.work().join("result.json"));
    let [moe, dense] = [0, 1].map(|at| &found["trials"][at]);
    assert_eq!(moe["router_check"], json!(null), "{moe}");
    let reason = moe["not_measured"]["router_check"].as_str().unwrap();
    assert!(reason.contains("does not show"), "{reason}");
    assert_eq!(dense["not_measured"]["router_check"], json!(null));
}

#[test]
fn every_mixture_is_checked_and_its_experts_followed_on_the_real_runtime() {
    for form in ["plain", "fused"] {
        let sandbox = Sandbox::new();
        let models = "tiny-gpt2,tiny-moe-gpt2,tiny-moe-llama,tiny-specialists";
        let study = ["study", "--router", "--device", "cpu", "-r", "1"];
        let shape = ["-p", "24", "-n", "16", "--form", form];
        let args = [&study[..], &shape, &["--model", models, "-o", "r.json"]].concat();
        let ran = sandbox.run(&args).left_with(0);
        let found = report(&sandbox.work().join("r.json"));
        assert_eq!(statuses(&found), ["ok"; 4], "{ran}");
        let rows = found["trials"].as_array().unwrap();
        assert_eq!(
            rows[0]["router_check"],
            json!(null),
            "a dense model has none"
        );
        rows[1..].iter().for_each(checked);
        assert!(
            ran.stdout.contains("Routers were checked in 3 trials"),
            "{ran}"
        );
        let routers = found["study"]["routers"].as_array().unwrap();
        let of = |name: &str| routers.iter().find(|one| one["model"] == name).unwrap();
        // Only the operator tells whom it chose, and the cache of the specialists.
        let specialists = of("tiny-specialists")["no_reuse"].as_str().unwrap();
        assert!(specialists.contains("all specialists run"), "{specialists}");
        match form {
            "plain" => assert_eq!(of("tiny-moe-llama")["reuse"], json!(null)),
            _ => {
                followed(&of("tiny-moe-llama")["reuse"]);
                let title = "What caches of experts would hit";
                assert!(ran.stdout.contains(title), "{ran}");
            }
        }
    }
}

#[track_caller]
fn checked(row: &Value) {
    let check = &row["router_check"];
    assert_eq!(check["passed"], true, "{row}");
    let error = check["weight_sum_error"].as_f64().unwrap();
    assert!(error <= 1e-5, "{check}");
    let read = match (&row["model"], &row["form"]) {
        (model, _) if *model == "tiny-specialists" => "cache",
        (_, form) if *form == "plain" => "outputs",
        _ => "operator",
    };
    assert_eq!(check["read"], read);
}

#[track_caller]
fn followed(reuse: &Value) {
    let count = |key: &str| reuse[key].as_u64().unwrap();
    // The last generated token is read by nobody.
    let tokens = (count("prompt_tokens"), count("generated_tokens"));
    assert_eq!(tokens, (24, 15));
    assert_eq!((count("layers"), count("experts")), (2, 8), "{reuse}");
    let caches = reuse["caches"].as_array().unwrap();
    assert_eq!(caches.len(), 4 * 2 * 3);
    let rates: Vec<f64> = caches
        .iter()
        .map(|cache| cache["hit_rate"].as_f64().unwrap())
        .collect();
    assert!(rates.iter().all(|rate| (0.0..=1.0).contains(rate)));
    assert!(rates.iter().any(|rate| *rate > 0.0), "{reuse}");
    // A CPU has no link to predict for.
    assert!(reuse["not_predicted"].is_string(), "{reuse}");
}
