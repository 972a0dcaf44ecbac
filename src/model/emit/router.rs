//! Graphs that show which weights a router gives the experts of a token.
//!
//! The plain form has those weights as tensors: its router is run by itself, on the embeddings of some text. The operators of the
//! fused form tell none, so they are measured: experts of a few numbers are put in, each of which writes the same number to a place of
//! its own, and what stands there then is its weight. In a second such layer every expert that is not to be chosen computes what is
//! no number: where one of them is read into a result, even with a weight of zero, that is no number either.

use super::super::graph::Attr;
use super::super::graph::{Dim, GraphBuilder};
use super::super::proto::{DataType, ModelProto, TensorProto};
use super::super::spec::{Ffn, ModelSpec};
use super::super::weights::{Layout, stored};
use super::{Emitter, Variant};
use crate::protocol::{Element, RouterCheck, SideGraph, SideInput, SideOutput};
use crate::trial::{Float, Form, RouterRead, Trial};
use half::f16;
use prost::Message;

/// Tokens that the operator is run on.
const TOKENS: u32 = 8;
/// Inner width of the experts that are put into it: what the CUDA provider's kernel takes in every precision.
const INNER: u32 = 64;
/// What the input has at its last place, which all experts read.
const CONSTANT: f32 = 4.0;
/// Their gate and their value are multiples of it. The sigmoid of the gate, 16, is 1 to seven digits.
const GATE: i8 = 4;
const VALUE: i8 = 1;
/// Distance of the logits of two experts.
const STEP: f32 = 0.25;

/// How a trial's router is looked at, and the graph for it, where it takes one; `None` for a model without a router.
pub fn router_check(
    spec: &ModelSpec,
    layout: &Layout,
    trial: &Trial,
    prompt: &[i64],
) -> Option<(RouterCheck, Option<Vec<u8>>)> {
    let tolerance = match layout.numerics.compute() {
        Float::Fp32 => 1e-5,
        Float::Fp16 => 1e-3,
    };
    if let Some(specialists) = spec.specialists {
        let check = RouterCheck {
            read: RouterRead::Cache,
            graph: None,
            experts: specialists.count,
            per_token: None,
            normalized: true,
            tolerance,
        };
        return Some((check, None));
    }
    let Ffn::Moe {
        experts,
        top_k,
        normalize,
        ..
    } = spec.ffn
    else {
        return None;
    };
    let (read, (side, bytes)) = match trial.form {
        Form::Plain => (RouterRead::Outputs, outputs(spec, layout, prompt)),
        Form::Fused => (RouterRead::Operator, operator(spec, layout, trial)),
    };
    let check = RouterCheck {
        read,
        graph: Some(side),
        experts,
        per_token: Some(top_k),
        normalized: normalize,
        tolerance,
    };
    Some((check, Some(bytes)))
}

/// Experts of a layer, and how many of them a token goes to.
fn counts(spec: &ModelSpec) -> (u32, u32, bool) {
    match spec.ffn {
        Ffn::Moe {
            experts,
            top_k,
            normalize,
            ..
        } => (experts, top_k, normalize),
        Ffn::Gelu { .. } | Ffn::Swiglu { .. } => (0, 0, false),
    }
}

fn emitter<'a>(spec: &'a ModelSpec, layout: &'a Layout, variant: Variant) -> Emitter<'a> {
    let float = DataType::from(Element::from(layout.numerics.compute()));
    Emitter {
        g: GraphBuilder::new("router", float),
        spec,
        layout,
        form: variant.form,
        kv_cache: variant.kv_cache,
        in_place: false,
        for_cuda: variant.for_cuda,
        packed_experts: false,
        copied: &[],
        float,
        context: variant.context,
    }
}

