//! DER (X.690, section 10), read in place: elements, one after the other, without allocating.
//!
//! Strict: definite lengths in their shortest form, tags of one byte. Lists have a million entries,
//! so nothing is kept that is not asked for.

use super::CrlError;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// One element.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// With the header.
    pub(super) whole: &'a [u8],
    pub(super) content: &'a [u8],
}

/// What is left of a series of elements; `part` names it in errors.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    part: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], part: &'static str) -> Self {
        Self { rest: bytes, part }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn malformed(&self) -> CrlError {
        CrlError::Malformed(self.part)
    }

    /// The next element, whatever it is.
    pub(super) fn element(&mut self) -> Result<Element<'a>, CrlError> {
        let (tag, header_bytes, content_bytes) = header(self.rest).ok_or(self.malformed())?;
        let bytes = header_bytes.checked_add(content_bytes).ok_or(self.malformed())?;
        let (whole, rest) = self.rest.split_at_checked(bytes).ok_or(self.malformed())?;
        self.rest = rest;
        Ok(Element { tag, whole, content: &whole[header_bytes..] })
    }

    /// The next element, which must be of this type.
    pub(super) fn take(&mut self, tag: u8) -> Result<Element<'a>, CrlError> {
        self.element().and_then(|found| match found.tag == tag {
            true => Ok(found),
            false => Err(self.malformed()),
        })
    }

    /// The content of the next element if that is of this type.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, CrlError> {
        match self.rest.first() {
            Some(next) if *next == tag => self.element().map(|found| Some(found.content)),
            _ => Ok(None),
        }
    }

    /// The next element as a BOOLEAN under this tag; absent is false. DER writes true as 0xff, and
    /// a false that is the default not at all (X.690, 11.1 and 11.5).
    pub(super) fn flag(&mut self, tag: u8) -> Result<bool, CrlError> {
        match self.optional(tag)? {
            None => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err(self.malformed()),
        }
    }

    /// The next element as a Time (RFC 5280, 4.1.2.5), in seconds since 1970.
    pub(super) fn time(&mut self) -> Result<i64, CrlError> {
        self.optional_time()?.ok_or(self.malformed())
    }

    /// The same where a Time is next.
    pub(super) fn optional_time(&mut self) -> Result<Option<i64>, CrlError> {
        match self.rest.first() {
            Some(&UTC_TIME | &GENERALIZED_TIME) => {
                let time = self.element()?;
                time_of(time.tag, time.content).map(Some).ok_or(self.malformed())
            }
            _ => Ok(None),
        }
    }

    /// The content of the next element, a BIT STRING of whole bytes.
    pub(super) fn bits(&mut self) -> Result<&'a [u8], CrlError> {
        match self.take(BIT_STRING)?.content {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(self.malformed()),
        }
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), CrlError> {
        if self.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}

/// Tag, bytes of the header, bytes of the content.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    if first < 0x80 {
        return Some((tag, 2, usize::from(first)));
    }
    let length = rest.get(..usize::from(first & 0x7f)).filter(|length| length.len() <= 4)?;
    let number = length.iter().fold(0, |number: u64, &byte| number << 8 | u64::from(byte));
    let is_shortest = number >= 0x80 && *length.first()? != 0;
    is_shortest.then_some((tag, 2 + length.len(), usize::try_from(number).ok()?))
}

/// `content` as a SEQUENCE.
pub(super) fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    let length = &length[zeros..];
    let mut out = vec![SEQUENCE];
    match content.len() {
        short @ 0..0x80 => out.push(short as u8),
        _ => {
            out.push(0x80 | length.len() as u8);
            out.extend_from_slice(length);
        }
    }
    out.extend_from_slice(content);
    out
}

