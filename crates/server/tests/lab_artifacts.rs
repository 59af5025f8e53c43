//! Artifacts and images while a lab runs: requests and refusals, and flashes whose image is replaced meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use bootgate_api::artifact::paths;
use bootgate_api::{Completion, FlashOrder, Sha256Hex, paths as agent};
use bootgate_server::control::{Control, Names};
use bootgate_store::{ArtifactStore, UploadLimits};
use bootgate_testkit::require_commands;
use laboratory::{Laboratory, MAC, order};
use serde_json::{Value, json};
use tower::ServiceExt;

const SIZE: u64 = 1 << 20;

struct Operator {
    router: Router,
}

impl Operator {
    fn of(lab: &Laboratory) -> Self {
        lab.store.set_upload_limits(UploadLimits {
            keep_free: 0,
            ..UploadLimits::default()
        });
        let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config));
        let router = control.router();
        Self { router }
    }

    async fn ask(&self, method: &str, path: &str, body: Body) -> (u16, Value, HeaderMap) {
        let request = Request::builder().method(method).uri(path).body(body);
        let answer = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap(), headers)
    }

    async fn json(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let (status, value, _) = self.ask(method, path, body.to_string().into()).await;
        (status, value)
    }

    /// A blob of these bytes; its digest.
    async fn upload(&self, bytes: &str) -> String {
        let (status, upload) = self.json("POST", paths::UPLOADS, json!({})).await;
        assert_eq!(status, 200, "{upload}");
        let id = upload["id"].as_str().unwrap();
        let part = format!("{}?offset=0", paths::upload(id));
        let (status, known, _) = self.ask("PATCH", &part, bytes.to_owned().into()).await;
        assert_eq!(
            (status, &known["offset"]),
            (200, &json!(bytes.len())),
            "{known}"
        );
        let (status, done) = self.json("POST", &paths::finish(id), json!({})).await;
        assert_eq!(status, 200, "{done}");
        done["blob"]["sha256"].as_str().unwrap().to_owned()
    }

    /// An image that differs by a number; the digest of its index.
    async fn image(&self, number: u8, replace: bool) -> String {
        let index = index(number);
        let (index, data) = (
            self.upload(&index).await,
            self.upload(&format!("data {number}")).await,
        );
        let order = json!({ "index": index, "data": data, "replace": replace });
        let (status, image) = self.json("PUT", &paths::image("fresh"), order).await;
        assert_eq!(status, 200, "{image}");
        index
    }
}

fn index(number: u8) -> String {
    let written = written(number);
    format!(
        r#"{{"schema":1,"size":{SIZE},"sector_size":512,"chunk_size":1048576,
        "image_sha256":"{}","chunks_sha256":"{}","chunks":["zero"]}}"#,
        Sha256Hex([number; 32]),
        written.chunks_sha256
    )
}

fn written(number: u8) -> Completion {
    Completion {
        chunks_sha256: Sha256Hex([number + 100; 32]),
        ..laboratory::completion()
    }
}

fn fresh() -> FlashOrder {
    FlashOrder {
        image: "fresh".to_owned(),
        ..order()
    }
}

/// Boots as far as the agent's plan; the nonce and the plan.
async fn begun(lab: &mut Laboratory) -> (bootgate_events::AttemptId, String) {
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let nonce = lab.nonce(MAC).await;
    lab.begin_flash(&nonce).await;
    let (code, plan) = lab.call(&agent::plan(&nonce), &[]).await;
    assert_eq!(code, "200", "{plan}");
    (nonce, plan)
}

#[tokio::test]
async fn a_flash_goes_on_with_the_image_that_it_began_with() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    assert!(
        lab.lab.arm_flash(&MAC, &fresh(), false).is_err(),
        "there is no such image"
    );
    let operator = Operator::of(&lab);
    let first = operator.image(1, false).await;
    lab.lab.arm_flash(&MAC, &fresh(), false).unwrap();
    let (status, refused) = operator
        .json("DELETE", &paths::image("fresh"), json!({}))
        .await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .contains(&MAC.to_string()),
        "{refused}"
    );
    let (nonce, plan) = begun(&mut lab).await;
    assert!(
        plan.contains(&format!("/artifacts/sha256:{first}")),
        "{plan}"
    );

    let second = operator.image(2, true).await;
    let (code, plan) = lab.call(&agent::plan(&nonce), &[]).await;
    assert_eq!(code, "200", "{plan}");
    assert!(plan.contains(&first) && !plan.contains(&second), "{plan}");
    let (code, index_1) = lab.call(&format!("/artifacts/sha256:{first}"), &[]).await;
    assert_eq!((code.as_str(), index_1), ("200", index(1)));
    let done = lab.post(&agent::complete(&nonce), &written(1)).await;
    assert_eq!(done.0, "200", "{}", done.1);
    lab.verdict().await;

    lab.lab.arm_flash(&MAC, &fresh(), false).unwrap();
    let (nonce, plan) = begun(&mut lab).await;
    assert!(plan.contains(&second), "{plan}");
    let done = lab.post(&agent::complete(&nonce), &written(2)).await;
    assert_eq!(done.0, "200", "{}", done.1);
}

