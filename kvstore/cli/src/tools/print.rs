//! How etcdutl prints: simple, table, json, fields.

/// One row of named cells, each as it looks in every format.
pub struct Cell {
    /// Of the table.
    pub title: &'static str,
    pub shown: String,
    /// Of `json`.
    pub key: &'static str,
    pub json: serde_json::Value,
    /// Of `fields`.
    pub field: &'static str,
}

/// The answer in the format asked for; `None`: there is no such format.
pub fn print(format: &str, cells: &[Cell]) -> Option<String> {
    match format {
        "simple" => {
            let row: Vec<_> = cells.iter().map(|c| c.shown.as_str()).collect();
            Some(row.join(", "))
        }
        "json" => {
            let pairs = cells.iter().map(|c| format!("{:?}:{}", c.key, c.json));
            Some(format!("{{{}}}", pairs.collect::<Vec<_>>().join(",")))
        }
        "fields" => {
            let lines = cells.iter().map(|c| {
                let value = c.json.as_str().map_or_else(|| c.json.to_string(), str::to_owned);
                format!("{:?} : {value}", c.field)
            });
            Some(lines.collect::<Vec<_>>().join("\n"))
        }
        "table" => Some(table(cells)),
        _ => None,
    }
}

/// Headings in the middle, values on the right.
fn table(cells: &[Cell]) -> String {
    let widths: Vec<usize> = cells
        .iter()
        .map(|c| c.title.chars().count().max(c.shown.chars().count()))
        .collect();
    let line = |left: &str, cross: &str, right: &str| {
        let parts: Vec<_> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
        format!("{left}{}{right}", parts.join(cross))
    };
    let row = |text: &dyn Fn(&Cell, usize) -> String| {
        let parts: Vec<_> = cells.iter().zip(&widths).map(|(c, w)| text(c, *w)).collect();
        format!("│ {} │", parts.join(" │ "))
    };
    [
        line("┌", "┬", "┐"),
        row(&|c, w| format!("{:^w$}", c.title.to_uppercase())),
        line("├", "┼", "┤"),
        row(&|c, w| format!("{:>w$}", c.shown)),
        line("└", "┴", "┘"),
    ]
    .join("\n")
}

/// Bytes for people, in powers of 1000: `20 kB`, `1.5 MB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 10 {
        return format!("{n} B");
    }
    let mut value = n as f64;
    let mut unit = "B";
    for next in UNITS {
        unit = next;
        if value < 1000.0 || next == "EB" {
            break;
        }
        value /= 1000.0;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        let shown = [0, 9, 10, 999, 1000, 1536, 20_480, 585_728, 10_000_000_000].map(bytes);
        assert_eq!(
            shown,
            [
                "0 B", "9 B", "10 B", "999 B", "1.0 kB", "1.5 kB", "20 kB", "586 kB", "10 GB"
            ]
        );
    }
}
