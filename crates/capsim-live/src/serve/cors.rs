//! Pages of other origins, as vLLM lets them ask (vllm 0.33.0, entrypoints/common/cli_args.py: `--allowed-origins`, by default all; the answers
//! are those of Starlette's CORSMiddleware).
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What `Access-Control-Allow-Origin` says to a page; `None`: it is no page that asks, or one that may not.
pub fn allowed(origins: &[String], headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    if origins.iter().any(|o| o == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let text = origin.to_str().ok()?;
    origins.iter().any(|o| o == text).then(|| origin.clone())
}

/// The answer to a browser's question whether it may ask.
pub fn preflight(request: &Request, origin: &HeaderValue) -> Option<Response> {
    let headers = request.headers();
    if request.method() != Method::OPTIONS
        || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    {
        return None;
    }
    let wanted = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = (
        StatusCode::OK,
        [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT",
            ),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ],
        "OK",
    )
        .into_response();
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if let Some(wanted) = wanted {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted);
    }
    Some(response)
}
