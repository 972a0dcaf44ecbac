//! What a run tells a waiting person, on stderr only: a bar on a terminal, plain lines elsewhere, little when quiet.
//! The bar is drawn when something happens and never by a thread of its own, which would disturb the measurement.

use crate::trial::Phase;
use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The plan is known.
    PlanReady {
        /// Number of trials.
        trials: usize,
    },
    /// Weights of a model are being written or checked.
    Preparing {
        /// The model.
        model: String,
        /// Bytes done.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A trial begins.
    TrialStarted {
        /// Its place in the plan, from 0.
        index: usize,
        /// Its id.
        id: String,
    },
    /// The trial entered a phase.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// A timed repetition is finished.
    Repetition {
        /// How many are.
        done: u32,
        /// How many there will be.
        of: u32,
    },
    /// A trial has ended.
    TrialFinished {
        /// Its id.
        id: String,
        /// Its result in a few words.
        line: String,
    },
    /// A trial of a ceiling search begins.
    Searching {
        /// Its id.
        id: String,
    },
    /// A short trial begins that a tuning is judged by.
    Tuning {
        /// Id of the trial that is tuned.
        id: String,
        /// What it is run with, in a few words.
        with: String,
    },
    /// Something is known of a tuning.
    Tuned {
        /// Id of the trial that is tuned.
        id: String,
        /// What, in a few words.
        line: String,
    },
    /// A ceiling search has ended.
    CeilingFinished {
        /// Its result in a few words.
        line: String,
    },
    /// Something worth knowing; silenced by `--quiet`.
    Note(String),
    /// Something the user must know; never silenced.
    Warning(String),
}

/// Shows events.
pub struct Progress {
    /// Where they are shown.
    screen: Screen,
    /// Whether everything but warnings is left out.
    quiet: bool,
    /// What the bar says now.
    now: Mutex<Now>,
}

/// Where events are shown.
enum Screen {
    /// A bar on the terminal.
    Bar(ProgressBar),
    /// Plain lines.
    Lines(Mutex<Box<dyn Write + Send>>),
}

/// The trial that is running.
#[derive(Default)]
struct Now {
    /// Its id.
    id: String,
    /// Its phase.
    phase: String,
}

impl Progress {
    /// Shows a bar on stderr when `terminal` says that stderr is one; else writes plain lines to `writer`.
    pub fn new(terminal: bool, quiet: bool, writer: Box<dyn Write + Send>) -> Progress {
        if terminal && !quiet {
            Progress::on(ProgressDrawTarget::stderr())
        } else {
            let screen = Screen::Lines(Mutex::new(writer));
            Progress {
                screen,
                quiet,
                now: Mutex::default(),
            }
        }
    }

