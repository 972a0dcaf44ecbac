//! Tunings of the runtime: what is faster is kept, everything else is not, and the row says so. A script plays the GPU, and does to
//! its steps what the variables of the worker's environment say: by factors so large that no busy machine hides them.

use crate::sandbox::{QUICK, Ran, Sandbox, report, statuses};
use serde_json::{Value, json};

/// A GPU of 8 GiB on which a step takes 40 ms and a trial 360 MiB; `variables` do what they say.
pub fn script(variables: &Value) -> Value {
    json!({
        "probe": {
            "runtime_version": "0.0.0",
            "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
            "gpu": {
                "index": 0, "name": "Scripted GPU", "compute_capability": "9.0",
                "memory_total": 8_u64 << 30, "memory_free": 8_u64 << 30, "unified_memory": false,
                "driver_version": "1.0", "cuda_version": null, "power_limit_mw": null, "sm_clock_mhz": null,
                "memory_clock_mhz": null, "temperature_c": null, "libraries": [],
            },
            "cuda_unavailable": null,
        },
        "default": {
            "device_used_mib": 50, "memory": {"base_mib": 360}, "step_ms": [40.0], "variables": variables,
        },
    })
}

pub const GEMM: &str = "ORT_CUDA_GEMM_AUTO_TUNE=1";
const FLASH: &str = "ORT_ENABLE_XQA=0";

/// Runs on that GPU.
pub fn run(sandbox: &Sandbox, variables: &Value, more: &[&str]) -> Ran {
    let engine = sandbox.script(&script(variables));
    let mut args = vec!["--engine", &engine, "--device", "cuda", "--ceiling", "none"];
    args.extend(["-o", "result.json"]);
    args.extend(QUICK);
    args.extend(more);
    sandbox.run(&args)
}

/// The rows of a run that went well.
#[track_caller]
fn rows(sandbox: &Sandbox, ran: Ran) -> (Vec<Value>, Ran) {
    let ran = ran.left_with(0);
    let report = report(&sandbox.work().join("result.json"));
    assert!(statuses(&report).iter().all(|word| *word == "ok"), "{ran}");
    let rows = report["trials"].as_array().unwrap().clone();
    for row in &rows {
        let told = row["not_measured"]["tuning"].is_string();
        assert_eq!(row["tuning"].is_null(), told, "{row}");
    }
    (rows, ran)
}

const DENSE: [&str; 6] = [
    "--model",
    "tiny-gpt2",
    "--precision",
    "fp16",
    "--vram-budget",
    "1G",
];

/// One row of a dense fp16 model.
#[track_caller]
fn dense(variables: &Value, more: &[&str]) -> (Value, Ran) {
    let sandbox = Sandbox::new();
    let ran = run(&sandbox, variables, &[&DENSE, more].concat());
    let (mut rows, ran) = rows(&sandbox, ran);
    assert_eq!(rows.len(), 1);
    (rows.remove(0), ran)
}

fn speed(row: &Value) -> f64 {
    row["decode_tok_s"]["mean"].as_f64().unwrap()
}

/// What was tried of this name.
fn tried<'a>(row: &'a Value, name: &str) -> &'a Value {
    let all = row["tuning"]["tried"].as_array().unwrap();
    let found = all.iter().find(|tried| tried["name"] == name);
    found.unwrap_or_else(|| panic!("{name} was not tried: {row}"))
}

