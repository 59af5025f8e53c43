//! The probe guest: a ROM of 64 KiB that counts, says so, and ends QEMU.

/// Where the guest says what it does (QEMU's `isa-debugcon`).
pub(super) const DEBUGCON_PORT: u8 = 0xe9;
/// What the guest ends QEMU by (QEMU's `isa-debug-exit`).
pub(super) const EXIT_PORT: u8 = 0xf4;
/// QEMU's status when the guest ended it: `(value << 1) | 1`.
pub(super) const EXIT_STATUS: i32 = (EXIT_VALUE as i32) << 1 | 1;
/// Said once, before the first round.
pub(super) const STARTED: u8 = b'S';
/// Said after each round.
pub(super) const ROUND_DONE: u8 = b'R';
/// How many rounds there are.
pub(super) const ROUNDS: u8 = 5;
/// Turns of the loop in a round. A change of this or of the loop is a change of [`super::cache::REVISION`].
const TURNS: u32 = 1_500_000;

const EXIT_VALUE: u8 = 0x10;
const SIZE: usize = 64 * 1024;
/// A PC's first instruction is 16 bytes below the end of its ROM.
const RESET_VECTOR: usize = SIZE - 16;

/// The ROM. It runs in real mode from F000:0000. Its loop adds, reads and writes memory, calls and returns: what
/// firmware and kernels do all day, so that its time is a fair measure of how fast they run here.
pub(super) fn build() -> Vec<u8> {
    let mut code = vec![
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x8e, 0xd0, // mov ss, ax
        0xbc, 0x00, 0x7c, // mov sp, 0x7c00
        0xbd, ROUNDS, 0x00, // mov bp, ROUNDS
    ];
    say(&mut code, DEBUGCON_PORT, STARTED);
    let round = code.len();
    code.extend([0x66, 0xb9]); // mov ecx, TURNS
    code.extend(TURNS.to_le_bytes());
    let turn = code.len();
    code.extend([
        0x66, 0x01, 0xcb, // add ebx, ecx
        0x66, 0x33, 0x1e, 0x00, 0x05, // xor ebx, [0x500]
        0x66, 0x89, 0x1e, 0x04, 0x05, // mov [0x504], ebx
    ]);
    let call = code.len();
    code.extend([0xe8, 0, 0]); // call rotate
    code.extend([0x66, 0x49]); // dec ecx
    jump_back(&mut code, turn); // jnz turn
    say(&mut code, DEBUGCON_PORT, ROUND_DONE);
    code.push(0x4d); // dec bp
    jump_back(&mut code, round); // jnz round
    say(&mut code, EXIT_PORT, EXIT_VALUE);
    code.extend([0xf4, 0xeb, 0xfd]); // hlt; jmp back to it
    let rotate = code.len();
    code.extend([0x66, 0xc1, 0xc3, 0x05, 0xc3]); // rol ebx, 5; ret
    code[call + 1] = low_byte(rotate - (call + 3));

    let mut rom = vec![0u8; SIZE];
    rom[..code.len()].copy_from_slice(&code);
    let first = [0xea, 0x00, 0x00, 0x00, 0xf0]; // jmp F000:0000
    rom[RESET_VECTOR..RESET_VECTOR + first.len()].copy_from_slice(&first);
    rom
}

/// `mov al, value; out port, al`
fn say(code: &mut Vec<u8>, port: u8, value: u8) {
    code.extend([0xb0, value, 0xe6, port]);
}

/// `jnz` to an earlier place, 127 bytes back at most.
fn jump_back(code: &mut Vec<u8>, to: usize) {
    let distance = code.len() + 2 - to;
    code.extend([0x75, low_byte(distance).wrapping_neg()]);
}

/// The code is shorter than 128 bytes, so that every distance fits.
fn low_byte(distance: usize) -> u8 {
    distance.to_le_bytes()[0]
}
