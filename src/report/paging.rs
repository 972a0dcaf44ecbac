//! Swap and page faults of a row, and when they are worth a warning.

use super::row::ended;
use super::schema::PagingRow;
use crate::trial::{Outcome, Paging, Swapped, TrialResult};
use crate::units::Bytes;

/// Less than this that the whole host swaps is mostly other programs' memory, of no weight for the trial.
const HOST_SWAP: Bytes = Bytes(1 << 20);

/// Fewer page faults of the timed phases than this that wait for a disk cost a few milliseconds at most.
const MAJOR_FAULTS: u64 = 16;

/// The row's part.
pub fn row(result: &TrialResult) -> Option<PagingRow> {
    let facts = result.paging.as_ref()?;
    let load = facts.load.as_ref().and_then(|told| told.as_ref().ok());
    let timed = facts.timed.as_ref().and_then(|told| told.as_ref().ok());
    let read = |swapped: Option<&Swapped>| swapped.map(|swapped| swapped.read.0);
    let written = |swapped: Option<&Swapped>| swapped.map(|swapped| swapped.written.0);
    let faults = facts.timed_major_faults.as_ref();
    Some(PagingRow {
        worker_swap_bytes: facts.worker_swap.as_ref().ok().map(|bytes| bytes.0),
        load_swap_read_bytes: read(load),
        load_swap_written_bytes: written(load),
        timed_swap_read_bytes: read(timed),
        timed_swap_written_bytes: written(timed),
        timed_major_faults: faults.and_then(|told| told.as_ref().ok().copied()),
        swapped: sign(facts).is_some(),
    })
}

/// The reason for each part that is null.
pub fn missing(result: &TrialResult) -> Vec<(String, String)> {
    let Some(facts) = &result.paging else {
        let reason = match (&result.outcome, result.wall) {
            (_, None) => "the trial was not started".to_owned(),
            (Outcome::Ok, _) => "the worker did not tell".to_owned(),
            _ => ended(result, "the load was over"),
        };
        return vec![("paging".to_owned(), reason)];
    };
    let mut missing = Vec::new();
    let mut note = |name: &str, reason: String| missing.push((format!("paging.{name}"), reason));
    if let Err(reason) = &facts.worker_swap {
        note("worker_swap_bytes", reason.clone());
    }
    let not_reached = || ended(result, "that was counted");
    let mut untold = |part: &str, told: &Option<Result<Swapped, String>>| {
        let reason = match told {
            Some(Ok(_)) => return,
            Some(Err(reason)) => reason.clone(),
            None => not_reached(),
        };
        note(&format!("{part}_swap_read_bytes"), reason.clone());
        note(&format!("{part}_swap_written_bytes"), reason);
    };
    untold("load", &facts.load);
    untold("timed", &facts.timed);
    match &facts.timed_major_faults {
        Some(Ok(_)) => {}
        Some(Err(reason)) => note("timed_major_faults", reason.clone()),
        None => note("timed_major_faults", not_reached()),
    }
    missing
}

/// What marks a run that swapped.
fn sign(facts: &Paging) -> Option<String> {
    let mut said = Vec::new();
    if let Ok(bytes) = facts.worker_swap
        && bytes > Bytes(0)
    {
        said.push(format!(
            "{:.1} MiB of the worker's memory were in swap",
            mib(bytes)
        ));
    }
    for (told, when) in [
        (&facts.load, "while the model was loaded"),
        (&facts.timed, "in the timed phases"),
    ] {
        if let Some(Ok(swapped)) = told
            && swapped.read + swapped.written >= HOST_SWAP
        {
            said.push(format!(
                "{when} the host wrote {:.1} MiB to swap and read {:.1} MiB back",
                mib(swapped.written),
                mib(swapped.read)
            ));
        }
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn mib(bytes: Bytes) -> f64 {
    bytes.0 as f64 / Bytes::MIB.0 as f64
}

/// A run that swapped.
pub fn swapped(result: &TrialResult) -> Option<String> {
    let sign = sign(result.paging.as_ref()?)?;
    Some(format!(
        "the run swapped: {sign}; main memory was too small for it and what ran beside it, so times may be the disk's: close other programs or choose a smaller model, and run again"
    ))
}

/// Timed phases that waited for files.
pub fn faulted(result: &TrialResult) -> Option<String> {
    let told = result.paging.as_ref()?.timed_major_faults.as_ref()?;
    let faults = told.as_ref().ok().filter(|count| **count >= MAJOR_FAULTS)?;
    Some(format!(
        "{faults} page faults of the timed phases waited for a disk: what was read once had been dropped from the page cache or swapped out; free main memory and run again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn swapping(worker: u64, written: u64, faults: u64) -> TrialResult {
        TrialResult {
            paging: Some(Paging {
                worker_swap: Ok(Bytes(worker)),
                load: Some(Ok(Swapped {
                    read: Bytes(0),
                    written: Bytes(written),
                })),
                timed: Some(Ok(Swapped::default())),
                timed_major_faults: Some(Ok(faults)),
            }),
            ..fixture::result("m", 8)
        }
    }

    #[test]
    fn a_run_that_swaps_is_marked_with_figures_and_one_that_does_not_is_not() {
        let calm = swapping(0, HOST_SWAP.0 - 1, MAJOR_FAULTS - 1);
        assert_eq!((swapped(&calm), faulted(&calm)), (None, None));
        assert!(!row(&calm).unwrap().swapped);
        assert!(missing(&calm).is_empty());

        let host = swapping(0, 3 << 20, 16);
        let said = swapped(&host).unwrap();
        assert!(
            said.contains("wrote 3.0 MiB to swap and read 0.0 MiB"),
            "{said}"
        );
        assert!(faulted(&host).unwrap().starts_with("16 page faults"));
        let found = row(&host).unwrap();
        assert!(found.swapped);
        assert_eq!(found.load_swap_written_bytes, Some(3 << 20));
        assert_eq!(found.timed_swap_read_bytes, Some(0));

        let worker = swapped(&swapping(512 << 10, 0, 0)).unwrap();
        assert!(worker.contains("0.5 MiB of the worker's"), "{worker}");
    }

    #[test]
    fn what_is_not_told_is_null_with_its_reason_and_no_sign_of_swap() {
        let silent = || "/proc/vmstat is not there".to_owned();
        let mut result = swapping(0, 0, 0);
        result.paging = Some(Paging {
            worker_swap: Err(silent()),
            load: Some(Err(silent())),
            timed: None,
            timed_major_faults: None,
        });
        let found = row(&result).unwrap();
        assert!(!found.swapped && swapped(&result).is_none());
        let value = serde_json::to_value(&found).unwrap();
        let missing = missing(&result);
        for (name, value) in value.as_object().unwrap() {
            let known = missing
                .iter()
                .any(|(key, _)| *key == format!("paging.{name}"));
            assert_eq!(value.is_null(), known, "{name}");
        }
        assert_eq!(missing.len(), 6);
        result.paging = None;
        assert_eq!(super::missing(&result)[0].0, "paging");
    }
}