#[test]
fn what_is_faster_is_kept_and_what_is_slower_is_not() {
    let variables = json!({GEMM: {"faster": 8.0}, FLASH: {"faster": 0.125}});
    let (row, ran) = dense(&variables, &["--format", "csv"]);
    let tuning = &row["tuning"];
    assert_eq!(tuning["mode"], "auto");
    assert_eq!(tuning["kept"], json!(["gemm"]));
    assert_eq!(
        tuning["environment"],
        json!({"ORT_CUDA_GEMM_AUTO_TUNE": "1", "ORT_CUDA_GEMM_GRAPH_REPLAY_TUNING": "1"})
    );
    let (gemm, flash) = (tried(&row, "gemm"), tried(&row, "attention-flash"));
    assert_eq!(
        (&gemm["kept"], &flash["kept"]),
        (&json!(true), &json!(false))
    );
    let ratio = |tried: &Value| tried["ratio"].as_f64().unwrap();
    assert!(ratio(gemm) > 1.5 && ratio(flash) < 0.7, "{tuning}");
    assert_eq!(gemm["peak_bytes"], 360 << 20);
    // The second was tried on top of the first, and the trial ran with what was kept.
    let base = gemm["base_tok_s"].as_f64().unwrap();
    assert_eq!(flash["base_tok_s"], gemm["decode_tok_s"]);
    assert!(speed(&row) > 1.5 * base, "{row}");
    // A short trial is no row, and costs the timed one no repetition.
    assert_eq!(row["decode_tok_s"]["n"], 2);
    assert_eq!(row["id"], "tiny-gpt2/fused/fp16/b1/pp4/tg3");
    for line in [
        "tuning: untuned ",
        "tuning: gemm ",
        "tuning: attention-flash ",
    ] {
        assert!(ran.stderr.contains(line), "{ran}");
    }
    let (head, cells) = ran.stdout.split_once('\n').unwrap();
    let place = head.split(',').position(|name| name == "tuning").unwrap();
    assert!(place > 0 && cells.contains(",gemm,"), "{ran}");
}

#[test]
fn people_are_shown_what_was_tried() {
    let variables = json!({GEMM: {"faster": 0.125}, FLASH: {"faster": 8.0}});
    let (row, ran) = dense(&variables, &[]);
    assert_eq!(row["tuning"]["kept"], json!(["attention-flash"]));
    let shown = ran.stdout.replace("\n  ", " ");
    let (_, after) = shown
        .split_once("\nTuning\n")
        .unwrap_or_else(|| panic!("{ran}"));
    let line = after.lines().next().unwrap();
    assert!(
        line.starts_with("tiny-gpt2 fp16, batch 1, 4 + 3 tokens: kept attention-flash ")
            && line.contains("; not kept gemm 0."),
        "{line}"
    );
}

#[test]
fn what_fails_costs_its_tuning_and_not_the_trial() {
    let sandbox = Sandbox::new();
    let fault = |what: Value| json!({"faster": 8.0, "fault": {"at": "step", "what": what}});
    let variables = json!({
        GEMM: fault(json!("crash")),
        FLASH: fault(json!("out_of_memory")),
        "ORT_FPA_INTB_GEMM=1": {"faster": 8.0, "takes_mib": 900},
        "ORT_FORCE_DETERMINISTIC_MOE=0": {"faster": 8.0, "fault": {"at": "load", "what": "hang"}},
        "ORT_DISABLE_MOE_GEMV_FUSED_FINALIZE=1": fault(json!({"garbage": "hm"})),
        "ORT_DISABLE_MOE_GEMV=1": {"faster": 8.0, "takes_mib": 100},
    });
    let more = [
        "--model",
        "tiny-moe-q",
        "--precision",
        "int4",
        "--vram-budget",
        "1G",
    ];
    let more = [&more[..], &["--timeout", "3s"]].concat();
    let (rows, ran) = rows(&sandbox, run(&sandbox, &variables, &more));
    let row = &rows[0];
    assert_eq!(row["tuning"]["kept"], json!(["moe-grouped"]), "{ran}");
    let table = [
        ("gemm", "crashed: "),
        ("attention-flash", "out_of_memory: "),
        ("fpa-intb", "budget"),
        ("moe-timed", "timed_out: "),
        ("moe-unfused-finalize", "failed: "),
    ];
    for (name, reason) in table {
        let tried = tried(row, name);
        assert_eq!(tried["kept"], false, "{tried}");
        assert!(
            tried["reason"].as_str().unwrap().contains(reason),
            "{tried}"
        );
    }
    assert_eq!(row["memory"]["peak_bytes"], 460 << 20);
    assert!(sandbox.processes().is_empty(), "a process is left");
}

