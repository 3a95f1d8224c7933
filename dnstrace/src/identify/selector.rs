//! Label selectors, as kubectl's `-l` has them: `app=cart,tier!=db,env in (a,b),!x`.
//!
//! After `labels.Parse` of k8s.io/apimachinery: requirements with commas between them, all of which must hold.

use std::{fmt, iter::Peekable, str::FromStr};

use serde::{Deserialize, Serialize};

use super::facts::Labels;

/// Bytes of a name: of a key behind its prefix, or of a value.
const MAX_NAME: usize = 63;
const MAX_PREFIX: usize = 253;

/// Which pods are meant, by their labels. Without requirements all are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Requirement {
    key: String,
    condition: Condition,
}

/// What must hold of the label of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    /// `key`
    There,
    /// `!key`
    Absent,
    /// `key=value` (also `==`)
    Equal(String),
    /// `key!=value`; holds without the label, too.
    NotEqual(String),
    /// `key in (a,b)`
    In(Vec<String>),
    /// `key notin (a,b)`; holds without the label, too.
    NotIn(Vec<String>),
    /// `key>5`: both are numbers.
    Greater(i64),
    /// `key<5`
    Less(i64),
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error(
        "{0:?} is no key of a label: letters, digits, '-', '_' and '.', at most 63, perhaps behind a prefix/"
    )]
    Key(String),
    #[error("{0:?} is no value of a label: at most 63 letters, digits, '-', '_' and '.'")]
    Value(String),
    #[error("{0:?} is no number")]
    Number(String),
    #[error("{expected} is missing before {found}: write app=cart,tier!=db,'env in (a,b)',x,'!y'")]
    Syntax { expected: &'static str, found: String },
}

impl Selector {
    /// Whether a pod with these labels is meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|Requirement { key, condition }| condition.holds(labels.get(key)))
    }
}

