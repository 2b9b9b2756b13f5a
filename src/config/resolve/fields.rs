//! Fields of HTTP as the configuration writes them: `"name: value"`, and `"name"`.

use std::collections::HashSet;

use super::{Complaint, Resolver};
use crate::config::model::{Text, Texts};
use crate::http1::fields::{Class, classify};
use crate::limits::ROUTE_FIELD_BYTES_MAX;
use crate::route::conditions::FieldCondition;
use crate::route::table::FieldChanges;

/// A key, and its list where it is written.
type Written<'a> = (&'static str, Option<&'a Texts>);

impl Resolver<'_> {
    /// What is set, added and removed.
    pub(super) fn field_changes(&mut self, [set, add, remove]: [Written<'_>; 3]) -> FieldChanges {
        let set_lines = self.values(set.0, set.1, Self::field_line);
        let add_lines = self.values(add.0, add.1, Self::field_line);
        let removed = self.values(remove.0, remove.1, Self::field_name);
        self.refuse_set_twice(set, &set_lines);
        let mut lines = Vec::new();
        for (name, value) in set_lines.iter().chain(&add_lines) {
            lines.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let names = set_lines.iter().map(|(name, _)| name).chain(&removed);
        let mut seen = HashSet::new();
        let remove = names.filter(|name| seen.insert(&***name)).map(|it| it.as_bytes().into());
        FieldChanges { remove: remove.collect(), lines: lines.into() }
    }

    /// To set a field is to have one of it.
    fn refuse_set_twice(&mut self, (key, written): Written<'_>, lines: &[(Box<str>, Box<str>)]) {
        let mut seen = HashSet::new();
        let twice = lines.iter().find(|(name, _)| !seen.insert(name));
        if let (Some((name, _)), Some(written)) = (twice, written) {
            self.refuse(
                &written.span(),
                &format!("{key} sets {name} twice"),
                "each field once",
                "join its values with a comma, or add the second one",
            );
        }
    }

    /// A field that a route asks for.
    pub(super) fn field_condition(&mut self, key: &str, text: &Text) -> Option<FieldCondition> {
        let (name, value) = match text.get_ref().split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text.get_ref().as_str(), None),
        };
        let (name, value) = self.field(key, text, name, value)?;
        let fix = match classify(name.as_bytes()) {
            Class::Identity => "ask for the client itself, with `identity`",
            Class::Framing if &*name == "host" => "ask for it with `host`",
            Class::Framing | Class::HopByHop => "remove it",
            Class::EndToEnd | Class::Forwarding => return Some(FieldCondition { name, value }),
        };
        let expected = "a field that clients may set and upstreams may see";
        self.complain(key, text, Complaint::new("is not one to choose by", expected, fix));
        None
    }

    fn field_line(&mut self, key: &str, text: &Text) -> Option<(Box<str>, Box<str>)> {
        let Some((name, value)) = text.get_ref().split_once(':') else {
            let expected = "a name, a colon and a value: \"x-team: payments\"";
            self.complain(key, text, Complaint::new("has no colon", expected, "write it so"));
            return None;
        };
        let (name, value) = self.field(key, text, name, Some(value))?;
        self.refuse_reserved(key, text, &name)?;
        Some((name, value.unwrap_or_default()))
    }

    fn field_name(&mut self, key: &str, text: &Text) -> Option<Box<str>> {
        let (name, _) = self.field(key, text, text.get_ref(), None)?;
        self.refuse_reserved(key, text, &name)?;
        Some(name)
    }

    /// A name in lower case, and a value without white space around it. "Field values containing
    /// CR, LF, or NUL characters are invalid and dangerous" (RFC 9110, 5.5).
    fn field(
        &mut self,
        key: &str,
        text: &Text,
        name: &str,
        value: Option<&str>,
    ) -> Option<(Box<str>, Option<Box<str>>)> {
        let complaint = if text.get_ref().len() > ROUTE_FIELD_BYTES_MAX {
            let found = format!("{key} has a field of {} bytes", text.get_ref().len());
            let expected = format!("at most {ROUTE_FIELD_BYTES_MAX}");
            self.refuse(&text.span(), &found, &expected, "shorten it");
            return None;
        } else if name.is_empty() || !name.bytes().all(is_token_byte) {
            let expected = "a name of letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, 5.1)";
            Complaint::new("has no name of a field", expected, "correct the name")
        } else if value.is_some_and(|it| it.bytes().any(|b| b.is_ascii_control() && b != b'\t')) {
            let expected = "a value without control characters (RFC 9110, 5.5)";
            Complaint::new("has one in its value", expected, "remove them")
        } else {
            let value = value.map(|value| value.trim_matches([' ', '\t']).into());
            return Some((name.to_ascii_lowercase().into(), value));
        };
        self.complain(key, text, complaint);
        None
    }

    /// Refuses what is not the configuration's to change, for it would change what a message is,
    /// or who it is said to be from.
    fn refuse_reserved(&mut self, key: &str, text: &Text, name: &str) -> Option<()> {
        let (found, fix) = match classify(name.as_bytes()) {
            Class::EndToEnd => return Some(()),
            Class::Framing => ("says where a message goes or ends", "remove it"),
            Class::HopByHop => ("is of one connection only", "remove it"),
            Class::Identity => ("says who the client is", "use `identity_headers`"),
            Class::Forwarding => {
                ("says where a request came from", "use `x_forwarded`, `forwarded` or `via`")
            }
        };
        let found = format!("names a field that {found}");
        self.complain(key, text, Complaint::new(found, "a field that is passed on as it is", fix));
        None
    }
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
