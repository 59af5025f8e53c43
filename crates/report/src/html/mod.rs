//! The HTML report: one file that opens without a network.

mod chart;
mod page;
mod rows;
mod transfers;

use std::path::Path;

use bootgate_events::Event;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, context};

use crate::Story;

/// The report of the run that `events` and `story` tell; console logs are read from `folder`.
///
/// # Errors
/// The template cannot be rendered; only a broken build has such a template.
pub(crate) fn render(
    story: &Story,
    events: &[Event],
    folder: &Path,
) -> Result<String, minijinja::Error> {
    let page = page::Page::of(story, events, folder);
    rendered(
        "report.html",
        include_str!("../../templates/report.html"),
        &page,
    )
}

/// The template with `page`, the style and the script in it.
///
/// # Errors
/// The template cannot be rendered; only a broken build has such a template.
pub(crate) fn rendered(
    name: &str,
    template: &str,
    page: &impl serde::Serialize,
) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.render_named_str(
        name,
        template,
        context! {
            page => Value::from(Serde(page)),
            css => Value::from_safe_string(include_str!("../../templates/report.css").to_owned()),
            js => Value::from_safe_string(include_str!("../../templates/report.js").to_owned()),
        },
    )
}
