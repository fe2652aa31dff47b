//! Devices through OpenCL: the `ocl` crate's low-level functions, one in-order queue with profiling.
//!
//! Never `ocl::Platform::list()`, which panics: `ocl::core::get_platform_ids()`. The library itself is found at run time by
//! `capsim_clload`. `ocl-core` panics on status codes that it does not know; such panics become errors here.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]
use super::backend::{
    Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice, Timing,
};
use super::{bounds, sources};
use capsim_clload as _;
use ocl::core::{self, ArgVal, DeviceInfo as Ask, DeviceInfoResult as Told, Event, Mem};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Longest wait for one [`Backend::run`].
pub const DEADLINE: Duration = Duration::from_secs(30);

/// `CL_DEVICE_BOARD_NAME_AMD` (cl_amd_device_attribute_query): AMD's `CL_DEVICE_NAME` is only the architecture, `gfx1151`.
const BOARD_NAME_AMD: u32 = 0x4038;

/// `CL_DEVICE_TOPOLOGY_AMD`: 24 bytes, the last three of which are PCI bus, device and function.
const TOPOLOGY_AMD: u32 = 0x4037;
/// `CL_DEVICE_PCI_BUS_ID_NV`, `CL_DEVICE_PCI_SLOT_ID_NV` (device and function), `CL_DEVICE_PCI_DOMAIN_ID_NV`.
const PCI_NV: [u32; 3] = [0x4008, 0x4009, 0x400A];

/// One of OpenCL's devices, not opened.
#[derive(Clone, Copy, Debug)]
struct Place {
    platform: core::PlatformId,
    device: core::DeviceId,
}

/// Calls `ocl-core`: its errors, and its panics, become errors in one line.
fn call<T>(what: &str, f: impl FnOnce() -> core::Result<T>) -> Result<T, BackendError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(BackendError::Device(match e.api_status() {
            Some(status) => format!("{what}: {status}"),
            None => format!("{what}: {}", e.to_string().trim()),
        })),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("the driver's answer was not understood");
            Err(BackendError::Device(format!("{what}: {words}")))
        }
    }
}

/// Loaders and drivers set themselves up at the first call, and not all of them stand two threads doing that at once.
static LISTING: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// All devices of all platforms, in the platforms' order, and what platforms without any say. No library, or no driver: none.
fn places() -> Result<(Vec<Place>, Vec<String>), BackendError> {
    let _one = LISTING.lock().unwrap_or_else(|e| e.into_inner());
    let (mut all, mut without) = (vec![], vec![]);
    for platform in call("clGetPlatformIDs", core::get_platform_ids)? {
        // One that fails must not hide the others.
        match call("clGetDeviceIDs", || {
            core::get_device_ids(platform, Some(core::DeviceType::ALL), None)
        }) {
            Ok(devices) => all.extend(devices.into_iter().map(|device| Place { platform, device })),
            Err(e) => without.push(format!("{}: {e}", platform_name(platform))),
        }
    }
    Ok((all, without))
}

fn platform_name(platform: core::PlatformId) -> String {
    call("clGetPlatformInfo", || {
        core::get_platform_info(platform, core::PlatformInfo::Name)
    })
    .map_or_else(
        |_| "OpenCL platform".into(),
        |s| s.to_string().trim().to_string(),
    )
}

/// How many devices there are: the indices for [`OpenCl::open`] are below it. And, if there is none, why.
///
/// # Errors
/// What the library says.
pub fn count() -> Result<(usize, String), BackendError> {
    let (all, without) = places()?;
    Ok((all.len(), why_none(&without)))
}

/// Why there may be no device: no library, no driver, or drivers that find nothing.
fn why_none(without: &[String]) -> String {
    match capsim_clload::loaded() {
        Err(why) => format!("no OpenCL library: {why}"),
        Ok(()) if without.is_empty() => "the OpenCL library knows no driver".into(),
        Ok(()) => without.join("; "),
    }
}

