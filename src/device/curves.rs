//! The curves of a device profile by name: what each is read over, who reads it, and what counts where it is missing.
//!
//! Four curves are in every profile ([`super::DeviceProfile`]); the others stand in [`KernelCurves`] where they were measured with
//! kernels of the same kind as an engine's. A family of microbenchmarks says which curve it feeds; what feeds none is measured by
//! `capsim calibrate --full` alone.
use super::{Curve, Origin, ProfileError, Provenance, Quantity, Times};
use serde::{Deserialize, Serialize};

/// A curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CurveId {
    /// `stream_read`
    StreamRead,
    /// `gemm_f16`
    GemmF16,
    /// `attention_prefill`
    AttentionPrefill,
    /// `elementwise`
    Elementwise,
    /// `launch`, a single number
    Launch,
    /// `curves.matrix_stream`
    MatrixStream,
    /// `curves.experts_stream`
    ExpertsStream,
    /// `curves.experts_rate`
    ExpertsRate,
    /// `curves.attention_decode`
    AttentionDecode,
    /// `curves.router`
    Router,
    /// `curves.kv_write`
    KvWrite,
    /// `curves.sampling`
    Sampling,
}

/// What is to be known about a curve.
#[derive(Clone, Copy, Debug)]
pub struct CurveInfo {
    /// Which.
    pub id: CurveId,
    /// Its field in a profile.
    pub name: &'static str,
    /// What it is read over.
    pub axis: &'static str,
    /// What is read.
    pub unit: &'static str,
    /// The operators that are priced by it.
    pub prices: &'static str,
    /// What counts where a profile does not have it; `None`: every profile has it.
    pub fallback: Option<&'static str>,
}

/// All curves.
pub const CURVES: &[CurveInfo] = &[
    CurveInfo {
        id: CurveId::StreamRead,
        name: "stream_read",
        axis: "bytes of the working set",
        unit: "B/s",
        prices: "whatever streams and has no curve of its own",
        fallback: None,
    },
    CurveInfo {
        id: CurveId::GemmF16,
        name: "gemm_f16",
        axis: "rows",
        unit: "op/s",
        prices: "arithmetic of matrix products and of grouped experts",
        fallback: None,
    },
    CurveInfo {
        id: CurveId::AttentionPrefill,
        name: "attention_prefill",
        axis: "new tokens",
        unit: "op/s",
        prices: "prefill attention",
        fallback: None,
    },
    CurveInfo {
        id: CurveId::Elementwise,
        name: "elementwise",
        axis: "bytes read and written",
        unit: "B/s",
        prices: "norms, rotary embedding, activations, copies",
        fallback: None,
    },
    CurveInfo {
        id: CurveId::Launch,
        name: "launch",
        axis: "-",
        unit: "s",
        prices: "every kernel, once",
        fallback: None,
    },
    CurveInfo {
        id: CurveId::MatrixStream,
        name: "curves.matrix_stream",
        axis: "bytes of one matrix",
        unit: "B/s",
        prices: "dense products whose time is that of their weights",
        fallback: Some("stream_read's last plateau"),
    },
    CurveInfo {
        id: CurveId::ExpertsStream,
        name: "curves.experts_stream",
        axis: "bytes of the experts touched in one layer",
        unit: "B/s",
        prices: "grouped experts whose time is that of their weights",
        fallback: Some("stream_read's last plateau"),
    },
    CurveInfo {
        id: CurveId::ExpertsRate,
        name: "curves.experts_rate",
        axis: "rows of an expert",
        unit: "op/s",
        prices: "grouped experts of a processor whose time is that of their arithmetic",
        fallback: Some("gemm_f16"),
    },
    CurveInfo {
        id: CurveId::AttentionDecode,
        name: "curves.attention_decode",
        axis: "bytes of keys and values of one layer",
        unit: "s",
        prices: "decode attention",
        fallback: Some("stream_read's last plateau"),
    },
    CurveInfo {
        id: CurveId::Router,
        name: "curves.router",
        axis: "tokens",
        unit: "s",
        prices: "the choice of experts",
        fallback: Some("elementwise"),
    },
    CurveInfo {
        id: CurveId::KvWrite,
        name: "curves.kv_write",
        axis: "bytes read and written",
        unit: "s",
        prices: "writes into the KV cache",
        fallback: Some("elementwise"),
    },
    CurveInfo {
        id: CurveId::Sampling,
        name: "curves.sampling",
        axis: "logits",
        unit: "s",
        prices: "the choice of tokens",
        fallback: Some("elementwise"),
    },
];

