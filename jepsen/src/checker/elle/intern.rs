//! Names of keys as numbers.

use std::collections::HashMap;

/// No key.
pub(super) const NONE: u32 = u32::MAX;

/// Names by number.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_name: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    /// The number of a name, a new one when it is new.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(NONE);
        self.by_name.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&str> {
        self.names.get(number as usize).map(String::as_str)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
