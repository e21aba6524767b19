//! The corpus: `<topic>/<name>.yaml` is a workflow, `<topic>/<name>.<case>.script.yaml` a script for it.

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
const SCRIPTS_MIN: usize = 200;

#[test]
fn every_scenario_comes_out_as_its_script_says() {
    let mut told = String::new();
    let mut played = 0;
    for (workflow, scripts) in scenarios() {
        assert!(!scripts.is_empty(), "{}: no script plays it", workflow.display());
        for script in scripts {
            played += 1;
            if let Err(problem) = play(&workflow, &script) {
                let _ = writeln!(told, "{}\n{problem}", script.display());
            }
        }
    }
    assert!(told.is_empty(), "\n{told}");
    assert!(played >= SCRIPTS_MIN, "only {played} scripts are left");
}

fn play(workflow: &Path, script: &Path) -> Result<(), String> {
    let rendered = |diagnostics: Diagnostics| diagnostics.render(Colour::None);
    let source = |path: &Path| fs::read_to_string(path).expect("it was just found");
    let (program, warnings) = Program::compile(&source(workflow), &workflow.display().to_string()).map_err(rendered)?;
    assert!(warnings.is_empty(), "{}", warnings.render(Colour::None));
    let name = script.display().to_string();
    let script = parse::script(&source(script), &name, program.workflow()).map_err(rendered)?;
    let outcome = rehearsal::play(&[Arc::new(program)], &script).map_err(|error| error.to_string())?;
    let mut told: Vec<String> = rehearsal::check(&outcome, &script.expect).iter().map(ToString::to_string).collect();
    told.extend(outcome.unused.iter().map(ToString::to_string));
    if told.is_empty() {
        return Ok(());
    }
    told.extend(outcome.error.map(|failure| format!("the run failed: {failure:?}")));
    Err(told.join("\n"))
}

/// Every workflow with its scripts.
fn scenarios() -> BTreeMap<PathBuf, Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files = Vec::new();
    for topic in list(&root) {
        files.extend(list(&topic));
    }
    let (scripts, workflows): (Vec<PathBuf>, Vec<PathBuf>) =
        files.into_iter().partition(|path| path.to_string_lossy().ends_with(".script.yaml"));
    let mut scenarios: BTreeMap<PathBuf, Vec<PathBuf>> = workflows.into_iter().map(|path| (path, Vec::new())).collect();
    for script in scripts {
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let workflow = script.with_file_name(format!("{}.yaml", name.split('.').next().unwrap_or_default()));
        let scripts = scenarios.get_mut(&workflow);
        scripts.unwrap_or_else(|| panic!("{}: there is no workflow for it", script.display())).push(script);
    }
    scenarios
}

fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    paths.sort();
    paths
}
