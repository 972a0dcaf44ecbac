//! Attention from standard operators, as framework exports have it: the cache grows by concatenation.

use super::super::graph::{Attr, Dim};
use super::super::proto::DataType;
use super::super::spec::{NormSpan, Position};
use super::{Emitter, Shared};

impl Emitter<'_> {
    /// Additive mask `[B, 1, S, T]`: 0 where a position may be attended to, the type's lowest value elsewhere.
    pub(super) fn causal_mask(&mut self, attended: &str, positions: &str) -> String {
        let total = self.g.op(
            "Shape",
            &[attended],
            &[("start", Attr::Int(1)), ("end", Attr::Int(2))],
        );
        let scalar = self.g.ints(&[]);
        let total = self.g.op("Reshape", &[&total, &scalar], &[]);
        let (zero, one) = (self.g.int(0), self.g.int(1));
        let keys = self.g.op("Range", &[&zero, &total, &one], &[]);
        let axis = self.g.ints(&[2]);
        let queries = self.g.op("Unsqueeze", &[positions, &axis], &[]);
        let causal = self.g.op("LessOrEqual", &[&keys, &queries], &[]);
        let axis = self.g.ints(&[1]);
        let present = self.g.op(
            "Cast",
            &[attended],
            &[("to", Attr::Int(DataType::Bool as i64))],
        );
        let present = self.g.op("Unsqueeze", &[&present, &axis], &[]);
        let allowed = self.g.op("And", &[&causal, &present], &[]);
        let lowest = match self.float {
            DataType::Float16 => -65504.0,
            _ => f32::MIN,
        };
        let (nothing, lowest) = (self.g.float(0.0), self.g.float(lowest));
        let mask = self.g.op("Where", &[&allowed, &nothing, &lowest], &[]);
        self.g.op("Unsqueeze", &[&mask, &axis], &[])
    }

    /// Cosine and sine at the positions, `[B, 1, S, h / 2]`.
    pub(super) fn rotation(&mut self, positions: &str) -> (String, String) {
        let axis = self.g.ints(&[1]);
        let mut at = |name: &str| {
            let table = self.weight_rows(name, u64::from(self.context));
            let rows = self.g.op("Gather", &[&table, positions], &[]);
            self.g.op("Unsqueeze", &[&rows, &axis], &[])
        };
        (at("rope.cos"), at("rope.sin"))
    }

    /// Attention of packed `qkv` `[B, S, (H + 2K) h]` over the cache and itself; returns `[B, S, H h]`.
    pub(super) fn plain_attention(
        &mut self,
        shared: &Shared,
        qkv: &str,
        layer: &str,
        cache: u32,
    ) -> String {
        let spec = self.spec;
        let (q_width, kv_width) = (
            i64::from(spec.q_width()),
            i64::from(spec.n_kv_heads * spec.head_dim),
        );
        let sizes = self.g.ints(&[q_width, kv_width, kv_width]);
        let parts = self
            .g
            .node("", "Split", &[qkv, &sizes], 3, &[("axis", Attr::Int(-1))]);
        let q = self.heads(
            &parts[0],
            spec.n_heads,
            Some(&format!("{layer}q_norm.weight")),
        );
        let k = self.heads(
            &parts[1],
            spec.n_kv_heads,
            Some(&format!("{layer}k_norm.weight")),
        );
        let v = self.heads(&parts[2], spec.n_kv_heads, None);
        let (q, k) = match &shared.rotation {
            Some(rotation) => (self.rotate(&q, rotation), self.rotate(&k, rotation)),
            None => (q, k),
        };
        let k = self.append_to_cache(&k, cache, "key");
        let v = self.append_to_cache(&v, cache, "value");
        let (k, v) = (self.repeat_heads(&k), self.repeat_heads(&v));
        let k = self.g.op(
            "Transpose",
            &[&k],
            &[("perm", Attr::Ints(vec![0, 1, 3, 2]))],
        );
        let scores = self.g.op("MatMul", &[&q, &k], &[]);
        let scale = spec.attention_scale;
        let scale = scale.unwrap_or_else(|| 1.0 / (spec.head_dim as f32).sqrt());
        let scale = self.g.float(scale);
        let scores = self.g.op("Mul", &[&scores, &scale], &[]);
        let mask = shared.mask.as_deref().unwrap_or_default();
        let scores = self.g.op("Add", &[&scores, mask], &[]);
        let weights = self.g.op("Softmax", &[&scores], &[("axis", Attr::Int(-1))]);
        let mixed = self.g.op("MatMul", &[&weights, &v], &[]);
        let mixed = self.g.op(
            "Transpose",
            &[&mixed],
            &[("perm", Attr::Ints(vec![0, 2, 1, 3]))],
        );
        let shape = self.g.ints(&[0, 0, q_width]);
        self.g.op("Reshape", &[&mixed, &shape], &[])
    }

    /// `[B, S, heads * h]` to `[B, heads, S, h]`, with the normalisation where the model has it.
    fn heads(&mut self, x: &str, heads: u32, norm: Option<&str>) -> String {
        let spec = self.spec;
        let norm = norm.filter(|_| spec.qk_norm);
        let (wide, narrow) = match spec.qk_norm_over {
            NormSpan::AllHeads => (norm, None),
            NormSpan::Head => (None, norm),
        };
        let x = self.rms_norm_if(x.to_owned(), wide);
        let dims = [0, 0, i64::from(heads), i64::from(spec.head_dim)];
        let shape = self.g.ints(&dims);
        let x = self.g.op("Reshape", &[&x, &shape], &[]);
        let x = self.rms_norm_if(x, narrow);
        self.g.op(
            "Transpose",
            &[&x],
            &[("perm", Attr::Ints(vec![0, 2, 1, 3]))],
        )
    }

    fn rms_norm_if(&mut self, x: String, weight: Option<&str>) -> String {
        let Some(weight) = weight else { return x };
        let gamma = self.weight(weight);
        self.rms_norm(&x, &gamma)
    }

    /// Rotates the two halves of each head against each other.
    fn rotate(&mut self, x: &str, (cos, sin): &(String, String)) -> String {
        debug_assert!(matches!(self.spec.position, Position::Rotary { .. }));
        let half = i64::from(self.spec.head_dim / 2);
        let sizes = self.g.ints(&[half, half]);
        let halves = self
            .g
            .node("", "Split", &[x, &sizes], 2, &[("axis", Attr::Int(-1))]);
        let mut times = |a: &str, b: &str| self.g.op("Mul", &[a, b], &[]);
        let (first_cos, second_sin) = (times(&halves[0], cos), times(&halves[1], sin));
        let (second_cos, first_sin) = (times(&halves[1], cos), times(&halves[0], sin));
        let first = self.g.op("Sub", &[&first_cos, &second_sin], &[]);
        let second = self.g.op("Add", &[&second_cos, &first_sin], &[]);
        self.g
            .op("Concat", &[&first, &second], &[("axis", Attr::Int(-1))])
    }

    fn append_to_cache(&mut self, new: &str, cache: u32, part: &str) -> String {
        let past = self.g.input(
            &format!("past_key_values.{cache}.{part}"),
            self.float,
            &self.cache_dims("past"),
        );
        let present = self
            .g
            .op("Concat", &[&past, new], &[("axis", Attr::Int(2))]);
        let name = format!("present.{cache}.{part}");
        self.g
            .output(&present, &name, self.float, &self.cache_dims("total"));
        name
    }

    /// Repeats each key/value head for the query heads that share it: `[B, K, T, h]` to `[B, H, T, h]`.
    fn repeat_heads(&mut self, x: &str) -> String {
        let spec = self.spec;
        let group = i64::from(spec.n_heads / spec.n_kv_heads);
        if group == 1 {
            return x.to_owned();
        }
        let axis = self.g.ints(&[2]);
        let x = self.g.op("Unsqueeze", &[x, &axis], &[]);
        let shape = self.g.ints(&[1, 1, group, 1, 1]);
        let x = self.g.op("Expand", &[&x, &shape], &[]);
        let shape = self
            .g
            .ints(&[0, i64::from(spec.n_heads), -1, i64::from(spec.head_dim)]);
        self.g.op("Reshape", &[&x, &shape], &[])
    }

    /// A cache with one row per position that is no key or value: concatenated.
    pub(super) fn append_rows(&mut self, new: &str, name: &str, width: u32) -> String {
        let dims = |length| [Dim::Named("batch"), Dim::Named(length), Dim::Fixed(width)];
        let past = self
            .g
            .input(&format!("past_{name}"), self.float, &dims("past"));
        let present = self
            .g
            .op("Concat", &[&past, new], &[("axis", Attr::Int(1))]);
        let output = format!("present_{name}");
        self.g.output(&present, &output, self.float, &dims("total"));
        output
    }
}
