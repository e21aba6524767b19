//! Filters for lists and maps.

use std::collections::BTreeMap;

use tera::{
    Kwargs, Map, State, Tera, TeraResult, Value,
    value::{Key, ValueKind},
};

use crate::template::budget::{self, PLACE_BYTES};

/// The most elements that `product` makes.
const PRODUCT_MAX: usize = 100_000;

pub fn register(tera: &mut Tera) {
    tera.register_filter("map", map);
    tera.register_filter("where", keep_where);
    tera.register_filter("sort_by", sort_by);
    tera.register_filter("group_by", group_by);
    tera.register_filter("unique", unique);
    tera.register_filter("flatten", flatten);
    tera.register_filter("zip", zip);
    tera.register_filter("product", product);
    tera.register_filter("batch", batch);
    tera.register_filter("sum", sum);
    tera.register_filter("min", |list: &[Value], kwargs: Kwargs, _: &State| {
        extreme(list, &kwargs, std::cmp::Ordering::Less)
    });
    tera.register_filter("max", |list: &[Value], kwargs: Kwargs, _: &State| {
        extreme(list, &kwargs, std::cmp::Ordering::Greater)
    });
}

fn failed<T>(message: impl ToString) -> TeraResult<T> {
    Err(tera::Error::message(message))
}

/// The value at `attribute`, or the element itself without one.
fn pick<'v>(element: &'v Value, index: usize, attribute: Option<&'v str>) -> TeraResult<&'v Value> {
    let Some(attribute) = attribute else { return Ok(element) };
    match element.get_from_path(attribute).filter(|_| !element.is_none()) {
        Some(value) => Ok(value),
        None => failed(format!("element {index} has no attribute `{attribute}`")),
    }
}

/// `map(attribute="a.b")`, with `default=` for elements without it; or `map(filter="upper")`.
fn map(list: &[Value], kwargs: Kwargs, state: &State) -> TeraResult<Vec<Value>> {
    let attribute: Option<&str> = kwargs.get("attribute")?;
    let filter: Option<&str> = kwargs.get("filter")?;
    let default: Option<Value> = kwargs.get("default")?;
    match (attribute, filter) {
        (Some(attribute), None) => list
            .iter()
            .enumerate()
            .map(|(index, element)| match (pick(element, index, Some(attribute)), &default) {
                (Err(_), Some(default)) => Ok(default.clone()),
                (picked, _) => picked.cloned(),
            })
            .collect(),
        (None, Some(filter)) if !filter.starts_with("__") => {
            list.iter().map(|element| state.call_filter(filter, element, kwargs.clone())).collect()
        }
        _ => failed("`map` takes `attribute` or `filter`"),
    }
}

/// `where(attribute="state", value="up")`; without `value`, elements whose attribute is true, not empty and not 0.
fn keep_where(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let attribute: &str = kwargs.must_get("attribute")?;
    let wanted: Option<Value> = kwargs.get("value")?;
    let is_wanted = |element: &&Value| match (element.get_from_path(attribute), &wanted) {
        (Some(value), Some(wanted)) => value == wanted,
        (Some(value), None) => value.is_truthy(),
        (None, _) => false,
    };
    Ok(list.iter().filter(is_wanted).cloned().collect())
}

/// `sort_by(attribute="a.b", reverse=true)`: stable.
fn sort_by(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let attribute: &str = kwargs.must_get("attribute")?;
    let mut keyed = Vec::with_capacity(list.len());
    for (index, element) in list.iter().enumerate() {
        keyed.push((pick(element, index, Some(attribute))?, element));
    }
    if let Some(pair) = keyed.windows(2).find(|pair| !is_comparable(pair[0].0, pair[1].0)) {
        return failed(format!("cannot sort {} with {}", pair[0].0.name(), pair[1].0.name()));
    }
    keyed.sort_by(|left, right| left.0.cmp(right.0));
    if kwargs.get("reverse")?.unwrap_or(false) {
        keyed.reverse();
    }
    Ok(keyed.into_iter().map(|(_, element)| element.clone()).collect())
}

fn is_comparable(left: &Value, right: &Value) -> bool {
    left.is_none() || right.is_none() || left.partial_cmp(right).is_some()
}

