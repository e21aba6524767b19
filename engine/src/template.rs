//! Templates: the only part of Leveret that knows Tera.
//!
//! Tera 2 is close to what the language promises, and what is missing is added by rewriting each source a little
//! before Tera compiles it. [`lexer`] cuts a source into tokens exactly as Tera does; [`scan`] and [`walk`] go over them, find
//! every path that is read and note where to insert guards; [`names`] knows what may be read where; [`compile`]
//! puts it together for one source; [`guard`] has the inserted filters, which stop undefined names and structures
//! inside text, and hand typed values out; [`budget`] has those that bound time and size; [`filters`] are the filters for users; [`fault`] turns Tera's errors
//! into a line for people. What is only text, paths and comparisons is [`plain`], and read without Tera.
//!
//! Only insertions are made, never deletions, so that every position in a rewritten source can be traced back.

pub mod budget;
pub mod compile;
pub mod fault;
pub mod filters;
pub mod guard;
pub mod lexer;
pub mod names;
pub mod plain;
pub mod scan;
pub mod walk;
