//! The search itself: a value that asks for short trials, is told how they went, and keeps what made decode faster.

use crate::trial::TuningName;
use crate::units::Bytes;

/// A tuning is kept where decode is faster by more than this factor: two runs of the same differ by about as much.
const GAIN: f64 = 1.02;

/// A short trial to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The tunings to run it with.
    pub tuning: Vec<TuningName>,
    /// The one of them that is tried; `None` to measure without it.
    pub tries: Option<TuningName>,
}

/// How a short trial went.
#[derive(Debug, Clone, PartialEq)]
pub enum Ran {
    /// It ran.
    Ok {
        /// Decode speed; `None` where there was no step to time.
        decode_tok_s: Option<f64>,
        /// Peak of memory, where it was read.
        peak: Option<Bytes>,
    },
    /// It did not, for this reason, one clause.
    Failed(String),
}

/// A tuning that was tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Which.
    pub name: TuningName,
    /// Decode speed with it.
    pub decode_tok_s: Option<f64>,
    /// Decode speed without it and with what was kept before it: the better of two where it was measured again.
    pub base_tok_s: f64,
    /// Peak of memory with it.
    pub peak: Option<Bytes>,
    /// Whether it is kept.
    pub kept: bool,
    /// Why, one clause.
    pub reason: String,
}

impl Tried {
    /// How much faster decode was with it.
    pub fn ratio(&self) -> Option<f64> {
        self.decode_tok_s.map(|speed| speed / self.base_tok_s)
    }
}

/// What came of a search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// What is kept, in the order in which it was tried.
    pub kept: Vec<TuningName>,
    /// What was tried.
    pub tried: Vec<Tried>,
    /// Peak of memory with all that is kept; `None` where nothing is, or where it was not read.
    pub peak: Option<Bytes>,
    /// Why nothing was tried although something could have been.
    pub note: Option<String>,
}

/// A measurement with a tuning that was faster, until the one without it has been repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Winner {
    name: TuningName,
    speed: f64,
    peak: Option<Bytes>,
}

/// Tries tunings one after the other, each on top of those that are kept. What seems to win is held against a second measurement
/// without it, so that a machine that was slow for a moment keeps nothing.
#[derive(Debug)]
pub struct Search {
    open: std::vec::IntoIter<TuningName>,
    budget: Bytes,
    /// Decode speed with what is kept.
    base: Option<f64>,
    trying: Option<TuningName>,
    winner: Option<Winner>,
    found: Found,
}

impl Search {
    /// A search among these. A trial that takes more than `budget` keeps nothing.
    pub fn new(open: Vec<TuningName>, budget: Bytes) -> Search {
        let mut search = Search {
            open: open.into_iter(),
            budget,
            base: None,
            trying: None,
            winner: None,
            found: Found::default(),
        };
        search.trying = search.open.next();
        search
    }

    /// The next short trial; `None` when all is known.
    pub fn next(&self) -> Option<Ask> {
        let tried = self.trying?;
        let with_it = self.base.is_some() && self.winner.is_none();
        let tries = with_it.then_some(tried);
        let kept = self.found.kept.iter().copied();
        Some(Ask {
            tuning: kept.chain(tries).collect(),
            tries,
        })
    }

    /// How the trial that was asked for last went. Comes back with what is now known of a tuning.
    pub fn tell(&mut self, ran: Ran) -> Option<&Tried> {
        let name = self.trying?;
        match (self.base, self.winner) {
            (None, _) => {
                self.begin(ran);
                None
            }
            (Some(base), None) => self.judge(name, base, ran),
            (Some(base), Some(winner)) => self.confirm(winner, base, ran),
        }
    }

    /// What was found.
    pub fn found(self) -> Found {
        self.found
    }

    /// The first measurement, without any.
    fn begin(&mut self, ran: Ran) {
        let cause = match usable(ran, self.budget) {
            Ok((speed, _)) => {
                self.base = Some(speed);
                return;
            }
            Err((cause, _)) => cause,
        };
        self.found.note = Some(format!(
            "nothing was tried: in a trial without any, {cause}"
        ));
        self.trying = None;
    }

    /// A measurement with a tuning.
    fn judge(&mut self, name: TuningName, base: f64, ran: Ran) -> Option<&Tried> {
        let (decode_tok_s, peak, reason) = match usable(ran, self.budget) {
            Ok((speed, peak)) if speed > GAIN * base => {
                self.winner = Some(Winner { name, speed, peak });
                return None;
            }
            Ok((speed, peak)) => (Some(speed), peak, slower(speed / base)),
            Err((cause, seen)) => (seen.0, seen.1, cause),
        };
        self.close(Tried {
            name,
            decode_tok_s,
            base_tok_s: base,
            peak,
            kept: false,
            reason,
        })
    }

    /// A second measurement without what seems to win.
    fn confirm(&mut self, winner: Winner, base: f64, ran: Ran) -> Option<&Tried> {
        self.winner = None;
        let Winner { name, speed, peak } = winner;
        let (base_tok_s, kept, reason) = match usable(ran, self.budget) {
            Ok((again, _)) => {
                let better = base.max(again);
                let kept = speed > GAIN * better;
                let reason = if kept {
                    "decode was faster than in two trials without it".to_owned()
                } else {
                    format!("{}, in a second trial without it", slower(speed / better))
                };
                (better, kept, reason)
            }
            Err((cause, _)) => (
                base,
                false,
                format!("in a second trial without it, {cause}"),
            ),
        };
        if kept {
            self.found.kept.push(name);
            self.found.peak = peak;
            self.base = Some(speed);
        }
        self.close(Tried {
            name,
            decode_tok_s: Some(speed),
            base_tok_s,
            peak,
            kept,
            reason,
        })
    }

    fn close(&mut self, tried: Tried) -> Option<&Tried> {
        self.trying = self.open.next();
        self.found.tried.push(tried);
        self.found.tried.last()
    }
}

/// Speed and peak of a trial that nothing speaks against; else what does, one clause, and what is known all the same.
type Usable = Result<(f64, Option<Bytes>), (String, (Option<f64>, Option<Bytes>))>;

fn usable(ran: Ran, budget: Bytes) -> Usable {
    let (decode_tok_s, peak) = match ran {
        Ran::Failed(reason) => return Err((reason, (None, None))),
        Ran::Ok { decode_tok_s, peak } => (decode_tok_s, peak),
    };
    // Without a speed, or with one that nothing can be divided by, there is nothing to compare.
    let Some(speed) = decode_tok_s.filter(|speed| speed.is_finite() && *speed > 0.0) else {
        let reason = "no decode step was timed".to_owned();
        return Err((reason, (None, peak)));
    };
    match peak {
        Some(taken) if taken > budget => Err((
            format!(
                "it took {} MiB more than the budget",
                taken.saturating_sub(budget).0.div_ceil(Bytes::MIB.0)
            ),
            (Some(speed), peak),
        )),
        _ => Ok((speed, peak)),
    }
}

/// Why a ratio is not enough.
fn slower(ratio: f64) -> String {
    if ratio < 1.0 {
        "decode was slower".to_owned()
    } else {
        format!(
            "decode was not faster by more than {:.0} %",
            100.0 * (GAIN - 1.0)
        )
    }
}

#[cfg(test)]
mod tests;
