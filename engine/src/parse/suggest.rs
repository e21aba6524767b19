//! Did you mean: the nearest of some words.

/// The most words that are compared, so that a hostile file cannot make this slow.
const COMPARED_MAX: usize = 1_000;

/// The one of `candidates` that `word` was probably meant to be. Case, `-` and `_` make no difference.
pub(crate) fn suggest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let word = folded(word);
    let distances = candidates.take(COMPARED_MAX).map(|candidate| {
        let candidate_folded = folded(candidate);
        let longest = word.len().max(candidate_folded.len());
        let distance = strsim::osa_distance(&word, &candidate_folded);
        let is_near = distance <= longest.div_ceil(4) && distance < longest;
        (candidate, is_near.then_some(distance))
    });
    distances.filter_map(|(candidate, distance)| Some((distance?, candidate))).min().map(|(_, candidate)| candidate)
}

fn folded(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found() {
        let keys = ["action", "with_items", "retry", "timeout", "next", "join"];
        for (word, near) in [
            ("acton", Some("action")),
            ("withItems", Some("with_items")),
            ("with-items", Some("with_items")),
            ("timeuot", Some("timeout")),
            ("nxt", Some("next")),
            ("flavour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(suggest(word, keys.into_iter()), near, "{word}");
        }
    }
}
