//! Memory taken away by processes that are shell scripts: each way they can misbehave, and that none outlives its trial.

use super::super::tests::{DONE, HELLO, LOAD, LONG, REPETITION, SHORT, request, shell};
use super::super::{TrialResult, run};
use super::*;
use crate::protocol::TrialRequest;
use crate::trial::{Device, Outcome};
use std::path::Path;

/// The budget of a trial here, in MiB.
const BUDGET: u64 = 100;

/// A trial on a GPU with far more free memory than its budget.
fn on_a_gpu() -> TrialRequest {
    let mut request = request();
    request.trial.device = Device::Cuda(0);
    request.trial.budget = Bytes(BUDGET << 20);
    request.device_free = Some(Bytes(8 << 30));
    request
}

/// What a process says that leaves so much free.
fn holding(free_mib: u64) -> String {
    format!(
        r#"echo '{HELLO}'; echo '{{"message":"holding","taken":{},"free":{}}}'"#,
        7_u64 << 30,
        free_mib << 20
    )
}

/// A program that follows one script as the process that takes memory away, and another as the trial's worker. The former leaves
/// its number in `holder`.
fn two(folder: &Path, hold: &str, trial: &str) -> WorkerCommand {
    let folder = folder.display();
    shell(&format!(
        "cd '{folder}'; read -r line; case \"$line\" in
        *'\"request\":\"hold\"'*) echo $$ > holder; {hold};;
        *) {trial};;
        esac"
    ))
}

/// A trial that goes well.
fn well() -> String {
    format!("echo '{HELLO}'; echo '{LOAD}'; echo '{REPETITION}'; echo '{DONE}'")
}

/// Runs a trial beside a process that follows `hold`. That one is gone afterwards, whatever it did.
#[track_caller]
fn ran(hold: &str, trial: &str, timeout: Duration) -> TrialResult {
    let folder = tempfile::tempdir().unwrap();
    let worker = two(folder.path(), hold, trial);
    let result = run(&on_a_gpu(), &worker, timeout, &mut |_| {});
    let holder = std::fs::read_to_string(folder.path().join("holder")).unwrap();
    assert!(
        !Path::new("/proc").join(holder.trim()).exists(),
        "{hold}: process {holder} is left"
    );
    result
}

/// How the budget was held.
fn how(result: &TrialResult) -> (Enforce, &str, Option<u64>) {
    let enforcement = result.enforcement.as_ref().unwrap();
    let free = enforcement.left_free.map(|free| free.0 >> 20);
    (enforcement.mode, &enforcement.how, free)
}

#[test]
fn memory_is_taken_away_while_the_trial_runs_and_no_longer() {
    // The trial fails unless the other process is there.
    let trial = format!("kill -0 $(cat holder) || exit 9; {}", well());
    let result = ran(&format!("{}; read end", holding(BUDGET)), &trial, LONG);
    assert_eq!(result.outcome, Outcome::Ok);
    let (mode, words, free) = how(&result);
    assert_eq!((mode, free), (Enforce::Hard, Some(BUDGET)));
    assert!(words.contains("took 7168 MiB"), "{words}");
}

#[test]
fn a_process_that_cannot_take_memory_away_leaves_the_trial_to_run_softly_with_the_reason() {
    let said = |line: &str| format!("echo '{HELLO}'; echo '{line}'; exit 0");
    let table = [
        (format!("echo '{HELLO}'; kill -11 $$"), "SIGSEGV"),
        (format!("echo '{HELLO}'; exit 3"), "exit code 3"),
        ("exit 0".to_owned(), "exit code 0 and without a result"),
        (said("driver says hello"), "not the protocol: driver says"),
        (said(DONE), "without an answer"),
        (
            HELLO.replace("\"protocol\":1", "\"protocol\":9"),
            "protocol 9",
        ),
        (
            said(r#"{"message":"failed","kind":"device","reason":"the GPU fell off"}"#),
            "the GPU fell off",
        ),
        // Nothing at all, and a context that never comes.
        ("exec sleep 600".to_owned(), "did not end within 400ms"),
        (
            format!("echo '{HELLO}'; exec sleep 600"),
            "did not end within 400ms",
        ),
        (
            format!("{}; read end", holding(BUDGET - 3)),
            "only 97 MiB are free",
        ),
        (
            format!("{}; read end", holding(BUDGET + 900)),
            "left 1000 MiB free",
        ),
    ];
    for (hold, reason) in table {
        let hold = match hold.starts_with('{') {
            true => said(&hold).replacen(&format!("echo '{HELLO}'; "), "", 1),
            false => hold,
        };
        let timeout = if reason.contains("400ms") {
            SHORT
        } else {
            LONG
        };
        let result = ran(&hold, &well(), timeout);
        assert_eq!(result.outcome, Outcome::Ok, "{hold}");
        let (mode, words, free) = how(&result);
        assert_eq!((mode, free), (Enforce::Soft, None), "{hold}");
        assert!(
            words.contains("because the rest could not be taken away: ") && words.contains(reason),
            "{hold}: {words}"
        );
    }
}

#[test]
fn what_the_driver_rounds_off_is_no_lack() {
    let hold = format!("{}; read end", holding(BUDGET - 1));
    assert_eq!(how(&ran(&hold, &well(), LONG)).0, Enforce::Hard);
}

#[test]
fn it_is_gone_after_a_trial_that_crashed_and_after_one_that_hung() {
    let hold = format!("{}; read end", holding(BUDGET));
    for (trial, status) in [
        (format!("echo '{HELLO}'; kill -9 $$"), "crashed"),
        (format!("echo '{HELLO}'; echo nonsense"), "failed"),
        (format!("echo '{HELLO}'; exec sleep 600"), "timed_out"),
    ] {
        let timeout = if status == "timed_out" { SHORT } else { LONG };
        let result = ran(&hold, &trial, timeout);
        assert_eq!(result.outcome.status(), status);
        assert_eq!(how(&result).0, Enforce::Hard, "{status}");
    }
}

#[test]
fn one_that_does_not_let_go_is_made_to() {
    let hold = format!("{}; exec sleep 600", holding(BUDGET));
    assert_eq!(how(&ran(&hold, &well(), LONG)).0, Enforce::Hard);
}

#[test]
fn one_that_ends_before_the_trial_held_nothing() {
    let trial = format!(
        "kill -9 $(cat holder); while kill -0 $(cat holder) && grep -q State:.[^Z] /proc/$(cat holder)/status; do sleep 0.01; done 2>/dev/null; {}",
        well()
    );
    let result = ran(&format!("{}; read end", holding(BUDGET)), &trial, LONG);
    assert_eq!(result.outcome, Outcome::Ok);
    let (mode, words, free) = how(&result);
    assert_eq!((mode, free), (Enforce::Soft, None));
    assert!(words.contains("ended before the trial did"), "{words}");
}

#[test]
fn where_hardly_more_is_free_than_the_budget_nothing_is_taken_away() {
    let budget = Bytes(1 << 30);
    assert!(is_needed(budget, None));
    assert!(is_needed(budget, Some(Bytes(8 << 30))));
    assert!(!is_needed(budget, Some(budget + EXCESS)));
    let mut request = on_a_gpu();
    request.device_free = Some(request.trial.budget + EXCESS);
    let folder = tempfile::tempdir().unwrap();
    let worker = two(folder.path(), "exit 1", &well());
    let result = run(&request, &worker, LONG, &mut |_| {});
    assert!(!folder.path().join("holder").exists());
    let (mode, words, _) = how(&result);
    assert!(
        mode == Enforce::Hard && words.contains("refuses the rest itself"),
        "{words}"
    );
}
