//! Memory that ONNX Runtime reads and writes in place: buffers, tensors over them, and sets of bound tensors.
//!
//! The safe wrappers of `ort` clone a borrowed tensor when it is bound, which would silently end the sharing of the KV
//! cache, and build a value for every output on every run. These are the few raw calls the decode loop needs instead.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::super::cuda::{Cuda, DeviceBuffer};
use super::library::refused;
use ort::AsPointer;
use ort::session::{RunOptions, Session};
use ort::sys;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// Turns a status into a result and releases it.
fn check(status: sys::OrtStatusPtr) -> Result<(), EngineError> {
    // SAFETY: `status` was returned by ONNX Runtime a moment ago and is given up here.
    unsafe { ort::Error::result_from_status(status) }.map_err(|error: ort::Error| refused(&error))
}

/// Where buffers live.
#[derive(Clone)]
pub enum Space {
    /// Main memory.
    Host,
    /// Memory of one GPU.
    Gpu(Arc<Cuda>, u32),
}

enum Memory {
    Host(NonNull<u8>, Layout),
    Gpu(Arc<Cuda>, DeviceBuffer),
}

/// A block of memory in a space, zeroed and resident from the start.
pub struct Buffer {
    memory: Memory,
    /// Length in bytes.
    pub bytes: usize,
}

/// ONNX Runtime's vector kernels read and write whole cache lines; this is its own allocator's alignment as well.
const ALIGN: usize = 64;

impl Buffer {
    /// Allocates `bytes` bytes.
    pub fn new(space: &Space, bytes: usize) -> Result<Buffer, EngineError> {
        let memory = match space {
            Space::Gpu(cuda, _) => Memory::Gpu(Arc::clone(cuda), cuda.allocate(bytes)?),
            Space::Host => {
                let refused = || {
                    EngineError::OutOfMemory(format!("could not allocate {bytes} bytes of memory"))
                };
                let layout = Layout::from_size_align(bytes.max(1), ALIGN).map_err(|_| refused())?;
                // SAFETY: the layout's size is not zero.
                let at = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(refused)?;
                Memory::Host(at, layout)
            }
        };
        let buffer = Buffer { memory, bytes };
        buffer.touch();
        Ok(buffer)
    }

    /// Makes host pages resident, so that the cache counts against the budget in full before the timing starts.
    fn touch(&self) {
        if let Memory::Host(at, layout) = &self.memory {
            // SAFETY: writes inside the block that was just allocated.
            unsafe { ptr::write_bytes(at.as_ptr(), 0, layout.size()) };
        }
    }

    /// First byte.
    pub fn address(&self) -> *mut c_void {
        match &self.memory {
            Memory::Host(at, _) => at.as_ptr().cast(),
            Memory::Gpu(_, buffer) => buffer.at,
        }
    }

    /// Writes numbers from the start on.
    pub fn write<T: Number>(&mut self, values: &[T]) -> Result<(), EngineError> {
        assert!(
            size_of_val(values) <= self.bytes,
            "a write stays inside its buffer"
        );
        // SAFETY: plain numbers are readable as bytes; the slice's length is theirs.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        match &self.memory {
            // SAFETY: the block is at least as long (asserted) and separate from the values.
            Memory::Host(at, _) => unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len())
            },
            // SAFETY: as above, on the device.
            Memory::Gpu(cuda, buffer) => unsafe { cuda.upload(buffer.at, bytes) }?,
        }
        Ok(())
    }

    /// Reads numbers from the start on.
    pub fn read<T: Number>(&self, values: &mut [T]) -> Result<(), EngineError> {
        assert!(
            size_of_val(values) <= self.bytes,
            "a read stays inside its buffer"
        );
        // SAFETY: any bytes are valid plain numbers; the slice's length is theirs.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), size_of_val(values))
        };
        match &self.memory {
            // SAFETY: the block is at least as long (asserted) and separate from the values.
            Memory::Host(at, _) => unsafe {
                ptr::copy_nonoverlapping(at.as_ptr(), bytes.as_mut_ptr(), bytes.len())
            },
            // SAFETY: as above, on the device.
            Memory::Gpu(cuda, buffer) => unsafe { cuda.download(bytes, buffer.at) }?,
        }
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Memory::Host(at, layout) = &self.memory {
            // SAFETY: allocated with this layout and freed here only.
            unsafe { dealloc(at.as_ptr(), *layout) };
        }
    }
}

/// Plain numbers that may be copied byte by byte, and the element type ONNX Runtime calls them by.
pub trait Number: Copy {
    /// ONNX Runtime's element type.
    const ELEMENT: Element;
}

/// ONNX Runtime's element types.
pub type Element = sys::ONNXTensorElementDataType;

impl Number for i64 {
    const ELEMENT: Element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
}
impl Number for i32 {
    const ELEMENT: Element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
}
impl Number for f32 {
    const ELEMENT: Element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
}
impl Number for half::f16 {
    const ELEMENT: Element = Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
}

