//! The result file: where it is, that it is there after each trial, and that it outlives the program.

use crate::sandbox::{Ran, Sandbox, names, program, report, statuses, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn it_is_named_after_time_and_host_and_its_place_is_told() {
    let sandbox = Sandbox::new();
    let ran = sandbox
        .scripted(&json!({}), &["--model", "tiny-gpt2"])
        .left_with(0);
    let files = names(&sandbox.work().join("edgebench-results"));
    let [file] = files.as_slice() else {
        panic!("{files:?}")
    };
    let (time, host) = file.strip_suffix(".json").unwrap().split_once('-').unwrap();
    let digits =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
    let (day, second) = time.strip_suffix('Z').unwrap().split_once('T').unwrap();
    assert!(
        digits(day, 8) && digits(second, 6) && !host.is_empty(),
        "{file}"
    );
    assert!(
        ran.stderr
            .contains(&format!("result: edgebench-results/{file}")),
        "{ran}"
    );
    assert_eq!(sandbox.written(), ["edgebench-results"]);
    let report = report(&sandbox.work().join("edgebench-results").join(file));
    assert_eq!(
        (&report["finished"], statuses(&report)),
        (&json!(true), vec!["ok"])
    );
}

#[test]
fn missing_folders_are_made_and_an_old_file_is_replaced() {
    let sandbox = Sandbox::new();
    let run = |model: &str| -> Ran {
        sandbox
            .scripted(&json!({}), &["--model", model, "-o", "a/b/result.json"])
            .left_with(0)
    };
    run("tiny-gpt2");
    run("tiny-llama");
    assert_eq!(names(&sandbox.work().join("a/b")), ["result.json"]);
    assert_eq!(
        report(&sandbox.work().join("a/b/result.json"))["trials"][0]["model"],
        "tiny-llama"
    );
}

/// The file as it stands, which must parse whenever it is there.
fn now(path: &Path) -> Option<Value> {
    path.exists().then(|| report(path))
}

/// Starts a run whose first trial is quick and whose second never ends, ends the program in the middle of the second,
/// and returns the signal it left with.
fn interrupted(sandbox: &Sandbox, end: impl FnOnce(Pid)) -> Option<i32> {
    let script = json!({"models": {"tiny-llama": {"fault": {"at": "step", "what": "hang"}}}});
    let engine = sandbox.script(&script);
    // A shell may have started the tests with SIGINT ignored, which a program inherits.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(program())
        .args(["--engine", &engine, "--device", "cpu", "-o", "result.json"])
        .args(["--model", "tiny-gpt2,tiny-llama,tiny-qwen3"])
        .args(crate::sandbox::QUICK)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    sandbox.settle(&mut command);
    let mut child = command.spawn().unwrap();
    let path = sandbox.work().join("result.json");
    until("the first trial", || {
        now(&path).filter(|report| statuses(report)[0] == "ok")
    });
    until("the worker of the second", || {
        (sandbox.processes().len() == 2).then_some(())
    });
    end(Pid::from_child(&child));
    let status = child.wait().unwrap();
    until("the end of the worker", || {
        sandbox.processes().is_empty().then_some(())
    });
    let report = report(&path);
    assert_eq!(statuses(&report), ["ok", "pending", "pending"]);
    assert_eq!(report["finished"], false);
    assert_eq!(report["trials"][0]["decode_tok_s"]["n"], 2);
    assert_eq!(
        sandbox.written(),
        ["result.json"],
        "something is left behind"
    );
    status.signal()
}

#[test]
fn a_killed_run_keeps_every_finished_trial_and_leaves_no_worker() {
    let sandbox = Sandbox::new();
    let signal = interrupted(&sandbox, |pid| kill_process(pid, Signal::KILL).unwrap());
    assert_eq!(signal, Some(9));
}

#[test]
fn so_does_one_that_is_interrupted_from_the_keyboard() {
    let sandbox = Sandbox::new();
    let signal = interrupted(&sandbox, |pid| {
        kill_process_group(pid, Signal::INT).unwrap()
    });
    assert_eq!(signal, Some(2));
}

#[test]
fn two_runs_in_one_folder_at_the_same_time_both_finish() {
    let sandbox = Sandbox::new();
    let run = |output: &str| {
        let more = ["--model", "tiny-gpt2,tiny-llama", "-o", output];
        sandbox.scripted(&json!({}), &more).left_with(0);
        assert_eq!(
            statuses(&report(&sandbox.work().join(output))),
            ["ok", "ok"]
        );
    };
    std::thread::scope(|scope| {
        scope.spawn(|| run("one.json"));
        scope.spawn(|| run("two.json"));
    });
    assert_eq!(sandbox.cached().len(), 2, "one entry for each model");
}

#[test]
fn runs_that_start_in_the_same_second_write_to_different_files() {
    let sandbox = Sandbox::new();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let more = ["--model", "tiny-gpt2"];
                sandbox.scripted(&json!({}), &more).left_with(0);
            });
        }
    });
    let folder = sandbox.work().join("edgebench-results");
    let files = names(&folder);
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert_eq!(statuses(&report(&folder.join(file))), ["ok"]);
    }
}
