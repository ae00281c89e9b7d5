//! The `tunnelog` command.

fn main() -> std::process::ExitCode {
    tunnelog::cli::main()
}
