//! Results and errors of items, put together from the parts in which they were reported.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use engine::value::Value;
use proto::{
    id::ItemIndex,
    value::{Form, Part},
};

use crate::{
    range,
    snapshots::{Error, misshapen, read},
};

/// The list that `parts` hold; the values of ignored items are not in it. `source` is the list that the items come
/// from, as far as it is needed.
pub(crate) fn join(places: Option<u32>, parts: &[(Part, Bytes)], source: &[(u32, Bytes)]) -> Result<Value, Error> {
    let mut sparse = BTreeMap::new();
    let items = Source::read(source)?;
    for (part, bytes) in parts {
        let value = read(bytes)?;
        let ignored: HashSet<_> = part.ignored.iter().collect();
        let counted = part.items.iter().filter(|index| !ignored.contains(index));
        match part.form {
            Form::Array => {
                let values = value.as_list().ok_or_else(|| misshapen("a part of a list is no array"))?;
                let all = part.items.iter().zip(values).filter(|(index, _)| !ignored.contains(index));
                sparse.extend(all.map(|(index, value)| (index.0, value)));
            }
            Form::Each => sparse.extend(counted.map(|index| (index.0, value.clone()))),
            Form::Error => {
                let entry = |index| range::error_entry(index, items.item(index), value.clone());
                sparse.extend(counted.map(|index| (index.0, entry(index))));
            }
        }
    }
    let mut place = |index| sparse.remove(&index).unwrap_or_else(Value::null);
    Ok(Value::from_list(match places {
        Some(places) => (0..places).map(&mut place).collect(),
        None => sparse.into_values().collect(),
    }))
}

/// The items themselves, part by part, each with the item behind its last.
struct Source(Vec<(u32, Vec<Value>)>);

impl Source {
    fn read(parts: &[(u32, Bytes)]) -> Result<Self, Error> {
        let mut end = 0;
        let read = |(count, bytes): &(u32, Bytes)| {
            end += count;
            let values = read(bytes)?;
            let values = values.as_list().ok_or_else(|| misshapen("a part of a list of items is no array"))?;
            Ok((end, values.collect()))
        };
        Ok(Self(parts.iter().map(read).collect::<Result<_, Error>>()?))
    }

    fn item(&self, index: ItemIndex) -> Value {
        let part = self.0.partition_point(|(end, _)| *end <= index.0);
        let found = self.0.get(part).and_then(|(end, values)| {
            let first = *end as usize - values.len();
            values.get(index.0 as usize - first)
        });
        found.cloned().unwrap_or_else(Value::null)
    }
}

#[cfg(test)]
mod tests {
    use proto::{items::ItemSet, json::Json, value::ValueRef};

    use super::*;

    #[test]
    fn parts_of_every_form_become_one_list() {
        let part = |first, count, form| Part {
            items: ItemSet::run(first, count),
            values: ValueRef::null(),
            form,
            ignored: ItemSet::default(),
        };
        let bytes = |json: &str| Bytes::copy_from_slice(Json::canonical(json.as_bytes()).expect("JSON").as_bytes());
        let parts = [
            (part(0, 2, Form::Array), bytes("[1,2]")),
            (part(2, 1, Form::Each), bytes("[3]")),
            (part(3, 2, Form::Error), bytes(r#"{"code":"x"}"#)),
        ];
        let source = [(4, bytes(r#"["a","b","c","d"]"#)), (1, bytes(r#"["e"]"#))];
        let joined = join(Some(6), &parts, &source).expect("well shaped").to_json().expect("JSON");
        let expected =
            r#"[1,2,[3],{"error":{"code":"x"},"index":3,"item":"d"},{"error":{"code":"x"},"index":4,"item":"e"},null]"#;
        assert_eq!(joined.as_str(), expected);
    }
}
