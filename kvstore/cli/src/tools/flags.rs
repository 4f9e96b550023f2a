//! Flags of the verbs, as etcd's tools take them: `--name value`, `--name=value`, `-w value`; switches without one.

use std::collections::BTreeMap;

/// A flag: its name, and what it has no value but being there.
#[derive(Clone, Copy)]
pub struct Flag {
    pub name: &'static str,
    pub is_switch: bool,
}

/// A flag with a value.
pub const fn value(name: &'static str) -> Flag {
    Flag { name, is_switch: false }
}

/// A flag that is given or not.
pub const fn switch(name: &'static str) -> Flag {
    Flag { name, is_switch: true }
}

/// What was given.
#[derive(Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, String>,
    /// What is no flag.
    pub arguments: Vec<String>,
}

/// Reads the arguments. An error is a sentence.
pub fn parse(args: &[String], flags: &[Flag]) -> Result<Given, String> {
    let mut given = Given::default();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(named) = arg.strip_prefix("--").or_else(|| short(arg)) else {
            given.arguments.push(arg.clone());
            continue;
        };
        if named.is_empty() {
            given.arguments.extend(rest.by_ref().cloned());
            break;
        }
        let (name, value) = match named.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (named, None),
        };
        let name = if name == "w" { "write-out" } else { name };
        let flag = flags
            .iter()
            .find(|flag| flag.name == name)
            .ok_or_else(|| format!("unknown flag: --{name}"))?;
        let value = match value {
            Some(value) => value,
            None if flag.is_switch => "true".to_owned(),
            None => rest
                .next()
                .cloned()
                .ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        given.values.insert(flag.name, value);
    }
    Ok(given)
}

/// `-w`, and `-h` for completeness; a lone dash is an argument.
fn short(arg: &str) -> Option<&str> {
    arg.strip_prefix('-')
        .filter(|rest| rest.starts_with('w') || *rest == "h")
}

impl Given {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.text(name).unwrap_or(default)
    }

    pub fn is_on(&self, name: &str) -> Result<bool, String> {
        match self.text(name) {
            None | Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(format!(
                "invalid argument {other:?} for \"--{name}\" flag: it is true or false"
            )),
        }
    }

    pub fn number<T: std::str::FromStr + Default>(&self, name: &str) -> Result<T, String> {
        self.text(name).map_or_else(
            || Ok(T::default()),
            |text| {
                text.parse()
                    .map_err(|_| format!("invalid argument {text:?} for \"--{name}\" flag: it is no such number"))
            },
        )
    }

    /// The one argument that a verb takes.
    pub fn only_argument(&self, verb: &str) -> Result<&str, String> {
        match self.arguments.as_slice() {
            [one] => Ok(one),
            _ => Err(format!("{verb} requires exactly one argument")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(args: &[&str]) -> Result<Given, String> {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        parse(&args, &[value("rev"), value("write-out"), switch("skip")])
    }

    #[test]
    fn flags_and_arguments_mix() {
        let given = parsed(&["a", "--rev", "-3", "-w", "json", "--skip", "b", "--", "--c"]).unwrap();
        assert_eq!(given.arguments, ["a", "b", "--c"]);
        assert_eq!(given.number::<i64>("rev").unwrap(), -3);
        assert_eq!(given.or("write-out", "simple"), "json");
        assert!(given.is_on("skip").unwrap());
        assert!(!parsed(&["--skip=false"]).unwrap().is_on("skip").unwrap());
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        assert_eq!(parsed(&["--nope"]).unwrap_err(), "unknown flag: --nope");
        assert_eq!(parsed(&["--rev"]).unwrap_err(), "flag needs an argument: --rev");
        assert!(
            parsed(&["--rev", "x"])
                .unwrap()
                .number::<i64>("rev")
                .unwrap_err()
                .contains("--rev")
        );
        assert!(parsed(&["--skip=perhaps"]).unwrap().is_on("skip").is_err());
        assert!(parsed(&[]).unwrap().only_argument("hashkv").is_err());
    }
}
