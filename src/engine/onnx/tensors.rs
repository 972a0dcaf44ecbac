//! Memory that ONNX Runtime reads and writes in place: buffers, tensors over them, and sets of bound tensors.
//!
//! The safe wrappers of `ort` clone a borrowed tensor when it is bound, which would silently end the sharing of the KV
//! cache, and build a value for every output on every run. These are the few raw calls the decode loop needs instead.
#![allow(
    unsafe_code,
    reason = "raw ONNX Runtime calls; each block names the rule it keeps"
)]

use super::super::EngineError;
use super::super::cuda::{Cuda, DeviceBuffer, Mapped};
use super::library::refused;
use crate::protocol;
use crate::trial::KvCache;
use ort::AsPointer;
use ort::session::{RunOptions, Session};
use ort::sys;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::sync::Arc;

/// Turns a status into a result and releases it.
pub(super) fn check(status: sys::OrtStatusPtr) -> Result<(), EngineError> {
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
    /// Part of a block, from this byte on. Several buffers may share one: the driver gives memory out in pieces of 2 MiB.
    Gpu(Arc<Cuda>, Rc<DeviceBuffer>, usize),
    /// Main memory that a GPU reads in place.
    Mapped(Mapped),
}

/// Buffers that lie in one block of memory; on the host each has its own.
pub struct Slab {
    space: Space,
    block: Option<(Arc<Cuda>, Rc<DeviceBuffer>)>,
    bytes: usize,
    used: usize,
}

/// What kernels may assume of an address: their widest loads, and what the driver's own allocations keep.
const GPU_ALIGN: usize = 256;

impl Slab {
    /// Room that [`take`](Slab::take) needs for a buffer.
    pub fn room(bytes: usize) -> usize {
        bytes.max(1).next_multiple_of(GPU_ALIGN)
    }

    /// Allocates room for buffers of so many bytes in all, each counted by [`room`](Slab::room).
    pub fn new(space: &Space, bytes: usize) -> Result<Slab, EngineError> {
        let block = match space {
            Space::Gpu(cuda, _) => Some((Arc::clone(cuda), Rc::new(cuda.allocate(bytes)?))),
            Space::Host => None,
        };
        Ok(Slab {
            space: space.clone(),
            block,
            bytes,
            used: 0,
        })
    }

    /// The next buffer.
    pub fn take(&mut self, bytes: usize) -> Result<Buffer, EngineError> {
        let Some((cuda, block)) = &self.block else {
            return Buffer::new(&self.space, bytes);
        };
        let at = self.used;
        self.used += Slab::room(bytes);
        assert!(self.used <= self.bytes, "a slab holds what was counted");
        let memory = Memory::Gpu(Arc::clone(cuda), Rc::clone(block), at);
        Ok(Buffer { memory, bytes })
    }
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
            Space::Gpu(cuda, _) => Memory::Gpu(Arc::clone(cuda), Rc::new(cuda.allocate(bytes)?), 0),
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

