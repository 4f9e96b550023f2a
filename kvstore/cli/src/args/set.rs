//! One value into one setting.

use super::table::{Flag, Kind};
use super::values::{PARSE_ERROR, parse_bool, parse_int, parse_span, parse_uint};
use crate::settings::Settings;
use crate::urls::Url;

fn unique(text: &str) -> Vec<String> {
    let mut values: Vec<String> = text.split(',').map(str::to_owned).collect();
    values.sort();
    values.dedup();
    values
}

/// Sets what `flag` stands for. The error has no name in it: the caller knows how the value was given.
pub fn set(settings: &mut Settings, flag: &Flag, text: &str) -> Result<(), String> {
    match flag.kind {
        Kind::Text(field) => text.clone_into(field(settings)),
        Kind::Bool(field) => *field(settings) = parse_bool(text).ok_or(PARSE_ERROR)?,
        Kind::Uint(field) => *field(settings) = parse_uint(text)?,
        Kind::Uint32(field) => {
            let problem = |what: &str| format!("strconv.ParseUint: parsing {text:?}: {what}");
            let value = parse_uint(text).map_err(|e| problem(if e == PARSE_ERROR { "invalid syntax" } else { e }))?;
            *field(settings) = u32::try_from(value).map_err(|_| problem("value out of range"))?;
        }
        Kind::Int(field) => *field(settings) = parse_int(text)?,
        Kind::Span(field) => *field(settings) = parse_span(text).map_err(|_| PARSE_ERROR)?,
        // An empty list changes nothing, as in etcd.
        Kind::Urls(field) => {
            if !text.is_empty() {
                *field(settings) = Url::parse_list(text)?;
            }
        }
        Kind::Origins(field) => {
            *field(settings) = match text {
                "" | "*" => vec!["*".to_owned()],
                _ => crate::urls::strings(&Url::parse_list(text)?),
            }
        }
        Kind::Set(field) => *field(settings) = unique(text),
        Kind::List(field) => *field(settings) = text.split(',').map(str::to_owned).collect(),
        Kind::Choice(choices, field) => {
            if !choices.contains(&text) {
                return Err("invalid value".to_owned());
            }
            text.clone_into(field(settings));
        }
        Kind::Choices(choices, field) => {
            let values: Vec<String> = text.split(',').map(str::to_owned).collect();
            if let Some(other) = values.iter().find(|value| !choices.contains(&value.as_str())) {
                return Err(format!("invalid value {other:?}"));
            }
            *field(settings) = values;
        }
        Kind::Gates(field) => field(settings).set(text)?,
        Kind::Ignored => {}
    }
    Ok(())
}
