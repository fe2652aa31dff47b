//! `/v1/embeddings`, `/rerank` and `/score`, where the server is told to answer them (vLLM 0.32.0: `entrypoints/pooling/embed/protocol.py`,
//! `scoring/protocol.py`). The engine computes the prompt and one token for it; vectors and scores are drawn from the tokens.
use super::http::{
    App, Ask, Fail, Shared, body, check_model, detail, off_worker, request_id, unix_now,
};
use super::identity::mix;
use super::prompt::{self, Bad, Tokens};
use super::structured::Wanted;
use crate::openai::{OneOrMany, PromptInput, Sampling, lax};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EmbeddingsRequest {
    model: Option<String>,
    input: Option<PromptInput>,
    encoding_format: Option<String>,
    #[serde(deserialize_with = "lax::option")]
    dimensions: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RerankRequest {
    model: Option<String>,
    query: Option<String>,
    documents: Option<OneOrMany>,
    #[serde(deserialize_with = "lax::option")]
    top_n: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ScoreRequest {
    model: Option<String>,
    #[serde(alias = "queries", alias = "data_1")]
    text_1: Option<OneOrMany>,
    #[serde(alias = "documents", alias = "items", alias = "data_2")]
    text_2: Option<OneOrMany>,
}

/// A number that tokens alone decide.
fn hash(ids: &[u32]) -> u64 {
    ids.iter()
        .fold(0x656d_6265, |h, id| mix(h ^ u64::from(*id)))
}

/// From 0 to 1.
fn share(h: u64) -> f64 {
    (h >> 11) as f64 / (1u64 << 53) as f64
}

/// A vector of length 1.
fn vector(ids: &[u32], dimensions: usize) -> Vec<f32> {
    let seed = hash(ids);
    let raw: Vec<f64> = (0..dimensions as u64)
        .map(|i| 2.0 * share(mix(seed ^ mix(i))) - 1.0)
        .collect();
    let norm = libm::sqrt(raw.iter().map(|v| v * v).sum::<f64>()).max(f64::MIN_POSITIVE);
    raw.iter().map(|v| (v / norm) as f32).collect()
}

/// The standard alphabet of RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk
            .iter()
            .enumerate()
            .fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            match i <= chunk.len() {
                true => out.push(char::from(ALPHABET[(n >> (18 - 6 * i)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out
}

/// Runs the prompts through the engine; their tokens.
async fn computed(app: &App, prompts: Vec<Tokens>) -> Result<u32, Fail> {
    let mut active = app.start(Ask {
        prompts,
        sampling: Sampling {
            n: 1,
            temperature: Some(0.0),
            ignore_eos: true,
            ..Sampling::default()
        },
        max_tokens: Some(1),
        echo: false,
        token_ids: false,
        wanted: Wanted::Text,
        candidates: None,
        mute: true,
    })?;
    active.collect(&app.text).await.map_err(Bad::from)?;
    Ok(active.prompt_tokens)
}

/// As a server of a generating model: the route is not there.
fn absent() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

pub(super) async fn embeddings(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let Some(size) = app.embedding_size else {
        return Ok(absent());
    };
    let id = request_id(&app, "embd", request.headers());
    let r: EmbeddingsRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let size = match r.dimensions {
        None => size,
        Some(n) if (1..=i64::from(size)).contains(&n) => n as u32,
        Some(n) => {
            return Err(Bad::of(
                "dimensions",
                format!("dimensions must be between 1 and {size}, got {n}."),
            )
            .into());
        }
    };
    let packed = match r.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Bad::of(
                "encoding_format",
                format!("encoding_format `{other}` is not simulated: `float` and `base64` are"),
            )
            .into());
        }
    };
    let prompts = off_worker(true, || prompt::prompts(r.input, &app.text))?;
    let vectors: Vec<Vec<f32>> = prompts
        .iter()
        .map(|p| vector(&p.ids, size as usize))
        .collect();
    let tokens = computed(&app, prompts).await?;
    let data: Vec<Value> = vectors
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let embedding = match packed {
                false => json!(v),
                true => {
                    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
                    json!(base64(&bytes))
                }
            };
            json!({"index": i, "object": "embedding", "embedding": embedding})
        })
        .collect();
    Ok(Json(json!({
        "id": id, "object": "list", "created": unix_now(), "model": app.constants.model_name, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": null},
    }))
    .into_response())
}

/// Pairs of texts, each one prompt, with their scores.
async fn scored(app: &App, pairs: &[(&str, &str)]) -> Result<(Vec<f64>, u32), Fail> {
    let prompts = off_worker(true, || {
        pairs
            .iter()
            .map(|(a, b)| {
                let mut ids = app.text.encode(a, true).map_err(|e| e.to_string())?;
                ids.extend(app.text.encode(b, true).map_err(|e| e.to_string())?);
                Ok(Tokens { ids, text: None })
            })
            .collect::<Result<Vec<_>, String>>()
    })
    .map_err(Bad::from)?;
    let scores = prompts.iter().map(|p| share(mix(hash(&p.ids)))).collect();
    Ok((scores, computed(app, prompts).await?))
}

fn required<T>(value: Option<T>, param: &'static str) -> Result<T, Bad> {
    value.ok_or_else(|| Bad::of(param, format!("{param}: Field required")))
}

pub(super) async fn rerank(State(app): Shared, request: Request) -> Result<Response, Fail> {
    if app.embedding_size.is_none() {
        return Ok(absent());
    }
    let id = request_id(&app, "rerank", request.headers());
    let r: RerankRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let query = required(r.query, "query")?;
    let documents = required(r.documents, "documents")?;
    let pairs: Vec<(&str, &str)> = documents
        .as_slice()
        .iter()
        .map(|d| (query.as_str(), d.as_str()))
        .collect();
    if pairs.is_empty() {
        return Err(Bad::of("documents", "documents must hold at least one text").into());
    }
    let (scores, tokens) = scored(&app, &pairs).await?;
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    // As vLLM: 0 means all of them.
    let most = r
        .top_n
        .filter(|n| *n > 0)
        .map_or(usize::MAX, |n| n as usize);
    let results: Vec<Value> = order
        .into_iter()
        .take(most)
        .map(|i| json!({"index": i, "document": {"text": pairs[i].1, "multi_modal": null}, "relevance_score": scores[i]}))
        .collect();
    Ok(Json(json!({
        "id": id, "model": app.constants.model_name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "results": results,
    }))
    .into_response())
}

pub(super) async fn score(State(app): Shared, request: Request) -> Result<Response, Fail> {
    if app.embedding_size.is_none() {
        return Ok(absent());
    }
    let id = request_id(&app, "embd", request.headers());
    let r: ScoreRequest = body(&app, request).await?;
    check_model(&app, r.model.as_deref())?;
    let (first, second) = (required(r.text_1, "text_1")?, required(r.text_2, "text_2")?);
    let (a, b) = (first.as_slice(), second.as_slice());
    let pairs: Vec<(&str, &str)> = match (a.len(), b.len()) {
        (1, n) if n > 0 => b.iter().map(|t| (a[0].as_str(), t.as_str())).collect(),
        (m, n) if m == n && n > 0 => a
            .iter()
            .zip(b)
            .map(|(x, y)| (x.as_str(), y.as_str()))
            .collect(),
        _ => return Err(Bad::of("text_1", "Input lengths must be either 1:1, 1:N or N:N").into()),
    };
    let (scores, tokens) = scored(&app, &pairs).await?;
    let data: Vec<Value> = scores
        .iter()
        .enumerate()
        .map(|(i, s)| json!({"index": i, "object": "score", "score": s}))
        .collect();
    Ok(Json(json!({
        "id": id, "object": "list", "created": unix_now(), "model": app.constants.model_name, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0, "prompt_tokens_details": null},
    }))
    .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_belong_to_their_tokens() {
        for n in [1, 3, 256] {
            let v = vector(&[1, 2, 3], n);
            let norm: f64 = v.iter().map(|x| f64::from(x * x)).sum();
            assert!((norm - 1.0).abs() < 1e-5, "{norm}");
            assert_eq!(v, vector(&[1, 2, 3], n));
        }
        assert_ne!(vector(&[1, 2, 3], 8), vector(&[1, 3, 2], 8));
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
