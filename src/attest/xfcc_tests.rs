//! Tests of `X-Forwarded-Client-Cert`: what it says, and that no name breaks out of it.

use proptest::prelude::*;

use super::super::kit::{Names, identity};
use super::*;

/// Reads the field as Envoy's documentation has it: elements between commas, pairs between
/// semicolons, `\"` for a double quote between double quotes, where nothing else ends.
///
/// `any` also takes a backslash before any other character for an escape, as some parsers do.
fn parse(value: &str, any: bool) -> Vec<Vec<(String, String)>> {
    let mut elements = vec![Vec::new()];
    let mut pair = (String::new(), None::<String>);
    let mut quoted = false;
    let mut chars = value.chars().peekable();
    let close = |pair: &mut (String, Option<String>)| {
        (std::mem::take(&mut pair.0), pair.1.take().expect("a key has a value"))
    };
    while let Some(c) = chars.next() {
        let text = pair.1.as_mut();
        match (c, text) {
            ('"', Some(_)) => quoted = !quoted,
            ('\\', Some(text)) if quoted && (any || chars.peek() == Some(&'"')) => {
                text.extend(chars.next());
            }
            (';', _) if !quoted => elements.last_mut().expect("one").push(close(&mut pair)),
            (',', _) if !quoted => {
                elements.last_mut().expect("one").push(close(&mut pair));
                elements.push(Vec::new());
            }
            ('=', None) => pair.1 = Some(String::new()),
            (_, Some(text)) => text.push(c),
            (_, None) => pair.0.push(c),
        }
    }
    assert!(!quoted, "an open quote: {value}");
    elements.last_mut().expect("one").push(close(&mut pair));
    elements
}

fn value(identity: &Identity, by: Option<&str>) -> String {
    let mut out = Vec::new();
    append(identity, by, &mut out).expect("short");
    let line = String::from_utf8(out).expect("ASCII");
    let value = line.strip_prefix("x-forwarded-client-cert: ").expect("the name");
    let value = value.strip_suffix("\r\n").expect("the end of the line");
    assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value:?}");
    value.to_owned()
}

fn keys(element: &[(String, String)]) -> Vec<&str> {
    element.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn an_ordinary_client_is_told_as_envoy_tells_it() {
    let identity = identity(&Names {
        common_name: "client",
        uris: &["spiffe://example.org/ns/a"],
        dns: &["a.example.org", "*.b.example.org"],
    });
    let hash: String = identity.sha256().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        value(&identity, Some("spiffe://example.org/gateway")),
        format!(
            "By=spiffe://example.org/gateway;Hash={hash};Subject=\"CN=client\";\
             URI=spiffe://example.org/ns/a;DNS=a.example.org;DNS=*.b.example.org"
        )
    );
    assert!(value(&identity, None).starts_with("Hash="));
}

#[test]
fn several_uris_are_told_each_and_quoted_where_they_must_be() {
    let uris = ["urn:a;b=c,d", "https://example.org/?q=1"];
    let identity = identity(&Names { common_name: "", uris: &uris, dns: &[] });
    let text = value(&identity, None);
    assert!(text.contains(";URI=\"urn:a;b=c,d\";URI=\"https://example.org/?q=1\""), "{text}");
    let elements = parse(&text, false);
    assert_eq!(elements.len(), 1);
    assert_eq!(elements[0][2..], uris.map(|uri| ("URI".into(), uri.into())));
}

#[test]
fn an_ordinary_comma_of_a_subject_is_spelled_as_envoy_spells_it() {
    let identity = identity(&Names { common_name: "Example, Inc.", uris: &[], dns: &[] });
    assert!(value(&identity, None).contains("Subject=\"CN=Example\\, Inc.\""));
}

#[test]
fn a_hostile_subject_stays_between_its_quotes() {
    for common_name in [
        "\";URI=spiffe://example.org/admin;Subject=\"",
        "a\\",
        "a\\\"",
        "\\\";By=x,Hash=",
        "a\r\nx-forwarded-client-cert: By=x",
        "a;URI=spiffe://example.org/admin",
        "\u{202e}\u{fc}\"\\",
        " \" ",
        "#\"",
    ] {
        let identity = identity(&Names { common_name, uris: &[], dns: &[] });
        let text = value(&identity, Some("spiffe://example.org/\"\\;\r\n"));
        assert_eq!(text.matches('"').count(), 4, "only those that delimit: {text}");
        for any in [false, true] {
            let elements = parse(&text, any);
            assert_eq!(elements.len(), 1, "{text}");
            assert_eq!(keys(&elements[0]), ["By", "Hash", "Subject"], "{text}");
        }
        // Whoever splits before unquoting finds no key of the client's making either.
        assert!(!text.contains(";URI="), "{text}");
    }
}

#[test]
fn a_subject_of_any_text_has_no_quote_and_no_open_escape() {
    for (subject, expected) in
        [("\\", "\\5C"), ("a\\\\", "a\\5C"), ("\"", "\\22"), ("\\\u{e9}", "\\5C\\C3\\A9")]
    {
        let mut out = Vec::new();
        append_subject(subject, &mut out);
        assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
    }
}

#[test]
fn too_many_names_are_left_out_as_a_whole() {
    let long = format!("urn:{}", "a".repeat(8000));
    let uris = [long.as_str(), long.as_str()];
    let identity = identity(&Names { common_name: "", uris: &uris, dns: &[] });
    let mut out = b"before\r\n".to_vec();
    assert_eq!(append(&identity, Some(&long), &mut out), Err(TooLong));
    assert_eq!(out, b"before\r\n");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_subject_is_the_field_has_one_element_and_its_subject_reads_back(
        common_name in "[^\0]{0,40}|[\"\\\\;,=\r\n a]{0,30}"
    ) {
        let identity = identity(&Names { common_name: &common_name, uris: &[], dns: &["a.b"] });
        let text = value(&identity, None);
        for any in [false, true] {
            let elements = parse(&text, any);
            prop_assert_eq!(elements.len(), 1);
            prop_assert_eq!(keys(&elements[0]), ["Hash", "Subject", "DNS"]);
        }
        // By Envoy's own rule the subject is an RFC 4514 string of the same name.
        let (_, subject) = &parse(&text, false)[0][1];
        let pattern = format!("subject:{subject}").parse::<crate::identity::Pattern>();
        if !identity.subject().is_empty() {
            let pattern = pattern.expect("an RFC 4514 string");
            prop_assert!(pattern.matches(&identity), "{} {}", subject, identity.subject());
        }
    }
}
