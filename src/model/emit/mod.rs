//! From a spec to an ONNX graph with a KV cache, in either form. Deterministic: the same arguments give the same bytes.
//!
//! Both forms refer to the same weight file. Shapes: `B` batch, `S` new tokens, `P` tokens in the cache, `T = P + S`,
//! `C` capacity of a shared cache, `V` vocabulary, `d` width, `H` query heads, `K` key/value heads, `h` head size.
//!
//! | input | plain | fused |
//! |---|---|---|
//! | `input_ids` | int64 `[B, S]` | int64 `[B, S]` |
//! | `attention_mask` | int64 `[B, T]`, all ones | - |
//! | `position_ids` | int64 `[B, S]` | int32 `[B, S]`, learned positions only |
//! | `seqlens_k`, `total_sequence_length` | - | int32 `[B]` = T - 1, int32 `[1]` = T |
//! | `past_key_values.N.key`, `.value` | `[B, K, P, h]` | `[B, K, C, h]` |
//!
//! A fused graph whose cache is copied, to see what updating it in place buys, has the cache shapes of the plain one.
//! The caches are of the type of the activations, or, in the fused form, int8 with one scale, `kv_scale`, for all of them.
//!
//! Outputs: `logits` `[B, 1, V]` of the last position, `next_ids` int64 `[B, 1]` (greedy), `present.N.key`, `.value`.

mod body;
mod experts;
mod fused;
mod packing;
mod plain;
mod quantized;
mod router;
mod specialists;

pub use packing::{FEW, packing_check};
pub use router::router_check;
#[cfg(test)]
pub use router::with_top_k;

use super::graph::{Dim, GraphBuilder};
use super::proto::DataType;
use super::spec::{ModelSpec, Position};
use super::weights::{Layout, Tensor};
use crate::error::{Error, Result};
use crate::protocol::{CacheShape, DecoderIo, Element, WeightTensor};
use crate::trial::{Device, Form, KvCache, KvUpdate, Precision, Trial};

/// A graph, and what one must know to run it.
pub struct Emitted {
    /// The ONNX file.
    pub bytes: Vec<u8>,
    /// Its inputs and outputs.
    pub io: DecoderIo,
    /// The weights it refers to.
    pub weights: Vec<WeightTensor>,
}

/// What of a graph is no part of its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// Form.
    pub form: Form,
    /// Type of the KV cache.
    pub kv_cache: KvCache,
    /// How that cache grows.
    pub kv_update: KvUpdate,
    /// Whether the graph is for CUDA alone: then it may use what only that provider's operators can do.
    pub for_cuda: bool,
    /// Whether the engine packs quantised experts for the CUDA provider, so that they can stay in main memory.
    pub packed_experts: bool,
    /// Longest sequence, in tokens.
    pub context: u32,
}

impl Variant {
    /// One that runs everywhere, with a cache that a fused graph updates in place.
    pub const fn portable(form: Form, kv_cache: KvCache, context: u32) -> Variant {
        Variant {
            form,
            kv_cache,
            kv_update: KvUpdate::InPlace,
            for_cuda: false,
            packed_experts: false,
            context,
        }
    }

    /// That of a trial.
    pub fn of(trial: &Trial) -> Variant {
        Variant {
            form: trial.form,
            kv_cache: trial.kv_cache,
            kv_update: trial.kv_update,
            for_cuda: trial.device != Device::Cpu,
            packed_experts: false,
            context: trial.context(),
        }
    }
}

/// Refuses a form whose KV cache cannot be of this type.
pub fn check_cache(form: Form, kv_cache: KvCache) -> Result<()> {
    match (form, kv_cache) {
        (Form::Plain, KvCache::Int8) => Err(Error::Usage(
            "--form plain has standard operators only, and none of them reads a KV cache in int8; use --form fused for --kv-cache int8".into(),
        )),
        _ => Ok(()),
    }
}

