//! OCI registries: the part of the distribution specification that reads (version 1.1, "Pull").

use std::io::Read;
use std::path::PathBuf;

use bootgate_api::Sha256Hex;
use bootgate_api::artifact::digest_of_name;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::upload::Broken;
use super::web::{self, WebFile};
use crate::client::Trouble;

/// Longest manifest, in bytes: registries must take 4 MiB (distribution specification, "Pushing Manifests").
const MANIFEST_MAX: u64 = 4 << 20;
/// What is understood.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";
/// The annotation that tells a layer's file name (image specification, "Pre-Defined Annotation Keys").
const TITLE: &str = "org.opencontainers.image.title";

/// `oci://HOST/REPOSITORY:TAG`, or with a digest in place of the tag.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    host: String,
    repository: String,
    /// The tag, or `sha256:HEX`.
    wanted: String,
}

/// A layer, ready to be fetched.
pub(super) struct Layer {
    pub(super) manifest: Sha256Hex,
    pub(super) title: Option<String>,
    pub(super) sha256: Sha256Hex,
    pub(super) size: u64,
    pub(super) file: WebFile,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    /// As it can be asked for.
    fn shown(&self) -> String {
        let digest = format!("`{}`", self.digest);
        match (self.title(), &self.platform) {
            (Some(title), _) => format!("`{title}`"),
            (None, Some(of)) => format!("{digest} ({}/{})", of.os, of.architecture),
            (None, None) => digest,
        }
    }
}

impl Reference {
    fn read(text: &str) -> Result<Self, Trouble> {
        let wrong = |why: &str| {
            Trouble::usage(
                format!("`{text}` names nothing in a registry: {why}"),
                "as in oci://registry.example/team/live:7.1",
            )
        };
        let rest = text.strip_prefix("oci://").unwrap_or(text);
        let (host, rest) = rest
            .split_once('/')
            .ok_or_else(|| wrong("there is no repository in it"))?;
        let (repository, wanted) = match rest.split_once('@') {
            // A tag beside a digest says nothing more.
            Some((repository, digest)) => {
                let repository = repository.split(':').next().unwrap_or_default();
                digest_of_name(digest).ok_or_else(|| wrong("its digest is not sha256:HEX"))?;
                (repository, digest)
            }
            None => rest.rsplit_once(':').unwrap_or((rest, "latest")),
        };
        let plain = |text: &str, more: &[u8]| {
            let fits =
                |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b) || more.contains(&b);
            !text.is_empty() && text.bytes().all(fits)
        };
        if !plain(host, b":[]") || !plain(repository, b"/") || !plain(wanted, b":") {
            return Err(wrong("it has characters that no reference has"));
        }
        if repository
            .split('/')
            .any(|part| matches!(part, "" | "." | ".."))
        {
            return Err(wrong("its repository is none"));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            wanted: wanted.to_owned(),
        })
    }

    fn url(&self, kind: &str, what: &str) -> String {
        let Self {
            host, repository, ..
        } = self;
        // As other clients do: without TLS on this host only.
        let name = host
            .rsplit_once(':')
            .map_or(host.as_str(), |(name, _)| name);
        let scheme = match name {
            "localhost" | "127.0.0.1" | "[::1]" => "http",
            _ => "https",
        };
        format!("{scheme}://{host}/v2/{repository}/{kind}/{what}")
    }
}

/// Finds a layer. Blocks.
///
/// # Errors
/// The reference, the registry, or the choice of the layer is wrong.
pub(super) fn find(text: &str, layer: Option<&str>) -> Result<Layer, Trouble> {
    let reference = Reference::read(text)?;
    let failed = |broken: Broken| Trouble::infra(format!("read `{text}`: {}", broken.error), "");
    let (authorization, bytes) = manifest(&reference).map_err(failed)?;
    let found = Sha256Hex(Sha256::digest(&bytes).into());
    if let Some(expected) = digest_of_name(&reference.wanted)
        && expected != found
    {
        return Err(Trouble::infra(
            format!("read `{text}`: the registry gave the manifest sha256:{found}"),
            "the registry, or somebody on the way, is not to be trusted",
        ));
    }
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|error| Trouble::usage(format!("read the manifest of `{text}`: {error}"), ""))?;
    let listed = |all: &[Descriptor]| {
        let all: Vec<_> = all.iter().map(Descriptor::shown).collect();
        all.join(", ")
    };
    if manifest.layers.is_empty() && !manifest.manifests.is_empty() {
        return Err(Trouble::usage(
            format!("`{text}` is an index of several manifests"),
            format!("name one by its digest: {}", listed(&manifest.manifests)),
        ));
    }
    let fits = |one: &&Descriptor| {
        layer.is_none_or(|wanted| one.title() == Some(wanted) || one.digest == wanted)
    };
    let mut fitting = manifest.layers.iter().filter(fits);
    let (Some(one), None) = (fitting.next(), fitting.next()) else {
        let error = match layer {
            Some(layer) => format!("`{text}` has not exactly one layer `{layer}`"),
            None => format!("`{text}` has {} layers", manifest.layers.len()),
        };
        let hint = format!("--layer names one: {}", listed(&manifest.layers));
        return Err(Trouble::usage(error, hint));
    };
    let sha256 = digest_of_name(&one.digest).ok_or_else(|| {
        let error = format!("`{text}` has a layer with the digest `{}`", one.digest);
        Trouble::usage(error, "only sha256 is understood")
    })?;
    Ok(Layer {
        manifest: found,
        title: one.title().map(str::to_owned),
        sha256,
        size: one.size,
        file: WebFile {
            url: reference.url("blobs", &one.digest),
            authorization,
        },
    })
}

