//! Telemetry that is exported: what is refused at the start, what reaches a collector, and what becomes of it where there is none, or one that
//! hangs, refuses, answers something else or asks for a pause.

mod collector;
mod delivered;
mod logged;
mod secured;
mod served;
