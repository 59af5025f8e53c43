//! An interface that carries one VLAN of another with its tag (IEEE 802.1Q).

use std::path::Path;

use super::netlink::{NLM_F_CREATE, NLM_F_EXCL, RTM_NEWLINK, request};
use crate::nics::Nic;
use crate::sysfs::attribute;

/// Attributes of `linux/if_link.h`.
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;

/// Makes the interface for VLAN `id` on top of `parent`, which has to be up.
///
/// The kernel asks for its driver (`8021q`) by itself: the live environment has to have it.
pub(super) fn add(parent: &Nic, id: u16) -> Result<Nic, String> {
    let name = format!("vlan{id}");
    request(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        &link(&name, parent.index, id),
    )
    .map_err(|error| {
        format!(
            "add VLAN {id} to `{}`: {error}; has the live environment the module 8021q?",
            parent.name
        )
    })?;
    let folder = Path::new("/sys/class/net").join(&name);
    let index = attribute(&folder, "ifindex").and_then(|text| text.parse().ok());
    Ok(Nic {
        index: index.ok_or_else(|| format!("find the interface `{name}`"))?,
        name,
        mac: parent.mac,
        driver: parent.driver.clone(),
    })
}

/// struct ifinfomsg (family, padding, type, index, flags, changed flags), and the attributes of the new link.
fn link(name: &str, parent: u32, id: u16) -> Vec<u8> {
    let mut body = vec![0; 16];
    attach(&mut body, IFLA_IFNAME, format!("{name}\0").as_bytes());
    attach(&mut body, IFLA_LINK, &parent.to_ne_bytes());
    let mut data = Vec::new();
    attach(&mut data, IFLA_VLAN_ID, &id.to_ne_bytes());
    let mut info = Vec::new();
    attach(&mut info, IFLA_INFO_KIND, b"vlan\0");
    attach(&mut info, IFLA_INFO_DATA, &data);
    attach(&mut body, IFLA_LINKINFO, &info);
    body
}

/// struct rtattr: length and type, then the value, to the next multiple of four bytes.
fn attach(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::link;

    #[test]
    fn a_link_names_its_parent_its_kind_and_its_vlan() {
        let body = link("vlan42", 2, 42);
        let mut wanted = vec![0; 16];
        wanted.extend([11, 0, 3, 0]);
        wanted.extend(b"vlan42\0\0");
        wanted.extend([8, 0, 5, 0, 2, 0, 0, 0]);
        wanted.extend([28, 0, 18, 0]);
        wanted.extend([9, 0, 1, 0]);
        wanted.extend(b"vlan\0\0\0\0");
        wanted.extend([12, 0, 2, 0, 6, 0, 1, 0, 42, 0, 0, 0]);
        if cfg!(target_endian = "little") {
            assert_eq!(body, wanted);
        }
    }
}
