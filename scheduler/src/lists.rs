//! Values of runs as JSON text, lists put together from their parts. What a list holds is moved as it stands, never read.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, HashSet},
};

use bytes::Bytes;
use proto::{
    id::{Digest, ItemIndex},
    json::Json,
    value::{Form, List, Part, Stored, ValueRef},
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Stored values by digest.
pub(crate) type Found = HashMap<Digest, Bytes>;

/// Why a value cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It was never uploaded, or is gone.
    #[error("the store has no value {0}")]
    Absent(Digest),
    /// A worker reported something else than it should have.
    #[error("a value is not as it should be: {0}")]
    Shape(&'static str),
}

/// An item of a list of errors: where its entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    index: ItemIndex,
    part: usize,
    position: usize,
}

/// An entry of `item_errors`.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    pub index: ItemIndex,
    pub item: Json,
    pub error: Json,
}

/// About how many bytes of JSON `value` comes to.
pub(crate) fn weight(value: &ValueRef) -> u64 {
    /// `{"error":,"index":1000000,"item":}`, and a comma.
    const ENTRY_BYTES: u64 = 40;
    match value {
        ValueRef::Inline(_) | ValueRef::Stored(_) => value.bytes(),
        ValueRef::List(list) => {
            let of_part = |part: &Part| match part.form {
                Form::Array => part.values.bytes(),
                Form::Each => (part.values.bytes() + 1).saturating_mul(part.items.len().into()),
                Form::Error => (part.values.bytes() + ENTRY_BYTES).saturating_mul(part.items.len().into()),
            };
            let source: u64 = list.source.iter().map(|(_, values)| values.bytes()).sum();
            let nulls = u64::from(list.places.unwrap_or(0)) * 5;
            list.parts.iter().map(of_part).fold(source + nulls, u64::saturating_add)
        }
    }
}

/// `value` as JSON; what it has stored is in `found`.
pub(crate) fn json(value: &ValueRef, found: &Found) -> Result<Json, Error> {
    let text = match value {
        ValueRef::Inline(json) => return Ok(json.clone()),
        ValueRef::Stored(_) => text_of(value, found)?.to_owned(),
        ValueRef::List(list) => join(list, found)?,
    };
    Json::from_canonical(text).map_err(|_| Error::Shape("a stored value is no JSON"))
}

