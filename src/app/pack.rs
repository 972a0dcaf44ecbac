//! The commands about what a file of edgebench carries: making one, its licences.

use super::{print, progress};
use crate::error::Result;
use crate::export::packed;
use crate::payload::{self, BundleRequest, Step};
use crate::progress::Event;

/// Makes one file of program, worker and runtime.
pub fn bundle(request: &BundleRequest, as_json: bool) -> Result<u8> {
    let progress = progress(false);
    let made = payload::bundle(request, &mut |Step::Packing(name)| {
        progress.event(&Event::Note(format!("packing {name}")));
    })?;
    progress.finish();
    print(&packed::summary(&made, as_json)?)
}

/// Prints the licences of everything in this file.
pub fn licences() -> Result<u8> {
    print(&payload::licences()?)
}
