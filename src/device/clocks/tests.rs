use super::lock::{GpuClocks, Refusal, lock_clocks, restore_clocks};
use super::notes::{Note, clocks_are_left, left, start_ticks, turn, write};
use crate::trial::ClocksBefore;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

type Answer = Result<(), Refusal>;

/// A GPU that writes down what is set, with the notes on disk at that moment, and refuses what it is told to.
#[derive(Debug, Clone)]
struct Fake {
    calls: Rc<RefCell<Vec<String>>>,
    folder: std::path::PathBuf,
    graphics: Answer,
    memory: Answer,
    reset_graphics: Answer,
    reset_memory: Answer,
}

impl Fake {
    fn new(folder: &Path) -> Fake {
        Fake {
            calls: Rc::default(),
            folder: folder.to_owned(),
            graphics: Ok(()),
            memory: Ok(()),
            reset_graphics: Ok(()),
            reset_memory: Ok(()),
        }
    }

    fn log(&self, call: &str, answer: &Answer) -> Answer {
        let is_noted = self.folder.join("GPU-1.json").exists();
        self.calls.borrow_mut().push(match is_noted {
            true => call.to_owned(),
            false => format!("{call} without a note"),
        });
        answer.clone()
    }

    fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }
}

impl GpuClocks for Fake {
    fn uuid(&self) -> Result<String, Refusal> {
        Ok("GPU-1".into())
    }
    fn name(&self) -> Result<String, Refusal> {
        Ok("Fake GPU".into())
    }
    fn now(&self) -> ClocksBefore {
        ClocksBefore {
            sm_mhz: Some(345),
            ..ClocksBefore::default()
        }
    }
    fn defaults(&self) -> (Option<u32>, Option<u32>) {
        (Some(1400), Some(5001))
    }
    fn supported_memory(&self) -> Result<Vec<u32>, Refusal> {
        Ok(vec![405, 5001, 7001])
    }
    fn supported_graphics(&self, memory_mhz: u32) -> Result<Vec<u32>, Refusal> {
        assert_eq!(memory_mhz, 5001);
        Ok(vec![300, 1380, 1590])
    }
    fn lock_graphics(&mut self, mhz: u32) -> Answer {
        self.log(&format!("graphics {mhz}"), &self.graphics)
    }
    fn lock_memory(&mut self, mhz: u32) -> Answer {
        self.log(&format!("memory {mhz}"), &self.memory)
    }
    fn reset_graphics(&mut self) -> Answer {
        self.log("reset graphics", &self.reset_graphics)
    }
    fn reset_memory(&mut self) -> Answer {
        self.log("reset memory", &self.reset_memory)
    }
}

const SET: [&str; 2] = ["graphics 1380", "memory 5001"];
const RESET: [&str; 2] = ["reset graphics", "reset memory"];

#[test]
fn a_note_is_there_from_before_the_first_call_until_after_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Fake::new(folder.path());
    let locked = lock_clocks(gpu.clone(), folder.path()).unwrap();
    assert_eq!(gpu.calls(), SET);
    assert_eq!(locked.clocks.graphics_mhz, 1380);
    assert_eq!(locked.clocks.memory_mhz, Some(5001));
    assert_eq!(locked.clocks.before.sm_mhz, Some(345));
    // Its owner is alive, so nobody else restores it, or locks over it.
    assert!(!clocks_are_left(folder.path()));
    let second = lock_clocks(gpu.clone(), folder.path()).unwrap_err();
    assert!(second.contains("another run"), "{second}");
    locked.restore().unwrap();
    assert_eq!(gpu.calls(), [SET, RESET].concat());
    assert!(!folder.path().join("GPU-1.json").exists());
}

#[test]
fn a_memory_clock_that_cannot_be_locked_is_told_and_leaves_the_other_locked() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Fake {
        memory: Err(Refusal::NotSupported),
        reset_memory: Err(Refusal::NotSupported),
        ..Fake::new(folder.path())
    };
    let locked = lock_clocks(gpu.clone(), folder.path()).unwrap();
    assert_eq!(locked.clocks.memory_mhz, None);
    let reason = locked.clocks.memory_reason.as_deref().unwrap();
    assert!(reason.contains("not support"), "{reason}");
    locked.restore().unwrap();
    assert!(!clocks_are_left(folder.path()));
}

