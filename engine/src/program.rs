//! A workflow with its templates compiled: what a worker keeps per definition and evaluates against scopes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use proto::{failure::Failure, id::TaskName, work::Phase};
use tera::{Tera, value::Key};

pub use self::leaves::Rendered;
pub use crate::template::compile::TemplateProblem;
use crate::{
    snapshot::Scope,
    spec::{Call, DurationField, Field, Items, Node, Pool, Retry, Span, Task, TaskIndex, Text, When, Workflow},
    template::{
        budget,
        compile::{self, Form, Gives, Template},
        fault, filters, guard,
        names::{self, Place, Purpose},
        scan::{Path, Segment},
    },
    value::Value,
};

mod leaves;

/// A workflow and its compiled templates. Immutable; share it behind an `Arc`.
#[derive(Debug)]
pub struct Program {
    workflow: Workflow,
    tera: Templates,
    sites: Vec<Option<Piece>>,
    reads: BTreeMap<(Option<TaskIndex>, Phase), ReadSet>,
    /// Where templates loop, or may take long for other reasons.
    slow: BTreeSet<(Option<TaskIndex>, Phase)>,
    source_bytes: usize,
}

/// Paths that a piece of work reads, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadSet {
    /// The paths.
    pub paths: Vec<ReadPath>,
}

/// One path of a read set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPath {
    /// As in [`proto::manifest`]: `parameters.hosts`, `task.probe.result`, or a whole root such as `workflow`. In
    /// phase `settle` also `result`, `error` and `item_errors`, those of the task itself.
    pub path: String,
    /// Whether some template fails without it, if it gets there: `a or b` may never ask for `b`. What is
    /// missing is noticed where it is used.
    pub required: bool,
}

/// All templates of a workflow, in one Tera.
struct Templates {
    tera: Tera,
    list: Vec<Compiled>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.iter().map(|compiled| &compiled.template.source)).finish()
    }
}

struct Compiled {
    template: Template,
    /// Tasks that it names; all of them when it reads `task` as a whole.
    tasks: Vec<TaskName>,
}