/// Refuses a form that cannot be written with weights of this precision.
pub fn check_form(form: Form, precision: Precision) -> Result<()> {
    match (form, precision.quantized_bits()) {
        (Form::Plain, Some(_)) => Err(Error::Usage(format!(
            "--form plain has standard operators only, and none of them multiplies with {precision} weights as they are; use --form fused for --precision {precision}"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a model that a device's operators do not take with weights of this precision.
pub fn check_device(spec: &ModelSpec, precision: Precision, device: Device) -> Result<()> {
    if spec.foreign.is_some() {
        // Whether ONNX Runtime has operators for all of it, loading it tells.
        return Ok(());
    }
    // Measured on an H100: tiny-specialists in int4 keeps to its reference for the prompt and leaves it while decoding, with and
    // without a CUDA graph; in int8, in fp16 and on the CPU it does not. Why is not known.
    if device != Device::Cpu && spec.specialists.is_some() && precision == Precision::Int4 {
        return Err(Error::Usage(format!(
            "{} in int4 cannot be measured on {device}: a mixture of specialists computes other logits there than its reference with ONNX Runtime 1.31.1; give --precision int8, or --device cpu",
            spec.name
        )));
    }
    match (device, quantized::experts(spec, precision)) {
        (Device::Cuda(_), Some(widths)) if !quantized::runs_on_cuda(widths) => {
            let (name, [width, inner]) = (&spec.name, widths);
            let multiple = quantized::CUDA_WIDTHS;
            Err(Error::Usage(format!(
                "{name} in {precision} cannot run on {device}: the operator for quantised experts takes only widths that are multiples of {multiple} there, and these experts are {width} by {inner}; give --precision fp16, or --device cpu"
            )))
        }
        _ => Ok(()),
    }
}

/// Writes a graph of `spec`. `layout` is the weight file it refers to.
pub fn emit(spec: &ModelSpec, layout: &Layout, variant: Variant) -> Emitted {
    emit_with_copies(spec, layout, variant, &[])
}

/// The same, in which these tensors of the layout are copied before a matrix product reads them, by an operator of the engine's.
pub fn emit_with_copies(
    spec: &ModelSpec,
    layout: &Layout,
    variant: Variant,
    copied: &[String],
) -> Emitted {
    let Variant {
        form,
        kv_cache,
        context,
        ..
    } = variant;
    let in_place = form == Form::Fused && variant.kv_update == KvUpdate::InPlace;
    let float = DataType::from(Element::from(layout.numerics.compute()));
    let mut emitter = Emitter {
        g: GraphBuilder::new(&spec.name, float),
        spec,
        layout,
        form,
        kv_cache,
        in_place,
        for_cuda: variant.for_cuda,
        packed_experts: variant.packed_experts,
        copied,
        float,
        context,
    };
    let shared = emitter.inputs();
    let logits = match spec.specialists {
        Some(specialists) => emitter.mixture(&shared, specialists),
        None => emitter.body(&shared, "", 0),
    };
    emitter.outputs(&logits);
    let io = DecoderIo {
        caches: vec![
            CacheShape {
                kv_heads: spec.n_kv_heads,
                head_dim: spec.head_dim
            };
            (spec.bodies() * spec.n_layers) as usize
        ],
        vocab: spec.vocab,
        shared_kv: in_place,
        fused: form == Form::Fused,
        kv_cache,
        position_ids: form == Form::Plain || spec.position == Position::Learned,
        router_width: spec.specialists.map(|specialists| specialists.count),
        foreign: None,
        pass: None,
    };
    let mut metadata = vec![
        ("edgebench.model", spec.name.clone()),
        ("edgebench.form", form.to_string()),
        ("edgebench.precision", layout.numerics.to_string()),
        ("edgebench.context", context.to_string()),
    ];
    if kv_cache != KvCache::default() {
        metadata.push(("edgebench.kv_cache", kv_cache.to_string()));
    }
    Emitted {
        weights: emitter.g.weights(),
        bytes: emitter.g.finish(&metadata),
        io,
    }
}

struct Emitter<'a> {
    g: GraphBuilder,
    spec: &'a ModelSpec,
    layout: &'a Layout,
    form: Form,
    kv_cache: KvCache,
    in_place: bool,
    for_cuda: bool,
    packed_experts: bool,
    copied: &'a [String],
    float: DataType,
    context: u32,
}

/// Values that every layer reads, computed once.
struct Shared {
    input_ids: String,
    /// `position_ids`, where the graph has it.
    positions: Option<String>,
    /// `seqlens_k` and `total_sequence_length` of the fused form.
    lengths: Option<(String, String)>,
    /// Additive mask `[B, 1, S, T]` of the plain form.
    mask: Option<String>,
    /// Cosine and sine `[B, 1, S, h / 2]` at the positions: plain form, rotary models.
    rotation: Option<(String, String)>,
}

impl Emitter<'_> {
    fn inputs(&mut self) -> Shared {
        let tokens = [Dim::Named("batch"), Dim::Named("sequence")];
        let input_ids = self.g.input("input_ids", DataType::Int64, &tokens);
        let mut shared = Shared {
            input_ids,
            positions: None,
            lengths: None,
            mask: None,
            rotation: None,
        };
        match self.form {
            Form::Plain => {
                let attended = self.g.input(
                    "attention_mask",
                    DataType::Int64,
                    &[Dim::Named("batch"), Dim::Named("total")],
                );
                let positions = self.g.input("position_ids", DataType::Int64, &tokens);
                self.g.scope("/mask/");
                shared.mask = Some(self.causal_mask(&attended, &positions));
                if matches!(self.spec.position, Position::Rotary { .. }) {
                    self.g.scope("/rotation/");
                    shared.rotation = Some(self.rotation(&positions));
                }
                shared.positions = Some(positions);
            }
            Form::Fused => {
                let seqlens = self
                    .g
                    .input("seqlens_k", DataType::Int32, &[Dim::Named("batch")]);
                let total =
                    self.g
                        .input("total_sequence_length", DataType::Int32, &[Dim::Fixed(1)]);
                shared.lengths = Some((seqlens, total));
                if self.spec.position == Position::Learned {
                    shared.positions = Some(self.g.input("position_ids", DataType::Int32, &tokens));
                }
            }
        }
        shared
    }

    fn outputs(&mut self, logits: &str) {
        self.g.scope("/head/");
        let next = self.g.op(
            "ArgMax",
            &[logits],
            &[
                ("axis", super::graph::Attr::Int(-1)),
                ("keepdims", super::graph::Attr::Int(1)),
            ],
        );
        let axes = self.g.ints(&[1]);
        let logits = self.g.op("Unsqueeze", &[logits, &axes], &[]);
        let batch = Dim::Named("batch");
        self.g.output(
            &logits,
            "logits",
            self.float,
            &[batch, Dim::Fixed(1), Dim::Fixed(self.spec.vocab)],
        );
        self.g
            .output(&next, "next_ids", DataType::Int64, &[batch, Dim::Fixed(1)]);
    }

    /// A tensor of the layout.
    fn tensor(&self, name: &str) -> &Tensor {
        self.layout
            .get(name)
            .unwrap_or_else(|| unreachable!("the layout has every weight of its spec: {name}"))
    }

    /// Declares a weight of the layout and returns its name.
    fn weight(&mut self, name: &str) -> String {
        let tensor = self.tensor(name);
        let (mut weight, bytes) = (part(tensor, name, tensor.dims.clone(), 0), tensor.bytes);
        if let (true, Some(bits)) = (self.packed_experts, tensor.packable_bits()) {
            weight.packed = Some(bits);
            weight.repacked = false;
        }
        self.g.weight(weight, bytes)
    }

    /// A weight that `x` is about to be multiplied with: itself, or a copy of it made then.
    fn operand(&mut self, name: &str, x: &str) -> String {
        let weight = self.weight(name);
        if self.copied.iter().all(|copied| copied != name) {
            return weight;
        }
        let op = match self.tensor(name).element {
            Element::Fp32 => "FetchFp32",
            Element::Fp16 => "FetchFp16",
            Element::Uint8 => "FetchUint8",
        };
        self.g
            .node(super::graph::OWN, op, &[&weight, x], 1, &[])
            .swap_remove(0)
    }

    /// Declares the first `rows` rows of a weight, under the same name.
    fn weight_rows(&mut self, name: &str, rows: u64) -> String {
        let tensor = self.tensor(name);
        let mut dims = tensor.dims.clone();
        let bytes = tensor.bytes / dims[0] * rows;
        dims[0] = rows;
        let weight = part(tensor, name, dims, 0);
        self.g.weight(weight, bytes)
    }

    /// Declares the first `rows` rows of a weight as a matrix, under a name of their own: another view of the same bytes.
    fn weight_as_rows(&mut self, name: &str, rows: u64, view: &str) -> String {
        let tensor = self.tensor(name);
        let bytes = tensor.bytes / tensor.dims[0] * rows;
        let width = bytes / rows / tensor.element.bytes();
        let weight = part(tensor, &format!("{name}.{view}"), vec![rows, width], 0);
        self.g.weight(weight, bytes)
    }

    /// Declares slice `index` along the first dimension of a weight, as a weight of its own.
    fn weight_slice(&mut self, name: &str, index: u64) -> String {
        let tensor = self.tensor(name);
        let bytes = tensor.bytes / tensor.dims[0];
        let (name, dims) = (format!("{name}.{index}"), tensor.dims[1..].to_vec());
        let weight = part(tensor, &name, dims, index * bytes);
        self.g.weight(weight, bytes)
    }

    /// Shape of one key or value cache: a growing one's length has a name, a shared one's is the capacity.
    fn cache_dims(&self, length: &'static str) -> [Dim; 4] {
        let length = match self.in_place {
            false => Dim::Named(length),
            true => Dim::Fixed(self.context),
        };
        [
            Dim::Named("batch"),
            Dim::Fixed(self.spec.n_kv_heads),
            length,
            Dim::Fixed(self.spec.head_dim),
        ]
    }
}

/// A tensor of the weight file, or the part of one that starts at byte `from` of it, as a graph declares it.
fn part(tensor: &Tensor, name: &str, dims: Vec<u64>, from: u64) -> WeightTensor {
    WeightTensor {
        name: name.to_owned(),
        dims: dims.into_iter().map(|dim| dim as i64).collect(),
        element: tensor.element,
        offset: tensor.offset + from,
        repacked: tensor.repacked,
        mapped: false,
        packed: None,
    }
}
