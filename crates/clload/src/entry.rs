//! Every function that `cl-sys` declares, each passing its call on to the library found at run time.
//!
//! The signatures are those of `cl-sys` 0.4.3. A constant per function lets the compiler compare the two, up to OpenCL 1.2,
//! which is what `cl-sys` declares by default. Those of 2.0 and 2.1 are there in case another crate of the same program
//! switches them on.
#![allow(non_snake_case, reason = "OpenCL's names")]
#![allow(clippy::too_many_arguments, reason = "OpenCL's signatures")]
#![allow(
    clippy::missing_safety_doc,
    missing_docs,
    reason = "the OpenCL specification documents them"
)]
use crate::library::find;
use cl_sys::*;
use std::sync::OnceLock;

/// What functions return where there is no library: an error that every caller knows. `CL_PLATFORM_NOT_FOUND_KHR` would make
/// `ocl-core` wait and try again.
const UNAVAILABLE: cl_int = CL_INVALID_OPERATION;

/// "No driver is installed", as the ICD loader says it (`cl_khr_icd`).
const PLATFORM_NOT_FOUND: cl_int = -1001;

/// For functions that return a handle and write their status elsewhere.
fn refuse<T>(errcode_ret: *mut cl_int) -> *mut T {
    if !errcode_ret.is_null() {
        // SAFETY: not null, and by OpenCL's contract a place for one `cl_int`.
        unsafe { *errcode_ret = UNAVAILABLE };
    }
    std::ptr::null_mut()
}

/// Defines functions that forward. After `=`: what to return without a library.
macro_rules! forward {
    (as in cl_sys: $( fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $without:expr; )*) => {
        $( const _: unsafe extern "system" fn($($type),*) $(-> $ret)? = cl_sys::$name; )*
        forward! { $( fn $name($($arg: $type),*) $(-> $ret)? = $without; )* }
    };
    ($( fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $without:expr; )*) => { $(
        #[unsafe(no_mangle)]
        pub unsafe extern "system" fn $name($($arg: $type),*) $(-> $ret)? {
            type Function = unsafe extern "system" fn($($type),*) $(-> $ret)?;
            static FOUND: OnceLock<Option<Function>> = OnceLock::new();
            // SAFETY: the type is this function's own, which is that of its namesake in the library.
            match FOUND.get_or_init(|| unsafe { find(stringify!($name)) }) {
                // SAFETY: the caller keeps the contract of the function of this name.
                Some(function) => unsafe { function($($arg),*) },
                None => $without,
            }
        }
    )* };
}

/// Reports platforms; no library and no driver mean none, which is no error.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn clGetPlatformIDs(
    num_entries: cl_uint,
    platforms: *mut cl_platform_id,
    num_platforms: *mut cl_uint,
) -> cl_int {
    type Function = unsafe extern "system" fn(cl_uint, *mut cl_platform_id, *mut cl_uint) -> cl_int;
    const _: Function = cl_sys::clGetPlatformIDs;
    static FOUND: OnceLock<Option<Function>> = OnceLock::new();
    // SAFETY: the type is that of clGetPlatformIDs.
    let status = match FOUND.get_or_init(|| unsafe { find("clGetPlatformIDs") }) {
        // SAFETY: the caller keeps the contract of clGetPlatformIDs.
        Some(function) => unsafe { function(num_entries, platforms, num_platforms) },
        None => PLATFORM_NOT_FOUND,
    };
    if status != PLATFORM_NOT_FOUND {
        return status;
    }
    if !num_platforms.is_null() {
        // SAFETY: not null, and by OpenCL's contract a place for one number.
        unsafe { *num_platforms = 0 };
    }
    CL_SUCCESS
}

forward! {
    // `cl-sys` forgets the return value of this one; the specification has it.
    fn clGetExtensionFunctionAddress(func_name: *const c_char) -> *mut c_void = std::ptr::null_mut();
}

