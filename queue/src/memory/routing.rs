//! From an exchange and a key to queues.

use std::collections::{BTreeMap, BTreeSet};

use crate::declare::ExchangeKind;

/// All exchanges with their bindings.
#[derive(Default)]
pub(super) struct Routes {
    exchanges: BTreeMap<String, Exchange>,
}

struct Exchange {
    kind: ExchangeKind,
    /// Key or pattern, and queue.
    bindings: BTreeSet<(String, String)>,
}

impl Routes {
    pub(super) fn declare(&mut self, name: &str, kind: ExchangeKind) {
        self.exchanges.entry(name.to_owned()).or_insert(Exchange { kind, bindings: BTreeSet::new() });
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.exchanges.remove(name);
    }

    /// `false` when there is no such exchange.
    pub(super) fn bind(&mut self, exchange: &str, key: &str, queue: &str) -> bool {
        let Some(exchange) = self.exchanges.get_mut(exchange) else {
            return false;
        };
        exchange.bindings.insert((key.to_owned(), queue.to_owned()));
        true
    }

    pub(super) fn knows(&self, exchange: &str) -> bool {
        exchange.is_empty() || self.exchanges.contains_key(exchange)
    }

    pub(super) fn forget(&mut self, queue: &str) {
        for exchange in self.exchanges.values_mut() {
            exchange.bindings.retain(|(_, bound)| bound != queue);
        }
    }

    /// The queues for a message, each once. The default exchange knows every queue by its name; `queues` says which
    /// there are.
    pub(super) fn targets(&self, exchange: &str, key: &str, queues: impl Fn(&str) -> bool) -> BTreeSet<String> {
        if exchange.is_empty() {
            return queues(key).then(|| key.to_owned()).into_iter().collect();
        }
        let Some(exchange) = self.exchanges.get(exchange) else {
            return BTreeSet::new();
        };
        let fits = |pattern: &str| match exchange.kind {
            ExchangeKind::Direct => pattern == key,
            ExchangeKind::Topic => topic_fits(pattern, key),
            ExchangeKind::Fanout => true,
        };
        exchange.bindings.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, queue)| queue.clone()).collect()
    }
}

/// AMQP topic patterns: words between dots, `*` for one word, `#` for any number of them.
fn topic_fits(pattern: &str, key: &str) -> bool {
    fn fits(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => fits(rest, key) || (!key.is_empty() && fits(pattern, &key[1..])),
            (Some((word, rest)), Some((first, others))) => (*word == "*" || word == first) && fits(rest, others),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
    let (pattern, key): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), key.split('.').collect());
    fits(&pattern, &key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics() {
        for (pattern, key, expected) in [
            ("#", "", true),
            ("#", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.#", "a", true),
            ("a.#.z", "a.b.c.z", true),
            ("a.#.z", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a", "b", false),
        ] {
            assert_eq!(topic_fits(pattern, key), expected, "{pattern} {key}");
        }
    }
}
