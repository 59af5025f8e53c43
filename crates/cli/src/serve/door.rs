//! The network door of a server that runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use bootgate_server::door::{AccountError, Accounts, Door, DoorError};

use super::config::Settings;
use super::holders;
use super::resolve::Unusable;

/// The users and tokens of the state, which belongs to this process already.
pub(super) fn accounts(state: &Path) -> Result<Arc<Accounts>, Unusable> {
    match Accounts::open(state) {
        Ok(accounts) => Ok(Arc::new(accounts)),
        Err(error) => Err(Unusable {
            error: error.to_string(),
            hint: match error {
                AccountError::Unreadable { .. } => {
                    "mend the file, or move it away and add users and tokens anew".to_owned()
                }
                _ => String::new(),
            },
        }),
    }
}

/// Opens the door where the configuration says so.
pub(super) async fn open(
    settings: &Settings,
    accounts: Arc<Accounts>,
    router: Router,
) -> Result<Option<Door>, Unusable> {
    if settings.api.listen.is_empty() {
        return Ok(None);
    }
    let door = Door::start(settings.api.clone(), accounts, router).await;
    door.map(Some).map_err(|error| Unusable {
        hint: hint(&error),
        error: error.to_string(),
    })
}

fn hint(error: &DoorError) -> String {
    let DoorError::Listen { address, error } = error else {
        return "[api] names certificate and key".to_owned();
    };
    match error.kind() {
        std::io::ErrorKind::AddrInUse => match holders::holders(address.port(), true).as_slice() {
            [] => "another program has the port: name another one in [api] listen".to_owned(),
            some => format!(
                "{} has the port: stop it, or name another one in [api] listen",
                some.join(" and ")
            ),
        },
        std::io::ErrorKind::AddrNotAvailable => {
            "this host does not have the address: `ip address` shows which it has".to_owned()
        }
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need root, or the capability NET_BIND_SERVICE".to_owned()
        }
        _ => String::new(),
    }
}

/// Where the door is, for people.
pub(super) fn said(settings: &Settings, addresses: &[SocketAddr]) -> Vec<String> {
    let scheme = if settings.api.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let urls = addresses.iter();
    urls.map(|address| format!("control interface on {scheme}://{address}, for users and tokens"))
        .collect()
}

/// What to do where nobody can come in yet.
pub(super) fn nobody(accounts: &Accounts) -> Option<&'static str> {
    accounts.is_empty().then_some(
        "nobody can log in over the network yet: `bootgate user add NAME --role admin`, or `bootgate token new`",
    )
}
