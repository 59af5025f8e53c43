//! Annotations for a CI that shows them beside the code: GitHub's workflow commands, which it reads in a job's output.

use bootgate_report::VerdictFile;

use crate::exit;

/// Whether the output is read by GitHub Actions, or by what is compatible with it.
pub(super) fn wanted() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Says what did not pass.
pub(super) fn say(shown: &str, file: &Result<VerdictFile, String>) {
    if let Some(line) = annotation(shown, file) {
        exit::say(&line);
    }
}

/// The workflow command for a run; none for one that passed. What was skipped is a warning: it shows nothing.
fn annotation(shown: &str, file: &Result<VerdictFile, String>) -> Option<String> {
    let (level, title, text) = match file {
        Err(error) => ("error", format!("{shown}: no verdict"), error.clone()),
        Ok(file) => {
            let targets = file.targets.iter();
            let first = targets.map(|target| &target.outcome);
            // The target's outcome says more of the same.
            let outcome = first
                .filter(|outcome| outcome.verdict == file.outcome.verdict)
                .chain([&file.outcome])
                .next()?;
            let level = match outcome.verdict.as_str() {
                "passed" => return None,
                "skipped" => "warning",
                _ => "error",
            };
            let stage = outcome.stage.map(|stage| format!(" at {stage}"));
            let title = format!("{shown} {}{}", outcome.verdict, stage.unwrap_or_default());
            let said = [&outcome.detail, &outcome.hint].into_iter().flatten();
            let said: Vec<&str> = said.map(String::as_str).collect();
            (level, title, said.join("\n"))
        }
    };
    let title = escaped(&title).replace(':', "%3A").replace(',', "%2C");
    Some(format!("::{level} title={title}::{}", escaped(&text)))
}

/// What would end a workflow command is written as GitHub's toolkit does (`escapeData` in its `command.ts`).
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::annotation;

    #[test]
    fn an_annotation_is_one_line() {
        let said = annotation("m/uefi+e1000", &Err("100%\nbroken: x".to_owned()));
        let expected = "::error title=m/uefi+e1000%3A no verdict::100%25%0Abroken: x";
        assert_eq!(said.as_deref(), Some(expected));
    }
}
