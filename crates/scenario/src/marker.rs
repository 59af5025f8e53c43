//! Markers on a console: the expected ones in their order, the forbidden ones in their stages.

use std::sync::LazyLock;

use bootgate_events::{ForbidRule, MarkerRule, Stage};
use regex::{Regex, RegexSet};

use crate::console::Line;

/// A line on which markers are not expected ones: the kernel repeats its command line (`Command line:`, `Kernel command
/// line:`, `Unknown kernel command line parameters`), and a marker's text may stand on it as an argument.
#[allow(
    clippy::unwrap_used,
    reason = "a constant pattern; the tests compile it"
)]
static ECHO: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?i)\bcommand line(?::| parameters\b)").unwrap());

/// A pattern is not a regular expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("marker `{marker}` has the bad pattern `{pattern}`: {error}")]
pub struct PatternError {
    /// The marker's name.
    pub marker: String,
    /// Its pattern.
    pub pattern: String,
    /// What the parser says.
    pub error: String,
}

/// What a line showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The expected marker whose turn it was.
    Expected {
        /// Its name.
        name: String,
        /// The line.
        line: String,
    },
    /// An expected marker before its turn.
    OutOfOrder {
        /// The one whose turn it was.
        expected: String,
        /// The one that came.
        seen: String,
        /// The line.
        line: String,
    },
    /// A forbidden marker, in a stage where it is fatal.
    Forbidden {
        /// Its name.
        name: String,
        /// What it means.
        hint: String,
        /// The line.
        line: String,
    },
}

/// Looks for markers, rolling forward over a console: what was looked at is never looked at again, except for the line
/// that still grows, and what an expected marker matched is used up.
///
/// A pattern is tried on the line as it stood on the screen and on the line with the wrapped ones before it in front
/// (see [`Line`]). An open line is judged as it is, so a pattern that ends in `$` may match a line that goes on.
#[derive(Clone, Debug)]
pub struct Matcher {
    expect: Vec<Pattern>,
    forbid: Vec<ForbidRule>,
    forbid_set: RegexSet,
    next: usize,
    line: u64,
    kept: usize,
    used: usize,
}

#[derive(Clone, Debug)]
struct Pattern {
    name: String,
    stage: Option<Stage>,
    regex: Regex,
}

impl Matcher {
    /// A matcher at the start of a console.
    ///
    /// # Errors
    /// A pattern is not a regular expression.
    pub fn new(expect: &[MarkerRule], forbid: &[ForbidRule]) -> Result<Self, PatternError> {
        let expect = expect.iter().map(|rule| {
            let regex = compile(&rule.name, &rule.pattern)?;
            Ok(Pattern {
                name: rule.name.clone(),
                stage: rule.stage,
                regex,
            })
        });
        for rule in forbid {
            compile(&rule.name, &rule.pattern)?;
        }
        // Together they cost one pass over a line, and consoles come a byte or two at a time.
        let forbid_set =
            RegexSet::new(forbid.iter().map(|rule| &rule.pattern)).map_err(|error| {
                PatternError {
                    marker: "forbidden".to_owned(),
                    pattern: "all of them together".to_owned(),
                    error: error.to_string(),
                }
            })?;
        Ok(Self {
            expect: expect.collect::<Result<_, PatternError>>()?,
            forbid: forbid.to_vec(),
            forbid_set,
            next: 0,
            line: 0,
            kept: 0,
            used: 0,
        })
    }

