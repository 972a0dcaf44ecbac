//! How a conversation ended → how the trial ended. Pure: no process, no clock.

use super::refusal;
use crate::protocol::FailureKind;
use crate::trial::{Device, GpuProcess, Outcome, Phase};
use crate::units::Bytes;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// What is kept of a line that is not the protocol.
const LINE_KEPT: usize = 200;

/// What brought the conversation to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The program could not be started.
    NotStarted {
        /// The program and the system's reason.
        cause: String,
    },
    /// The worker said it was done.
    Done,
    /// The worker said it gave up.
    GaveUp {
        /// Why, as a word.
        kind: FailureKind,
        /// Why, as a sentence.
        reason: String,
    },
    /// The worker greeted with another protocol.
    OtherProtocol {
        /// Its number.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The worker said something that is not the protocol.
    NotProtocol {
        /// What it said, as raw bytes.
        line: Vec<u8>,
        /// Whether it was cut off for its length.
        too_long: bool,
    },
    /// A phase outlasted its deadline.
    TimedOut {
        /// The deadline.
        limit: Duration,
    },
    /// The worker took more memory than the budget.
    OverBudget {
        /// What it took: on top of the empty worker on the CPU, in all on a GPU.
        needed: Bytes,
        /// The budget.
        budget: Bytes,
        /// Where.
        device: Device,
        /// Whether GPU and CPU share one memory there.
        shared: bool,
    },
    /// Somebody else uses the GPU, and the trial was to be alone on it.
    NotAlone {
        /// Who.
        process: GpuProcess,
    },
    /// The worker stopped speaking without a last word.
    Silent,
}

/// Everything a verdict needs.
#[derive(Debug, Clone)]
pub struct Ending {
    /// What ended it.
    pub end: End,
    /// The phase that ran.
    pub phase: Phase,
    /// How the process left, when it did so by itself.
    pub status: Option<ExitStatus>,
    /// The last of its stderr.
    pub stderr_tail: String,
    /// The budget, where the worker limits its own memory by it: then it may be refused some, or die of that.
    pub limit: Option<Bytes>,
}

/// The trial's outcome.
pub fn outcome(ending: Ending) -> Outcome {
    let Ending {
        end,
        phase,
        status,
        stderr_tail,
        limit,
    } = ending;
    let failed = |reason| Outcome::Failed { phase, reason };
    match end {
        End::NotStarted { cause } => failed(format!("the worker could not be started: {cause}")),
        End::GaveUp {
            kind: FailureKind::OutOfMemory,
            reason,
        } => Outcome::OutOfMemory {
            phase,
            requested: refusal::size(&reason),
            reason: reason + &held_to(limit),
        },
        End::GaveUp { reason, .. } => failed(reason),
        End::OtherProtocol { theirs, ours } => failed(format!(
            "the worker speaks protocol {theirs} and this program {ours}: they are of different builds; rebuild both"
        )),
        End::NotProtocol { line, too_long } => failed(not_protocol(&line, too_long)),
        End::TimedOut { limit } => Outcome::TimedOut {
            phase,
            reason: format!(
                "the {phase} phase did not end within {}; allow more with --timeout or measure less",
                humantime::format_duration(limit)
            ),
        },
        End::OverBudget {
            needed,
            budget,
            device,
            shared,
        } => Outcome::OutOfMemory {
            phase,
            requested: Some(needed),
            reason: format!(
                "the {phase} phase took {} {} and the budget is {}; \
                 {REMEDY}",
                above(needed, budget),
                match (device, shared) {
                    (Device::Cpu, _) => "above the empty worker",
                    (Device::Cuda(_), true) => "of the memory that GPU and CPU share",
                    (Device::Cuda(_), false) => "of GPU memory",
                },
                size(budget)
            ),
        },
        End::NotAlone { process } => failed(format!(
            "process {} uses the GPU too, and --exclusive was given; stop it, or measure without --exclusive",
            called(&process)
        )),
        // A worker that was done and then had to be helped out has measured everything.
        End::Done if status.is_none_or(|status| status.success()) => Outcome::Ok,
        End::Done => died(phase, status, stderr_tail, " after it had said it was done"),
        End::Silent if status.is_some_and(|status| status.success()) => failed(format!(
            "the worker left in the {phase} phase with exit code 0 and without a result"
        )),
        End::Silent => match refusal::line(&stderr_tail).filter(|_| limit.is_some()) {
            Some(last_words) => starved(phase, last_words, limit),
            None => died(phase, status, stderr_tail, ""),
        },
    }
}

/// A process by number and, where it is known, by name.
fn called(process: &GpuProcess) -> String {
    match &process.name {
        Some(name) => format!("{} ({name})", process.pid),
        None => process.pid.to_string(),
    }
}