#[tokio::test]
async fn images_of_the_store_outlive_a_restart() {
    require_commands!("curl");
    let lab = Laboratory::new().await;
    let index = Operator::of(&lab).image(1, false).await;
    lab.lab.arm_flash(&MAC, &fresh(), false).unwrap();
    let mut lab = lab.restart().await;
    let (_, plan) = begun(&mut lab).await;
    assert!(plan.contains(&index), "{plan}");
}

#[tokio::test]
async fn what_is_refused_says_why() {
    let lab = Laboratory::new().await;
    let operator = Operator::of(&lab);
    let (_, upload) = operator
        .json("POST", paths::UPLOADS, json!({ "size": 4 }))
        .await;
    let path = paths::upload(upload["id"].as_str().unwrap());
    let part = |offset: u64| format!("{path}?offset={offset}");
    let (status, _, headers) = operator.ask("PATCH", &part(3), "x".into()).await;
    assert_eq!(
        (status, headers[paths::UPLOAD_OFFSET].to_str().unwrap()),
        (409, "0")
    );
    let (status, _, _) = operator.ask("PATCH", &part(0), "ab".into()).await;
    assert_eq!(status, 200);
    let (status, _, _) = operator.ask("PATCH", &part(2), "cde".into()).await;
    assert_eq!(status, 413, "more than was ordered");
    let finish = paths::finish(upload["id"].as_str().unwrap());
    let (status, _, headers) = operator.ask("POST", &finish, "{}".into()).await;
    assert_eq!(
        (status, headers[paths::UPLOAD_OFFSET].to_str().unwrap()),
        (409, "2")
    );
    let (status, _, _) = operator.ask("PATCH", &part(2), "cd".into()).await;
    assert_eq!(status, 200);
    let wrong = json!({ "sha256": Sha256Hex([0; 32]) });
    assert_eq!(operator.json("POST", &finish, wrong).await.0, 422);
    assert_eq!(
        operator.json("POST", &finish, json!({})).await.0,
        404,
        "nothing was kept"
    );

    // A name of the configuration is its own.
    let (status, refused) = operator
        .json(
            "POST",
            paths::UPLOADS,
            json!({ "name": "images/debian/index.json" }),
        )
        .await;
    assert_eq!(status, 409, "{refused}");
    let order = json!({ "index": Sha256Hex([1; 32]), "data": Sha256Hex([1; 32]) });
    assert_eq!(
        operator
            .json("PUT", &paths::image("debian"), order.clone())
            .await
            .0,
        409
    );
    assert_eq!(
        operator
            .json("DELETE", &paths::image("debian"), json!({}))
            .await
            .0,
        409
    );
    assert_eq!(
        operator.json("PUT", &paths::image("x"), order).await.0,
        404,
        "no such blobs"
    );
    let no_index = operator.upload("{}").await;
    let order = json!({ "index": no_index, "data": no_index });
    assert_eq!(operator.json("PUT", &paths::image("x"), order).await.0, 422);
    let (_, images) = operator.json("GET", paths::IMAGES, json!({})).await;
    assert_eq!(images.as_array().unwrap().len(), 1, "{images}");

    let limits = |keep_free, size| {
        let usual = UploadLimits::default();
        lab.store.set_upload_limits(UploadLimits {
            keep_free,
            size,
            ..usual
        });
    };
    limits(u64::MAX, u64::MAX);
    assert_eq!(
        operator.json("POST", paths::UPLOADS, json!({})).await.0,
        507
    );
    limits(0, 10);
    assert_eq!(
        operator
            .json("POST", paths::UPLOADS, json!({ "size": 11 }))
            .await
            .0,
        413
    );
    // Who has a blob whose file is gone brings it again.
    limits(0, 1 << 20);
    let digest = operator.upload("again").await;
    std::fs::remove_file(lab.store.blob_path(&digest.parse().unwrap())).unwrap();
    let name = json!({ "sha256": digest });
    assert_eq!(
        operator
            .json("PUT", &paths::artifact("a"), name.clone())
            .await
            .0,
        404
    );
    operator.upload("again").await;
    assert_eq!(
        operator.json("PUT", &paths::artifact("a"), name).await.0,
        200
    );
}