/// A buffer and the parts of it that kernels were given.
#[derive(Debug)]
struct Buffer {
    mem: Mem,
    size: u64,
    parts: BTreeMap<(u64, u64), Mem>,
}

#[derive(Debug)]
struct Compiled {
    kernel: Kernel,
    handle: core::Kernel,
    /// What its arguments were last set to: setting them again costs time in long chains of launches.
    buffers: Vec<Slice>,
    numbers: Vec<u32>,
}

/// An opened OpenCL device.
#[derive(Debug)]
pub struct OpenCl {
    info: DeviceInfo,
    place: Place,
    context: core::Context,
    queue: core::CommandQueue,
    kernels: Vec<Compiled>,
    buffers: Vec<Option<Buffer>>,
    /// `-cl-std=…` under which subgroups compile.
    subgroup_std: &'static str,
    /// Source of `dot4` where the device has an instruction for it.
    dot4: &'static str,
    deadline: Duration,
    /// A wait was given up: whatever is asked now would wait as well.
    hung: bool,
}

/// Reads one property; a device that does not tell is no error.
macro_rules! ask {
    ($device:expr, $name:ident) => {
        match catch_unwind(|| core::get_device_info($device, Ask::$name)) {
            Ok(Ok(Told::$name(value))) => Some(value),
            _ => None,
        }
    };
}

/// A small program that compiles only where a feature is there; it is never run.
const F16: &str = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n\
    __kernel void probe(__global half *x) { half4 v = vload4(0, x); v = v * v + v; vstore4(v, 0, x); }";
const WMMA_F16: &str = "#pragma OPENCL EXTENSION cl_khr_fp16 : enable\n\
    __kernel void probe(__global half16 *x, __global float8 *y) \
    { y[0] = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(x[0], x[1], y[0]); }";
const WMMA_BF16: &str = "__kernel void probe(__global short16 *x, __global float8 *y) \
    { y[0] = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(x[0], x[1], y[0]); }";
const PTX_MMA: &str = "__kernel void probe(__global uint *x, __global float *y) { \
    float a = y[0], b = y[1], c = y[2], d = y[3]; \
    asm volatile(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\" \
    : \"+f\"(a), \"+f\"(b), \"+f\"(c), \"+f\"(d) : \"r\"(x[0]), \"r\"(x[1]), \"r\"(x[2]), \"r\"(x[3]), \"r\"(x[4]), \"r\"(x[5])); \
    y[0] = a; y[1] = b; y[2] = c; y[3] = d; }";
const SUBGROUPS: &str = "#pragma OPENCL EXTENSION cl_khr_subgroups : enable\n\
    __kernel void probe(__global float *x) { x[get_global_id(0)] = sub_group_reduce_add(x[get_global_id(0)]); }";
/// `dot4(a, b, c)`: c plus the products of the four signed bytes of a and b. Put before the source of a kernel that needs
/// `int8-dot`.
const DOT4_KHR: &str = "#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable\n\
    static inline int dot4(uint a, uint b, int c) { return dot_4x8packed_ss_int(a, b) + c; }\n";
/// As above, for AMD: gfx11 and later, then gfx906 to gfx10.
const DOT4_AMD: [&str; 2] = [
    "static inline int dot4(uint a, uint b, int c) { return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, c, false); }\n",
    "static inline int dot4(uint a, uint b, int c) { return __builtin_amdgcn_sdot4((int)a, (int)b, c, false); }\n",
];
/// As above, for NVIDIA.
const DOT4_PTX: &str = "static inline int dot4(uint a, uint b, int c) \
    { int d; asm(\"dp4a.s32.s32 %0, %1, %2, %3;\" : \"=r\"(d) : \"r\"(a), \"r\"(b), \"r\"(c)); return d; }\n";
const DOT4_PROBE: &str =
    "__kernel void probe(__global uint *x) { x[0] = (uint)dot4(x[1], x[2], (int)x[3]); }";

