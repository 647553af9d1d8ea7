//! The stages of an execution, as points between which a process can end.
//!
//! A debug build that is started with `WRIT_KILL_AT=point` kills itself (`SIGKILL`) when it gets there: the tests show that
//! an effect happens at most once wherever that is, and that the receipt says what is known. Release builds have no such
//! points.

use crate::config;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident $text:literal,)*) => {
        /// A point between two stages.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stage { $($(#[$doc])* $name,)* }

        impl Stage {
            /// Every point, in the order in which an execution comes to them.
            pub const ALL: &'static [Stage] = &[$(Stage::$name,)*];

            /// The point's name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Stage::$name => $text,)* }
            }
        }
    };
}

stages! {
    /// The `PASS` is durable; its turn has come, and nobody has asked for its dispatch.
    Passed "passed",
    /// Whether it may be dispatched is about to be asked.
    Asked "asked",
    /// `DispatchStarted` is in its batch, which is not written yet.
    DispatchDecided "dispatch-decided",
    /// `DispatchStarted` is durable, and the executor has not heard of it.
    DispatchDurable "dispatch-durable",
    /// The executor has the dispatch, and has checked nothing.
    Dispatched "dispatched",
    /// The effect is the one that was decided, the connector is known: it is about to be called.
    Checked "checked",
    /// The connector has answered.
    Answered "answered",
    /// The answer is canonical, and was held against its shape.
    Judged "judged",
    /// The output is in the content store, where it is long.
    Kept "kept",
    /// The writer is about to make the receipt.
    Ended "ended",
    /// The receipt is signed, and not written yet.
    ReceiptSigned "receipt-signed",
    /// The receipt is durable, and nobody has heard of it.
    ReceiptDurable "receipt-durable",
}

/// Ends the process here, if a test asked a debug build for it.
pub fn reached(stage: Stage) {
    if cfg!(debug_assertions) && config::killed_at() == Some(stage.as_str()) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
