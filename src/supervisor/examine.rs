//! Asks a worker what the driver and the runtime say, and keeps every answer that came before it failed.

use super::process::WorkerCommand;
use super::verdict::{self, End};
use super::{Outcome, converse};
use crate::protocol::{DriverFacts, EngineKind, Message, ProbeFacts, Request, Told};
use crate::trial::DeviceChoice;
use crate::units::Bytes;
use std::time::Duration;

/// What a worker said, each part with the reason where it did not.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// The driver.
    pub driver: Told<DriverFacts>,
    /// ONNX Runtime and CUDA.
    pub probe: Told<ProbeFacts>,
    /// What the driver lists of the worker's own memory on the GPU.
    pub own_process: Told<Bytes>,
    /// Whether a worker was asked at all.
    pub asked: bool,
    /// Why the worker itself did not end well; `None` also where it only had to say that something is missing.
    pub failure: Option<String>,
}

impl Answers {
    /// No worker was asked, for one reason.
    pub fn none(reason: &str) -> Answers {
        Answers {
            driver: Err(reason.to_owned()),
            probe: Err(reason.to_owned()),
            own_process: Err(reason.to_owned()),
            asked: false,
            failure: None,
        }
    }
}

/// Never fails: a worker that does is part of the answer. Without an engine only the driver is asked. `timeout` holds for
/// the whole answer.
pub fn examine(
    engine: Option<&EngineKind>,
    device: DeviceChoice,
    worker: &WorkerCommand,
    timeout: Duration,
) -> Answers {
    let request = Request::Examine {
        engine: engine.cloned(),
        device,
    };
    let (mut driver, mut probe, mut own_process) = (None, None, None);
    let ending = converse(&request, engine, worker, timeout, &mut |message| {
        match message {
            Message::Driver { facts } => driver = Some(*facts),
            Message::Probed(facts) => probe = Some(Ok(*facts)),
            Message::OwnProcess { bytes } => own_process = Some(bytes),
            _ => {}
        }
        None
    });
    let refused = matches!(ending.end, End::GaveUp { .. });
    let failure = match &ending.end {
        End::TimedOut { limit } => Some(format!(
            "the worker did not answer within {}",
            humantime::format_duration(*limit)
        )),
        _ => match verdict::outcome(ending) {
            Outcome::Ok => None,
            other => other.reason().map(str::to_owned),
        },
    };
    let silent = failure
        .clone()
        .unwrap_or_else(|| "the worker did not say".to_owned());
    Answers {
        driver: driver.unwrap_or_else(|| Err(silent.clone())),
        probe: probe.unwrap_or_else(|| Err(silent.clone())),
        own_process: own_process.unwrap_or(Err(silent)),
        asked: true,
        failure: failure.filter(|_| !refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(script: &str) -> Answers {
        let worker = WorkerCommand {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), format!("read request; {script}").into()],
        };
        examine(
            None,
            DeviceChoice::Auto,
            &worker,
            Duration::from_millis(2000),
        )
    }

    const HELLO: &str = r#"echo '{"message":"hello","protocol":1,"version":"0","pid":1}';"#;
    const DRIVER: &str =
        r#"echo '{"message":"driver","facts":{"Ok":{"driver_version":{"Ok":"580.1"}}}}';"#;

    #[test]
    fn what_was_said_before_a_crash_is_kept() {
        let answers = ask(&format!("{HELLO} {DRIVER} kill -SEGV $$"));
        let driver = answers.driver.unwrap();
        assert_eq!(driver.driver_version, Ok("580.1".into()));
        assert!(driver.cuda_version.is_err() && driver.gpus.is_empty());
        let failure = answers.failure.unwrap();
        assert!(failure.contains("SIGSEGV"), "{failure}");
        assert_eq!(answers.probe, Err(failure));
    }

    #[test]
    fn a_missing_runtime_is_an_answer_and_no_failure_of_the_worker() {
        let failed =
            r#"echo '{"message":"failed","kind":"runtime","reason":"no library"}'; exit 4"#;
        let answers = ask(&format!("{HELLO} {DRIVER} {failed}"));
        assert_eq!(answers.failure, None);
        assert_eq!(answers.probe, Err("no library".into()));
        assert!(answers.driver.is_ok());
    }

    #[test]
    fn an_answer_without_a_question_about_the_runtime_has_a_reason_for_it() {
        let done = r#"echo '{"message":"done"}'"#;
        let answers = ask(&format!("{HELLO} {DRIVER} {done}"));
        assert_eq!((answers.failure, answers.driver.is_ok()), (None, true));
        assert_eq!(answers.probe, Err("the worker did not say".into()));
    }

    #[test]
    fn a_worker_that_hangs_or_is_not_there_is_a_reason() {
        let answers = ask(&format!("{HELLO} exec sleep 600"));
        let failure = answers.failure.unwrap();
        assert!(failure.contains("did not answer within 2s"), "{failure}");
        let worker = WorkerCommand {
            program: "/nonexistent/edgebench".into(),
            args: Vec::new(),
        };
        let answers = examine(None, DeviceChoice::Cpu, &worker, Duration::from_secs(5));
        assert!(answers.failure.unwrap().contains("/nonexistent/edgebench"));
        assert!(answers.driver.is_err());
    }
}