impl OpenCl {
    /// Opens the device of this index (see [`count`]) and finds out what it can do.
    ///
    /// # Errors
    /// No such device, or the driver refuses.
    pub fn open(index: usize) -> Result<OpenCl, BackendError> {
        let (all, without) = places()?;
        let Some(&place) = all.get(index) else {
            let why = match all.len() {
                0 => why_none(&without),
                n => format!("{n} found"),
            };
            return Err(BackendError::Unavailable(format!(
                "there is no OpenCL device {index}: {why}"
            )));
        };
        if ask!(place.device, Available) == Some(false) {
            return Err(BackendError::Unavailable(
                "the driver says that the device is not available".into(),
            ));
        }
        if ask!(place.device, CompilerAvailable) == Some(false) {
            return Err(BackendError::Unavailable(
                "the driver has no compiler".into(),
            ));
        }
        let properties = core::ContextProperties::new().platform(place.platform);
        let context = call("clCreateContext", || {
            core::create_context(Some(&properties), &[place.device], None, None)
        })?;
        let queue = call("clCreateCommandQueue", || {
            core::create_command_queue(
                &context,
                place.device,
                Some(core::CommandQueueProperties::PROFILING_ENABLE),
            )
        })?;
        let mut device = OpenCl {
            info: describe(place),
            place,
            context,
            queue,
            kernels: vec![],
            buffers: vec![],
            subgroup_std: "",
            dot4: "",
            deadline: DEADLINE,
            hung: false,
        };
        device.probe_features();
        Ok(device)
    }

    /// Another deadline for [`Backend::run`] than [`DEADLINE`].
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Finds features by compiling for them. Extension strings lie both ways: NVIDIA compiles `half` without reporting
    /// cl_khr_fp16, and clang's builtins for AMD's matrix units are no extension at all.
    fn probe_features(&mut self) {
        let vendor = format!("{} {}", self.info.vendor, self.info.name).to_lowercase();
        let amd = vendor.contains("advanced micro devices") || vendor.contains("gfx1");
        let nvidia = vendor.contains("nvidia");
        let software = self.info.software;
        let reported = |extension: &str| self.info.features.iter().any(|f| f == extension);
        // A software device's extension string is honest, and its compiler prints to the terminal when it refuses.
        let worth = |extension: &str| !software || reported(extension);
        let mut found = vec![];
        let mut probe = |name: &str, source: &str, options: &str| {
            let ok = self.build("probe", source, options).is_ok();
            if ok {
                found.push(name.to_string());
            }
            ok
        };
        if worth("cl_khr_fp16") {
            probe("f16", F16, "");
        }
        // Only where the vendor fits: another vendor's assembler may end the process over foreign instructions.
        if amd && !software {
            probe("f16-wmma", WMMA_F16, "");
            probe("bf16-wmma", WMMA_BF16, "");
        }
        if nvidia {
            probe("ptx-mma", PTX_MMA, "");
        }
        let stds: &[&str] = if worth("cl_khr_subgroups") {
            &["-cl-std=CL3.0", "-cl-std=CL2.0", "-cl-std=CL1.2"]
        } else {
            &[]
        };
        let subgroup_std = stds
            .iter()
            .copied()
            .find(|std| probe("subgroups", SUBGROUPS, std));
        let mut dots = vec![];
        if worth("cl_khr_integer_dot_product") {
            dots.push(DOT4_KHR);
        }
        if amd && !software {
            dots.extend(DOT4_AMD);
        }
        if nvidia {
            dots.push(DOT4_PTX);
        }
        let dot4 = dots
            .into_iter()
            .find(|source| probe("int8-dot", &format!("{source}{DOT4_PROBE}"), ""));
        self.subgroup_std = subgroup_std.unwrap_or("");
        self.dot4 = dot4.unwrap_or("");
        found.append(&mut self.info.features);
        self.info.features = found;
    }

