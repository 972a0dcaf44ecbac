//! An operator of our own: its output is a copy of a weight, made on the session's stream when the layer that needs it is about to run.
//!
//! Kernels that read main memory in place read some of it more than once, and reach 85 % of what a copy does. Where all of a weight is
//! read anyway, it is quicker to copy it first. The second input, what the weight will be multiplied with, is read by nothing: without
//! it the runtime would be free to copy all weights at the start.
#![allow(
    unsafe_code,
    reason = "an operator through ONNX Runtime's C interface; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::super::cuda::Cuda;
use super::tensors::{Element, Space, check, element_bytes};
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;

/// The domain, and the operator's name for each type of weights.
const DOMAIN: &CStr = c"edgebench";
const NAMES: [(&CStr, Element); 3] = [
    (c"FetchFp32", Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
    (c"FetchFp16", Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16),
    (c"FetchUint8", Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8),
];

/// Version of the C interface that the operators are written for: the one that this program asks libraries for.
const VERSION: u32 = 20;

/// One operator. What ONNX Runtime is given the address of comes first.
#[repr(C)]
struct Fetch {
    table: sys::OrtCustomOp,
    name: &'static CStr,
    weight: Element,
    float: Element,
    /// `None` on the CPU.
    cuda: Option<Arc<Cuda>>,
}

/// The operators of a session. Must outlive it.
pub(super) struct Operators {
    domain: *mut sys::OrtCustomOpDomain,
    // ONNX Runtime keeps their addresses.
    fetches: Vec<Fetch>,
}

impl Operators {
    /// Operators for weights in `space` that are multiplied with values of type `float`.
    pub(super) fn new(space: &Space, float: Element) -> Result<Operators, EngineError> {
        let mut domain = ptr::null_mut();
        // SAFETY: the name is terminated; one pointer is written.
        check(unsafe { (ort::api().CreateCustomOpDomain)(DOMAIN.as_ptr(), &mut domain) })?;
        let make = |(name, weight)| Fetch {
            table: table(),
            name,
            weight,
            float,
            cuda: match space {
                Space::Gpu(cuda, _) => Some(Arc::clone(cuda)),
                Space::Host => None,
            },
        };
        let operators = Operators {
            domain,
            fetches: NAMES.into_iter().map(make).collect(),
        };
        for fetch in &operators.fetches {
            // All of the operator is handed over, of which ONNX Runtime reads the table in front.
            let operator = ptr::from_ref(fetch).cast::<sys::OrtCustomOp>();
            // SAFETY: the domain is alive, and the operator stays where it is for as long: the list is not changed any more.
            check(unsafe { (ort::api().CustomOpDomain_Add)(domain, operator) })?;
        }
        Ok(operators)
    }

    /// Makes them known to a session that is about to be made.
    pub(super) fn hand_over(&self, builder: &SessionBuilder) -> Result<(), EngineError> {
        // SAFETY: options and domain are alive; `self` outlives the session.
        check(unsafe { (ort::api().AddCustomOpDomain)(builder.ptr().cast_mut(), self.domain) })
    }
}

impl Drop for Operators {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only, after the sessions that know it.
        unsafe { (ort::api().ReleaseCustomOpDomain)(self.domain) };
    }
}

fn table() -> sys::OrtCustomOp {
    sys::OrtCustomOp {
        version: VERSION,
        CreateKernel: None,
        GetName: Some(name),
        GetExecutionProviderType: Some(provider),
        GetInputType: Some(input_type),
        GetInputTypeCount: Some(inputs),
        GetOutputType: Some(output_type),
        GetOutputTypeCount: Some(outputs),
        KernelCompute: None,
        KernelDestroy: Some(destroy),
        GetInputCharacteristic: Some(required),
        GetOutputCharacteristic: Some(required),
        GetInputMemoryType: Some(device_memory),
        GetVariadicInputMinArity: Some(none),
        GetVariadicInputHomogeneity: Some(none),
        GetVariadicOutputMinArity: Some(none),
        GetVariadicOutputHomogeneity: Some(none),
        CreateKernelV2: Some(create),
        KernelComputeV2: Some(compute),
        InferOutputShapeFn: None,
        GetStartVersion: Some(first_version),
        GetEndVersion: Some(first_version),
        GetMayInplace: None,
        ReleaseMayInplace: None,
        GetAliasMap: None,
        ReleaseAliasMap: None,
    }
}

/// The operator behind the address that ONNX Runtime hands back.
///
/// # Safety
/// `op` must be the address of a [`Fetch`]'s table.
unsafe fn fetch<'a>(op: *const sys::OrtCustomOp) -> &'a Fetch {
    // SAFETY: the table is the first field of a `#[repr(C)]` struct, which outlives every session that knows it.
    unsafe { &*op.cast::<Fetch>() }
}

unsafe extern "system" fn name(op: *const sys::OrtCustomOp) -> *const c_char {
    // SAFETY: called with an operator of ours.
    unsafe { fetch(op) }.name.as_ptr()
}

