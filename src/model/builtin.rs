//! The models that ship with capsim: the `config.json` files under `models/`, found by name.
use super::config::{self, ModelConfig};
use super::error::{ModelError, closest};

/// A model that ships with capsim.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its name on Hugging Face, e.g. `Qwen/Qwen3-8B`.
    pub id: &'static str,
    /// Its `config.json`.
    pub json: &'static str,
    /// Licence of the weights.
    pub licence: &'static str,
    /// Published number of parameters (models/README.md says where).
    pub published_parameters: u64,
}

impl Builtin {
    /// The name without the owner, in lower case: the directory under `models/`.
    pub fn name(&self) -> String {
        short(self.id).to_ascii_lowercase()
    }

    /// The parsed config.
    ///
    /// # Panics
    /// Never: every shipped config is parsed in the tests.
    pub fn config(&self) -> ModelConfig {
        config::parse(self.json, self.id).expect("shipped configs are tested")
    }
}

macro_rules! builtins {
    ($($id:literal, $directory:literal, $licence:literal, $published:literal;)*) => {
        /// All of them, the reference model first.
        pub const ALL: &[Builtin] = &[$(Builtin {
            id: $id,
            json: include_str!(concat!("../../models/", $directory, "/config.json")),
            licence: $licence,
            published_parameters: $published,
        }),*];
    };
}

