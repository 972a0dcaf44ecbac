//! The order in which clocks are locked and restored, with everything that may fail between two steps.

use super::choice::{self, Choice};
use super::notes::{self, Held, Left, Note};
use crate::trial::{ClocksBefore, LockedClocks};
use std::path::Path;

/// Why a clock could not be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The GPU or its driver cannot do it.
    NotSupported,
    /// Other users may, this one may not.
    NotAllowed,
    /// The GPU is not there.
    Gone,
    /// Anything else, as one clause.
    Other(String),
}

impl Refusal {
    /// As one clause.
    pub fn words(&self) -> String {
        match self {
            Refusal::NotSupported => "this GPU or its driver does not support it".into(),
            Refusal::NotAllowed => "the driver does not allow this user to set clocks".into(),
            Refusal::Gone => "the GPU is not there".into(),
            Refusal::Other(cause) => cause.clone(),
        }
    }
}

type Done<T> = Result<T, Refusal>;

/// A GPU whose clocks can be set.
pub trait GpuClocks {
    /// Its UUID.
    fn uuid(&self) -> Done<String>;
    /// Its name.
    fn name(&self) -> Done<String>;
    /// Its clocks as they are.
    fn now(&self) -> ClocksBefore;
    /// Default application clock of the multiprocessors and of the memory.
    fn defaults(&self) -> (Option<u32>, Option<u32>);
    /// Clocks that the memory can be held to.
    fn supported_memory(&self) -> Done<Vec<u32>>;
    /// Clocks that the multiprocessors can be held to at that clock of the memory.
    fn supported_graphics(&self, memory_mhz: u32) -> Done<Vec<u32>>;
    /// Holds the multiprocessors to a clock.
    fn lock_graphics(&mut self, mhz: u32) -> Done<()>;
    /// Holds the memory to a clock.
    fn lock_memory(&mut self, mhz: u32) -> Done<()>;
    /// Gives the clocks of the multiprocessors back to the driver.
    fn reset_graphics(&mut self) -> Done<()>;
    /// Gives the clock of the memory back to the driver.
    fn reset_memory(&mut self) -> Done<()>;
}

/// Clocks that are locked, until [`Locked::restore`].
#[derive(Debug)]
pub struct Locked<G> {
    gpu: G,
    note: Held,
    /// What was locked.
    pub clocks: LockedClocks,
}

impl<G: GpuClocks> Locked<G> {
    /// Restores the clocks. Where that fails the note stays, for the next run to try; the error is one clause.
    pub fn restore(mut self) -> Result<(), String> {
        reset(&mut self.gpu).map_err(|refusal| refusal.words())?;
        let file = self.note.file().display().to_string();
        self.note
            .remove()
            .map_err(|cause| format!("{file} could not be removed: {cause}"))
    }
}

/// Locks the clocks of a GPU, all that it can lock or nothing. An error is one clause.
pub fn lock_clocks<G: GpuClocks>(mut gpu: G, folder: &Path) -> Result<Locked<G>, String> {
    let cannot = |what: &str, refusal: Refusal| format!("{what}: {}", refusal.words());
    let choice = choose(&gpu).map_err(|refusal| cannot("its clocks are not told", refusal))?;
    let uuid = gpu.uuid();
    let uuid = uuid.map_err(|refusal| cannot("its UUID is not told", refusal))?;
    let note = Note {
        gpu: gpu.name().unwrap_or_else(|_| uuid.clone()),
        uuid,
        graphics_mhz: choice.graphics_mhz,
        memory_mhz: choice.memory_mhz,
        before: gpu.now(),
        pid: std::process::id(),
        start_ticks: notes::start_ticks(std::process::id()),
    };
    let held = write_note(folder, &note)?;
    let memory = match gpu.lock_graphics(choice.graphics_mhz) {
        Ok(()) => lock_memory(&mut gpu, choice.memory_mhz),
        Err(refusal) => return Err(undo(&mut gpu, held, refusal.words(), false)),
    };
    let memory = match memory {
        Ok(memory) => memory,
        Err(cause) => return Err(undo(&mut gpu, held, cause, true)),
    };
    let clocks = LockedClocks {
        gpu: note.gpu,
        uuid: note.uuid,
        graphics_mhz: choice.graphics_mhz,
        memory_mhz: memory.is_ok().then_some(choice.memory_mhz),
        memory_reason: memory.err().map(|refusal| refusal.words()),
        rule: choice.rule,
        before: note.before,
    };
    Ok(Locked {
        gpu,
        note: held,
        clocks,
    })
}