    /// Builds a program and takes its kernel of this name.
    fn build(
        &self,
        name: &'static str,
        source: &str,
        options: &str,
    ) -> Result<core::Kernel, BackendError> {
        let refused = |log: String| BackendError::Compile { kernel: name, log };
        let text = |s: &str| CString::new(s).map_err(|e| refused(e.to_string()));
        let (source, options) = (text(source)?, text(options)?);
        let program = call("clCreateProgramWithSource", || {
            core::create_program_with_source(&self.context, &[source])
        })?;
        let devices = [self.place.device];
        let built = catch_unwind(AssertUnwindSafe(|| {
            core::build_program(&program, Some(&devices), &options, None, None)
        }));
        match built {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return Err(refused(plain_log(&e.to_string()))),
            Err(_) => return Err(refused("the driver failed without a word".into())),
        }
        call("clCreateKernel", || core::create_kernel(&program, name))
            .map_err(|e| refused(e.to_string()))
    }

    fn size(&self, buffer: BufferId) -> Option<u64> {
        self.buffers.get(buffer.0)?.as_ref().map(|b| b.size)
    }

    fn alive(&self) -> Result<(), BackendError> {
        if self.hung {
            return Err(BackendError::Lost(
                "the device did not finish earlier work in time".into(),
            ));
        }
        Ok(())
    }

    /// Waits for an event, but not for ever.
    fn wait(&mut self, event: &Event) -> Result<(), BackendError> {
        let began = Instant::now();
        loop {
            let done = call("clGetEventInfo", || core::event_is_complete(event))?;
            let waited = began.elapsed();
            if done {
                return Ok(());
            }
            if waited > self.deadline {
                self.hung = true;
                return Err(BackendError::Lost(format!(
                    "no answer within {} s",
                    self.deadline.as_secs_f32()
                )));
            }
            // A GPU's short work is watched without sleep, so that the host's clock can measure what a launch costs it. A software
            // device needs the processor for itself. Otherwise sleep shortly, against what was waited so far.
            if !self.info.software && waited < Duration::from_micros(500) {
                std::hint::spin_loop();
                continue;
            }
            let pause = (waited / 32).clamp(Duration::from_micros(10), Duration::from_millis(1));
            std::thread::sleep(pause);
        }
    }

    /// The memory object for a slice: the buffer itself if it is the whole, otherwise a sub-buffer, made once.
    fn make_part(&mut self, slice: Slice) -> Result<(), BackendError> {
        bounds::slice(slice, self.size(slice.buffer))?;
        let buffer = self.buffers[slice.buffer.0].as_mut().expect("checked");
        let key = (slice.offset, slice.len);
        if key == (0, buffer.size) || buffer.parts.contains_key(&key) {
            return Ok(());
        }
        let region = core::BufferRegion::<u8>::new(slice.offset as usize, slice.len as usize);
        let part = call("clCreateSubBuffer", || {
            core::create_sub_buffer(&buffer.mem, core::MemFlags::READ_WRITE, &region)
        })?;
        buffer.parts.insert(key, part);
        Ok(())
    }

    /// Sets what has changed since the kernel's last launch.
    fn set_arguments(&mut self, launch: &Launch) -> Result<(), BackendError> {
        for &slice in &launch.buffers {
            self.make_part(slice)?;
        }
        let compiled = &mut self.kernels[launch.kernel.0];
        // Taken out until all are set: after a failure nothing counts as set.
        let buffers = std::mem::take(&mut compiled.buffers);
        let numbers = std::mem::take(&mut compiled.numbers);
        for (i, slice) in launch.buffers.iter().enumerate() {
            if buffers.get(i) == Some(slice) {
                continue;
            }
            let buffer = self.buffers[slice.buffer.0].as_ref().expect("checked");
            let mem = buffer
                .parts
                .get(&(slice.offset, slice.len))
                .unwrap_or(&buffer.mem);
            call("clSetKernelArg", || {
                core::set_kernel_arg(&compiled.handle, i as u32, ArgVal::mem(mem))
            })?;
        }
        for (i, number) in launch.numbers.iter().enumerate() {
            if numbers.get(i) == Some(number) {
                continue;
            }
            let at = (launch.buffers.len() + i) as u32;
            call("clSetKernelArg", || {
                core::set_kernel_arg(&compiled.handle, at, ArgVal::scalar(number))
            })?;
        }
        compiled.buffers = launch.buffers.clone();
        compiled.numbers = launch.numbers.clone();
        Ok(())
    }

