//! Lists of items on their way out, in parts that a scheduler slices without parsing them.

use engine::value::Value;
use proto::{
    failure::Failure,
    json::Json,
    limits::{ITEM_BYTES_MAX, PART_BYTES_MAX},
    outcome::ItemsPart,
};

use crate::upload::{Made, Upload};
use crate::values;

/// Some items of a list, and where each begins.
#[derive(Debug)]
pub(crate) struct Part {
    count: u32,
    values: Json,
    offsets: Json,
    item_bytes_max: u32,
}

/// Cuts a list into parts of at most [`PART_BYTES_MAX`].
pub(crate) fn cut(items: &[Value]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    let mut open = Open::default();
    for (index, item) in items.iter().enumerate() {
        let json = Made::of(&format!("item {index}"), item.clone())?.json;
        let bytes = json.as_bytes().len();
        if bytes > ITEM_BYTES_MAX {
            let message = format!("item {index} has {bytes} bytes, more than {ITEM_BYTES_MAX}");
            return Err(Failure::new("item_too_large", message));
        }
        // Beside the item a comma and the last bracket.
        if open.text.len() + bytes + 2 > PART_BYTES_MAX {
            parts.push(std::mem::take(&mut open).close()?);
        }
        open.push(json.as_str());
    }
    if open.count > 0 {
        parts.push(open.close()?);
    }
    Ok(parts)
}

impl Part {
    /// What the outcome says of it.
    pub(crate) async fn upload(&self, upload: &mut Upload<'_>) -> Result<ItemsPart, values::Error> {
        Ok(ItemsPart {
            count: self.count,
            values: upload.json(&self.values).await?,
            offsets: upload.json(&self.offsets).await?,
            item_bytes_max: self.item_bytes_max,
        })
    }
}

/// A part in the making.
#[derive(Default)]
struct Open {
    text: String,
    offsets: Vec<u32>,
    count: u32,
    item_bytes_max: u32,
}

impl Open {
    fn push(&mut self, item: &str) {
        self.text.push(if self.count == 0 { '[' } else { ',' });
        self.mark();
        self.text.push_str(item);
        self.count += 1;
        self.item_bytes_max = self.item_bytes_max.max(u32::try_from(item.len()).expect("an item is at most 256 KiB"));
    }

    fn mark(&mut self) {
        self.offsets.push(u32::try_from(self.text.len()).expect("a part is at most 1 MiB"));
    }

    fn close(mut self) -> Result<Part, Failure> {
        self.text.push(']');
        self.mark();
        let unreadable = |error: serde_json::Error| Failure::new("json_invalid", error.to_string());
        Ok(Part {
            count: self.count,
            values: Json::from_canonical(self.text).map_err(unreadable)?,
            offsets: Json::of(&self.offsets).map_err(unreadable)?,
            item_bytes_max: self.item_bytes_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Value {
        Value::from_text(&"x".repeat(bytes - 2))
    }

    #[test]
    fn items_are_where_the_offsets_say() {
        let items = [text(5), Value::from_u64(42), Value::null(), Value::from_list(vec![text(3)])];
        let parts = cut(&items).expect("cut");
        let [part] = parts.as_slice() else { panic!("one part: {parts:?}") };
        let offsets: Vec<usize> = part.offsets.parse().expect("numbers");
        let slices: Vec<&str> = offsets.windows(2).map(|at| &part.values.as_str()[at[0]..at[1] - 1]).collect();
        assert_eq!(slices, [r#""xxx""#, "42", "null", r#"["x"]"#]);
        assert_eq!((part.count, part.item_bytes_max), (4, 5));
    }

    #[test]
    fn parts_are_full_and_never_too_large() {
        let four = |last: usize| [text(262_143), text(262_143), text(262_143), text(last)];
        // Four items, three commas, two brackets.
        assert_eq!(cut(&four(262_142)).expect("cut").len(), 1);
        assert_eq!(cut(&four(262_142)).expect("cut")[0].values.as_bytes().len(), PART_BYTES_MAX);
        assert_eq!(cut(&four(262_143)).expect("cut").len(), 2);
        assert_eq!(cut(&[]).expect("cut").len(), 0);
        assert_eq!(cut(&[text(ITEM_BYTES_MAX + 1)]).expect_err("too large").code, "item_too_large");
    }
}
