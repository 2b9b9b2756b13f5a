//! What belongs to a server name: by exact name first, then by wildcard.
//!
//! PURE. A wildcard stands for exactly one label, the first (RFC 6125, 6.4.3); case does not
//! matter.

use std::collections::HashMap;

/// Bytes of a DNS name (RFC 1035, 2.3.4); a longer server name matches nothing.
const SERVER_NAME_BYTES_MAX: usize = 255;

/// Things by DNS name, of which some are `*.example.org`.
#[derive(Clone, Debug)]
pub struct NameMap<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows the `*.`.
    wildcard: HashMap<Box<str>, T>,
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T: Default> NameMap<T> {
    /// What belongs to `name`, made where there is nothing yet.
    pub fn entry(&mut self, name: &str) -> &mut T {
        let name = name.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.into()).or_default(),
            None => self.exact.entry(name.into()).or_default(),
        }
    }
}

impl<T> NameMap<T> {
    /// Whether nothing belongs to any name.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty()
    }

    /// What belongs to any name.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.wildcard.values())
    }

    /// What belongs to the name that a client asks for.
    pub fn get(&self, name: &str) -> Option<&T> {
        // On the stack: this runs for every connection.
        let mut lower = [0; SERVER_NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        let name = std::str::from_utf8(lower).ok()?;
        self.exact.get(name).or_else(|| {
            let (label, parent) = name.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(parent) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&'static str]) -> NameMap<Vec<&'static str>> {
        let mut map = NameMap::<Vec<_>>::default();
        for name in names {
            map.entry(name).push(*name);
        }
        map
    }

    fn get(map: &NameMap<Vec<&'static str>>, name: &str) -> Option<&'static str> {
        map.get(name).and_then(|found| found.last().copied())
    }

    #[test]
    fn the_exact_name_wins_over_the_wildcard() {
        let map = map(&["*.Example.test", "api.example.test"]);
        for (name, found) in [
            ("API.example.TEST", Some("api.example.test")),
            ("www.EXAMPLE.test", Some("*.Example.test")),
            ("*.example.test", Some("*.Example.test")),
            ("example.test", None),
            ("a.b.example.test", None),
            (".example.test", None),
            ("test", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(get(&map, name), found, "{name}");
        }
    }

    #[test]
    fn one_name_has_one_entry_however_it_is_written() {
        let mut map = NameMap::<usize>::default();
        for name in ["a.test", "A.TEST", "*.a.test", "*.A.test"] {
            *map.entry(name) += 1;
        }
        assert_eq!((map.get("a.test"), map.get("b.a.test")), (Some(&2), Some(&2)));
    }

    #[test]
    fn a_name_that_is_too_long_matches_nothing() {
        let longest = "x".repeat(SERVER_NAME_BYTES_MAX);
        let mut map = NameMap::<usize>::default();
        *map.entry(&longest) += 1;
        *map.entry(&format!("{longest}x")) += 1;
        assert_eq!(map.get(&longest), Some(&1));
        assert_eq!(map.get(&format!("{longest}x")), None);
    }

    #[test]
    fn names_of_more_than_ascii_are_compared_as_they_are() {
        let mut map = NameMap::<usize>::default();
        *map.entry("é.test") += 1;
        assert_eq!(map.get("é.TEST"), Some(&1));
        assert_eq!(map.get("É.test"), None, "case is that of ASCII");
    }
}