fn join(list: &List, found: &Found) -> Result<String, Error> {
    let source = Source::read(list, found)?;
    let mut sparse: BTreeMap<u32, Cow<str>> = BTreeMap::new();
    for part in &list.parts {
        let ignored: HashSet<ItemIndex> = part.ignored.iter().collect();
        let text = text_of(&part.values, found)?;
        let array = if part.form == Form::Array { array(text)? } else { Vec::new() };
        for (position, index) in part.items.iter().enumerate().filter(|(_, index)| !ignored.contains(index)) {
            let value = match part.form {
                Form::Array => {
                    let value = array.get(position).ok_or(Error::Shape("a part of a list is too short"))?;
                    Cow::Borrowed(value.get())
                }
                Form::Each => Cow::Borrowed(text),
                Form::Error => {
                    Cow::Owned(format!(r#"{{"error":{text},"index":{index},"item":{}}}"#, source.item(index)))
                }
            };
            sparse.insert(index.0, value);
        }
    }
    let mut joined = String::from("[");
    let mut push = |value: &str| {
        joined.push_str(if joined.len() > 1 { "," } else { "" });
        joined.push_str(value);
    };
    match list.places {
        Some(places) => (0..places).for_each(|index| push(sparse.get(&index).map_or("null", Cow::as_ref))),
        None => sparse.values().for_each(|value| push(value)),
    }
    joined.push(']');
    Ok(joined)
}

/// Where the entries of a list of errors are, in item order.
pub(crate) fn places(list: &List) -> Vec<Place> {
    let mut places = Vec::new();
    for (part, of) in list.parts.iter().enumerate() {
        let ignored: HashSet<ItemIndex> = of.ignored.iter().collect();
        let counted = of.items.iter().enumerate().filter(|(_, index)| !ignored.contains(index));
        places.extend(counted.map(|(position, index)| Place { index, part, position }));
    }
    places.sort_unstable();
    places
}

/// The stored values that the entries at `places` need.
pub(crate) fn needed(list: &List, places: &[Place]) -> Vec<Stored> {
    let parts: HashSet<usize> = places.iter().map(|place| place.part).collect();
    let mut needed = Vec::new();
    let mut need = |value: &ValueRef| value.each_stored(&mut |stored| needed.push(stored));
    parts.iter().for_each(|part| need(&list.parts[*part].values));
    let of_errors = places.iter().filter(|place| list.parts[place.part].form == Form::Error);
    let sources: HashSet<usize> = of_errors.filter_map(|place| source_part(list, place.index)).collect();
    sources.iter().for_each(|part| need(&list.source[*part].1));
    needed
}

/// The entries at `places`.
pub(crate) fn entries(list: &List, places: &[Place], found: &Found) -> Result<Vec<Entry>, Error> {
    let mut arrays: HashMap<usize, Vec<&RawValue>> = HashMap::new();
    let source = Source::read(list, found)?;
    let mut entries = Vec::new();
    for place in places {
        let part = &list.parts[place.part];
        let text = text_of(&part.values, found)?;
        entries.push(match part.form {
            Form::Array => {
                let array = match arrays.entry(place.part) {
                    std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::hash_map::Entry::Vacant(unread) => unread.insert(array(text)?),
                };
                let value = array.get(place.position).ok_or(Error::Shape("a part of a list is too short"))?;
                reported(place.index, value)?
            }
            Form::Each => reported(place.index, text_as_value(text)?)?,
            Form::Error => {
                Entry { index: place.index, item: json_of(source.item(place.index))?, error: json_of(text)? }
            }
        });
    }
    Ok(entries)
}

/// What a worker wrote of an item that failed.
#[derive(Deserialize)]
struct Reported<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
    #[serde(borrow)]
    item: &'a RawValue,
}

fn reported(index: ItemIndex, value: &RawValue) -> Result<Entry, Error> {
    let Reported { error, item } =
        serde_json::from_str(value.get()).map_err(|_| Error::Shape("an error of an item is no such object"))?;
    Ok(Entry { index, item: json_of(item.get())?, error: json_of(error.get())? })
}

/// Which of the arrays of `list.source` has the item.
fn source_part(list: &List, index: ItemIndex) -> Option<usize> {
    let mut end = 0;
    list.source.iter().position(|(count, _)| {
        end += count;
        index.0 < end
    })
}

/// The items themselves, as far as they are there: where each array begins.
struct Source<'a>(Vec<(u32, Vec<&'a RawValue>)>);

impl<'a> Source<'a> {
    fn read(list: &'a List, found: &'a Found) -> Result<Self, Error> {
        let mut first = 0;
        let mut arrays = Vec::new();
        for (count, values) in &list.source {
            let is_there = match values {
                ValueRef::Inline(_) => true,
                ValueRef::Stored(stored) => found.contains_key(&stored.digest),
                ValueRef::List(_) => false,
            };
            if is_there {
                arrays.push((first, array(text_of(values, found)?)?));
            }
            first += count;
        }
        Ok(Self(arrays))
    }

    fn item(&self, index: ItemIndex) -> &'a str {
        let behind = self.0.partition_point(|(first, _)| *first <= index.0);
        let of = behind.checked_sub(1).and_then(|at| self.0.get(at));
        let item = of.and_then(|(first, values)| values.get((index.0 - first) as usize));
        item.map_or("null", |item| item.get())
    }
}

