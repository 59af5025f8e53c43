//! Every request of the control interface: who may make it, and what it takes and gives. The one place that both
//! the guard and the description of the interface go by.

use axum::http::Method;
use bootgate_api::access::{self, Role};
use bootgate_api::control as api;
use bootgate_api::{Attempt, Explanation, Lease, Machine};
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

const MACHINE: Query = text(
    "machine",
    "of this machine: its hardware address or its name",
);

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
        answer: (200, Content::Json(of::<api::Forgotten>)),
        refusals: &[404, 422, 507],
        ..get(path, about, summary)
    }
}

/// All of them.
pub(super) static ROUTES: &[Route] = &[
    Route {
        query: &[
            text("mode", "in this boot mode"),
            text("label", "with these labels: `K=V` or `K`, joined by commas"),
        ],
        answer: (200, Content::Json(of::<Vec<Machine>>)),
        ..get("/api/v1/machines", "machines", "List machines")
    },
    Route {
        answer: (200, Content::Json(of::<Machine>)),
        refusals: &[404],
        ..get("/api/v1/machines/{who}", "machines", "Show a machine")
    },
    Route {
        method: "PATCH",
        body: Some(Content::Json(of::<api::MachineUpdate>)),
        answer: (200, Content::Json(of::<Machine>)),
        refusals: &[404, 409, 422, 507],
        ..post(
            "/api/v1/machines/{who}",
            "machines",
            "Change a machine, which becomes known where it was not",
        )
    },
    Route {
        method: "PUT",
        body: Some(Content::Json(of::<api::MachineUpdate>)),
        answer: (200, Content::Json(of::<Machine>)),
        refusals: &[404, 409, 422, 507],
        ..post(
            "/api/v1/machines/{who}",
            "machines",
            "Change a machine, as PATCH does",
        )
    },
    Route {
        ..delete(
            "/api/v1/machines/{who}",
            "machines",
            "Forget a machine; its attempts stay",
        )
    },
    Route {
        body: Some(Content::Json(of::<api::ArmFlash>)),
        answer: (200, Content::Json(of::<Machine>)),
        refusals: &[404, 409, 422, 507],
        ..post("/api/v1/machines/{who}/arm", "machines", "Order a flash")
    },
    Route {
        answer: (200, Content::Json(of::<Machine>)),
        refusals: &[404, 409, 422, 507],
        ..post(
            "/api/v1/machines/{who}/retry",
            "machines",
            "Let a machine try again after too many tries that failed",
        )
    },
    Route {
        body: Some(Content::Json(of::<api::WakeOrder>)),
        answer: (200, Content::Json(of::<api::Woken>)),
        refusals: &[404, 409, 422, 501],
        ..post(
            "/api/v1/machines/{who}/wake",
            "machines",
            "Send Wake-on-LAN packets",
        )
    },
    Route {
        query: &[MACHINE],
        answer: (200, Content::Json(of::<Vec<Lease>>)),
        refusals: &[404],
        ..get("/api/v1/leases", "leases", "List leases")
    },
    Route {
        ..delete("/api/v1/leases/{ip}", "leases", "Forget a lease")
    },
    Route {
        query: &[
            MACHINE,
            flag("open", "only those without a verdict"),
            text("before", "only those before this one"),
            number(
                "limit",
                "at most so many; 100 where nothing is said, and 10000 at most",
            ),
        ],
        answer: (200, Content::Json(of::<Vec<Attempt>>)),
        refusals: &[404],
        ..get(
            "/api/v1/attempts",
            "attempts",
            "List boot attempts, latest first",
        )
    },
    Route {
        answer: (200, Content::Json(of::<Attempt>)),
        refusals: &[404],
        ..get(
            "/api/v1/attempts/{id}",
            "attempts",
            "Show an attempt, or the latest of a machine",
        )
    },
    Route {
        query: &[
            number("from", "from this number on"),
            flag("follow", "new ones too, until the attempt has its verdict"),
        ],
        answer: (200, Content::Events),
        refusals: &[404],
        ..get(
            "/api/v1/attempts/{id}/events",
            "attempts",
            "The events of an attempt",
        )
    },
    Route {
        query: &[MACHINE],
        answer: (200, Content::Events),
        refusals: &[404, 409],
        ..get(
            "/api/v1/events",
            "attempts",
            "Every event from now on, until the server stops",
        )
    },
    Route {
        query: &[
            Query {
                required: true,
                ..text("machine", "the machine: its hardware address or its name")
            },
            text(
                "as",
                "how it asks: `arch=7`, `class=PXEClient`, `ip=6`, `interface=eth1`, `relay=10.0.8.1`, joined by commas",
            ),
        ],
        answer: (200, Content::Json(of::<Explanation>)),
        refusals: &[404, 422],
        ..get(
            "/api/v1/explain",
            "machines",
            "Why a machine gets its reply",
        )
    },
    Route {
        answer: (200, Content::Json(of::<api::Status>)),
        ..get("/api/v1/status", "server", "How the server is")
    },
    Route {
        needs: ADMIN,
        body: Some(Content::Json(of::<api::Backup>)),
        answer: (200, Content::Json(of::<api::Backup>)),
        refusals: &[422, 507],
        ..post(
            "/api/v1/backup",
            "server",
            "Write a copy of everything that is stored, on the server's host",
        )
    },
    Route {
        needs: ADMIN,
        answer: (200, Content::Json(of::<api::Reloaded>)),
        refusals: &[422, 501],
        ..post(
            "/api/v1/reload",
            "server",
            "Read the configuration again, and say what changed",
        )
    },
    Route {
        ..get("/api/v1/openapi.json", "server", "This document")
    },
    Route {
        needs: ADMIN,
        answer: (200, Content::Json(of::<Vec<access::User>>)),
        ..get("/api/v1/users", "access", "List users")
    },
    Route {
        needs: ADMIN,
        body: Some(Content::Json(of::<access::NewUser>)),
        answer: (201, Content::Json(of::<access::User>)),
        refusals: &[409, 422, 507],
        ..post("/api/v1/users", "access", "Add a user")
    },
    Route {
        method: "PATCH",
        needs: ADMIN,
        body: Some(Content::Json(of::<access::UserChange>)),
        answer: (200, Content::Json(of::<access::User>)),
        refusals: &[404, 422, 507],
        ..post(
            "/api/v1/users/{name}",
            "access",
            "Change a user's role or password",
        )
    },
    Route {
        ..delete(
            "/api/v1/users/{name}",
            "access",
            "Remove a user, and the tokens of their logins",
        )
    },
    Route {
        needs: ADMIN,
        answer: (200, Content::Json(of::<Vec<access::Token>>)),
        ..get(
            "/api/v1/tokens",
            "access",
            "List tokens, without their texts",
        )
    },
    Route {
        needs: ADMIN,
        body: Some(Content::Json(of::<access::NewToken>)),
        answer: (201, Content::Json(of::<access::MadeToken>)),
        refusals: &[409, 422, 507],
        ..post(
            "/api/v1/tokens",
            "access",
            "Make a token; its text is shown this one time",
        )
    },
    Route {
        ..delete("/api/v1/tokens/{name}", "access", "End a token")
    },
    Route {
        needs: Needs::Nothing,
        body: Some(Content::Json(of::<access::Login>)),
        answer: (200, Content::Json(of::<access::Session>)),
        ..post(
            "/api/v1/login",
            "access",
            "Log in for a session, which the answer's cookie stands for",
        )
    },
    Route {
        needs: Needs::Nothing,
        body: Some(Content::Json(of::<access::LoginForToken>)),
        answer: (201, Content::Json(of::<access::MadeToken>)),
        refusals: &[409, 422, 507],
        ..post(
            "/api/v1/login/token",
            "access",
            "Log in for a token of one's own role",
        )
    },
    Route {
        needs: VIEWER,
        answer: (200, Content::Json(of::<api::Forgotten>)),
        ..post("/api/v1/logout", "access", "End the session")
    },
    Route {
        answer: (200, Content::Json(of::<access::Session>)),
        ..get("/api/v1/whoami", "access", "Who asks, and what they may do")
    },
];

/// Who may make this request. What is not in the table is for administrators.
pub(super) fn needs(method: &Method, path: &str) -> Needs {
    let method = super::guard::as_get(method).as_str();
    let found = ROUTES
        .iter()
        .find(|route| route.method == method && route.path == path);
    found.map_or(ADMIN, |route| route.needs)
}
