//! pxelinux with a configuration file of its own.

/// "Hard-wired options" of pxelinux.0 (syslinux, core/pxelinux.asm and utils/pxelinux-options): behind a jump of eight bytes
/// a magic number, the header's length and flags, then place and length of options in the form of DHCP's that come before and after
/// those that DHCP gave.
const MAGIC: u32 = 0x2983_c8ac;
const MAGIC_AT: usize = 8;
const LENGTH_AT: usize = 12;
const BEFORE_AT: usize = 20;
const HEADER: u32 = 7 * 4;
/// RFC 5071, section 5: the configuration file's name.
const CONFIG_FILE: u8 = 209;
const END: u8 = 255;

/// The program with the name of the configuration file that it loads, whatever DHCP says. Without it, pxelinux asks for files
/// of this machine's first: nine requests that a TFTP server must refuse, or that a server with per-machine configurations
/// answers with something else than iPXE. `None` where the program has no place for it, or has been given options already.
pub(super) fn with_config(program: &[u8], config: &str) -> Option<Vec<u8>> {
    let word = |at: usize| {
        let four = program.get(at..at + 4)?;
        Some(u32::from_le_bytes(four.try_into().ok()?))
    };
    if word(MAGIC_AT)? != MAGIC || word(LENGTH_AT)? < HEADER {
        return None;
    }
    // Before, after: place and length of each.
    if (0..4).any(|index| word(BEFORE_AT + index * 4) != Some(0)) {
        return None;
    }
    let mut options = vec![CONFIG_FILE, u8::try_from(config.len()).ok()?];
    options.extend(config.bytes());
    options.push(END);
    let place = u32::try_from(program.len()).ok()?;
    let length = u32::try_from(options.len()).ok()?;
    let mut out = program.to_vec();
    out[BEFORE_AT + 8..BEFORE_AT + 12].copy_from_slice(&place.to_le_bytes());
    out[BEFORE_AT + 12..BEFORE_AT + 16].copy_from_slice(&length.to_le_bytes());
    out.extend(options);
    Some(out)
}
