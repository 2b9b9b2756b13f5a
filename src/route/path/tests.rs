//! Tests of paths: what is normal, what is refused, and what no reading of a normal path does.

use proptest::prelude::*;

use super::EncodedSlashes::{Kept, Refused};
use super::*;

fn path(target: &str) -> Result<String, PathError> {
    normal(target.as_bytes(), Refused).map(|path| String::from_utf8_lossy(&path).into_owned())
}

#[test]
fn the_usual_path_is_borrowed_and_loses_its_query() {
    for (target, expected) in [
        ("/", "/"),
        ("/a/b.html?x=/../", "/a/b.html"),
        ("/a?", "/a"),
        ("/a;b=1,2/@:!$&'()*+=", "/a;b=1,2/@:!$&'()*+="),
        ("*", "*"),
        ("/a..b/c.", "/a..b/c."),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/\u{e9}", "/\u{e9}"),
    ] {
        let normal = normal(target.as_bytes(), Refused).expect(target);
        assert!(matches!(normal, Cow::Borrowed(_)), "{target}");
        assert_eq!(&*normal, expected.as_bytes());
    }
}

#[test]
fn unreserved_characters_are_decoded_and_slashes_joined() {
    for (target, expected) in [
        ("/%61%2D%2e%5f%7E%30", "/a-._~0"),
        ("//a///b//", "/a/b/"),
        ("/a%3b", "/a%3B"),
        ("/%C3%a9", "/%C3%A9"),
        ("/%2561", "/%2561"),
        ("/%25%36%31", "/%2561"),
        ("//a//b?c//d%61", "/a/b"),
    ] {
        assert_eq!(path(target).as_deref(), Ok(expected), "{target}");
    }
}

#[test]
fn a_dot_segment_is_refused_however_it_is_written() {
    for target in [
        "/..",
        "/.",
        "/a/..",
        "/a/../b",
        "/./a",
        "/a/.",
        "/a//../b",
        "/%2e%2e/b",
        "/%2E/",
        "/.%2e",
        "/a%2f..%2fb",
        "/a%2F%2e%2e",
        "/a\\..\\b",
        "/a%5c..%5cb",
        "/..\\",
        "/..%5C",
        "/..%2f",
        "/%252e%252e/b",
        "/a%252f..%252fb",
        "/a%255c.%255c",
        "/..;x/b",
        "/.;",
        "/..%3bx",
        "/a/%2e%2e%3B/",
        "/%2e%252e",
        "/a\\%2e/",
    ] {
        assert_eq!(path(target), Err(PathError::DotSegment), "{target}");
    }
}

#[test]
fn what_cannot_stand_in_a_path_is_refused() {
    for target in [
        "",
        "a",
        "?a",
        "**",
        "/%",
        "/%4",
        "/%4g",
        "/%g4",
        "/a%",
        "/%00",
        "/%0a",
        "/%0D%0A",
        "/%1f",
        "/%7f",
        "/a b",
        "/a#b",
        "/a\\b",
        "/\t",
        "/\u{7f}",
        "/a%%41",
        "http://a/",
        // Slashes that are none here, and are some elsewhere.
        "/a%2fb",
        "/a%2F",
        "/admin%5cx",
        "/admin%5Cx",
        // Overlong: `/` and `.` in two to six bytes.
        "/..%c0%af..",
        "/a%C0%AFb",
        "/%c1%9c",
        "/%c0%ae%c0%ae/",
        "/%e0%80%af",
        "/%f0%80%80%af",
        "/%f8%80%80%80%af",
        "/%fc%80%80%80%80%af",
        "/%25c0%25af",
        "/\u{e9}%c0",
    ] {
        assert_eq!(path(target), Err(PathError::Encoding), "{target}");
    }
}

