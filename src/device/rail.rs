//! Power of the whole board, sampled from the INA3221 rail that feeds it. It has no counter, so a thread looks at it: it
//! reads two small files over I2C and goes nowhere near the GPU's driver.

use super::jetson::{BOARD_RAILS, NO_BOARD_RAIL, monitors, product, rail_labels, rail_readings};
use super::tree::Tree;
use crate::protocol::Told;
use crate::trial::PowerSample;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pause between two samples.
const PAUSE: Duration = Duration::from_millis(100);

type Samples = Arc<Mutex<Vec<PowerSample>>>;

/// The board's rail and the thread that samples it, which ends when this is dropped.
#[derive(Debug)]
pub struct BoardRail {
    label: String,
    samples: Samples,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BoardRail {
    /// Finds the rail and begins to sample it. `started` is the zero of the samples' clock.
    pub fn open(tree: &Tree, started: Instant) -> Told<BoardRail> {
        let (folder, number, label) = find(tree)?;
        let tree = tree.clone();
        let power = move || {
            let (millivolts, milliamperes) = rail_readings(&tree, &folder, number);
            product(&millivolts, &milliamperes)
        };
        power()?;
        let samples = Samples::default();
        let (stop, stopped) = channel();
        let kept = Arc::clone(&samples);
        let watch = move || {
            loop {
                let milliwatts = power();
                let at = started.elapsed().into();
                // A rail that feeds this very program is not at 0; a reading that fails leaves a gap, which is noticed.
                if let Ok(milliwatts @ 1..) = milliwatts {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push(PowerSample { at, milliwatts });
                }
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("power".into());
        let thread = thread
            .spawn(watch)
            .map_err(|error| format!("no thread to sample the board's power ({error})"))?;
        Ok(BoardRail {
            label,
            samples,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The board's label of the rail.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The samples since the last call.
    pub fn take(&self) -> Vec<PowerSample> {
        std::mem::take(&mut *self.samples.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for BoardRail {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // One that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

/// Folder, number and label of the board's rail.
fn find(tree: &Tree) -> Told<(String, u32, String)> {
    let folders = monitors(tree).into_iter();
    let mut rails = folders.flat_map(|folder| {
        let labels = rail_labels(tree, &folder).into_iter();
        labels.map(move |(number, label)| (folder.clone(), number, label))
    });
    let board = rails.find(|(_, _, label)| BOARD_RAILS.contains(&label.as_str()));
    board.ok_or_else(|| NO_BOARD_RAIL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tree::recorded;
    use super::*;

    #[test]
    fn the_board_of_an_orin_is_sampled_until_the_end() {
        let (_root, tree) = recorded("orin");
        let rail = BoardRail::open(&tree, Instant::now()).unwrap();
        assert_eq!(rail.label(), "VDD_IN");
        let begun = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < 2 && begun.elapsed() < Duration::from_secs(20) {
            samples.extend(rail.take());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(samples[0].milliwatts, 9250);
        assert!(samples[0].at < samples[1].at);
        let kept = Arc::clone(&rail.samples);
        drop(rail);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn a_board_without_such_a_rail_says_so() {
        for name in ["thor", "laptop"] {
            let (_root, tree) = recorded(name);
            let reason = BoardRail::open(&tree, Instant::now()).unwrap_err();
            assert!(reason.contains("VDD_IN"), "{reason}");
        }
    }
}
