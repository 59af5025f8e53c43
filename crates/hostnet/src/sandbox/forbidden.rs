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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where these settings and no others exist.
    fn found(settings: &[(&str, &str)], errno: i32) -> Option<(String, String)> {
        let sysctls = tempfile::tempdir().unwrap();
        for (name, value) in settings {
            let path = sysctls.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{value}\n")).unwrap();
        }
        Forbidden::find(sysctls.path(), Some(errno)).map(|found| (found.cause, found.fix))
    }

    #[test]
    fn each_setting_is_named_with_the_command_that_changes_it() {
        for (setting, value, errno) in [
            ("kernel/unprivileged_userns_clone", "0", libc::EPERM),
            ("user/max_user_namespaces", "0", libc::ENOSPC),
            (
                "kernel/apparmor_restrict_unprivileged_userns",
                "1",
                libc::EACCES,
            ),
        ] {
            let (cause, fix) = found(&[(setting, value)], errno).unwrap();
            let setting = setting.replace('/', ".");
            assert!(cause.contains(&setting), "{cause}");
            assert!(
                fix.starts_with(&format!("sudo sysctl -w {setting}=")),
                "{fix}"
            );
        }
    }

    #[test]
    fn settings_that_allow_are_not_blamed() {
        let open = [
            ("kernel/unprivileged_userns_clone", "1"),
            ("user/max_user_namespaces", "63000"),
            ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ];
        let (cause, _) = found(&open, libc::ENOSPC).unwrap();
        assert!(cause.contains("is reached"), "{cause}");
        let (cause, _) = found(&open, libc::EPERM).unwrap();
        assert!(cause.contains("security policy"), "{cause}");
        assert_eq!(found(&open, libc::EINVAL), None);
    }

    #[test]
    fn other_failures_keep_their_step() {
        let failure = Failure::new(
            "making a session",
            &std::io::Error::from_raw_os_error(libc::ENOMEM),
        );
        let error = diagnose(&failure);
        assert_eq!(
            error.to_string(),
            "setting up the sandbox: making a session: Cannot allocate memory (os error 12)"
        );
        assert_eq!(error.hint(), None);
    }
}