    #[allow(unsafe_code)]
    fn enqueue(&self, launch: &Launch, event: Option<&mut Event>) -> Result<(), BackendError> {
        let compiled = &self.kernels[launch.kernel.0];
        let [x, y] = compiled.kernel.group;
        let local = [x as usize, y as usize, 1];
        let global = [0, 1, 2].map(|i| launch.groups[i] as usize * local[i]);
        call(&format!("kernel `{}`", compiled.kernel.name), || {
            // SAFETY: all arguments are set and every buffer argument is at least as long as its slice says. What the kernel
            // does inside them is the business of the sources in `kernels/`, whose limits the callers keep.
            unsafe {
                match event {
                    Some(event) => core::enqueue_kernel(
                        &self.queue,
                        &compiled.handle,
                        3,
                        None,
                        &global,
                        Some(local),
                        None::<()>,
                        Some(event),
                    ),
                    None => core::enqueue_kernel(
                        &self.queue,
                        &compiled.handle,
                        3,
                        None,
                        &global,
                        Some(local),
                        None::<()>,
                        None::<()>,
                    ),
                }
            }
        })
    }
}

/// Takes the compiler's words out of the decoration that `ocl-core` adds.
fn plain_log(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|l| !l.is_empty() && !l.contains("########"))
        .collect();
    lines.join("\n")
}

/// What the driver tells, apart from features that must be tried out.
fn describe(place: Place) -> DeviceInfo {
    let d = place.device;
    let trim = |s: Option<String>| {
        s.unwrap_or_default()
            .trim()
            .trim_end_matches('\0')
            .to_string()
    };
    let name = trim(ask!(d, Name));
    let board = call("clGetDeviceInfo", || {
        core::get_device_info_raw(d, BOARD_NAME_AMD)
    })
    .ok()
    .and_then(|b| String::from_utf8(b).ok());
    let name = match trim(board) {
        board if board.is_empty() || board == name => name,
        board => format!("{board} ({name})"),
    };
    let is_cpu = ask!(d, Type).is_some_and(|t| t.contains(core::DeviceType::CPU));
    let software = is_cpu || name.to_lowercase().contains("llvmpipe");
    let platform_name = platform_name(place.platform);
    let extensions = trim(ask!(d, Extensions));
    DeviceInfo {
        name,
        vendor: trim(ask!(d, Vendor)),
        driver: format!("{platform_name} {}", trim(ask!(d, DriverVersion))),
        api_version: ask!(d, Version).map_or("OpenCL".into(), |v| format!("OpenCL {v}")),
        software,
        unified_memory: ask!(d, HostUnifiedMemory).unwrap_or(false),
        memory_bytes: ask!(d, GlobalMemSize).unwrap_or(0),
        max_buffer_bytes: ask!(d, MaxMemAllocSize).unwrap_or(0),
        max_binding_bytes: ask!(d, MaxMemAllocSize).unwrap_or(0),
        local_memory_bytes: ask!(d, LocalMemSize).unwrap_or(0),
        max_group: ask!(d, MaxWorkGroupSize).map_or(1, |v| u32::try_from(v).unwrap_or(u32::MAX)),
        compute_units: ask!(d, MaxComputeUnits).unwrap_or(0),
        clock_mhz: ask!(d, MaxClockFrequency).unwrap_or(0),
        cache_bytes: ask!(d, GlobalMemCacheSize).unwrap_or(0),
        timestamp_ns: ask!(d, ProfilingTimerResolution).map(|ns| (ns as f64).max(1.0)),
        features: extensions
            .split_whitespace()
            .map(String::from)
            .chain(pci(d).map(|address| format!("pci-{address}")))
            .collect(),
    }
}

