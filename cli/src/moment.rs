//! Points in time as people name them: how long ago, or a date.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Reads `90s`, `30m`, `2h`, `7d` or `2w` (so long ago), `2026-11-21` (where that day begins in UTC), or a time as in RFC 3339.
///
/// # Errors
/// Anything else; the message says what there is.
pub fn parse(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    let dated = || {
        let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
        OffsetDateTime::parse(&whole, &Rfc3339).ok()
    };
    ago(text, now)
        .or_else(dated)
        .ok_or_else(|| format!("`{text}` is no age such as 90s, 30m, 2h, 7d or 2w, and no date such as 2026-11-21"))
}

/// As [`parse`], from now: the form in which options take it.
pub fn from_now(text: &str) -> Result<OffsetDateTime, String> {
    parse(text, OffsetDateTime::now_utc())
}

/// A time as people and programs read it: RFC 3339, to the second.
#[must_use]
pub fn written(time: OffsetDateTime) -> String {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).unwrap_or_default()
}

fn ago(text: &str, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let unit = text.chars().next_back()?;
    let seconds: i64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        'w' => 7 * 24 * 60 * 60,
        _ => return None,
    };
    let count = text.strip_suffix(unit).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit()))?;
    now.checked_sub(Duration::seconds(seconds.checked_mul(count.parse().ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_dates_are_understood() {
        let now = OffsetDateTime::parse("2026-11-21T10:00:00Z", &Rfc3339).unwrap();
        for (text, expected) in [
            ("90s", "2026-11-21T09:58:30Z"),
            ("30m", "2026-11-21T09:30:00Z"),
            ("2h", "2026-11-21T08:00:00Z"),
            ("7d", "2026-11-14T10:00:00Z"),
            ("2w", "2026-11-07T10:00:00Z"),
            ("0s", "2026-11-21T10:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T12:30:00Z", "2026-11-20T12:30:00Z"),
            ("2026-11-20T12:30:00+01:00", "2026-11-20T12:30:00+01:00"),
        ] {
            assert_eq!(parse(text, now).map(written).as_deref(), Ok(expected), "{text}");
        }
        for text in
            ["", "h", "2", "-2h", "+2h", "2.5h", "2y", "2h30m", "99999999999999999999h", "9999999999999w", "2026-13-01"]
        {
            assert!(parse(text, now).unwrap_err().contains("2026-11-21"), "{text}");
        }
    }
}
