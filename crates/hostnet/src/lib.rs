//! The rootless sandbox: namespaces, bridge, taps, sockets and the userspace wire.
