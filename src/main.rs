//! The composition root: everything is in the library, but for the allocator.

/// Threads hand each other documents all day: one allocates, another frees. See `docs/decisions/0012`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    writ::cli::main()
}
