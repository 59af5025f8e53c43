//! DHCP servers with configuration files. What is explained stands in comments, so that the text can be used as it is.

use bootgate_netboot::policy::OWN_USER_CLASS;
use serde_json::json;

use super::{Program, Wanted};

/// dnsmasq: iPXE is told by its user class (option 77) or its encapsulated options (175), and never gets a program,
/// so that it cannot load itself for ever.
#[must_use]
pub fn dnsmasq(wanted: &Wanted) -> String {
    let address = wanted.address;
    let mut text = format!(
        "# Network boot from {address} ({}): put this into /etc/dnsmasq.d/bootgate.conf and restart dnsmasq.\n\
         dhcp-userclass=set:bootgate-ipxe,iPXE\n\
         dhcp-match=set:bootgate-ipxe,175\n\
         dhcp-boot=tag:bootgate-ipxe,{},,{address}\n",
        wanted.interface,
        wanted.script()
    );
    for (index, program) in wanted.programs.iter().enumerate() {
        let tag = format!("bootgate-{index}");
        text.push_str(&format!("# {}\n", program.name));
        for code in &program.codes {
            text.push_str(&format!("dhcp-match=set:{tag},option:client-arch,{code}\n"));
        }
        let tags = format!("tag:!bootgate-ipxe,tag:{tag}");
        text.push_str(&format!("dhcp-boot={tags},{},,{address}\n", program.file));
        if program.http {
            text.push_str(&format!(
                "dhcp-option-force={tags},option:vendor-class,HTTPClient\n"
            ));
        }
    }
    text
}

/// ISC dhcpd (dhcpd.conf(5), dhcp-eval(5)).
#[must_use]
pub fn isc(wanted: &Wanted) -> String {
    let mut text = format!(
        "# Network boot from {} ({}): put this into dhcpd.conf, outside of all subnets.\n\
         # What stands below the definition of the option may be put inside of one subnet instead.\n\
         option bootgate-arch code 93 = unsigned integer 16;\n\
         next-server {};\n\
         if exists user-class and (option user-class = \"iPXE\" or option user-class = \"{OWN_USER_CLASS}\") {{\n  filename \"{}\";\n}}",
        wanted.address,
        wanted.interface,
        wanted.address,
        wanted.script()
    );
    for program in &wanted.programs {
        let tests: Vec<String> = program
            .codes
            .iter()
            .map(|code| {
                // A plain number is one byte to dhcpd, which never equals the option's two.
                let [high, low] = code.to_be_bytes();
                format!("option bootgate-arch = {high:02x}:{low:02x}")
            })
            .collect();
        text.push_str(&format!(
            " elsif {} {{\n  # {}\n",
            tests.join(" or "),
            program.name
        ));
        if program.http {
            text.push_str("  option vendor-class-identifier \"HTTPClient\";\n");
        }
        text.push_str(&format!("  filename \"{}\";\n}}", program.file));
    }
    text.push('\n');
    text
}

/// Kea: client classes, the first one for iPXE and the others for what is not iPXE.
#[must_use]
pub fn kea(wanted: &Wanted) -> String {
    let address = wanted.address.to_string();
    let mut classes = vec![json!({
        "name": "bootgate-ipxe",
        "test": "substring(option[77].hex,0,4) == 'iPXE' or option[175].exists",
        "next-server": address,
        "boot-file-name": wanted.script(),
    })];
    for program in &wanted.programs {
        classes.push(kea_class(program, &address));
    }
    let classes = json!({ "Dhcp4": { "client-classes": classes } });
    let pretty = serde_json::to_string_pretty(&classes).unwrap_or_default();
    format!(
        "// Network boot from {address} ({}): merge \"client-classes\" into \"Dhcp4\" of kea-dhcp4.conf, and reload Kea.\n{pretty}\n",
        wanted.interface
    )
}

fn kea_class(program: &Program, address: &str) -> serde_json::Value {
    let tests: Vec<String> = program
        .codes
        .iter()
        .map(|code| format!("option[93].hex == 0x{code:04x}"))
        .collect();
    let codes: Vec<String> = program.codes.iter().map(u16::to_string).collect();
    let mut class = json!({
        "name": format!("bootgate-arch-{}", codes.join("-")),
        "test": format!("not member('bootgate-ipxe') and ({})", tests.join(" or ")),
        "next-server": address,
        "boot-file-name": program.file,
    });
    if program.http {
        class["option-data"] = json!([
            { "name": "vendor-class-identifier", "data": "HTTPClient", "always-send": true },
            { "name": "boot-file-name", "data": program.file, "always-send": true },
        ]);
    }
    class
}
