//! What of a failure is remembered, and what of a row is believed.

use super::*;
use crate::trial::Phase;

fn fails() -> Verdict {
    Verdict::Fails {
        limit: Limit::Failure,
        phase: Some(Phase::Decode),
        reason: "it failed".to_owned(),
    }
}

#[test]
fn only_what_a_trial_did_itself_is_remembered() {
    let phase = Phase::Decode;
    let kept = |outcome: Outcome| worth_remembering(7, &outcome, &fails()).is_some();
    let died = |how: &str| Outcome::Crashed {
        phase,
        reason: format!("the worker {how} in the decode phase: a hint"),
        stderr_tail: String::new(),
    };
    for signal in ["SIGABRT", "SIGSEGV", "SIGBUS"] {
        assert!(kept(died(&format!("was killed by {signal}"))), "{signal}");
    }
    for signal in ["SIGKILL", "SIGTERM", "SIGILL", "signal 64"] {
        assert!(!kept(died(&format!("was killed by {signal}"))), "{signal}");
    }
    assert!(!kept(died("left with exit code 3")));
    let reason = || "why".to_owned();
    assert!(kept(Outcome::OutOfMemory {
        phase,
        requested: None,
        reason: reason()
    }));
    assert!(kept(Outcome::Ok));
    assert!(!kept(Outcome::TimedOut {
        phase,
        reason: reason()
    }));
    assert!(!kept(Outcome::Failed {
        phase,
        reason: reason()
    }));
    let fits = Verdict::Fits(Pass::default());
    assert_eq!(worth_remembering(7, &Outcome::Ok, &fits), None);
}

#[test]
fn on_a_gpu_it_must_be_known_that_nobody_else_was_there() {
    let somebody = GpuProcess {
        pid: 7,
        bytes: None,
        name: None,
    };
    let told = [
        None,
        Some(Err("not told".to_owned())),
        Some(Ok(vec![somebody])),
        Some(Ok(Vec::new())),
    ];
    let alone = |device| {
        told.each_ref()
            .map(|others| is_alone(device, others.as_ref()))
    };
    assert_eq!(alone(Device::Cuda(0)), [false, false, false, true]);
    assert_eq!(alone(Device::Cpu), [true, true, false, true]);
}

fn failed(size: u32, remembered_from: Option<&str>) -> Failure {
    Failure {
        size,
        limit: Limit::Memory,
        phase: None,
        reason: "why".to_owned(),
        remembered_from: remembered_from.map(str::to_owned),
    }
}

#[test]
fn the_smallest_failure_counts_unless_a_row_refutes_it() {
    let known = |remembered: Option<u32>, row: Option<u32>, ran: Option<u32>| {
        let remembered = remembered.map(|size| failed(size, Some("a date")));
        smallest(remembered, row.map(|size| failed(size, None)), ran)
            .map(|fails| (fails.size, fails.remembered_from.is_some()))
    };
    assert_eq!(known(Some(9), Some(7), None), Some((7, false)));
    assert_eq!(known(Some(7), Some(9), Some(6)), Some((7, true)));
    assert_eq!(known(Some(7), Some(7), None), Some((7, false)));
    assert_eq!(known(Some(7), Some(9), Some(7)), Some((9, false)));
    assert_eq!(known(Some(7), None, Some(8)), None);
}
