//! The paths that are counted, each with what it needs before.

use engine::{
    evaluate,
    machine::{self, fact::Fact},
    program::Program,
    spec::{TaskIndex, Workflow},
};
use leveret_benches::{
    play::{Play, chain, fan_out},
    shapes::{self, Payload},
};
use serde_json::json;

/// One path. `set_up` makes what goes it once and says how many operations that were.
pub struct Path {
    pub name: &'static str,
    /// What one operation is.
    pub what: &'static str,
    pub set_up: fn() -> Box<dyn FnMut() -> u32>,
}

/// Every path: first those of a worker, then those of a scheduler.
pub const PATHS: [Path; 8] = [
    Path { name: "render-item", what: "clone of a scope, item, and an input with one text", set_up: item },
    Path { name: "render-typed", what: "one comparison over 1 MB", set_up: typed },
    Path { name: "render-tera", what: "one expression over 1 MB that is left to Tera", set_up: tera },
    Path { name: "render-field", what: "input of one field of a result of 300 KB", set_up: field },
    Path { name: "snapshot-build", what: "snapshot of 100 KB from the bytes of its values", set_up: snapshot },
    Path { name: "step-chain", what: "step to the next task of a chain", set_up: step_chain },
    Path { name: "step-items", what: "step that takes the report of one slow item", set_up: step_items },
    Path { name: "replay", what: "fact of a history", set_up: replay },
];

/// Passes of a path whose operation is short.
const PASSES: u32 = 2_000;

fn item() -> Box<dyn FnMut() -> u32> {
    let program = shapes::program(&json!({ "address": "{{ item }}:{{ parameters.port }}" }), &json!({}));
    let scope = shapes::scope(&Payload::of_results(100).snapshot());
    Box::new(move || {
        for n in 0..PASSES {
            let (item, index) = shapes::item(n);
            let scope = scope.clone().with_item(item, index);
            evaluate::input(&program, TaskIndex(0), &scope).expect("the template is right");
        }
        PASSES
    })
}

fn typed() -> Box<dyn FnMut() -> u32> {
    expression("{{ task.t7.result[3].id == 3 }}")
}

fn tera() -> Box<dyn FnMut() -> u32> {
    expression("{{ task.t7.result[3].id + 1 }}")
}

fn expression(source: &str) -> Box<dyn FnMut() -> u32> {
    let program = shapes::program(&json!({}), &json!({ "is": source }));
    let scope = shapes::scope(&Payload::of_results(100).snapshot());
    Box::new(move || {
        let (_, field) = &program.workflow().output[0];
        for _ in 0..PASSES {
            program.evaluate(field, &scope).expect("the template is right");
        }
        PASSES
    })
}

fn field() -> Box<dyn FnMut() -> u32> {
    let program: Program = shapes::program(&json!({ "status": "{{ task.t0.result.status }}" }), &json!({}));
    let result = format!(r#"{{"body":{},"status":200}}"#, shapes::rows(300_000));
    let scope = shapes::scope(&Payload { results: vec![result], ..Payload::default() }.snapshot());
    Box::new(move || {
        for _ in 0..PASSES {
            evaluate::input(&program, TaskIndex(0), &scope).expect("the template is right");
        }
        PASSES
    })
}

fn snapshot() -> Box<dyn FnMut() -> u32> {
    let payload = Payload::of_results(10);
    Box::new(move || {
        drop(payload.snapshot());
        1
    })
}

fn step_chain() -> Box<dyn FnMut() -> u32> {
    stepped(chain(PASSES.try_into().expect("few")), 0)
}

fn step_items() -> Box<dyn FnMut() -> u32> {
    stepped(fan_out(), PASSES)
}

/// All steps of a run, which takes part in them once: it is made again for each pass.
fn stepped(spec: Workflow, items: u32) -> Box<dyn FnMut() -> u32> {
    // A run borrows its workflow, and the box may borrow nothing. There is one in a process.
    let spec: &'static Workflow = Box::leak(Box::new(spec));
    let mut made = Some(Play::start(spec, items, 1_000_000));
    Box::new(move || {
        let mut play = made.take().unwrap_or_else(|| Play::start(spec, items, 1_000_000));
        u32::try_from(play.finish()).expect("few")
    })
}

fn replay() -> Box<dyn FnMut() -> u32> {
    let spec = fan_out();
    let facts: Vec<Fact> = Play::history(&spec, PASSES, 1_000_000);
    Box::new(move || {
        drop(machine::replay(&spec, &facts).expect("it begins with the job"));
        u32::try_from(facts.len()).expect("few")
    })
}
