//! Parameters and bytes of a network's constants: by part, by element type, and how many take part for one token.

use super::super::part::{Amount, Part};
use super::super::proto::NodeProto;
use super::network::{Network, Tensor, integer};
use super::roles::{self, Holds, Role};
use crate::protocol::Told;
use std::collections::{BTreeMap, BTreeSet};

/// What was counted.
#[derive(Debug)]
pub struct Counts {
    /// By part.
    pub parts: BTreeMap<Part, Amount>,
    /// By element type.
    pub types: BTreeMap<String, Amount>,
    /// Every stored parameter.
    pub total: Told<u64>,
    /// Those that take part for one token.
    pub active: Told<u64>,
    /// Those that decoding one token reads.
    pub active_read: Told<u64>,
    /// Stored parameters that no node reads.
    pub unused: u64,
    /// Whether the head reads the embedding.
    pub is_tied: bool,
    /// Experts chosen for each token, and those there are.
    pub routing: Option<(u64, u64)>,
    /// Bytes of the largest.
    pub largest: u64,
    /// Bytes of all constants.
    pub bytes: Told<u64>,
    /// Tables with a row for each position: name and rows.
    pub position_rows: Vec<(String, u64)>,
    /// Constants whose part cannot be told, and what reads them.
    pub unknown: Vec<String>,
}

/// Counts a network's constants.
pub fn count(network: &Network) -> Counts {
    let mut sum = Sum::default();
    for tensor in &network.tensors {
        sum.add(network, tensor, &roles::of(network, tensor));
    }
    sum.finish(network)
}

#[derive(Default)]
struct Sum {
    parts: BTreeMap<Part, Amount>,
    types: BTreeMap<String, Amount>,
    looked_up: u64,
    largest: u64,
    is_tied: bool,
    position_rows: Vec<(String, u64)>,
    unknown: Vec<String>,
    uncounted: Vec<String>,
    unsized_tensors: Vec<String>,
}

impl Sum {
    fn add(&mut self, network: &Network, tensor: &Tensor, role: &Role) {
        let params = match &role.holds {
            _ if !role.part.is_learned() => 0,
            Holds::Packed(count) => *count,
            Holds::Scales => 0,
            Holds::Plain if tensor.element.is_float() => tensor.elements,
            Holds::Plain if !tensor.element.is_narrow() => 0,
            // Read by an operator that is known to take such elements one by one.
            Holds::Plain if role.part != Part::Unknown && takes_narrow(network, tensor) => {
                tensor.elements
            }
            Holds::Plain => {
                self.uncounted.push(tensor.name.clone());
                0
            }
        };
        if tensor.bytes.is_none() {
            self.unsized_tensors.push(tensor.name.clone());
        }
        let bytes = tensor.bytes.unwrap_or(0);
        self.largest = self.largest.max(bytes);
        self.parts.entry(role.part).or_default().add(params, bytes);
        let kind = tensor.element.name();
        self.types.entry(kind).or_default().add(params, bytes);
        let uses = network.uses(tensor);
        match role.part {
            Part::Embedding | Part::Positions if role.is_lookup => {
                self.looked_up = self.looked_up.saturating_add(params);
            }
            Part::Embedding if role.holds != Holds::Scales => self.is_tied = true,
            Part::Unknown => self.unknown.push(reason(network, tensor, &uses)),
            _ => {}
        }
        if let (Part::Positions | Part::Tables, [rows, _]) = (role.part, tensor.dims.as_slice()) {
            self.position_rows.push((tensor.name.clone(), *rows));
        }
    }

