//! Attention as one GroupQueryAttention operator over a cache that is bound once and updated in place.

use super::super::graph::{Attr, CONTRIB, Dim};
use super::super::spec::Position;
use super::{Emitter, Shared};

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
        let (q, k, v) = if spec.qk_norm {
            self.normed_heads(qkv, layer)
        } else {
            (qkv.to_owned(), String::new(), String::new())
        };
        let dims = self.cache_dims("capacity");
        let past_key = self
            .g
            .input(&format!("past_key_values.{cache}.key"), self.float, &dims);
        let past_value = self
            .g
            .input(&format!("past_key_values.{cache}.value"), self.float, &dims);
        let mut attributes = vec![
            ("num_heads", Attr::Int(i64::from(spec.n_heads))),
            ("kv_num_heads", Attr::Int(i64::from(spec.n_kv_heads))),
        ];
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
        let outputs = self
            .g
            .node(CONTRIB, "GroupQueryAttention", &inputs, 3, &attributes);
        for (value, part) in [(&outputs[1], "key"), (&outputs[2], "value")] {
            self.g
                .output(value, &format!("present.{cache}.{part}"), self.float, &dims);
        }
        outputs[0].clone()
    }

    /// Queries, keys and values apart, the first two normalised per head. GroupQueryAttention can do this itself on CUDA
    /// only (its inputs 14 and 15), so the portable graph does it outside.
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
