//! Devices through WebGPU's native form: Vulkan, Metal or DX12, by the `wgpu` crate.
//!
//! All launches of a run are one compute pass in one submission, with the device's timestamps at its begin and end. `wgpu` puts
//! a barrier between launches that share a written buffer. Its errors come through a handler, not as panics.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]
use super::backend::{
    Access, Api, Backend, BackendError, BufferId, DeviceInfo, Kernel, KernelId, Launch, Slice,
    Timing,
};
use super::{bounds, sources};
use ::wgpu;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for one [`Backend::run`].
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Distance of two launches' numbers in the uniform buffer: the largest alignment that a device may ask for.
const SLOT: u64 = 256;
/// Bytes of numbers per launch: `array<vec4<u32>, 4>`.
const NUMBERS: u64 = 64;
/// Largest piece of a copy: `wgpu` stages it in memory of its own.
const PIECE: u64 = 64 << 20;

/// What went wrong since last asked; kept by handlers that the device calls.
#[derive(Clone, Debug, Default)]
struct Errors(Arc<Mutex<Option<Failure>>>);

#[derive(Debug)]
enum Failure {
    OutOfMemory,
    Other(String),
}

impl Errors {
    /// Notes the first failure; later ones follow from it.
    fn note(&self, failure: Failure) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.get_or_insert(failure);
    }

    fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Calls into `wgpu`; whatever it reports, or panics with, is an error.
    fn guard<T>(&self, f: impl FnOnce() -> T) -> Result<T, Failure> {
        let result = catch_unwind(AssertUnwindSafe(f));
        match (self.take(), result) {
            (Some(failure), _) => Err(failure),
            (None, Ok(value)) => Ok(value),
            (None, Err(panic)) => Err(Failure::Other(
                panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("the graphics library failed without a word")
                    .to_string(),
            )),
        }
    }
}

impl From<Failure> for BackendError {
    fn from(failure: Failure) -> BackendError {
        BackendError::Device(failure.words())
    }
}

impl Failure {
    fn words(self) -> String {
        match self {
            Failure::OutOfMemory => "out of memory".into(),
            Failure::Other(words) => words.trim().to_string(),
        }
    }
}

#[derive(Debug)]
struct Compiled {
    kernel: Kernel,
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    /// One per combination of slices that was launched.
    groups: BTreeMap<Vec<(usize, u64, u64)>, wgpu::BindGroup>,
}

#[derive(Debug)]
struct Buffer {
    handle: wgpu::Buffer,
    size: u64,
}

/// The two timestamps of a run and their way to the host.
#[derive(Debug)]
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    /// Nanoseconds per tick.
    period: f64,
}

/// An opened device.
#[derive(Debug)]
pub struct Wgpu {
    info: DeviceInfo,
    device: wgpu::Device,
    queue: wgpu::Queue,
    errors: Errors,
    kernels: Vec<Compiled>,
    buffers: Vec<Option<Buffer>>,
    /// Every launch's numbers, one slot each.
    numbers: wgpu::Buffer,
    clock: Option<Clock>,
    deadline: Duration,
    hung: bool,
}

fn adapters() -> Result<Vec<wgpu::Adapter>, BackendError> {
    catch_unwind(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        // Neither validation layers nor debug names: this is a benchmark.
        descriptor.flags = wgpu::InstanceFlags::empty();
        let instance = wgpu::Instance::new(descriptor);
        pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
    })
    .map_err(|_| {
        BackendError::Unavailable("the graphics library failed while listing devices".into())
    })
}

/// How many devices there are: the indices for [`Wgpu::open`] are below it.
///
/// # Errors
/// The graphics library fails.
pub fn count() -> Result<usize, BackendError> {
    adapters().map(|a| a.len())
}

/// A buffer as `wgpu` describes it.
fn describe_buffer(size: u64, usage: wgpu::BufferUsages) -> wgpu::BufferDescriptor<'static> {
    wgpu::BufferDescriptor {
        label: None,
        size,
        usage,
        mapped_at_creation: false,
    }
}

