//! `resource.Quantity`: parse, canonical form, compare, add.

/// An exact decimal: value in nano-units when it fits, as upstream rounds up to nano.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    pub nanos: i128,
}
impl Quantity {
    pub fn parse(_text: &str) -> Result<Self, String> {
        todo!()
    }
    /// Rounded up to whole units.
    pub fn value(self) -> i64 {
        todo!()
    }
    /// Rounded up to thousandths.
    pub fn milli_value(self) -> i64 {
        todo!()
    }
}
/// Canonical text of a quantity (`1500m` for `1.5`, `1Gi` for `1024Mi`), keeping its format family.
pub fn canonicalize(_text: &str) -> Result<String, String> {
    todo!()
}
