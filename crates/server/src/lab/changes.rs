//! What is different in another configuration, in words.

use std::collections::BTreeMap;
use std::fmt::Debug;

use bootgate_netboot::dhcp::{DhcpMode, SubnetConfig};

use super::library::{Kernel, Library};
use super::{LabConfig, LabInterface};

/// A line for each thing that is different.
pub(super) fn changes(
    before: &LabConfig,
    after: &LabConfig,
    had: &Library,
    has: &Library,
) -> Vec<String> {
    let mut lines = Lines::default();
    lines.interfaces(&before.interfaces, &after.interfaces);
    lines.subnets(&before.subnets, &after.subnets);
    lines.one("IPv6 behind relays", &before.relayed6, &after.relayed6);
    lines.one("beside_others", &before.authoritative, &after.authoritative);
    lines.one(
        "architectures and boot programs",
        &before.architectures,
        &after.architectures,
    );
    lines.one("folders of files", &before.artifacts, &after.artifacts);
    lines.each("image", &had.images, &has.images);
    let live = (&had.live, &before.live);
    lines.one("the live environment", &live, &(&has.live, &after.live));
    let installers = |library: &Library, config: &LabConfig| {
        let installers = library.installers.iter();
        let all = installers.map(|(name, kernel)| {
            let given = config.installers.get(name).map(|one| format!("{one:?}"));
            (name.clone(), (shown(kernel), given, answer(library, name)))
        });
        all.collect::<BTreeMap<_, _>>()
    };
    lines.each(
        "installer",
        &installers(had, before),
        &installers(has, after),
    );
    lines.each("script", &had.scripts, &has.scripts);
    lines.one("discovery", &before.discovery, &after.discovery);
    lines.one("local boot", &before.local_boot, &after.local_boot);
    lines.one("flash_tries", &before.flash_tries, &after.flash_tries);
    lines.one("keep_attempts", &before.keep_attempts, &after.keep_attempts);
    lines.one("limits of DHCP", &before.dhcp_limits, &after.dhcp_limits);
    lines.one("limits of uploads", &before.uploads, &after.uploads);
    lines.one("deadlines", &before.deadlines, &after.deadlines);
    lines.0
}

fn shown(kernel: &Kernel) -> String {
    format!("{kernel:?}")
}

/// The source of an installer's answer file.
fn answer(library: &Library, installer: &str) -> Option<String> {
    let name = format!("answer/{installer}");
    let template = library.templates.get_template(&name).ok()?;
    Some(template.source().to_owned())
}

#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn one(&mut self, what: &str, before: &impl Debug, after: &impl Debug) {
        if format!("{before:?}") != format!("{after:?}") {
            self.0.push(format!("{what}: changed"));
        }
    }

    fn each<T: Debug>(
        &mut self,
        what: &str,
        before: &BTreeMap<String, T>,
        after: &BTreeMap<String, T>,
    ) {
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.0.push(format!("{what} `{name}`: gone"));
        }
        for (name, now) in after {
            match before.get(name) {
                None => self.0.push(format!("{what} `{name}`: new")),
                Some(then) => self.one(&format!("{what} `{name}`"), then, now),
            }
        }
    }

    fn interfaces(&mut self, before: &[LabInterface], after: &[LabInterface]) {
        let named = |all: &[LabInterface]| {
            let all = all.iter().map(|one| (one.name.clone(), one.clone()));
            all.collect::<BTreeMap<_, _>>()
        };
        let (before, after) = (named(before), named(after));
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            self.0.push(format!("interface `{name}`: no longer served"));
        }
        for (name, now) in &after {
            let Some(then) = before.get(name) else {
                let mode = now.dhcp;
                let line = format!("interface `{name}`: served now, DHCP mode `{mode}`");
                self.0.push(line);
                continue;
            };
            let mode = |mode: DhcpMode| mode.as_str();
            if then.dhcp != now.dhcp {
                let (then, now) = (mode(then.dhcp), mode(now.dhcp));
                let line = format!("interface `{name}`: DHCP mode `{now}` instead of `{then}`");
                self.0.push(line);
            }
            let bare = |one: &LabInterface| {
                let mut server = one.server.clone();
                server.services.dhcp = false;
                server.pxe = false;
                server.limits = crate::Limits::default();
                server
            };
            self.one(&format!("interface `{name}`"), &bare(then), &bare(now));
            if then.server.limits != now.server.limits {
                let line = format!("interface `{name}`: other limits");
                self.0.push(line);
            }
        }
    }

    fn subnets(&mut self, before: &[SubnetConfig], after: &[SubnetConfig]) {
        let named = |all: &[SubnetConfig]| {
            let all = all.iter().map(|one| {
                let mut one = one.clone();
                // The places of interfaces may be others, and the subnet the same.
                let served = one.interfaces.len();
                one.interfaces.clear();
                (one.to_string(), (served, one))
            });
            all.collect::<BTreeMap<_, _>>()
        };
        self.each("subnet", &named(before), &named(after));
    }
}
