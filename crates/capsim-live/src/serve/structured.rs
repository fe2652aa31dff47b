//! Answers of a form that the request demands: JSON, one of several texts, a tool's call. Their text is written beforehand; the engine
//! simulates one token per piece of it.
use super::{identity::mix, prompt::Bad, regex, schema};
use serde_json::{Value, json};
use std::sync::Arc;

/// Characters of a piece: about those of a token.
const PIECE: usize = 4;

/// An answer whose text is known beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The text of each token.
    pub pieces: Vec<String>,
    /// The tool that is called with the text as arguments.
    pub tool: Option<String>,
}

/// What an answer must be.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Wanted {
    /// Anything.
    #[default]
    Text,
    /// JSON that fits a schema.
    Json(Value),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text that an expression matches.
    Regex(String),
    /// A call of one of these tools: names, and schemas of their arguments.
    Tool(Vec<(String, Value)>),
    /// This text.
    Said(Arc<str>),
}

/// What `response_format`, the fields of vLLM for structured outputs, and `tools` demand.
pub struct Demands<'a> {
    /// `response_format`.
    pub response_format: Option<&'a Value>,
    /// `structured_outputs`, and `guided_json`, … of releases before 0.12.
    pub structured: Vec<(&'a str, &'a Value)>,
    /// `tools`.
    pub tools: &'a [Value],
    /// `tool_choice`.
    pub tool_choice: Option<&'a Value>,
    /// Whether the server was started with `--enable-auto-tool-choice` and a parser.
    pub parser: bool,
    /// Whether the last message is a tool's answer, after which one that may choose says something.
    pub answered: bool,
    /// Draws whether a tool is called that need not be.
    pub chance: u64,
}

/// Any JSON object.
fn any_object() -> Value {
    json!({"type": "object"})
}

impl Demands<'_> {
    /// What the answer must be.
    ///
    /// # Errors
    /// As vLLM refuses it (vllm 0.33.0: entrypoints/openai/chat_completion/protocol.py), or what cannot be simulated.
    pub fn wanted(&self) -> Result<Wanted, Bad> {
        let tools = self.tool()?;
        let constraints = usize::from(self.response_format.is_some_and(|f| f["type"] != "text"))
            + self.structured.len();
        if constraints > 1 {
            return Err("You can only use one kind of constraints for structured outputs ('json', 'regex' or 'choice').".into());
        }
        let wanted = match tools {
            Wanted::Text => self.constraint()?,
            tool => tool,
        };
        // Whether it can be satisfied is found out before the engine hears of it.
        wanted
            .text(1, false)
            .map_err(|e| Bad::of("response_format", e))?;
        Ok(wanted)
    }

    fn constraint(&self) -> Result<Wanted, Bad> {
        if let Some(format) = self.response_format {
            return match format["type"].as_str() {
                Some("text") => Ok(Wanted::Text),
                Some("json_object") => Ok(Wanted::Json(any_object())),
                Some("json_schema") => match format["json_schema"]
                    .get("schema")
                    .or_else(|| format["json_schema"].get("json_schema"))
                {
                    Some(schema) => Ok(Wanted::Json(schema.clone())),
                    None => Err(Bad::of(
                        "response_format",
                        "When response_format type is 'json_schema', the 'json_schema' field must be provided.",
                    )),
                },
                other => Err(Bad::of(
                    "response_format",
                    format!(
                        "response_format type `{}` is not simulated",
                        other.unwrap_or("null")
                    ),
                )),
            };
        }
        let Some((kind, value)) = self.structured.first() else {
            return Ok(Wanted::Text);
        };
        let bad = |must: &str| Bad::of("structured_outputs", format!("{kind}: must be {must}"));
        match *kind {
            "json" => Ok(Wanted::Json(match value {
                Value::String(text) => {
                    serde_json::from_str(text).map_err(|e| bad(&format!("a JSON schema: {e}")))?
                }
                schema => (*schema).clone(),
            })),
            "json_object" => Ok(if **value == Value::Bool(true) {
                Wanted::Json(any_object())
            } else {
                Wanted::Text
            }),
            "choice" => {
                let all: Option<Vec<String>> = value
                    .as_array()
                    .filter(|a| !a.is_empty())
                    .and_then(|a| a.iter().map(|v| v.as_str().map(String::from)).collect());
                all.map(Wanted::Choice)
                    .ok_or_else(|| bad("a list of texts"))
            }
            "regex" => value
                .as_str()
                .map(|r| Wanted::Regex(r.into()))
                .ok_or_else(|| bad("a regular expression")),
            other => Err(Bad::of(
                "structured_outputs",
                format!("`{other}` is not simulated: json, json_object, choice and regex are"),
            )),
        }
    }

    fn tool(&self) -> Result<Wanted, Bad> {
        let choice = match self.tool_choice {
            None | Some(Value::Null) if self.tools.is_empty() => return Ok(Wanted::Text),
            None | Some(Value::Null) => &json!("auto"),
            Some(c) => c,
        };
        if *choice == json!("none") {
            return Ok(Wanted::Text);
        }
        if self.tools.is_empty() {
            return Err(Bad::of(
                "tool_choice",
                "When using `tool_choice`, `tools` must be set.",
            ));
        }
        let all: Vec<(String, Value)> = self
            .tools
            .iter()
            .map(|t| {
                let f = t.get("function").unwrap_or(t);
                let name = f["name"].as_str().filter(|n| !n.is_empty());
                let name = name.ok_or_else(|| {
                    Bad::of("tools", "every tool must have a `function` with a `name`")
                })?;
                let schema = f
                    .get("parameters")
                    .or_else(|| f.get("input_schema"))
                    .filter(|p| p.is_object());
                Ok((name.to_string(), schema.cloned().unwrap_or_else(any_object)))
            })
            .collect::<Result<_, Bad>>()?;
        match choice {
            Value::String(s) if s == "required" => Ok(Wanted::Tool(all)),
            Value::String(s) if s == "auto" => {
                if !self.parser {
                    return Err(Bad::of(
                        "tool_choice",
                        "\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set",
                    ));
                }
                let calls = !self.answered && mix(self.chance).is_multiple_of(2);
                Ok(if calls {
                    Wanted::Tool(all)
                } else {
                    Wanted::Text
                })
            }
            Value::Object(o) => {
                let name = o.get("function").unwrap_or(choice)["name"]
                    .as_str()
                    .unwrap_or_default();
                let named: Vec<_> = all.into_iter().filter(|(n, _)| n == name).collect();
                match named.is_empty() {
                    true => Err(Bad::of(
                        "tool_choice",
                        "The tool specified in `tool_choice` does not match any of the specified `tools`",
                    )),
                    false => Ok(Wanted::Tool(named)),
                }
            }
            other => Err(Bad::of(
                "tool_choice",
                format!(
                    "Invalid value for `tool_choice`: {other}! Only named tools, \"none\", \"auto\" or \"required\" are supported."
                ),
            )),
        }
    }
}

