//! `keelson`: the one binary. Every component is a subcommand; `up` composes them all on one machine.
//!
//! What it is not: no component's logic lives here, only composition, the machine's set-up and its removal.
//! Invariants: nothing is left half-started by a failed `up`; `down` leaves nothing in the kernel; a killed
//! `up` leaves containers running and loses nothing that was acknowledged.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod addons;
mod cgroups;
mod cli;
mod component;
mod components;
mod containerd;
mod control;
mod down;
mod fail;
mod images;
mod kubeconfig;
mod layout;
mod logs;
mod memory;
mod network;
mod pki;
mod preflight;
mod sandboxes;
mod state;
mod status;
mod supervisor;
mod switch;
mod up;

fn main() -> std::process::ExitCode {
    #[cfg(feature = "seeded-bugs")]
    keelson_bugs::planted();
    if let Some(code) = cli::datastore() {
        return code;
    }
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("keelson: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
