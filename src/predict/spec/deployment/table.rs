//! The table of what is said of a deployment: replicas, pools, the router, how KV travels.
use super::DeploymentSection;
use crate::fields::{Field, Kind, keys, names};

/// Joins the pools, and the outages, of a document.
pub(super) const SEPARATOR: char = ';';

const fn count(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Count(1 << 16), label, help).many()
}

const fn number(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Number, label, help)
}

const fn text(name: &'static str, label: &'static str, help: &'static str) -> Field {
    Field::new(name, Kind::Text, label, help)
}

/// All fields.
pub static DEPLOYMENT: [Field; N] = ROWS;

const N: usize = 14;

const ROWS: [Field; N] = [
    count(
        "replicas",
        "Replicas",
        "Replicas of the engine behind a router (default: 1)",
    ),
    count(
        "prefill_replicas",
        "Prefill replicas",
        "Replicas that compute prompts for others that decode (default: 1 where --decode-replicas or --prefill is given)",
    ),
    count(
        "decode_replicas",
        "Decode replicas",
        "Replicas that decode what prefill replicas computed (default: 1 where --prefill-replicas or --decode is given)",
    ),
    text(
        "prefill",
        "Settings of the prefill pool",
        "Flags of the prefill replicas where they differ, as \"--tensor-parallel-size 4 --device h100-sxm\", or the line that starts one",
    )
    .flags(),
    text(
        "decode",
        "Settings of the decode pool",
        "Flags of the decode replicas where they differ, or the line that starts one",
    )
    .flags(),
    text(
        "pool",
        "A pool",
        "A pool as \"ROLE*REPLICAS [FLAGS]\" with the role serve, prefill or decode, for deployments of more kinds of replicas \
         (repeatable; in documents separated by `;`). Example: \"serve*3 --device h100-sxm\"",
    )
    .joined(SEPARATOR),
    Field::new(
        "router",
        Kind::Choice(&["round-robin", "least-requests", "gateway", "kv-aware"]),
        "Router",
        "How replicas are chosen: round-robin, least-requests, gateway (queue, KV cache and prefix scorers of the gateway API), kv-aware \
         (Dynamo's) (default: round-robin)",
    )
    .many(),
    number(
        "router_signal_age",
        "Age of the router's signals",
        "Seconds that the router's view of queues and KV caches may be old (default: 0; the gateway API's picker scrapes every 0.05)",
    ),
    Field::new(
        "kv_transfer",
        Kind::Choice(&["pull", "push", "push-layers"]),
        "Way of the KV cache",
        "Who allocates first where prefill and decode are apart: pull (the decoder reads after the prefill: vLLM's NixlConnector), push (the \
         decoder allocates before it: SGLang), push-layers (and layers travel while later ones are computed) (default: the engine's)",
    )
    .many(),
    Field::new(
        "kv_transfer_gbs",
        Kind::Number,
        "Rate of KV transfers",
        "GB/s that each device sends and receives KV with, or inf (default: the rate of its network, --network-gbs)",
    )
    .many(),
    number(
        "kv_transfer_latency_ms",
        "Latency of KV transfers",
        "Milliseconds of each transfer beside its bytes: hand-shake, notification, the router's second request (default: 1, assumed)",
    ),
    Field::new(
        "remote_prefill_from",
        Kind::Count(1 << 30),
        "Shortest remote prefill",
        "Prompt tokens, beyond those that the decoder has cached, from which a prompt goes to a prefill replica (default: 0, all of them)",
    )
    .many(),
    text(
        "outage",
        "Outages",
        "What befalls a replica: \"fail:POOL/REPLICA@SECONDS\", drain or start in its place; numbers from 0 (repeatable; in documents \
         separated by `;`). Example: \"fail:0/2@30\"",
    )
    .joined(SEPARATOR),
    number(
        "warm_up",
        "Warm-up of a replica",
        "Seconds from the start of a replica in --outage until it serves (default: 0)",
    ),
];

const NAMES: [&str; N] = names(&ROWS);

keys! {
    DeploymentSection, NAMES, "DEPLOYMENT";
    REPLICAS: u32 = "replicas";
    PREFILL_REPLICAS: u32 = "prefill_replicas";
    DECODE_REPLICAS: u32 = "decode_replicas";
    PREFILL: String = "prefill";
    DECODE: String = "decode";
    POOL: String = "pool";
    ROUTER: String = "router";
    ROUTER_SIGNAL_AGE: f64 = "router_signal_age";
    KV_TRANSFER: String = "kv_transfer";
    KV_TRANSFER_GBS: f64 = "kv_transfer_gbs";
    KV_TRANSFER_LATENCY_MS: f64 = "kv_transfer_latency_ms";
    REMOTE_PREFILL_FROM: u32 = "remote_prefill_from";
    OUTAGE: String = "outage";
    WARM_UP: f64 = "warm_up";
}
