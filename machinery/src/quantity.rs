//! `resource.Quantity`: parse, canonical form, compare, add
//! (upstream: apimachinery/pkg/api/resource/quantity.go).
//!
//! Exact to a billionth in an `i128`: up to 1.7e29 units, beyond upstream's largest suffix (`E` is 1e18); what is
//! larger is capped there, what is finer is rounded away from zero, as upstream rounds.
use std::cmp::Ordering;

const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// What a binary quantity is capped at, in units (upstream: `maxAllowed`).
const BINARY_UNITS_MAX: i128 = i64::MAX as i128;
/// Digits after the point that are read; of more only whether they are all zero.
const FRACTION_DIGITS_MAX: usize = 25;

const WRONG_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";

/// An exact decimal: value in nano-units when it fits, as upstream rounds up to nano.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    pub nanos: i128,
}

/// The family of suffixes in which a quantity was written, and is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `12e6`
    DecimalExponent,
    /// `12Mi`
    BinarySi,
    /// `12M`
    DecimalSi,
}

const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY: [(&str, i32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// A quantity cut into its parts.
struct Parts<'a> {
    negative: bool,
    /// Without leading zeros, `0` when nothing is left.
    whole: &'a str,
    fraction: &'a str,
    format: Format,
    exponent: i32,
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn cut(text: &str) -> Result<Parts<'_>, String> {
    if text.is_empty() {
        return Err(WRONG_FORMAT.into());
    }
    let (negative, rest) = match text.as_bytes() {
        [b'-', ..] => (true, text.get(1..).unwrap_or_default()),
        [b'+', ..] => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    let (whole, mut rest) = digits(rest.trim_start_matches('0'));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = digits(after);
    }
    let letters = rest
        .bytes()
        .position(|b| !b"eEinumkKMGTP".contains(&b))
        .unwrap_or(rest.len());
    let tail = rest.get(letters..).unwrap_or_default();
    if !tail
        .strip_prefix(['-', '+'])
        .unwrap_or(tail)
        .bytes()
        .all(|b| b.is_ascii_digit())
    {
        return Err(WRONG_FORMAT.into());
    }
    let (format, exponent) = suffix(rest).ok_or(WRONG_SUFFIX)?;
    Ok(Parts {
        negative,
        whole: if whole.is_empty() { "0" } else { whole },
        fraction,
        format,
        exponent,
    })
}

fn suffix(text: &str) -> Option<(Format, i32)> {
    if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == text) {
        return Some((Format::DecimalSi, *e));
    }
    if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == text) {
        return Some((Format::BinarySi, *e));
    }
    let exponent: i64 = text.strip_prefix(['e', 'E'])?.parse().ok()?;
    // Far outside what can be held either way; the bound keeps arithmetic on it safe.
    Some((
        Format::DecimalExponent,
        i32::try_from(exponent.clamp(-1000, 1000)).ok()?,
    ))
}

/// 10^n, capped.
fn pow10(n: u32) -> i128 {
    10i128.checked_pow(n).unwrap_or(i128::MAX)
}

/// `value` divided by `by`, rounded away from zero; both at least zero.
fn div_up(value: i128, by: i128) -> i128 {
    value / by + i128::from(value % by != 0)
}

