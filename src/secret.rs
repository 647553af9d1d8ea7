//! Reads secrets from where the configuration says that they are.

use std::fmt::Display;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use writ_schemas::errors::Code;
use zeroize::Zeroizing;

use crate::clock::Stopwatch;
use crate::config::{self, Secret};
use crate::error::{Failure, Result};
use crate::{keyfile, threads};

/// The longest secret, in bytes: a private key in PEM with its chain.
const SECRET_BYTES_MAX: usize = 64 << 10;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The secret, without the one line break at its end.
///
/// # Errors
/// `ERR_SECRET` if it cannot be had, is empty, longer than 64 KiB, not UTF-8 or holds a zero byte. What it is, no error says.
pub fn read(secret: &Secret) -> Result<Zeroizing<String>> {
    let text = match secret {
        Secret::File(path) => keyfile::read_private(path, length(SECRET_BYTES_MAX))
            .map_err(|failure| Failure { code: Code::Secret, ..failure }),
        Secret::Env(name) => {
            config::variable(name).map(Zeroizing::new).ok_or_else(|| refuse(secret, "it is not set, or not UTF-8"))
        }
        Secret::Command(command) => ask(secret, command),
    }?;
    let line = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    match line {
        "" => Err(refuse(secret, "it is empty")),
        line if line.contains('\0') => Err(refuse(secret, "it holds a zero byte")),
        line => Ok(Zeroizing::new(line.to_owned())),
    }
}

fn refuse(secret: &Secret, why: impl Display) -> Failure {
    Failure::new(Code::Secret, format!("{secret}: {why}"))
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// What a command prints. It gets no input, and its standard error is the process's own.
fn ask(secret: &Secret, command: &[String]) -> Result<Zeroizing<String>> {
    let (program, arguments) = command.split_first().ok_or_else(|| refuse(secret, "it names no program"))?;
    let mut asked = Command::new(program);
    let asked = asked.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = asked.spawn().map_err(|e| refuse(secret, e))?;
    let output = child.stdout.take();
    // Whatever it leaves running may hold its output open, so that the end of it is not waited for here.
    let reader = threads::spawn("secret", move || {
        let mut text = Zeroizing::new(String::new());
        output.map_or(Ok(0), |output| output.take(length(SECRET_BYTES_MAX + 1)).read_to_string(&mut text)).map(|_| text)
    })?;
    let since = Stopwatch::start();
    let mut ended = None;
    while ended.is_none() || !reader.is_finished() {
        if since.elapsed() > PATIENCE {
            let _ = child.kill(); // it may have ended by itself
            let _ = child.wait();
            return Err(refuse(secret, format!("it did not end within {} s", PATIENCE.as_secs())));
        }
        ended = ended.or(child.try_wait().map_err(|e| refuse(secret, e))?);
        std::thread::sleep(Duration::from_millis(2));
    }
    let text = reader.join().map_err(|_| threads::panicked("secret"))?.map_err(|e| refuse(secret, e))?;
    match ended {
        _ if text.len() > SECRET_BYTES_MAX => Err(refuse(secret, format!("longer than {SECRET_BYTES_MAX} bytes"))),
        Some(status) if !status.success() => Err(refuse(secret, status)),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn sh(script: &str) -> Secret {
        Secret::Command(["sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[track_caller]
    fn refused(secret: &Secret, why: &str) {
        let failure = read(secret).expect_err("is refused");
        assert_eq!(failure.code, Code::Secret);
        assert!(failure.detail.contains(why), "{failure}");
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_it() {
        for (printed, secret) in
            [("s3", "s3"), ("s3\\n", "s3"), ("s3\\r\\n", "s3"), ("s3\\n\\n", "s3\n"), ("a\\nb", "a\nb")]
        {
            assert_eq!(read(&sh(&format!("printf '{printed}'"))).as_deref(), Ok(&secret.to_owned()), "{printed}");
        }
    }

    #[test]
    fn a_command_that_gives_none_is_named_without_its_arguments() {
        refused(&sh("echo hidden; exit 3"), "exit status: 3");
        refused(&sh("true"), "it is empty");
        refused(&sh("head -c 70000 /dev/zero | tr '\\0' x"), "longer than");
        refused(&sh("printf 'a\\0b'"), "zero byte");
        refused(&sh("printf '\\377'"), "UTF-8");
        refused(&Secret::Command(vec!["/nowhere/at/all".to_owned(), "hidden".to_owned()]), "/nowhere/at/all");
        refused(&Secret::Command(Vec::new()), "no program");
        let failure = read(&sh("echo hidden; exit 3")).expect_err("is refused");
        assert!(!failure.to_string().contains("hidden"), "{failure}");
    }

    #[test]
    fn a_file_is_its_owners_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let secret = Secret::File(path.clone());
        refused(&secret, "No such file");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).expect("writes");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("sets");
        };
        write("s3cret\n", 0o644);
        refused(&secret, "chmod 600");
        write("s3cret\n", 0o600);
        assert_eq!(read(&secret).as_deref(), Ok(&"s3cret".to_owned()));
        write("\n", 0o600);
        refused(&secret, "it is empty");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        refused(&Secret::Env("WRIT_TEST_NOT_SET".to_owned()), "WRIT_TEST_NOT_SET");
    }
}