/// UTC to the second, `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`: no other form is allowed (RFC 5280,
/// 4.1.2.5.1 and 4.1.2.5.2).
fn time_of(tag: u8, content: &[u8]) -> Option<i64> {
    let digits = content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |pair: &[u8]| i64::from(pair[0] - b'0') * 10 + i64::from(pair[1] - b'0');
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = pair(&digits[..2]);
            (if year >= 50 { 1900 + year } else { 2000 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (pair(&digits[..2]) * 100 + pair(&digits[2..4]), &digits[4..]),
        _ => return None,
    };
    let mut fields = rest.chunks_exact(2).map(pair);
    let mut next = |least: i64, most: i64| fields.next().filter(|n| (least..=most).contains(n));
    let month = next(1, 12)?;
    let day = next(1, days_of(year, month))?;
    let (hour, minute, second) = (next(0, 23)?, next(0, 59)?, next(0, 59)?);
    Some(((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of this month, of the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    let leap_days = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    years + (1..month).map(|month| days_of(year, month)).sum::<i64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::OffsetDateTime;

    #[test]
    fn only_the_shortest_definite_length_is_read() {
        let long = [&[0x30, 0x81, 0x80][..], &[0; 0x80]].concat();
        for good in [&[0x30, 0][..], &[0x04, 2, 1, 2], &long] {
            let mut reader = Reader::new(good, "x");
            assert_eq!(reader.element().map(|element| element.whole), Ok(good));
            assert!(reader.end().is_ok());
        }
        let padded = [&[0x30, 0x82, 0, 0x80][..], &[0; 0x80]].concat();
        let five = [&[0x30, 0x85, 0, 0, 0, 0, 1][..], &[0; 2]].concat();
        let bad: [&[u8]; 9] = [
            &[],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 0],
            &[0x1f, 1, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &padded,
            &five,
        ];
        for bad in bad {
            assert_eq!(Reader::new(bad, "x").element().err(), Some(CrlError::Malformed("x")));
        }
    }

    #[test]
    fn a_time_has_one_form_and_is_on_the_calendar() {
        for (tag, text, unix_s) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "500101000000Z", -631_152_000),
            (UTC_TIME, "491231235959Z", 2_524_607_999),
            (UTC_TIME, "240229120000Z", 1_709_208_000),
            (GENERALIZED_TIME, "20500101000000Z", 2_524_608_000),
            (GENERALIZED_TIME, "00000101000000Z", -62_167_219_200),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ] {
            assert_eq!(time_of(tag, text.as_bytes()), Some(unix_s), "{text}");
        }
        for (tag, bad) in [
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "700101000000"),
            (UTC_TIME, "700101000000+0000"),
            (UTC_TIME, "70010100000aZ"),
            (UTC_TIME, "700001000000Z"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700100000000Z"),
            (UTC_TIME, "230229000000Z"),
            (UTC_TIME, "700101240000Z"),
            (UTC_TIME, "700101006000Z"),
            (UTC_TIME, "700101000060Z"),
            (UTC_TIME, "20500101000000Z"),
            (GENERALIZED_TIME, "700101000000Z"),
            (GENERALIZED_TIME, "20500101000000.5Z"),
            (GENERALIZED_TIME, "21000229000000Z"),
        ] {
            assert_eq!(time_of(tag, bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_time_is_what_another_calendar_says(
            unix_s in -62_167_219_200_i64..=253_402_300_799
        ) {
            let time = OffsetDateTime::from_unix_timestamp(unix_s).expect("a year of four digits");
            let text = format!(
                "{:04}{:02}{:02}{:02}{:02}{:02}Z",
                time.year(), u8::from(time.month()), time.day(),
                time.hour(), time.minute(), time.second()
            );
            prop_assert_eq!(time_of(GENERALIZED_TIME, text.as_bytes()), Some(unix_s));
        }

        #[test]
        fn what_is_made_a_sequence_is_read_back(
            content in proptest::collection::vec(any::<u8>(), 0..600)
        ) {
            let whole = sequence(&content);
            let mut reader = Reader::new(&whole, "x");
            prop_assert_eq!(reader.take(SEQUENCE).map(|found| found.content), Ok(&content[..]));
        }
    }
}
