//! The place of the seeded bugs: `seeded!(Bug)` is whether this process has that one, and `false` in every program that
//! is not built for the consistency tests.

#[cfg(feature = "seeded-bugs")]
macro_rules! seeded {
    ($bug:ident) => {
        keelson_bugs::on(keelson_bugs::Bug::$bug)
    };
}
#[cfg(not(feature = "seeded-bugs"))]
macro_rules! seeded {
    ($bug:ident) => {
        false
    };
}
