"""The fields of a scenario. Generated from capsim's tables: `CAPSIM_WRITE_GENERATED=1 cargo test -p capsim generated`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, TypedDict, Union

if TYPE_CHECKING:
    from ._scenario import DeviceProfile, EngineProfile, Model

Number = Union[int, float]
#: A value, or several: each makes a scenario of its own, for `what_if`.
Ints = Union[int, Sequence[int]]
Floats = Union[Number, Sequence[Number]]
Texts = Union[str, Sequence[str]]
Path = Union[str, "os.PathLike[str]"]


@dataclass(frozen=True)
class SettingFields:
    """Engine settings under vLLM's names. None: the engine's default."""

    max_num_seqs: Optional[Ints] = None
    """Most sequences in a batch (default of vLLM: 256, or 1024 on a device with 70 GiB or more)."""
    max_num_batched_tokens: Optional[Ints] = None
    """Most new tokens in a step (default of vLLM: 2048, or 8192 on a device with 70 GiB or more)."""
    max_model_len: Optional[Ints] = None
    """Longest sequence in tokens, prompt and output together (default: the model's own)."""
    gpu_memory_utilization: Optional[Floats] = None
    """Share of the device memory that the engine may use, above 0 to 1 (default of vLLM: 0.9, from 0.21 on 0.92)."""
    block_size: Optional[Ints] = None
    """Tokens per KV block (default of vLLM: 16)."""
    enable_chunked_prefill: Optional[bool] = None
    """Compute a long prompt in chunks beside other requests (default: on)."""
    enable_prefix_caching: Optional[bool] = None
    """Keep KV blocks for prompts that begin alike (default: on)."""
    async_scheduling: Optional[bool] = None
    """Schedule a step before the output of the previous one is known (default of vLLM: off, from 0.14 on on)."""
    enforce_eager: Optional[bool] = None
    """Disable CUDA/HIP graphs (default: graphs are used)."""
    kv_cache_dtype: Optional[str] = None
    """Data type of the KV cache: auto, fp8, … (default: auto, that of the activations)."""
    dtype: Optional[str] = None
    """Data type of weights and activations: auto, float16, bfloat16, float32 (default: auto, the model's own)."""
    quantization: Optional[str] = None
    """Weight quantization: fp8, awq, gptq, mxfp4, … (default: what the model's config says)."""
    tensor_parallel_size: Optional[Ints] = None
    """Number of devices that share every layer (default: 1)."""
    pipeline_parallel_size: Optional[Ints] = None
    """Number of groups of devices that each have some of the layers (default: 1)."""
    pp_layer_partition: Optional[str] = None
    """Layers of each pipeline stage with commas between them, vLLM's VLLM_PP_LAYER_PARTITION (default: equally many)."""
    decode_context_parallel_size: Optional[int] = None
    """Number of the tensor-parallel devices that divide the KV cache of each sequence among them (default: 1)."""
    nnodes: Optional[int] = None
    """Number of machines among which the devices are divided evenly (default: 1)."""
    data_parallel_size: Optional[Ints] = None
    """Number of engines behind one router; those of a mixture of experts share the experts (default: 1)."""
    enable_expert_parallel: Optional[bool] = None
    """Give each device whole experts instead of slices of all (default: off)."""
    enable_dp_attention: Optional[bool] = None
    """Divide the devices of SGLang or TensorRT-LLM among data-parallel ranks for attention, while all share the experts (default: off)."""
    data_parallel_external_lb: Optional[bool] = None
    """Route requests to the engines in turn, as a load balancer outside of vLLM does (default: off)."""
    scheduling_policy: Optional[str] = None
    """Order of waiting requests: fcfs or priority (default: fcfs)."""
    long_prefill_token_threshold: Optional[int] = None
    """Most new tokens of one request in a step; 0: no limit (default: 0)."""
    scheduler_reserve_full_isl: Optional[bool] = None
    """Admit a request only when there are KV blocks for its whole prompt, not for the next chunk only (default of vLLM from 0.19 on: on)."""
    capacity_scheduler_policy: Optional[str] = None
    """KV blocks that a request of TensorRT-LLM needs to begin: guaranteed_no_evict (for its whole answer) or max_utilization (for its prompt) (default: guaranteed_no_evict)."""
    stream_interval: Optional[int] = None
    """Tokens of an answer that SGLang or TensorRT-LLM sends at once, after the first (default: 1)."""
    num_gpu_blocks_override: Optional[Ints] = None
    """Override the number of KV blocks (default: as many as the memory holds)."""
    kv_cache_memory_bytes: Optional[int] = None
    """Size of the KV cache in bytes, instead of what the memory share leaves (default: not set)."""
    api_server_count: Optional[int] = None
    """Processes that take in requests and hand out tokens (default: as many as data-parallel engines)."""
    micro_batch: Optional[int] = None
    """Tokens that llama.cpp computes at a time, its --ubatch-size (default: 512)."""
    cpu_offload_gb: Optional[Number] = None
    """GiB of weights of each device that stay in the host's memory and are read over the bus in every step (default: 0)."""
    n_gpu_layers: Optional[Ints] = None
    """Layers whose weights and KV cache are on the device, the output head being one of them; the processor computes the others (default: all)."""
    n_cpu_moe: Optional[Ints] = None
    """First layers whose experts stay in the host's memory, where the processor computes them (default: 0)."""
    cpu_moe: Optional[bool] = None
    """Leave the experts of all layers in the host's memory (default: off)."""
    override_tensor: Optional[str] = None
    """Patterns of tensor names and where they lie, as PATTERN=CPU or PATTERN=CUDA0, with commas between; the first one counts (default: none)."""
    op_offload: Optional[bool] = None
    """Copy weights from the host's memory to the device for batches of 32 tokens and more (default: on)."""
    speculative_method: Optional[str] = None
    """What drafts tokens for speculative decoding: none, ngram, draft_model, eagle, eagle3, mtp, dflash (default: none)."""
    num_speculative_tokens: Optional[Ints] = None
    """Tokens that are drafted for each sequence and step; 0: no speculative decoding (default: 1 of mtp, 3 of llama-server, 3 or 5 of SGLang)."""
    speculative_model: Optional[str] = None
    """Model that drafts: a name that ships with capsim or the path of its config.json (default: a layer like the model's own)."""
    speculative_quantization: Optional[str] = None
    """Weight format of the draft model (default: what its config says)."""
    speculative_acceptance: Optional[str] = None
    """Share of drafts that are accepted: one for every draft (0.7), one for each position as engines print them (0.73,0.52,0.35), a mean acceptance length (length:2.6), or recorded numbers of accepted drafts (trace:FILE) (default: published figures of the method)."""
    speculative_drafted: Optional[Number] = None
    """Share of the steps of a sequence that have drafts, from 0 to 1 (default: 1; of ngram 0.1)."""
    speculative_eagle_topk: Optional[int] = None
    """Branches of SGLang's draft tree in each step (default of SGLang: 1, of Llama models 4)."""
    speculative_num_draft_tokens: Optional[int] = None
    """Tokens of SGLang's draft tree that a step verifies, the one before the drafts included (default of SGLang: one more than the drafts, of Llama models 8)."""


@dataclass(frozen=True)
class LoadFields:
    """A load under `vllm bench serve`'s names. None: the default."""

    num_prompts: Optional[int] = None
    """Number of requests measured (default: 4 per client, or 1000)."""
    max_concurrency: Optional[Ints] = None
    """Most requests that the client has open (default: 32 if nothing else sets a pace)."""
    request_rate: Optional[Floats] = None
    """Requests per second; inf: all at once (default: inf)."""
    burstiness: Optional[Number] = None
    """Shape of the gamma-distributed gaps between requests: 1 is Poisson, below 1 is burstier (default: 1)."""
    random_input_len: Optional[Ints] = None
    """Prompt tokens of a request (default: 256; 1024 as in vllm bench serve)."""
    random_output_len: Optional[Ints] = None
    """Output tokens of a request (default: 256; 128 as in vllm bench serve)."""
    random_range_ratio: Optional[Number] = None
    """Draw lengths uniformly from length × (1 ± R), R from 0 to below 1 (default: 0)."""
    images: Optional[Texts] = None
    """Images of each request, behind its text: COUNTxWIDTHxHEIGHT in pixels, such as 1x1024x1024; the model's own rule makes prompt tokens of them (default: none)."""
    prompts: Optional[Texts] = None
    """What prompts have in common: distinct, identical, shared-prefix (default: distinct)."""
    shared_prefix_len: Optional[int] = None
    """Tokens that prompts share, for --prompts shared-prefix (default: 0)."""
    temperature: Optional[Number] = None
    """Sampling temperature; at 0 equal prompts get equal answers (default: 0)."""
    num_warmups: Optional[int] = None
    """Requests sent one by one before the measured ones (default: 1)."""
    send_skew_ms: Optional[Number] = None
    """Milliseconds between the first requests of successive clients; at 0 all are admitted in one step (default: 0)."""
    vllm_bench: Optional[bool] = None
    """Send the requests that `vllm bench serve --dataset-name random` sends for the same flags and seed, with its defaults."""
    seed: Optional[int] = None
    """Seed of all random draws (default: 0)."""
    arrival: Optional[str] = None
    """Arrival process: constant, poisson, gamma (with --burstiness), weibull:CV or weibull:shape=K, mmpp:RATE,RATE,SECONDS,SECONDS, rate-series:T:RATE,T:RATE… (linear between; add /repeat to repeat it) (default: gamma)."""
    ramp_up_strategy: Optional[str] = None
    """Raise the rate from request to request as vllm bench serve does: linear or exponential."""
    ramp_up_start_rps: Optional[Number] = None
    """Requests per second at the first request of a ramp-up."""
    ramp_up_end_rps: Optional[Number] = None
    """Requests per second at the last request of a ramp-up."""
    users: Optional[Ints] = None
    """Number of users who read an answer, think, and ask again, instead of a rate."""
    think_time: Optional[Union[Number, str]] = None
    """Seconds from an answer to the same user's next request: SECONDS, exponential:MEAN, lognormal:MEAN,CV (default: 0)."""
    turns: Optional[int] = None
    """Requests per conversation; each prompt repeats the conversation and adds the input length (default: 1)."""
    input_dist: Optional[str] = None
    """Distribution of prompt lengths: fixed:N, uniform:MIN,MAX, normal:MEAN,SD, lognormal:MEDIAN,SIGMA, pareto-lognormal:TAIL,ALPHA,SCALE,MEDIAN,SIGMA (each with [,min=N][,max=N]), empirical:FILE."""
    output_dist: Optional[str] = None
    """Distribution of output lengths, written as --input-dist."""
    trace_file: Optional[Path] = None
    """Replay a recorded trace: a file, or a folder of ServeGen clients."""
    trace_format: Optional[str] = None
    """Format of the trace: mooncake, bailian, llmservingsim, log, azure, burstgpt, vidur, csv, servegen (default: recognised by its first line)."""
    trace_columns: Optional[str] = None
    """Columns of another CSV: time=NAME,input=NAME,output=NAME[,unit=s|ms|us|ns]."""
    trace_block_size: Optional[int] = None
    """Tokens per hash id of the trace (default: 512 for mooncake, 16 for bailian)."""
    trace_skip_empty: Optional[bool] = None
    """Leave out requests of the trace without input or output tokens, instead of refusing the file."""
    trace_sort: Optional[bool] = None
    """Put the trace's rows in the order of their times, instead of refusing a file that is out of order."""
    trace_start: Optional[Number] = None
    """Seconds of recorded time to leave out at the beginning (default: 0)."""
    trace_duration: Optional[Number] = None
    """Seconds of recorded time to take (default: to the end)."""
    trace_spread: Optional[bool] = None
    """Spread requests recorded at the same time up to the next recorded time."""
    trace_rate: Optional[Number] = None
    """Requests per second of all ServeGen clients together (default: as recorded)."""
    trace_speedup: Optional[Floats] = None
    """Replay the trace this many times faster than recorded (default: 1)."""


@dataclass(frozen=True)
class DeploymentFields:
    """How many engines serve, and what connects them. None: not said; nothing said: one engine."""

    replicas: Optional[Ints] = None
    """Replicas of the engine behind a router (default: 1)."""
    prefill_replicas: Optional[Ints] = None
    """Replicas that compute prompts for others that decode (default: 1 where --decode-replicas or --prefill is given)."""
    decode_replicas: Optional[Ints] = None
    """Replicas that decode what prefill replicas computed (default: 1 where --prefill-replicas or --decode is given)."""
    prefill: Optional[str] = None
    """Flags of the prefill replicas where they differ, as "--tensor-parallel-size 4 --device h100-sxm", or the line that starts one."""
    decode: Optional[str] = None
    """Flags of the decode replicas where they differ, or the line that starts one."""
    pool: Optional[str] = None
    """A pool as "ROLE*REPLICAS [FLAGS]" with the role serve, prefill or decode, for deployments of more kinds of replicas (repeatable; in documents separated by `;`). Example: "serve*3 --device h100-sxm"."""
    router: Optional[Texts] = None
    """How replicas are chosen: round-robin, least-requests, gateway (queue, KV cache and prefix scorers of the gateway API), kv-aware (Dynamo's) (default: round-robin)."""
    router_signal_age: Optional[Number] = None
    """Seconds that the router's view of queues and KV caches may be old (default: 0; the gateway API's picker scrapes every 0.05)."""
    kv_transfer: Optional[Texts] = None
    """Who allocates first where prefill and decode are apart: pull (the decoder reads after the prefill: vLLM's NixlConnector), push (the decoder allocates before it: SGLang), push-layers (and layers travel while later ones are computed) (default: the engine's)."""
    kv_transfer_gbs: Optional[Floats] = None
    """GB/s that each device sends and receives KV with, or inf (default: the rate of its network, --network-gbs)."""
    kv_transfer_latency_ms: Optional[Number] = None
    """Milliseconds of each transfer beside its bytes: hand-shake, notification, the router's second request (default: 1, assumed)."""
    remote_prefill_from: Optional[Ints] = None
    """Prompt tokens, beyond those that the decoder has cached, from which a prompt goes to a prefill replica (default: 0, all of them)."""
    outage: Optional[str] = None
    """What befalls a replica: "fail:POOL/REPLICA@SECONDS", drain or start in its place; numbers from 0 (repeatable; in documents separated by `;`). Example: "fail:0/2@30"."""
    warm_up: Optional[Number] = None
    """Seconds from the start of a replica in --outage until it serves (default: 0)."""


@dataclass(frozen=True)
class SettingsInForce:
    """Engine settings in force."""

    max_num_seqs: Optional[int] = None
    max_num_batched_tokens: Optional[int] = None
    max_model_len: Optional[int] = None
    gpu_memory_utilization: Optional[float] = None
    block_size: Optional[int] = None
    enable_chunked_prefill: Optional[bool] = None
    enable_prefix_caching: Optional[bool] = None
    async_scheduling: Optional[bool] = None
    enforce_eager: Optional[bool] = None
    kv_cache_dtype: Optional[str] = None
    dtype: Optional[str] = None
    quantization: Optional[str] = None
    tensor_parallel_size: Optional[int] = None
    pipeline_parallel_size: Optional[int] = None
    pp_layer_partition: Optional[str] = None
    decode_context_parallel_size: Optional[int] = None
    nnodes: Optional[int] = None
    data_parallel_size: Optional[int] = None
    enable_expert_parallel: Optional[bool] = None
    enable_dp_attention: Optional[bool] = None
    data_parallel_external_lb: Optional[bool] = None
    scheduling_policy: Optional[str] = None
    long_prefill_token_threshold: Optional[int] = None
    scheduler_reserve_full_isl: Optional[bool] = None
    capacity_scheduler_policy: Optional[str] = None
    stream_interval: Optional[int] = None
    num_gpu_blocks_override: Optional[int] = None
    kv_cache_memory_bytes: Optional[int] = None
    api_server_count: Optional[int] = None
    micro_batch: Optional[int] = None
    cpu_offload_gb: Optional[float] = None
    n_gpu_layers: Optional[int] = None
    n_cpu_moe: Optional[int] = None
    cpu_moe: Optional[bool] = None
    override_tensor: Optional[str] = None
    op_offload: Optional[bool] = None
    speculative_method: Optional[str] = None
    num_speculative_tokens: Optional[int] = None
    speculative_model: Optional[str] = None
    speculative_quantization: Optional[str] = None
    speculative_acceptance: Optional[str] = None
    speculative_drafted: Optional[float] = None
    speculative_eagle_topk: Optional[int] = None
    speculative_num_draft_tokens: Optional[int] = None


class ScenarioFields(TypedDict, total=False):
    """Fields of `Scenario` and `Workload` as keyword arguments; the classes say what they are."""

    model: Optional[Union[Path, Model]]
    device: Optional[Union[Path, DeviceProfile, Sequence[Union[Path, DeviceProfile]]]]
    engine: Optional[Union[Path, EngineProfile, Sequence[Union[Path, EngineProfile]]]]
    serve: Union[str, Sequence[str]]
    set: Union[None, str, Mapping[str, Any]]
    assume_architecture: Optional[str]
    weights: Optional[Texts]
    moe_tiles: Optional[Texts]
    routing: Optional[str]
    server: Optional[str]
    engine_version: Optional[Texts]
    host_bandwidth_gbs: Optional[float]
    host_tflops: Optional[float]
    bus_gbs: Optional[float]
    network_gbs: Optional[float]
    max_num_seqs: Optional[Ints]
    max_num_batched_tokens: Optional[Ints]
    max_model_len: Optional[Ints]
    gpu_memory_utilization: Optional[Floats]
    block_size: Optional[Ints]
    enable_chunked_prefill: Optional[bool]
    enable_prefix_caching: Optional[bool]
    async_scheduling: Optional[bool]
    enforce_eager: Optional[bool]
    kv_cache_dtype: Optional[str]
    dtype: Optional[str]
    quantization: Optional[str]
    tensor_parallel_size: Optional[Ints]
    pipeline_parallel_size: Optional[Ints]
    pp_layer_partition: Optional[str]
    decode_context_parallel_size: Optional[int]
    nnodes: Optional[int]
    data_parallel_size: Optional[Ints]
    enable_expert_parallel: Optional[bool]
    enable_dp_attention: Optional[bool]
    data_parallel_external_lb: Optional[bool]
    scheduling_policy: Optional[str]
    long_prefill_token_threshold: Optional[int]
    scheduler_reserve_full_isl: Optional[bool]
    capacity_scheduler_policy: Optional[str]
    stream_interval: Optional[int]
    num_gpu_blocks_override: Optional[Ints]
    kv_cache_memory_bytes: Optional[int]
    api_server_count: Optional[int]
    micro_batch: Optional[int]
    cpu_offload_gb: Optional[Number]
    n_gpu_layers: Optional[Ints]
    n_cpu_moe: Optional[Ints]
    cpu_moe: Optional[bool]
    override_tensor: Optional[str]
    op_offload: Optional[bool]
    speculative_method: Optional[str]
    num_speculative_tokens: Optional[Ints]
    speculative_model: Optional[str]
    speculative_quantization: Optional[str]
    speculative_acceptance: Optional[str]
    speculative_drafted: Optional[Number]
    speculative_eagle_topk: Optional[int]
    speculative_num_draft_tokens: Optional[int]
    num_prompts: Optional[int]
    max_concurrency: Optional[Ints]
    request_rate: Optional[Floats]
    burstiness: Optional[Number]
    random_input_len: Optional[Ints]
    random_output_len: Optional[Ints]
    random_range_ratio: Optional[Number]
    images: Optional[Texts]
    prompts: Optional[Texts]
    shared_prefix_len: Optional[int]
    temperature: Optional[Number]
    num_warmups: Optional[int]
    send_skew_ms: Optional[Number]
    vllm_bench: Optional[bool]
    seed: Optional[int]
    arrival: Optional[str]
    ramp_up_strategy: Optional[str]
    ramp_up_start_rps: Optional[Number]
    ramp_up_end_rps: Optional[Number]
    users: Optional[Ints]
    think_time: Optional[Union[Number, str]]
    turns: Optional[int]
    input_dist: Optional[str]
    output_dist: Optional[str]
    trace_file: Optional[Path]
    trace_format: Optional[str]
    trace_columns: Optional[str]
    trace_block_size: Optional[int]
    trace_skip_empty: Optional[bool]
    trace_sort: Optional[bool]
    trace_start: Optional[Number]
    trace_duration: Optional[Number]
    trace_spread: Optional[bool]
    trace_rate: Optional[Number]
    trace_speedup: Optional[Floats]