/// The first layer's router of the plain form, on the normalised embeddings of a text: `weights` and `chosen` as its experts read them.
fn outputs(spec: &ModelSpec, layout: &Layout, prompt: &[i64]) -> (SideGraph, Vec<u8>) {
    let (experts, top_k, normalize) = counts(spec);
    let variant = Variant::portable(Form::Plain, Default::default(), prompt.len() as u32);
    let mut emitter = emitter(spec, layout, variant);
    let tokens = Dim::Named("tokens");
    let ids = emitter.g.input("ids", DataType::Float, &[tokens]);
    let ids = emitter.cast(&ids, DataType::Int64);
    let mut x = emitter.lookup("wte", &ids);
    if let Some(multiplier) = spec.embedding_multiplier {
        let multiplier = emitter.g.float(multiplier);
        x = emitter.g.op("Mul", &[&x, &multiplier], &[]);
    }
    let x = emitter.norm(&x, "l0.ffn_norm");
    let logits = emitter.matmul(&x, "l0.router.weight");
    let (weights, chosen) = emitter.route(&logits, i64::from(top_k), normalize);
    let rows = prompt.len() as i64;
    let mut side = SideGraph {
        graph: Default::default(),
        inputs: vec![SideInput {
            name: "ids".into(),
            dims: vec![rows],
            values: prompt.iter().map(|id| *id as f32).collect(),
        }],
        outputs: Vec::new(),
    };
    for (name, value, width) in [
        ("weights", &weights, top_k),
        ("chosen", &chosen, top_k),
        ("logits", &logits, experts),
    ] {
        emitter.show(value, name, &[tokens, Dim::Fixed(width)]);
        side.outputs.push(SideOutput {
            name: name.into(),
            dims: vec![rows, i64::from(width)],
        });
    }
    (side, emitter.g.finish(&[]))
}

