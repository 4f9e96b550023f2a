//! How a verb ends: with what it prints, or with a sentence and the exit code that etcd's tools give it.

use std::process::ExitCode;

/// Why a verb failed (`pkg/cobrautl`).
#[derive(Debug)]
pub enum Failure {
    /// What was asked cannot be understood.
    Arguments(String),
    /// There is no such format.
    Feature(String),
    /// It went wrong.
    Error(String),
}

impl Failure {
    pub fn error(error: impl std::fmt::Display) -> Failure {
        Failure::Error(error.to_string())
    }

    fn code(&self) -> u8 {
        match self {
            Failure::Arguments(_) => 128,
            Failure::Feature(_) => 4,
            Failure::Error(_) => 1,
        }
    }
}

/// What a verb prints when it went well.
pub type Outcome = Result<String, Failure>;

pub fn end(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let (Failure::Arguments(text) | Failure::Feature(text) | Failure::Error(text)) = &failure;
            eprintln!("Error: {text}");
            ExitCode::from(failure.code())
        }
    }
}