fn text_of<'a>(value: &'a ValueRef, found: &'a Found) -> Result<&'a str, Error> {
    match value {
        ValueRef::Inline(json) => Ok(json.as_str()),
        ValueRef::Stored(stored) => {
            let bytes = found.get(&stored.digest).ok_or(Error::Absent(stored.digest))?;
            std::str::from_utf8(bytes).map_err(|_| Error::Shape("a stored value is not UTF-8"))
        }
        ValueRef::List(_) => Err(Error::Shape("a list stands in a part of another")),
    }
}

fn array(text: &str) -> Result<Vec<&RawValue>, Error> {
    serde_json::from_str(text).map_err(|_| Error::Shape("a part of a list is no array"))
}

fn text_as_value(text: &str) -> Result<&RawValue, Error> {
    serde_json::from_str(text).map_err(|_| Error::Shape("a stored value is no JSON"))
}

fn json_of(text: &str) -> Result<Json, Error> {
    Json::from_canonical(text.to_owned()).map_err(|_| Error::Shape("a stored value is no JSON"))
}

#[cfg(test)]
mod tests {
    use proto::items::ItemSet;

    use super::*;

    fn inline(text: &str) -> ValueRef {
        ValueRef::Inline(Json::canonical(text.as_bytes()).expect("JSON"))
    }

    fn part(first: u32, count: u32, form: Form, values: ValueRef) -> Part {
        Part { items: ItemSet::run(first, count), values, form, ignored: ItemSet::default() }
    }

    #[test]
    fn parts_of_every_form_become_one_list() {
        let kept = Stored::of(b"[1,2]");
        let found = Found::from([(kept.digest, Bytes::from_static(b"[1,2]"))]);
        let mut late = part(1, 2, Form::Each, inline("[3]"));
        late.ignored = ItemSet::run(1, 1);
        let parts = vec![
            part(0, 2, Form::Array, ValueRef::Stored(kept)),
            late,
            part(3, 2, Form::Error, inline(r#"{"code":"x"}"#)),
        ];
        let source = vec![(4, inline(r#"["a","b","c","d"]"#)), (1, inline(r#"[{"e":5}]"#))];
        let list = ValueRef::list(List { places: Some(6), parts, source });
        let expected = r#"[1,2,[3],{"error":{"code":"x"},"index":3,"item":"d"},{"error":{"code":"x"},"index":4,"item":{"e":5}},null]"#;
        assert_eq!(json(&list, &found).expect("well shaped").as_str(), expected);
        assert!(weight(&list) >= expected.len() as u64);
        assert!(matches!(json(&list, &Found::new()), Err(Error::Absent(digest)) if digest == kept.digest));
    }

    #[test]
    fn errors_are_read_page_by_page() {
        let errors =
            r#"[{"error":{"code":"late"},"index":4,"item":"e"},{"error":{"code":"later"},"index":5,"item":"f"}]"#;
        let kept = Stored::of(errors.as_bytes());
        let far = Stored::of(br#"["a","b","c","d"]"#);
        let parts =
            vec![part(4, 2, Form::Array, ValueRef::Stored(kept)), part(1, 2, Form::Error, inline(r#"{"code":"x"}"#))];
        let list = List { places: None, parts, source: vec![(4, ValueRef::Stored(far)), (2, inline(r#"["e","f"]"#))] };
        let places = places(&list);
        assert_eq!(places.iter().map(|place| place.index.0).collect::<Vec<_>>(), [1, 2, 4, 5]);
        assert_eq!(needed(&list, &places[..1]), [far]);
        assert_eq!(needed(&list, &places[3..]), [kept]);
        let found = Found::from([
            (kept.digest, Bytes::copy_from_slice(errors.as_bytes())),
            (far.digest, Bytes::from_static(br#"["a","b","c","d"]"#)),
        ]);
        let shown: Vec<_> = entries(&list, &places[1..3], &found)
            .expect("well shaped")
            .into_iter()
            .map(|entry| format!("{} {} {}", entry.index, entry.item.as_str(), entry.error.as_str()))
            .collect();
        assert_eq!(shown, [r#"2 "c" {"code":"x"}"#, r#"4 "e" {"code":"late"}"#]);
    }
}
