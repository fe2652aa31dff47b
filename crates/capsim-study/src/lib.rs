//! What is done with predictions and measurements: [`validate`] holds one against the other, [`log`] reads servers' logs, [`import`] makes profiles from published
//! measurements, [`report`] shows all of it as text, JSON, Markdown, CSV, SVG and HTML.
//!
//! | feature | adds |
//! | --- | --- |
//! | `live` | stored benchmarks and running servers beside their simulation |
//! | `parquet` | operator databases and result files in Parquet |
pub mod import;
pub mod log;
pub mod report;
pub mod validate;
