//! From a message on the jobs queue, or an HTTP body, to a job that can be accepted.

use std::{collections::BTreeMap, sync::Arc};

use engine::{
    machine::fact::{Accepted, ReplyTo},
    parameters::{self, Coerce},
    spec::Workflow,
};
use proto::{
    codec,
    id::{Digest, KeyName, RunId},
    job::{Job, Message, Problem, Submission, Target},
    json::Json,
    limits::{LABEL_NAME_BYTES_MAX, LABEL_TEXT_BYTES_MAX, LABELS_MAX, SUBMISSION_BYTES_MAX},
    topology::Topology,
    value::ValueRef,
    view::ContextDocument,
};

use crate::programs::{self, Known, Names, Programs, problem};

/// The prefix of names by which RabbitMQ routes direct replies.
const DIRECT_REPLY: &str = "amq.rabbitmq.reply-to";

/// A job that can be accepted.
#[derive(Debug)]
pub(crate) struct Order {
    pub known: Arc<Known>,
    pub accepted: Accepted,
    /// The same for the same job sent twice, and for nothing else.
    pub content: Digest,
}

/// A message that cannot.
#[derive(Debug)]
pub(crate) struct Rejection {
    /// The run that it names, if it got that far.
    pub id: Option<RunId>,
    pub problems: Vec<Problem>,
}

impl Rejection {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { id: None, problems: vec![problem(code, message.into())] }
    }

    pub(crate) fn of(mut self, id: &RunId) -> Self {
        self.id = Some(id.clone());
        self
    }
}

/// Reads a submission, its size and nesting checked first.
pub(crate) fn read(body: &[u8]) -> Result<Submission, Rejection> {
    let message: Message = codec::decode_within(body, SUBMISSION_BYTES_MAX).map_err(|error| match &error {
        codec::Error::TooLarge { .. } => Rejection::new("submission_too_large", error.to_string()),
        codec::Error::Json(_) => Rejection::new(error.code(), error.to_string()),
    })?;
    let id = message.id.clone();
    Submission::try_from(message).map_err(|unclear| {
        let rejection = Rejection::new("submission_invalid", unclear.to_string());
        Rejection { id, ..rejection }
    })
}

/// The id that a job's run gets: its own, else the message's, else a new one.
pub(crate) fn run_id(job: &Job, message_id: Option<&str>) -> Result<RunId, Rejection> {
    chosen(job.id.as_ref(), message_id)
}

/// The id of a new run: the one that was asked for, else the message's, else a fresh one. None that a child could have.
pub(crate) fn chosen(id: Option<&RunId>, message_id: Option<&str>) -> Result<RunId, Rejection> {
    let id = match (id, message_id) {
        (Some(id), _) => id.clone(),
        (None, Some(text)) => text.parse().map_err(|error: proto::id::Error| {
            Rejection::new("id_invalid", format!("the message_id serves as run id, but {error}"))
        })?,
        (None, None) => RunId::fresh(),
    };
    match id.is_child() {
        true => Err(Rejection::new("id_invalid", format!("{id} has a `~`, as only ids of child runs have"))),
        false => Ok(id),
    }
}

/// Where answers may go: RabbitMQ's direct reply-to, or a queue under our reply prefix. Anything else would let a
/// client have the scheduler write into any queue of the broker.
pub(crate) fn reply_to(
    topology: &Topology,
    queue: Option<&str>,
    correlation_id: Option<&str>,
) -> Result<Option<ReplyTo>, Rejection> {
    let Some(queue) = queue.filter(|queue| !queue.is_empty()) else { return Ok(None) };
    let prefix = topology.reply_prefix();
    if queue.starts_with(DIRECT_REPLY) || queue.starts_with(&prefix) {
        let correlation_id = correlation_id.map(str::to_owned);
        return Ok(Some(ReplyTo { queue: queue.to_owned(), correlation_id }));
    }
    let message =
        format!("reply_to {queue:?} is not allowed: use {DIRECT_REPLY}, or a queue whose name begins with {prefix}");
    Err(Rejection::new("reply_to_refused", message))
}

/// Checks a job against its workflow. `names` holds what was looked up already.
pub(crate) async fn check(
    programs: &Programs,
    names: &Names,
    run: RunId,
    job: Job,
    reply: Option<ReplyTo>,
) -> Result<Order, programs::Error> {
    check_labels(&job.labels)?;
    let known = programs.resolve(&job.target, names).await?;
    let content = content_of(&job);
    let workflow = known.program.workflow();
    let coerce = if job.coerce { Coerce::ByType } else { Coerce::AsGiven };
    let mut given = job.parameters;
    let imported = match &job.context {
        Some(context) => import(workflow, context, &mut given)?,
        None => BTreeMap::new(),
    };
    let parameters = parameters::check(workflow, given, coerce).map_err(programs::Error::Refused)?;
    let children = programs.children(workflow, names).await?;
    let accepted = Accepted {
        parameters: parameters
            .into_iter()
            .map(|(name, json)| (name, ValueRef::Inline(json)))
            .collect::<Vec<(KeyName, _)>>(),
        labels: job.labels,
        reply,
        start_at: job.at,
        children,
        imported,
        ..Accepted::of(run, workflow.name.clone(), known.stored)
    };
    Ok(Order { known, accepted, content })
}