impl Wanted {
    /// A text of this form and the tool that it is for; `least`: as short as it can be.
    fn text(&self, seed: u64, least: bool) -> Result<(String, Option<String>), String> {
        let json = |schema: &Value| schema::value(schema, seed, least).map(|v| v.to_string());
        Ok(match self {
            Wanted::Text => (String::new(), None),
            Wanted::Said(text) => (text.to_string(), None),
            Wanted::Json(schema) => (json(schema)?, None),
            Wanted::Choice(all) => (all[(mix(seed) % all.len() as u64) as usize].clone(), None),
            Wanted::Regex(pattern) => (regex::text(pattern, seed)?, None),
            Wanted::Tool(all) => {
                let (name, schema) = &all[(mix(seed ^ 0x746f_6f6c) % all.len() as u64) as usize];
                (json(schema)?, Some(name.clone()))
            }
        })
    }

    /// The answer to a request of at most `most` tokens, whose draw is `seed`. It always fits: where a token would have to be longer than
    /// usual for that, it is.
    pub fn script(&self, seed: u64, most: u32) -> Option<Script> {
        if *self == Wanted::Text {
            return None;
        }
        let room = most as usize * PIECE;
        let full = self
            .text(seed, false)
            .ok()
            .filter(|(t, _)| t.chars().count() <= room);
        let (text, tool) = full.or_else(|| self.text(seed, true).ok())?;
        let chars: Vec<char> = text.chars().collect();
        let size = PIECE.max(chars.len().div_ceil(most.max(1) as usize)).max(1);
        let mut pieces: Vec<String> = chars.chunks(size).map(|c| c.iter().collect()).collect();
        if pieces.is_empty() {
            pieces.push(String::new());
        }
        Some(Script { pieces, tool })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands<'a>(
        tools: &'a [Value],
        tool_choice: Option<&'a Value>,
        parser: bool,
    ) -> Demands<'a> {
        Demands {
            response_format: None,
            structured: vec![],
            tools,
            tool_choice,
            parser,
            answered: false,
            chance: 0,
        }
    }

    #[test]
    fn a_script_has_its_text_whatever_the_limit() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a", "b"]});
        let w = Wanted::Json(schema);
        for most in [1, 2, 5, 100] {
            for seed in 0..20 {
                let s = w.script(seed, most).unwrap();
                assert!(s.pieces.len() <= most as usize, "{s:?}");
                let v: Value = serde_json::from_str(&s.pieces.concat()).unwrap();
                assert!(v["a"].is_i64() && v["b"].is_string());
                assert_eq!(s, w.script(seed, most).unwrap());
            }
        }
        assert_eq!(Wanted::Text.script(1, 5), None);
    }

    #[test]
    fn tools_are_called_when_they_must_be_and_refused_as_vllm_refuses_them() {
        let tools = [
            json!({"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}),
        ];
        let required = json!("required");
        let named = json!({"type": "function", "function": {"name": "w"}});
        let other = json!({"type": "function", "function": {"name": "x"}});
        let auto = json!("auto");
        for choice in [&required, &named] {
            assert!(
                matches!(demands(&tools, Some(choice), false).wanted(), Ok(Wanted::Tool(t)) if t[0].0 == "w")
            );
        }
        let says = |choice, parser| {
            demands(&tools, choice, parser)
                .wanted()
                .unwrap_err()
                .message
        };
        assert!(says(None, false).contains("--enable-auto-tool-choice"));
        assert!(says(Some(&other), false).contains("does not match any"));
        assert!(demands(&[], Some(&auto), true).wanted().is_err());
        assert_eq!(demands(&[], None, true).wanted().unwrap(), Wanted::Text);
        assert!(demands(&tools, None, true).wanted().is_ok());
    }
}
