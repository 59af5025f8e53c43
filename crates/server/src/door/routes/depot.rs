//! What is asked of artifacts, uploads and images.

use bootgate_api::artifact as api;
use bootgate_api::control::Forgotten;

use super::{ADMIN, Content, OPERATOR, Query, Route, delete, get, number, of, post, text};

/// What a change of artifacts may be refused with.
const REFUSALS: &[u16] = &[404, 409, 422, 501, 507];

const fn put(path: &'static str, about: &'static str, summary: &'static str) -> Route {
    Route {
        method: "PUT",
        refusals: REFUSALS,
        ..post(path, about, summary)
    }
}

pub(super) const ROUTES: &[Route] = &[
    Route {
        query: &[
            text("prefix", "whose names begin with this"),
            text("after", "whose names come after this one"),
            number("limit", "at most so many"),
        ],
        answer: (200, Content::Json(of::<Vec<api::ArtifactInfo>>)),
        refusals: &[501],
        ..get("/api/v1/artifacts", "artifacts", "List artifacts")
    },
    Route {
        answer: (200, Content::Json(of::<api::ArtifactInfo>)),
        refusals: &[404, 501],
        ..get("/api/v1/artifacts/{name}", "artifacts", "Show an artifact")
    },
    Route {
        body: Some(Content::Json(of::<api::NameOrder>)),
        answer: (200, Content::Json(of::<api::ArtifactInfo>)),
        ..put(
            "/api/v1/artifacts/{name}",
            "artifacts",
            "Give a blob that is there a name",
        )
    },
    Route {
        refusals: REFUSALS,
        ..delete(
            "/api/v1/artifacts/{name}",
            "artifacts",
            "Take an artifact's name away, or an alias",
        )
    },
    Route {
        answer: (200, Content::Bytes),
        refusals: &[404, 501],
        ..get(
            "/api/v1/artifacts/{name}/content",
            "artifacts",
            "An artifact's bytes",
        )
    },
    Route {
        body: Some(Content::Json(of::<api::AliasOrder>)),
        answer: (200, Content::Json(of::<api::ArtifactInfo>)),
        ..put(
            "/api/v1/aliases/{name}",
            "artifacts",
            "Let a name stand for another one",
        )
    },
    Route {
        needs: ADMIN,
        body: Some(Content::Json(of::<api::CollectOrder>)),
        answer: (200, Content::Json(of::<api::Collected>)),
        refusals: REFUSALS,
        ..post(
            "/api/v1/collect",
            "artifacts",
            "Remove blobs that nothing stands for",
        )
    },
    Route {
        answer: (200, Content::Json(of::<Vec<api::UploadInfo>>)),
        refusals: &[501],
        ..get("/api/v1/uploads", "uploads", "List uploads")
    },
    Route {
        body: Some(Content::Json(of::<api::UploadOrder>)),
        answer: (200, Content::Json(of::<api::UploadInfo>)),
        refusals: REFUSALS,
        ..post(
            "/api/v1/uploads",
            "uploads",
            "Begin an upload, or find the one that was begun",
        )
    },
    Route {
        answer: (200, Content::Json(of::<api::UploadInfo>)),
        refusals: &[404, 501],
        ..get(
            "/api/v1/uploads/{id}",
            "uploads",
            "Show how far an upload is",
        )
    },
    Route {
        method: "PATCH",
        query: &[Query {
            required: true,
            ..number("offset", "where the bytes begin: at the upload's offset")
        }],
        body: Some(Content::Bytes),
        answer: (200, Content::Json(of::<api::UploadInfo>)),
        refusals: &[404, 408, 409, 422, 501, 507],
        ..post("/api/v1/uploads/{id}", "uploads", "Send the next bytes")
    },
    Route {
        needs: OPERATOR,
        answer: (200, Content::Json(of::<Forgotten>)),
        refusals: REFUSALS,
        ..delete("/api/v1/uploads/{id}", "uploads", "Give an upload up")
    },
    Route {
        body: Some(Content::Json(of::<api::UploadEnd>)),
        answer: (200, Content::Json(of::<api::Uploaded>)),
        refusals: REFUSALS,
        ..post(
            "/api/v1/uploads/{id}/finish",
            "uploads",
            "Finish an upload: the digest is compared, and the name given",
        )
    },
    Route {
        answer: (200, Content::Json(of::<Vec<api::ImageInfo>>)),
        refusals: &[501],
        ..get("/api/v1/images", "images", "List images")
    },
    Route {
        answer: (200, Content::Json(of::<api::ImageInfo>)),
        refusals: &[404, 501],
        ..get("/api/v1/images/{name}", "images", "Show an image")
    },
    Route {
        body: Some(Content::Json(of::<api::ImageOrder>)),
        answer: (200, Content::Json(of::<api::ImageInfo>)),
        ..put(
            "/api/v1/images/{name}",
            "images",
            "Make an image of two blobs that are there",
        )
    },
    Route {
        refusals: REFUSALS,
        ..delete("/api/v1/images/{name}", "images", "Remove an image")
    },
];