/// A worker that died because it got no memory. C++ and Rust both end the program then, wherever it happens.
fn starved(phase: Phase, last_words: &str, limit: Option<Bytes>) -> Outcome {
    Outcome::OutOfMemory {
        phase,
        requested: refusal::size(last_words),
        reason: format!(
            "the worker was refused memory in the {phase} phase and ended ({}){}",
            on_one_line(last_words.trim()),
            held_to(limit)
        ),
    }
}

/// What may fit where something does not.
const REMEDY: &str = "a larger budget, a smaller model or element type, a shorter context or a smaller batch may fit";

/// Why memory was refused to a limited worker, as the end of a sentence.
fn held_to(limit: Option<Bytes>) -> String {
    limit.map_or_else(String::new, |budget| {
        format!(
            "; the worker is held to the budget of {}: {REMEDY}",
            size(budget)
        )
    })
}

fn died(phase: Phase, status: Option<ExitStatus>, stderr_tail: String, when: &str) -> Outcome {
    let reason = match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => {
            let (name, hint) = signal_meaning(signal);
            format!("the worker was killed by {name} in the {phase} phase{when}{hint}")
        }
        Some((None, Some(code))) => {
            format!("the worker left in the {phase} phase{when} with exit code {code}")
        }
        _ => format!("the worker closed its output in the {phase} phase{when} and did not leave"),
    };
    Outcome::Crashed {
        phase,
        reason,
        stderr_tail,
    }
}

/// Name of a signal, and what usually sends it.
fn signal_meaning(signal: i32) -> (String, &'static str) {
    let (name, hint) = match signal {
        4 => (
            "SIGILL",
            ": the library uses an instruction this CPU does not have; take another build of it",
        ),
        6 => (
            "SIGABRT",
            ": the program or a library gave up; its last words on stderr say why",
        ),
        7 => (
            "SIGBUS",
            ": a mapped file could not be read; look for a full disk or a changed weight file",
        ),
        8 => ("SIGFPE", ""),
        9 => (
            "SIGKILL",
            ": usually the system's out-of-memory killer; free memory, or choose a smaller budget, model or batch",
        ),
        11 => (
            "SIGSEGV",
            ": a fault inside the program or a library; try another version of ONNX Runtime",
        ),
        15 => ("SIGTERM", ": somebody asked it to stop"),
        _ => return (format!("signal {signal}"), ""),
    };
    (name.to_owned(), hint)
}

fn not_protocol(line: &[u8], too_long: bool) -> String {
    let text = String::from_utf8_lossy(line);
    let mut kept = on_one_line(&text);
    if too_long && !kept.ends_with('…') {
        kept.push('…');
    }
    let what = if too_long {
        "a line of more than 4 MiB"
    } else {
        "a line"
    };
    format!("the worker said {what} that is not the protocol: {kept}")
}

/// One row of a table: no line feeds, no escape sequences, and cut where it is long.
fn on_one_line(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut kept: String = visible.take(LINE_KEPT).collect();
    if text.chars().nth(LINE_KEPT).is_some() {
        kept.push('…');
    }
    kept
}

/// An amount beside a smaller one, in digits that tell them apart.
fn above(amount: Bytes, smaller: Bytes) -> String {
    match size(amount) {
        same if same == size(smaller) => {
            let excess = amount.saturating_sub(smaller);
            format!("{} KiB more than {same}", excess.0.div_ceil(1024))
        }
        differs => differs,
    }
}