#[test]
fn a_smaller_budget_does_without_what_takes_too_much_for_it() {
    let sandbox = Sandbox::new();
    let variables = json!({GEMM: {"faster": 8.0, "takes_mib": 300}, FLASH: {"faster": 0.125}});
    let more = [
        "--model",
        "tiny-gpt2",
        "--precision",
        "fp16",
        "--vram-budget",
        "600M,1G",
    ];
    let (rows, ran) = rows(&sandbox, run(&sandbox, &variables, &more));
    let kept = |row: &Value| row["tuning"]["kept"].clone();
    assert_eq!(
        (kept(&rows[0]), kept(&rows[1])),
        (json!([]), json!(["gemm"]))
    );
    let note = rows[0]["tuning"]["note"].as_str().unwrap();
    assert!(
        note.contains("gemm is not used") && note.contains("60 MiB more"),
        "{note}"
    );
    assert!(speed(&rows[1]) > 1.5 * speed(&rows[0]));
    // One search for both.
    assert_eq!(rows[0]["tuning"]["tried"], rows[1]["tuning"]["tried"]);
    assert_eq!(ran.stderr.matches("tuning: untuned").count(), 1, "{ran}");
    assert_eq!(ran.stdout.matches("kept gemm").count(), 1, "{ran}");
}

#[test]
fn off_tries_nothing_and_names_are_applied_without_trying() {
    let variables = json!({GEMM: {"faster": 8.0}, FLASH: {"faster": 8.0}});
    let (off, ran) = dense(&variables, &["--tune", "off"]);
    assert_eq!(
        off["tuning"],
        json!({"mode": "off", "kept": [], "environment": {}, "tried": [], "left_alone": []})
    );
    assert!(
        !ran.stderr.contains("tuning") && !ran.stdout.contains("Tuning"),
        "{ran}"
    );
    let (named, ran) = dense(&variables, &["--tune", "moe-grouped,gemm"]);
    let tuning = &named["tuning"];
    assert_eq!(
        (&tuning["mode"], &tuning["kept"]),
        (&json!("named"), &json!(["gemm"]))
    );
    assert_eq!(tuning["tried"], json!([]));
    assert_eq!(tuning["left_alone"][0]["name"], "moe-grouped");
    assert!(!ran.stderr.contains("tuning"), "{ran}");
    assert!(speed(&named) > 2.0 * speed(&off), "{named}");
}