/// PCI address as sysfs writes it, where the vendor tells.
fn pci(device: core::DeviceId) -> Option<String> {
    let raw = |what| {
        call("clGetDeviceInfo", || {
            core::get_device_info_raw(device, what)
        })
        .ok()
    };
    if let Some([.., bus, slot, function]) = raw(TOPOLOGY_AMD).filter(|t| t.len() == 24).as_deref()
    {
        return Some(format!("0000:{bus:02x}:{slot:02x}.{function:x}"));
    }
    let number = |what| Some(u32::from_ne_bytes(raw(what)?.try_into().ok()?));
    let (bus, slot) = (number(PCI_NV[0])?, number(PCI_NV[1])?);
    let domain = number(PCI_NV[2]).unwrap_or(0);
    Some(format!(
        "{domain:04x}:{bus:02x}:{:02x}.{:x}",
        slot >> 3,
        slot & 7
    ))
}

impl Backend for OpenCl {
    fn api(&self) -> Api {
        Api::Opencl
    }

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        self.alive()?;
        bounds::kernel(kernel, &self.info.features, self.info.max_group)?;
        let (source, mut options) = sources::opencl(kernel)?;
        options.push_str(" -cl-mad-enable");
        let mut source = source.to_string();
        if kernel.needs.contains(&"subgroups") {
            options = format!("{} {options}", self.subgroup_std);
        }
        if kernel.needs.contains(&"int8-dot") {
            source.insert_str(0, self.dot4);
        }
        let handle = self.build(kernel.name, &source, &options)?;
        self.kernels.push(Compiled {
            kernel: kernel.clone(),
            handle,
            buffers: vec![],
            numbers: vec![],
        });
        Ok(KernelId(self.kernels.len() - 1))
    }

    #[allow(unsafe_code)]
    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        self.alive()?;
        let refused = |reason: String| BackendError::Memory { bytes, reason };
        if bytes == 0 || bytes > self.info.max_buffer_bytes {
            return Err(refused(format!(
                "a buffer has 1 to {} bytes here",
                self.info.max_buffer_bytes
            )));
        }
        // Whole 16 bytes, so that the filling below and vector loads reach the end.
        let room = bytes.next_multiple_of(16);
        let mem = call("clCreateBuffer", || {
            // SAFETY: these flags name no host memory.
            unsafe {
                core::create_buffer::<_, u8>(
                    &self.context,
                    core::MemFlags::READ_WRITE,
                    room as usize,
                    None,
                )
            }
        })
        .map_err(|e| refused(e.to_string()))?;
        // Drivers give memory at its first use: use all of it now.
        let version = core::OpenclVersion::new(1, 2);
        let mut event = Event::null();
        call("clEnqueueFillBuffer", || {
            core::enqueue_fill_buffer(
                &self.queue,
                &mem,
                0u32,
                0,
                room as usize / 4,
                None::<()>,
                Some(&mut event),
                Some(&version),
            )
        })
        .and_then(|()| call("clFlush", || core::flush(&self.queue)))
        .and_then(|()| self.wait(&event))
        .map_err(|e| refused(e.to_string()))?;
        self.buffers.push(Some(Buffer {
            mem,
            size: bytes,
            parts: BTreeMap::new(),
        }));
        Ok(BufferId(self.buffers.len() - 1))
    }

    fn free(&mut self, buffer: BufferId) {
        if let Some(slot) = self.buffers.get_mut(buffer.0)
            && let Some(buffer) = slot.take()
            && self.hung
        {
            // Releasing what a stuck kernel uses may wait for it.
            std::mem::forget(buffer);
        }
        // A kernel holds no reference to its arguments: what was set must be set again.
        for compiled in &mut self.kernels {
            if compiled.buffers.iter().any(|s| s.buffer == buffer) {
                compiled.buffers.clear();
            }
        }
    }

    #[allow(unsafe_code)]
    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        self.alive()?;
        bounds::copy(to, self.size(to.buffer), data.len())?;
        let buffer = self.buffers[to.buffer.0].as_ref().expect("checked");
        let began = Instant::now();
        call("clEnqueueWriteBuffer", || {
            // SAFETY: in range, and the call blocks until `data` has been read. Nothing else is in the queue to wait for.
            unsafe {
                core::enqueue_write_buffer(
                    &self.queue,
                    &buffer.mem,
                    true,
                    to.offset as usize,
                    data,
                    None::<()>,
                    None::<()>,
                )
            }
        })?;
        Ok(began.elapsed())
    }

    #[allow(unsafe_code)]
    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        self.alive()?;
        bounds::copy(from, self.size(from.buffer), data.len())?;
        let buffer = self.buffers[from.buffer.0].as_ref().expect("checked");
        let began = Instant::now();
        call("clEnqueueReadBuffer", || {
            // SAFETY: in range, and the call blocks until `data` has been written. Nothing else is in the queue to wait for.
            unsafe {
                core::enqueue_read_buffer(
                    &self.queue,
                    &buffer.mem,
                    true,
                    from.offset as usize,
                    data,
                    None::<()>,
                    None::<()>,
                )
            }
        })?;
        Ok(began.elapsed())
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        self.alive()?;
        for launch in launches {
            let Some(compiled) = self.kernels.get(launch.kernel.0) else {
                return Err(BackendError::Device("no such kernel".into()));
            };
            bounds::launch(&compiled.kernel, launch)?;
            for &slice in &launch.buffers {
                bounds::slice(slice, self.size(slice.buffer))?;
            }
        }
        let Some(last) = launches.len().checked_sub(1) else {
            return Ok(Timing {
                device: self.info.timestamp_ns.map(|_| Duration::ZERO),
                host: Duration::ZERO,
            });
        };
        let (mut first_event, mut last_event) = (Event::null(), Event::null());
        let began = Instant::now();
        for (i, launch) in launches.iter().enumerate() {
            let queued = self.set_arguments(launch).and_then(|()| {
                let event = if i == last {
                    Some(&mut last_event)
                } else if i == 0 {
                    Some(&mut first_event)
                } else {
                    None
                };
                self.enqueue(launch, event)
            });
            if let Err(e) = queued {
                // Leave nothing running behind the caller's back.
                let _ = call("clFinish", || core::finish(&self.queue));
                return Err(e);
            }
        }
        call("clFlush", || core::flush(&self.queue))?;
        if let Err(e) = self.wait(&last_event) {
            if self.hung {
                std::mem::forget((first_event, last_event));
            }
            return Err(e);
        }
        let host = began.elapsed();
        let first_event = if last == 0 { &last_event } else { &first_event };
        let start = profile(first_event, core::ProfilingInfo::Start);
        let end = profile(&last_event, core::ProfilingInfo::End);
        let device = match (start, end) {
            (Some(start), Some(end)) if self.info.timestamp_ns.is_some() => {
                Some(Duration::from_nanos(end.saturating_sub(start)))
            }
            _ => None,
        };
        Ok(Timing { device, host })
    }
}

fn profile(event: &Event, what: core::ProfilingInfo) -> Option<u64> {
    call("clGetEventProfilingInfo", || {
        core::get_event_profiling_info(event, what)
    })
    .ok()?
    .time()
    .ok()
}

impl Drop for OpenCl {
    fn drop(&mut self) {
        if self.hung {
            // Releasing what a stuck kernel uses may wait for it: leave it to the end of the process.
            std::mem::forget(std::mem::take(&mut self.buffers));
            std::mem::forget(std::mem::take(&mut self.kernels));
            std::mem::forget(self.queue.clone());
            std::mem::forget(self.context.clone());
        }
    }
}
