//! What weights a spec has, in the order of its layers, before anything is said of how they are stored.

use super::super::spec::{Ffn, ModelSpec, NormKind, NormSpan, Position};
use super::values::Init;

/// What a weight is read by, which decides whether and how it is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stays floating point: routers, norms, biases, positions, tables, and what nothing reads.
    Float,
    /// A linear layer `[inputs, outputs]`.
    Linear,
    /// The embedding `[tokens, width]`, looked up by rows; the output head as well where that has no weight of its own.
    Embedding {
        /// Whether it is the output head as well.
        is_head: bool,
    },
    /// The output head `[tokens, width]`.
    Head,
    /// Experts `[experts, outputs, inputs]`.
    Experts,
}

/// One weight of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Name.
    pub name: String,
    /// Dimensions.
    pub dims: Vec<u64>,
    /// How it is filled.
    pub init: Init,
    /// What reads it.
    pub kind: Kind,
}

impl Weight {
    /// Whether its values follow from its dimensions: a table, and no part of what was learned.
    pub fn is_table(&self) -> bool {
        self.init.is_table()
    }
}

/// The weights of `spec`.
pub fn weights(spec: &ModelSpec) -> Vec<Weight> {
    let mut planner = Planner {
        spec,
        weights: Vec::new(),
    };
    planner.model();
    planner.weights
}

struct Planner<'a> {
    spec: &'a ModelSpec,
    weights: Vec<Weight>,
}

