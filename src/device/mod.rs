//! Door of the device room: what the machine tells about itself and about this process. A fact that is not told is `None`.

mod host;
#[cfg(not(target_feature = "crt-static"))]
mod nvml;
#[cfg(not(target_feature = "crt-static"))]
mod process;
#[cfg(not(target_feature = "crt-static"))]
mod sampler;

pub use host::{HostFacts, host};
#[cfg(not(target_feature = "crt-static"))]
pub use nvml::Gpu;
#[cfg(not(target_feature = "crt-static"))]
pub use process::{ProcessMemory, Status};
#[cfg(not(target_feature = "crt-static"))]
pub use sampler::{Peaks, Sampler};