#[test]
fn a_prefix_is_replaced_and_the_query_stays_as_it_came() {
    let rewrite = |from: &str, to: &str, target: &str| {
        let rewrite = Rewrite { from: from.into(), to: to.into() };
        let path = normal(target.as_bytes(), Kept).expect(target);
        String::from_utf8(rewritten(&rewrite, &path, target.as_bytes())).expect("it was text")
    };
    for (from, to, target, expected) in [
        ("/api", "/v2", "/api/x?y=%61//", "/v2/x?y=%61//"),
        ("/api", "/v2", "/api", "/v2"),
        ("/api", "/v2", "/api?q", "/v2?q"),
        ("/api", "/v2", "/api/", "/v2/"),
        ("/api", "/", "/api", "/"),
        ("/api", "/", "/api/x", "/x"),
        ("/api/", "/v2", "/api/x", "/v2/x"),
        ("/api/", "/v2/", "/api/x", "/v2/x"),
        ("/api", "/v2/", "/api/x", "/v2/x"),
        ("/", "/v2", "/", "/v2"),
        ("/", "/v2", "/x", "/v2/x"),
        ("/", "/", "/x//%61", "/x/a"),
        ("/api", "/v2", "//%61pi//x", "/v2/x"),
        // What belongs to the prefix goes with it; what is behind it stays.
        ("/api", "/v2", "/api;v=1/x;w=2/y?z", "/v2/x;w=2/y?z"),
        ("/api", "/v2", "/api;v=1", "/v2"),
        ("/api", "/v2", "/;a/api%3bv/x", "/v2/x"),
        ("/a/b", "/v2", "/a;1/;2/b;3//c", "/v2/c"),
        ("/api/", "/v2", "/api/;a/x", "/v2/x"),
        ("/api/", "/v2", "/api;b/x;c", "/v2/x;c"),
        ("/", "/v2", "/;a/x", "/v2/x"),
        ("/api", "/v2", "/api/a%2fb", "/v2/a%2Fb"),
    ] {
        assert_eq!(rewrite(from, to, target), expected, "{from} {to} {target}");
    }
}

#[test]
fn an_encoded_slash_separates_nothing_where_it_may_be() {
    let kept = |target: &str| normal(target.as_bytes(), Kept).map(Cow::into_owned);
    assert_eq!(kept("/a%2fb"), Ok(b"/a%2Fb".to_vec()));
    for target in ["/a%5cb", "/a%c0%afb"] {
        assert_eq!(kept(target), Err(PathError::Encoding), "{target}");
    }
    assert_eq!(kept("/a%2f..%2fb"), Err(PathError::DotSegment));
}

#[test]
fn letters_of_other_encodings_pass() {
    // "a e with an acute accent", in UTF-8 and in Latin-1; an umlaut; a letter of three bytes.
    for target in ["/%C3%A9", "/%E9", "/%FC", "/%FCber", "/%E2%82%AC", "/%F0%9F%98%80"] {
        assert_eq!(path(target).as_deref(), Ok(target));
    }
}

#[test]
fn routes_are_chosen_by_a_path_without_parameters() {
    for (target, expected) in [
        ("/admin;a=1/x", "/admin/x"),
        ("/admin;/x", "/admin/x"),
        ("/;/admin/x", "/admin/x"),
        ("/;a=1;b/admin;c", "/admin"),
        ("/admin%3ba=1/x", "/admin/x"),
        ("/a/;x", "/a/"),
        ("/a/;x/;y/b", "/a/b"),
        ("/;", "/"),
        ("/a", "/a"),
        ("/a%20b", "/a%20b"),
        ("*", "*"),
    ] {
        let path = normal(target.as_bytes(), Refused).expect(target);
        assert_eq!(&*without_parameters(&path), expected.as_bytes(), "{target}");
    }
}

/// Targets of the parts that matter.
fn targets() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "/", "/", "..", ".", "a", "%2e", "%2E", "%2f", "%2F", "\\", "%5c", "%25", "2e", "5C", ";",
        "%3b", "%41", "%", "%00", "?", "%c3", "%61", "%7E", "%252e", "\u{e9}",
    ]);
    let built = prop::collection::vec(parts, 0..12).prop_map(|parts| {
        let mut target = b"/".to_vec();
        parts.iter().for_each(|part| target.extend_from_slice(part.as_bytes()));
        target
    });
    prop_oneof![built, prop::collection::vec(any::<u8>(), 0..24)]
}