impl Planner<'_> {
    fn add(&mut self, name: String, dims: &[u32], init: Init, kind: Kind) {
        self.weights.push(Weight {
            name,
            dims: dims.iter().map(|dim| u64::from(*dim)).collect(),
            init,
            kind,
        });
    }

    /// A matrix `[inputs, outputs]`, scaled so that inputs of unit variance give outputs of variance `gain^2`.
    fn matrix(&mut self, name: String, inputs: u32, outputs: u32, gain: f32, kind: Kind) {
        let std = gain / (inputs as f32).sqrt();
        self.add(
            name,
            &[inputs, outputs],
            Init::Bell { mean: 0.0, std },
            kind,
        );
    }

    fn linear(&mut self, name: String, inputs: u32, outputs: u32, gain: f32) {
        self.matrix(name, inputs, outputs, gain, Kind::Linear);
    }

    /// A small matrix whose outputs choose or weigh: rounding its weights would change choices and save nothing.
    fn chooser(&mut self, name: String, inputs: u32, outputs: u32, gain: f32) {
        self.matrix(name, inputs, outputs, gain, Kind::Float);
    }

    fn bias(&mut self, name: String, width: u32) {
        let (mean, std) = (0.0, 0.02);
        self.add(name, &[width], Init::Bell { mean, std }, Kind::Float);
    }

    fn gamma(&mut self, name: String, width: u32) {
        let (mean, std) = (1.0, 0.1);
        self.add(name, &[width], Init::Bell { mean, std }, Kind::Float);
    }

    fn norm(&mut self, name: String) {
        let d = self.spec.d_model;
        self.gamma(format!("{name}.weight"), d);
        if self.spec.norm.kind == NormKind::LayerNorm {
            self.bias(format!("{name}.bias"), d);
        }
    }

    fn model(&mut self) {
        let spec = self.spec;
        if let Position::Rotary { theta, scaling } = spec.position {
            for (name, sine) in [("rope.cos", false), ("rope.sin", true)] {
                let init = match scaling {
                    None => Init::Rope { theta, sine },
                    Some(scaling) => Init::ScaledRope {
                        theta,
                        sine,
                        scaling,
                    },
                };
                let dims = [spec.max_positions, spec.head_dim / 2];
                self.add(name.into(), &dims, init, Kind::Float);
            }
        }
        if let Some(specialists) = spec.specialists {
            self.chooser(
                "router.fc.weight".into(),
                spec.d_model,
                specialists.router_hidden,
                (spec.d_model as f32).sqrt(),
            );
            self.bias("router.fc.bias".into(), specialists.router_hidden);
            self.chooser(
                "router.out.weight".into(),
                specialists.router_hidden,
                specialists.count,
                1.5,
            );
            self.bias("router.out.bias".into(), specialists.count);
            for head in 0..specialists.unused_heads {
                self.chooser(format!("unused.{head}.weight"), spec.d_model, 1, 1.0);
                self.bias(format!("unused.{head}.bias"), 1);
            }
            for body in 0..specialists.count {
                self.body(&format!("s{body}."));
            }
        } else {
            self.body("");
        }
    }

    fn body(&mut self, prefix: &str) {
        let spec = self.spec;
        // An embedding of standard deviation 1/sqrt(d) gives logits of unit variance where it is also the head, and leaves
        // the residual stream to the layers: greedy text then does not repeat the last token for ever.
        let std = 1.0 / (spec.d_model as f32).sqrt();
        self.add(
            format!("{prefix}wte"),
            &[spec.vocab, spec.d_model],
            Init::Bell { mean: 0.0, std },
            Kind::Embedding {
                is_head: spec.tied_head,
            },
        );
        if spec.position == Position::Learned {
            self.add(
                format!("{prefix}wpe"),
                &[spec.max_positions, spec.d_model],
                Init::Bell { mean: 0.0, std },
                Kind::Float,
            );
        }
        for layer in 0..spec.n_layers {
            self.layer(&format!("{prefix}l{layer}."));
        }
        self.norm(format!("{prefix}final_norm"));
        if !spec.tied_head {
            self.add(
                format!("{prefix}head.weight"),
                &[spec.vocab, spec.d_model],
                Init::Bell { mean: 0.0, std },
                Kind::Head,
            );
        }
    }

    fn layer(&mut self, prefix: &str) {
        let spec = self.spec;
        let d = spec.d_model;
        // The residual stream adds 2 L branches: each is scaled to keep the sum's variance near one (GPT-2's rule).
        let branch = 1.0 / (2.0 * spec.n_layers as f32).sqrt();
        self.norm(format!("{prefix}attn_norm"));
        self.linear(format!("{prefix}qkv.weight"), d, spec.qkv_width(), 1.0);
        if spec.bias {
            self.bias(format!("{prefix}qkv.bias"), spec.qkv_width());
        }
        if spec.qk_norm {
            let widths = match spec.qk_norm_over {
                NormSpan::Head => [spec.head_dim; 2],
                NormSpan::AllHeads => [spec.q_width(), spec.kv_width()],
            };
            for (name, width) in ["q_norm", "k_norm"].into_iter().zip(widths) {
                self.gamma(format!("{prefix}{name}.weight"), width);
            }
        }
        self.linear(format!("{prefix}o.weight"), spec.q_width(), d, branch);
        if spec.bias {
            self.bias(format!("{prefix}o.bias"), d);
        }
        self.norm(format!("{prefix}ffn_norm"));
        self.ffn(prefix, 2.0 * branch);
    }

    fn ffn(&mut self, prefix: &str, gain: f32) {
        let (spec, d) = (self.spec, self.spec.d_model);
        match spec.ffn {
            Ffn::Gelu { d_ff } => {
                self.linear(format!("{prefix}fc.weight"), d, d_ff, 1.0);
                if spec.bias {
                    self.bias(format!("{prefix}fc.bias"), d_ff);
                }
                // GELU's outputs have a positive mean. Pairs of opposite rows cancel what that mean would add to every token
                // alike, layer upon layer, until one token wins every greedy step.
                let std = gain / (d_ff as f32).sqrt();
                self.add(
                    format!("{prefix}proj.weight"),
                    &[d_ff, d],
                    Init::Antithetic { std },
                    Kind::Linear,
                );
                if spec.bias {
                    self.bias(format!("{prefix}proj.bias"), d);
                }
            }
            Ffn::Swiglu { d_ff } => {
                self.linear(format!("{prefix}gate.weight"), d, d_ff, 1.0);
                self.linear(format!("{prefix}up.weight"), d, d_ff, 1.0);
                self.linear(format!("{prefix}down.weight"), d_ff, d, gain);
            }
            Ffn::Moe { d_ff, experts, .. } => {
                // Router logits of standard deviation 2: clear choices, as in trained routers, and none that never wins.
                self.chooser(format!("{prefix}router.weight"), d, experts, 2.0);
                let std = |inputs: u32, gain: f32| Init::Bell {
                    mean: 0.0,
                    std: gain / (inputs as f32).sqrt(),
                };
                self.add(
                    format!("{prefix}experts.fc1"),
                    &[experts, 2 * d_ff, d],
                    std(d, 1.0),
                    Kind::Experts,
                );
                self.add(
                    format!("{prefix}experts.fc2"),
                    &[experts, d, d_ff],
                    std(d_ff, gain),
                    Kind::Experts,
                );
            }
        }
    }
}
