//! What a request's target asks of the origin; the same for both versions of HTTP.

use crate::limits::ORIGIN_BODY_BYTES_MAX;

/// See the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// So many zeros; what is sent is thrown away.
    Bytes(u64),
    /// What is sent comes back.
    Echo,
}

/// `/bytes/N` is that many, `/echo` the request's body, and anything else `otherwise` many. `None`
/// where N is no number, or too large a one.
pub fn target(path: &str, otherwise: u64) -> Option<Target> {
    let path = path.split('?').next().unwrap_or_default();
    match path.strip_prefix("/bytes/") {
        Some(number) => {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            let bytes = number.parse().ok().filter(|_| is_number)?;
            (bytes <= ORIGIN_BODY_BYTES_MAX).then_some(Target::Bytes(bytes))
        }
        None if path == "/echo" => Some(Target::Echo),
        None => Some(Target::Bytes(otherwise)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_how_many() {
        for (path, asked) in [
            ("/bytes/0", Some(Target::Bytes(0))),
            ("/bytes/1048576?x=y", Some(Target::Bytes(1 << 20))),
            ("/echo", Some(Target::Echo)),
            ("/", Some(Target::Bytes(5))),
            ("/bytes/", None),
            ("/bytes/+1", None),
            ("/bytes/99999999999999999999", None),
            ("/bytes/68719476737", None),
        ] {
            assert_eq!(target(path, 5), asked, "{path}");
        }
    }
}
