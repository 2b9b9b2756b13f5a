//! Tests of paths: what is normal, what is refused, and what no reading of a normal path does.

use proptest::prelude::*;

use super::*;

fn path(target: &str) -> Result<String, PathError> {
    normal(target.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned())
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
        ("/a%2Fb", "/a%2Fb"),
        ("/\u{e9}", "/\u{e9}"),
    ] {
        let normal = normal(target.as_bytes()).expect(target);
        assert!(matches!(normal, Cow::Borrowed(_)), "{target}");
        assert_eq!(&*normal, expected.as_bytes());
    }
}

#[test]
fn unreserved_characters_are_decoded_and_slashes_joined() {
    for (target, expected) in [
        ("/%61%2D%2e%5f%7E%30", "/a-._~0"),
        ("//a///b//", "/a/b/"),
        ("/a%2fb", "/a%2Fb"),
        ("/%5ca%3b", "/%5Ca%3B"),
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
    ] {
        assert_eq!(path(target), Err(PathError::Encoding), "{target}");
    }
}

#[test]
fn a_prefix_is_replaced_and_the_query_stays_as_it_came() {
    let rewrite = |from: &str, to: &str, target: &str| {
        let rewrite = Rewrite { from: from.into(), to: to.into() };
        let path = normal(target.as_bytes()).expect(target);
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
    ] {
        assert_eq!(rewrite(from, to, target), expected, "{from} {to} {target}");
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
        if let Ok(path) = normal(&target) {
            let again = normal(&path).expect("it is one");
            prop_assert_eq!(&again, &path);
            prop_assert!(matches!(again, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn no_reading_of_a_normal_path_climbs(target in targets()) {
        if let Ok(path) = normal(&target) {
            let raw = target.split(|byte| *byte == b'?').next().expect("a first part").to_vec();
            for path in [raw, path.into_owned()] {
                let once = decoded_slowly(&path);
                let twice = decoded_slowly(&once);
                prop_assert!(!climbs(&path) && !climbs(&once) && !climbs(&twice));
                prop_assert!(!once.iter().any(u8::is_ascii_control));
            }
        }
    }

    #[test]
    fn a_normal_path_means_what_the_target_meant(target in targets()) {
        if let Ok(path) = normal(&target) {
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
}
