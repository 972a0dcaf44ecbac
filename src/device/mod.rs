//! Door of the device room: what the machine tells about itself and about this process. A fact that is not told is `None`.

mod clocks;
mod host;
mod jetson;
mod machine;
mod memory;
#[cfg(not(target_feature = "crt-static"))]
mod nvml;
#[cfg(not(target_feature = "crt-static"))]
mod paging;
#[cfg(not(target_feature = "crt-static"))]
mod pool;
#[cfg(not(target_feature = "crt-static"))]
mod power;
#[cfg(not(target_feature = "crt-static"))]
mod process;
#[cfg(not(target_feature = "crt-static"))]
mod rail;
#[cfg(not(target_feature = "crt-static"))]
mod rapl;
#[cfg(not(target_feature = "crt-static"))]
mod sampler;
#[cfg(not(target_feature = "crt-static"))]
mod state;
mod thermal;
mod tree;

pub use clocks::{CLOCKS_FOLDER, clocks_are_left};
#[cfg(not(target_feature = "crt-static"))]
pub use clocks::{lock_clocks, restore_clocks};
pub use host::{HostFacts, host};
pub use jetson::{Cap, Jetson, Rail, Soc};
pub use machine::{Machine, machine};
#[cfg(not(target_feature = "crt-static"))]
pub use nvml::{Gpu, NvmlClocks, driver, own_process};
#[cfg(not(target_feature = "crt-static"))]
pub use paging::{PagingCounters, PagingLook};
#[cfg(not(target_feature = "crt-static"))]
pub use pool::Pool;
#[cfg(not(target_feature = "crt-static"))]
pub use power::PowerMeter;
#[cfg(not(target_feature = "crt-static"))]
pub use process::{ProcessMemory, Status};
#[cfg(not(target_feature = "crt-static"))]
pub use sampler::{DeviceLook, DeviceProbe, Peaks, Sampler};
pub use thermal::Zone;
#[cfg(test)]
pub use tree::recorded;
