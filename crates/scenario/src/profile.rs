//! Firmware profiles: what a machine starts with and how it gets to its kernel. The built-in ones are the files of
//! `vm/firmware/`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use bootgate_events::Stage;
use toml::Spanned;

use crate::checks::Checks;
use crate::diagnostic::{Problem, ScenarioError};
use crate::files::Files;
use crate::load::{MAX_FILE, checked};
use crate::read::{Reader, Text, shorten};

/// The built-in profiles: name and text.
const BUILT_IN: [(&str, &str); 9] = [
    ("bios", include_str!("../../../vm/firmware/bios.toml")),
    ("uefi", include_str!("../../../vm/firmware/uefi.toml")),
    (
        "uefi-http",
        include_str!("../../../vm/firmware/uefi-http.toml"),
    ),
    (
        "uefi-secureboot",
        include_str!("../../../vm/firmware/uefi-secureboot.toml"),
    ),
    (
        "uefi-ipv6",
        include_str!("../../../vm/firmware/uefi-ipv6.toml"),
    ),
    (
        "uefi-usb",
        include_str!("../../../vm/firmware/uefi-usb.toml"),
    ),
    (
        "bios-usb",
        include_str!("../../../vm/firmware/bios-usb.toml"),
    ),
    ("arm64", include_str!("../../../vm/firmware/arm64.toml")),
    ("uboot", include_str!("../../../vm/firmware/uboot.toml")),
];

/// What a machine starts with, and how it boots from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareProfile {
    /// Its name in scenarios and reports, e.g. `uefi-http`.
    pub name: String,
    /// What kind of machine it runs on.
    pub platform: Platform,
    /// How the firmware gets its first program.
    pub path: BootPath,
    /// What loads the kernel where the scenario does not say.
    pub loader: Loader,
    /// Whether the firmware starts only programs with a trusted signature. The machine then has Microsoft's keys.
    pub secure_boot: bool,
    /// The firmware's code, for a virtual machine; `None`: where the host keeps it.
    pub code: Option<PathBuf>,
    /// The template of the firmware's variable store, for a virtual machine; `None`: where the host keeps it.
    pub vars: Option<PathBuf>,
    /// Longest time in milliseconds from power-on to the verdict where the scenario does not say.
    pub timeout_ms: u64,
    /// Longest time in milliseconds in each stage where the scenario does not say.
    pub deadlines_ms: BTreeMap<Stage, u64>,
    /// Longest silence in milliseconds where the scenario does not say; 0: any.
    pub stall_ms: u64,
    /// Names of default forbidden markers that such firmware shows in a good boot.
    pub allow: Vec<String>,
}

/// A kind of machine and of firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// PC BIOS.
    Bios,
    /// UEFI on x86-64.
    UefiX64,
    /// UEFI on 64-bit Arm.
    UefiArm64,
    /// U-Boot on 64-bit Arm.
    UbootArm64,
}

impl Platform {
    const WORDS: [(&'static str, Self); 4] = [
        ("bios", Self::Bios),
        ("uefi-x86_64", Self::UefiX64),
        ("uefi-aarch64", Self::UefiArm64),
        ("uboot-aarch64", Self::UbootArm64),
    ];

    /// `x86_64` or `aarch64`.
    #[must_use]
    pub fn arch(self) -> &'static str {
        match self {
            Platform::Bios | Platform::UefiX64 => "x86_64",
            Platform::UefiArm64 | Platform::UbootArm64 => "aarch64",
        }
    }

    /// The kernel's argument for its first serial port: the 8250 of a PC, the PL011 of an Arm machine.
    #[must_use]
    pub fn console(self) -> &'static str {
        match self {
            Platform::Bios | Platform::UefiX64 => "console=ttyS0",
            Platform::UefiArm64 | Platform::UbootArm64 => "console=ttyAMA0",
        }
    }

    /// Whether it is UEFI.
    #[must_use]
    pub fn is_uefi(self) -> bool {
        matches!(self, Platform::UefiX64 | Platform::UefiArm64)
    }
}

/// As in profiles: `bios`, `uefi-x86_64`, `uefi-aarch64`, `uboot-aarch64`.
impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = Self::WORDS
            .into_iter()
            .find(|(_, platform)| platform == self)
            .unwrap_or(Self::WORDS[0]);
        f.pad(word)
    }
}

