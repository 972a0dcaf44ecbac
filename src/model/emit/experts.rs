//! Top-k Mixture of Experts: one MoE operator, or the same function from standard operators.

use super::super::graph::Attr;
use super::super::proto::DataType;
use super::super::spec::Ffn;
use super::Emitter;
use crate::trial::Form;

/// Attributes of the operators for experts.
pub(super) fn attributes(top_k: i64) -> Vec<(&'static str, Attr)> {
    vec![
        ("k", Attr::Int(top_k)),
        ("activation_type", Attr::Text("swiglu")),
        // Gate and value rows of fc1 alternate: the one layout that both the CPU and the CUDA kernel take.
        ("swiglu_fusion", Attr::Int(1)),
        // silu(gate) * value: gate * sigmoid(alpha * gate) * (value + beta).
        ("activation_alpha", Attr::Float(1.0)),
        ("activation_beta", Attr::Float(0.0)),
        ("normalize_routing_weights", Attr::Int(1)),
    ]
}

impl Emitter<'_> {
    /// The FFN of a Mixture-of-Experts layer on `x` `[B, S, d]`; returns the same shape.
    pub(super) fn moe(
        &mut self,
        x: &str,
        layer: &str,
        experts: u64,
        top_k: i64,
        normalize: bool,
    ) -> String {
        let router = format!("{layer}router.weight");
        if self.form == Form::Fused {
            let shares = self.matmul(x, &router);
            let flat = self.g.ints(&[-1, experts as i64]);
            let logits = self.g.op("Reshape", &[&shares, &flat], &[]);
            let mixed = self.fused_experts(x, &logits, layer, top_k);
            return if normalize {
                mixed
            } else {
                self.scale_to_all(&mixed, &shares, top_k)
            };
        }
        let flat = self.g.ints(&[-1, i64::from(self.spec.d_model)]);
        let tokens = self.g.op("Reshape", &[x, &flat], &[]);
        let logits = self.matmul(&tokens, &router);
        let (weights, chosen) = self.route(&logits, top_k, normalize);
        let shape = self.g.op("Shape", &[&tokens], &[]);
        let mut mixed = self.g.op(
            "ConstantOfShape",
            &[&shape],
            &[("value", Attr::Zero(self.float))],
        );
        for expert in 0..experts {
            mixed = self.add_expert(&tokens, &mixed, &weights, &chosen, layer, expert);
        }
        let shape = self.g.op("Shape", &[x], &[]);
        self.g.op("Reshape", &[&mixed, &shape], &[])
    }

    /// All experts in one operator, with weights normalised over the chosen ones.
    fn fused_experts(&mut self, x: &str, logits: &str, layer: &str, top_k: i64) -> String {
        let attributes = attributes(top_k);
        let (fc1, fc2) = (format!("{layer}experts.fc1"), format!("{layer}experts.fc2"));
        if self.is_quantized(&fc1) {
            return self.quantized_experts(x, logits, [&fc1, &fc2], attributes);
        }
        let (fc1, fc2) = (self.operand(&fc1, x), self.operand(&fc2, x));
        self.g
            .contrib("MoE", &[x, logits, &fc1, "", &fc2], &attributes)
    }

    /// Turns routing weights normalised over the chosen experts into shares of the softmax over all: times the sum of the
    /// chosen shares. The operator's own `normalize_routing_weights = 0` is not used because the CPU kernel of ONNX Runtime
    /// 1.31.1 returns wrong values with it wherever its output is not also a graph output (seen against the plain form).
    fn scale_to_all(&mut self, mixed: &str, logits: &str, top_k: i64) -> String {
        let (weights, _) = self.route(logits, top_k, false);
        let axes = self.g.ints(&[-1]);
        let keep = [("keepdims", Attr::Int(1))];
        let share = self.g.op("ReduceSum", &[&weights, &axes], &keep);
        self.g.op("Mul", &[mixed, &share], &[])
    }

    /// Weights and indices of the chosen experts, `[.., k]` for logits `[.., E]`. Softmax over the chosen logits equals softmax over all,
    /// renormalised over the chosen.
    pub(super) fn route(&mut self, logits: &str, top_k: i64, normalize: bool) -> (String, String) {
        let k = self.g.ints(&[top_k]);
        let softmax = [("axis", Attr::Int(-1))];
        if normalize {
            let top = self.g.node("", "TopK", &[logits, &k], 2, &[]);
            (self.g.op("Softmax", &[&top[0]], &softmax), top[1].clone())
        } else {
            let probabilities = self.g.op("Softmax", &[logits], &softmax);
            let mut top = self.g.node("", "TopK", &[&probabilities, &k], 2, &[]);
            (top.swap_remove(0), top.swap_remove(0))
        }
    }

    /// Adds one expert's share for the tokens that chose it, and only for them: gather, two linear layers, scatter.
    fn add_expert(
        &mut self,
        tokens: &str,
        mixed: &str,
        weights: &str,
        chosen: &str,
        layer: &str,
        expert: u64,
    ) -> String {
        let Ffn::Moe { d_ff, .. } = self.spec.ffn else {
            unreachable!("only Mixture-of-Experts layers have experts")
        };
        self.g.scope(&format!("/{layer}ffn/expert.{expert}/"));
        let index = self.g.int(expert as i64);
        let hits = self.g.op("Equal", &[chosen, &index], &[]);
        // [2, n]: token and rank among its choices.
        let hits = self.g.op("NonZero", &[&hits], &[]);
        let hits = self.g.op("Transpose", &[&hits], &[]);
        let weight = self.g.op("GatherND", &[weights, &hits], &[]);
        let (start, end, axis) = (self.g.ints(&[0]), self.g.ints(&[1]), self.g.ints(&[1]));
        let rows = self.g.op("Slice", &[&hits, &start, &end, &axis], &[]);
        let x = self.g.op("GatherND", &[tokens, &rows], &[]);
        let linear = [("transB", Attr::Int(1))];
        let fc1 = self.weight_slice(&format!("{layer}experts.fc1"), expert);
        let inner = self.g.op("Gemm", &[&x, &fc1], &linear);
        let shape = self.g.ints(&[-1, i64::from(d_ff), 2]);
        let inner = self.g.op("Reshape", &[&inner, &shape], &[]);
        let (first, second) = (self.g.int(0), self.g.int(1));
        let gate = self
            .g
            .op("Gather", &[&inner, &first], &[("axis", Attr::Int(2))]);
        let value = self
            .g
            .op("Gather", &[&inner, &second], &[("axis", Attr::Int(2))]);
        let gate = self.silu(&gate);
        let inner = self.g.op("Mul", &[&gate, &value], &[]);
        let fc2 = self.weight_slice(&format!("{layer}experts.fc2"), expert);
        let out = self.g.op("Gemm", &[&inner, &fc2], &linear);
        let weight = self.g.op("Unsqueeze", &[&weight, &axis], &[]);
        let out = self.g.op("Mul", &[&out, &weight], &[]);
        if self.float == DataType::Float16 {
            // The CPU provider has no fp16 ScatterND that adds (1.31.1); a token chooses an expert once at most, so its row
            // can be read, added to and written back.
            let before = self.g.op("GatherND", &[mixed, &rows], &[]);
            let sum = self.g.op("Add", &[&before, &out], &[]);
            return self.g.op("ScatterND", &[mixed, &rows, &sum], &[]);
        }
        self.g.op(
            "ScatterND",
            &[mixed, &rows, &out],
            &[("reduction", Attr::Text("add"))],
        )
    }
}