    /// Main memory that the GPU of `space` reads in place; on the host there is no other.
    pub fn mapped(space: &Space, bytes: usize) -> Result<Buffer, EngineError> {
        match space {
            Space::Host => Buffer::new(space, bytes),
            Space::Gpu(cuda, _) => Ok(Buffer {
                memory: Memory::Mapped(Mapped::new(cuda, bytes)?),
                bytes,
            }),
        }
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
            // SAFETY: the part lies inside the block.
            Memory::Gpu(_, block, from) => unsafe { block.at.byte_add(*from) },
            Memory::Mapped(block) => block.device(),
        }
    }

    /// Writes numbers from the start on.
    pub fn write<T: Number>(&mut self, values: &[T]) -> Result<(), EngineError> {
        self.write_bytes(0, bytes_of(values))
    }

    /// Writes bytes from this one on.
    pub fn write_bytes(&mut self, from: usize, bytes: &[u8]) -> Result<(), EngineError> {
        assert!(
            bytes.len() <= self.bytes.saturating_sub(from),
            "a write stays inside its buffer"
        );
        if let Memory::Mapped(block) = &mut self.memory {
            block.bytes_mut()[from..][..bytes.len()].copy_from_slice(bytes);
            return Ok(());
        }
        // SAFETY: inside the buffer (asserted).
        let to = unsafe { self.address().byte_add(from) };
        match &self.memory {
            // Written above.
            Memory::Mapped(_) => {}
            // SAFETY: the block is at least as long (asserted) and separate from the values.
            Memory::Host(..) => unsafe {
                ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), bytes.len())
            },
            // SAFETY: as above, on the device.
            Memory::Gpu(cuda, ..) => unsafe { cuda.upload(to, bytes) }?,
        }
        Ok(())
    }

    /// Reads numbers from the start on.
    pub fn read<T: Number>(&self, values: &mut [T]) -> Result<(), EngineError> {
        self.read_bytes(bytes_of_mut(values))
    }

    /// Reads bytes from the start on.
    pub fn read_bytes(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        self.read_bytes_from(0, bytes)
    }

    /// Reads bytes from this one on.
    pub fn read_bytes_from(&self, from: usize, bytes: &mut [u8]) -> Result<(), EngineError> {
        assert!(
            bytes.len() <= self.bytes.saturating_sub(from),
            "a read stays inside its buffer"
        );
        // SAFETY: inside the buffer (asserted).
        let start = unsafe { self.address().byte_add(from) };
        match &self.memory {
            // SAFETY: the block is at least as long (asserted) and separate from the values.
            Memory::Host(..) => unsafe {
                ptr::copy_nonoverlapping(start.cast(), bytes.as_mut_ptr(), bytes.len())
            },
            // SAFETY: as above, on the device.
            Memory::Gpu(cuda, ..) => unsafe { cuda.download(bytes, start) }?,
            Memory::Mapped(_) => {
                return Err(EngineError::Other(
                    "weights are written and not read back".into(),
                ));
            }
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

/// Plain numbers as the bytes they are.
pub(super) fn bytes_of<T: Number>(values: &[T]) -> &[u8] {
    // SAFETY: plain numbers are readable as bytes; the slice's length is theirs.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// Plain numbers as the bytes they are, to be overwritten.
pub(super) fn bytes_of_mut<T: Number>(values: &mut [T]) -> &mut [u8] {
    let bytes = size_of_val(values);
    // SAFETY: any bytes are valid plain numbers; the slice's length is theirs.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast::<u8>(), bytes) }
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

impl Place {
    /// The raw description.
    pub(super) fn as_ptr(&self) -> *const sys::OrtMemoryInfo {
        self.0.as_ptr()
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
        let tensor = Tensor::within(buffer, 0, place, element, shape);
        tensor.unwrap_or_else(|| panic!("a tensor stays inside its buffer"))
    }

    /// Elements of `buffer` from byte `from` on as a tensor of this shape; `None` where they reach beyond it.
    pub fn within(
        buffer: &Buffer,
        from: usize,
        place: &Place,
        element: Element,
        shape: &[i64],
    ) -> Option<Result<Tensor, EngineError>> {
        let elements = shape.iter().try_fold(1usize, |product, size| {
            product.checked_mul(usize::try_from(*size).ok()?)
        })?;
        let bytes = elements.checked_mul(element_bytes(element))?;
        let inside = from.checked_add(bytes)? <= buffer.bytes;
        inside.then(|| {
            // SAFETY: inside the buffer (checked).
            let address = unsafe { buffer.address().byte_add(from) };
            Tensor::at(address, bytes, place, element, shape)
        })
    }

    /// The caller vouches that so many bytes lie at the address.
    fn at(
        address: *mut c_void,
        bytes: usize,
        place: &Place,
        element: Element,
        shape: &[i64],
    ) -> Result<Tensor, EngineError> {
        let mut value = ptr::null_mut();
        // SAFETY: the caller vouches for address and length; the shape is read during the call only.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                place.0.as_ptr(),
                address,
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

    /// The raw value.
    pub(super) fn as_ptr(&self) -> *const sys::OrtValue {
        self.0.as_ptr()
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: created by ONNX Runtime and released here only; the memory behind it stays with its buffer.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) };
    }
}

/// What ONNX Runtime calls an element type.
pub fn element(element: protocol::Element) -> Element {
    match element {
        protocol::Element::Fp32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        protocol::Element::Fp16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        protocol::Element::Uint8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    }
}

/// Type of a cache's elements, where activations are of type `float`.
pub fn cache_element(cache: KvCache, float: Element) -> Element {
    match cache {
        KvCache::Float => float,
        KvCache::Int8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
    }
}

/// Bytes of one element of the types edgebench binds.
pub fn element_bytes(element: Element) -> usize {
    match element {
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 => 8,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16
        | Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 => 2,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8
        | Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL
        | Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8 => 1,
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

/// A name as the C interface takes it.
pub(super) fn terminated(name: &str) -> Result<CString, EngineError> {
    CString::new(name).map_err(|_| {
        EngineError::Model(format!(
            "the name {name:?} contains a zero byte; export the model again"
        ))
    })
}
