//! Reading a TOML table key by key: the right type, the place in the file, and no key left over.

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Problem;
use crate::suggest;

/// Text with its place in the file.
pub type Text = Spanned<String>;

/// Where problems are collected.
#[derive(Debug, Default)]
pub struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    /// One more.
    pub fn add(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// All of them, in the order in which they were found.
    pub fn into_inner(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A table being read. Every key asked for is known; [`Reader::finish`] complains about the others.
pub struct Reader<'a, 'i> {
    table: &'a DeTable<'i>,
    span: Range<usize>,
    place: String,
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a, 'i> Reader<'a, 'i> {
    /// A reader of `table`, which messages call `place`.
    pub fn new(table: &'a Spanned<DeTable<'i>>, place: &str, problems: &'a Problems) -> Self {
        Self::of(table.get_ref(), table.span(), place, problems)
    }

    fn of(table: &'a DeTable<'i>, span: Range<usize>, place: &str, problems: &'a Problems) -> Self {
        Self {
            table,
            span,
            place: place.to_owned(),
            known: Vec::new(),
            problems,
        }
    }

    /// Where the table begins in the file.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// All keys, each with its value where that is text. Marks none of them as known.
    pub fn keys(&self) -> Vec<Text> {
        let mut keys: Vec<Text> = self
            .table
            .iter()
            .map(|(key, _)| Spanned::new(key.span(), key.get_ref().to_string()))
            .collect();
        keys.sort_by_key(|key| key.span().start);
        keys
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.known.push(key);
        self.value(key)
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table
            .iter()
            .find(|(name, _)| name.get_ref().as_ref() == key)
            .map(|(_, value)| value)
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = describe(value.get_ref());
        self.problems.add(
            Problem::at(
                value.span(),
                format!("`{key}` must be {wanted}, not {found}"),
            )
            .label(found),
        );
    }

    /// Text. `example` is what a good value looks like.
    pub fn text(&mut self, key: &'static str, example: &str) -> Option<Text> {
        let value = self.get(key)?;
        self.as_text(key, value, &format!("text like {example:?}"))
    }

    /// Text under a key that is not fixed.
    pub fn text_of(&self, key: &str, example: &str) -> Option<Text> {
        let value = self.value(key)?;
        self.as_text(key, value, &format!("text like {example:?}"))
    }

    fn as_text(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<Text> {
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
            _ => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    /// Text, or a list of it.
    pub fn texts(&mut self, key: &'static str, wanted: &str) -> Option<Spanned<Vec<Text>>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => {
                let one = Spanned::new(value.span(), text.to_string());
                Some(Spanned::new(value.span(), vec![one]))
            }
            DeValue::Array(_) => self.list_of(key, value, wanted),
            _ => {
                self.wrong_type(key, value, wanted);
                None
            }
        }
    }

    /// A list of texts.
    pub fn list(&mut self, key: &'static str, wanted: &str) -> Option<Spanned<Vec<Text>>> {
        let value = self.get(key)?;
        self.list_of(key, value, wanted)
    }

    fn list_of(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        wanted: &str,
    ) -> Option<Spanned<Vec<Text>>> {
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, wanted);
            return None;
        };
        let texts = items
            .iter()
            .map(|item| self.as_text(key, item, wanted))
            .collect::<Option<Vec<_>>>()?;
        Some(Spanned::new(value.span(), texts))
    }

    /// A whole number, 0 or more.
    pub fn number(&mut self, key: &'static str, example: &str) -> Option<Spanned<u64>> {
        let value = self.get(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong_type(key, value, &format!("a whole number like {example}"));
        }
        number.map(|number| Spanned::new(value.span(), number))
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<Spanned<bool>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(Spanned::new(value.span(), *flag)),
            _ => {
                self.wrong_type(key, value, "`true` or `false`");
                None
            }
        }
    }

    /// A table, which messages call `place`.
    pub fn table(&mut self, key: &'static str, place: &str) -> Option<Reader<'a, 'i>> {
        let value = self.get(key)?;
        self.as_table(key, value, place)
    }

    /// A table under a key that is not fixed.
    pub fn table_of(&self, key: &str, place: &str) -> Option<Reader<'a, 'i>> {
        let value = self.value(key)?;
        self.as_table(key, value, place)
    }

    fn as_table(
        &self,
        key: &str,
        value: &'a Spanned<DeValue<'i>>,
        place: &str,
    ) -> Option<Reader<'a, 'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Reader::of(table, value.span(), place, self.problems)),
            _ => {
                self.wrong_type(key, value, &format!("a table, `[{place}]`"));
                None
            }
        }
    }

    /// A table, or text.
    pub fn table_or_text(
        &mut self,
        key: &'static str,
        place: &str,
        example: &str,
    ) -> Option<Result<Reader<'a, 'i>, Text>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Ok(Reader::of(table, value.span(), place, self.problems)))
            }
            _ => self
                .as_text(key, value, &format!("text like {example:?}, or a table"))
                .map(Err),
        }
    }

    /// Text, a table, or a list of these; messages call each table `[[place]]`.
    pub fn texts_or_tables(
        &mut self,
        key: &'static str,
        place: &str,
        wanted: &str,
    ) -> Option<Spanned<Vec<Result<Reader<'a, 'i>, Text>>>> {
        let value = self.get(key)?;
        let one = |item: &'a Spanned<DeValue<'i>>| match item.get_ref() {
            DeValue::Table(table) => {
                let place = format!("[{place}]");
                Some(Ok(Reader::of(table, item.span(), &place, self.problems)))
            }
            _ => self.as_text(key, item, wanted).map(Err),
        };
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>()?,
            _ => vec![one(value)?],
        };
        Some(Spanned::new(value.span(), items))
    }

    /// Text or a whole number, or a list of these; numbers are given as text.
    pub fn words(&mut self, key: &'static str, wanted: &str) -> Option<Spanned<Vec<Text>>> {
        let value = self.get(key)?;
        let one = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => {
                Some(Spanned::new(item.span(), number.as_str().to_owned()))
            }
            _ => self.as_text(key, item, wanted),
        };
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(one).collect::<Option<Vec<_>>>()?,
            _ => vec![one(value)?],
        };
        Some(Spanned::new(value.span(), items))
    }

    /// A list of tables, which messages call `[[place]]`. `None` where the key is absent.
    pub fn tables(
        &mut self,
        key: &'static str,
        place: &str,
    ) -> Option<Spanned<Vec<Reader<'a, 'i>>>> {
        let value = self.get(key)?;
        let wanted = format!("a list of tables, `[[{place}]]`");
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_type(key, value, &wanted);
            return None;
        };
        let mut readers = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => {
                    let place = format!("[{place}]");
                    readers.push(Reader::of(table, item.span(), &place, self.problems));
                }
                _ => self.wrong_type(key, item, &wanted),
            }
        }
        Some(Spanned::new(value.span(), readers))
    }

    /// Complains about every key that was not asked for.
    pub fn finish(self) {
        for key in self.keys() {
            let name = key.get_ref().as_str();
            if self.known.contains(&name) {
                continue;
            }
            let mut known = self.known.clone();
            known.sort_unstable();
            self.problems.add(
                Problem::at(
                    key.span(),
                    format!("unknown key `{}` {}", shorten(name), self.place_text()),
                )
                .label("not a key of this table")
                .hint(suggest::hint(name, &known)),
            );
        }
    }

    fn place_text(&self) -> String {
        match self.place.as_str() {
            "" => "at the top level".to_owned(),
            place => format!("in `[{place}]`"),
        }
    }
}

/// Text from a file as it is put in a message: short, on one line.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown.replace("\\'", "'").replace("\\\"", "\"")
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text `{}`", shorten(text)),
        DeValue::Integer(number) => format!("the number `{}`", shorten(number.as_str())),
        DeValue::Float(number) => format!("the number `{}`", shorten(number.as_str())),
        DeValue::Boolean(flag) => format!("`{flag}`"),
        DeValue::Datetime(date) => format!("the date `{date}`"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