impl Condition {
    fn holds(&self, value: Option<&String>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::There => value.is_some(),
            Self::Absent => value.is_none(),
            Self::Equal(wanted) => value == Some(wanted),
            Self::NotEqual(unwanted) => value != Some(unwanted),
            Self::In(wanted) => value.is_some_and(|value| wanted.contains(value)),
            Self::NotIn(unwanted) => !value.is_some_and(|value| unwanted.contains(value)),
            Self::Greater(bound) => number().is_some_and(|number| number > *bound),
            Self::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.condition {
            Condition::There => write!(f, "{key}"),
            Condition::Absent => write!(f, "!{key}"),
            Condition::Equal(value) => write!(f, "{key}={value}"),
            Condition::NotEqual(value) => write!(f, "{key}!={value}"),
            Condition::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Condition::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Condition::Greater(bound) => write!(f, "{key}>{bound}"),
            Condition::Less(bound) => write!(f, "{key}<{bound}"),
        }
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut tokens = Tokens(text).peekable();
        let mut requirements = Vec::new();
        if tokens.peek().is_none() {
            return Ok(Self { requirements });
        }
        loop {
            requirements.push(requirement(&mut tokens)?);
            match tokens.next() {
                None => return Ok(Self { requirements }),
                Some(Token::Comma) => {}
                other => return Err(missing("a comma", other)),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, `in`, `notin`.
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// The tokens of a text, of what is left of it.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        const SIGNS: [(&str, Token<'static>); 9] = [
            ("==", Token::Equal),
            ("!=", Token::NotEqual),
            ("=", Token::Equal),
            ("!", Token::Not),
            (">", Token::Greater),
            ("<", Token::Less),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        let text = self.0.trim_start();
        for (sign, token) in SIGNS {
            if let Some(rest) = text.strip_prefix(sign) {
                self.0 = rest;
                return Some(token);
            }
        }
        let is_end = |char: char| char.is_whitespace() || "=!<>,()".contains(char);
        let (word, rest) = text.split_at(text.find(is_end).unwrap_or(text.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(Token::Word(word))
    }
}

type Reader<'a> = Peekable<Tokens<'a>>;

fn requirement(tokens: &mut Reader<'_>) -> Result<Requirement, SelectorError> {
    if tokens.next_if_eq(&Token::Not).is_some() {
        return Ok(Requirement { key: key(tokens.next())?, condition: Condition::Absent });
    }
    let key = key(tokens.next())?;
    let condition = match tokens.peek() {
        None | Some(Token::Comma) => return Ok(Requirement { key, condition: Condition::There }),
        Some(_) => condition(tokens)?,
    };
    Ok(Requirement { key, condition })
}

fn condition(tokens: &mut Reader<'_>) -> Result<Condition, SelectorError> {
    Ok(match tokens.next() {
        Some(Token::Equal) => Condition::Equal(value(tokens)?),
        Some(Token::NotEqual) => Condition::NotEqual(value(tokens)?),
        Some(Token::Greater) => Condition::Greater(number(tokens)?),
        Some(Token::Less) => Condition::Less(number(tokens)?),
        Some(Token::Word("in")) => Condition::In(values(tokens)?),
        Some(Token::Word("notin")) => Condition::NotIn(values(tokens)?),
        other => return Err(missing("an operator", other)),
    })
}

/// `(a,b)`. A value may be empty.
fn values(tokens: &mut Reader<'_>) -> Result<Vec<String>, SelectorError> {
    match tokens.next() {
        Some(Token::Open) => {}
        other => return Err(missing("'('", other)),
    }
    let mut values = Vec::new();
    loop {
        values.push(value(tokens)?);
        match tokens.next() {
            Some(Token::Close) => return Ok(values),
            Some(Token::Comma) => {}
            other => return Err(missing("')'", other)),
        }
    }
}

/// A value; an empty one before a comma, a parenthesis or the end.
fn value(tokens: &mut Reader<'_>) -> Result<String, SelectorError> {
    match tokens.peek() {
        None | Some(Token::Comma | Token::Close) => Ok(String::new()),
        Some(Token::Word(word)) => {
            let word = (*word).to_owned();
            tokens.next();
            if is_name(&word) { Ok(word) } else { Err(SelectorError::Value(word)) }
        }
        Some(_) => Err(missing("a value", tokens.next())),
    }
}

fn number(tokens: &mut Reader<'_>) -> Result<i64, SelectorError> {
    match tokens.next() {
        Some(Token::Word(word)) => word.parse().map_err(|_| SelectorError::Number(word.to_owned())),
        other => Err(missing("a number", other)),
    }
}

fn key(token: Option<Token<'_>>) -> Result<String, SelectorError> {
    let Some(Token::Word(word)) = token else { return Err(missing("a key", token)) };
    let is_prefix = |prefix: &str| {
        let is_label = |label: &str| is_name(label) && !label.contains(['_', '.']);
        prefix.len() <= MAX_PREFIX && prefix.split('.').all(is_label) && prefix.to_ascii_lowercase() == prefix
    };
    let is_key = match word.split_once('/') {
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
        None => is_name(word),
    };
    if is_key { Ok(word.to_owned()) } else { Err(SelectorError::Key(word.to_owned())) }
}

/// A qualified name of Kubernetes, without its prefix.
fn is_name(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    bytes.len() <= MAX_NAME && is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_inner)
}

fn missing(expected: &'static str, found: Option<Token<'_>>) -> SelectorError {
    let found = match found {
        None => "the end".to_owned(),
        Some(Token::Word(word)) => format!("{word:?}"),
        Some(Token::Comma) => "','".to_owned(),
        Some(Token::Open) => "'('".to_owned(),
        Some(Token::Close) => "')'".to_owned(),
        Some(Token::Not) => "'!'".to_owned(),
        Some(Token::Equal) => "'='".to_owned(),
        Some(Token::NotEqual) => "'!='".to_owned(),
        Some(Token::Greater) => "'>'".to_owned(),
        Some(Token::Less) => "'<'".to_owned(),
    };
    SelectorError::Syntax { expected, found }
}

#[cfg(test)]
mod tests;
