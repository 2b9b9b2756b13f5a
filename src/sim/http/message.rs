//! Messages as the simulated ends read them: by the letter of RFC 9112, with no leniency at all.
//!
//! What a lenient reader would take in two ways is an error here, so an upstream notices whatever
//! a gateway lets through that has more than one meaning.

/// Bytes of a head, at most: more than the gateway forwards.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a line of a body in chunks, at most.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// A head: the start line and the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request or status line.
    pub start: String,
    /// Names in lower case, and values without white space around them.
    pub fields: Vec<(String, String)>,
    /// How many bytes it is long.
    pub bytes: usize,
}

impl Head {
    /// The values of a field, by its name in lower case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.fields.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field that is there once.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self.values(name);
        let first = values.next();
        first.filter(|_| values.next().is_none())
    }

    /// How the body is delimited by the fields alone; an error where they leave a doubt.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn framing(&self) -> Result<Framing, String> {
        let lengths: Vec<&str> = self.values("content-length").collect();
        let codings: Vec<&str> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(Framing::None),
            ([], ["chunked"]) => Ok(Framing::Chunked),
            ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                length.parse().map(Framing::Length).map_err(|error| error.to_string())
            }
            found => Err(format!("a body that is delimited by {found:?}")),
        }
    }
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The head that `bytes` begins with; `None` while its end is not there.
///
/// # Errors
/// What is wrong, for people.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some(end) = bytes.windows(4).position(|it| it == b"\r\n\r\n") else {
        let is_long = bytes.len() > HEAD_BYTES_MAX;
        return if is_long { Err("a head without an end".into()) } else { Ok(None) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|error| error.to_string())?;
    if let Some(bad) = text.replace("\r\n", "").chars().find(|&it| it < ' ' && it != '\t') {
        return Err(format!("{bad:?} in a head"));
    }
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) =
            line.split_once(':').ok_or(format!("a line without a colon: {line}"))?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("no name of a field: {name:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok(Some(Head { start, fields, bytes: end + 4 }))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

/// Reads a body as it comes.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    left: u64,
    chunk: Chunk,
    line: Vec<u8>,
    is_complete: bool,
    /// The trailer section: whole lines.
    pub trailers: Vec<String>,
}

impl Body {
    /// One that begins.
    pub fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(bytes) = framing { bytes } else { 0 };
        Self {
            framing,
            left,
            chunk: Chunk::Size,
            line: Vec::new(),
            is_complete: matches!(framing, Framing::None | Framing::Length(0)),
            trailers: Vec::new(),
        }
    }

    /// Whether its last byte was read.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether it ends with the connection.
    pub fn is_until_close(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Reads from `bytes`, appends the data to `data`, and returns how many bytes were read: all,
    /// or those up to the end of the body.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn read(&mut self, bytes: &[u8], data: &mut Vec<u8>) -> Result<usize, String> {
        let mut at = 0;
        while at < bytes.len() && !self.is_complete {
            let rest = &bytes[at..];
            at += match self.framing {
                Framing::None => 0,
                Framing::UntilClose => {
                    data.extend_from_slice(rest);
                    rest.len()
                }
                Framing::Length(_) => {
                    let count = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    data.extend_from_slice(&rest[..count]);
                    self.left -= count as u64;
                    self.is_complete = self.left == 0;
                    count
                }
                Framing::Chunked => self.read_chunked(rest, data)?,
            };
        }
        Ok(at)
    }

    fn read_chunked(&mut self, rest: &[u8], data: &mut Vec<u8>) -> Result<usize, String> {
        if let Chunk::Data(left) = self.chunk {
            let count = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            data.extend_from_slice(&rest[..count]);
            let left = left - count as u64;
            self.chunk = if left == 0 { Chunk::DataEnd } else { Chunk::Data(left) };
            return Ok(count);
        }
        self.line.push(rest[0]);
        if self.line.len() > LINE_BYTES_MAX {
            return Err("a line of a body in chunks without an end".into());
        }
        let Some(line) = self.line.strip_suffix(b"\r\n") else { return Ok(1) };
        let line = String::from_utf8_lossy(line).into_owned();
        self.line.clear();
        self.chunk = match self.chunk {
            Chunk::Size => {
                let is_size = !line.is_empty() && line.bytes().all(|it| it.is_ascii_hexdigit());
                let size = u64::from_str_radix(&line, 16).ok().filter(|_| is_size);
                match size.ok_or(format!("no size of a chunk: {line:?}"))? {
                    0 => Chunk::Trailers,
                    size => Chunk::Data(size),
                }
            }
            Chunk::DataEnd if line.is_empty() => Chunk::Size,
            Chunk::Trailers if line.is_empty() => {
                self.is_complete = true;
                Chunk::Trailers
            }
            Chunk::Trailers if line.contains(':') => {
                self.trailers.push(line);
                Chunk::Trailers
            }
            state => return Err(format!("{line:?} in a body in chunks, at {state:?}")),
        };
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(framing: Framing, bytes: &[u8]) -> Result<(usize, Vec<u8>, bool), String> {
        let (mut body, mut data, mut read) = (Body::new(framing), Vec::new(), 0);
        for byte in bytes.chunks(3) {
            let count = body.read(byte, &mut data)?;
            read += count;
            if count < byte.len() {
                break;
            }
        }
        Ok((read, data, body.is_complete()))
    }

    #[test]
    fn a_body_ends_where_its_framing_says() {
        let chunked = b"0003\r\nabc\r\n2\r\nde\r\n0\r\nx: y\r\n\r\nnext";
        let whole = (chunked.len() - 4, b"abcde".to_vec(), true);
        assert_eq!(body(Framing::Chunked, chunked), Ok(whole));
        assert_eq!(body(Framing::Length(4), b"abcdef"), Ok((4, b"abcd".to_vec(), true)));
        assert_eq!(body(Framing::UntilClose, b"abcd"), Ok((4, b"abcd".to_vec(), false)));
        for bad in [&b"3;x\r\n"[..], b" 3\r\n", b"3\r\nabcd\r\n", b"\r\n", b"0\r\nx\r\n"] {
            assert!(body(Framing::Chunked, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_head_that_could_be_read_in_two_ways_is_an_error() {
        let read = |text: &str| head(text.as_bytes());
        let good = read("GET / HTTP/1.1\r\nHost:  a \r\n\r\nrest").expect("sound").expect("whole");
        assert_eq!((good.value("host"), good.bytes), (Some("a"), 29));
        assert_eq!(read("GET / HTTP/1.1\r\nHost: a\r\n"), Ok(None));
        for bad in ["a : b", " a: b", "a: b\n c: d", "a\r: b", "a: \0", "ab"] {
            assert!(read(&format!("GET / HTTP/1.1\r\n{bad}\r\n\r\n")).is_err(), "{bad:?}");
        }
        for bad in
            ["content-length: 1\r\ncontent-length: 1", "content-length: +1", "transfer-encoding: x"]
        {
            let head = read(&format!("GET / HTTP/1.1\r\n{bad}\r\n\r\n")).expect("sound");
            assert!(head.expect("whole").framing().is_err(), "{bad:?}");
        }
    }
}
