//! What is asked of machines, leases, attempts and the server.

use bootgate_api::access;
use bootgate_api::control as api;
use bootgate_api::{Attempt, Explanation, Lease, Machine};

use super::{
    ADMIN, Content, Needs, Query, Route, VIEWER, delete, flag, get, number, of, post, text,
};

const MACHINE: Query = text(
    "machine",
    "of this machine: its hardware address or its name",
);

/// Machines, leases, attempts, the server itself, and who may ask it.
pub(super) const ROUTES: &[Route] = &[
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
