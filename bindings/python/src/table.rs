//! Columns that pandas, Polars and everything else that speaks the Arrow PyCapsule interface take without a copy
//! (arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html).
use crate::arrow::{self, Columns};
use capsim_study::report::flat::{self, Column};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyList};
use std::sync::Arc;

/// Whole numbers among the columns of `--save-requests` and `--save-timeline`.
const WHOLE: &[&str] = &[
    "id",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "preemptions",
    "steps",
    "prefill_tokens",
    "decode_tokens",
];

/// Words among them.
const WORDS: &[&str] = &["reason"];

/// Columns of equal length. A value that does not exist is null.
#[pyclass(frozen, module = "capsim")]
pub struct Table {
    columns: Arc<Columns>,
}

impl Table {
    /// From the library's columns.
    pub fn new(table: flat::Table) -> anyhow::Result<Self> {
        Ok(Self {
            columns: Arc::new(Columns::new(table)?),
        })
    }

    /// From comma-separated values as the library writes them: no quotes, an empty field for what does not exist.
    pub fn of_csv(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes)?;
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let mut columns: Vec<Column> = names
            .iter()
            .map(|n| match n {
                n if WHOLE.contains(n) => Column::Int(vec![]),
                n if WORDS.contains(n) => Column::Text(vec![]),
                _ => Column::Float(vec![]),
            })
            .collect();
        for line in lines {
            for (column, field) in columns.iter_mut().zip(line.split(',')) {
                let there = !field.is_empty();
                match column {
                    Column::Int(v) => v.push(there.then(|| field.parse()).transpose()?),
                    Column::Float(v) => v.push(there.then(|| field.parse()).transpose()?),
                    Column::Text(v) => v.push(there.then(|| field.into())),
                }
            }
        }
        Self::new(flat::Table {
            columns: names.into_iter().map(String::from).zip(columns).collect(),
        })
    }
}

#[pymethods]
impl Table {
    /// Names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.columns.names()
    }

    fn __len__(&self) -> usize {
        self.columns.rows()
    }

    /// A column as a list.
    fn __getitem__<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        match self.columns.column(name) {
            Some(Column::Int(v)) => PyList::new(py, v),
            Some(Column::Float(v)) => PyList::new(py, v),
            Some(Column::Text(v)) => PyList::new(py, v),
            None => Err(PyKeyError::new_err(name.to_string())),
        }
    }

    /// The Arrow PyCapsule interface. The columns are lent, not copied; a requested schema is ignored, as the interface allows.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let _ = requested_schema;
        PyCapsule::new(
            py,
            arrow::stream_of(&self.columns),
            Some(c"arrow_array_stream".into()),
        )
    }

    /// The Arrow PyCapsule interface: the columns' types.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        PyCapsule::new(
            py,
            arrow::schema_of(&self.columns),
            Some(c"arrow_schema".into()),
        )
    }

    fn __repr__(&self) -> String {
        format!(
            "<capsim.Table of {} rows: {}>",
            self.columns.rows(),
            self.column_names().join(", ")
        )
    }
}
