//! The node from outside: what docs/protocol.md says, sentence by sentence.
//!
//! - [`transcripts`]: written conversations, the samples of the protocol among them
//! - [`conversation`]: framing, order, flushing, sizes, what no written line can show
//! - [`chaos`]: any bytes, any lines, any values
//! - [`process`]: a node with real pipes: signals, kill -9, locks, temporary stores
#![forbid(unsafe_code)]

//mod chaos;
//mod conversation;
mod node;
//mod process;
mod transcripts;
