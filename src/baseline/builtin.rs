//! The baselines that the program carries: `benchmarks/baselines.json` and the files it names, packed by the build.

use super::{Baseline, Origin, Part, read};
use crate::carried;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::LazyLock;

/// The list and the files that it names, by their paths below `benchmarks/`.
pub(super) static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/baselines.zst"));

static BLOCK: LazyLock<String> = LazyLock::new(|| carried::unpack(PACKED));

/// The list of them.
const LIST: &str = "baselines.json";

/// One in the list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub summary: String,
    /// Its files, the first the one that conditions are held against.
    pub files: Vec<String>,
}

/// The list. One that the build has packed cannot be broken: a test reads each.
pub(super) fn entries() -> Vec<Entry> {
    let list = carried::find(&BLOCK, LIST).unwrap_or_default();
    serde_json::from_str(list).unwrap_or_default()
}

/// The names, in the order of the list.
pub fn names() -> Vec<String> {
    entries().into_iter().map(|entry| entry.name).collect()
}

/// The baseline of this name, if it is built in.
pub fn find(name: &str) -> Option<Result<Baseline>> {
    let entry = entries().into_iter().find(|entry| entry.name == name)?;
    Some(baseline(entry))
}

fn baseline(entry: Entry) -> Result<Baseline> {
    let part = |file: &String| {
        let text = carried::find(&BLOCK, file).ok_or_else(|| {
            Error::Bug(format!("the program does not carry {file} of a baseline"))
        })?;
        let label = format!("{} ({file})", entry.name);
        Ok(Part {
            text: Cow::Borrowed(text),
            run: read(&label, &label, text)?,
        })
    };
    let parts: Vec<Part> = entry.files.iter().map(part).collect::<Result<_>>()?;
    Ok(Baseline {
        name: entry.name,
        origin: Origin::BuiltIn,
        summary: Some(entry.summary),
        parts,
    })
}