/// `group_by(attribute="a.b")`: a map from each value, as text, to its elements.
fn group_by(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Map> {
    let attribute: &str = kwargs.must_get("attribute")?;
    let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (index, element) in list.iter().enumerate() {
        let value = pick(element, index, Some(attribute))?;
        let key = match value.kind() {
            ValueKind::Array | ValueKind::Map => return failed(format!("cannot group by {}", value.name())),
            ValueKind::None => "null".to_owned(),
            _ => value.to_string(),
        };
        groups.entry(key).or_default().push(element.clone());
    }
    Ok(groups.into_iter().map(|(key, elements)| (Key::from(key), Value::from(elements))).collect())
}

/// `unique` or `unique(attribute="a.b")`: the first of equal elements.
fn unique(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let attribute: Option<&str> = kwargs.get("attribute")?;
    let mut seen: std::collections::HashSet<String> = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for (index, element) in list.iter().enumerate() {
        // By canonical text: Tera's own `unique` compares each with each.
        let key = crate::value::Value::from(pick(element, index, attribute)?.clone());
        let key = key.to_json().map_err(tera::Error::message)?;
        if seen.insert(key.as_str().to_owned()) {
            kept.push(element.clone());
        }
    }
    Ok(kept)
}

/// `flatten`: lists within lists, to any depth; `flatten(levels=1)`.
fn flatten(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    fn level(list: &[Value], levels: usize, flat: &mut Vec<Value>) {
        for element in list {
            match element.as_array().filter(|_| levels > 0) {
                Some(inner) => level(inner, levels - 1, flat),
                None => flat.push(element.clone()),
            }
        }
    }
    let mut flat = Vec::with_capacity(list.len());
    level(list, kwargs.get("levels")?.unwrap_or(proto::limits::JSON_DEPTH_MAX), &mut flat);
    Ok(flat)
}

/// `zip(with=other)`: pairs; both must be of one length.
fn zip(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let other: Vec<Value> = kwargs.must_get("with")?;
    if list.len() != other.len() {
        return failed(format!("`zip` needs lists of one length, not {} and {}", list.len(), other.len()));
    }
    Ok(list.iter().cloned().zip(other).map(|(left, right)| Value::from(vec![left, right])).collect())
}

/// `product(with=other)`: every pair of an element of this list and one of the other.
fn product(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let other: Vec<Value> = kwargs.must_get("with")?;
    if list.len().saturating_mul(other.len()) > PRODUCT_MAX {
        return failed(format!("`product` would make more than {PRODUCT_MAX} pairs"));
    }
    budget::spend(3 * PLACE_BYTES * list.len() * other.len())?;
    let pairs = list.iter().flat_map(|left| other.iter().map(move |right| vec![left.clone(), right.clone()]));
    Ok(pairs.map(Value::from).collect())
}

/// `batch(size=10)`: lists of at most so many elements.
fn batch(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Vec<Value>> {
    let size: usize = kwargs.must_get("size")?;
    if size == 0 {
        return failed("`batch` needs a `size` of at least 1");
    }
    Ok(list.chunks(size).map(Value::from).collect())
}

/// `sum` or `sum(attribute="a.b")`: 0 for an empty list.
fn sum(list: &[Value], kwargs: Kwargs, _: &State) -> TeraResult<Value> {
    let attribute: Option<&str> = kwargs.get("attribute")?;
    let mut whole: i128 = 0;
    let mut float: Option<f64> = None;
    for (index, element) in list.iter().enumerate() {
        let value = pick(element, index, attribute)?;
        match (value.as_i128(), number(value), &mut float) {
            (Some(number), _, None) => {
                whole = whole.checked_add(number).ok_or_else(|| tera::Error::message("the sum is too large"))?;
            }
            (_, Some(number), sum) => *sum = Some(sum.unwrap_or(whole as f64) + number),
            (_, None, _) => return failed(format!("element {index} is no number but {}", value.name())),
        }
    }
    Ok(float.map_or_else(|| Value::from(whole), Value::from))
}

/// The number that `value` is; of more than 53 bits, rounded.
#[allow(clippy::cast_precision_loss)]
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_i128().map(|number| number as f64))
}

/// `min` and `max`, or `min(attribute="a.b")`, which gives the attribute's value: null for an empty list.
fn extreme(list: &[Value], kwargs: &Kwargs, wanted: std::cmp::Ordering) -> TeraResult<Value> {
    let attribute: Option<&str> = kwargs.get("attribute")?;
    let mut best: Option<&Value> = None;
    for (index, element) in list.iter().enumerate() {
        let value = pick(element, index, attribute)?;
        match best.map(|best| value.partial_cmp(best)) {
            None => best = Some(value),
            Some(Some(order)) if order == wanted => best = Some(value),
            Some(Some(_)) => {}
            Some(None) => return failed(format!("element {index} cannot be compared with those before")),
        }
    }
    Ok(best.cloned().unwrap_or_else(Value::none))
}
