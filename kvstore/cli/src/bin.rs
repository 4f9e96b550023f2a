//! The datastore alone, without the rest of Keelson: the same as `keelson kvstore`.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let mut args = std::env::args_os();
    let program = args
        .next()
        .map(|p| p.to_string_lossy().into_owned())
        .unwrap_or_default();
    keelson_kvstore_cli::main(&program, args.collect())
}
