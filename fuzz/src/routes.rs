//! What routes are chosen by: the path of a target, the host of an authority, and the text of a
//! rate.
//!
//! An input is three lines: the target, the authority, the rate.

use ringfort::route::host::host_of;
use ringfort::route::path::{EncodedSlashes, normal, rewritten, without_parameters};
use ringfort::route::rate::Rate;
use ringfort::route::table::Rewrite;

/// Bytes of an input that are looked at.
const BYTES_MAX: usize = 16 * 1024;

/// A normal path is its own, climbs nowhere in any of three readings, has the same segments when it
/// is decoded, and means what the target meant; what routes are chosen by has no parameters; a host
/// is its own; a rate is shown as it reads.
pub fn routes(data: &[u8]) {
    let mut lines = data[..data.len().min(BYTES_MAX)].splitn(3, |byte| *byte == b'\n');
    check_path(lines.next().unwrap_or_default());
    check_host(lines.next().unwrap_or_default());
    if let Ok(text) = std::str::from_utf8(lines.next().unwrap_or_default())
        && let Ok(rate) = text.parse::<Rate>()
    {
        assert_eq!(rate.to_string().parse(), Ok(rate), "{text:?} is shown as {rate}");
    }
}

fn check_path(target: &[u8]) {
    let normal = |target| normal(target, EncodedSlashes::Refused);
    let Ok(path) = normal(target) else { return };
    let raw = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let shown = String::from_utf8_lossy(target);
    assert_eq!(normal(&path).as_deref(), Ok(&*path), "{shown:?}");
    for path in [raw, &*path] {
        let once = decoded(path);
        for reading in [path, &once, &decoded(&once)] {
            assert!(!climbs(reading), "{shown:?} climbs as {:?}", String::from_utf8_lossy(reading));
        }
        assert!(!once.iter().any(u8::is_ascii_control), "{shown:?}");
    }
    let joined = |path: &[u8]| {
        let mut path = decoded(path);
        path.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
        path
    };
    assert_eq!(joined(&path), joined(raw), "{shown:?} means something else");
    let slashes = |path: &[u8]| path.iter().filter(|byte| b"/\\".contains(byte)).count();
    assert_eq!(slashes(&decoded(&path)), slashes(&path), "{shown:?} has more segments decoded");
    let chosen = without_parameters(&path);
    assert_eq!(without_parameters(&chosen), chosen, "{shown:?}");
    assert!(!chosen.contains(&b';') && !chosen.windows(2).any(|it| it == b"//"), "{shown:?}");
    assert!(!climbs(&chosen), "{shown:?}");
    let query = &target[raw.len()..];
    if path.starts_with(b"/") {
        let rewrite = Rewrite { from: "/".into(), to: "/new".into() };
        let forwarded = rewritten(&rewrite, &path, target);
        assert!(forwarded.starts_with(b"/new") && forwarded.ends_with(query), "{shown:?}");
        let path = &forwarded[..forwarded.len() - query.len()];
        assert_eq!(normal(path).as_deref(), Ok(path), "{shown:?} is forwarded as no normal path");
    }
}

fn check_host(authority: &[u8]) {
    let Some(host) = host_of(authority) else { return };
    assert_eq!(host_of(&host).as_deref(), Some(&*host));
    let is_plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.:[]".contains(byte);
    assert!(!host.is_empty() && host.iter().all(is_plain), "{authority:?}");
}

/// Percent-encodings decoded; what only looks like one stays.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|it| it.iter().all(u8::is_ascii_hexdigit));
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let meant = text.and_then(|text| u8::from_str_radix(text, 16).ok());
        let meant = meant.filter(|_| *first == b'%');
        all.push(meant.unwrap_or(*first));
        rest = if meant.is_some() { &behind[2..] } else { behind };
    }
    all
}

/// Whether some program would leave the folder that a path names, or take away a segment.
fn climbs(path: &[u8]) -> bool {
    path.split(|byte| b"/\\".contains(byte)).any(|segment| {
        let end = segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len());
        matches!(&segment[..end], b"." | b"..")
    })
}