/// What a job's context begins with, by path. Parameters in it are as if they were given, where they are not.
fn import(
    workflow: &Workflow,
    context: &Json,
    given: &mut BTreeMap<String, Json>,
) -> Result<BTreeMap<String, ValueRef>, programs::Error> {
    let refused = |message: String| programs::Error::Refused(vec![problem("context_invalid", message)]);
    let context: ContextDocument =
        context.parse().map_err(|error: serde_json::Error| refused(format!("`context` cannot be read: {error}")))?;
    for (name, json) in context.parameters {
        if workflow.parameters.iter().any(|parameter| parameter.name.as_str() == name) {
            given.entry(name).or_insert(json);
        }
    }
    let mut imported = BTreeMap::new();
    let values = [("workflow", context.workflow), ("signal", context.signal)];
    for (root, values) in values {
        imported.extend(values.into_iter().map(|(key, json)| (format!("{root}.{key}"), ValueRef::Inline(json))));
    }
    for (task, fields) in context.task {
        let path = |field: String| format!("task.{task}.{field}");
        imported.extend(fields.into_iter().map(|(field, json)| (path(field), ValueRef::Inline(json))));
    }
    Ok(imported)
}

/// Labels are indexed by the store, which takes no entry of any size.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), programs::Error> {
    let mut problems = Vec::new();
    if labels.len() > LABELS_MAX {
        problems.push(problem("label_invalid", format!("{} labels, more than {LABELS_MAX}", labels.len())));
    }
    for (name, text) in labels.iter().take(LABELS_MAX) {
        let shown: String = name.chars().take(20).collect();
        if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX {
            let message =
                format!("the name of label {shown:?} has {} bytes, not 1 to {LABEL_NAME_BYTES_MAX}", name.len());
            problems.push(problem("label_invalid", message));
        }
        if text.len() > LABEL_TEXT_BYTES_MAX {
            let message = format!("label {shown:?} has {} bytes, more than {LABEL_TEXT_BYTES_MAX}", text.len());
            problems.push(problem("label_invalid", message));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(programs::Error::Refused(problems)) }
}

/// The digest of what a job asks for, whatever its id.
pub(crate) fn content_of(job: &Job) -> Digest {
    let target = match &job.target {
        Target::Name(name) => format!("name {name}"),
        Target::Source(source) => format!("source {}", Digest::of(source.as_bytes())),
    };
    let content: (_, &BTreeMap<String, Json>, _, _, _) = (target, &job.parameters, &job.labels, job.at, job.coerce);
    match &job.context {
        Some(context) => Digest::of(&codec::encode(&(content, context))),
        None => Digest::of(&codec::encode(&content)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_only_where_they_may() {
        let topology = Topology::default();
        let to = |queue: &str| reply_to(&topology, Some(queue), Some("7"));
        assert!(to("amq.rabbitmq.reply-to.g1h2").is_ok_and(|reply| reply.is_some()));
        assert!(to("leveret.reply.me").is_ok_and(|reply| reply.is_some()));
        assert!(to("").is_ok_and(|reply| reply.is_none()));
        for queue in ["leveret.work.default", "leveret.jobs", "anything"] {
            assert_eq!(to(queue).expect_err(queue).problems[0].code, "reply_to_refused");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let code = |body: &[u8]| read(body).expect_err("refused").problems[0].code.clone();
        assert_eq!(code(b"{"), "json_invalid");
        assert_eq!(code(&vec![b' '; SUBMISSION_BYTES_MAX + 1]), "submission_too_large");
        assert_eq!(code("[".repeat(500).as_bytes()), "json_too_deep");
        assert_eq!(code(br#"{"id":"r"}"#), "submission_invalid");
        assert!(read(br#"{"workflow":"a"}"#).is_ok());
    }

    #[test]
    fn labels_are_small_and_few() {
        let labels = |name: String, text: String| check_labels(&BTreeMap::from([(name, text)]));
        assert!(labels("team".into(), "ops".into()).is_ok());
        assert!(labels(String::new(), "ops".into()).is_err());
        assert!(labels("n".repeat(LABEL_NAME_BYTES_MAX + 1), String::new()).is_err());
        assert!(labels("n".into(), "t".repeat(LABEL_TEXT_BYTES_MAX + 1)).is_err());
        let many = (0..=LABELS_MAX).map(|at| (format!("l{at}"), String::new())).collect();
        assert!(check_labels(&many).is_err());
    }
}
