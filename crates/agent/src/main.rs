//! The program that is PID 1 of the live environment.
#![no_main]
#![allow(
    unsafe_code,
    reason = "the entry point's symbol; see the SAFETY comment"
)]

/// The entry point that the C runtime calls. Rust's own start-up code is left out: it aborts where it finds file
/// descriptors 0 to 2 closed and no `/dev/null`, which is how a kernel without a console starts PID 1.
// SAFETY: the symbol `main` is defined nowhere else (`no_main`), and has the type that the C runtime calls.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    bootgate_agent::live::main()
}
