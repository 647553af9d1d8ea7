//! A signer that goes wrong: it passes requests on to `writ key signer`, and spoils what comes after the first so many
//! answers. The tests compile it, so it needs nothing but Rust.
//!
//!     faulty FAULT ANSWERS WRIT KEY

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [fault, good, writ, key] = &args[..] else { panic!("faulty FAULT ANSWERS WRIT KEY") };
    let good: usize = good.parse().expect("a number");
    let mut signer = Command::new(writ)
        .args(["key", "signer", key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("writ key signer");
    let mut ask = signer.stdin.take().expect("a pipe");
    let mut answers = BufReader::new(signer.stdout.take().expect("a pipe")).lines();
    let mut out = std::io::stdout();
    let mut last = "00".repeat(64);
    for (at, request) in std::io::stdin().lock().lines().enumerate() {
        let Ok(request) = request else { return };
        while at >= good && fault == "held" && std::path::Path::new(&format!("{key}.held")).exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let answer = match (at < good, fault.as_str()) {
            (false, "dies") => std::process::exit(3),
            (false, "silent") => continue,
            (false, "deaf") => loop {
                std::thread::park();
            },
            (false, "stale") => last.clone(),
            (false, "garbage") => "not a signature".to_owned(),
            (false, "empty") => String::new(),
            (false, "endless") => loop {
                if out.write_all(&[b'a'; 65_536]).is_err() {
                    return;
                }
            },
            (honest, _) => {
                ask.write_all(format!("{request}\n").as_bytes()).expect("asked");
                let answer = answers.next().expect("an answer").expect("a line");
                if honest { answer } else { spoilt(fault, &answer) }
            }
        };
        last = answer.clone();
        if out.write_all(format!("{answer}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn spoilt(fault: &str, answer: &str) -> String {
    match fault {
        "flipped" => {
            let last = if answer.ends_with('0') { '1' } else { '0' };
            format!("{}{last}", &answer[..answer.len() - 1])
        }
        "long" => format!("{answer}00"),
        "held" => answer.to_owned(),
        "short" => answer[..answer.len() - 2].to_owned(),
        other => panic!("no such fault: {other}"),
    }
}
