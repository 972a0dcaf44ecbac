//! Door of the model room: built-in specs, their counts, graphs and weights.

mod adopted;
mod census;
mod decode_rule;
mod emit;
mod footprint;
pub mod foreign;
mod golden;
mod graph;
mod logits;
mod offload;
pub mod onnx;
mod part;
mod proto;
#[cfg(test)]
mod quantized_tests;
mod references;
mod spec;
mod store;
mod traffic;
mod weights;
mod yardstick;

pub use adopted::{Origin, adopt, origin};
pub use census::{census, kv_bytes_per_token};
pub use decode_rule::decode_rule;
#[cfg(test)]
pub use emit::with_top_k;
pub use emit::{Variant, check_cache, check_device, check_form};
pub use footprint::{Footprint, GpuMemory, basis, footprint, footprint_on};
pub use golden::{golden, tolerance, unquantized_golden};
pub use logits::text_logits;
pub use offload::{MappedWeight, OffloadPlan};
pub use part::{Amount, Part, expert_bytes, parts, weight_bytes};
#[cfg(test)]
pub use quantized_tests::{errors, load};
pub use spec::{Ffn, ModelSpec, Norm, NormKind, NormSpan, Position, RopeScaling, builtin, find};
pub use store::{Entry, Prepared, Preparing, Store, export};
#[cfg(test)]
pub use traffic::Traffic;
pub use traffic::{Work, known_work, work};
pub use weights::{Seeded, Source, Values, Weight, weights};
pub use yardstick::yardsticks;