/// A description of a memory space in ONNX Runtime's terms.
pub struct Place(NonNull<sys::OrtMemoryInfo>);

impl Place {
    /// The place of buffers in `space`.
    pub fn of(space: &Space) -> Result<Place, EngineError> {
        let (name, index) = match space {
            Space::Host => (c"Cpu", 0),
            Space::Gpu(_, index) => (c"Cuda", *index as i32),
        };
        let mut place = ptr::null_mut();
        let (kind, memory) = (
            sys::OrtAllocatorType::OrtDeviceAllocator,
            sys::OrtMemType::OrtMemTypeDefault,
        );
        // SAFETY: the name is terminated; one pointer is written.
        check(unsafe {
            (ort::api().CreateMemoryInfo)(name.as_ptr(), kind, index, memory, &mut place)
        })?;
        NonNull::new(place)
            .map(Place)
            .ok_or_else(|| EngineError::Other("ONNX Runtime gave no memory description".into()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0.as_ptr()) };
    }
}

/// A tensor over the start of a buffer. The buffer must outlive it: the engine drops its tensors first.
pub struct Tensor(NonNull<sys::OrtValue>);

impl Tensor {
    /// The first elements of `buffer` as a tensor of this shape.
    pub fn over(
        buffer: &Buffer,
        place: &Place,
        element: Element,
        shape: &[i64],
    ) -> Result<Tensor, EngineError> {
        let elements = shape.iter().product::<i64>() as usize;
        let bytes = elements * element_bytes(element);
        assert!(bytes <= buffer.bytes, "a tensor stays inside its buffer");
        let mut value = ptr::null_mut();
        // SAFETY: address and length lie inside the buffer (asserted); the shape is read during the call only.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                place.0.as_ptr(),
                buffer.address(),
                bytes,
                shape.as_ptr(),
                shape.len(),
                element,
                &mut value,
            )
        })?;
        NonNull::new(value)
            .map(Tensor)
            .ok_or_else(|| EngineError::Other("ONNX Runtime gave no tensor".into()))
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only; the memory behind it stays with its buffer.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// Bytes of one element of the types edgebench binds.
pub fn element_bytes(element: Element) -> usize {
    match element {
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 => 8,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 => 2,
        _ => 4,
    }
}

/// Tensors bound to a session's inputs and outputs. Bindings must be dropped before their session.
pub struct Binding {
    binding: NonNull<sys::OrtIoBinding>,
    tensors: Vec<Tensor>,
}

impl Binding {
    /// An empty binding for `session`.
    pub fn new(session: &Session) -> Result<Binding, EngineError> {
        let mut binding = ptr::null_mut();
        // SAFETY: the session is alive; one pointer is written.
        check(unsafe { (ort::api().CreateIoBinding)(session.ptr().cast_mut(), &mut binding) })?;
        let binding = NonNull::new(binding)
            .ok_or_else(|| EngineError::Other("ONNX Runtime gave no binding".into()))?;
        Ok(Binding {
            binding,
            tensors: Vec::new(),
        })
    }

    /// Binds a tensor to an input.
    pub fn input(&mut self, name: &str, tensor: Tensor) -> Result<(), EngineError> {
        let name = terminated(name)?;
        // SAFETY: binding and value are alive; the name is copied by the call.
        check(unsafe {
            (ort::api().BindInput)(self.binding.as_ptr(), name.as_ptr(), tensor.0.as_ptr())
        })?;
        self.tensors.push(tensor);
        Ok(())
    }

    /// Binds a tensor to an output.
    pub fn output(&mut self, name: &str, tensor: Tensor) -> Result<(), EngineError> {
        let name = terminated(name)?;
        // SAFETY: binding and value are alive; the name is copied by the call.
        check(unsafe {
            (ort::api().BindOutput)(self.binding.as_ptr(), name.as_ptr(), tensor.0.as_ptr())
        })?;
        self.tensors.push(tensor);
        Ok(())
    }

    /// Runs the session on what is bound, to the end.
    pub fn run(&self, session: &mut Session, options: &RunOptions) -> Result<(), EngineError> {
        // SAFETY: session, options and binding are alive, and the session is borrowed for this call alone.
        check(unsafe {
            (ort::api().RunWithBinding)(
                session.ptr().cast_mut(),
                options.ptr(),
                self.binding.as_ptr(),
            )
        })
    }
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only, before the tensors it refers to.
        unsafe { (ort::api().ReleaseIoBinding)(self.binding.as_ptr()) };
    }
}

fn terminated(name: &str) -> Result<CString, EngineError> {
    CString::new(name).map_err(|_| {
        EngineError::Model(format!(
            "the name {name:?} contains a zero byte; export the model again"
        ))
    })
}