/// A field, compiled.
#[derive(Debug)]
enum Piece {
    Constant(Value),
    /// Position in [`Templates::list`].
    Template(usize),
    List(Vec<Piece>),
    /// Sorted by key.
    Map(Vec<(Key<'static>, Piece)>),
}

/// Why a field has no value.
struct Fault {
    /// Where in the field, from the inside out.
    within: Vec<String>,
    code: &'static str,
    message: String,
}

impl Fault {
    fn within(mut self, part: String) -> Self {
        self.within.push(part);
        self
    }
}

impl Program {
    /// Compiles every template of `workflow`.
    ///
    /// # Errors
    /// With every problem of every template.
    pub fn from_workflow(workflow: Workflow) -> Result<Self, Vec<TemplateProblem>> {
        let tasks: Vec<TaskName> = workflow.tasks.iter().map(|task| task.name.clone()).collect();
        let mut builder =
            Builder { tasks: &tasks, list: Vec::new(), spans: Vec::new(), problems: Vec::new(), source_bytes: 0 };
        let mut sites: Vec<Option<Piece>> = (0..workflow.sites).map(|_| None).collect();
        let mut reads: BTreeMap<(Option<TaskIndex>, Phase), ReadSet> = BTreeMap::new();
        let mut slow = BTreeSet::new();
        for (field, place) in fields(&workflow) {
            let before = builder.list.len();
            let piece = builder.piece(&field.node, place);
            let paths = builder.list[before..].iter().flat_map(Compiled::reads).collect::<Vec<_>>();
            let may_be_slow = builder.list[before..].iter().any(|compiled| compiled.template.may_be_slow);
            for phase in phases(place, place.task.map(|task| workflow.task(task))) {
                if may_be_slow {
                    slow.insert((place.task, *phase));
                }
                let set = reads.entry((place.task, *phase)).or_default();
                set.paths.extend(paths.iter().cloned());
                if *phase == Phase::Settle {
                    set.paths.extend(builder.list[before..].iter().flat_map(Compiled::reads_of_outcome));
                }
            }
            let site = sites.get_mut(field.site.0 as usize);
            *site.expect("`sites` is greater than every site of the workflow") = Some(piece);
        }
        let Builder { list, spans, mut problems, source_bytes, .. } = builder;
        let mut tera = filters::tera();
        let sources = list.iter().map(|compiled| (compiled.template.name.as_str(), compiled.template.rewritten()));
        // All at once: Tera goes over all its templates each time some are added.
        if tera.add_raw_templates(sources).is_err() {
            problems.extend(rejections(&list, &spans));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        reads.values_mut().for_each(ReadSet::tidy);
        without_vars(&workflow, &mut reads);
        Ok(Self { workflow, tera: Templates { tera, list }, sites, reads, slow, source_bytes })
    }

    /// The workflow.
    #[must_use]
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // Measured by `tests/heap.rs`: a Tera with its filters, then instructions and paths per template.
        24 * 1024 + 2 * 1024 * self.tera.list.len() + 8 * self.source_bytes + 4 * 1024 * self.workflow.tasks.len()
    }

    /// The paths that `phase` reads, of `task` or of the run itself.
    #[must_use]
    pub fn reads(&self, task: Option<TaskIndex>, phase: Phase) -> &ReadSet {
        static NONE: ReadSet = ReadSet { paths: Vec::new() };
        self.reads.get(&(task, phase)).unwrap_or(&NONE)
    }

    /// Whether evaluating `phase`, of `task` or of the run itself, may take longer than its data suggest: then it
    /// belongs where it holds nothing up, with someone who sets a [`crate::snapshot::Stop`].
    #[must_use]
    pub fn may_be_slow(&self, task: Option<TaskIndex>, phase: Phase) -> bool {
        self.slow.contains(&(task, phase))
    }

    /// The value of `field`, one of this program's workflow.
    ///
    /// # Errors
    /// `template_error`, `output_too_large` or `template_timeout`, naming the field.
    pub fn evaluate(&self, field: &Field, scope: &Scope) -> Result<Value, Failure> {
        let piece = self.sites.get(field.site.0 as usize).and_then(Option::as_ref);
        let piece = piece.expect("every field of a program's workflow was compiled");
        self.piece(piece, scope).map_err(|fault| {
            let within: String = fault.within.iter().rev().map(String::as_str).collect();
            Failure::new(fault.code, format!("{}{within}: {}", field.name, fault.message))
        })
    }

    fn piece(&self, piece: &Piece, scope: &Scope) -> Result<Value, Fault> {
        match piece {
            Piece::Constant(value) => Ok(value.clone()),
            Piece::Template(index) => self.template(&self.tera.list[*index], scope),
            Piece::List(pieces) => {
                let values = pieces.iter().enumerate().map(|(index, piece)| {
                    let value = self.piece(piece, scope).map_err(|fault| fault.within(format!("[{index}]")))?;
                    Ok(value.into_tera())
                });
                Ok(tera::Value::from(values.collect::<Result<Vec<_>, Fault>>()?).into())
            }
            Piece::Map(pieces) => {
                let mut entries = Vec::with_capacity(pieces.len());
                for (key, piece) in pieces {
                    let value = self.piece(piece, scope).map_err(|fault| fault.within(format!(".{key}")))?;
                    entries.push((key.clone(), value));
                }
                Ok(Value::filled(entries))
            }
        }
    }

    fn template(&self, compiled: &Compiled, scope: &Scope) -> Result<Value, Fault> {
        let template = &compiled.template;
        if let Some(value) = template.plain.as_ref().and_then(|plain| plain.value(scope)) {
            return Ok(value.into());
        }
        let named = scope.naming(compiled.tasks.iter().map(TaskName::as_str));
        let rendered = |context: &tera::Context| {
            budget::within(scope.stop(), template.turn_bytes, || self.rendered(template, context))
        };
        match named.as_ref().unwrap_or(scope).read(rendered) {
            (rendered, None) => rendered,
            (_, Some(excess)) => Err(Fault { within: Vec::new(), code: excess.code(), message: excess.to_string() }),
        }
    }

    fn rendered(&self, template: &Template, context: &tera::Context) -> Result<Value, Fault> {
        let failed = |message| Fault { within: Vec::new(), code: "template_error", message };
        let name = template.name.as_str();
        match template.gives {
            Gives::Value => {
                let value = guard::catching(|| self.tera.tera.render_to(name, context, io::sink()))
                    .map_err(|error| failed(fault::evaluation(&error, template, context)))?
                    .expect("a template that gives a value is one expression behind the filter that catches it");
                if template.may_hold_undefined && guard::holds_undefined(&value) {
                    return Err(failed(fault::undefined_value(template, context)));
                }
                Ok(value.into())
            }
            Gives::Text => {
                let mut output = guard::Limited::default();
                let rendered = self.tera.tera.render_to(name, context, &mut output);
                match rendered {
                    Ok(()) => Ok(Value::from_text(&output.into_text())),
                    Err(_) if output.is_full() => Err(Fault {
                        within: Vec::new(),
                        code: "output_too_large",
                        message: format!(
                            "the rendered text is larger than {} bytes",
                            proto::limits::RENDERED_BYTES_MAX
                        ),
                    }),
                    Err(error) => Err(failed(fault::evaluation(&error, template, context))),
                }
            }
        }
    }
}

/// Compiles fields one after the other.
struct Builder<'w> {
    tasks: &'w [TaskName],
    list: Vec<Compiled>,
    /// Of each template, where its text stands.
    spans: Vec<Span>,
    problems: Vec<TemplateProblem>,
    source_bytes: usize,
}

impl Builder<'_> {
    fn piece(&mut self, node: &Node, place: Place) -> Piece {
        match node {
            Node::Literal(json) => Piece::Constant(
                Value::from_json(json.as_bytes()).expect("a literal is canonical JSON, checked when it was read"),
            ),
            Node::Template(text) => self.template(text, Form::Template, place),
            Node::Expression(text) => self.template(text, Form::Expression, place),
            Node::List(nodes) => Piece::List(nodes.iter().map(|node| self.piece(node, place)).collect()),
            Node::Map(entries) => {
                let mut pieces: Vec<_> =
                    entries.iter().map(|(key, node)| (Key::from(key.clone()), self.piece(node, place))).collect();
                pieces.sort_by(|(left, _), (right, _)| left.cmp(right));
                Piece::Map(pieces)
            }
        }
    }

