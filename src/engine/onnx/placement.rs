//! Which execution provider got which node of the graph, as ONNX Runtime itself says, and what must not be where.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::library;
use crate::protocol::{HostNodes, SHAPE_OPERATORS};
use crate::trial::Placement;
use ort::AsPointer;
use ort::session::Session;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;

/// Session configuration entry that has the runtime keep what it decided.
pub const RECORD: &str = "session.record_ep_graph_assignment_info";

/// Version of the C interface that the functions below came with: ONNX Runtime 1.24.
const API: u32 = 24;
// Places in the table of functions of onnxruntime_c_api.h, which only ever grows at its end.
const SESSION_ASSIGNMENT: usize = 407;
const SUBGRAPH_PROVIDER: usize = 408;
const SUBGRAPH_NODES: usize = 409;
const NODE_NAME: usize = 410;
const NODE_OPERATOR: usize = 412;

type Status = ort::sys::OrtStatusPtr;
type List =
    unsafe extern "system" fn(*const c_void, *mut *const *const c_void, *mut usize) -> Status;
type Text = unsafe extern "system" fn(*const c_void, *mut *const c_char) -> Status;

/// A node and the provider that runs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The provider's name.
    pub provider: String,
    /// The node's name, which optimisation may have changed.
    pub node: String,
    /// Its operator.
    pub operator: String,
}

/// The nodes of a session that was created with [`RECORD`]; `None` where ONNX Runtime is older than 1.24.
pub fn of(session: &Session, library: &Path) -> Result<Option<Vec<Assigned>>, EngineError> {
    let Some(table) = library::api(library, API)? else {
        return Ok(None);
    };
    let mut assigned = Vec::new();
    // SAFETY: the table is that of API 24 or later, and the places and signatures are those of its header; what the functions
    // return belongs to the session, which outlives this call.
    unsafe {
        let function = |place: usize| *table.cast::<*const c_void>().add(place);
        let list = |place: usize| std::mem::transmute::<*const c_void, List>(function(place));
        let text = |place: usize| std::mem::transmute::<*const c_void, Text>(function(place));
        for subgraph in items(list(SESSION_ASSIGNMENT), session.ptr().cast())? {
            let provider = string(text(SUBGRAPH_PROVIDER), subgraph)?;
            for node in items(list(SUBGRAPH_NODES), subgraph)? {
                assigned.push(Assigned {
                    provider: provider.clone(),
                    node: string(text(NODE_NAME), node)?,
                    operator: string(text(NODE_OPERATOR), node)?,
                });
            }
        }
    }
    Ok(Some(assigned))
}

fn told(status: Status) -> Result<(), EngineError> {
    // SAFETY: the status came from a call just made and is released once, by `ort`.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error| library::refused(&error))
}

/// # Safety
/// `function` must be a list function of the C interface, and `of` what it takes.
unsafe fn items(function: List, of: *const c_void) -> Result<Vec<*const c_void>, EngineError> {
    let (mut first, mut count) = (std::ptr::null(), 0);
    // SAFETY: writes a pointer and a number.
    told(unsafe { function(of, &mut first, &mut count) })?;
    if first.is_null() || count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the runtime says that so many pointers lie there.
    Ok(unsafe { std::slice::from_raw_parts(first, count) }.to_vec())
}

/// # Safety
/// `function` must be a text function of the C interface, and `of` what it takes.
unsafe fn string(function: Text, of: *const c_void) -> Result<String, EngineError> {
    let mut text = std::ptr::null();
    // SAFETY: writes a pointer to a terminated string.
    told(unsafe { function(of, &mut text) })?;
    if text.is_null() {
        return Ok(String::new());
    }
    // SAFETY: not null, terminated, owned by the session.
    Ok(unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned())
}

/// Operators that ONNX Runtime may keep on the host on purpose, because what they make of shapes is needed there. None of them
/// computes with a model's numbers; the plain graphs have one, a `Reshape` of a length.
const SHAPES: [&str; 7] = [
    "ConstantOfShape",
    "Range",
    "Reshape",
    "Shape",
    "Size",
    "Squeeze",
    "Unsqueeze",
];

/// What may be beside the GPU.
#[derive(Debug, Clone, Copy)]
pub enum Beside<'a> {
    /// In a run on the CPU anything.
    Anything,
    /// In a CUDA run of edgebench's own graphs what computes shapes by its operator alone.
    Shapes,
    /// In one of a graph that another program wrote also these of its nodes.
    Nodes(&'a HostNodes),
}

/// Nodes without a name, or with one that optimisation gave, that were let through, by operator.
type LetThrough = BTreeMap<String, u64>;

