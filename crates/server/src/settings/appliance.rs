//! DHCP servers that are set up by commands or by hand.

use bootgate_netboot::policy::OWN_USER_CLASS;

use super::{Program, Wanted};

/// Windows Server: vendor classes and policies by PowerShell. A client that fits several policies gets what the first
/// one says, so that iPXE's stands first. Single quotes keep `${mac}` as it is.
#[must_use]
pub fn windows(wanted: &Wanted) -> String {
    let address = wanted.address;
    let mut text = format!(
        "# Network boot from {address} ({}): run in PowerShell as administrator of the DHCP server.\n\
         # Take options 60, 66 and 67 out of the scope first: these policies stand in their place.\n\
         # The scope is known by its network's address: correct it where it is another.\n\
         $Scope = '{}'\n\
         if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {{\n  \
           Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class' -Type String\n\
         }}\n\
         Add-DhcpServerv4Class -Name 'bootgate iPXE' -Type User -Data 'iPXE'\n\
         Add-DhcpServerv4Class -Name 'bootgate own iPXE' -Type User -Data '{OWN_USER_CLASS}'\n\
         Add-DhcpServerv4Policy -ScopeId $Scope -Name 'bootgate iPXE' -Condition OR -UserClass EQ,'bootgate iPXE','bootgate own iPXE' -ProcessingOrder 1\n\
         Set-DhcpServerv4OptionValue -ScopeId $Scope -PolicyName 'bootgate iPXE' -OptionId 66 -Value '{address}'\n\
         Set-DhcpServerv4OptionValue -ScopeId $Scope -PolicyName 'bootgate iPXE' -OptionId 67 -Value '{}'\n",
        wanted.interface,
        wanted.network,
        wanted.script()
    );
    for (index, program) in wanted.programs.iter().enumerate() {
        let policy = format!("bootgate {}", program.name);
        let mut classes = Vec::new();
        text.push_str(&format!("# {}\n", program.name));
        for code in &program.codes {
            let kind = if program.http {
                "HTTPClient"
            } else {
                "PXEClient"
            };
            let class = format!("{kind}:Arch:{code:05}");
            text.push_str(&format!(
                "Add-DhcpServerv4Class -Name 'bootgate {class}' -Type Vendor -Data '{class}'\n"
            ));
            classes.push(format!("'bootgate {class}*'"));
        }
        text.push_str(&format!(
            "Add-DhcpServerv4Policy -ScopeId $Scope -Name '{policy}' -Condition OR -VendorClass EQ,{} -ProcessingOrder {}\n",
            classes.join(","),
            index + 2
        ));
        let mut options = vec![(66, address.to_string()), (67, program.file.clone())];
        if program.http {
            options.insert(0, (60, "HTTPClient".to_owned()));
        }
        for (option, value) in options {
            text.push_str(&format!(
                "Set-DhcpServerv4OptionValue -ScopeId $Scope -PolicyName '{policy}' -OptionId {option} -Value '{value}'\n"
            ));
        }
    }
    text
}

/// The program for an architecture.
fn program(wanted: &Wanted, code: u16) -> Option<&Program> {
    wanted
        .programs
        .iter()
        .find(|program| program.codes.contains(&code))
}

/// OPNsense names one program for each kind of firmware.
#[must_use]
pub fn opnsense(wanted: &Wanted) -> String {
    let file = |code: u16| program(wanted, code).map_or("(leave empty)", |program| &program.file);
    let (address, script) = (wanted.address, wanted.script());
    let mut text = format!(
        "Network boot from {address} ({}).\n\n\
         Services > ISC DHCPv4 > [interface] > Network booting:\n  \
           Enable network booting            yes\n  \
           Set next-server IP                {address}\n  \
           Set default bios filename         {}\n  \
           Set x86 UEFI (32-bit) filename    {}\n  \
           Set x64 UEFI/EBC (64-bit) filename  {}\n  \
           Set ARM UEFI (64-bit) filename    {}\n  \
           Set iPXE boot filename            {script}\n\n\
         Services > Dnsmasq DNS & DHCP: put the lines below into /usr/local/etc/dnsmasq.conf.d/bootgate.conf, and restart the\n\
         service.\n\n",
        wanted.interface,
        file(0),
        file(6),
        file(7),
        file(11)
    );
    for line in super::files::dnsmasq(wanted)
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str(
        "\nServices > Kea DHCP names one boot file for all machines, which makes iPXE load itself for ever: use one of the two\n\
         above, or dhcp = \"proxy\" here, which needs no settings in OPNsense.\n",
    );
    text
}

/// UniFi names one program for all machines.
#[must_use]
pub fn unifi(wanted: &Wanted) -> String {
    let mut text = format!(
        "Network boot from {} ({}).\n\n\
         A UniFi gateway names one boot file for all machines: not one for each kind of firmware, and none for iPXE, which\n\
         then loads itself for ever. Set dhcp = \"proxy\" on the interface here instead: it needs no settings in UniFi, and\n\
         Settings > Networks > [network] > DHCP > Network Boot stays off.\n\n\
         Where all machines have one kind of firmware and boot iPXE from their ROM, this is enough:\n\n\
         Settings > Networks > [network] > DHCP Service Management > Network Boot:\n  \
           Server    {}\n  \
           Filename  {}\n",
        wanted.address,
        wanted.interface,
        wanted.address,
        wanted.script()
    );
    text.push_str("\nDHCP snooping (Settings > Networks > DHCP Guarding) must trust both servers, also beside a proxy: ");
    text.push_str(&format!("add {} to the trusted ones.\n", wanted.address));
    text
}