impl CurveId {
    /// What is to be known about it.
    pub fn info(self) -> &'static CurveInfo {
        CURVES
            .iter()
            .find(|c| c.id == self)
            .expect("every curve is listed")
    }
}

/// Curves of kernels of the same kind as an engine's, where they were measured. The time of a launch is in none of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct KernelCurves {
    /// Rate at which a product of few rows reads its matrix, in bytes per second over bytes of the matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_stream: Option<Curve>,
    /// Rate at which both grouped products of a layer read the experts that a batch touches, in bytes per second over bytes of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts_stream: Option<Curve>,
    /// Rate of both grouped products of a layer where arithmetic limits them, in operations per second over rows of an expert. Of
    /// processors, which compute one expert after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts_rate: Option<Curve>,
    /// Decode attention of one layer over bytes of keys and values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_decode: Option<Times>,
    /// Softmax and choice of the top k experts over tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Times>,
    /// Keys and values into their blocks over bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_write: Option<Times>,
    /// The next tokens over logits: sequences × vocabulary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Times>,
    /// What `launch` is where an engine replays a captured graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_graph: Option<Quantity>,
    /// How much faster vendors' libraries multiply than `gemm_f16` and `attention_prefill` say, where the kernels that measured
    /// these cannot issue the device's own matrix instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix_library: Option<Quantity>,
}

impl KernelCurves {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// [`Self::matrix_library`], or 1.
    pub fn library(&self) -> f64 {
        self.matrix_library.as_ref().map_or(1.0, |q| q.value)
    }

    /// Makes every time longer by `factor`.
    pub fn scale(&mut self, factor: f64) {
        let rates = [
            &mut self.matrix_stream,
            &mut self.experts_stream,
            &mut self.experts_rate,
        ];
        for c in rates.into_iter().flatten() {
            c.points.iter_mut().for_each(|p| p.y /= factor);
        }
        for t in self.times_mut() {
            t.points.iter_mut().for_each(|p| p.seconds *= factor);
        }
        if let Some(q) = &mut self.launch_graph {
            q.value *= factor;
        }
    }

    fn times_mut(&mut self) -> impl Iterator<Item = &mut Times> {
        [
            &mut self.attention_decode,
            &mut self.router,
            &mut self.kv_write,
            &mut self.sampling,
        ]
        .into_iter()
        .flatten()
    }

    pub(super) fn check(&self) -> Result<(), ProfileError> {
        let named = |id: CurveId| id.info().name;
        for (id, c) in [
            (CurveId::MatrixStream, &self.matrix_stream),
            (CurveId::ExpertsStream, &self.experts_stream),
            (CurveId::ExpertsRate, &self.experts_rate),
        ] {
            if let Some(c) = c {
                c.check(named(id))?;
            }
        }
        for (id, t) in [
            (CurveId::AttentionDecode, &self.attention_decode),
            (CurveId::Router, &self.router),
            (CurveId::KvWrite, &self.kv_write),
            (CurveId::Sampling, &self.sampling),
        ] {
            if let Some(t) = t {
                t.check(named(id))?;
            }
        }
        if let Some(q) = &self.launch_graph {
            q.check("curves.launch_graph", 1.0)?;
        }
        if let Some(q) = &self.matrix_library {
            q.check("curves.matrix_library", 100.0)?;
        }
        Ok(())
    }
}

/// The launch of a kernel in a replayed CUDA graph.
pub fn cuda_graph_launch() -> Quantity {
    Quantity {
        value: 1.3e-6,
        rel_sd: 0.4,
        provenance: Provenance {
            origin: Origin::Published,
            source: "Hazy Research, Look Ma, No Bubbles! (2025-05-27): launches on an H100 with CUDA graphs".into(),
            note: "per kernel, its empty run included, as a chain of empty launches has it; taken to lie between 0.5 and 2.1 µs".into(),
        },
    }
}
