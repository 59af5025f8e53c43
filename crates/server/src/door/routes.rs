//! Every request of the control interface: who may make it, and what it takes and gives. The one place that both
//! the guard and the description of the interface go by.

mod depot;
mod lab;

use axum::http::Method;
use bootgate_api::access::Role;
use bootgate_api::control::Forgotten;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// Who may make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody: it is how one gets in.
    Nothing,
    /// Who has this role at least.
    Role(Role),
}

/// A kind of request.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// As the router matches it.
    pub(super) path: &'static str,
    pub(super) needs: Needs,
    /// Of what the page is divided by.
    pub(super) about: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Query],
    pub(super) body: Option<Content>,
    pub(super) answer: (u16, Content),
    /// What else may be answered, beside what any request may be.
    pub(super) refusals: &'static [u16],
}

/// A parameter of a query.
pub(super) struct Query {
    pub(super) name: &'static str,
    /// `string`, `boolean` or `integer`.
    pub(super) kind: &'static str,
    pub(super) required: bool,
    pub(super) what: &'static str,
}

/// What is in a body.
pub(super) enum Content {
    /// JSON of this type.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A JSON document without a schema of its own.
    Document,
    /// Bytes of any kind.
    Bytes,
    /// Events: lines of JSON, or server-sent events where these are accepted.
    Events,
}

fn of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

const VIEWER: Needs = Needs::Role(Role::Viewer);
const OPERATOR: Needs = Needs::Role(Role::Operator);
const ADMIN: Needs = Needs::Role(Role::Admin);

const fn text(name: &'static str, what: &'static str) -> Query {
    Query {
        name,
        kind: "string",
        required: false,
        what,
    }
}

const fn flag(name: &'static str, what: &'static str) -> Query {
    Query {
        kind: "boolean",
        ..text(name, what)
    }
}

const fn number(name: &'static str, what: &'static str) -> Query {
    Query {
        kind: "integer",
        ..text(name, what)
    }
}

const fn get(path: &'static str, about: &'static str, summary: &'static str) -> Route {
    Route {
        method: "GET",
        path,
        needs: VIEWER,
        about,
        summary,
        query: &[],
        body: None,
        answer: (200, Content::Document),
        refusals: &[],
    }
}

const fn post(path: &'static str, about: &'static str, summary: &'static str) -> Route {
    Route {
        method: "POST",
        needs: OPERATOR,
        ..get(path, about, summary)
    }
}

const fn delete(path: &'static str, about: &'static str, summary: &'static str) -> Route {
    Route {
        method: "DELETE",
        needs: ADMIN,
        answer: (200, Content::Json(of::<Forgotten>)),
        refusals: &[404, 422, 507],
        ..get(path, about, summary)
    }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    lab::ROUTES.iter().chain(depot::ROUTES)
}

/// Who may make this request. What is not in the table is for administrators.
pub(super) fn needs(method: &Method, path: &str) -> Needs {
    let method = super::guard::as_get(method).as_str();
    let found = all().find(|route| route.method == method && route.path == path);
    found.map_or(ADMIN, |route| route.needs)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_request_stands_in_the_table_once() {
        let mut seen = HashSet::new();
        for route in all() {
            assert!(
                seen.insert((route.method, route.path)),
                "{} {}",
                route.method,
                route.path
            );
        }
    }
}
