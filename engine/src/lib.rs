//! What a workflow means: the language, its templates, and the state machine of a run. Pure: no clock, no IO, no async.
//!
//! Reading order: [`spec`] is a workflow as types, [`parse`] makes it from YAML with every error at once
//! as a [`diagnostic`], [`duration`] reads `1m30s`, [`parameters`] checks what a job gives,
//! [`lint`] finds what is allowed and hardly meant, [`value`] and [`snapshot`] hold what templates read, [`program`]
//! compiles a workflow's templates once and knows which paths each reads, [`callable`] is what they may call,
//! [`evaluate`] asks them on a worker, [`context`] is what a branch has published, [`machine`] decides what happens next,
//! and [`rehearsal`] plays all of it without running anything. [`graph`] draws a workflow for people, [`words`] lists the
//! words of the language.

pub mod callable;
mod compile;
pub mod context;
pub mod diagnostic;
pub mod duration;
pub mod evaluate;
pub mod graph;
pub mod lint;
pub mod machine;
pub mod parameters;
pub mod parse;
pub mod program;
pub mod rehearsal;
pub mod snapshot;
pub mod spec;
mod template;
pub mod value;
pub mod words;