impl Wgpu {
    /// Opens the device of this index (see [`count`]).
    ///
    /// # Errors
    /// No such device, or the driver refuses.
    #[allow(unsafe_code)]
    pub fn open(index: usize) -> Result<Wgpu, BackendError> {
        let all = adapters()?;
        let Some(adapter) = all.get(index) else {
            return Err(BackendError::Unavailable(format!(
                "there is no Vulkan, Metal or DX12 device {index}: {} found",
                all.len()
            )));
        };
        let wanted = wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::TIMESTAMP_QUERY_INSIDE_ENCODERS
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
        let features = adapter.features() & wanted;
        let experimental = if features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            // SAFETY: by this token one acknowledges that experimental features may have bugs. A kernel that uses cooperative
            // matrices asks for a size that the driver reports, and its answer is checked before it is used.
            unsafe { wgpu::ExperimentalFeatures::enabled() }
        } else {
            wgpu::ExperimentalFeatures::disabled()
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: None,
            required_features: features,
            required_limits: adapter.limits(),
            experimental_features: experimental,
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let opened = catch_unwind(AssertUnwindSafe(|| {
            pollster::block_on(adapter.request_device(&descriptor))
        }));
        let (device, queue) = match opened {
            Ok(Ok(pair)) => pair,
            Ok(Err(e)) => return Err(BackendError::Unavailable(e.to_string())),
            Err(_) => {
                return Err(BackendError::Unavailable(
                    "the driver failed while it was opened".into(),
                ));
            }
        };
        let errors = Errors::default();
        let noted = errors.clone();
        device.on_uncaptured_error(Arc::new(move |e| {
            noted.note(match e {
                wgpu::Error::OutOfMemory { .. } => Failure::OutOfMemory,
                other => Failure::Other(other.to_string()),
            });
        }));
        let noted = errors.clone();
        device.set_device_lost_callback(move |reason, words| {
            if !matches!(reason, wgpu::DeviceLostReason::Destroyed) {
                noted.note(Failure::Other(format!("device lost: {words}")));
            }
        });
        let info = describe(adapter, features, &queue);
        let timed = info.timestamp_ns;
        let (numbers, clock) = errors.guard(|| {
            let numbers = device.create_buffer(&describe_buffer(
                64 * SLOT,
                wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            ));
            let clock = timed.map(|period| Clock {
                queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                    label: None,
                    ty: wgpu::QueryType::Timestamp,
                    count: 2,
                }),
                resolved: device.create_buffer(&describe_buffer(
                    16,
                    wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                )),
                readable: device.create_buffer(&describe_buffer(
                    16,
                    wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                )),
                period,
            });
            (numbers, clock)
        })?;
        Ok(Wgpu {
            info,
            device,
            queue,
            errors,
            kernels: vec![],
            buffers: vec![],
            numbers,
            clock,
            deadline: DEADLINE,
            hung: false,
        })
    }

    /// Another deadline for [`Backend::run`] than [`DEADLINE`].
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    fn alive(&self) -> Result<(), BackendError> {
        if self.hung {
            return Err(BackendError::Device(
                "the device did not finish earlier work in time".into(),
            ));
        }
        Ok(())
    }

    fn size(&self, buffer: BufferId) -> Option<u64> {
        self.buffers.get(buffer.0)?.as_ref().map(|b| b.size)
    }

    fn handle(&self, buffer: BufferId) -> &wgpu::Buffer {
        &self.buffers[buffer.0].as_ref().expect("checked").handle
    }

    /// Submits commands (and the writes that wait) and waits for their end, but not for ever.
    fn submit(&mut self, commands: Option<wgpu::CommandBuffer>) -> Result<(), BackendError> {
        let deadline = self.deadline;
        let polled = self.errors.guard(|| {
            let index = self.queue.submit(commands);
            self.device.poll(wgpu::PollType::Wait {
                submission_index: Some(index),
                timeout: Some(deadline),
            })
        })?;
        match polled {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => {
                self.hung = true;
                Err(BackendError::Lost(format!(
                    "no answer within {} s",
                    deadline.as_secs_f32()
                )))
            }
            Err(e) => Err(BackendError::Device(e.to_string())),
        }
    }

    /// Copies what is in a mappable buffer whose commands are complete.
    fn map(&mut self, buffer: &wgpu::Buffer, len: u64, out: &mut [u8]) -> Result<(), BackendError> {
        let deadline = self.deadline;
        let outcome: Arc<Mutex<Option<Result<(), wgpu::BufferAsyncError>>>> = Arc::default();
        let told = outcome.clone();
        let slice = buffer.slice(..len);
        self.errors
            .guard(|| {
                slice.map_async(wgpu::MapMode::Read, move |r| {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(r);
                });
                self.device.poll(wgpu::PollType::Wait {
                    submission_index: None,
                    timeout: Some(deadline),
                })
            })?
            .map_err(|e| BackendError::Device(e.to_string()))?;
        let outcome = outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if !matches!(outcome, Some(Ok(()))) {
            return Err(BackendError::Device(
                "the device's memory could not be read".into(),
            ));
        }
        self.errors
            .guard(|| {
                if let Ok(view) = slice.get_mapped_range() {
                    out.copy_from_slice(&view[..out.len()]);
                    Ok(())
                } else {
                    Err(())
                }
            })?
            .map_err(|()| BackendError::Device("the device's memory could not be mapped".into()))?;
        buffer.unmap();
        Ok(())
    }

    /// The bind group for a launch, made once.
    fn make_group(&mut self, launch: &Launch) -> Result<(), BackendError> {
        for &slice in &launch.buffers {
            bounds::slice(slice, self.size(slice.buffer))?;
            if slice.len > self.info.max_binding_bytes {
                return Err(BackendError::Device(format!(
                    "a slice of {} bytes is longer than a kernel argument may be here ({})",
                    slice.len, self.info.max_binding_bytes
                )));
            }
        }
        let key = key(launch);
        let compiled = &self.kernels[launch.kernel.0];
        if compiled.groups.contains_key(&key) {
            return Ok(());
        }
        let mut entries: Vec<wgpu::BindGroupEntry> = launch
            .buffers
            .iter()
            .enumerate()
            .map(|(i, slice)| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: self.handle(slice.buffer),
                    offset: slice.offset,
                    size: wgpu::BufferSize::new(slice.len),
                }),
            })
            .collect();
        if compiled.kernel.numbers > 0 {
            entries.push(wgpu::BindGroupEntry {
                binding: launch.buffers.len() as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.numbers,
                    offset: 0,
                    size: wgpu::BufferSize::new(NUMBERS),
                }),
            });
        }
        let group = self.errors.guard(|| {
            self.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &compiled.layout,
                entries: &entries,
            })
        })?;
        drop(entries);
        self.kernels[launch.kernel.0].groups.insert(key, group);
        Ok(())
    }

    /// Writes the numbers of all launches, each into its slot.
    fn write_numbers(&mut self, launches: &[Launch]) -> Result<(), BackendError> {
        let need = launches.len() as u64 * SLOT;
        if need > self.numbers.size() {
            let size = need.next_power_of_two();
            self.numbers = self.errors.guard(|| {
                self.device.create_buffer(&describe_buffer(
                    size,
                    wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                ))
            })?;
            // Bind groups name the old buffer.
            for compiled in &mut self.kernels {
                compiled.groups.clear();
            }
        }
        let mut data = vec![0_u8; need as usize];
        for (slot, launch) in data.chunks_exact_mut(SLOT as usize).zip(launches) {
            for (to, number) in slot.chunks_exact_mut(4).zip(&launch.numbers) {
                to.copy_from_slice(&number.to_le_bytes());
            }
        }
        self.errors
            .guard(|| self.queue.write_buffer(&self.numbers, 0, &data))?;
        Ok(())
    }

    /// All launches in one pass, with the timestamps around it.
    fn encode(&self, launches: &[Launch]) -> wgpu::CommandBuffer {
        let mut encoder = self
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: self
                    .clock
                    .as_ref()
                    .map(|c| wgpu::ComputePassTimestampWrites {
                        query_set: &c.queries,
                        beginning_of_pass_write_index: Some(0),
                        end_of_pass_write_index: Some(1),
                    }),
            });
            let mut current = None;
            for (i, launch) in launches.iter().enumerate() {
                let compiled = &self.kernels[launch.kernel.0];
                if current != Some(launch.kernel) {
                    pass.set_pipeline(&compiled.pipeline);
                    current = Some(launch.kernel);
                }
                let offset = [(i as u64 * SLOT) as u32];
                let offsets: &[u32] = if compiled.kernel.numbers > 0 {
                    &offset
                } else {
                    &[]
                };
                pass.set_bind_group(0, &compiled.groups[&key(launch)], offsets);
                let [x, y, z] = launch.groups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        if let Some(c) = &self.clock {
            encoder.resolve_query_set(&c.queries, 0..2, &c.resolved, 0);
            encoder.copy_buffer_to_buffer(&c.resolved, 0, &c.readable, 0, 16);
        }
        encoder.finish()
    }

    /// The time between the last run's two timestamps.
    fn device_time(&mut self) -> Result<Option<Duration>, BackendError> {
        let Some(clock) = &self.clock else {
            return Ok(None);
        };
        let (readable, period) = (clock.readable.clone(), clock.period);
        let mut ticks = [0; 16];
        self.map(&readable, 16, &mut ticks)?;
        let tick =
            |at: usize| u64::from_le_bytes(ticks[at..at + 8].try_into().expect("eight bytes"));
        let nanoseconds = tick(8).saturating_sub(tick(0)) as f64 * period;
        Ok(Some(Duration::from_nanos(nanoseconds as u64)))
    }
}

