//! Sets of item positions, small on the wire: a range of a thousand items is one pair of numbers.

use serde::{Deserialize, Serialize};

use smallvec::{SmallVec, smallvec};

use crate::id::ItemIndex;

/// A set of item positions as ascending, disjoint runs of `(first, length)`.
///
/// On the wire `[[0,100],[205,1]]`. Reading refuses runs that are empty, out of order or touch `u32::MAX`,
/// so that whatever holds a set may trust it.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub struct ItemSet {
    /// Nearly every set is one run, and histories hold many: two need no memory of their own.
    runs: SmallVec<[(u32, u32); 2]>,
}

impl Clone for ItemSet {
    /// Copies memory, where the derived one would go run by run.
    fn clone(&self) -> Self {
        Self { runs: SmallVec::from_slice(&self.runs) }
    }
}

/// Runs of an [`ItemSet`] that are not ascending and disjoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("item runs must ascend, be disjoint and not be empty")]
pub struct Disorder;

impl ItemSet {
    /// The positions `first`, `first + 1`, … `first + length - 1`.
    #[must_use]
    pub fn run(first: u32, length: u32) -> Self {
        Self { runs: if length == 0 { SmallVec::new() } else { smallvec![(first, length)] } }
    }

    /// How many positions it holds.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.runs.iter().map(|&(_, length)| length).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a position that is greater than all it holds, or does nothing when it is the last one already.
    ///
    /// # Panics
    /// When `index` is smaller than the last position: the caller's order is broken.
    pub fn push(&mut self, index: ItemIndex) {
        match self.runs.last_mut() {
            Some((first, length)) if index.0 == *first + *length => *length += 1,
            Some(&mut (first, length)) if index.0 < first + length => {
                assert!(
                    index.0 + 1 == first + length,
                    "positions are pushed in order: {index} after {}",
                    first + length - 1
                );
            }
            _ => self.runs.push((index.0, 1)),
        }
    }

    /// All positions, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ItemIndex> + '_ {
        self.runs.iter().flat_map(|&(first, length)| (first..first + length).map(ItemIndex))
    }

    /// Those of its positions that are at least `first` and less than `end`, ascending.
    pub fn between(&self, first: u32, end: u32) -> impl Iterator<Item = ItemIndex> + '_ {
        let clipped = self.runs.iter().map(move |&(start, length)| start.max(first)..(start + length).min(end));
        clipped.flatten().map(ItemIndex)
    }

    /// The runs themselves, ascending: `(first, length)`.
    #[must_use]
    pub fn runs(&self) -> &[(u32, u32)] {
        &self.runs
    }

    /// The greatest position, or `None` when it is empty.
    #[must_use]
    pub fn last(&self) -> Option<ItemIndex> {
        self.runs.last().map(|&(first, length)| ItemIndex(first + length - 1))
    }
}

impl FromIterator<ItemIndex> for ItemSet {
    /// Collects ascending positions; see [`ItemSet::push`].
    fn from_iter<I: IntoIterator<Item = ItemIndex>>(indices: I) -> Self {
        let mut set = Self::default();
        indices.into_iter().for_each(|index| set.push(index));
        set
    }
}

impl TryFrom<Vec<(u32, u32)>> for ItemSet {
    type Error = Disorder;

    fn try_from(runs: Vec<(u32, u32)>) -> Result<Self, Disorder> {
        let mut free_from = 0u32;
        for &(first, length) in &runs {
            if length == 0 || first < free_from {
                return Err(Disorder);
            }
            free_from = first.checked_add(length).ok_or(Disorder)?;
        }
        Ok(Self { runs: SmallVec::from_vec(runs) })
    }
}

impl From<ItemSet> for Vec<(u32, u32)> {
    fn from(set: ItemSet) -> Self {
        set.runs.into_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_gaps_part() {
        let set: ItemSet = [3, 4, 5, 9].map(ItemIndex).into_iter().collect();
        assert_eq!(set.runs(), [(3, 3), (9, 1)]);
        assert_eq!(set.len(), 4);
        assert_eq!(set.iter().map(|i| i.0).collect::<Vec<_>>(), [3, 4, 5, 9]);
        assert_eq!(set.last(), Some(ItemIndex(9)));
        assert_eq!(set.between(4, 10).map(|i| i.0).collect::<Vec<_>>(), [4, 5, 9]);
        assert_eq!(set.between(6, 9).count(), 0);
    }

    #[test]
    fn disorder_is_refused() {
        for text in ["[[5,1],[3,1]]", "[[1,0]]", "[[1,3],[2,1]]", "[[4294967295,1]]"] {
            assert!(serde_json::from_str::<ItemSet>(text).is_err(), "{text}");
        }
        assert_eq!(serde_json::from_str::<ItemSet>("[[1,2],[3,1]]").expect("valid").len(), 3);
    }
}
