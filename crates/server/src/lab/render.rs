//! From a decision to the words of a loader.

use bootgate_api::{BootPlan, ExpectedFlash, FlashPlan, Machine, Nonce, paths};
use bootgate_events::{AttemptId, Protocol};
use bootgate_netboot::script::{
    Initrd, IpxeScript, LinuxBoot, LoaderBoot, LoaderKind, LocalDrive, render_exit, render_install,
    render_ipxe, render_loader, render_local, render_refused, render_template,
};
use minijinja::context;

use super::decide::{Next, local_drive};
use super::library::{Kernel, Library};
use crate::ArtifactName;
use crate::desk::BootLoader;
use crate::loaders::{agent_cmdline, file_path};

/// Everything that a script is made of.
pub(super) struct Words<'a> {
    pub(super) library: &'a Library,
    pub(super) machine: &'a Machine,
    pub(super) next: &'a Next,
    pub(super) nonce: &'a Nonce,
    /// The address of who asks.
    pub(super) ip: std::net::IpAddr,
    /// Base URL of the HTTP server.
    pub(super) server_url: &'a str,
}

/// A script or configuration cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct RenderError(String);

fn fail(error: impl std::fmt::Display) -> RenderError {
    RenderError(error.to_string())
}

impl Library {
    /// Why a machine cannot get this, where the configuration does not have what it takes.
    pub(super) fn missing(&self, next: &Next, loader: BootLoader) -> Option<String> {
        let no = |what: &str, name: &str| Some(format!("the server has no {what} `{name}`"));
        match next {
            Next::Local | Next::Refused(_) => None,
            Next::Flash(order) if self.image(&order.image).is_none() => no("image", &order.image),
            Next::Flash(_) | Next::Inventory if self.live.is_none() => {
                Some("the server has no live environment".to_owned())
            }
            Next::Flash(_) | Next::Inventory => None,
            Next::Install(name) if !self.installers.contains_key(name) => no("installer", name),
            Next::Install(_) => None,
            Next::Script(name) if !self.scripts.contains_key(name) => no("script", name),
            Next::Script(_) if loader != BootLoader::Ipxe => {
                Some("its script is for iPXE, and another loader asks".to_owned())
            }
            Next::Script(_) => None,
        }
    }

    /// What the agent is to do, whose boot began with the image `expected`.
    pub(super) fn plan(&self, next: &Next, expected: Option<&ExpectedFlash>) -> BootPlan {
        match next {
            Next::Flash(order) => match self.image_of(&order.image, expected) {
                Some(image) => BootPlan::Flash(FlashPlan {
                    index_path: paths::artifact(image.index.as_str()),
                    data_path: paths::artifact(image.data.as_str()),
                    image_sha256: image.expected.image_sha256,
                    disk: order.disk.clone(),
                    after: order.after,
                }),
                None => BootPlan::Stay,
            },
            Next::Inventory => BootPlan::Inventory {
                after: bootgate_api::AfterFlash::Reboot,
            },
            _ => BootPlan::Stay,
        }
    }
}