/// What decides about a launch's bind group.
fn key(launch: &Launch) -> Vec<(usize, u64, u64)> {
    launch
        .buffers
        .iter()
        .map(|s| (s.buffer.0, s.offset, s.len))
        .collect()
}

/// PCI vendors, and those that Khronos numbers itself (Vulkan's `VkVendorId`).
fn vendor(id: u32) -> String {
    match id {
        0x1002 | 0x1022 => "AMD".into(),
        0x10de => "NVIDIA".into(),
        0x8086 => "Intel".into(),
        0x106b => "Apple".into(),
        0x13b5 => "Arm".into(),
        0x5143 => "Qualcomm".into(),
        0x1010 => "Imagination".into(),
        0x1414 => "Microsoft".into(),
        0x10005 => "Mesa".into(),
        other => format!("vendor {other:#x}"),
    }
}

fn describe(adapter: &wgpu::Adapter, features: wgpu::Features, queue: &wgpu::Queue) -> DeviceInfo {
    let info = adapter.get_info();
    let limits = adapter.limits();
    let software = info.device_type == wgpu::DeviceType::Cpu;
    let has = |f| features.contains(f);
    let mut names = vec![];
    if has(wgpu::Features::SHADER_F16) {
        names.push("f16".to_string());
    }
    if has(wgpu::Features::SUBGROUP) {
        names.push("subgroups".into());
        names.push(format!(
            "subgroup-size-{}-{}",
            info.subgroup_min_size, info.subgroup_max_size
        ));
    }
    // WGSL always has dot4I8Packed; a driver without the instruction gets the same written out.
    names.push("int8-dot".into());
    if has(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        use wgpu::CooperativeScalarType::{F16, F32};
        for p in adapter.cooperative_matrix_properties() {
            let size = (p.m_size, p.n_size, p.k_size);
            if (p.ab_type, p.cr_type, size) == (F16, F32, (16, 16, 16)) {
                names.push("coop-matrix-f16".into());
            }
            names.push(
                format!(
                    "coop-matrix-{:?}-{:?}-{}x{}x{}",
                    p.ab_type, p.cr_type, p.m_size, p.n_size, p.k_size
                )
                .to_lowercase(),
            );
        }
        names.dedup();
    }
    if !info.device_pci_bus_id.is_empty() {
        names.push(format!("pci-{}", info.device_pci_bus_id));
    }
    DeviceInfo {
        name: info.name,
        vendor: vendor(info.vendor),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_string(),
        api_version: format!("{:?} by wgpu 30", info.backend),
        software,
        unified_memory: software || info.device_type == wgpu::DeviceType::IntegratedGpu,
        memory_bytes: 0,
        max_buffer_bytes: limits.max_buffer_size,
        max_binding_bytes: limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size),
        local_memory_bytes: u64::from(limits.max_compute_workgroup_storage_size),
        max_group: limits.max_compute_invocations_per_workgroup,
        compute_units: 0,
        clock_mhz: 0,
        cache_bytes: 0,
        timestamp_ns: has(wgpu::Features::TIMESTAMP_QUERY)
            .then(|| f64::from(queue.get_timestamp_period())),
        features: names,
    }
}

