//! Deterministic builders: initramfs, disk images, chunk indexes.
