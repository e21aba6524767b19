//! The corpus: `<topic>/<name>.yaml` is a workflow, `<topic>/<name>.<case>.script.yaml` a script for it, and
//! `<topic>/<name>.<child>.child.yaml` a workflow that it runs.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use leveret_engine::{
    diagnostic::{Colour, Diagnostics},
    parse,
    program::Program,
    rehearsal,
};

/// Scripts below which some were lost.
const SCRIPTS_MIN: usize = 480;

#[test]
fn every_scenario_comes_out_as_its_script_says() {
    let mut told = String::new();
    let mut played = 0;
    for (workflow, Scenario { children, scripts }) in scenarios() {
        assert!(!scripts.is_empty(), "{}: no script plays it", workflow.display());
        for script in scripts {
            played += 1;
            if let Err(problem) = play(&workflow, &children, &script) {
                let _ = writeln!(told, "{}\n{problem}", script.display());
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
    assert!(played >= SCRIPTS_MIN, "only {played} scripts are left");
}

/// What became of the first script of each workflow, by the name of that script. Plays it, whether or not it holds.
pub fn firsts() -> Vec<(String, Arc<Program>, rehearsal::Outcome)> {
    let first = |(workflow, scenario): (PathBuf, Scenario)| {
        let Scenario { children, scripts } = scenario;
        let programs: Vec<Arc<Program>> =
            std::iter::once(&workflow).chain(&children).map(|path| compile(path).expect("it compiles")).collect();
        let workflows: Vec<_> = programs[1..].iter().map(|program| program.workflow()).collect();
        let path = scripts.first().expect("a script plays it");
        let name = path.display().to_string();
        let script = parse::script(&read(path), &name, programs[0].workflow(), &workflows).expect("it can be read");
        let topic = workflow.parent().and_then(Path::file_name).expect("a topic").to_string_lossy().into_owned();
        let case = path.file_name().expect("a name").to_string_lossy().replace(".script.yaml", "");
        let outcome = rehearsal::play(&programs, &script).expect("it ends");
        (format!("{topic}.{case}"), programs[0].clone(), outcome)
    };
    scenarios().into_iter().map(first).collect()
}

/// The source of a workflow of the corpus.
pub fn source(history: &str) -> String {
    let (topic, case) = history.split_once('.').expect("a topic");
    let (workflow, _) = case.split_once('.').unwrap_or((case, ""));
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/scenarios/{topic}/{workflow}.yaml")))
}

fn play(workflow: &Path, children: &[PathBuf], script: &Path) -> Result<(), String> {
    let programs: Vec<Arc<Program>> = std::iter::once(workflow)
        .chain(children.iter().map(PathBuf::as_path))
        .map(compile)
        .collect::<Result<_, _>>()?;
    let children: Vec<_> = programs[1..].iter().map(|program| program.workflow()).collect();
    let name = script.display().to_string();
    let script = parse::script(&read(script), &name, programs[0].workflow(), &children).map_err(rendered)?;
    let outcome = rehearsal::play(&programs, &script).map_err(|error| error.to_string())?;
    let mut told: Vec<String> = rehearsal::check(&outcome, &script.take).iter().map(ToString::to_string).collect();
    told.extend(outcome.unused.iter().map(ToString::to_string));
    if told.is_empty() {
        return Ok(());
    }
    told.extend(outcome.error.map(|failure| format!("the run failed: {failure:?}")));
    Err(told.join("\n"))
}

fn compile(path: &Path) -> Result<Arc<Program>, String> {
    let (program, warnings) = Program::compile(&read(path), &path.display().to_string()).map_err(rendered)?;
    assert!(warnings.is_empty(), "{}", warnings.render(Colour::None));
    Ok(Arc::new(program))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("it was just found")
}

fn rendered(diagnostics: Diagnostics) -> String {
    diagnostics.render(Colour::None)
}

/// What belongs to a workflow.
#[derive(Default)]
struct Scenario {
    children: Vec<PathBuf>,
    scripts: Vec<PathBuf>,
}

fn scenarios() -> BTreeMap<PathBuf, Scenario> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files: Vec<PathBuf> = list(&root).iter().flat_map(|topic| list(topic)).collect();
    let ends = |path: &Path, end: &str| path.to_string_lossy().ends_with(end);
    let (parts, workflows): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|path| ends(path, ".script.yaml") || ends(path, ".child.yaml"));
    let mut scenarios: BTreeMap<PathBuf, Scenario> =
        workflows.into_iter().map(|path| (path, Scenario::default())).collect();
    for part in parts {
        let name = part.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let workflow = part.with_file_name(format!("{}.yaml", name.split('.').next().unwrap_or_default()));
        let scenario = scenarios.get_mut(&workflow);
        let scenario = scenario.unwrap_or_else(|| panic!("{}: there is no workflow for it", part.display()));
        match ends(&part, ".child.yaml") {
            true => scenario.children.push(part),
            false => scenario.scripts.push(part),
        }
    }
    scenarios
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}
