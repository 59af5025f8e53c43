//! Prompts that are answered, so that nothing waits for a person.

use bootgate_events::KeyRule;
use regex::Regex;

use crate::console::Line;
use crate::marker::{PatternError, compile};

/// The prompts of one console.
#[derive(Clone, Debug)]
pub(super) struct Prompts(Vec<Prompt>);

#[derive(Clone, Debug)]
struct Prompt {
    rule: KeyRule,
    regex: Regex,
    /// Offset of the line it was answered on last: an open line is looked at again with every byte, and goes on under
    /// another number when a part of it is erased.
    answered: Option<u64>,
}

impl Prompts {
    /// # Errors
    /// A pattern is not a regular expression.
    pub(super) fn new(rules: &[KeyRule]) -> Result<Self, PatternError> {
        let prompt = |rule: &KeyRule| {
            let regex = compile(&rule.name, &rule.pattern)?;
            Ok(Prompt {
                rule: rule.clone(),
                regex,
                answered: None,
            })
        };
        rules.iter().map(prompt).collect::<Result<_, _>>().map(Self)
    }

    /// The rules that this line calls for, each once a line.
    pub(super) fn called(&mut self, line: &Line) -> Vec<&KeyRule> {
        let mut called = Vec::new();
        for prompt in &mut self.0 {
            if prompt.answered != Some(line.offset) && prompt.regex.is_match(line.text()) {
                prompt.answered = Some(line.offset);
                called.push(&prompt.rule);
            }
        }
        called
    }
}