impl Parts<'_> {
    /// The value's magnitude in nanos.
    fn nanos(&self) -> i128 {
        let kept = self.fraction.get(..FRACTION_DIGITS_MAX).unwrap_or(self.fraction);
        let lost = self
            .fraction
            .get(FRACTION_DIGITS_MAX..)
            .is_some_and(|r| r.bytes().any(|b| b != b'0'));
        // At most 1.7e38 is held; a mantissa beyond is beyond the cap with any suffix that is not tiny.
        let add = |m: i128, b: u8| m.saturating_mul(10).saturating_add(i128::from(b - b'0'));
        let mantissa = self.whole.bytes().chain(kept.bytes()).fold(0i128, add);
        let mantissa = mantissa.saturating_mul(1).saturating_add(i128::from(lost));
        let places = i32::try_from(kept.len()).unwrap_or(0);
        let (factor, exponent) = match self.format {
            Format::BinarySi => (1i128 << self.exponent, 9 - places),
            _ => (1, self.exponent + 9 - places),
        };
        // Divide before multiplying where that is exact, so that long fractions do not overflow.
        let scaled = if exponent < 0 {
            let by = pow10(exponent.unsigned_abs());
            match mantissa.checked_mul(factor) {
                Some(product) => div_up(product, by),
                None => div_up(mantissa, by).saturating_mul(factor),
            }
        } else {
            mantissa
                .saturating_mul(pow10(exponent.unsigned_abs()))
                .saturating_mul(factor)
        };
        if mantissa == 0 {
            return 0;
        }
        match self.format {
            Format::BinarySi => scaled.min(BINARY_UNITS_MAX * NANOS_PER_UNIT),
            _ => scaled,
        }
    }

    /// True where upstream keeps the text as it was written (the fast path of `ParseQuantity`).
    fn kept_verbatim(&self) -> bool {
        let (whole, fraction) = (self.whole.len(), self.fraction.len());
        let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX / 4);
        let shifted = || format!("{}{}", self.whole, self.fraction);
        match self.format {
            Format::BinarySi => {
                let precision = 15 - int(whole) - self.exponent * 3 / 10 - 1;
                fraction == 0
                    && precision >= 0
                    && shifted()
                        .parse::<i64>()
                        .is_ok_and(|v| v & 7 != 0 && v.checked_mul(1 << self.exponent).is_some())
            }
            _ => {
                let scale = self.exponent - int(fraction);
                let s = shifted();
                18 - int(whole) - int(fraction) >= 0
                    && scale >= -9
                    && scale % 3 == 0
                    && !s.ends_with("000")
                    && !s.starts_with('0')
            }
        }
    }
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0 };

    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_with_format(text).map(|(q, _)| q)
    }
    pub fn parse_with_format(text: &str) -> Result<(Self, Format), String> {
        let parts = cut(text)?;
        let nanos = parts.nanos();
        let format = match parts.format {
            // Less than one unit has no binary suffix.
            Format::BinarySi if (1..NANOS_PER_UNIT).contains(&nanos) => Format::DecimalSi,
            f => f,
        };
        let nanos = if parts.negative { -nanos } else { nanos };
        Ok((Quantity { nanos }, format))
    }
    pub fn from_units(units: i64) -> Self {
        Quantity {
            nanos: i128::from(units) * NANOS_PER_UNIT,
        }
    }
    pub fn from_milli(milli: i64) -> Self {
        Quantity {
            nanos: i128::from(milli) * 1_000_000,
        }
    }
    /// Rounded up to whole units (away from zero), capped to what an `i64` holds.
    pub fn value(self) -> i64 {
        self.scaled(NANOS_PER_UNIT)
    }
    /// Rounded up to thousandths (away from zero), capped to what an `i64` holds.
    pub fn milli_value(self) -> i64 {
        self.scaled(1_000_000)
    }
    fn scaled(self, by: i128) -> i64 {
        let magnitude = div_up(self.nanos.saturating_abs(), by);
        let signed = if self.nanos < 0 { -magnitude } else { magnitude };
        i64::try_from(signed).unwrap_or(if signed < 0 { i64::MIN } else { i64::MAX })
    }
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS_PER_UNIT as f64
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Quantity {
            nanos: self.nanos.saturating_add(other.nanos),
        }
    }
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Quantity {
            nanos: self.nanos.saturating_sub(other.nanos),
        }
    }

    /// The canonical text: no fraction, no precision lost, the largest suffix (upstream: `CanonicalizeBytes`).
    pub fn to_text(self, format: Format) -> String {
        if self.nanos == 0 {
            return "0".into();
        }
        let (mut units, whole) = (self.nanos / NANOS_PER_UNIT, self.nanos % NANOS_PER_UNIT == 0);
        if format == Format::BinarySi && whole && units.saturating_abs() >= 1024 {
            let mut power = 0usize;
            while units % 1024 == 0 && power < 6 {
                units /= 1024;
                power += 1;
            }
            let suffix = power
                .checked_sub(1)
                .and_then(|p: usize| BINARY.get(p))
                .map_or("", |b| b.0);
            return format!("{units}{suffix}");
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9);
        let highest = if format == Format::DecimalExponent {
            i32::MAX
        } else {
            18
        };
        while mantissa % 1000 == 0 && exponent < highest {
            mantissa /= 1000;
            exponent += 3;
        }
        match format {
            Format::DecimalExponent if exponent == 0 => format!("{mantissa}"),
            Format::DecimalExponent => format!("{mantissa}e{exponent}"),
            _ => {
                let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |d| d.0);
                format!("{mantissa}{suffix}")
            }
        }
    }
}

