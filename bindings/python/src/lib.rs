//! The native part of the Python package `capsim`: the library's functions over flags and JSON. The Python files beside it give
//! them types and names.
mod arrow;
mod call;
mod main_;
mod predict;
mod sweep;
mod table;

use call::{CapsimError, Said, failed, interruptible, stoppable};
use capsim_cli::api;
use pyo3::prelude::*;
use std::collections::BTreeMap;

/// JSON as the command line prints it.
fn pretty(answer: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(answer)?)
}

/// `capsim capacity --json`. `progress(done, known)` is called as simulations end; more may become known.
#[pyfunction]
fn capacity(
    py: Python<'_>,
    said: Said,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    stoppable(py, threads, progress, move |pool| {
        let spec = said.scenario.one()?;
        pretty(&api::capacity(spec, &said.flags, &said.files, pool)?)
    })
}

/// `capsim tune --json`, with progress as `capacity`.
#[pyfunction]
fn tune(
    py: Python<'_>,
    said: Said,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    stoppable(py, threads, progress, move |pool| {
        let spec = said.scenario.one()?;
        pretty(&api::tune(spec, &said.flags, &said.files, pool)?)
    })
}

/// `capsim compare --json`, with progress as `capacity`.
#[pyfunction]
fn compare(
    py: Python<'_>,
    said: Said,
    prices: Vec<String>,
    threads: Option<usize>,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    stoppable(py, threads, progress, move |pool| {
        let answer = api::compare(said.scenario, &said.flags, &prices, &said.files, pool)?;
        pretty(&answer)
    })
}

/// The device that is taken where none is named.
#[pyfunction]
fn default_device() -> String {
    capsim::predict::spec::DEFAULT_DEVICE.into()
}

/// `capsim memory --json`.
#[pyfunction]
fn memory(py: Python<'_>, said: Said) -> PyResult<String> {
    interruptible(py, move |_| {
        let spec = said.scenario.one()?;
        pretty(&api::memory(&spec, &said.flags, &said.files)?)
    })
}

/// `capsim validate RUNS --json`, and the fitted engine profile.
#[pyfunction]
fn validate(py: Python<'_>, runs: String, flags: String) -> PyResult<(String, Option<String>)> {
    interruptible(py, move |_| {
        let (answer, profile) = api::validate(&runs, &serde_json::from_str(&flags)?)?;
        Ok((pretty(&answer)?, profile.as_ref().map(pretty).transpose()?))
    })
}

/// A device profile as JSON.
#[pyfunction]
fn device(name: &str, files: BTreeMap<String, String>) -> PyResult<String> {
    let read = || pretty(&api::device(name, &api::Files::of(files))?);
    read().map_err(failed)
}

/// An engine profile as JSON.
#[pyfunction]
fn engine(name: &str, files: BTreeMap<String, String>) -> PyResult<String> {
    let read = || pretty(&api::engine(name, &api::Files::of(files))?);
    read().map_err(failed)
}

/// What a model holds, as JSON.
#[pyfunction]
fn model(
    name: &str,
    weights: Option<&str>,
    kv_cache_dtype: Option<&str>,
    set: Option<&str>,
    assume_architecture: Option<&str>,
    files: BTreeMap<String, String>,
) -> PyResult<String> {
    let read = || {
        let over = api::overrides(set, assume_architecture)?;
        let m = api::model(name, weights, kv_cache_dtype, &over, &api::Files::of(files))?;
        let p = m.parameters();
        pretty(&serde_json::json!({
            "parameters": p.total(),
            "active_parameters": p.active(),
            "weight_bytes": m.total_weight_bytes().0,
            "weight_bytes_per_token": m.weight_bytes_per_token().0,
            "kv_bytes_per_token": m.kv_bytes_per_token().0,
            "num_layers": m.num_layers(),
            "hidden_size": m.hidden_size(),
            "vocab_size": m.vocab_size(),
            "max_position_embeddings": m.max_position_embeddings(),
            "num_experts": m.experts().map(|e| e.num),
            "experts_per_token": m.experts().map(|e| e.top_k),
        }))
    };
    read().map_err(failed)
}

/// Names of the models, devices and engines that ship.
#[pyfunction]
fn shipped() -> (Vec<String>, Vec<String>, Vec<String>) {
    use capsim::{device::builtin, model};
    (
        model::builtin::ALL.iter().map(|b| b.name()).collect(),
        builtin::devices().into_iter().map(|d| d.id).collect(),
        builtin::engines().into_iter().map(|e| e.id).collect(),
    )
}

/// Names of all fields of a scenario, with their documentation.
#[pyfunction]
fn scenario_fields() -> Vec<(String, String)> {
    api::scenario_fields()
}

/// The scenario as a document (`capsim schema scenario`).
#[pyfunction]
fn scenario(said: Said) -> PyResult<String> {
    let document = || {
        let spec = said.scenario.one()?;
        Ok(said.files.inlined(&spec)?.to_json())
    };
    document().map_err(failed)
}

/// What a scenario's document says, as JSON pairs of fields and values.
#[pyfunction]
fn scenario_said(document: &str) -> PyResult<String> {
    let read = || pretty(&api::said(&api::document(document)?)?);
    read().map_err(failed)
}

/// The module.
#[pymodule]
fn _capsim(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("CapsimError", m.py().get_type::<CapsimError>())?;
    m.add_class::<sweep::Sweep>()?;
    m.add_class::<table::Table>()?;
    m.add_function(wrap_pyfunction!(predict::predict, m)?)?;
    m.add_function(wrap_pyfunction!(capacity, m)?)?;
    m.add_function(wrap_pyfunction!(tune, m)?)?;
    m.add_function(wrap_pyfunction!(compare, m)?)?;
    m.add_function(wrap_pyfunction!(default_device, m)?)?;
    m.add_function(wrap_pyfunction!(memory, m)?)?;
    m.add_function(wrap_pyfunction!(validate, m)?)?;
    m.add_function(wrap_pyfunction!(device, m)?)?;
    m.add_function(wrap_pyfunction!(engine, m)?)?;
    m.add_function(wrap_pyfunction!(model, m)?)?;
    m.add_function(wrap_pyfunction!(shipped, m)?)?;
    m.add_function(wrap_pyfunction!(scenario_fields, m)?)?;
    m.add_function(wrap_pyfunction!(scenario, m)?)?;
    m.add_function(wrap_pyfunction!(scenario_said, m)?)?;
    m.add_function(wrap_pyfunction!(sweep::evaluate, m)?)?;
    m.add_function(wrap_pyfunction!(main_::main, m)?)?;
    Ok(())
}
