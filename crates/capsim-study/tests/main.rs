//! Files that people bring, and what is made of them.
mod bench_files;
mod bench_forms;
mod formats;
mod generated;
mod import;
mod rates;
