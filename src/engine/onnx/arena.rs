//! What the runtime's own allocator says of the memory it holds.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::library;
use super::tensors::{Place, check};
use crate::trial::Arena;
use crate::units::Bytes;
use ort::AsPointer;
use ort::session::Session;
use ort::sys;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};

/// Version of the C interface that the functions below came with: ONNX Runtime 1.23.
const API: u32 = 23;
// Places in the table of functions of onnxruntime_c_api.h, which only ever grows at its end.
const PAIRS: usize = 298;
const RELEASE_PAIRS: usize = 300;
const STATS: usize = 319;

type Stats =
    unsafe extern "system" fn(*const sys::OrtAllocator, *mut *mut c_void) -> sys::OrtStatusPtr;
type Pairs = unsafe extern "system" fn(
    *const c_void,
    *mut *const *const c_char,
    *mut *const *const c_char,
    *mut usize,
);
type Release = unsafe extern "system" fn(*mut c_void);

/// The allocator of a session in one space. Must not outlive the session.
pub struct Allocator {
    allocator: NonNull<sys::OrtAllocator>,
    table: *const c_void,
}

impl Allocator {
    /// The allocator behind buffers in `place`; `None` where ONNX Runtime is older than 1.23.
    pub fn of(
        session: &Session,
        place: &Place,
        library: &Path,
    ) -> Result<Option<Allocator>, EngineError> {
        let Some(table) = library::api(library, API)? else {
            return Ok(None);
        };
        let mut allocator = ptr::null_mut();
        // SAFETY: session and place are alive; one pointer is written.
        check(unsafe {
            (ort::api().CreateAllocator)(session.ptr(), place.as_ptr(), &mut allocator)
        })?;
        Ok(NonNull::new(allocator).map(|allocator| Allocator { allocator, table }))
    }

    /// What it holds now. `None` where it does not say: not every allocator keeps count.
    pub fn stats(&self) -> Option<Arena> {
        // SAFETY: the table is that of API 23 or later, and the places and signatures are those of its header.
        unsafe {
            let function = |place: usize| *self.table.cast::<*const c_void>().add(place);
            let stats = std::mem::transmute::<*const c_void, Stats>(function(STATS));
            let list = std::mem::transmute::<*const c_void, Pairs>(function(PAIRS));
            let release = std::mem::transmute::<*const c_void, Release>(function(RELEASE_PAIRS));
            let mut pairs = ptr::null_mut();
            check(stats(self.allocator.as_ptr(), &mut pairs)).ok()?;
            let pairs = NonNull::new(pairs)?.as_ptr();
            let (mut keys, mut values, mut count) = (ptr::null(), ptr::null(), 0);
            list(pairs, &mut keys, &mut values, &mut count);
            let told = (0..count).map(|index| {
                let text = |at: *const c_char| CStr::from_ptr(at).to_str().unwrap_or_default();
                (text(*keys.add(index)), text(*values.add(index)))
            });
            let arena = read(&told.collect::<Vec<_>>());
            release(pairs);
            arena
        }
    }
}

impl Drop for Allocator {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only.
        unsafe { (ort::api().ReleaseAllocator)(self.allocator.as_ptr()) };
    }
}

/// The figures among the allocator's pairs of names and numbers.
fn read(pairs: &[(&str, &str)]) -> Option<Arena> {
    let figure = |wanted: &str| {
        let (_, text) = pairs.iter().find(|(name, _)| *name == wanted)?;
        text.parse().ok().map(Bytes)
    };
    Some(Arena {
        reserved: figure("TotalAllocated")?,
        live: figure("InUse")?,
        live_peak: figure("MaxInUse")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_found_by_name_and_all_are_needed() {
        let all = [
            ("InUse", "5"),
            ("Limit", "-1"),
            ("MaxInUse", "7"),
            ("TotalAllocated", "9"),
        ];
        let arena = Arena {
            reserved: Bytes(9),
            live: Bytes(5),
            live_peak: Bytes(7),
        };
        assert_eq!(read(&all), Some(arena));
        assert_eq!(read(&all[1..]), None);
        assert_eq!(read(&[("InUse", "x")]), None);
    }
}
