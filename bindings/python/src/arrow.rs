//! Columns in the Arrow C data and stream interfaces (arrow.apache.org/docs/format/CDataInterface.html, CStreamInterface.html),
//! lent without a copy. By hand, because the crates that do it change the features of what the library is built with, so that
//! everything would be built twice; and a table of three types of column is little.
#![allow(unsafe_code, reason = "a C interface")]
use capsim_study::report::flat::{self, Column};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// A column as Arrow lays it out.
struct Laid {
    name: CString,
    format: &'static CStr,
    /// A bit per row, set where there is a value; `None` if all are there.
    valid: Option<Vec<u8>>,
    nulls: i64,
    values: Values,
}

enum Values {
    Int(Vec<i64>),
    Float(Vec<f64>),
    /// Where each text begins, and where the last one ends; the bytes of all.
    Text(Vec<i32>, Vec<u8>),
}

/// Columns of equal length.
pub struct Columns {
    rows: usize,
    columns: Vec<Laid>,
}

fn bits<T>(values: &[Option<T>]) -> (Option<Vec<u8>>, i64) {
    let nulls = values.iter().filter(|v| v.is_none()).count();
    let valid = (nulls > 0).then(|| {
        let mut bits = vec![0u8; values.len().div_ceil(8)];
        for (i, v) in values.iter().enumerate() {
            bits[i / 8] |= u8::from(v.is_some()) << (i % 8);
        }
        bits
    });
    (valid, nulls as i64)
}

impl Columns {
    /// Lays a table out.
    ///
    /// # Errors
    /// A name with a zero byte, columns of unequal length, more than 2 GiB of text.
    pub fn new(table: flat::Table) -> anyhow::Result<Self> {
        let mut rows = None;
        let mut columns = vec![];
        for (name, column) in table.columns {
            let (len, format, (valid, nulls), values) = match column {
                Column::Int(v) => {
                    let values = v.iter().map(|x| x.unwrap_or(0)).collect();
                    (v.len(), c"l", bits(&v), Values::Int(values))
                }
                Column::Float(v) => {
                    let values = v.iter().map(|x| x.unwrap_or(0.0)).collect();
                    (v.len(), c"g", bits(&v), Values::Float(values))
                }
                Column::Text(v) => {
                    let (mut ends, mut bytes) = (vec![0i32], vec![]);
                    for text in &v {
                        bytes.extend_from_slice(text.as_deref().unwrap_or("").as_bytes());
                        ends.push(i32::try_from(bytes.len())?);
                    }
                    (v.len(), c"u", bits(&v), Values::Text(ends, bytes))
                }
            };
            anyhow::ensure!(rows.is_none_or(|r| r == len), "columns of unequal length");
            rows = Some(len);
            columns.push(Laid {
                name: CString::new(name)?,
                format,
                valid,
                nulls,
                values,
            });
        }
        Ok(Self {
            rows: rows.unwrap_or(0),
            columns,
        })
    }
}

/// `struct ArrowSchema`.
#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`.
#[repr(C)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`.
#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int,
    get_next: unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int,
    get_last_error: unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

// Sound: all that the pointers lead to is owned by `private_data`, and only read, by way of an `Arc`.
unsafe impl Send for ArrowSchema {}
unsafe impl Send for ArrowArray {}
unsafe impl Send for ArrowArrayStream {}

/// Dropping one that was not moved from releases it, as the interface demands of its owner.
macro_rules! released_on_drop {
    ($($t:ty),*) => {$(
        impl Drop for $t {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // Sound: `release` is ours, called once, because it clears itself.
                    unsafe { release(self) }
                }
            }
        }
    )*};
}
released_on_drop!(ArrowSchema, ArrowArray, ArrowArrayStream);

/// What a schema or array keeps alive: the columns, its children, and its lists of pointers.
struct Owned<T> {
    _columns: Arc<Columns>,
    children: Vec<*mut T>,
    buffers: Vec<*const c_void>,
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        for &child in &self.children {
            // Sound: made by `Box::into_raw` in `own`. A child that a consumer moved away has no `release` any more.
            drop(unsafe { Box::from_raw(child) });
        }
    }
}

fn own<T>(columns: &Arc<Columns>, children: Vec<T>, buffers: Vec<*const c_void>) -> Box<Owned<T>> {
    Box::new(Owned {
        _columns: Arc::clone(columns),
        children: children
            .into_iter()
            .map(|c| Box::into_raw(Box::new(c)))
            .collect(),
        buffers,
    })
}

unsafe extern "C" fn release_schema(s: *mut ArrowSchema) {
    // Sound: only schemas of `schema` bear this function, with `private_data` from `Box::into_raw`.
    unsafe {
        drop(Box::from_raw(
            (*s).private_data.cast::<Owned<ArrowSchema>>(),
        ));
        (*s).release = None;
    }
}

unsafe extern "C" fn release_array(a: *mut ArrowArray) {
    // Sound: as `release_schema`.
    unsafe {
        drop(Box::from_raw((*a).private_data.cast::<Owned<ArrowArray>>()));
        (*a).release = None;
    }
}

/// `ARROW_FLAG_NULLABLE`.
const NULLABLE: i64 = 2;