impl Backend for Wgpu {
    fn api(&self) -> Api {
        Api::Wgpu
    }

    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    #[allow(unsafe_code)]
    fn compile(&mut self, kernel: &Kernel) -> Result<KernelId, BackendError> {
        self.alive()?;
        bounds::kernel(kernel, &self.info.features, self.info.max_group)?;
        let source = sources::wgsl(kernel)?;
        let entry = |binding: usize, ty, dynamic| wgpu::BindGroupLayoutEntry {
            binding: binding as u32,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty,
                has_dynamic_offset: dynamic,
                min_binding_size: None,
            },
            count: None,
        };
        let mut entries: Vec<_> = kernel
            .buffers
            .iter()
            .enumerate()
            .map(|(i, access)| {
                let read_only = *access == Access::Read;
                entry(i, wgpu::BufferBindingType::Storage { read_only }, false)
            })
            .collect();
        if kernel.numbers > 0 {
            entries.push(entry(entries.len(), wgpu::BufferBindingType::Uniform, true));
        }
        let made = self.errors.guard(|| {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: None,
                source: wgpu::ShaderSource::Wgsl(source.into()),
            };
            // SAFETY: without runtime checks a shader must not index out of bounds or loop for ever. The sources in `kernels/`
            // keep to the sizes that they are given, and their answers are checked; the checks cost time in inner loops.
            let module = unsafe {
                self.device.create_shader_module_trusted(
                    descriptor,
                    wgpu::ShaderRuntimeChecks::unchecked(),
                )
            };
            let layout = self
                .device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                    label: None,
                    entries: &entries,
                });
            let pipeline_layout =
                self.device
                    .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                        label: None,
                        bind_group_layouts: &[Some(&layout)],
                        immediate_size: 0,
                    });
            let pipeline = self
                .device
                .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                    label: None,
                    layout: Some(&pipeline_layout),
                    module: &module,
                    entry_point: Some(kernel.name),
                    compilation_options: wgpu::PipelineCompilationOptions {
                        zero_initialize_workgroup_memory: false,
                        ..Default::default()
                    },
                    cache: None,
                });
            (pipeline, layout)
        });
        let (pipeline, layout) = made.map_err(|e| BackendError::Compile {
            kernel: kernel.name,
            log: e.words(),
        })?;
        self.kernels.push(Compiled {
            kernel: kernel.clone(),
            pipeline,
            layout,
            groups: BTreeMap::new(),
        });
        Ok(KernelId(self.kernels.len() - 1))
    }

    fn alloc(&mut self, bytes: u64) -> Result<BufferId, BackendError> {
        self.alive()?;
        let refused = |reason: String| BackendError::Memory { bytes, reason };
        if bytes == 0 || bytes > self.info.max_buffer_bytes {
            return Err(refused(format!(
                "a buffer has 1 to {} bytes here",
                self.info.max_buffer_bytes
            )));
        }
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        // Whole words, as copies and clearing ask for; within the limit because the limit is.
        let room = bytes
            .next_multiple_of(4)
            .min(self.info.max_buffer_bytes.max(bytes) / 4 * 4);
        let (handle, commands) = self
            .errors
            .guard(|| {
                let handle = self.device.create_buffer(&describe_buffer(room, usage));
                let mut encoder = self
                    .device
                    .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
                // Memory is given, and cleared, at its first use: use all of it now.
                encoder.clear_buffer(&handle, 0, None);
                (handle, encoder.finish())
            })
            .map_err(|e| refused(e.words()))?;
        self.submit(Some(commands))
            .map_err(|e| refused(e.to_string()))?;
        self.buffers.push(Some(Buffer {
            handle,
            size: bytes,
        }));
        Ok(BufferId(self.buffers.len() - 1))
    }

    fn free(&mut self, buffer: BufferId) {
        for compiled in &mut self.kernels {
            compiled
                .groups
                .retain(|key, _| key.iter().all(|(b, _, _)| *b != buffer.0));
        }
        if let Some(freed) = self.buffers.get_mut(buffer.0).and_then(Option::take) {
            freed.handle.destroy();
            // The memory goes back when the device is next looked after.
            let _ = self.errors.guard(|| self.device.poll(wgpu::PollType::Poll));
        }
    }

    fn write(&mut self, to: Slice, data: &[u8]) -> Result<Duration, BackendError> {
        self.alive()?;
        bounds::copy(to, self.size(to.buffer), data.len())?;
        let began = Instant::now();
        let mut offset = to.offset;
        for piece in data.chunks(PIECE as usize) {
            let handle = self.handle(to.buffer).clone();
            self.errors
                .guard(|| self.queue.write_buffer(&handle, offset, piece))?;
            self.submit(None)?;
            offset += piece.len() as u64;
        }
        Ok(began.elapsed())
    }

    fn read(&mut self, from: Slice, data: &mut [u8]) -> Result<Duration, BackendError> {
        self.alive()?;
        bounds::copy(from, self.size(from.buffer), data.len())?;
        let began = Instant::now();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let size = from.len.min(PIECE);
        let staging = self
            .errors
            .guard(|| self.device.create_buffer(&describe_buffer(size, usage)))?;
        let mut offset = from.offset;
        for piece in data.chunks_mut(PIECE as usize) {
            let len = piece.len() as u64;
            let commands = self.errors.guard(|| {
                let mut encoder = self
                    .device
                    .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
                encoder.copy_buffer_to_buffer(self.handle(from.buffer), offset, &staging, 0, len);
                encoder.finish()
            })?;
            self.submit(Some(commands))?;
            self.map(&staging, len, piece)?;
            offset += len;
        }
        Ok(began.elapsed())
    }

    fn run(&mut self, launches: &[Launch]) -> Result<Timing, BackendError> {
        self.alive()?;
        for launch in launches {
            let Some(compiled) = self.kernels.get(launch.kernel.0) else {
                return Err(BackendError::Device("no such kernel".into()));
            };
            bounds::launch(&compiled.kernel, launch)?;
        }
        if launches.is_empty() {
            return Ok(Timing {
                device: self.clock.as_ref().map(|_| Duration::ZERO),
                host: Duration::ZERO,
            });
        }
        // Before the clock starts: these are made once, and the numbers are on the device before the pass.
        self.write_numbers(launches)?;
        for launch in launches {
            self.make_group(launch)?;
        }
        self.submit(None)?;
        let began = Instant::now();
        let commands = self.errors.guard(|| self.encode(launches))?;
        self.submit(Some(commands))?;
        let host = began.elapsed();
        let device = self.device_time()?;
        Ok(Timing { device, host })
    }
}

impl Drop for Wgpu {
    fn drop(&mut self) {
        if self.hung {
            // Releasing what a stuck kernel uses may wait for it: leave it to the end of the process.
            std::mem::forget(std::mem::take(&mut self.buffers));
            std::mem::forget(std::mem::take(&mut self.kernels));
            std::mem::forget((self.device.clone(), self.queue.clone()));
        }
    }
}