builtins! {
    "Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b-instruct-2507", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3-30B-A3B", "qwen3-30b-a3b", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3-32B", "qwen3-32b", "Apache-2.0", 32_762_123_264;
    "Qwen/Qwen3-14B", "qwen3-14b", "Apache-2.0", 14_768_307_200;
    "Qwen/Qwen3-8B", "qwen3-8b", "Apache-2.0", 8_190_735_360;
    "Qwen/Qwen3-4B", "qwen3-4b", "Apache-2.0", 4_022_468_096;
    "Qwen/Qwen3-1.7B", "qwen3-1.7b", "Apache-2.0", 1_720_574_976;
    "Qwen/Qwen3-0.6B", "qwen3-0.6b", "Apache-2.0", 596_049_920;
    "Qwen/Qwen2.5-7B-Instruct", "qwen2.5-7b-instruct", "Apache-2.0", 7_615_616_512;
    "meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b-instruct", "Llama 3.1 Community", 8_030_261_248;
    "meta-llama/Llama-2-7b-hf", "llama-2-7b-hf", "Llama 2 Community", 6_738_415_616;
    "mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b-instruct-v0.1", "Apache-2.0", 46_702_792_704;
    "openai/gpt-oss-20b", "gpt-oss-20b", "Apache-2.0", 20_910_000_000;
    "openai/gpt-oss-120b", "gpt-oss-120b", "Apache-2.0", 116_830_000_000;
    "google/gemma-2-9b-it", "gemma-2-9b-it", "Gemma", 9_241_705_984;
    "Qwen/Qwen3-Coder-30B-A3B-Instruct", "qwen3-coder-30b-a3b-instruct", "Apache-2.0", 30_532_122_624;
    "Qwen/Qwen3.6-35B-A3B", "qwen3.6-35b-a3b", "Apache-2.0", 34_660_000_000;
    "Qwen/Qwen3.5-35B-A3B", "qwen3.5-35b-a3b", "Apache-2.0", 34_660_000_000;
    "Qwen/Qwen3.5-122B-A10B", "qwen3.5-122b-a10b", "Apache-2.0", 122_110_000_000;
    "Qwen/Qwen3.6-27B", "qwen3.6-27b", "Apache-2.0", 26_900_000_000;
    "Qwen/Qwen3.5-9B", "qwen3.5-9b", "Apache-2.0", 8_950_000_000;
    "Qwen/Qwen3.5-4B", "qwen3.5-4b", "Apache-2.0", 4_210_000_000;
    "Qwen/Qwen3.5-2B", "qwen3.5-2b", "Apache-2.0", 1_880_000_000;
    "Qwen/Qwen3-Next-80B-A3B-Instruct", "qwen3-next-80b-a3b-instruct", "Apache-2.0", 79_670_000_000;
    "Qwen/Qwen3-Coder-Next", "qwen3-coder-next", "Apache-2.0", 79_670_000_000;
    "Qwen/Qwen2.5-0.5B-Instruct", "qwen2.5-0.5b-instruct", "Apache-2.0", 494_032_768;
    "Qwen/Qwen2.5-1.5B-Instruct", "qwen2.5-1.5b-instruct", "Apache-2.0", 1_543_714_304;
    "Qwen/Qwen2.5-3B-Instruct", "qwen2.5-3b-instruct", "Qwen Research", 3_085_938_688;
    "Qwen/Qwen2.5-14B-Instruct", "qwen2.5-14b-instruct", "Apache-2.0", 14_770_033_664;
    "Qwen/Qwen2.5-32B-Instruct", "qwen2.5-32b-instruct", "Apache-2.0", 32_763_876_352;
    "meta-llama/Llama-3.2-1B-Instruct", "llama-3.2-1b-instruct", "Llama 3.2 Community", 1_235_814_400;
    "meta-llama/Llama-3.2-3B-Instruct", "llama-3.2-3b-instruct", "Llama 3.2 Community", 3_212_749_824;
    "meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b-instruct", "Llama 3.1 Community", 70_553_706_496;
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0", "tinyllama-1.1b-chat-v1.0", "Apache-2.0", 1_100_048_384;
    "microsoft/Phi-4-mini-instruct", "phi-4-mini-instruct", "MIT", 3_836_021_760;
    "google/gemma-4-26B-A4B-it", "gemma-4-26b-a4b-it", "Apache-2.0", 25_230_000_000;
    "google/gemma-4-31B-it", "gemma-4-31b-it", "Apache-2.0", 30_700_000_000;
    "mistralai/Ministral-3-14B-Instruct-2512", "ministral-3-14b-instruct-2512", "Apache-2.0", 13_510_000_000;
    "MiniMaxAI/MiniMax-M2.5", "minimax-m2.5", "see its card", 228_689_764_864;
    "MiniMaxAI/MiniMax-M2.7", "minimax-m2.7", "see its card", 228_689_764_864;
    "MiniMaxAI/MiniMax-M3", "minimax-m3", "see its card", 426_174_572_928;
    "Qwen/Qwen3-235B-A22B", "qwen3-235b-a22b", "see its card", 235_093_634_560;
    "Qwen/Qwen3-Coder-480B-A35B-Instruct", "qwen3-coder-480b-a35b-instruct", "see its card", 480_000_000_000;
    "Qwen/Qwen3-VL-2B-Instruct", "qwen3-vl-2b-instruct", "see its card", 1_720_574_976;
    "Qwen/Qwen3-VL-4B-Instruct", "qwen3-vl-4b-instruct", "see its card", 4_022_468_096;
    "Qwen/Qwen3-VL-8B-Instruct", "qwen3-vl-8b-instruct", "see its card", 8_190_735_360;
    "Qwen/Qwen3-VL-30B-A3B-Instruct", "qwen3-vl-30b-a3b-instruct", "see its card", 30_532_122_624;
    "Qwen/Qwen3-VL-32B-Instruct", "qwen3-vl-32b-instruct", "see its card", 32_762_123_264;
    "Qwen/Qwen3-VL-235B-A22B-Instruct", "qwen3-vl-235b-a22b-instruct", "see its card", 235_093_634_560;
    "Qwen/Qwen3.5-27B", "qwen3.5-27b", "see its card", 26_900_000_000;
    "Qwen/Qwen3.5-397B-A17B", "qwen3.5-397b-a17b", "see its card", 397_000_000_000;
    "XiaomiMiMo/MiMo-V2-Flash", "mimo-v2-flash", "see its card", 308_778_780_864;
    "deepseek-ai/DeepSeek-R1", "deepseek-r1", "see its card", 671_000_000_000;
    "deepseek-ai/DeepSeek-V3", "deepseek-v3", "see its card", 671_000_000_000;
    "deepseek-ai/DeepSeek-V3.2", "deepseek-v3.2", "see its card", 671_877_944_064;
    "deepseek-ai/DeepSeek-V4-Flash", "deepseek-v4-flash", "see its card", 284_000_000_000;
    "deepseek-ai/DeepSeek-V4-Pro", "deepseek-v4-pro", "see its card", 1_572_997_201_763;
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "llama-4-maverick-17b-128e-instruct", "see its card", 400_711_848_960;
    "meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout-17b-16e-instruct", "see its card", 107_769_861_120;
    "meta-llama/Llama-3.1-405B", "llama-3.1-405b", "see its card", 405_000_000_000;
    "mistralai/Mixtral-8x22B-v0.1", "mixtral-8x22b-v0.1", "see its card", 141_000_000_000;
    "moonshotai/Kimi-K2-Instruct", "kimi-k2-instruct", "see its card", 1_026_408_232_448;
    "moonshotai/Kimi-K2.5", "kimi-k2.5", "see its card", 1_026_408_232_448;
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nvidia-nemotron-3-nano-30b-a3b-bf16", "see its card", 31_577_940_288;
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "nvidia-nemotron-3-ultra-550b-a55b-bf16", "see its card", 550_000_000_000;
    "nvidia/Nemotron-H-56B-Base-8K", "nemotron-h-56b-base-8k", "see its card", 56_324_350_464;
    "zai-org/GLM-5", "glm-5", "see its card", 744_000_000_000;
    "zai-org/GLM-5.1", "glm-5.1", "see its card", 744_000_000_000;
    "zai-org/GLM-5.2", "glm-5.2", "see its card", 743_377_019_904;
    "zai-org/GLM-5.3", "glm-5.3", "see its card", 743_377_019_904;
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "nvidia-nemotron-3-super-120b-a12b-fp8", "see its card", 120_668_707_840;
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4", "nvidia-nemotron-3-super-120b-a12b-nvfp4", "see its card", 120_668_707_840;
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4", "nvidia-nemotron-3-nano-30b-a3b-nvfp4", "see its card", 31_577_940_288;
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-NVFP4", "nvidia-nemotron-3-ultra-550b-a55b-nvfp4", "see its card", 550_000_000_000;
    "nvidia/DeepSeek-V3.1-NVFP4", "deepseek-v3.1-nvfp4", "see its card", 671_000_000_000;
    "nvidia/Qwen3-235B-A22B-NVFP4", "qwen3-235b-a22b-nvfp4", "see its card", 235_093_634_560;
    "nvidia/Qwen3.5-122B-A10B-NVFP4", "qwen3.5-122b-a10b-nvfp4", "see its card", 122_111_526_912;
    "nvidia/Gemma-4-26B-A4B-NVFP4", "gemma-4-26b-a4b-nvfp4", "see its card", 25_233_141_760;
    "nvidia/Gemma-4-31B-IT-NVFP4", "gemma-4-31b-it-nvfp4", "see its card", 30_700_000_000;
    "nvidia/MiniMax-M2.5-NVFP4", "minimax-m2.5-nvfp4", "see its card", 228_689_764_864;
    "nvidia/Kimi-K2.5-NVFP4", "kimi-k2.5-nvfp4", "see its card", 1_026_408_232_448;
    "nvidia/Llama-3.1-70B-Instruct-FP8", "llama-3.1-70b-instruct-fp8", "see its card", 70_553_706_496;
    "codellama/CodeLlama-34b-Instruct-hf", "codellama-34b-instruct-hf", "see its card", 33_743_970_304;
    "meta-llama/Llama-2-70b-chat-hf", "llama-2-70b-chat-hf", "see its card", 68_976_648_192;
    "01-ai/Yi-34B", "yi-34b", "see its card", 34_388_917_248;
    "mistralai/Mistral-Nemo-Instruct-2407", "mistral-nemo-instruct-2407", "see its card", 12_247_782_400;
    "XiaomiMiMo/MiMo-7B-Base", "mimo-7b-base", "see its card", 7_622_619_136;
    "nvidia/Qwen3.5-397B-A17B-NVFP4", "qwen3.5-397b-a17b-nvfp4", "see its card", 397_000_000_000;
    "nvidia/Qwen3.6-27B-NVFP4", "qwen3.6-27b-nvfp4", "see its card", 26_900_000_000;
    "nvidia/Qwen3.6-35B-A3B-NVFP4", "qwen3.6-35b-a3b-nvfp4", "see its card", 34_660_000_000;
    "nvidia/DeepSeek-V3.2-NVFP4", "deepseek-v3.2-nvfp4", "see its card", 671_877_944_064;
    "nvidia/GLM-5-NVFP4", "glm-5-nvfp4", "see its card", 744_000_000_000;
    "nvidia/GLM-5.1-NVFP4", "glm-5.1-nvfp4", "see its card", 744_000_000_000;
    "nvidia/Kimi-K2.6-NVFP4", "kimi-k2.6-nvfp4", "see its card", 1_026_408_232_448;
    "nvidia/Kimi-K2.7-Code-NVFP4", "kimi-k2.7-code-nvfp4", "see its card", 1_026_408_232_448;
    "microsoft/phi-4", "phi-4", "see its card", 14_659_507_200;
    "Qwen/Qwen2.5-VL-7B-Instruct", "qwen2.5-vl-7b-instruct", "see its card", 7_615_616_512;
    "OpenGVLab/InternVL3-8B", "internvl3-8b", "see its card", 7_612_820_992;
    "moonshotai/Moonlight-16B-A3B-Instruct", "moonlight-16b-a3b-instruct", "see its card", 15_960_110_208;
    "zai-org/GLM-4.7-Flash", "glm-4.7-flash", "see its card", 29_943_393_920;
    "ibm-granite/granite-4.0-h-small", "granite-4.0-h-small", "see its card", 32_207_337_984;
    "ibm-granite/granite-4.0-micro", "granite-4.0-micro", "see its card", 3_402_836_480;
    "ibm-granite/granite-3.3-8b-instruct", "granite-3.3-8b-instruct", "see its card", 8_170_864_640;
    "tiiuae/Falcon-H1-7B-Instruct", "falcon-h1-7b-instruct", "see its card", 7_585_519_712;
    "LiquidAI/LFM2-1.2B", "lfm2-1.2b", "see its card", 1_170_340_608;
    "google/gemma-3n-E4B-it", "gemma-3n-e4b-it", "see its card", 6_835_235_568;
    "ByteDance-Seed/Seed-OSS-36B-Instruct", "seed-oss-36b-instruct", "see its card", 36_151_104_512;
    "allenai/Olmo-3-7B-Instruct", "olmo-3-7b-instruct", "see its card", 7_298_011_136;
    "allenai/OLMoE-1B-7B-0924", "olmoe-1b-7b-0924", "see its card", 6_919_161_856;
    "CohereLabs/c4ai-command-a-03-2025", "c4ai-command-a-03-2025", "see its card", 111_057_580_032;
    "zai-org/GLM-4-32B-0414", "glm-4-32b-0414", "see its card", 32_566_081_536;
    "microsoft/Phi-mini-MoE-instruct", "phi-mini-moe-instruct", "see its card", 7_647_632_704;
    "baidu/ERNIE-4.5-300B-A47B-PT", "ernie-4.5-300b-a47b-pt", "see its card", 299_484_163_264;
    "tencent/Hunyuan-7B-Instruct", "hunyuan-7b-instruct", "see its card", 7_504_568_320;
    "internlm/internlm3-8b-instruct", "internlm3-8b-instruct", "see its card", 8_804_241_408;
    "bigcode/starcoder2-7b", "starcoder2-7b", "see its card", 7_173_923_840;
    "databricks/dbrx-instruct", "dbrx-instruct", "see its card", 131_596_523_520;
    "EleutherAI/gpt-neox-20b", "gpt-neox-20b", "see its card", 20_554_567_680;
    "bigscience/bloom-7b1", "bloom-7b1", "see its card", 7_069_016_064;
    "deepseek-ai/DeepSeek-V2-Lite", "deepseek-v2-lite", "see its card", 15_706_484_224;
}

fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Whether a word of a name says how a model was tuned, or when, and not which size it is: `instruct`, `2507`, `v1.0`. `mini` or `14b`
/// make another model.
fn keeps_the_sizes(word: &str) -> bool {
    tuned(word) || dated(word)
}

fn tuned(word: &str) -> bool {
    [
        "instruct", "it", "chat", "hf", "base", "thinking", "pt", "preview",
    ]
    .contains(&word)
}

/// Dates and versions: two models that both have one are the same only if it is the same.
fn dated(word: &str) -> bool {
    let date = word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit());
    let version = word
        .strip_prefix('v')
        .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    date || version
}

/// The numbers in a name, in order.
fn numbers(name: &str) -> Vec<&str> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter(|n| !n.is_empty())
        .collect()
}

/// A name without the words at its end that keep the sizes, and those.
fn stem(name: &str) -> (&str, Vec<&str>) {
    let (mut stem, mut words) = (name, vec![]);
    while let Some((before, word)) = stem.rsplit_once('-') {
        // What is left must still say a size or a generation: DeepSeek-V3.2 is no version of DeepSeek.
        let says = before.contains(|c: char| c.is_ascii_digit());
        if !keeps_the_sizes(word) || !says {
            break;
        }
        words.push(word);
        stem = before;
    }
    (stem, words)
}

