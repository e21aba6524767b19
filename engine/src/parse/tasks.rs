//! `tasks`: a map of tasks by name, or a list of tasks that say their names.
//!
//! Two rounds: the names first, so that `do` in any task can be resolved, then what each task says.

use proto::id::TaskName;

use super::{
    graph,
    keys::{Place, listed},
    reader::Reader,
    task::{self, Named},
    transition::{Names, RESERVED},
    yaml::{Content, Entry, Yaml, quoted},
};
use crate::spec::{Span, Task, TaskIndex};

/// The most tasks in a file (`too_many_tasks`): far below what a [`TaskIndex`] can count.
const TASKS_MAX: usize = 10_000;

/// What a file says of its tasks.
#[derive(Default)]
pub(super) struct Read {
    /// In file order, and last the one that `finally` is.
    pub(super) tasks: Vec<Task>,
    /// Those that start a run.
    pub(super) entries: Vec<TaskIndex>,
    /// The one that runs at the end.
    pub(super) finally: Option<TaskIndex>,
}

/// What messages, views and keys of work call the task of `finally`.
const FINALLY: &str = "finally";

/// Reads `tasks`, and `finally` which is one more.
pub(super) fn read(reader: &mut Reader<'_>, entry: &Entry, finally: Option<&Entry>) -> Read {
    let mut names = Names { is_complete: true, ..Names::default() };
    let named = match &entry.value.content {
        Content::Map(entries) => in_map(reader, entries, &mut names),
        Content::List(values) => in_list(reader, values, &mut names),
        Content::Null | Content::Bool(_) | Content::Number(_) | Content::Text(_) => {
            reader.refuse_type("tasks", "a map of tasks by name", &entry.value);
            return Read::default();
        }
    };
    if named.is_empty() {
        reader.refuse(
            "no_entry",
            entry.key_span,
            "the workflow has no task",
            "add one: `hello: { action: core.echo }`",
        );
        return Read::default();
    }
    let mut tasks: Vec<Task> = named.into_iter().map(|named| task::read(reader, named, &mut names)).collect();
    let entries = graph::link(&mut tasks);
    // What was not understood may have been the very transition that is missed.
    if names.is_complete {
        graph::check(reader, &tasks, &entries, entry.key_span);
    }
    let finally = finally.map(|entry| {
        tasks.push(read_finally(reader, entry, &mut names));
        TaskIndex(u16::try_from(tasks.len() - 1).expect("a file has few tasks"))
    });
    Read { tasks, entries, finally }
}

fn read_finally(reader: &mut Reader<'_>, entry: &Entry, names: &mut Names) -> Task {
    let name: TaskName = FINALLY.parse().expect("it follows the rules");
    if names.known.contains_key(&name) {
        let message = "a task is called `finally`, as is the one that runs at the end";
        reader.refuse("duplicate_key", entry.key_span, message, "give the task another name");
    }
    let named = Named { name, path: FINALLY.into(), span: entry.key_span, place: Place::Finally, yaml: &entry.value };
    task::read(reader, named, names)
}

fn in_map<'y>(reader: &mut Reader<'_>, entries: &'y [Entry], names: &mut Names) -> Vec<Named<'y>> {
    let mut named = Vec::new();
    for Entry { key, key_span, value } in entries {
        if !has_room(reader, &named, *key_span) {
            break;
        }
        named.push(Named { place: Place::Task, ..name(reader, key, *key_span, value, names) });
    }
    named
}

fn in_list<'y>(reader: &mut Reader<'_>, values: &'y [Yaml], names: &mut Names) -> Vec<Named<'y>> {
    let mut named = Vec::new();
    for (at, yaml) in values.iter().enumerate() {
        if !has_room(reader, &named, yaml.span) {
            break;
        }
        let path = format!("tasks[{at}]");
        let given = reader.map(&path, yaml).iter().find(|entry| entry.key == "name");
        let word = given.and_then(|entry| reader.text(&format!("{path}.name"), &entry.value));
        named.push(match (given, word) {
            (Some(given), Some(word)) => name(reader, word, given.value.span, yaml, names),
            (Some(_), None) => unnamed(path, yaml, names),
            (None, _) => {
                reader.refuse("key_missing", yaml.span, format!("`{path}` has no `name`"), "add `name: my_task`");
                unnamed(path, yaml, names)
            }
        });
    }
    named
}

fn has_room(reader: &mut Reader<'_>, named: &[Named<'_>], span: Span) -> bool {
    let has_room = named.len() < TASKS_MAX;
    if !has_room {
        let message = format!("the workflow has more than {TASKS_MAX} tasks");
        reader.refuse("too_many_tasks", span, message, "use `with_items` for what repeats");
    }
    has_room
}

/// A task called `word`, if that is a name it may have and no other has.
fn name<'y>(reader: &mut Reader<'_>, word: &str, span: Span, yaml: &'y Yaml, names: &mut Names) -> Named<'y> {
    let path = format!("tasks.{word}");
    let name: Option<TaskName> = if RESERVED.contains(&word) {
        let help = format!("{} mean something in `do`: take another name", listed(&RESERVED));
        reader.refuse("name_reserved", span, format!("a task cannot be called `{word}`"), help);
        None
    } else {
        reader.name(word, span)
    };
    let Some(name) = name else {
        names.refused.insert(word.to_owned());
        return Named { span, ..unnamed(path, yaml, names) };
    };
    let index = TaskIndex(u16::try_from(names.count).expect("there is room for it"));
    if names.known.insert(name.clone(), index).is_some() {
        let message = format!("the task {} stands here twice", quoted(word));
        reader.refuse("duplicate_key", span, message, "give it another name");
    }
    names.count += 1;
    names.listed.push(name.clone());
    Named { name, path, span, place: Place::NamedTask, yaml }
}

/// A task whose name was refused: it is read for its problems, and holds its place under a name that nobody sees.
fn unnamed<'y>(path: String, yaml: &'y Yaml, names: &mut Names) -> Named<'y> {
    names.count += 1;
    names.is_complete = false;
    let name = "_".parse().expect("it follows the rules");
    Named { name, path, span: yaml.span, place: Place::NamedTask, yaml }
}