/// How firmware gets its first program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BootPath {
    /// PXE over IPv4: DHCP and TFTP.
    Pxe4,
    /// PXE over IPv6: DHCPv6 and TFTP; the segment has no DHCPv4.
    Pxe6,
    /// UEFI HTTP Boot over IPv4; the segment has no TFTP.
    Http4,
    /// UEFI HTTP Boot over IPv6; the segment has neither DHCPv4 nor TFTP.
    Http6,
    /// From a USB stick with bootgate's image, which goes on over the network.
    Usb,
}

impl BootPath {
    const WORDS: [(&'static str, Self); 5] = [
        ("pxe", Self::Pxe4),
        ("pxe-ipv6", Self::Pxe6),
        ("http", Self::Http4),
        ("http-ipv6", Self::Http6),
        ("usb", Self::Usb),
    ];

    /// Whether it is IPv6 that it goes over.
    #[must_use]
    pub fn is_ipv6(self) -> bool {
        matches!(self, BootPath::Pxe6 | BootPath::Http6)
    }
}

/// What loads the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loader {
    /// iPXE, by its script.
    Ipxe,
    /// SYSLINUX's pxelinux, by `pxelinux.cfg/01-MAC`.
    Pxelinux,
    /// GRUB's network image, by `grub.cfg-01-MAC`.
    Grub,
    /// The distribution's signed shim and GRUB.
    Shim,
    /// U-Boot's `pxe`, by `pxelinux.cfg/01-MAC`.
    Uboot,
}

impl Loader {
    /// The words of scenarios and profiles.
    pub const WORDS: [(&'static str, Self); 5] = [
        ("ipxe", Self::Ipxe),
        ("pxelinux", Self::Pxelinux),
        ("grub", Self::Grub),
        ("shim", Self::Shim),
        ("uboot", Self::Uboot),
    ];
}

impl FirmwareProfile {
    /// The built-in profile of this name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, text) = BUILT_IN.into_iter().find(|(known, _)| *known == name)?;
        Self::parse(text, std::path::Path::new(name), &crate::HostFiles).ok()
    }

    /// The names of the built-in profiles.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        BUILT_IN.into_iter().map(|(name, _)| name).collect()
    }

    /// Checks the text of a profile; `path` is the file it came from and where its paths begin.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub fn parse(
        text: &str,
        path: &std::path::Path,
        files: &dyn Files,
    ) -> Result<Self, ScenarioError> {
        checked(text, path, files, read)
    }
}

/// The profile that a scenario or lab file names: a built-in one, or a file whose name ends in `.toml`.
pub(crate) fn written(key: &str, text: &Text, checks: &Checks<'_>) -> Option<FirmwareProfile> {
    if text.get_ref().ends_with(".toml") {
        return from_file(key, text, checks);
    }
    let words = BUILT_IN.map(|(name, _)| (name, name));
    FirmwareProfile::built_in(checks.word(key, text, &words)?)
}

fn from_file(key: &str, text: &Text, checks: &Checks<'_>) -> Option<FirmwareProfile> {
    let (path, _) = checks.regular(key, text)?;
    let fail = |problem: String, hint: String| {
        let message = format!("`{key}` names `{}`: {problem}", shorten(text.get_ref()));
        let problem = Problem::at(text.span(), message);
        checks.fail(problem.label("this profile").hint(hint));
    };
    let bytes = match checks.files.head(&path, MAX_FILE + 1) {
        Ok(bytes) => bytes,
        Err(error) => {
            fail(crate::checks::reason(&error), String::new());
            return None;
        }
    };
    let Ok(written) = String::from_utf8(bytes) else {
        let hint = "a firmware profile is a TOML file".to_owned();
        fail("not UTF-8 text".to_owned(), hint);
        return None;
    };
    match FirmwareProfile::parse(&written, &path, checks.files) {
        Ok(profile) if FirmwareProfile::names().contains(&profile.name.as_str()) => {
            let message = format!("its name `{profile}` is a built-in profile's");
            fail(message, "give it a name of its own".to_owned());
            None
        }
        Ok(profile) => Some(profile),
        Err(error) => {
            let first = error.problems().next();
            let hint = first.map(|problem| problem.hint.clone());
            let line = error.line().map(|line| format!("line {line}: "));
            let problem = format!("{}{error}", line.unwrap_or_default());
            fail(problem, hint.unwrap_or_default());
            None
        }
    }
}