forward! {
    as in cl_sys:
    // OpenCL 1.0, 1.1 and the sharing of objects with OpenGL, which ocl-core asks for too
    fn clGetPlatformInfo(platform: cl_platform_id, param_name: cl_platform_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clGetDeviceIDs(platform: cl_platform_id, device_type: cl_device_type, num_entries: cl_uint, devices: *mut cl_device_id, num_devices: *mut cl_uint) -> cl_int = UNAVAILABLE;
    fn clGetDeviceInfo(device: cl_device_id, param_name: cl_device_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateContext(properties: *const cl_context_properties, num_devices: cl_uint, devices: *const cl_device_id, pfn_notify: Option<extern "C" fn(*const c_char, *const c_void, size_t, *mut c_void)>, user_data: *mut c_void, errcode_ret: *mut cl_int) -> cl_context = refuse(errcode_ret);
    fn clCreateContextFromType(properties: *const cl_context_properties, device_type: cl_device_type, pfn_notify: Option<extern "C" fn(*const c_char, *const c_void, size_t, *mut c_void)>, user_data: *mut c_void, errcode_ret: *mut cl_int) -> cl_context = refuse(errcode_ret);
    fn clRetainContext(context: cl_context) -> cl_int = UNAVAILABLE;
    fn clReleaseContext(context: cl_context) -> cl_int = UNAVAILABLE;
    fn clGetContextInfo(context: cl_context, param_name: cl_context_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateCommandQueue(context: cl_context, device: cl_device_id, properties: cl_command_queue_properties, errcode_ret: *mut cl_int) -> cl_command_queue = refuse(errcode_ret);
    fn clRetainCommandQueue(command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clReleaseCommandQueue(command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clGetCommandQueueInfo(command_queue: cl_command_queue, param_name: cl_command_queue_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateBuffer(context: cl_context, flags: cl_mem_flags, size: size_t, host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateSubBuffer(buffer: cl_mem, flags: cl_mem_flags, buffer_create_type: cl_buffer_create_type, buffer_create_info: *const c_void, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateImage2D(context: cl_context, flags: cl_mem_flags, image_format: *mut cl_image_format, image_width: size_t, image_depth: size_t, image_slc_pitch: size_t, host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateImage3D(context: cl_context, flags: cl_mem_flags, image_format: *mut cl_image_format, image_width: size_t, image_height: size_t, image_depth: size_t, image_row_pitch: size_t, image_slc_pitch: size_t, host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clRetainMemObject(memobj: cl_mem) -> cl_int = UNAVAILABLE;
    fn clReleaseMemObject(memobj: cl_mem) -> cl_int = UNAVAILABLE;
    fn clGetSupportedImageFormats(context: cl_context, flags: cl_mem_flags, image_type: cl_mem_object_type, num_entries: cl_uint, image_formats: *mut cl_image_format, num_image_formats: *mut cl_uint) -> cl_int = UNAVAILABLE;
    fn clGetMemObjectInfo(memobj: cl_mem, param_name: cl_mem_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clGetImageInfo(image: cl_mem, param_name: cl_image_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clSetMemObjectDestructorCallback(memobj: cl_mem, pfn_notify: Option<extern "C" fn(cl_mem, *mut c_void)>, user_data: *mut c_void) -> cl_int = UNAVAILABLE;
    fn clCreateSampler(context: cl_context, normalize_coords: cl_bool, addressing_mode: cl_addressing_mode, filter_mode: cl_filter_mode, errcode_ret: *mut cl_int) -> cl_sampler = refuse(errcode_ret);
    fn clRetainSampler(sampler: cl_sampler) -> cl_int = UNAVAILABLE;
    fn clReleaseSampler(sampler: cl_sampler) -> cl_int = UNAVAILABLE;
    fn clGetSamplerInfo(sampler: cl_sampler, param_name: cl_sampler_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateProgramWithSource(context: cl_context, count: cl_uint, strings: *const *const c_char, lengths: *const size_t, errcode_ret: *mut cl_int) -> cl_program = refuse(errcode_ret);
    fn clCreateProgramWithBinary(context: cl_context, num_devices: cl_uint, device_list: *const cl_device_id, lengths: *const size_t, binaries: *const *const c_uchar, binary_status: *mut cl_int, errcode_ret: *mut cl_int) -> cl_program = refuse(errcode_ret);
    fn clRetainProgram(program: cl_program) -> cl_int = UNAVAILABLE;
    fn clReleaseProgram(program: cl_program) -> cl_int = UNAVAILABLE;
    fn clBuildProgram(program: cl_program, num_devices: cl_uint, device_list: *const cl_device_id, options: *const c_char, pfn_notify: Option<extern "C" fn(cl_program, *mut c_void)>, user_data: *mut c_void) -> cl_int = UNAVAILABLE;
    fn clUnloadCompiler() -> cl_int = UNAVAILABLE;
    fn clGetProgramBuildInfo(program: cl_program, device: cl_device_id, param_name: cl_program_build_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateKernel(program: cl_program, kernel_name: *const c_char, errcode_ret: *mut cl_int) -> cl_kernel = refuse(errcode_ret);
    fn clCreateKernelsInProgram(program: cl_program, num_kernels: cl_uint, kernels: *mut cl_kernel, num_kernels_ret: *mut cl_uint) -> cl_int = UNAVAILABLE;
    fn clRetainKernel(kernel: cl_kernel) -> cl_int = UNAVAILABLE;
    fn clReleaseKernel(kernel: cl_kernel) -> cl_int = UNAVAILABLE;
    fn clSetKernelArg(kernel: cl_kernel, arg_index: cl_uint, arg_size: size_t, arg_value: *const c_void) -> cl_int = UNAVAILABLE;
    fn clGetKernelInfo(kernel: cl_kernel, param_name: cl_kernel_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clGetKernelWorkGroupInfo(kernel: cl_kernel, device: cl_device_id, param_name: cl_kernel_work_group_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clWaitForEvents(num_events: cl_uint, event_list: *const cl_event) -> cl_int = UNAVAILABLE;
    fn clGetEventInfo(event: cl_event, param_name: cl_event_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateUserEvent(context: cl_context, errcode_ret: *mut cl_int) -> cl_event = refuse(errcode_ret);
    fn clRetainEvent(event: cl_event) -> cl_int = UNAVAILABLE;
    fn clReleaseEvent(event: cl_event) -> cl_int = UNAVAILABLE;
    fn clSetUserEventStatus(event: cl_event, execution_status: cl_int) -> cl_int = UNAVAILABLE;
    fn clSetEventCallback(event: cl_event, command_exec_callback_type: cl_int, pfn_notify: Option<extern "C" fn(cl_event, cl_int, *mut c_void)>, user_data: *mut c_void) -> cl_int = UNAVAILABLE;
    fn clGetEventProfilingInfo(event: cl_event, param_name: cl_profiling_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clFlush(command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clFinish(command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clEnqueueReadBuffer(command_queue: cl_command_queue, buffer: cl_mem, blocking_read: cl_bool, offset: size_t, cb: size_t, ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueReadBufferRect(command_queue: cl_command_queue, buffer: cl_mem, blocking_read: cl_bool, buffer_origin: *const size_t, host_origin: *const size_t, region: *const size_t, buffer_row_pitch: size_t, buffer_slc_pitch: size_t, host_row_pitch: size_t, host_slc_pitch: size_t, ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueWriteBuffer(command_queue: cl_command_queue, buffer: cl_mem, blocking_write: cl_bool, offset: size_t, cb: size_t, ptr: *const c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueWriteBufferRect(command_queue: cl_command_queue, buffer: cl_mem, blocking_write: cl_bool, buffer_origin: *const size_t, host_origin: *const size_t, region: *const size_t, buffer_row_pitch: size_t, buffer_slc_pitch: size_t, host_row_pitch: size_t, host_slc_pitch: size_t, ptr: *const c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueCopyBuffer(command_queue: cl_command_queue, src_buffer: cl_mem, dst_buffer: cl_mem, src_offset: size_t, dst_offset: size_t, cb: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueCopyBufferRect(command_queue: cl_command_queue, src_buffer: cl_mem, dst_buffer: cl_mem, src_origin: *const size_t, dst_origin: *const size_t, region: *const size_t, src_row_pitch: size_t, src_slc_pitch: size_t, dst_row_pitch: size_t, dst_slc_pitch: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueReadImage(command_queue: cl_command_queue, image: cl_mem, blocking_read: cl_bool, origin: *const size_t, region: *const size_t, row_pitch: size_t, slc_pitch: size_t, ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueWriteImage(command_queue: cl_command_queue, image: cl_mem, blocking_write: cl_bool, origin: *const size_t, region: *const size_t, input_row_pitch: size_t, input_slc_pitch: size_t, ptr: *const c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueCopyImage(command_queue: cl_command_queue, src_image: cl_mem, dst_image: cl_mem, src_origin: *const size_t, dst_origin: *const size_t, region: *const size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueCopyImageToBuffer(command_queue: cl_command_queue, src_image: cl_mem, dst_buffer: cl_mem, src_origin: *const size_t, region: *const size_t, dst_offset: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueCopyBufferToImage(command_queue: cl_command_queue, src_buffer: cl_mem, dst_image: cl_mem, src_offset: size_t, dst_origin: *const size_t, region: *const size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueMapBuffer(command_queue: cl_command_queue, buffer: cl_mem, blocking_map: cl_bool, map_flags: cl_map_flags, offset: size_t, size: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event, errorcode_ret: *mut cl_int) -> *mut c_void = std::ptr::null_mut();
    fn clEnqueueMapImage(command_queue: cl_command_queue, image: cl_mem, blocking_map: cl_bool, map_flags: cl_map_flags, origin: *const size_t, region: *const size_t, image_row_pitch: *mut size_t, image_slc_pitch: *mut size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event, errorcode_ret: *mut cl_int) -> *mut c_void = std::ptr::null_mut();
    fn clEnqueueUnmapMemObject(command_queue: cl_command_queue, memobj: cl_mem, mapped_ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueNDRangeKernel(command_queue: cl_command_queue, kernel: cl_kernel, work_dim: cl_uint, global_work_offset: *const size_t, global_work_dims: *const size_t, local_work_dims: *const size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueTask(command_queue: cl_command_queue, kernel: cl_kernel, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueNativeKernel(command_queue: cl_command_queue, user_func: Option<extern "C" fn(*mut c_void)>, args: *mut c_void, cb_args: size_t, num_mem_objects: cl_uint, mem_list: *const cl_mem, args_mem_loc: *const *const c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueMarker(command_queue: cl_command_queue, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueWaitForEvents(command_queue: cl_command_queue, num_events: cl_uint, event_list: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueBarrier(command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clCreateFromGLBuffer(context: cl_context, flags: cl_mem_flags, bufobj: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateFromGLTexture(context: cl_context, flags: cl_mem_flags, texture_target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clGetGLObjectInfo(memobj: cl_mem, gl_object_type: *mut cl_gl_object_type, gl_object_name: *mut cl_GLuint) -> cl_int = UNAVAILABLE;
    fn clGetGLTextureInfo(memobj: cl_mem, param_name: cl_gl_texture_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateFromGLRenderbuffer(context: cl_context, flags: cl_mem_flags, renderbuffer: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clEnqueueAcquireGLObjects(command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueReleaseGLObjects(command_queue: cl_command_queue, num_objects: cl_uint, mem_objects: *const cl_mem, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clGetGLContextInfoKHR(properties: *const cl_context_properties, param_name: cl_gl_context_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clCreateFromGLTexture2D(context: cl_context, flags: cl_mem_flags, texture_target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateFromGLTexture3D(context: cl_context, flags: cl_mem_flags, texture_target: cl_GLenum, miplevel: cl_GLint, texture: cl_GLuint, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
}

forward! {
    as in cl_sys:
    // OpenCL 1.2
    fn clCreateSubDevices(in_device: cl_device_id, properties: *const cl_device_partition_property, num_devices: cl_uint, out_devices: *mut cl_device_id, num_devices_ret: *mut cl_uint) -> cl_int = UNAVAILABLE;
    fn clRetainDevice(device: cl_device_id) -> cl_int = UNAVAILABLE;
    fn clReleaseDevice(device: cl_device_id) -> cl_int = UNAVAILABLE;
    fn clCreateImage(context: cl_context, flags: cl_mem_flags, image_format: *const cl_image_format, image_desc: *const cl_image_desc, host_ptr: *mut c_void, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clCreateProgramWithBuiltInKernels(context: cl_context, num_devices: cl_uint, device_list: *const cl_device_id, kernel_names: *const char, errcode_ret: *mut cl_int) -> cl_program = refuse(errcode_ret);
    fn clCompileProgram(program: cl_program, num_devices: cl_uint, device_list: *const cl_device_id, options: *const c_char, num_input_headers: cl_uint, input_headers: *const cl_program, header_include_names: *const *const c_char, pfn_notify: Option<extern "C" fn(program: cl_program, user_data: *mut c_void)>, user_data: *mut c_void) -> cl_int = UNAVAILABLE;
    fn clLinkProgram(context: cl_context, num_devices: cl_uint, device_list: *const cl_device_id, options: *const c_char, num_input_programs: cl_uint, input_programs: *const cl_program, pfn_notify: Option<extern "C" fn(program: cl_program, user_data: *mut c_void)>, user_data: *mut c_void, errcode_ret: *mut cl_int) -> cl_program = refuse(errcode_ret);
    fn clGetProgramInfo(program: cl_program, param_name: cl_program_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clGetKernelArgInfo(kernel: cl_kernel, arg_indx: cl_uint, param_name: cl_kernel_arg_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clEnqueueFillBuffer(command_queue: cl_command_queue, buffer: cl_mem, pattern: *const c_void, pattern_size: size_t, offset: size_t, size: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueFillImage(command_queue: cl_command_queue, image: cl_mem, fill_color: *const c_void, origin: *const size_t, region: *const size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueMigrateMemObjects(command_queue: cl_command_queue, num_mem_objects: cl_uint, mem_objects: *const cl_mem, flags: cl_mem_migration_flags, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueMarkerWithWaitList(command_queue: cl_command_queue, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueBarrierWithWaitList(command_queue: cl_command_queue, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clGetExtensionFunctionAddressForPlatform(platform: cl_platform_id, func_name: *const c_char) -> *mut c_void = std::ptr::null_mut();
}

forward! {
    // OpenCL 2.0
    fn clCreateCommandQueueWithProperties(context: cl_context, device: cl_device_id, properties: *const cl_queue_properties, errcode_ret: *mut cl_int) -> cl_command_queue = refuse(errcode_ret);
    fn clCreatePipe(context: cl_context, flags: cl_mem_flags, pipe_packet_size: cl_uint, pipe_max_packets: cl_uint, properties: *const cl_pipe_properties, errcode_ret: *mut cl_int) -> cl_mem = refuse(errcode_ret);
    fn clGetPipeInfo(pipe: cl_mem, param_name: cl_pipe_info, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clSVMAlloc(context: cl_context, flags: cl_svm_mem_flags, size: size_t, alignment: cl_uint) -> *mut c_void = std::ptr::null_mut();
    fn clSVMFree(context: cl_context, svm_pointer: *mut c_void) = ();
    fn clCreateSamplerWithProperties(context: cl_context, normalized_coords: *const cl_sampler_properties, errcode_ret: *mut cl_int) -> cl_sampler = refuse(errcode_ret);
    fn clSetKernelArgSVMPointer(kernel: cl_kernel, arg_index: cl_uint, arg_value: *const c_void) -> cl_int = UNAVAILABLE;
    fn clSetKernelExecInfo(kernel: cl_kernel, param_name: cl_kernel_exec_info, param_value_size: size_t, param_value: *const c_void) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMFree(command_queue: cl_command_queue, num_svm_pointers: cl_uint, svm_pointers: *const *const c_void, pfn_free_func: Option< extern "C" fn( queue: cl_command_queue, num_svm_pointers: cl_uint, svm_pointers: *const *const c_void, user_data: *mut c_void, ), >, user_data: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMMemcpy(command_queue: cl_command_queue, blocking_copy: cl_bool, dst_ptr: *mut c_void, src_ptr: *const c_void, size: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMMemFill(command_queue: cl_command_queue, svm_ptr: *mut c_void, pattern: *const c_void, pattern_size: size_t, size: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMMap(command_queue: cl_command_queue, blocking_map: cl_bool, flags: cl_map_flags, svm_ptr: *mut c_void, size: size_t, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMUnmap(command_queue: cl_command_queue, svm_ptr: *mut c_void, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
}

forward! {
    // OpenCL 2.1
    fn clSetDefaultDeviceCommandQueue(context: cl_context, device: cl_device_id, command_queue: cl_command_queue) -> cl_int = UNAVAILABLE;
    fn clGetDeviceAndHostTimer(device: cl_device_id, device_timestamp: *mut cl_ulong, host_timestamp: *mut cl_ulong) -> cl_int = UNAVAILABLE;
    fn clGetHostTimer(device: cl_device_id, host_timestamp: *mut cl_ulong) -> cl_int = UNAVAILABLE;
    fn clCreateProgramWithIL(context: cl_context, il: *const c_void, length: size_t, errcode_ret: *mut cl_int) -> cl_program = refuse(errcode_ret);
    fn clCloneKernel(source_kernel: cl_kernel, errcode_ret: *mut cl_int) -> cl_kernel = refuse(errcode_ret);
    fn clGetKernelSubGroupInfo(kernel: cl_kernel, device: cl_device_id, param_name: cl_kernel_sub_group_info, input_value_size: size_t, input_value: *const c_void, param_value_size: size_t, param_value: *mut c_void, param_value_size_ret: *mut size_t) -> cl_int = UNAVAILABLE;
    fn clEnqueueSVMMigrateMem(command_queue: cl_command_queue, num_svm_pointers: cl_uint, svm_pointers: *const *const c_void, sizes: *const size_t, flags: cl_mem_migration_flags, num_events_in_wait_list: cl_uint, event_wait_list: *const cl_event, event: *mut cl_event) -> cl_int = UNAVAILABLE;
}
