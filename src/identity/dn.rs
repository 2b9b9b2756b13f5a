//! Distinguished names as RFC 4514 strings, in one canonical spelling.
//!
//! The spelling is that of `openssl x509 -nameopt RFC2253`, so that a name can be copied into a
//! pattern: last RDN first, no spaces around separators, everything outside printable ASCII as
//! `\XX` pairs. So a name can neither break a log line nor look like another one.

use std::fmt;
use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::{Any, Class, FromDer, Tag};

/// Attribute types with a registered descriptor (RFC 4514, 3, and RFC 4519): the content bytes of
/// the OID, its dotted form, and the descriptor.
const DESCRIPTORS: [(&[u8], &str, &str); 14] = [
    (&[0x55, 4, 3], "2.5.4.3", "CN"),
    (&[0x55, 4, 4], "2.5.4.4", "SN"),
    (&[0x55, 4, 5], "2.5.4.5", "serialNumber"),
    (&[0x55, 4, 6], "2.5.4.6", "C"),
    (&[0x55, 4, 7], "2.5.4.7", "L"),
    (&[0x55, 4, 8], "2.5.4.8", "ST"),
    (&[0x55, 4, 9], "2.5.4.9", "street"),
    (&[0x55, 4, 10], "2.5.4.10", "O"),
    (&[0x55, 4, 11], "2.5.4.11", "OU"),
    (&[0x55, 4, 12], "2.5.4.12", "title"),
    (&[0x55, 4, 42], "2.5.4.42", "GN"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "1.2.840.113549.1.9.1", "emailAddress"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "0.9.2342.19200300.100.1.1", "UID"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "0.9.2342.19200300.100.1.25", "DC"),
];

/// What is wrong with a distinguished name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnError {
    /// The DER is not a Name (RFC 5280, 4.1.2.4).
    Der,
    /// A string has bytes that its ASN.1 type does not allow.
    Encoding,
    /// A string has a NUL, which other software takes for its end.
    Nul,
    /// A text is not an RFC 4514 string in the form that is described.
    Syntax(&'static str),
}

impl fmt::Display for DnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Der => "it is not a correctly encoded name",
            Self::Encoding => "a string of it has bytes that the type of the string forbids",
            Self::Nul => "a string of it has a NUL byte",
            Self::Syntax(what) => what,
        })
    }
}

/// Writes a DER-encoded Name as its canonical RFC 4514 string; an empty Name as an empty string.
pub(crate) fn from_der(name: &[u8]) -> Result<String, DnError> {
    let (rest, mut rdns) = take(name, Tag::Sequence)?;
    if !rest.is_empty() {
        return Err(DnError::Der);
    }
    let mut parts = Vec::new();
    while !rdns.is_empty() {
        let (rest, mut attributes) = take(rdns, Tag::Set)?;
        if attributes.is_empty() {
            return Err(DnError::Der);
        }
        let mut separator = ',';
        while !attributes.is_empty() {
            let (rest, attribute) = take(attributes, Tag::Sequence)?;
            parts.push((separator, attribute_from_der(attribute)?));
            separator = '+';
            attributes = rest;
        }
        rdns = rest;
    }
    // The separator of an attribute stands before it in DER order, so after it in the reversed.
    let mut out = String::new();
    for (index, (separator, attribute)) in parts.iter().enumerate().rev() {
        out.push_str(attribute);
        if index > 0 {
            out.push(*separator);
        }
    }
    Ok(out)
}

/// Brings an RFC 4514 string that a person wrote into the canonical spelling of [`from_der`].
pub(super) fn canonical(text: &str) -> Result<String, DnError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let (attribute_type, after) = rest
            .split_once('=')
            .ok_or(DnError::Syntax("each part must have the form TYPE=VALUE"))?;
        let descriptor = canonical_type(attribute_type)?;
        let end = value_end(after);
        let (value, after) = after.split_at(end);
        out.push_str(descriptor);
        out.push('=');
        canonical_value(value, descriptor, &mut out)?;
        let Some(separator) = after.chars().next() else {
            return Ok(out);
        };
        out.push(separator);
        rest = &after[1..];
    }
}