impl Beside<'_> {
    /// Whether a node may be where it is, beside the GPU.
    fn allows(self, node: &Assigned, let_through: &mut LetThrough) -> bool {
        let operator = node.operator.as_str();
        let nodes = match self {
            Beside::Anything => return true,
            _ if SHAPES.contains(&operator) => return true,
            Beside::Shapes => return false,
            Beside::Nodes(nodes) if SHAPE_OPERATORS.contains(&operator) => nodes,
            Beside::Nodes(_) => return false,
        };
        if let Some(is_shape) = nodes.nodes.get(&node.node) {
            return *is_shape;
        }
        // Which one it was cannot be told: no more than there are, where the graph also has some that compute.
        let unnamed = nodes.unnamed.get(operator).copied().unwrap_or_default();
        let count = let_through.entry(operator.to_owned()).or_default();
        *count += 1;
        unnamed.computing == 0 || *count <= unnamed.shapes
    }

    fn remedy(self) -> &'static str {
        match self {
            Beside::Nodes(_) => {
                "export it with fp16 or bf16 activations, for which there are more kernels, or use another with --ort"
            }
            _ => "use another with --ort, or another --form or --precision",
        }
    }
}

/// Sums up where the nodes are. One that may not be there is an error that names it.
pub fn judge(nodes: &[Assigned], beside: Beside<'_>) -> Result<Placement, EngineError> {
    let mut placement = Placement::default();
    let (mut astray, mut let_through) = (Vec::new(), LetThrough::new());
    for node in nodes {
        *placement.nodes.entry(node.provider.clone()).or_default() += 1;
        if matches!(beside, Beside::Anything) || node.provider == "CUDAExecutionProvider" {
            continue;
        }
        *placement
            .host_operators
            .entry(node.operator.clone())
            .or_default() += 1;
        if !beside.allows(node, &mut let_through) {
            astray.push(format!(
                "{} ({}, on {})",
                node.operator, node.node, node.provider
            ));
        }
    }
    if astray.is_empty() {
        return Ok(placement);
    }
    const SHOWN: usize = 5;
    let more = match astray.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    astray.truncate(SHOWN);
    Err(EngineError::Model(format!(
        "compute nodes are not on the GPU: {}{more}; this ONNX Runtime has no CUDA kernel for them: {}",
        astray.join(", "),
        beside.remedy()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Unnamed;

    fn node(provider: &str, operator: &str) -> Assigned {
        Assigned {
            provider: format!("{provider}ExecutionProvider"),
            node: format!("layer.0/{operator}"),
            operator: operator.to_owned(),
        }
    }

    #[test]
    fn shapes_may_stay_on_the_host_and_are_counted() {
        let nodes = [
            node("CUDA", "MatMul"),
            node("CPU", "Shape"),
            node("CPU", "Shape"),
        ];
        let placement = judge(&nodes, Beside::Shapes).unwrap();
        assert_eq!(placement.nodes["CUDAExecutionProvider"], 1);
        assert_eq!(placement.nodes["CPUExecutionProvider"], 2);
        assert_eq!(placement.host_operators["Shape"], 2);
    }

    #[test]
    fn a_compute_node_beside_the_gpu_is_named_in_a_cuda_run_only() {
        let nodes: Vec<Assigned> = std::iter::repeat_n(node("CPU", "QMoE"), 7).collect();
        let sentence = judge(&nodes, Beside::Shapes).unwrap_err().to_string();
        assert!(
            sentence.contains("QMoE (layer.0/QMoE, on CPUExecutionProvider)")
                && sentence.contains("and 2 more"),
            "{sentence}"
        );
        let placement = judge(&nodes, Beside::Anything).unwrap();
        assert_eq!(placement.nodes["CPUExecutionProvider"], 7);
        assert!(placement.host_operators.is_empty());
    }

    #[test]
    fn a_foreign_graph_may_compute_shapes_on_the_host_and_nothing_else() {
        let named = |operator: &str, name: &str| Assigned {
            node: name.to_owned(),
            ..node("CPU", operator)
        };
        let mut told = HostNodes::default();
        told.nodes.insert("mask/Gather".into(), true);
        told.nodes.insert("embed/Gather".into(), false);
        let unnamed = |shapes, computing| Unnamed { shapes, computing };
        told.unnamed.insert("Add".into(), unnamed(2, 9));
        told.unnamed.insert("Sub".into(), unnamed(1, 0));
        let allowed = |nodes: &[Assigned]| judge(nodes, Beside::Nodes(&told)).is_ok();
        assert!(allowed(&[named("Gather", "mask/Gather")]));
        assert!(!allowed(&[named("Gather", "embed/Gather")]));
        // Renamed, of an operator that the graph only has names for.
        assert!(allowed(&[named("Gather", "made_by_a_fusion")]));
        assert!(allowed(&[named("Sub", ""), named("Sub", "")]));
        // As many as compute shapes, and then one that cannot.
        assert!(allowed(&[named("Add", ""), named("Add", "")]));
        assert!(!allowed(&[
            named("Add", ""),
            named("Add", ""),
            named("Add", "")
        ]));
        for operator in ["GroupQueryAttention", "MatMul", "Softmax", "MoE"] {
            assert!(!allowed(&[named(operator, "mask/Gather")]), "{operator}");
        }
        let refused = judge(
            &[named("GroupQueryAttention", "attn")],
            Beside::Nodes(&told),
        );
        let sentence = refused.unwrap_err().to_string();
        assert!(
            sentence.contains("export it with fp16 or bf16 activations")
                && !sentence.contains("--form"),
            "{sentence}"
        );
        // Built-in graphs have no such nodes, whatever they are called.
        assert!(judge(&[named("Gather", "mask/Gather")], Beside::Shapes).is_err());
    }
}
