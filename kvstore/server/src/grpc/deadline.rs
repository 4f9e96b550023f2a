//! `grpc-timeout`: how long a client will wait for its call.

use std::time::Duration;
use tonic::{Code, Status};

pub const HEADER: &str = "grpc-timeout";
const DIGITS_MAX: usize = 8;

/// Reads the header's value; a malformed one is refused in grpc-go's words.
pub fn read(value: &[u8]) -> Result<Duration, Status> {
    let refused = |why: String| Status::internal(format!("malformed grpc-timeout: transport: {why}"));
    let text = String::from_utf8_lossy(value);
    let Some((unit, digits)) = value.split_last().filter(|(_, digits)| !digits.is_empty()) else {
        return Err(refused(format!("timeout string is too short: {text:?}")));
    };
    if digits.len() > DIGITS_MAX {
        return Err(refused(format!("timeout string is too long: {text:?}")));
    }
    let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse::<u64>().ok());
    let Some(number) = number.filter(|_| digits.iter().all(u8::is_ascii_digit)) else {
        return Err(refused(format!("timeout is not a number: {text:?}")));
    };
    match unit {
        b'H' => Ok(Duration::from_secs(number * 3600)),
        b'M' => Ok(Duration::from_secs(number * 60)),
        b'S' => Ok(Duration::from_secs(number)),
        b'm' => Ok(Duration::from_millis(number)),
        b'u' => Ok(Duration::from_micros(number)),
        b'n' => Ok(Duration::from_nanos(number)),
        _ => Err(refused(format!("timeout unit is not recognized: {text:?}"))),
    }
}

/// What a call is told whose time is over; what it asked for may still happen.
pub fn exceeded() -> Status {
    Status::new(Code::DeadlineExceeded, "context deadline exceeded")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn all_units_are_understood_and_nonsense_is_refused() {
        let good = [
            ("2H", 7200 * 1000),
            ("3M", 180_000),
            ("4S", 4000),
            ("99999999m", 99_999_999),
            ("5000u", 5),
            ("6000000n", 6),
        ];
        for (text, millis) in good {
            assert_eq!(read(text.as_bytes()).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "S", "999999999S", "+1S", "1x", "1.5S", "-1S"] {
            let refused = read(text.as_bytes()).unwrap_err();
            assert_eq!(refused.code(), Code::Internal, "{text}");
            assert!(refused.message().starts_with("malformed grpc-timeout: "), "{text}");
        }
    }
}