/// The model of the same sizes whose name differs least at its end.
fn sibling(wanted: &str) -> Option<&'static Builtin> {
    let (wanted, words) = stem(wanted);
    let mut best: Option<(i32, &Builtin)> = None;
    let mut alone = false;
    for b in ALL {
        let name = b.name();
        let (own, others) = stem(&name);
        let dates = |of: &[&str]| -> Vec<String> {
            of.iter()
                .filter(|w| dated(w))
                .map(|w| w.to_string())
                .collect()
        };
        let (mine, its) = (dates(&words), dates(&others));
        if own != wanted || (!mine.is_empty() && !its.is_empty() && mine != its) {
            continue;
        }
        let shared = others.iter().filter(|w| words.contains(w)).count() as i32;
        let score = 3 * shared - others.len() as i32;
        alone = best.is_none_or(|(s, _)| score != s);
        if best.is_none_or(|(s, _)| score > s) {
            best = Some((score, b));
        }
    }
    best.filter(|_| alone).map(|(_, b)| b)
}

/// Finds a built-in model by its Hugging Face id or by the part after the slash, ignoring case. A short name
/// also stands for the nearest variant of the same size: `llama-3.1-8b` for `Llama-3.1-8B-Instruct`, and the other way round.
///
/// # Errors
/// An unknown name, with the closest known one.
///
/// ```
/// use capsim::model::builtin;
/// assert_eq!(builtin::find("qwen/qwen3-8b")?.id, "Qwen/Qwen3-8B");
/// assert_eq!(builtin::find("Llama-3.1-8B")?.id, "meta-llama/Llama-3.1-8B-Instruct");
/// let err = builtin::find("lama-3.1-8b").unwrap_err().to_string();
/// assert!(err.starts_with("no built-in model \"lama-3.1-8b\" (did you mean \"llama-3.1-8b-instruct\"?)"), "{err}");
/// # Ok::<(), capsim::model::ModelError>(())
/// ```
pub fn find(name: &str) -> Result<&'static Builtin, ModelError> {
    let wanted = name.trim().to_ascii_lowercase();
    if let Some(exact) = ALL
        .iter()
        .find(|b| b.id.to_ascii_lowercase() == wanted || b.name() == wanted)
    {
        return Ok(exact);
    }
    let owned = |b: &&Builtin| {
        let owner = wanted.rsplit_once('/').map(|(owner, _)| owner);
        owner.is_none_or(|o| b.id.to_ascii_lowercase().starts_with(o))
    };
    if let Some(found) = sibling(short(&wanted)).filter(owned) {
        return Ok(found);
    }
    // What follows the sizes says nothing about which model was meant: `-instruct` is longer than a size.
    let names: Vec<String> = ALL.iter().map(Builtin::name).collect();
    let name: String = name.chars().take(100).collect();
    let lower = name.to_ascii_lowercase();
    let wanted = stem(short(&lower)).0;
    // A misspelling keeps the numbers: another size or generation is another model, and no advice.
    let meant = names.iter().filter(|n| {
        let own = stem(n).0;
        numbers(own) == numbers(wanted) || own.starts_with(&format!("{wanted}-"))
    });
    let near = closest(wanted, meant.map(|n| stem(n).0));
    let suggestion = near.and_then(|n| names.iter().find(|own| stem(own).0 == n).cloned());
    Err(ModelError::UnknownModel { suggestion, name })
}
