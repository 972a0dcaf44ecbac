//! Locks a GPU's clocks and restores them, over whatever sets them; a note on disk tells the next run where this one could not.
//! A note is there before anything is set and goes after everything is restored, so that no clock stays locked unknown.

#[cfg(not(target_feature = "crt-static"))]
mod choice;
#[cfg(not(target_feature = "crt-static"))]
mod lock;
#[cfg_attr(
    target_feature = "crt-static",
    expect(dead_code, reason = "only a worker locks clocks")
)]
mod notes;
#[cfg(all(test, not(target_feature = "crt-static")))]
mod tests;

#[cfg(not(target_feature = "crt-static"))]
pub use lock::{GpuClocks, Refusal, lock_clocks, restore_clocks};
pub use notes::{CLOCKS_FOLDER, clocks_are_left};
