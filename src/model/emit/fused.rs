//! Attention as one GroupQueryAttention operator over a cache that is bound once and updated in place.

use super::super::graph::{Attr, CONTRIB, Dim};
use super::super::proto::DataType;
use super::super::spec::{NormSpan, Position};
use super::{Emitter, Shared};
use crate::trial::KvCache;

/// Places of the first of GroupQueryAttention's two scales, and of the first of its two normalisations.
const K_SCALE: usize = 12;
const Q_NORM: usize = 14;

/// What one step of a key or value in int8 stands for. Real models get it from a run over some text; the built-in ones have
/// weights whose queries, keys and values are of unit variance by construction (`weights::planner`), in every layer and after
/// normalisation and rotation too, so that six standard deviations are the same range for all of them. Largest key or value of
/// 1,024 tokens of text, random tokens and one token repeated: 5.03 in the test-size models, 5.48 in dense-120m, 6.00 in qwen3-0.6b.
pub const KV_SCALE: f32 = 6.0 / 127.0;

impl Emitter<'_> {
    /// Attention of packed `qkv` `[B, S, (H + 2K) h]` over the shared cache; returns `[B, S, H h]`.
    pub(super) fn fused_attention(
        &mut self,
        shared: &Shared,
        qkv: &str,
        layer: &str,
        cache: u32,
    ) -> String {
        let spec = self.spec;
        let per_head = spec.qk_norm_over == NormSpan::Head;
        let norms_inside = spec.qk_norm && per_head && self.for_cuda;
        let (q, k, v) = if spec.qk_norm && !norms_inside {
            self.normed_heads(qkv, layer)
        } else {
            (qkv.to_owned(), String::new(), String::new())
        };
        let (dims, kind) = (self.cache_dims("past"), self.cache_type());
        let past_key = self
            .g
            .input(&format!("past_key_values.{cache}.key"), kind, &dims);
        let past_value = self
            .g
            .input(&format!("past_key_values.{cache}.value"), kind, &dims);
        let mut attributes = vec![
            ("num_heads", Attr::Int(i64::from(spec.n_heads))),
            ("kv_num_heads", Attr::Int(i64::from(spec.n_kv_heads))),
        ];
        if let Some(scale) = spec.attention_scale {
            attributes.push(("scale", Attr::Float(scale)));
        }
        let (cos, sin) = match spec.position {
            Position::Rotary { .. } => {
                attributes.push(("do_rotary", Attr::Int(1)));
                let rows = u64::from(self.context);
                (
                    self.weight_rows("rope.cos", rows),
                    self.weight_rows("rope.sin", rows),
                )
            }
            Position::Learned => (String::new(), String::new()),
        };
        let (seqlens, total) = shared.lengths.clone().unwrap_or_default();
        let mut inputs = vec![&*q, &k, &v, &past_key, &past_value, &seqlens, &total];
        if !cos.is_empty() {
            inputs.extend([&*cos, &sin]);
        }
        let scale = (self.kv_cache == KvCache::Int8).then(|| self.g.scale("kv_scale", KV_SCALE));
        if let Some(scale) = &scale {
            inputs.resize(K_SCALE, "");
            // One tensor for both: the CUDA provider's fastest kernel for such a cache asks for it.
            inputs.extend([&**scale, scale]);
            attributes.extend([
                ("k_quant_type", Attr::Text("PER_TENSOR")),
                ("v_quant_type", Attr::Text("PER_TENSOR")),
                ("kv_cache_bit_width", Attr::Int(8)),
            ]);
        }
        let norms = norms_inside.then(|| {
            let norm = |name: &str| format!("{layer}{name}.weight");
            (self.weight(&norm("q_norm")), self.weight(&norm("k_norm")))
        });
        if let Some((q_norm, k_norm)) = &norms {
            inputs.resize(Q_NORM, "");
            inputs.extend([&**q_norm, k_norm]);
            attributes.push(("qk_norm_epsilon", Attr::Float(spec.norm.epsilon)));
        }
        let outputs = self
            .g
            .node(CONTRIB, "GroupQueryAttention", &inputs, 3, &attributes);
        let dims = self.cache_dims("total");
        for (value, part) in [(&outputs[1], "key"), (&outputs[2], "value")] {
            self.g
                .output(value, &format!("present.{cache}.{part}"), kind, &dims);
        }
        outputs[0].clone()
    }

    /// Type of the caches of keys and values.
    fn cache_type(&self) -> DataType {
        match self.kv_cache {
            KvCache::Float => self.float,
            KvCache::Int8 => DataType::Int8,
        }
    }

    /// Queries, keys and values apart, the first two normalised. GroupQueryAttention can do this itself on CUDA and per head
    /// only, so the other graphs do it outside.
    fn normed_heads(&mut self, qkv: &str, layer: &str) -> (String, String, String) {
        let spec = self.spec;
        let (q_width, kv_width) = (
            i64::from(spec.q_width()),
            i64::from(spec.n_kv_heads * spec.head_dim),
        );
        let sizes = self.g.ints(&[q_width, kv_width, kv_width]);
        let mut parts = self
            .g
            .node("", "Split", &[qkv, &sizes], 3, &[("axis", Attr::Int(-1))]);
        let mut normed = |x: &str, heads: u32, name: &str| {
            if spec.qk_norm_over == NormSpan::AllHeads {
                let gamma = self.weight(&format!("{layer}{name}.weight"));
                return self.rms_norm(x, &gamma);
            }
            let shape = self
                .g
                .ints(&[0, 0, i64::from(heads), i64::from(spec.head_dim)]);
            let x = self.g.op("Reshape", &[x, &shape], &[]);
            let gamma = self.weight(&format!("{layer}{name}.weight"));
            let x = self.rms_norm(&x, &gamma);
            let shape = self.g.ints(&[0, 0, i64::from(heads * spec.head_dim)]);
            self.g.op("Reshape", &[&x, &shape], &[])
        };
        let q = normed(&parts[0], spec.n_heads, "q_norm");
        let k = normed(&parts[1], spec.n_kv_heads, "k_norm");
        (q, k, parts.swap_remove(2))
    }

    /// A cache with one row per position that is no key or value: written in place at the positions.
    pub(super) fn scatter_rows(
        &mut self,
        new: &str,
        positions: &str,
        name: &str,
        width: u32,
    ) -> String {
        let dims = [
            Dim::Named("batch"),
            Dim::Fixed(self.context),
            Dim::Fixed(width),
        ];
        let past = self.g.input(&format!("past_{name}"), self.float, &dims);
        let axis = self.g.ints(&[2]);
        let index = self.g.op("Unsqueeze", &[positions, &axis], &[]);
        let shape = self.g.ints(&[1, 1, i64::from(width)]);
        let index = self.g.op("Expand", &[&index, &shape], &[]);
        let present = self.g.op(
            "ScatterElements",
            &[&past, &index, new],
            &[("axis", Attr::Int(1))],
        );
        let output = format!("present_{name}");
        self.g.output(&present, &output, self.float, &dims);
        output
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::proto::{GraphProto, ModelProto, NodeProto};
    use super::super::super::spec::{ModelSpec, builtin, find};
    use super::super::super::weights::Layout;
    use super::super::{Variant, emit};
    use super::*;
    use crate::trial::{Device, Float, Form, Precision};
    use prost::Message;

    fn graph(spec: &ModelSpec, kv_cache: KvCache) -> GraphProto {
        let numerics = Precision::Fp16.on(Device::Cuda(0));
        assert_eq!(numerics.compute(), Float::Fp16);
        let variant = Variant::portable(Form::Fused, kv_cache, 64);
        let bytes = emit(spec, &Layout::of(spec, numerics), variant).bytes;
        ModelProto::decode(&bytes[..]).unwrap().graph.unwrap()
    }

    fn attention(graph: &GraphProto) -> Vec<&NodeProto> {
        let nodes = graph.node.iter();
        nodes
            .filter(|node| node.op_type == "GroupQueryAttention")
            .collect()
    }

    #[test]
    fn a_cache_in_int8_has_one_scale_for_keys_and_values() {
        for spec in builtin() {
            let graph = graph(spec, KvCache::Int8);
            for node in attention(&graph) {
                assert_eq!(node.input[K_SCALE..], ["kv_scale", "kv_scale"]);
                let is = |name: &str, text: &str| {
                    let found = node.attribute.iter().find(|one| one.name == name);
                    assert_eq!(found.unwrap().s.as_deref(), Some(text.as_bytes()));
                };
                is("k_quant_type", "PER_TENSOR");
                is("v_quant_type", "PER_TENSOR");
                let mut attributes = node.attribute.iter();
                assert!(attributes.any(|one| one.name == "kv_cache_bit_width" && one.i == Some(8)));
            }
            let scales: Vec<_> = graph
                .initializer
                .iter()
                .filter(|tensor| tensor.name == "kv_scale")
                .collect();
            // Of 32 bits also where all else is fp16.
            assert_eq!(scales.len(), 1, "{}", spec.name);
            assert_eq!(scales[0].data_type, DataType::Float as i32);
            let raw = scales[0].raw_data.as_deref();
            assert_eq!(raw, Some(&KV_SCALE.to_le_bytes()[..]));
            let caches = graph.input.iter().chain(&graph.output);
            let mut types = caches
                .filter(|value| value.name.contains(".key") || value.name.contains(".value"))
                .map(|value| value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap());
            assert!(types.all(|tensor| tensor.elem_type == DataType::Int8 as i32));
        }
    }

    #[test]
    fn a_floating_point_cache_has_no_scale() {
        let graph = graph(find("tiny-qwen3").unwrap(), KvCache::Float);
        for node in attention(&graph) {
            assert!(node.input.len() <= K_SCALE);
            let quantised = |name: &str| name.contains("quant") || name.contains("bit_width");
            assert!(!node.attribute.iter().any(|one| quantised(&one.name)));
        }
        assert!(!graph.initializer.iter().any(|one| one.name == "kv_scale"));
    }
}
