use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// The longest time that an endpoint may ask for: what a mistaken clock or a hostile server says
/// should not keep it out for longer than an ejection would.
const LONGEST: Duration = Duration::from_secs(300);

/// The time for which the endpoint asks to be left alone, up to 300 s; zero if it does not.
///
/// In seconds, or as a date in the one form that RFC 9110, section 5.6.7, lets servers write. A
/// date is read against the response's own `Date`: so it takes no clock, and no agreement of two.
pub(crate) fn retry_after(headers: &HeaderMap) -> Duration {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(after) = text(header::RETRY_AFTER) else {
        return Duration::ZERO;
    };
    let after = number(after).or_else(|| {
        let date = text(header::DATE).and_then(seconds_since_1970)?;
        Some(seconds_since_1970(after)?.saturating_sub(date))
    });
    after.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST)
}

/// Digits and nothing else. What is too long to count is long.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Reads an IMF-fixdate from 1970 on, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_since_1970(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    // Where the fields stand is fixed: this says what stands between them.
    let form = text.bytes().enumerate().all(|(at, byte)| match at {
        3 => byte == b',',
        4 | 7 | 11 | 16 | 25 => byte == b' ',
        19 | 22 => byte == b':',
        _ => byte.is_ascii_alphanumeric(),
    });
    if !form || text.len() != 29 || !text.ends_with("GMT") {
        return None;
    }
    let month = MONTHS.find(&text[8..11]).filter(|at| at % 3 == 0)? as u64 / 3;
    let (day, year) = (number(&text[5..7])?, number(&text[12..16])?);
    let (hour, minute, second) =
        (number(&text[17..19])?, number(&text[20..22])?, number(&text[23..25])?);
    if year < 1970 || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // The year begins in March, so that the day that some years have is its last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // From the first of March of the year 0 to the first of January 1970 there are 719 468 days;
    // one more, for the first day of a month is 1.
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(all(test, not(whippletree_loom)))]
mod tests {
    use super::*;

    fn check(date: Option<&str>, after: &str, expected: u64) {
        let value = |text: &str| text.parse().expect("a header's value");
        let mut headers = HeaderMap::from_iter([(header::RETRY_AFTER, value(after))]);
        headers.extend(date.map(|date| (header::DATE, value(date))));
        assert_eq!(retry_after(&headers), Duration::from_secs(expected), "{after}");
    }

    #[test]
    fn seconds_are_taken_up_to_five_minutes() {
        assert_eq!(retry_after(&HeaderMap::new()), Duration::ZERO);
        for (after, expected) in
            [("0", 0), ("7", 7), ("300", 300), ("301", 300), ("99999999999999999999", 300)]
        {
            check(None, after, expected);
        }
        for nonsense in ["", "-1", "+7", "1.5", "7 s", "soon", "\u{e4}"] {
            check(None, nonsense, 0);
        }
    }

    #[test]
    fn dates_are_read_against_the_date_of_the_response() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        check(Some(date), "Sun, 06 Nov 1994 08:50:07 GMT", 30);
        check(Some(date), "Mon, 07 Nov 1994 08:49:37 GMT", 300);
        check(Some(date), "Sun, 06 Nov 1994 08:49:36 GMT", 0);
        check(Some("Thu, 31 Dec 2026 23:59:50 GMT"), "Fri, 01 Jan 2027 00:00:00 GMT", 10);
        check(None, date, 0);
        check(Some("now"), date, 0);
    }

    #[test]
    fn dates_count_from_1970() {
        for (text, seconds) in [
            // As `date -u -d … +%s` counts them.
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        ] {
            assert_eq!(seconds_since_1970(text), Some(seconds), "{text}");
        }
        for nonsense in [
            "",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 19x4 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(seconds_since_1970(nonsense), None, "{nonsense}");
        }
    }
}
