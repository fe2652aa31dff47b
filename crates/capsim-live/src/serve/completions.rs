//! `/v1/completions`.
use super::answer::word;
use super::http::{
    App, Ask, Fail, LARGE, Shared, body, check_model, check_stream, off_worker, request_id,
    unix_now,
};
use super::logprobs;
use super::prompt::{self, Bad};
use super::stream::Frame;
use super::structured::Demands;
use crate::openai::{self as wire, PromptInput, StreamOptions};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};

/// Bytes of a prompt, roughly.
fn size(input: Option<&PromptInput>) -> usize {
    match input {
        None => 0,
        Some(PromptInput::Text(t)) => t.len(),
        Some(PromptInput::Tokens(t)) => 4 * t.len(),
        Some(PromptInput::Texts(all)) => all.iter().map(String::len).sum(),
        Some(PromptInput::TokenLists(all)) => all.iter().map(|t| 4 * t.len()).sum(),
    }
}

/// Tokens of an answer from which on looking for stop strings is kept off the threads that serve others.
const LONG_ANSWER: i64 = 4096;

fn ask(app: &App, r: &mut wire::CompletionRequest) -> Result<super::answer::Active, Fail> {
    if r.suffix.as_deref().is_some_and(|s| !s.is_empty()) {
        return Err(Bad::of("suffix", "suffix is not currently supported").into());
    }
    if r.prompt_logprobs.is_some() {
        return Err(Bad::of("prompt_logprobs", "prompt_logprobs are not simulated").into());
    }
    let input = r.prompt.take();
    let sampling = r.sampling();
    // As vLLM: the prompt alone is wanted, and a token is generated for it.
    let mute = r.echo == Some(true) && r.max_tokens == Some(0);
    let max_tokens = if mute { Some(1) } else { r.max_tokens };
    prompt::check_sampling(&sampling, &r.unsimulated(), max_tokens)?;
    let candidates = prompt::candidates(r.logprobs, "logprobs")?;
    let demands = Demands {
        response_format: r.response_format.as_ref(),
        structured: r.structured(),
        tools: &[],
        tool_choice: None,
        parser: false,
        answered: false,
        chance: 0,
    };
    let wanted = demands.wanted()?;
    let long = size(input.as_ref()) > LARGE
        || !sampling.stop.is_empty() && max_tokens.is_none_or(|m| m > LONG_ANSWER);
    off_worker(long, || {
        app.start(Ask {
            prompts: prompt::prompts(input, &app.text)?,
            sampling,
            max_tokens,
            echo: r.echo == Some(true),
            token_ids: r.return_token_ids == Some(true),
            wanted,
            candidates,
            mute,
        })
    })
}

pub(super) async fn answer(State(app): Shared, request: Request) -> Result<Response, Fail> {
    let id = request_id(&app, "cmpl", request.headers());
    let mut r: wire::CompletionRequest = body(&app, request).await?;
    let stream = check_stream(r.stream, r.stream_options)?;
    check_model(&app, r.model.as_deref())?;
    let mut active = ask(&app, &mut r)?;
    let token_ids = r.return_token_ids == Some(true);
    let frame = Frame {
        id,
        created: unix_now(),
        model: app.constants.model_name.clone(),
        chat: false,
        usage: StreamOptions::usage(r.stream_options),
        token_ids,
        named_tool: false,
    };
    if stream {
        return Ok(app.stream(active, frame));
    }
    let answers = active.collect(&app.text).await.map_err(Bad::from)?;
    let usage = active.usage();
    let choices = answers
        .into_iter()
        .zip(active.choices)
        .enumerate()
        .map(|(i, (said, c))| {
            let echo = c.echo.unwrap_or_default();
            wire::CompletionChoice {
                index: i as u32,
                logprobs: c
                    .candidates
                    .map(|_| logprobs::completion(&said.told, echo.chars().count())),
                text: echo + &said.text,
                finish_reason: c.end.map(|e| word(e).into()),
                stop_reason: c.plan.stop_reason,
                token_ids: token_ids.then_some(said.ids),
                prompt_token_ids: c.prompt_ids,
                ..Default::default()
            }
        })
        .collect();
    Ok(Json(wire::CompletionResponse {
        id: frame.id,
        object: "text_completion".into(),
        created: frame.created,
        model: frame.model,
        choices,
        usage: Some(usage),
        ..Default::default()
    })
    .into_response())
}
