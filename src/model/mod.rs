//! Door of the model room: built-in specs, their counts, graphs and weights.

mod census;
mod spec;

pub use census::{Census, census, kv_bytes_per_token, weight_bytes};
pub use spec::{Ffn, ModelSpec, Norm, NormKind, Position, Specialists, builtin, find};
