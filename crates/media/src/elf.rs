//! The little of the ELF format that is needed: sections by name, and whether a program asks for a loader.
//!
//! Offsets are those of `Elf64_Ehdr`, `Elf64_Shdr` and `Elf64_Phdr` in elf(5).

/// Program header that names the dynamic loader.
const PT_INTERP: u32 = 3;

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], String> {
    let end = at.checked_add(N);
    end.and_then(|end| file.get(at..end))
        .and_then(|slice| slice.try_into().ok())
        .ok_or_else(|| "it is cut short".to_owned())
}

fn half(file: &[u8], at: usize) -> Result<usize, String> {
    Ok(usize::from(u16::from_le_bytes(bytes(file, at)?)))
}

fn word(file: &[u8], at: usize) -> Result<u32, String> {
    Ok(u32::from_le_bytes(bytes(file, at)?))
}

fn offset(file: &[u8], at: usize) -> Result<usize, String> {
    let value = u64::from_le_bytes(bytes(file, at)?);
    usize::try_from(value).map_err(|_| "it has an offset past its end".to_owned())
}

fn check(file: &[u8]) -> Result<(), String> {
    // Magic, 64 bits, little endian.
    if file.starts_with(b"\x7fELF\x02\x01") {
        Ok(())
    } else {
        Err("it is not a 64-bit little-endian ELF file".to_owned())
    }
}

/// What the file says of the processor it is for.
pub(crate) fn machine(file: &[u8]) -> Result<u16, String> {
    check(file)?;
    Ok(u16::from_le_bytes(bytes(file, 0x12)?))
}

/// Whether a program asks for a dynamic loader.
pub(crate) fn interpreter(file: &[u8]) -> Result<bool, String> {
    check(file)?;
    let (table, size, count) = (offset(file, 0x20)?, half(file, 0x36)?, half(file, 0x38)?);
    for index in 0..count {
        if word(file, table.saturating_add(index * size))? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The content of the section `name`, or `None` where there is no such section.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, String> {
    check(file)?;
    let (table, size, count) = (offset(file, 0x28)?, half(file, 0x3a)?, half(file, 0x3c)?);
    let header = |index: usize| table.saturating_add(index * size);
    let content = |index: usize| {
        let start = offset(file, header(index) + 0x18)?;
        let length = offset(file, header(index) + 0x20)?;
        file.get(start..start.saturating_add(length))
            .ok_or_else(|| "it has a section past its end".to_owned())
    };
    let names = content(half(file, 0x3e)?)?;
    for index in 0..count {
        let at = usize::try_from(word(file, header(index))?).unwrap_or(usize::MAX);
        let found = names
            .get(at..)
            .and_then(|rest| rest.split(|byte| *byte == 0).next());
        if found == Some(name.as_bytes()) {
            return content(index).map(Some);
        }
    }
    Ok(None)
}