/// The manifest, and what the registry wants to hear from who asks.
fn manifest(reference: &Reference) -> Result<(Option<String>, Vec<u8>), Broken> {
    let url = reference.url("manifests", &reference.wanted);
    let ask = |authorization: Option<&str>| {
        let mut headers = vec![("accept", ACCEPT)];
        headers.extend(authorization.map(|value| ("authorization", value)));
        web::get(&url, &headers)
    };
    let mut answer = ask(None)?;
    let mut authorization = None;
    if answer.status() == StatusCode::UNAUTHORIZED {
        authorization = Some(authorize(reference, &answer)?);
        answer = ask(authorization.as_deref())?;
    }
    match answer.status() {
        StatusCode::OK => Ok((authorization, whole(answer)?)),
        status => Err(web::refused(status)),
    }
}

fn whole(answer: Response<Body>) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    let read = answer.into_body().into_reader().take(MANIFEST_MAX + 1);
    let read = { read }.read_to_end(&mut bytes);
    match read {
        Ok(_) if bytes.len() as u64 > MANIFEST_MAX => Err(Broken {
            error: format!("the answer has more than {MANIFEST_MAX} bytes"),
            passing: false,
        }),
        Ok(_) => Ok(bytes),
        Err(error) => Err(Broken {
            error: error.to_string(),
            passing: true,
        }),
    }
}

/// Does what the registry asks for (RFC 7235 and the token specification of registries): a token for everybody, or one for
/// the login that `docker login` or `podman login` stored.
fn authorize(reference: &Reference, answer: &Response<Body>) -> Result<String, Broken> {
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.and_then(|value| value.to_str().ok());
    let challenge = challenge.unwrap_or_default();
    let stored = stored_login(&reference.host);
    let Some(rest) = strip_word(challenge, "bearer") else {
        return stored
            .map(|login| format!("Basic {login}"))
            .ok_or_else(|| Broken {
                error: "the registry wants a login; docker login stores one".to_owned(),
                passing: false,
            });
    };
    let value = |name: &str| {
        let start = rest.find(&format!("{name}=\""))? + name.len() + 2;
        let rest = rest.get(start..)?;
        rest.get(..rest.find('"')?)
    };
    let realm = value("realm").unwrap_or_default();
    let escaped = bootgate_api::control::paths::escaped;
    let scope = format!("repository:{}:pull", reference.repository);
    let mut url = format!(
        "{realm}?scope={}",
        escaped(value("scope").unwrap_or(&scope))
    );
    if let Some(service) = value("service") {
        url.push_str(&format!("&service={}", escaped(service)));
    }
    let login = stored.map(|login| format!("Basic {login}"));
    // A login is shown to nobody without TLS but a registry of this host.
    let shown = login.as_deref().filter(|_| url.starts_with("https://"));
    let headers: Vec<_> = shown
        .map(|value| ("authorization", value))
        .into_iter()
        .collect();
    let answer = web::get(&url, &headers)?;
    if answer.status() != StatusCode::OK {
        return Err(web::refused(answer.status()));
    }
    #[derive(Deserialize)]
    struct Token {
        #[serde(alias = "access_token")]
        token: String,
    }
    let token: Token = serde_json::from_slice(&whole(answer)?).map_err(|error| Broken {
        error: format!("read the registry's token: {error}"),
        passing: false,
    })?;
    Ok(format!("Bearer {}", token.token))
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (first, rest) = text.split_once(' ')?;
    first.eq_ignore_ascii_case(word).then_some(rest)
}

/// `USER:PASSWORD` in base64, as `docker login` stores it.
fn stored_login(host: &str) -> Option<String> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")));
    let text = std::fs::read(folder?.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let login = config.get("auths")?.get(host)?.get("auth")?.as_str()?;
    (!login.is_empty()).then(|| login.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn references_are_read_and_nothing_else_is() {
        let read = |text: &str| {
            let read = Reference::read(text).ok()?;
            Some(read.url("manifests", &read.wanted))
        };
        let digest = format!("sha256:{}", Sha256Hex([7; 32]));
        for (text, url) in [
            (
                "oci://r.example/a/b:1",
                "https://r.example/v2/a/b/manifests/1",
            ),
            (
                "oci://r.example/a",
                "https://r.example/v2/a/manifests/latest",
            ),
            (
                "oci://localhost:5000/a:x",
                "http://localhost:5000/v2/a/manifests/x",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Some(url), "{text}");
        }
        let both = read(&format!("oci://r.example:8443/a:1@{digest}")).unwrap();
        assert_eq!(
            both,
            format!("https://r.example:8443/v2/a/manifests/{digest}")
        );
        for bad in [
            "oci://r.example",
            "oci:///a",
            "oci://r.example/",
            "oci://r.example/a/../b",
            "oci://r.example/a?b",
            "oci://u@r.example/a",
            "oci://r.example/a@sha256:12",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