/// Brings the value of one attribute that a person wrote, with the escapes of RFC 4514, into the
/// spelling that [`from_der`] gives it. `descriptor` is the type's, such as `CN`.
pub(super) fn canonical_text(text: &str, descriptor: &str) -> Result<String, DnError> {
    if text.is_empty() {
        return Err(DnError::Syntax("the value is empty"));
    }
    if text.starts_with('#') {
        return Err(DnError::Syntax("a '#' at the start must be escaped with '\\'"));
    }
    if value_end(text) != text.len() {
        return Err(DnError::Syntax("',' and '+' must be escaped with '\\'"));
    }
    let mut out = String::with_capacity(text.len());
    canonical_value(text, descriptor, &mut out)?;
    Ok(out)
}

/// Whether a name in canonical spelling has an attribute of this type with exactly this value, in
/// whichever RDN. Both are spelt as [`from_der`] does, so no value can be taken for a separator.
pub(super) fn has_attribute(name: &str, descriptor: &str, value: &str) -> bool {
    parts(name).any(|part| part.split_once('=') == Some((descriptor, value)))
}

/// The attributes of a name in canonical spelling, each with its type; RDNs are not told apart.
pub(super) fn parts(name: &str) -> impl Iterator<Item = &str> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let end = (!rest.is_empty()).then(|| value_end(rest))?;
        let part = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or("");
        Some(part)
    })
}

/// Takes one universal, constructed TLV with `tag` off `input`: what follows it, and its content.
fn take(input: &[u8], tag: Tag) -> Result<(&[u8], &[u8]), DnError> {
    let (rest, any) = Any::from_der(input).map_err(|_| DnError::Der)?;
    if any.class() == Class::Universal && any.tag() == tag && any.header.is_constructed() {
        Ok((rest, any.data))
    } else {
        Err(DnError::Der)
    }
}

fn attribute_from_der(attribute: &[u8]) -> Result<String, DnError> {
    let (value_der, oid) = Any::from_der(attribute).map_err(|_| DnError::Der)?;
    let (rest, value) = Any::from_der(value_der).map_err(|_| DnError::Der)?;
    let is_oid = oid.class() == Class::Universal && oid.tag() == Tag::Oid;
    if !is_oid || oid.header.is_constructed() || !rest.is_empty() {
        return Err(DnError::Der);
    }
    let known = DESCRIPTORS.iter().find(|(bytes, ..)| *bytes == oid.data);
    let mut out = String::new();
    match known {
        Some((.., descriptor)) => out.push_str(descriptor),
        None => out.push_str(&dotted(oid.data)?),
    }
    out.push('=');
    // RFC 4514, 2.4: a value whose type has no descriptor, or no string form, is shown as its DER.
    match (known, string_of(&value)?) {
        (Some(_), Some(text)) => escape(&text, &mut out),
        _ => {
            out.push('#');
            push_hex(value_der, &mut out);
        }
    }
    Ok(out)
}

/// The dotted form of an OID's content bytes (X.690, 8.19).
pub(super) fn dotted(content: &[u8]) -> Result<String, DnError> {
    let mut out = String::new();
    let mut arc: u64 = 0;
    let mut begun = false;
    for byte in content {
        // X.690, 8.19.2: the leading byte of an arc shall not be 0x80, so each has one encoding.
        if !begun && *byte == 0x80 {
            return Err(DnError::Der);
        }
        arc = arc.checked_mul(128).ok_or(DnError::Der)?.saturating_add(u64::from(byte & 0x7f));
        begun = byte & 0x80 != 0;
        if begun {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = if out.is_empty() {
            let first = (arc / 40).min(2);
            write!(out, "{first}.{}", arc - first * 40)
        } else {
            write!(out, ".{arc}")
        };
        arc = 0;
    }
    if begun || out.is_empty() {
        return Err(DnError::Der);
    }
    Ok(out)
}

/// The text of a string value; `None` where its type has no certain translation to Unicode.
fn string_of(value: &Any<'_>) -> Result<Option<String>, DnError> {
    if value.class() != Class::Universal || value.header.is_constructed() {
        return Ok(None);
    }
    let bytes = value.data;
    let text = match value.tag() {
        Tag::Utf8String => String::from_utf8(bytes.to_vec()).map_err(|_| DnError::Encoding)?,
        Tag::PrintableString | Tag::Ia5String | Tag::NumericString | Tag::VisibleString => {
            ascii(bytes).ok_or(DnError::Encoding)?
        }
        // T.61 and Latin-1 are both found in it; only their common part is certain.
        Tag::T61String => match ascii(bytes) {
            Some(text) => text,
            None => return Ok(None),
        },
        Tag::BmpString => {
            let (units, rest) = bytes.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            let text: Option<String> = char::decode_utf16(units).map(Result::ok).collect();
            text.filter(|_| rest.is_empty()).ok_or(DnError::Encoding)?
        }
        Tag::UniversalString => {
            let (units, rest) = bytes.as_chunks::<4>();
            let units = units.iter().map(|unit| u32::from_be_bytes(*unit));
            let text: Option<String> = units.map(char::from_u32).collect();
            text.filter(|_| rest.is_empty()).ok_or(DnError::Encoding)?
        }
        _ => return Ok(None),
    };
    if text.contains('\0') {
        return Err(DnError::Nul);
    }
    Ok(Some(text))
}

fn ascii(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.is_ascii().then(|| text.to_owned())
}

/// Appends `text` with the escapes of RFC 4514, 2.4, and everything but printable ASCII as pairs.
fn escape(text: &str, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (index, byte) in text.bytes().enumerate() {
        let special = matches!(byte, b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\');
        let at_edge =
            (byte == b' ' && (index == 0 || index == last)) || (byte == b'#' && index == 0);
        if special || at_edge {
            out.push('\\');
            out.push(char::from(byte));
        } else if byte == b' ' || byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            out.push('\\');
            push_hex(&[byte], out);
        }
    }
}

fn push_hex(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02X}");
    }
}

