//! HTTP/1.1 as a slow and plain reading of RFC 9112: whole messages, split at every CRLF.
//!
//! It shares no code with ringfort's codec, and no order of its checks: only what is accepted, and
//! what that means, is compared.

use std::net::Ipv6Addr;

use super::LIMITS;

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Bytes(u64),
    Chunks,
}

/// A head, of whichever kind.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    /// With its empty line, and what may be before it.
    pub bytes: usize,
    pub start: Vec<&'a str>,
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    /// The head that `bytes` begins with, where it has one.
    pub(crate) fn new(bytes: &'a [u8], empty_line: bool) -> Option<Self> {
        let skipped = if empty_line && bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let rest = &bytes[skipped..];
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let text = &rest[..end - 4];
        if end > LIMITS.bytes_max || text.starts_with(b"\r\n") {
            return None;
        }
        let mut lines = lines(text);
        if lines.iter().any(|line| line.iter().any(|&byte| is_control(byte))) {
            return None;
        }
        let start = std::str::from_utf8(lines.remove(0)).ok()?.split(' ').collect();
        let fields: Option<Vec<_>> = lines.into_iter().map(field).collect();
        let fields = fields.filter(|fields| fields.len() <= LIMITS.fields_max)?;
        Some(Self { bytes: skipped + end, start, fields })
    }

    /// The values of a field, in any case.
    pub(crate) fn all(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self.fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|&(_, value)| value).collect()
    }

    /// How long the body is as the fields say, `None` where they say nothing clear.
    pub(crate) fn length(&self, version: &str) -> Option<Length> {
        // Some servers take whatever is neither letter nor digit in a name for `-`.
        let folded = |name: &[u8]| -> Vec<u8> {
            let fold = |it: &u8| if it.is_ascii_alphanumeric() { *it } else { b'-' };
            name.iter().map(fold).collect::<Vec<u8>>().to_ascii_lowercase()
        };
        let is_lookalike = |name: &[u8], of: &str| {
            folded(name) == of.as_bytes() && !name.eq_ignore_ascii_case(of.as_bytes())
        };
        let framing = ["content-length", "transfer-encoding"];
        if self.fields.iter().any(|(name, _)| framing.iter().any(|of| is_lookalike(name, of))) {
            return None;
        }
        match (&self.all("content-length")[..], &self.all("transfer-encoding")[..]) {
            ([], []) => Some(Length::None),
            ([length], []) => {
                let text = std::str::from_utf8(length).ok()?;
                let is_number = text.chars().all(|c| c.is_ascii_digit());
                let number = text.parse().ok().filter(|&number: &i64| is_number && number >= 0)?;
                Some(Length::Bytes(number as u64))
            }
            ([], [coding]) => (version == "HTTP/1.1" && coding.eq_ignore_ascii_case(b"chunked"))
                .then_some(Length::Chunks),
            _ => None,
        }
    }

    /// What Connection says, in lower case; `None` where it is no list.
    pub(crate) fn options(&self) -> Option<Vec<String>> {
        let joined = self.all("connection").join(&b","[..]);
        let text = String::from_utf8(joined).ok()?.to_ascii_lowercase();
        let items: Vec<&str> = text.split(',').map(|item| item.trim_matches([' ', '\t'])).collect();
        let is_list = items.len() <= 32
            && items.iter().all(|item| item.is_empty() || is_token(item.as_bytes()));
        is_list.then(|| items.into_iter().map(str::to_owned).collect())
    }
}

fn lines(mut text: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = text.windows(2).position(|window| window == b"\r\n") {
        lines.push(&text[..end]);
        text = &text[end + 2..];
    }
    lines.push(text);
    lines
}

fn is_control(byte: u8) -> bool {
    byte == 0x7f || (byte < 0x20 && byte != b'\t')
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|&byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte))
}

fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let mut value = &line[colon + 1..];
    while value.first().is_some_and(|byte| b" \t".contains(byte)) {
        value = &value[1..];
    }
    while value.last().is_some_and(|byte| b" \t".contains(byte)) {
        value = &value[..value.len() - 1];
    }
    is_token(&line[..colon]).then_some((&line[..colon], value))
}