fn read(mut root: Reader<'_, '_>, checks: &Checks<'_>) -> Option<FirmwareProfile> {
    let whole = root.span();
    let name = root.text("name", "uefi");
    let platform = root.text("platform", "uefi-x86_64");
    let path = root.text("boot", "pxe");
    let loader = root.text("loader", "ipxe");
    let secure_boot = root.flag("secure_boot");
    let code = root.text("code", "OVMF_CODE_4M.fd");
    let vars = root.text("vars", "OVMF_VARS_4M.fd");
    let timeout = root.text("timeout", "300s");
    let deadlines = root.table("deadlines", "deadlines");
    let deadlines = deadlines.map_or_else(Vec::new, crate::wire::deadlines);
    let allow = root.list("allow", "a list of names of default markers");
    root.finish();
    let (deadlines_ms, stall_ms) = crate::build::deadlines(
        crate::build::STAGE_DEADLINES.into(),
        crate::build::STALL,
        &deadlines,
        checks,
    );
    let needed = |key: &str, text: Option<Text>, hint: &str| {
        if text.is_none() {
            checks.missing(whole.clone(), &format!("`{key}`"), hint);
        }
        text
    };
    let name = needed("name", name, "add a name, like name = \"uefi\"");
    let platform = needed("platform", platform, "add platform = \"uefi-x86_64\"");
    let path = needed("boot", path, "add boot = \"pxe\"");
    let file = |key: &str, text: Option<Text>| match text {
        Some(text) => checks.regular(key, &text).map(|(path, _)| Some(path)),
        None => Some(None),
    };
    let platform = platform.and_then(|word| checks.word("platform", &word, &Platform::WORDS))?;
    let boots = path.as_ref();
    let path = boots.and_then(|word| checks.word("boot", word, &BootPath::WORDS))?;
    let trusts = secure_boot.as_ref().filter(|flag| *flag.get_ref());
    exists(platform, path, boots, trusts, checks);
    let loads = loader.as_ref();
    let profile = FirmwareProfile {
        name: name.and_then(|name| checks.name("name", &name))?,
        platform,
        path,
        loader: match loads {
            Some(word) => checks.word("loader", word, &Loader::WORDS)?,
            None => Loader::Ipxe,
        },
        secure_boot: trusts.is_some(),
        code: file("code", code)?,
        vars: file("vars", vars)?,
        timeout_ms: match &timeout {
            Some(text) => checks.duration("timeout", text)?,
            None => crate::build::TOTAL_DEADLINE,
        },
        deadlines_ms,
        stall_ms,
        allow: crate::build::allowed_names(allow.as_ref(), checks),
    };
    if let (Some(word), Some((why, hint))) = (loads, crate::build::unfit(profile.loader, &profile))
    {
        let message = format!("`loader` cannot be `{}`: {why}", word.get_ref());
        checks.fail(Problem::at(word.span(), message).hint(hint));
    }
    Some(profile)
}

/// Complains about firmware that there is not.
fn exists(
    platform: Platform,
    path: BootPath,
    boots: Option<&Text>,
    secure_boot: Option<&Spanned<bool>>,
    checks: &Checks<'_>,
) {
    let possible = match platform {
        Platform::Bios => matches!(path, BootPath::Pxe4 | BootPath::Usb),
        Platform::UbootArm64 => path == BootPath::Pxe4,
        Platform::UefiX64 | Platform::UefiArm64 => true,
    };
    if let (false, Some(text)) = (possible, boots) {
        let message = format!(
            "`boot` is `{}`: platform `{platform}` cannot",
            text.get_ref()
        );
        let hint = "HTTP Boot and IPv6 are UEFI's; U-Boot boots by its own `pxe` commands";
        checks.fail(Problem::at(text.span(), message).hint(hint));
    }
    if let (false, Some(flag)) = (platform.is_uefi(), secure_boot) {
        let message = format!("`secure_boot` on platform `{platform}`");
        checks.fail(Problem::at(flag.span(), message).hint("Secure Boot is UEFI's"));
    }
}

/// The profile's name.
impl fmt::Display for FirmwareProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::FirmwareProfile;

    #[test]
    fn every_built_in_profile_is_sound_and_has_its_own_name() {
        for name in FirmwareProfile::names() {
            let profile = FirmwareProfile::built_in(name);
            assert_eq!(profile.map(|profile| profile.name).as_deref(), Some(name));
        }
    }
}