/// The canonical descriptor or dotted OID of an attribute type.
fn canonical_type(text: &str) -> Result<&str, DnError> {
    let known = DESCRIPTORS
        .iter()
        .find(|(_, dotted, name)| *dotted == text || name.eq_ignore_ascii_case(text));
    if let Some((.., descriptor)) = known {
        return Ok(descriptor);
    }
    let is_arc = |arc: &str| {
        let digits = !arc.is_empty() && arc.bytes().all(|b| b.is_ascii_digit());
        digits && (arc == "0" || !arc.starts_with('0'))
    };
    if text.contains('.') && text.split('.').all(is_arc) {
        return Ok(text);
    }
    Err(DnError::Syntax(
        "an attribute type must be CN, O, OU, C, L, ST, DC, UID, SN, GN, street, title, \
         serialNumber, emailAddress or a dotted OID, without spaces around it",
    ))
}

/// The position of the ',' or '+' that ends the value at the start of `text`.
fn value_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' | b'+' => return index,
            _ => {}
        }
    }
    text.len()
}

fn canonical_value(value: &str, descriptor: &str, out: &mut String) -> Result<(), DnError> {
    if let Some(hex) = value.strip_prefix('#') {
        let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
        if hex.is_empty() || hex.len() % 2 != 0 || !digits {
            return Err(DnError::Syntax("after '#' must follow pairs of hex digits"));
        }
        out.push('#');
        out.push_str(&hex.to_ascii_uppercase());
        return Ok(());
    }
    if descriptor.contains('.') {
        return Err(DnError::Syntax(
            "the value of a type that is written as an OID must be '#' and the hex of its DER",
        ));
    }
    let text = String::from_utf8(unescape(value)?)
        .map_err(|_| DnError::Syntax("the escaped bytes must be UTF-8"))?;
    if text.contains('\0') {
        return Err(DnError::Nul);
    }
    escape(&text, out);
    Ok(())
}

