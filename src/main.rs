//! The composition root: everything is in the library.

fn main() -> std::process::ExitCode {
    writ::cli::main()
}