    fn template(&mut self, text: &Text, form: Form, place: Place) -> Piece {
        let index = self.list.len();
        match compile::template(index.to_string(), text, form, place, self.tasks) {
            Ok(template) => {
                self.source_bytes += template.source.len();
                self.list.push(Compiled { tasks: named_tasks(&template, self.tasks), template });
                self.spans.push(text.span);
                Piece::Template(index)
            }
            Err(problems) => {
                self.problems.extend(problems);
                Piece::Constant(Value::null())
            }
        }
    }
}

/// Why Tera refuses some of `list`, one by one.
fn rejections(list: &[Compiled], spans: &[Span]) -> Vec<TemplateProblem> {
    let rejected = |(Compiled { template, .. }, span): (&Compiled, &Span)| {
        // What users can find is said of what they wrote.
        let message = fault::syntax(&template.source, template.form).or_else(|| fault::rewritten(template))?;
        Some(TemplateProblem { span: *span, code: "template_syntax", message, help: None })
    };
    list.iter()
        .zip(spans)
        .filter(|(compiled, _)| fault::rewritten(&compiled.template).is_some())
        .filter_map(rejected)
        .collect()
}

fn named_tasks(template: &Template, tasks: &[TaskName]) -> Vec<TaskName> {
    let reads = || template.paths.iter().filter(|path| path.root == "task" && !path.is_local);
    let reads_all = reads().any(|path| !matches!(path.segments.first(), Some(Segment::Name(_))));
    let is_named = |task: &TaskName| {
        reads().any(|path| matches!(path.segments.first(), Some(Segment::Name(name)) if name == task.as_str()))
    };
    tasks.iter().filter(|task| reads_all || is_named(task)).cloned().collect()
}

