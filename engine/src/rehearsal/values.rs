//! Values as they go to and fro on the stage: each lies inside its message, however large.

use std::collections::BTreeMap;

use proto::{
    failure::Failure,
    id::ItemIndex,
    json::Json,
    limits::ITEM_BYTES_MAX,
    manifest::ManifestRef,
    outcome::ItemsPart,
    value::{Form, List, ValueRef},
};

use crate::{snapshot::Snapshot, value::Value};

/// The snapshot that a manifest describes.
pub(super) fn snapshot(manifest: &ManifestRef) -> Snapshot {
    let ManifestRef::Inline(manifest) = manifest else { unreachable!("the stage keeps every manifest in its work") };
    Snapshot::build(manifest.iter().map(|(path, value)| (path.clone(), read(value))))
}

/// A value, wherever it is.
pub(super) fn read(value: &ValueRef) -> Value {
    match value {
        ValueRef::Inline(json) => of(json),
        ValueRef::List(list) => join(list),
        ValueRef::Stored(stored) => unreachable!("the stage stores no values, and there is {}", stored.digest),
    }
}

/// A value as it is compared.
pub(super) fn whole(value: &ValueRef) -> Json {
    match value {
        ValueRef::Inline(json) => json.clone(),
        ValueRef::Stored(_) | ValueRef::List(_) => read(value).to_json().unwrap_or_else(|_| Json::null()),
    }
}

/// JSON as templates read it.
pub(super) fn of(json: &Json) -> Value {
    Value::from_json(json.as_bytes()).expect("what is on the stage was checked when it came there")
}

/// The JSON of a value that a template made, called `name` in errors.
pub(super) fn json(name: &str, value: &Value) -> Result<Json, Failure> {
    value.to_json().map_err(|error| Failure::new(error.code(), format!("{name}: {error}")))
}

/// The JSON of a value that is made of values of the stage. One that lies too deep becomes null, as on workers.
pub(super) fn told(value: &Value) -> ValueRef {
    ValueRef::Inline(value.to_json().unwrap_or_else(|_| Json::null()))
}

/// A list of items, in one part; none when it is empty. Where each item begins is not said: nobody here slices bytes.
pub(super) fn part(items: &[Value]) -> Result<Option<ItemsPart>, Failure> {
    let mut list = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let item = json(&format!("item {index}"), item)?;
        let bytes = item.as_bytes().len();
        if bytes > ITEM_BYTES_MAX {
            let message = format!("item {index} has {bytes} bytes, more than {ITEM_BYTES_MAX}");
            return Err(Failure::new("item_too_large", message));
        }
        list.push(item);
    }
    let longest = list.iter().map(|item| item.as_bytes().len()).max();
    Ok(longest.map(|bytes| ItemsPart {
        count: u32::try_from(list.len()).expect("a list has at most ITEMS_MAX items"),
        values: ValueRef::Inline(Json::of(&list).expect("a list of JSON is JSON")),
        offsets: ValueRef::null(),
        item_bytes_max: u32::try_from(bytes).expect("an item is at most 256 KiB"),
    }))
}

/// The items of a list.
pub(super) fn items(parts: &[ItemsPart]) -> Vec<Json> {
    let list = |part: &ItemsPart| match &part.values {
        ValueRef::Inline(json) => json.parse::<Vec<Json>>().expect("a part is a list"),
        ValueRef::Stored(_) | ValueRef::List(_) => unreachable!("a part lies inside its report"),
    };
    parts.iter().flat_map(list).collect()
}

/// The list that parts hold; the values of ignored items are not in it.
fn join(list: &List) -> Value {
    let source: Vec<Value> = list.source.iter().flat_map(|(_, values)| all(values)).collect();
    let mut sparse = BTreeMap::new();
    for part in &list.parts {
        let ignored: Vec<_> = part.ignored.iter().collect();
        let values = match part.form {
            Form::Array => all(&part.values),
            Form::Each => part.items.iter().map(|_| read(&part.values)).collect(),
            Form::Error => {
                let error = read(&part.values);
                part.items.iter().map(|index| entry(index, source.get(index.0 as usize), &error)).collect()
            }
        };
        let counted = part.items.iter().zip(values).filter(|(index, _)| !ignored.contains(index));
        sparse.extend(counted.map(|(index, value)| (index.0, value)));
    }
    let mut place = |index| sparse.remove(&index).unwrap_or_else(Value::null);
    Value::from_list(match list.places {
        Some(places) => (0..places).map(&mut place).collect(),
        None => sparse.into_values().collect(),
    })
}

fn all(values: &ValueRef) -> Vec<Value> {
    read(values).as_list().into_iter().flatten().collect()
}

/// An entry of `item_errors`.
pub(super) fn entry(index: ItemIndex, item: Option<&Value>, error: &Value) -> Value {
    let item = item.cloned().unwrap_or_else(Value::null);
    let fields = [("error", error.clone()), ("index", Value::from_u64(index.0.into())), ("item", item)];
    Value::from_map(fields.map(|(key, value)| (key.to_owned(), value)))
}