    /// Looks at a line in a stage. An expected marker that is used up makes room for the next one on the same line.
    pub fn look(&mut self, line: &Line, stage: Stage) -> Vec<Finding> {
        self.roll(line);
        let mut findings = Vec::new();
        if let Some(rule) = self.forbidden(line, stage) {
            findings.push(Finding::Forbidden {
                name: rule.name.clone(),
                hint: rule.hint.clone(),
                line: line.text().to_owned(),
            });
        }
        if ECHO.is_match(&line.joined) {
            return findings;
        }
        while let Some((index, end)) = self.first(line, stage) {
            let Some(due) = self.expect.get(self.next) else {
                break;
            };
            let text = line.text().to_owned();
            if index != self.next {
                let seen = self.expect.get(index).map(|seen| seen.name.clone());
                findings.push(Finding::OutOfOrder {
                    expected: due.name.clone(),
                    seen: seen.unwrap_or_default(),
                    line: text,
                });
                break;
            }
            findings.push(Finding::Expected {
                name: due.name.clone(),
                line: text,
            });
            self.next += 1;
            self.used = end;
        }
        findings
    }

    /// The name of the expected marker whose turn it is; `None` when all were seen.
    #[must_use]
    pub fn due(&self) -> Option<&str> {
        self.expect
            .get(self.next)
            .map(|pattern| pattern.name.as_str())
    }

    /// The first marker not seen yet that can no longer come, since it counts only in a stage before `stage`.
    #[must_use]
    pub fn missed(&self, stage: Stage) -> Option<(&str, Stage)> {
        self.expect.iter().skip(self.next).find_map(|pattern| {
            let only = pattern.stage.filter(|only| *only < stage)?;
            Some((pattern.name.as_str(), only))
        })
    }

    /// Moves on to `line`: what was used up of it stays used up, unless it was erased since.
    fn roll(&mut self, line: &Line) {
        if line.number != self.line {
            self.line = line.number;
            self.used = self.used.min(line.kept);
        } else if line.kept < self.kept {
            self.used = self.used.min(line.kept);
        }
        self.kept = line.kept;
    }

    /// The first forbidden marker on the line, in the order of the rules.
    fn forbidden(&self, line: &Line, stage: Stage) -> Option<&ForbidRule> {
        let own = self.forbid_set.matches(line.text());
        let joined = (line.start > 0).then(|| self.forbid_set.matches(&line.joined));
        let seen =
            |index| own.matched(index) || joined.as_ref().is_some_and(|set| set.matched(index));
        let mut rules = self.forbid.iter().enumerate();
        rules
            .find(|(index, rule)| rule.stages.contains(&stage) && seen(*index))
            .map(|(_, rule)| rule)
    }

    /// The marker that is complete first on what is not used up of the line; the due one where several are.
    fn first(&self, line: &Line, stage: Stage) -> Option<(usize, usize)> {
        let pending = self.expect.iter().enumerate().skip(self.next);
        pending
            .filter(|(_, pattern)| pattern.stage.is_none_or(|only| only == stage))
            .filter_map(|(index, pattern)| Some((index, self.end_of(&pattern.regex, line)?)))
            .min_by_key(|(index, end)| (*end, *index))
    }

    /// Where the pattern's first match on what is not used up of the line ends, in either view.
    fn end_of(&self, regex: &Regex, line: &Line) -> Option<usize> {
        let find = |text: &str, start: usize| -> Option<usize> {
            let usable = start <= text.len() && text.is_char_boundary(start);
            let found = usable.then(|| regex.find_at(text, start)).flatten()?;
            Some(found.end())
        };
        let own = find(line.text(), self.used.saturating_sub(line.start));
        let own = own.map(|end| line.start + end);
        if line.start == 0 {
            return own;
        }
        let joined = find(&line.joined, self.used);
        match (own, joined) {
            (Some(own), Some(joined)) => Some(own.min(joined)),
            (own, joined) => own.or(joined),
        }
    }
}

pub(crate) fn compile(marker: &str, pattern: &str) -> Result<Regex, PatternError> {
    let bad = |error: String| PatternError {
        marker: marker.to_owned(),
        pattern: pattern.to_owned(),
        error,
    };
    let regex = Regex::new(pattern).map_err(|error| bad(error.to_string()))?;
    if regex.is_match("") {
        return Err(bad("it matches where nothing stands".to_owned()));
    }
    Ok(regex)
}
