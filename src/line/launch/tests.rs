use super::*;

fn files(path: &str) -> Result<String, String> {
    match path {
        "config.yaml" => Ok("model: Qwen/Qwen3-8B\nmax_model_len: 8192\nenforce-eager: true\nenable-prefix-caching: false\n\
                             cudagraph-capture-sizes: [1, 2]\nspeculative-config: {method: ngram, num_speculative_tokens: 3}"
            .into()),
        ".env" => Ok("MODEL=Qwen/Qwen3-14B\nHF_TOKEN=x # secret\nVLLM_USE_V1=\"0\"".into()),
        "start.sh" => Ok("#!/bin/bash\nset -e\nexec vllm serve m --port 1\n".into()),
        _ => Err("no such file".into()),
    }
}

fn text(text: &str) -> Launch {
    unwrap(Source::Text(text), &files).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn words(line: &str) -> Result<Launch, LineError> {
    let words: Vec<String> = line.split_whitespace().map(String::from).collect();
    unwrap(Source::Words(&words), &files)
}

fn args(launch: &Launch) -> String {
    launch.args.join(" ")
}

#[test]
fn what_stands_before_the_program_is_taken_away() {
    for line in [
        "vllm serve m --port 1",
        "VLLM_USE_V1=1 /srv/x/bin/vllm serve m --port 1",
        "sudo -E env -u A VLLM_USE_V1=1 nohup vllm serve m --port 1",
        "numactl -N 0 -m 0 taskset -c 0-7 time vllm serve m --port 1",
        "uv run --with vllm vllm serve m --port 1",
        "uvx --from vllm vllm serve m --port 1",
        "poetry run vllm serve m --port 1",
        "srun --gres=gpu:2 singularity exec --nv x.sif vllm serve m --port 1",
        "python -m vllm.entrypoints.cli.main serve m --port 1",
        "bash -c 'cd /x && exec vllm serve m --port 1'",
        "sudo bash -lc \"source a/bin/activate; vllm serve m --port 1 2>&1 | tee log\"",
        "A=1 bash start.sh",
        "sudo bash wrap.sh vllm serve m --port 1",
        "docker exec -it c bash -c 'vllm serve m --port 1'",
        "vllm serve m \\\n  --port 1 > out 2>&1 &",
        "PORT=1; MODEL=m\nvllm serve $MODEL --port ${PORT}",
        "kubectl run x --image=vllm/vllm-openai --command -- vllm serve m --port 1",
    ] {
        let launch = text(line);
        assert_eq!(launch.engine, Some(Scheduler::Vllm), "{line}");
        assert_eq!(args(&launch), "m --port 1", "{line}");
    }
    let launch = text(
        "CUDA_VISIBLE_DEVICES=0,1 VLLM_USE_V1=1 python3 -O -u -m vllm.entrypoints.openai.api_server --model m",
    );
    assert_eq!(launch.devices, Some(2));
    assert_eq!(launch.env[1], ("VLLM_USE_V1".into(), "1".into()));
    assert_eq!(args(&launch), "--model m");
    let launch =
        text("export VLLM_ATTENTION_BACKEND=FLASHINFER\npip install vllm==0.9.1\nvllm serve m");
    assert_eq!(
        launch.env,
        [("VLLM_ATTENTION_BACKEND".into(), "FLASHINFER".into())]
    );
    assert_eq!(launch.release.as_deref(), Some("0.9.1"));
    assert_eq!(
        text("uvx --from 'vllm==0.10.2' vllm serve m")
            .release
            .as_deref(),
        Some("0.10.2")
    );
    assert_eq!(
        text("uv run --with=vllm==0.11.0 vllm serve m")
            .release
            .as_deref(),
        Some("0.11.0")
    );
}

#[test]
fn words_and_a_quoted_line_are_the_same() {
    let quoted = ["A=1 vllm serve m -q awq \\\n --port 1".to_string()];
    let one = unwrap(Source::Words(&quoted), &files).unwrap();
    assert_eq!(one, words("A=1 vllm serve m -q awq --port 1").unwrap());
    assert_eq!(
        one,
        words("A=1 vllm serve m \\ -q awq \\ --port 1").unwrap()
    );
    assert_eq!(words("--model m --port 1").unwrap().engine, None);
    assert_eq!(
        args(&words("Qwen/Qwen3-8B --port 1").unwrap()),
        "Qwen/Qwen3-8B --port 1"
    );
    assert_eq!(args(&words("serve m").unwrap()), "m");
    assert_eq!(
        words("vllm qwen3-8b").unwrap().engine,
        Some(Scheduler::Vllm)
    );
    assert_eq!(words("").unwrap(), Launch::default());
}

#[test]
fn what_starts_no_server_is_refused() {
    let error = |line: &str| words(line).unwrap_err().to_string();
    assert!(
        error("ls -la").starts_with("`ls -la` starts no server"),
        "{}",
        error("ls -la")
    );
    assert!(error("something else entirely").starts_with("`something else`"));
    assert!(error("ollama serve").contains("does not simulate"));
    assert!(error("vllm bench throughput --model m").contains("does not simulate"));
    assert!(error("docker run -it rocm/vllm:latest").contains("no command"));
    assert!(error("docker run nginx").starts_with("`docker run` starts no server"));
    assert_eq!(
        error("vllm serve m --config no.yaml"),
        "--config `no.yaml`: no such file"
    );
    let deep = "bash -c \"".repeat(40);
    assert!(unwrap(Source::Text(&deep), &files).is_err());
    assert_eq!(
        unwrap(Source::Text(&"x".repeat(2 << 20)), &files),
        Err(LineError::TooLong)
    );
}

#[test]
fn containers_name_a_release_and_devices() {
    let launch = text(
        "sudo docker run --runtime nvidia --gpus '\"device=0,1\"' --ipc=host -p 8000:8000 -e HF_TOKEN=$HF_TOKEN -e VLLM_USE_V1=0 \
         -v ~/.cache/huggingface:/cache/huggingface vllm/vllm-openai:v0.8.5 --model Qwen/Qwen2.5-7B-Instruct -tp 2",
    );
    assert_eq!(launch.engine, Some(Scheduler::Vllm));
    assert_eq!(args(&launch), "--model Qwen/Qwen2.5-7B-Instruct -tp 2");
    assert_eq!(
        (launch.release.as_deref(), launch.devices),
        (Some("0.8.5"), Some(2))
    );
    assert_eq!(launch.image.as_deref(), Some("vllm/vllm-openai:v0.8.5"));
    assert_eq!(launch.env[1], ("VLLM_USE_V1".into(), "0".into()));
    let launch = text(
        "podman run --rm --device nvidia.com/gpu=all --entrypoint /bin/bash vllm/vllm-openai -c 'CUDA_VISIBLE_DEVICES=3 vllm serve m'",
    );
    assert_eq!((args(&launch).as_str(), launch.devices), ("m", Some(1)));
    let launch = text(
        "docker run --gpus all lmsysorg/sglang:v0.5.3-cu129 python3 -m sglang.launch_server --model-path m",
    );
    assert_eq!(
        (launch.engine, launch.release.as_deref()),
        (Some(Scheduler::Sglang), Some("0.5.3"))
    );
    let launch = text(
        "docker run -p 8080:8080 --env-file .env ghcr.io/ggml-org/llama.cpp:server-cuda-b4719 -m /models/x.gguf -c 512",
    );
    assert_eq!(
        (launch.engine, launch.release.as_deref()),
        (Some(Scheduler::LlamaServer), Some("b4719"))
    );
    assert_eq!(launch.env[2], ("VLLM_USE_V1".into(), "0".into()));
    assert_eq!(
        args(&text(
            "docker run ghcr.io/ggml-org/llama.cpp:full --server -m x.gguf"
        )),
        "-m x.gguf"
    );
    assert_eq!(
        args(&text(
            "docker run --entrypoint vllm vllm/vllm-openai serve m"
        )),
        "m"
    );
    assert_eq!(
        args(&text(
            "docker run rocm/vllm:rocm6.4.1_vllm_0.10.1_20250909 vllm serve m"
        )),
        "m"
    );
}

#[test]
fn a_configuration_file_stands_before_the_lines_own_flags() {
    let launch = words("vllm serve --config config.yaml --max-model-len 4096").unwrap();
    assert_eq!(
        args(&launch),
        "--model=Qwen/Qwen3-8B --max-model-len=8192 --enforce-eager --no-enable-prefix-caching --cudagraph-capture-sizes 1 2 \
         --speculative-config {\"method\":\"ngram\",\"num_speculative_tokens\":3} --max-model-len 4096"
    );
    let launch = words("vllm serve m --config=config.yaml").unwrap();
    assert!(args(&launch).starts_with("m --model=Qwen/Qwen3-8B"));
    let launch = text("model: m\nport: 1\n");
    assert_eq!(
        (launch.engine, args(&launch).as_str()),
        (Some(Scheduler::Vllm), "--model=m --port=1")
    );
    let launch = text("model-path: m\ntp-size: 2\n");
    assert_eq!(launch.engine, Some(Scheduler::Sglang));
}

#[test]
fn scripts_may_hold_files() {
    let launch = text(
        "cat > c.yaml << EOF\nmodel-path: m\ntp-size: 2\nEOF\npython -m sglang.launch_server --config c.yaml",
    );
    assert_eq!(args(&launch), "--model-path=m --tp-size=2");
    let launch = text(
        "cat <<EOF |kubectl apply -f -\nkind: Pod\nspec:\n  containers:\n  - name: x\n    args: [vllm, serve, m]\nEOF",
    );
    assert_eq!(args(&launch), "m");
    let launch = text(
        "resources:\n  accelerators: A100\nrun: |\n  conda deactivate\n  python3 -m sglang.launch_server \\\n    --model-path m\n",
    );
    assert_eq!(args(&launch), "--model-path m");
}

#[test]
fn compose_files_are_read() {
    let launch = text(
        "x-gpu: &gpu\n  deploy:\n    resources:\n      reservations:\n        devices:\n          - driver: nvidia\n            count: 2\n\
         services:\n  web:\n    image: nginx\n  llm:\n    <<: *gpu\n    image: vllm/vllm-openai:${TAG:-v0.9.2}\n    environment:\n      \
         - HF_TOKEN=${HF_TOKEN}\n      - VLLM_USE_V1=0\n    command: >\n      --model ${MODEL} --max-model-len 8192\n      --port 8000\n",
    );
    assert_eq!(
        args(&launch),
        "--model Qwen/Qwen3-14B --max-model-len 8192 --port 8000"
    );
    assert_eq!(
        (launch.release.as_deref(), launch.devices),
        (Some("0.9.2"), Some(2))
    );
    let launch = text(
        "services:\n  a:\n    image: lmsysorg/sglang:latest\n    entrypoint: python3 -m sglang.launch_server\n    command: --model-path m --tp 2\n    env_file: [.env]",
    );
    assert_eq!(
        (launch.engine, args(&launch).as_str()),
        (Some(Scheduler::Sglang), "--model-path m --tp 2")
    );
    let launch = text(
        "services:\n  a:\n    image: vllm/vllm-openai\n    command: [--model, a]\n  b:\n    image: vllm/vllm-openai\n    command: [--model, b]",
    );
    assert_eq!(args(&launch), "--model a");
    assert_eq!(
        launch.notes,
        [
            "2 servers are started here; this answers for the first, `vLLM --model a`, not for `vLLM --model b`"
        ]
    );
    let e = unwrap(Source::Text("services:\n  a:\n    image: nginx\n"), &files).unwrap_err();
    assert_eq!(
        e.to_string(),
        "this YAML file starts no server that capsim knows (vLLM, SGLang, TensorRT-LLM, llama-server)"
    );
}

#[test]
fn kubernetes_and_helm_files_are_read() {
    let launch = text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n---\napiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n\
         \x20     - name: side\n        image: busybox\n        args: [sleep]\n      - name: vllm\n        image: vllm/vllm-openai:v0.11.0\n        \
         command: [\"/bin/sh\", \"-c\"]\n        args: [\n          \"vllm serve $(MODEL) --trust-remote-code --enable-prefix-caching\"\n        ]\n        \
         env:\n        - {name: MODEL, value: Qwen/Qwen3-8B}\n        resources:\n          limits:\n            nvidia.com/gpu: \"4\"\n",
    );
    assert_eq!(
        args(&launch),
        "Qwen/Qwen3-8B --trust-remote-code --enable-prefix-caching"
    );
    assert_eq!(
        (launch.release.as_deref(), launch.devices),
        (Some("0.11.0"), Some(4))
    );
    let launch = text(
        "image:\n  repository: \"vllm/vllm-openai\"\n  tag: \"v0.10.0\"\n  command: [\"vllm\", \"serve\", \"/data/\", \"--port\", \"80\"]\n",
    );
    assert_eq!(
        (args(&launch).as_str(), launch.release.as_deref()),
        ("/data/ --port 80", Some("0.10.0"))
    );
    let e = unwrap(
        Source::Text("a: b\nc: {{ .Values.x }}\nargs:\n  - {{ .x }}\n"),
        &files,
    )
    .unwrap_err();
    assert!(e.to_string().contains("helm template"), "{e}");
}

#[test]
fn systemd_units_and_environment_files_are_read() {
    let launch = text(
        "[Unit]\nDescription=x\n[Service]\nEnvironment=\"CUDA_VISIBLE_DEVICES=0\" HF_HOME=/x\nEnvironmentFile=-/none\nUser=me\n\
         ExecStart=/srv/vllm/bin/vllm serve m \\\n    --port 1 \\\n    --host ${HF_HOME}\nRestart=always\n",
    );
    assert_eq!(
        (args(&launch).as_str(), launch.devices),
        ("m --port 1 --host /x", Some(1))
    );
    let launch = text(
        "[Container]\nImage=docker.io/vllm/vllm-openai:v0.10.1\nExec=--model m\nAddDevice=nvidia.com/gpu=0\n",
    );
    assert_eq!(
        (
            args(&launch).as_str(),
            launch.devices,
            launch.release.as_deref()
        ),
        ("--model m", Some(1), Some("0.10.1"))
    );
    let launch = text("LLAMA_ARG_HF_REPO=unsloth/Qwen3-8B-GGUF:Q4_K_M\nLLAMA_ARG_CTX_SIZE=8192\n");
    assert_eq!(
        (launch.engine, launch.env.len()),
        (Some(Scheduler::LlamaServer), 2)
    );
    let launch = text(
        "# a\nMODEL_NAME=m\nMAX_MODEL_LEN=8192\nENFORCE_EAGER=true\nHF_TOKEN=x\nEXTRA_ARGS=\"--port 1 -tp 2\"",
    );
    assert_eq!(
        args(&launch),
        "--model=m --max-model-len=8192 --enforce-eager --hf-token=x --port 1 -tp 2"
    );
    let launch = text("VLLM_COMMAND=\"vllm serve m\"\nA=1");
    assert_eq!(
        (args(&launch).as_str(), launch.engine),
        ("m", Some(Scheduler::Vllm))
    );
}

#[test]
fn a_load_client_stands_beside_its_server() {
    let launch = words("vllm bench serve --model m --request-rate 10").unwrap();
    assert_eq!(
        launch.bench.unwrap().join(" "),
        "--model m --request-rate 10"
    );
    let launch = text("vllm serve m &\nvllm bench serve --model m --request-rate 10\n");
    assert_eq!(args(&launch), "m");
    assert_eq!(launch.bench.unwrap().len(), 4);
    let launch = words("python benchmarks/benchmark_serving.py --backend vllm --model m").unwrap();
    assert_eq!(launch.bench.unwrap()[3], "m");
}