#[test]
fn a_variable_of_the_user_stays_his() {
    let sandbox = Sandbox::new();
    let variables = json!({FLASH: {"faster": 8.0}, "ORT_ENABLE_XQA=1": {"faster": 8.0}});
    let engine = sandbox.script(&script(&variables));
    let mut args = vec!["--engine", &engine, "--device", "cuda", "--ceiling", "none"];
    args.extend(["-o", "result.json"]);
    args.extend(QUICK.iter().chain(&DENSE));
    let mut command = sandbox.command(&args);
    command.env("ORT_ENABLE_XQA", "1");
    let (rows, ran) = rows(&sandbox, sandbox.finish(command));
    let tuning = &rows[0]["tuning"];
    assert_eq!(
        tuning["left_alone"],
        json!([{"name": "attention-flash", "reason": "ORT_ENABLE_XQA is set in the environment"}])
    );
    let names: Vec<&Value> = tuning["tried"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(names, ["gemm"], "{ran}");
    // His own value reached the worker: without it a step would take 40 ms.
    assert!(speed(&rows[0]) > 40.0, "{}", rows[0]);
}

#[test]
fn a_timed_trial_that_only_its_tuning_brings_down_runs_again_untuned() {
    // The short trial takes four steps, two of them to warm up; the timed one six.
    let fault = json!({"at": "step", "nth": 5, "what": "crash"});
    let variables = json!({GEMM: {"faster": 8.0, "fault": fault}, FLASH: {"faster": 0.125}});
    let (row, ran) = dense(&variables, &[]);
    assert_eq!(tried(&row, "gemm")["kept"], true, "{ran}");
    assert_eq!(row["tuning"]["kept"], json!([]));
    let note = row["tuning"]["note"].as_str().unwrap();
    assert!(note.contains("SIGABRT"), "{note}");
    assert!(ran.stderr.contains("runs again untuned"), "{ran}");
}

#[test]
fn a_trial_that_does_not_run_at_all_fails_as_ever() {
    let sandbox = Sandbox::new();
    let mut script = script(&json!({}));
    script["default"]["fault"] = json!({"at": "step", "what": {"runtime": "no such kernel"}});
    let engine = sandbox.script(&script);
    let mut args = vec!["--engine", &engine, "--device", "cuda", "--ceiling", "none"];
    args.extend(["-o", "result.json"]);
    args.extend(QUICK.iter().chain(&DENSE));
    let ran = sandbox.run(&args).left_with(6);
    let report = report(&sandbox.work().join("result.json"));
    assert_eq!(statuses(&report), ["failed"], "{ran}");
    let tuning = &report["trials"][0]["tuning"];
    assert_eq!(
        (&tuning["kept"], &tuning["tried"]),
        (&json!([]), &json!([]))
    );
    let note = tuning["note"].as_str().unwrap();
    assert!(
        note.contains("nothing was tried") && note.contains("no such kernel"),
        "{note}"
    );
}

#[test]
fn only_the_fused_form_on_cuda_has_tunings() {
    let (row, ran) = dense(&json!({}), &["--form", "plain"]);
    let reason = row["not_measured"]["tuning"].as_str().unwrap();
    assert!(
        reason.contains("only the fused form on the CUDA provider"),
        "{reason}"
    );
    assert!(!ran.stderr.contains("tuning"), "{ran}");
    let sandbox = Sandbox::new();
    let ran = sandbox.scripted(&json!({}), &["--model", "tiny-gpt2", "-o", "result.json"]);
    let (rows, _) = rows(&sandbox, ran);
    assert!(rows[0]["not_measured"]["tuning"].is_string());
}

#[test]
fn a_name_that_is_none_is_answered_with_the_names() {
    let sandbox = Sandbox::new();
    for given in ["gem", "auto,gemm", "", "gemm,"] {
        sandbox.run(&["--tune", given]).refused(
            2,
            &[
                "there is no tuning",
                "choose of gemm, attention-flash",
                "auto or off",
            ],
        );
    }
}

#[test]
fn two_results_with_other_tunings_are_compared_and_the_difference_is_told() {
    let sandbox = Sandbox::new();
    for (tune, file) in [("off", "a.json"), ("gemm", "b.json")] {
        let more = [&DENSE[..], &["--tune", tune, "-o", file]].concat();
        let engine = sandbox.script(&script(&json!({GEMM: {"faster": 8.0}})));
        let mut args = vec!["--engine", &engine, "--device", "cuda", "--ceiling", "none"];
        args.extend(QUICK.iter().copied().chain(more));
        sandbox.run(&args).left_with(0);
    }
    let ran = sandbox.run(&["compare", "a.json", "b.json"]).left_with(0);
    let shown = ran.stdout.replace("\n  ", " ");
    assert!(shown.contains("other tuning (A none, B gemm)"), "{ran}");
    assert!(!shown.contains("not comparable: "), "{ran}");
}

#[test]
fn a_run_that_goes_on_does_not_search_again_for_what_it_found() {
    let sandbox = Sandbox::new();
    let variables = json!({GEMM: {"faster": 4.0}});
    let more = [
        "--model",
        "tiny-gpt2",
        "--precision",
        "fp16",
        "--vram-budget",
        "1G,2G",
    ];
    let (found, _) = rows(&sandbox, run(&sandbox, &variables, &more));
    // On a machine that does other things another one may seem faster too: what was found is what is to be taken over.
    let kept = found[1]["tuning"]["kept"].as_array().unwrap();
    assert!(kept.contains(&json!("gemm")), "{kept:?}");
    // As it stands when the second budget has not been run.
    let path = sandbox.work().join("result.json");
    let mut stopped = report(&path);
    let row = &mut stopped["trials"][1];
    row["status"] = json!("pending");
    row["tuning"] = Value::Null;
    stopped["finished"] = json!(false);
    std::fs::write(&path, stopped.to_string()).unwrap();
    let resumed = sandbox.run(&["--resume", "result.json"]);
    assert!(!resumed.stderr.contains("untuned"), "{resumed}");
    let (again, _) = rows(&sandbox, resumed);
    for part in ["kept", "tried"] {
        assert_eq!(again[1]["tuning"][part], found[1]["tuning"][part]);
    }
    // What was not found anywhere is searched for.
    let mut stopped = report(&path);
    for row in stopped["trials"].as_array_mut().unwrap() {
        row["status"] = json!("pending");
        row["tuning"] = Value::Null;
    }
    std::fs::write(&path, stopped.to_string()).unwrap();
    let anew = sandbox.run(&["--resume", "result.json"]).left_with(0);
    assert!(anew.stderr.contains("untuned"), "{anew}");
}
