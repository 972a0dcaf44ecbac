//! One decoder: embedding, layers, final normalisation, head. The parts that differ between the forms are in `plain` and `fused`.

use super::super::graph::{Attr, CONTRIB};
use super::super::spec::{Ffn, NormKind, Position};
use super::{Emitter, Shared};
use crate::trial::Form;

/// The residual stream, and its normalised value for the next branch.
pub(super) struct Stream {
    pub residual: String,
    pub normed: String,
}

impl Emitter<'_> {
    /// A whole decoder whose weights start with `prefix` and whose caches start at `first_cache`; returns logits `[B, V]`.
    pub(super) fn body(&mut self, shared: &Shared, prefix: &str, first_cache: u32) -> String {
        self.g.scope(&format!("/{prefix}embed/"));
        let mut stream = self.embed(shared, prefix);
        for layer in 0..self.spec.n_layers {
            let name = format!("{prefix}l{layer}.");
            self.g.scope(&format!("/{name}attn/"));
            let attended = self.attention(shared, &stream.normed, &name, first_cache + layer);
            stream = self.add_and_norm(&stream, attended, &format!("{name}ffn_norm"));
            self.g.scope(&format!("/{name}ffn/"));
            let ffn = self.ffn(&stream.normed, &name);
            let next = if layer + 1 < self.spec.n_layers {
                format!("{prefix}l{}.attn_norm", layer + 1)
            } else {
                format!("{prefix}final_norm")
            };
            stream = self.add_and_norm(&stream, ffn, &next);
        }
        self.g.scope(&format!("/{prefix}head/"));
        let last = self.g.int(-1);
        let last = self.g.op(
            "Gather",
            &[&stream.normed, &last],
            &[("axis", Attr::Int(1))],
        );
        let head = if self.spec.tied_head {
            "wte"
        } else {
            "head.weight"
        };
        self.head(&last, &format!("{prefix}{head}"))
    }

    /// Logits `[B, V]` of the last position's `[B, d]`.
    fn head(&mut self, last: &str, weight: &str) -> String {
        if self.is_quantized(weight) {
            return self.quantized_head(last, weight);
        }
        let weight = self.operand(weight, last);
        self.g
            .op("Gemm", &[last, &weight], &[("transB", Attr::Int(1))])
    }

    /// The embedding `weight` of the tokens.
    pub(super) fn lookup(&mut self, weight: &str, tokens: &str) -> String {
        if self.is_quantized(weight) {
            return self.quantized_lookup(weight, tokens);
        }
        let table = self.weight(weight);
        self.g.op("Gather", &[&table, tokens], &[])
    }

    fn embed(&mut self, shared: &Shared, prefix: &str) -> Stream {
        let mut tokens = self.lookup(&format!("{prefix}wte"), &shared.input_ids);
        if let Some(multiplier) = self.spec.embedding_multiplier {
            // Not a part of the weights: a tied head reads them too.
            let multiplier = self.g.float(multiplier);
            tokens = self.g.op("Mul", &[&tokens, &multiplier], &[]);
        }
        let norm = format!("{prefix}l0.attn_norm");
        match (self.spec.position, &shared.positions) {
            (Position::Learned, Some(positions)) => {
                let table = self.weight(&format!("{prefix}wpe"));
                let positions = self.g.op("Gather", &[&table, positions], &[]);
                self.add_and_norm(
                    &Stream {
                        residual: tokens,
                        normed: String::new(),
                    },
                    (positions, None),
                    &norm,
                )
            }
            _ => Stream {
                normed: self.norm(&tokens, &norm),
                residual: tokens,
            },
        }
    }

    /// `residual + branch (+ bias)`, then the normalisation called `norm`.
    fn add_and_norm(
        &mut self,
        stream: &Stream,
        branch: (String, Option<String>),
        norm: &str,
    ) -> Stream {
        let (branch, bias) = branch;
        if self.form == Form::Fused {
            return self.skip_norm(&stream.residual, &branch, bias.as_deref(), norm);
        }
        let branch = match bias {
            Some(bias) => self.g.op("Add", &[&branch, &bias], &[]),
            None => branch,
        };
        let residual = self.g.op("Add", &[&stream.residual, &branch], &[]);
        Stream {
            normed: self.norm(&residual, norm),
            residual,
        }
    }

    /// Skip(Simplified)LayerNormalization: sum, bias and normalisation in one kernel.
    fn skip_norm(
        &mut self,
        residual: &str,
        branch: &str,
        bias: Option<&str>,
        norm: &str,
    ) -> Stream {
        let epsilon = ("epsilon", Attr::Float(self.spec.norm.epsilon));
        let gamma = self.weight(&format!("{norm}.weight"));
        let bias = bias.unwrap_or_default();
        let mut outputs = match self.spec.norm.kind {
            NormKind::LayerNorm => {
                let beta = self.weight(&format!("{norm}.bias"));
                self.g.node(
                    CONTRIB,
                    "SkipLayerNormalization",
                    &[branch, residual, &gamma, &beta, bias],
                    4,
                    &[epsilon],
                )
            }
            NormKind::RmsNorm => self.g.node(
                CONTRIB,
                "SkipSimplifiedLayerNormalization",
                &[branch, residual, &gamma, bias],
                4,
                &[epsilon],
            ),
        };
        let residual = outputs.swap_remove(3);
        Stream {
            normed: outputs.swap_remove(0),
            residual,
        }
    }

    /// Normalisation alone.
    pub(super) fn norm(&mut self, x: &str, name: &str) -> String {
        let gamma = self.weight(&format!("{name}.weight"));
        match self.spec.norm.kind {
            NormKind::LayerNorm => {
                let beta = self.weight(&format!("{name}.bias"));
                let epsilon = ("epsilon", Attr::Float(self.spec.norm.epsilon));
                self.g.op(
                    "LayerNormalization",
                    &[x, &gamma, &beta],
                    &[("axis", Attr::Int(-1)), epsilon],
                )
            }
            NormKind::RmsNorm => self.rms_norm(x, &gamma),
        }
    }

    /// RMSNorm over the last dimension: one contributed operator, or its definition.
    pub(super) fn rms_norm(&mut self, x: &str, gamma: &str) -> String {
        let epsilon = self.spec.norm.epsilon;
        if self.form == Form::Fused {
            // Lives in the standard domain since before that domain had an RMSNormalization of its own.
            return self.g.op(
                "SimplifiedLayerNormalization",
                &[x, gamma],
                &[("axis", Attr::Int(-1)), ("epsilon", Attr::Float(epsilon))],
            );
        }
        let square = self.g.op("Mul", &[x, x], &[]);
        let axes = self.g.ints(&[-1]);
        let mean = self.g.op(
            "ReduceMean",
            &[&square, &axes],
            &[("keepdims", Attr::Int(1))],
        );
        let epsilon = self.g.float(epsilon);
        let shifted = self.g.op("Add", &[&mean, &epsilon], &[]);
        let root = self.g.op("Sqrt", &[&shifted], &[]);
        let scaled = self.g.op("Div", &[x, &root], &[]);
        self.g.op("Mul", &[&scaled, gamma], &[])
    }

    /// Linear layer without its bias, which is returned beside it for whoever can fuse it.
    pub(super) fn linear(&mut self, x: &str, name: &str) -> (String, Option<String>) {
        let product = self.matmul(x, &format!("{name}.weight"));
        let bias = self.spec.bias.then(|| self.weight(&format!("{name}.bias")));
        (product, bias)
    }

    /// Linear layer with its bias, if the model has biases.
    pub(super) fn linear_bias(&mut self, x: &str, name: &str) -> String {
        match self.linear(x, name) {
            (product, Some(bias)) => self.g.op("Add", &[&product, &bias], &[]),
            (product, None) => product,
        }
    }

    /// Query, key and value projection, attention, output projection (its bias beside it).
    fn attention(
        &mut self,
        shared: &Shared,
        x: &str,
        layer: &str,
        cache: u32,
    ) -> (String, Option<String>) {
        let qkv = self.linear_bias(x, &format!("{layer}qkv"));
        let attended = match self.form {
            Form::Plain => self.plain_attention(shared, &qkv, layer, cache),
            Form::Fused => self.fused_attention(shared, &qkv, layer, cache),
        };
        self.linear(&attended, &format!("{layer}o"))
    }

    fn ffn(&mut self, x: &str, layer: &str) -> (String, Option<String>) {
        match self.spec.ffn {
            Ffn::Gelu { .. } => {
                let inner = match self.form {
                    Form::Plain => {
                        let inner = self.linear_bias(x, &format!("{layer}fc"));
                        self.g
                            .op("Gelu", &[&inner], &[("approximate", Attr::Text("tanh"))])
                    }
                    Form::Fused => {
                        let (inner, bias) = self.linear(x, &format!("{layer}fc"));
                        self.g.contrib(
                            "FastGelu",
                            &[&inner, bias.as_deref().unwrap_or_default()],
                            &[],
                        )
                    }
                };
                self.linear(&inner, &format!("{layer}proj"))
            }
            Ffn::Swiglu { .. } => {
                // The spec's `bias` speaks of attention and GELU layers: SwiGLU layers have none.
                let gate = self.matmul(x, &format!("{layer}gate.weight"));
                let up = self.matmul(x, &format!("{layer}up.weight"));
                let gate = self.silu(&gate);
                let inner = self.g.op("Mul", &[&gate, &up], &[]);
                (self.matmul(&inner, &format!("{layer}down.weight")), None)
            }
            Ffn::Moe {
                experts,
                top_k,
                normalize,
                ..
            } => {
                let routed = self.moe(x, layer, u64::from(experts), i64::from(top_k), normalize);
                (routed, None)
            }
        }
    }

    pub(super) fn matmul(&mut self, x: &str, weight: &str) -> String {
        if self.is_quantized(weight) {
            return self.quantized_matmul(x, weight);
        }
        let weight = self.operand(weight, x);
        self.g.op("MatMul", &[x, &weight], &[])
    }

    /// `x * sigmoid(x)`.
    pub(super) fn silu(&mut self, x: &str) -> String {
        if self.form == Form::Fused {
            // QuickGelu is x * sigmoid(alpha * x).
            return self
                .g
                .contrib("QuickGelu", &[x], &[("alpha", Attr::Float(1.0))]);
        }
        let sigmoid = self.g.op("Sigmoid", &[x], &[]);
        self.g.op("Mul", &[x, &sigmoid], &[])
    }
}