impl std::ops::Add for Quantity {
    type Output = Quantity;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}
impl std::ops::Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}
impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Quantity::ZERO, Quantity::saturating_add)
    }
}

/// Canonical text of a quantity (`1500m` for `1.5`, `1Gi` for `1024Mi`), keeping its format family.
pub fn canonicalize(text: &str) -> Result<String, String> {
    let text = text.trim();
    let parts = cut(text)?;
    if text == "0" || parts.kept_verbatim() {
        return Ok(text.to_owned());
    }
    let (q, format) = Quantity::parse_with_format(text)?;
    // Beyond what is held here upstream still has the value, so the text stays as it is.
    if q.nanos == i128::MAX || q.nanos == -i128::MAX {
        return Ok(text.to_owned());
    }
    Ok(q.to_text(format))
}

/// Compares two texts by value; `None` when one is no quantity.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    Some(Quantity::parse(a).ok()?.cmp(&Quantity::parse(b).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0", "0"),
            ("0.0", "0"),
            ("-0", "0"),
            ("00", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.1m", "100u"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("0.0000000001", "1n"),
            ("-0.1n", "-1n"),
            ("1000", "1k"),
            ("10000", "10k"),
            ("100000", "100k"),
            ("1000000", "1M"),
            ("128974848", "128974848"),
            ("129e6", "129e6"),
            ("129000e3", "129e6"),
            ("12e5", "1200e3"),
            ("1.5e3", "1500"),
            ("1e3", "1e3"),
            ("1E3", "1E3"),
            ("1E", "1E"),
            ("1000P", "1E"),
            ("1000E", "1000E"),
            ("1024Ki", "1Mi"),
            ("1024Mi", "1Gi"),
            ("1500Mi", "1500Mi"),
            ("1536Mi", "1536Mi"),
            ("1.5Gi", "1536Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("1.1Ki", "1126400m"),
            ("0.001Ki", "1024m"),
            ("0.0001Ki", "102400u"),
            ("8Ei", "9223372036854775807"),
            ("500Ki", "500Ki"),
            ("512Ki", "512Ki"),
            ("+5", "+5"),
            ("1.500", "1.500"),
            ("-1.5", "-1500m"),
            ("0.25Gi", "256Mi"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(canonicalize(text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity() {
        for text in [
            "", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "-3.01e-", "1e", "1 Gi", "1kk",
            "１",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        assert_eq!(Quantity::parse("abc").unwrap_err(), WRONG_FORMAT);
        assert_eq!(Quantity::parse("1i").unwrap_err(), WRONG_SUFFIX);
    }

    #[test]
    fn values_round_away_from_zero() {
        let q = |t: &str| Quantity::parse(t).unwrap();
        assert_eq!((q("1.1").value(), q("-1.1").value()), (2, -2));
        assert_eq!((q("1n").value(), q("1n").milli_value()), (1, 1));
        assert_eq!(q("250m").milli_value(), 250);
        assert_eq!(q("1Gi").value(), 1 << 30);
        assert_eq!(q("1e30").value(), i64::MAX);
        assert_eq!(q("3.01e-2").nanos, 30_100_000);
        assert_eq!(q("1e-40").nanos, 1);
        assert_eq!(q("0.00000000000000000000000000000000001Ki").nanos, 1);
        assert_eq!((q("500m") + q("1.5")).to_text(Format::DecimalSi), "2");
        assert_eq!((q("1Gi") - q("512Mi")).to_text(Format::BinarySi), "512Mi");
        assert_eq!(compare("1024Mi", "1Gi"), Some(Ordering::Equal));
        assert_eq!(compare("1", "1001m"), Some(Ordering::Less));
    }

    proptest::proptest! {
        #[test]
        fn canonical_text_is_stable_and_keeps_the_value(
            whole in 0u64..10_000_000, fraction in 0u32..1000, suffix in 0usize..18
        ) {
            let suffixes: Vec<&str> = DECIMAL.iter().chain(&BINARY).map(|s| s.0).chain(["e3", "E-2"]).collect();
            let text = format!("{whole}.{fraction:03}{}", suffixes[suffix]);
            let once = canonicalize(&text).unwrap();
            proptest::prop_assert_eq!(&canonicalize(&once).unwrap(), &once);
            proptest::prop_assert_eq!(Quantity::parse(&once).unwrap(), Quantity::parse(&text).unwrap());
        }
    }
}
