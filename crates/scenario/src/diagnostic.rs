//! What is said about a file that cannot be used: the file, the line, the offending text and a hint.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

use crate::matrix::Axis;

/// How many problems beside the first are named.
const OTHERS_SHOWN: usize = 8;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong: a lowercase fragment with the offending text in backticks.
    pub message: String,
    /// Where, in bytes of the file; `None` where it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// A word or two put at the place.
    pub label: String,
    /// What to do about it; empty where the message says it.
    pub hint: String,
    /// Something is absent that another problem may have hidden: not worth telling beside that one.
    pub(crate) absence: bool,
    /// The axes of a matrix that the problem lies between: things that are good by themselves and not together.
    pub(crate) axes: Vec<Axis>,
}

impl Problem {
    /// A problem at a place of the file.
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: Some(span),
            label: "here".to_owned(),
            hint: String::new(),
            absence: false,
            axes: Vec::new(),
        }
    }

    /// A problem of what does not go together, where a matrix may be what put it together.
    pub(crate) fn between(mut self, axes: &[Axis]) -> Self {
        self.axes = axes.to_vec();
        self
    }

    /// A problem that goes away when something else is put right, or is about nothing being there.
    pub fn absence(mut self) -> Self {
        self.absence = true;
        self
    }

    /// With this word or two at the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With this to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// A scenario or lab file cannot be used.
///
/// As a [`Diagnostic`] it shows the first problem in the file with its line and a hint, and names the others in
/// one line each. Displayed, it is the first problem alone; [`ScenarioError::one_line`] adds where it is.
#[derive(Clone, Debug)]
pub struct ScenarioError {
    first: Box<Problem>,
    others: Vec<Problem>,
    name: String,
    text: Option<Arc<NamedSource<String>>>,
}

impl ScenarioError {
    /// The file could not be read at all.
    pub(crate) fn unreadable(file: &Path, reason: impl fmt::Display, hint: &str) -> Self {
        let name = file.display().to_string();
        let first = Problem {
            message: format!("read `{name}`: {reason}"),
            span: None,
            label: String::new(),
            hint: hint.to_owned(),
            absence: false,
            axes: Vec::new(),
        };
        Self {
            first: Box::new(first),
            others: Vec::new(),
            name,
            text: None,
        }
    }

    /// The file has problems; `None` where there are none. They are put in the order of the file.
    pub(crate) fn in_text(file: &Path, text: &str, mut problems: Vec<Problem>) -> Option<Self> {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        if problems.iter().any(|problem| !problem.absence) {
            problems.retain(|problem| !problem.absence);
        }
        // What stands at the top is checked again for every target.
        let mut seen: Vec<Problem> = Vec::new();
        problems.retain(|problem| {
            let new = !seen.contains(problem);
            if new {
                seen.push(problem.clone());
            }
            new
        });
        for problem in &mut problems {
            problem.span = problem.span.take().map(|span| within(text, span));
        }
        let name = file.display().to_string();
        let mut problems = problems.into_iter();
        Some(Self {
            first: Box::new(problems.next()?),
            others: problems.collect(),
            text: Some(Arc::new(NamedSource::new(&name, text.to_owned()))),
            name,
        })
    }

    /// The file, as it was given.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.name
    }

    /// Line of the first problem, from 1; `None` where it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.line_of(&self.first)
    }

    /// The first problem as compilers write it: `FILE:LINE: PROBLEM`.
    #[must_use]
    pub fn one_line(&self) -> String {
        match self.line() {
            Some(line) => format!("{}:{line}: {}", self.name, self.first.message),
            None => self.first.message.clone(),
        }
    }

    /// Every problem that was found, in the order of the file; one at least.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&*self.first).chain(&self.others)
    }

    fn line_of(&self, problem: &Problem) -> Option<usize> {
        let text = self.text.as_ref()?.inner();
        let start = problem.span.as_ref()?.start;
        let before = text.as_bytes().get(..start)?;
        Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
    }
}

/// The span, kept within the text and on character boundaries, on one line and never empty where the line is not.
fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let line_end = text[start..]
        .find('\n')
        .map_or(text.len(), |offset| start + offset);
    let mut end = span.end.clamp(start, line_end);
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.message)
    }
}

impl std::error::Error for ScenarioError {}

impl Diagnostic for ScenarioError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let mut help = self.first.hint.clone();
        for problem in self.others.iter().take(OTHERS_SHOWN) {
            if !help.is_empty() {
                help.push('\n');
            }
            match self.line_of(problem) {
                Some(line) => help.push_str(&format!("also line {line}: {}", problem.message)),
                None => help.push_str(&format!("also: {}", problem.message)),
            }
        }
        if self.others.len() > OTHERS_SHOWN {
            let more = self.others.len() - OTHERS_SHOWN;
            help.push_str(&format!("\nand {more} more"));
        }
        (!help.is_empty()).then(|| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let text = self.text.as_ref()?;
        Some(&**text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.first.span.clone()?;
        let label = LabeledSpan::new_primary_with_span(Some(self.first.label.clone()), span);
        Some(Box::new(std::iter::once(label)))
    }
}