fn choose(gpu: &impl GpuClocks) -> Done<Choice> {
    let (graphics, memory) = gpu.defaults();
    let none = || Refusal::Other("the driver names no clock that can be held".into());
    let memory = choice::memory(&gpu.supported_memory()?, memory).ok_or_else(none)?;
    choice::graphics(&gpu.supported_graphics(memory)?, graphics, memory).ok_or_else(none)
}

fn write_note(folder: &Path, note: &Note) -> Result<Held, String> {
    let wrap = |cause: std::io::Error| {
        format!(
            "the note from which the next run would restore them cannot be written to {}: {cause}",
            folder.display()
        )
    };
    let turn = notes::turn(folder).map_err(wrap)?;
    let written = notes::write(&turn, folder, note).map_err(wrap)?;
    written.ok_or_else(|| "another run holds them locked".to_owned())
}

/// The inner error is a memory clock that cannot be locked, beside which the other one is still worth it.
fn lock_memory(gpu: &mut impl GpuClocks, mhz: u32) -> Result<Done<()>, String> {
    match gpu.lock_memory(mhz) {
        Err(Refusal::NotSupported) => Ok(Err(Refusal::NotSupported)),
        Err(refusal) => Err(format!("the memory's clock: {}", refusal.words())),
        Ok(()) => Ok(Ok(())),
    }
}

/// Leaves nothing half locked: `cause` with what came of that.
fn undo(gpu: &mut impl GpuClocks, note: Held, cause: String, is_locked: bool) -> String {
    match reset(gpu) {
        // Who may not lock may not reset either, and then nothing was locked.
        Err(refusal) if is_locked || matches!(refusal, Refusal::Other(_)) => format!(
            "{cause}, and what was locked before that could not be undone ({}), which the next run tries again",
            refusal.words()
        ),
        _ => {
            let _ = note.remove();
            cause
        }
    }
}

/// Gives both clocks back to the driver. That the memory's cannot be locked is no failure to unlock it.
fn reset(gpu: &mut impl GpuClocks) -> Done<()> {
    let graphics = gpu.reset_graphics();
    match gpu.reset_memory() {
        Ok(()) | Err(Refusal::NotSupported) => graphics,
        Err(refusal) => graphics.and(Err(refusal)),
    }
}

/// Restores what runs of before left locked, the GPU found by its UUID: a sentence for each.
pub fn restore_clocks<G: GpuClocks>(
    folder: &Path,
    find: impl Fn(&str) -> Done<G>,
) -> Vec<Result<String, String>> {
    // Without a turn another process may do the same, which does no harm.
    let _turn = notes::turn(folder);
    let left = notes::left(folder);
    left.iter().map(|left| again(left, &find)).collect()
}

fn again<G: GpuClocks>(left: &Left, find: &impl Fn(&str) -> Done<G>) -> Result<String, String> {
    let known = left.note.as_ref();
    let uuid = known.map_or(&left.uuid, |note| &note.uuid);
    let who = known.map_or_else(
        || format!("clocks of GPU {uuid}, which an earlier run left locked,"),
        |note| {
            format!(
                "clocks of {} ({uuid}), which an earlier run left locked at {} MHz (process {}, which is gone),",
                note.gpu, note.graphics_mhz, note.pid
            )
        },
    );
    match find(uuid).and_then(|mut gpu| reset(&mut gpu)) {
        Ok(()) => {
            let _ = std::fs::remove_file(&left.file);
            Ok(format!("{who} are restored"))
        }
        Err(Refusal::Gone) => {
            let _ = std::fs::remove_file(&left.file);
            Ok(format!("{who} are forgotten, for that GPU is not there"))
        }
        Err(refusal) => Err(format!(
            "{who} could not be restored: {}; run edgebench once as a user who may, or nvidia-smi -i {uuid} -rgc and -rmc, and remove {}",
            refusal.words(),
            left.file.display()
        )),
    }
}
