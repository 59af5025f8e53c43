//! The interface's description, an OpenAPI 3.1 document.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use bootgate_api::access::{CSRF_HEADER, Role};
use bootgate_api::control::{EVENT_STREAM, JSON_LINES, Problem};

use super::SESSION_COOKIE;
use super::routes::{self, Content, Needs, Route};

/// The document.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let problem = schemas.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in routes::all() {
        let item = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            let operation = operation(route, &mut schemas);
            item.insert(route.method.to_lowercase(), operation);
        }
    }
    let definitions = schemas.take_definitions(true);
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "bootgate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What operators ask a boot server. Times are microseconds since 1970-01-01 00:00 UTC.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `bootgate token new` or `bootgate login`.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION_COOKIE,
                    "description": format!("The cookie of a login. Requests that change something carry its `csrf` in the header `{CSRF_HEADER}`."),
                },
            },
            "schemas": definitions,
            "responses": {
                "Problem": {
                    "description": "It was not done: why, and what to do.",
                    "content": { "application/json": { "schema": problem } },
                },
            },
        },
    });
    plain(&mut document);
    document
}

/// Takes links to the sources out of the words: they lead nowhere from here.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(words) if name == "description" => *words = unlinked(words),
                    value => plain(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(plain),
        _ => {}
    }
}

/// `WORD` for a link of Rust's documentation: the word in brackets, with its target behind it or without.
fn unlinked(words: &str) -> String {
    let mut rest = words;
    let mut out = String::with_capacity(words.len());
    while let Some((before, behind)) = rest.split_once("[`") {
        let Some((word, behind)) = behind.split_once("`]") else {
            break;
        };
        let word = word.rsplit("::").next().unwrap_or(word);
        out.push_str(&format!("{before}`{word}`"));
        rest = match behind.strip_prefix('(') {
            Some(target) => target.split_once(')').map_or(behind, |(_, rest)| rest),
            None => behind,
        };
    }
    out + rest
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": id(route),
        "summary": route.summary,
        "tags": [route.about],
        "parameters": parameters(route),
        "responses": responses(route, schemas),
    });
    let Value::Object(fields) = &mut operation else {
        return operation;
    };
    match route.needs {
        Needs::Nothing => {
            fields.insert("security".to_owned(), json!([]));
        }
        Needs::Role(role) => {
            let able: Vec<_> = Role::ALL.into_iter().filter(|one| *one >= role).collect();
            fields.insert("x-role".to_owned(), json!(role));
            let words = format!("For {}.", words(&able));
            fields.insert("description".to_owned(), json!(words));
        }
    }
    if let Some(body) = &route.body {
        let content = content(body, schemas);
        fields.insert(
            "requestBody".to_owned(),
            // An empty body stands for `{}`.
            json!({ "required": !may_be_empty(body), "content": content }),
        );
    }
    operation
}

/// Whether nothing in the body has to be said.
fn may_be_empty(body: &Content) -> bool {
    let Content::Json(schema) = body else {
        return true;
    };
    let mut alone = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    schema(&mut alone).get("required").is_none()
}

fn words(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| format!("`{role}`")).collect();
    names.join(", ")
}

/// `get-machines-who` for `GET /api/v1/machines/{who}`.
fn id(route: &Route) -> String {
    let words = route.path.split('/').skip(3);
    let words: Vec<_> = words
        .map(|word| word.trim_matches(['{', '}', '*']).replace('.', "-"))
        .collect();
    format!("{}-{}", route.method.to_lowercase(), words.join("-"))
}

fn parameters(route: &Route) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|word| {
        let name = word.strip_prefix('{')?.strip_suffix('}')?;
        let name = name.trim_start_matches('*');
        Some(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string", "minLength": 1 },
        }))
    });
    let in_query = route.query.iter().map(|query| {
        let mut schema = json!({ "type": query.kind });
        if query.kind == "integer" {
            schema = json!({ "type": "integer", "format": "uint64", "minimum": 0 });
        }
        json!({
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": query.what,
            "schema": schema,
        })
    });
    let resumes = matches!(route.answer.1, Content::Events).then(|| {
        json!({
            "name": "last-event-id",
            "in": "header",
            "required": false,
            "description": "With server-sent events: the `id` of the last one that came; the rest follows.",
            "schema": { "type": "string" },
        })
    });
    in_path.chain(in_query).chain(resumes).collect()
}

fn responses(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let (status, answer) = &route.answer;
    let mut responses = Map::new();
    responses.insert(
        status.to_string(),
        json!({ "description": "Done.", "content": content(answer, schemas) }),
    );
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    // 400: not to be read; 413: a body too large; 500, 503: the server's fault.
    let usual = [400, 401, 413, 429, 500, 503];
    let role = matches!(route.needs, Needs::Role(_)) || route.method != "GET";
    for status in usual
        .iter()
        .chain(route.refusals)
        .chain(role.then_some(&403))
    {
        responses.insert(status.to_string(), problem.clone());
    }
    Value::Object(responses)
}

fn content(content: &Content, schemas: &mut SchemaGenerator) -> Value {
    match content {
        Content::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Content::Document => json!({ "application/json": { "schema": { "type": "object" } } }),
        Content::Bytes => json!({ "*/*": {} }),
        Content::Events => json!({
            JSON_LINES: { "schema": { "type": "string" } },
            EVENT_STREAM: { "schema": { "type": "string" } },
        }),
    }
}
