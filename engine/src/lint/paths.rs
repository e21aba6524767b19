//! Reads of a whole root: then all of a run's context travels to the worker.

use super::{
    Lint,
    reads::{self, Subject},
    warn,
};
use crate::{diagnostic::Diagnostics, template::scan::Segment};

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    for read in &lint.reads {
        for path in read.paths() {
            let Subject::Whole(root) = reads::subject(path) else { continue };
            let is_computed = path.segments.first() == Some(&Segment::Computed);
            let what = match is_computed {
                true => format!("which part of `{root}` this reads is computed"),
                false => format!("this reads `{root}` as a whole"),
            };
            let named = match root {
                "task" => "task.NAME.result".to_owned(),
                _ => format!("{root}.NAME"),
            };
            let help = match is_computed {
                true => format!(
                    "name each that it may be: a map such as `{{\"a\": {named}}}` can be asked by a computed key"
                ),
                false => format!("name what is needed: `{named}`"),
            };
            let message = format!("{what}: all of `{root}` travels to the worker, for `{}` alone", read.field);
            warn(found, "whole_root_read", read.span(path, lint.source), message, help);
        }
    }
}
