//! What the options of `bootgate machine` say.

use bootgate_api::{AfterFlash, DiskSelector, LocalBoot};
use bootgate_scenario::file::size_bytes;

use crate::args::{After, DiskArgs};
use crate::client::Trouble;

pub(super) fn after(args: &DiskArgs) -> Option<AfterFlash> {
    args.after.map(|after| match after {
        After::Reboot => AfterFlash::Reboot,
        After::Poweroff => AfterFlash::PowerOff,
    })
}

/// `K=V` sets a label, `K` takes it away.
pub(super) fn label(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// `auto`, `exit` or `drive:0x81`.
pub(super) fn local_boot(text: &str) -> Result<LocalBoot, Trouble> {
    let drive = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u8::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let read = match text {
        "auto" => Some(LocalBoot::Auto),
        "exit" => Some(LocalBoot::Exit),
        _ => text
            .strip_prefix("drive:")
            .and_then(drive)
            .map(LocalBoot::Drive),
    };
    read.ok_or_else(|| {
        Trouble::usage(
            format!("`{text}` does not say how to boot the disk"),
            "auto, exit, or drive: with a BIOS drive number: drive:0x80 is the first disk, drive:0x81 the second",
        )
    })
}

/// `serial=..`, `size=..-..` and `path=..`, each once at most.
pub(super) fn selector(args: &DiskArgs) -> Result<Option<DiskSelector>, Trouble> {
    let mut selector = DiskSelector::default();
    for rule in &args.disk {
        let (key, value) = rule.split_once('=').unwrap_or((rule, ""));
        if value.is_empty() {
            return Err(bad_rule(rule, "a rule has a value"));
        }
        let again = match key {
            "serial" => selector.serial.replace(value.to_owned()).is_some(),
            "path" => selector.path.replace(value.to_owned()).is_some(),
            "size" => {
                let before = selector.min_size.or(selector.max_size);
                let (min, max) = value.split_once('-').unwrap_or((value, value));
                let read = |text: &str| match text.trim() {
                    "" => Ok(None),
                    text => size_bytes(text)
                        .map(Some)
                        .map_err(|why| bad_rule(rule, &why)),
                };
                (selector.min_size, selector.max_size) = (read(min)?, read(max)?);
                before.is_some()
            }
            _ => {
                return Err(bad_rule(
                    rule,
                    "it begins with `serial=`, `size=` or `path=`",
                ));
            }
        };
        if again {
            return Err(bad_rule(rule, "a rule of this kind is given twice"));
        }
    }
    Ok((selector != DiskSelector::default()).then_some(selector))
}

fn bad_rule(rule: &str, why: &str) -> Trouble {
    Trouble::usage(
        format!("disk rule `{rule}`: {why}"),
        "serial=S4EWNX0, size=100GiB-2TiB, size=100GiB-, path=/dev/sda",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use super::*;

    fn rules(rules: &[&str]) -> Result<Option<DiskSelector>, Trouble> {
        selector(&DiskArgs {
            disk: rules.iter().map(|rule| (*rule).to_owned()).collect(),
            after: None,
        })
    }

    #[test]
    fn disks_are_chosen_by_rules() {
        assert_eq!(rules(&[]).unwrap(), None);
        let all = rules(&["serial=A=1", "size=1GiB-2GiB", "path=/dev/sda"]).unwrap();
        let all = all.unwrap();
        assert_eq!(all.serial.as_deref(), Some("A=1"));
        assert_eq!((all.min_size, all.max_size), (Some(1 << 30), Some(2 << 30)));
        let open = rules(&["size=1GiB-"]).unwrap().unwrap();
        assert_eq!((open.min_size, open.max_size), (Some(1 << 30), None));
        for bad in [
            &["size=1GB"][..],
            &["serial="],
            &["sda"],
            &["size=1B", "size=2B"],
        ] {
            assert!(rules(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn local_boot_is_read() {
        assert_eq!(local_boot("drive:0x81").unwrap(), LocalBoot::Drive(0x81));
        assert_eq!(local_boot("drive:128").unwrap(), LocalBoot::Drive(128));
        for bad in ["", "drive:", "drive:0x181", "disk"] {
            assert!(local_boot(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_set_and_taken_away() {
        let labels: BTreeMap<_, _> = ["a=b=c", "gone"].into_iter().map(label).collect();
        assert_eq!(labels["a"].as_deref(), Some("b=c"));
        assert_eq!(labels["gone"], None);
    }
}
