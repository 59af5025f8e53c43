//! Which kernel modules drive a device: `modules.dep` and `modules.alias`, as depmod(8) writes them.

use std::collections::BTreeMap;

/// The drivers that can be loaded on demand.
#[derive(Clone, Debug, Default)]
pub struct Drivers {
    modules: BTreeMap<String, Vec<String>>,
    /// Patterns with the modules they are for, by how they begin; those that begin with less are under nothing.
    aliases: BTreeMap<String, Vec<(String, String)>>,
}

/// Length of `pci:v00008086`, and of a like part of a USB device's text: there are ten thousand patterns, and a few dozen for
/// each vendor.
const BEGINNING: usize = 13;

/// The part that patterns are found by.
fn beginning(text: &str) -> String {
    let literal = text.split(['*', '?', '[']).next().unwrap_or_default();
    normal(literal.get(..BEGINNING).unwrap_or_default())
}

impl Drivers {
    /// Reads the text of both files. Lines that say nothing are passed over.
    #[must_use]
    pub fn parse(dependencies: &str, aliases: &str) -> Self {
        let modules = dependencies.lines().filter_map(|line| {
            let (path, needed) = line.split_once(':')?;
            // What must come first stands last.
            let mut files: Vec<_> = needed.split_whitespace().rev().map(str::to_owned).collect();
            files.push(path.trim().to_owned());
            Some((name_of(path), files))
        });
        let pairs = aliases.lines().filter_map(|line| {
            let (pattern, name) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
            Some((pattern.trim().to_owned(), normal(name)))
        });
        let mut aliases: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pair in pairs {
            aliases.entry(beginning(&pair.0)).or_default().push(pair);
        }
        Self {
            modules: modules.collect(),
            aliases,
        }
    }

    /// Names of the modules for a device's modalias, or for what the kernel asks for by an alias, each once.
    #[must_use]
    pub fn by_alias(&self, alias: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let begins = normal(alias.get(..BEGINNING).unwrap_or_default());
        let keys: &[&str] = if begins.is_empty() {
            &[""]
        } else {
            &[&begins, ""]
        };
        let lists = keys.iter().filter_map(|key| self.aliases.get(*key));
        for (pattern, name) in lists.flatten() {
            if matches(pattern.as_bytes(), alias.as_bytes()) && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Names of the modules that the kernel means by a request: the module of that name, or those with that alias.
    #[must_use]
    pub fn by_request(&self, request: &str) -> Vec<&str> {
        match self.modules.get_key_value(&normal(request)) {
            Some((name, _)) => vec![name.as_str()],
            None => self.by_alias(request),
        }
    }

    /// Files of a module and of all it needs, below the folder of the modules, in the order to load them in.
    #[must_use]
    pub fn files(&self, name: &str) -> &[String] {
        self.modules.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The kernel takes `-` and `_` in the names of modules for the same.
#[must_use]
pub fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

/// The name of a module by its file.
#[must_use]
pub fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    normal(file.split(".ko").next().unwrap_or_default())
}

/// Whether a pattern of a module is for a text: fnmatch(3) with `*`, `?` and `[...]`, all that the kernel's `file2alias`
/// writes. `-` and `_` are the same outside of brackets, as for modprobe(8).
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where to go on when what follows the last star does not fit: after the star, with one more byte taken by it.
    let mut star = None;
    while here < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, here));
            at += 1;
        } else if let Some(length) = one(&pattern[at..], text[here]) {
            at += length;
            here += 1;
        } else if let Some((after, taken)) = star {
            star = Some((after, taken + 1));
            (at, here) = (after, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Length of the pattern's first element if it takes this byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    let dash = |byte: u8| if byte == b'-' { b'_' } else { byte };
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let end = pattern.iter().position(|byte| *byte == b']')?;
            in_set(&pattern[1..end], byte).then_some(end + 1)
        }
        other => (dash(*other) == dash(byte)).then_some(1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let Some(first) = set.first() {
        if let [from, b'-', to, rest @ ..] = set {
            if (*from..=*to).contains(&byte) {
                return true;
            }
            set = rest;
        } else {
            if *first == byte {
                return true;
            }
            set = &set[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_fnmatch_has_it() {
        let fits = |pattern: &str, text: &str| matches(pattern.as_bytes(), text.as_bytes());
        let e1000 = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
        for (pattern, text, wanted) in [
            ("", "", true),
            ("*", "", true),
            ("", "a", false),
            ("pci:v00008086d0000100Esv*sd*bc*sc*i*", e1000, true),
            ("pci:v00008086d0000100Fsv*sd*bc*sc*i*", e1000, false),
            ("pci:v*d*sv*sd*bc02sc00i*", e1000, true),
            ("pci:v*d*sv*sd*bc01sc08i02*", e1000, false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("usb:v0BDAp8152d30[0-3]*", "usb:v0BDAp8152d3012dc00", true),
            ("usb:v0BDAp8152d30[0-3]*", "usb:v0BDAp8152d3042dc00", false),
            ("usb:v*d[05A-F]*", "usb:vd5", true),
            ("usb:v*d[05A-F]*", "usb:vd9", false),
            ("platform:ahci-ceva", "platform:ahci_ceva", true),
            ("scsi:t-0x00*", "scsi:t-0x00", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a[bc", "ab", false),
        ] {
            assert_eq!(fits(pattern, text), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let drivers = Drivers::parse(
            "kernel/net/bnx2x.ko: kernel/lib/libcrc32c.ko kernel/crypto/crc32c-generic.ko\n\
             kernel/crypto/crc32c-generic.ko:\n\nnonsense\n",
            "# a comment\nalias pci:v000014E4d*sv*sd*bc02sc*i* bnx2x\nalias crypto-crc32c crc32c_generic\n\
             alias pci:v000014E4* bnx2x\n",
        );
        let modalias = "pci:v000014E4d0000168Esv0sd0bc02sc00i00";
        assert_eq!(drivers.by_alias(modalias), ["bnx2x"]);
        assert!(
            drivers
                .by_alias("pci:v000014E5d0000168Esv0sd0bc02sc00i00")
                .is_empty()
        );
        assert_eq!(
            drivers.files("bnx2x"),
            [
                "kernel/crypto/crc32c-generic.ko",
                "kernel/lib/libcrc32c.ko",
                "kernel/net/bnx2x.ko"
            ]
        );
        assert_eq!(drivers.by_request("crypto-crc32c"), ["crc32c_generic"]);
        assert_eq!(drivers.by_request("crc32c-generic"), ["crc32c_generic"]);
        assert!(drivers.by_request("other").is_empty() && drivers.files("other").is_empty());
    }
}
