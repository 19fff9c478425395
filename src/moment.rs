//! The clock and the entropy of one change, and how the original prints a time.

use crate::ibgib::IbGib;
use crate::json::Value;
use sha2::{Digest, Sha256};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Clock and entropy of one transform, passed in by the caller: this crate has neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Random bytes for a uuid.
    pub random: [u8; 16],
}

impl Moment {
    /// The clock as the original's `toUTCString` prints it: `Thu, 01 Jan 2026 00:00:00 GMT`.
    pub fn timestamp(&self) -> String {
        let seconds = self.now_ms.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Civil date from days since 1970-01-01; the year starts in March so that leap days come last.
        let z = days + 719_468;
        let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
        let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
        let year = yoe + era * 400 + i64::from(month <= 2);
        format!(
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[days.rem_euclid(7) as usize],
            MONTHS[(month - 1) as usize],
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }

    /// When a frame says it was made, in milliseconds since 1970; `None` when it does not say or cannot be read.
    pub fn of(frame: &IbGib) -> Option<i64> {
        let ms = frame.datum("timestampMs").and_then(Value::as_u53).filter(|ms| *ms < 1000).unwrap_or(0);
        Self::parse_timestamp(frame.datum("timestamp")?.as_str()?).map(|s| s + ms as i64)
    }

    /// Reads what [`Moment::timestamp`] prints: milliseconds since 1970, always whole seconds.
    pub fn parse_timestamp(text: &str) -> Option<i64> {
        let (_, rest) = text.split_once(", ")?;
        let parts: Vec<&str> = rest.split(' ').collect();
        let [day, month, year, time, "GMT"] = parts[..] else { return None };
        let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
        let number = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<i64>().ok()).flatten();
        let (day, year) = (number(day)?, number(year)?);
        let clock: Vec<i64> = time.split(':').map(number).collect::<Option<_>>()?;
        let [h, m, s] = clock[..] else { return None };
        if !(1..=31).contains(&day) || year > 275_760 || h > 23 || m > 59 || s > 59 {
            return None;
        }
        let y = if month <= 2 { year - 1 } else { year };
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
        let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        let moment = Self { now_ms: (days * 86_400 + h * 3600 + m * 60 + s) * 1000, random: [0; 16] };
        // Only what prints the same again was a date (not 31 February, not another weekday).
        (moment.timestamp() == text).then_some(moment.now_ms)
    }

    /// The original's uuid: the random bytes written as decimal numbers without separators, hashed, lowercase hex.
    pub fn uuid(&self) -> String {
        let text: String = self.random.iter().map(ToString::to_string).collect();
        const_hex::encode(Sha256::digest(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_print_as_to_utc_string_does() {
        let at = |now_ms| Moment { now_ms, random: [0; 16] }.timestamp();
        assert_eq!(at(1_767_225_600_123), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(at(1_709_210_096_000), "Thu, 29 Feb 2024 12:34:56 GMT");
        assert_eq!(at(-1), "Wed, 31 Dec 1969 23:59:59 GMT");
    }
}
