//! Why namespaces are refused, and what allows them.

use std::path::Path;

use crate::SandboxError;
use crate::protocol::Failure;

/// A reason for which unprivileged user namespaces do not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden {
    pub(crate) cause: String,
    pub(crate) fix: String,
}

/// Says why setting up the namespaces failed.
pub(crate) fn diagnose(failure: &Failure) -> SandboxError {
    let denied = matches!(
        failure.errno,
        Some(libc::EPERM | libc::EACCES | libc::ENOSPC | libc::EUSERS)
    );
    match Forbidden::find(Path::new("/proc/sys"), failure.errno) {
        Some(Forbidden { cause, fix }) if denied => {
            SandboxError::NamespacesForbidden { cause, fix }
        }
        _ => SandboxError::Setup {
            step: failure.action.clone(),
            source: failure.source(),
        },
    }
}

impl Forbidden {
    /// Looks for the setting that forbids user namespaces below `sysctls` (`/proc/sys`), given the error they failed
    /// with. `None` where the error says that the kernel lacks them or nothing is known.
    pub(crate) fn find(sysctls: &Path, errno: Option<i32>) -> Option<Self> {
        let value = |name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(sysctls.join(name)).ok()?;
            text.trim().parse().ok()
        };
        if value("kernel/unprivileged_userns_clone") == Some(0) {
            return Some(Self {
                cause: "kernel.unprivileged_userns_clone is 0".to_owned(),
                fix: "sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned(),
            });
        }
        if value("user/max_user_namespaces") == Some(0) {
            return Some(Self {
                cause: "user.max_user_namespaces is 0".to_owned(),
                fix: "sudo sysctl -w user.max_user_namespaces=15000".to_owned(),
            });
        }
        if value("kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value != 0) {
            return Some(Self {
                cause:
                    "AppArmor restricts them (kernel.apparmor_restrict_unprivileged_userns is 1)"
                        .to_owned(),
                fix: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned(),
            });
        }
        match errno {
            Some(libc::ENOSPC | libc::EUSERS) => Some(Self {
                cause: "the limit of user.max_user_namespaces or of their nesting is reached"
                    .to_owned(),
                fix: "sudo sysctl -w user.max_user_namespaces=15000".to_owned(),
            }),
            Some(libc::EPERM | libc::EACCES) => Some(Self {
                cause:
                    "a security policy of this host or container refuses them (seccomp, SELinux, \
                        or a chroot)"
                        .to_owned(),
                fix: "run as root, or in a container started with \
                      `--security-opt seccomp=unconfined --security-opt apparmor=unconfined`"
                    .to_owned(),
            }),
            _ => None,
        }
    }
}
