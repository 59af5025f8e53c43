//! Console bytes, in reads of any size. The first byte tells how long the reads are; the rest is the console. However it
//! is cut, the lines are the same, and markers are found at the same places.
#![no_main]

use std::sync::LazyLock;

use bootgate_events::{MarkerRule, Stage};
use bootgate_scenario::console::{Cleaner, JOINED_LIMIT, LINE_LIMIT, Line};
use bootgate_scenario::defaults::default_forbidden;
use bootgate_scenario::marker::{Finding, Matcher};
use libfuzzer_sys::fuzz_target;

fn clean<'a>(reads: impl Iterator<Item = &'a [u8]>) -> Vec<Line> {
    let mut cleaner = Cleaner::new();
    let mut lines = Vec::new();
    for read in reads {
        lines.extend(cleaner.push(read));
        if let Some(open) = cleaner.partial() {
            assert!(open.open && open.end == cleaner.offset());
        }
    }
    lines.extend(cleaner.partial());
    lines
}

static MATCHER: LazyLock<Matcher> = LazyLock::new(|| {
    let marker = |name: &str| MarkerRule {
        name: name.to_owned(),
        pattern: name.to_owned(),
        stage: None,
    };
    Matcher::new(&[marker("iPXE"), marker("image-id")], &default_forbidden())
        .expect("constant patterns")
});

fuzz_target!(|data: &[u8]| {
    let Some((size, console)) = data.split_first() else {
        return;
    };
    let lines = clean(console.chunks(usize::from(*size).max(1)));
    assert_eq!(lines, clean(console.chunks(console.len().max(1))));
    let mut matcher = MATCHER.clone();
    let mut due = 0;
    for line in &lines {
        assert!(line.start <= line.joined.len() && line.kept <= line.joined.len());
        assert!(line.text().chars().count() <= LINE_LIMIT);
        assert!(line.joined.len() <= JOINED_LIMIT + 4 * LINE_LIMIT);
        assert!(line.offset < line.end && line.end <= console.len() as u64);
        assert!(!line.joined.chars().any(char::is_control));
        for finding in matcher.look(line, Stage::Live) {
            if matches!(finding, Finding::Expected { .. }) {
                due += 1;
            }
        }
    }
    assert!(due <= 2);
});
