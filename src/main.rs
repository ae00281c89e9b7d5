//! The `tunnelog` command.

/// Buffers of pieces come and go at full rate; mimalloc hands them on without a call to the system.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tunnelog::cli::main()
}