/// Host in lower case, and the port.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_port = |port: &str| port.len() <= 5 && port.chars().all(|c| c.is_ascii_digit());
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|&number| number > 0 && is_port(port))?),
        None => None,
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let name = host.strip_suffix('.').unwrap_or(host);
            let is_label = |label: &str| {
                !label.is_empty()
                    && label.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
            };
            name.split('.').all(is_label)
        }
    };
    (is_host && text.len() <= 259).then(|| (host.to_ascii_lowercase(), port))
}

/// Whether a request with this head is one, and how long its body is.
pub(crate) fn request(head: &Head<'_>) -> Option<Length> {
    let &[method, target, version] = &head.start[..] else {
        return None;
    };
    if !is_token(method.as_bytes()) || method == "CONNECT" {
        return None;
    }
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
        return None;
    }
    let hosts = head.all("host");
    let host = match hosts[..] {
        [] if version == "HTTP/1.0" => None,
        [host] => Some(authority(std::str::from_utf8(host).ok()?)?),
        _ => return None,
    };
    head.options()?;
    let lower = target.to_ascii_lowercase();
    let scheme = ["https://", "http://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let path = if let Some(scheme) = scheme {
        let rest = &target[scheme.len()..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let named = authority(&rest[..end])?;
        let default = if scheme == "https://" { 443 } else { 80 };
        let place = |(name, port): (String, Option<u16>)| (name, port.unwrap_or(default));
        if host.is_some_and(|host| place(host) != place(named)) {
            return None;
        }
        if end == rest.len() && method != "OPTIONS" { "/" } else { &rest[end..] }
    } else {
        target
    };
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_char = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/%".contains(c);
    let is_target = path.starts_with('/')
        && path.chars().all(is_char)
        && query.chars().all(|c| is_char(c) || "?[]".contains(c));
    let is_asterisk = target == "*" && method == "OPTIONS";
    if is_target || is_asterisk { head.length(version) } else { None }
}

/// Data, bytes, and lines of the trailer section.
type Chunked<'a> = (Vec<u8>, usize, Vec<&'a [u8]>);

/// What there is of the body in chunks that `bytes` begins with.
pub(crate) fn chunks(mut bytes: &[u8]) -> Option<Chunked<'_>> {
    let whole = bytes.len();
    let mut data = Vec::new();
    let mut extensions = 0;
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        extensions += rest.len();
        if digits > 16 || rest.len() > 256 || extensions > 16 * 1024 || !is_extensions(rest) {
            return None;
        }
        let size = i64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let size = usize::try_from(size).ok()?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(..size)?);
        bytes = bytes[size..].strip_prefix(b"\r\n")?;
    }
    let mut lines = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let line = &bytes[..end];
        bytes = &bytes[end + 2..];
        if line.is_empty() {
            let length: usize = lines.iter().map(|line: &&[u8]| line.len() + 2).sum();
            let fits = length <= 8 * 1024 && lines.len() <= 64;
            return fits.then_some((data, whole - bytes.len(), lines));
        }
        if line.iter().any(|&byte| is_control(byte)) || field(line).is_none() {
            return None;
        }
        lines.push(line);
    }
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`, by taking one at a time.
fn is_extensions(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let skip = |bytes: &'_ [u8]| bytes.iter().take_while(|byte| b" \t".contains(byte)).count();
    let token = |bytes: &'_ [u8]| bytes.iter().take_while(|&&byte| is_token(&[byte])).count();
    let Some(rest) = bytes[skip(bytes)..].strip_prefix(b";") else {
        return false;
    };
    let rest = &rest[skip(rest)..];
    let name = token(rest);
    if name == 0 {
        return false;
    }
    let after = &rest[name..];
    let Some(value) = after[skip(after)..].strip_prefix(b"=") else {
        return is_extensions(after);
    };
    let value = &value[skip(value)..];
    let Some(mut quoted) = value.strip_prefix(b"\"") else {
        let length = token(value);
        return length > 0 && is_extensions(&value[length..]);
    };
    loop {
        match quoted {
            [b'"', rest @ ..] => return is_extensions(rest),
            [b'\\', byte, rest @ ..] | [byte, rest @ ..] if !is_control(*byte) => quoted = rest,
            _ => return false,
        }
    }
}
