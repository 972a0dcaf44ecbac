//! The process that holds a GPU's clocks locked, and what restores those that a run left locked. It outlives every signal but the
//! one that nobody can answer: the supervisor's end closes its standard input, and that is when it restores them.

use super::speaker::Speaker;
use super::{Farewell, Stop};
use crate::device::{self, NvmlClocks};
use crate::engine::EngineError;
use crate::error::exit;
use crate::protocol::Message;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Locks the clocks and keeps them until the supervisor lets go or is gone.
pub fn keep(
    device: u32,
    bus_id: Option<&str>,
    folder: &Path,
    farewell: &Farewell,
    speaker: &Speaker,
) -> Result<(), Stop> {
    outlive_signals()?;
    // Held while they are being locked: what closes meanwhile waits, and then restores.
    let mut at_end = farewell.lock();
    let gpu = NvmlClocks::of_device(device, bus_id).map_err(|refusal| failed(&refusal.words()))?;
    let locked = device::lock_clocks(gpu, folder).map_err(|cause| failed(&cause))?;
    let clocks = locked.clocks.clone();
    *at_end = Some(Box::new(move || match locked.restore() {
        Ok(()) => exit::OK,
        Err(cause) => {
            // The supervisor reads the last line as the reason.
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("{cause}\n").as_bytes());
            exit::DEVICE
        }
    }));
    drop(at_end);
    speaker.say(&Message::ClocksLocked(Box::new(clocks)))?;
    loop {
        std::thread::park();
    }
}

/// Restores what is left locked.
pub fn restore(folder: &Path, speaker: &Speaker) -> Result<(), Stop> {
    let said = device::restore_clocks(folder, NvmlClocks::of_uuid);
    speaker.say(&Message::ClocksRestored { said })
}

fn failed(cause: &str) -> EngineError {
    EngineError::Device(cause.to_owned())
}

/// A signal to all processes of a run ends the supervisor, and this one has work left then.
fn outlive_signals() -> Result<(), EngineError> {
    let cannot = |cause: std::io::Error| {
        failed(&format!(
            "the process that would restore them cannot outlive a signal: {cause}"
        ))
    };
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let seen = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal, seen).map_err(cannot)?;
    }
    rustix::process::set_parent_process_death_signal(None).map_err(|cause| cannot(cause.into()))
}