/// Decodes as a program does that has never heard of this module.
fn decoded_slowly(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let is_digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let meant = digits.filter(is_digits).and_then(|text| u8::from_str_radix(text, 16).ok());
        match meant.filter(|_| *first == b'%') {
            Some(meant) => {
                all.push(meant);
                rest = &behind[2..];
            }
            None => {
                all.push(*first);
                rest = behind;
            }
        }
    }
    all
}

/// Whether resolving the segments of a path leads anywhere else than reading them in order.
fn climbs(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path).replace('\\', "/");
    text.split('/').any(|it| {
        let it = it.split_once(';').map_or(it, |(name, _)| name);
        it == "." || it == ".."
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_normal_path_is_its_own(target in targets()) {
        if let Ok(path) = normal(&target, Kept) {
            let again = normal(&path, Kept).expect("it is one");
            prop_assert_eq!(&again, &path);
            prop_assert!(matches!(again, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn no_reading_of_a_normal_path_climbs(target in targets()) {
        if let Ok(path) = normal(&target, Kept) {
            let raw = target.split(|byte| *byte == b'?').next().expect("a first part").to_vec();
            let chosen_by = without_parameters(&path).into_owned();
            for path in [raw, path.into_owned(), chosen_by] {
                let once = decoded_slowly(&path);
                let twice = decoded_slowly(&once);
                prop_assert!(!climbs(&path) && !climbs(&once) && !climbs(&twice));
                prop_assert!(!once.iter().any(u8::is_ascii_control));
            }
        }
    }

    #[test]
    fn a_normal_path_means_what_the_target_meant(target in targets()) {
        if let Ok(path) = normal(&target, Kept) {
            let raw = target.split(|byte| *byte == b'?').next().expect("a first part");
            let mut joined = decoded_slowly(raw);
            let mut normal = decoded_slowly(&path);
            for path in [&mut joined, &mut normal] {
                path.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
            }
            prop_assert_eq!(joined, normal);
            prop_assert!(!path.windows(2).any(|pair| pair == b"//"));
        }
    }

    #[test]
    fn what_routes_see_is_what_a_servlet_container_serves(target in targets()) {
        if let Ok(path) = normal(&target, Refused) {
            let chosen = without_parameters(&path).into_owned();
            let text = String::from_utf8_lossy(&path).replace("%3B", ";");
            let mut served = String::new();
            for segment in text.split('/') {
                let name = segment.split(';').next().expect("a first part");
                if !served.is_empty() && !served.ends_with('/') || served.is_empty() {
                    served.push('/');
                }
                served.push_str(name);
            }
            let served = if text == "*" { text } else { served };
            prop_assert_eq!(&*String::from_utf8_lossy(&chosen), &*served);
            prop_assert_eq!(&*without_parameters(&chosen), &*chosen);
            let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
            let slashes = |path: &[u8]| path.iter().filter(|byte| is_slash(byte)).count();
            prop_assert_eq!(slashes(&decoded_slowly(&path)), slashes(&path));
        }
    }

    #[test]
    fn what_is_rewritten_keeps_all_behind_the_prefix(target in targets(), segments in 0usize..3) {
        if let Ok(path) = normal(&target, Refused) && path.starts_with(b"/") {
            let chosen = without_parameters(&path).into_owned();
            // A prefix of the path: so many of its segments.
            let ends = (1..chosen.len()).filter(|at| chosen[*at] == b'/').chain([chosen.len()]);
            let end = ends.clone().nth(segments).unwrap_or(chosen.len());
            let from = String::from_utf8_lossy(&chosen[..end]).into_owned();
            if from.as_bytes() == &chosen[..end] {
                let rewrite = Rewrite { from: from.into(), to: "/new".into() };
                let forwarded = rewritten(&rewrite, &path, &path);
                let again = normal(&forwarded, Refused).expect("a path");
                prop_assert_eq!(&*again, &*forwarded);
                let rest = chosen[end..].strip_prefix(b"/").unwrap_or(&chosen[end..]);
                let mut expected = b"/new".to_vec();
                if !chosen[end..].is_empty() {
                    expected.push(b'/');
                    expected.extend_from_slice(rest);
                }
                prop_assert_eq!(&*without_parameters(&forwarded), &*expected);
            }
        }
    }
}
