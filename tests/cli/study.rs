//! The study, several runs of a suite, and a run that goes on after a stop.

use crate::sandbox::{QUICK, Ran, Sandbox, program, report, statuses, until};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// A pair at equal total parameters whose mixture decodes twice as fast, and one at equal active parameters.
const PAIRS: [&str; 2] = ["--model", "dense-16m,moe-16m-a10m,moe-41m-a16m"];

fn faster() -> Value {
    json!({
        "default": {"step_ms": [16.0]},
        "models": {"moe-16m-a10m": {"step_ms": [4.0]}},
    })
}

/// Runs the study by a script.
fn study(sandbox: &Sandbox, script: &Value, more: &[&str]) -> Ran {
    let engine = sandbox.script(script);
    let head = ["study", "--engine", &engine, "--device", "cpu"];
    sandbox.run(&[&head, &QUICK[..], more].concat())
}

#[test]
fn pairs_have_ratios_intervals_words_and_prices() {
    let sandbox = Sandbox::new();
    // The mixture of 41 million is predicted to need more, and in fp32 nothing else is tried.
    let options = [
        "--vram-budget",
        "150M",
        "--precision",
        "fp32",
        "-o",
        "r.json",
    ];
    let ran = study(&sandbox, &faster(), &[&PAIRS, &options[..]].concat()).left_with(0);
    for part in [
        "equal total parameters; fused",
        "What 1,000,000 tokens cost by each formula",
        "study-json",
        "under 150 MiB only dense-16m",
    ] {
        let text = ran.stdout.replace('\n', " ");
        assert!(text.contains(part), "{part}: {ran}");
    }
    let file = report(&sandbox.work().join("r.json"));
    let study = &file["study"];
    assert_eq!(
        (&study["asked"], &study["intervals_of"]),
        (&json!(true), &json!("repetitions"))
    );
    let pairs = study["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 2);
    assert_eq!(pairs[0]["matched"], true);
    let decode = &pairs[0]["ratios"][0];
    assert_eq!(
        (&decode["metric"], &decode["verdict"]),
        (&json!("decode_tok_s"), &json!("faster"))
    );
    let ratio = decode["ratio"].as_f64().unwrap();
    let ends = [&decode["ci95"][0], &decode["ci95"][1]].map(|end| end.as_f64().unwrap());
    assert!(
        ratio > 1.5 && ends[0] <= ratio && ratio <= ends[1],
        "{decode}"
    );
    assert_eq!(
        (&pairs[1]["basis"], &pairs[1]["moe"]["fits"]),
        (&json!("active"), &json!(false))
    );
    assert!(pairs[1]["ratios"][0]["ratio"].is_null());
    assert_eq!(study["prices"].as_array().unwrap().len(), 2);
    assert!(
        file["verdict"]
            .as_str()
            .unwrap()
            .contains("At equal total parameters")
    );

    // A saved study is shown with its tables.
    let shown = sandbox
        .run(&["show", "r.json", "--format", "markdown"])
        .left_with(0);
    assert!(shown.stdout.contains("| MoE/dense |"), "{shown}");
}

#[test]
fn the_pairs_as_csv_and_in_a_stream() {
    let sandbox = Sandbox::new();
    let two = ["--model", "tiny-llama,tiny-moe-llama"];
    let csv = study(
        &sandbox,
        &faster(),
        &[&two[..], &["--format", "csv"]].concat(),
    )
    .left_with(0);
    let tables: Vec<&str> = csv.stdout.split("\n\n").collect();
    assert_eq!(tables.len(), 2, "{csv}");
    assert_eq!(tables[0].lines().count(), 1 + 5, "{csv}");
    assert!(csv.stdout.starts_with("basis,matched,"), "{csv}");
    assert!(tables[1].starts_with("priced_model,row,"), "{csv}");
    // Two models by three formulas.
    assert_eq!(tables[1].lines().count(), 1 + 6, "{csv}");
    let stream = ["--format", "jsonl", "--cost-formula", "study-hourly"];
    let ran = study(&sandbox, &faster(), &[&two[..], &stream].concat()).left_with(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{ran}");
    let prices = &lines[2]["study"]["prices"][0]["prices"];
    assert_eq!(prices.as_array().unwrap().len(), 1);
    assert_eq!(prices[0]["formula"], "study-hourly");
}

#[test]
fn runs_are_interleaved_and_their_spread_is_told() {
    let sandbox = Sandbox::new();
    let more = [
        "--model",
        "tiny-gpt2,tiny-llama",
        "--repeat",
        "3",
        "-o",
        "r.json",
    ];
    let ran = sandbox.scripted(&json!({}), &more).left_with(0);
    let order: Vec<String> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("(run "))
        .map(|line| {
            let model = line.split('/').next().unwrap();
            let run = line
                .split("(run ")
                .nth(1)
                .unwrap()
                .split(')')
                .next()
                .unwrap();
            format!("{model} {run}")
        })
        .collect();
    assert_eq!(
        order,
        [
            "tiny-gpt2 1",
            "tiny-llama 1",
            "tiny-gpt2 2",
            "tiny-llama 2",
            "tiny-gpt2 3",
            "tiny-llama 3"
        ]
    );
    assert!(
        ran.stdout.contains("From run to run\n") && ran.stdout.contains("Run 3: "),
        "{ran}"
    );
    let file = report(&sandbox.work().join("r.json"));
    let repeated = &file["repeatability"];
    assert_eq!(
        (&repeated["runs"], &file["finished"]),
        (&json!(3), &json!(true))
    );
    for trial in repeated["trials"].as_array().unwrap() {
        assert_eq!(trial["runs"].as_array().unwrap().len(), 3);
        assert!(trial["runs"][2]["device_state"].is_object());
        assert_eq!(trial["spread"].as_array().unwrap().len(), 3, "{trial}");
    }
    // The rows are those of the first run.
    assert_eq!(file["trials"].as_array().unwrap().len(), 2);
    let (row, first) = (&file["trials"][0], &repeated["trials"][0]["runs"][0]);
    assert_eq!(row["decode_tok_s"]["mean"], first["decode_tok_s"]);
    assert_eq!(row["test_time"], first["started_utc"]);
}

#[test]
fn a_warm_up_ends_when_times_are_steady_or_by_a_cap_and_says_which() {
    let sandbox = Sandbox::new();
    let ends = |step_ms: Value| {
        let engine = sandbox.script(&json!({"default": {"step_ms": step_ms}}));
        let args = [
            "--engine",
            &engine,
            "--device",
            "cpu",
            "--model",
            "tiny-gpt2",
            "--seed",
            "1",
        ];
        let rest = ["-p", "4", "-n", "3", "-r", "1", "-o", "r.json"];
        sandbox.run(&[&args[..], &rest].concat()).left_with(0);
        report(&sandbox.work().join("r.json"))["trials"][0]["steady"].clone()
    };
    // Two steps in a repetition: each repetition takes twice as long as the one before or half as long.
    let restless = ends(json!([20.0, 20.0, 40.0, 40.0]));
    assert_eq!(
        (&restless["ended_by"], &restless["reached"]),
        (&json!("repetitions"), &json!(false))
    );
    assert_eq!(restless["repetitions"], 5);
    let steady = ends(json!([60.0]));
    assert_eq!(
        (&steady["ended_by"], &steady["reached"]),
        (&json!("steady"), &json!(true)),
        "{steady}"
    );
}

/// A run of three models that is interrupted from the keyboard in the middle of the second.
fn interrupted(sandbox: &Sandbox) {
    let hangs = json!({"models": {"tiny-llama": {"fault": {"at": "step", "what": "hang"}}}});
    let engine = sandbox.script(&hangs);
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(program())
        .args(["--engine", &engine, "--device", "cpu", "-o", "r.json"])
        .args(["--model", "tiny-gpt2,tiny-llama,tiny-qwen3"])
        .args(QUICK)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    sandbox.settle(&mut command);
    let mut child = command.spawn().unwrap();
    let path = sandbox.work().join("r.json");
    until("the first trial", || {
        (path.exists() && statuses(&report(&path))[0] == "ok").then_some(())
    });
    until("the worker of the second", || {
        (sandbox.processes().len() == 2).then_some(())
    });
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    child.wait().unwrap();
    until("the end of the worker", || {
        sandbox.processes().is_empty().then_some(())
    });
}

#[test]
fn an_interrupted_run_goes_on_and_keeps_what_it_has() {
    let sandbox = Sandbox::new();
    interrupted(&sandbox);
    let path = sandbox.work().join("r.json");
    let before = report(&path);
    assert_eq!(statuses(&before), ["ok", "pending", "pending"]);
    sandbox.script(&json!({}));
    let ran = sandbox.run(&["--resume", "r.json"]).left_with(0);
    let after = report(&path);
    assert_eq!(statuses(&after), ["ok", "ok", "ok"]);
    assert_eq!(
        (&after["finished"], &after["trials"][0]),
        (&json!(true), &before["trials"][0])
    );
    assert_eq!(after["started_utc"], before["started_utc"]);
    assert_eq!(after["command_line"], before["command_line"]);
    assert_eq!(after["continued_utc"].as_array().unwrap().len(), 1);
    assert!(!ran.stderr.contains("tiny-gpt2/"), "{ran}");
    // Nothing is left: it is printed, and nothing of it changes.
    let again = sandbox
        .run(&["--resume", "r.json", "--format", "json"])
        .left_with(0);
    assert_eq!(again.json()["trials"], after["trials"]);
}

#[test]
fn what_would_be_another_run_is_refused_with_a_sentence() {
    let sandbox = Sandbox::new();
    interrupted(&sandbox);
    let path = sandbox.work().join("r.json");
    let kept = fs::read(&path).unwrap();
    let refused = |args: &[&str], parts: &[&str]| {
        sandbox
            .run(&[&["--resume", "r.json"], args].concat())
            .refused(2, parts);
        assert_eq!(fs::read(&path).unwrap(), kept, "the file was touched");
    };
    refused(
        &["--model", "tiny-gpt2"],
        &["was begun with --engine", "now there is --model tiny-gpt2"],
    );
    sandbox.script(
        &json!({"probe": {"runtime_version": "9.9.9", "providers": ["CPUExecutionProvider"]}}),
    );
    refused(
        &[],
        &["ONNX Runtime was 0.0.0 and is 9.9.9", "restore them"],
    );
    sandbox.script(&json!({}));
    let other = |change: &dyn Fn(&mut Value)| {
        let mut report: Value = serde_json::from_slice(&kept).unwrap();
        change(&mut report);
        fs::write(sandbox.work().join("other.json"), report.to_string()).unwrap();
        sandbox.run(&["--resume", "other.json"])
    };
    other(&|report| report["environment"]["cpu_info"] = json!("Another CPU"))
        .refused(2, &["the CPU was Another CPU"]);
    other(&|report| report["tool"]["version"] = json!("0.0.1"))
        .refused(2, &["edgebench was 0.0.1"]);
    other(&|report| report["trials"][2]["id"] = json!("x"))
        .refused(2, &["the trials of the plan are others"]);
    other(&|report| report["budgets_bytes"] = json!([1]))
        .refused(2, &["the budget is another one"]);
    other(&|report| report["command_line"] = json!(["edgebench", "--later"]))
        .refused(2, &["--later"]);
    sandbox
        .run(&["--resume", "none.json"])
        .refused(2, &["could not read none.json"]);
}

#[test]
fn of_several_runs_the_missing_ones_are_run() {
    let sandbox = Sandbox::new();
    let more = [
        "--model",
        "tiny-gpt2,tiny-llama",
        "--repeat",
        "2",
        "-o",
        "r.json",
    ];
    sandbox.scripted(&json!({}), &more).left_with(0);
    let path = sandbox.work().join("r.json");
    let whole = report(&path);
    let mut stopped = whole.clone();
    stopped["finished"] = json!(false);
    // As it stands when the last trial of the last run has not ended.
    stopped["repeatability"]["trials"][1]["runs"]
        .as_array_mut()
        .unwrap()
        .pop();
    fs::write(&path, stopped.to_string()).unwrap();
    let ran = sandbox.run(&["--resume", "r.json"]).left_with(0);
    let lines: Vec<&str> = ran
        .stderr
        .lines()
        .filter(|line| line.contains("(run "))
        .collect();
    assert!(
        lines.len() == 1 && lines[0].starts_with("tiny-llama/") && lines[0].contains("(run 2)"),
        "{ran}"
    );
    let after = report(&path);
    assert_eq!(
        (&after["trials"], &after["finished"]),
        (&whole["trials"], &json!(true))
    );
    let runs = |file: &Value, trial: usize| file["repeatability"]["trials"][trial]["runs"].clone();
    assert_eq!(runs(&after, 0), runs(&whole, 0));
    assert_eq!(
        (
            runs(&after, 1)[0].clone(),
            runs(&after, 1).as_array().unwrap().len()
        ),
        (runs(&whole, 1)[0].clone(), 2)
    );
}

#[test]
fn a_file_or_a_variable_that_changed_meanwhile_is_refused() {
    let sandbox = Sandbox::new();
    let prompts = sandbox.file("prompts.txt", "one two three four five six\n");
    let more = [
        "--model",
        "tiny-gpt2",
        "--prompt-file",
        &prompts,
        "-o",
        "r.json",
    ];
    sandbox.scripted(&json!({}), &more).left_with(0);
    let path = sandbox.work().join("r.json");
    let digest = report(&path)["inputs"]["prompt_sha256"].clone();
    assert_eq!(digest.as_str().unwrap().len(), 64);
    sandbox.run(&["--resume", "r.json"]).left_with(0);
    let kept = fs::read(&path).unwrap();
    let mut command = sandbox.command(&["--resume", "r.json"]);
    command.env("EDGEBENCH_RUNTIME_DIR", sandbox.path().join("elsewhere"));
    sandbox
        .finish(command)
        .refused(2, &["EDGEBENCH_RUNTIME_DIR was not set and is "]);
    sandbox.file("prompts.txt", "one two three four five seven\n");
    sandbox
        .run(&["--resume", "r.json"])
        .refused(2, &["the file of --prompt-file has other contents"]);
    assert_eq!(fs::read(&path).unwrap(), kept, "the file was touched");
    // A result of before there were such words is not refused for having none.
    let mut old: Value = serde_json::from_slice(&kept).unwrap();
    old.as_object_mut().unwrap().remove("inputs");
    fs::write(&path, old.to_string()).unwrap();
    sandbox.run(&["--resume", "r.json"]).left_with(0);
}