fn schema(
    columns: &Arc<Columns>,
    format: &'static CStr,
    name: *const c_char,
    flags: i64,
    children: Vec<ArrowSchema>,
) -> ArrowSchema {
    let mut owned = own(columns, children, vec![]);
    ArrowSchema {
        format: format.as_ptr(),
        name,
        metadata: null(),
        flags,
        n_children: owned.children.len() as i64,
        children: owned.children.as_mut_ptr(),
        dictionary: null_mut(),
        release: Some(release_schema),
        private_data: Box::into_raw(owned).cast(),
    }
}

/// The types of the columns, as fields of a struct.
pub fn schema_of(columns: &Arc<Columns>) -> ArrowSchema {
    let fields = columns
        .columns
        .iter()
        .map(|c| schema(columns, c.format, c.name.as_ptr(), NULLABLE, vec![]))
        .collect();
    schema(columns, c"+s", c"".as_ptr(), 0, fields)
}

fn array(
    columns: &Arc<Columns>,
    nulls: i64,
    buffers: Vec<*const c_void>,
    children: Vec<ArrowArray>,
) -> ArrowArray {
    let mut owned = own(columns, children, buffers);
    ArrowArray {
        length: columns.rows as i64,
        null_count: nulls,
        offset: 0,
        n_buffers: owned.buffers.len() as i64,
        n_children: owned.children.len() as i64,
        buffers: owned.buffers.as_mut_ptr(),
        children: owned.children.as_mut_ptr(),
        dictionary: null_mut(),
        release: Some(release_array),
        private_data: Box::into_raw(owned).cast(),
    }
}

/// The columns, as a struct array.
fn array_of(columns: &Arc<Columns>) -> ArrowArray {
    let children = columns
        .columns
        .iter()
        .map(|c| {
            let valid = c.valid.as_ref().map_or(null(), |v| v.as_ptr().cast());
            let mut buffers = vec![valid];
            match &c.values {
                Values::Int(v) => buffers.push(v.as_ptr().cast()),
                Values::Float(v) => buffers.push(v.as_ptr().cast()),
                Values::Text(ends, bytes) => {
                    buffers.extend([ends.as_ptr().cast(), bytes.as_ptr().cast()]);
                }
            }
            array(columns, c.nulls, buffers, vec![])
        })
        .collect();
    array(columns, 0, vec![null()], children)
}

/// The state of a stream of one batch.
struct Stream {
    columns: Arc<Columns>,
    given: bool,
}

unsafe extern "C" fn get_schema(stream: *mut ArrowArrayStream, out: *mut ArrowSchema) -> c_int {
    // Sound: only streams of `stream_of` bear this function; `out` is the caller's, to be overwritten.
    unsafe {
        let state = &*(*stream).private_data.cast::<Stream>();
        out.write(schema_of(&state.columns));
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, out: *mut ArrowArray) -> c_int {
    // Sound: as `get_schema`.
    unsafe {
        let state = &mut *(*stream).private_data.cast::<Stream>();
        let mut next = array_of(&state.columns);
        if std::mem::replace(&mut state.given, true) {
            // An array that is released ends the stream.
            release_array(&mut next);
        }
        out.write(next);
    }
    0
}

unsafe extern "C" fn get_last_error(_: *mut ArrowArrayStream) -> *const c_char {
    null()
}

unsafe extern "C" fn release_stream(stream: *mut ArrowArrayStream) {
    // Sound: as `release_schema`.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Stream>()));
        (*stream).release = None;
    }
}

/// The columns as a stream of one batch.
pub fn stream_of(columns: &Arc<Columns>) -> ArrowArrayStream {
    let state = Box::new(Stream {
        columns: Arc::clone(columns),
        given: false,
    });
    ArrowArrayStream {
        get_schema,
        get_next,
        get_last_error,
        release: Some(release_stream),
        private_data: Box::into_raw(state).cast(),
    }
}

impl Columns {
    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names, in order.
    pub fn names(&self) -> Vec<String> {
        let text = |c: &Laid| c.name.to_string_lossy().into_owned();
        self.columns.iter().map(text).collect()
    }

    /// A column's values.
    pub fn column(&self, name: &str) -> Option<Column> {
        let c = self
            .columns
            .iter()
            .find(|c| c.name.as_bytes() == name.as_bytes())?;
        let there = |i: usize| {
            c.valid
                .as_ref()
                .is_none_or(|v| v[i / 8] >> (i % 8) & 1 == 1)
        };
        fn keep<T>(i: usize, v: T, there: impl Fn(usize) -> bool) -> Option<T> {
            there(i).then_some(v)
        }
        Some(match &c.values {
            Values::Int(v) => Column::Int(
                v.iter()
                    .enumerate()
                    .map(|(i, x)| keep(i, *x, there))
                    .collect(),
            ),
            Values::Float(v) => Column::Float(
                v.iter()
                    .enumerate()
                    .map(|(i, x)| keep(i, *x, there))
                    .collect(),
            ),
            Values::Text(ends, bytes) => Column::Text(
                ends.windows(2)
                    .enumerate()
                    .map(|(i, w)| {
                        let text = String::from_utf8_lossy(&bytes[w[0] as usize..w[1] as usize]);
                        keep(i, text.into_owned(), there)
                    })
                    .collect(),
            ),
        })
    }
}