impl Compiled {
    /// What this template reads of a snapshot.
    fn reads(&self) -> impl Iterator<Item = ReadPath> + '_ {
        let paths = self.template.paths.iter().filter(|path| !path.is_local);
        paths.flat_map(|path| snapshot_paths(path, self.template.requires(path)))
    }
}

/// What the manifest of a settling task brings along of its outcome.
const OUTCOME_ROOTS: [&str; 3] = ["result", "error", "item_errors"];

impl Compiled {
    /// What this template reads of the outcome of a task that no worker has at hand any more.
    fn reads_of_outcome(&self) -> impl Iterator<Item = ReadPath> + '_ {
        let roots = OUTCOME_ROOTS.into_iter();
        let is_read = |root: &&str| self.template.paths.iter().any(|path| !path.is_local && path.root == *root);
        roots.filter(is_read).map(|root| ReadPath { path: root.to_owned(), required: true })
    }
}

/// The paths of a manifest that reading `path` needs.
fn snapshot_paths(path: &Path, required: bool) -> Vec<ReadPath> {
    let root = path.root.as_str();
    let read = |path: String, required| ReadPath { path, required };
    if !names::SNAPSHOT_ROOTS.contains(&root) {
        return Vec::new();
    }
    let name = |at: usize| match path.segments.get(at) {
        Some(Segment::Name(name)) => Some(name.as_str()),
        Some(Segment::Computed) | None => None,
    };
    let Some(first) = name(0) else { return vec![read(root.to_owned(), required)] };
    if root != "task" {
        return vec![read(format!("{root}.{first}"), required)];
    }
    // The status goes with all else: by it a snapshot knows of tasks that have nothing else yet.
    let status = read(format!("task.{first}.status"), false);
    match name(1) {
        Some(field) => vec![read(format!("task.{first}.{field}"), required), status],
        None => names::TASK_FIELDS.map(|field| read(format!("task.{first}.{field}"), false)).into(),
    }
}

impl ReadSet {
    /// Sorts, and keeps each path once; a root that is read as a whole stands for all below it.
    fn tidy(&mut self) {
        self.paths.sort_by(|left, right| left.path.cmp(&right.path).then(right.required.cmp(&left.required)));
        self.paths.dedup_by(|later, earlier| later.path == earlier.path);
        let is_whole = |path: &ReadPath| !path.path.contains('.');
        let whole: Vec<String> =
            self.paths.iter().filter(|path| is_whole(path)).map(|path| path.path.clone()).collect();
        let is_below = |path: &ReadPath| {
            path.path.split_once('.').is_some_and(|(root, _)| whole.iter().any(|whole| whole == root))
        };
        self.paths.retain(|path| !is_below(path));
    }
}

/// Vars read earlier ones while they are being made: none of them is in a snapshot yet.
fn without_vars(workflow: &Workflow, reads: &mut BTreeMap<(Option<TaskIndex>, Phase), ReadSet>) {
    if let Some(set) = reads.get_mut(&(None, Phase::Prepare)) {
        set.paths.retain(|read| {
            read.path != "workflow"
                && read
                    .path
                    .strip_prefix("workflow.")
                    .is_none_or(|key| !workflow.vars.iter().any(|(var, _)| var.as_str() == key))
        });
    }
}

