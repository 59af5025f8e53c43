//! Sandboxes as root and as an ordinary user: they stand quickly, carry traffic, run programs, and say what is wrong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::os::unix::fs::PermissionsExt;

use bootgate_testkit::require_commands;
use common::{Program, Runner};

macro_rules! scenarios {
    ($($(#[$doc:meta])* $test:ident = $name:literal as $runners:ident;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $test() {
            require_sandboxes!();
            let program = Program::new();
            for runner in Runner::$runners() {
                program.run(runner, &[$name]);
            }
        }
    )*};
}

scenarios! {
    a_sandbox_stands_within_200_ms = "up" as all;
    clients_and_servers_reach_each_other = "udp" as all;
    a_tcp_transfer_crosses_two_wires_whole = "tcp" as all;
    sandboxes_with_the_same_addresses_never_meet = "isolated" as all;
    a_hook_drops_and_replaces_frames = "hook" as all;
    a_port_of_one_vlan_takes_and_gives_its_tag_only = "vlan" as all;
    programs_start_with_what_they_are_given = "spawn" as users;
    descriptors_arrive_under_their_numbers = "descriptors" as users;
    a_sandbox_works_inside_another = "nested" as users;
    sockets_on_a_named_interface = "host" as users;
    another_machine_is_on_the_segment = "machine" as users;
    a_segment_has_ipv6 = "ipv6" as users;
}

#[test]
fn frames_are_captured_at_wire_and_interface() {
    require_commands!("tshark");
    require_sandboxes!();
    let program = Program::new();
    for runner in Runner::all() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        program.run(runner, &["capture", folder.path().to_str().unwrap()]);
    }
}

#[test]
fn a_real_boot_rom_speaks_through_the_wire() {
    require_commands!("qemu-system-x86_64");
    require_sandboxes!();
    let program = Program::new();
    for runner in Runner::users() {
        program.run(runner, &["boot"]);
    }
}

#[test]
fn bad_clients_harm_only_themselves() {
    require_sandboxes!();
    let program = Program::new();
    for runner in Runner::all() {
        let said = program.run(runner, &["bad-clients"]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @r#"
            another wire uses port `client`
            Failed("the client announced a frame of 4294967295 bytes; 69632 is the most")
            "#);
        }
    }
}

#[test]
fn refusals_name_what_was_asked_and_why() {
    require_sandboxes!();
    let program = Program::new();
    for runner in Runner::users() {
        let said = program.run(runner, &["errors"]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @r"
            creating segment `lab`: there is one of this name [InvalidInput]
            creating segment `wide`: a prefix of 32 bits is not 1 to 31 [InvalidInput]
            looking up segment `office`: there is no such segment in this sandbox [InvalidInput]
            binding UDP `10.77.0.1:69` on segment `lab`: Address already in use (os error 98) [AddrInUse]
            listening on TCP `10.77.0.1:69` on segment `lab`: Address already in use (os error 98) [AddrInUse]
            listening on TCP `10.99.0.1:80` on segment `lab`: Cannot assign requested address (os error 99) [AddrNotAvailable]
            starting a program: its argv is empty [InvalidInput]
            starting `no-such-program`: No such file or directory (os error 2) [NotFound]
            starting `sh`: its working directory `/nonexistent` is no folder [InvalidInput]
            starting `sh`: inherited descriptors [5, 5] must be different numbers from 3 to 1000 [InvalidInput]
            starting `sh`: a message of 1048703 bytes and 0 descriptors is larger than 196608 bytes and 253 descriptors [InvalidInput]
            sending signal 99 to process 1: there is no such signal [InvalidInput]
            entering the sandbox needs a process with one thread, but this one has 3; enter it first in `main`
            the sandbox's holder process ended (signal 9)
            ");
        }
    }
}

/// A user namespace may forbid further ones: then the error names the setting and the command that changes it.
#[test]
fn forbidden_namespaces_are_explained() {
    require_sandboxes!();
    let program = Program::new();
    for runner in Runner::users() {
        let said = program.run(runner, &["forbidden"]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(said, @r"
            creating a user namespace is forbidden on this host: user.max_user_namespaces is 0
            sudo sysctl -w user.max_user_namespaces=15000
            user.max_user_namespaces is 0
            sudo sysctl -w user.max_user_namespaces=15000
            ");
        }
    }
}