impl Words<'_> {
    /// The nonce as paths and scripts have it.
    fn attempt(&self) -> AttemptId {
        AttemptId::new(self.nonce.as_str())
    }

    /// The script or configuration for a loader that asks by `protocol`.
    pub(super) fn render(
        &self,
        loader: BootLoader,
        protocol: Protocol,
    ) -> Result<String, RenderError> {
        let kind = match loader {
            BootLoader::Ipxe => return self.ipxe(),
            BootLoader::Pxelinux => LoaderKind::Pxelinux,
            BootLoader::Grub => LoaderKind::Grub,
            BootLoader::Uboot => LoaderKind::Uboot,
        };
        render_loader(kind, &self.loader_boot(protocol)?).map_err(fail)
    }

    fn ipxe(&self) -> Result<String, RenderError> {
        let live = self.library.live.as_ref();
        let rendered = match self.next {
            Next::Local => {
                let reason = "this machine boots its own disk";
                match local_drive(&self.machine.local) {
                    Some(drive) => render_local(reason, drive),
                    None => render_exit(reason),
                }
            }
            Next::Refused(reason) => render_refused(reason),
            Next::Flash(_) | Next::Inventory => {
                let live = live.ok_or_else(|| fail("there is no live environment"))?;
                render_ipxe(&self.ipxe_script(live, live.cmdline.clone()))
            }
            Next::Install(name) => {
                let kernel = self.installer(name)?;
                render_install(&self.ipxe_script(kernel, self.installer_cmdline(name)?))
            }
            Next::Script(name) => {
                let template = self.library.scripts.get(name);
                let template = template.ok_or_else(|| fail("there is no such script"))?;
                render_template(template, &self.own_script(), &self.own_values())
            }
        };
        rendered.map_err(fail)
    }

    fn installer(&self, name: &str) -> Result<&Kernel, RenderError> {
        let found = self.library.installers.get(name);
        found.ok_or_else(|| fail(format_args!("there is no installer `{name}`")))
    }

    fn url(&self, name: &ArtifactName) -> String {
        format!("{}{}", self.server_url, paths::artifact(name.as_str()))
    }

    fn ipxe_script(&self, kernel: &Kernel, cmdline: String) -> IpxeScript {
        let initrds = kernel.initrds.iter().enumerate();
        IpxeScript {
            kernel_url: self.url(&kernel.kernel),
            initrds: initrds
                .map(|(number, name)| Initrd {
                    name: format!("initrd{number}"),
                    url: self.url(name),
                })
                .collect(),
            cmdline,
            nonce: self.attempt(),
            server_url: self.server_url.to_owned(),
        }
    }

    /// The values of an operator's script: those of the live environment, where there is one.
    fn own_script(&self) -> IpxeScript {
        match &self.library.live {
            Some(live) => self.ipxe_script(live, live.cmdline.clone()),
            None => IpxeScript {
                kernel_url: format!("{}/no-live-environment", self.server_url),
                initrds: Vec::new(),
                cmdline: String::new(),
                nonce: self.attempt(),
                server_url: self.server_url.to_owned(),
            },
        }
    }

    /// What an operator's script knows of the machine.
    fn own_values(&self) -> Vec<(String, String)> {
        let mut values = vec![
            ("mac".to_owned(), self.machine.mac.to_string()),
            ("name".to_owned(), self.name()),
            ("ip".to_owned(), self.ip.to_string()),
        ];
        let labels = self.machine.labels.iter();
        values.extend(labels.map(|(key, value)| (format!("label.{key}"), value.clone())));
        values
    }

    /// The machine's name; its hardware address with hyphens where it has none, fit for a host name.
    fn name(&self) -> String {
        let name = self.machine.name.clone();
        name.unwrap_or_else(|| self.machine.mac.hyphenated())
    }

    fn installer_cmdline(&self, installer: &str) -> Result<String, RenderError> {
        self.template(&format!("cmdline/{installer}"))
    }

    /// The answer file of an installer; `None` where it has none.
    pub(super) fn answer(&self, installer: &str) -> Option<Result<String, RenderError>> {
        let name = format!("answer/{installer}");
        let there = self.library.templates.get_template(&name).is_ok();
        // Templates lose their last line's end.
        there.then(|| self.template(&name).map(|text| text + "\n"))
    }

    fn template(&self, name: &str) -> Result<String, RenderError> {
        let template = self.library.templates.get_template(name).map_err(fail)?;
        let attempt = self.attempt();
        let url = |path: String| format!("{}{path}", self.server_url);
        let values = context! {
            name => self.name(),
            mac => self.machine.mac.to_string(),
            ip => self.ip.to_string(),
            labels => &self.machine.labels,
            server_url => self.server_url,
            nonce => self.nonce.as_str(),
            answer_url => url(paths::answer(&attempt)),
            installed_url => url(paths::installed(&attempt)),
        };
        template
            .render(values)
            .map_err(|error| fail(format_args!("{error:#}")))
    }

    fn loader_boot(&self, protocol: Protocol) -> Result<LoaderBoot, RenderError> {
        let linux = |kernel: &Kernel, cmdline: String| {
            let path = |name: &ArtifactName| file_path(name, protocol);
            LoaderBoot::Linux(LinuxBoot {
                kernel: path(&kernel.kernel),
                initrds: kernel.initrds.iter().map(path).collect(),
                cmdline,
            })
        };
        Ok(match self.next {
            Next::Local => LoaderBoot::Local {
                reason: "this machine boots its own disk".to_owned(),
                drive: match local_drive(&self.machine.local) {
                    Some(drive) => LocalDrive::Number(drive),
                    None => LocalDrive::Next,
                },
            },
            Next::Refused(reason) => LoaderBoot::Refused {
                reason: reason.clone(),
            },
            Next::Flash(_) | Next::Inventory => {
                let live = self.library.live.as_ref();
                let live = live.ok_or_else(|| fail("there is no live environment"))?;
                linux(live, self.agent_cmdline(&live.cmdline))
            }
            Next::Install(name) => linux(self.installer(name)?, self.installer_cmdline(name)?),
            Next::Script(_) => return Err(fail("an iPXE script is for iPXE")),
        })
    }

    fn agent_cmdline(&self, own: &str) -> String {
        agent_cmdline(own, &self.attempt(), self.server_url, self.machine.mac)
    }
}
