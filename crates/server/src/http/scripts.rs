//! Boot scripts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use bootgate_api::paths;
use bootgate_events::{ArtifactRole, AttemptId, EventKind, MacAddr, Protocol};
use bootgate_netboot::script::{
    Initrd, IpxeScript, ScriptError, render_custom, render_exit, render_ipxe,
};

use super::Asked;
use super::connection::Peer;
use super::reply::Reply;
use crate::context::Context;
use crate::transfers::{Sending, TransferEvents};
use crate::{ArtifactName, MachineBoot, ScriptBoot};

/// `GET` and `HEAD` of a machine's boot script.
pub(super) async fn serve(
    State(context): State<Arc<Context>>,
    Path(mac): Path<String>,
    peer: Peer,
    method: Method,
    uri: Uri,
) -> Reply {
    let mut asked = Asked::new(&context, peer, uri.path(), ArtifactRole::Script);
    let mac: MacAddr = match mac.parse() {
        Ok(mac) => mac,
        Err(error) => return asked.refuse(StatusCode::NOT_FOUND, format!("{error}")),
    };
    if let Some(holder) = asked.mac.filter(|holder| *holder != mac) {
        let reason = format!("the script is for {mac}, and {holder} asks for it");
        return asked.refuse(StatusCode::FORBIDDEN, reason);
    }
    asked.mac = Some(mac);
    let script = match render(&context, &mac, method == Method::GET) {
        None => return asked.refuse(StatusCode::NOT_FOUND, format!("{mac} is not known here")),
        Some(Err(error)) => {
            return asked.refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}"));
        }
        Some(Ok(script)) => script,
    };
    let length = script.text.len() as u64;
    if method == Method::HEAD {
        let reply = Reply::new(StatusCode::OK, Body::empty(), length);
        return reply.header(CONTENT_TYPE, "text/plain");
    }
    if let Some(earlier) = script.earlier {
        context.emit(Some(mac), EventKind::ScriptServed { mac, earlier });
    }
    let sending = Sending {
        mac: asked.mac,
        protocol: Protocol::Http,
        role: ArtifactRole::Script,
        path: asked.path,
        peer: asked.peer,
        size: length,
        detail: String::new(),
    };
    let events = TransferEvents::start(&context, sending);
    Reply::bytes(StatusCode::OK, "text/plain", script.text.into()).transfer(events)
}

struct Rendered {
    text: String,
    /// How often it was given out before; `None` for a script that boots nothing.
    earlier: Option<u32>,
}

/// The script of a machine; `None` where the machine is unknown. `count` says whether it is given out.
fn render(context: &Context, mac: &MacAddr, count: bool) -> Option<Result<Rendered, ScriptError>> {
    let mut machines = context.machines.lock();
    let armed = machines.get_mut(mac)?;
    let (MachineBoot::Script(boot), true) = (&armed.config.boot, armed.netboot) else {
        let text = render_exit("nothing to boot from the network");
        return Some(text.map(|text| Rendered {
            text,
            earlier: None,
        }));
    };
    let script = script(context, boot, &armed.attempt);
    let text = match &boot.custom_script {
        Some(template) => render_custom(template, &script),
        None => render_ipxe(&script),
    };
    let earlier = armed.scripts_served;
    if text.is_ok() && count {
        armed.scripts_served += 1;
    }
    Some(text.map(|text| Rendered {
        text,
        earlier: Some(earlier),
    }))
}

fn script(context: &Context, boot: &ScriptBoot, nonce: &AttemptId) -> IpxeScript {
    let base = context.base_url();
    let url = |name: &ArtifactName| format!("{base}{}", paths::artifact(name.as_str()));
    let initrds = boot.initrds.iter().enumerate();
    IpxeScript {
        kernel_url: url(&boot.kernel),
        initrds: initrds
            .map(|(index, name)| Initrd {
                name: format!("initrd{index}"),
                url: url(name),
            })
            .collect(),
        cmdline: boot.cmdline.clone(),
        nonce: nonce.clone(),
        server_url: base.clone(),
    }
}