/// The phases that evaluate what stands at `place`.
fn phases(place: Place, task: Option<&Task>) -> &'static [Phase] {
    // What follows the end of a child is asked when no worker has it at hand.
    match (place.purpose, place.has_items) {
        (Purpose::Retry, false) if task.is_some_and(|task| task.action().is_none()) => &[Phase::Settle],
        // How often a transition may say `retry` is asked with the transitions.
        (Purpose::Retry, _) if task.is_some_and(Task::says_retry) => &[Phase::Act, Phase::Settle],
        (Purpose::Vars | Purpose::Limits | Purpose::Delay, _) => &[Phase::Prepare],
        (Purpose::Output, _) => &[Phase::Output],
        (Purpose::Items, _) => &[Phase::Items],
        (Purpose::Input | Purpose::Parameters | Purpose::Timeout | Purpose::Retry, _) => &[Phase::Act],
        (Purpose::Transition, true) => &[Phase::Settle],
        (Purpose::Transition, false) => &[Phase::Act, Phase::Settle],
    }
}

/// Every field of `workflow`, and where it stands.
pub(crate) fn fields(workflow: &Workflow) -> Vec<(&Field, Place)> {
    let run = |purpose| Place { task: None, has_items: false, purpose };
    let mut all: Vec<(&Field, Place)> = workflow.vars.iter().map(|(_, field)| (field, run(Purpose::Vars))).collect();
    let limits = duration_field(&workflow.timeout).into_iter().chain(&workflow.concurrency);
    all.extend(limits.map(|field| (field, run(Purpose::Limits))));
    for (index, task) in workflow.indexed() {
        let place = |purpose| Place { task: Some(index), has_items: task.items.is_some(), purpose };
        all.extend(task_fields(task).into_iter().map(|(field, purpose)| (field, place(purpose))));
    }
    all.extend(workflow.output.iter().map(|(_, field)| (field, run(Purpose::Output))));
    all
}

fn task_fields(task: &Task) -> Vec<(&Field, Purpose)> {
    let input = match task.call {
        Call::Action(_) => Purpose::Input,
        Call::Workflow(_) => Purpose::Parameters,
    };
    let mut all = vec![(&task.input, input)];
    let wait = task.wait_for.as_ref().and_then(|wait| duration_field(&wait.timeout));
    let pool = match &task.pool {
        Pool::Evaluated(field) => Some(field),
        Pool::Named(_) => None,
    };
    let before = [duration_field(&task.delay), wait, pool];
    all.extend(before.into_iter().flatten().map(|field| (field, Purpose::Delay)));
    all.extend(duration_field(&task.timeout).map(|field| (field, Purpose::Timeout)));
    if let Some(Retry { count, delay, max_delay, when, .. }) = &task.retry {
        all.extend(
            [Some(count), duration_field(delay), duration_field(max_delay), when_field(when)]
                .into_iter()
                .flatten()
                .map(|field| (field, Purpose::Retry)),
        );
    }
    if let Some(Items { list, concurrency, tolerate, on_error: _ }) = &task.items {
        let fields = [Some(list), concurrency.as_ref(), tolerate.as_ref()];
        all.extend(fields.into_iter().flatten().map(|field| (field, Purpose::Items)));
    }
    for transition in &task.next {
        let published = transition.publish.iter().map(|(_, field)| field);
        all.extend(when_field(&transition.when).into_iter().chain(published).map(|field| (field, Purpose::Transition)));
    }
    all
}

fn duration_field(field: &Option<DurationField>) -> Option<&Field> {
    match field.as_ref()? {
        DurationField::Evaluated(field) => Some(field),
        DurationField::Known(_) => None,
    }
}

fn when_field(when: &When) -> Option<&Field> {
    match when {
        When::Expression(field) => Some(field),
        When::Outcome(_) => None,
    }
}