/// The operator of the fused form in two layers of experts made for it: `mixed`, and `poisoned` where all but the first experts
/// compute what is no number; with the logits of both.
fn operator(spec: &ModelSpec, layout: &Layout, trial: &Trial) -> (SideGraph, Vec<u8>) {
    let (experts, top_k, normalize) = counts(spec);
    // Logits, and a block by itself for what the experts read: with codes of weights, activations are rounded block by block.
    let width = (experts + 32).next_multiple_of(INNER);
    let small = ModelSpec {
        n_layers: 2,
        d_model: width,
        ffn: Ffn::Moe {
            d_ff: INNER,
            experts,
            top_k,
            normalize,
        },
        ..spec.clone()
    };
    let small_layout = Layout::of(&small, layout.numerics);
    let mut emitter = emitter(&small, &small_layout, Variant::of(trial));
    let mut side = SideGraph {
        graph: Default::default(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    for (layer, result, rank) in [
        ("l0.", "mixed", rotated as fn(u32, u32, u32, u32) -> u32),
        ("l1.", "poisoned", first_on_top),
    ] {
        let (input, shown) = (format!("x.{result}"), format!("logits.{result}"));
        let shape = [Dim::Fixed(1), Dim::Fixed(TOKENS), Dim::Fixed(width)];
        let x = emitter.g.input(&input, DataType::Float, &shape);
        let x = emitter.cast(&x, emitter.float);
        let (count, chosen) = (u64::from(experts), i64::from(top_k));
        let mixed = emitter.moe(&x, layer, count, chosen, normalize);
        emitter.show(&mixed, result, &shape);
        let logits = emitter.matmul(&x, &format!("{layer}router.weight"));
        let of_experts = [shape[0], shape[1], Dim::Fixed(experts)];
        emitter.show(&logits, &shown, &of_experts);
        let values = (0..TOKENS).flat_map(|token| {
            let logit = move |expert| {
                STEP * (rank(expert, token, experts, top_k) as f32 - experts as f32 / 2.0)
            };
            (0..width).map(move |at| match at {
                at if at < experts => logit(at),
                at if at + 1 == width => CONSTANT,
                _ => 0.0,
            })
        });
        let dims = |last: u32| vec![1, i64::from(TOKENS), i64::from(last)];
        side.inputs.push(SideInput {
            name: input,
            dims: dims(width),
            values: values.collect(),
        });
        for (name, last) in [(result.to_owned(), width), (shown, experts)] {
            let dims = dims(last);
            side.outputs.push(SideOutput { name, dims });
        }
    }
    let bytes = emitter.g.finish(&[]);
    (
        side,
        filled(&bytes, layout.numerics.quantized_bits(), top_k),
    )
}

/// Ranks of the experts, other ones for each token.
fn rotated(expert: u32, token: u32, experts: u32, _: u32) -> u32 {
    (expert + token) % experts
}

/// The same, with the first `top_k` experts above all others.
fn first_on_top(expert: u32, token: u32, experts: u32, top_k: u32) -> u32 {
    match expert < top_k {
        true => experts - 1 - (expert + token) % top_k,
        false => (expert + token) % (experts - top_k),
    }
}

impl Emitter<'_> {
    fn cast(&mut self, x: &str, to: DataType) -> String {
        self.g.op("Cast", &[x], &[("to", Attr::Int(to as i64))])
    }

    /// Makes a value an output of 32-bit floating point numbers.
    fn show(&mut self, value: &str, name: &str, dims: &[Dim]) {
        let value = self.cast(value, DataType::Float);
        self.g.output(&value, name, DataType::Float, dims);
    }
}

/// The graph with its weights inside.
fn filled(bytes: &[u8], bits: Option<u32>, top_k: u32) -> Vec<u8> {
    // It was encoded here: there is nothing in it that cannot be read.
    let mut model = ModelProto::decode(bytes).unwrap_or_default();
    let tensors = model.graph.iter_mut();
    for tensor in tensors.flat_map(|graph| &mut graph.initializer) {
        if tensor.data_location.take().is_some() {
            tensor.external_data.clear();
            tensor.raw_data = Some(contents(tensor, bits, top_k));
        }
    }
    model.encode_to_vec()
}

/// The bytes of a weight.
fn contents(tensor: &TensorProto, bits: Option<u32>, top_k: u32) -> Vec<u8> {
    let (layer, name) = tensor.name.split_once('.').unwrap_or_default();
    let dims: Vec<usize> = tensor.dims.iter().map(|dim| *dim as usize).collect();
    let is_half = tensor.data_type == DataType::Float16 as i32;
    let floats = |values: &mut dyn Iterator<Item = f32>| -> Vec<u8> {
        match is_half {
            true => values
                .flat_map(|one| f16::from_f32(one).to_le_bytes())
                .collect(),
            false => values.flat_map(f32::to_le_bytes).collect(),
        }
    };
    let [experts, rows, columns] = dims[..] else {
        // The router: a logit for each of the first places of the input.
        let columns = dims.last().copied().unwrap_or(1);
        let all = 0..dims.iter().product::<usize>();
        let one = |at: usize| f32::from(u8::from(at / columns == at % columns));
        return floats(&mut all.map(one));
    };
    let poison = |expert: usize, value: f32| match layer == "l1" && expert >= top_k as usize {
        true => f32::NAN,
        false => value,
    };
    let each = experts * rows * columns;
    match (name.rsplit_once('.'), bits) {
        (Some((_, "scales")), _) => {
            floats(&mut (0..each).map(|at| poison(at / (rows * columns), 1.0)))
        }
        (Some((matrix, "q")), Some(bits)) => {
            let columns = columns * 8 / bits as usize;
            let numbers = (0..experts * rows * columns).map(|at| number(matrix, at, rows, columns));
            stored(&numbers.collect::<Vec<i8>>(), bits)
        }
        _ => floats(&mut (0..each).map(|at| {
            let value = f32::from(number(name, at, rows, columns));
            poison(at / (rows * columns), value)
        })),
    }
}

/// A number of the experts' matrices.
fn number(matrix: &str, at: usize, rows: usize, columns: usize) -> i8 {
    let (expert, row, column) = (at / columns / rows, at / columns % rows, at % columns);
    match matrix.ends_with("fc1") {
        // Rows of gate and value alternate.
        true if column + 1 == columns => [GATE, VALUE][row % 2],
        false if (row, column) == (expert, 0) => 1,
        _ => 0,
    }
}

/// A graph in which the operators choose so many experts.
#[cfg(test)]
pub fn with_top_k(bytes: &[u8], top_k: i64) -> Vec<u8> {
    let mut model = ModelProto::decode(bytes).unwrap_or_default();
    let nodes = model.graph.iter_mut().flat_map(|graph| &mut graph.node);
    for node in nodes.filter(|node| node.op_type.ends_with("MoE")) {
        for attribute in node.attribute.iter_mut().filter(|one| one.name == "k") {
            attribute.i = Some(top_k);
        }
    }
    model.encode_to_vec()
}
