//! A part of a long answer, and where the next part begins.

use std::fmt;
use std::str::FromStr;

/// The longest cursor in bytes: a key of the longest names.
const CURSOR_BYTES_MAX: usize = 1 << 10;

/// Where a page begins. Nobody outside needs to know what it says: it is lower-case hex of a place in a view, and any place is a
/// place to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// It is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is what an earlier answer gave as `next`")]
pub struct NoCursor;

impl Cursor {
    /// The cursor of a place.
    pub fn at(place: impl Into<Vec<u8>>) -> Cursor {
        Cursor(place.into())
    }

    /// The place.
    #[must_use]
    pub fn place(&self) -> &[u8] {
        &self.0
    }

    /// The place, where it is a number.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.0.as_slice().try_into().ok().map(u64::from_be_bytes)
    }
}

impl From<u64> for Cursor {
    fn from(number: u64) -> Cursor {
        Cursor::at(number.to_be_bytes())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&writ_schemas::ids::hex(&self.0))
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Cursor, NoCursor> {
        if text.len() > 2 * CURSOR_BYTES_MAX || !text.len().is_multiple_of(2) {
            return Err(NoCursor);
        }
        let pairs = text.as_bytes().chunks_exact(2).map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(|_| NoCursor)?;
            writ_schemas::ids::unhex(pair).map(u8::from_be_bytes).ok_or(NoCursor)
        });
        pairs.collect::<Result<_, _>>().map(Cursor)
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins; at the beginning, if it is not given.
    pub cursor: Option<Cursor>,
    /// The most items.
    pub limit: usize,
}

impl Part {
    /// The first so many.
    #[must_use]
    pub fn first(limit: usize) -> Part {
        Part { cursor: None, limit }
    }

    /// The same, but no more than `limit`.
    #[must_use]
    pub fn at_most(&self, limit: usize) -> Part {
        Part { cursor: self.cursor.clone(), limit: self.limit.min(limit) }
    }

    /// The number that the part begins with.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.cursor.as_ref().and_then(Cursor::number).unwrap_or_default()
    }
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is more.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The first items of `all`, each with where the list goes on behind it.
    ///
    /// # Errors
    /// The first that `all` gives before the page is full.
    pub fn of<E>(all: impl Iterator<Item = Result<(T, Cursor), E>>, limit: usize) -> Result<Page<T>, E> {
        let mut page = Page { items: Vec::new(), next: None };
        let mut behind = None;
        for item in all {
            if page.items.len() >= limit {
                page.next = behind;
                break;
            }
            let (item, next) = item?;
            page.items.push(item);
            behind = Some(next);
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_its_text_and_nothing_else_is_one() {
        for place in [vec![], vec![0], b"u/acme\0".to_vec(), vec![255; CURSOR_BYTES_MAX]] {
            let cursor = Cursor::at(place);
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert_eq!((Cursor::from(7).number(), Cursor::at("u/x").number()), (Some(7), None));
        for text in ["0", "0G", "AB", "é0", " 00", "+1", &"00".repeat(CURSOR_BYTES_MAX + 1)] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }

    #[test]
    fn pages_are_the_list_whatever_their_size() {
        let all = |from: u64| (from..7).map(|it| Ok::<_, ()>((it, Cursor::from(it + 1))));
        for limit in 1..9 {
            let (mut found, mut part) = (Vec::new(), Part::first(limit));
            loop {
                let page = Page::of(all(part.from()), part.limit).expect("a page");
                assert!(page.items.len() <= limit);
                found.extend(page.items);
                let Some(next) = page.next else { break };
                part.cursor = Some(next);
            }
            assert_eq!(found, (0..7).collect::<Vec<_>>(), "{limit} at once");
        }
    }
}