#[test]
fn what_is_refused_halfway_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Fake {
        memory: Err(Refusal::NotAllowed),
        ..Fake::new(folder.path())
    };
    let cause = lock_clocks(gpu.clone(), folder.path()).unwrap_err();
    assert!(
        cause.contains("memory") && cause.contains("not allow"),
        "{cause}"
    );
    assert_eq!(gpu.calls(), [SET, RESET].concat());
    assert!(!folder.path().join("GPU-1.json").exists());
}

#[test]
fn what_is_refused_at_once_leaves_no_note() {
    for refusal in [Refusal::NotAllowed, Refusal::NotSupported] {
        let folder = tempfile::tempdir().unwrap();
        let gpu = Fake {
            graphics: Err(refusal.clone()),
            reset_graphics: Err(refusal.clone()),
            ..Fake::new(folder.path())
        };
        let cause = lock_clocks(gpu, folder.path()).unwrap_err();
        assert_eq!(cause, refusal.words());
        assert!(!folder.path().join("GPU-1.json").exists());
    }
}

#[test]
fn what_cannot_be_undone_is_left_for_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = Fake {
        memory: Err(Refusal::Other("timeout".into())),
        reset_graphics: Err(Refusal::NotAllowed),
        ..Fake::new(folder.path())
    };
    let cause = lock_clocks(gpu, folder.path()).unwrap_err();
    assert!(cause.contains("could not be undone"), "{cause}");
    assert!(folder.path().join("GPU-1.json").exists());
}

/// A note of a process that is gone.
fn abandon(folder: &Path) {
    let turn = turn(folder).unwrap();
    let note = Note {
        uuid: "GPU-1".into(),
        gpu: "Fake GPU".into(),
        graphics_mhz: 1380,
        memory_mhz: 5001,
        before: ClocksBefore::default(),
        pid: std::process::id(),
        // This process's number, but of one that started at another time.
        start_ticks: Some(1),
    };
    drop(write(&turn, folder, &note).unwrap().unwrap());
}

#[test]
fn what_a_process_left_that_is_gone_is_restored_once() {
    let folder = tempfile::tempdir().unwrap();
    assert!(!clocks_are_left(folder.path()));
    abandon(folder.path());
    assert!(clocks_are_left(folder.path()));
    let gpu = Fake::new(folder.path());
    let said = restore_clocks(folder.path(), |uuid| {
        assert_eq!(uuid, "GPU-1");
        Ok(gpu.clone())
    });
    assert_eq!(gpu.calls(), RESET);
    let sentence = said[0].as_ref().unwrap();
    assert!(
        sentence.contains("1380 MHz") && sentence.ends_with("are restored"),
        "{sentence}"
    );
    assert!(restore_clocks(folder.path(), |_| Ok(gpu.clone())).is_empty());
    assert_eq!(gpu.calls(), RESET);
}

#[test]
fn what_cannot_be_restored_stays_with_a_remedy_and_what_is_not_there_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    abandon(folder.path());
    let refused = Fake {
        reset_graphics: Err(Refusal::NotAllowed),
        ..Fake::new(folder.path())
    };
    let said = restore_clocks(folder.path(), |_| Ok(refused.clone()));
    let sentence = said[0].as_ref().unwrap_err();
    assert!(sentence.contains("nvidia-smi -i GPU-1 -rgc"), "{sentence}");
    assert!(clocks_are_left(folder.path()));
    let said = restore_clocks(folder.path(), |_| Err::<Fake, _>(Refusal::Gone));
    assert!(said[0].as_ref().unwrap().contains("not there"));
    assert!(!clocks_are_left(folder.path()));
}

#[test]
fn a_note_that_cannot_be_read_still_names_the_gpu() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("GPU-7.json"), "{\"uuid\": ").unwrap();
    let found = left(folder.path());
    assert_eq!((found[0].uuid.as_str(), &found[0].note), ("GPU-7", &None));
    let gpu = Fake::new(folder.path());
    let said = restore_clocks(folder.path(), |uuid| {
        assert_eq!(uuid, "GPU-7");
        Ok(gpu.clone())
    });
    assert!(said[0].is_ok() && !clocks_are_left(folder.path()));
}

#[test]
fn the_start_of_a_process_is_told_while_it_is_there() {
    assert!(start_ticks(std::process::id()).is_some_and(|ticks| ticks > 1));
    assert_eq!(start_ticks(u32::MAX), None);
}
