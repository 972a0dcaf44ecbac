//! Door of the device room: what the machine tells about itself and about this process. A fact that is not told is `None`.

mod host;
mod nvml;
mod process;
mod sampler;

pub use host::{HostFacts, host};
pub use nvml::{Gpu, driver, own_process};
pub use process::{ProcessMemory, Status};
pub use sampler::{Peaks, Sampler};
