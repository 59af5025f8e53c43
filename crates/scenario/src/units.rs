//! Durations and sizes as scenarios write them.

/// The longest duration a scenario can ask for: a day, in milliseconds.
pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;

/// Reads a duration of `longest_ms` at most: a whole number and `ms`, `s`, `m`, `h` or `d`. Gives milliseconds.
pub(crate) fn duration_ms(text: &str, longest_ms: u64) -> Result<u64, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => DAY_MS,
        _ => return Err(DURATION_FORM.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| DURATION_FORM.to_owned())?;
    match number.checked_mul(factor) {
        Some(ms) if ms <= longest_ms => Ok(ms),
        _ if longest_ms == DAY_MS => Err("the longest duration is 24h".to_owned()),
        _ => Err(format!("the longest is {}d", longest_ms / DAY_MS)),
    }
}

const DURATION_FORM: &str = "write a whole number and a unit: \"500ms\", \"30s\", \"2m\" or \"1h\"";

/// Reads a size: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`. Gives bytes.
///
/// # Errors
/// How a size is written, or that it is larger than any disk.
pub fn size_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(size_form(number, unit)),
    };
    let bytes = number.parse::<u64>().ok();
    match bytes.and_then(|n| n.checked_mul(1 << shift)) {
        Some(bytes) if bytes <= 1 << 50 => Ok(bytes),
        Some(_) => Err("the largest size is 1024TiB".to_owned()),
        None => Err(size_form(number, unit)),
    }
}

fn size_form(number: &str, unit: &str) -> String {
    let form = "write a whole number and a unit: \"512B\", \"4KiB\", \"64MiB\" or \"1GiB\"";
    let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
    match letter {
        Some(c @ ('K' | 'M' | 'G' | 'T'))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            format!("did you mean \"{number}{c}iB\"? {form}")
        }
        _ => form.to_owned(),
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A size as [`size_bytes`] reads it, in the largest unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift))
        .map_or_else(
            || format!("{bytes}B"),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration_ms("500ms", DAY_MS), Ok(500));
        assert_eq!(duration_ms("30s", DAY_MS), Ok(30_000));
        assert_eq!(duration_ms("2 m", DAY_MS), Ok(120_000));
        assert_eq!(duration_ms("24h", DAY_MS), Ok(DAY_MS));
        assert_eq!(duration_ms("7d", 30 * DAY_MS), Ok(7 * DAY_MS));
        for bad in [
            "",
            "s",
            "30",
            "-1s",
            "1.5s",
            "30sec",
            "25h",
            "99999999999999999999h",
        ] {
            assert!(duration_ms(bad, DAY_MS).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size_bytes("512B"), Ok(512));
        assert_eq!(size_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(size_bytes("1024TiB"), Ok(1 << 50));
        for bad in [
            "",
            "64",
            "64MB",
            "MiB",
            "2000TiB",
            "99999999999999999TiB",
            "0x10MiB",
        ] {
            assert!(size_bytes(bad).is_err(), "{bad}");
        }
        assert!(size_bytes("512M").is_err_and(|hint| hint.contains("\"512MiB\"")));
    }

    #[test]
    fn a_shown_size_is_read_back() {
        for bytes in [0, 1, 512, 1024, 1536, 64 << 20, 3 << 40] {
            assert_eq!(size_bytes(&show_size(bytes)), Ok(bytes));
        }
    }
}
