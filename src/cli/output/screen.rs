//! A screen that is drawn again and again, and leaves the terminal as it was.

use std::io::Write;

use rustix::termios::tcgetwinsize;

use super::{REFUSED, painted};

/// Another screen than the one with what was printed before, without a cursor (xterm's control sequences, which every terminal of today knows);
/// and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// To the first place of the screen; to the next line, with the rest of this one blank; the rest of the screen blank.
const HOME: &str = "\u{1b}[H";
const NEXT: &str = "\u{1b}[K\n";
const CLEAR: &str = "\u{1b}[J";

/// The screen. It is left when this is dropped.
#[derive(Debug)]
pub(in crate::cli) struct Screen(());

impl Screen {
    /// Enters it.
    #[must_use]
    pub(in crate::cli) fn enter() -> Screen {
        put(ENTER);
        Screen(())
    }

    /// Shows these lines, as far as they fit.
    pub(in crate::cli) fn show(&self, lines: &[String]) {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let (rows, columns) = size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)));
        let fitting = lines.iter().take(rows).map(|line| painted(line, &[]).chars().take(columns).collect::<String>());
        put(&format!("{HOME}{}{CLEAR}", fitting.collect::<Vec<_>>().join(NEXT) + "\u{1b}[K"));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        put(LEAVE);
    }
}

fn put(text: &str) {
    let mut out = std::io::stdout();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        REFUSED.get_or_init(|| error.kind());
    }
}
