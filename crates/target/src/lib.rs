//! The machines under test: QEMU virtual machines and boards on a serial line.
