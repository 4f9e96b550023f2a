//! Says which bug this process has: what the tests run.

fn main() {
    println!("{}", keelson_bugs::planted().map_or("none", keelson_bugs::Bug::name));
}
