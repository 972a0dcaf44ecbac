//! Which execution provider got which node of the graph, as ONNX Runtime itself says, and what must not be where.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::library;
use crate::trial::Placement;
use ort::AsPointer;
use ort::session::Session;
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

/// Sums up where the nodes are. In a CUDA run a node elsewhere that does not just compute a shape is an error that names it.
pub fn judge(nodes: &[Assigned], cuda: bool) -> Result<Placement, EngineError> {
    let mut placement = Placement::default();
    let mut astray = Vec::new();
    for node in nodes {
        *placement.nodes.entry(node.provider.clone()).or_default() += 1;
        if cuda && node.provider != "CUDAExecutionProvider" {
            *placement
                .host_operators
                .entry(node.operator.clone())
                .or_default() += 1;
            if !SHAPES.contains(&node.operator.as_str()) {
                astray.push(format!(
                    "{} ({}, on {})",
                    node.operator, node.node, node.provider
                ));
            }
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
        "compute nodes are not on the GPU: {}{more}; this ONNX Runtime has no CUDA kernel for them: use another with --ort, or another --form or --precision",
        astray.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let placement = judge(&nodes, true).unwrap();
        assert_eq!(placement.nodes["CUDAExecutionProvider"], 1);
        assert_eq!(placement.nodes["CPUExecutionProvider"], 2);
        assert_eq!(placement.host_operators["Shape"], 2);
    }

    #[test]
    fn a_compute_node_beside_the_gpu_is_named_in_a_cuda_run_only() {
        let nodes: Vec<Assigned> = std::iter::repeat_n(node("CPU", "QMoE"), 7).collect();
        let sentence = judge(&nodes, true).unwrap_err().to_string();
        assert!(
            sentence.contains("QMoE (layer.0/QMoE, on CPUExecutionProvider)")
                && sentence.contains("and 2 more"),
            "{sentence}"
        );
        let placement = judge(&nodes, false).unwrap();
        assert_eq!(placement.nodes["CPUExecutionProvider"], 7);
        assert!(placement.host_operators.is_empty());
    }
}