/// Bytes in a sentence.
fn size(bytes: Bytes) -> String {
    if bytes >= Bytes::GIB {
        format!("{:.2} GiB", bytes.as_f64() / Bytes::GIB.as_f64())
    } else {
        format!("{:.1} MiB", bytes.as_f64() / Bytes::MIB.as_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(end: End, status: Option<i32>) -> Outcome {
        let status = status.map(ExitStatus::from_raw);
        outcome(Ending {
            end,
            phase: Phase::Load,
            status,
            stderr_tail: "tail".into(),
            limit: Some(Bytes(512 << 20)),
        })
    }

    fn gave_up(kind: FailureKind) -> End {
        End::GaveUp {
            kind,
            reason: "because".into(),
        }
    }

    #[test]
    fn every_ending_has_its_outcome_and_says_why() {
        const CODE_3: i32 = 3 << 8;
        let garbage = |too_long| End::NotProtocol {
            line: b"oops\x1b[0m".to_vec(),
            too_long,
        };
        let over = End::OverBudget {
            needed: Bytes(3 << 30),
            budget: Bytes(512 << 20),
            device: Device::Cpu,
            shared: false,
        };
        let other = End::OtherProtocol { theirs: 9, ours: 1 };
        let late = End::TimedOut {
            limit: Duration::from_secs(90),
        };
        let table = [
            (End::Done, Some(0), "ok", ""),
            (End::Done, None, "ok", ""),
            (
                End::Done,
                Some(11),
                "crashed",
                "killed by SIGSEGV in the load phase after it had said it was done",
            ),
            (
                End::Silent,
                Some(0),
                "failed",
                "exit code 0 and without a result",
            ),
            (End::Silent, Some(CODE_3), "crashed", "with exit code 3"),
            (End::Silent, Some(6), "crashed", "SIGABRT"),
            (
                End::Silent,
                Some(9),
                "crashed",
                "usually the system's out-of-memory killer; free memory",
            ),
            (End::Silent, Some(64), "crashed", "signal 64"),
            (End::Silent, None, "crashed", "did not leave"),
            (
                gave_up(FailureKind::OutOfMemory),
                Some(CODE_3),
                "out_of_memory",
                "because",
            ),
            (gave_up(FailureKind::Model), Some(0), "failed", "because"),
            (gave_up(FailureKind::Device), Some(9), "failed", "because"),
            (other, None, "failed", "protocol 9 and this program 1"),
            (garbage(false), None, "failed", "not the protocol: oops [0m"),
            (
                garbage(true),
                None,
                "failed",
                "more than 4 MiB that is not the protocol: oops [0m…",
            ),
            (
                late,
                None,
                "timed_out",
                "the load phase did not end within 1m 30s",
            ),
            (
                over,
                None,
                "out_of_memory",
                "took 3.00 GiB above the empty worker and the budget is 512.0 MiB",
            ),
            (
                End::NotStarted { cause: "no".into() },
                None,
                "failed",
                "could not be started: no",
            ),
        ];
        for (end, status, word, reason) in table {
            let outcome = judge(end.clone(), status);
            assert_eq!(outcome.status(), word, "{end:?}");
            let said = outcome.reason().unwrap_or_default();
            assert!(said.contains(reason), "{end:?}: {said}");
        }
    }

    #[test]
    fn what_ran_out_of_memory_says_where_and_at_what_size() {
        let over = End::OverBudget {
            needed: Bytes(3 << 30),
            budget: Bytes(512 << 20),
            device: Device::Cuda(0),
            shared: true,
        };
        let refused = |reason: &str| End::GaveUp {
            kind: FailureKind::OutOfMemory,
            reason: reason.into(),
        };
        let rust = "memory allocation of 4096 bytes failed";
        let cpp = "terminate called\n  what():  std::bad_alloc";
        let table = [
            (over, "", true, Some(Some(3 << 30))),
            (
                refused("could not allocate 7 bytes of memory"),
                "",
                true,
                Some(Some(7)),
            ),
            (refused("no room"), "", true, Some(None)),
            (End::Silent, rust, true, Some(Some(4096))),
            (End::Silent, cpp, true, Some(None)),
            // Without a limit such a death is a fault of something else.
            (End::Silent, cpp, false, None),
            (End::Silent, "Segmentation fault", true, None),
        ];
        for (end, stderr, limited, expected) in table {
            let found = outcome(Ending {
                end: end.clone(),
                phase: Phase::Prefill,
                status: Some(ExitStatus::from_raw(6)),
                stderr_tail: stderr.into(),
                limit: limited.then_some(Bytes(512 << 20)),
            });
            match (&found, expected) {
                (
                    Outcome::OutOfMemory {
                        phase,
                        requested,
                        reason,
                    },
                    Some(size),
                ) => {
                    assert_eq!((*phase, *requested), (Phase::Prefill, size.map(Bytes)));
                    assert_eq!(reason.lines().count(), 1, "{reason}");
                }
                (Outcome::Crashed { .. }, None) => {}
                _ => panic!("{end:?}, {stderr}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_excess_never_reads_like_the_budget() {
        let table = [
            (3 << 30, 2 << 30, "3.00 GiB"),
            ((2 << 30) + 1, 2 << 30, "1 KiB more than 2.00 GiB"),
            ((60 << 20) + 3000, 60 << 20, "3 KiB more than 60.0 MiB"),
        ];
        for (amount, smaller, text) in table {
            assert_eq!(above(Bytes(amount), Bytes(smaller)), text);
        }
    }

    #[test]
    fn a_long_strange_line_is_cut() {
        let outcome = judge(
            End::NotProtocol {
                line: "é".repeat(5000).into_bytes(),
                too_long: false,
            },
            None,
        );
        let reason = outcome.reason().unwrap_or_default();
        assert!(reason.ends_with("é…") && reason.chars().count() < LINE_KEPT + 60);
    }

    #[test]
    fn a_crash_keeps_the_last_words() {
        let Outcome::Crashed {
            stderr_tail, phase, ..
        } = judge(End::Silent, Some(6))
        else {
            panic!("not crashed")
        };
        assert_eq!((stderr_tail.as_str(), phase), ("tail", Phase::Load));
    }
}
