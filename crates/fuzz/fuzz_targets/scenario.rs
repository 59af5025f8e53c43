//! Scenario and lab files. An input is the text of a file; every file that it names is there and is a chunk index.
#![no_main]

use std::io;
use std::path::Path;

use bootgate_scenario::{Files, ScenarioError, parse, parse_lab};
use libfuzzer_sys::fuzz_target;

struct Everything;

impl Files for Everything {
    fn length(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 20)
    }

    fn head(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Ok(br#"{"schema":1,"size":1048576,"sector_size":512}"#.to_vec())
    }
}

/// What is wrong is said, and where it is said to be is in the text.
fn shown(text: &str, error: &ScenarioError) {
    for problem in error.problems() {
        assert!(!problem.message.is_empty());
        if let Some(span) = &problem.span {
            assert!(text.get(span.clone()).is_some(), "{span:?}");
        }
    }
    let lines = text.matches('\n').count() + 1;
    assert!(error.line().is_none_or(|line| (1..=lines).contains(&line)));
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let path = Path::new("folder/file.toml");
    let plan = match parse(text, path, &Everything) {
        Ok(plan) => plan,
        Err(error) => {
            shown(text, &error);
            if let Err(error) = parse_lab(text, path) {
                shown(text, &error);
            }
            return;
        }
    };
    assert!(!plan.targets.is_empty());
    assert!(!plan.network.pool.contains(&plan.network.server_ip));
    for (index, target) in plan.targets.iter().enumerate() {
        let before = &plan.targets[..index];
        assert!(
            before
                .iter()
                .all(|other| other.mac != target.mac && other.name != target.name)
        );
        assert!(!target.mac.is_multicast());
        assert!(target.rules.total_deadline_ms > 0);
        assert!(target.rules.stage_deadlines_ms.values().all(|ms| *ms > 0));
        assert!(target.rules.disk_proof.is_some() || !target.rules.expect.is_empty());
        assert_eq!(target.rules.disk_proof.is_some(), target.image.is_some());
    }
    assert_eq!(plan.rules(u64::MAX).targets.len(), plan.targets.len());
});