unsafe extern "system" fn provider(op: *const sys::OrtCustomOp) -> *const c_char {
    // SAFETY: called with an operator of ours.
    match unsafe { fetch(op) }.cuda {
        Some(_) => c"CUDAExecutionProvider".as_ptr(),
        None => c"CPUExecutionProvider".as_ptr(),
    }
}

unsafe extern "system" fn input_type(op: *const sys::OrtCustomOp, index: usize) -> Element {
    // SAFETY: called with an operator of ours.
    let fetch = unsafe { fetch(op) };
    match index {
        0 => fetch.weight,
        _ => fetch.float,
    }
}

unsafe extern "system" fn inputs(_: *const sys::OrtCustomOp) -> usize {
    2
}

unsafe extern "system" fn output_type(op: *const sys::OrtCustomOp, _: usize) -> Element {
    // SAFETY: called with an operator of ours.
    unsafe { fetch(op) }.weight
}

unsafe extern "system" fn outputs(_: *const sys::OrtCustomOp) -> usize {
    1
}

unsafe extern "system" fn required(
    _: *const sys::OrtCustomOp,
    _: usize,
) -> sys::OrtCustomOpInputOutputCharacteristic {
    sys::OrtCustomOpInputOutputCharacteristic::INPUT_OUTPUT_REQUIRED
}

unsafe extern "system" fn device_memory(_: *const sys::OrtCustomOp, _: usize) -> sys::OrtMemType {
    sys::OrtMemType::OrtMemTypeDefault
}

unsafe extern "system" fn none(_: *const sys::OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn first_version(_: *const sys::OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn create(
    op: *const sys::OrtCustomOp,
    _: *const sys::OrtApi,
    _: *const sys::OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> sys::OrtStatusPtr {
    // Nothing of a kernel differs from its operator.
    // SAFETY: ONNX Runtime wants one pointer written.
    unsafe { *kernel = op.cast_mut().cast() };
    sys::OrtStatusPtr::default()
}

unsafe extern "system" fn destroy(_: *mut c_void) {}

unsafe extern "system" fn compute(
    kernel: *mut c_void,
    context: *mut sys::OrtKernelContext,
) -> sys::OrtStatusPtr {
    // SAFETY: what `create` made of an operator of ours.
    let op = unsafe { fetch(kernel.cast_const().cast()) };
    // SAFETY: ONNX Runtime calls this with the context of the running kernel.
    match unsafe { copy(op, context) } {
        Ok(()) => sys::OrtStatusPtr::default(),
        Err(error) => {
            let text = std::ffi::CString::new(error.to_string()).unwrap_or_default();
            // SAFETY: the text is terminated and copied by the call.
            unsafe { (ort::api().CreateStatus)(sys::OrtErrorCode::ORT_EP_FAIL, text.as_ptr()) }
        }
    }
}

/// Asks the session's stream for the copy.
///
/// # Safety
/// `context` must be that of the running kernel.
unsafe fn copy(op: &Fetch, context: *mut sys::OrtKernelContext) -> Result<(), EngineError> {
    let api = ort::api();
    let (mut weight, mut info) = (ptr::null(), ptr::null_mut());
    let (mut from, mut to) = (ptr::null_mut(), ptr::null_mut());
    let (mut count, mut dims) = (0, [0i64; 8]);
    // SAFETY: each call writes through the one pointer that it is given, and what it is given is alive; the info is released below.
    unsafe {
        check((api.KernelContext_GetInput)(context, 0, &mut weight))?;
        check((api.GetTensorTypeAndShape)(weight, &mut info))?;
        let shape = check((api.GetDimensionsCount)(info, &mut count)).and_then(|()| {
            count = count.min(dims.len());
            check((api.GetDimensions)(info, dims.as_mut_ptr(), count))
        });
        (api.ReleaseTensorTypeAndShapeInfo)(info);
        shape?;
        let mut output = ptr::null_mut();
        check((api.KernelContext_GetOutput)(
            context,
            0,
            dims.as_ptr(),
            count,
            &mut output,
        ))?;
        check((api.GetTensorMutableData)(weight.cast_mut(), &mut from))?;
        check((api.GetTensorMutableData)(output, &mut to))?;
    }
    let elements = dims[..count].iter().product::<i64>().unsigned_abs() as usize;
    let bytes = elements * element_bytes(op.weight);
    match &op.cuda {
        None => {
            // SAFETY: both are tensors of this many bytes in main memory, and not the same.
            unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), bytes) };
            Ok(())
        }
        Some(cuda) => {
            let mut stream = ptr::null_mut();
            // SAFETY: writes one handle, which is the session's.
            check(unsafe { (api.KernelContext_GetGPUComputeStream)(context, &mut stream) })?;
            // SAFETY: both are tensors of this many bytes that the GPU can address; they live until the stream got past this.
            unsafe { cuda.copy_on(stream, to, from, bytes) }
        }
    }
}
