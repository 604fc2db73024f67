//! .NET's `TimeSpan` text, as `host.json` has it: `[d.]hh:mm[:ss[.fffffff]]`, or days alone.

use std::time::Duration;

const DAY: u64 = 24 * 60 * 60;

/// Parses a time span that is not negative; `None` where the host would refuse it.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let Some((hours, rest)) = text.split_once(':') else {
        return number(text, 10_675_199).map(|days| Duration::from_secs(days * DAY));
    };
    let (days, hours) = match hours.split_once('.') {
        Some((days, hours)) => (number(days, 10_675_199)?, number(hours, 23)?),
        None => (0, number(hours, 23)?),
    };
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (seconds, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| (1..=7).contains(digits))?;
    let ticks = number(fraction, 9_999_999)? * 10_u64.pow(7 - digits);
    let seconds = days * DAY + hours * 3600 + number(minutes, 59)? * 60 + number(seconds, 59)?;
    Some(Duration::from_secs(seconds) + Duration::from_nanos(ticks * 100))
}

fn number(digits: &str, max: u64) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| plain && *number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_time_span() {
        let cases = [
            ("00:05:00", 300_000),
            ("00:00:00.1", 100),
            ("0:0:2.0500000", 2050),
            ("01:30", 5_400_000),
            ("1.00:00:01", 86_401_000),
            ("7", 604_800_000),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_span() {
        for text in ["", "-00:00:01", "24:00:00", "00:60:00", "00:00:60", "5 min", "00:00:00.", "00:00:00.12345678"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