    fn finish(self, network: &Network) -> Counts {
        let unused = self.parts.get(&Part::Unused).map_or(0, |one| one.params);
        let sum = |amount: fn(&Amount) -> u64| {
            let amounts = self.parts.values().map(amount);
            amounts.fold(0u64, u64::saturating_add)
        };
        let total = match self.uncounted.first() {
            None => Ok(sum(|one| one.params)),
            Some(first) => Err(format!(
                "{} tensors of few bits, {first:?} first, are read by operators of which it is not known how they pack weights",
                self.uncounted.len()
            )),
        };
        let routing = routing(network);
        let experts = self.parts.get(&Part::Experts).map_or(0, |one| one.params);
        let untold = self.parts.get(&Part::Unknown).map_or(0, |one| one.params);
        let active = total.clone().and_then(|total| {
            if untold > 0 {
                return Err(format!(
                    "it cannot be told what {untold} parameters are for, and whether every token uses them"
                ));
            }
            let chosen = match &routing {
                _ if experts == 0 => 0,
                Ok((chosen, of)) => share(experts, *chosen, *of),
                Err(cause) => return Err(cause.clone()),
            };
            Ok(total
                .saturating_sub(experts)
                .saturating_sub(unused)
                .saturating_add(chosen))
        });
        let active_read = active
            .clone()
            .map(|active| active.saturating_sub(self.looked_up));
        let bytes = match self.unsized_tensors.first() {
            None => Ok(sum(|one| one.bytes.0)),
            Some(first) => Err(format!(
                "{} tensors, {first:?} first, are of a type without a fixed size",
                self.unsized_tensors.len()
            )),
        };
        Counts {
            total,
            active,
            active_read,
            unused,
            is_tied: self.is_tied,
            routing: routing.ok(),
            largest: self.largest,
            bytes,
            parts: self.parts,
            types: self.types,
            position_rows: self.position_rows,
            unknown: self.unknown,
        }
    }
}

/// `experts * chosen / of`.
fn share(experts: u64, chosen: u64, of: u64) -> u64 {
    let share = u128::from(experts) * u128::from(chosen.min(of)) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Whether something reads quantised elements of this tensor that are one weight each.
fn takes_narrow(network: &Network, tensor: &Tensor) -> bool {
    let direct = network.readers(&tensor.name).iter();
    direct.clone().count() > 0
        && direct.into_iter().all(|(index, _)| {
            matches!(
                network.nodes[*index].op_type.as_str(),
                "DequantizeLinear"
                    | "MatMulInteger"
                    | "MatMulIntegerToFloat"
                    | "DynamicQuantizeMatMul"
                    | "QLinearMatMul"
                    | "Gather"
            )
        })
}

/// Why the part of a tensor is not known.
fn reason(network: &Network, tensor: &Tensor, uses: &[(usize, usize)]) -> String {
    let name = &tensor.name;
    match uses.first().map(|(index, _)| &network.nodes[*index]) {
        Some(node) => format!(
            "{name:?} is read by {} {:?}, and neither that nor a name tells what for",
            node.op_type, node.name
        ),
        None => format!("{name:?} is an output of the graph"),
    }
}

/// Experts chosen for each token and those there are, where all layers agree.
fn routing(network: &Network) -> Told<(u64, u64)> {
    let found: BTreeSet<(u64, u64)> = network
        .nodes
        .iter()
        .filter_map(|node| match node.op_type.as_str() {
            "MoE" | "QMoE" => fused(network, node),
            "TopK" => routed(network, node),
            _ => None,
        })
        .collect();
    let mut all = found.into_iter();
    match (all.next(), all.next()) {
        (Some(routing), None) => Ok(routing),
        (Some(_), Some(_)) => Err("its layers choose different numbers of experts".into()),
        (None, _) => Err("nothing in it tells how many experts are chosen for each token".into()),
    }
}

/// Of an operator for all experts: its attribute `k`, and the first dimension of its weights.
fn fused(network: &Network, node: &NodeProto) -> Option<(u64, u64)> {
    let weights = network.constant(node.input.get(2)?)?;
    Some((integer(node, "k").unwrap_or(1), *weights.dims.first()?))
}

/// Of a choice from a router's outputs: how many are chosen, and the width of the router.
fn routed(network: &Network, node: &NodeProto) -> Option<(u64, u64)> {
    const THROUGH: [&str; 8] = [
        "Add", "Cast", "Identity", "Mul", "Reshape", "Sigmoid", "Softmax", "Squeeze",
    ];
    let chosen = network.constant(node.input.get(1)?)?;
    let chosen = u64::try_from(*chosen.integers.first()?).ok()?;
    let router = network.origin(node.input.first()?, &THROUGH)?;
    let matrix = network.constant(router.input.get(1)?);
    let width = match (router.op_type.as_str(), matrix) {
        ("MatMulNBits", _) => integer(router, "N")?,
        ("Gemm", Some(matrix)) if integer(router, "transB") == Some(1) => *matrix.dims.first()?,
        (op, Some(matrix)) if roles::is_linear(op) => *matrix.dims.last()?,
        _ => return None,
    };
    Some((chosen, width))
}
