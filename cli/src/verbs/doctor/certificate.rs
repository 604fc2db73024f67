//! When a certificate ends: the one thing of it that TLS does not say until it is too late.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which is left out of the first.
const EXPLICIT_0: u8 = 0xa0;

/// `notAfter` of a certificate in DER (RFC 5280, section 4.1).
pub(super) fn not_after(certificate: &[u8]) -> Option<OffsetDateTime> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut rest, _) = value(certificate, SEQUENCE)?;
    if rest.first() == Some(&EXPLICIT_0) {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = value(rest, SEQUENCE)?;
    let (tag, text, _) = element(element(validity)?.2)?;
    parse(tag, std::str::from_utf8(text).ok()?)
}

fn value(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    (tag == expected).then_some((value, rest))
}

/// Tag, value, and what comes after.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, bytes) = bytes.split_first()?;
    let (&first, mut bytes) = bytes.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (digits, rest) = bytes.split_at_checked(usize::from(first & 0x7f))?;
        bytes = rest;
        length =
            digits.iter().try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add((*digit).into()))?;
    }
    let (value, rest) = bytes.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; two digits mean 1950 to 2049.
fn parse(tag: u8, text: &str) -> Option<OffsetDateTime> {
    let text = match tag {
        UTC_TIME => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u8>().ok();
    let month = Month::try_from(number(4, 6)?).ok()?;
    let date = Date::from_calendar_date(text.get(..4)?.parse().ok()?, month, number(6, 8)?).ok()?;
    let time = Time::from_hms(number(8, 10)?, number(10, 12)?, number(12, 14)?).ok()?;
    (text.get(14..) == Some("Z")).then(|| PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (year, expected) in [(2035, "2035-04-05T00:00:00Z"), (2061, "2061-04-05T00:00:00Z")] {
            let mut parameters = rcgen::CertificateParams::new(["x.localhost".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, 4, 5);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            assert_eq!(not_after(certificate.der()).map(moment::written).as_deref(), Some(expected));
            for length in 0..certificate.der().len().min(200) {
                let cut = certificate.der().get(..length).unwrap();
                assert_eq!(not_after(cut), None, "{length}");
            }
        }
    }
}
