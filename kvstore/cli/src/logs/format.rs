//! The text of a line.

use super::Line;
use jiff::Zoned;
use serde_json::Value;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Console,
}

impl Form {
    pub fn parse(text: &str) -> Result<Form, String> {
        match text {
            "json" | "" => Ok(Form::Json),
            "console" => Ok(Form::Console),
            other => Err(format!("unknown log format: {other}, supported values json, console")),
        }
    }

    /// With the line's end.
    pub(super) fn line(self, line: &Line<'_>, now: &Zoned) -> String {
        match self {
            Form::Json => json(line, now),
            Form::Console => console(line, now),
        }
    }
}

/// `2006-01-02T15:04:05.000000Z0700`: `Z` for UTC.
fn timestamp(now: &Zoned) -> String {
    let offset = if now.offset().is_zero() {
        "Z".to_owned()
    } else {
        now.strftime("%z").to_string()
    };
    format!("{}{offset}", now.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
}

/// `crate/file.rs:12`: the crate's folder, and where it is in `src`.
fn caller(file: &str, line: u32) -> String {
    let short = match file.rfind("/src/") {
        Some(at) => {
            let (above, below) = file.split_at(at);
            let folder = above.rsplit('/').next().unwrap_or_default();
            let below = below.strip_prefix("/src/").unwrap_or(below);
            format!("{folder}/{below}")
        }
        None => file.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    format!("{short}:{line}")
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

fn json(line: &Line<'_>, now: &Zoned) -> String {
    let mut text = format!(
        r#"{{"level":"{}","ts":"{}","caller":{},"msg":{}"#,
        line.level.name(),
        timestamp(now),
        quote(&caller(line.file, line.line)),
        quote(line.message),
    );
    for (name, value) in line.fields {
        let _ = write!(text, ",{}:{value}", quote(name));
    }
    text.push_str("}\n");
    text
}

fn console(line: &Line<'_>, now: &Zoned) -> String {
    let mut text = format!(
        "{}\t{}\t{}\t{}",
        timestamp(now),
        line.level.name(),
        caller(line.file, line.line),
        // One line stays one line.
        line.message.replace('\n', "\\n"),
    );
    if !line.fields.is_empty() {
        let pairs: Vec<String> = line
            .fields
            .iter()
            .map(|(name, value)| format!("{}: {value}", quote(name)))
            .collect();
        let _ = write!(text, "\t{{{}}}", pairs.join(", "));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::notice::Level;

    #[track_caller]
    fn check(form: Form, expected: &str) {
        let fields = [
            ("name".to_owned(), Value::from("a\"b")),
            ("urls".to_owned(), serde_json::json!(["x", "y"])),
            ("n".to_owned(), Value::from(7)),
        ];
        let line = Line {
            level: Level::Info,
            message: "hello\nworld",
            file: "/home/x/kvstore/cli/src/logs/format.rs",
            line: 12,
            fields: &fields,
        };
        let now: Zoned = "2026-11-26T16:13:56.840233+01:00[+01:00]".parse().unwrap();
        assert_eq!(form.line(&line, &now), expected);
    }

    #[test]
    fn a_line_of_json() {
        check(
            Form::Json,
            "{\"level\":\"info\",\"ts\":\"2026-11-26T16:13:56.840233+0100\",\"caller\":\"cli/logs/format.rs:12\",\
             \"msg\":\"hello\\nworld\",\"name\":\"a\\\"b\",\"urls\":[\"x\",\"y\"],\"n\":7}\n",
        );
    }

    #[test]
    fn a_line_of_columns() {
        check(
            Form::Console,
            "2026-11-26T16:13:56.840233+0100\tinfo\tcli/logs/format.rs:12\thello\\nworld\t{\"name\": \"a\\\"b\", \
             \"urls\": [\"x\",\"y\"], \"n\": 7}\n",
        );
    }

    #[test]
    fn utc_is_a_z() {
        let now: Zoned = "2026-01-02T03:04:05+00:00[UTC]".parse().unwrap();
        assert_eq!(timestamp(&now), "2026-01-02T03:04:05.000000Z");
    }

    #[test]
    fn the_place_is_short() {
        assert_eq!(caller("kvstore/server/src/server.rs", 3), "server/server.rs:3");
        assert_eq!(caller("build.rs", 1), "build.rs:1");
    }
}
