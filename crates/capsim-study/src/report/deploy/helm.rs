//! Values for Helm charts. A chart writes some flags itself; those stand under its own names, the others in its list of arguments.
use super::{Plan, json};

/// The flags of the line but for some, which the chart writes itself: `false`, the flag alone; `true`, its value too.
fn others(p: &Plan, own: &[(&str, bool)]) -> Vec<String> {
    let mut all = vec![];
    // vllm serve MODEL
    let mut words = p.words.iter().skip(3);
    while let Some(word) = words.next() {
        match own.iter().find(|(flag, _)| flag == word) {
            Some((_, true)) => drop(words.next()),
            Some(_) => {}
            None => all.push(word.clone()),
        }
    }
    all
}

/// An image's name and tag.
fn tagged(image: &str) -> (&str, &str) {
    image.rsplit_once(':').unwrap_or((image, "latest"))
}

/// For `helm install … vllm/vllm-stack -f`. The chart demands requests for processors and host memory: its own examples' values.
pub fn production_stack(p: &Plan) -> String {
    let caching = !p.words.iter().any(|w| w == "--no-enable-prefix-caching");
    let rest = others(
        p,
        &[
            ("--enable-prefix-caching", false),
            ("--no-enable-prefix-caching", false),
            ("--tensor-parallel-size", true),
            ("--port", true),
        ],
    );
    let (repository, tag) = tagged(&p.image);
    format!(
        r#"{note}# helm repo add vllm https://vllm-project.github.io/production-stack
# helm install llm vllm/vllm-stack -f production-stack-values.yaml
servingEngineSpec:
  enableEngine: true
  modelSpec:
    - name: "llm-server"
      repository: {repository}
      tag: {tag}
      modelURL: {model}
      replicaCount: {engines}
      requestCPU: 6
      requestMemory: "16Gi"
      requestGPU: {devices}
      requestGPUType: "{resource}"
      vllmConfig:
        enablePrefixCaching: {caching}
        tensorParallelSize: {tensor}
        extraArgs: {args}
"#,
        note = p.note,
        repository = json_text(repository),
        tag = json_text(tag),
        model = json_text(&p.model),
        engines = p.engines,
        devices = p.devices(),
        resource = p.resource(),
        tensor = p.tensor,
        args = json(&rest),
    )
}

/// For llm-d's chart `llm-d-modelservice`: one pool that prefills and decodes.
pub fn llm_d(p: &Plan) -> String {
    let rest = others(
        p,
        &[
            ("--tensor-parallel-size", true),
            ("--data-parallel-size", true),
            ("--served-model-name", true),
            ("--port", true),
        ],
    );
    let maker = if p.amd { "amd" } else { "nvidia" };
    // Room for the files beside the weights.
    let size = (p.weights as f64 * 1.1 / 1_073_741_824.0).ceil();
    format!(
        r#"{note}# helm repo add llm-d https://llm-d-incubation.github.io/llm-d-modelservice
# helm install llm llm-d/llm-d-modelservice -f llm-d-values.yaml
modelArtifacts:
  name: {model}
  uri: {uri}
  size: {size}Gi
accelerator:
  type: {maker}
routing:
  servicePort: {port}
  proxy:
    enabled: false
decode:
  create: true
  replicas: {engines}
  parallelism:
    tensor: {tensor}
    data: {data}
    dataLocal: {data}
  containers:
    - name: vllm
      image: {image}
      modelCommand: vllmServe
      args: {args}
      mountModelVolume: true
prefill:
  create: false
"#,
        note = p.note,
        model = json_text(&p.model),
        uri = json_text(&format!("hf://{}", p.model)),
        port = p.port,
        engines = p.engines,
        tensor = p.tensor,
        data = p.data,
        image = json_text(&p.image),
        args = json(&rest),
    )
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
