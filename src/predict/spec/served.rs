//! The table of what is served, on what, and by which engine.
use crate::fields::{Field, Kind, Section, Values, keys, names};
use crate::model::overrides::SEPARATOR;

/// The section of a scenario that says what is served, on what, and by which engine.
#[derive(Clone, Copy, Debug)]
pub struct ServedSection;

impl Section for ServedSection {
    const WHAT: &'static str = "field of a scenario";
    const LEN: usize = SERVED.len();
    fn field(at: usize) -> &'static Field {
        &SERVED[at]
    }
}

/// What was said of model, device and engine. What is not in it takes its default.
pub type ServedValues = Values<ServedSection>;

const fn text(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Text, label, help)
}

const fn number(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Number, label, help)
}

/// All fields.
pub static SERVED: [Field; N] = ROWS;

const N: usize = 14;

const ROWS: [Field; N] = [
    text(
        "model",
        "Model",
        "Model: a built-in name (capsim models), or the path of a Hugging Face config.json, Mistral's params.json, a .gguf file or a checkpoint's folder (default: the pasted line's, \
         else Qwen3-30B-A3B)",
    ),
    text(
        "set",
        "Keys of the config",
        "A key of the model's config with another value, as text_config.num_hidden_layers=2; null takes it out (repeatable; in documents \
         separated by `;`)",
    )
    .joined(SEPARATOR),
    text(
        "assume_architecture",
        "Class of the model",
        "Class, or model_type, whose layers are taken, whatever the config names (default: its own; of one that is not known, the class \
         that its keys resemble most)",
    ),
    text(
        "weights",
        "Weight format",
        "Weight format: bf16, fp16, fp8, int8, awq, gptq, mxfp4, q4_k_m, q8_0 (default: the model's own)",
    )
    .many(),
    text(
        "device",
        "Device",
        "Device profile: a built-in id, or a path (default: gfx1151)",
    )
    .many(),
    text(
        "engine",
        "Engine profile",
        "Engine profile: a built-in id, or a path (default: the one that fits device, weight format and engine best)",
    )
    .many(),
    Field::new(
        "server",
        Kind::Choice(&["vllm", "sglang", "trtllm", "llama-server"]),
        "Engine that is started",
        "Engine that is started: vllm, sglang, trtllm, llama-server (default: the pasted line's, else the engine profile's)",
    ),
    text(
        "engine_version",
        "Engine release",
        "Release of vLLM, as 0.24 or v0.19.1, whose rules, defaults and memory terms apply; prices stay the engine profile's \
         (default: the engine profile's release)",
    )
    .many(),
    text(
        "moe_tiles",
        "Expert kernels",
        "Kernels of the experts: a name in the engine profile, such as default or tuned (default: the profile's)",
    )
    .many(),
    text(
        "routing",
        "Expert popularity",
        "Popularity of experts: uniform, or zipf:S (default: uniform)",
    ),
    number(
        "host_bandwidth_gbs",
        "Bandwidth of the host's memory",
        "GB/s that the processor reads weights with that lie in the host's memory (default: the device profile's, else assumed)",
    ),
    number(
        "host_tflops",
        "Matrix rate of the processor",
        "10^12 operations per second that the processor reaches on weights in the host's memory (default: the device profile's, else assumed)",
    ),
    number(
        "bus_gbs",
        "Rate of the bus",
        "GB/s from the host's memory to the device (default: the device profile's or data sheet's, else assumed)",
    ),
    number(
        "network_gbs",
        "Rate of the network",
        "GB/s that each device sends to other nodes with (default: the device profile's, else assumed: 0.8 of one 400 Gb/s port)",
    ),
];

const NAMES: [&str; N] = names(&ROWS);

keys! {
    ServedSection, NAMES, "SERVED";
    MODEL: String = "model";
    SET: String = "set";
    ASSUME_ARCHITECTURE: String = "assume_architecture";
    WEIGHTS: String = "weights";
    DEVICE: String = "device";
    ENGINE: String = "engine";
    SERVER: String = "server";
    ENGINE_VERSION: String = "engine_version";
    MOE_TILES: String = "moe_tiles";
    ROUTING: String = "routing";
    HOST_BANDWIDTH_GBS: f64 = "host_bandwidth_gbs";
    HOST_TFLOPS: f64 = "host_tflops";
    BUS_GBS: f64 = "bus_gbs";
    NETWORK_GBS: f64 = "network_gbs";
}
