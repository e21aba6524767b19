//! `file.read_lines`, `file.write` and `template.render` on real files.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use serde_json::{Value, json};

use crate::{code, run};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o7777
}

#[tokio::test]
async fn lines_become_a_list_or_chunks_of_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    fs::write(&path, b"a\r\n\n  \nb\xff\nlast").expect("writes");
    let read = |more: Value| {
        let mut input = more;
        input["path"] = json!(path);
        async { run("file.read_lines", input).await.expect("reads") }
    };
    assert_eq!(read(json!({})).await, json!(["a", "", "  ", "b\u{fffd}", "last"]));
    assert_eq!(read(json!({ "skip_blank": true })).await, json!(["a", "b\u{fffd}", "last"]));
    assert_eq!(read(json!({ "skip_blank": true, "max_lines": 2 })).await, json!(["a", "b\u{fffd}"]));
    assert_eq!(read(json!({ "max_lines": 3, "batch": 2 })).await, json!([["a", ""], ["  "]]));
    assert_eq!(read(json!({ "max_lines": 0, "batch": 2 })).await, json!([]));
}

#[tokio::test]
async fn reading_has_bounds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("endless");
    fs::File::create(&path).and_then(|file| file.set_len(65 << 20)).expect("a sparse file without a line's end");
    assert_eq!(code(run("file.read_lines", json!({ "path": path })).await), "value_too_large");
    assert_eq!(code(run("file.read_lines", json!({ "path": "/no/such" })).await), "file_not_found");
    assert_eq!(code(run("file.read_lines", json!({ "path": folder.path() })).await), "file_not_regular");
    assert_eq!(code(run("file.read_lines", json!({ "path": "/dev/zero" })).await), "file_not_regular");
    assert_eq!(code(run("file.read_lines", json!({ "path": path, "batch": 0 })).await), "input_invalid");
}

#[tokio::test]
async fn a_file_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out");
    let wrote = run("file.write", json!({ "path": path, "content": "häs" })).await;
    assert_eq!(wrote, Ok(json!({ "path": path, "bytes": 4 })));
    assert_eq!(fs::read(&path).expect("reads"), "häs".as_bytes());
    let first = fs::metadata(&path).expect("exists").ino();
    run("file.write", json!({ "path": path, "content": "2", "mode": "0600" })).await.expect("writes");
    assert_eq!((fs::read(&path).expect("reads"), mode(&path)), (b"2".to_vec(), 0o600));
    assert_ne!(fs::metadata(&path).expect("exists").ino(), first, "another file took its place");
    run("file.write", json!({ "path": path, "content": { "b": [1] } })).await.expect("writes");
    assert_eq!(fs::read_to_string(&path).expect("reads"), "{\n  \"b\": [\n    1\n  ]\n}\n");
    assert_eq!(mode(&path), 0o600, "the old permissions stay");
    assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_file_can_grow() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("log");
    for _ in 0..2 {
        let input = json!({ "path": path, "content": "line\n", "append": true, "mode": "640" });
        assert_eq!(run("file.write", input).await, Ok(json!({ "path": path, "bytes": 5 })));
    }
    assert_eq!(fs::read_to_string(&path).expect("reads"), "line\nline\n");
    assert_eq!(mode(&path), 0o640);
}

#[tokio::test]
async fn links_are_followed_and_devices_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::write(&path, "old").expect("writes");
    symlink(&path, &link).expect("links");
    run("file.write", json!({ "path": link, "content": "new" })).await.expect("writes");
    assert_eq!(fs::read_to_string(&path).expect("reads"), "new");
    assert!(fs::symlink_metadata(&link).expect("exists").is_symlink());
    for append in [true, false] {
        let input = json!({ "path": "/dev/null", "content": "x", "append": append });
        assert_eq!(code(run("file.write", input).await), "file_not_regular");
    }
    let nowhere = folder.path().join("no/such/folder/file");
    assert_eq!(code(run("file.write", json!({ "path": nowhere, "content": "x" })).await), "file_not_found");
    assert_eq!(code(run("file.write", json!({ "path": path, "content": "x", "mode": 644 })).await), "input_invalid");
    assert_eq!(code(run("file.write", json!({ "path": path, "content": "x", "mode": "9" })).await), "input_invalid");
}

#[tokio::test]
async fn a_template_is_rendered_into_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report");
    let wrote = run("template.render", json!({ "template": "3 of 4", "path": path })).await;
    assert_eq!(wrote, Ok(json!({ "path": path, "bytes": 6 })));
    assert_eq!(fs::read_to_string(&path).expect("reads"), "3 of 4");
}
