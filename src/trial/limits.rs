//! What a device can do at most, as measured before the trials.

use serde::{Deserialize, Serialize};

/// A rate or a time, or one clause that says why it is not known.
type Told = Result<f64, String>;

/// The limits of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceLimits {
    /// Bytes read in a second, where nothing is written.
    pub read_bytes_s: Told,
    /// Bytes read and written in a second by a copy inside the device's memory.
    pub copy_bytes_s: Told,
    /// Bytes copied in a second from pinned main memory to the device.
    pub to_device_bytes_s: Told,
    /// Bytes copied in a second from the device to pinned main memory.
    pub from_device_bytes_s: Told,
    /// Seconds that one more tiny kernel takes in a chain of them, launched one by one by the runtime.
    pub launch_s: Told,
    /// The same inside a captured CUDA graph.
    pub graph_launch_s: Told,
    /// Floating point operations in a second of a large matrix product of the runtime, in the element type trials compute in.
    pub flop_s: Told,
    /// How each was measured.
    pub method: String,
}

impl Default for DeviceLimits {
    fn default() -> DeviceLimits {
        DeviceLimits::unknown("it was not measured")
    }
}

impl DeviceLimits {
    /// Nothing is known, for one reason.
    pub fn unknown(reason: &str) -> DeviceLimits {
        let none = || Err(reason.to_owned());
        DeviceLimits {
            read_bytes_s: none(),
            copy_bytes_s: none(),
            to_device_bytes_s: none(),
            from_device_bytes_s: none(),
            launch_s: none(),
            graph_launch_s: none(),
            flop_s: none(),
            method: "not measured".into(),
        }
    }
}
