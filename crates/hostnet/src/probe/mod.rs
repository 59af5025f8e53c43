//! What this host allows, found by trying.

mod attempt;

use std::path::Path;

use crate::sandbox::{Forbidden, new_user_namespace};
use attempt::{Attempt, Step};

/// One thing a run needs or profits from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Short name: `user-namespaces`, `namespaces`, `bridge`, `veth`, `packet-socket`, `tun`.
    pub name: &'static str,
    /// Whether it works.
    pub ok: bool,
    /// Whether a run needs it; otherwise there is another way.
    pub required: bool,
    /// What was found, in words.
    pub detail: String,
    /// The exact command or change that makes it work, where it does not.
    pub fix: Option<String>,
}

/// Tries everything a sandbox needs in forked children and says what works. Leaves nothing behind; takes a few tens of
/// milliseconds; may be called with threads running.
#[must_use]
pub fn findings() -> Vec<Finding> {
    let ordinary_user = new_user_namespace();
    let users = Attempt::make(true, &[Step::Maps]);
    let all = Attempt::make(
        ordinary_user,
        &[
            Step::Maps,
            Step::Bridge,
            Step::Veth,
            Step::PacketSocket,
            Step::Tun,
        ],
    );
    let tun = all.result(Step::Tun).is_ok();
    vec![
        user_namespaces(users.result(Step::Maps), ordinary_user),
        namespaces(all.result(Step::Maps), ordinary_user),
        module("bridge", all.result(Step::Bridge), true, "bridge"),
        module("veth", all.result(Step::Veth), !tun, "veth"),
        module(
            "packet-socket",
            all.result(Step::PacketSocket),
            true,
            "af_packet",
        ),
        tun_device(all.result(Step::Tun)),
    ]
}

/// How a step went: an error number, or `None` where it was not reached.
type Outcome = Result<(), Option<i32>>;

fn in_words(errno: Option<i32>) -> String {
    match errno {
        Some(errno) => std::io::Error::from_raw_os_error(errno).to_string(),
        None => "not tried, because namespaces cannot be made".to_owned(),
    }
}

fn user_namespaces(outcome: Outcome, required: bool) -> Finding {
    let (detail, fix) = match outcome {
        Ok(()) => ("an ordinary user can make user namespaces".to_owned(), None),
        Err(errno) => match Forbidden::find(Path::new("/proc/sys"), errno) {
            Some(found) => (found.cause, Some(found.fix)),
            None => (
                in_words(errno),
                Some("use a kernel built with CONFIG_USER_NS=y, or run as root".to_owned()),
            ),
        },
    };
    Finding {
        name: "user-namespaces",
        ok: outcome.is_ok(),
        required,
        detail,
        fix,
    }
}

fn namespaces(outcome: Outcome, ordinary_user: bool) -> Finding {
    let (detail, fix) = match outcome {
        Ok(()) => (
            "network, PID, mount, IPC and UTS namespaces can be made".to_owned(),
            None,
        ),
        Err(errno) if ordinary_user => (
            in_words(errno),
            Some("allow user namespaces first; see `user-namespaces`".to_owned()),
        ),
        Err(errno) => (
            in_words(errno),
            Some("start the container with `--cap-add SYS_ADMIN --cap-add NET_ADMIN`".to_owned()),
        ),
    };
    Finding {
        name: "namespaces",
        ok: outcome.is_ok(),
        required: true,
        detail,
        fix,
    }
}

/// Something the kernel has, or has in a module.
fn module(name: &'static str, outcome: Outcome, required: bool, module: &str) -> Finding {
    let (detail, fix) = match outcome {
        Ok(()) => ("works".to_owned(), None),
        Err(None) => (in_words(None), None),
        Err(errno) => (in_words(errno), Some(format!("sudo modprobe {module}"))),
    };
    Finding {
        name,
        ok: outcome.is_ok(),
        required,
        detail,
        fix,
    }
}

fn tun_device(outcome: Outcome) -> Finding {
    let fix = match outcome {
        Ok(()) | Err(None) => None,
        Err(Some(libc::ENOENT | libc::ENODEV | libc::ENXIO)) => {
            Some("sudo modprobe tun".to_owned())
        }
        Err(Some(_)) => Some("sudo chmod 0666 /dev/net/tun".to_owned()),
    };
    Finding {
        name: "tun",
        ok: outcome.is_ok(),
        required: false,
        detail: match outcome {
            Ok(()) => "/dev/net/tun can be used".to_owned(),
            Err(errno) => format!(
                "/dev/net/tun: {}; links are made of veth pairs and packet sockets instead",
                in_words(errno)
            ),
        },
        fix,
    }
}
