//! The published study's mixture: whole specialists, all of them run, their logits mixed by a router.
//!
//! The published code feeds its router random numbers. Here it reads the first specialist's token embedding, the nearest
//! real input of the same width; cost and size are the same.

use super::super::graph::Attr;
use super::super::spec::Specialists;
use super::{Emitter, Shared};

impl Emitter<'_> {
    /// Logits `[B, V]`: those of each specialist, weighted by the mean router weight over the sequence so far.
    pub(super) fn mixture(&mut self, shared: &Shared, specialists: Specialists) -> String {
        let mean = self.mean_router_weights(shared, specialists);
        let mut mixed: Option<String> = None;
        for body in 0..specialists.count {
            let logits = self.body(shared, &format!("s{body}."), body * self.spec.n_layers);
            self.g.scope(&format!("/mix/{body}/"));
            let (start, end) = (
                self.g.ints(&[i64::from(body)]),
                self.g.ints(&[i64::from(body) + 1]),
            );
            let axis = self.g.ints(&[1]);
            let weight = self.g.op("Slice", &[&mean, &start, &end, &axis], &[]);
            let share = self.g.op("Mul", &[&logits, &weight], &[]);
            mixed = Some(match mixed {
                Some(sum) => self.g.op("Add", &[&sum, &share], &[]),
                None => share,
            });
        }
        // Stored as the published model stores them; ONNX Runtime drops them at load.
        for head in 0..specialists.unused_heads {
            self.weight(&format!("unused.{head}.weight"));
            self.weight(&format!("unused.{head}.bias"));
        }
        mixed.unwrap_or_default()
    }

    /// Router weights of each position, kept in a cache of their own, averaged over the sequence: `[B, count]`.
    fn mean_router_weights(&mut self, shared: &Shared, specialists: Specialists) -> String {
        self.g.scope("/router/");
        let x = self.lookup("s0.wte", &shared.input_ids);
        let hidden = self.router_layer(&x, "fc");
        let hidden = self.g.op("Relu", &[&hidden], &[]);
        let logits = self.router_layer(&hidden, "out");
        let weights = self.g.op("Softmax", &[&logits], &[("axis", Attr::Int(-1))]);
        let weights = self.threshold(&weights, specialists.threshold);
        match (self.in_place, &shared.positions, &shared.lengths) {
            (true, Some(positions), Some((seqlens, _))) => {
                let rows =
                    self.scatter_rows(&weights, positions, "router.weights", specialists.count);
                self.masked_mean(&rows, seqlens)
            }
            _ => {
                let rows = self.append_rows(&weights, "router.weights", specialists.count);
                let axis = self.g.ints(&[1]);
                self.g
                    .op("ReduceMean", &[&rows, &axis], &[("keepdims", Attr::Int(0))])
            }
        }
    }

    fn router_layer(&mut self, x: &str, name: &str) -> String {
        let product = self.matmul(x, &format!("router.{name}.weight"));
        let bias = self.weight(&format!("router.{name}.bias"));
        self.g.op("Add", &[&product, &bias], &[])
    }

    /// Weights under the threshold become zero, the rest sum to one again.
    fn threshold(&mut self, weights: &str, threshold: f32) -> String {
        let (threshold, zero) = (self.g.float(threshold), self.g.float(0.0));
        let low = self.g.op("Less", &[weights, &threshold], &[]);
        let kept = self.g.op("Where", &[&low, &zero, weights], &[]);
        let axis = self.g.ints(&[-1]);
        let sum = self
            .g
            .op("ReduceSum", &[&kept, &axis], &[("keepdims", Attr::Int(1))]);
        let guard = self.g.float(1e-8);
        let sum = self.g.op("Add", &[&sum, &guard], &[]);
        self.g.op("Div", &[&kept, &sum], &[])
    }

    /// Mean of the rows up to `seqlens`; rows beyond are whatever an earlier sequence left.
    fn masked_mean(&mut self, rows: &str, seqlens: &str) -> String {
        let places = self
            .g
            .int32_range(self.context, &[1, i64::from(self.context)]);
        let axis = self.g.ints(&[1]);
        let last = self.g.op("Unsqueeze", &[seqlens, &axis], &[]);
        let inside = self.g.op("LessOrEqual", &[&places, &last], &[]);
        let to_float = [("to", Attr::Int(self.float as i64))];
        let inside = self.g.op("Cast", &[&inside], &to_float);
        let count = self.g.op(
            "ReduceSum",
            &[&inside, &axis],
            &[("keepdims", Attr::Int(1))],
        );
        let column = self.g.ints(&[2]);
        let inside = self.g.op("Unsqueeze", &[&inside, &column], &[]);
        let kept = self.g.op("Mul", &[rows, &inside], &[]);
        let sum = self
            .g
            .op("ReduceSum", &[&kept, &axis], &[("keepdims", Attr::Int(0))]);
        self.g.op("Div", &[&sum, &count], &[])
    }
}