/// Resolves the escapes of a value (RFC 4514, 3: `string`).
fn unescape(value: &str) -> Result<Vec<u8>, DnError> {
    if value.starts_with(' ') || (value.ends_with(' ') && !value.ends_with("\\ ")) {
        return Err(DnError::Syntax(
            "a value must not begin or end with a space that is not escaped",
        ));
    }
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = match byte {
            b'\\' => bytes.next(),
            b'"' | b';' | b'<' | b'>' => {
                return Err(DnError::Syntax("'\"', ';', '<' and '>' must be escaped with '\\'"));
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        let special = |b: &u8| b" \"#+,;<=>\\".contains(b);
        out.push(match escaped {
            Some(escaped) if special(&escaped) => escaped,
            Some(high) => pair(high, bytes.next()).ok_or(ESCAPE)?,
            None => return Err(ESCAPE),
        });
    }
    Ok(out)
}

const ESCAPE: DnError =
    DnError::Syntax("after '\\' must follow a special character or two hex digits");

fn pair(high: u8, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low?)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).expect("short test values");
        match length {
            0..=0x7f => [&[tag, length], content].concat(),
            _ => [&[tag, 0x81, length], content].concat(),
        }
    }

    fn attribute(oid: &[u8], string_tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(0x30, &[tlv(6, oid), tlv(string_tag, value)].concat())
    }

    fn name(rdns: &[&[Vec<u8>]]) -> Vec<u8> {
        let sets: Vec<_> = rdns.iter().map(|rdn| tlv(0x31, &rdn.concat())).collect();
        tlv(0x30, &sets.concat())
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const OU: &[u8] = &[0x55, 4, 11];

    fn common_name(string_tag: u8, value: &[u8]) -> Result<String, DnError> {
        from_der(&name(&[&[attribute(CN, string_tag, value)]]))
    }

    #[test]
    fn the_last_rdn_comes_first_and_a_multivalued_one_is_joined_with_plus() {
        let der = name(&[
            &[attribute(OU, 0x13, b"first")],
            &[attribute(OU, 0x0c, b"a"), attribute(CN, 0x0c, b"b")],
        ]);
        assert_eq!(from_der(&der).as_deref(), Ok("CN=b+OU=a,OU=first"));
        assert_eq!(from_der(&name(&[])).as_deref(), Ok(""));
    }

    #[test]
    fn what_could_be_misread_is_escaped() {
        for (value, shown) in [
            ("a,CN=root", "CN=a\\,CN=root"),
            (" a ", "CN=\\ a\\ "),
            ("#1", "CN=\\#1"),
            ("a\nb\u{7f}", "CN=a\\0Ab\\7F"),
            ("\u{202e}m\u{fc}", "CN=\\E2\\80\\AEm\\C3\\BC"),
            ("\"+;<>\\=", "CN=\\\"\\+\\;\\<\\>\\\\="),
            (" ", "CN=\\ "),
            ("", "CN="),
        ] {
            assert_eq!(common_name(0x0c, value.as_bytes()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn each_string_type_is_decoded_by_its_own_rules() {
        assert_eq!(common_name(0x1e, &[0, b'a', 0, 0xe9]).as_deref(), Ok("CN=a\\C3\\A9"));
        assert_eq!(common_name(0x1c, &[0, 0, 0, b'a']).as_deref(), Ok("CN=a"));
        assert_eq!(common_name(0x14, b"abc").as_deref(), Ok("CN=abc"));
        assert_eq!(common_name(0x14, b"\xe9").as_deref(), Ok("CN=#1401E9"));
        assert_eq!(common_name(2, &[5]).as_deref(), Ok("CN=#020105"));
        for (tag, bytes) in
            [(0x0c, &b"\xff"[..]), (0x13, b"\xe9"), (0x1e, &[0xd8, 0]), (0x1e, &[1])]
        {
            assert_eq!(common_name(tag, bytes), Err(DnError::Encoding), "{tag} {bytes:?}");
        }
    }

    #[test]
    fn a_nul_is_refused_and_not_the_end_of_the_name() {
        assert_eq!(common_name(0x0c, b"root\0.evil"), Err(DnError::Nul));
        assert_eq!(common_name(0x1e, &[0, b'a', 0, 0]), Err(DnError::Nul));
    }

    #[test]
    fn a_type_without_descriptor_is_shown_as_its_oid_and_der() {
        let der = name(&[&[attribute(&[0x2a, 0x86, 0x48, 1], 0x0c, b"x")]]);
        assert_eq!(from_der(&der).as_deref(), Ok("1.2.840.1=#0C0178"));
        assert_eq!(dotted(&[0x88, 0x37]).as_deref(), Ok("2.999"));
        for bad in [&[][..], &[0x2a, 0x86], &[0x2a, 0x80, 1], &[0xff; 12]] {
            assert_eq!(dotted(bad), Err(DnError::Der), "{bad:?}");
        }
    }

    #[test]
    fn der_with_something_left_over_is_refused_and_not_shortened() {
        let whole = name(&[&[attribute(CN, 0x0c, b"a")]]);
        assert_eq!(from_der(&[&whole[..], b"\0"].concat()), Err(DnError::Der));
        let mut garbage_in_set = attribute(CN, 0x0c, b"a");
        garbage_in_set.extend([0x30, 0x7f]);
        assert_eq!(from_der(&name(&[&[garbage_in_set]])), Err(DnError::Der));
        let three = tlv(0x30, &[tlv(6, CN), tlv(0x0c, b"a"), tlv(5, b"")].concat());
        assert_eq!(from_der(&name(&[&[three]])), Err(DnError::Der));
        assert_eq!(from_der(&name(&[&[]])), Err(DnError::Der), "an empty set");
    }

    #[test]
    fn what_a_person_writes_is_brought_into_the_canonical_spelling() {
        for (text, expected) in [
            ("cn=M\u{fc}ller,o=Example", "CN=M\\C3\\BCller,O=Example"),
            ("CN=a\\2Cb", "CN=a\\,b"),
            ("2.5.4.3=a+OU=b", "CN=a+OU=b"),
            ("1.2.3=#0c0178", "1.2.3=#0C0178"),
            ("CN=a=b", "CN=a=b"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "CN",
            "CN=a, O=b",
            "XX=a",
            "CN=a,",
            "CN= a",
            "CN=a ",
            "CN=\"a\"",
            "CN=a;O=b",
            "CN=\\zz",
            "CN=\\",
            "CN=\\C3",
            "CN=\\00",
            "1.2.3=a",
            "CN=#0",
            "CN=#",
            "01.2=#00",
        ] {
            assert!(canonical(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_attribute_is_found_in_any_rdn_by_its_whole_value_only() {
        let der = name(&[
            &[attribute(OU, 0x13, b"x,CN=root")],
            &[attribute(OU, 0x1e, &[0, b'a']), attribute(CN, 0x0c, b"b\\")],
            &[attribute(CN, 0x0c, b"#1")],
            &[attribute(CN, 0x14, b"\xe9")],
        ]);
        let name = from_der(&der).expect("a name");
        let has = |descriptor, text| {
            let value = canonical_text(text, descriptor).expect(text);
            has_attribute(&name, descriptor, &value)
        };
        assert!(has("CN", "b\\\\") && has("CN", "\\#1") && has("OU", "\\61"));
        assert!(has("OU", "x\\,CN=root") && has("OU", "a"));
        for (descriptor, text) in
            [("CN", "root"), ("CN", "b"), ("CN", "a"), ("OU", "x"), ("O", "a"), ("OU", "A")]
        {
            assert!(!has(descriptor, text), "{descriptor}={text} in {name}");
        }
        // Neither the DER of a value nor its bytes can be asked for as if it were text.
        for bad in ["", "#1401E9", "a,b", "a+b", " a", "a ", "a\\", "\"a\"", "\\00", "\\E9"] {
            assert!(canonical_text(bad, "CN").is_err(), "{bad:?}");
        }
        assert!(!has_attribute("", "CN", ""));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_der(&bytes);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}|[CNO=,+\\\\#a-f0-9 ]{0,30}") {
            if let Ok(once) = canonical(&text) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
            }
        }

        #[test]
        fn a_name_from_a_certificate_is_already_canonical_and_keeps_its_parts(
            values in proptest::collection::vec("[^\0]{0,20}", 1..4)
        ) {
            let attributes: Vec<_> = values
                .iter()
                .map(|value| vec![attribute(CN, 0x0c, value.as_bytes())])
                .collect();
            let rdns: Vec<&[Vec<u8>]> = attributes.iter().map(Vec::as_slice).collect();
            let sets: Vec<u8> = rdns.iter().flat_map(|rdn| tlv(0x31, &rdn.concat())).collect();
            prop_assume!(sets.len() < 256);
            let shown = from_der(&tlv(0x30, &sets)).expect("a name without NUL");
            prop_assert!(shown.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
            prop_assert_eq!(canonical(&shown), Ok(shown.clone()));

            let mut read_back = Vec::new();
            let mut rest = shown.as_str();
            while let Some(value) = rest.strip_prefix("CN=") {
                let end = value_end(value);
                read_back.push(unescape(&value[..end]).expect("own escapes"));
                rest = value[end..].strip_prefix(',').unwrap_or("");
            }
            read_back.reverse();
            let expected: Vec<_> = values.iter().map(|v| v.clone().into_bytes()).collect();
            prop_assert_eq!(read_back, expected);
        }
    }
}
