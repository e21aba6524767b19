//! Parameters, vars and published keys that nothing reads.

use std::collections::HashSet;

use super::{
    Lint,
    reads::{self, Subject},
    warn,
};
use crate::diagnostic::Diagnostics;

pub(super) fn check(lint: &Lint<'_>, found: &mut Diagnostics) {
    let read: HashSet<Subject<'_>> = lint.reads.iter().flat_map(|read| read.paths()).map(reads::subject).collect();
    let root = lint.places.root();
    if !read.contains(&Subject::Whole("parameters")) {
        for parameter in &lint.workflow.parameters {
            let name = parameter.name.as_str();
            let is_asked = lint.workflow.exclusive.contains(&parameter.name);
            if !is_asked && !read.contains(&Subject::Parameter(name)) {
                let message = format!("no template reads the parameter `{name}`");
                let span = root.at("parameters").at(name).key();
                warn(found, "unused_parameter", span, message, format!("read `parameters.{name}`, or leave it out"));
            }
        }
    }
    if read.contains(&Subject::Whole("workflow")) {
        return;
    }
    for (key, _) in &lint.workflow.vars {
        let name = key.as_str();
        if !read.contains(&Subject::Workflow(name)) {
            let message = format!("no template reads the var `{name}`");
            let span = root.at("vars").at(name).key();
            warn(found, "unused_var", span, message, format!("read `workflow.{name}`, or leave it out"));
        }
    }
    for (index, task) in lint.workflow.indexed() {
        for (at, transition) in task.next.iter().enumerate() {
            let unread = transition.publish.iter().map(|(key, _)| key.as_str());
            for name in unread.filter(|name| !read.contains(&Subject::Workflow(name))) {
                let message = format!("`{}` publishes `{name}`, and no template reads it", task.name);
                let span = lint.transition(index, at).at("publish").at(name).key();
                let help =
                    format!("read `workflow.{name}`, or leave it out: what is published travels on with the run");
                warn(found, "unused_publish", span, message, help);
            }
        }
    }
}
