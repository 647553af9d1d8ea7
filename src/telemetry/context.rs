//! The context of a trace, as it travels (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).
//!
//! Only `traceparent` is read. `tracestate` and baggage are neither read nor passed on: nothing here needs them, and what is not
//! kept cannot grow.

use std::fmt;
use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// A span of some trace: the text is that of `traceparent`, version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span in it.
    pub span: SpanId,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

/// Why a text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent")]
pub struct NoTraceParent;

/// The bytes of version 00. A later version may have more, behind another dash.
const LEN: usize = 55;

impl TraceContext {
    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(self, span: SpanId) -> TraceContext {
        TraceContext { span, ..self }
    }

    /// The span of the execution that this intent's decision allows. It follows from the intent's own, so that whoever carries it out, also
    /// after a restart, and whoever makes the spans need not tell each other.
    #[must_use]
    pub fn execution(self) -> TraceContext {
        let hash = blake3::Hasher::new_derive_key("writ execution span v1")
            .update(&self.trace.to_bytes())
            .update(&self.span.to_bytes())
            .finalize();
        let bytes = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        self.with_span(SpanId::from_bytes(bytes))
    }

    /// What the SDK calls it.
    #[must_use]
    pub fn to_otel(self, is_remote: bool) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(self.trace, self.span, flags, is_remote, TraceState::NONE)
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<TraceContext, NoTraceParent> {
        let (known, more) = text.split_at_checked(LEN).ok_or(NoTraceParent)?;
        let mut fields = known.split('-');
        let mut field = |len: usize| {
            let is_lower_hex = |it: &&str| it.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
            fields.next().filter(|it| it.len() == len).filter(is_lower_hex).ok_or(NoTraceParent)
        };
        let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        if version == "ff" || (version == "00" && !more.is_empty()) || !(more.is_empty() || more.starts_with('-')) {
            return Err(NoTraceParent);
        }
        let trace = TraceId::from_hex(trace).map_err(|_| NoTraceParent)?;
        let span = SpanId::from_hex(span).map_err(|_| NoTraceParent)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| NoTraceParent)?;
        if trace == TraceId::INVALID || span == SpanId::INVALID {
            return Err(NoTraceParent);
        }
        Ok(TraceContext { trace, span, sampled: flags & 1 == 1 })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-0{}", self.trace, self.span, u8::from(self.sampled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_read_strictly() {
        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read = |text: &str| text.parse::<TraceContext>();
        assert_eq!(read(GOOD).expect("the example of the specification").to_string(), GOOD);
        let sampled = |flags: &str| read(&GOOD.replace("-01", flags)).map(|it| it.sampled);
        assert_eq!([sampled("-00"), sampled("-03"), sampled("-fe")], [Ok(false), Ok(true), Ok(false)]);
        // A later version is read as far as this one goes.
        assert!(read(&GOOD.replace("00-4", "cc-4")).is_ok());
        assert!(read(&(GOOD.replace("00-4", "cc-4") + "-what-comes")).is_ok());
        let many = "a=1,".repeat(10_000);
        let bad = [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            " 0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0\u{e9}",
            &many,
        ];
        for text in bad {
            assert_eq!(read(text), Err(NoTraceParent), "{text:.80}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_it_gives_back(text in "[0-9a-f]{2}-[0-9a-f-]{49,51}.{0,6}") {
            if let Ok(context) = text.parse::<TraceContext>() {
                proptest::prop_assert_eq!(context.to_string().parse(), Ok(context));
            }
        }
    }
}
