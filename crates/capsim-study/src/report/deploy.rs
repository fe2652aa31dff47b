//! Files that deploy an offer: a script, a compose file, a Kubernetes manifest, and values for two Helm charts.
//!
//! The form of the manifest follows vLLM's own guide (vllm-project/vllm:docs/deployment/k8s.md@051f9b87ab): image, `nvidia.com/gpu` or
//! `amd.com/gpu`, shared memory for tensor parallelism, `/health`. Words are written as JSON strings, which YAML reads as they are.
//! The charts: vLLM's production stack (vllm-project/production-stack:helm/values.schema.json@a6c01db0), llm-d's model service
//! (llm-d-incubation/llm-d-modelservice:charts/llm-d-modelservice/values.schema.json@3051935).
mod helm;

use capsim::device::{DeviceProfile, EngineId};
use capsim::engine::kind;
use capsim::predict::{Scenario, public_name};

/// A file: its name and content.
pub type File = (&'static str, String);

/// The container image of an engine on a device; `None`: none that capsim knows.
fn image(scenario: &Scenario) -> Option<String> {
    match (scenario.engine.scheduler, maker(&scenario.device)) {
        (EngineId::Vllm, Maker::Nvidia) => {
            Some(format!("vllm/vllm-openai:v{}", scenario.version()))
        }
        // AMD's images are named after ROCm, device and date: the newest is the user's to choose.
        (EngineId::Vllm, Maker::Amd) => Some("rocm/vllm:latest".into()),
        _ => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    Nvidia,
    Amd,
    Other,
}

fn maker(device: &DeviceProfile) -> Maker {
    match device.name.split_whitespace().next() {
        Some("NVIDIA") => Maker::Nvidia,
        Some("AMD") => Maker::Amd,
        _ => Maker::Other,
    }
}

/// What stands in the place of a checkpoint whose name nothing says: a server that starts with it refuses it.
const UNNAMED: &str = "REPLACE-WITH-A-CHECKPOINT";

/// The line as words of their own. A model of which another checkpoint is needed is left to the user to name: its own would start, in
/// other weights than those that were simulated.
fn words(scenario: &Scenario) -> Vec<String> {
    let mut line = scenario.server_line();
    if line.comment.is_some() {
        let id = public_name(&scenario.model_name).to_owned();
        for word in line.words.iter_mut().filter(|w| **w == id) {
            *word = UNNAMED.into();
        }
    }
    let split = |w: &String| match w.split_once(' ') {
        Some((flag, value)) => vec![flag.to_string(), value.to_string()],
        None => vec![w.clone()],
    };
    line.words.iter().flat_map(split).collect()
}

fn json(words: &[String]) -> String {
    serde_json::to_string(words).expect("words are texts")
}

/// The files for so many engines of a scenario.
///
/// # Errors
/// The engine or the device has no image that capsim knows.
pub fn files(scenario: &Scenario, engines: u32) -> Result<Vec<File>, String> {
    let image = image(scenario).ok_or_else(|| {
        format!(
            "--deploy knows images of vLLM for NVIDIA and AMD devices only, not of {} on {}",
            kind(scenario.engine.scheduler).name(),
            scenario.device.name
        )
    })?;
    let words = words(scenario);
    let note = match scenario.server_line().comment {
        Some(comment) => format!("# {UNNAMED} stands {comment}\n"),
        None => String::new(),
    };
    let parallel = scenario.settings().map(|s| s.parallel);
    let (tensor, data) = parallel.map_or((1, 1), |p| (p.tensor.max(1), p.data.max(1)));
    let plan = Plan {
        model: words.get(2).cloned().unwrap_or_default(),
        image,
        note,
        tensor,
        data,
        engines,
        port: kind(scenario.engine.scheduler).port(),
        amd: maker(&scenario.device) == Maker::Amd,
        weights: scenario.model.total_weight_bytes().0,
        words,
    };
    Ok(vec![
        ("server.sh", script(&plan.words, &plan.note)),
        ("compose.yaml", compose(&plan)),
        ("kubernetes.yaml", kubernetes(&plan)),
        (
            "production-stack-values.yaml",
            helm::production_stack(&plan),
        ),
        ("llm-d-values.yaml", helm::llm_d(&plan)),
    ])
}

/// What is deployed.
struct Plan {
    /// The server's line, word by word.
    words: Vec<String>,
    /// The checkpoint, as the line names it.
    model: String,
    /// A comment of one line, or nothing.
    note: String,
    image: String,
    tensor: u32,
    data: u32,
    engines: u32,
    port: u16,
    amd: bool,
    /// Bytes of the weights.
    weights: u64,
}

impl Plan {
    /// Devices of one engine.
    fn devices(&self) -> u32 {
        self.tensor * self.data
    }

    /// The device as Kubernetes counts it.
    fn resource(&self) -> &'static str {
        if self.amd {
            "amd.com/gpu"
        } else {
            "nvidia.com/gpu"
        }
    }
}

fn script(words: &[String], note: &str) -> String {
    let quoted: Vec<String> = words
        .iter()
        .map(|w| {
            match w
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./:=,".contains(c))
            {
                true => w.clone(),
                false => format!("'{}'", w.replace('\'', "'\\''")),
            }
        })
        .collect();
    format!("#!/bin/sh\n{note}exec {}\n", quoted.join(" "))
}

fn compose(p: &Plan) -> String {
    let Plan {
        words,
        note,
        image,
        port,
        ..
    } = p;
    let devices = p.devices();
    let access = match p.amd {
        true => {
            "    devices: [\"/dev/kfd\", \"/dev/dri\"]\n    group_add: [\"video\"]\n".to_string()
        }
        false => format!(
            "    deploy:\n      resources:\n        reservations:\n          devices:\n            - driver: nvidia\n              \
             count: {devices}\n              capabilities: [\"gpu\"]\n"
        ),
    };
    format!(
        "{note}services:\n  server:\n    image: {image}\n    entrypoint: {}\n    command: {}\n    ipc: host\n    ports: [\"{port}:{port}\"]\n    \
         volumes: [\"models:/root/.cache/huggingface\"]\n{access}volumes:\n  models: {{}}\n",
        json(&words[..1]),
        json(&words[1..])
    )
}

fn kubernetes(p: &Plan) -> String {
    let Plan {
        words,
        note,
        image,
        engines,
        port,
        ..
    } = p;
    let (resource, devices) = (p.resource(), p.devices());
    format!(
        r#"{note}apiVersion: apps/v1
kind: Deployment
metadata:
  name: llm-server
  labels:
    app: llm-server
spec:
  replicas: {engines}
  selector:
    matchLabels:
      app: llm-server
  template:
    metadata:
      labels:
        app: llm-server
    spec:
      containers:
        - name: server
          image: {image}
          command: {command}
          args: {args}
          ports:
            - containerPort: {port}
          resources:
            limits:
              {resource}: "{devices}"
          volumeMounts:
            - name: models
              mountPath: /root/.cache/huggingface
            - name: shm
              mountPath: /dev/shm
          readinessProbe:
            httpGet:
              path: /health
              port: {port}
            periodSeconds: 5
      volumes:
        - name: models
          emptyDir: {{}}
        - name: shm
          emptyDir:
            medium: Memory
---
apiVersion: v1
kind: Service
metadata:
  name: llm-server
spec:
  selector:
    app: llm-server
  ports:
    - protocol: TCP
      port: {port}
      targetPort: {port}
"#,
        command = json(&words[..1]),
        args = json(&words[1..])
    )
}