    /// Shows a bar on `target`.
    fn on(target: ProgressDrawTarget) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // The template is constant; were it wrong, the default one would do.
        let style =
            ProgressStyle::with_template("[{elapsed_precise}] {bar:20} {pos}/{len} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Progress {
            screen: Screen::Bar(bar),
            quiet: false,
            now: Mutex::default(),
        }
    }

    /// Shows one event. A stderr that cannot be written to is no reason to stop measuring.
    pub fn event(&self, event: &Event) {
        match &self.screen {
            Screen::Bar(bar) => self.draw(bar, event),
            Screen::Lines(writer) => {
                if let Some(line) = plain_line(event, self.quiet) {
                    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = writeln!(writer, "{line}").and_then(|()| writer.flush());
                }
            }
        }
    }

    /// Takes the bar off the terminal, before a result is printed.
    pub fn finish(&self) {
        if let Screen::Bar(bar) = &self.screen {
            bar.finish_and_clear();
        }
    }

    /// Shows one event on the bar.
    fn draw(&self, bar: &ProgressBar, event: &Event) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::PlanReady { trials } => bar.set_length(*trials as u64),
            Event::Preparing {
                model,
                done_bytes,
                total_bytes,
            } => {
                let (done, total) = (BinaryBytes(*done_bytes), BinaryBytes(*total_bytes));
                bar.set_message(format!("preparing {model}: {done} of {total}"));
            }
            Event::TrialStarted { index, id } => {
                *now = Now {
                    id: id.clone(),
                    phase: String::new(),
                };
                bar.set_position(*index as u64);
                bar.set_message(now.id.clone());
            }
            Event::Phase { phase } => {
                now.phase = phase.to_string();
                bar.set_message(format!("{}: {}", now.id, now.phase));
            }
            Event::Repetition { done, of } => {
                bar.set_message(format!("{}: {} {done}/{of}", now.id, now.phase));
            }
            Event::Searching { id } => {
                *now = Now {
                    id: format!("ceiling: {id}"),
                    phase: String::new(),
                };
                bar.set_message(now.id.clone());
            }
            Event::Tuning { id, with } => {
                *now = Now {
                    id: format!("tuning: {id}: {with}"),
                    phase: String::new(),
                };
                bar.set_message(now.id.clone());
            }
            Event::Tuned { id, .. } => {
                // What follows is another short trial, which says so, or the trial itself.
                now.id = id.clone();
                self.above(bar, event);
            }
            Event::CeilingFinished { .. } => self.above(bar, event),
            Event::TrialFinished { .. } => {
                bar.inc(1);
                self.above(bar, event);
            }
            Event::Note(_) | Event::Warning(_) => self.above(bar, event),
        }
    }

    /// A line that stays, above the bar.
    fn above(&self, bar: &ProgressBar, event: &Event) {
        if let Some(line) = plain_line(event, self.quiet) {
            bar.println(line);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// The line that stays of an event, if any does.
fn plain_line(event: &Event, quiet: bool) -> Option<String> {
    match event {
        Event::Warning(text) => Some(format!("warning: {text}")),
        Event::TrialFinished { id, line } if !quiet => Some(format!("{id}: {line}")),
        Event::Tuned { id, line } if !quiet => Some(format!("{id}: tuning: {line}")),
        Event::CeilingFinished { line } if !quiet => Some(line.clone()),
        Event::Note(text) if !quiet => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// A writer whose text can be looked at.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A run from beginning to end.
    fn run() -> Vec<Event> {
        vec![
            Event::Note("no GPU: running on the CPU".to_owned()),
            Event::PlanReady { trials: 1 },
            Event::Preparing {
                model: "m".to_owned(),
                done_bytes: 1,
                total_bytes: 2,
            },
            Event::TrialStarted {
                index: 0,
                id: "m/fused".to_owned(),
            },
            Event::Tuning {
                id: "m/fused".to_owned(),
                with: "gemm".to_owned(),
            },
            Event::Tuned {
                id: "m/fused".to_owned(),
                line: "gemm kept".to_owned(),
            },
            Event::Phase {
                phase: Phase::Decode,
            },
            Event::Repetition { done: 1, of: 5 },
            Event::Warning("the disk is nearly full".to_owned()),
            Event::TrialFinished {
                id: "m/fused".to_owned(),
                line: "ok, 41.0 tok/s".to_owned(),
            },
            Event::Searching {
                id: "m/fused/pp48".to_owned(),
            },
            Event::CeilingFinished {
                line: "m/fused: fits 64".to_owned(),
            },
        ]
    }

    /// What is written for a run where stderr is no terminal, or where it is but is to be quiet.
    fn written(terminal: bool, quiet: bool) -> String {
        let shared = Shared::default();
        let progress = Progress::new(terminal, quiet, Box::new(shared.clone()));
        run().iter().for_each(|event| progress.event(event));
        drop(progress);
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn elsewhere_than_on_a_terminal_there_are_plain_lines_only() {
        assert_eq!(
            written(false, false),
            "no GPU: running on the CPU\nm/fused: tuning: gemm kept\nwarning: the disk is nearly full\nm/fused: ok, 41.0 tok/s\nm/fused: fits 64\n"
        );
    }

    #[test]
    fn quiet_leaves_warnings() {
        assert_eq!(written(false, true), "warning: the disk is nearly full\n");
        assert_eq!(written(true, true), "warning: the disk is nearly full\n");
    }

    #[test]
    fn the_bar_follows_the_trials() {
        let progress = Progress::on(ProgressDrawTarget::hidden());
        let Screen::Bar(bar) = &progress.screen else {
            panic!("no bar");
        };
        for event in &run()[..8] {
            progress.event(event);
        }
        assert_eq!((bar.length(), bar.position()), (Some(1), 0));
        assert_eq!(bar.message(), "m/fused: decode 1/5");
        run()[8..].iter().for_each(|event| progress.event(event));
        assert_eq!(bar.position(), 1);
        assert_eq!(bar.message(), "ceiling: m/fused/pp48");
    }
}
